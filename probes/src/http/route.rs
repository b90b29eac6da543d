//! The way to a page: which addresses of a name are dialled, and through which proxy.
//!
//! ```text
//! origin ─▶ proxy? ─▶ resolve ─▶ choose addresses ─▶ dial ─▶ CONNECT? ─▶ TLS? ─▶ Connection
//! ```
//!
//! Invariant: what identifies us to the proxy goes to the proxy alone.

use std::net::IpAddr;
use std::net::SocketAddr;

use base::clock::Stopwatch;
use base::http::HeaderMap;
use base::http::client::{Client, Connection, Origin, Phases, dial, resolve};
use base::http::header::HeaderValue;
use tokio::net::TcpStream;

use crate::Reason;
use crate::chain::{Seen, Trust};
use crate::network::{Failed, is_local};
use crate::session::failed;
use crate::target::contains;
use crate::text::shown_line;
use crate::wire::{Duplex, Wire};

/// How many headers a proxy's answer may have.
const MAX_HEADERS: usize = 100;

/// How pages are reached.
#[derive(Debug)]
pub(crate) struct Route {
    pub(super) trust: Trust,
    pub(super) ip: IpChoice,
    pub(super) proxy: Option<Proxy>,
}

/// Which addresses of a name are dialled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct IpChoice {
    /// IPv4 or IPv6; any, in the system's order, where there is nothing.
    pub(super) v4: Option<bool>,
    /// Whether the other kind is tried after it.
    pub(super) falls_back: bool,
}

/// Who passes requests on.
#[derive(Clone, Debug)]
pub(crate) struct Proxy {
    pub(crate) origin: Origin,
    pub(crate) authorization: Option<HeaderValue>,
    pub(crate) except: Vec<Except>,
    /// Further headers where it is asked to connect.
    pub(crate) headers: HeaderMap,
}

/// Who passes on what goes to places that a stranger chose.
#[derive(Debug, Default)]
pub(crate) struct Proxies {
    /// For pages without TLS.
    pub(crate) plain: Option<Proxy>,
    /// For those with it.
    pub(crate) secured: Option<Proxy>,
    /// Whether names are left to them, so that a place is judged by its name alone.
    pub(crate) skips_resolve: bool,
}

impl Proxies {
    /// The proxy that passes on what goes to `origin`, where there is one.
    pub(super) fn to(&self, origin: &Origin) -> Option<&Proxy> {
        let proxy = if origin.tls { &self.secured } else { &self.plain };
        proxy.as_ref().filter(|proxy| proxy.passes_on(origin))
    }

    /// A connection by `client` to `origin` through its proxy, noting how long the phases took.
    pub(super) async fn open(
        &self,
        client: &Client,
        origin: &Origin,
        phases: &mut Phases,
    ) -> Result<Connection, Failed> {
        let missing = || Failed::new(Reason::Internal, "neither an address nor a proxy");
        let proxy = self.to(origin).ok_or_else(missing)?;
        let watch = Stopwatch::start();
        let opened = proxy.open(origin).await;
        phases.connect = Some(watch.elapsed());
        let (stream, peer) = opened?;
        let spoken = client.speak_over(stream, peer, origin, phases).await;
        let connection = spoken.map_err(failed)?;
        Ok(if origin.tls { connection } else { connection.to_proxy() })
    }
}

/// What is dialled without the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Except {
    Everything,
    /// A name, and every name below it.
    Name(String),
    /// Every address whose first bits are those of a network.
    Net(IpAddr, u32),
}

impl Except {
    /// Reads `shop.example`, `.shop.example`, `10.0.0.1` or `10.0.0.0/8`.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let whole = |net: IpAddr| if net.is_ipv4() { 32 } else { 128 };
        if let Some((net, bits)) = text.split_once('/') {
            let (net, bits): (IpAddr, u32) = (net.parse().ok()?, bits.parse().ok()?);
            return (bits <= whole(net)).then_some(Self::Net(net, bits));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Some(Self::Net(address, whole(address)));
        }
        let name = text.trim_start_matches('*').trim_start_matches('.');
        crate::target::host_name(name).ok().map(Self::Name)
    }

    fn has(&self, host: &str) -> bool {
        match (self, host.parse::<IpAddr>()) {
            (Self::Everything, _) => true,
            (Self::Net(net, bits), Ok(address)) => contains(*net, *bits, address),
            (Self::Name(name), Err(_)) => {
                let host = host.to_ascii_lowercase();
                host.strip_suffix(name.as_str()).is_some_and(|r| r.is_empty() || r.ends_with('.'))
            }
            _ => false,
        }
    }
}

