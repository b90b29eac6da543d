//! One series that is alive: its chunks, its last sample, and what came late.
//!
//! Invariant: samples rise in time, and no chunk reaches over the end of a window.

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
    pub(crate) generation: u32,
    pub(crate) sealed: Vec<Sealed>,
    pub(crate) open: Option<ChunkWriter>,
    /// The segment of the log that has its definition.
    pub(crate) logged_in: u32,
    /// The last sample, also when its chunk has moved into a block.
    last: Option<(Timestamp, f64)>,
    /// What few series have.
    rare: Option<Box<Rare>>,
    late: Late,
}

/// What the last sample has beside its value.
#[derive(Debug)]
struct Rare {
    /// The sample, if it is a histogram.
    native: Option<Arc<Histogram>>,
    /// Since when it counts.
    start: i64,
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
    pub(super) fn new(labels: Labels, generation: u32) -> Self {
        Self {
            labels,
            generation,
            sealed: Vec::new(),
            open: None,
            logged_in: 0,
            last: None,
            rare: None,
            late: Late::default(),
        }
    }

    /// All of it, the open chunk as if it were sealed.
    pub(crate) fn keep(&self) -> Kept {
        let open = self.open.clone().map(Sealed::of);
        let chunks = self.sealed.iter().cloned().chain(open).collect();
        let late = self.late.within(Span::ALL).to_vec();
        Kept { chunks, last: self.last, start: self.start(), late }
    }

    /// Goes on with what was kept.
    pub(super) fn restore(&mut self, kept: Kept) {
        let Kept { chunks, last, start, late } = kept;
        (self.sealed, self.last) = (chunks, last);
        let mut native = None;
        if last.is_some_and(|(_, value)| base::histogram::is_tag(value)) {
            let mut columns = Columns::default();
            if let Some(chunk) = self.sealed.last() {
                chunk::read(&chunk.bytes, Span::ALL, &mut columns);
            }
            native = columns.histograms.pop();
        }
        self.set_rare(native, start);
        late.into_iter().for_each(|(time, value)| self.late.push(time, value));
    }

    pub(crate) fn last(&self) -> Option<(Timestamp, f64)> {
        self.last
    }

    /// The last sample, if it is a histogram.
    pub(crate) fn native(&self) -> Option<&Arc<Histogram>> {
        self.rare.as_ref()?.native.as_ref()
    }

    #[inline]
    fn set_rare(&mut self, native: Option<Arc<Histogram>>, start: i64) {
        match &mut self.rare {
            None if native.is_none() && start == UNKNOWN => {}
            None => self.rare = Some(Box::new(Rare { native, start })),
            Some(rare) => **rare = Rare { native, start },
        }
    }

    /// Since when the last sample counts.
    pub(crate) fn start(&self) -> i64 {
        self.rare.as_ref().map_or(UNKNOWN, |rare| rare.start)
    }

    /// What would become of a sample, if those up to `window` milliseconds before the last are taken.
    pub(super) fn fit(&self, time: Timestamp, held: Held<'_>, window: i64) -> Fit {
        match self.last {
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

    pub(super) fn push(&mut self, offer: Offer<'_>) {
        let Offer { time, held, start } = offer;
        self.last = Some((time, held.value()));
        let native = match held {
            Held::Float(_) => None,
            Held::Native(histogram) => Some(Arc::clone(histogram)),
        };
        self.set_rare(native, start);
        self.put(offer);
    }

    fn put(&mut self, Offer { time, held, start }: Offer<'_>) {
        let ends = |open: &ChunkWriter| {
            open.is_full() || !open.takes(held) || window_of(open.first()) != window_of(time)
        };
        if self.open.as_ref().is_some_and(ends) {
            self.seal();
        }
        match &mut self.open {
            Some(open) => open.push(time, held, start),
            None => self.open = Some(ChunkWriter::begin(time, held, start)),
        }
    }

    pub(super) fn push_late(&mut self, time: Timestamp, value: f64) {
        self.late.push(time.millis(), value);
        if self.late.len() >= late::MOST {
            self.merge_late(i64::MAX);
        }
    }

    /// Writes the chunks that begin before `end` anew, together with the late samples before it.
    pub(super) fn merge_late(&mut self, end: i64) {
        let late = self.late.take_before(end);
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
        (self.sealed, self.open) = (Vec::new(), None);
        for (at, time) in columns.times.iter().enumerate() {
            let (held, start) = (columns.held(at), columns.start(at));
            self.put(Offer { time: Timestamp::from_millis(*time), held, start });
        }
    }

    /// Forgets the samples of `span`; whether any are left.
    pub(super) fn delete(&mut self, span: Span) -> bool {
        self.merge_late(i64::MAX);
        self.rewrite(|columns| columns.remove(span));
        let last = self.last.filter(|(time, _)| !span.contains(time.millis()));
        if last.is_none() {
            let mut columns = Columns::default();
            self.read_chunks(Span::ALL, &mut columns);
            let newest = columns.times.len().checked_sub(1);
            let held = newest.map(|at| columns.held(at));
            let native = match held {
                Some(Held::Native(histogram)) => Some(Arc::clone(histogram)),
                _ => None,
            };
            self.set_rare(native, newest.map_or(UNKNOWN, |at| columns.start(at)));
            self.last = newest
                .map(|at| Timestamp::from_millis(columns.times[at]))
                .zip(held.map(Held::value));
        }
        self.last.is_some()
    }

    pub(super) fn seal(&mut self) {
        self.sealed.extend(self.open.take().map(Sealed::of));
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
        let first = sealed.or_else(|| self.open.as_ref().map(ChunkWriter::first));
        let late = self.late.first().map(Timestamp::from_millis);
        first.into_iter().chain(late).min()
    }

    /// Appends the samples of `span`.
    pub(crate) fn read(&self, span: Span, to: &mut Columns) {
        let begin = to.times.len();
        self.read_chunks(span, to);
        if !self.late.is_empty() {
            late::merge(to, begin, self.late.within(span));
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
        if let Some(open) = &self.open
            && open.last().millis() >= span.from
            && open.first().millis() <= span.to
        {
            open.read(span, to);
        }
    }
}
