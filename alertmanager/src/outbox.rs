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
//! An intent is on the disk before anybody acts on it. That it was delivered outlives the process at
//! once and the machine a second later: at worst a message is repeated, under its id.
//!
//! Invariant: the journal is written first; what is in memory is what a restart would find.

mod flush;
mod record;
mod queue;
mod inner;
mod outcome;
mod notice;

pub use flush::{
    Answer, Due, Flush, Intended, LaneGroup, LastTold, Reason, Standing, Waiting, queued_at,
};
pub use notice::NOTICE;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::labels::Labels;
use base::sample::Timestamp;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::crash;
use crate::state::{Attempt, AttemptFilter, Batch, State, StateError, Table};
use inner::{Inner, Kept, Perhaps};
use queue::{Entry, Queue};
use record::Intent;

/// The longest that an intent is ever put off: what a service may ask for at most.
pub const LONGEST_WAIT: Duration = Duration::from_secs(15 * 60);
/// Intents are written in pieces of about so many bytes: those of all groups at once would be a copy
/// of all alerts.
const PIECE: usize = 1 << 20;
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

/// What becomes of what is to be put in.
#[derive(Clone, Copy, Debug)]
enum Room {
    /// There is room for it; whether what it replaces was refused.
    For { refused: bool },
    /// It is no news: there is to be none.
    Idle,
    /// There is no room for another.
    Full,
}

