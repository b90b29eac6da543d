//! Connecting to an address, and what is said there.
//!
//! ```yaml
//! tcp:
//!   address: mail.example:25
//!   send: "EHLO veilleur\r\n"
//!   expect: ^220
//!   tls: {server_name: mail.example}
//! ```
//!
//! Invariant: no more of what the peer says is kept than [`MAX_BANNER`].

use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use base::clock::Stopwatch;
use base::diagnostic::{Diagnostics, Spanned};
use base::http::client::{Client, ClientError, dial, resolve};
use base::http::tls::TlsConfig;
use regex::bytes::Regex;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use crate::network::{Metrics, earliest_expiry, reason_of, regex};
use crate::text::shown_line;
use crate::{Outcome, Probe, Reason};

/// How much a peer may say before it has said what is expected.
const MAX_BANNER: usize = 64 << 10;

/// A TCP probe, as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TcpConfig {
    /// `host:port`; an IPv6 address in brackets.
    address: Spanned<String>,
    /// Makes a TLS handshake.
    #[serde(default)]
    tls: Option<Spanned<TlsConfig>>,
    /// What is sent first.
    #[serde(default)]
    send: String,
    /// A regular expression that what the peer says must match.
    #[serde(default)]
    expect: Option<Spanned<String>>,
}

/// Connects to an address.
#[derive(Debug)]
pub struct TcpProbe {
    host: String,
    port: u16,
    tls: Option<Client>,
    send: String,
    expect: Option<Regex>,
}

impl TcpConfig {
    /// The probe, reporting everything that is wrong with it.
    pub fn build(self, diagnostics: &mut Diagnostics) -> Option<TcpProbe> {
        let address = parse_address(&self.address.value);
        if let Err(why) = &address {
            let message = format!("`{}` {why}", self.address.value);
            diagnostics.report_with_help(&self.address, message, "write it like `db.example:5432`");
        }
        let tls = self.tls.map(|tls| (Client::new(&tls.value), tls.place));
        let tls = match tls {
            Some((Err(error), place)) => {
                diagnostics.report(place, error.to_string());
                return None;
            }
            Some((Ok(client), _)) => Some(client),
            None => None,
        };
        let expect = match &self.expect {
            Some(pattern) => Some(regex(&pattern.value, pattern.place, diagnostics)?),
            None => None,
        };
        let (host, port) = address.ok()?;
        Some(TcpProbe { host, port, tls, send: self.send, expect })
    }
}

/// Host and port.
fn parse_address(text: &str) -> Result<(String, u16), &'static str> {
    let (host, port) = text.rsplit_once(':').ok_or("has no port")?;
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if bracketed.is_none() && host.contains(':') {
        return Err("is an IPv6 address without brackets, or has no port");
    }
    let host = bracketed.unwrap_or(host);
    if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/') {
        return Err("has no host name");
    }
    match port.parse() {
        Ok(0) | Err(_) => Err("has no port"),
        Ok(port) => Ok((host.to_owned(), port)),
    }
}

/// How far a run has come.
#[derive(Debug, Default)]
struct Progress {
    peer: Option<SocketAddr>,
    resolve: Option<Duration>,
    connect: Option<Duration>,
    tls: Option<Duration>,
    response: Option<Duration>,
    certificate_expiry: Option<f64>,
    said: Vec<u8>,
}

#[async_trait]
impl Probe for TcpProbe {
    async fn run(&self, stop: &CancellationToken) -> Outcome {
        let (watch, mut progress) = (Stopwatch::start(), Progress::default());
        let outcome = match stop.run_until_cancelled(self.look(&mut progress)).await {
            Some(Ok(())) => Outcome::ok(self.summary(&progress, watch.seconds())),
            Some(Err((reason, summary))) => Outcome::critical(reason, summary),
            None => {
                let (phase, seconds) = (self.phase(&progress), watch.seconds());
                Outcome::critical(Reason::Timeout, format!("{phase} after {seconds:.1} s"))
            }
        };
        self.measure(&progress, outcome, watch.seconds())
    }
}

