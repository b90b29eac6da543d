//! Taking a message: proof, shape, limits, and into the pushed alerts.
//!
//! Invariant: of a message all is taken or nothing; a signed one is taken once.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::http::HeaderMap;
use base::labels::Labels;
use base::own_metrics::{IntCounterVec, OwnMetrics};
use base::sample::Timestamp;
use serde_json::Value;
use tokio::sync::Mutex as Turn;
use tracing::{info, warn};

use super::config::Source;
use super::event::{Event, KEY, SOURCE, Status};
use super::kinds::Kind;
use super::proof::Doubt;
use super::sns::{Envelope, Refusal};
use crate::alerts::{Alert, Alerts};
use crate::pushed::{Push, PushError, Pushed};
use crate::state::{Note, NoteKind, State, StateError};

/// How long signed messages are known again. SNS tries for an hour, others for less than a day.
const REMEMBER: Duration = Duration::from_secs(86_400);
/// The most that are known again; the oldest goes first.
const MOST_REMEMBERED: usize = 100_000;
/// The most things that one message may be about.
const MOST_EVENTS: usize = 1000;

/// Why a message is not taken.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// There is no source of that name.
    #[error("there is no such source")]
    NotFound,
    /// It does not show that it is the one.
    #[error("{0}")]
    Unproven(String),
    /// It is no message of the kind.
    #[error("{0}")]
    Malformed(String),
    /// More would fire than the source may.
    #[error("more than {0} alerts of this source would fire; end some, or raise its `max_alerts`")]
    TooMany(usize),
    /// It can be sent again.
    #[error("{0}")]
    Unavailable(String),
}

/// What was made of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Alerts that fire by it.
    pub firing: usize,
    /// Alerts that have ended by it.
    pub resolved: usize,
    /// Things in it that say neither.
    pub ignored: usize,
    /// It was taken before, so nothing was done.
    pub replayed: bool,
}

/// Takes messages of the sources that are configured. Clones share it.
#[derive(Clone, Debug)]
pub struct Intake {
    sources: Arc<Mutex<BTreeMap<String, Arc<Source>>>>,
    seen: Arc<Mutex<HashMap<String, Timestamp>>>,
    state: State,
    alerts: Alerts,
    pushed: Pushed,
    counter: IntCounterVec,
    /// Whoever takes a message holds it from the look at what fires to the last change.
    turn: Arc<Turn<()>>,
}

impl Intake {
    /// Takes nothing until sources are set; knows again what a run before took.
    ///
    /// # Errors
    ///
    /// The state failed.
    pub async fn open(
        state: State,
        alerts: Alerts,
        pushed: Pushed,
        metrics: &OwnMetrics,
    ) -> Result<Self, StateError> {
        let notes = state.notes(NoteKind::Delivery).await?;
        let seen = notes.into_iter().map(|note| (note.name, note.at)).collect();
        let help = "Messages of sources, by source and what came of them.";
        Ok(Self {
            sources: Arc::default(),
            seen: Arc::new(Mutex::new(seen)),
            state,
            alerts,
            pushed,
            counter: metrics.counters(
                "veilleur_source_messages_total",
                help,
                &["source", "result"],
            ),
            turn: Arc::default(),
        })
    }

    /// Puts the sources of another configuration in the place of those before.
    pub fn set_sources(&self, sources: Vec<Arc<Source>>) {
        for source in &sources {
            for result in ["taken", "refused", "replayed"] {
                // There from the beginning, so that a rise can be seen.
                self.counter.with_label_values(&[source.name.as_str(), result]);
            }
        }
        let sources = sources.into_iter().map(|source| (source.name.clone(), source)).collect();
        *self.sources.lock().unwrap_or_else(PoisonError::into_inner) = sources;
    }

    /// The source whose alert it would be, by the label that names it.
    pub fn source_of(&self, labels: &Labels) -> Option<String> {
        let name = labels.get(SOURCE)?;
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        sources.contains_key(name).then(|| name.to_owned())
    }

