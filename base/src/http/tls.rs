//! TLS as a client: whom to trust, and who we are.
//!
//! Invariant: without `insecure_skip_verify` a certificate is checked in full.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{
    self, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    SupportedProtocolVersion,
};
use tracing::warn;

use crate::secret::Secret;

/// The settings that Prometheus calls `tls_config`.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// The authorities to trust in place of the system's, in PEM.
    pub ca: Option<String>,
    /// The file with the authorities to trust in place of the system's, in PEM.
    pub ca_file: Option<PathBuf>,
    /// Our certificate, in PEM.
    pub cert: Option<String>,
    /// The file with our certificate, in PEM.
    pub cert_file: Option<PathBuf>,
    /// Its key, in PEM.
    pub key: Option<Secret>,
    /// The file with its key, in PEM.
    pub key_file: Option<PathBuf>,
    /// The name that the certificate must be for, where it is not the address's.
    pub server_name: Option<String>,
    /// Takes any certificate.
    pub insecure_skip_verify: bool,
    /// The oldest version that is spoken: `TLS12`, where nothing is said, or `TLS13`; `TLS10` and
    /// `TLS11` are taken, and mean `TLS12`.
    pub min_version: Option<Version>,
    /// The newest version that is spoken, by default `TLS13`.
    pub max_version: Option<Version>,
}

/// A version of TLS, as Prometheus writes it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize, schemars::JsonSchema,
)]
pub enum Version {
    /// 1.0, which is not spoken.
    #[serde(rename = "TLS10")]
    V10,
    /// 1.1, which is not spoken.
    #[serde(rename = "TLS11")]
    V11,
    /// 1.2.
    #[serde(rename = "TLS12")]
    V12,
    /// 1.3.
    #[serde(rename = "TLS13")]
    V13,
}

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read as PEM.
    #[error("cannot read {path} as PEM: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Certificate and key do not fit each other, or only one is there.
    #[error("cannot use the client certificate: {0}")]
    Identity(String),
    /// The versions that are wanted are not to be had.
    #[error("cannot speak the versions of TLS: {0}")]
    Versions(String),
    /// The system has no authorities.
    #[error("the system has no certificate authorities; install ca-certificates or set ca_file")]
    NoRoots,
}

/// What a client trusts and offers. The system's authorities take a megabyte and some milliseconds,
/// which is for those to pay who really speak TLS: they are read at the first handshake. Files are
/// read again when they have changed (F56); where the new ones are of no use, the old ones stay.
pub(super) struct Trust {
    config: TlsConfig,
    protocols: Vec<Vec<u8>>,
    built: Mutex<Option<Built>>,
}

struct Built {
    stamps: Vec<Stamp>,
    tls: Arc<ClientConfig>,
}

/// The size of a file and when it was changed; nothing where it cannot be looked at.
pub type Stamp = Option<(u64, SystemTime)>;

impl Trust {
    pub(super) fn new(config: TlsConfig, protocols: Vec<Vec<u8>>) -> Self {
        Self { config, protocols, built: Mutex::new(None) }
    }

    /// The same, which offers `protocols` by ALPN.
    pub(super) fn with_protocols(&self, protocols: Vec<Vec<u8>>) -> Self {
        Self::new(self.config.clone(), protocols)
    }

    /// The ready configuration.
    pub(super) fn get(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let mut built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = self.config.stamps();
        if let Some(built) = built.as_ref().filter(|built| built.stamps == stamps) {
            return Ok(Arc::clone(&built.tls));
        }
        let tls = match (self.build(), built.as_ref()) {
            (Ok(tls), _) => tls,
            (Err(error), Some(before)) => {
                warn!(%error, "changed TLS files are of no use; those before stay in use");
                Arc::clone(&before.tls)
            }
            (Err(error), None) => return Err(error),
        };
        *built = Some(Built { stamps, tls: Arc::clone(&tls) });
        Ok(tls)
    }

    fn build(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let tls = self.config.build()?;
        if self.protocols.is_empty() {
            return Ok(tls);
        }
        let mut changed = ClientConfig::clone(&tls);
        changed.alpn_protocols.clone_from(&self.protocols);
        Ok(Arc::new(changed))
    }
}

impl TlsConfig {
    /// The ready configuration. Reads the files named.
    ///
    /// # Errors
    ///
    /// [`TlsError`].
    pub fn build(&self) -> Result<Arc<ClientConfig>, TlsError> {
        self.build_with(ring::default_provider())
    }

