//! `/api/v2/alerts`: alerts are pushed, and shown.
//!
//! Invariant: of a request with faults those alerts are taken that have none.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base::labels::Labels;
use base::sample::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::super::Shown;
use super::{Failure, Wanted, answer, read};
use crate::pushed::{Push, PushError};

/// The most faults that are told.
const MOST_TOLD: usize = 5;

/// An alert, as it is sent.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Sent {
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    starts_at: Option<String>,
    ends_at: Option<String>,
    #[serde(default, rename = "generatorURL")]
    generator_url: String,
}

impl Sent {
    fn read(self, now: Timestamp) -> Result<Push, String> {
        // A label without a value is a label that is not there.
        let labels = self.labels.into_iter().filter(|(_, value)| !value.is_empty());
        let labels: BTreeMap<String, String> = labels.collect();
        if labels.is_empty() {
            return Err("at least one label pair required".to_owned());
        }
        if labels.keys().chain(self.annotations.keys()).any(String::is_empty) {
            return Err("a name is empty".to_owned());
        }
        let (starts_at, ends_at) = (time(self.starts_at)?, time(self.ends_at)?);
        if ends_at.is_some_and(|end| end < starts_at.unwrap_or(end.min(now))) {
            return Err("start time must be before end time".to_owned());
        }
        Ok(Push {
            labels: Labels::from_pairs(labels),
            annotations: self.annotations,
            starts_at,
            ends_at,
            generator_url: self.generator_url,
        })
    }
}

/// A time; Go's zero time is none.
pub(in super::super) fn time(text: Option<String>) -> Result<Option<Timestamp>, String> {
    let Some(text) = text.filter(|text| !text.is_empty() && !text.starts_with("0001-01-01T"))
    else {
        return Ok(None);
    };
    let at = text.parse::<jiff::Timestamp>();
    let at = at.map_err(|_| format!("{text:?} is not a time in the form of RFC 3339"))?;
    Ok(Some(Timestamp::from_millis(at.as_millisecond())))
}

/// `POST`
pub(in super::super) async fn push(State(shown): State<Shown>, body: Body) -> Response {
    let Ok(_turn) = shown.writes.acquire().await else {
        let message = "Veilleur is stopping".to_owned();
        return Failure(StatusCode::SERVICE_UNAVAILABLE, message).into_response();
    };
    let sent: Vec<Sent> = match read(body).await {
        Ok(sent) => sent,
        Err(failure) => return failure.into_response(),
    };
    let now = Timestamp::now();
    let (mut pushes, mut faults) = (Vec::with_capacity(sent.len()), Vec::new());
    for alert in sent {
        match alert.read(now) {
            Ok(push) => pushes.push(push),
            Err(fault) => faults.push(fault),
        }
    }
    match shown.pushed.push(pushes, now, shown.config.resolve_timeout()).await {
        Ok(()) if faults.is_empty() => StatusCode::OK.into_response(),
        Ok(()) => {
            faults.truncate(MOST_TOLD);
            Failure::bad(faults.join("; ")).into_response()
        }
        Err(error @ PushError::TooMany) => {
            Failure(StatusCode::SERVICE_UNAVAILABLE, error.to_string()).into_response()
        }
        Err(error @ PushError::State(_)) => {
            Failure(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response()
        }
    }
}

/// `GET`
pub(in super::super) async fn list(
    State(shown): State<Shown>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let wanted = Wanted::read(query, Timestamp::now())?;
    let routing = shown.config.routing();
    let mut found: Vec<(u64, Value)> = Vec::new();
    for alert in shown.alerts.all() {
        if !alert.is_firing() || !wanted.matches(&alert.labels) {
            continue;
        }
        let routes = routing.route.matching(&alert.labels);
        if routes.iter().any(|route| wanted.is_for(&route.receiver)) {
            let value = wanted.show(&shown, &alert, &routes);
            found.extend(value.map(|value| (alert.labels.fingerprint(), value)));
        }
    }
    found.sort_by_key(|(fingerprint, _)| *fingerprint);
    Ok(answer(&headers, &found.into_iter().map(|(_, value)| value).collect()))
}
