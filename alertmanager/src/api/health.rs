//! `/health`: whether we can do our job, part by part.
//!
//! Source: the fields of `application/health+json` (draft-inadarei-api-health-check).
//!
//! Invariant: it says `fail` where somebody may not hear of something because of us.

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use base::sample::Timestamp;
use serde_json::{Map, Value, json};

use super::Shown;
use super::reply::compressed;
use super::time::print_time;
use crate::rules::RuleView;
use crate::scrape::Health as TargetHealth;

/// A receiver that was not reached for this long is more than a hiccup.
const HICCUP: Duration = Duration::from_secs(60);

/// How a part is, from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Health {
    Pass,
    Warn,
    Fail,
}

impl Health {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// A part of us.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) name: String,
    pub(super) kind: &'static str,
    pub(super) health: Health,
    pub(super) output: String,
    pub(super) since: Option<Timestamp>,
}

/// How every part is at `now`.
pub(super) fn parts(shown: &Shown, now: Timestamp) -> Vec<Part> {
    let part = |name: &str, kind, health, output: String| Part {
        name: name.to_owned(),
        kind,
        health,
        output,
        since: None,
    };
    let mut parts = Vec::new();
    parts.push(match shown.config.fault() {
        None => part("config", "component", Health::Pass, String::new()),
        Some(fault) => part(
            "config",
            "component",
            Health::Warn,
            format!("the newest configuration was not taken over: {fault}"),
        ),
    });

    let targets = shown.targets.all();
    let down = targets.values().filter(|target| target.health == TargetHealth::Down).count();
    let health = match down {
        0 => Health::Pass,
        _ if down == targets.len() => Health::Fail,
        _ => Health::Warn,
    };
    let output = match down {
        0 => String::new(),
        _ => {
            let mut all = targets.iter();
            let first = all.find(|(_, target)| target.health == TargetHealth::Down);
            let why = first.map_or_else(String::new, |(key, target)| {
                let instance = key.labels.get("instance").unwrap_or(&key.url);
                format!(", `{instance}` among them: {}", target.last_error)
            });
            format!("{down} of {} targets do not answer{why}", targets.len())
        }
    };
    parts.push(part("targets", "component", health, output));

    if let Some(safe) = &shown.safe {
        let output = format!("{}. {}", safe.summary(), safe.advice());
        let since = Some(safe.since);
        parts.push(Part { since, ..part("safe-mode", "system", Health::Fail, output) });
    }

    let fault = shown.disk.fault();
    let health = if fault.is_some() { Health::Fail } else { Health::Pass };
    let (output, since) = fault.map(|fault| (fault.why, fault.since)).unzip();
    let output = output.unwrap_or_default();
    parts.push(Part { since, ..part("data", "datastore", health, output) });

    let stats = shown.storage.stats();
    let is_crowded = stats.refused_series > 0 && stats.series >= stats.most_series / 10 * 9;
    let (health, output) = match is_crowded {
        false => (Health::Pass, String::new()),
        true => {
            let (series, most) = (stats.series, stats.most_series);
            let why = format!("{series} series of at most {most}: new series were refused");
            (Health::Warn, why)
        }
    };
    parts.push(part("samples", "datastore", health, output));

    let groups = shown.rules.all();
    let failed: Vec<&RuleView> =
        groups.iter().flat_map(|group| &group.rules).filter(|rule| rule.error.is_some()).collect();
    let output = match failed.first() {
        None => String::new(),
        Some(rule) => format!(
            "{} rules fail, `{}` among them: {}",
            failed.len(),
            rule.name,
            rule.error.as_deref().unwrap_or("")
        ),
    };
    let health = if failed.is_empty() { Health::Pass } else { Health::Fail };
    parts.push(part("rules", "component", health, output));

    for (name, fault) in shown.mutes.maintenance.faults() {
        let output = format!("its calendar cannot be read: {fault}");
        parts.push(part(&format!("maintenance:{name}"), "component", Health::Warn, output));
    }

    for (name, state) in shown.remotes.all() {
        let health = if state.fault.is_some() { Health::Warn } else { Health::Pass };
        let since = state.fault.as_ref().map(|(_, since)| *since);
        let name = format!("remote-write:{name}");
        parts.push(Part { since, ..part(&name, "datastore", health, state.told()) });
    }

    let waiting = shown.outbox.waiting();
    for (lane, state) in shown.lanes.all() {
        let waits = waiting.get(&lane).copied().unwrap_or_default().intents;
        let (health, output) = match state.failing_since {
            None => (Health::Pass, String::new()),
            Some(since) => {
                let long = now.since(since) >= HICCUP || state.refused > 0;
                let health = if long { Health::Fail } else { Health::Warn };
                (health, format!("{} ({waits} messages wait)", state.last_error))
            }
        };
        let name = format!("receiver:{lane}");
        let since = state.failing_since.or(state.delivered_at);
        parts.push(Part { since, ..part(&name, "component", health, output) });
    }

    let restarts = shown.supervisor.restarts();
    let output: Vec<_> = restarts.iter().map(|(task, count)| format!("{task} {count}")).collect();
    let (health, output) = match output.is_empty() {
        true => (Health::Pass, String::new()),
        false => (Health::Warn, format!("tasks were started again: {}", output.join(", "))),
    };
    parts.push(part("tasks", "system", health, output));
    parts
}

/// `/health`
pub(super) async fn health(State(shown): State<Shown>, headers: HeaderMap) -> Response {
    let now = shown.clock.believed();
    let parts = parts(&shown, now);
    let worst = parts.iter().map(|part| part.health).max().unwrap_or(Health::Pass);
    let mut checks = Map::new();
    for part in &parts {
        let mut check = json!({
            "componentType": part.kind,
            "status": part.health.as_str(),
            "time": print_time(now),
        });
        if !part.output.is_empty() {
            check["output"] = json!(part.output);
        }
        if let Some(since) = part.since {
            check["since"] = json!(print_time(since));
        }
        checks.insert(part.name.clone(), json!([check]));
    }
    let body = json!({
        "status": worst.as_str(),
        "version": env!("CARGO_PKG_VERSION"),
        "description": "veilleur",
        "checks": Value::Object(checks),
    });
    let status = match worst {
        Health::Fail => StatusCode::SERVICE_UNAVAILABLE,
        Health::Pass | Health::Warn => StatusCode::OK,
    };
    compressed(&headers, status, "application/health+json", body.to_string())
}
