//! Examples of what was counted: the newest ones.
//!
//! ```text
//!          ┌─▶ log, where those find them who follow it
//! append ──┴─▶ ring of so many, the oldest goes ──▶ exemplars(matchers, range)
//!                └─ with the head on the disk
//! ```
//!
//! Invariant: there are never more than the options allow; a start finds those that the disk took.

pub(crate) mod bytes;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use base::labels::Labels;
use base::matcher::Matcher;
use base::sample::Timestamp;

use crate::Storage;

/// The most bytes that names and values of an exemplar's labels may have; OpenMetrics allows as
/// many characters.
const MAX_LABELS: usize = 512;
/// The same of their series: they may stand beside each of them in the log.
const MAX_SERIES: usize = 8 << 10;
/// So many bytes are a payload of the log.
const PAYLOAD: usize = 4 << 20;

/// An example of what a series counted.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// What it was: a trace id, say.
    pub labels: Labels,
    /// Its value.
    pub value: f64,
    /// When it was observed.
    pub timestamp: Timestamp,
}

/// So many exemplars are a frame of the head on the disk.
const FRAME: usize = 4096;

/// The newest exemplars.
#[derive(Debug)]
pub(crate) struct Ring(Mutex<Newest>);

#[derive(Debug, Default)]
pub(crate) struct Newest {
    /// How many there may be.
    most: usize,
    /// In the order in which they came.
    all: VecDeque<(Labels, Exemplar)>,
    /// How many have gone.
    gone: u64,
    /// The last of each series, counted from the first there ever was.
    lasts: HashMap<Labels, u64>,
}

/// What became of an exemplar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    New,
    /// The series had it last.
    Known,
    /// It is older than the last of the series, or its labels are too long, or none are kept.
    LeftOut,
}

impl Newest {
    /// None yet, of `most` at most.
    pub(crate) fn of(most: usize) -> Self {
        Self { most, ..Self::default() }
    }

    /// Keeps an exemplar if it is news.
    pub(crate) fn take_back(&mut self, series: &Labels, exemplar: &Exemplar) {
        self.offer(series, exemplar);
    }

    fn offer(&mut self, series: &Labels, exemplar: &Exemplar) -> Fate {
        let bytes: usize = exemplar.labels.iter().map(|(n, v)| n.len() + v.len()).sum();
        if self.most == 0 || bytes > MAX_LABELS || series.as_encoded().len() > MAX_SERIES {
            return Fate::LeftOut;
        }
        match self.last(series) {
            // A target shows the same one until there is a newer one.
            Some(last) if is_same(last, exemplar) => Fate::Known,
            Some(last) if last.timestamp > exemplar.timestamp => Fate::LeftOut,
            _ => {
                self.push(series.clone(), exemplar.clone());
                Fate::New
            }
        }
    }

    /// Frames of the head on the disk with all of them.
    fn frames(&self) -> Vec<Vec<u8>> {
        let all: Vec<_> = self.all.iter().collect();
        let frame = |part: &[&(Labels, Exemplar)]| {
            let mut bytes = Vec::new();
            bytes::push_mark(&mut bytes);
            for (series, exemplar) in part {
                bytes::push(&mut bytes, None, series, exemplar);
            }
            bytes
        };
        all.chunks(FRAME).map(frame).collect()
    }

    /// The last of a series.
    fn last(&self, series: &Labels) -> Option<&Exemplar> {
        let place = self.lasts.get(series)?.checked_sub(self.gone)?;
        Some(&self.all.get(usize::try_from(place).ok()?)?.1)
    }

    fn push(&mut self, series: Labels, exemplar: Exemplar) {
        while self.all.len() >= self.most {
            let Some((series, _)) = self.all.pop_front() else { break };
            if self.lasts.get(&series) == Some(&self.gone) {
                self.lasts.remove(&series);
            }
            self.gone += 1;
        }
        self.lasts.insert(series.clone(), self.gone + self.all.len() as u64);
        self.all.push_back((series, exemplar));
    }
}

/// Also where the value is not a number.
fn is_same(a: &Exemplar, b: &Exemplar) -> bool {
    let is_same = a.value.to_bits() == b.value.to_bits();
    is_same && a.timestamp == b.timestamp && a.labels == b.labels
}

impl Ring {
    pub(crate) fn new(newest: Newest) -> Self {
        Self(Mutex::new(newest))
    }

