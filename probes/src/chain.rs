//! TLS as probes want it: the peer's certificates are seen whatever is wrong with them.
//!
//! Invariant: a connection whose certificate is not in order is never handed out, only what was
//! seen of it.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use base::diagnostic::{Diagnostics, Spanned};
use base::http::client::is_http2;
use base::http::tls::{Stamp, TlsConfig, TlsError};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    self, CertificateError, CipherSuite, ClientConfig, DigitallySignedStruct, KeyLog,
    SignatureScheme,
};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::Reason;
use crate::network::{Metrics, earliest_expiry};
use crate::text::shown_line;
use crate::wire::{Duplex, Failed, Wire};

/// Whom to trust, and what to offer. The system's authorities are read at the first handshake, and
/// files again when they have changed (F56); where the new ones are of no use, the old ones stay, which is
/// told, and the new ones are read again at each handshake.
#[derive(Clone)]
pub(crate) struct Trust {
    tls: Arc<TlsConfig>,
    /// Offered by ALPN.
    protocols: Vec<Vec<u8>>,
    /// Whether the handshakes are within QUIC.
    is_quic: bool,
    server_name: Option<String>,
    ready: Arc<Mutex<Option<Ready>>>,
}

/// What handshakes are made with.
#[derive(Clone)]
struct Ready {
    stamps: Vec<Stamp>,
    config: Arc<ClientConfig>,
    verifier: Arc<dyn ServerCertVerifier>,
    /// Why it is not made of the files as they are.
    fault: Option<String>,
}

impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trust").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

/// What was seen of a handshake.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// The certificates in DER, the peer's own first.
    pub(crate) chain: Vec<Vec<u8>>,
    /// What the peer has shown of whether its certificate was revoked, in DER; empty where nothing.
    pub(crate) staple: Vec<u8>,
    /// As people write it: `TLS 1.3`.
    pub(crate) version: Option<&'static str>,
    /// The cipher suite.
    pub(crate) cipher: Option<String>,
    /// Whether the chain was verified, or nobody asked; nothing of one that was refused.
    is_verified: Option<bool>,
    /// Whether both sides want to go on by HTTP/2.
    pub(crate) is_http2: bool,
    /// What is wrong with the files that say whom to trust, where those of before count.
    pub(crate) fault: Option<String>,
    verdict: Option<rustls::Error>,
}

impl Trust {
    /// Reads the files that `tls` names, reporting what is wrong with them. `protocols` are offered
    /// by ALPN.
    pub(crate) fn build(
        tls: &Spanned<TlsConfig>,
        protocols: &[&[u8]],
        diagnostics: &mut Diagnostics,
    ) -> Option<Self> {
        let protocols = protocols.iter().map(|name| name.to_vec()).collect();
        let trust = Self::new(&tls.value, protocols, false);
        let plain =
            TlsConfig { server_name: tls.value.server_name.clone(), ..TlsConfig::default() };
        if tls.value != plain
            && let Err(error) = trust.ready()
        {
            diagnostics.report(tls, error.to_string());
            return None;
        }
        if let Some(name) = &trust.server_name
            && ServerName::try_from(name.as_str()).is_err()
        {
            diagnostics.report(tls, format!("`{name}` is not a host name"));
        }
        Some(trust)
    }

    /// Trust as `tls` says, for handshakes within QUIC that lead to HTTP/3. Nobody tells which cipher
    /// is used there, but the length of its secrets does as long as it is one of two: those of AES.
    pub(crate) fn for_quic(tls: &TlsConfig) -> Self {
        Self::new(tls, vec![b"h3".to_vec()], true)
    }

    fn new(tls: &TlsConfig, protocols: Vec<Vec<u8>>, is_quic: bool) -> Self {
        let server_name = tls.server_name.clone();
        Self { tls: Arc::new(tls.clone()), protocols, is_quic, server_name, ready: Arc::default() }
    }

    fn ready(&self) -> Result<Ready, TlsError> {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = self.tls.stamps();
        if let Some(ready) = ready.as_ref().filter(|ready| ready.stamps == stamps) {
            return Ok(ready.clone());
        }
        match (self.read(), ready.as_ref()) {
            (Ok((config, verifier)), _) => {
                Ok(ready.insert(Ready { stamps, config, verifier, fault: None }).clone())
            }
            (Err(error), Some(before)) => {
                let fault = format!("changed TLS files are of no use, those before count: {error}");
                Ok(Ready { fault: Some(fault), ..before.clone() })
            }
            (Err(error), None) => Err(error),
        }
    }

