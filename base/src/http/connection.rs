//! An open connection that speaks HTTP: 1.1, or 2 where TLS has agreed on it.
//!
//! Invariant: the connection works only while somebody waits for an answer, and with it ends
//! everything that was begun on it; it has no task of its own.

use std::fmt;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::header::HeaderValue;
use hyper::rt::Executor;
use hyper::{Request, Response, Uri, header};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::rustls;
use tokio_rustls::rustls::pki_types::CertificateDer;

use super::failure::{ClientError, Failure};
use super::origin::Origin;
use crate::clock::Stopwatch;

/// How long each phase took; those that were not reached are empty.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Phases {
    /// Resolving the name.
    pub resolve: Option<Duration>,
    /// Opening the connection.
    pub connect: Option<Duration>,
    /// The TLS handshake.
    pub tls: Option<Duration>,
    /// From the request to the first byte of the answer.
    pub first_byte: Option<Duration>,
    /// From the first byte to the last.
    pub transfer: Option<Duration>,
}

impl Phases {
    /// What is being done, by the first phase that is empty, on a way with or without TLS.
    pub fn doing(&self, tls: bool) -> &'static str {
        match self {
            Self { resolve: None, .. } => "resolving the name",
            Self { connect: None, .. } => "connecting",
            Self { tls: None, .. } if tls => "in the TLS handshake",
            Self { first_byte: None, .. } => "waiting for the answer to begin",
            _ => "reading the answer",
        }
    }
}

/// What a TLS handshake has agreed on.
#[derive(Clone, Debug)]
pub struct TlsSession {
    /// `TLS 1.2` or `TLS 1.3`.
    pub version: &'static str,
    /// The cipher suite by the name that IANA gives it.
    pub cipher: String,
    /// What the peer showed of itself, its own certificate first.
    pub certificates: Vec<CertificateDer<'static>>,
    /// Whether both want to go on by HTTP/2.
    pub is_http2: bool,
}

/// HTTP/2 and HTTP/1.1 by the names that ALPN has for them, the better first.
pub const HTTP2_OR_1: &[&[u8]] = &[b"h2", b"http/1.1"];

impl TlsSession {
    /// What was agreed on `connection`, whose handshake is done.
    pub fn of(connection: &rustls::ClientConnection) -> Self {
        let version = match connection.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3",
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLS 1.2",
            _ => "unknown",
        };
        let suite = connection.negotiated_cipher_suite();
        // rustls marks those of TLS 1.3, IANA does not.
        let cipher = suite.and_then(|suite| suite.suite().as_str()).unwrap_or("unknown");
        let cipher = cipher.replace("TLS13_", "TLS_");
        let chain = connection.peer_certificates().unwrap_or_default();
        let certificates = chain.iter().map(|one| one.clone().into_owned()).collect();
        let is_http2 = is_http2(connection);
        Self { version, cipher, certificates, is_http2 }
    }
}

/// Whether both sides of `connection`, whose handshake is done, want to go on by HTTP/2.
pub fn is_http2(connection: &rustls::ClientConnection) -> bool {
    connection.alpn_protocol() == Some(b"h2")
}

/// A socket that HTTP can be spoken on.
pub trait Socket: AsyncRead + AsyncWrite + Unpin + Send + Sync + 'static {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send + Sync + 'static> Socket for S {}

type Driver = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send + Sync>>;

/// An open connection; can serve several requests, one after the other.
pub struct Connection {
    sender: Sender,
    driver: Option<Driver>,
    is_tls: bool,
    authority: String,
    /// Whether a proxy reads the requests, which wants to be told the whole URL.
    to_proxy: bool,
    /// Who we are to it.
    proxy_authorization: Option<HeaderValue>,
    /// The address that was really dialled.
    pub peer: Option<SocketAddr>,
    /// What was agreed on, where it is encrypted.
    pub tls: Option<TlsSession>,
}

