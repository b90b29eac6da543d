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
use super::super::silences::{confirms, look, too_long};
use super::alerts::read_time;
use super::{Failure, Object, Parameters, answer, parse, read, time};
use crate::crash;
use crate::mute::{Silence, SilenceError, SilenceState};

/// A silence, as it is sent.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Sent {
    id: Option<String>,
    matchers: Option<Vec<SentMatcher>>,
    starts_at: Option<String>,
    ends_at: Option<String>,
    created_by: Option<String>,
    comment: Option<String>,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in super::super) struct SentMatcher {
    name: Option<String>,
    value: Option<String>,
    is_regex: Option<bool>,
    is_equal: Option<bool>,
}

impl SentMatcher {
    pub(in super::super) fn read(&self) -> Result<Matcher, String> {
        let op = match (self.is_regex.unwrap_or(false), self.is_equal.unwrap_or(true)) {
            (false, true) => MatchOp::Equal,
            (false, false) => MatchOp::NotEqual,
            (true, true) => MatchOp::Matches,
            (true, false) => MatchOp::NotMatches,
        };
        let (name, value) = (self.name.as_deref(), self.value.as_deref());
        Matcher::new(name.unwrap_or(""), op, value.unwrap_or("")).map_err(|e| e.to_string())
    }
}

impl Sent {
    /// What must be there and is not.
    fn check(&self) -> Result<(), Failure> {
        let required = |there: bool, name: &str| match there {
            true => Ok(()),
            false => Err(Failure::required(name)),
        };
        required(self.comment.is_some(), "comment")?;
        required(self.created_by.is_some(), "createdBy")?;
        required(self.ends_at.is_some(), "endsAt")?;
        let Some(matchers) = &self.matchers else { return Err(Failure::required("matchers")) };
        if matchers.is_empty() {
            return Err(Failure::coded(612, "matchers in body should have at least 1 items"));
        }
        for (place, matcher) in matchers.iter().enumerate() {
            required(matcher.is_regex.is_some(), &format!("matchers.{place}.isRegex"))?;
            required(matcher.name.is_some(), &format!("matchers.{place}.name"))?;
            required(matcher.value.is_some(), &format!("matchers.{place}.value"))?;
        }
        required(self.starts_at.is_some(), "startsAt")
    }

    fn read(self, now: Timestamp) -> Result<Silence, String> {
        // An empty time is the first there is, as in Alertmanager.
        let at = |text: Option<String>| {
            read_time(&text.unwrap_or_default()).map(Option::unwrap_or_default)
        };
        let matchers = self.matchers.unwrap_or_default();
        let silence = Silence {
            id: self.id.unwrap_or_default(),
            matchers: matchers.iter().map(SentMatcher::read).collect::<Result<_, _>>()?,
            starts_at: at(self.starts_at)?,
            ends_at: at(self.ends_at)?,
            created_by: self.created_by.unwrap_or_default(),
            comment: self.comment.unwrap_or_default(),
            annotations: self.annotations.unwrap_or_default(),
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

/// Refuses what no silence's id can be.
fn check_id(id: &str) -> Result<(), Failure> {
    let parts: Vec<usize> = id.split('-').map(str::len).collect();
    let plain = id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    if plain && parts == [8, 4, 4, 4, 12] {
        return Ok(());
    }
    Err(Failure::coded(601, format!("silenceID in path must be of type uuid: {id:?}")))
}

impl From<SilenceError> for Failure {
    fn from(error: SilenceError) -> Self {
        let status = match error {
            SilenceError::Invalid(_) | SilenceError::TooMany => StatusCode::BAD_REQUEST,
            SilenceError::NotFound(_) => StatusCode::NOT_FOUND,
            SilenceError::Expired(_) | SilenceError::State(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self(status, error.to_string(), None)
    }
}

/// `POST /silences`
pub(in super::super) async fn set(
    State(shown): State<Shown>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let sent: Option<Object<Sent>> = parse(&read(&headers, body, "silence").await?)?;
    let sent = sent.map(|Object(sent)| sent).unwrap_or_default();
    sent.check()?;
    let now = shown.clock.believed();
    let silence = sent.read(now).map_err(Failure::bad)?;
    let settings = shown.config.routing().hygiene.clone();
    if let Some(why) = too_long(&settings, &silence, now) {
        return Err(Failure::bad(why));
    }
    // Its clients have no way to confirm, so they are asked only where the configuration says so.
    if settings.confirm_everywhere && !confirms(&headers) {
        let preview = look(&shown, &silence.matchers, now)
            .await
            .map_err(|error| Failure(StatusCode::SERVICE_UNAVAILABLE, error.to_string(), None))?;
        if !preview.why_confirm.is_empty() {
            let why: Vec<_> = preview.why_confirm.iter().map(|why| why.text()).collect();
            let help = "use `veilleur silence add --confirm`, or send `X-Veilleur-Confirm: yes`";
            return Err(Failure::bad(format!("{}; if that is meant, {help}", why.join(", "))));
        }
    }
    let id = shown.mutes.silences.set(silence, now).await?;
    crash::point("silence.answering");
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
    let now = shown.clock.believed();
    let mut found = Vec::new();
    for silence in shown.mutes.silences.all() {
        let state = silence.state(now);
        if parameters.flag(state.as_str()) && silence.is_shown_by(&filter) {
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
    check_id(&id)?;
    let silence = shown.mutes.silences.get(&id).ok_or(SilenceError::NotFound(id))?;
    Ok(answer(&headers, &object(&silence, shown.clock.believed())))
}

/// `DELETE /silence/ID`
pub(in super::super) async fn expire(
    State(shown): State<Shown>,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    check_id(&id)?;
    match shown.mutes.silences.expire(&id, shown.clock.believed()).await {
        // Whoever asks again has what is wanted.
        Ok(()) | Err(SilenceError::Expired(_)) => Ok(StatusCode::OK.into_response()),
        Err(error) => Err(error.into()),
    }
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
