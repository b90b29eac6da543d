//! The one queue: what each receiver is to be told next, and what it was last told.
//!
//! ```text
//! dispatch ── enqueue ──▶ [outbox] ── next ──▶ a receiver's lane ── delivered ──▶ told
//! ```
//!
//! A lane is one way to one receiver: `ops/email/0`. For each group of alerts it has at most one
//! intent, the newest; so its bound is the number of groups, and a receiver that was away is told
//! the present, not the past.
//!
//! Invariant: the database is written first; what is in memory is what a restart would find.

mod notice;

pub use notice::NOTICE;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::labels::Labels;
use base::sample::Timestamp;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::alerts::Alert;
use crate::state::{Intent, State, StateError, Told, alert_from_json, alert_to_json};

/// The longest that an intent is ever put off: what a service may ask for at most.
pub const LONGEST_WAIT: Duration = Duration::from_secs(15 * 60);

/// Why somebody is told something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The first message of a group.
    First,
    /// Alerts have joined the group.
    NewAlerts,
    /// Alerts have ended.
    Resolved,
    /// Nothing has changed for the repeat interval.
    Repeat,
}

impl Reason {
    /// The reason as a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::NewAlerts => "new alerts",
            Self::Resolved => "resolved",
            Self::Repeat => "repeat",
        }
    }

    fn named(name: &str) -> Self {
        match name {
            "new alerts" => Self::NewAlerts,
            "resolved" => Self::Resolved,
            "repeat" => Self::Repeat,
            _ => Self::First,
        }
    }
}

/// What is to be told of a group.
#[derive(Clone, Debug, PartialEq)]
pub struct Flush {
    /// The receiver's name.
    pub receiver: String,
    /// The labels that the group's alerts agree on.
    pub group_labels: Labels,
    /// What the route says of itself.
    pub route_labels: Labels,
    /// Why.
    pub reason: Reason,
    /// The alerts that fire, and those that the receiver was told of and that have ended.
    pub alerts: Vec<Alert>,
    /// Alerts that are held back and not told of, of which it goes on to know that they fire.
    pub kept: Vec<Alert>,
}

/// By what an intent and what was told are known.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneGroup {
    /// The lane.
    pub lane: String,
    /// The group's key.
    pub group_key: String,
}

/// What a lane was last told of a group.
#[derive(Clone, Debug, PartialEq)]
pub struct LastTold {
    /// The id of the first message since the group was last all clear.
    pub thread: String,
    /// What the service calls a message of the thread, where it said so.
    pub reference: Option<String>,
    /// When.
    pub at: Timestamp,
    /// The receiver's name.
    pub receiver: String,
    /// The labels of the group.
    pub group_labels: Labels,
    /// The alerts that it was told are firing.
    pub firing: Vec<Alert>,
}

/// An intent that is due.
#[derive(Clone, Debug, PartialEq)]
pub struct Due {
    /// Names it on the wire.
    pub id: String,
    /// The lane and the group.
    pub key: LaneGroup,
    /// What is to be told.
    pub flush: Flush,
    /// The id of the thread that it belongs to; its own where it begins one.
    pub thread: String,
    /// What the service calls an earlier message of the thread, where it said so.
    pub reference: Option<String>,
    /// How often it was tried before.
    pub attempts: u32,
}

/// How much is waiting for a lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Intents.
    pub intents: usize,
    /// When the oldest was decided.
    pub oldest: Option<Timestamp>,
}

