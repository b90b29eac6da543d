//! Reads samples, and finds the last one before each step.
//!
//! ```text
//! selector, read once ────▶ series by series, into the same columns
//! selector, read again ───▶ columns of all of its series, until the last one has read them
//! ```
//!
//! Invariant: the same matchers over the same range are decoded once in a session, and what nothing
//! that is still to come needs is not kept.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use base::histogram::Histogram;
use base::labels::Labels;
use base::matcher::Matcher;
use base::sample::{Sample, Timestamp};
use storage::{Parts, SeriesColumns, Storage};

use super::context::Lease;
use super::histograms::read_as;
use super::key::KeyRef;
use super::table::Sink;
use super::window::{Buffer, Samples};
use super::{ABSENT, Context, EvalError, Range, Steps};
use crate::ast::Edges;
use crate::plan::{Detail, Selection};
use crate::query::Query;

/// Series with their samples in a range.
#[derive(Debug)]
pub(crate) struct Kept {
    labels: Vec<Labels>,
    /// Behind the last sample of each series.
    ends: Vec<usize>,
    times: Vec<i64>,
    values: Vec<f64>,
    /// The native histograms of series that have any, by the place of the series.
    histograms: HashMap<usize, Vec<Arc<Histogram>>>,
    /// Since when the samples count, of series of which it is known, where it matters.
    starts: HashMap<usize, Vec<i64>>,
    lease: Lease,
}

impl Kept {
    fn read(context: &Context<'_>, stream: &Stream<'_>) -> Result<Self, EvalError> {
        let mut kept = Self {
            labels: Vec::new(),
            ends: Vec::new(),
            times: Vec::new(),
            values: Vec::new(),
            histograms: HashMap::new(),
            starts: HashMap::new(),
            lease: context.lease(),
        };
        let keeps_starts = context.features().start_times;
        stream.scan(context, &mut |series| {
            kept.lease.extend(series.times.len())?;
            if !series.histograms.is_empty() {
                let buckets = |h: &Arc<Histogram>| 4 + h.positive.len() + h.negative.len();
                kept.lease.extend(series.histograms.iter().map(buckets).sum())?;
                kept.histograms.insert(kept.labels.len(), series.histograms.to_vec());
            }
            if keeps_starts && !series.starts.is_empty() {
                kept.lease.extend(series.starts.len())?;
                kept.starts.insert(kept.labels.len(), series.starts.to_vec());
            }
            kept.labels.push(series.labels.clone());
            kept.times.extend_from_slice(series.times);
            kept.values.extend_from_slice(series.values);
            kept.ends.push(kept.times.len());
            Ok(())
        })?;
        Ok(kept)
    }

    fn each(&self, each: &mut EachSeries<'_>) -> Result<(), EvalError> {
        let mut start = 0;
        for (n, (labels, end)) in self.labels.iter().zip(&self.ends).enumerate() {
            let (times, values) = (&self.times[start..*end], &self.values[start..*end]);
            start = *end;
            let histograms = self.histograms.get(&n).map_or(&[][..], Vec::as_slice);
            let starts = self.starts.get(&n).map_or(&[][..], Vec::as_slice);
            each(SeriesColumns { labels, times, values, histograms, starts })?;
        }
        Ok(())
    }
}

/// Takes series one by one.
type EachSeries<'a> = dyn FnMut(SeriesColumns<'_>) -> Result<(), EvalError> + 'a;

/// Where to read samples, and which.
#[derive(Debug)]
pub(crate) struct Stream<'a> {
    storage: &'a Storage,
    matchers: &'a [Matcher],
    from: i64,
    to: i64,
}

impl Stream<'_> {
    fn scan(&self, context: &Context<'_>, each: &mut EachSeries<'_>) -> Result<(), EvalError> {
        let mut count = 0;
        let at = Timestamp::from_millis;
        let mut lease = context.lease();
        self.storage.scan(
            self.matchers,
            at(self.from),
            at(self.to),
            |more| found(more, &mut lease, context),
            |series| {
                count += 1;
                if count % 256 == 0 {
                    context.check()?;
                }
                each(series)
            },
        )
    }
}

/// Leases the bytes that more series of the disk take.
fn found(more: usize, lease: &mut Lease, context: &Context<'_>) -> Result<(), EvalError> {
    context.check()?;
    lease.extend(more.div_ceil(size_of::<Sample>()))
}

