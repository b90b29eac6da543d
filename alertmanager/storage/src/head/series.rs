//! One series that is alive: its chunks, its last sample, and what came late.
//!
//! Invariant: samples rise in time, and no chunk reaches over the end of a window.

use std::num::NonZeroU32;
use std::sync::Arc;

use base::histogram::Histogram;
use base::labels::Labels;
use base::sample::Timestamp;

use super::window_of;
use crate::chunk::{self, ChunkWriter, Columns, Held, Span, UNKNOWN};
use crate::late::{self, Late};

/// A chunk that gets no further samples.
#[derive(Clone, Debug)]
pub(crate) struct Sealed {
    pub(crate) first: Timestamp,
    pub(crate) last: Timestamp,
    pub(crate) count: u32,
    pub(crate) bytes: Arc<[u8]>,
}

impl Sealed {
    pub(crate) fn of(open: ChunkWriter) -> Self {
        let (first, last, count) = (open.first(), open.last(), open.count());
        Self { first, last, count, bytes: open.seal().into() }
    }

    /// A chunk of its bytes, as far as they can be read; nothing without a sample.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let mut columns = Columns::default();
        chunk::read(bytes, Span::ALL, &mut columns);
        let at = |time: Option<&i64>| time.copied().map(Timestamp::from_millis);
        let (first, last) = (at(columns.times.first())?, at(columns.times.last())?);
        let count = u32::try_from(columns.times.len()).ok()?;
        Some(Self { first, last, count, bytes: bytes.into() })
    }

    pub(crate) fn has_histograms(&self) -> bool {
        chunk::has_natives(&self.bytes)
    }
}

#[derive(Debug)]
pub(crate) struct HeadSeries {
    pub(crate) labels: Labels,
    pub(crate) generation: NonZeroU32,
    /// The segment of the log that has its definition.
    pub(crate) logged_in: u32,
    pub(crate) sealed: Box<[Sealed]>,
    newest: Newest,
    /// What the last sample is, also when its chunk has moved into a block.
    value: f64,
    rare: Option<Box<Rare>>,
}

/// Where the last sample is.
#[derive(Debug)]
enum Newest {
    /// In the chunk that is being written.
    Open(ChunkWriter),
    /// Not there. It was of this time, or there never was one.
    Closed(Option<Timestamp>),
}

/// What few series have.
#[derive(Debug, Default)]
struct Rare {
    /// The last sample, if it is a histogram.
    native: Option<Arc<Histogram>>,
    /// Since when it counts.
    start: i64,
    late: Late,
}

/// What is kept of a series, to be gone on with after a start.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) chunks: Vec<Sealed>,
    pub(crate) last: Option<(Timestamp, f64)>,
    pub(crate) start: i64,
    pub(crate) late: Vec<(i64, f64)>,
}

/// A sample that is offered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer<'a> {
    pub(crate) time: Timestamp,
    pub(crate) held: Held<'a>,
    pub(crate) start: i64,
}

/// What became of a sample that was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    Stored,
    /// It is older than the last of its series, and taken nevertheless.
    Late,
    /// It is there already.
    Same,
    /// Its time has another value.
    Duplicate,
    /// It is before the last of its series, or in a window that is closed.
    OutOfOrder,
    /// The series has been dropped.
    Unknown,
}

impl HeadSeries {
    pub(super) fn new(labels: Labels, generation: NonZeroU32) -> Self {
        Self {
            labels,
            generation,
            logged_in: 0,
            sealed: Box::default(),
            newest: Newest::Closed(None),
            value: 0.0,
            rare: None,
        }
    }

    /// All of it, the open chunk as if it were sealed.
    pub(crate) fn keep(&self) -> Kept {
        let open = self.open().cloned().map(Sealed::of);
        let chunks = self.sealed.iter().cloned().chain(open).collect();
        let late = self.late().map_or_else(Vec::new, |late| late.within(Span::ALL).to_vec());
        Kept { chunks, last: self.last(), start: self.start(), late }
    }

    /// Goes on with what was kept.
    pub(super) fn restore(&mut self, kept: Kept) {
        let Kept { chunks, last, start, late } = kept;
        self.sealed = chunks.into();
        let mut native = None;
        if last.is_some_and(|(_, value)| base::histogram::is_tag(value)) {
            let mut columns = Columns::default();
            if let Some(chunk) = self.sealed.last() {
                chunk::read(&chunk.bytes, Span::ALL, &mut columns);
            }
            native = columns.histograms.pop();
        }
        self.newest = Newest::Closed(last.map(|(time, _)| time));
        self.value = last.map_or(0.0, |(_, value)| value);
        self.set_rare(native, start);
        for (time, value) in late {
            self.rare.get_or_insert_default().late.push(time, value);
        }
    }

