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
mod tests {
    use base::diagnostic::{Diagnostics, Spanned};
    use serde_json::json;

    use super::super::{SourceConfig, build_sources};
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    async fn intake(dir: &std::path::Path, yaml: &str) -> (Intake, Alerts) {
        let state = State::open(&dir.join("state.db")).await.unwrap();
        let alerts = Alerts::default();
        let pushed = Pushed::open(state.clone(), alerts.clone(), Duration::ZERO).await.unwrap();
        let intake = Intake::open(state, alerts.clone(), pushed, &OwnMetrics::new()).await.unwrap();
        let mut diagnostics = Diagnostics::new("f.yml");
        let configs: Vec<Spanned<SourceConfig>> = base::yaml::read(yaml, &mut diagnostics).unwrap();
        intake.set_sources(build_sources(&configs, dir, &mut diagnostics));
        assert!(diagnostics.is_empty(), "{diagnostics}");
        (intake, alerts)
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + seconds * 1000)
    }

    fn bearer(token: &str) -> HeaderMap {
        let value = format!("Bearer {token}").parse().unwrap();
        HeaderMap::from_iter([("authorization".parse().unwrap(), value)])
    }

    fn shown(alerts: &Alerts) -> Vec<String> {
        let one = |alert: &Arc<Alert>| {
            let state = if alert.is_firing() { "firing" } else { "ended" };
            format!("{state} {}", alert.labels)
        };
        alerts.all().iter().map(one).collect()
    }

    const OWN: &str = "
- name: own
  token: 0123456789abcdef
  max_alerts: 2
  lasts: 1h
  each: /things
  status: '{{ .state }}'
  ignored: [starting]
  key: '{{ .id }}'
  labels: {alertname: '{{ .what }} failed', host: '{{ .on.host }}', size: '{{ .size }}'}
  annotations: {summary: '{{ .text }}'}
