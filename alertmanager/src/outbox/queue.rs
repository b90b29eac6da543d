//! What waits for one lane: at most one intent for a group, and which of them is next.
//!
//! ```text
//!            due now                                  not yet due
//! [ready]  newest first, every fourth the oldest   [waiting]  by when they are due
//! ```
//!
//! Invariant: every intent stands in exactly one of `ready` and `waiting`; finding the next one costs
//! the logarithm of how many there are.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use base::sample::Timestamp;

use super::record::{self, Intent};
use super::{Flush, Intended, LONGEST_WAIT, LastTold};
use crate::state::{Batch, Table};

/// After an outage the newest is told first (F18); so that the oldest is not put off for good while
/// more and more come, every fourth turn is its own.
const OLDEST_EVERY: u64 = 4;

/// An intent with what is to be told.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) intent: Intent,
    pub(super) flush: Arc<Flush>,
    /// Of when its texts are.
    pub(super) fresh_at: Timestamp,
    /// Its record in the journal, and that of its flush.
    pub(super) record: u64,
    pub(super) flush_record: u64,
    /// Whether the journal has another in its place already, which is about to come: nothing may
    /// build on its records any more.
    pub(super) leaves: bool,
}

impl Entry {
    /// What it is for whoever decides what is news.
    pub(super) fn intended(&self) -> Intended {
        let flush = Arc::clone(&self.flush);
        Intended { flush, fresh_at: self.fresh_at, refused: self.intent.refused }
    }

    /// The entry without the ends of what a receiver that was `told` this does not take to fire; where
    /// there are any, `batch` writes what is left.
    pub(super) fn without_known_ends(mut self, told: Option<&LastTold>, batch: &mut Batch) -> Self {
        if let Some(flush) = self.flush.without_known_ends(told) {
            batch.put(Table::Flush, self.flush_record, |to| record::put_flush(to, &flush));
            self.flush = Arc::new(flush);
        }
        self
    }
}

/// The queue of a lane.
#[derive(Debug, Default)]
pub(super) struct Queue {
    entries: HashMap<String, Entry>,
    /// By when they were decided, then by id.
    ready: BTreeSet<(Timestamp, String, String)>,
    waiting: BTreeSet<(Timestamp, String)>,
    /// Since when nothing was delivered although it was tried.
    pub(super) failing_since: Option<Timestamp>,
    turn: u64,
}

impl Queue {
    /// How many intents there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// All intents, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &Entry)> {
        self.entries.iter()
    }

    /// What waits for a group.
    pub(super) fn get(&self, group_key: &str) -> Option<&Entry> {
        self.entries.get(group_key)
    }

    /// Puts an intent in the place of an older one of its group.
    pub(super) fn put(&mut self, entry: Entry) {
        let group_key = entry.intent.group_key.clone();
        self.remove(&group_key);
        self.waiting.insert((entry.intent.next_at, group_key.clone()));
        self.entries.insert(group_key, entry);
    }

    /// Notes that the journal has, or soon has, another in the place of the intent of a group.
    pub(super) fn leave(&mut self, group_key: &str) {
        if let Some(entry) = self.entries.get_mut(group_key) {
            entry.leaves = true;
        }
    }

    /// Puts newer texts into the intent of a group.
    pub(super) fn refresh(&mut self, group_key: &str, flush: Flush, now: Timestamp) {
        if let Some(entry) = self.entries.get_mut(group_key) {
            (entry.flush, entry.fresh_at) = (Arc::new(flush), now);
        }
    }

    /// Makes the intent of a group due at `now`.
    pub(super) fn hasten(&mut self, group_key: &str, now: Timestamp) {
        if let Some(mut entry) = self.remove(group_key) {
            entry.intent.next_at = entry.intent.next_at.min(now);
            self.put(entry);
        }
    }

    /// Takes the intent of a group out.
    pub(super) fn remove(&mut self, group_key: &str) -> Option<Entry> {
        let entry = self.entries.remove(group_key)?;
        let Intent { created_at, next_at, id, .. } = &entry.intent;
        self.ready.remove(&(*created_at, id.clone(), group_key.to_owned()));
        self.waiting.remove(&(*next_at, group_key.to_owned()));
        Some(entry)
    }

    /// The intent whose turn it is, of those that are due at `now`; else when the next one is.
    pub(super) fn next(&mut self, now: Timestamp) -> Result<&Entry, Option<Timestamp>> {
        while let Some((next_at, _)) = self.waiting.first()
            && *next_at <= now
            && let Some((_, group_key)) = self.waiting.pop_first()
        {
            self.make_ready(group_key);
        }
        // Put off for longer than anything ever is: the clock was set back since.
        while let Some((next_at, _)) = self.waiting.last()
            && *next_at > now + LONGEST_WAIT
            && let Some((_, group_key)) = self.waiting.pop_last()
        {
            self.make_ready(group_key);
        }
        let is_oldest = self.turn % OLDEST_EVERY == OLDEST_EVERY - 1;
        let next = if is_oldest { self.ready.first() } else { self.ready.last() };
        let next_at = self.waiting.first().map(|(next_at, _)| *next_at);
        let (_, _, group_key) = next.ok_or(next_at)?;
        self.entries.get(group_key).ok_or(next_at)
    }

    fn make_ready(&mut self, group_key: String) {
        if let Some(Entry { intent, .. }) = self.entries.get(&group_key) {
            self.ready.insert((intent.created_at, intent.id.clone(), group_key));
        }
    }

    /// Notes that something was handed over: the next has its turn.
    pub(super) fn took_turn(&mut self) {
        self.turn += 1;
    }
}