impl IpChoice {
    /// Those of `addresses` that are dialled, in this order.
    fn choose(self, host: &str, addresses: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Failed> {
        let Some(v4) = self.v4 else { return Ok(addresses) };
        let (mut wanted, others): (Vec<_>, Vec<_>) =
            addresses.into_iter().partition(|address| address.is_ipv4() == v4);
        if self.falls_back {
            wanted.extend(others);
        }
        if wanted.is_empty() {
            let kind = if v4 { "IPv4" } else { "IPv6" };
            let summary = format!("resolve {host}: there is no {kind} address");
            return Err(Failed::new(Reason::ResolveFailed, summary));
        }
        Ok(wanted)
    }
}

impl Route {
    /// The way without a proxy, to any address.
    pub(crate) fn direct(trust: Trust) -> Self {
        Self { trust, ip: IpChoice::default(), proxy: None }
    }

    /// The proxy that passes on what goes to `origin`, where there is one.
    pub(super) fn proxy_to(&self, origin: &Origin) -> Option<&Proxy> {
        self.proxy.as_ref().filter(|proxy| proxy.passes_on(origin))
    }

    /// Whether a connection for `origin` that was dialled at `peer` ends on this host or this link.
    /// Where a proxy leads is known only of a host that is an address.
    pub(super) fn is_local(&self, origin: &Origin, peer: Option<SocketAddr>) -> bool {
        if self.proxy_to(origin).is_none() {
            return peer.is_some_and(|peer| is_local(peer.ip()));
        }
        match origin.host.parse::<IpAddr>() {
            Ok(address) => is_local(address),
            Err(_) => Except::Name("localhost".to_owned()).has(&origin.host),
        }
    }

    /// Opens a connection to `origin`, noting how long the phases took and what TLS has shown.
    pub(super) async fn open(
        &self,
        origin: &Origin,
        phases: &mut Phases,
        seen: &mut Seen,
    ) -> Result<Connection, Failed> {
        let proxy = self.proxy_to(origin);
        let next = proxy.map_or(origin, |proxy| &proxy.origin);
        let watch = Stopwatch::start();
        let addresses = resolve(&next.host, next.port).await;
        phases.resolve = Some(watch.elapsed());
        let addresses = addresses.map_err(failed).map_err(|why| of_proxy(proxy, why))?;
        let addresses = self.ip.choose(&next.host, addresses)?;
        let watch = Stopwatch::start();
        let socket = dial(&addresses).await.map_err(failed).map_err(|why| of_proxy(proxy, why))?;
        let peer = socket.peer_addr().ok();
        let stream = via(proxy, socket, origin).await?;
        phases.connect = Some(watch.elapsed());
        if !origin.tls {
            let connection = Connection::open(stream, origin, peer, None).await.map_err(failed)?;
            return Ok(if proxy.is_some() { connection.to_proxy() } else { connection });
        }
        let watch = Stopwatch::start();
        let stream = self.trust.handshake(stream, &origin.host, seen).await?.into_stream()?;
        phases.tls = Some(watch.elapsed());
        let opened = match seen.is_http2 {
            true => Connection::open_http2(stream, origin, peer, None).await,
            false => Connection::open(stream, origin, peer, None).await,
        };
        opened.map_err(failed)
    }
}

/// A connection on which `origin` can be spoken to, over `socket` to `proxy` or to itself.
async fn via(
    proxy: Option<&Proxy>,
    socket: TcpStream,
    origin: &Origin,
) -> Result<Box<dyn Duplex>, Failed> {
    // Small requests go out at once.
    let _ = socket.set_nodelay(true);
    match proxy {
        Some(proxy) if origin.tls => proxy.tunnel(socket, origin).await,
        _ => Ok(Box::new(socket)),
    }
}

fn of_proxy(proxy: Option<&Proxy>, why: Failed) -> Failed {
    match proxy {
        Some(_) => Failed::new(why.reason, format!("the proxy: {}", why.summary)),
        None => why,
    }
}

impl Proxy {
    fn passes_on(&self, origin: &Origin) -> bool {
        !self.except.iter().any(|except| except.has(&origin.host))
    }

