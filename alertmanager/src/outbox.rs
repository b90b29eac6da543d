//! The one queue: what each receiver is to be told next, and what it was last told.
//!
//! ```text
//! dispatch ── enqueue ──▶ [outbox] ── next ──▶ a receiver's lane ── delivered ──▶ told
//! ```
//!
//! A lane is one way to one receiver: `ops/email/0`. For each group of alerts it has at most one
//! intent, the newest; so its bound is the number of groups, and a receiver that was away is told
//! the present, not the past. Beyond [`MOST_WAITING`] of a lane nothing is lost either: dispatch
//! goes on comparing what is not in yet with what was told (F11).
//!
//! Invariant: the database is written first; what is in memory is what a restart would find.

mod flush;
mod codec;
mod queue;
mod inner;
mod notice;

pub use flush::{Due, Flush, Intended, LaneGroup, LastTold, Reason, Waiting, queued_at};
pub use notice::NOTICE;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::labels::Labels;
use base::sample::Timestamp;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::alerts::Alert;
use crate::state::{Attempt, AttemptFilter, InFlight, Intent, State, StateError};
use codec::{
    alerts_from_json, alerts_to_json, flush_from_json, flush_to_json, told_from_row, told_to_row,
};
use inner::Inner;
use queue::{Entry, Queue};

/// The longest that an intent is ever put off: what a service may ask for at most.
pub const LONGEST_WAIT: Duration = Duration::from_secs(15 * 60);
/// The most intents that wait for one lane.
pub const MOST_WAITING: usize = 100_000;

/// The outbox. Clones share it.
#[derive(Clone, Debug)]
pub struct Outbox {
    state: State,
    inner: Arc<Mutex<Inner>>,
    queued: Arc<Notify>,
    told: Arc<Notify>,
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
        for mut intent in state.outbox().await? {
            let text = std::mem::take(&mut intent.flush);
            let Some(flush) = flush_from_json(&text) else {
                tracing::warn!(lane = intent.lane, "an intent cannot be read");
                continue;
            };
            let queue = inner.lanes.entry(intent.lane.clone()).or_default();
            if intent.attempts > 0 {
                let since =
                    queue.failing_since.map_or(intent.created_at, |at| at.min(intent.created_at));
                queue.failing_since = Some(since);
            }
            let fresh_at = intent.created_at;
            queue.put(Entry { intent, flush, fresh_at });
        }
        for message in state.in_flight().await? {
            if let Some(alerts) = alerts_from_json(&message.alerts) {
                let key = LaneGroup { lane: message.lane, group_key: message.group_key };
                inner.perhaps.insert(key, alerts);
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
        let inner = self.lock();
        let of_lane = |(lane, queue): (&String, &Queue)| {
            let key =
                |group_key: &String| LaneGroup { lane: lane.clone(), group_key: group_key.clone() };
            queue.iter().map(|(group_key, _)| key(group_key)).collect::<Vec<_>>()
        };
        inner.lanes.iter().flat_map(of_lane).collect()
    }

    /// What is waiting for a lane of a group.
    pub fn intended(&self, key: &LaneGroup) -> Option<Intended> {
        let inner = self.lock();
        let entry = inner.lanes.get(&key.lane)?.get(&key.group_key)?;
        let Entry { intent, flush, fresh_at } = entry;
        Some(Intended { flush: flush.clone(), fresh_at: *fresh_at, refused: intent.refused })
    }

    /// Whether what waits for a lane of a group has to take another way: it was refused for good, or
    /// nothing was delivered to that lane for as long as `patience`, although it was tried.
    pub fn is_stuck(&self, key: &LaneGroup, patience: Duration, now: Timestamp) -> bool {
        let inner = self.lock();
        let Some(queue) = inner.lanes.get(&key.lane) else { return false };
        let is_late = queue.failing_since.is_some_and(|since| now.since(since) >= patience);
        queue.get(&key.group_key).is_some_and(|entry| entry.intent.refused || is_late)
    }

    /// Whether what was last handed over to a lane was not delivered.
    pub fn is_failing(&self, lane: &str) -> bool {
        self.lock().lanes.get(lane).is_some_and(|queue| queue.failing_since.is_some())
    }

    /// Puts newer texts into what waits for a lane of a group. It says the same as before, so it
    /// keeps its id: a service that has it already can tell.
    ///
    /// # Errors
    ///
    /// The database failed; the texts are as before.
    pub async fn refresh(
        &self,
        key: &LaneGroup,
        flush: Flush,
        now: Timestamp,
    ) -> Result<(), StateError> {
        let id = {
            let inner = self.lock();
            let queue = inner.lanes.get(&key.lane);
            queue.and_then(|queue| queue.get(&key.group_key)).map(|entry| entry.intent.id.clone())
        };
        let Some(id) = id else { return Ok(()) };
        self.state.refresh_intent(&id, &flush_to_json(&flush)).await?;
        let mut inner = self.lock();
        if let Some(queue) = inner.lanes.get_mut(&key.lane) {
            queue.refresh(&key.group_key, &id, flush, now);
        }
        Ok(())
    }

    /// Makes what waits for a lane of a group due at `now`. After a crash it is due when it was
    /// before.
    pub fn hasten(&self, key: &LaneGroup, now: Timestamp) {
        if let Some(queue) = self.lock().lanes.get_mut(&key.lane) {
            queue.hasten(&key.group_key, now);
        }
        self.queued.notify_waiters();
    }

    /// Puts intents in, each in place of an older one of its lane and group. What a lane has no more
    /// room for stays with dispatch, which looks at it again.
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
        let mut entries = Vec::with_capacity(flushes.len());
        let mut rows = Vec::with_capacity(flushes.len());
        for (key, flush) in flushes {
            let Some(refused) = self.make_room(&key) else { continue };
            let intent = Intent {
                id: self.new_id(&key, now),
                lane: key.lane,
                group_key: key.group_key,
                created_at: now,
                attempts: 0,
                next_at: now,
                last_error: String::new(),
                refused,
                flush: String::new(),
            };
            rows.push(Intent { flush: flush_to_json(&flush), ..intent.clone() });
            entries.push(Entry { intent, flush, fresh_at: now });
        }
        self.state.enqueue(&rows).await?;
        let mut inner = self.lock();
        for entry in entries {
            inner.lanes.entry(entry.intent.lane.clone()).or_default().put(entry);
        }
        drop(inner);
        self.queued.notify_waiters();
        Ok(())
    }

