//! The `tcp` and `unix` probers: a connection, and a conversation line by line.
//!
//! Invariant: no more of what the peer says is kept than [`MAX_LINE`] of one line, and what it said
//! before TLS began counts for nothing after it.

use std::sync::Arc;
use std::time::Duration;

use base::clock::Stopwatch;
use base::family::MetricFamily;
use base::http::client::{Client, Opened, TlsSession};
use regex::bytes::{Captures, Regex};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

use super::{Seen, chain, timed_out};
use crate::Reason;
use crate::guard::{Guard, Way};
use crate::network::{Failed, Metrics, reason_of};
use crate::target::{HostPort, Place};
use crate::text::shown_line;

/// The longest line that a peer may say.
const MAX_LINE: usize = 64 << 10;
/// The most that a peer may say before it has said what is expected.
const MAX_SAID: usize = 4 << 20;

/// The `tcp` or `unix` section of a module, as meant.
#[derive(Debug)]
pub(super) struct TcpModule {
    pub(super) way: Way,
    pub(super) steps: Vec<Step>,
    /// Whether the conversation begins with TLS.
    pub(super) tls: bool,
    pub(super) client: Client,
    /// Whether certificates are verified.
    pub(super) verifies: bool,
}

/// One exchange: what is expected first, then what is said, then TLS.
#[derive(Debug, Default)]
pub(super) struct Step {
    pub(super) expect: Option<Regex>,
    pub(super) expect_bytes: Vec<u8>,
    /// Names and values of labels, with references to what the expression has caught.
    pub(super) labels: Vec<(String, String)>,
    pub(super) send: Vec<u8>,
    pub(super) starttls: bool,
}

/// The module aimed at an address or a socket.
#[derive(Debug)]
pub(super) struct TcpShot {
    module: Arc<TcpModule>,
    at: Place,
    client: Client,
    guard: Guard,
}

impl TcpModule {
    pub(super) fn aim(
        self: &Arc<Self>,
        at: Place,
        hostname: Option<String>,
        guard: Guard,
    ) -> TcpShot {
        let client = match hostname {
            Some(name) if !self.client.has_server_name() => self.client.with_server_name(&name),
            _ => self.client.clone(),
        };
        TcpShot { module: Arc::clone(self), at, client, guard }
    }
}

trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

/// How far a look has come.
#[derive(Default)]
struct Progress {
    dialled: Option<(std::net::SocketAddr, Duration)>,
    resolve: Option<Duration>,
    /// The conversation can begin: with TLS, where it begins with that.
    is_connected: bool,
    sessions: Vec<TlsSession>,
    by_regex: bool,
    by_bytes: bool,
    caught: Vec<Vec<(String, String)>>,
    waits_for: &'static str,
}

impl TcpShot {
    pub(super) async fn look(&self, stop: &CancellationToken, watch: Stopwatch) -> Seen {
        let mut progress = Progress::default();
        let failed = match stop.run_until_cancelled(self.talk(&mut progress)).await {
            Some(result) => result.err(),
            None => Some(timed_out(progress.waits_for, watch)),
        };
        let summary = format!("connected and talked in {:.3} s", watch.seconds());
        let metrics = self.measure(&progress);
        let Progress { dialled, resolve, .. } = progress;
        let has_address = matches!(self.at, Place::Net(_));
        Seen { failed, summary, dialled, resolve, metrics, has_address }
    }

