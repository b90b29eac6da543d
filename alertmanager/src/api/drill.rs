//! `/api/v1/drill`: tries the way to a receiver, or by the routes, with an alert that says what it is.
//!
//! Invariant: what is told of a hop was noted when it happened; what nobody noted is not told.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use base::labels::{ALERT_NAME, Labels};
use base::sample::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::reply::{Failure, success};
use super::{Routing, Shown};
use crate::alerts::Alert;
use crate::dispatch::{GroupKey, HeldBy, Lane, Route};
use crate::drill::{DRILL, DRILL_RECEIVER, id_of};
use crate::outbox::LaneGroup;
use crate::pushed::{Push, PushError};
use crate::time::{parse_duration, print_time};

/// The most drills that there may be at a time.
const MOST: usize = 20;
/// How long a drill fires after everybody has been told, if nothing else is said.
const HOLD: std::time::Duration = std::time::Duration::from_secs(120);
/// The longest that one may fire.
const LONGEST: std::time::Duration = std::time::Duration::from_secs(3600);

/// What is asked.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Wanted {
    /// Whom to tell, whatever the routes say.
    receiver: Option<String>,
    /// Labels by which the routes say whom to tell.
    labels: BTreeMap<String, String>,
    /// Who tries it; stands in the message.
    by: String,
    /// How long it fires after the groups have waited.
    hold: Option<String>,
}

/// `POST`: begins a drill.
pub(super) async fn begin(
    State(shown): State<Shown>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failure> {
    let wanted: Wanted = serde_json::from_slice(&body)
        .map_err(|error| Failure::bad_data(format!("the body: {error}")))?;
    let now = shown.clock.believed();
    let hold = match wanted.hold.as_deref().map(parse_duration).transpose() {
        Ok(hold) => hold.unwrap_or(HOLD).min(LONGEST),
        Err(error) => return Err(Failure::parameter("hold", error)),
    };
    let routing = shown.config.routing();
    let drills = shown.alerts.all();
    let running = drills.iter().filter(|alert| alert.is_firing() && id_of(&alert.labels).is_some());
    if running.count() >= MOST {
        return Err(Failure::unavailable(format!(
            "{MOST} drills are under way; wait for their end"
        )));
    }
    let id = new_id(now)?;
    let labels = labels(&wanted, &routing, &id)?;
    let nodes = routing.route.of(&labels);
    let wait = nodes.iter().map(|route| route.group_wait.duration()).max().unwrap_or_default();
    let by = if wanted.by.is_empty() { String::new() } else { format!(", begun by {}", wanted.by) };
    let push = Push {
        labels: labels.clone(),
        annotations: BTreeMap::from([(
            "summary".to_owned(),
            format!("nothing is wrong: somebody tries whether messages arrive{by}"),
        )]),
        starts_at: Some(now),
        ends_at: Some(now + wait + hold),
        generator_url: String::new(),
    };
    let pushed = shown.pushed.push(vec![push], now, hold).await;
    pushed.map_err(|error| match error {
        PushError::TooMany => Failure::unavailable(error.to_string()),
        PushError::State(_) => Failure::internal(error.to_string()),
    })?;
    let drill = Drill { shown: &shown, routing: &routing, labels: &labels };
    Ok(success(&headers, &drill.describe(&id).await?))
}

/// `GET`: how far a drill is.
pub(super) async fn show(
    State(shown): State<Shown>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let all = shown.alerts.all();
    let alert = all.iter().find(|alert| id_of(&alert.labels) == Some(id.as_str()));
    let alert = alert.ok_or_else(|| {
        Failure::not_found(format!("there is no drill {id}, or it was over a while ago"))
    })?;
    let routing = shown.config.routing();
    let drill = Drill { shown: &shown, routing: &routing, labels: &alert.labels };
    Ok(success(&headers, &drill.describe(&id).await?))
}

/// The labels of the drill.
fn labels(wanted: &Wanted, routing: &Routing, id: &str) -> Result<Labels, Failure> {
    match &wanted.receiver {
        Some(_) if !wanted.labels.is_empty() => {
            Err(Failure::bad_data("a drill has a receiver or labels, not both"))
        }
        Some(receiver) if !routing.receivers.contains(receiver) => {
            let known = routing.receivers.join("`, `");
            Err(Failure::bad_data(format!(
                "there is no receiver `{receiver}`; there are `{known}`"
            )))
        }
        Some(receiver) => {
            Ok(Labels::from_pairs([(ALERT_NAME, "Drill"), (DRILL, id), (DRILL_RECEIVER, receiver)]))
        }
        None if wanted.labels.is_empty() => Err(Failure::bad_data(
            "name a receiver, or labels by which the routes say whom to tell",
        )),
        None => {
            if wanted.labels.keys().any(|name| name.is_empty() || name == DRILL_RECEIVER) {
                return Err(Failure::bad_data("a label has a name that it cannot have"));
            }
            let labels = Labels::from_pairs(&wanted.labels).with(DRILL, id);
            let named = labels.get(ALERT_NAME).is_some();
            Ok(if named { labels } else { labels.with(ALERT_NAME, "Drill") })
        }
    }
}

/// An id that nobody can guess.
fn new_id(now: Timestamp) -> Result<String, Failure> {
    let random = ring::rand::generate::<[u8; 4]>(&ring::rand::SystemRandom::new());
    let bytes = random.map_err(|_| Failure::internal("the system gives no random numbers"))?;
    let hex: String = bytes.expose().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{:x}{hex}", now.millis()))
}

/// A drill that is under way.
struct Drill<'a> {
    shown: &'a Shown,
    routing: &'a Routing,
    labels: &'a Labels,
}

