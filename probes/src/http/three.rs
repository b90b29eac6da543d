//! HTTP/3: a connection over QUIC that asks for one page after the other.
//!
//! Opening it and the TLS handshake are one, so both phases are told the time that they take together,
//! as blackbox_exporter does.
//!
//! Invariant: a connection whose certificate is not in order is never handed out, and none goes on when
//! nobody waits for it.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base::clock::Stopwatch;
use base::http::client::{Origin, Phases, TlsSession, address_of};
use base::http::{Full, Request, Response, header};
use bytes::{Buf, Bytes};
use h3::client::{RequestStream, SendRequest};
use h3::error::StreamError;
use h3_quinn::{BidiStream, OpenStreams};
use http_body_util::BodyExt;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ConnectionError, VarInt};
use tokio::net::UdpSocket;
use tokio_rustls::rustls::pki_types::CertificateDer;

use super::quic::Work;
use crate::Reason;
use crate::chain::{Seen, Trust};
use crate::network::Failed;

/// The most that the fields of an answer's head may have.
const HEAD: u64 = 64 << 10;
/// How much may be under way to us that we have not read.
const WINDOW: u32 = 1 << 20;
/// After so long a silence in spite of what we send the peer counts as gone.
const SILENCE: Duration = Duration::from_secs(30);
/// How many heads may come before the one of the answer.
const EARLY_HEADS: usize = 16;
/// The code for an end that is none of an error (RFC 9114, 8.1).
const NO_ERROR: VarInt = VarInt::from_u32(0x100);
/// What speaks of a connection, which HTTP/3 does otherwise (RFC 9114, 4.2).
const OF_CONNECTIONS: [&str; 5] =
    ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];

/// A connection.
pub(super) struct Three {
    work: Work,
    connection: quinn::Connection,
    sender: SendRequest<OpenStreams, Bytes>,
    stream: Option<RequestStream<BidiStream<Bytes>, Bytes>>,
    authority: String,
    pub(super) peer: SocketAddr,
    pub(super) tls: TlsSession,
}

impl Three {
    /// Opens a connection to `origin` over `socket`, which is connected to `peer`. The certificate
    /// must be for `name`.
    pub(super) async fn open(
        (socket, peer): (UdpSocket, SocketAddr),
        origin: &Origin,
        trust: &Trust,
        name: &str,
        phases: &mut Phases,
    ) -> Result<Self, Failed> {
        let watch = Stopwatch::start();
        let (tls, watched) = trust.watched()?;
        let crypto = QuicClientConfig::try_from(tls).map_err(|error| internal(&error))?;
        let mut config = quinn::ClientConfig::new(Arc::new(crypto));
        config.transport_config(Arc::new(transport()));
        let mut work = Work::new(socket, peer);
        let endpoint = work.endpoint().map_err(|error| internal(&error))?;
        let connecting = endpoint
            .connect_with(config, peer, name)
            .map_err(|error| Failed::new(Reason::CertificateName, error.to_string()))?;
        let connected = work.beside(connecting).await?;
        let seen = watched.of_quic();
        if let (Err(_), Ok(connection)) = (&seen, &connected) {
            connection.close(NO_ERROR, b"");
            work.flush().await;
        }
        let seen = seen?;
        let connection = connected.map_err(|error| not_connected(&error))?;
        phases.connect = Some(watch.elapsed());
        phases.tls = phases.connect;
        let mut builder = h3::client::builder();
        builder.max_field_section_size(HEAD);
        let built = builder.build(h3_quinn::Connection::new(connection.clone()));
        let (mut driver, sender) = work.beside(built).await?.map_err(|error| {
            Failed::new(Reason::ProtocolError, format!("HTTP/3 does not begin: {error}"))
        })?;
        work.begin(async move {
            poll_fn(|context| driver.poll_close(context)).await;
        });
        let (stream, authority, tls) = (None, origin.authority(), session(seen));
        Ok(Self { work, connection, sender, stream, authority, peer, tls })
    }

    /// Sends `request` and waits for the head of the answer.
    pub(super) async fn send(
        &mut self,
        mut request: Request<Full<Bytes>>,
        phases: &mut Phases,
    ) -> Result<Response<()>, Failed> {
        address_of(&mut request, true, &self.authority)
            .map_err(|error| Failed::new(Reason::BadRedirect, error.to_string()))?;
        let (mut head, body) = request.into_parts();
        OF_CONNECTIONS.iter().for_each(|name| while head.headers.remove(*name).is_some() {});
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        if !body.is_empty() {
            head.headers.insert(header::CONTENT_LENGTH, body.len().into());
        }
        let watch = Stopwatch::start();
        let answer = self.exchange(Request::from_parts(head, ()), body).await;
        phases.first_byte = Some(watch.elapsed());
        answer
    }