    fn read(&self) -> Result<(Arc<ClientConfig>, Arc<dyn ServerCertVerifier>), TlsError> {
        let mut provider = ring::default_provider();
        if self.is_quic {
            provider.cipher_suites.retain(|suite| {
                let suite = suite.suite();
                suite == CipherSuite::TLS13_AES_128_GCM_SHA256 || suite == LONG_SECRETS
            });
        }
        let mut config = ClientConfig::clone(&*self.tls.build_with(provider)?);
        config.alpn_protocols.clone_from(&self.protocols);
        // A session that goes on shows no certificate.
        config.resumption = Resumption::disabled();
        Ok((Arc::new(config), self.tls.verifier()?))
    }

    /// Settings for one handshake that is made elsewhere, and what tells of it afterwards.
    ///
    /// # Errors
    ///
    /// The system has no authorities.
    pub(crate) fn watched(&self) -> Result<(ClientConfig, Watched), Failed> {
        let ready = self.ready();
        let Ready { config, verifier, fault, .. } =
            ready.map_err(|error| Failed::new(Reason::TlsFailed, error.to_string()))?;
        let seen = Mutex::new(Seen { fault, ..Seen::default() });
        let secret = AtomicUsize::new(0);
        let inspector = Arc::new(Inspector { verifier, seen, secret });
        let mut config = ClientConfig::clone(&config);
        config.dangerous().set_certificate_verifier(Arc::<Inspector>::clone(&inspector));
        config.key_log = Arc::<Inspector>::clone(&inspector);
        Ok((config, Watched(inspector)))
    }

    /// As [`Self::build`], where there need not be TLS; nothing where something is wrong.
    pub(crate) fn optional(
        tls: Option<&Spanned<TlsConfig>>,
        diagnostics: &mut Diagnostics,
    ) -> Option<Option<Self>> {
        match tls {
            Some(tls) => Self::build(tls, &[], diagnostics).map(Some),
            None => Some(None),
        }
    }

    /// The same trust in whatever host is dialled.
    pub(crate) fn without_name(&self) -> Self {
        Self { server_name: None, ..self.clone() }
    }

    /// Makes the handshake; `seen` has what was seen of it, however it ends.
    pub(crate) async fn handshake(
        &self,
        stream: Box<dyn Duplex>,
        host: &str,
        seen: &mut Seen,
    ) -> Result<Wire, Failed> {
        let name = self.server_name.as_deref().unwrap_or(host);
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| Failed::new(Reason::CertificateName, format!("`{name}` is no name")))?;
        let (config, watched) = self.watched()?;
        let connector = TlsConnector::from(Arc::new(config));
        let result = connector.connect(name, stream).await;
        *seen = watched.seen();
        if let Some(error) = seen.verdict.take() {
            return Err(seen.refused(&error));
        }
        let stream = result.map_err(|error| broken(&error))?;
        let connection = stream.get_ref().1;
        seen.is_verified = Some(!self.tls.insecure_skip_verify);
        seen.is_http2 = is_http2(connection);
        seen.version = connection.protocol_version().map(|version| match version {
            rustls::ProtocolVersion::TLSv1_2 => "TLS 1.2",
            rustls::ProtocolVersion::TLSv1_3 => "TLS 1.3",
            _ => "unknown",
        });
        seen.cipher = connection.negotiated_cipher_suite().map(|suite| {
            let name = format!("{:?}", suite.suite());
            name.replace("TLS13_", "TLS_")
        });
        Ok(Wire::new(stream))
    }
}

/// Tells of a handshake.
#[derive(Debug)]
pub(crate) struct Watched(Arc<Inspector>);

