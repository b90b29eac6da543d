//! `/api/v2`: the API of Alertmanager, for Prometheus, `amtool`, karma and Grafana.
//!
//! Source: its OpenAPI document. An answer that is no success is a JSON text that says why.
//!
//! Invariant: what was answered with 2xx is on the disk.

pub(super) mod alerts;
pub(super) mod groups;
pub(super) mod silences;
pub(super) mod status;

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base::labels::Labels;
use base::matcher::{Matcher, Pattern};
use base::sample::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::Shown;
use super::query::decode;
use super::reply::compressed;
use crate::alerts::Alert;
use crate::dispatch::Route;
use crate::matchers;

/// The most that a body may have.
const MAX_BODY: usize = 32 << 20;
/// How long a body may take to come.
const PATIENCE: Duration = Duration::from_secs(30);

/// A request that has no answer.
#[derive(Debug)]
pub(super) struct Failure(StatusCode, String);

impl Failure {
    fn bad(message: impl Into<String>) -> Self {
        Self(StatusCode::BAD_REQUEST, message.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let headers = [(header::CONTENT_TYPE, "application/json")];
        (self.0, headers, json!(self.1).to_string()).into_response()
    }
}

fn answer(request: &HeaderMap, value: &Value) -> Response {
    compressed(request, StatusCode::OK, "application/json", value.to_string())
}

/// The same in the shape of Prometheus's API.
impl From<Failure> for super::reply::Failure {
    fn from(Failure(status, message): Failure) -> Self {
        let kind = if status == StatusCode::BAD_REQUEST { "bad_data" } else { "body" };
        Self::new(status, kind, message)
    }
}

/// The body of a request.
pub(super) async fn read<T: DeserializeOwned>(body: Body) -> Result<T, Failure> {
    let body = match timeout(PATIENCE, to_bytes(body, MAX_BODY)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => {
            let message = format!("the body is not complete, or has more than {MAX_BODY} bytes");
            return Err(Failure(StatusCode::PAYLOAD_TOO_LARGE, message));
        }
        Err(_) => {
            let message = "the body did not arrive in time".to_owned();
            return Err(Failure(StatusCode::REQUEST_TIMEOUT, message));
        }
    };
    serde_json::from_slice(&body).map_err(|error| Failure::bad(format!("the body: {error}")))
}

/// The parameters of a request, some of which come more than once.
#[derive(Debug)]
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn read(query: Option<String>) -> Result<Self, Failure> {
        let query = query.unwrap_or_default();
        let pairs = decode(query.as_bytes());
        pairs.map(Self).map_err(|_| Failure::bad("the parameters cannot be read"))
    }

    fn flag(&self, name: &str) -> Result<bool, Failure> {
        match self.get(name) {
            None | Some("true") => Ok(true),
            Some("false") => Ok(false),
            Some(other) => {
                Err(Failure::bad(format!("{name}: {other:?} is neither true nor false")))
            }
        }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn filter(&self) -> Result<Vec<Matcher>, Failure> {
        let mut filter = Vec::new();
        for (_, text) in self.0.iter().filter(|(name, _)| name == "filter") {
            let parsed = matchers::parse(text).map_err(|e| Failure::bad(format!("filter: {e}")));
            filter.extend(parsed?);
        }
        Ok(filter)
    }

    /// Whose alerts are wanted; everybody's, where nothing is said.
    fn receiver(&self) -> Result<Option<Pattern>, Failure> {
        let pattern = |text| Pattern::new(text).map_err(|e| Failure::bad(format!("receiver: {e}")));
        self.get("receiver").map(pattern).transpose()
    }
}

/// Which alerts are wanted, and what is shown of them.
#[derive(Debug)]
struct Wanted {
    now: Timestamp,
    active: bool,
    silenced: bool,
    inhibited: bool,
    muted: bool,
    filter: Vec<Matcher>,
    receiver: Option<Pattern>,
}

/// What holds an alert back.
#[derive(Debug, Default)]
struct HeldBy {
    silences: Vec<String>,
    alert: Option<Labels>,
    times: Vec<String>,
}

impl Wanted {
    fn read(query: Option<String>, now: Timestamp) -> Result<Self, Failure> {
        let parameters = Parameters::read(query)?;
        Ok(Self {
            now,
            active: parameters.flag("active")?,
            silenced: parameters.flag("silenced")?,
            inhibited: parameters.flag("inhibited")?,
            muted: parameters.flag("muted")?,
            filter: parameters.filter()?,
            receiver: parameters.receiver()?,
        })
    }

