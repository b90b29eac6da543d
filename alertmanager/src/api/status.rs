//! `/api/v1/targets` and who we are, as Prometheus tells it.
//!
//! Invariant: the fields and their names are Prometheus's; what we add has other names.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use serde_json::{Value, json};

use super::query::Parameters;
use super::reply::{Failure, success};
use super::rules::time;
use super::{Shown, object};
use crate::scrape::{TargetKey, TargetState};

/// `/api/v1/targets`
pub(super) async fn targets(
    State(shown): State<Shown>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let parameters = Parameters::read(uri.query().map(str::to_owned), &headers, &Bytes::new())?;
    let state = parameters.get("state").unwrap_or("any").to_lowercase();
    let pool = parameters.get("scrapePool");
    let wanted = |job: &str| pool.is_none_or(|pool| pool == job);
    let mut active = Vec::new();
    if matches!(state.as_str(), "any" | "active") {
        let all = shown.targets.all();
        active.extend(all.iter().filter(|(key, _)| wanted(&key.job)).map(|(k, s)| target(k, s)));
    }
    let dropped = shown.targets.dropped();
    let mut shown_dropped = Vec::new();
    if matches!(state.as_str(), "any" | "dropped") {
        for (job, labels) in dropped.iter().filter(|(job, _)| wanted(job)) {
            shown_dropped.extend(
                labels.iter().map(|l| json!({"discoveredLabels": object(l), "scrapePool": job})),
            );
        }
    }
    let counts: serde_json::Map<String, Value> =
        dropped.iter().map(|(job, labels)| (job.clone(), json!(labels.len()))).collect();
    let data = json!({
        "activeTargets": active,
        "droppedTargets": shown_dropped,
        "droppedTargetCounts": counts,
    });
    Ok(success(&headers, &data))
}

fn target(key: &TargetKey, state: &TargetState) -> Value {
    let seconds = |duration: Duration| duration.as_secs_f64();
    json!({
        "discoveredLabels": object(&state.discovered),
        "labels": object(&key.labels),
        "scrapePool": key.job,
        "scrapeUrl": key.url,
        "globalUrl": key.url,
        "lastError": state.last_error,
        "lastScrape": time(state.last_scrape),
        "lastScrapeDuration": seconds(state.last_duration),
        "health": state.health.as_str(),
        "scrapeInterval": state.interval.to_string(),
        "scrapeTimeout": state.timeout.to_string(),
    })
}

/// `/api/v1/status/buildinfo`
pub(super) async fn build(headers: HeaderMap) -> Response {
    let data = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "revision": "",
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    });
    success(&headers, &data)
}