    /// Takes a message that came for the source `name` at `now`.
    ///
    /// # Errors
    ///
    /// Nothing has changed then.
    pub async fn take(
        &self,
        name: &str,
        headers: &HeaderMap,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Taken, IntakeError> {
        let source = self.sources.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        let source = source.ok_or(IntakeError::NotFound)?;
        let taken = self.take_from(&source, headers, body, now).await;
        let result = match &taken {
            Ok(Taken { replayed: true, .. }) => "replayed",
            Ok(_) => "taken",
            Err(error) => {
                warn!(source = name, %error, "a message is not taken");
                "refused"
            }
        };
        self.counter.with_label_values(&[source.name.as_str(), result]).inc();
        taken
    }

    async fn take_from(
        &self,
        source: &Source,
        headers: &HeaderMap,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Taken, IntakeError> {
        let mut once = None;
        if let Some(proof) = &source.proof {
            once = proof.check(headers, body, now).map_err(|doubt| match doubt {
                Doubt::Wrong => {
                    IntakeError::Unproven("the token or signature is missing or wrong".to_owned())
                }
                Doubt::Unknown(why) => IntakeError::Unavailable(why),
            })?;
        }
        let mut message: Value = serde_json::from_slice(body)
            .map_err(|error| IntakeError::Malformed(format!("this is no JSON: {error}")))?;
        if let Some(sns) = &source.sns {
            let (envelope, signature) =
                sns.open(&message, now).await.map_err(|refusal| match refusal {
                    Refusal::Malformed(why) => IntakeError::Malformed(why),
                    Refusal::NotTheirs(why) => IntakeError::Unproven(why),
                    Refusal::Unknown(why) => IntakeError::Unavailable(why),
                })?;
            once = Some(signature);
            message = match envelope {
                Envelope::Message(message) => message,
                Envelope::Offer(address) if sns.confirms => {
                    sns.accept(&address).await.map_err(IntakeError::Unavailable)?;
                    info!(source = source.name, "the subscription is confirmed");
                    return Ok(Taken { ignored: 1, ..Taken::default() });
                }
                Envelope::Offer(address) => {
                    warn!(source = source.name, %address, "a topic offers to send messages: whoever wants them opens this address");
                    return Ok(Taken { ignored: 1, ..Taken::default() });
                }
                Envelope::Farewell => {
                    warn!(source = source.name, "the topic sends no more messages");
                    return Ok(Taken { ignored: 1, ..Taken::default() });
                }
            };
        }
        let events = read(source, headers, &message, now).map_err(IntakeError::Malformed)?;
        let _turn = self.turn.lock().await;
        let once = once.map(|once| digest(&source.name, &once));
        if once.as_ref().is_some_and(|once| self.seen().contains_key(once)) {
            return Ok(Taken { replayed: true, ..Taken::default() });
        }
        let (pushes, taken) = self.pushes(source, events, now)?;
        self.pushed.push(pushes, now, source.lasts).await.map_err(|error| match error {
            PushError::TooMany => IntakeError::Unavailable(error.to_string()),
            PushError::State(error) => IntakeError::Unavailable(error.to_string()),
        })?;
        if let Some(once) = once {
            self.remember(once, now)
                .await
                .map_err(|error| IntakeError::Unavailable(error.to_string()))?;
        }
        Ok(taken)
    }

    /// What is pushed for some events.
    fn pushes(
        &self,
        source: &Source,
        events: Vec<Event>,
        now: Timestamp,
    ) -> Result<(Vec<Push>, Taken), IntakeError> {
        let is_theirs =
            |alert: &Alert| alert.is_firing() && alert.labels.get(SOURCE) == Some(&source.name);
        let theirs = self.alerts.filter(is_theirs);
        let mut firing: BTreeMap<Labels, ()> =
            theirs.iter().map(|alert| (alert.labels.clone(), ())).collect();
        let (mut pushes, mut taken) = (Vec::new(), Taken::default());
        for event in events {
            if event.status == Status::Neither {
                taken.ignored += 1;
                continue;
            }
            let labels = event.alert_labels(&source.name).map_err(IntakeError::Malformed)?;
            let annotations = event.alert_texts().map_err(IntakeError::Malformed)?;
            let ends = event.ends_at.filter(|at| *at <= now).unwrap_or(now);
            // What the source knows again by its key ends, whatever labels it had.
            let key = labels.get(KEY).filter(|_| !event.key.is_empty());
            let known: Vec<Labels> = match key {
                Some(key) => firing.keys().filter(|l| l.get(KEY) == Some(key)).cloned().collect(),
                None => Vec::new(),
            };
            let end = |labels: Labels| {
                let of = theirs.iter().find(|alert| alert.labels == labels);
                Push {
                    annotations: of.map_or_else(|| annotations.clone(), |a| a.annotations.clone()),
                    labels,
                    starts_at: None,
                    ends_at: Some(ends.max(of.map_or(ends, |alert| alert.starts_at))),
                    generator_url: of.map_or_else(String::new, |alert| alert.generator_url.clone()),
                }
            };
            match event.status {
                Status::Firing => {
                    for other in known.into_iter().filter(|known| *known != labels) {
                        firing.remove(&other);
                        pushes.push(end(other));
                    }
                    taken.firing += 1;
                    firing.insert(labels.clone(), ());
                    let starts_at = event.starts_at.filter(|at| *at <= now);
                    let ends_at =
                        event.ends_at.filter(|at| *at > now).unwrap_or(now + source.lasts);
                    pushes.push(Push {
                        labels,
                        annotations,
                        starts_at,
                        ends_at: Some(ends_at),
                        generator_url: event.link(),
                    });
                }
                _ => {
                    let over = if key.is_some() { known } else { vec![labels] };
                    for labels in over {
                        // The end of what nobody was told of is no news.
                        if firing.remove(&labels).is_some() {
                            taken.resolved += 1;
                            pushes.push(end(labels));
                        }
                    }
                }
            }
        }
        if taken.firing > 0 && firing.len() > source.most {
            return Err(IntakeError::TooMany(source.most));
        }
        Ok((pushes, taken))
    }

    async fn remember(&self, once: String, now: Timestamp) -> Result<(), StateError> {
        let note = Note { name: once.clone(), at: now, body: String::new() };
        self.state.save_notes(NoteKind::Delivery, &[note]).await?;
        let old = now - REMEMBER;
        let any_old = {
            let mut seen = self.seen();
            seen.insert(once, now);
            if seen.len() > MOST_REMEMBERED
                && let Some(oldest) = seen.iter().min_by_key(|(_, at)| **at).map(|(n, _)| n.clone())
            {
                seen.remove(&oldest);
            }
            let before = seen.len();
            // Looked at now and then only: it is as long as there are messages in a day.
            if before.is_multiple_of(64) {
                seen.retain(|_, at| *at >= old);
            }
            seen.len() < before
        };
        if any_old {
            self.state.forget_notes(NoteKind::Delivery, old).await?;
        }
        Ok(())
    }

    fn seen(&self) -> MutexGuard<'_, HashMap<String, Timestamp>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a message says, with what the mapping adds.
fn read(
    source: &Source,
    headers: &HeaderMap,
    message: &Value,
    now: Timestamp,
) -> Result<Vec<Event>, String> {
    let resource = headers.get("sentry-hook-resource").and_then(|value| value.to_str().ok());
    let said = match source.kind {
        Some(kind) => Kind::read(kind, message, resource.unwrap_or_default())?,
        None => source.mapping.read(message, now)?,
    };
    if said.len() > MOST_EVENTS {
        return Err(format!("it is about {} things; {MOST_EVENTS} is the most", said.len()));
    }
    let mut events = Vec::with_capacity(said.len());
    for (mut event, item) in said {
        if event.status != Status::Neither {
            source.mapping.add(&mut event, item, now)?;
        }
        events.push(event);
    }
    Ok(events)
}

/// By what a signed message is known again.
fn digest(source: &str, once: &[u8]) -> String {
    let hash = ring::digest::digest(&ring::digest::SHA256, once);
    hash.as_ref().iter().fold(format!("{source}:"), |name, byte| format!("{name}{byte:02x}"))
}

#[cfg(test)]
mod tests;
