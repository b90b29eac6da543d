//! A stretch of one series, compressed.
//!
//! ```text
//! byte 0       kind (0: floats, 1: native histograms; + 128: with starts)
//! bytes 1..9   the time of the first sample
//! then         starts, if there are any
//! then         packs of up to 240 floats, one behind the other; or groups of histograms
//! ```
//!
//! While a chunk is open its last samples wait in a tail, each a few bytes; every [`PACK`] of them
//! are packed. When it is sealed all of its packs become one, where that takes less room. So the
//! newest samples of a series, which rules read over and over, are found without decoding what
//! comes before them.
//!
//! Invariant: what is read is what was written, bit for bit, markers and NaNs included; damaged
//! bytes give fewer samples, never a panic.

mod pack;
mod column;
mod tail;
mod native;
mod starts;
mod halves;

use std::sync::Arc;

use base::histogram::{Histogram, Tag};
use base::sample::Timestamp;

use native::Newest;
use pack::{Pack, Packs};
use tail::Tail;

pub(crate) use halves::{Times, Values, split};
pub(crate) use starts::{Starts, UNKNOWN};

/// After so many samples a chunk is full.
pub(crate) const MAX_SAMPLES: u32 = 240;

/// The table of the tags of histograms among the values of [`Columns`]: a tag's place is the
/// histogram's place beside them.
pub const TABLE: u8 = 1;

/// So many samples of an open chunk are packed at a time.
const PACK: usize = 32;

const FLOATS: u8 = 0;
const NATIVES: u8 = 1;
/// Added to the kind where starts follow the header.
const HAS_STARTS: u8 = 0x80;
const HEADER: usize = 9;

/// What a sample is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Held<'a> {
    Float(f64),
    Native(&'a Arc<Histogram>),
}

impl Held<'_> {
    /// What stands for it where one can only be the only one.
    pub(crate) fn value(self) -> f64 {
        match self {
            Self::Float(value) => value,
            Self::Native(_) => Tag { table: TABLE, place: 0 }.value(),
        }
    }
}

/// Samples of one series, as columns: times and values have the same length, and so have starts, or
/// there are none. A value may be a tag that stands for one of the histograms.
#[derive(Clone, Debug, Default)]
pub(crate) struct Columns {
    pub(crate) times: Vec<i64>,
    pub(crate) values: Vec<f64>,
    pub(crate) histograms: Vec<Arc<Histogram>>,
    pub(crate) starts: Vec<i64>,
}

impl Columns {
    pub(crate) fn clear(&mut self) {
        self.times.clear();
        self.values.clear();
        self.histograms.clear();
        self.starts.clear();
    }

    pub(crate) fn push_float(&mut self, time: i64, value: f64) {
        self.times.push(time);
        self.values.push(value);
    }

    pub(crate) fn push_native(&mut self, time: i64, histogram: Arc<Histogram>) {
        let place = self.histograms.len() as u64;
        self.histograms.push(histogram);
        self.push_float(time, Tag { table: TABLE, place }.value());
    }

    /// Adds the sample at a place of others.
    pub(crate) fn push(&mut self, of: &Self, at: usize) {
        let start = of.start(at);
        if start != UNKNOWN || !self.starts.is_empty() {
            self.starts.resize(self.times.len(), UNKNOWN);
            self.starts.push(start);
        }
        match of.held(at) {
            Held::Float(value) => self.push_float(of.times[at], value),
            Held::Native(histogram) => self.push_native(of.times[at], Arc::clone(histogram)),
        }
    }

    /// The histogram that a value stands for.
    pub(crate) fn native(&self, value: f64) -> Option<&Arc<Histogram>> {
        let tag = Tag::of(value)?;
        self.histograms.get(usize::try_from(tag.place).ok()?)
    }

    /// What the sample at a place is.
    pub(crate) fn held(&self, at: usize) -> Held<'_> {
        let value = self.values[at];
        self.native(value).map_or(Held::Float(value), Held::Native)
    }

    /// Since when the sample at a place has been counting.
    pub(crate) fn start(&self, at: usize) -> i64 {
        self.starts.get(at).copied().unwrap_or(UNKNOWN)
    }

    /// Fills up the starts, where there are any.
    pub(crate) fn complete(&mut self) {
        if !self.starts.is_empty() {
            self.starts.resize(self.times.len(), UNKNOWN);
        }
    }

    /// Removes the samples of `span`.
    pub(crate) fn remove(&mut self, span: Span) {
        self.complete();
        let begin = self.times.partition_point(|time| *time < span.from);
        let end = self.times.partition_point(|time| *time <= span.to).max(begin);
        self.times.drain(begin..end);
        self.values.drain(begin..end);
        if !self.starts.is_empty() {
            self.starts.drain(begin..end);
        }
    }

    /// Removes the samples from place `begin` on that are outside of `span`.
    fn keep(&mut self, begin: usize, span: Span) {
        let behind = begin + self.times[begin..].partition_point(|time| *time <= span.to);
        self.times.truncate(behind);
        self.values.truncate(behind);
        let early = self.times[begin..].partition_point(|time| *time < span.from);
        if early > 0 {
            self.times.drain(begin..begin + early);
            self.values.drain(begin..begin + early);
        }
    }
}