impl Outbox {
    /// Whether what is put in now is in memory only, because the disk takes nothing.
    pub fn is_adrift(&self) -> bool {
        self.state.journal().is_adrift()
    }

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
            let last = Arc::new(LastTold::by(flush, told.thread, told.reference, told.at));
            inner.told.insert(key, Kept { last, record, flush_record });
        })?;
        journal.each(Table::Intent, |record, bytes| {
            let Some((intent, flush_record)) = record::intent(bytes) else {
                return unreadable("intent");
            };
            let Some(flush) = flushes.get(&flush_record) else { return unreadable("intent") };
            let queue = inner.lanes.entry(intent.lane.clone()).or_default();
            if intent.attempts > 0 {
                let since =
                    queue.failing_since.map_or(intent.created_at, |at| at.min(intent.created_at));
                queue.failing_since = Some(since);
            }
            let (fresh_at, flush) = (intent.created_at, Arc::clone(flush));
            queue.put(Entry { intent, flush, fresh_at, record, flush_record, leaves: false });
        })?;
        journal.each(Table::InFlight, |record, bytes| match record::in_flight(bytes) {
            // Nobody waits for the answer any more.
            Some((key, doubted, message)) => {
                let perhaps = Perhaps { record, message, doubted, on_its_way: None };
                inner.perhaps.insert(key, perhaps);
            }
            None => unreadable("in flight"),
        })?;
        for key in inner.perhaps.keys().cloned().collect::<Vec<_>>() {
            inner.settle(&key, || journal.new_id());
        }
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
        Some(self.lock().lanes.get(&key.lane)?.get(&key.group_key)?.intended())
    }

    /// What a lane knows of a group and what waits for it, at once: what waits may be delivered at any
    /// moment, and is told then.
    pub fn standing(&self, key: &LaneGroup) -> Standing {
        let inner = self.lock();
        let told = inner.known(key);
        let queue = inner.lanes.get(&key.lane);
        let intended = queue.and_then(|queue| queue.get(&key.group_key)).map(Entry::intended);
        Standing { told, intended }
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
    /// The journal failed; the texts are as before.
    pub async fn refresh(
        &self,
        key: &LaneGroup,
        flush: Flush,
        now: Timestamp,
    ) -> Result<(), StateError> {
        let mut inner = self.lock();
        let Some(queue) = inner.lanes.get_mut(&key.lane) else { return Ok(()) };
        let Some(Entry { flush_record, .. }) = queue.get(&key.group_key) else { return Ok(()) };
        let mut batch = Batch::default();
        batch.put(Table::Flush, *flush_record, |to| record::put_flush(to, &flush));
        self.state.journal().write(batch)?;
        queue.refresh(&key.group_key, flush, now);
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
    /// room for stays with dispatch, which looks at it again; and so does what is no news any more, since
    /// a message arrived after dispatch had looked.
    ///
    /// # Errors
    ///
    /// The journal failed. Those of the pieces that were written before are in.
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
        let (mut batch, mut entries) = (Batch::default(), Vec::with_capacity(flushes.len()));
        let (mut result, mut written) = (Ok(()), 0);
        let mut idle = Vec::new();
        for (key, flush) in flushes {
            let refused = match self.make_room(&key, &flush, &mut batch) {
                Room::For { refused } => refused,
                Room::Idle => {
                    idle.push(key);
                    continue;
                }
                Room::Full => continue,
            };
            let intent = Intent {
                id: self.new_id(&key, now),
                lane: key.lane,
                group_key: key.group_key,
                created_at: now,
                attempts: 0,
                next_at: now,
                last_error: String::new(),
                refused,
            };
            let journal = self.state.journal();
            let (record, flush_record) = (journal.new_id(), journal.new_id());
            batch.put(Table::Flush, flush_record, |to| record::put_flush(to, &flush));
            batch.put(Table::Intent, record, |to| record::put_intent(to, &intent, flush_record));
            let flush = Arc::new(flush);
            entries.push(Entry {
                intent,
                flush,
                fresh_at: now,
                record,
                flush_record,
                leaves: false,
            });
            if batch.size() >= PIECE {
                result = journal.write(std::mem::take(&mut batch));
                if result.is_err() {
                    break;
                }
                written = entries.len();
            }
        }
        result = result.and_then(|()| self.state.journal().write(batch));
        if result.is_err() {
            entries.truncate(written);
        }
        self.state.journal().sync().await?;
        crash::point("intent.durable");
        let (mut inner, mut batch) = (self.lock(), Batch::default());
        for entry in entries {
            let lane = entry.intent.lane.clone();
            let key = LaneGroup { group_key: entry.intent.group_key.clone(), lane };
            // What was on its way may have arrived while we waited for the disk.
            if key.is_notice() || inner.is_news(&key, &entry.flush) {
                let entry = match key.is_notice() {
                    true => entry,
                    false => entry.without_known_ends(inner.known(&key).as_deref(), &mut batch),
                };
                inner.lanes.entry(key.lane).or_default().put(entry);
                continue;
            }
            batch.remove(Table::Intent, entry.record);
            batch.remove(Table::Flush, entry.flush_record);
            idle.push(key);
        }
        for key in idle {
            if let Some(queue) = inner.lanes.get_mut(&key.lane) {
                queue.remove(&key.group_key);
            }
            if inner.settle(&key, || self.state.journal().new_id()) {
                self.told.notify_one();
            }
        }
        let removed = self.state.journal().write(batch);
        drop(inner);
        self.queued.notify_waiters();
        Ok(result.and(removed)?)
    }

    /// Takes out what `flush` will replace.
    fn make_room(&self, key: &LaneGroup, flush: &Flush, batch: &mut Batch) -> Room {
        let mut inner = self.lock();
        let is_idle = !key.is_notice() && !inner.is_news(key, flush);
        let queue = inner.lanes.entry(key.lane.clone()).or_default();
        if let Some(entry) = queue.get(&key.group_key) {
            batch.remove(Table::Intent, entry.record);
            batch.remove(Table::Flush, entry.flush_record);
            let refused = entry.intent.refused;
            // A lane may still be handing it over.
            queue.leave(&key.group_key);
            return if is_idle { Room::Idle } else { Room::For { refused } };
        }
        if is_idle {
            return Room::Idle;
        }
        if queue.len() < MOST_WAITING {
            return Room::For { refused: false };
        }
        inner.overflows += 1;
        inner.news.insert(key.clone());
        Room::Full
    }

    /// Takes an intent out: there is nothing to tell any more. What its receiver may have been told,
    /// since no answer came, counts as told: dispatch hears of it, so that the end is told.
    ///
    /// # Errors
    ///
    /// The journal failed.
    pub async fn withdraw(&self, key: &LaneGroup) -> Result<(), StateError> {
        let mut inner = self.lock();
        let mut batch = Batch::default();
        let entry = inner.lanes.get(&key.lane).and_then(|queue| queue.get(&key.group_key));
        if let Some(entry) = entry {
            batch.remove(Table::Intent, entry.record);
            batch.remove(Table::Flush, entry.flush_record);
        }
        self.state.journal().write(batch)?;
        crash::point("intent.withdrawn");
        if let Some(queue) = inner.lanes.get_mut(&key.lane) {
            queue.remove(&key.group_key);
            // Nothing is tried any more, so nothing fails.
            if queue.len() == 0 {
                queue.failing_since = None;
            }
        }
        if inner.settle(key, || self.state.journal().new_id()) {
            self.told.notify_one();
        }
        Ok(())
    }

    /// The intent of a lane whose turn it is, of those that are due at `now`; else when the next one
    /// is.
    pub fn next(&self, lane: &str, now: Timestamp) -> Result<Due, Option<Timestamp>> {
        let mut inner = self.lock();
        let Inner { lanes, told, .. } = &mut *inner;
        let Entry { intent, flush, .. } = lanes.get_mut(lane).ok_or(None)?.next(now)?;
        let key = LaneGroup { lane: lane.to_owned(), group_key: intent.group_key.clone() };
        let told = told.get(&key).map(|told| &told.last);
        let thread = told.map_or(&intent.id, |told| &told.thread).clone();
        let reference = told.and_then(|told| told.reference.clone());
        Ok(Due {
            id: intent.id.clone(),
            key,
            flush: Arc::clone(flush),
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
    /// The journal failed.
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
