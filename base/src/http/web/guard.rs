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
}

impl Guard {
    /// Guards by `web`; whoever is not let in is counted among `metrics` by a counter that is called
    /// after `listener`.
    pub fn new(web: Web, listener: &str, metrics: &OwnMetrics) -> Self {
        let name = format!("veilleur_{listener}_refused_total");
        let help = "Connections and requests that were not let in: a handshake that failed, \
                    credentials that are missing or wrong, too many of these at a time.";
        let refused = metrics.counters(&name, help, &["reason"]);
        // They are there from the beginning, so that a rise can be seen.
        for reason in ["handshake", "credentials", "busy"] {
            refused.with_label_values(&[reason]);
        }
        let name = format!("veilleur_{listener}_certificate_not_after_timestamp_seconds");
        let help = "When the certificate expires that we show to clients.";
        let not_after = metrics.gauges(&name, help, &[]);
        warn_of_exposed(&web);
        let guard = Self { web: ArcSwap::from_pointee(web), refused, not_after };
        guard.show(&guard.current());
        guard
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
