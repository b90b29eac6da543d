//! `/api/v1/query` and `/api/v1/query_range`.
//!
//! Invariant: a query runs off the runtime's threads, at most a few at a time, and ends when its
//! time is up or nobody waits for it any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, header};
use axum::response::Response;
use base::clock::Stopwatch;
use base::labels::Labels;
use base::number;
use base::sample::{Sample, Timestamp};
use promql::{EvalError, Options, Output, Query, Range, Session, Severity, Type, Value};
use tokio::time::timeout;

use super::Shown;
use super::native::write_histogram;
use super::reply::{Failure, Remarks, raw_success};
use super::time::{parse_duration, parse_time};

/// The most values of one series in an answer.
const MOST_STEPS: i64 = 11_000;
/// The most warnings and the most remarks of an answer.
const MOST_REMARKS: usize = 10;

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
    let evaluated = run(&shown, &parameters, query, Range::instant(time)).await?;
    Ok(answer(&headers, &parameters, evaluated, (limit, time, begun)))
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
    let evaluated = run(&shown, &parameters, query, Range::new(start, end, step)).await?;
    Ok(answer(&headers, &parameters, evaluated, (limit, end, begun)))
}

/// What a query came to, and what that cost.
struct Evaluated {
    output: Output,
    /// The most samples and values in memory at a time, and all of them.
    usage: (usize, usize),
    /// How long it waited for its turn, and how long it took then.
    waited: Duration,
    took: Duration,
}

/// Evaluates a query as `parameters` say.
async fn run(
    shown: &Shown,
    parameters: &Parameters,
    query: Query,
    range: Range,
) -> Result<Evaluated, Failure> {
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
        let evaluation = tokio::task::spawn_blocking(move || {
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
            Ok(Evaluated { output, usage: session.usage(), waited, took: watch.elapsed() })
        });
        evaluation.await.map_err(|error| Failure::internal(error.to_string()))
    };
    let evaluated = timeout(longest, evaluate)
        .await
        .map_err(|_| Failure::timeout("query timed out in expression evaluation"))??;
    evaluated.map_err(|error: EvalError| match error {
        EvalError::Query(message) => Failure::execution(message),
        EvalError::TooManySamples(_) => Failure::execution(error.to_string()),
        EvalError::Cancelled => Failure::timeout("query timed out in expression evaluation"),
        EvalError::Storage(error) => Failure::internal(error.to_string()),
    })
}

impl Parameters {
    /// The expression that is asked for.
    fn query(&self) -> Result<Query, Failure> {
        let text = self.get("query").unwrap_or("");
        Query::new(text).map_err(|faults| Failure::parameter("query", faults))
    }
}

/// What an answer says of itself where it was cut.
pub(super) const TRUNCATED: &str = "results truncated due to limit";

fn answer(
    request: &HeaderMap,
    parameters: &Parameters,
    evaluated: Evaluated,
    (limit, time, begun): (Option<usize>, Timestamp, Stopwatch),
) -> Response {
    let Evaluated { mut output, usage, waited, took } = evaluated;
    let mut remarks = Remarks::default();
    for (severity, list, name) in [
        (Severity::Warning, &mut remarks.warnings, "warning"),
        (Severity::Info, &mut remarks.infos, "info"),
    ] {
        let all = output.annotations.iter().filter(|annotation| annotation.severity == severity);
        let all: Vec<_> = all.map(ToString::to_string).collect();
        list.extend(all.iter().take(MOST_REMARKS).cloned());
        if all.len() > MOST_REMARKS {
            list.push(format!("{} more {name} annotations omitted", all.len() - MOST_REMARKS));
        }
    }
    let cut = |length: usize| limit.is_some_and(|limit| length > limit);
    let is_cut = match &mut output.value {
        Value::Vector(samples) if cut(samples.len()) => {
            samples.truncate(limit.unwrap_or(usize::MAX));
            true
        }
        Value::Matrix(series) if cut(series.len()) => {
            series.truncate(limit.unwrap_or(usize::MAX));
            true
        }
        _ => false,
    };
    if is_cut {
        remarks.warnings.push(TRUNCATED.to_owned());
    }
    let mut data = String::new();
    write_value(&mut data, &output, time);
    if parameters.get("stats").is_some() {
        // In place of the brace that ends the data.
        data.pop();
        let (whole, took, waited) = (begun.seconds(), took.as_secs_f64(), waited.as_secs_f64());
        let stats = serde_json::json!({
            "timings": {
                "evalTotalTime": took,
                "resultSortTime": 0.0,
                "queryPreparationTime": 0.0,
                "innerEvalTime": took,
                "execQueueTime": waited,
                "execTotalTime": whole,
            },
            "samples": {"totalQueryableSamples": usage.1, "peakSamples": usage.0},
        });
        data.push_str(&format!(",\"stats\":{stats}}}"));
    }
    raw_success(request, &data, &remarks)
}

struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn write_value(out: &mut String, output: &Output, time: Timestamp) {
    let native = |sample: &&Sample| output.histograms.get(sample.value).is_some();
    match &output.value {
        Value::Scalar(sample) => {
            out.push_str("{\"resultType\":\"scalar\",\"result\":");
            write_sample(out, output, *sample);
        }
        Value::String(text) => {
            out.push_str("{\"resultType\":\"string\",\"result\":");
            write_time(out, time);
            write_text(out, text);
            out.push(']');
        }
        Value::Vector(samples) => {
            out.push_str("{\"resultType\":\"vector\",\"result\":[");
            for (n, (labels, sample)) in samples.iter().enumerate() {
                out.push_str(if n > 0 { ",{\"metric\":" } else { "{\"metric\":" });
                write_labels(out, labels);
                let is_native = native(&sample);
                out.push_str(if is_native { ",\"histogram\":" } else { ",\"value\":" });
                write_sample(out, output, *sample);
                out.push('}');
            }
            out.push(']');
        }
        Value::Matrix(series) => {
            out.push_str("{\"resultType\":\"matrix\",\"result\":[");
            for (n, series) in series.iter().enumerate() {
                out.push_str(if n > 0 { ",{\"metric\":" } else { "{\"metric\":" });
                write_labels(out, &series.labels);
                let (histograms, floats): (Vec<&Sample>, Vec<&Sample>) =
                    series.samples.iter().partition(native);
                for (name, samples) in [("values", floats), ("histograms", histograms)] {
                    for (n, sample) in samples.iter().enumerate() {
                        match n {
                            0 => out.push_str(&format!(",\"{name}\":[")),
                            _ => out.push(','),
                        }
                        write_sample(out, output, **sample);
                    }
                    if !samples.is_empty() {
                        out.push(']');
                    }
                }
                out.push('}');
            }
            out.push(']');
        }
    }
    out.push('}');
}

fn write_labels(out: &mut String, labels: &Labels) {
    out.push('{');
    for (n, (name, value)) in labels.iter().enumerate() {
        if n > 0 {
            out.push(',');
        }
        write_text(out, name);
        out.push(':');
        write_text(out, value);
    }
    out.push('}');
}

fn write_text(out: &mut String, text: &str) {
    out.push_str(&serde_json::Value::from(text).to_string());
}

/// `[1435781430.781,"1"]`: seconds as a number, the value as a text, because JSON has no NaN.
fn write_sample(out: &mut String, output: &Output, sample: Sample) {
    write_time(out, sample.timestamp);
    match output.histograms.get(sample.value) {
        Some(histogram) => write_histogram(out, histogram),
        None => {
            out.push('"');
            out.push_str(&number::plain(sample.value));
            out.push('"');
        }
    }
    out.push(']');
}

fn write_time(out: &mut String, time: Timestamp) {
    let millis = time.millis();
    let (sign, whole, rest) = (millis < 0, (millis / 1000).abs(), (millis % 1000).abs());
    out.push('[');
    if sign {
        out.push('-');
    }
    out.push_str(&whole.to_string());
    if rest > 0 {
        let fraction = format!(".{rest:03}");
        out.push_str(fraction.trim_end_matches('0'));
    }
    out.push(',');
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

    #[test]
    fn writes_samples_as_prometheus_does() {
        let check = |millis, value, expected: &str| {
            let mut out = String::new();
            let sample = Sample { timestamp: Timestamp::from_millis(millis), value };
            let histograms = Default::default();
            let value = Value::Scalar(sample);
            let output = Output { value, annotations: Vec::new(), histograms };
            write_sample(&mut out, &output, sample);
            assert_eq!(out, expected);
        };
        check(1_435_781_430_781, 1.0, "[1435781430.781,\"1\"]");
        check(1_435_781_430_500, 0.1, "[1435781430.5,\"0.1\"]");
        check(2000, f64::NAN, "[2,\"NaN\"]");
        check(-1500, f64::NEG_INFINITY, "[-1.5,\"-Inf\"]");
        check(0, 1e21, "[0,\"1000000000000000000000\"]");
    }
}
