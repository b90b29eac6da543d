//! The newest samples: all series that are alive, each with its chunks, in memory.
//!
//! Invariant: a series' samples rise in time, and no chunk reaches over the end of a window of
//! [`WINDOW`], so that whole chunks move into a block.

mod room;
mod series;

pub(crate) use room::{Limit, NoRoom};
pub(crate) use series::{Fit, HeadSeries, Kept, Offer, Sealed};

use std::hash::BuildHasher;
use std::num::NonZeroU32;
use std::time::Duration;

use base::labels::Labels;
use base::matcher::{MatchOp, Matcher};
use base::sample::Timestamp;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use roaring::RoaringBitmap;

use crate::chunk::{Held, Span, UNKNOWN};
use crate::index::Index;

/// What a block holds of time.
pub(crate) const WINDOW: Duration = Duration::from_secs(2 * 3600);

/// The window that `time` is in.
pub(crate) fn window_of(time: Timestamp) -> i64 {
    time.millis().div_euclid(WINDOW.as_millis() as i64)
}

/// Names a series until it is dropped; a later one in the same slot has another generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SeriesRef {
    pub(crate) slot: u32,
    /// Not zero, so that there may be none in the same room.
    pub(crate) generation: NonZeroU32,
}

/// All series that are alive.
#[derive(Debug, Default)]
pub(crate) struct Head {
    slots: Vec<Option<HeadSeries>>,
    free: Vec<u32>,
    /// That of the newest series.
    generation: u32,
    /// The slots by the labels of their series, which stand there.
    by_labels: HashTable<u32>,
    hasher: RandomState,
    index: Index<RoaringBitmap>,
    all: RoaringBitmap,
    /// Metrics that are watched, and a bit for each slot that has a series of one of them: every
    /// sample asks, so it must cost next to nothing.
    watched: &'static [&'static str],
    watched_slots: Vec<u64>,
    /// Samples before it are in blocks.
    pub(crate) min_time: Option<Timestamp>,
    /// Samples before it are on their way into a block: no more are taken.
    pub(crate) closed_until: Option<Timestamp>,
    pub(crate) max_time: Option<Timestamp>,
    /// No sample in memory is older.
    pub(crate) oldest: Option<Timestamp>,
    /// How often chunks or series have been dropped.
    pub(crate) moved: u64,
    /// How long before the last of its series a sample may be, in milliseconds.
    window: i64,
    /// Whether any series has, or had, histograms.
    pub(crate) has_natives: bool,
}