    /// Whether the intent that another will replace was refused; nothing where there is no room for
    /// another.
    fn make_room(&self, key: &LaneGroup) -> Option<bool> {
        let mut inner = self.lock();
        let queue = inner.lanes.entry(key.lane.clone()).or_default();
        if let Some(entry) = queue.get(&key.group_key) {
            return Some(entry.intent.refused);
        }
        if queue.len() < MOST_WAITING {
            return Some(false);
        }
        inner.overflows += 1;
        inner.news.insert(key.clone());
        None
    }

    /// Takes an intent out: there is nothing to tell any more. What its receiver may have been told,
    /// since no answer came, counts as told: dispatch hears of it, so that the end is told.
    ///
    /// # Errors
    ///
    /// The database failed.
    pub async fn withdraw(&self, key: &LaneGroup) -> Result<(), StateError> {
        let told = self.lock().counts_as_told(key);
        let known = told.as_ref().filter(|last| !last.firing.is_empty());
        let row = known.map(|last| told_to_row(key, last));
        self.state.withdraw(&key.lane, &key.group_key, row.as_ref()).await?;
        if told.is_some() && row.is_none() {
            self.state.forget_told(&key.lane, &key.group_key).await?;
        }
        let mut inner = self.lock();
        inner.perhaps.remove(key);
        if let Some(last) = told {
            if last.firing.is_empty() {
                inner.told.remove(key);
            } else {
                inner.told.insert(key.clone(), last);
            }
            inner.news.insert(key.clone());
            self.told.notify_one();
        }
        if let Some(queue) = inner.lanes.get_mut(&key.lane) {
            queue.remove(&key.group_key);
            // Nothing is tried any more, so nothing fails.
            if queue.len() == 0 {
                queue.failing_since = None;
            }
        }
        Ok(())
    }

    /// Notes that `due` is handed over now: should no answer come, not even to us, its receiver may
    /// have been told.
    ///
    /// # Errors
    ///
    /// The database failed.
    pub async fn handing_over(&self, due: &Due) -> Result<(), StateError> {
        let alerts = self.lock().perhaps_told(due);
        let LaneGroup { lane, group_key } = due.key.clone();
        let alerts = alerts_to_json(&alerts);
        self.state.hand_over(&InFlight { lane, group_key, alerts }).await
    }