    /// As [`TlsConfig::build`], with the cipher suites of `provider`, which is ring's with all or some
    /// of its suites.
    ///
    /// # Errors
    ///
    /// [`TlsError`].
    pub fn build_with(&self, provider: CryptoProvider) -> Result<Arc<ClientConfig>, TlsError> {
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&self.versions())
            .map_err(|error| TlsError::Versions(error.to_string()))?;
        let builder = builder.dangerous().with_custom_certificate_verifier(self.verifier()?);
        let certificates = pem(self.cert.as_deref(), self.cert_file.as_deref())?;
        let key = match (&self.key, &self.key_file) {
            (Some(key), _) => {
                Some((Path::new("key"), PrivateKeyDer::from_pem_slice(key.expose().as_bytes())))
            }
            (None, Some(path)) => Some((path.as_path(), PrivateKeyDer::from_pem_file(path))),
            (None, None) => None,
        };
        let config = match (certificates, key) {
            (None, None) => builder.with_no_client_auth(),
            (Some(certificates), Some((path, key))) => builder
                .with_client_auth_cert(certificates, key.map_err(|error| unreadable(path, &error))?)
                .map_err(|error| TlsError::Identity(error.to_string()))?,
            _ => {
                let reason = "cert_file and key_file belong together".to_owned();
                return Err(TlsError::Identity(reason));
            }
        };
        Ok(Arc::new(config))
    }

    /// Whether it names files of its own, which somebody may have got wrong.
    pub fn names_files(&self) -> bool {
        self.files().next().is_some() || self.ca.is_some() || self.cert.is_some()
    }

    /// Makes relative paths relative to `folder`.
    pub fn relative_to(&mut self, folder: &Path) {
        let files = [&mut self.ca_file, &mut self.cert_file, &mut self.key_file];
        files.into_iter().flatten().for_each(|file| *file = folder.join(&file));
    }

    /// What contradicts itself, without a look at any file.
    ///
    /// # Errors
    ///
    /// The contradiction.
    pub fn check(&self) -> Result<(), String> {
        for (name, given, file) in [
            ("ca", self.ca.is_some(), &self.ca_file),
            ("cert", self.cert.is_some(), &self.cert_file),
            ("key", self.key.is_some(), &self.key_file),
        ] {
            if given && file.is_some() {
                return Err(format!("only one of `{name}` and `{name}_file` can be given"));
            }
        }
        let is_known = self.cert.is_some() || self.cert_file.is_some();
        if is_known != (self.key.is_some() || self.key_file.is_some()) {
            let reason = "cert_file and key_file belong together".to_owned();
            return Err(TlsError::Identity(reason).to_string());
        }
        match (self.min_version, self.max_version) {
            (Some(min), Some(max)) if max < min => {
                Err("`max_version` is older than `min_version`".to_owned())
            }
            (_, Some(Version::V10 | Version::V11)) => {
                Err("versions of TLS before 1.2 are not spoken: `max_version` allows no other"
                    .to_owned())
            }
            _ => Ok(()),
        }
    }

    fn files(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.ca_file, &self.cert_file, &self.key_file].into_iter().flatten()
    }

    /// How the files are now: what was built is good for as long as this is the same (F56).
    pub fn stamps(&self) -> Vec<Stamp> {
        let of = |path: &PathBuf| {
            let file = std::fs::metadata(path).ok()?;
            Some((file.len(), file.modified().ok()?))
        };
        self.files().map(of).collect()
    }

    fn versions(&self) -> Vec<&'static SupportedProtocolVersion> {
        let (min, max) = (self.min_version, self.max_version);
        let known = [(Version::V12, &TLS12), (Version::V13, &TLS13)];
        let fits = |v: Version| min.is_none_or(|min| v >= min) && max.is_none_or(|max| v <= max);
        known.into_iter().filter(|(version, _)| fits(*version)).map(|(_, known)| known).collect()
    }

    /// What judges the peer's certificate: for those who want to see it whatever the verdict is.
    ///
    /// # Errors
    ///
    /// [`TlsError`].
    pub fn verifier(&self) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
        let provider = Arc::new(ring::default_provider());
        if self.insecure_skip_verify {
            return Ok(Arc::new(TakeAny { provider }));
        }
        let roots = Arc::new(self.roots()?);
        // Without lists of revoked certificates, only a store that is empty can be at fault.
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
        Ok(verifier.map_err(|_| TlsError::NoRoots)?)
    }

    fn roots(&self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        let given = pem(self.ca.as_deref(), self.ca_file.as_deref())?;
        let certificates = given.unwrap_or_else(|| rustls_native_certs::load_native_certs().certs);
        roots.add_parsable_certificates(certificates);
        if roots.is_empty() { Err(TlsError::NoRoots) } else { Ok(roots) }
    }
}

/// Certificates that are given, or stand in a file.
fn pem(
    given: Option<&str>,
    file: Option<&Path>,
) -> Result<Option<Vec<CertificateDer<'static>>>, TlsError> {
    let read = |text: &str| {
        let read = CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<Vec<_>, _>>();
        read.map_err(|error| TlsError::Identity(format!("the certificate is no PEM: {error}")))
    };
    match (given, file) {
        (Some(text), _) => read(text).map(Some),
        (None, Some(path)) => certificates(path).map(Some),
        (None, None) => Ok(None),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| unreadable(path, &error))?;
    if certificates.is_empty() {
        let reason = "it has no certificate".to_owned();
        return Err(TlsError::File { path: path.to_owned(), reason });
    }
    Ok(certificates)
}

fn unreadable(path: &Path, error: &rustls::pki_types::pem::Error) -> TlsError {
    TlsError::File { path: path.to_owned(), reason: error.to_string() }
}

/// Checks that the peer has the key of its certificate, and nothing else.
#[derive(Debug)]
struct TakeAny {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for TakeAny {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