    /// Opens a connection to `origin` through the proxy, which is dialled wherever it is: the
    /// configuration names it. Returns the proxy's address too.
    pub(super) async fn open(
        &self,
        origin: &Origin,
    ) -> Result<(Box<dyn Duplex>, Option<SocketAddr>), Failed> {
        let of_us = |why| of_proxy(Some(self), why);
        let Origin { host, port, .. } = &self.origin;
        let addresses = resolve(host, *port).await.map_err(failed).map_err(of_us)?;
        let socket = dial(&addresses).await.map_err(failed).map_err(of_us)?;
        let peer = socket.peer_addr().ok();
        Ok((via(Some(self), socket, origin).await?, peer))
    }

    /// Has the proxy open a connection to `origin`.
    async fn tunnel(&self, socket: TcpStream, origin: &Origin) -> Result<Box<dyn Duplex>, Failed> {
        let Origin { host, port, .. } = origin;
        let target =
            if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n").into_bytes();
        if let Some(value) = &self.authorization {
            request.extend_from_slice(b"Proxy-Authorization: ");
            request.extend_from_slice(value.as_bytes());
            request.extend_from_slice(b"\r\n");
        }
        for (name, value) in &self.headers {
            request.extend_from_slice(name.as_str().as_bytes());
            request.extend_from_slice(b": ");
            request.extend_from_slice(value.as_bytes());
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        let mut wire = Wire::new(socket);
        let of_us = |why| of_proxy(Some(self), why);
        wire.send(&request).await.map_err(of_us)?;
        let line = wire.line().await.map_err(of_us)?;
        let status = line.strip_prefix(b"HTTP/1.").and_then(|rest| {
            let digits = rest.get(2..5)?;
            std::str::from_utf8(digits).ok()?.parse::<u16>().ok()
        });
        let status = status.ok_or_else(|| of_us(Failed::protocol("HTTP", &line)))?;
        if !(200..300).contains(&status) {
            let shown = shown_line(&line, 100);
            let summary = format!("the proxy does not connect to `{target}`: `{shown}`");
            return Err(Failed::new(Reason::ProxyFailed, summary));
        }
        for _ in 0..MAX_HEADERS {
            if wire.line().await.map_err(of_us)?.is_empty() {
                return wire.into_stream();
            }
        }
        let summary = format!("the proxy's answer has over {MAX_HEADERS} headers");
        Err(Failed::new(Reason::ProtocolError, summary))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn except(text: &str, host: &str, expected: bool) {
        assert_eq!(Except::read(text).unwrap().has(host), expected, "{text} {host}");
    }

    #[test]
    fn knows_what_goes_without_the_proxy() {
        except("shop.example", "shop.example", true);
        except("shop.example", "a.Shop.Example", true);
        except("shop.example", "evilshop.example", false);
        except(".shop.example", "a.shop.example", true);
        except("*.shop.example", "a.shop.example", true);
        except("10.0.0.0/8", "10.1.2.3", true);
        except("10.0.0.0/8", "11.1.2.3", false);
        except("10.0.0.0/8", "shop.example", false);
        except("::1", "::1", true);
        for bad in ["", "10.0.0.0/33", "a b", "x/8", "http://x"] {
            assert_eq!(Except::read(bad), None, "{bad}");
        }
    }

    #[test]
    fn chooses_addresses() {
        let [four, six]: [SocketAddr; 2] =
            ["192.0.2.1:80", "[2001:db8::1]:80"].map(|text| text.parse().unwrap());
        let check = |v4, falls_back, from: &[SocketAddr], expected: &[SocketAddr]| {
            let chosen = IpChoice { v4, falls_back }.choose("h", from.to_vec());
            assert_eq!(chosen.unwrap_or_default(), expected);
        };
        check(None, false, &[six, four], &[six, four]);
        check(Some(true), false, &[six, four], &[four]);
        check(Some(false), false, &[four, six], &[six]);
        check(Some(true), true, &[six, four], &[four, six]);
        check(Some(true), true, &[six], &[six]);
        check(Some(true), false, &[six], &[]);
    }
}
