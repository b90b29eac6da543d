//! A server that misbehaves, in as many ways as servers do.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::kinds::Kind;

/// What a server does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing listens.
    Refused,
    /// The connection is cut with a reset.
    Reset,
    /// Not a word.
    Silent,
    /// The first byte, and no other for a second.
    Slow,
    /// The beginning, then the end.
    Truncated,
    /// The beginning, then no end.
    Oversized,
    /// An answer of a web server.
    WrongProtocol,
    /// Bytes that are no text.
    InvalidUtf8,
}

impl Fault {
    pub(crate) const ALL: [Self; 8] = [
        Self::Refused,
        Self::Reset,
        Self::Silent,
        Self::Slow,
        Self::Truncated,
        Self::Oversized,
        Self::WrongProtocol,
        Self::InvalidUtf8,
    ];
}

pub(crate) const WEB: &[u8] = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n<html>\r\n";
pub(crate) const NO_TEXT: &[u8] =
    b"\xff\xfe\x80\x81\xc3\x28\xf0\x28\x8c\xbc\xff\xff\xff\xff\r\n\xff\r\n";

/// Takes one connection and misbehaves; ends when it does nothing more, and hands out what has to
/// be kept so that the connection stays.
pub(crate) async fn misbehave(listener: TcpListener, kind: &Kind, fault: Fault) -> Vec<TcpStream> {
    if fault == Fault::Refused {
        drop(listener);
        return Vec::new();
    }
    let (mut socket, _) = listener.accept().await.unwrap();
    if kind.is_asked && fault != Fault::Reset {
        let _ = socket.read(&mut [0; 4096]).await;
    }
    match fault {
        Fault::Reset => {
            // With a linger of zero, closing is a reset.
            socket.set_zero_linger().unwrap();
            return Vec::new();
        }
        Fault::Slow => {
            let _ = socket.write_all(&kind.begins[..kind.begins.len().min(1)]).await;
        }
        Fault::Truncated => {
            let _ = socket.write_all(kind.begins).await;
            drain(socket).await;
            return Vec::new();
        }
        Fault::Oversized => {
            let _ = socket.write_all(kind.begins).await;
            while socket.write_all(&[b'-'; 65_536]).await.is_ok() {}
        }
        Fault::WrongProtocol | Fault::InvalidUtf8 => {
            let said = if fault == Fault::InvalidUtf8 { NO_TEXT } else { WEB };
            let _ = socket.write_all(said).await;
            drain(socket).await;
            return Vec::new();
        }
        Fault::Silent | Fault::Refused => {}
    }
    vec![socket]
}

/// Says that nothing more will come, and reads what still comes, so that no reset overtakes what
/// was said.
async fn drain(mut socket: TcpStream) {
    let _ = socket.shutdown().await;
    while socket.read(&mut [0; 4096]).await.is_ok_and(|length| length > 0) {}
}

/// Answers one datagram wrongly; ends when it does nothing more.
pub(crate) async fn mumble(socket: UdpSocket, kind: &Kind, fault: Fault) -> Option<UdpSocket> {
    if fault == Fault::Refused {
        return None;
    }
    let mut question = [0; 2048];
    let (_, from) = socket.recv_from(&mut question).await.unwrap();
    let answer = match fault {
        Fault::Truncated => kind.begins.to_vec(),
        Fault::WrongProtocol => WEB.to_vec(),
        Fault::InvalidUtf8 => NO_TEXT.to_vec(),
        Fault::Oversized => vec![b'-'; 60_000],
        _ => return Some(socket),
    };
    // Whoever asks knows its answer by the first bytes.
    let mut answer = answer;
    if kind.name == "dns" {
        answer[..2].copy_from_slice(&question[..2]);
    }
    socket.send_to(&answer, from).await.unwrap();
    Some(socket)
}

/// The folder with the certificates.
pub(crate) fn certificate(name: &str) -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kinds/certificates");
    format!("{folder}/{name}")
}

/// Takes one connection and makes a TLS handshake with that certificate.
pub(crate) async fn show_certificate(listener: TcpListener, kind: &Kind, name: &str) {
    let file = |end: &str| certificate(&format!("{name}.{end}"));
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(Path::new(&file("pem"))).unwrap().collect();
    let key = PrivateKeyDer::from_pem_file(Path::new(&file("key"))).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.unwrap(), key)
        .unwrap();
    let (mut socket, _) = listener.accept().await.unwrap();
    let before = kind.before_tls.unwrap();
    if kind.is_asked && !before.is_empty() {
        let _ = socket.read(&mut [0; 4096]).await;
    }
    socket.write_all(before).await.unwrap();
    let _ = socket.read_exact(&mut vec![0; kind.asks_tls]).await;
    if let Ok(mut socket) = TlsAcceptor::from(Arc::new(config)).accept(socket).await {
        // Until the probe has looked and hangs up.
        while socket.read(&mut [0; 4096]).await.is_ok_and(|length| length > 0) {}
    }
}

/// A port on which a listener waits.
pub(crate) async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}