    async fn talk(&self, progress: &mut Progress) -> Result<(), Failed> {
        let (socket, host) = match &self.at {
            Place::Net(at) => {
                let opened = self.connect(at, progress).await?;
                if self.module.steps.is_empty() && !self.module.tls {
                    progress.is_connected = true;
                    return Ok(());
                }
                let socket = opened.into_stream().map_err(|error| not_watched(&error))?;
                (Box::new(socket) as Box<dyn Socket>, at.host.as_str())
            }
            // A certificate of a service that only this host reaches is made for it.
            Place::Socket(path) => (open(path, progress).await?, "localhost"),
        };
        let mut talk = Talk { socket: Line::Plain(socket), said: Vec::new(), total: 0 };
        if self.module.tls {
            talk = Box::pin(talk.encrypt(&self.client, host, progress)).await?;
        }
        progress.is_connected = true;
        for step in &self.module.steps {
            talk.step(step, progress).await?;
            if step.starttls {
                talk = Box::pin(talk.encrypt(&self.client, host, progress)).await?;
            }
        }
        Ok(())
    }

    async fn connect(&self, at: &HostPort, progress: &mut Progress) -> Result<Opened, Failed> {
        progress.waits_for = "the name is not resolved";
        let watch = Stopwatch::start();
        let address = self.guard.choose(at).await;
        progress.resolve = Some(watch.elapsed());
        let address = address?;
        progress.dialled = Some((address, watch.elapsed()));
        progress.waits_for = "there is no connection";
        self.guard.open(address).await
    }

    fn measure(&self, progress: &Progress) -> Metrics {
        let mut metrics = Metrics::default();
        if progress.is_connected {
            let flag = |is_set: bool| f64::from(u8::from(is_set));
            let help = "Indicates if probe failed due to regex";
            metrics.gauge("probe_failed_due_to_regex", help, flag(progress.by_regex));
            let help = "Indicates if probe failed due to bytes";
            metrics.gauge("probe_failed_due_to_bytes", help, flag(progress.by_bytes));
        }
        if let Some(session) = progress.sessions.last() {
            chain::measure(session, self.module.verifies, &mut metrics);
        }
        if !progress.caught.is_empty() {
            let mut family = MetricFamily::gauge("probe_expect_info", "Explicit content matched");
            for labels in &progress.caught {
                let labels =
                    labels.iter().map(|(name, value)| (name.clone().into(), value.clone()));
                family.add_pairs("", labels.collect(), 1.0);
            }
            metrics.push(family);
        }
        metrics
    }
}

/// A connection that is there and cannot be talked over, for want of memory.
fn not_watched(error: &std::io::Error) -> Failed {
    Failed::new(Reason::Internal, format!("the connection cannot be watched: {error}"))
}

/// Opens the socket at `path`.
async fn open(path: &str, progress: &mut Progress) -> Result<Box<dyn Socket>, Failed> {
    progress.waits_for = "there is no connection";
    match UnixStream::connect(path).await {
        Ok(socket) => Ok(Box::new(socket)),
        Err(error) => {
            let reason = match error.kind() {
                std::io::ErrorKind::PermissionDenied => Reason::PermissionDenied,
                std::io::ErrorKind::NotFound => Reason::FileMissing,
                _ => Reason::ConnectionRefused,
            };
            Err(Failed::new(reason, format!("connect to `{path}`: {error}")))
        }
    }
}

enum Line {
    Plain(Box<dyn Socket>),
    Encrypted(Box<dyn Socket>),
}

impl Line {
    fn socket(&mut self) -> &mut dyn Socket {
        match self {
            Self::Plain(socket) | Self::Encrypted(socket) => socket.as_mut(),
        }
    }
}

/// A conversation: the connection, and what the peer has said that nobody has looked at yet.
struct Talk {
    socket: Line,
    said: Vec<u8>,
    total: usize,
}

impl Talk {
    /// Goes on in TLS.
    async fn encrypt(
        self,
        client: &Client,
        host: &str,
        progress: &mut Progress,
    ) -> Result<Self, Failed> {
        progress.waits_for = "the TLS handshake is not done";
        let Line::Plain(socket) = self.socket else {
            return Err(Failed::new(Reason::TlsPolicy, "the connection is encrypted already"));
        };
        let socket = client.handshake(socket, host).await;
        let socket =
            socket.map_err(|error| Failed::new(reason_of(error.kind), error.to_string()))?;
        progress.sessions.push(TlsSession::of(socket.get_ref().1));
        let socket = Line::Encrypted(Box::new(socket));
        Ok(Self { socket, said: Vec::new(), total: self.total })
    }

