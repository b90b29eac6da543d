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
//! An intent is on the disk before anybody acts on it. That it was delivered outlives the process at
//! once and the machine a second later: at worst a message is repeated, under its id.
//!
//! Invariant: the journal is written first; what is in memory is what a restart would find.

mod message;
mod record;

pub use message::{Due, Flush, LaneGroup, LastTold, Reason, Waiting};

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::labels::Labels;
use base::sample::Timestamp;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::alerts::Alert;
use crate::state::{Batch, State, StateError, Table};
use record::Intent;

/// The longest that an intent is ever put off: what a service may ask for at most.
pub const LONGEST_WAIT: Duration = Duration::from_secs(15 * 60);

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
    intents: BTreeMap<LaneGroup, Queued>,
    told: HashMap<LaneGroup, Kept>,
    /// What has come of intents since dispatch last asked.
    news: Vec<LaneGroup>,
    sequence: u64,
}

/// An intent, with the ids of its record and of that of its flush.
#[derive(Debug)]
struct Queued {
    intent: Intent,
    flush: Arc<Flush>,
    record: u64,
    flush_record: u64,
}

/// What was told, with the ids of its record and of that of the flush that told it.
#[derive(Debug)]
struct Kept {
    last: Arc<LastTold>,
    record: u64,
    flush_record: u64,
}

impl Outbox {
    /// Reads what a run before left.
    ///
    /// # Errors
    ///
    /// The journal cannot be read. A record that is not ours is left out with a warning.
    pub async fn open(state: State) -> Result<Self, StateError> {
        let mut inner = Inner::default();
        let mut flushes: HashMap<u64, Arc<Flush>> = HashMap::new();
        let unreadable = |what| tracing::warn!(what, "a record of the outbox cannot be read");
        let journal = state.journal();
        journal.each(Table::Flush, |id, bytes| match record::flush(bytes) {
            Some(flush) => drop(flushes.insert(id, Arc::new(flush))),
            None => unreadable("flush"),
        })?;
        journal.each(Table::Told, |record, bytes| {
            let Some((key, told, flush_record)) = record::told(bytes) else {
                return unreadable("told");
            };
            let Some(flush) = flushes.get(&flush_record) else { return unreadable("told") };
            let last = LastTold::by(flush, told.thread, told.reference, told.at);
            let last = Arc::new(last);
            inner.told.insert(key, Kept { last, record, flush_record });
        })?;
        journal.each(Table::Intent, |record, bytes| {
            let Some((key, intent, flush_record)) = record::intent(bytes) else {
                return unreadable("intent");
            };
            let Some(flush) = flushes.get(&flush_record) else { return unreadable("intent") };
            let flush = Arc::clone(flush);
            inner.intents.insert(key, Queued { intent, flush, record, flush_record });
        })?;
        let inner = Arc::new(Mutex::new(inner));
        Ok(Self { state, inner, queued: Arc::default(), told: Arc::default() })
    }

