//! `/api/v1/rules`, `/api/v1/alerts`: how everything is, as Prometheus tells it.
//!
//! Invariant: the fields and their names are Prometheus's; what we add has other names.

use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use base::number;
use base::sample::Timestamp;
use serde_json::{Value, json};

use super::query::Parameters;
use super::reply::{Failure, success};
use super::time::print_time;
use super::{Shown, object};
use crate::rules::{AlertView, GroupView, RuleKind, RuleView};
use crate::state::RuleAlertState;

/// `/api/v1/rules`
pub(super) async fn rules(
    State(shown): State<Shown>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let parameters = Parameters::read(query, &headers, &Bytes::new())?;
    let (alerting, recording) = match parameters.get("type") {
        None => (true, true),
        Some("alert") => (true, false),
        Some("record") => (false, true),
        Some(other) => {
            return Err(Failure::parameter("type", format!("not supported value {other:?}")));
        }
    };
    let wanted = |rule: &&RuleView| match rule.kind {
        RuleKind::Alerting { .. } => alerting,
        RuleKind::Recording { .. } => recording,
    };
    let groups: Vec<Value> = shown.rules.all().iter().map(|view| group(view, wanted)).collect();
    Ok(success(&headers, &json!({"groups": groups})))
}

fn group(view: &GroupView, wanted: impl Fn(&&RuleView) -> bool) -> Value {
    json!({
        "name": view.name,
        "file": view.file,
        "interval": view.interval.millis() as f64 / 1000.0,
        "limit": view.limit,
        "rules": view.rules.iter().filter(wanted).map(rule).collect::<Vec<_>>(),
        "evaluationTime": view.duration.as_secs_f64(),
        "lastEvaluation": time(view.evaluated_at),
    })
}

fn rule(view: &RuleView) -> Value {
    let mut value = json!({
        "name": view.name,
        "query": view.query,
        "health": match (&view.error, view.evaluated_at) {
            (Some(_), _) => "err",
            (None, Some(_)) => "ok",
            (None, None) => "unknown",
        },
        "evaluationTime": view.duration.as_secs_f64(),
        "lastEvaluation": time(view.evaluated_at),
    });
    if let Some(error) = &view.error {
        value["lastError"] = json!(error);
    }
    match &view.kind {
        RuleKind::Recording { labels } => {
            value["type"] = json!("recording");
            if !labels.is_empty() {
                value["labels"] = json!(labels);
            }
        }
        RuleKind::Alerting { hold, keep_firing_for, labels, annotations, alerts } => {
            let state = alerts.iter().map(|alert| alert.state);
            let state = state.fold("inactive", |worst, state| match (worst, state) {
                ("firing", _) | (_, RuleAlertState::Firing) => "firing",
                (_, RuleAlertState::Pending) => "pending",
            });
            value["type"] = json!("alerting");
            value["state"] = json!(state);
            value["duration"] = json!(hold.as_secs_f64());
            value["keepFiringFor"] = json!(keep_firing_for.as_secs_f64());
            value["labels"] = json!(labels);
            value["annotations"] = json!(annotations);
            value["alerts"] = alerts.iter().map(alert).collect();
        }
    }
    value
}

fn alert(view: &AlertView) -> Value {
    let mut value = json!({
        "labels": object(&view.labels),
        "annotations": view.annotations,
        "state": match view.state {
            RuleAlertState::Pending => "pending",
            RuleAlertState::Firing => "firing",
        },
        "activeAt": print_time(view.active_at),
        "value": number::shortest(view.value),
    });
    if let Some(since) = view.keep_since {
        value["keepFiringSince"] = json!(print_time(since));
    }
    if let Some(since) = view.stale_since {
        value["staleSince"] = json!(print_time(since));
    }
    value
}

/// `/api/v1/alerts`
pub(super) async fn alerts(State(shown): State<Shown>, headers: HeaderMap) -> Response {
    let groups = shown.rules.all();
    let rules = groups.iter().flat_map(|group| &group.rules);
    let alerts: Vec<Value> = rules
        .filter_map(|rule| match &rule.kind {
            RuleKind::Alerting { alerts, .. } => Some(alerts),
            RuleKind::Recording { .. } => None,
        })
        .flatten()
        .map(alert)
        .collect();
    success(&headers, &json!({"alerts": alerts}))
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

/// A time, and that of nothing where there is none.
pub(super) fn time(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), print_time)
}