/// By which version requests are sent.
enum Sender {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl Connection {
    /// Speaks HTTP/1.1 to `origin` over `socket`, which was dialled at `peer`.
    ///
    /// # Errors
    ///
    /// [`Failure::Reset`].
    pub async fn open(
        socket: impl Socket,
        origin: &Origin,
        peer: Option<SocketAddr>,
        tls: Option<TlsSession>,
    ) -> Result<Self, ClientError> {
        Self::open_by(None, socket, origin, peer, tls).await
    }

    /// As [`Connection::open`], and reads by at most `piece` bytes at a time, where it is said.
    pub(super) async fn open_by(
        piece: Option<usize>,
        socket: impl Socket,
        origin: &Origin,
        peer: Option<SocketAddr>,
        tls: Option<TlsSession>,
    ) -> Result<Self, ClientError> {
        let mut builder = http1::Builder::new();
        builder.read_buf_exact_size(piece);
        let opened = builder.handshake(TokioIo::new(socket)).await;
        let (sender, driver) =
            opened.map_err(|error| ClientError::from_hyper("open HTTP", &error))?;
        Ok(Self::new(Sender::One(sender), Box::pin(driver), origin, peer, tls))
    }

    /// As [`Connection::open`], by HTTP/2, which TLS must have agreed on.
    ///
    /// # Errors
    ///
    /// [`Failure::Reset`], or [`Failure::Protocol`]: the peer does not speak it after all.
    pub async fn open_http2(
        socket: impl Socket,
        origin: &Origin,
        peer: Option<SocketAddr>,
        tls: Option<TlsSession>,
    ) -> Result<Self, ClientError> {
        let tasks = Tasks::default();
        let opened = http2::handshake(tasks.clone(), TokioIo::new(socket)).await;
        let (sender, connection) =
            opened.map_err(|error| ClientError::from_hyper("open HTTP/2", &error))?;
        Ok(Self::new(Sender::Two(sender), tasks.beside(connection), origin, peer, tls))
    }

    fn new(
        sender: Sender,
        driver: Driver,
        origin: &Origin,
        peer: Option<SocketAddr>,
        tls: Option<TlsSession>,
    ) -> Self {
        let authority = origin.authority();
        let (driver, is_tls) = (Some(driver), origin.tls);
        Self {
            sender,
            driver,
            is_tls,
            authority,
            to_proxy: false,
            proxy_authorization: None,
            peer,
            tls,
        }
    }

    /// The same connection, on which a proxy passes the requests on.
    #[must_use]
    pub fn to_proxy(self) -> Self {
        Self { to_proxy: true, ..self }
    }

    /// The same connection, on which the proxy is told who we are.
    pub(super) fn knowing_us(self, proxy_authorization: Option<HeaderValue>) -> Self {
        Self { proxy_authorization, ..self }
    }

    /// Sends `request` and waits for the head of the answer. The URL may be absolute; what is sent
    /// is its path, to a proxy the whole of it, and its host where no `Host` is set.
    ///
    /// # Errors
    ///
    /// [`Failure::Reset`] or [`Failure::Protocol`].
    pub async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
        phases: &mut Phases,
    ) -> Result<Response<Incoming>, ClientError> {
        let request = match &self.sender {
            Sender::One(_) => self.for_one(request)?,
            Sender::Two(_) => {
                let mut request = request;
                address_of(&mut request, self.is_tls, &self.authority)?;
                request
            }
        };
        let watch = Stopwatch::start();
        let answer = match &mut self.sender {
            Sender::One(sender) => drive(&mut self.driver, sender.send_request(request)).await,
            Sender::Two(sender) => drive(&mut self.driver, sender.send_request(request)).await,
        };
        phases.first_byte = Some(watch.elapsed());
        answer.map_err(|error| ClientError::from_hyper("no answer", &error))
    }

