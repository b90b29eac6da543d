//! `/api/v2/silences`: what is not to be told for a while.
//!
//! Invariant: a silence whose request was answered with 200 is on the disk.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base::matcher::{MatchOp, Matcher};
use base::sample::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::Shown;
use super::alerts::read_time;
use super::{Failure, Parameters, answer, parse, read, time};
use crate::mute::{Silence, SilenceError, SilenceState};

/// A silence, as it is sent.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sent {
    #[serde(default)]
    id: String,
    matchers: Vec<SentMatcher>,
    starts_at: String,
    ends_at: String,
    created_by: String,
    comment: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SentMatcher {
    name: String,
    value: String,
    is_regex: bool,
    #[serde(default = "yes")]
    is_equal: bool,
}

fn yes() -> bool {
    true
}

impl SentMatcher {
    fn read(&self) -> Result<Matcher, String> {
        let op = match (self.is_regex, self.is_equal) {
            (false, true) => MatchOp::Equal,
            (false, false) => MatchOp::NotEqual,
            (true, true) => MatchOp::Matches,
            (true, false) => MatchOp::NotMatches,
        };
        Matcher::new(&self.name, op, &self.value).map_err(|error| error.to_string())
    }
}

impl Sent {
    fn read(self, now: Timestamp) -> Result<Silence, String> {
        let at =
            |name: &str, text: &str| read_time(text)?.ok_or_else(|| format!("{name} is missing"));
        let silence = Silence {
            id: self.id,
            matchers: self.matchers.iter().map(SentMatcher::read).collect::<Result<_, _>>()?,
            starts_at: at("startsAt", &self.starts_at)?,
            ends_at: at("endsAt", &self.ends_at)?,
            created_by: self.created_by,
            comment: self.comment,
            annotations: self.annotations,
            updated_at: now,
        };
        if silence.ends_at <= silence.starts_at {
            return Err("start time must be before end time".to_owned());
        }
        if silence.ends_at < now {
            return Err("end time can't be in the past".to_owned());
        }
        Ok(silence)
    }
}

impl From<SilenceError> for Failure {
    fn from(error: SilenceError) -> Self {
        let status = match error {
            SilenceError::Invalid(_) | SilenceError::TooMany => StatusCode::BAD_REQUEST,
            SilenceError::NotFound(_) => StatusCode::NOT_FOUND,
            SilenceError::Expired(_) | SilenceError::State(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self(status, error.to_string())
    }
}

/// `POST /silences`
pub(in super::super) async fn set(
    State(shown): State<Shown>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let sent: Sent = parse(&read(body).await?)?;
    let now = Timestamp::now();
    let silence = sent.read(now).map_err(Failure::bad)?;
    let id = shown.mutes.silences.set(silence, now).await?;
    Ok(answer(&headers, &json!({"silenceID": id})))
}

/// `GET /silences`
pub(in super::super) async fn list(
    State(shown): State<Shown>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let parameters = Parameters::read(query)?;
    let filter = parameters.filter()?;
    let now = Timestamp::now();
    let mut found = Vec::new();
    for silence in shown.mutes.silences.all() {
        let state = silence.state(now);
        if parameters.flag(state.as_str())? && silence.is_shown_by(&filter) {
            // Those that hold first, and of those the one that ends next; what is over, newest
            // first.
            let order = match state {
                SilenceState::Active => (0, silence.ends_at.millis()),
                SilenceState::Pending => (1, silence.starts_at.millis()),
                SilenceState::Expired => (2, -silence.ends_at.millis()),
            };
            found.push((order, silence));
        }
    }
    found.sort_by(|(a, x), (b, y)| (a, &x.id).cmp(&(b, &y.id)));
    let silences: Value = found.iter().map(|(_, silence)| object(silence, now)).collect();
    Ok(answer(&headers, &silences))
}

/// `GET /silence/ID`
pub(in super::super) async fn one(
    State(shown): State<Shown>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let silence = shown.mutes.silences.get(&id).ok_or(SilenceError::NotFound(id))?;
    Ok(answer(&headers, &object(&silence, Timestamp::now())))
}

/// `DELETE /silence/ID`
pub(in super::super) async fn expire(
    State(shown): State<Shown>,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    shown.mutes.silences.expire(&id, Timestamp::now()).await?;
    Ok(StatusCode::OK.into_response())
}

fn object(silence: &Silence, now: Timestamp) -> Value {
    let matcher = |matcher: &Matcher| {
        let op = matcher.op();
        json!({
            "isEqual": matches!(op, MatchOp::Equal | MatchOp::Matches),
            "isRegex": op.is_pattern(),
            "name": matcher.name(),
            "value": matcher.value(),
        })
    };
    json!({
        "id": silence.id,
        "status": {"state": silence.state(now).as_str()},
        "updatedAt": time(silence.updated_at),
        "annotations": silence.annotations,
        "comment": silence.comment,
        "createdBy": silence.created_by,
        "endsAt": time(silence.ends_at),
        "matchers": silence.matchers.iter().map(matcher).collect::<Vec<_>>(),
        "startsAt": time(silence.starts_at),
    })
}