/// From when to when, both included, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Span {
    pub(crate) from: i64,
    pub(crate) to: i64,
}

impl Span {
    /// All of time.
    pub(crate) const ALL: Self = Self { from: i64::MIN, to: i64::MAX };

    pub(crate) fn contains(self, time: i64) -> bool {
        (self.from..=self.to).contains(&time)
    }
}

/// What the newest samples wait in.
#[derive(Clone, Debug)]
enum Waiting {
    Floats(Tail),
    Natives(Box<Newest>),
}

impl Waiting {
    #[inline]
    fn count(&self) -> usize {
        match self {
            Self::Floats(tail) => tail.count(),
            Self::Natives(newest) => newest.count(),
        }
    }

    #[inline]
    fn is_full(&self) -> bool {
        self.count() >= PACK
    }

    /// The time of the first sample.
    fn first(&self) -> i64 {
        match self {
            Self::Floats(tail) => tail.first(),
            Self::Natives(newest) => newest.first(),
        }
    }
}

/// A chunk that is being written.
#[derive(Clone, Debug)]
pub(crate) struct ChunkWriter {
    /// As it will be, but for the samples that wait, and without starts.
    bytes: Box<[u8]>,
    waiting: Waiting,
    starts: Starts,
    last: i64,
}

impl ChunkWriter {
    /// A chunk that begins with this sample, and holds histograms if it is one.
    pub(crate) fn begin(time: Timestamp, held: Held<'_>, start: i64) -> Self {
        let first = time.millis();
        let waiting = match held {
            Held::Float(value) => {
                let mut tail = Tail::default();
                tail.push(first, first, value);
                Waiting::Floats(tail)
            }
            Held::Native(_) => {
                let mut newest = Box::<Newest>::default();
                newest.push(first, held);
                Waiting::Natives(newest)
            }
        };
        let mut starts = Starts::default();
        starts.push(first, start);
        Self { bytes: Box::default(), waiting, starts, last: first }
    }

    /// Whether it can hold such a sample. One of histograms holds floats, too: mostly markers.
    pub(crate) fn takes(&self, held: Held<'_>) -> bool {
        matches!((&self.waiting, held), (Waiting::Natives(_), _) | (_, Held::Float(_)))
    }

    /// Adds a sample; the caller has checked that it is later than the last, and can be held.
    #[inline]
    pub(crate) fn push(&mut self, time: Timestamp, held: Held<'_>, start: i64) {
        let millis = time.millis();
        if self.waiting.is_full() {
            self.pack();
        }
        match (&mut self.waiting, held) {
            (Waiting::Floats(tail), Held::Float(value)) => tail.push(self.last, millis, value),
            (Waiting::Natives(newest), held) => newest.push(millis, held),
            (Waiting::Floats(_), Held::Native(_)) => return,
        }
        self.starts.push(millis, start);
        self.last = millis;
    }

    /// Moves what waits among the packs.
    fn pack(&mut self) {
        let (first, mut columns) = (self.first().millis(), Columns::default());
        let packed = std::mem::take(&mut self.bytes).into_vec();
        let begun = |kind| if packed.is_empty() { header(kind, first) } else { packed };
        let mut bytes;
        match &mut self.waiting {
            Waiting::Floats(tail) => {
                tail.read(&mut columns);
                bytes = begun(FLOATS);
                pack::push(&mut bytes, first, &columns);
                tail.clear();
            }
            Waiting::Natives(newest) => {
                newest.read(&mut columns);
                bytes = begun(NATIVES);
                native::push_groups(&mut bytes, first, &columns);
                newest.clear();
            }
        }
        self.bytes = bytes.into_boxed_slice();
    }

