//! TLS as a client: whom to trust, and who we are.
//!
//! Invariant: without `insecure_skip_verify` a certificate is checked in full.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    self, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

/// The settings that Prometheus calls `tls_config`.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// The authorities to trust in place of the system's, in PEM.
    pub ca_file: Option<PathBuf>,
    /// Our certificate, in PEM.
    pub cert_file: Option<PathBuf>,
    /// Its key, in PEM.
    pub key_file: Option<PathBuf>,
    /// The name that the certificate must be for, where it is not the address's.
    pub server_name: Option<String>,
    /// Takes any certificate.
    pub insecure_skip_verify: bool,
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
    /// The system has no authorities.
    #[error("the system has no certificate authorities; install ca-certificates or set ca_file")]
    NoRoots,
}

/// What a client trusts and offers. The system's authorities take a megabyte and some milliseconds,
/// which is for those to pay who really speak TLS: they are read at the first handshake.
pub(super) struct Trust {
    config: TlsConfig,
    protocols: Vec<Vec<u8>>,
    built: OnceLock<Arc<ClientConfig>>,
}

impl Trust {
    pub(super) fn new(config: TlsConfig, protocols: Vec<Vec<u8>>) -> Self {
        Self { config, protocols, built: OnceLock::new() }
    }

    /// The same, which offers `protocols` by ALPN.
    pub(super) fn with_protocols(&self, protocols: Vec<Vec<u8>>) -> Self {
        Self::new(self.config.clone(), protocols)
    }

    /// The ready configuration.
    pub(super) fn get(&self) -> Result<Arc<ClientConfig>, TlsError> {
        if let Some(built) = self.built.get() {
            return Ok(Arc::clone(built));
        }
        let mut tls = self.config.build()?;
        if !self.protocols.is_empty() {
            let mut changed = ClientConfig::clone(&tls);
            changed.alpn_protocols.clone_from(&self.protocols);
            tls = Arc::new(changed);
        }
        Ok(Arc::clone(self.built.get_or_init(|| tls)))
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
            .with_safe_default_protocol_versions()
            .expect("ring has cipher suites for every version of TLS that rustls has");
        let builder = builder.dangerous().with_custom_certificate_verifier(self.verifier()?);
        let config = match (&self.cert_file, &self.key_file) {
            (None, None) => builder.with_no_client_auth(),
            (Some(cert), Some(key)) => {
                let key = PrivateKeyDer::from_pem_file(key).map_err(|e| unreadable(key, &e))?;
                builder
                    .with_client_auth_cert(certificates(cert)?, key)
                    .map_err(|error| TlsError::Identity(error.to_string()))?
            }
            _ => {
                let reason = "cert_file and key_file belong together".to_owned();
                return Err(TlsError::Identity(reason));
            }
        };
        Ok(Arc::new(config))
    }

    /// Whether it names files of its own, which somebody may have got wrong.
    pub fn names_files(&self) -> bool {
        self.ca_file.is_some() || self.cert_file.is_some() || self.key_file.is_some()
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
        let certificates = match &self.ca_file {
            Some(path) => certificates(path)?,
            None => rustls_native_certs::load_native_certs().certs,
        };
        roots.add_parsable_certificates(certificates);
        if roots.is_empty() { Err(TlsError::NoRoots) } else { Ok(roots) }
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
