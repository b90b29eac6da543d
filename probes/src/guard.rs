//! Opening connections for strangers: the name is resolved once, one address of it is chosen and
//! looked at, and that address is dialled (X04).
//!
//! Invariant: what is dialled is what the rules were asked about; what a proxy dials, which we do not
//! see, is named as they were asked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use base::http::client::{ClientError, Opened, dial_from, open, resolve};
use tokio::net::{TcpStream, UdpSocket};

use crate::Reason;
use crate::network::{Failed, reason_of};
use crate::session::unanswered;
use crate::target::{HostPort, Rules};

/// Which address of a name is taken, and from which of ours it is dialled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Way {
    /// IPv4 before IPv6; the other way round where not.
    pub(crate) prefers_v4: bool,
    /// Whether the other kind will do.
    pub(crate) falls_back: bool,
    pub(crate) source: Option<IpAddr>,
}

/// What may be dialled, and how.
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    pub(crate) rules: Arc<Rules>,
    pub(crate) way: Way,
}

impl Guard {
    /// Whether `target` may be looked at by its name, where somebody else dials it.
    pub(crate) fn admit_name(&self, target: &HostPort) -> Result<(), Failed> {
        self.rules
            .admit_host(target)
            .map_err(|refused| Failed::new(Reason::TargetNotAllowed, refused.to_string()))
    }

    /// The one address at which `target` is looked at.
    pub(crate) async fn choose(&self, target: &HostPort) -> Result<SocketAddr, Failed> {
        self.admit_name(target)?;
        let addresses = resolve(&target.host, target.port).await.map_err(failed)?;
        let preferred =
            addresses.iter().find(|address| address.is_ipv4() == self.way.prefers_v4).copied();
        let other = addresses.first().copied().filter(|_| self.way.falls_back);
        let Some(address) = preferred.or(other) else {
            let kind = if self.way.prefers_v4 { "IPv4" } else { "IPv6" };
            let summary = format!("resolve {}: there is no {kind} address", target.host);
            return Err(Failed::new(Reason::ResolveFailed, summary));
        };
        self.rules
            .admit_address(target, address)
            .map_err(|refused| Failed::new(Reason::TargetNotAllowed, refused.to_string()))?;
        Ok(address)
    }

    /// Opens a connection to an address that was chosen, perhaps only to see that it can be opened.
    pub(crate) async fn open(&self, address: SocketAddr) -> Result<Opened, Failed> {
        open(self.way.source, address).await.map_err(failed)
    }

    /// A socket for datagrams to an address that was chosen, which hears nobody else.
    pub(crate) async fn datagrams(&self, address: SocketAddr) -> Result<UdpSocket, Failed> {
        let any = match address {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let from = SocketAddr::new(self.way.source.unwrap_or(any), 0);
        let socket = UdpSocket::bind(from).await.map_err(|error| unanswered(&error))?;
        socket.connect(address).await.map_err(|error| unanswered(&error))?;
        Ok(socket)
    }

    /// As [`Self::open`], to talk.
    pub(crate) async fn dial(&self, address: SocketAddr) -> Result<TcpStream, Failed> {
        dial_from(self.way.source, address).await.map_err(failed)
    }
}

fn failed(error: ClientError) -> Failed {
    Failed::new(reason_of(error.kind), error.to_string())
}