    async fn step(&mut self, step: &Step, progress: &mut Progress) -> Result<(), Failed> {
        let mut send = step.send.clone();
        progress.waits_for = "the peer has not said what is expected";
        if let Some(expect) = &step.expect {
            let Some(line) = self.matching(expect).await? else {
                progress.by_regex = true;
                let summary = format!("the peer hung up and said nothing that matches `{expect}`");
                return Err(Failed::new(Reason::BodyMismatch, summary));
            };
            if let Some(caught) = expect.captures(&line) {
                send.clear();
                caught.expand(&step.send, &mut send);
                if !step.labels.is_empty() {
                    let labels = step.labels.iter();
                    let labels =
                        labels.map(|(name, value)| (name.clone(), expanded(&caught, value)));
                    progress.caught.push(labels.collect());
                }
            }
        }
        if !step.expect_bytes.is_empty() {
            let said = self.bytes(step.expect_bytes.len()).await?;
            if said != step.expect_bytes {
                progress.by_bytes = true;
                let summary =
                    format!("the peer said `{}`, not what is expected", shown_line(&said, 100));
                return Err(Failed::new(Reason::BodyMismatch, summary));
            }
        }
        if !send.is_empty() {
            progress.waits_for = "the peer does not listen";
            // As blackbox_exporter does it: every message is a line.
            send.push(b'\n');
            let socket = self.socket.socket();
            socket.write_all(&send).await.map_err(broken)?;
            socket.flush().await.map_err(broken)?;
        }
        Ok(())
    }

    /// The first line that matches; nothing where the peer hung up before.
    async fn matching(&mut self, expect: &Regex) -> Result<Option<Vec<u8>>, Failed> {
        loop {
            let end = memchr::memchr(b'\n', &self.said);
            let Some(end) = end else {
                if self.said.len() > MAX_LINE {
                    let summary = format!("the peer says a line of over {MAX_LINE} bytes");
                    return Err(Failed::new(Reason::BodyTooLarge, summary));
                }
                if self.read().await? {
                    continue;
                }
                // What came last without a line end is a line, too.
                let line = std::mem::take(&mut self.said);
                return Ok(Some(line).filter(|line| !line.is_empty() && expect.is_match(line)));
            };
            let mut line: Vec<u8> = self.said.drain(..=end).collect();
            line.pop();
            line.pop_if(|last| *last == b'\r');
            if expect.is_match(&line) {
                return Ok(Some(line));
            }
        }
    }

    /// The next bytes; fewer where the peer hung up before.
    async fn bytes(&mut self, count: usize) -> Result<Vec<u8>, Failed> {
        while self.said.len() < count && self.read().await? {}
        let count = count.min(self.said.len());
        Ok(self.said.drain(..count).collect())
    }

    /// Whether more came.
    async fn read(&mut self) -> Result<bool, Failed> {
        let read = self.socket.socket().take(16 << 10).read_buf(&mut self.said).await;
        let read = read.map_err(broken)?;
        self.total += read;
        if self.total > MAX_SAID {
            let summary = format!("the peer has said over {MAX_SAID} bytes");
            return Err(Failed::new(Reason::BodyTooLarge, summary));
        }
        Ok(read > 0)
    }
}

fn broken(error: std::io::Error) -> Failed {
    Failed::new(Reason::ConnectionReset, format!("the connection broke: {error}"))
}

/// A label's value: text, whatever the peer said.
fn expanded(caught: &Captures<'_>, value: &str) -> String {
    let mut out = Vec::new();
    caught.expand(value.as_bytes(), &mut out);
    String::from_utf8_lossy(&out).into_owned()
}