    /// Whether the next sample belongs into a new chunk.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.count() >= MAX_SAMPLES
    }

    pub(crate) fn first(&self) -> Timestamp {
        let first = match self.bytes.first_chunk::<HEADER>() {
            Some([_, first @ ..]) => i64::from_le_bytes(*first),
            None => self.waiting.first(),
        };
        Timestamp::from_millis(first)
    }

    pub(crate) fn last(&self) -> Timestamp {
        Timestamp::from_millis(self.last)
    }

    #[inline]
    pub(crate) fn count(&self) -> u32 {
        let packs = match &self.waiting {
            Waiting::Floats(tail) => tail.cleared(),
            Waiting::Natives(newest) => newest.cleared(),
        };
        u32::from(packs) * PACK as u32 + self.waiting.count() as u32
    }

    /// The bytes of the finished chunk.
    pub(crate) fn seal(self) -> Vec<u8> {
        let mut columns = Columns::default();
        self.read_samples(Span::ALL, &mut columns);
        let first = self.first().millis();
        let bytes = match &self.waiting {
            Waiting::Natives(_) => {
                let mut bytes = header(NATIVES, first);
                native::push_groups(&mut bytes, first, &columns);
                bytes
            }
            Waiting::Floats(tail) => {
                let mut bytes = header(FLOATS, first);
                pack::push(&mut bytes, first, &columns);
                // Where few samples are unlike the others, several packs can be smaller than one.
                columns.clear();
                tail.read(&mut columns);
                let several = self.bytes.into_vec();
                let mut several = if several.is_empty() { header(FLOATS, first) } else { several };
                pack::push(&mut several, first, &columns);
                if several.len() < bytes.len() { several } else { bytes }
            }
        };
        if self.starts.is_empty() { bytes } else { with_starts(&bytes, &self.starts) }
    }

    /// Appends the samples of `span`.
    pub(crate) fn read(&self, span: Span, to: &mut Columns) {
        let begin = to.times.len();
        self.read_samples(span, to);
        self.starts.read(to, begin);
    }

    fn read_samples(&self, span: Span, to: &mut Columns) {
        match &self.waiting {
            Waiting::Floats(tail) => {
                let begins = tail.first();
                if begins > span.from {
                    read_packs(&self.bytes, span, begins, to);
                }
                if begins <= span.to {
                    let before = to.times.len();
                    tail.read(to);
                    to.keep(before, span);
                }
            }
            Waiting::Natives(newest) => {
                let begins = newest.first();
                if begins > span.from && self.bytes.len() > HEADER {
                    native::read_groups(&self.bytes[HEADER..], self.first().millis(), span, to);
                }
                if begins <= span.to {
                    let before = to.times.len();
                    newest.read(to);
                    to.keep(before, span);
                }
            }
        }
    }

    /// Bytes that it takes in memory.
    pub(crate) fn allocated(&self) -> usize {
        let waiting = match &self.waiting {
            Waiting::Floats(tail) => tail.allocated(),
            Waiting::Natives(newest) => newest.allocated(),
        };
        self.bytes.len() + waiting
    }
}

fn header(kind: u8, first: i64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(96);
    bytes.push(kind);
    bytes.extend_from_slice(&first.to_le_bytes());
    bytes
}

/// The chunk `bytes` with starts behind its header.
fn with_starts(bytes: &[u8], starts: &Starts) -> Vec<u8> {
    let (header, body) = bytes.split_at(HEADER.min(bytes.len()));
    let mut all = header.to_vec();
    all[0] |= HAS_STARTS;
    crate::varint::push_bytes(&mut all, &starts.encode());
    all.extend_from_slice(body);
    all
}

/// Appends the samples of `span` of the chunk `bytes`.
pub(crate) fn read(bytes: &[u8], span: Span, to: &mut Columns) {
    match bytes.first() {
        Some(&FLOATS) => read_packs(bytes, span, i64::MAX, to),
        Some(_) => read_others(bytes, span, to),
        None => {}
    }
}

/// Appends the samples of a chunk with histograms or starts.
fn read_others(bytes: &[u8], span: Span, to: &mut Columns) {
    let Some(([kind, first @ ..], mut body)) = bytes.split_first_chunk::<HEADER>() else { return };
    let (begin, first) = (to.times.len(), i64::from_le_bytes(*first));
    let mut starts = Starts::default();
    if kind & HAS_STARTS != 0 {
        let Some(encoded) = crate::varint::take_bytes(&mut body) else { return };
        starts = Starts::decode(encoded);
    }
    match kind & !HAS_STARTS {
        FLOATS => read_pack_list(Packs::from(body, first), span, i64::MAX, to),
        NATIVES => native::read_groups(body, first, span, to),
        _ => {}
    }
    starts.read(to, begin);
}

/// Appends the samples of `span` from packs that end before `end`.
fn read_packs(bytes: &[u8], span: Span, end: i64, to: &mut Columns) {
    read_pack_list(Packs::of(bytes), span, end, to);
}

fn read_pack_list(mut packs: Packs<'_>, span: Span, end: i64, to: &mut Columns) {
    let mut next = packs.next();
    while let Some(pack) = next {
        next = packs.next();
        // Behind the last sample of this pack, or on it.
        let end = next.as_ref().map_or(end, Pack::first);
        if pack.first() > span.to {
            return;
        }
        if end > span.from && pack.read(span, to).is_none() {
            return;
        }
    }
}

/// Whether the chunk `bytes` has histograms.
pub(crate) fn has_natives(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|kind| kind & !HAS_STARTS == NATIVES)
}

#[cfg(test)]
mod tests;