/// The outbox. Clones share it.
#[derive(Clone, Debug)]
pub struct Outbox {
    state: State,
    inner: Arc<Mutex<Inner>>,
    queued: Arc<Notify>,
    told: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Inner {
    intents: BTreeMap<LaneGroup, (Intent, Flush)>,
    told: HashMap<LaneGroup, LastTold>,
    /// What has come of intents since dispatch last asked.
    news: Vec<LaneGroup>,
    sequence: u64,
}

impl Outbox {
    /// Reads what a run before left.
    ///
    /// # Errors
    ///
    /// The database failed. A row that is not ours is left out with a warning.
    pub async fn open(state: State) -> Result<Self, StateError> {
        let mut inner = Inner::default();
        for told in state.told().await? {
            let key = LaneGroup { lane: told.lane.clone(), group_key: told.group_key.clone() };
            match told_from_row(&told) {
                Some(last) => {
                    inner.told.insert(key, last);
                }
                None => tracing::warn!(lane = told.lane, "what was told cannot be read"),
            }
        }
        for intent in state.outbox().await? {
            let key = LaneGroup { lane: intent.lane.clone(), group_key: intent.group_key.clone() };
            match flush_from_json(&intent.flush) {
                Some(flush) => {
                    inner.intents.insert(key, (intent, flush));
                }
                None => tracing::warn!(lane = intent.lane, "an intent cannot be read"),
            }
        }
        let inner = Arc::new(Mutex::new(inner));
        Ok(Self { state, inner, queued: Arc::default(), told: Arc::default() })
    }

    /// What a lane was last told of a group.
    pub fn last_told(&self, key: &LaneGroup) -> Option<LastTold> {
        self.lock().told.get(key).cloned()
    }

    /// Of which groups which lanes were told.
    pub fn told_keys(&self) -> Vec<LaneGroup> {
        self.lock().told.keys().cloned().collect()
    }

    /// What is waiting, by lane and group.
    pub fn intended_keys(&self) -> Vec<LaneGroup> {
        self.lock().intents.keys().cloned().collect()
    }

    /// What is waiting for a lane of a group.
    pub fn intended(&self, key: &LaneGroup) -> Option<Flush> {
        self.lock().intents.get(key).map(|(_, flush)| flush.clone())
    }

    /// Puts intents in, each in place of an older one of its lane and group.
    ///
    /// # Errors
    ///
    /// The database failed; none is in.
    pub async fn enqueue(
        &self,
        flushes: Vec<(LaneGroup, Flush)>,
        now: Timestamp,
    ) -> Result<(), StateError> {
        if flushes.is_empty() {
            return Ok(());
        }
        let intents: Vec<_> = flushes
            .into_iter()
            .map(|(key, flush)| {
                let intent = Intent {
                    id: self.new_id(&key, now),
                    lane: key.lane.clone(),
                    group_key: key.group_key.clone(),
                    created_at: now,
                    attempts: 0,
                    next_at: now,
                    last_error: String::new(),
                    flush: flush_to_json(&flush),
                };
                (key, intent, flush)
            })
            .collect();
        let rows: Vec<_> = intents.iter().map(|(_, intent, _)| intent.clone()).collect();
        self.state.enqueue(&rows).await?;
        let mut inner = self.lock();
        for (key, intent, flush) in intents {
            inner.intents.insert(key, (intent, flush));
        }
        drop(inner);
        self.queued.notify_waiters();
        Ok(())
    }

    /// Takes an intent out: there is nothing to tell any more.
    ///
    /// # Errors
    ///
    /// The database failed.
    pub async fn withdraw(&self, key: &LaneGroup) -> Result<(), StateError> {
        self.state.withdraw(&key.lane, &key.group_key).await?;
        self.lock().intents.remove(key);
        Ok(())
    }

    /// The intent of a lane that has waited longest, of those that are due at `now`; else when the
    /// next one is.
    pub fn next(&self, lane: &str, now: Timestamp) -> Result<Due, Option<Timestamp>> {
        let inner = self.lock();
        let from = LaneGroup { lane: lane.to_owned(), group_key: String::new() };
        let of_lane = inner.intents.range(from..).take_while(|(key, _)| key.lane == lane);
        let mut next_at: Option<Timestamp> = None;
        let mut oldest: Option<(&LaneGroup, &Intent, &Flush)> = None;
        for (key, (intent, flush)) in of_lane {
            // Postponed for longer than anything ever is: the clock was set back since.
            let set_back = intent.next_at > now + LONGEST_WAIT;
            if intent.next_at > now && !set_back {
                next_at = Some(next_at.map_or(intent.next_at, |at| at.min(intent.next_at)));
            } else if oldest.is_none_or(|(_, other, _)| intent.created_at < other.created_at) {
                oldest = Some((key, intent, flush));
            }
        }
        let (key, intent, flush) = oldest.ok_or(next_at)?;
        let told = inner.told.get(key);
        let thread = told.map_or(&intent.id, |told| &told.thread).clone();
        let reference = told.and_then(|told| told.reference.clone());
        Ok(Due {
            id: intent.id.clone(),
            key: key.clone(),
            flush: flush.clone(),
            thread,
            reference,
            attempts: intent.attempts,
        })
    }

