//! `/api/v2/alerts`: alerts are pushed, and shown.
//!
//! Invariant: of a request with faults those alerts are taken that have none.

use std::borrow::Cow;
use std::fmt;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base::labels::Labels;
use base::sample::Timestamp;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::Deserialize;

use super::super::Shown;
use super::{Failure, Wanted, answer_text, off_the_runtime, parse, read};
use crate::json;
use crate::pushed::{Push, PushError};

/// The most faults that are told.
const MOST_TOLD: usize = 5;

/// An alert, as it is sent.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Sent<'a> {
    #[serde(borrow)]
    labels: Pairs<'a>,
    #[serde(borrow, default)]
    annotations: Option<Pairs<'a>>,
    #[serde(borrow, default)]
    starts_at: Option<Text<'a>>,
    #[serde(borrow, default)]
    ends_at: Option<Text<'a>>,
    #[serde(borrow, default, rename = "generatorURL")]
    generator_url: Option<Text<'a>>,
}

/// A text that is borrowed where nothing in it is escaped.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Names with texts, sorted by name; of a name that comes twice the last text counts.
#[derive(Debug)]
struct Pairs<'a>(Vec<(Text<'a>, Text<'a>)>);

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Pairing;
        impl<'de> Visitor<'de> for Pairing {
            type Value = Pairs<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with texts")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Pairs<'de>, M::Error> {
                let mut pairs: Vec<(Text<'de>, Text<'de>)> = Vec::with_capacity(8);
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                // Stable, so that the last of a name is the last of its run.
                pairs.sort_by(|a, b| a.0.cmp(&b.0));
                pairs.reverse();
                pairs.dedup_by(|later, kept| later.0 == kept.0);
                pairs.reverse();
                Ok(Pairs(pairs))
            }
        }
        from.deserialize_map(Pairing)
    }
}

impl Sent<'_> {
    fn read(self, now: Timestamp) -> Result<Push, String> {
        // A label without a value is a label that is not there.
        let labels = || self.labels.0.iter().filter(|(_, value)| !value.0.is_empty());
        if labels().next().is_none() {
            return Err("at least one label pair required".to_owned());
        }
        let annotations = self.annotations.map_or_else(Vec::new, |pairs| pairs.0);
        if labels().chain(&annotations).any(|(name, _)| name.0.is_empty()) {
            return Err("a name is empty".to_owned());
        }
        let (starts_at, ends_at) = (time(self.starts_at.as_ref())?, time(self.ends_at.as_ref())?);
        if ends_at.is_some_and(|end| end < starts_at.unwrap_or(end.min(now))) {
            return Err("start time must be before end time".to_owned());
        }
        let owned = |(name, text): (Text<'_>, Text<'_>)| (name.0.into_owned(), text.0.into_owned());
        Ok(Push {
            labels: Labels::from_sorted(labels().map(|(name, value)| (&*name.0, &*value.0))),
            annotations: annotations.into_iter().map(owned).collect(),
            starts_at,
            ends_at,
            generator_url: self.generator_url.map_or_else(String::new, |url| url.0.into_owned()),
        })
    }
}

fn time(text: Option<&Text<'_>>) -> Result<Option<Timestamp>, String> {
    text.map_or(Ok(None), |text| read_time(&text.0))
}

/// A time; Go's zero time is none.
pub(super) fn read_time(text: &str) -> Result<Option<Timestamp>, String> {
    if text.is_empty() || text.starts_with("0001-01-01T") {
        return Ok(None);
    }
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
    let body = match read(body).await {
        Ok(body) => body,
        Err(failure) => return failure.into_response(),
    };
    let sent: Vec<Sent<'_>> = match parse(&body) {
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
    let body = off_the_runtime(move || write(&shown, &wanted)).await?;
    Ok(answer_text(&headers, body))
}

fn write(shown: &Shown, wanted: &Wanted) -> Vec<u8> {
    let routing = shown.config.routing();
    let mut alerts = shown.alerts.unsorted();
    alerts.retain(|alert| alert.is_firing() && wanted.matches(&alert.labels));
    alerts.sort_by_cached_key(|alert| alert.labels.fingerprint());
    // About as much as an alert takes.
    let mut body = Vec::with_capacity(alerts.len() * 640 + 64);
    body.push(b'[');
    for alert in alerts {
        let routes = routing.route.matching(&alert.labels);
        if routes.iter().any(|route| wanted.is_for(&route.receiver)) {
            wanted.show(&mut body, shown, &alert, &routes, &routes);
        }
    }
    json::end_list(&mut body);
    body
}