impl TcpProbe {
    async fn look(&self, progress: &mut Progress) -> Result<(), (Reason, String)> {
        let failed = |error: ClientError| (reason_of(error.kind), error.to_string());
        let watch = Stopwatch::start();
        let addresses = resolve(&self.host, self.port).await.map_err(failed)?;
        progress.resolve = Some(watch.elapsed());

        let watch = Stopwatch::start();
        let socket = dial(&addresses).await.map_err(failed)?;
        progress.peer = socket.peer_addr().ok();
        progress.connect = Some(watch.elapsed());
        let Some(tls) = &self.tls else { return self.talk(socket, progress).await };

        let watch = Stopwatch::start();
        let socket = tls.handshake(socket, &self.host).await.map_err(failed)?;
        progress.tls = Some(watch.elapsed());
        let chain = socket.get_ref().1.peer_certificates().unwrap_or_default();
        progress.certificate_expiry = earliest_expiry(chain);
        self.talk(socket, progress).await
    }

    /// Says what is to be said and hears what is to be heard.
    async fn talk(
        &self,
        mut socket: impl AsyncRead + AsyncWrite + Unpin,
        progress: &mut Progress,
    ) -> Result<(), (Reason, String)> {
        let watch = Stopwatch::start();
        let broken = |error: std::io::Error| {
            (Reason::ConnectionReset, format!("the connection broke: {error}"))
        };
        if !self.send.is_empty() {
            socket.write_all(self.send.as_bytes()).await.map_err(broken)?;
            socket.flush().await.map_err(broken)?;
        }
        let Some(expect) = &self.expect else { return Ok(()) };
        let said = &mut progress.said;
        while !expect.is_match(said) {
            if said.len() >= MAX_BANNER {
                let summary = format!("{MAX_BANNER} bytes came, and none match `{expect}`");
                return Err((Reason::BodyMismatch, summary));
            }
            let read = (&mut socket).take((MAX_BANNER - said.len()) as u64).read_buf(said).await;
            if read.map_err(broken)? > 0 {
                continue;
            }
            return Err(match shown_line(said, 200) {
                empty if empty.is_empty() => {
                    (Reason::ConnectionReset, "the peer hung up without a word".to_owned())
                }
                said => (Reason::BodyMismatch, format!("`{said}` does not match `{expect}`")),
            });
        }
        progress.response = Some(watch.elapsed());
        Ok(())
    }

    fn summary(&self, progress: &Progress, seconds: f64) -> String {
        let peer = progress.peer.map_or_else(|| self.host.clone(), |peer| peer.to_string());
        let said = shown_line(&progress.said, 200);
        if said.is_empty() {
            format!("connected to {peer} in {seconds:.3} s")
        } else {
            format!("connected to {peer} in {seconds:.3} s: {said}")
        }
    }

    /// What it is waiting for.
    fn phase(&self, progress: &Progress) -> String {
        let (host, port) = (&self.host, self.port);
        match (progress.resolve, progress.connect, progress.tls) {
            (None, ..) => format!("the name `{host}` is not resolved"),
            (_, None, _) => format!("there is no connection to `{host}:{port}`"),
            (_, _, None) if self.tls.is_some() => {
                format!("the TLS handshake with `{host}:{port}` is not done")
            }
            _ => match shown_line(&progress.said, 200) {
                empty if empty.is_empty() => format!("`{host}:{port}` has not said a word"),
                said => format!("`{host}:{port}` has only said `{said}`"),
            },
        }
    }

    fn measure(&self, progress: &Progress, outcome: Outcome, seconds: f64) -> Outcome {
        let mut metrics = Metrics::default();
        let mut phases = vec![("resolve", progress.resolve), ("connect", progress.connect)];
        if self.tls.is_some() {
            phases.push(("tls", progress.tls));
        }
        if let Some(expect) = &self.expect {
            phases.push(("response", progress.response));
            let failed = !progress.said.is_empty() && !expect.is_match(&progress.said);
            let failed = f64::from(u8::from(failed));
            let help = "Indicates if probe failed due to regex";
            metrics.gauge("probe_failed_due_to_regex", help, failed);
        }
        let help = "Duration of tcp request by phase";
        metrics.phases("probe_tcp_duration_seconds", help, &phases);
        if let Some(expiry) = progress.certificate_expiry {
            let help = "Returns last SSL chain expiry in unixtime";
            metrics.gauge("probe_ssl_earliest_cert_expiry", help, expiry);
        }
        metrics.finish(outcome, seconds, progress.resolve, progress.peer)
    }
}
