//! `/api/v1/query` and `/api/v1/query_range`.
//!
//! Invariant: a query runs, and its answer is written, off the runtime's threads, at most a few at a
//! time, and ends when its time is up or nobody waits for it any more.

mod answer;
mod brief;

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, header};
use axum::response::Response;
use base::clock::Stopwatch;
use base::http::accepts_gzip;
use base::sample::Timestamp;
use promql::{EvalError, Options, Query, Range, Session, Type};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::{block_in_place, spawn_blocking};
use tokio::time::timeout;

pub use self::answer::answer_text;
use self::answer::{Evaluated, Wanted};
use self::brief::is_brief;
use super::Shown;
use super::reply::{Failure, packed_success};
use super::time::{parse_duration, parse_time};

/// The most values of one series in an answer.
const MOST_STEPS: i64 = 11_000;
/// What an answer says of itself where it was cut.
pub(super) const TRUNCATED: &str = "results truncated due to limit";

/// The parameters of a request: those of the URL and those of a form.
#[derive(Debug)]
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub(super) fn read(
        query: Option<String>,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<Self, Failure> {
        let mut pairs = Vec::new();
        let form = headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
        if form {
            pairs.extend(decode(body)?);
        }
        // Of a parameter that is in both, the form's counts, as in Go.
        pairs.extend(decode(query.unwrap_or_default().as_bytes())?);
        Ok(Self(pairs))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let of_name = move |pair: &&(String, String)| pair.0 == name && !pair.1.is_empty();
        self.0.iter().filter(of_name).map(|(_, value)| value.as_str())
    }

    pub(super) fn time(&self, name: &str, default: Timestamp) -> Result<Timestamp, Failure> {
        match self.get(name) {
            None => Ok(default),
            Some(text) => parse_time(text).map_err(|error| {
                Failure::parameter(name, format!("invalid time value for '{name}': {error}"))
            }),
        }
    }

    /// The most entries of an answer; none where nothing is said.
    pub(super) fn limit(&self) -> Result<Option<usize>, Failure> {
        let wrong = |why: &str| Failure::parameter("limit", why);
        match self.get("limit").map(str::parse::<i64>) {
            None => Ok(None),
            Some(Ok(limit)) => match usize::try_from(limit) {
                Ok(limit) => Ok(Some(limit).filter(|limit| *limit > 0)),
                Err(_) => Err(wrong("limit must be non-negative")),
            },
            Some(Err(_)) => Err(wrong("it is not a number")),
        }
    }

    fn duration(&self, name: &str) -> Result<Option<Duration>, Failure> {
        let text = self.get(name).map(parse_duration).transpose();
        text.map_err(|error| Failure::parameter(name, error))
    }
}

/// Reads `a=b&c=d`.
pub(super) fn decode(form: &[u8]) -> Result<Vec<(String, String)>, Failure> {
    let text = |part: &[u8]| {
        let mut out = Vec::with_capacity(part.len());
        let mut bytes = part.iter();
        while let Some(&byte) = bytes.next() {
            out.push(match byte {
                b'+' => b' ',
                b'%' => {
                    let hex = [*bytes.next()?, *bytes.next()?];
                    u8::from_str_radix(std::str::from_utf8(&hex).ok()?, 16).ok()?
                }
                other => other,
            });
        }
        String::from_utf8(out).ok()
    };
    let mut pairs = Vec::new();
    for pair in form.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
        let mut parts = pair.splitn(2, |byte| *byte == b'=');
        let name = text(parts.next().unwrap_or_default());
        let value = text(parts.next().unwrap_or_default());
        match (name, value) {
            (Some(name), Some(value)) => pairs.push((name, value)),
            _ => return Err(Failure::bad_data("the parameters are not URL-encoded UTF-8")),
        }
    }
    Ok(pairs)
}