    /// Waits until something is put in. To miss nothing, enable it before asking for what is due.
    pub fn queued(&self) -> Notified<'_> {
        self.queued.notified()
    }

    /// Notes that `due` was delivered at `now`, and what the service calls it, where it said so.
    ///
    /// # Errors
    ///
    /// The database failed; it will be delivered again under the same id.
    pub async fn delivered(
        &self,
        due: &Due,
        reference: Option<String>,
        now: Timestamp,
    ) -> Result<(), StateError> {
        let told = due.flush.alerts.iter().filter(|alert| alert.is_firing());
        let firing: Vec<_> = told.chain(&due.flush.kept).cloned().collect();
        let last = LastTold {
            thread: due.thread.clone(),
            reference: reference.or_else(|| due.reference.clone()),
            at: now,
            receiver: due.flush.receiver.clone(),
            group_labels: due.flush.group_labels.clone(),
            firing,
        };
        self.state.delivered(&due.id, &told_to_row(&due.key, &last)).await?;
        // All clear: the next message of this group begins a new thread.
        let clear = last.firing.is_empty();
        if clear {
            self.state.forget_told(&due.key.lane, &due.key.group_key).await?;
        }
        let mut inner = self.lock();
        if inner.intents.get(&due.key).is_some_and(|(intent, _)| intent.id == due.id) {
            inner.intents.remove(&due.key);
        }
        if clear {
            inner.told.remove(&due.key);
        } else {
            inner.told.insert(due.key.clone(), last);
        }
        inner.news.push(due.key.clone());
        drop(inner);
        self.told.notify_one();
        Ok(())
    }

    /// Notes that `due` could not be delivered and is to be tried again at `next_at`.
    ///
    /// # Errors
    ///
    /// The database failed; it is tried again all the same.
    pub async fn postponed(
        &self,
        due: &Due,
        next_at: Timestamp,
        error: &str,
    ) -> Result<(), StateError> {
        let changed = {
            let mut inner = self.lock();
            match inner.intents.get_mut(&due.key) {
                Some((intent, _)) if intent.id == due.id => {
                    intent.attempts = due.attempts.saturating_add(1);
                    intent.next_at = next_at;
                    error.clone_into(&mut intent.last_error);
                    Some(intent.clone())
                }
                _ => None,
            }
        };
        match changed {
            Some(intent) => self.state.postponed(&intent).await,
            None => Ok(()),
        }
    }

    /// Takes `due` out because it can never be delivered; dispatch hears of it.
    ///
    /// # Errors
    ///
    /// The database failed.
    pub async fn refused(&self, due: &Due) -> Result<(), StateError> {
        let current =
            self.lock().intents.get(&due.key).is_some_and(|(intent, _)| intent.id == due.id);
        if current {
            self.withdraw(&due.key).await?;
        }
        self.lock().news.push(due.key.clone());
        self.told.notify_one();
        Ok(())
    }

    /// Changes what a lane counts as told without telling it: an ending that it does not want to
    /// hear of. Nothing left means that the group is all clear.
    ///
    /// # Errors
    ///
    /// The database failed.
    pub async fn count_as_told(
        &self,
        key: &LaneGroup,
        firing: Vec<Alert>,
    ) -> Result<(), StateError> {
        let Some(mut last) = self.last_told(key) else { return Ok(()) };
        if firing.is_empty() {
            self.state.forget_told(&key.lane, &key.group_key).await?;
            self.lock().told.remove(key);
            return Ok(());
        }
        last.firing = firing;
        // No intent has this id, so only the note is written.
        self.state.delivered("", &told_to_row(key, &last)).await?;
        self.lock().told.insert(key.clone(), last);
        Ok(())
    }