impl Watched {
    fn seen(&self) -> Seen {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What was seen of a handshake within QUIC.
    ///
    /// # Errors
    ///
    /// The certificate is not in order.
    pub(crate) fn of_quic(&self) -> Result<Seen, Failed> {
        let mut seen = self.seen();
        if let Some(error) = seen.verdict.take() {
            return Err(seen.refused(&error));
        }
        seen.version = Some("TLS 1.3");
        let suite = match self.0.secret.load(Ordering::Relaxed) {
            LONG => LONG_SECRETS,
            _ => CipherSuite::TLS13_AES_128_GCM_SHA256,
        };
        seen.cipher = Some(format!("{suite:?}").replace("TLS13_", "TLS_"));
        Ok(seen)
    }
}

/// The suite whose secrets are [`LONG`], and how long those are in bytes.
const LONG_SECRETS: CipherSuite = CipherSuite::TLS13_AES_256_GCM_SHA384;
const LONG: usize = 48;

fn broken(error: &io::Error) -> Failed {
    let of_tls = error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
    let reason = match error.kind() {
        _ if of_tls => Reason::TlsFailed,
        io::ErrorKind::UnexpectedEof => Reason::TlsFailed,
        _ => Reason::ConnectionReset,
    };
    Failed::new(reason, format!("TLS handshake: {error}"))
}

/// A certificate as metrics show it.
struct Leaf {
    subject: String,
    issuer: String,
    serial: String,
    names: Vec<String>,
}

impl Seen {
    fn refused(&self, error: &rustls::Error) -> Failed {
        use CertificateError as Fault;
        let reason = match error {
            rustls::Error::InvalidCertificate(fault) => match fault {
                Fault::Expired
                | Fault::ExpiredContext { .. }
                | Fault::NotValidYet
                | Fault::NotValidYetContext { .. } => Reason::CertificateExpired,
                Fault::NotValidForName | Fault::NotValidForNameContext { .. } => {
                    Reason::CertificateName
                }
                _ if self.is_self_signed() => Reason::CertificateSelfSigned,
                _ => Reason::CertificateUntrusted,
            },
            _ => Reason::TlsFailed,
        };
        let names = self.leaf().map(|leaf| leaf.names.join(", ")).unwrap_or_default();
        let is_for = match reason {
            Reason::CertificateName if !names.is_empty() => format!("; it is for {names}"),
            Reason::CertificateSelfSigned => "; nobody but its owner vouches for it".to_owned(),
            _ => String::new(),
        };
        Failed::new(reason, format!("TLS handshake: {error}{is_for}"))
    }

    fn is_self_signed(&self) -> bool {
        let first = self.chain.first().and_then(|der| X509Certificate::from_der(der).ok());
        first.is_some_and(|(_, first)| first.subject().as_raw() == first.issuer().as_raw())
    }

    /// When the first certificate of the chain is past its time, in seconds since 1970.
    pub(crate) fn expiry(&self) -> Option<f64> {
        earliest_expiry(&self.chain)
    }

    /// The names that the peer's own certificate is for.
    pub(crate) fn names(&self) -> Vec<String> {
        self.leaf().map(|leaf| leaf.names).unwrap_or_default()
    }

    fn leaf(&self) -> Option<Leaf> {
        let (_, leaf) = X509Certificate::from_der(self.chain.first()?).ok()?;
        let show = |text: &str| shown_line(text.as_bytes(), 200);
        let name = |name: &GeneralName<'_>| match name {
            GeneralName::DNSName(name) => Some(show(name)),
            GeneralName::IPAddress(bytes) => match <[u8; 4]>::try_from(*bytes) {
                Ok(v4) => Some(std::net::Ipv4Addr::from(v4).to_string()),
                Err(_) => {
                    Some(std::net::Ipv6Addr::from(<[u8; 16]>::try_from(*bytes).ok()?).to_string())
                }
            },
            _ => None,
        };
        let names = leaf.subject_alternative_name().ok().flatten();
        Some(Leaf {
            subject: show(&leaf.subject().to_string()),
            issuer: show(&leaf.issuer().to_string()),
            serial: hex(leaf.raw_serial()),
            names: names.map_or_else(Vec::new, |names| {
                names.value.general_names.iter().filter_map(name).take(100).collect()
            }),
        })
    }

    /// One line for a person: version, names, issuer.
    pub(crate) fn summary(&self) -> String {
        let version = self.version.unwrap_or("TLS");
        match self.leaf() {
            Some(leaf) if leaf.names.is_empty() => format!("{version}, {}", leaf.subject),
            Some(leaf) => format!("{version}, {}", leaf.names.join(" ")),
            None => version.to_owned(),
        }
    }

