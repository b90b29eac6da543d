//! One run of a probe over the network: what it waits for, how long the phases took, what was
//! measured; and in the end the outcome.
//!
//! ```text
//! start ─▶ connect ─▶ secure ─▶ phase, phase, ... ─▶ finish: limits, metrics ─▶ Outcome
//! ```
//!
//! Invariant: whenever the time is up, the outcome says what was being waited for.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::task::Poll;
use std::time::Duration;

use base::clock::{Stopwatch, since_epoch};
use base::diagnostic::{Diagnostics, Spanned};
use base::http::client::{ClientError, dial, resolve};
use tokio::net::{TcpStream, UdpSocket};

use crate::chain::{Seen, Trust, with_fault};
use crate::network::{Metrics, reason_of};
use crate::thresholds::{Limits, Value};
use crate::wire::{Failed, Wire};
use crate::{Outcome, Reason, Status};

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Endpoint {
    /// Reads `host:port`, where `port` may be missing if there is one that is usual.
    pub(crate) fn build(
        text: &Spanned<String>,
        usual: Option<u16>,
        diagnostics: &mut Diagnostics,
    ) -> Option<Self> {
        let parsed = Self::parse(&text.value, usual);
        if let Err(why) = &parsed {
            let message = format!("`{}` {why}", text.value);
            let help = match usual {
                Some(port) => format!("write it like `host.example` or `host.example:{port}`"),
                None => "write it like `db.example:5432`".to_owned(),
            };
            diagnostics.report_with_help(text, message, help);
        }
        parsed.ok()
    }

    fn parse(text: &str, usual: Option<u16>) -> Result<Self, &'static str> {
        let brackets = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
        let (host, port) = match brackets {
            Some((host, "")) => (host, None),
            Some((host, rest)) => (host, Some(rest.strip_prefix(':').ok_or("has no port")?)),
            None if text.matches(':').count() > 1 => {
                return Err("is an IPv6 address without brackets, or has no port");
            }
            None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
        };
        let unfit = |c: char| c.is_whitespace() || c.is_control() || c == '/';
        if host.is_empty() || host.contains(unfit) {
            return Err("has no host name");
        }
        let port = match port {
            None => usual.ok_or("has no port")?,
            Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or("has no port")?,
        };
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// How long the whole run took: a value of every probe.
pub(crate) const SECONDS: &str = "seconds";
/// How many days the first certificate that ends is still good for: a value wherever there is TLS.
pub(crate) const DAYS_LEFT: &str = "days_left";

/// A run.
pub(crate) struct Session {
    kind: &'static str,
    watch: Stopwatch,
    phases: Vec<(&'static str, Option<Duration>)>,
    waiting: String,
    resolve: Option<Duration>,
    peer: Option<SocketAddr>,
    values: Vec<Value>,
    /// Further metrics.
    pub(crate) metrics: Metrics,
    /// Further lines for a person.
    pub(crate) details: String,
    /// What is wrong with the files that say whom to trust.
    fault: Option<String>,
}

impl Session {
    /// Begins a run of a probe that is called `kind` and has these phases.
    pub(crate) fn start(kind: &'static str, phases: &[&'static str]) -> Self {
        Self {
            kind,
            watch: Stopwatch::start(),
            phases: phases.iter().map(|name| (*name, None)).collect(),
            waiting: "nothing has happened".to_owned(),
            resolve: None,
            peer: None,
            values: Vec::new(),
            metrics: Metrics::default(),
            details: String::new(),
            fault: None,
        }
    }

    /// The time since the start.
    pub(crate) fn seconds(&self) -> f64 {
        self.watch.seconds()
    }

    /// The address that was really dialled.
    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Notes the address that is really asked.
    pub(crate) fn set_peer(&mut self, peer: SocketAddr) {
        self.peer = Some(peer);
    }

    /// Notes what is waited for from now on, for when the time is up: "`x` has not answered".
    pub(crate) fn waiting(&mut self, waiting: impl Into<String>) {
        self.waiting = waiting.into();
    }

    /// Adds a value that limits can be set for.
    pub(crate) fn value(&mut self, name: &'static str, value: f64, unit: &'static str) {
        self.values.push(Value { name, value, unit });
    }

    /// Notes how long a phase took; of one that comes again, the sum.
    pub(crate) fn note(&mut self, name: &'static str, time: Duration) {
        if name == "resolve" {
            self.resolve = Some(self.resolve.unwrap_or_default() + time);
        }
        match self.phases.iter_mut().find(|(phase, _)| *phase == name) {
            Some((_, sum)) => *sum = Some(sum.unwrap_or_default() + time),
            None => self.phases.push((name, Some(time))),
        }
    }

    /// Does `work`, a phase of the run; `waiting` says what is not there when the time is up.
    pub(crate) async fn phase<T>(
        &mut self,
        name: &'static str,
        waiting: impl Into<String>,
        work: impl Future<Output = Result<T, Failed>>,
    ) -> Result<T, Failed> {
        self.waiting = waiting.into();
        let watch = Stopwatch::start();
        let result = work.await;
        self.note(name, watch.elapsed());
        result
    }

    /// The addresses of a name.
    pub(crate) async fn resolve(&mut self, endpoint: &Endpoint) -> Result<Vec<SocketAddr>, Failed> {
        let waiting = format!("the name `{}` is not resolved", endpoint.host);
        let work = async { resolve(&endpoint.host, endpoint.port).await.map_err(failed) };
        self.phase("resolve", waiting, work).await
    }

    /// Opens a connection.
    pub(crate) async fn connect(&mut self, endpoint: &Endpoint) -> Result<Wire, Failed> {
        Ok(Wire::new(self.dial(endpoint).await?))
    }

    async fn dial(&mut self, endpoint: &Endpoint) -> Result<TcpStream, Failed> {
        let addresses = self.resolve(endpoint).await?;
        let waiting = format!("there is no connection to `{endpoint}`");
        let work = async { dial(&addresses).await.map_err(failed) };
        let socket = self.phase("connect", waiting, work).await?;
        self.peer = socket.peer_addr().ok();
        // What is said here is short, and should go out at once.
        let _ = socket.set_nodelay(true);
        Ok(socket)
    }

    /// Opens a connection, with a TLS handshake at once where there is `trust`.
    pub(crate) async fn open(
        &mut self,
        endpoint: &Endpoint,
        trust: Option<&Trust>,
    ) -> Result<Wire, Failed> {
        let wire = self.connect(endpoint).await?;
        match trust {
            Some(trust) => self.secure(wire, endpoint, trust).await,
            None => Ok(wire),
        }
    }

    /// Makes a TLS handshake on an open connection, and measures what it shows.
    pub(crate) async fn secure(
        &mut self,
        wire: Wire,
        endpoint: &Endpoint,
        trust: &Trust,
    ) -> Result<Wire, Failed> {
        let mut seen = Seen::default();
        let result = self.inspect(wire, endpoint, trust, &mut seen).await;
        self.judge_chain(&seen);
        result
    }

    /// As [`Self::secure`], with what was seen.
    pub(crate) async fn inspect(
        &mut self,
        wire: Wire,
        endpoint: &Endpoint,
        trust: &Trust,
        seen: &mut Seen,
    ) -> Result<Wire, Failed> {
        let stream = wire.into_stream()?;
        let waiting = format!("the TLS handshake with `{endpoint}` is not done");
        let result =
            self.phase("tls", waiting, trust.handshake(stream, &endpoint.host, seen)).await;
        self.fault.clone_from(&seen.fault);
        result
    }

    /// Measures what a handshake has shown.
    pub(crate) fn judge_chain(&mut self, seen: &Seen) {
        seen.measure(&mut self.metrics);
        if let Some(expiry) = seen.expiry() {
            self.value(DAYS_LEFT, days_left(expiry), "");
        }
    }

    /// The outcome: of `result`, nothing if the time was up, and of the limits.
    pub(crate) fn finish(
        mut self,
        result: Option<Result<String, Failed>>,
        limits: &Limits,
    ) -> Outcome {
        let seconds = self.watch.seconds();
        self.value(SECONDS, seconds, "s");
        let verdict = limits.judge(&self.values);
        let mut outcome = match result {
            Some(Ok(summary)) if verdict.status == Status::Ok => Outcome::ok(summary),
            Some(Ok(summary)) => {
                let summary = format!("{}: {summary}", verdict.text);
                Outcome::new(verdict.status, Reason::Threshold, summary)
            }
            Some(Err(failed)) => Outcome::critical(failed.reason, failed.summary),
            None => {
                let summary = format!("{} after {seconds:.1} s", self.waiting);
                Outcome::critical(Reason::Timeout, summary)
            }
        };
        outcome.measurements = verdict.measurements;
        outcome.details = with_fault(self.details, self.fault);
        let (name, help) = (
            format!("probe_{}_duration_seconds", self.kind),
            format!("Duration of {} request by phase", self.kind),
        );
        self.metrics.phases(&name, &help, &self.phases);
        self.metrics.finish(outcome, seconds, self.resolve, self.peer)
    }
}

/// A socket that hears only `endpoint`; sending is the caller's part.
pub(crate) async fn datagrams(
    session: &mut Session,
    endpoint: &Endpoint,
) -> Result<UdpSocket, Failed> {
    let addresses = session.resolve(endpoint).await?;
    let Some(address) = addresses.first().copied() else {
        return Err(Failed::new(Reason::NoSuchName, format!("`{endpoint}` has no address")));
    };
    session.peer = Some(address);
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).await.map_err(|error| unanswered(&error))?;
    socket.connect(address).await.map_err(|error| unanswered(&error))?;
    Ok(socket)
}