    /// What a lane was last told of a group.
    pub fn last_told(&self, key: &LaneGroup) -> Option<Arc<LastTold>> {
        self.lock().told.get(key).map(|told| Arc::clone(&told.last))
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
    pub fn intended(&self, key: &LaneGroup) -> Option<Arc<Flush>> {
        self.lock().intents.get(key).map(|queued| Arc::clone(&queued.flush))
    }

    /// Puts intents in, each in place of an older one of its lane and group.
    ///
    /// # Errors
    ///
    /// The journal failed; none is in.
    pub async fn enqueue(
        &self,
        flushes: Vec<(LaneGroup, Flush)>,
        now: Timestamp,
    ) -> Result<(), StateError> {
        if flushes.is_empty() {
            return Ok(());
        }
        // Two routes may lead to the same: the later one counts.
        let flushes: BTreeMap<LaneGroup, Flush> = flushes.into_iter().collect();
        let (mut batch, mut queued) = (Batch::default(), Vec::with_capacity(flushes.len()));
        for (key, flush) in flushes {
            let intent = Intent {
                id: self.new_id(&key, now),
                created_at: now,
                attempts: 0,
                next_at: now,
                last_error: String::new(),
            };
            let journal = self.state.journal();
            let (record, flush_record) = (journal.new_id(), journal.new_id());
            if let Some(older) = self.lock().intents.get(&key) {
                batch.remove(Table::Intent, older.record);
                batch.remove(Table::Flush, older.flush_record);
            }
            batch.put(Table::Flush, flush_record, |to| record::put_flush(to, &flush));
            batch.put(Table::Intent, record, |to| {
                record::put_intent(to, &key, &intent, flush_record);
            });
            queued.push((key, Queued { intent, flush: Arc::new(flush), record, flush_record }));
        }
        self.state.journal().commit(batch).await?;
        self.lock().intents.extend(queued);
        self.queued.notify_waiters();
        Ok(())
    }

    /// Takes an intent out: there is nothing to tell any more.
    ///
    /// # Errors
    ///
    /// The journal failed.
    pub async fn withdraw(&self, key: &LaneGroup) -> Result<(), StateError> {
        let mut inner = self.lock();
        let Some(queued) = inner.intents.get(key) else { return Ok(()) };
        let mut batch = Batch::default();
        batch.remove(Table::Intent, queued.record);
        batch.remove(Table::Flush, queued.flush_record);
        self.state.journal().write(batch)?;
        inner.intents.remove(key);
        Ok(())
    }

    /// The intent of a lane that has waited longest, of those that are due at `now`; else when the
    /// next one is.
    pub fn next(&self, lane: &str, now: Timestamp) -> Result<Due, Option<Timestamp>> {
        let inner = self.lock();
        let from = LaneGroup { lane: lane.to_owned(), group_key: String::new() };
        let of_lane = inner.intents.range(from..).take_while(|(key, _)| key.lane == lane);
        let mut next_at: Option<Timestamp> = None;
        let mut oldest: Option<(&LaneGroup, &Queued)> = None;
        for (key, queued) in of_lane {
            let intent = &queued.intent;
            // Postponed for longer than anything ever is: the clock was set back since.
            let set_back = intent.next_at > now + LONGEST_WAIT;
            if intent.next_at > now && !set_back {
                next_at = Some(next_at.map_or(intent.next_at, |at| at.min(intent.next_at)));
            } else if oldest.is_none_or(|(_, other)| intent.created_at < other.intent.created_at) {
                oldest = Some((key, queued));
            }
        }
        let (key, Queued { intent, flush, .. }) = oldest.ok_or(next_at)?;
        let told = inner.told.get(key).map(|told| &told.last);
        let thread = told.map_or(&intent.id, |told| &told.thread).clone();
        let reference = told.and_then(|told| told.reference.clone());
        Ok(Due {
            id: intent.id.clone(),
            key: key.clone(),
            flush: Arc::clone(flush),
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
    /// The journal failed; it will be delivered again under the same id.
    pub async fn delivered(
        &self,
        due: &Due,
        reference: Option<String>,
        now: Timestamp,
    ) -> Result<(), StateError> {
        let reference = reference.or_else(|| due.reference.clone());
        let last = LastTold::by(&due.flush, due.thread.clone(), reference, now);
        let mut batch = Batch::default();
        let mut inner = self.lock();
        let current = inner.intents.get(&due.key).filter(|queued| queued.intent.id == due.id);
        let delivered = current.map(|queued| (queued.record, queued.flush_record));
        if let Some((record, _)) = delivered {
            batch.remove(Table::Intent, record);
        }
        let flush_record = delivered.map(|(_, flush_record)| flush_record);
        let told = self.note_told(&inner, &mut batch, &due.key, last, flush_record, &due.flush);
        self.state.journal().write(batch)?;
        if delivered.is_some() {
            inner.intents.remove(&due.key);
        }
        match told {
            Some(told) => inner.told.insert(due.key.clone(), told),
            None => inner.told.remove(&due.key),
        };
        inner.news.push(due.key.clone());
        drop(inner);
        self.told.notify_one();
        Ok(())
    }

    /// Adds to `batch` that `last` was told by `flush`, whose record is `flush_record` where it has
    /// one. Nothing that fires means all clear: the next message of the group begins a new thread,
    /// and there is nothing to remember.
    fn note_told(
        &self,
        inner: &Inner,
        batch: &mut Batch,
        key: &LaneGroup,
        last: LastTold,
        flush_record: Option<u64>,
        flush: &Flush,
    ) -> Option<Kept> {
        let before = inner.told.get(key);
        if let Some(before) = before {
            batch.remove(Table::Flush, before.flush_record);
        }
        if last.firing.is_empty() {
            flush_record.into_iter().for_each(|record| batch.remove(Table::Flush, record));
            before.into_iter().for_each(|before| batch.remove(Table::Told, before.record));
            return None;
        }
        let flush_record = flush_record.unwrap_or_else(|| {
            let record = self.state.journal().new_id();
            batch.put(Table::Flush, record, |to| record::put_flush(to, flush));
            record
        });
        let record = before.map_or_else(|| self.state.journal().new_id(), |before| before.record);
        batch.put(Table::Told, record, |to| {
            record::put_told(to, key, &last, flush_record);
        });
        Some(Kept { last: Arc::new(last), record, flush_record })
    }

    /// Notes that `due` could not be delivered and is to be tried again at `next_at`.
    ///
    /// # Errors
    ///
    /// The journal failed; it is tried again all the same.
    pub async fn postponed(
        &self,
        due: &Due,
        next_at: Timestamp,
        error: &str,
    ) -> Result<(), StateError> {
        let mut inner = self.lock();
        let current = inner.intents.get_mut(&due.key).filter(|queued| queued.intent.id == due.id);
        let Some(Queued { intent, record, flush_record, .. }) = current else { return Ok(()) };
        intent.attempts = due.attempts.saturating_add(1);
        intent.next_at = next_at;
        error.clone_into(&mut intent.last_error);
        let mut batch = Batch::default();
        batch.put(Table::Intent, *record, |to| {
            record::put_intent(to, &due.key, intent, *flush_record);
        });
        Ok(self.state.journal().write(batch)?)
    }

    /// Takes `due` out because it can never be delivered; dispatch hears of it.
    ///
    /// # Errors
    ///
    /// The journal failed.
    pub async fn refused(&self, due: &Due) -> Result<(), StateError> {
        let current =
            self.lock().intents.get(&due.key).is_some_and(|queued| queued.intent.id == due.id);
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
    /// The journal failed.
    pub async fn count_as_told(
        &self,
        key: &LaneGroup,
        firing: Vec<Arc<Alert>>,
    ) -> Result<(), StateError> {
        let mut inner = self.lock();
        let Some(before) = inner.told.get(key).map(|told| Arc::clone(&told.last)) else {
            return Ok(());
        };
        let flush = Flush {
            receiver: before.receiver.clone(),
            group_labels: before.group_labels.clone(),
            route_labels: Labels::empty(),
            reason: Reason::Resolved,
            alerts: firing,
            kept: Vec::new(),
        };
        let (thread, reference) = (before.thread.clone(), before.reference.clone());
        let last = LastTold::by(&flush, thread, reference, before.at);
        let mut batch = Batch::default();
        let told = self.note_told(&inner, &mut batch, key, last, None, &flush);
        self.state.journal().write(batch)?;
        match told {
            Some(told) => inner.told.insert(key.clone(), told),
            None => inner.told.remove(key),
        };
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
        for (key, Queued { intent, .. }) in &self.lock().intents {
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
