//! The way to a page: which addresses of a name are dialled, and through which proxy.
//!
//! ```text
//! origin ─▶ proxy? ─▶ resolve ─▶ choose addresses ─▶ dial ─▶ CONNECT? ─▶ TLS? ─▶ Connection
//! ```
//!
//! Invariant: what identifies us to the proxy goes to the proxy alone.

use std::net::{IpAddr, SocketAddr};

use base::clock::Stopwatch;
use base::http::client::{Client, Connection, Except, Origin, Phases, Proxy, dial, resolve};
use tokio::net::TcpStream;

use crate::Reason;
use crate::chain::{Seen, Trust};
use crate::network::{Failed, is_local};
use crate::session::failed;
use crate::wire::Duplex;

/// How pages are reached.
#[derive(Debug)]
pub(crate) struct Route {
    pub(super) trust: Trust,
    pub(super) ip: IpChoice,
    pub(super) proxies: Proxies,
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
#[derive(Clone, Debug, Default)]
pub(crate) struct Proxies {
    /// For pages without TLS.
    pub(crate) plain: Option<Proxy>,
    /// For those with it.
    pub(crate) secured: Option<Proxy>,
    /// Whether names are left to them, so that a place is judged by its name alone.
    pub(crate) skips_resolve: bool,
}

impl Proxies {
    /// One proxy for all pages.
    pub(super) fn both(proxy: Proxy) -> Self {
        Self { plain: Some(proxy.clone()), secured: Some(proxy), skips_resolve: false }
    }

    /// The proxy that passes on what goes to `origin`, where there is one.
    pub(super) fn to(&self, origin: &Origin) -> Option<&Proxy> {
        let proxy = if origin.tls { &self.secured } else { &self.plain };
        proxy.as_ref().filter(|proxy| proxy.serves(origin))
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
        let opened = open_through(proxy, origin).await;
        phases.connect = Some(watch.elapsed());
        let (stream, peer) = opened?;
        let spoken = client.speak_over(stream, peer, origin, phases).await;
        let connection = spoken.map_err(failed)?;
        Ok(if origin.tls { connection } else { connection.to_proxy() })
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
        Self { trust, ip: IpChoice::default(), proxies: Proxies::default() }
    }

    /// The proxy that passes on what goes to `origin`, where there is one.
    pub(super) fn proxy_to(&self, origin: &Origin) -> Option<&Proxy> {
        self.proxies.to(origin)
    }

    /// Whether a connection for `origin` that was dialled at `peer` ends on this host or this link.
    /// Where a proxy leads is known only of a host that is an address.
    pub(super) fn is_local(&self, origin: &Origin, peer: Option<SocketAddr>) -> bool {
        if self.proxy_to(origin).is_none() {
            return peer.is_some_and(|peer| is_local(peer.ip()));
        }
        match origin.host.parse::<IpAddr>() {
            Ok(address) => is_local(address),
            Err(_) => Except::Name("localhost".to_owned(), None).has(origin),
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
        let next = proxy.map_or(origin, Proxy::origin);
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
    mut socket: TcpStream,
    origin: &Origin,
) -> Result<Box<dyn Duplex>, Failed> {
    // Small requests go out at once.
    let _ = socket.set_nodelay(true);
    if let Some(proxy) = proxy.filter(|_| origin.tls) {
        proxy.tunnel(&mut socket, origin).await.map_err(failed)?;
    }
    Ok(Box::new(socket))
}

fn of_proxy(proxy: Option<&Proxy>, why: Failed) -> Failed {
    match proxy {
        Some(_) => Failed::new(why.reason, format!("the proxy: {}", why.summary)),
        None => why,
    }
}

/// Opens a connection to `origin` through `proxy`, which is dialled wherever it is: the configuration
/// names it. Returns the proxy's address too.
pub(super) async fn open_through(
    proxy: &Proxy,
    origin: &Origin,
) -> Result<(Box<dyn Duplex>, Option<SocketAddr>), Failed> {
    let of_us = |why| of_proxy(Some(proxy), why);
    let Origin { host, port, .. } = proxy.origin();
    let addresses = resolve(host, *port).await.map_err(failed).map_err(of_us)?;
    let socket = dial(&addresses).await.map_err(failed).map_err(of_us)?;
    let peer = socket.peer_addr().ok();
    Ok((via(Some(proxy), socket, origin).await?, peer))
}

#[cfg(test)]
mod tests {
    use super::*;

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
