//! TLS as a server: who we are, and whom we ask who they are.
//!
//! Invariant: a client certificate that is asked for is checked in full: chain, dates, purpose and,
//! where names are given, name. What cannot be checked is never taken.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime,
};
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::server::{
    NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier,
};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig,
    SignatureScheme, SupportedCipherSuite, SupportedProtocolVersion,
};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::diagnostic::{Diagnostics, Place, Spanned};
use crate::secret::Secret;

/// The settings that Prometheus calls `tls_server_config`, as written.
#[derive(Clone, Debug, Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsServerConfig {
    /// Our certificate, in PEM.
    cert: Option<Spanned<String>>,
    /// Its key, in PEM.
    key: Option<Spanned<Secret>>,
    /// Who vouches for clients, in PEM.
    client_ca: Option<Spanned<String>>,
    /// The file with our certificate, in PEM.
    cert_file: Option<Spanned<PathBuf>>,
    /// The file with its key, in PEM.
    key_file: Option<Spanned<PathBuf>>,
    /// The file with who vouches for clients, in PEM.
    client_ca_file: Option<Spanned<PathBuf>>,
    /// Certificates of clients that are no longer good: lists of the authorities, in PEM. Ours.
    client_crl_file: Option<Spanned<PathBuf>>,
    /// Whether clients must show a certificate, as Go names it.
    client_auth_type: Option<Spanned<String>>,
    /// Names of which a client's certificate must have one.
    client_allowed_sans: Vec<Spanned<String>>,
    /// The oldest version: `TLS12` or `TLS13`.
    min_version: Option<Spanned<String>>,
    /// The newest version: `TLS12` or `TLS13`.
    max_version: Option<Spanned<String>>,
    /// The ciphers of TLS 1.2 that may be used.
    cipher_suites: Vec<Spanned<String>>,
    /// Taken because it changes nothing that one sees.
    prefer_server_cipher_suites: Option<bool>,
    /// The groups of the key exchange that may be used.
    curve_preferences: Vec<Spanned<String>>,
}

/// TLS as a server, ready to use.
#[derive(Clone, Debug)]
pub(super) struct ServerTls {
    /// What a handshake needs.
    pub(super) config: Arc<ServerConfig>,
    /// Whether only those get in who have a certificate of an authority that we trust.
    pub(super) requires_client: bool,
    /// When our own certificate expires, in seconds since the Unix epoch; none where it does not say.
    pub(super) not_after: Option<i64>,
}

impl TlsServerConfig {
    /// The files that it names; relative ones are relative to `folder`.
    pub(super) fn files(&self, folder: &Path) -> Vec<PathBuf> {
        let files = [&self.cert_file, &self.key_file, &self.client_ca_file, &self.client_crl_file];
        files.into_iter().flatten().map(|file| folder.join(&file.value)).collect()
    }

    /// Of these the one with the key.
    pub(super) fn secret_file(&self, folder: &Path) -> Option<PathBuf> {
        self.key_file.as_ref().map(|file| folder.join(&file.value))
    }

