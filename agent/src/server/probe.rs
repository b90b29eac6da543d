//! `/probe`: looks where the request says, by a module of the configuration.
//!
//! ```text
//! /probe?target=https://shop.example/&module=http_2xx[&hostname=...][&debug=true]
//! /probe?script=ping&host=db.example
//! ```
//!
//! 400 where the request is wrong, 403 where the target is not allowed, 429 where too much is asked
//! at a time; 200 with `probe_success` for every look that was made, whatever came of it.
//!
//! Invariant: an error says nothing of what is behind a target, and repeats nothing of the request.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use base::clock::Stopwatch;
use base::exposition::{Encoding, encode};
use base::family::MetricFamily;
use base::http::{Full, HeaderMap, Response, StatusCode, answer, answer_compressed, header};
use base::sample::Timestamp;
use hyper::body::Bytes;
use probes::blackbox::{AimError, Module};
use probes::{Outcome, Probe, Reason};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{Shown, query, script};

/// The module where none is named, as with blackbox_exporter.
const DEFAULT_MODULE: &str = "http_2xx";
/// How much earlier than whoever asks gives up a look ends, so that its result arrives.
const OFFSET: Duration = Duration::from_millis(500);
/// How long a look takes at most where nobody says.
const MAX_TIMEOUT: Duration = Duration::from_secs(120);
/// The header in which Prometheus says how long it waits.
const SCRAPE_TIMEOUT: &str = "x-prometheus-scrape-timeout-seconds";

/// Why there is no result.
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) why: String,
}

impl Refusal {
    pub(super) fn bad(why: impl ToString) -> Self {
        Self { status: StatusCode::BAD_REQUEST, why: why.to_string() }
    }

    fn forbidden(why: impl ToString) -> Self {
        Self { status: StatusCode::FORBIDDEN, why: why.to_string() }
    }

    pub(super) fn stopping() -> Self {
        let why = "the agent is stopping".to_owned();
        Self { status: StatusCode::SERVICE_UNAVAILABLE, why }
    }

    pub(super) fn too_many() -> Self {
        let why = "too many probes at a time; ask again later".to_owned();
        Self { status: StatusCode::TOO_MANY_REQUESTS, why }
    }
}

/// Answers a request for a look.
pub(super) async fn respond(
    shown: &Arc<Shown>,
    headers: &HeaderMap,
    query: &str,
    (peer, now): (SocketAddr, Timestamp),
) -> Response<Full<Bytes>> {
    let looked = match query::parse(query) {
        Ok(parameters) => match parameters.get("script") {
            Some(name) => {
                script::answer(shown, headers, name, &parameters, now).await.map(Page::Metrics)
            }
            None => look(shown, headers, &parameters, peer.ip()).await,
        },
        Err(bad) => Err(Refusal::bad(bad)),
    };
    match looked {
        Ok(Page::Metrics(families)) => {
            let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
            let encoding = Encoding::negotiate(accept.unwrap_or(""));
            let mut text = String::with_capacity(4 << 10);
            encode(&families, encoding, &mut text);
            answer_compressed(headers, StatusCode::OK, &encoding.content_type(), text.into_bytes())
        }
        Ok(Page::Debug(text)) => answer(StatusCode::OK, "text/plain; charset=utf-8", text),
        Err(Refusal { status, why }) => {
            // As a value it is escaped, whatever stands in it.
            let asked: String = query.chars().take(500).collect();
            let code = status.as_u16();
            // A flood is not to become one of the log.
            match status {
                StatusCode::TOO_MANY_REQUESTS => debug!(%peer, ?asked, why, "a probe was refused"),
                _ => warn!(%peer, status = code, ?asked, why, "a probe was refused"),
            }
            let mut response = answer(status, "text/plain; charset=utf-8", format!("{why}\n"));
            if status == StatusCode::TOO_MANY_REQUESTS {
                let soon = header::HeaderValue::from_static("1");
                response.headers_mut().insert(header::RETRY_AFTER, soon);
            }
            response
        }
    }
}

/// What is answered.
pub(super) enum Page {
    Metrics(Vec<MetricFamily>),
    Debug(String),
}