    /// The groups of which something was delivered or refused since the last call.
    pub fn take_news(&self) -> Vec<LaneGroup> {
        std::mem::take(&mut self.lock().news)
    }

    /// Waits until there may be news.
    pub async fn news(&self) {
        self.told.notified().await;
    }

    /// How much is waiting, by lane.
    pub fn waiting(&self) -> BTreeMap<String, Waiting> {
        let mut waiting: BTreeMap<String, Waiting> = BTreeMap::new();
        for (key, (intent, _)) in &self.lock().intents {
            let of_lane = waiting.entry(key.lane.clone()).or_default();
            of_lane.intents += 1;
            let oldest = of_lane.oldest.map_or(intent.created_at, |at| at.min(intent.created_at));
            of_lane.oldest = Some(oldest);
        }
        waiting
    }

    fn new_id(&self, key: &LaneGroup, now: Timestamp) -> String {
        let sequence = {
            let mut inner = self.lock();
            inner.sequence += 1;
            inner.sequence
        };
        // Sortable by time, and never twice: the hash tells two runs within a millisecond apart.
        let hash = Labels::from_pairs([("lane", key.lane.as_str()), ("group", &key.group_key)])
            .fingerprint();
        format!("{:012x}{:04x}{:08x}", now.millis(), sequence & 0xffff, hash >> 32)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn flush_to_json(flush: &Flush) -> String {
    json!({
        "receiver": flush.receiver,
        "groupLabels": flush.group_labels.as_encoded(),
        "routeLabels": flush.route_labels.as_encoded(),
        "reason": flush.reason.as_str(),
        "alerts": flush.alerts.iter().map(alert_to_json).collect::<Vec<_>>(),
        "kept": flush.kept.iter().map(alert_to_json).collect::<Vec<_>>(),
    })
    .to_string()
}

fn flush_from_json(text: &str) -> Option<Flush> {
    let value: Value = serde_json::from_str(text).ok()?;
    Some(Flush {
        receiver: value["receiver"].as_str()?.to_owned(),
        group_labels: Labels::from_encoded(value["groupLabels"].as_str()?)?,
        // An earlier version had none.
        route_labels: value["routeLabels"]
            .as_str()
            .and_then(Labels::from_encoded)
            .unwrap_or_else(Labels::empty),
        reason: Reason::named(value["reason"].as_str()?),
        alerts: alerts(&value["alerts"])?,
        // An earlier version held nothing back.
        kept: alerts(&value["kept"]).unwrap_or_default(),
    })
}

fn alerts(value: &Value) -> Option<Vec<Alert>> {
    value.as_array()?.iter().map(alert_from_json).collect()
}

fn told_to_row(key: &LaneGroup, last: &LastTold) -> Told {
    let alerts = json!({
        "receiver": last.receiver,
        "groupLabels": last.group_labels.as_encoded(),
        "reference": last.reference,
        "firing": last.firing.iter().map(alert_to_json).collect::<Vec<_>>(),
    });
    Told {
        lane: key.lane.clone(),
        group_key: key.group_key.clone(),
        thread: last.thread.clone(),
        told_at: last.at,
        alerts: alerts.to_string(),
    }
}

fn told_from_row(told: &Told) -> Option<LastTold> {
    let value: Value = serde_json::from_str(&told.alerts).ok()?;
    Some(LastTold {
        thread: told.thread.clone(),
        reference: value["reference"].as_str().map(str::to_owned),
        at: told.told_at,
        receiver: value["receiver"].as_str()?.to_owned(),
        group_labels: Labels::from_encoded(value["groupLabels"].as_str()?)?,
        firing: alerts(&value["firing"])?,
    })
}
