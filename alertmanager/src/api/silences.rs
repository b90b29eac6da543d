//! `/api/v1/silences`: silences with a look before, and what each of them holds.
//!
//! Alertmanager's API, which has neither, stays as it is at `/api/v2/silences`.
//!
//! Invariant: a silence that is broad is not made without a confirmation, and one that was answered
//! with 200 is on the disk.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base::matcher::Matcher;
use base::period::Period;
use base::sample::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::reply::{Failure, success};
use super::v2::silences::SentMatcher;
use super::v2::{read_any as read, time};
use super::{ConfigState, Shown, object};
use crate::alerts::Alert;
use crate::hygiene::{self, Hygiene, Preview};
use crate::matchers;
use crate::mute::{Silence, SilenceError, SilenceState};

/// The header that confirms, for clients that cannot say it in the body.
const CONFIRM: &str = "x-veilleur-confirm";
/// The most alerts that are listed.
const MOST_LISTED: usize = 100;

/// Matchers as they are sent: texts, or objects as in Alertmanager's API.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct SentMatchers(Vec<SentOne>);

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum SentOne {
    Text(String),
    Object(SentMatcher),
}

impl SentMatchers {
    /// The matchers.
    pub(super) fn read(&self) -> Result<Vec<Matcher>, Failure> {
        let mut found = Vec::new();
        for sent in &self.0 {
            let read = match sent {
                SentOne::Text(text) => matchers::parse(text).map_err(|error| error.to_string()),
                SentOne::Object(object) => object.read().map(|matcher| vec![matcher]),
            };
            found.extend(read.map_err(|error| Failure::bad_data(format!("matchers: {error}")))?);
        }
        match found.is_empty() {
            true => Err(Failure::bad_data("matchers: at least one is needed")),
            false => Ok(found),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SentPreview {
    matchers: SentMatchers,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Sent {
    #[serde(default)]
    id: String,
    matchers: SentMatchers,
    starts_at: Option<String>,
    ends_at: Option<String>,
    duration: Option<String>,
    created_by: String,
    comment: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    confirm: bool,
}

/// From when until when, by an end or a duration.
pub(super) fn times(
    start: Option<String>,
    end: Option<String>,
    duration: Option<String>,
    now: Timestamp,
) -> Result<(Timestamp, Timestamp), Failure> {
    let read = |name: &str, text: Option<String>| {
        let time = super::v2::alerts::read_time(text.as_deref().unwrap_or(""));
        time.map_err(|error| Failure::bad_data(format!("{name}: {error}")))
    };
    let start = read("startsAt", start)?.unwrap_or(now);
    let end = match (read("endsAt", end)?, duration) {
        (Some(end), None) => end,
        (None, Some(duration)) => {
            let period: Period = duration
                .parse()
                .map_err(|error| Failure::bad_data(format!("duration: {error}")))?;
            start.max(now) + period.duration()
        }
        _ => return Err(Failure::bad_data("one of endsAt and duration is needed")),
    };
    Ok((start, end))
}

/// Why a silence holds for longer than it may.
pub(super) fn too_long(settings: &Hygiene, silence: &Silence, now: Timestamp) -> Option<String> {
    let longest = settings.longest?;
    let length = silence.ends_at.since(silence.starts_at.max(now));
    let told = Period::from(longest);
    (length > longest)
        .then(|| format!("a silence can hold for {told} at most (`silences.longest`)"))
}

/// Whether the one who asks has confirmed.
pub(super) fn confirms(headers: &HeaderMap) -> bool {
    let value = headers.get(CONFIRM).and_then(|value| value.to_str().ok());
    value.is_some_and(|value| ["yes", "true", "1"].contains(&value))
}

/// What a silence with these matchers would hold at `now`, and would have held.
pub(super) async fn look(
    shown: &Shown,
    matchers: &[Matcher],
    now: Timestamp,
) -> Result<Preview, Failure> {
    let Ok(_turn) = shown.queries.acquire().await else {
        return Err(Failure::unavailable("Veilleur is stopping"));
    };
    let (storage, wanted) = (Arc::clone(&shown.storage), matchers.to_vec());
    let external = shown.config.routing().external_labels.clone();
    let read = move || hygiene::history(&storage, &external, &wanted, now);
    let mut past = match tokio::task::spawn_blocking(read).await {
        Ok(Ok(past)) => past,
        Ok(Err(error)) => return Err(Failure::internal(error.to_string())),
        Err(panic) => return Err(Failure::internal(panic.to_string())),
    };
    let settings = shown.config.routing().hygiene.clone();
    let alerts = shown.alerts.all();
    hygiene::add_firing(&mut past, &alerts, matchers, now);
    Ok(hygiene::preview(matchers, &alerts, past, &settings))
}

/// A preview as JSON.
pub(super) fn preview_object(preview: &Preview, config: &ConfigState) -> Value {
    let routing = config.routing();
    let labels = preview.now.iter().map(|alert| &alert.labels);
    let all = labels.chain(preview.past.iter().map(|past| &past.labels));
    let mut receivers: Vec<&str> = all
        .flat_map(|labels| routing.route.matching(labels))
        .map(|route| route.receiver.as_str())
        .collect();
    receivers.sort_unstable();
    receivers.dedup();
    let past = preview.past.iter().take(MOST_LISTED);
    let past =
        past.map(|past| json!({"labels": object(&past.labels), "lastSeen": time(past.last)}));
    json!({
        "now": {
            "held": preview.now.len(),
            "firing": preview.firing,
            "alerts": alerts(&preview.now),
        },
        "week": {
            "held": preview.past.len(),
            "byName": preview.names(),
            "alerts": past.collect::<Vec<_>>(),
        },
        "receivers": receivers,
        "confirmationNeeded": !preview.why_confirm.is_empty(),
        "why": preview.why_confirm.iter().map(|why| why.text()).collect::<Vec<_>>(),
    })
}

fn alerts(alerts: &[Arc<Alert>]) -> Vec<Value> {
    let one = |alert: &Arc<Alert>| json!({"labels": object(&alert.labels), "startsAt": time(alert.starts_at)});
    alerts.iter().take(MOST_LISTED).map(one).collect()
}

/// Asks for a confirmation of something that would hold what `preview` says.
pub(super) fn ask_to_confirm(preview: &Preview, config: &ConfigState) -> Response {
    let why: Vec<_> = preview.why_confirm.iter().map(|why| why.text()).collect();
    let why = why.join(", ");
    let body = json!({
        "status": "error",
        "errorType": "confirmation_needed",
        "error": format!("{why}; send it with \"confirm\": true if that is meant"),
        "data": preview_object(preview, config),
    });
    let headers = [(axum::http::header::CONTENT_TYPE, "application/json")];
    (StatusCode::CONFLICT, headers, body.to_string()).into_response()
}

/// `POST /api/v1/silences/preview`
pub(super) async fn preview(
    State(shown): State<Shown>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let sent: SentPreview = read(body).await?;
    let matchers = sent.matchers.read()?;
    let preview = look(&shown, &matchers, shown.clock.believed()).await?;
    Ok(success(&headers, &preview_object(&preview, &shown.config)))
}

/// `POST /api/v1/silences`
pub(super) async fn set(
    State(shown): State<Shown>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let sent: Sent = read(body).await?;
    let now = shown.clock.believed();
    let (starts_at, ends_at) = times(sent.starts_at, sent.ends_at, sent.duration, now)?;
    let confirmed = sent.confirm || confirms(&headers);
    let silence = Silence {
        id: sent.id,
        matchers: sent.matchers.read()?,
        starts_at,
        ends_at,
        created_by: sent.created_by,
        comment: sent.comment,
        annotations: sent.annotations,
        updated_at: now,
    };
    match make(&shown, silence, confirmed, now).await? {
        Made::Asks(preview) => Ok(ask_to_confirm(&preview, &shown.config)),
        Made::Set(id, preview) => {
            let preview = preview_object(&preview, &shown.config);
            Ok(success(&headers, &json!({"silenceID": id, "preview": preview})))
        }
    }
}

/// What became of a silence that somebody asked for.
#[derive(Debug)]
pub(super) enum Made {
    /// It is on the disk, under this id.
    Set(String, Preview),
    /// It is broad, and nothing was done without a confirmation.
    Asks(Preview),
}

/// Makes a silence, after the look before.
pub(super) async fn make(
    shown: &Shown,
    silence: Silence,
    confirmed: bool,
    now: Timestamp,
) -> Result<Made, Failure> {
    if silence.created_by.trim().is_empty() || silence.comment.trim().is_empty() {
        return Err(Failure::bad_data("createdBy and comment are needed: who, and why"));
    }
    if silence.ends_at <= now {
        return Err(Failure::bad_data("the end is in the past"));
    }
    if let Some(why) = too_long(&shown.config.routing().hygiene, &silence, now) {
        return Err(Failure::bad_data(why));
    }
    let preview = look(shown, &silence.matchers, now).await?;
    if !preview.why_confirm.is_empty() && !confirmed {
        return Ok(Made::Asks(preview));
    }
    let id = shown.mutes.silences.set(silence, now).await.map_err(refused)?;
    Ok(Made::Set(id, preview))
}

/// Why a silence was not made or ended.
pub(super) fn refused(error: SilenceError) -> Failure {
    match error {
        SilenceError::Invalid(_) | SilenceError::TooMany => Failure::bad_data(error.to_string()),
        SilenceError::NotFound(_) | SilenceError::Expired(_) => {
            Failure::not_found(error.to_string())
        }
        SilenceError::State(_) => Failure::internal(error.to_string()),
    }
}

/// `GET /api/v1/silences`: those that hold or will, with what they hold.
pub(super) async fn list(State(shown): State<Shown>, headers: HeaderMap) -> Response {
    let now = shown.clock.believed();
    let silences: Vec<Value> = in_force(&shown, now)
        .into_iter()
        .map(|(silence, held)| {
            json!({
                "id": silence.id,
                "state": silence.state(now).as_str(),
                "matchers": silence.matchers.iter().map(matchers::print).collect::<Vec<_>>(),
                "startsAt": time(silence.starts_at),
                "endsAt": time(silence.ends_at),
                "ageSeconds": now.since(silence.starts_at).as_secs(),
                "createdBy": silence.created_by,
                "comment": silence.comment,
                "holds": held.len(),
                "alerts": alerts(&held),
            })
        })
        .collect();
    success(&headers, &json!(silences))
}

/// The silences that hold or will, each with the alerts that it holds: those that hold first, and of
/// those the one that ends next.
pub(super) fn in_force(shown: &Shown, now: Timestamp) -> Vec<(Arc<Silence>, Vec<Arc<Alert>>)> {
    let silences = &shown.mutes.silences;
    let is_over = |silence: &Arc<Silence>| silence.state(now) == SilenceState::Expired;
    let silences_now = silences.all().into_iter().filter(|silence| !is_over(silence));
    let mut found: BTreeMap<String, (Arc<Silence>, Vec<Arc<Alert>>)> =
        silences_now.map(|silence| (silence.id.clone(), (silence, Vec::new()))).collect();
    if !found.is_empty() {
        for alert in shown.alerts.all().into_iter().filter(|alert| alert.is_firing()) {
            for id in silences.silenced_by(&alert.labels, now) {
                if let Some((_, held)) = found.get_mut(&id) {
                    held.push(Arc::clone(&alert));
                }
            }
        }
    }
    let mut found: Vec<_> = found.into_values().collect();
    found.sort_by_key(|(silence, _)| {
        let pending = silence.state(now) == SilenceState::Pending;
        (pending, if pending { silence.starts_at } else { silence.ends_at }, silence.id.clone())
    });
    found
}

/// How long something may be without a confirmation (A5.3).
pub(super) const LONG: Duration = Duration::from_secs(30 * 86_400);