    /// The ready configuration; files are relative to `folder`, faults of the whole are at `place`.
    pub(super) fn build(
        &self,
        place: Place,
        folder: &Path,
        diagnostics: &mut Diagnostics,
    ) -> Option<ServerTls> {
        let pem = |text: Option<&str>, file: &Option<Spanned<PathBuf>>| match (text, file) {
            (Some(text), _) => Ok(text.as_bytes().to_vec()),
            (None, Some(file)) => {
                let path = folder.join(&file.value);
                std::fs::read(&path)
                    .map_err(|error| format!("cannot read `{}`: {error}", path.display()))
            }
            (None, None) => Ok(Vec::new()),
        };
        let cert = pem(self.cert.as_ref().map(|cert| cert.value.as_str()), &self.cert_file);
        let key = pem(self.key.as_ref().map(|key| key.value.expose()), &self.key_file);
        let ca = pem(self.client_ca.as_ref().map(|ca| ca.value.as_str()), &self.client_ca_file);
        let at = |inline: Option<Place>, file: &Option<Spanned<PathBuf>>| {
            file.as_ref().map(|file| file.place).or(inline).unwrap_or(place)
        };
        let cert_place = at(self.cert.as_ref().map(Into::into), &self.cert_file);
        let key_place = at(self.key.as_ref().map(Into::into), &self.key_file);
        let ca_place = at(self.client_ca.as_ref().map(Into::into), &self.client_ca_file);
        self.contradictions(place, diagnostics);

        let chain = cert.and_then(|pem| certificates(&pem));
        let chain = noted(chain, cert_place, diagnostics);
        let key = key.and_then(|pem| {
            PrivateKeyDer::from_pem_slice(&pem).map_err(|_| "it has no private key in PEM".into())
        });
        let key = noted(key, key_place, diagnostics);
        let versions = self.versions(diagnostics);
        let provider = Arc::new(self.provider(diagnostics));
        let (verifier, requires_client) =
            self.verifier(ca, (ca_place, folder), &provider, place, diagnostics)?;
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .map_err(|error| error.to_string());
        let builder = noted(builder, place, diagnostics)?;
        let has_verifier = verifier.is_some();
        let builder = match verifier {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let chain = chain?;
        let not_after = chain.first().and_then(|certificate| not_after(certificate));
        let config = builder
            .with_single_cert(chain, key?)
            .map_err(|error| format!("certificate and key do not fit each other: {error}"));
        let mut config = noted(config, cert_place, diagnostics)?;
        config.ignore_client_order = self.prefer_server_cipher_suites.unwrap_or(true);
        if has_verifier {
            // A session that goes on would not be asked again, though its certificate has expired.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Some(ServerTls { config: Arc::new(config), requires_client, not_after })
    }

    /// What is there twice, or not at all.
    fn contradictions(&self, place: Place, diagnostics: &mut Diagnostics) {
        let cert = (self.cert.as_ref().map(Place::from), &self.cert_file, "cert");
        let key = (self.key.as_ref().map(Place::from), &self.key_file, "key");
        let ca = (self.client_ca.as_ref().map(Place::from), &self.client_ca_file, "client_ca");
        for (inline, file, name) in [&cert, &key, &ca] {
            if let (Some(inline), Some(_)) = (inline, file) {
                let message = format!("only one of `{name}` and `{name}_file` can be given");
                diagnostics.report(*inline, message);
            }
        }
        for (inline, file, name) in [&cert, &key] {
            if inline.is_none() && file.is_none() {
                diagnostics.report(place, format!("`{name}_file` is missing"));
            }
        }
    }

    /// What checks clients, if they are asked, and whether each must have a certificate.
    fn verifier(
        &self,
        ca: Result<Vec<u8>, String>,
        (ca_place, folder): (Place, &Path),
        provider: &Arc<CryptoProvider>,
        place: Place,
        diagnostics: &mut Diagnostics,
    ) -> Option<(Option<Arc<dyn ClientCertVerifier>>, bool)> {
        let kind = self.client_auth_type.as_ref();
        let has_ca = self.client_ca.is_some() || self.client_ca_file.is_some();
        let kind_place = kind.map_or(place, |kind| kind.place);
        let required = match kind.map_or("NoClientCert", |kind| kind.value.as_str()) {
            "RequireAndVerifyClientCert" => true,
            "VerifyClientCertIfGiven" => false,
            "" | "NoClientCert" => {
                if has_ca || self.client_crl_file.is_some() || !self.client_allowed_sans.is_empty()
                {
                    let message = "authorities of clients are given, but clients are not asked";
                    let help = "add `client_auth_type: RequireAndVerifyClientCert`";
                    diagnostics.report_with_help(ca_place, message, help);
                    return None;
                }
                return Some((None, false));
            }
            weak @ ("RequestClientCert" | "RequireAnyClientCert") => {
                let message = format!("`{weak}` asks for a certificate and does not check it");
                let help = "write `RequireAndVerifyClientCert`";
                diagnostics.report_with_help(kind_place, message, help);
                return None;
            }
            other => {
                let message = format!("`{other}` is not a way to ask clients who they are");
                let help = "write `NoClientCert`, `VerifyClientCertIfGiven` or `RequireAndVerifyClientCert`";
                diagnostics.report_with_help(kind_place, message, help);
                return None;
            }
        };
        if !has_ca {
            let message = "clients are asked for a certificate, but no authority is trusted";
            diagnostics.report_with_help(kind_place, message, "add `client_ca_file`");
            return None;
        }
        let roots = noted(ca.and_then(|pem| certificates(&pem)), ca_place, diagnostics)?;
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(roots);
        let revoked = self.revoked(folder, diagnostics)?;
        // One whose authority gives no list is refused: nobody could take it back.
        let builder =
            WebPkiClientVerifier::builder_with_provider(Arc::new(store), Arc::clone(provider))
                .with_crls(revoked)
                .only_check_end_entity_revocation();
        let builder = if required { builder } else { builder.allow_unauthenticated() };
        let verifier = builder.build().map_err(|error| {
            let list = self.client_crl_file.as_ref();
            match (error, list) {
                (VerifierBuilderError::InvalidCrl(error), Some(list)) => {
                    let message =
                        format!("a list of revoked certificates cannot be used: {error:?}");
                    let help = "it must be of version 2 and have a number, as `openssl ca -gencrl` \
                                makes it with `crlnumber` and `crl_extensions`";
                    diagnostics.report_with_help(list, message, help);
                }
                (error, _) => diagnostics.report(ca_place, error.to_string()),
            }
        });
        let verifier = verifier.ok()?;
        let names: Vec<String> =
            self.client_allowed_sans.iter().map(|name| name.value.clone()).collect();
        let verifier: Arc<dyn ClientCertVerifier> = match names.is_empty() {
            true => verifier,
            false => Arc::new(NamedClients { verifier, names }),
        };
        Some((Some(verifier), required))
    }

    /// The lists of certificates that their authorities have taken back.
    fn revoked(
        &self,
        folder: &Path,
        diagnostics: &mut Diagnostics,
    ) -> Option<Vec<CertificateRevocationListDer<'static>>> {
        let Some(file) = &self.client_crl_file else { return Some(Vec::new()) };
        let path = folder.join(&file.value);
        let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_file_iter(&path)
            .and_then(Iterator::collect)
            .map_err(|error| format!("cannot read `{}`: {error}", path.display()));
        let lists = lists.and_then(|lists| match lists.is_empty() {
            true => Err(format!("`{}` has no list of revoked certificates", path.display())),
            false => Ok(lists),
        });
        noted(lists, file.place, diagnostics)
    }

    fn versions(&self, diagnostics: &mut Diagnostics) -> Vec<&'static SupportedProtocolVersion> {
        let mut number = |version: &Option<Spanned<String>>, default: u8| match version {
            None => default,
            Some(version) => match version.value.as_str() {
                "TLS12" => 12,
                "TLS13" => 13,
                other => {
                    let message = format!("`{other}` is not a version of TLS that we speak");
                    diagnostics.report_with_help(version, message, "write `TLS12` or `TLS13`");
                    default
                }
            },
        };
        let (min, max) = (number(&self.min_version, 12), number(&self.max_version, 13));
        if let (true, Some(version)) = (min > max, &self.max_version) {
            diagnostics.report(version, "`max_version` is below `min_version`");
        }
        let all = [(13, &TLS13), (12, &TLS12)];
        let within = |(n, _): &(u8, _)| (min..=max).contains(n);
        all.into_iter().filter(within).map(|(_, version)| version).collect()
    }