impl Head {
    /// A head that watches metrics, and takes samples that come up to `window` late.
    pub(crate) fn new(watched: &'static [&'static str], window: Duration) -> Self {
        let window = i64::try_from(window.as_millis()).unwrap_or(i64::MAX);
        Self { watched, window, ..Self::default() }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_labels.len()
    }

    pub(crate) fn find(&self, labels: &Labels) -> Option<SeriesRef> {
        self.find_encoded(labels.as_encoded(), None)
    }

    /// The series with the labels that are written as `encoded`. Senders tell series in the order in
    /// which they told them first, so the one behind `before` is looked at before others.
    pub(crate) fn find_encoded(
        &self,
        encoded: &str,
        before: Option<SeriesRef>,
    ) -> Option<SeriesRef> {
        let of = |slot: u32| {
            let series = self.in_slot(slot).filter(|s| s.labels.as_encoded() == encoded)?;
            Some(SeriesRef { slot, generation: series.generation })
        };
        if let Some(next) = before.and_then(|before| of(before.slot.wrapping_add(1))) {
            return Some(next);
        }
        // A set hashes as its text does.
        let slot =
            self.by_labels.find(self.hasher.hash_one(encoded), |slot| of(*slot).is_some())?;
        of(*slot)
    }

    /// The series with `labels`, made where there is none.
    pub(crate) fn find_or_create(&mut self, labels: &Labels) -> SeriesRef {
        if let Some(found) = self.find(labels) {
            return found;
        }
        self.generation = self.generation.wrapping_add(1).max(1);
        let generation = NonZeroU32::MIN.saturating_add(self.generation - 1);
        let series = HeadSeries::new(labels.clone(), generation);
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(None);
                self.slots.len() as u32 - 1
            }
        };
        self.slots[slot as usize] = Some(series);
        let (slots, hasher) = (&self.slots, &self.hasher);
        let hash = |slot: &u32| {
            let series = slots.get(*slot as usize).and_then(Option::as_ref);
            series.map_or(0, |series| hasher.hash_one(&series.labels))
        };
        self.by_labels.insert_unique(hasher.hash_one(labels), slot, hash);
        self.index.add(slot, labels);
        self.all.insert(slot);
        self.mark(slot, self.watched.contains(&labels.metric_name()));
        SeriesRef { slot, generation }
    }

    fn mark(&mut self, slot: u32, watched: bool) {
        let (word, bit) = (slot as usize / 64, 1 << (slot % 64));
        if self.watched_slots.len() <= word {
            self.watched_slots.resize(word + 1, 0);
        }
        if watched {
            self.watched_slots[word] |= bit;
        } else {
            self.watched_slots[word] &= !bit;
        }
    }

    /// Whether a sample with `value` is news: its series is watched and had another value.
    #[inline]
    pub(crate) fn is_news(&self, series: SeriesRef, value: f64) -> bool {
        let word = self.watched_slots.get(series.slot as usize / 64).copied().unwrap_or_default();
        word & (1 << (series.slot % 64)) != 0
            && self.get(series).is_some_and(|found| {
                found.last().is_some_and(|(_, before)| before.to_bits() != value.to_bits())
            })
    }

    #[inline]
    pub(crate) fn get(&self, series: SeriesRef) -> Option<&HeadSeries> {
        let found = self.slots.get(series.slot as usize)?.as_ref()?;
        (found.generation == series.generation).then_some(found)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, series: SeriesRef) -> Option<&mut HeadSeries> {
        let found = self.slots.get_mut(series.slot as usize)?.as_mut()?;
        (found.generation == series.generation).then_some(found)
    }

    /// What would become of a sample of `found`.
    #[inline]
    pub(crate) fn fit(&self, found: &HeadSeries, time: Timestamp, held: Held<'_>) -> Fit {
        if self.closed_until.is_some_and(|end| time < end) {
            return Fit::OutOfOrder;
        }
        found.fit(time, held, self.window)
    }

    /// Stores a sample if it fits, of which the log knows by `segment`, or not at all.
    #[inline]
    pub(crate) fn push(&mut self, series: SeriesRef, offer: Offer<'_>, segment: u32) -> Fit {
        let (closed_until, window) = (self.closed_until, self.window);
        let Some(found) = self.get_mut(series) else { return Fit::Unknown };
        if closed_until.is_some_and(|end| offer.time < end) {
            return Fit::OutOfOrder;
        }
        let fit = found.fit(offer.time, offer.held, window);
        match (fit, offer.held) {
            (Fit::Stored, held) => {
                found.push(offer);
                found.logged_in = segment;
                self.max_time = self.max_time.max(Some(offer.time));
                self.has_natives |= matches!(held, Held::Native(_));
            }
            // Its segment does not know what came before: it is not defined for the next.
            (Fit::Late, Held::Float(value)) => found.push_late(offer.time, value),
            _ => return fit,
        }
        self.took(offer.time);
        fit
    }

    #[inline]
    fn took(&mut self, time: Timestamp) {
        self.oldest = Some(self.oldest.map_or(time, |oldest| oldest.min(time)));
    }

    /// Stores a late sample that has been taken before, whatever the window is now.
    pub(crate) fn push_late(&mut self, series: SeriesRef, time: Timestamp, value: f64) {
        let closed = self.closed_until.is_some_and(|end| time < end);
        if let Some(found) = self.get_mut(series).filter(|_| !closed) {
            match found.fit(time, Held::Float(value), i64::MAX) {
                Fit::Late => found.push_late(time, value),
                // What was later is lost.
                Fit::Stored => found.push(Offer { time, held: Held::Float(value), start: UNKNOWN }),
                _ => return,
            }
            self.took(time);
        }
    }

    /// The slots of the series that all `matchers` accept.
    pub(crate) fn find_all(&self, matchers: &[Matcher]) -> RoaringBitmap {
        let found = self.index.select(
            matchers,
            &self.all,
            |list, to| {
                *to |= list;
                Ok::<_, std::convert::Infallible>(())
            },
            |slot| {
                Ok(self.slots.get(slot as usize).and_then(Option::as_ref).map(|s| s.labels.clone()))
            },
        );
        let Ok(found) = found;
        found
    }

    /// Whether a look at the lists shows that `matchers` accept at most so many series. Only such as
    /// ask for a value are looked up.
    pub(crate) fn finds_at_most(&self, most: u64, matchers: &[Matcher]) -> bool {
        let exact =
            |matcher: &Matcher| matcher.op() == MatchOp::Equal && !matcher.value().is_empty();
        if matchers.is_empty() || !matchers.iter().all(exact) {
            return false;
        }
        let list = |matcher: &Matcher| self.index.list(matcher.name(), matcher.value());
        let Some(lists) = matchers.iter().map(list).collect::<Option<Vec<_>>>() else {
            return true;
        };
        let Some(shortest) = lists.iter().min_by_key(|list| list.len()) else { return false };
        lists.iter().any(|list| shortest.intersection_len(list) <= most)
    }

    pub(crate) fn in_slot(&self, slot: u32) -> Option<&HeadSeries> {
        self.slots.get(slot as usize)?.as_ref()
    }

    /// How many slots there are, with a series or without.
    pub(crate) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Takes back a series as it was, but for what is in blocks since, where there is room for it.
    pub(crate) fn restore(&mut self, labels: &Labels, mut kept: Kept, limit: &mut Limit) {
        if let Some(begin) = self.min_time {
            kept.chunks.retain(|chunk| chunk.last >= begin);
            kept.late.retain(|(time, _)| *time >= begin.millis());
            if kept.last.is_none_or(|(last, _)| last < begin) {
                return;
            }
        }
        let Some(series) = limit.find_or_create(self, labels) else { return };
        self.max_time = self.max_time.max(kept.last.map(|(last, _)| last));
        self.has_natives |= kept.chunks.iter().any(Sealed::has_histograms);
        if let Some(found) = self.get_mut(series) {
            found.restore(kept);
            if let Some(first) = found.first_time() {
                self.took(first);
            }
        }
    }

    pub(crate) fn select(&self, matchers: &[Matcher]) -> Vec<&HeadSeries> {
        self.find_all(matchers).iter().filter_map(|slot| self.in_slot(slot)).collect()
    }

    pub(crate) fn index(&self) -> &Index<RoaringBitmap> {
        &self.index
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &HeadSeries> {
        self.slots.iter().flatten()
    }

    /// Takes no more samples before `end`, and seals the chunks that begin before it.
    pub(crate) fn close_before(&mut self, end: Timestamp) {
        self.closed_until = self.closed_until.max(Some(end));
        for series in self.slots.iter_mut().flatten() {
            series.merge_late(end.millis());
            series.seal_before(end);
        }
    }

    /// Drops what lies before `end`, which is in a block now, and the series with nothing since.
    pub(crate) fn drop_before(&mut self, end: Timestamp) {
        self.min_time = self.min_time.max(Some(end));
        self.closed_until = self.closed_until.max(Some(end));
        self.oldest = self.oldest.map(|oldest| oldest.max(end));
        self.moved += 1;
        let free = self.free.len();
        for slot in 0..self.slots.len() {
            let Some(series) = &mut self.slots[slot] else { continue };
            series.drop_before(end);
            let alive = series.last().is_some_and(|(last, _)| last >= end);
            if alive {
                continue;
            }
            self.drop_slot(slot as u32);
        }
        // Series that begin together are to be neighbours: the lowest is taken first.
        if self.free.len() > free {
            self.free.sort_unstable_by(|a, b| b.cmp(a));
        }
    }

    fn drop_slot(&mut self, slot: u32) {
        if let Some(series) = self.slots.get_mut(slot as usize).and_then(Option::take) {
            let hash = self.hasher.hash_one(&series.labels);
            if let Ok(entry) = self.by_labels.find_entry(hash, |other| *other == slot) {
                entry.remove();
            }
            self.index.remove(slot, &series.labels);
            self.all.remove(slot);
            self.free.push(slot);
        }
    }

    /// Forgets the samples of `span` of a series, and the series if it has no others.
    pub(crate) fn delete(&mut self, slot: u32, span: Span) {
        let Some(series) = self.slots.get_mut(slot as usize).and_then(Option::as_mut) else {
            return;
        };
        // The log's segment knows another last sample than there is now.
        series.logged_in = 0;
        if !series.delete(span) {
            self.drop_slot(slot);
        }
        self.moved += 1;
    }

    /// Bytes that the chunks take.
    pub(crate) fn chunk_bytes(&self) -> usize {
        self.iter().map(HeadSeries::chunk_bytes).sum()
    }
}
