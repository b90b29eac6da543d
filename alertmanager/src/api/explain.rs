//! `/api/v1/explain`: why somebody was told of an alert, or was not.
//!
//! Invariant: it changes nothing, and counts as a query: no more of them run at a time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use base::labels::Labels;
use base::sample::Timestamp;
use serde_json::json;

use super::Shown;
use super::query::Parameters;
use super::reply::{Failure, success};
use crate::explain::routes::group_key;
use crate::explain::{Attempted, Question, Subject, Trace, Witnesses};
use crate::mute::Silence;
use crate::outbox::queued_at;
use crate::state::{Attempt, AttemptFilter};

/// The most attempts at messages about one alert that are looked at.
const MOST_ATTEMPTS: usize = 50;
/// Attempts that have to do with a moment of the past: so long before it, and after it.
const BEFORE: Duration = Duration::from_secs(24 * 3600);
const AFTER: Duration = Duration::from_secs(15 * 60);

/// `GET`: `alert` is a name, or labels such as `{alertname="Down"}`; `at` a moment of the past.
pub(super) async fn explain(
    State(shown): State<Shown>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let parameters = Parameters::read(query, &HeaderMap::new(), &Bytes::new())?;
    let now = shown.clock.believed();
    let at = match parameters.get("at") {
        None => None,
        Some(_) => Some(parameters.time("at", now)?),
    };
    if at.is_some_and(|at| at > now) {
        return Err(Failure::parameter("at", "nobody knows the future"));
    }
    let alert = parameters.get("alert").unwrap_or_default();
    let question = Question::read(alert, at).map_err(|why| Failure::parameter("alert", why))?;
    let silences = match at {
        Some(at) => shown.mutes.silences.as_of(at).await,
        None => Ok(Vec::new()),
    };
    let silences = silences.map_err(|error| Failure::internal(error.to_string()))?;
    let Ok(_turn) = shown.queries.acquire().await else {
        return Err(Failure::unavailable("Veilleur is stopping"));
    };
    let known = Known { shown: shown.clone(), silences, now };
    let found = {
        let (known, question) = (known.clone(), question.clone());
        blocking(move || known.ask(HashMap::new(), HashMap::new(), |w| w.subjects(&question)))
            .await?
    };
    let (subjects, more) = found.map_err(Failure::execution)?;
    let traces = known.explain(subjects, at).await?;
    let text: Vec<String> = traces.iter().map(Trace::tell).collect();
    let traces: Vec<_> = traces.iter().map(Trace::to_json).collect();
    Ok(success(&headers, &json!({"alerts": traces, "more": more, "text": text.join("\n")})))
}

/// What is asked at one time.
#[derive(Clone)]
struct Known {
    shown: Shown,
    silences: Vec<Arc<Silence>>,
    now: Timestamp,
}

impl Known {
    /// Lets the witnesses answer.
    fn ask<T>(
        &self,
        attempts: HashMap<u64, Vec<Attempted>>,
        due: HashMap<String, Timestamp>,
        ask: impl FnOnce(&Witnesses<'_>) -> T,
    ) -> T {
        let routing = self.shown.config.routing();
        ask(&Witnesses {
            storage: &self.shown.storage,
            lookback: self.shown.lookback,
            features: self.shown.features,
            rules: self.shown.rules.all(),
            alerts: &self.shown.alerts,
            pushed: &self.shown.pushed,
            mutes: &self.shown.mutes,
            silences: self.silences.clone(),
            outbox: &self.shown.outbox,
            escalations: &self.shown.escalations,
            route: &routing.route,
            lanes: &routing.lanes,
            inhibit_rules: &routing.inhibit_rules,
            external_labels: &routing.external_labels,
            attempts,
            due,
            now: self.now,
        })
    }

    /// When the groups of the subjects are looked at next.
    async fn due(&self, subjects: &[Subject]) -> HashMap<String, Timestamp> {
        let routing = self.shown.config.routing();
        let mut keys = Vec::new();
        for subject in subjects {
            let nodes = routing.route.of(&subject.labels);
            keys.extend(nodes.iter().map(|route| group_key(route, &subject.labels)));
        }
        let times = self.shown.questions.times(keys).await;
        times.into_iter().filter_map(|(key, times)| Some((key, times.due?))).collect()
    }

    async fn explain(
        self,
        subjects: Vec<Subject>,
        at: Option<Timestamp>,
    ) -> Result<Vec<Trace>, Failure> {
        let mut attempts = HashMap::new();
        for subject in &subjects {
            let of_alert = self::attempts(&self.shown, &subject.labels, at).await?;
            attempts.insert(subject.labels.fingerprint(), of_alert);
        }
        let due = match at {
            None => self.due(&subjects).await,
            Some(_) => HashMap::new(),
        };
        blocking(move || {
            self.ask(attempts, due, |witnesses| {
                subjects.iter().map(|subject| witnesses.explain(subject, at)).collect()
            })
        })
        .await
    }
}

/// Off the runtime's threads: samples are read.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(|panic| Failure::internal(panic.to_string()))
}

/// The newest attempts at messages about an alert, oldest first; those around `at` where it is of the
/// past.
pub(super) async fn attempts(
    shown: &Shown,
    labels: &Labels,
    at: Option<Timestamp>,
) -> Result<Vec<Attempted>, Failure> {
    let fingerprint = labels.fingerprint();
    let filter = AttemptFilter {
        alert: Some(format!("{fingerprint:016x}")),
        since: at.map(|at| at - BEFORE),
        until: at.map(|at| at + AFTER),
        limit: MOST_ATTEMPTS,
        ..AttemptFilter::default()
    };
    let found = shown.outbox.attempts(&filter).await;
    let found = found.map_err(|error| Failure::internal(error.to_string()))?;
    let read = |attempt: &Attempt| Attempted {
        at: attempt.at,
        queued_at: queued_at(&attempt.message),
        took: attempt.took,
        lane: attempt.lane.clone(),
        group_key: attempt.group_key.clone(),
        result: attempt.result.as_str().to_owned(),
        is_delivered: attempt.result.is_delivered(),
        reason: attempt.reason.clone(),
        firing: attempt.alerts.iter().any(|a| a.fingerprint == fingerprint && a.firing),
        answer: attempt.answer.clone(),
    };
    Ok(found.iter().rev().map(read).collect())
}
