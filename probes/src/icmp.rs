//! Pinging a host: whether packets come back, how many, and how soon.
//!
//! ```yaml
//! icmp:
//!   host: gateway.example
//!   packets: 5
//!   thresholds: {loss: {warn: 20, crit: 60}, rtt: {warn: 0.1}}
//! ```
//!
//! A packet that somebody on the way returns is lost, and is not waited for; only if none comes back
//! does what they said fail the run.
//!
//! Invariant: the run ends `wait` after the last packet, whatever is still under way.

pub(crate) mod socket;

use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use base::clock::Stopwatch;
use base::diagnostic::{Diagnostics, Spanned};
use base::period::Period;
use ring::rand::{SecureRandom, SystemRandom};
use serde::Deserialize;
use tokio::time::timeout_at;
use tokio_util::sync::CancellationToken;

use self::socket::{Arrival, EchoOptions, EchoSocket};
use crate::session::{Endpoint, SECONDS, Session};
use crate::thresholds::{Limits, LimitsConfig};
use crate::wire::Failed;
use crate::{Outcome, Probe, Reason};

/// An ICMP probe, as written.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IcmpConfig {
    /// A name or an address.
    host: Spanned<String>,
    /// `ip4` or `ip6`; what the system prefers where nothing is said.
    #[serde(default)]
    #[schemars(extend("enum" = ["ip4", "ip6"]))]
    ip_protocol: Option<Spanned<String>>,
    /// How many packets are sent; `1` where nothing is said.
    #[serde(default)]
    packets: Option<Spanned<u16>>,
    /// From one packet to the next; `200ms` where nothing is said.
    #[serde(default)]
    every: Option<Period>,
    /// How long replies to the last packet are waited for; `1s` where nothing is said.
    #[serde(default)]
    wait: Option<Period>,
    /// Bytes in a packet beside the headers; `56` where nothing is said.
    #[serde(default)]
    payload_size: Option<Spanned<u16>>,
    /// How many hops a packet may go; the system's where nothing is said.
    #[serde(default)]
    ttl: Option<Spanned<u8>>,
    /// Limits on `loss` in percent, `rtt`, `rtt_max` and `jitter` in seconds, `seconds`.
    #[serde(default)]
    thresholds: LimitsConfig,
}

/// Pings a host.
#[derive(Debug)]
pub struct IcmpProbe {
    host: Endpoint,
    v4: Option<bool>,
    packets: u16,
    every: Duration,
    wait: Duration,
    size: usize,
    hops: Option<u8>,
    limits: Limits,
}

impl IcmpConfig {
    /// The probe, reporting everything that is wrong with it.
    pub fn build(self, diagnostics: &mut Diagnostics) -> Option<IcmpProbe> {
        let text = self.host.value.as_str();
        let host = match text.parse::<IpAddr>() {
            Ok(_) => Some(Endpoint { host: text.to_owned(), port: 1 }),
            Err(_) if text.contains(':') => {
                let help = "write a name or an address, without brackets";
                diagnostics.report_with_help(&self.host, format!("`{text}` has a port"), help);
                None
            }
            Err(_) => Endpoint::build(&self.host, Some(1), diagnostics),
        };
        let v4 = match self.ip_protocol.as_ref().map(|text| text.value.as_str()) {
            None => None,
            Some("ip4") => Some(true),
            Some("ip6") => Some(false),
            Some(other) => {
                let place = self.ip_protocol.as_ref().map_or(self.host.place, |text| text.place);
                diagnostics.report(place, format!("`{other}` is neither `ip4` nor `ip6`"));
                None
            }
        };
        let mut within = |number: Option<&Spanned<u16>>, usual: u16, most: u16| match number {
            Some(number) if !(1..=most).contains(&number.value) => {
                diagnostics
                    .report(number, format!("`{}` is not within 1 and {most}", number.value));
                usual
            }
            Some(number) => number.value,
            None => usual,
        };
        let packets = within(self.packets.as_ref(), 1, 1000);
        let size = usize::from(within(self.payload_size.as_ref(), 56, 65_000));
        if let Some(ttl) = self.ttl.filter(|ttl| ttl.value == 0) {
            diagnostics.report(ttl.place, "with a `ttl` of 0 no packet leaves");
        }
        let known = ["loss", "rtt", "rtt_max", "jitter", SECONDS];
        let limits = Limits::build(&self.thresholds, &known, diagnostics);
        let every = self.every.unwrap_or(Period::from_millis(200)).duration();
        let wait = self.wait.unwrap_or(Period::from_secs(1)).duration();
        let hops = self.ttl.map(|ttl| ttl.value);
        Some(IcmpProbe { host: host?, v4, packets, every, wait, size, hops, limits })
    }
}

/// When packets went and came.
#[derive(Debug, Default)]
struct Flights {
    sent: Vec<Stopwatch>,
    /// Nothing of packets that are still under way, or lost.
    times: Vec<Option<f64>>,
    /// Which of them are lost, because somebody on the way returned them.
    returned: Vec<bool>,
    /// What was said of the last one of them.
    says: Option<String>,
    hop_limit: Option<u8>,
}

