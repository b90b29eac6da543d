//! The `dns` prober: one question to the server that is the target.
//!
//! Invariant: the answer is judged as it came, cut or not, and by blackbox_exporter's own reading
//! of its settings.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base::clock::Stopwatch;
use base::http::client::Client;
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use super::{Seen, timed_out};
use crate::Reason;
use crate::dns::exchange::{Transport, by_datagram, by_stream};
use crate::dns::expect::{Records, rcode};
use crate::dns::message::{Message, Question, Record};
use crate::guard::{Guard, Way};
use crate::network::{Failed, Metrics, reason_of};
use crate::session::unanswered;
use crate::target::HostPort;
use crate::wire::Wire;

/// The `dns` section of a module, as meant.
#[derive(Debug)]
pub(super) struct DnsModule {
    pub(super) way: Way,
    pub(super) question: Question,
    /// Whether the start of authority is asked for, whose serial number is a metric then.
    pub(super) asks_soa: bool,
    pub(super) transport: Transport,
    /// With whom the connection is encrypted, where it is.
    pub(super) tls: Option<Client>,
    pub(super) rcodes: Vec<u16>,
    pub(super) answer: Records,
    pub(super) authority: Records,
    pub(super) additional: Records,
}

/// The module aimed at a server.
#[derive(Debug)]
pub(super) struct DnsShot {
    module: Arc<DnsModule>,
    at: HostPort,
    guard: Guard,
}

impl DnsModule {
    /// The port where a target names none.
    pub(super) fn port(&self) -> u16 {
        if self.tls.is_some() { 853 } else { 53 }
    }

    pub(super) fn aim(self: &Arc<Self>, at: HostPort, guard: Guard) -> DnsShot {
        DnsShot { module: Arc::clone(self), at, guard }
    }

    fn judge(&self, message: &Message) -> Result<String, Failed> {
        if !self.rcodes.contains(&message.rcode) {
            let summary = format!("the server answers {}", rcode(message.rcode));
            return Err(Failed::new(Reason::ErrorAnswer, summary));
        }
        judge("answer", &self.answer, &message.answer)?;
        judge("authority", &self.authority, &message.authority)?;
        judge("additional", &self.additional, &message.additional)?;
        Ok(format!("{} with {} answers", rcode(message.rcode), message.answer.len()))
    }
}

/// As blackbox_exporter reads its settings, which is not in all points what they are called: no
/// record at all fails what some must match, and `fail_if_all_match_regexp` fails where not all do.
fn judge(section: &str, expect: &Records, records: &[Record]) -> Result<(), Failed> {
    let fail = |summary: String| Err(Failed::new(Reason::AnswerMismatch, summary));
    let must = expect.fail_if_not_matches.iter().chain(&expect.fail_if_none_matches).next();
    if let (Some(regex), true) = (must, records.is_empty()) {
        return fail(format!("the {section} has no record, and one must match `{regex}`"));
    }
    let lines: Vec<String> = records.iter().map(Record::line).collect();
    let some = |regex: &regex::bytes::Regex| lines.iter().any(|l| regex.is_match(l.as_bytes()));
    let all = |regex: &regex::bytes::Regex| lines.iter().all(|l| regex.is_match(l.as_bytes()));
    if let Some(regex) = expect.fail_if_matches.iter().find(|regex| some(regex)) {
        return fail(format!("a record of the {section} matches `{regex}`"));
    }
    if let Some(regex) = expect.fail_if_not_matches.iter().find(|regex| !all(regex)) {
        return fail(format!("a record of the {section} does not match `{regex}`"));
    }
    if let Some(regex) = expect.fail_if_all_match.iter().find(|regex| !all(regex)) {
        return fail(format!("not all records of the {section} match `{regex}`"));
    }
    let none = &expect.fail_if_none_matches;
    if let (Some(regex), false) = (none.first(), none.iter().any(some)) {
        return fail(format!("no record of the {section} matches `{regex}` or what is beside it"));
    }
    Ok(())
}

/// How far a look has come.
#[derive(Default)]
struct Progress {
    dialled: Option<(SocketAddr, Duration)>,
    resolve: Option<Duration>,
    connect: Option<Duration>,
    request: Option<Stopwatch>,
    answered: Option<Duration>,
    message: Option<Message>,
    waits_for: &'static str,
}