    /// The chunk that is being written.
    #[inline]
    fn open(&self) -> Option<&ChunkWriter> {
        match &self.newest {
            Newest::Open(open) => Some(open),
            Newest::Closed(_) => None,
        }
    }

    fn late(&self) -> Option<&Late> {
        self.rare.as_ref().map(|rare| &rare.late).filter(|late| !late.is_empty())
    }

    #[inline]
    pub(crate) fn last(&self) -> Option<(Timestamp, f64)> {
        let time = match &self.newest {
            Newest::Open(open) => Some(open.last()),
            Newest::Closed(time) => *time,
        };
        time.map(|time| (time, self.value))
    }

    /// The last sample, if it is a histogram.
    pub(crate) fn native(&self) -> Option<&Arc<Histogram>> {
        self.rare.as_ref()?.native.as_ref()
    }

    #[inline]
    fn set_rare(&mut self, native: Option<Arc<Histogram>>, start: i64) {
        match &mut self.rare {
            None if native.is_none() && start == UNKNOWN => {}
            None => self.rare = Some(Box::new(Rare { native, start, late: Late::default() })),
            Some(rare) => (rare.native, rare.start) = (native, start),
        }
    }

    /// Since when the last sample counts.
    pub(crate) fn start(&self) -> i64 {
        self.rare.as_ref().map_or(UNKNOWN, |rare| rare.start)
    }

    /// What would become of a sample, if those up to `window` milliseconds before the last are taken.
    #[inline]
    pub(super) fn fit(&self, time: Timestamp, held: Held<'_>, window: i64) -> Fit {
        match self.last() {
            Some((last, before)) if time == last => {
                let known = self.native().map_or(Held::Float(before), Held::Native);
                if late::is_same(known, held) { Fit::Same } else { Fit::Duplicate }
            }
            Some((last, _)) if time < last => self.fit_late(last, time, held, window),
            _ => Fit::Stored,
        }
    }

    fn fit_late(&self, last: Timestamp, time: Timestamp, held: Held<'_>, window: i64) -> Fit {
        if time.millis() < last.millis().saturating_sub(window) {
            return Fit::OutOfOrder;
        }
        let mut columns = Columns::default();
        self.read(Span { from: time.millis(), to: time.millis() }, &mut columns);
        match held {
            _ if !columns.times.is_empty() => {
                let same = late::is_same(columns.held(0), held);
                if same { Fit::Same } else { Fit::Duplicate }
            }
            Held::Float(_) => Fit::Late,
            Held::Native(_) => Fit::OutOfOrder,
        }
    }

    #[inline]
    pub(super) fn push(&mut self, offer: Offer<'_>) {
        let Offer { time, held, start } = offer;
        self.value = held.value();
        let native = match held {
            Held::Float(_) => None,
            Held::Native(histogram) => Some(Arc::clone(histogram)),
        };
        self.set_rare(native, start);
        self.put(time, held, start);
    }

    #[inline]
    fn put(&mut self, time: Timestamp, held: Held<'_>, start: i64) {
        if let Newest::Open(open) = &mut self.newest {
            // All samples of a chunk are of the window that its last is of.
            let takes = !open.is_full() && open.takes(held);
            if takes && window_of(open.last()) == window_of(time) {
                open.push(time, held, start);
                return;
            }
            self.seal();
        }
        self.newest = Newest::Open(ChunkWriter::begin(time, held, start));
    }

    pub(super) fn push_late(&mut self, time: Timestamp, value: f64) {
        let late = &mut self.rare.get_or_insert_default().late;
        late.push(time.millis(), value);
        if late.len() >= late::MOST {
            self.merge_late(i64::MAX);
        }
    }

    /// Writes the chunks that begin before `end` anew, together with the late samples before it.
    pub(super) fn merge_late(&mut self, end: i64) {
        let Some(rare) = &mut self.rare else { return };
        let late = rare.late.take_before(end);
        if late.is_empty() {
            return;
        }
        self.rewrite(|columns| late::merge(columns, 0, &late));
    }

