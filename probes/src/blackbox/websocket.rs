//! The `websocket` prober: a WebSocket that is opened, and what is said there.
//!
//! Invariant: every step that expects something looks at the next message and at no other.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base::clock::Stopwatch;
use base::http::client::{Client, TlsSession};
use base::http::{HeaderMap, Uri};
use regex::bytes::Regex;
use tokio_util::sync::CancellationToken;

use super::{Seen, chain, timed_out};
use crate::Reason;
use crate::guard::{Guard, Way};
use crate::network::{Failed, Metrics, reason_of};
use crate::target::HostPort;
use crate::text::shown_line;
use crate::websocket::{CLOSE, TEXT, Talked, next_message, request_head, send, upgrade};
use crate::wire::Wire;

/// The `websocket` section of a module, as meant.
#[derive(Debug)]
pub(super) struct WebsocketModule {
    pub(super) headers: HeaderMap,
    pub(super) client: Client,
    /// Whether certificates are verified.
    pub(super) verifies: bool,
    pub(super) steps: Vec<Step>,
}

/// One exchange: what is expected first, then what is said.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) expect: Option<Regex>,
    pub(super) send: Vec<u8>,
}

/// The module aimed at a URL, which is written as one of HTTP.
#[derive(Debug)]
pub(super) struct WebsocketShot {
    module: Arc<WebsocketModule>,
    url: Uri,
    at: HostPort,
    guard: Guard,
}

impl WebsocketModule {
    /// As its section has no say in it, the address is the one that the system prefers.
    pub(super) const WAY: Way = Way { prefers_v4: false, falls_back: true, source: None };

    pub(super) fn aim(self: &Arc<Self>, url: Uri, at: HostPort, guard: Guard) -> WebsocketShot {
        WebsocketShot { module: Arc::clone(self), url, at, guard }
    }
}

/// How far a look has come.
#[derive(Default)]
struct Progress {
    dialled: Option<(SocketAddr, Duration)>,
    resolve: Option<Duration>,
    connect: Option<Duration>,
    tls: Option<Duration>,
    upgrade: Option<Duration>,
    response: Option<Duration>,
    session: Option<TlsSession>,
    talked: Talked,
    by_regex: bool,
    waits_for: &'static str,
}

impl WebsocketShot {
    pub(super) async fn look(&self, stop: &CancellationToken, watch: Stopwatch) -> Seen {
        let mut progress = Progress::default();
        let failed = match stop.run_until_cancelled(self.talk(&mut progress)).await {
            Some(result) => result.err(),
            None => Some(timed_out(progress.waits_for, watch)),
        };
        let metrics = self.measure(&progress);
        let summary = format!("the WebSocket is open after {:.3} s", watch.seconds());
        let Progress { dialled, resolve, .. } = progress;
        Seen { failed, summary, dialled, resolve, metrics, has_address: true }
    }

    async fn talk(&self, progress: &mut Progress) -> Result<(), Failed> {
        progress.waits_for = "the name is not resolved";
        let watch = Stopwatch::start();
        let address = self.guard.choose(&self.at).await;
        progress.resolve = Some(watch.elapsed());
        let address = address?;
        progress.dialled = Some((address, watch.elapsed()));
        progress.waits_for = "there is no connection";
        let watch = Stopwatch::start();
        let socket = self.guard.dial(address).await;
        progress.connect = Some(watch.elapsed());
        let mut wire = self.secure(socket?, progress).await?;
        progress.waits_for = "the WebSocket is not open";
        let watch = Stopwatch::start();
        let mut head = request_head(&self.url);
        for (name, value) in &self.module.headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let opened = upgrade(&head, &mut wire, &mut progress.talked).await;
        progress.upgrade = Some(watch.elapsed());
        opened?;
        progress.waits_for = "the server has not said what is expected";
        let watch = Stopwatch::start();
        for step in &self.module.steps {
            let done = step.run(&mut wire).await;
            progress.response = Some(watch.elapsed());
            progress.by_regex = done.is_err();
            done?;
        }
        // A farewell, "normal closure"; that it does not arrive changes nothing.
        let _ = send(&mut wire, CLOSE, &1000_u16.to_be_bytes()).await;
        Ok(())
    }

    async fn secure(
        &self,
        socket: tokio::net::TcpStream,
        progress: &mut Progress,
    ) -> Result<Wire, Failed> {
        if self.url.scheme_str() != Some("https") {
            return Ok(Wire::new(socket));
        }
        progress.waits_for = "the TLS handshake is not done";
        let watch = Stopwatch::start();
        let socket = self.module.client.handshake(socket, &self.at.host).await;
        progress.tls = Some(watch.elapsed());
        let socket =
            socket.map_err(|error| Failed::new(reason_of(error.kind), error.to_string()))?;
        progress.session = Some(TlsSession::of(socket.get_ref().1));
        Ok(Wire::new(socket))
    }

    fn measure(&self, progress: &Progress) -> Metrics {
        let mut metrics = Metrics::default();
        let flag = |is_set: bool| f64::from(u8::from(is_set));
        let phases = [
            ("resolve", progress.dialled.map(|(_, time)| time)),
            ("connect", progress.connect),
            ("tls", progress.tls),
            ("upgrade", progress.upgrade),
            ("response", progress.response),
        ];
        let help = "Duration of websocket request by phase";
        metrics.phases("probe_websocket_duration_seconds", help, &phases);
        let help = "Indicates if the websocket connection was successfully upgraded";
        let upgraded = flag(progress.talked.upgraded);
        metrics.gauge("probe_websocket_connection_upgraded", help, upgraded);
        let help = "Response HTTP status code";
        let status = f64::from(progress.talked.status);
        metrics.gauge("probe_websocket_status_code", help, status);
        if progress.talked.upgraded && !self.module.steps.is_empty() {
            let help = "Indicates if probe failed due to regex";
            let by_regex = flag(progress.by_regex);
            metrics.gauge("probe_websocket_failed_due_to_regex", help, by_regex);
        }
        if let Some(session) = &progress.session {
            chain::measure(session, self.module.verifies, &mut metrics);
        }
        metrics
    }
}

impl Step {
    async fn run(&self, wire: &mut Wire) -> Result<(), Failed> {
        let mut text = self.send.clone();
        if let Some(expect) = &self.expect {
            let message = next_message(wire).await?;
            let Some(caught) = expect.captures(&message) else {
                let said = shown_line(&message, 100);
                let summary = format!("`{said}` does not match `{expect}`");
                return Err(Failed::new(Reason::BodyMismatch, summary));
            };
            text.clear();
            caught.expand(&self.send, &mut text);
        }
        if text.is_empty() { Ok(()) } else { send(wire, TEXT, &text).await }
    }
}
