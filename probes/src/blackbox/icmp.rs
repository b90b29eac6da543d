//! The `icmp` prober: one packet to the target, and back.
//!
//! Invariant: the hop limit is told of a reply that came, and of nothing else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base::clock::Stopwatch;
use ring::rand::{SecureRandom, SystemRandom};
use tokio_util::sync::CancellationToken;

use super::{Seen, timed_out};
use crate::Reason;
use crate::guard::{Guard, Way};
use crate::icmp::socket::{Arrival, EchoOptions, EchoSocket};
use crate::network::{Failed, Metrics};
use crate::target::HostPort;

/// The `icmp` section of a module, as meant.
#[derive(Debug)]
pub(super) struct IcmpModule {
    pub(super) way: Way,
    pub(super) options: EchoOptions,
}

/// The module aimed at a host.
#[derive(Debug)]
pub(super) struct IcmpShot {
    module: Arc<IcmpModule>,
    at: HostPort,
    guard: Guard,
}

impl IcmpModule {
    pub(super) fn aim(self: &Arc<Self>, at: HostPort, guard: Guard) -> IcmpShot {
        IcmpShot { module: Arc::clone(self), at, guard }
    }
}

/// How far a look has come.
#[derive(Default)]
struct Progress {
    dialled: Option<(SocketAddr, Duration)>,
    resolve: Option<Duration>,
    setup: Option<Duration>,
    rtt: Option<Duration>,
    hop_limit: Option<u8>,
    waits_for: &'static str,
}

impl IcmpShot {
    pub(super) async fn look(&self, stop: &CancellationToken, watch: Stopwatch) -> Seen {
        let mut progress = Progress::default();
        let failed = match stop.run_until_cancelled(self.ping(&mut progress)).await {
            Some(result) => result.err(),
            None => Some(timed_out(progress.waits_for, watch)),
        };
        let mut metrics = Metrics::default();
        let phases = [
            ("resolve", progress.dialled.map(|(_, time)| time)),
            ("setup", progress.setup),
            ("rtt", progress.rtt),
        ];
        let help = "Duration of icmp request by phase";
        metrics.phases("probe_icmp_duration_seconds", help, &phases);
        if let Some(hops) = progress.hop_limit {
            let help = "Replied packet hop limit (TTL for ipv4)";
            metrics.gauge("probe_icmp_reply_hop_limit", help, f64::from(hops));
        }
        let rtt = progress.rtt.unwrap_or_default().as_secs_f64() * 1e3;
        let summary = format!("the packet came back in {rtt:.3} ms");
        let Progress { dialled, resolve, .. } = progress;
        Seen { failed, summary, dialled, resolve, metrics, has_address: true }
    }

    async fn ping(&self, progress: &mut Progress) -> Result<(), Failed> {
        progress.waits_for = "the name is not resolved";
        let watch = Stopwatch::start();
        let address = self.guard.choose(&self.at).await;
        progress.resolve = Some(watch.elapsed());
        let address = address?;
        progress.dialled = Some((address, watch.elapsed()));
        let watch = Stopwatch::start();
        let mut random = [0; 10];
        let filled = SystemRandom::new().fill(&mut random);
        filled.map_err(|_| Failed::new(Reason::Internal, "the system has no random numbers"))?;
        let socket = EchoSocket::open(address.ip(), &self.module.options, random)?;
        progress.setup = Some(watch.elapsed());
        progress.waits_for = "no packet came back";
        let watch = Stopwatch::start();
        socket.send(0).await?;
        let reply = match socket.receive().await? {
            Arrival::Reply(reply) => reply,
            Arrival::Returned(returned) => {
                return Err(Failed::new(Reason::Unreachable, returned.says));
            }
        };
        progress.rtt = Some(watch.elapsed());
        progress.hop_limit = reply.hop_limit;
        Ok(())
    }
}
