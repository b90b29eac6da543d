//! The door of a listener: handshakes, and whether a request is let in.
//!
//! ```text
//! connection ─▶ handshake (TLS, in time) ─▶ request: open path? known? ─▶ handler
//!                                            └▶ 401, or 503 while too many are guessing
//! files ──watch──▶ new Web ─▶ from the next handshake and the next request on
//! ```
//!
//! Invariant: a request is judged by the settings of now, not by those of when its connection began.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{HeaderMap, Response, StatusCode};
use prometheus::{IntCounterVec, IntGaugeVec};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::credentials::Verdict;
use super::{Stamp, Web, stamp};
use crate::http::{Full, answer};
use crate::own_metrics::OwnMetrics;

/// How often it is looked whether a file has changed.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Who may reach a listener, now.
#[derive(Debug)]
pub struct Guard {
    web: ArcSwap<Web>,
    refused: IntCounterVec,
    /// Empty without TLS.
    not_after: IntGaugeVec,
    /// The names that we have on the loopback; nothing where others can reach us.
    local: Option<Vec<String>>,
}

impl Guard {
    /// Guards by `web`; whoever is not let in is counted among `metrics` by a counter that is called
    /// after `listener`.
    pub fn new(web: Web, listener: &str, metrics: &OwnMetrics) -> Self {
        let name = format!("veilleur_{listener}_refused_total");
        let help = "Connections and requests that were not let in: a handshake that failed, \
                    credentials that are missing or wrong, too many of these at a time, a name \
                    that is not ours.";
        let refused = metrics.counters(&name, help, &["reason"]);
        // They are there from the beginning, so that a rise can be seen.
        for reason in ["handshake", "credentials", "busy", "host"] {
            refused.with_label_values(&[reason]);
        }
        let name = format!("veilleur_{listener}_certificate_not_after_timestamp_seconds");
        let help = "When the certificate expires that we show to clients.";
        let not_after = metrics.gauges(&name, help, &[]);
        warn_of_exposed(&web);
        let guard = Self { web: ArcSwap::from_pointee(web), refused, not_after, local: None };
        guard.show(&guard.current());
        guard
    }

    /// Guards a listener at `address`. Where only this host reaches it and nobody is asked who they are,
    /// it answers by names of this host alone, by `also`, and by those that the settings allow: a page
    /// whose name was bound to the loopback (DNS rebinding) is told 421 (X31).
    #[must_use]
    pub fn at(self, address: SocketAddr, also: Option<&str>) -> Self {
        let also = also.map(str::to_ascii_lowercase);
        let local = address.ip().to_canonical().is_loopback();
        Self { local: local.then(|| also.into_iter().collect()), ..self }
    }

    /// Whether the request asks for us by a name that somebody else gave us.
    fn is_misled(&self, web: &Web, headers: &HeaderMap) -> bool {
        let Some(ours) = self.local.as_ref().filter(|_| web.asks_nobody()) else { return false };
        // Browsers always say it.
        let Some(host) = headers.get(header::HOST) else { return false };
        let Some(name) = host.to_str().ok().map(host_name) else { return true };
        let is_known = name == "localhost"
            || name.ends_with(".localhost")
            || name.parse::<IpAddr>().is_ok()
            || ours.iter().chain(&web.hosts).any(|own| *own == name)
            || own_name().is_some_and(|own| own == name);
        !is_known
    }

    /// From now on guards by `web`.
    pub fn replace(&self, web: Web) {
        warn_of_exposed(&web);
        self.show(&web);
        self.web.store(Arc::new(web));
    }

    /// Shows when the certificate expires.
    fn show(&self, web: &Web) {
        match web.not_after() {
            Some(seconds) => self.not_after.with_label_values::<&str>(&[]).set(seconds),
            None => self.not_after.reset(),
        }
    }

    /// Whether whoever reaches us is let in without a password, token or certificate.
    pub fn asks_nobody(&self) -> bool {
        self.current().asks_nobody()
    }

    /// Who may reach us now.
    pub fn current(&self) -> Arc<Web> {
        self.web.load_full()
    }

    /// Takes up certificates, keys, tokens and a web configuration file when they change, until
    /// `stop`. One that is wrong changes nothing and is logged.
    pub async fn watch(&self, stop: CancellationToken) {
        // What was looked at last, where that was wrong: it is not told twice.
        let mut wrong: Vec<Stamp> = Vec::new();
        while stop.run_until_cancelled(sleep(LOOK_EVERY)).await.is_some() {
            let web = self.current();
            if web.files.is_empty() {
                continue;
            }
            let (look, told) = (Arc::clone(&web), std::mem::take(&mut wrong));
            // A file system that hangs must hang nobody else.
            let looking = tokio::task::spawn_blocking(move || {
                let stamps: Vec<_> = look.files.iter().map(|(file, _)| stamp(file)).collect();
                let same = look.files.iter().map(|(_, stamp)| stamp).eq(&stamps);
                if same || stamps == told { (None, told) } else { (Some(look.again()), stamps) }
            });
            match looking.await {
                Ok((Some(Ok(new)), stamps)) => {
                    if web.lacks().is_none() && new.lacks().is_some() {
                        error!("the web configuration would open the listener; it is not taken");
                        wrong = stamps;
                        continue;
                    }
                    info!("certificates and passwords were read again");
                    // A reload that came in between is newer.
                    self.web.compare_and_swap(&web, Arc::new(new));
                    self.show(&self.current());
                }
                Ok((Some(Err(faults)), stamps)) => {
                    faults.faults().iter().for_each(|fault| error!("{fault}"));
                    error!("the web configuration is wrong; the one before stays in use");
                    wrong = stamps;
                }
                Ok((None, stamps)) => wrong = stamps,
                Err(panic) => error!(%panic, "the web configuration could not be read"),
            }
        }
    }

