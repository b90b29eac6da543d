//! `/api/v1/maintenance`: windows of maintenance are asked for, shown and ended.
//!
//! Invariant: a window has somebody who answers for it and a reason, and one that was answered with
//! 200 is on the disk.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use base::period::Period;
use base::sample::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Shown;
use super::reply::{Failure, success};
use super::silences::{LONG, SentMatchers, ask_to_confirm, confirms, look, times};
use super::v2::{read_any as read, time};
use crate::matchers;
use crate::mute::{Asked, MaintenanceError, Occurrence, Span, Window};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Sent {
    name: String,
    matchers: SentMatchers,
    starts_at: Option<String>,
    ends_at: Option<String>,
    duration: Option<String>,
    owner: String,
    comment: String,
    announce: Option<String>,
    settle: Option<String>,
    #[serde(default)]
    receivers: Vec<String>,
    #[serde(default)]
    confirm: bool,
}

impl From<MaintenanceError> for Failure {
    fn from(error: MaintenanceError) -> Self {
        match error {
            MaintenanceError::Invalid(_) | MaintenanceError::TooMany => {
                Self::bad_data(error.to_string())
            }
            MaintenanceError::NotFound(_) => Self::not_found(error.to_string()),
            MaintenanceError::State(_) => Self::internal(error.to_string()),
        }
    }
}

/// `POST`
pub(super) async fn ask(
    State(shown): State<Shown>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let sent: Sent = read(body).await?;
    let now = shown.clock.believed();
    if sent.owner.trim().is_empty() || sent.comment.trim().is_empty() {
        return Err(Failure::bad_data("owner and comment are needed: who, and why"));
    }
    let period = |name: &str, text: Option<String>, default: Duration| match text {
        None => Ok(default),
        Some(text) => match text.parse::<Period>() {
            Ok(period) => Ok(period.duration().min(Duration::from_secs(7 * 86_400))),
            Err(error) => Err(Failure::bad_data(format!("{name}: {error}"))),
        },
    };
    let known = &shown.config.routing().receivers;
    if let Some(name) = sent.receivers.iter().find(|name| !known.contains(name)) {
        return Err(Failure::bad_data(format!("there is no receiver {name:?}")));
    }
    let (start, end) = times(sent.starts_at, sent.ends_at, sent.duration, now)?;
    let span = Span { start: start.max(now), end };
    let mut window = Window::once(&sent.name, sent.matchers.read()?, span);
    window.owner = sent.owner;
    window.comment = sent.comment;
    window.announce = period("announce", sent.announce, window.announce)?;
    window.settle = period("settle", sent.settle, window.settle)?;
    window.receivers = sent.receivers;
    let confirmed = sent.confirm || confirms(&headers);
    if end.since(span.start) > LONG && !confirmed {
        let message =
            "it lasts for more than 30 days; send it with \"confirm\": true if that is meant";
        return Err(Failure::conflict(message));
    }
    let preview = look(&shown, &window.matchers, now).await?;
    if !preview.why_confirm.is_empty() && !confirmed {
        return Ok(ask_to_confirm(&preview, &shown.config));
    }
    let id = shown.mutes.maintenance.ask(Asked { window, span }, now).await?;
    shown.mutes.silences.wake();
    Ok(success(&headers, &json!({"id": id})))
}

/// `GET`: the windows that run, those of the next week, and those that were asked for and are over.
pub(super) async fn list(State(shown): State<Shown>, headers: HeaderMap) -> Response {
    let now = shown.clock.believed();
    let maintenance = shown.mutes.maintenance.clone();
    // Looking a week ahead, minute by minute, takes a while.
    let found = tokio::task::spawn_blocking(move || {
        let past = maintenance.past(now).into_iter();
        let mut all: Vec<_> = maintenance.planned(now);
        let more: Vec<_> = past.filter(|one| all.iter().all(|known| known.id != one.id)).collect();
        all.extend(more);
        (all, maintenance.faults())
    });
    let (found, faults) = match found.await {
        Ok(found) => found,
        Err(panic) => return Failure::internal(panic.to_string()).into_response(),
    };
    let windows: Vec<Value> = found.iter().map(|one| window_object(one, &shown, now)).collect();
    let faults: Vec<Value> =
        faults.iter().map(|(name, fault)| json!({"name": name, "fault": fault})).collect();
    success(&headers, &json!({"windows": windows, "calendarFaults": faults}))
}

fn window_object(one: &Occurrence, shown: &Shown, now: Timestamp) -> Value {
    let window = &one.window;
    let held = shown.alerts.all().into_iter();
    let held = held.filter(|a| one.holds(now) && a.is_firing() && one.matches(&a.labels)).count();
    json!({
        "id": one.id,
        "name": window.name,
        "state": one.phase(now).as_str(),
        "matchers": window.matchers.iter().map(matchers::print).collect::<Vec<_>>(),
        "startsAt": one.began().map(time),
        "endsAt": time(one.span.end),
        "settledAt": time(one.span.end + window.settle),
        "owner": window.owner,
        "comment": window.comment,
        "receivers": window.receivers,
        "holds": held,
    })
}

/// `DELETE`: ends a window that runs, takes back one that is planned.
pub(super) async fn end(
    State(shown): State<Shown>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    shown.mutes.maintenance.end(&id, shown.clock.believed()).await?;
    shown.mutes.silences.wake();
    Ok(success(&headers, &json!({"id": id})))
}
