//! `/api/v1/rules` and `/api/v1/alerts`: rules and their alerts, as Prometheus tells them.
//!
//! Invariant: the fields and their names are Prometheus's; what we add has other names.

use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use base::labels::Labels;
use base::matcher::Matcher;
use base::number;
use base::sample::Timestamp;
use serde_json::{Value, json};

use super::labels::selectors;
use super::query::Parameters;
use super::reply::{Failure, success};
use super::time::print_time;
use super::{Shown, object};
use crate::rules::{AlertView, DeadSelector, GroupView, RuleKind, RuleView};
use crate::state::RuleAlertState;

/// `/api/v1/rules`
pub(super) async fn rules(
    State(shown): State<Shown>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let parameters = Parameters::read(query, &headers, &Bytes::new())?;
    let asked = Asked::read(&parameters)?;
    let mut groups = Vec::new();
    let mut next = None;
    for view in shown.rules.all() {
        let token = token(&view.file, &view.name);
        // Those before the page were in the ones before it.
        if asked.after.as_ref().is_some_and(|after| (&view.file, &view.name) < (&after.0, &after.1))
        {
            continue;
        }
        let Some(group) = asked.group(&view) else { continue };
        if asked.limit.is_some_and(|limit| groups.len() == limit) {
            next = Some(token);
            break;
        }
        groups.push(group);
    }
    let mut data = json!({"groups": groups});
    if let Some(next) = next {
        data["groupNextToken"] = json!(next);
    }
    Ok(success(&headers, &data))
}

/// What was asked for.
struct Asked {
    alerting: bool,
    recording: bool,
    names: Vec<String>,
    groups: Vec<String>,
    files: Vec<String>,
    /// A rule must fit one of them.
    selectors: Vec<Vec<Matcher>>,
    with_alerts: bool,
    limit: Option<usize>,
    /// The first group of the page: its file and its name.
    after: Option<(String, String)>,
}

impl Asked {
    fn read(parameters: &Parameters) -> Result<Self, Failure> {
        let (alerting, recording) = match parameters.get("type").map(str::to_lowercase).as_deref() {
            None => (true, true),
            Some("alert") => (true, false),
            Some("record") => (false, true),
            Some(other) => {
                return Err(Failure::parameter("type", format!("not supported value {other:?}")));
            }
        };
        let all = |name: &str| parameters.all(name).map(str::to_owned).collect();
        let with_alerts = match parameters.get("exclude_alerts") {
            None => true,
            Some(text) => match boolean(text) {
                Some(excluded) => !excluded,
                None => {
                    let why = format!("{text:?} is neither true nor false");
                    return Err(Failure::parameter("exclude_alerts", why));
                }
            },
        };
        let limit = match parameters.get("group_limit") {
            None => None,
            Some(text) => match text.parse() {
                Ok(0) | Err(_) => {
                    let why = "group_limit needs to be a valid number greater than 0";
                    return Err(Failure::parameter("group_limit", why));
                }
                Ok(limit) => Some(limit),
            },
        };
        let after = match parameters.get("group_next_token") {
            None => None,
            Some(_) if limit.is_none() => {
                let why = "group_limit needs to be specified along with group_next_token";
                return Err(Failure::parameter("group_next_token", why));
            }
            Some(text) => {
                let place = decode_token(text);
                let wrong = || Failure::parameter("group_next_token", "it is none of ours");
                Some(place.ok_or_else(wrong)?)
            }
        };
        Ok(Self {
            alerting,
            recording,
            names: all("rule_name[]"),
            groups: all("rule_group[]"),
            files: all("file[]"),
            selectors: selectors(parameters)?,
            with_alerts,
            limit,
            after,
        })
    }