    /// Makes the connection speak TLS, where `web` says so.
    ///
    /// # Errors
    ///
    /// It does not, not as it should, or not in time.
    pub async fn handshake(
        &self,
        web: &Web,
        socket: TcpStream,
        within: Duration,
    ) -> io::Result<Secured> {
        let Some(tls) = &web.tls else { return Ok(Secured::Plain(socket)) };
        let acceptor = TlsAcceptor::from(Arc::clone(&tls.config));
        let shake = async {
            let mut first = [0];
            socket.peek(&mut first).await?;
            if first[0].is_ascii_uppercase() {
                say_tls(socket).await?;
                return Err(io::Error::other("it does not speak TLS"));
            }
            acceptor.accept(socket).await
        };
        let shaken = timeout(within, shake).await.unwrap_or(Err(io::ErrorKind::TimedOut.into()));
        match shaken {
            Ok(stream) => Ok(Secured::Tls(Box::new(stream))),
            Err(error) => {
                self.refused.with_label_values(&["handshake"]).inc();
                Err(error)
            }
        }
    }

    /// Whether the request is let in; the answer where not.
    pub(in crate::http) async fn admit(
        &self,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<(), Response<Full<Bytes>>> {
        let web = self.current();
        if self.is_misled(&web, headers) {
            self.refused.with_label_values(&["host"]).inc();
            let text = "this is not the host that you ask for; `allowed_hosts` under `web:` allows its name\n";
            return Err(answer(StatusCode::MISDIRECTED_REQUEST, "text/plain; charset=utf-8", text));
        }
        let is_open = web.open.iter().chain(&web.open_too).any(|open| open == path);
        if web.credentials.is_empty() || is_open {
            return Ok(());
        }
        const TEXT: &str = "text/plain; charset=utf-8";
        let (reason, refusal) = match web.credentials.check(headers).await {
            Verdict::Admitted => return Ok(()),
            Verdict::Refused => {
                let text = "a user name with its password, or a token, is asked for\n";
                let mut refusal = answer(StatusCode::UNAUTHORIZED, TEXT, text);
                let challenge = HeaderValue::from_static(web.credentials.challenge());
                refusal.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
                ("credentials", refusal)
            }
            Verdict::Busy => {
                let text = "too many passwords are being compared; try again\n";
                let mut refusal = answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, text);
                refusal.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
                ("busy", refusal)
            }
        };
        self.refused.with_label_values(&[reason]).inc();
        Err(refusal)
    }

    /// Adds what every answer has. One on a connection whose handshake was under other settings is
    /// its last.
    pub(in crate::http) fn finish(&self, began: &Web, headers: &mut HeaderMap) {
        let web = self.current();
        for (name, value) in &web.headers {
            headers.insert(name, value.clone());
        }
        let config = |web: &Web| web.tls.as_ref().map(|tls| Arc::as_ptr(&tls.config));
        if config(&web) != config(began) {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

/// The name in a `Host` header, without the port and the brackets of an address.
fn host_name(host: &str) -> String {
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let name = match host.rsplit_once(':') {
        Some((name, port)) if is_port(port) => name,
        _ => host,
    };
    name.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_ascii_lowercase()
}

/// What this host calls itself.
fn own_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_ascii_lowercase())
}

/// Tells of keys and tokens that are no secret on this host.
fn warn_of_exposed(web: &Web) {
    for file in web.exposed_files() {
        let file = file.display();
        warn!("everybody on this host can read `{file}`; take that away: `chmod o-r {file}`");
    }
}

/// A connection, secured as the settings say.
#[derive(Debug)]
pub enum Secured {
    /// Without TLS.
    Plain(TcpStream),
    /// With it.
    Tls(Box<TlsStream<TcpStream>>),
}

/// Tells a client that speaks plain HTTP that we do not.
async fn say_tls(mut socket: TcpStream) -> io::Result<()> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    const ANSWER: &[u8] = b"HTTP/1.0 400 Bad Request\r\ncontent-type: text/plain\r\n\
        connection: close\r\n\r\nthis port speaks TLS: ask it by https://\n";
    socket.write_all(ANSWER).await?;
    socket.shutdown().await?;
    // Closing while there is something unread would take the answer back.
    let mut rest = [0; 1024];
    let drain = async { while socket.read(&mut rest).await.is_ok_and(|length| length > 0) {} };
    let _ = timeout(Duration::from_secs(1), drain).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_not_ours_is_told_so_x31() {
        let guard = |address: &str| {
            let guard = Guard::new(Web::open().unwrap(), "http", &OwnMetrics::new());
            guard.at(address.parse().unwrap(), Some("Veilleur.example.org"))
        };
        let local = guard("127.0.0.1:1");
        let misled = |guard: &Guard, host: &str| {
            let host = HeaderValue::from_str(host).unwrap();
            guard.is_misled(&guard.current(), &HeaderMap::from_iter([(header::HOST, host)]))
        };
        for host in [
            "127.0.0.1",
            "127.0.0.1:12912",
            "[::1]:1",
            "[::1]",
            "localhost",
            "LocalHost:80",
            "a.localhost",
            "10.1.2.3",
            "veilleur.example.org",
            "veilleur.example.org.:443",
        ] {
            assert!(!misled(&local, host), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:12912",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "",
            "evil.example#localhost",
            "localhost@evil.example",
            "127.0.0.1:1:evil",
            "notlocalhost",
            "[::1].evil.example",
        ] {
            assert!(misled(&local, host), "{host}");
        }
        // Others reach it by whatever name it has there.
        assert!(!misled(&guard("0.0.0.0:1"), "evil.example"));
    }
}
