//! `/api/v1/status/...`: how this program runs, in Prometheus's words.
//!
//! Invariant: no answer holds a secret; the configuration is shown without them.

use std::collections::HashMap;

use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use base::http::percent_encoded;
use base::labels::METRIC_NAME;
use base::sample::Timestamp;
use serde_json::{Value, json};

use super::Shown;
use super::query::Parameters;
use super::reply::{Failure, success};
use super::rules::time;
use super::time::print_time;

/// How many entries each list of the storage's status has, where nothing is said, and at most.
const LISTED: usize = 10;
const MOST_LISTED: usize = 10_000;

/// Leads from a page of Prometheus `to` what shows the same here, from where that one stands. A link to an
/// expression leads to its value.
pub(super) fn lead(uri: &Uri, to: &str) -> Response {
    let asked = super::query::decode(uri.query().unwrap_or("").as_bytes()).unwrap_or_default();
    let expression = asked.into_iter().find(|(name, _)| name == "g0.expr");
    let to = match expression.filter(|_| to == ".") {
        Some((_, text)) => format!("api/v1/query?query={}", percent_encoded(&text)),
        None => to.to_owned(),
    };
    (StatusCode::FOUND, [(header::LOCATION, to)]).into_response()
}

/// `/api/v1/alertmanagers`: alerts go to receivers without a detour.
pub(super) async fn alertmanagers(headers: HeaderMap) -> Response {
    success(&headers, &json!({"activeAlertmanagers": [], "droppedAlertmanagers": []}))
}

/// `/api/v1/status/config`
pub(super) async fn config(State(shown): State<Shown>, headers: HeaderMap) -> Response {
    success(&headers, &json!({"yaml": shown.config.routing().shown.whole}))
}

/// `/api/v1/status/flags`
pub(super) async fn flags(State(shown): State<Shown>, headers: HeaderMap) -> Response {
    success(&headers, &json!(*shown.flags))
}

/// `/api/v1/status/runtimeinfo`
pub(super) async fn runtime(State(shown): State<Shown>, headers: HeaderMap) -> Response {
    let folder = std::env::current_dir().map(|dir| dir.display().to_string());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let data = json!({
        "startTime": print_time(shown.started),
        "CWD": folder.unwrap_or_default(),
        "hostname": hostname(),
        "serverTime": print_time(Timestamp::now()),
        "reloadConfigSuccess": shown.config.fault().is_none(),
        "lastConfigTime": time(shown.config.loaded_at()),
        "corruptionCount": 0,
        // What Go would say of itself does not exist here.
        "goroutineCount": 0,
        "GOMAXPROCS": threads,
        "GOMEMLIMIT": 0,
        "GOGC": "",
        "GODEBUG": "",
        "storageRetention": shown.flags.get("retention").map_or("", String::as_str),
    });
    success(&headers, &data)
}

/// The name of this machine.
pub(super) fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

/// `/api/v1/status/walreplay`: we serve only after everything is read.
pub(super) async fn replay(headers: HeaderMap) -> Response {
    success(&headers, &json!({"min": 0, "max": 0, "current": 0}))
}

/// `/api/v1/status/tsdb`
pub(super) async fn storage(
    State(shown): State<Shown>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let parameters = Parameters::read(query, &headers, &Bytes::new())?;
    let limit = match parameters.get("limit").map(str::parse::<usize>) {
        None => LISTED,
        Some(Ok(limit)) if (1..=MOST_LISTED).contains(&limit) => limit,
        Some(_) => {
            let why = format!("limit must be a positive number, {MOST_LISTED} at most");
            return Err(Failure::parameter("limit", why));
        }
    };
    let counting = tokio::task::spawn_blocking(move || {
        let series = shown.storage.last(&[]);
        let mut counts = Counts::default();
        for (labels, sample) in &series {
            counts.oldest_newest(sample.timestamp);
            for (name, value) in labels {
                if name == METRIC_NAME {
                    *counts.metrics.entry(value).or_default() += 1;
                }
                let of_name = counts.pairs.entry(name).or_default();
                *of_name.entry(value).or_default() += 1;
            }
        }
        counts.show(series.len(), shown.storage.max_time(), limit)
    });
    let data = counting.await.map_err(|error| Failure::internal(error.to_string()))?;
    Ok(success(&headers, &data))
}

/// What is counted of the series in memory.
#[derive(Default)]
struct Counts<'a> {
    oldest: Option<Timestamp>,
    metrics: HashMap<&'a str, usize>,
    /// Series by label and value.
    pairs: HashMap<&'a str, HashMap<&'a str, usize>>,
}

impl Counts<'_> {
    fn oldest_newest(&mut self, at: Timestamp) {
        self.oldest = Some(self.oldest.map_or(at, |oldest| oldest.min(at)));
    }

    fn show(&self, series: usize, newest: Option<Timestamp>, limit: usize) -> Value {
        let list = |counts: Vec<(String, usize)>| {
            let mut counts = counts;
            counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
            counts.truncate(limit);
            let entry = |(name, value): &(String, usize)| json!({"name": name, "value": value});
            counts.iter().map(entry).collect::<Vec<_>>()
        };
        let labels = self.pairs.iter();
        let values = labels.clone().map(|(name, values)| ((*name).to_owned(), values.len()));
        let bytes = labels.map(|(name, values)| {
            ((*name).to_owned(), values.keys().map(|value| value.len()).sum())
        });
        let pairs = self.pairs.iter().flat_map(|(name, values)| {
            values.iter().map(move |(value, count)| (format!("{name}={value}"), *count))
        });
        let metrics = self.metrics.iter().map(|(name, count)| ((*name).to_owned(), *count));
        json!({
            "headStats": {
                "numSeries": series,
                "numLabelPairs": self.pairs.values().map(HashMap::len).sum::<usize>(),
                "chunkCount": series,
                "minTime": self.oldest.map_or(0, Timestamp::millis),
                "maxTime": newest.map_or(0, Timestamp::millis),
            },
            "seriesCountByMetricName": list(metrics.collect()),
            "labelValueCountByLabelName": list(values.collect()),
            "memoryInBytesByLabelName": list(bytes.collect()),
            "seriesCountByLabelValuePair": list(pairs.collect()),
        })
    }
}