/// `/api/v1/query`
pub(super) async fn instant(
    State(shown): State<Shown>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failure> {
    let parameters = Parameters::read(query, &headers, &body)?;
    let limit = parameters.limit()?;
    let time = parameters.time("time", shown.clock.now())?;
    let (query, begun) = (parameters.query()?, Stopwatch::start());
    let wanted = parameters.wanted(&headers, limit, begun);
    run(&shown, &parameters, query, Range::instant(time), wanted).await
}

/// `/api/v1/query_range`
pub(super) async fn range(
    State(shown): State<Shown>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failure> {
    let parameters = Parameters::read(query, &headers, &body)?;
    let limit = parameters.limit()?;
    let required = |name: &str| {
        parse_time(parameters.get(name).unwrap_or(""))
            .map_err(|error| Failure::parameter(name, error))
    };
    let (start, end) = (required("start")?, required("end")?);
    if end < start {
        return Err(Failure::parameter("end", "end timestamp must not be before start time"));
    }
    let step = parse_duration(parameters.get("step").unwrap_or(""));
    let step = step.map_err(|error| Failure::parameter("step", error))?;
    let step_millis = i64::try_from(step.as_millis()).unwrap_or(i64::MAX);
    if step_millis == 0 {
        let why = "zero or negative query resolution step widths are not accepted. Try a positive integer";
        return Err(Failure::parameter("step", why));
    }
    if (end.millis().saturating_sub(start.millis())) / step_millis > MOST_STEPS {
        return Err(Failure::bad_data(
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query \
             resolution (?step=XX)",
        ));
    }
    let (query, begun) = (parameters.query()?, Stopwatch::start());
    if let kind @ (Type::Matrix | Type::String) = query.kind() {
        let kind = kind.as_str();
        let why = format!(
            "invalid expression type {kind:?} for range query, must be Scalar or instant Vector"
        );
        return Err(Failure::parameter("query", why));
    }
    let wanted = parameters.wanted(&headers, limit, begun);
    run(&shown, &parameters, query, Range::new(start, end, step), wanted).await
}

/// Answers a query as `parameters` say.
async fn run(
    shown: &Shown,
    parameters: &Parameters,
    query: Query,
    range: Range,
    wanted: Wanted,
) -> Result<Response, Failure> {
    let limits = shown.limits;
    // It may ask for less.
    let longest = parameters.duration("timeout")?.unwrap_or(limits.timeout).min(limits.timeout);
    let lookback = parameters.duration("lookback_delta")?.filter(|l| !l.is_zero());
    let (lookback, features) = (lookback.unwrap_or(shown.lookback), shown.features);

    let cancelled = Arc::new(AtomicBool::new(false));
    // Dropped with this future, so a query that nobody waits for ends too.
    let _guard = CancelOnDrop(Arc::clone(&cancelled));
    let evaluate = async {
        let waiting = Stopwatch::start();
        let slot = Arc::clone(&shown.queries).acquire_owned().await;
        let waited = waiting.elapsed();
        let storage = Arc::clone(&shown.storage);
        let brief = is_brief(&query, &storage, range, lookback);
        let work = move || {
            let _slot = slot;
            let watch = Stopwatch::start();
            let is_cancelled = || cancelled.load(Ordering::Relaxed);
            let cancelled = &is_cancelled;
            let options = Options {
                lookback,
                features,
                cancelled,
                max_samples: limits.samples,
                ..Options::default()
            };
            let session = Session::new(&storage, [&query], range, &options);
            let output = session.evaluate(&query)?;
            let usage = session.usage();
            let evaluated = Evaluated { output, range, usage, waited, took: watch.elapsed() };
            Ok(answer::packed(evaluated, &wanted))
        };
        here_or_apart(brief, work).await.map_err(Failure::internal)
    };
    let answer = timeout(longest, evaluate)
        .await
        .map_err(|_| Failure::timeout("query timed out in expression evaluation"))??;
    match answer {
        Ok(body) => Ok(packed_success(body)),
        Err(EvalError::Query(message)) => Err(Failure::execution(message)),
        Err(error @ EvalError::TooManySamples(_)) => Err(Failure::execution(error.to_string())),
        Err(EvalError::Cancelled) => {
            Err(Failure::timeout("query timed out in expression evaluation"))
        }
        Err(EvalError::Storage(error)) => Err(Failure::internal(error.to_string())),
    }
}

impl Parameters {
    /// The expression that is asked for.
    fn query(&self) -> Result<Query, Failure> {
        let text = self.get("query").unwrap_or("");
        Query::new(text).map_err(|faults| Failure::parameter("query", faults))
    }

    /// What else is asked for.
    fn wanted(&self, headers: &HeaderMap, limit: Option<usize>, begun: Stopwatch) -> Wanted {
        let stats = self.get("stats").map(|_| begun);
        Wanted { limit, stats, gzip: accepts_gzip(headers) }
    }
}

/// Does what may wait for a lock or take long off the runtime's threads. For what is `brief` this
/// thread stops to be one of them, and another takes over: whoever asked waits for no other thread.
async fn here_or_apart<T: Send + 'static>(
    brief: bool,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    let can_leave = || Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread;
    if brief && can_leave() {
        let work = || panic::catch_unwind(AssertUnwindSafe(work));
        return block_in_place(work).map_err(|_| "the query panicked".to_owned());
    }
    spawn_blocking(work).await.map_err(|error| error.to_string())
}

struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_forms() {
        let pairs = decode(b"query=up%7Ba%3D%22b%22%7D&x=1+2&y&=z").unwrap();
        let expected = [("query", "up{a=\"b\"}"), ("x", "1 2"), ("y", ""), ("", "z")];
        assert_eq!(pairs, expected.map(|(n, v)| (n.to_owned(), v.to_owned())));
        for bad in [&b"a=%"[..], b"a=%zz", b"a=%ff"] {
            assert!(decode(bad).is_err());
        }
    }
}
