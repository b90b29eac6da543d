//! What comes of messages: they are on their way, delivered, put off or refused, and what their
//! receivers know then.
//!
//! Invariant: what is noted together is one batch of the journal, so a crash leaves all of it or
//! nothing.

use std::sync::Arc;

use base::sample::Timestamp;

use super::inner::{Inner, Kept, Perhaps, add};
use super::queue::Entry;
use super::{Due, Flush, LaneGroup, LastTold, Outbox, record};
use crate::alerts::Alert;
use crate::crash;
use crate::state::{Batch, StateError, Table};

impl Outbox {
    /// Notes that `due` is handed over now: should no answer come, not even to us, its receiver may
    /// have been told. That outlives a crash of ours, and the machine's where a second has passed.
    ///
    /// # Errors
    ///
    /// The journal failed.
    pub async fn handing_over(&self, due: &Due) -> Result<(), StateError> {
        let mut inner = self.lock();
        let alerts = inner.perhaps_told(due);
        let perhaps = inner.perhaps.entry(due.key.clone()).or_insert_with(|| Perhaps {
            record: self.state.journal().new_id(),
            message: LastTold::nothing(due),
            doubted: Vec::new(),
            on_its_way: None,
        });
        let mut batch = Batch::default();
        put_in_flight(&mut batch, &due.key, perhaps, &alerts);
        perhaps.on_its_way = Some(alerts);
        // Where the journal fails this is known to us at least.
        self.state.journal().write(batch)?;
        crash::point("flight.noted");
        Ok(())
    }

    /// A lane begins: what the one before it left on its way may have arrived. To be called when that
    /// one has ended.
    pub fn begin_lane(&self, lane: &str) {
        let mut inner = self.lock();
        let left = inner.perhaps.iter_mut().filter(|(key, _)| key.lane == lane);
        let left: Vec<_> = left
            .filter_map(|(key, perhaps)| {
                perhaps.doubted = perhaps.on_its_way.take()?;
                Some(key.clone())
            })
            .collect();
        for key in left {
            if inner.settle(&key, || self.state.journal().new_id()) {
                self.told.notify_one();
            }
        }
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
        let mut inner = self.lock();
        let reference = reference.or_else(|| due.reference.clone());
        let mut last = LastTold::by(&due.flush, due.thread.clone(), reference, now);
        let mut batch = Batch::default();
        let queue = inner.lanes.get(&due.key.lane);
        let current = queue.and_then(|queue| queue.get(&due.key.group_key));
        let current = current.filter(|entry| entry.intent.id == due.id);
        if let Some(entry) = current {
            batch.remove(Table::Intent, entry.record);
        }
        // Decided before an earlier message arrived, or perhaps did, it says nothing of what that one
        // told; dispatch compares, and tells the end.
        let silent = inner.known_before(due);
        // What is remembered is the flush as it is in the journal, or another one.
        let same = current.filter(|entry| !entry.leaves && Arc::ptr_eq(&entry.flush, &due.flush));
        let same = same.filter(|_| silent.is_empty());
        if let (Some(entry), None) = (current, same) {
            batch.remove(Table::Flush, entry.flush_record);
        }
        let (is_current, flush_record) = (current.is_some(), same.map(|entry| entry.flush_record));
        add(&mut last.firing, &silent);
        let flush = if silent.is_empty() { Flush::clone(&due.flush) } else { last.as_flush() };
        if let Some(perhaps) = inner.perhaps.get(&due.key) {
            batch.remove(Table::InFlight, perhaps.record);
        }
        // Decided before this one arrived, another may say nothing that its receiver does not know.
        let next = queue.and_then(|queue| queue.get(&due.key.group_key)).filter(|_| !is_current);
        let idle = next.filter(|next| !next.leaves && !due.key.is_notice());
        let idle = idle.filter(|next| !next.flush.reason.is_of_answer());
        let idle = idle.filter(|next| !next.flush.is_news_after(Some(&last)));
        if let Some(entry) = idle {
            batch.remove(Table::Intent, entry.record);
            batch.remove(Table::Flush, entry.flush_record);
        }
        let is_idle = idle.is_some();
        let goes_on = next.filter(|next| !is_idle && !next.leaves && !due.key.is_notice());
        let goes_on = goes_on.map(|next| next.clone().without_known_ends(Some(&last), &mut batch));
        let told = self.note_told(&inner, &mut batch, &due.key, last, flush_record, &flush);
        let attempts = self.state.put_attempts(&mut batch, &due.tries);
        self.state.journal().write(batch)?;
        crash::point("receipt.noted");
        self.state.attempted(attempts);
        if let Some(queue) = inner.lanes.get_mut(&due.key.lane) {
            if is_current || is_idle {
                queue.remove(&due.key.group_key);
            }
            if let Some(next) = goes_on {
                queue.put(next);
            }
            queue.failing_since = None;
            queue.took_turn();
        }
        match told {
            Some(told) => inner.told.insert(due.key.clone(), told),
            None => inner.told.remove(&due.key),
        };
        inner.perhaps.remove(&due.key);
        inner.news.insert(due.key.clone());
        drop(inner);
        self.told.notify_one();
        Ok(())
    }

