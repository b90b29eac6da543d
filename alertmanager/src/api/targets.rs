//! `/api/v1/targets` and `/api/v1/scrape_pools`: what is scraped, and how it is.
//!
//! Invariant: the fields and their names are Prometheus's; what we add has other names.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use serde_json::{Value, json};

use super::query::Parameters;
use super::reply::{Failure, success};
use super::rules::time;
use super::{Shown, object};
use crate::scrape::{SourceState, TargetKey, TargetState};

/// `/api/v1/targets`
pub(super) async fn targets(
    State(shown): State<Shown>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let parameters = Parameters::read(uri.query().map(str::to_owned), &headers, &Bytes::new())?;
    let state = parameters.get("state").unwrap_or("any").to_lowercase();
    let pool = parameters.get("scrapePool").filter(|pool| !pool.is_empty());
    let wanted = |job: &str| pool.is_none_or(|pool| pool == job);
    let mut active = Vec::new();
    if state != "dropped" {
        let all = shown.targets.all();
        active.extend(all.iter().filter(|(key, _)| wanted(&key.job)).map(|(k, s)| target(k, s)));
    }
    let dropped = shown.targets.dropped();
    let mut shown_dropped = Vec::new();
    if state != "active" {
        for (job, dropped) in dropped.iter().filter(|(job, _)| wanted(job)) {
            let labels = dropped.shown.iter();
            shown_dropped
                .extend(labels.map(|l| json!({"discoveredLabels": object(l), "scrapePool": job})));
        }
    }
    let counts: serde_json::Map<String, Value> = dropped
        .iter()
        .filter(|(job, _)| wanted(job))
        .map(|(job, dropped)| (job.clone(), json!(dropped.count)))
        .collect();
    let sources = shown.targets.sources();
    let sources = sources.iter().filter(|(job, _)| wanted(job));
    let sources: Vec<Value> =
        sources.flat_map(|(job, all)| all.iter().map(|state| source(job, state))).collect();
    let data = json!({
        "activeTargets": active,
        "droppedTargets": shown_dropped,
        "droppedTargetCounts": counts,
        "discovery": sources,
    });
    Ok(success(&headers, &data))
}

fn target(key: &TargetKey, state: &TargetState) -> Value {
    json!({
        "discoveredLabels": object(&state.discovered),
        "labels": object(&key.labels),
        "scrapePool": key.job,
        "scrapeUrl": key.url,
        "globalUrl": key.url,
        "lastError": state.last_error,
        "lastScrape": time(state.last_scrape),
        "lastScrapeDuration": state.last_duration.as_secs_f64(),
        "health": state.health.as_str(),
        "scrapeInterval": state.interval.to_string(),
        "scrapeTimeout": state.timeout.to_string(),
    })
}

/// A service that is asked for targets: how old its list is, and why (F55).
fn source(job: &str, state: &SourceState) -> Value {
    json!({
        "scrapePool": job,
        "kind": state.kind,
        "lastSuccess": time(state.good_at),
        "lastError": state.error,
        "targets": state.targets,
    })
}

/// `/api/v1/scrape_pools`
pub(super) async fn pools(State(shown): State<Shown>, headers: HeaderMap) -> Response {
    let pools: Vec<String> = shown.targets.sources().into_keys().collect();
    success(&headers, &json!({"scrapePools": pools}))
}
