//! HTTP as a client: one connection at a time, each phase of it timed and its failures told apart.
//!
//! ```text
//! resolve ─▶ connect ─▶ TLS ─▶ (request sent) first byte ─▶ transfer
//! ```
//!
//! The connection is driven by whoever waits for its answer, so it needs no task of its own.
//!
//! Invariant: nothing here limits time or size; the caller does, by dropping the future or by
//! ceasing to ask for pieces. No redirect is followed and no cookie kept.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::HeaderValue;
use hyper::{Request, Response, header};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{self, CertificateError};

use super::failure::rustls_error;
pub use super::failure::{ClientError, Failure};
use super::lookup;
use super::names::Names;
pub use super::origin::Origin;
pub use super::proxy::Proxy;
use super::tls::{TlsConfig, TlsError, Trust};
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

/// Opens connections, all with the same trust.
#[derive(Clone)]
pub struct Client {
    trust: Arc<Trust>,
    server_name: Option<String>,
    /// Names that were resolved before; none where each look must be a fresh one.
    names: Option<Names>,
    /// Who passes requests on.
    proxy: Option<Arc<Proxy>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

impl Client {
    /// A client that trusts as `tls` says; files that it names are read here and now.
    ///
    /// # Errors
    ///
    /// A file named in `tls` cannot be used.
    pub fn new(tls: &TlsConfig) -> Result<Self, TlsError> {
        let trust = Trust::new(tls.clone(), Vec::new());
        if tls.names_files() {
            trust.get()?;
        }
        let server_name = tls.server_name.clone();
        Ok(Self { trust: Arc::new(trust), server_name, names: None, proxy: None })
    }

    /// The same client, which goes on for some minutes with what names were resolved to before while
    /// nobody resolves them: for whoever wants to get through, not to find out whether one can.
    #[must_use]
    pub fn remembering(self) -> Self {
        Self { names: Some(Names::default()), ..self }
    }

    /// The same client, which reaches others through `proxy`.
    #[must_use]
    pub fn through(self, proxy: Proxy) -> Self {
        Self { proxy: Some(Arc::new(proxy)), ..self }
    }

    /// Opens a connection to `origin`, noting how long the phases took. Through a proxy these are
    /// the times that it takes to reach the proxy.
    ///
    /// # Errors
    ///
    /// [`ClientError`], in the phase that the first empty field of `phases` names.
    pub async fn connect(
        &self,
        origin: &Origin,
        phases: &mut Phases,
    ) -> Result<Connection, ClientError> {
        let proxy = self.proxy.as_ref().filter(|proxy| proxy.serves(origin));
        let next = proxy.map_or(origin, |proxy| proxy.origin());
        let watch = Stopwatch::start();
        let addresses = match &self.names {
            Some(names) => names.resolve(&next.host, next.port).await?,
            None => resolve(&next.host, next.port).await?,
        };
        phases.resolve = Some(watch.elapsed());

        let watch = Stopwatch::start();
        let mut socket = dial(&addresses).await?;
        phases.connect = Some(watch.elapsed());
        match proxy {
            Some(proxy) if origin.tls => proxy.tunnel(&mut socket, origin).await?,
            Some(proxy) => {
                let connection = self.speak(socket, origin, phases).await?;
                return Ok(connection.to_proxy().knowing_us(proxy.authorization().cloned()));
            }
            None => {}
        }
        self.speak(socket, origin, phases).await
    }

    /// As [`Client::connect`], on a connection that whoever calls has opened: so that it is theirs
    /// to say which address of `origin` is dialled, and from where.
    ///
    /// # Errors
    ///
    /// [`ClientError`] of the TLS handshake.
    pub async fn speak(
        &self,
        socket: TcpStream,
        origin: &Origin,
        phases: &mut Phases,
    ) -> Result<Connection, ClientError> {
        let peer = socket.peer_addr().ok();
        // Small requests go out at once.
        let _ = socket.set_nodelay(true);
        if !origin.tls {
            return Connection::open(socket, origin, peer, None).await;
        }

        // Apart, so that those who do not encrypt need no room for it.
        Box::pin(async {
            let watch = Stopwatch::start();
            let socket = self.handshake(socket, &origin.host).await?;
            phases.tls = Some(watch.elapsed());
            let session = TlsSession::of(socket.get_ref().1);
            Connection::open(socket, origin, peer, Some(session)).await
        })
        .await
    }

    /// The same client, which expects the certificate to be for `name`, whatever host it dials.
    #[must_use]
    pub fn with_server_name(&self, name: &str) -> Self {
        Self { server_name: Some(name.to_owned()), ..self.clone() }
    }

    /// The same client, which offers `protocols` by ALPN.
    #[must_use]
    pub fn with_protocols(&self, protocols: &[&[u8]]) -> Self {
        let protocols = protocols.iter().map(|name| name.to_vec()).collect();
        let trust = Arc::new(self.trust.with_protocols(protocols));
        Self { trust, ..self.clone() }
    }

    /// Whether the configuration names whom the certificate must be for.
    pub fn has_server_name(&self) -> bool {
        self.server_name.is_some()
    }

