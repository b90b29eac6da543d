//! `/api/v1/acknowledgements`: who has which group in hand, and of which nobody has answered.
//!
//! Invariant: nothing is acknowledged that does not fire, nothing by looking, and what was answered
//! with 200 is on the disk (A1.2, A4.5).

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use base::labels::Labels;
use base::matcher::Matcher;
use base::sample::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::query::Parameters;
use super::reply::{Failure, success};
use super::v2::{read_any as read, time};
use super::{Shown, object};
use crate::alerts::Alert;
use crate::escalation::{AcknowledgeError, Asked, Bout, Policy, Taken};
use crate::explain::Question;
use crate::explain::routes::group_key;

/// The most groups that one request takes.
const MOST_AT_ONCE: usize = 20;

/// What is asked for, as sent.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent {
    group: Option<String>,
    alert: Option<SentAlert>,
    by: String,
    #[serde(default)]
    comment: String,
}

/// An alert: a name or labels in one text, or labels as an object.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum SentAlert {
    Text(String),
    Labels(BTreeMap<String, String>),
}

/// Which groups are meant.
#[derive(Clone, Debug)]
pub(super) enum Wanted {
    /// The one with this key.
    Group(String),
    /// Those with an alert that all of these accept.
    Alert(Vec<Matcher>),
    /// Those that somebody is waited for in, or has.
    WithBout,
}

/// A group that fires.
#[derive(Clone, Debug)]
pub(super) struct Firing {
    pub(super) key: String,
    pub(super) receiver: String,
    pub(super) policy: Arc<Policy>,
    pub(super) labels: Labels,
    pub(super) alerts: Vec<Arc<Alert>>,
    pub(super) bout: Option<Arc<Bout>>,
}

impl Wanted {
    fn read(group: Option<String>, alert: Option<SentAlert>) -> Result<Self, Failure> {
        match (group.filter(|key| !key.is_empty()), alert) {
            (Some(key), None) => Ok(Self::Group(key)),
            (None, Some(SentAlert::Text(text))) => match Question::read(&text, None) {
                Ok(question) => Ok(Self::Alert(question.alert)),
                Err(why) => Err(Failure::bad_data(format!("alert: {why}"))),
            },
            (None, Some(SentAlert::Labels(labels))) if !labels.is_empty() => {
                let equal = labels.iter().map(|(name, value)| Matcher::equal(name, value));
                Ok(Self::Alert(equal.collect()))
            }
            _ => Err(Failure::bad_data("one of `group` and `alert` is needed: what is meant?")),
        }
    }
}

/// The groups that fire and are wanted, by their keys.
pub(super) async fn find(shown: &Shown, wanted: Wanted) -> Result<Vec<Firing>, Failure> {
    let shown = shown.clone();
    let found = tokio::task::spawn_blocking(move || look(&shown, &wanted)).await;
    found.map_err(|panic| Failure::internal(panic.to_string()))
}

fn look(shown: &Shown, wanted: &Wanted) -> Vec<Firing> {
    let routing = shown.config.routing();
    let mut found: BTreeMap<String, Firing> = BTreeMap::new();
    let firing = shown.alerts.filter(|alert| alert.is_firing());
    // With the alerts that are meant come the others of their groups.
    let mut keys: Option<Vec<String>> = None;
    if let Wanted::Alert(matchers) = wanted {
        let is_meant =
            |alert: &&Arc<Alert>| matchers.iter().all(|m| m.matches_labels(&alert.labels));
        let of = |alert: &Arc<Alert>| {
            let nodes = routing.route.of(&alert.labels);
            nodes.iter().map(|route| group_key(route, &alert.labels)).collect::<Vec<_>>()
        };
        keys = Some(firing.iter().filter(is_meant).flat_map(of).collect());
    }
    for alert in &firing {
        for route in routing.route.of(&alert.labels).iter() {
            if matches!(wanted, Wanted::Group(key) if !key.starts_with(&route.key)) {
                continue;
            }
            let key = group_key(route, &alert.labels);
            let is_wanted = match wanted {
                Wanted::Group(wanted) => *wanted == key,
                Wanted::Alert(_) => keys.as_ref().is_some_and(|keys| keys.contains(&key)),
                Wanted::WithBout => shown.escalations.get(&key).is_some(),
            };
            if !is_wanted {
                continue;
            }
            let group = found.entry(key.clone()).or_insert_with(|| Firing {
                bout: shown.escalations.get(&key),
                receiver: route.receiver.clone(),
                policy: Arc::clone(&route.escalation),
                labels: route.group_by.group_labels(&alert.labels),
                alerts: Vec::new(),
                key,
            });
            group.alerts.push(Arc::clone(alert));
        }
    }
    found.into_values().collect()
}