    /// Writes all chunks anew, with what `change` makes of their samples.
    fn rewrite(&mut self, change: impl FnOnce(&mut Columns)) {
        let mut columns = Columns::default();
        self.read_chunks(Span::ALL, &mut columns);
        change(&mut columns);
        columns.complete();
        (self.sealed, self.newest) = (Box::default(), Newest::Closed(None));
        for (at, time) in columns.times.iter().enumerate() {
            self.put(Timestamp::from_millis(*time), columns.held(at), columns.start(at));
        }
    }

    /// Forgets the samples of `span`; whether any are left.
    pub(super) fn delete(&mut self, span: Span) -> bool {
        self.merge_late(i64::MAX);
        let before = self.last().filter(|(time, _)| !span.contains(time.millis()));
        self.rewrite(|columns| columns.remove(span));
        if let Some((time, _)) = before {
            // It may be in a block.
            if self.last().is_none() {
                self.newest = Newest::Closed(Some(time));
            }
            return true;
        }
        let mut columns = Columns::default();
        self.read_chunks(Span::ALL, &mut columns);
        let newest = columns.times.len().checked_sub(1);
        let held = newest.map(|at| columns.held(at));
        let native = match held {
            Some(Held::Native(histogram)) => Some(Arc::clone(histogram)),
            _ => None,
        };
        self.value = held.map_or(0.0, Held::value);
        self.set_rare(native, newest.map_or(UNKNOWN, |at| columns.start(at)));
        newest.is_some()
    }

    pub(super) fn seal(&mut self) {
        let time = self.last().map(|(time, _)| time);
        if let Newest::Open(open) = std::mem::replace(&mut self.newest, Newest::Closed(time)) {
            // No room for more: there are as many of these as series, too.
            let mut sealed = std::mem::take(&mut self.sealed).into_vec();
            sealed.reserve_exact(1);
            sealed.push(Sealed::of(open));
            self.sealed = sealed.into();
        }
    }

    /// Seals the open chunk where it begins before `end`.
    pub(super) fn seal_before(&mut self, end: Timestamp) {
        if self.open().is_some_and(|open| open.first() < end) {
            self.seal();
        }
    }

    /// Forgets the chunks that end before `end`.
    pub(super) fn drop_before(&mut self, end: Timestamp) {
        if self.sealed.iter().any(|chunk| chunk.last < end) {
            let kept = self.sealed.iter().filter(|chunk| chunk.last >= end);
            self.sealed = kept.cloned().collect();
        }
    }

    /// Bytes that the chunks take.
    pub(super) fn chunk_bytes(&self) -> usize {
        let sealed: usize = self.sealed.iter().map(|chunk| chunk.bytes.len()).sum();
        sealed + self.open().map_or(0, ChunkWriter::allocated)
    }

    /// Whether any of its samples are in `span`.
    pub(crate) fn has_samples(&self, span: Span) -> bool {
        let mut columns = Columns::default();
        self.read(span, &mut columns);
        !columns.times.is_empty()
    }

    /// The time of the first sample in memory.
    pub(crate) fn first_time(&self) -> Option<Timestamp> {
        let sealed = self.sealed.first().map(|chunk| chunk.first);
        let first = sealed.or_else(|| self.open().map(ChunkWriter::first));
        let late = self.late().and_then(Late::first).map(Timestamp::from_millis);
        first.into_iter().chain(late).min()
    }

    /// Appends the samples of `span`.
    pub(crate) fn read(&self, span: Span, to: &mut Columns) {
        let begin = to.times.len();
        self.read_chunks(span, to);
        if let Some(late) = self.late() {
            late::merge(to, begin, late.within(span));
        }
        to.complete();
    }

    fn read_chunks(&self, span: Span, to: &mut Columns) {
        // Nearly everyone asks for the newest, so the chunks are looked at from the end.
        let reaches = |chunk: &Sealed| chunk.last.millis() >= span.from;
        let begin = self.sealed.iter().rposition(|chunk| !reaches(chunk)).map_or(0, |at| at + 1);
        for chunk in &self.sealed[begin..] {
            if chunk.first.millis() > span.to {
                return;
            }
            chunk::read(&chunk.bytes, span, to);
        }
        if let Some(open) = self.open().filter(|open| open.last().millis() >= span.from) {
            open.read(span, to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_takes_little_room() {
        let size = size_of::<Option<HeadSeries>>();
        assert!(size <= 144, "{size} bytes");
    }
}