    async fn exchange(&mut self, head: Request<()>, body: Bytes) -> Result<Response<()>, Failed> {
        let sent = self.work.beside(self.sender.send_request(head)).await?;
        let mut stream = sent.map_err(|error| self.broken("no answer", &error))?;
        let answer = self.work.beside(async {
            // A peer may answer without reading all of the body.
            if !body.is_empty() {
                let _ = stream.send_data(body).await;
            }
            let _ = stream.finish().await;
            let mut answer = stream.recv_response().await?;
            for _ in 0..EARLY_HEADS {
                if !answer.status().is_informational() {
                    break;
                }
                answer = stream.recv_response().await?;
            }
            Ok(answer)
        });
        let answer = answer.await?.map_err(|error| self.broken("no answer", &error))?;
        self.stream = Some(stream);
        Ok(answer)
    }

    /// The next piece of the answer's body, nothing at its end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Failed> {
        let Some(stream) = &mut self.stream else { return Ok(None) };
        let piece = self.work.beside(async {
            let piece = stream.recv_data().await?;
            Ok(piece.map(|mut piece| piece.copy_to_bytes(piece.remaining())))
        });
        let piece = piece.await?;
        let piece = piece.map_err(|error| self.broken("answer broke off", &error))?;
        self.work.delivered(piece.as_ref().map_or(0, Bytes::len));
        Ok(piece)
    }

    /// Tells the peer that this was all.
    pub(super) async fn close(mut self) {
        self.connection.close(NO_ERROR, b"");
        self.work.flush().await;
    }

    /// Why a request failed.
    fn broken(&self, doing: &str, error: &StreamError) -> Failed {
        let reason = match self.connection.close_reason() {
            None if matches!(error, StreamError::RemoteTerminate { .. }) => Reason::ConnectionReset,
            // It is we who close where a peer does not keep to the protocol.
            None | Some(ConnectionError::LocallyClosed | ConnectionError::TransportError(_)) => {
                Reason::ProtocolError
            }
            Some(_) => Reason::ConnectionReset,
        };
        Failed::new(reason, format!("{doing}: {error}"))
    }
}

/// Limits on what a peer may have us keep.
fn transport() -> quinn::TransportConfig {
    let mut transport = quinn::TransportConfig::default();
    transport.max_concurrent_bidi_streams(VarInt::from_u32(0));
    // Those of HTTP/3 itself: control and two for its table of names; and one that means nothing.
    transport.max_concurrent_uni_streams(VarInt::from_u32(8));
    transport.stream_receive_window(VarInt::from_u32(WINDOW));
    transport.receive_window(VarInt::from_u32(2 * WINDOW));
    transport.datagram_receive_buffer_size(None);
    transport.max_idle_timeout(SILENCE.try_into().ok());
    transport.keep_alive_interval(Some(SILENCE / 3));
    transport
}

fn session(seen: Seen) -> TlsSession {
    TlsSession {
        version: seen.version.unwrap_or("TLS 1.3"),
        cipher: seen.cipher.unwrap_or_else(|| "unknown".to_owned()),
        certificates: seen.chain.into_iter().map(CertificateDer::from).collect(),
        is_http2: false,
    }
}

fn internal(error: &dyn std::fmt::Display) -> Failed {
    Failed::new(Reason::Internal, format!("QUIC cannot be set up: {error}"))
}

/// Why there is no connection, where the certificate is in order or was not seen.
fn not_connected(error: &ConnectionError) -> Failed {
    /// Codes that are alerts of TLS (RFC 9001, 4.8).
    const ALERTS: std::ops::Range<u64> = 0x100..0x200;
    let reason = match error {
        ConnectionError::TransportError(fault) if ALERTS.contains(&fault.code.into()) => {
            Reason::TlsFailed
        }
        ConnectionError::ConnectionClosed(close) if ALERTS.contains(&close.error_code.into()) => {
            Reason::TlsFailed
        }
        ConnectionError::TransportError(_) | ConnectionError::VersionMismatch => {
            Reason::ProtocolError
        }
        _ => Reason::ConnectionReset,
    };
    let doing = if reason == Reason::TlsFailed { "TLS handshake" } else { "connect" };
    Failed::new(reason, format!("{doing}: {error}"))
}