#[cfg(test)]
mod tests {
    use base::labels::Labels;

    use super::super::Reason;
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn entry(group_key: &str, created: i64, next: i64) -> Entry {
        Entry {
            intent: Intent {
                id: format!("{created:06}{group_key}"),
                lane: "l".to_owned(),
                group_key: group_key.to_owned(),
                created_at: at(created),
                attempts: 0,
                next_at: at(next),
                last_error: String::new(),
                refused: false,
            },
            flush: Arc::new(Flush {
                receiver: "r".to_owned(),
                group_labels: Labels::empty(),
                route_labels: Labels::empty(),
                reason: Reason::First,
                alerts: Vec::new(),
                kept: Vec::new(),
                answer: super::super::Answer::default(),
            }),
            fresh_at: at(created),
            record: 0,
            flush_record: 0,
            leaves: false,
        }
    }

    /// The groups in the order in which they are taken at `seconds`.
    fn drain(queue: &mut Queue, seconds: i64) -> String {
        let mut taken = String::new();
        while let Ok(entry) = queue.next(at(seconds)) {
            let group_key = entry.intent.group_key.clone();
            taken.push_str(&group_key);
            queue.remove(&group_key);
            queue.took_turn();
        }
        taken
    }

    fn queue(entries: &[(&str, i64, i64)]) -> Queue {
        let mut queue = Queue::default();
        entries.iter().for_each(|(key, created, next)| queue.put(entry(key, *created, *next)));
        queue
    }

    #[test]
    fn takes_the_newest_first_and_every_fourth_time_the_oldest_f18() {
        let all = [("a", 1, 1), ("b", 2, 2), ("c", 3, 3), ("d", 4, 4), ("e", 5, 5), ("f", 6, 6)];
        assert_eq!(drain(&mut queue(&all), 10), "fedacb");
        assert_eq!(drain(&mut queue(&all), 3), "cba");
    }

    #[test]
    fn says_when_the_next_is_due_and_follows_a_clock_that_was_set_back() {
        let mut waiting = queue(&[("a", 1, 50), ("b", 2, 40)]);
        assert_eq!(waiting.next(at(10)).map(|_| ()), Err(Some(at(40))));
        assert_eq!(drain(&mut waiting, 45), "b");
        assert_eq!(waiting.next(at(45)).map(|_| ()), Err(Some(at(50))));
        assert_eq!(drain(&mut queue(&[("a", 9000, 9000)]), 10), "a");
        assert_eq!(queue(&[]).next(at(10)).map(|_| ()), Err(None));
    }

    #[test]
    fn has_one_intent_for_a_group_the_newest() {
        let mut queue = queue(&[("a", 1, 1), ("b", 2, 2)]);
        assert!(queue.next(at(5)).is_ok());
        queue.put(entry("a", 3, 3));
        assert_eq!(queue.len(), 2);
        assert_eq!(drain(&mut queue, 5), "ab");
        assert_eq!((queue.len(), queue.ready.len(), queue.waiting.len()), (0, 0, 0));
    }
}
