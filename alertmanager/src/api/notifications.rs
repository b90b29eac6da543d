//! `/api/v1/notifications`: what was handed over to whom, when, and with what answer.
//!
//! Invariant: it tells of what is on the disk; an attempt is there as soon as what it led to is.

use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use base::sample::Timestamp;
use serde_json::{Value, json};

use super::Shown;
use super::query::Parameters;
use super::reply::{Failure, success};
use super::time::print_time;
use crate::state::{Attempt, AttemptFilter};

/// How many are told of, if nothing is said, and at most.
const DEFAULT_LIMIT: usize = 100;
const MOST: usize = 10_000;

/// `/api/v1/notifications`
pub(super) async fn list(
    State(shown): State<Shown>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let parameters = Parameters::read(query, &headers, &Bytes::new())?;
    let time = |name: &str| match parameters.get(name) {
        None => Ok(None),
        Some(_) => parameters.time(name, Timestamp::MIN).map(Some),
    };
    let limit = match parameters.get("limit") {
        None => DEFAULT_LIMIT,
        Some(text) => match text.parse() {
            Ok(limit) if (1..=MOST).contains(&limit) => limit,
            _ => return Err(Failure::parameter("limit", format!("not from 1 to {MOST}"))),
        },
    };
    let filter = AttemptFilter {
        receiver: parameters.get("receiver").map(str::to_owned),
        alert: parameters.get("alert").map(str::to_owned),
        since: time("since")?,
        until: time("until")?,
        limit,
    };
    let attempts = shown.outbox.attempts(&filter).await;
    let attempts = attempts.map_err(|error| Failure::internal(error.to_string()))?;
    let attempts: Vec<Value> = attempts.iter().map(attempt).collect();
    Ok(success(&headers, &json!({"attempts": attempts})))
}

fn attempt(attempt: &Attempt) -> Value {
    let alerts = attempt.alerts.iter().map(|alert| {
        let status = if alert.firing { "firing" } else { "resolved" };
        json!({"name": alert.name, "fingerprint": alert.id(), "status": status})
    });
    json!({
        "time": print_time(attempt.at),
        "duration": attempt.took.as_secs_f64(),
        "receiver": attempt.receiver,
        "lane": attempt.lane,
        "groupKey": attempt.group_key,
        "notificationId": attempt.message,
        "attempt": attempt.number,
        "reason": attempt.reason,
        "result": attempt.result.as_str(),
        "answer": attempt.answer,
        "alertCount": attempt.alert_count,
        "alerts": alerts.collect::<Vec<_>>(),
    })
}
