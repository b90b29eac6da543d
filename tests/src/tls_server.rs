//! A web server behind TLS, with a certificate of an authority that nobody knows.
//!
//! Invariant: it answers every request alike, and ends with its owner.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The server.
pub struct TlsServer {
    address: SocketAddr,
    folder: TempDir,
    _runtime: Runtime,
}

impl TlsServer {
    /// As [`TlsServer::start`], but TLS begins after a line was said and one was heard.
    pub fn after_a_word(answer: &'static str) -> Self {
        Self::serve(answer, true)
    }

    /// A server on a free port of 127.0.0.1 that gives `answer` to every request; its certificate
    /// is for `localhost` and 127.0.0.1 and expires before its authority's.
    pub fn start(answer: &'static str) -> Self {
        Self::serve(answer, false)
    }

    fn serve(answer: &'static str, talks: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        let openssl = |line: &str| {
            let mut command = Command::new("openssl");
            let made = command.args(line.split(' ')).current_dir(folder.path()).output().unwrap();
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        };
        openssl(
            "req -x509 -newkey rsa:2048 -nodes -days 60 -subj /CN=authority -keyout ca-key.pem -out ca.pem",
        );
        openssl(
            "req -newkey rsa:2048 -nodes -subj /O=Acme,Inc/CN=localhost -keyout key.pem -out request.pem",
        );
        std::fs::write(file("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n").unwrap();
        openssl(
            "x509 -req -in request.pem -CA ca.pem -CAkey ca-key.pem -days 30 -extfile names -out cert.pem",
        );
        let certificate = CertificateDer::from_pem_file(file("cert.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(file("key.pem")).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    if talks {
                        let _ = socket.write_all(b"220 ready\r\n").await;
                        while socket.read_u8().await.is_ok_and(|byte| byte != b'\n') {}
                        let _ = socket.write_all(b"220 go on\r\n").await;
                    }
                    let Ok(mut socket) = acceptor.accept(socket).await else { return };
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n")
                        && socket.read_buf(&mut head).await.unwrap_or(0) > 0
                    {}
                    // A client that goes away is its own affair.
                    let _ = socket.write_all(answer.as_bytes()).await;
                    let _ = socket.shutdown().await;
                });
            }
        });
        Self { address, folder, _runtime: runtime }
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The certificate of the authority, in PEM.
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }
}