- {name: other, token: fedcba9876543210, kind: grafana}
";

    #[tokio::test]
    async fn a_mapping_fires_resolves_and_ignores() {
        let dir = tempfile::tempdir().unwrap();
        let (intake, alerts) = intake(dir.path(), OWN).await;
        let send = async |things: Value, seconds: i64| {
            let body = json!({ "things": things }).to_string();
            let taken = intake.take("own", &bearer(TOKEN), body.as_bytes(), at(seconds)).await;
            taken.map(|t| (t.firing, t.resolved, t.ignored)).map_err(|error| error.to_string())
        };
        let thing = |id: i32, state: &str, size: i32| json!({"id": id, "state": state, "what": "backup", "on": {"host": "db1"}, "size": size});
        assert_eq!(
            send(json!([thing(1, "broken", 5), thing(2, "Starting", 5)]), 0).await,
            Ok((1, 0, 1))
        );
        let labels = |size| {
            format!(
                "{{alertname=\"backup failed\", host=\"db1\", key=\"1\", size=\"{size}\", source=\"own\"}}"
            )
        };
        assert_eq!(shown(&alerts), [format!("firing {}", labels(5))]);
        // With other labels it is still the same thing, by its key.
        assert_eq!(send(json!([thing(1, "broken", 6)]), 10).await, Ok((1, 0, 0)));
        assert_eq!(
            shown(&alerts),
            [format!("ended {}", labels(5)), format!("firing {}", labels(6))]
        );
        assert_eq!(send(json!([thing(1, "OK", 7), thing(9, "ok", 7)]), 20).await, Ok((0, 1, 0)));
        assert!(shown(&alerts).iter().all(|alert| alert.starts_with("ended")), "{alerts:?}");
        // More than it may: nothing of it is taken.
        let three = json!([thing(1, "x", 1), thing(2, "x", 1), thing(3, "x", 1)]);
        assert!(send(three, 30).await.unwrap_err().starts_with("more than 2 alerts"));
        assert!(shown(&alerts).iter().all(|alert| alert.starts_with("ended")), "{alerts:?}");
        assert_eq!(send(json!(5), 40).await, Err("there is no list at `/things`".to_owned()));
        // A part that is wrong: nothing of the rest is taken.
        let half = json!([thing(1, "x", 1), {"state": "x", "what": {"a": 1}, "on": 5}]);
        assert!(send(half, 50).await.is_err());
        assert!(shown(&alerts).iter().all(|alert| alert.starts_with("ended")), "{alerts:?}");
    }

    #[tokio::test]
    async fn a_source_ends_its_own_alerts_only_x50() {
        let dir = tempfile::tempdir().unwrap();
        let (intake, alerts) = intake(dir.path(), OWN).await;
        let grafana = |status: &str, source: &str| {
            json!({"alerts": [{"status": status, "labels": {"alertname": "Hot", "source": source}}]}).to_string()
        };
        let other = bearer("fedcba9876543210");
        let fire = grafana("firing", "x");
        intake.take("other", &other, fire.as_bytes(), at(0)).await.unwrap();
        assert_eq!(shown(&alerts), ["firing {alertname=\"Hot\", source=\"other\"}"]);
        let refused =
            intake.take("other", &bearer(TOKEN), grafana("resolved", "x").as_bytes(), at(1)).await;
        assert!(matches!(refused, Err(IntakeError::Unproven(_))), "{refused:?}");
        let own = json!({"things": [{"what": "Hot", "state": "ok"}]}).to_string();
        intake.take("own", &bearer(TOKEN), own.as_bytes(), at(2)).await.unwrap();
        assert_eq!(shown(&alerts), ["firing {alertname=\"Hot\", source=\"other\"}"]);
        let unknown = intake.take("nobody", &other, b"{}", at(3)).await;
        assert!(matches!(unknown, Err(IntakeError::NotFound)), "{unknown:?}");
        for bad in ["", "{", "[1,2", "\u{0}", &"[".repeat(100_000)] {
            let refused = intake.take("other", &other, bad.as_bytes(), at(4)).await;
            assert!(matches!(refused, Err(IntakeError::Malformed(_))), "{refused:?}");
        }
        let over = grafana("resolved", "other");
        assert_eq!(intake.take("other", &other, over.as_bytes(), at(5)).await.unwrap().resolved, 1);
    }

    #[tokio::test]
    async fn a_signed_message_is_taken_once_over_a_restart_too() {
        let dir = tempfile::tempdir().unwrap();
        let yaml = "[{name: s, kind: sentry, signature: {secret: 0123456789abcdef}}]";
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, TOKEN.as_bytes());
        let signed = |body: &str| {
            let tag = ring::hmac::sign(&key, body.as_bytes());
            let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            HeaderMap::from_iter([("sentry-hook-signature".parse().unwrap(), hex.parse().unwrap())])
        };
        let fire =
            json!({"action": "triggered", "data": {"event": {"issue_id": "1", "title": "x"}}})
                .to_string();
        let end = json!({"action": "resolved", "data": {"issue": {"id": "1"}}}).to_string();
        {
            let (intake, alerts) = intake(dir.path(), yaml).await;
            let take = async |body: &str, seconds| {
                intake.take("s", &signed(body), body.as_bytes(), at(seconds)).await.unwrap()
            };
            assert_eq!(take(&fire, 0).await.firing, 1);
            assert_eq!(take(&end, 10).await.resolved, 1);
            assert!(take(&fire, 20).await.replayed);
            assert!(shown(&alerts)[0].starts_with("ended"));
            let forged = intake.take("s", &signed("other"), fire.as_bytes(), at(30)).await;
            assert!(matches!(forged, Err(IntakeError::Unproven(_))), "{forged:?}");
        }
        let (intake, alerts) = intake(dir.path(), yaml).await;
        assert!(intake.take("s", &signed(&fire), fire.as_bytes(), at(40)).await.unwrap().replayed);
        assert!(shown(&alerts).is_empty());
    }
}