    /// The group with its rules that are asked for, if there are any.
    fn group(&self, view: &GroupView) -> Option<Value> {
        let named = |list: &[String], name: &String| list.is_empty() || list.contains(name);
        if !named(&self.groups, &view.name) || !named(&self.files, &view.file) {
            return None;
        }
        let wanted = |rule: &&RuleView| {
            let (kind, labels) = match &rule.kind {
                RuleKind::Alerting { labels, .. } => (self.alerting, labels),
                RuleKind::Recording { labels } => (self.recording, labels),
            };
            let labels = Labels::from_pairs(labels);
            let fits = |matchers: &Vec<Matcher>| {
                matchers.iter().all(|m| m.matches(labels.get(m.name()).unwrap_or("")))
            };
            kind && named(&self.names, &rule.name)
                && (self.selectors.is_empty() || self.selectors.iter().any(fits))
        };
        let rules: Vec<_> = view.rules.iter().filter(wanted).map(|r| self.rule(r)).collect();
        (!rules.is_empty()).then(|| {
            json!({
                "name": view.name,
                "file": view.file,
                "interval": view.interval.millis() as f64 / 1000.0,
                "limit": view.limit,
                "rules": rules,
                "evaluationTime": view.duration.as_secs_f64(),
                "lastEvaluation": time(view.evaluated_at),
            })
        })
    }

    fn rule(&self, view: &RuleView) -> Value {
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
        if !view.dead.is_empty() {
            value["deadSelectors"] = view.dead.iter().map(dead).collect();
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
                value["alerts"] = match self.with_alerts {
                    true => alerts.iter().map(alert).collect(),
                    false => Value::Null,
                };
            }
        }
        value
    }
}

/// A selector that finds nothing, and who had it last.
fn dead(selector: &DeadSelector) -> Value {
    let mut value = json!({"selector": selector.selector, "since": print_time(selector.since)});
    if let Some(last) = &selector.last {
        value["lastTarget"] = object(last);
    }
    value
}

/// As Go reads it.
fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// What names a group in the request for the next page.
fn token(file: &str, name: &str) -> String {
    format!("{file};{name}").bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn decode_token(token: &str) -> Option<(String, String)> {
    let digits: Option<Vec<u8>> = (0..token.len().div_ceil(2))
        .map(|n| u8::from_str_radix(token.get(2 * n..2 * n + 2)?, 16).ok())
        .collect();
    let text = String::from_utf8(digits?).ok()?;
    let (file, name) = text.rsplit_once(';')?;
    Some((file.to_owned(), name.to_owned()))
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
        "value": scientific(view.value),
    });
    if let Some(since) = view.keep_since {
        value["keepFiringSince"] = json!(print_time(since));
    }
    if let Some(since) = view.stale_since {
        value["staleSince"] = json!(print_time(since));
    }
    value
}

/// `1.5e+00`, as Prometheus writes the values of alerts.
fn scientific(value: f64) -> String {
    if !value.is_finite() {
        return number::shortest(value);
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => ('-', exponent),
        None => ('+', exponent),
    };
    format!("{digits}e{sign}{exponent:0>2}")
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

/// A time; that of Go's zero where there is none.
pub(super) fn time(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), print_time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_with_an_exponent() {
        let check = |value: f64, expected: &str| assert_eq!(scientific(value), expected);
        check(1.0, "1e+00");
        check(0.0, "0e+00");
        check(-0.25, "-2.5e-01");
        check(123_456.0, "1.23456e+05");
        check(1e123, "1e+123");
        check(f64::INFINITY, "+Inf");
        check(f64::NAN, "NaN");
    }

    #[test]
    fn a_token_names_a_group() {
        let there_and_back = |file: &str, name: &str| {
            assert_eq!(decode_token(&token(file, name)), Some((file.to_owned(), name.to_owned())));
        };
        there_and_back("/etc/r.yml", "a b");
        there_and_back("a;b", "é");
        for bad in ["", "zz", "6", "61"] {
            assert_eq!(decode_token(bad), None, "{bad}");
        }
    }
}