#[async_trait]
impl Probe for IcmpProbe {
    async fn run(&self, stop: &CancellationToken) -> Outcome {
        let mut session = Session::start("icmp", &["resolve", "setup", "rtt"]);
        let mut flights = Flights::default();
        let look = self.look(&mut session, &mut flights);
        let result = stop.run_until_cancelled(look).await;
        flights.measure(&mut session);
        session.finish(result, &self.limits)
    }
}

impl IcmpProbe {
    async fn look(&self, session: &mut Session, flights: &mut Flights) -> Result<String, Failed> {
        let addresses = session.resolve(&self.host).await?;
        let fits = |address: &IpAddr| self.v4.is_none_or(|v4| v4 == address.is_ipv4());
        let address = addresses.iter().map(|address| address.ip()).find(fits);
        let Some(address) = address else {
            let wanted = if self.v4 == Some(true) { "IPv4" } else { "IPv6" };
            let summary = format!("`{}` has no address of {wanted}", self.host.host);
            return Err(Failed::new(Reason::NoSuchName, summary));
        };
        session.set_peer((address, 0).into());
        let open = async {
            let mut random = [0; 10];
            let filled = SystemRandom::new().fill(&mut random);
            filled
                .map_err(|_| Failed::new(Reason::Internal, "the system has no random numbers"))?;
            let (size, hops) = (self.size, self.hops);
            let options = EchoOptions { size, hops, source: None, whole: false };
            EchoSocket::open(address, &options, random)
        };
        let socket = session.phase("setup", "there is no socket", open).await?;
        session.waiting(format!("no packet came back from {address}"));
        for sequence in 0..self.packets {
            socket.send(sequence).await?;
            let watch = Stopwatch::start();
            flights.sent.push(watch);
            flights.times.push(None);
            flights.returned.push(false);
            let last = sequence + 1 == self.packets;
            let until = watch.instant(if last { self.wait } else { self.every });
            // Before the next packet its time has to come, after the last all can be settled early.
            while !(last && flights.are_settled()) {
                let Ok(arrival) = timeout_at(until, socket.receive()).await else { break };
                flights.take(arrival?);
            }
        }
        flights.judge(address)
    }
}

impl Flights {
    /// Notes what has become of a packet; of one whose fate is known, nothing new.
    fn take(&mut self, arrival: Arrival) {
        let sequence = match &arrival {
            Arrival::Reply(reply) => reply.sequence,
            Arrival::Returned(returned) => returned.sequence,
        };
        let place = usize::from(sequence);
        let (Some(None), Some(false)) = (self.times.get(place), self.returned.get(place)) else {
            return;
        };
        match arrival {
            Arrival::Reply(reply) => {
                self.times[place] = Some(self.sent[place].seconds());
                self.hop_limit = reply.hop_limit.or(self.hop_limit);
            }
            Arrival::Returned(returned) => {
                self.returned[place] = true;
                self.says = Some(returned.says);
            }
        }
    }

    fn are_settled(&self) -> bool {
        self.times.iter().zip(&self.returned).all(|(time, lost)| time.is_some() || *lost)
    }

    fn back(&self) -> impl Iterator<Item = f64> + Clone {
        self.times.iter().copied().flatten()
    }

    fn mean(&self) -> Option<f64> {
        let count = self.back().count();
        (count > 0).then(|| self.back().sum::<f64>() / count as f64)
    }

    fn loss(&self) -> f64 {
        let (sent, back) = (self.times.len() as f64, self.back().count() as f64);
        if sent > 0.0 { (sent - back) / sent * 100.0 } else { 0.0 }
    }

    fn judge(&self, address: IpAddr) -> Result<String, Failed> {
        let (sent, back) = (self.times.len(), self.back().count());
        let Some(mean) = self.mean() else {
            let summary = format!("none of {sent} packets came back from {address}");
            return Err(match &self.says {
                Some(says) => Failed::new(Reason::Unreachable, format!("{summary}: {says}")),
                None => Failed::new(Reason::NoReply, summary),
            });
        };
        let mean = mean * 1e3;
        Ok(format!("{back} of {sent} packets came back from {address}, in {mean:.3} ms on average"))
    }

    /// Adds what was measured, as far as the run has come.
    fn measure(&self, session: &mut Session) {
        if self.times.is_empty() {
            return;
        }
        let gauge = |session: &mut Session, name: &str, help: &str, value: f64| {
            session.metrics.gauge(name, help, value);
        };
        let (sent, back) = (self.times.len() as f64, self.back().count() as f64);
        gauge(session, "probe_icmp_packets_sent", "How many packets were sent", sent);
        gauge(session, "probe_icmp_packets_received", "How many packets came back", back);
        session.value("loss", self.loss(), "%");
        if let Some(hops) = self.hop_limit {
            let help = "Replied packet hop limit (TTL for ipv4)";
            gauge(session, "probe_icmp_reply_hop_limit", help, f64::from(hops));
        }
        let Some(mean) = self.mean() else { return };
        session.note("rtt", Duration::try_from_secs_f64(mean).unwrap_or_default());
        session.value("rtt", mean, "s");
        session.value("rtt_max", self.back().fold(0.0, f64::max), "s");
        let steps = self.back().zip(self.back().skip(1)).map(|(a, b)| (a - b).abs());
        let jitter = steps.clone().sum::<f64>() / (steps.count().max(1) as f64);
        session.value("jitter", jitter, "s");
    }
}