/// The samples of a selector; there may be samples outside of the range that was asked for.
#[derive(Debug)]
pub(crate) enum Selected<'a> {
    Kept(Rc<Kept>),
    Streamed(Stream<'a>),
}

impl Selected<'_> {
    /// The series in pieces, for several threads, where they are read here only, and there are neither
    /// native histograms nor start times that count.
    pub(super) fn parts(
        &self,
        context: &Context<'_>,
    ) -> Result<Option<(Parts<'_>, Lease)>, EvalError> {
        let Self::Streamed(Stream { storage, matchers, from, to }) = self else { return Ok(None) };
        if context.has_native() || context.features().start_times {
            return Ok(None);
        }
        let (from, to) = (Timestamp::from_millis(*from), Timestamp::from_millis(*to));
        let mut lease = context.lease();
        let parts = storage.parts(matchers, from, to, |more| found(more, &mut lease, context))?;
        Ok(Some((parts, lease)))
    }

    /// Hands over each series, with the markers that end it.
    pub(super) fn each_raw(
        &self,
        context: &Context<'_>,
        each: &mut EachSeries<'_>,
    ) -> Result<(), EvalError> {
        let mut tagged = Vec::new();
        let mut each = |series: SeriesColumns<'_>| {
            if series.histograms.is_empty() {
                return each(series);
            }
            context.take_over(&series, &mut tagged)?;
            each(SeriesColumns { values: &tagged, ..series })
        };
        match self {
            Self::Kept(kept) => kept.each(&mut each),
            Self::Streamed(stream) => stream.scan(context, &mut each),
        }
    }

    /// Hands over each series without the markers that end it, and histograms as far as they are
    /// looked at.
    pub(crate) fn each(
        &self,
        context: &Context<'_>,
        detail: Detail,
        each: &mut dyn FnMut(KeyRef<'_>, Samples<'_>) -> Result<(), EvalError>,
    ) -> Result<(), EvalError> {
        let (mut buffer, mut tags) = (Buffer::default(), Vec::new());
        let start_times = context.features().start_times;
        self.each_raw(context, &mut |SeriesColumns { labels, times, values, starts, .. }| {
            let starts = if start_times { starts } else { &[] };
            let mut samples = Samples { times, values, starts };
            if detail != Detail::Buckets && context.any_native(values) {
                tags.clear();
                tags.extend(values.iter().map(|value| read_as(detail, *value)));
                samples.values = &tags;
            }
            each(KeyRef::from(labels), samples.without_markers(&mut buffer))
        })
    }
}

/// What the queries of a session read with the same matchers.
#[derive(Debug)]
struct Wanted {
    from: i64,
    to: i64,
    /// How many selectors are still to be evaluated.
    coming: usize,
    kept: Option<Rc<Kept>>,
}

/// What is wanted, by matchers.
type ByMatchers = HashMap<Arc<[Matcher]>, Wanted>;

/// The selectors of the queries of a session, and what has been read for those to come.
#[derive(Debug)]
pub(crate) struct Selections<'a> {
    storage: &'a Storage,
    wanted: RefCell<ByMatchers>,
}