/// Why a datagram has no answer.
pub(crate) fn unanswered(error: &io::Error) -> Failed {
    let reason = match error.kind() {
        io::ErrorKind::ConnectionRefused => Reason::ConnectionRefused,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Reason::Unreachable,
        io::ErrorKind::PermissionDenied => Reason::PermissionDenied,
        _ => Reason::ConnectionReset,
    };
    Failed::new(reason, format!("no answer: {error}"))
}

/// How many days there are until `expiry`, in seconds since 1970.
pub(crate) fn days_left(expiry: f64) -> f64 {
    (expiry - now()) / 86_400.0
}

/// The seconds since 1970, for what is good until some time.
pub(crate) fn now() -> f64 {
    since_epoch().as_secs_f64()
}

/// Waits for all of `work` at once; the results are in its order.
pub(crate) async fn join_all<F: Future>(work: Vec<F>) -> Vec<F::Output> {
    let mut work: Vec<_> = work.into_iter().map(|work| (Box::pin(work), None)).collect();
    poll_fn(|context| {
        let mut done = true;
        for (work, result) in work.iter_mut().filter(|(_, result)| result.is_none()) {
            match work.as_mut().poll(context) {
                Poll::Ready(value) => *result = Some(value),
                Poll::Pending => done = false,
            }
        }
        if done { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    work.into_iter().filter_map(|(_, result)| result).collect()
}

pub(crate) fn failed(error: ClientError) -> Failed {
    Failed::new(reason_of(error.kind), error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, usual: Option<u16>, expected: &str) {
        let parsed = Endpoint::parse(text, usual);
        let parsed = parsed.map_or_else(str::to_owned, |endpoint| endpoint.to_string());
        assert_eq!(parsed, expected, "{text}");
    }

    #[test]
    fn reads_hosts_and_ports() {
        check("db.example:5432", None, "db.example:5432");
        check("[::1]:22", None, "[::1]:22");
        check("[::1]", Some(53), "[::1]:53");
        check("db.example", Some(53), "db.example:53");
        check("db.example", None, "has no port");
        check("::1", Some(53), "is an IPv6 address without brackets, or has no port");
        check("db.example:0", Some(53), "has no port");
        check("db.example:x", None, "has no port");
        check("db.example:", None, "has no port");
        check(":80", None, "has no host name");
        check("a b:80", None, "has no host name");
        check("http://a:80", None, "is an IPv6 address without brackets, or has no port");
        check("[::1]x", Some(53), "has no port");
        check("", Some(53), "has no host name");
    }
}