impl Drill<'_> {
    async fn describe(&self, id: &str) -> Result<Value, Failure> {
        let now = self.shown.clock.believed();
        let alert = self.shown.alerts.get(self.labels);
        let nodes = self.routing.route.of(self.labels);
        let keys = nodes.iter().map(|route| GroupKey::of(route, self.labels).to_string());
        let times = self.shown.questions.times(keys.collect()).await;
        let attempts = super::explain::attempts(self.shown, self.labels, None).await?;
        let mut ways = Vec::new();
        for route in nodes.iter() {
            let key = GroupKey::of(route, self.labels).to_string();
            let group = times.get(&key);
            let held = HeldBy::all(route, self.labels, &self.shown.mutes, now);
            let lanes = self.routing.lanes.get(&route.receiver).map_or(&[][..], Vec::as_slice);
            let lanes = lanes.iter().map(|lane| self.lane(lane, &key, &attempts));
            let told = |alert: &Alert| print_time(alert.starts_at);
            ways.push(json!({
                "receiver": route.receiver,
                "route": route_name(route),
                "heldBy": held.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "accepted": alert.as_deref().map(told),
                "grouped": group.map(|group| print_time(group.since)),
                "due": group.and_then(|group| group.due).map(print_time),
                "lanes": lanes.collect::<Vec<_>>(),
            }));
        }
        let is_over = alert.is_none_or(|alert| !alert.is_firing());
        Ok(json!({
            "id": id,
            "labels": super::object(self.labels),
            "ways": ways,
            "over": is_over,
        }))
    }

    /// How far it is on one way to its receiver.
    fn lane(&self, lane: &Lane, key: &str, attempts: &[crate::explain::Attempted]) -> Value {
        let of_lane = |a: &&crate::explain::Attempted| a.lane == lane.id && a.group_key == key;
        let tries: Vec<_> = attempts
            .iter()
            .filter(of_lane)
            .map(|attempt| {
                json!({
                    "queued": attempt.queued_at.map(print_time),
                    "sent": print_time(attempt.at),
                    "answered": print_time(attempt.at + attempt.took),
                    "result": attempt.result,
                    "delivered": attempt.is_delivered,
                    "firing": attempt.firing,
                    "answer": attempt.answer,
                })
            })
            .collect();
        let waits = LaneGroup { lane: lane.id.clone(), group_key: key.to_owned() };
        json!({
            "lane": lane.id,
            "waits": self.shown.outbox.intended(&waits).is_some(),
            "tries": tries,
        })
    }
}

fn route_name(route: &Route) -> &str {
    &route.key
}
