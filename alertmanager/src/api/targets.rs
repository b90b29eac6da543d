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
use super::server::hostname;
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
        let own = shown.flags.get("external-url").map_or("", String::as_str);
        let listen = shown.flags.get("listen").map_or("", String::as_str);
        let here = Here { own, listen, name: hostname() };
        let all = all.iter().filter(|(key, _)| wanted(&key.job));
        active.extend(all.map(|(key, state)| target(key, state, &here)));
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
    let counts = (state != "active").then_some(&dropped);
    let counts: Option<serde_json::Map<String, Value>> = counts.map(|dropped| {
        let wanted = dropped.iter().filter(|(job, _)| wanted(job));
        wanted.map(|(job, dropped)| (job.clone(), json!(dropped.count))).collect()
    });
    let sources = shown.targets.sources();
    let sources = sources.iter().filter(|(job, _)| wanted(job));
    let sources: Vec<Value> =
        sources.flat_map(|(job, all)| all.iter().map(|state| source(job, state))).collect();
    let mut data = json!({
        "activeTargets": active,
        "droppedTargets": shown_dropped,
        "droppedTargetCounts": counts,
    });
    if !sources.is_empty() {
        data["discovery"] = json!(sources);
    }
    Ok(success(&headers, &data))
}

/// Where we are, for links that work from elsewhere.
struct Here<'a> {
    /// Where people reach us.
    own: &'a str,
    /// Where we listen.
    listen: &'a str,
    /// The name of this machine.
    name: String,
}

impl Here<'_> {
    /// An address of this machine as others reach it; any other as it is.
    fn global(&self, url: &str) -> String {
        let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (host, port) = authority.rsplit_once(':').unwrap_or((authority, ""));
        if !is_loopback(host) {
            return url.to_owned();
        }
        let own = self.own.split_once("://");
        let own = own.map(|(scheme, rest)| (scheme, rest.split('/').next().unwrap_or("")));
        let own = own.filter(|(_, authority)| {
            !is_loopback(authority.rsplit_once(':').map_or(*authority, |(host, _)| host))
        });
        let is_us = self.listen.rsplit(':').next() == Some(port);
        match own {
            Some((scheme, authority)) if is_us => format!("{scheme}://{authority}{path}"),
            Some((_, authority)) => {
                let host = authority.split(':').next().unwrap_or(authority);
                format!("{scheme}://{host}:{port}{path}")
            }
            None => format!("{scheme}://{}:{port}{path}", self.name),
        }
    }
}

fn is_loopback(host: &str) -> bool {
    matches!(host, "localhost" | "127.0.0.1" | "[::1]")
}

fn target(key: &TargetKey, state: &TargetState, here: &Here<'_>) -> Value {
    json!({
        "discoveredLabels": object(&state.discovered),
        "labels": object(&key.labels),
        "scrapePool": key.job,
        "scrapeUrl": key.url,
        "globalUrl": here.global(&key.url),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_this_machine_work_from_elsewhere() {
        let check = |own: &str, url: &str, expected: &str| {
            let here = Here { own, listen: "127.0.0.1:12912", name: "vm".to_owned() };
            assert_eq!(here.global(url), expected, "{own} {url}");
        };
        let plain = "http://127.0.0.1:12912";
        check(plain, "http://h:1/metrics", "http://h:1/metrics");
        check(plain, "http://127.0.0.1:1/metrics?a=b", "http://vm:1/metrics?a=b");
        check(plain, "http://[::1]:12912/metrics", "http://vm:12912/metrics");
        let behind = "https://mon.example/veilleur";
        check(behind, "http://localhost:1/metrics", "http://mon.example:1/metrics");
        check(behind, "http://127.0.0.1:12912/metrics", "https://mon.example/metrics");
    }
}