    /// Adds to `batch` that `last` was told by `flush`, whose record is `flush_record` where it has
    /// one. Nothing that fires means all clear: the next message of the group begins a new thread,
    /// and there is nothing to remember.
    pub(super) fn note_told(
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
        batch.put(Table::Told, record, |to| record::put_told(to, key, &last, flush_record));
        Some(Kept { last: Arc::new(last), record, flush_record })
    }

    /// Notes that `due` could not be delivered and is to be tried again at `next_at`; dispatch hears
    /// of it, because what waits for that lane may have to take another way.
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
        self.put_off(due, next_at, error, false).await
    }

    /// Notes that `due` was refused for good. It is tried again at `next_at` all the same, since what
    /// is at fault may be mended by then; dispatch hears of it.
    ///
    /// # Errors
    ///
    /// The journal failed; it is tried again all the same.
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
        let mut inner = self.lock();
        let mut batch = Batch::default();
        if let Some(entry) = inner.put_off(due, next_at, error, refused) {
            let Entry { intent, record, flush_record, .. } = entry;
            batch.put(Table::Intent, record, |to| record::put_intent(to, &intent, flush_record));
        }
        let perhaps = due.may_have_arrived.then(|| inner.perhaps_told(due));
        if let Some(known) = inner.perhaps.get_mut(&due.key) {
            known.on_its_way = None;
            known.doubted = perhaps.unwrap_or_else(|| std::mem::take(&mut known.doubted));
            match known.doubted.is_empty() {
                false => put_in_flight(&mut batch, &due.key, known, &known.doubted),
                true => {
                    batch.remove(Table::InFlight, known.record);
                    inner.perhaps.remove(&due.key);
                }
            }
        }
        // It was withdrawn while it was on its way, and perhaps it arrived.
        inner.settle(&due.key, || self.state.journal().new_id());
        self.told.notify_one();
        let attempts = self.state.put_attempts(&mut batch, &due.tries);
        self.state.journal().write(batch)?;
        crash::point("failure.noted");
        self.state.attempted(attempts);
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
        let Some(before) = inner.told.get(key) else { return Ok(()) };
        let last = LastTold { firing, ..LastTold::clone(&before.last) };
        let (mut batch, flush) = (Batch::default(), last.as_flush());
        let told = self.note_told(&inner, &mut batch, key, last, None, &flush);
        // What it may have been told counts with that.
        let doubt = inner.perhaps.get(key).filter(|perhaps| perhaps.on_its_way.is_none());
        let doubt = doubt.map(|perhaps| perhaps.record);
        doubt.into_iter().for_each(|record| batch.remove(Table::InFlight, record));
        self.state.journal().write(batch)?;
        if doubt.is_some() {
            inner.perhaps.remove(key);
        }
        match told {
            Some(told) => inner.told.insert(key.clone(), told),
            None => inner.told.remove(key),
        };
        Ok(())
    }
}

/// Notes what may have been told of a group, `alerts`.
fn put_in_flight(batch: &mut Batch, key: &LaneGroup, perhaps: &Perhaps, alerts: &[Arc<Alert>]) {
    batch.put(Table::InFlight, perhaps.record, |to| {
        record::put_in_flight(to, key, alerts, &perhaps.message);
    });
}