    /// Makes the TLS handshake on an open connection.
    ///
    /// # Errors
    ///
    /// [`ClientError`] with one of the kinds for certificates, or [`Failure::Tls`].
    pub async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        socket: S,
        host: &str,
    ) -> Result<TlsStream<S>, ClientError> {
        let name = self.server_name.as_deref().unwrap_or(host);
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| ClientError::new(Failure::Address, format!("`{name}` is no host name")))?;
        let connector = TlsConnector::from(
            self.trust.get().map_err(|error| ClientError::new(Failure::Tls, error))?,
        );
        connector.connect(name, socket).await.map_err(|error| tls_error(&error))
    }
}

fn tls_error(error: &io::Error) -> ClientError {
    let kind = match rustls_error(error) {
        Some(rustls::Error::InvalidCertificate(fault)) => match fault {
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => Failure::Expired,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Failure::WrongName
            }
            _ => Failure::Untrusted,
        },
        Some(_) => Failure::Tls,
        None if error.kind() == io::ErrorKind::UnexpectedEof => Failure::Tls,
        None => return ClientError::from_io("TLS handshake", error),
    };
    ClientError::new(kind, format!("TLS handshake: {error}"))
}

/// The addresses of `host`, in the system's order.
///
/// # Errors
///
/// [`Failure::NoSuchName`] or [`Failure::Resolve`].
pub async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, ClientError> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    match lookup::look_up(host).await {
        Ok(found) if !found.is_empty() => {
            Ok(found.into_iter().map(|address| SocketAddr::new(address, port)).collect())
        }
        Ok(_) => Err(ClientError::new(Failure::NoSuchName, format!("resolve {host}: no address"))),
        Err((kind, error)) => Err(ClientError::new(kind, format!("resolve {host}: {error}"))),
    }
}

/// Opens a connection to the first of `addresses` that takes one.
///
/// # Errors
///
/// The failure of the last address.
pub async fn dial(addresses: &[SocketAddr]) -> Result<TcpStream, ClientError> {
    let mut failure = ClientError::new(Failure::NoSuchName, "no address");
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(socket) => return Ok(socket),
            Err(error) => failure = ClientError::from_io(&format!("connect to {address}"), &error),
        }
    }
    Err(failure)
}

/// As [`dial`], to one address, from `source` where that is said.
///
/// # Errors
///
/// [`ClientError`] of the connection; `source` is not ours.
pub async fn dial_from(
    source: Option<IpAddr>,
    address: SocketAddr,
) -> Result<TcpStream, ClientError> {
    let Some(source) = source else { return dial(&[address]).await };
    let doing = format!("connect to {address} from {source}");
    let failed = |error: io::Error| ClientError::from_io(&doing, &error);
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let socket = socket.map_err(failed)?;
    socket.bind(SocketAddr::new(source, 0)).map_err(failed)?;
    socket.connect(address).await.map_err(failed)
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
}

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
        Self { version, cipher, certificates }
    }
}

type Driver = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send + Sync>>;

/// An open connection; can serve several requests, one after the other.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: Option<Driver>,
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

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl Connection {
    /// Speaks HTTP to `origin` over `socket`, which was dialled at `peer`.
    ///
    /// # Errors
    ///
    /// [`Failure::Reset`].
    pub async fn open(
        socket: impl AsyncRead + AsyncWrite + Unpin + Send + Sync + 'static,
        origin: &Origin,
        peer: Option<SocketAddr>,
        tls: Option<TlsSession>,
    ) -> Result<Self, ClientError> {
        let (sender, driver) = http1::handshake(TokioIo::new(socket))
            .await
            .map_err(|error| ClientError::from_hyper("open HTTP", &error))?;
        let host = match origin.host.contains(':') {
            true => format!("[{}]", origin.host),
            false => origin.host.clone(),
        };
        let authority = match (origin.tls, origin.port) {
            (false, 80) | (true, 443) => host,
            (_, port) => format!("{host}:{port}"),
        };
        let driver: Driver = Box::pin(driver);
        let (to_proxy, proxy_authorization) = (false, None);
        let driver = Some(driver);
        Ok(Self { sender, driver, authority, to_proxy, proxy_authorization, peer, tls })
    }

    /// The same connection, on which a proxy passes the requests on.
    #[must_use]
    pub fn to_proxy(self) -> Self {
        Self { to_proxy: true, ..self }
    }

    /// The same connection, on which the proxy is told who we are.
    fn knowing_us(self, proxy_authorization: Option<HeaderValue>) -> Self {
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
        mut request: Request<Full<Bytes>>,
        phases: &mut Phases,
    ) -> Result<Response<Incoming>, ClientError> {
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
        let watch = Stopwatch::start();
        let answer = drive(&mut self.driver, self.sender.send_request(request)).await;
        phases.first_byte = Some(watch.elapsed());
        answer.map_err(|error| ClientError::from_hyper("no answer", &error))
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
        drive(&mut self.driver, self.sender.ready()).await.is_ok()
    }
}

/// Waits for `answer` while the connection does its work.
async fn drive<T>(driver: &mut Option<Driver>, answer: impl Future<Output = T>) -> T {
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
