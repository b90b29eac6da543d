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

mod chain;
mod http;
mod tcp;
mod config;

pub use config::{Modules, accepts_encoding};

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base::clock::Stopwatch;
use tokio_util::sync::CancellationToken;

use self::http::{HttpModule, HttpShot};
use self::tcp::{TcpModule, TcpShot};
use crate::guard::Guard;
use crate::network::{Failed, Metrics};
use crate::target::{BadTarget, Refused, Rules, parse_host_port, parse_url};
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
}

impl Module {
    /// The prober by its name in the file.
    pub fn prober(&self) -> &'static str {
        match self.prober {
            Prober::Http(_) => "http",
            Prober::Tcp(_) => "tcp",
        }
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
                let (url, at) = parse_url(target)?;
                rules.admit_host(&at)?;
                let guard = Guard { rules, way: module.way };
                let shot = module.aim(url, &at.host, hostname, guard).ok_or(AimError::Hostname)?;
                Kind::Http(Box::new(shot))
            }
            Prober::Tcp(module) => {
                let at = parse_host_port(target)?;
                rules.admit_host(&at)?;
                let guard = Guard { rules, way: module.way };
                Kind::Tcp(Box::new(module.aim(at, hostname, guard)))
            }
        }))
    }
}

#[async_trait]
impl Probe for Shot {
    async fn run(&self, stop: &CancellationToken) -> Outcome {
        let watch = Stopwatch::start();
        let mut seen = match &self.0 {
            Kind::Http(shot) => shot.look(stop, watch).await,
            Kind::Tcp(shot) => shot.look(stop, watch).await,
        };
        let mut gauge = |name, help, value| seen.metrics.gauge(name, help, value);
        let success = f64::from(u8::from(seen.failed.is_none()));
        gauge("probe_success", "Displays whether or not the probe was a success", success);
        let help = "Returns how long the probe took to complete in seconds";
        gauge("probe_duration_seconds", help, watch.seconds());
        let (address, resolve) = (seen.dialled.map(|(address, _)| address), seen.resolve);
        let help = "Returns the time taken for probe dns lookup in seconds";
        gauge("probe_dns_lookup_time_seconds", help, resolve.unwrap_or_default().as_secs_f64());
        let protocol = address.map_or(0.0, |a| if a.is_ipv4() { 4.0 } else { 6.0 });
        gauge("probe_ip_protocol", "Specifies whether probe ip protocol is IP4 or IP6", protocol);
        let help =
            "Specifies the hash of IP address. It's useful to detect if the IP address changes.";
        gauge("probe_ip_addr_hash", help, address.map_or(0.0, |a| f64::from(hash(a.ip()))));
        let mut outcome = match seen.failed {
            None => Outcome::ok(seen.summary),
            Some(failed) => Outcome::critical(failed.reason, failed.summary),
        };
        outcome.families = seen.metrics.into_families();
        outcome
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
}

/// The hash by which a change of address is seen: FNV-1a of its bytes.
fn hash(address: IpAddr) -> u32 {
    let fold = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
    };
    match address.to_canonical() {
        IpAddr::V4(v4) => fold(&v4.octets()),
        IpAddr::V6(v6) => fold(&v6.octets()),
    }
}

/// What a failure to do it in time is.
fn timed_out(phase: &str, watch: Stopwatch) -> Failed {
    Failed::new(Reason::Timeout, format!("{phase} after {:.1} s", watch.seconds()))
}
