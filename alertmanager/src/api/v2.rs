//! `/api/v2`: the API of Alertmanager, for Prometheus, `amtool`, karma and Grafana.
//!
//! Source: its OpenAPI document. An answer that is no success is a JSON text that says why.
//!
//! Invariant: what was answered with 2xx is on the disk.

mod pieces;
mod shape;
pub(super) mod alerts;
pub(super) mod groups;
pub(super) mod silences;
pub(super) mod status;

use std::marker::PhantomData;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base::labels::Labels;
use base::matcher::{Matcher, Pattern};
use base::sample::Timestamp;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::{Value, json};

use super::query::decode;
use super::reply::{self, NoBody, PATIENCE, compressed};
use super::{Routing, Shown};
use crate::alerts::Alert;
use crate::dispatch::Route;
use crate::matchers;

/// The version of Alertmanager whose API this is: its clients ask for it.
pub(super) const ALERTMANAGER: &str = "0.33.1";
/// The most that a body may have.
const MAX_BODY: usize = 32 << 20;

/// A request that has no answer: the status, the text, and Alertmanager's number of the fault where
/// it has one.
#[derive(Debug)]
pub(super) struct Failure(StatusCode, String, Option<u16>);

impl Failure {
    fn bad(message: impl Into<String>) -> Self {
        Self(StatusCode::BAD_REQUEST, message.into(), None)
    }

    /// What Alertmanager's own checks of a request say: a number, which is the status too where it is
    /// one.
    fn coded(code: u16, message: impl Into<String>) -> Self {
        let status = StatusCode::from_u16(code).ok().filter(|_| code < 600);
        Self(status.unwrap_or(StatusCode::UNPROCESSABLE_ENTITY), message.into(), Some(code))
    }

    /// Something that must be there is not.
    fn required(what: &str) -> Self {
        Self::coded(602, format!("{what} in body is required"))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let headers = [(header::CONTENT_TYPE, "application/json")];
        let body = match self.2 {
            Some(code) => json!({"code": code, "message": self.1}),
            None => json!(self.1),
        };
        (self.0, headers, body.to_string()).into_response()
    }
}

fn answer(request: &HeaderMap, value: &Value) -> Response {
    compressed(request, StatusCode::OK, "application/json", value.to_string())
}

/// The same in the shape of Prometheus's API.
impl From<Failure> for super::reply::Failure {
    fn from(Failure(status, message, _): Failure) -> Self {
        let kind = if status == StatusCode::BAD_REQUEST { "bad_data" } else { "body" };
        Self::new(status, kind, message)
    }
}

/// Does what takes long on a thread that may wait.
async fn off_the_runtime<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Failure(StatusCode::INTERNAL_SERVER_ERROR, error.to_string(), None))
}

/// The body of a request, which is JSON and says so: a page of another site cannot send that
/// without asking us first (X30). `what` names it.
async fn read(headers: &HeaderMap, body: Body, what: &str) -> Result<Bytes, Failure> {
    let kind = headers.get(header::CONTENT_TYPE).map(|kind| kind.to_str().unwrap_or(""));
    let kind = kind.unwrap_or("application/octet-stream");
    let media = kind.split(';').next().unwrap_or("").trim();
    if !media.contains('/') {
        return Err(Failure::coded(400, format!("the content type {kind:?} is none")));
    }
    if !media.eq_ignore_ascii_case("application/json") {
        let message =
            format!("unsupported media type {media:?}, only [application/json] are allowed");
        return Err(Failure::coded(415, message));
    }
    let body = whole(body).await?;
    if body.is_empty() { Err(Failure::required(what)) } else { Ok(body) }
}

async fn whole(body: Body) -> Result<Bytes, Failure> {
    reply::whole(body, MAX_BODY, PATIENCE).await.map_err(|why| match why {
        NoBody::Broken(_) => {
            let message = format!("the body is not complete, or has more than {MAX_BODY} bytes");
            Failure(StatusCode::PAYLOAD_TOO_LARGE, message, None)
        }
        NoBody::Late => {
            let message = "the body did not arrive in time".to_owned();
            Failure(StatusCode::REQUEST_TIMEOUT, message, None)
        }
    })
}

