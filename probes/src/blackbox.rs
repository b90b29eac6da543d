//! Looking where a request says, in the way that a module of the configuration says: the modules,
//! metrics and manners of blackbox_exporter.
//!
//! ```text
//! modules.yml ─▶ Modules ─▶ Module::aim(target, hostname, rules) ─▶ Shot (a Probe) ─▶ Outcome
//! ```
//!
//! Only the target comes from a request. Where it may lead is decided by [`Rules`], first by its
//! name and then by the address that is dialled, at every redirect again.
//!
//! Invariant: the outcome's families have the names, help texts and types of blackbox_exporter 0.28.

mod cel;
mod chain;
mod http;
mod tcp;
mod dns;
mod icmp;
mod grpc;
mod websocket;
mod config;

pub use config::{Modules, accepts_encoding};

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base::clock::Stopwatch;
use tokio_util::sync::CancellationToken;

use self::dns::{DnsModule, DnsShot};
use self::grpc::{GrpcModule, GrpcShot};
use self::http::{HttpModule, HttpShot};
use self::icmp::{IcmpModule, IcmpShot};
use self::tcp::{TcpModule, TcpShot};
use self::websocket::{WebsocketModule, WebsocketShot};
use crate::guard::Guard;
use crate::network::{Failed, Metrics};
use crate::target::{
    BadTarget, HostPort, Place, Refused, Rules, parse_host_only, parse_host_or_port,
    parse_host_port, parse_socket, parse_url,
};
use crate::{Outcome, Probe, Reason};

/// A way to look at things.
#[derive(Clone, Debug)]
pub struct Module {
    /// The longest a look may take; as long as whoever asks waits where nothing is said.
    pub timeout: Option<Duration>,
    /// Where the module is written: `FILE:LINE:COLUMN`.
    pub place: String,
    prober: Prober,
}

#[derive(Clone, Debug)]
enum Prober {
    Http(Arc<HttpModule>),
    Tcp(Arc<TcpModule>),
    Dns(Arc<DnsModule>),
    Icmp(Arc<IcmpModule>),
    Grpc(Arc<GrpcModule>),
    Unix(Arc<TcpModule>),
    Websocket(Arc<WebsocketModule>),
}

/// Why nothing is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AimError {
    /// The target is none for this module.
    #[error("{0}")]
    Bad(#[from] BadTarget),
    /// The host name that was asked for is none, or the module sets another one.
    #[error("`hostname` is no host name, or the module sets a `Host` header of its own")]
    Hostname,
    /// The target is not allowed.
    #[error("{0}")]
    Refused(#[from] Refused),
}

/// A module aimed at a target.
#[derive(Debug)]
pub struct Shot(Kind);

#[derive(Debug)]
enum Kind {
    Http(Box<HttpShot>),
    Tcp(Box<TcpShot>),
    Dns(Box<DnsShot>),
    Icmp(Box<IcmpShot>),
    Grpc(Box<GrpcShot>),
    Websocket(Box<WebsocketShot>),
}

impl Module {
    /// The prober by its name in the file.
    pub fn prober(&self) -> &'static str {
        match self.prober {
            Prober::Http(_) => "http",
            Prober::Tcp(_) => "tcp",
            Prober::Dns(_) => "dns",
            Prober::Icmp(_) => "icmp",
            Prober::Grpc(_) => "grpc",
            Prober::Unix(_) => "unix",
            Prober::Websocket(_) => "websocket",
        }
    }

    /// Where `target` leads as this module reads it.
    ///
    /// # Errors
    ///
    /// [`BadTarget`].
    pub fn place_of(&self, target: &str) -> Result<Place, BadTarget> {
        Ok(Place::Net(match &self.prober {
            Prober::Http(module) => module.page(target)?.1,
            Prober::Tcp(_) => parse_host_port(target)?,
            Prober::Dns(module) => parse_host_or_port(target, module.port())?,
            Prober::Icmp(_) => parse_host_only(target)?,
            Prober::Grpc(module) => grpc_target(target, module.port())?,
            Prober::Unix(_) => return parse_socket(target).map(Place::Socket),
            Prober::Websocket(_) => websocket_target(target)?.1,
        }))
    }

    /// Aims at `target`, which `rules` must allow; `hostname` is what a web server or a certificate
    /// is asked for where that is not the target's host.
    ///
    /// # Errors
    ///
    /// [`AimError`]; nothing was resolved or dialled then.
    pub fn aim(
        &self,
        target: &str,
        hostname: Option<&str>,
        rules: Arc<Rules>,
    ) -> Result<Shot, AimError> {
        let hostname = match hostname {
            Some(name) => Some(crate::target::host_name(name).map_err(|_| AimError::Hostname)?),
            None => None,
        };
        Ok(Shot(match &self.prober {
            Prober::Http(module) => {
                let (url, at) = module.page(target)?;
                rules.admit_host(&at)?;
                let guard = Guard { rules, way: module.way };
                let shot = module.aim(url, &at.host, hostname, guard).ok_or(AimError::Hostname)?;
                Kind::Http(Box::new(shot))
            }
            Prober::Tcp(module) => {
                let at = parse_host_port(target)?;
                rules.admit_host(&at)?;
                let guard = Guard { rules, way: module.way };
                Kind::Tcp(Box::new(module.aim(Place::Net(at), hostname, guard)))
            }
            Prober::Unix(module) => {
                let path = parse_socket(target)?;
                rules.admit_socket(&path)?;
                let guard = Guard { rules, way: module.way };
                Kind::Tcp(Box::new(module.aim(Place::Socket(path), None, guard)))
            }
            Prober::Dns(module) => {
                let at = parse_host_or_port(target, module.port())?;
                rules.admit_host(&at)?;
                let guard = Guard { rules, way: module.way };
                Kind::Dns(Box::new(module.aim(at, guard)))
            }
            Prober::Icmp(module) => {
                let at = parse_host_only(target)?;
                rules.admit_host(&at)?;
                let guard = Guard { rules, way: module.way };
                Kind::Icmp(Box::new(module.aim(at, guard)))
            }
            Prober::Grpc(module) => {
                let at = grpc_target(target, module.port())?;
                rules.admit_host(&at)?;
                let guard = Guard { rules, way: module.way };
                Kind::Grpc(Box::new(module.aim(at, guard)))
            }
            Prober::Websocket(module) => {
                let (url, at) = websocket_target(target)?;
                rules.admit_host(&at)?;
                let guard = Guard { rules, way: WebsocketModule::WAY };
                Kind::Websocket(Box::new(module.aim(url, at, guard)))
            }
        }))
    }
}