impl<'a> Selections<'a> {
    #[expect(clippy::mutable_key_type, reason = "what a pattern caches is no part of its hash")]
    pub(crate) fn new<'q>(
        storage: &'a Storage,
        queries: impl IntoIterator<Item = &'q Query>,
        range: Range,
        lookback: Duration,
    ) -> Self {
        let mut wanted = ByMatchers::new();
        for reads in queries.into_iter().flat_map(Query::reads) {
            let (from, to) = reads.span(range, lookback);
            let (from, to) = (from.millis(), to.millis());
            wanted
                .entry(Arc::clone(&reads.selection().matchers))
                .and_modify(|wanted| {
                    wanted.from = wanted.from.min(from);
                    wanted.to = wanted.to.max(to);
                    wanted.coming += 1;
                })
                .or_insert(Wanted { from, to, coming: 1, kept: None });
        }
        Self { storage, wanted: RefCell::new(wanted) }
    }

    /// Forgets what has been read of series with these labels, because they have new samples.
    pub(crate) fn forget(&self, labels: &Labels) {
        for (matchers, wanted) in self.wanted.borrow_mut().iter_mut() {
            if wanted.kept.is_some() && matchers.iter().all(|m| m.matches_labels(labels)) {
                wanted.kept = None;
            }
        }
    }

    /// The samples from `from` to `to`, both included.
    pub(crate) fn select<'s>(
        &self,
        context: &Context<'_>,
        selection: &'s Selection,
        from: i64,
        to: i64,
    ) -> Result<Selected<'s>, EvalError>
    where
        'a: 's,
    {
        context.check()?;
        let stream = |from, to| {
            let (storage, matchers) = (self.storage, &*selection.matchers);
            Stream { storage, matchers, from, to }
        };
        let mut wanted = self.wanted.borrow_mut();
        let Some(wanted) = wanted.get_mut(&selection.matchers) else {
            return Ok(Selected::Streamed(stream(from, to)));
        };
        wanted.coming = wanted.coming.saturating_sub(1);
        if !(wanted.from <= from && to <= wanted.to) {
            return Ok(Selected::Streamed(stream(from, to)));
        }
        let last = wanted.coming == 0;
        let kept = if last { wanted.kept.take() } else { wanted.kept.clone() };
        match kept {
            Some(kept) => Ok(Selected::Kept(kept)),
            None if last => Ok(Selected::Streamed(stream(from, to))),
            None => {
                let kept = Rc::new(Kept::read(context, &stream(wanted.from, wanted.to))?);
                wanted.kept = Some(Rc::clone(&kept));
                Ok(Selected::Kept(kept))
            }
        }
    }

    /// The last value before each of `times`.
    pub(crate) fn last_values(
        &self,
        context: &Context<'_>,
        selection: &Selection,
        times: Steps,
        sink: &mut dyn Sink,
    ) -> Result<(), EvalError> {
        match selection.edges {
            Edges::Smoothed => self.smoothed(context, selection, times, sink),
            _ if selection.detail != Detail::Buckets && context.has_native() => {
                let cell = |_, value| read_as(selection.detail, value);
                self.last(context, selection, times, cell, sink)
            }
            _ => self.last(context, selection, times, |_, value| value, sink),
        }
    }

    /// The time of the last sample before each of `times`, in seconds.
    pub(crate) fn last_times(
        &self,
        context: &Context<'_>,
        selection: &Selection,
        times: Steps,
        sink: &mut dyn Sink,
    ) -> Result<(), EvalError> {
        self.last(context, selection, times, |time, _| time as f64 / 1000.0, sink)
    }

    fn last(
        &self,
        context: &Context<'_>,
        selection: &Selection,
        times: Steps,
        cell: impl Fn(i64, f64) -> f64,
        sink: &mut dyn Sink,
    ) -> Result<(), EvalError> {
        if times.count == 0 {
            return Ok(());
        }
        let lookback = context.lookback();
        let from = times.first().saturating_sub(lookback).saturating_add(1);
        let selected = self.select(context, selection, from, times.last())?;
        let mut lease = context.lease();
        lease.extend(times.count)?;
        let mut cells = vec![ABSENT; times.count];
        selected.each_raw(context, &mut |series| {
            if last_before(series, times, lookback, &cell, &mut cells) {
                sink.push(KeyRef::from(series.labels), &cells)?;
            }
            Ok(())
        })
    }
}

/// Fills the cells of a series and says whether one got a value.
fn last_before(
    series: SeriesColumns<'_>,
    times: Steps,
    lookback: i64,
    cell: impl Fn(i64, f64) -> f64,
    cells: &mut [f64],
) -> bool {
    let (mut next, mut any) = (0, false);
    for (n, to) in cells.iter_mut().enumerate() {
        let time = times.time(n);
        if n == 0 {
            // What lies far before the first step, which another selector may have asked for.
            next = series.times.partition_point(|t| *t <= time);
        }
        while series.times.get(next).is_some_and(|t| *t <= time) {
            next += 1;
        }
        *to = ABSENT;
        let Some(at) = next.checked_sub(1) else { continue };
        let (sample, value) = (series.times[at], series.values[at]);
        if sample > time.saturating_sub(lookback) && !base::sample::is_stale(value) {
            *to = cell(sample, value);
            any = true;
        }
    }
    any
}
