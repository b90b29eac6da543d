//! `/api/v2/alerts`: alerts are pushed, and shown.
//!
//! Invariant: of a request whose form is right those alerts are taken that have no fault; of one
//! whose form is wrong, none.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base::labels::Labels;
use base::sample::Timestamp;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use super::super::{Routing, Shown};
use super::pieces::{Pieces, answer};
use super::{Failure, Object, Wanted, off_the_runtime, parse, read};
use crate::alerts::Alert;
use crate::crash;
use crate::pushed::{Push, PushError};

/// The most faults that are told.
const MOST_TOLD: usize = 5;

/// An alert, as it is sent.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Sent<'a> {
    #[serde(borrow, default)]
    labels: Option<Pairs<'a>>,
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
    /// What must be there and is not, or cannot be: then nothing of the request is taken. `place` is
    /// that of the alert.
    fn check(&self, place: usize) -> Result<(), Failure> {
        if self.labels.is_none() {
            return Err(Failure::required(&format!("{place}.labels")));
        }
        let url = self.generator_url.as_ref().map_or("", |url| &url.0);
        if !url.is_empty() && !is_uri(url) {
            let message = format!("{place}.generatorURL in body must be of type uri: {url:?}");
            return Err(Failure::coded(601, message));
        }
        Ok(())
    }

    fn read(self, now: Timestamp) -> Result<Push, String> {
        // A label without a value is a label that is not there.
        let labels = self.labels.map_or_else(Vec::new, |pairs| pairs.0);
        let labels = || labels.iter().filter(|(_, value)| !value.0.is_empty());
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

/// Whether a text leads somewhere: a scheme, or a path from the root.
fn is_uri(text: &str) -> bool {
    let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    let plain = !text.chars().any(|c| c.is_control() || c == ' ');
    (is_scheme || text.starts_with('/')) && plain
}

/// A time; Go's zero time is none. One without a zone is UTC, as in Alertmanager.
pub(in super::super) fn read_time(text: &str) -> Result<Option<Timestamp>, String> {
    if text.is_empty() || text.starts_with("0001-01-01T") {
        return Ok(None);
    }
    let zoned = text.parse::<jiff::Timestamp>().ok().filter(|_| !text.contains(' '));
    let at = zoned.or_else(|| {
        let civil: jiff::civil::DateTime = text.parse().ok()?;
        let in_utc = !text.contains(['Z', 'z', '+', '[']);
        civil.to_zoned(jiff::tz::TimeZone::UTC).ok().filter(|_| in_utc).map(|at| at.timestamp())
    });
    let at = at.ok_or_else(|| format!("{text:?} is not a time in the form of RFC 3339"))?;
    Ok(Some(Timestamp::from_millis(at.as_millisecond())))
}

/// `POST`
pub(in super::super) async fn push(
    State(shown): State<Shown>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let Ok(_turn) = shown.writes.acquire().await else {
        let message = "Veilleur is stopping".to_owned();
        return Failure(StatusCode::SERVICE_UNAVAILABLE, message, None).into_response();
    };
    let body = match read(&headers, body, "alerts").await {
        Ok(body) => body,
        Err(failure) => return failure.into_response(),
    };
    let sent = parse::<Option<Vec<Object<Sent<'_>>>>>(&body).map(Option::unwrap_or_default);
    let checked = sent.and_then(|sent| {
        sent.iter().enumerate().try_for_each(|(place, Object(alert))| alert.check(place))?;
        Ok(sent)
    });
    let sent = match checked {
        Ok(sent) => sent,
        Err(failure) => return failure.into_response(),
    };
    let now = shown.clock.believed();
    let (mut pushes, mut faults) = (Vec::with_capacity(sent.len()), Vec::new());
    for Object(alert) in sent {
        let read = alert.read(now).and_then(|push| match shown.intake.source_of(&push.labels) {
            // Whoever has no token of the source neither begins nor ends what it says.
            Some(name) => Err(format!(
                "the label source={name:?} is that of a source: send it to /api/v1/in/{name}"
            )),
            None => Ok(push),
        });
        match read {
            Ok(push) => pushes.push(push),
            Err(fault) => faults.push(fault),
        }
    }
    let pushed = shown.pushed.push(pushes, now, shown.config.resolve_timeout()).await;
    crash::point("push.answering");
    match pushed {
        Ok(()) if faults.is_empty() => StatusCode::OK.into_response(),
        Ok(()) => {
            faults.truncate(MOST_TOLD);
            Failure::bad(faults.join("; ")).into_response()
        }
        Err(error @ PushError::TooMany) => {
            Failure(StatusCode::SERVICE_UNAVAILABLE, error.to_string(), None).into_response()
        }
        Err(error @ PushError::State(_)) => {
            Failure(StatusCode::INTERNAL_SERVER_ERROR, error.to_string(), None).into_response()
        }
    }
}

/// `GET`
pub(in super::super) async fn list(
    State(shown): State<Shown>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let wanted = Wanted::read(query, shown.clock.believed())?;
    let list = off_the_runtime(move || List::find(shown, wanted)).await?;
    Ok(answer(&headers, list))
}

/// The alerts that are still to be written.
struct List {
    shown: Shown,
    wanted: Wanted,
    routing: Arc<Routing>,
    left: std::vec::IntoIter<Arc<Alert>>,
}

impl List {
    fn find(shown: Shown, wanted: Wanted) -> Self {
        let mut alerts = shown.alerts.unsorted();
        alerts.retain(|alert| alert.is_firing() && wanted.matches(&alert.labels));
        alerts.sort_by_cached_key(|alert| alert.labels.fingerprint());
        Self { routing: shown.config.routing(), shown, wanted, left: alerts.into_iter() }
    }
}

impl Pieces for List {
    fn next(&mut self, to: &mut Vec<u8>) -> bool {
        let Some(alert) = self.left.next() else { return false };
        let routes = self.routing.route.matching(&alert.labels);
        if routes.iter().any(|route| self.wanted.is_for(&route.receiver, &self.routing)) {
            self.wanted.show(to, &self.shown, &alert, &routes, &routes);
        }
        true
    }
}