/// A server of gRPC, as `host:port` or as a URL, whose path means nothing.
fn grpc_target(target: &str, usual: u16) -> Result<HostPort, BadTarget> {
    let rest = target.strip_prefix("http://").or_else(|| target.strip_prefix("https://"));
    match rest {
        Some(rest) => parse_host_or_port(rest.split('/').next().unwrap_or_default(), usual),
        None => parse_host_or_port(target, usual),
    }
}

/// A WebSocket by its URL; hosts and ports are written as in URLs of HTTP.
fn websocket_target(target: &str) -> Result<(base::http::Uri, HostPort), BadTarget> {
    let rest = target.strip_prefix("ws").ok_or(BadTarget::Url)?;
    if !rest.starts_with("://") && !rest.starts_with("s://") {
        return Err(BadTarget::Url);
    }
    parse_url(&format!("http{rest}"))
}

#[async_trait]
impl Probe for Shot {
    async fn run(&self, stop: &CancellationToken) -> Outcome {
        let watch = Stopwatch::start();
        let mut seen = match &self.0 {
            Kind::Http(shot) => shot.look(stop, watch).await,
            Kind::Tcp(shot) => shot.look(stop, watch).await,
            // Apart, so that the looks that there are most of need no room for these.
            Kind::Dns(shot) => Box::pin(shot.look(stop, watch)).await,
            Kind::Icmp(shot) => Box::pin(shot.look(stop, watch)).await,
            Kind::Grpc(shot) => Box::pin(shot.look(stop, watch)).await,
            Kind::Websocket(shot) => Box::pin(shot.look(stop, watch)).await,
        };
        let mut gauge = |name, help, value| seen.metrics.gauge(name, help, value);
        let success = f64::from(u8::from(seen.failed.is_none()));
        gauge("probe_success", "Displays whether or not the probe was a success", success);
        let help = "Returns how long the probe took to complete in seconds";
        gauge("probe_duration_seconds", help, watch.seconds());
        if seen.has_address {
            seen.measure_address();
        }
        let mut outcome = match seen.failed {
            None => Outcome::ok(seen.summary),
            Some(failed) => Outcome::critical(failed.reason, failed.summary),
        };
        outcome.families = seen.metrics.into_families();
        outcome
    }
}

impl Seen {
    /// Which address was looked at, and how it was found.
    fn measure_address(&mut self) {
        let mut gauge = |name, help, value| self.metrics.gauge(name, help, value);
        let (address, resolve) = (self.dialled.map(|(address, _)| address), self.resolve);
        let help = "Returns the time taken for probe dns lookup in seconds";
        gauge("probe_dns_lookup_time_seconds", help, resolve.unwrap_or_default().as_secs_f64());
        let protocol = address.map_or(0.0, |a| if a.is_ipv4() { 4.0 } else { 6.0 });
        gauge("probe_ip_protocol", "Specifies whether probe ip protocol is IP4 or IP6", protocol);
        self.metrics.address_hash(address.map(|address| address.ip()));
    }
}

/// What a look has found.
#[derive(Debug)]
struct Seen {
    failed: Option<Failed>,
    /// What is said where nothing failed.
    summary: String,
    /// What was dialled first, and how long it was looked for.
    dialled: Option<(SocketAddr, Duration)>,
    /// How long the name was looked for, found or not.
    resolve: Option<Duration>,
    metrics: Metrics,
    /// Whether it is something that has an address.
    has_address: bool,
}

/// What a failure to do it in time is.
fn timed_out(phase: &str, watch: Stopwatch) -> Failed {
    Failed::new(Reason::Timeout, format!("{phase} after {:.1} s", watch.seconds()))
}