    /// Every certificate of the chain on a line of its own.
    pub(crate) fn details(&self) -> String {
        let mut lines = Vec::new();
        for der in self.chain.iter().take(20) {
            let Ok((_, certificate)) = X509Certificate::from_der(der) else {
                lines.push("a certificate that cannot be read".to_owned());
                continue;
            };
            let until = certificate.validity().not_after.timestamp();
            let until = jiff::Timestamp::from_second(until).map(|t| t.to_string());
            let name = shown_line(certificate.subject().to_string().as_bytes(), 200);
            lines.push(format!("{name} until {}", until.unwrap_or_default()));
        }
        lines.join("\n")
    }

    /// Adds the metrics by the names that blackbox_exporter gives them.
    pub(crate) fn measure(&self, metrics: &mut Metrics) {
        if let Some(expiry) = self.expiry() {
            let help = "Returns last SSL chain expiry in unixtime";
            metrics.gauge("probe_ssl_earliest_cert_expiry", help, expiry);
            if let Some(is_verified) = self.is_verified {
                metrics.chain_expiry(expiry, is_verified);
            }
        }
        if let Some(leaf) = self.leaf() {
            let digest = ::ring::digest::digest(&::ring::digest::SHA256, &self.chain[0]);
            let labels = [
                ("fingerprint_sha256", hex(digest.as_ref())),
                ("subject", leaf.subject),
                ("issuer", leaf.issuer),
                ("subjectalternative", leaf.names.join(",")),
                ("serialnumber", leaf.serial),
            ];
            let help = "Contains SSL leaf certificate information";
            metrics.info("probe_ssl_last_chain_info", help, &labels);
        }
        if let Some(version) = self.version {
            let help = "Returns the TLS version used or NaN when unknown";
            metrics.info("probe_tls_version_info", help, &[("version", version.to_owned())]);
        }
        if let Some(cipher) = &self.cipher {
            let help = "Returns the TLS cipher negotiated during handshake";
            metrics.info("probe_tls_cipher_info", help, &[("cipher", cipher.clone())]);
        }
    }
}

/// `details` with a line more of what is wrong with the files that say whom to trust.
pub(crate) fn with_fault(details: String, fault: Option<String>) -> String {
    let lines = [details, fault.unwrap_or_default()];
    lines.into_iter().filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Notes what a peer shows, and what the real verifier says of it; who asks looks at that.
#[derive(Debug)]
struct Inspector {
    verifier: Arc<dyn ServerCertVerifier>,
    seen: Mutex<Seen>,
    /// How long the secrets are, in bytes.
    secret: AtomicUsize,
}

impl KeyLog for Inspector {
    fn log(&self, _label: &str, _client_random: &[u8], secret: &[u8]) {
        self.secret.store(secret.len(), Ordering::Relaxed);
    }
}

impl ServerCertVerifier for Inspector {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verdict = self.verifier.verify_server_cert(certificate, chain, name, ocsp, now);
        let all = std::iter::once(certificate).chain(chain);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        *seen = Seen {
            chain: all.map(|certificate| certificate.to_vec()).collect(),
            staple: ocsp.to_vec(),
            verdict: verdict.err(),
            fault: seen.fault.take(),
            ..Seen::default()
        };
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AUTHORITY: &str = include_str!("../tests/kinds/certificates/authority.pem");

    #[test]
    fn files_that_are_of_no_use_are_told_until_they_are_of_use_again_f56() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        std::fs::write(&path, AUTHORITY).unwrap();
        let tls = TlsConfig { ca_file: Some(path.clone()), ..TlsConfig::default() };
        let trust = Trust::new(&tls, Vec::new(), false);
        let told = || trust.watched().unwrap().1.seen().fault;
        assert_eq!(told(), None);
        std::fs::write(&path, &AUTHORITY[..AUTHORITY.len() / 2]).unwrap();
        for _ in 0..2 {
            let fault = told().unwrap();
            assert!(fault.starts_with("changed TLS files are of no use, those before count: "));
            assert!(fault.contains("ca.pem"), "{fault}");
            let details = with_fault("a line".to_owned(), Some(fault.clone()));
            assert_eq!(details, format!("a line\n{fault}"));
        }
        std::fs::write(&path, format!("{AUTHORITY}\n")).unwrap();
        assert_eq!(told(), None);
    }
}