    fn is_for(&self, receiver: &str) -> bool {
        self.receiver.as_ref().is_none_or(|pattern| pattern.is_match(receiver))
    }

    fn matches(&self, labels: &Labels) -> bool {
        self.filter.iter().all(|matcher| matcher.matches_labels(labels))
    }

    /// An alert as it is shown, if it is wanted in the state that it is in.
    fn show(&self, shown: &Shown, alert: &Alert, routes: &[&Route]) -> Option<Value> {
        let held = HeldBy {
            silences: shown.mutes.silences.silenced_by(&alert.labels, self.now),
            alert: shown.mutes.inhibited_by(&alert.labels),
            times: times(shown, alert, routes, self.now),
        };
        let is_held = !held.silences.is_empty() || held.alert.is_some() || !held.times.is_empty();
        let wanted = (self.active || is_held)
            && (self.silenced || held.silences.is_empty())
            && (self.inhibited || held.alert.is_none())
            && (self.muted || held.times.is_empty());
        wanted.then(|| self.object(shown, alert, &held, is_held, routes))
    }

    fn object(
        &self,
        shown: &Shown,
        alert: &Alert,
        held: &HeldBy,
        is_held: bool,
        routes: &[&Route],
    ) -> Value {
        let times = shown.pushed.times(&alert.labels);
        // What our rules found ends when they say so: never before they have looked again.
        let ends_at = times.map_or(self.now + shown.config.resolve_timeout(), |t| t.ends_at);
        let inhibited_by = held.alert.iter().map(|by| format!("{:016x}", by.fingerprint()));
        let mut receivers: Vec<&str> = Vec::new();
        for route in routes {
            if !receivers.contains(&route.receiver.as_str()) {
                receivers.push(&route.receiver);
            }
        }
        json!({
            "annotations": alert.annotations,
            "endsAt": time(ends_at),
            "fingerprint": format!("{:016x}", alert.labels.fingerprint()),
            "receivers": receivers.iter().map(|name| json!({"name": name})).collect::<Vec<_>>(),
            "startsAt": time(alert.starts_at),
            "status": {
                "inhibitedBy": inhibited_by.collect::<Vec<_>>(),
                "mutedBy": held.times,
                "silencedBy": held.silences,
                "state": if is_held { "suppressed" } else { "active" },
            },
            "updatedAt": time(times.map_or(alert.starts_at, |times| times.updated_at)),
            "generatorURL": alert.generator_url,
            "labels": super::object(&alert.labels),
        })
    }
}

/// The names of the windows of maintenance that hold an alert, and of the intervals that keep all of
/// its routes mute: nothing where one of them tells.
fn times(shown: &Shown, alert: &Alert, routes: &[&Route], now: Timestamp) -> Vec<String> {
    let mut names = Vec::new();
    for route in routes {
        let muted = route.times.muted_by(now);
        if muted.is_empty() {
            names.clear();
            break;
        }
        names.extend(muted.into_iter().map(str::to_owned));
    }
    let windows = shown.mutes.maintenance.held_by(&alert.labels, now);
    names.extend(windows.iter().map(|name| format!("maintenance: {name}")));
    names.sort();
    names.dedup();
    names
}

/// RFC 3339 with three digits, as Alertmanager writes it.
pub(super) fn time(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.millis())
        .map_or_else(|_| at.to_string(), |at| format!("{at:.3}"))
}