/// Somebody takes the groups that are wanted.
pub(super) async fn take(
    shown: &Shown,
    wanted: Wanted,
    (by, comment): (&str, &str),
    now: Timestamp,
) -> Result<Vec<(Firing, Taken)>, Failure> {
    let groups = find(shown, wanted).await?;
    if groups.is_empty() {
        return Err(none());
    }
    if groups.len() > MOST_AT_ONCE {
        let message = format!(
            "it is about {} groups, and one request takes {MOST_AT_ONCE} at most; name more labels",
            groups.len()
        );
        return Err(Failure::bad_data(message));
    }
    let asked = |group: &Firing| Asked {
        key: group.key.clone(),
        timeout: group.policy.acknowledge_timeout,
    };
    let asked = groups.iter().map(asked).collect();
    let taken = shown.escalations.acknowledge(asked, by, comment, now).await.map_err(refused)?;
    Ok(groups.into_iter().zip(taken).collect())
}

fn none() -> Failure {
    Failure::not_found("no group that is meant fires; `veilleur ack list` lists those that do")
}

pub(super) fn refused(error: AcknowledgeError) -> Failure {
    match error {
        AcknowledgeError::Invalid(why) => Failure::bad_data(why),
        AcknowledgeError::State(error) => Failure::internal(error.to_string()),
    }
}

/// `POST`: `{"group": KEY, "by": "anna", "comment": "on it"}`, or `alert` in place of `group`.
pub(super) async fn acknowledge(
    State(shown): State<Shown>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let Sent { group, alert, by, comment } = read(body).await?;
    let wanted = Wanted::read(group, alert)?;
    let taken = take(&shown, wanted, (&by, &comment), shown.clock.believed()).await?;
    let one = |(group, taken): &(Firing, Taken)| {
        json!({
            "group": taken.key,
            "alerts": group.alerts.len(),
            "already": taken.already,
            "by": taken.has.by,
            "comment": taken.has.comment,
            "at": time(taken.has.at),
            "until": taken.has.until.map(time),
            "text": told(taken),
        })
    };
    Ok(success(&headers, &json!(taken.iter().map(one).collect::<Vec<_>>())))
}

/// What became of a group, for whoever wanted to take it.
pub(super) fn told(taken: &Taken) -> String {
    match taken.already {
        true => format!("already acknowledged: {}", taken.has.tell()),
        false => taken.has.tell(),
    }
}

/// `DELETE ?group=KEY`, or `?alert=...`: whoever has it gives it back.
pub(super) async fn release(
    State(shown): State<Shown>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let parameters = Parameters::read(query, &HeaderMap::new(), &Bytes::new())?;
    let text = |name: &str| parameters.get(name).map(str::to_owned);
    let wanted = Wanted::read(text("group"), text("alert").map(SentAlert::Text))?;
    let released = give_back(&shown, wanted, shown.clock.believed()).await?;
    Ok(success(&headers, &json!({"released": released})))
}

/// The keys of the groups that were given back.
pub(super) async fn give_back(
    shown: &Shown,
    wanted: Wanted,
    now: Timestamp,
) -> Result<Vec<String>, Failure> {
    let keys: Vec<String> = find(shown, wanted).await?.into_iter().map(|group| group.key).collect();
    if keys.is_empty() {
        return Err(none());
    }
    let released = shown.escalations.release(keys, now).await.map_err(refused)?;
    match released.is_empty() {
        true => Err(Failure::not_found("nobody has it in hand")),
        false => Ok(released),
    }
}

/// `GET`: the groups that somebody has, or is waited for to take.
pub(super) async fn list(
    State(shown): State<Shown>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let groups = find(&shown, Wanted::WithBout).await?;
    let shown: Vec<Value> =
        groups.iter().filter_map(|group| Some(describe(group, group.bout.as_ref()?))).collect();
    Ok(success(&headers, &json!(shown)))
}

fn describe(group: &Firing, bout: &Bout) -> Value {
    let has = bout.acknowledged.as_ref();
    let told = bout.reached.iter().map(|r| json!({"receiver": r.receiver, "at": time(r.at)}));
    let next = bout.next_step(&group.policy);
    json!({
        "group": group.key,
        "receiver": group.receiver,
        "labels": object(&group.labels),
        "alerts": group.alerts.len(),
        "state": bout.state(),
        "since": time(bout.since),
        "told": told.collect::<Vec<_>>(),
        "next": next.map(|(receiver, at)| json!({"receiver": receiver, "at": time(at)})),
        "by": has.map(|has| &has.by),
        "comment": has.map(|has| &has.comment),
        "at": has.map(|has| time(has.at)),
        "until": has.and_then(|has| has.until).map(time),
        "text": bout.tell(&group.policy),
    })
}