async fn look(
    shown: &Arc<Shown>,
    headers: &HeaderMap,
    parameters: &BTreeMap<String, String>,
    peer: IpAddr,
) -> Result<Page, Refusal> {
    let blackbox = shown.blackbox.load_full();
    let parameter = |name| parameters.get(name).map(String::as_str).filter(|v| !v.is_empty());
    let debug = parameter("debug") == Some("true");
    if debug && !blackbox.may_debug(peer) {
        let why = "`debug` is not for you; `debug_from` of the agent says who may see it";
        return Err(Refusal::forbidden(why));
    }
    let name = parameter("module").unwrap_or(DEFAULT_MODULE);
    let Some(module) = blackbox.module(name) else {
        return Err(Refusal::bad(
            "there is no such module; `blackbox.config` of the agent has them",
        ));
    };
    let Some(target) = parameter("target") else {
        return Err(Refusal::bad("the parameter `target` is missing"));
    };
    let timeout = timeout(headers, module.timeout)?;
    let shot = module.aim(target, parameter("hostname"), Arc::clone(&blackbox.rules));
    let shot = shot.map_err(|error| match error {
        AimError::Bad(_) | AimError::Hostname => Refusal::bad(error),
        AimError::Refused(_) => Refusal::forbidden(error),
    })?;
    let turn = blackbox.turn(name).ok_or_else(Refusal::too_many)?;
    let watch = Stopwatch::start();
    let mut outcome = run(&shot, timeout, CancellationToken::new()).await;
    drop(turn);
    if outcome.reason == Reason::TargetNotAllowed {
        return Err(Refusal::forbidden(outcome.summary));
    }
    outcome.families.push(reason(outcome.reason));
    Ok(match debug {
        true => Page::Debug(told(name, module, timeout, watch.elapsed(), &outcome)),
        false => Page::Metrics(outcome.families),
    })
}

/// Runs a probe, which is told by `stop` when its time is up.
pub(super) async fn run(probe: &dyn Probe, timeout: Duration, stop: CancellationToken) -> Outcome {
    let run = probe.run(&stop);
    tokio::pin!(run);
    tokio::select! {
        // What is done at once needs no timer.
        biased;
        outcome = run.as_mut() => return outcome,
        () = sleep(timeout) => stop.cancel(),
    }
    run.await
}

/// Why a look ended as it did: what blackbox_exporter has only in its log.
fn reason(reason: Reason) -> MetricFamily {
    let help = "Why the probe ended as it did.";
    MetricFamily::gauge("veilleur_probe_reason", help).with(&[("reason", reason.as_str())], 1.0)
}

/// How long a look may take: what the module says, and less than whoever asks waits.
pub(super) fn timeout(headers: &HeaderMap, module: Option<Duration>) -> Result<Duration, Refusal> {
    let asked = match headers.get(SCRAPE_TIMEOUT) {
        None => MAX_TIMEOUT,
        Some(value) => {
            let seconds = value.to_str().ok().and_then(|text| text.parse::<f64>().ok());
            let asked = seconds.and_then(|s| Duration::try_from_secs_f64(s).ok());
            let bad =
                || Refusal::bad("`X-Prometheus-Scrape-Timeout-Seconds` is no number of seconds");
            asked.ok_or_else(bad)?
        }
    };
    let asked = if asked.is_zero() { MAX_TIMEOUT } else { asked.min(MAX_TIMEOUT) };
    let most = if asked > OFFSET { asked - OFFSET } else { asked };
    Ok(module.map_or(most, |module| module.min(most)))
}

/// How a look went, for people. No secret of the module, and nothing of a body, is in it.
fn told(
    name: &str,
    module: &Module,
    timeout: Duration,
    took: Duration,
    outcome: &Outcome,
) -> String {
    let mut text = String::from("Logs for the probe:\n");
    let verdict = if outcome.reason == Reason::None { "succeeded" } else { "failed" };
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "probe {verdict} after {:.6} s, reason {}: {}\n\n\n\nMetrics that would have been returned:",
        took.as_secs_f64(),
        outcome.reason,
        outcome.summary
    );
    encode(&outcome.families, Encoding::negotiate(""), &mut text);
    let (prober, place) = (module.prober(), &module.place);
    let _ = writeln!(text, "\n\n\nModule configuration:");
    let _ = writeln!(text, "{name}: {place}, prober {prober}, timeout {timeout:?}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_ends_before_whoever_asks_gives_up() {
        let check = |header: Option<&'static str>, module: Option<u64>, expected: &str| {
            let mut headers = HeaderMap::new();
            if let Some(header) = header {
                headers.insert(SCRAPE_TIMEOUT, header::HeaderValue::from_static(header));
            }
            let got = match timeout(&headers, module.map(Duration::from_secs)) {
                Ok(timeout) => format!("{timeout:?}"),
                Err(refusal) => refusal.status.to_string(),
            };
            assert_eq!(got, expected, "{header:?} {module:?}");
        };
        check(None, None, "119.5s");
        check(None, Some(5), "5s");
        check(Some("10"), None, "9.5s");
        check(Some("10.000000"), Some(5), "5s");
        check(Some("3"), Some(5), "2.5s");
        check(Some("0"), Some(5), "5s");
        check(Some("0.2"), Some(5), "200ms");
        check(Some("1e300"), None, "400 Bad Request");
        check(Some("-1"), None, "400 Bad Request");
        check(Some("NaN"), None, "400 Bad Request");
        check(Some("x"), Some(5), "400 Bad Request");
    }
}
