//! The newest samples: all series that are alive, each with its chunks, in memory.
//!
//! Invariant: a series' samples rise in time, and no chunk reaches over the end of a window of
//! [`WINDOW`], so that whole chunks move into a block.

mod series;

pub(crate) use series::{Fit, HeadSeries, Kept, Offer, Sealed};

use std::collections::HashMap;
use std::time::Duration;

use base::labels::Labels;
use base::matcher::Matcher;
use base::sample::Timestamp;
use roaring::RoaringBitmap;

use crate::chunk::{ChunkWriter, Held, Span, UNKNOWN};
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
    pub(crate) generation: u32,
}

/// All series that are alive.
#[derive(Debug, Default)]
pub(crate) struct Head {
    slots: Vec<Option<HeadSeries>>,
    free: Vec<u32>,
    next_generation: u32,
    by_labels: HashMap<Labels, u32, foldhash::fast::RandomState>,
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
        let slot = *self.by_labels.get(labels)?;
        let generation = self.slots.get(slot as usize)?.as_ref()?.generation;
        Some(SeriesRef { slot, generation })
    }

    /// The series with `labels`, made where there is none.
    pub(crate) fn find_or_create(&mut self, labels: &Labels) -> SeriesRef {
        if let Some(found) = self.find(labels) {
            return found;
        }
        let generation = self.next_generation;
        self.next_generation = self.next_generation.wrapping_add(1);
        let series = HeadSeries::new(labels.clone(), generation);
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(None);
                self.slots.len() as u32 - 1
            }
        };
        self.slots[slot as usize] = Some(series);
        self.by_labels.insert(labels.clone(), slot);
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
    pub(crate) fn is_news(&self, series: SeriesRef, value: f64) -> bool {
        let word = self.watched_slots.get(series.slot as usize / 64).copied().unwrap_or_default();
        word & (1 << (series.slot % 64)) != 0
            && self.get(series).is_some_and(|found| {
                found.last().is_some_and(|(_, before)| before.to_bits() != value.to_bits())
            })
    }

    pub(crate) fn get(&self, series: SeriesRef) -> Option<&HeadSeries> {
        let found = self.slots.get(series.slot as usize)?.as_ref()?;
        (found.generation == series.generation).then_some(found)
    }

    pub(crate) fn get_mut(&mut self, series: SeriesRef) -> Option<&mut HeadSeries> {
        let found = self.slots.get_mut(series.slot as usize)?.as_mut()?;
        (found.generation == series.generation).then_some(found)
    }

    /// What would become of a sample.
    pub(crate) fn fit(&self, series: SeriesRef, time: Timestamp, held: Held<'_>) -> Fit {
        match self.get(series) {
            None => Fit::Unknown,
            Some(_) if self.closed_until.is_some_and(|end| time < end) => Fit::OutOfOrder,
            Some(found) => found.fit(time, held, self.window),
        }
    }

    /// Stores a sample if it fits.
    pub(crate) fn push(&mut self, series: SeriesRef, offer: Offer<'_>) -> Fit {
        let fit = self.fit(series, offer.time, offer.held);
        let Some(found) = self.get_mut(series) else { return fit };
        match (fit, offer.held) {
            (Fit::Stored, held) => {
                found.push(offer);
                self.max_time = self.max_time.max(Some(offer.time));
                self.has_natives |= matches!(held, Held::Native(_));
            }
            (Fit::Late, Held::Float(value)) => found.push_late(offer.time, value),
            _ => {}
        }
        fit
    }

    /// Stores a late sample that has been taken before, whatever the window is now.
    pub(crate) fn push_late(&mut self, series: SeriesRef, time: Timestamp, value: f64) {
        let closed = self.closed_until.is_some_and(|end| time < end);
        if let Some(found) = self.get_mut(series).filter(|_| !closed) {
            match found.fit(time, Held::Float(value), i64::MAX) {
                Fit::Late => found.push_late(time, value),
                // What was later is lost.
                Fit::Stored => found.push(Offer { time, held: Held::Float(value), start: UNKNOWN }),
                _ => {}
            }
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

    pub(crate) fn in_slot(&self, slot: u32) -> Option<&HeadSeries> {
        self.slots.get(slot as usize)?.as_ref()
    }

    /// How many slots there are, with a series or without.
    pub(crate) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Takes back a series as it was, but for what is in blocks since.
    pub(crate) fn restore(&mut self, labels: &Labels, mut kept: Kept) {
        if let Some(begin) = self.min_time {
            kept.chunks.retain(|chunk| chunk.last >= begin);
            kept.late.retain(|(time, _)| *time >= begin.millis());
            if kept.last.is_none_or(|(last, _)| last < begin) {
                return;
            }
        }
        self.max_time = self.max_time.max(kept.last.map(|(last, _)| last));
        self.has_natives |= kept.chunks.iter().any(Sealed::has_histograms);
        let series = self.find_or_create(labels);
        if let Some(found) = self.get_mut(series) {
            found.restore(kept);
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
            if series.open.as_ref().is_some_and(|open| open.first() < end) {
                series.seal();
            }
        }
    }

    /// Drops what lies before `end`, which is in a block now, and the series with nothing since.
    pub(crate) fn drop_before(&mut self, end: Timestamp) {
        self.min_time = self.min_time.max(Some(end));
        self.closed_until = self.closed_until.max(Some(end));
        self.moved += 1;
        for slot in 0..self.slots.len() {
            let Some(series) = &mut self.slots[slot] else { continue };
            series.sealed.retain(|chunk| chunk.last >= end);
            series.sealed.shrink_to_fit();
            let alive = series.last().is_some_and(|(last, _)| last >= end);
            if alive {
                continue;
            }
            self.drop_slot(slot as u32);
        }
    }

    fn drop_slot(&mut self, slot: u32) {
        if let Some(series) = self.slots.get_mut(slot as usize).and_then(Option::take) {
            self.by_labels.remove(&series.labels);
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
        let series = |s: &HeadSeries| {
            let sealed: usize = s.sealed.iter().map(|chunk| chunk.bytes.len()).sum();
            sealed + s.open.as_ref().map_or(0, ChunkWriter::allocated)
        };
        self.iter().map(series).sum()
    }
}