    /// With a path and `Host`, or the whole URL for a proxy.
    fn for_one(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Request<Full<Bytes>>, ClientError> {
        if !self.to_proxy {
            let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
            let path = path.parse().map_err(|e| ClientError::new(Failure::Address, e))?;
            *request.uri_mut() = path;
        }
        if let Some(value) = &self.proxy_authorization {
            request.headers_mut().insert(header::PROXY_AUTHORIZATION, value.clone());
        }
        if !request.headers().contains_key(header::HOST) {
            let host = self.authority.parse().map_err(|e| ClientError::new(Failure::Address, e))?;
            request.headers_mut().insert(header::HOST, host);
        }
        Ok(request)
    }

    /// The next piece of an answer's body, nothing at its end.
    ///
    /// # Errors
    ///
    /// [`Failure::Reset`]: the body broke off.
    pub async fn next(&mut self, body: &mut Incoming) -> Result<Option<Bytes>, ClientError> {
        loop {
            match drive(&mut self.driver, body.frame()).await {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
                Some(Err(error)) => {
                    return Err(ClientError::from_hyper("answer broke off", &error));
                }
            }
        }
    }

    /// Whether the connection can take a further request; it may turn out closed all the same.
    pub async fn is_open(&mut self) -> bool {
        match &mut self.sender {
            Sender::One(sender) => drive(&mut self.driver, sender.ready()).await.is_ok(),
            Sender::Two(sender) => drive(&mut self.driver, sender.ready()).await.is_ok(),
        }
    }
}

/// Makes the URL of `request` whole: HTTP/2 and HTTP/3 have the host in it, from where it goes out as
/// `:authority` (RFC 9113, 8.3.1; RFC 9114, 4.3.1). A `Host` that is set is preferred to `authority`.
///
/// # Errors
///
/// [`Failure::Address`].
pub fn address_of<B>(
    request: &mut Request<B>,
    is_tls: bool,
    authority: &str,
) -> Result<(), ClientError> {
    let host = request.headers_mut().remove(header::HOST);
    let host = host.as_ref().and_then(|host| host.to_str().ok()).unwrap_or(authority);
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let uri = Uri::builder()
        .scheme(if is_tls { "https" } else { "http" })
        .authority(host)
        .path_and_query(path)
        .build()
        .map_err(|error| ClientError::new(Failure::Address, error))?;
    *request.uri_mut() = uri;
    Ok(())
}

/// Waits for `answer` while the connection does its work: `driver`, until it has ended.
pub async fn drive<D: Future + Unpin, T>(
    driver: &mut Option<D>,
    answer: impl Future<Output = T>,
) -> T {
    tokio::pin!(answer);
    if let Some(connection) = driver {
        tokio::select! {
            biased;
            answer = answer.as_mut() => return answer,
            // The connection has ended; what it still had for us is in the answer.
            _ = connection => {}
        }
        *driver = None;
    }
    answer.await
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What HTTP/2 has to do beside the requests, begun and not yet taken up.
#[derive(Clone, Default)]
struct Tasks(Arc<Mutex<Vec<Task>>>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, task: F) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Box::pin(task));
    }
}

impl Tasks {
    /// `connection` and what it begins, as one.
    fn beside(
        self,
        connection: impl Future<Output = hyper::Result<()>> + Send + 'static,
    ) -> Driver {
        // Nobody else has it: the lock only says that it can be shared.
        let mut work = Mutex::new((Box::pin(connection), Vec::<Task>::new()));
        Box::pin(poll_fn(move |context| {
            let (connection, running) = work.get_mut().unwrap_or_else(PoisonError::into_inner);
            let ended = connection.as_mut().poll(context);
            loop {
                running.retain_mut(|task| task.as_mut().poll(context).is_pending());
                // What these have begun has not been asked yet.
                let mut begun = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                if begun.is_empty() {
                    return ended;
                }
                running.append(&mut begun);
            }
        }))
    }
}