    /// The intent of a lane whose turn it is, of those that are due at `now`; else when the next one
    /// is.
    pub fn next(&self, lane: &str, now: Timestamp) -> Result<Due, Option<Timestamp>> {
        let mut inner = self.lock();
        let Inner { lanes, told, .. } = &mut *inner;
        let Entry { intent, flush, .. } = lanes.get_mut(lane).ok_or(None)?.next(now)?;
        let key = LaneGroup { lane: lane.to_owned(), group_key: intent.group_key.clone() };
        let told = told.get(&key);
        let thread = told.map_or(&intent.id, |told| &told.thread).clone();
        let reference = told.and_then(|told| told.reference.clone());
        Ok(Due {
            id: intent.id.clone(),
            key,
            flush: flush.clone(),
            thread,
            reference,
            attempts: intent.attempts,
            at: now,
            may_have_arrived: false,
            tries: Vec::new(),
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
        let mut firing: Vec<_> = told.chain(&due.flush.kept).cloned().collect();
        // Decided before an earlier message arrived, or perhaps did, it says nothing of what that one
        // told; dispatch compares, and tells the end.
        for alert in self.lock().known_before(due) {
            if !firing.iter().any(|other: &Alert| other.labels == alert.labels) {
                firing.push(alert);
            }
        }
        let last = LastTold {
            thread: due.thread.clone(),
            reference: reference.or_else(|| due.reference.clone()),
            at: now,
            receiver: due.flush.receiver.clone(),
            group_labels: due.flush.group_labels.clone(),
            firing,
        };
        // All clear: the next message of this group begins a new thread.
        let clear = last.firing.is_empty();
        self.state.delivered(&due.id, &told_to_row(&due.key, &last), clear, &due.tries).await?;
        let mut inner = self.lock();
        if let Some(queue) = inner.lanes.get_mut(&due.key.lane) {
            if queue.get(&due.key.group_key).is_some_and(|entry| entry.intent.id == due.id) {
                queue.remove(&due.key.group_key);
            }
            queue.failing_since = None;
            queue.took_turn();
        }
        if clear {
            inner.told.remove(&due.key);
        } else {
            inner.told.insert(due.key.clone(), last);
        }
        inner.perhaps.remove(&due.key);
        inner.news.insert(due.key.clone());
        drop(inner);
        self.told.notify_one();
        Ok(())
    }

    /// Notes that `due` could not be delivered and is to be tried again at `next_at`; dispatch hears
    /// of it, because what waits for that lane may have to take another way.
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
        self.put_off(due, next_at, error, false).await
    }

    /// Notes that `due` was refused for good. It is tried again at `next_at` all the same, since what
    /// is at fault may be mended by then; dispatch hears of it.
    ///
    /// # Errors
    ///
    /// The database failed; it is tried again all the same.
    pub async fn refused(
        &self,
        due: &Due,
        next_at: Timestamp,
        error: &str,
    ) -> Result<(), StateError> {
        self.put_off(due, next_at, error, true).await
    }

    async fn put_off(
        &self,
        due: &Due,
        next_at: Timestamp,
        error: &str,
        refused: bool,
    ) -> Result<(), StateError> {
        let (changed, perhaps) = {
            let mut inner = self.lock();
            let changed = inner.put_off(due, next_at, error, refused);
            (changed, inner.perhaps.contains_key(&due.key))
        };
        self.told.notify_one();
        match changed {
            Some(intent) => self.state.postponed(&intent, perhaps, &due.tries).await,
            None => self.state.save_attempts(&due.tries).await,
        }
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
        self.state.count_as_told(&told_to_row(key, &last)).await?;
        self.lock().told.insert(key.clone(), last);
        Ok(())
    }

    /// The groups of which something was delivered, failed, was refused or found no room since the
    /// last call.
    pub fn take_news(&self) -> Vec<LaneGroup> {
        std::mem::take(&mut self.lock().news).into_iter().collect()
    }

    /// Waits until there may be news.
    pub async fn news(&self) {
        self.told.notified().await;
    }

    /// How much is waiting, by lane.
    pub fn waiting(&self) -> BTreeMap<String, Waiting> {
        let inner = self.lock();
        let busy = inner.lanes.iter().filter(|(_, queue)| queue.len() > 0);
        busy.map(|(lane, queue)| {
            let entries = || queue.iter().map(|(_, entry)| &entry.intent);
            let waiting = Waiting {
                intents: queue.len(),
                oldest: entries().map(|intent| intent.created_at).min(),
                refused: entries().filter(|intent| intent.refused).count(),
            };
            (lane.clone(), waiting)
        })
        .collect()
    }

    /// How often an intent found no room in its lane and had to wait outside.
    pub fn overflows(&self) -> u64 {
        self.lock().overflows
    }

    /// The newest attempts to deliver something that `filter` wants, newest first.
    ///
    /// # Errors
    ///
    /// The database failed.
    pub async fn attempts(&self, filter: &AttemptFilter) -> Result<Vec<Attempt>, StateError> {
        self.state.attempts(filter).await
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
