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
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self, CertificateError};

pub use super::connection::{
    Connection, HTTP2_OR_1, Phases, Socket, TlsSession, address_of, drive, is_http2,
};
pub use super::dial::{Opened, dial, dial_from, open};
pub use super::except::{Except, in_network};
use super::failure::rustls_error;
pub use super::failure::{ClientError, Failure};
use super::lookup;
use super::names::Names;
pub use super::origin::Origin;
pub use super::proxy::Proxy;
use super::special::untold;
use super::tls::{TlsConfig, TlsError, Trust};
use crate::clock::Stopwatch;

/// Opens connections, all with the same trust.
#[derive(Clone)]
pub struct Client {
    trust: Arc<Trust>,
    server_name: Option<String>,
    /// Names that were resolved before; none where each look must be a fresh one.
    names: Option<Names>,
    /// Who passes requests on.
    proxies: Vec<Arc<Proxy>>,
    /// How much of an answer is read at a time, where that is said.
    piece: Option<usize>,
    /// Where this is set: metadata services and addresses of the link are not dialled, but for these.
    spared: Option<Arc<[IpAddr]>>,
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
        let (trust, proxies) = (Arc::new(trust), Vec::new());
        Ok(Self { trust, server_name, names: None, proxies, piece: None, spared: None })
    }

    /// The same client, which goes on for some minutes with what names were resolved to before while
    /// nobody resolves them: for whoever wants to get through, not to find out whether one can.
    #[must_use]
    pub fn remembering(self) -> Self {
        Self { names: Some(Names::default()), ..self }
    }

    /// The same client, which reads answers of HTTP/1.1 by at most `bytes` at a time, and none whose head
    /// is larger: every connection that is kept holds so much. Otherwise it grows with the answers.
    #[must_use]
    pub fn in_pieces(self, bytes: usize) -> Self {
        Self { piece: Some(bytes), ..self }
    }

    /// The same client, which reaches others through `proxy`, unless one that was named before
    /// serves them.
    #[must_use]
    pub fn through(mut self, proxy: Proxy) -> Self {
        self.proxies.push(Arc::new(proxy));
        self
    }

    /// The same client, which dials no metadata service and no address of the link (X19), but for
    /// those in `but_for`; a name that leads there is none that can be reached.
    #[must_use]
    pub fn sparing_the_link(self, but_for: Vec<IpAddr>) -> Self {
        Self { spared: Some(but_for.into()), ..self }
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
        let proxy = self.proxies.iter().find(|proxy| proxy.serves(origin));
        let next = proxy.map_or(origin, |proxy| proxy.origin());
        let watch = Stopwatch::start();
        let addresses = match &self.names {
            Some(names) => names.resolve(&next.host, next.port).await?,
            None => resolve(&next.host, next.port).await?,
        };
        let addresses = self.untouched(origin, addresses)?;
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

    /// What may be dialled of the addresses of `origin`, or of the proxy on the way to it.
    fn untouched(
        &self,
        origin: &Origin,
        mut addresses: Vec<SocketAddr>,
    ) -> Result<Vec<SocketAddr>, ClientError> {
        let Some(but_for) = &self.spared else { return Ok(addresses) };
        let reason = |ip: IpAddr| untold(ip).filter(|_| !but_for.contains(&ip.to_canonical()));
        // Through a proxy, too: there the name of the host is all that is known.
        let literal = origin.host.parse().ok().and_then(|ip| Some((ip, reason(ip)?)));
        let refused = literal.or_else(|| {
            let refused = |address: &SocketAddr| Some((address.ip(), reason(address.ip())?));
            addresses.iter().find_map(refused)
        });
        let Some((ip, why)) = refused else { return Ok(addresses) };
        addresses.retain(|address| reason(address.ip()).is_none());
        if literal.is_none() && !addresses.is_empty() {
            return Ok(addresses);
        }
        let message =
            format!("{ip} is {why}, where nothing is sent unless `allowed_addresses` names it");
        Err(ClientError::new(Failure::Barred, message))
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
        self.speak_over(socket, peer, origin, phases).await
    }

    /// As [`Client::speak`], over whatever leads to `origin`, which was dialled at `peer`.
    ///
    /// # Errors
    ///
    /// [`ClientError`] of the TLS handshake.
    pub async fn speak_over(
        &self,
        socket: impl AsyncRead + AsyncWrite + Unpin + Send + Sync + 'static,
        peer: Option<SocketAddr>,
        origin: &Origin,
        phases: &mut Phases,
    ) -> Result<Connection, ClientError> {
        if !origin.tls {
            return Connection::open_by(self.piece, socket, origin, peer, None).await;
        }

        // Apart, so that those who do not encrypt need no room for it.
        Box::pin(async {
            let watch = Stopwatch::start();
            let socket = self.handshake(socket, &origin.host).await?;
            phases.tls = Some(watch.elapsed());
            let session = TlsSession::of(socket.get_ref().1);
            match session.is_http2 {
                true => Connection::open_http2(socket, origin, peer, Some(session)).await,
                false => Connection::open_by(self.piece, socket, origin, peer, Some(session)).await,
            }
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

    /// Whom the certificate must be for, where that is not the host that is dialled.
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_by_name_nor_by_address_a_metadata_service_is_dialled_x19() {
        let check =
            |host: &str, addresses: &[&str], but_for: &[&str], expected: Option<&[&str]>| {
                let but_for = but_for.iter().map(|ip| ip.parse().unwrap()).collect();
                let client = Client::new(&TlsConfig::default()).unwrap().sparing_the_link(but_for);
                let origin = Origin { tls: false, host: host.to_owned(), port: 80 };
                let of = |ip: &&str| SocketAddr::new(ip.parse().unwrap(), 80);
                let got = client.untouched(&origin, addresses.iter().map(of).collect());
                let got = got.map_err(|error| error.kind);
                let expected: Result<Vec<_>, _> = match expected {
                    Some(ips) => Ok(ips.iter().map(of).collect()),
                    None => Err(Failure::Barred),
                };
                assert_eq!(got, expected, "{host} {addresses:?}");
            };
        let link = "169.254.169.254";
        check(link, &[link], &[], None);
        check(link, &[link], &[link], Some(&[link]));
        check(link, &[link], &["169.254.1.1"], None);
        check("metadata.example", &[link], &[], None);
        check("metadata.example", &["::ffff:169.254.169.254"], &[], None);
        check("metadata.example", &[link], &[link], Some(&[link]));
        check("both.example", &["10.0.0.1", link], &[], Some(&["10.0.0.1"]));
        // Behind a proxy the name of the host is what counts.
        check(link, &["10.0.0.1"], &[], None);
        check("localhost", &["127.0.0.1", "::1"], &[], Some(&["127.0.0.1", "::1"]));
    }
}