impl DnsShot {
    pub(super) async fn look(&self, stop: &CancellationToken, watch: Stopwatch) -> Seen {
        let mut progress = Progress::default();
        let asked = stop.run_until_cancelled(self.ask(&mut progress)).await;
        let (failed, summary) = match asked {
            Some(Ok(summary)) => (None, summary),
            Some(Err(failed)) => (Some(failed), String::new()),
            None => (Some(timed_out(progress.waits_for, watch)), String::new()),
        };
        let metrics = self.measure(&progress);
        let Progress { dialled, resolve, .. } = progress;
        Seen { failed, summary, dialled, resolve, metrics, has_address: true }
    }

    async fn ask(&self, progress: &mut Progress) -> Result<String, Failed> {
        progress.waits_for = "the name is not resolved";
        let watch = Stopwatch::start();
        let address = self.guard.choose(&self.at).await;
        progress.resolve = Some(watch.elapsed());
        let address = address?;
        progress.dialled = Some((address, watch.elapsed()));
        let message = self.exchange(address, progress).await;
        progress.answered = progress.request.map(|watch| watch.elapsed());
        self.module.judge(progress.message.insert(message?))
    }

    async fn exchange(
        &self,
        address: SocketAddr,
        progress: &mut Progress,
    ) -> Result<Message, Failed> {
        let (question, watch) = (&self.module.question, Stopwatch::start());
        progress.waits_for = "there is no connection";
        if self.module.transport == Transport::Udp {
            let socket = self.datagrams(address).await.map_err(|error| unanswered(&error))?;
            progress.asking(watch);
            return by_datagram(&socket, question).await;
        }
        let socket = self.guard.dial(address).await?;
        let mut wire = match &self.module.tls {
            None => Wire::new(socket),
            Some(client) => {
                progress.waits_for = "the TLS handshake is not done";
                let socket = client.handshake(socket, &self.at.host).await;
                Wire::new(socket.map_err(|e| Failed::new(reason_of(e.kind), e.to_string()))?)
            }
        };
        progress.asking(watch);
        by_stream(&mut wire, question).await
    }

    /// A socket that hears only `address`.
    async fn datagrams(&self, address: SocketAddr) -> std::io::Result<UdpSocket> {
        let any = if address.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
        let source = self.module.way.source.unwrap_or(any);
        let socket = UdpSocket::bind((source, 0)).await?;
        socket.connect(address).await?;
        Ok(socket)
    }

    fn measure(&self, progress: &Progress) -> Metrics {
        let mut metrics = Metrics::default();
        let request = progress.answered.or_else(|| progress.request.map(|watch| watch.elapsed()));
        let phases = [
            ("resolve", progress.dialled.map(|(_, time)| time)),
            ("connect", progress.connect),
            ("request", request),
        ];
        let help = "Duration of DNS request by phase";
        metrics.phases("probe_dns_duration_seconds", help, &phases);
        let message = progress.message.as_ref();
        let mut count = |name, help, records: Option<usize>| {
            metrics.gauge(name, help, records.unwrap_or_default() as f64);
        };
        let help = "Returns number of entries in the answer resource record list";
        count("probe_dns_answer_rrs", help, message.map(|m| m.answer.len()));
        let help = "Returns number of entries in the authority resource record list";
        count("probe_dns_authority_rrs", help, message.map(|m| m.authority.len()));
        let help = "Returns number of entries in the additional resource record list";
        count("probe_dns_additional_rrs", help, message.map(|m| m.additional.len()));
        let help = "Displays whether or not the query was executed successfully";
        count("probe_dns_query_succeeded", help, message.map(|_| 1));
        if let (Some(message), true) = (message, self.module.asks_soa) {
            // Of several the last, as blackbox_exporter has it.
            let serial = message.answer.iter().filter_map(|record| record.serial).next_back();
            let help = "Returns the serial number of the zone";
            metrics.gauge("probe_dns_serial", help, serial.map_or(0.0, f64::from));
        }
        metrics
    }
}

impl Progress {
    /// Whoever is asked can hear from now on; getting there took as long as `watch` says.
    fn asking(&mut self, watch: Stopwatch) {
        self.connect = Some(watch.elapsed());
        self.request = Some(Stopwatch::start());
        self.waits_for = "the server has not answered";
    }
}