    /// The algorithms, in the order of preference.
    fn provider(&self, diagnostics: &mut Diagnostics) -> CryptoProvider {
        let mut provider = ring::default_provider();
        if !self.cipher_suites.is_empty() {
            let known = std::mem::take(&mut provider.cipher_suites);
            let name = |suite: &SupportedCipherSuite| format!("{:?}", suite.suite());
            // As in Go, those of TLS 1.3 are not chosen.
            let mut chosen: Vec<_> =
                known.iter().filter(|suite| name(suite).starts_with("TLS13_")).copied().collect();
            let old: Vec<String> =
                known.iter().map(name).filter(|name| !name.starts_with("TLS13_")).collect();
            for wanted in &self.cipher_suites {
                match known.iter().find(|suite| name(suite) == wanted.value) {
                    Some(suite) => chosen.push(*suite),
                    None => {
                        let message = format!("there is no cipher suite `{}`", wanted.value);
                        let help = format!("there are {}", old.join(", "));
                        diagnostics.report_with_help(wanted, message, help);
                    }
                }
            }
            provider.cipher_suites = chosen;
        }
        if !self.curve_preferences.is_empty() {
            let known = std::mem::take(&mut provider.kx_groups);
            for wanted in &self.curve_preferences {
                let ours = match wanted.value.as_str() {
                    "CurveP256" => "secp256r1",
                    "CurveP384" => "secp384r1",
                    other => other,
                };
                match known.iter().find(|group| format!("{:?}", group.name()) == ours) {
                    Some(group) => provider.kx_groups.push(*group),
                    None => {
                        let message = format!("there is no curve `{}`", wanted.value);
                        let help = "there are `X25519`, `CurveP256` and `CurveP384`";
                        diagnostics.report_with_help(wanted, message, help);
                    }
                }
            }
        }
        provider
    }
}

/// What there is, or nothing once what is wrong was reported.
fn noted<T>(result: Result<T, String>, place: Place, diagnostics: &mut Diagnostics) -> Option<T> {
    result.map_err(|message| diagnostics.report(place, message)).ok()
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err("it has no certificate in PEM".into()),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(format!("it cannot be read as PEM: {error}")),
    }
}

/// When a certificate expires, in seconds since the Unix epoch.
pub fn not_after(certificate: &[u8]) -> Option<i64> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

/// Takes only certificates with one of these names.
#[derive(Debug)]
struct NamedClients {
    verifier: Arc<dyn ClientCertVerifier>,
    names: Vec<String>,
}

impl NamedClients {
    fn is_named(&self, certificate: &[u8]) -> bool {
        let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return false };
        let Ok(Some(names)) = certificate.subject_alternative_name() else { return false };
        names.value.general_names.iter().any(|name| {
            let text = match name {
                GeneralName::DNSName(text)
                | GeneralName::RFC822Name(text)
                | GeneralName::URI(text) => (*text).to_owned(),
                GeneralName::IPAddress(bytes) => match address(bytes) {
                    Some(address) => address.to_string(),
                    None => return false,
                },
                _ => return false,
            };
            self.names.contains(&text)
        })
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

impl ClientCertVerifier for NamedClients {
    fn client_auth_mandatory(&self) -> bool {
        self.verifier.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.verifier.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.verifier.verify_client_cert(certificate, chain, now)?;
        match self.is_named(certificate) {
            true => Ok(verified),
            false => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