/// What a body says that need not say that it is JSON.
pub(super) async fn read_any<T: serde::de::DeserializeOwned>(body: Body) -> Result<T, Failure> {
    parse(&whole(body).await?)
}

/// An object: what is written as a list of its values is none.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reading<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Reading<T> {
            type Value = T;
            fn expecting(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                to.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }
        from.deserialize_map(Reading(PhantomData)).map(Self)
    }
}

/// What a body says.
fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| Failure::coded(400, format!("the body: {error}")))
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

    /// As Alertmanager reads it: whatever is not one of many forms of yes is no.
    fn flag(&self, name: &str) -> bool {
        const YES: &[&str] =
            &["true", "1", "yes", "ok", "y", "on", "selected", "checked", "t", "enabled"];
        let text = self.get(name).filter(|text| !text.is_empty());
        text.is_none_or(|text| YES.contains(&text.to_lowercase().as_str()))
    }

    /// The last value of a name counts.
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().rfind(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn filter(&self) -> Result<Vec<Matcher>, Failure> {
        self.matchers("filter")
    }

    fn matchers(&self, parameter: &str) -> Result<Vec<Matcher>, Failure> {
        let mut matchers = Vec::new();
        for (_, text) in self.0.iter().filter(|(name, _)| name == parameter) {
            if matches!(text.trim(), "" | "{" | "}") {
                return Err(Failure::bad(format!("{parameter}: bad matcher format: {text}")));
            }
            let parsed = matchers::parse(text);
            matchers.extend(parsed.map_err(|e| Failure::bad(format!("{parameter}: {e}")))?);
        }
        Ok(matchers)
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
    receiver_matchers: Vec<Matcher>,
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
            active: parameters.flag("active"),
            silenced: parameters.flag("silenced"),
            inhibited: parameters.flag("inhibited"),
            muted: parameters.flag("muted"),
            filter: parameters.filter()?,
            receiver: parameters.receiver()?,
            receiver_matchers: parameters.matchers("receiver_matchers")?,
        })
    }

    fn is_for(&self, receiver: &str, routing: &Routing) -> bool {
        let named = self.receiver.as_ref().is_none_or(|pattern| pattern.is_match(receiver));
        named && (self.receiver_matchers.is_empty() || self.labels_match(receiver, routing))
    }

    fn labels_match(&self, receiver: &str, routing: &Routing) -> bool {
        let known = routing.receiver_labels.iter().find(|(name, _)| name == receiver);
        known.is_some_and(|(_, labels)| {
            self.receiver_matchers.iter().all(|matcher| matcher.matches_labels(labels))
        })
    }

    fn matches(&self, labels: &Labels) -> bool {
        self.filter.iter().all(|matcher| matcher.matches_labels(labels))
    }

    /// Appends an alert as it is shown, with a comma behind it, if it is wanted in the state that
    /// it is in. `routes` are those that lead it to receivers, `told_by` those of them by which it
    /// is looked at.
    fn show(
        &self,
        to: &mut Vec<u8>,
        shown: &Shown,
        alert: &Alert,
        routes: &[&Route],
        told_by: &[&Route],
    ) {
        let held = HeldBy {
            silences: shown.mutes.silences.silenced_by(&alert.labels, self.now),
            alert: shown.mutes.inhibited_by(&alert.labels),
            times: times(shown, alert, told_by, self.now),
        };
        // An alert is active for these flags also while its route is mute, as in Alertmanager.
        let suppressed = !held.silences.is_empty() || held.alert.is_some();
        let wanted = (self.active || suppressed)
            && (self.silenced || held.silences.is_empty())
            && (self.inhibited || held.alert.is_none())
            && (self.muted || held.times.is_empty());
        if wanted {
            let times = shown.pushed.times(&alert.labels);
            // What our rules found ends when they say so: never before they have looked again.
            let ends_at = times.map_or(self.now + shown.config.resolve_timeout(), |t| t.ends_at);
            let updated_at = times.map_or(alert.starts_at, |times| times.updated_at);
            shape::put(to, alert, &held, (ends_at, updated_at), routes);
            to.push(b',');
        }
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