    /// As frames of the head on the disk.
    pub(crate) fn frames(&self) -> Vec<Vec<u8>> {
        self.lock().frames()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().all.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Newest> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Storage {
    /// Keeps exemplars of series; one that the series had last is known already, and one that is older,
    /// or whose labels are too long, is left out. Returns how many are kept, those known included. They
    /// are as durable as samples; where the disk takes nothing, they are in memory only.
    pub fn append_exemplars(
        &self,
        exemplars: impl IntoIterator<Item = (Labels, Exemplar)>,
    ) -> usize {
        let given: Vec<_> = exemplars.into_iter().collect();
        if given.is_empty() {
            return 0;
        }
        // All the time, so that the head on the disk has those that stand in the log before it.
        let mut writer = self.writer();
        let (mut kept, mut new) = (0, Vec::new());
        {
            let mut ring = self.exemplars.lock();
            for (series, exemplar) in &given {
                let fate = ring.offer(series, exemplar);
                kept += usize::from(fate != Fate::LeftOut);
                new.extend((fate == Fate::New).then_some((series, exemplar)));
            }
        }
        if let Some(log) = writer.log.as_mut() {
            let mut new = new.as_slice();
            while !new.is_empty() {
                let begun = if log.needs_another() { log.rotate() } else { Ok(()) };
                let payload = self.payload(&mut new, log.number());
                // Their samples were taken a moment ago; if the disk has failed since, these are the lesser
                // loss.
                let _ =
                    begun.and_then(|()| log.append_payload(|to| to.extend_from_slice(&payload)));
            }
        }
        kept
    }

    /// A payload for a segment of the log, with as many of `new` as belong into one.
    fn payload(&self, new: &mut &[(&Labels, &Exemplar)], segment: u32) -> Vec<u8> {
        let head = self.head();
        let defined = |series: &Labels| {
            let found = head.find(series)?;
            (head.get(found)?.logged_in == segment).then_some(found.slot)
        };
        let mut payload = Vec::new();
        bytes::push_mark(&mut payload);
        while let Some(((series, exemplar), rest)) = new.split_first() {
            bytes::push(&mut payload, defined(series), series, exemplar);
            *new = rest;
            if payload.len() > PAYLOAD {
                break;
            }
        }
        payload
    }

    /// The exemplars from `from` to `to`, both included, of series that any of the lists of matchers
    /// accepts; sorted by series, and those of a series by time.
    pub fn exemplars(
        &self,
        selectors: &[Vec<Matcher>],
        from: Timestamp,
        to: Timestamp,
    ) -> BTreeMap<Labels, Vec<Exemplar>> {
        let accepted = |labels: &Labels| {
            selectors.iter().any(|all| all.iter().all(|one| one.matches_labels(labels)))
        };
        let mut found: BTreeMap<Labels, Vec<Exemplar>> = BTreeMap::new();
        for (series, exemplar) in &self.exemplars.lock().all {
            if (from..=to).contains(&exemplar.timestamp) && accepted(series) {
                found.entry(series.clone()).or_default().push(exemplar.clone());
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Options;

    #[test]
    fn the_newest_are_found_by_series_and_time() {
        let storage = Storage::in_memory(Options { max_exemplars: 3, ..Options::default() });
        let series = |name: &str| Labels::from_pairs([("__name__", name)]);
        let at = Timestamp::from_millis;
        let exemplar = |trace: &str, time| Exemplar {
            labels: Labels::from_pairs([("trace_id", trace)]),
            value: 1.0,
            timestamp: at(time),
        };
        let long = "x".repeat(600);
        let given = [
            (series("a"), exemplar("1", 1)),
            (series("a"), exemplar("1", 1)),
            (series("a"), exemplar("2", 2)),
            (series("a"), exemplar("older", 1)),
            (series("b"), exemplar("3", 3)),
            (series("b"), exemplar(&long, 4)),
            (series("b"), exemplar("4", 4)),
        ];
        assert_eq!(storage.append_exemplars(given), 5);
        let traces = |selector: &[Matcher], from, to| -> Vec<String> {
            let found = storage.exemplars(&[selector.to_vec()], at(from), at(to));
            let all = found.into_values().flatten();
            all.map(|e| e.labels.get("trace_id").unwrap_or("").to_owned()).collect()
        };
        assert_eq!(traces(&[], 0, 9), ["2", "3", "4"]);
        assert_eq!(traces(&[Matcher::equal("__name__", "b")], 0, 9), ["3", "4"]);
        assert_eq!(traces(&[], 3, 3), ["3"]);
    }

    #[test]
    fn long_labels_of_series_cost_little_and_nothing_is_lost_x22() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Storage::open(dir.path(), Options::default()).unwrap();
        let series = |length: usize| Labels::from_pairs([("__name__", &*"x".repeat(length))]);
        let exemplar = |time| Exemplar {
            labels: Labels::empty(),
            value: 1.0,
            timestamp: Timestamp::from_millis(time),
        };
        let count = |storage: &Storage| {
            let found = storage.exemplars(&[Vec::new()], Timestamp::MIN, Timestamp::MAX);
            found.into_values().map(|all| all.len()).sum::<usize>()
        };
        let storage = open();
        let all = (0..2000).map(|time| (series(8000), exemplar(time)));
        assert_eq!(storage.append_exemplars(all), 2000);
        assert!(storage.stats().log_bytes as usize > 3 * PAYLOAD);
        // As long as no series should be: they would stand beside each of their exemplars.
        let longer = (0..2000).map(|time| (series(MAX_SERIES), exemplar(time)));
        assert_eq!(storage.append_exemplars(longer), 0);
        assert_eq!(count(&storage), 2000);
        drop(storage);
        assert_eq!(count(&open()), 2000);
    }
}
