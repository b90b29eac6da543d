//! `/api/v1/metadata` and `/api/v1/targets/metadata`: what targets say of their metrics.
//!
//! Invariant: the fields and their names are Prometheus's.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use base::matcher::Matcher;
use promql::ast::ExprKind;
use serde_json::{Map, Value, json};

use super::query::Parameters;
use super::reply::{Failure, success};
use super::{Shown, object};
use crate::scrape::Described;

/// `/api/v1/metadata`
pub(super) async fn all(
    State(shown): State<Shown>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let parameters = Parameters::read(query, &headers, &Bytes::new())?;
    let (limit, per_metric) =
        (count(&parameters, "limit")?, count(&parameters, "limit_per_metric")?);
    let wanted = parameters.get("metric");
    // Targets of a kind say the same; each thing that is said is told once.
    let mut found: BTreeMap<String, Vec<Described>> = BTreeMap::new();
    for (_, metadata) in shown.targets.metadata() {
        for (name, described) in metadata.iter().filter(|(name, _)| fits(wanted, name)) {
            if found.len() == limit && !found.contains_key(name) {
                continue;
            }
            let said = found.entry(name.clone()).or_default();
            if said.len() < per_metric && !said.contains(described) {
                said.push(described.clone());
            }
        }
    }
    let entry = |(name, said): (String, Vec<Described>)| {
        (name, said.iter().map(fields).collect::<Vec<_>>().into())
    };
    let data: Map<String, Value> = found.into_iter().map(entry).collect();
    Ok(success(&headers, &Value::Object(data)))
}

/// `/api/v1/targets/metadata`
pub(super) async fn of_targets(
    State(shown): State<Shown>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let parameters = Parameters::read(query, &headers, &Bytes::new())?;
    let limit = count(&parameters, "limit")?;
    let matchers = parameters.get("match_target").map(selector).transpose()?.unwrap_or_default();
    let wanted = parameters.get("metric");
    let mut found = Vec::new();
    for (key, metadata) in shown.targets.metadata() {
        if !matchers.iter().all(|matcher| matcher.matches_labels(&key.labels)) {
            continue;
        }
        for (name, described) in metadata.iter().filter(|(name, _)| fits(wanted, name)) {
            if found.len() == limit {
                break;
            }
            let mut entry = fields(described);
            entry["target"] = object(&key.labels);
            if wanted.is_none() {
                entry["metric"] = json!(name);
            }
            found.push(entry);
        }
    }
    Ok(success(&headers, &json!(found)))
}

fn fits(wanted: Option<&str>, name: &str) -> bool {
    wanted.is_none_or(|wanted| wanted == name)
}

fn fields(described: &Described) -> Value {
    let Described { kind, unit, help } = described;
    json!({"type": kind.as_str(), "unit": unit, "help": help})
}

fn selector(text: &str) -> Result<Vec<Matcher>, Failure> {
    let parsed = promql::parse(text).map_err(|f| Failure::parameter("match_target", f))?;
    match parsed.kind {
        ExprKind::Vector(selector) => Ok(selector.matchers),
        _ => Err(Failure::parameter("match_target", format!("`{text}` is not a selector"))),
    }
}

/// How many there may be; any number where nothing is said, or something below 0.
fn count(parameters: &Parameters, name: &str) -> Result<usize, Failure> {
    match parameters.get(name).map(str::parse::<i64>) {
        None => Ok(usize::MAX),
        Some(Ok(count)) if count > 0 => Ok(usize::try_from(count).unwrap_or(usize::MAX)),
        Some(Ok(0)) if name == "limit" => Ok(0),
        Some(Ok(_)) => Ok(usize::MAX),
        Some(Err(_)) => Err(Failure::bad_data(format!("{name} must be a number"))),
    }
}
