//! Windows that slide over the samples of a series.
//!
//! ```text
//! samples   · ·  ·  · ·  ·  ·  ·
//! step 0   (--------]
//! step 1       (--------]          a window lacks its left end and has its right one
//! ```
//!
//! Invariant: the samples of a window are never copied; a series that has ended and begun again is,
//! once, without the markers.

use std::ops::Range;

use base::histogram::is_tag;
use base::sample::is_stale;
use storage::Parts;

use super::histograms::forgotten;
use super::key::KeyRef;
use super::scalar::Column;
use super::select::Selected;
use super::table::{Table, is_absent};
use super::{ABSENT, Context, EvalError, Steps};
use crate::plan::{Detail, Spans};

/// With fewer steps than these, several threads have too little to do.
const STEPS: usize = 16;

/// The windows of all steps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Windows {
    /// When they are looked at.
    pub(super) steps: Steps,
    /// Where they end.
    pub(super) ends: Steps,
    /// How long they are, in milliseconds.
    pub(crate) range: i64,
    /// How far beyond their start and their end samples are handed over.
    beyond: (i64, i64),
}

impl Windows {
    pub(crate) fn new(steps: Steps, ends: Steps, range: i64) -> Self {
        Self { steps, ends, range, beyond: (0, 0) }
    }

    /// Hands over samples before the start and behind the end of each window, too.
    pub(crate) fn widen(&mut self, before: i64, behind: i64) {
        self.beyond = (before, behind);
    }

    pub(crate) fn count(&self) -> usize {
        self.steps.count
    }

    /// The earliest and the latest time that lie in a window.
    pub(crate) fn reach(&self) -> (i64, i64) {
        let (before, behind) = self.beyond;
        let back = self.range.saturating_add(before);
        let first = self.ends.first().saturating_sub(back).saturating_add(1);
        let last = self.ends.last().saturating_add(behind);
        if self.steps.count == 0 { (first, first - 1) } else { (first, last) }
    }
}

/// What the windows slide over.
#[derive(Debug)]
pub(crate) enum Input<'a> {
    /// And how much of histograms is looked at.
    Samples(Selected<'a>, Detail),
    /// The steps of a subquery.
    Table(Table, Steps),
}

impl Input<'_> {
    /// The series in pieces, where several threads may slide over them.
    pub(super) fn parts(&self, context: &Context<'_>, steps: usize) -> Option<Parts<'_>> {
        match self {
            Self::Samples(selected, _) if steps >= STEPS => selected.parts(context),
            _ => None,
        }
    }

    /// Hands over each series without markers.
    pub(crate) fn each(
        &self,
        context: &Context<'_>,
        each: &mut dyn FnMut(KeyRef<'_>, Samples<'_>) -> Result<(), EvalError>,
    ) -> Result<(), EvalError> {
        match self {
            Self::Samples(selected, detail) => selected.each(context, *detail, each),
            Self::Table(table, steps) => {
                let mut buffer = Buffer::default();
                for row in 0..table.len() {
                    if row % 256 == 0 {
                        context.check()?;
                    }
                    let cells = table.row(row).iter().enumerate();
                    let present = cells.filter(|(_, cell)| !is_absent(**cell));
                    // Behind other samples than they were compared with.
                    let samples =
                        buffer.fill(present.map(|(n, cell)| (steps.time(n), forgotten(*cell))));
                    each(table.key(row).as_ref(), samples)?;
                }
                Ok(())
            }
        }
    }
}

/// Room for samples that had to be copied.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    times: Vec<i64>,
    values: Vec<f64>,
    starts: Vec<i64>,
}

impl Buffer {
    fn fill(&mut self, samples: impl Iterator<Item = (i64, f64)>) -> Samples<'_> {
        self.times.clear();
        self.values.clear();
        for (time, value) in samples {
            self.times.push(time);
            self.values.push(value);
        }
        Samples { times: &self.times, values: &self.values, starts: &[] }
    }

    /// Those of `samples` whose values are wanted.
    fn fill_with(
        &mut self,
        Samples { times, values, starts }: Samples<'_>,
        wanted: impl Fn(f64) -> bool,
    ) -> Samples<'_> {
        self.starts.clear();
        let kept = starts.iter().zip(values).filter(|(_, value)| wanted(**value));
        self.starts.extend(kept.map(|(start, _)| *start));
        let pairs = times.iter().copied().zip(values.iter().copied());
        self.fill(pairs.filter(|(_, value)| wanted(*value)));
        let Self { times, values, starts } = self;
        Samples { times, values, starts }
    }
}

/// Samples of a series; times rise.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Samples<'a> {
    pub(crate) times: &'a [i64],
    pub(crate) values: &'a [f64],
    /// Since when each counts, 0 where it is not known; nothing at all where it does not matter.
    pub(crate) starts: &'a [i64],
}

impl<'a> Samples<'a> {
    /// The samples without the markers that end a series; `buffer` is where a copy goes, if one is
    /// needed.
    pub(crate) fn without_markers<'b>(self, buffer: &'b mut Buffer) -> Samples<'b>
    where
        'a: 'b,
    {
        // Looks at all values without a branch for each; markers are no numbers.
        let any_nan = self.values.iter().fold(false, |any, value| any | value.is_nan());
        if !any_nan || !self.values.iter().any(|value| is_stale(*value)) {
            return self;
        }
        buffer.fill_with(self, |value| !is_stale(value))
    }

    /// The samples of every window in turn; windows without a sample are empty ranges.
    pub(crate) fn slide(self, windows: &Windows, mut each: impl FnMut(usize, Range<usize>, i64)) {
        let (mut first, mut behind) = (0, 0);
        let times = self.times;
        for step in 0..windows.count() {
            let end = windows.ends.time(step);
            let from = end.saturating_sub(windows.range).saturating_sub(windows.beyond.0);
            let to = end.saturating_add(windows.beyond.1);
            if step == 0 {
                first = times.partition_point(|t| *t <= from);
                behind = times.partition_point(|t| *t <= to);
            }
            while times.get(behind).is_some_and(|t| *t <= to) {
                behind += 1;
            }
            while first < behind && times[first] <= from {
                first += 1;
            }
            each(step, first..behind, end);
        }
    }
}

/// The samples of one series that lie in the window of one step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window<'a> {
    /// All samples of the series.
    pub(crate) samples: Samples<'a>,
    /// The first in the window, and the one behind the last; there is one at least between.
    pub(crate) first: usize,
    pub(crate) behind: usize,
    /// The edges, in milliseconds.
    pub(crate) start: i64,
    pub(crate) end: i64,
    /// When it is looked at, in milliseconds.
    pub(crate) now: i64,
    /// The numbers beside the range vector, where the function takes some.
    pub(crate) param: f64,
    pub(crate) second: f64,
}

impl<'a> Window<'a> {
    #[inline]
    pub(crate) fn times(&self) -> &'a [i64] {
        &self.samples.times[self.first..self.behind]
    }

    #[inline]
    pub(crate) fn values(&self) -> &'a [f64] {
        &self.samples.values[self.first..self.behind]
    }

    /// Since when each counts, or nothing; see [`Samples::starts`].
    #[inline]
    pub(crate) fn starts(&self) -> &'a [i64] {
        self.samples.starts.get(self.first..self.behind).unwrap_or_default()
    }
}

/// What a function of a range vector is called with.
pub(crate) struct OverTimeCall<'a> {
    pub(crate) context: &'a Context<'a>,
    pub(crate) input: Input<'a>,
    pub(crate) windows: Windows,
    pub(crate) params: Vec<Column>,
    pub(crate) spans: Spans,
}

/// What a function of a range vector makes of native histograms.
pub(crate) enum Native {
    /// It need not know that they are there.
    AsIs,
    /// It looks at the numbers only, and says so.
    Ignored,
    /// It can calculate with them.
    Own,
}

/// The result for the numbers of a window, in which there are histograms, too.
pub(super) fn without_native<F: Slide>(
    function: &mut F,
    call: &OverTimeCall<'_>,
    key: KeyRef<'_>,
    window: Window<'_>,
) -> f64 {
    let mut buffer = Buffer::default();
    let all = Samples { times: window.times(), values: window.values(), starts: window.starts() };
    let samples = buffer.fill_with(all, |value| !is_tag(value));
    let behind = samples.times.len();
    if behind == 0 {
        return ABSENT;
    }
    if behind < window.behind - window.first {
        let name = key.metric_name();
        let message = format!(
            "ignored histograms in a range containing both floats and histograms for metric name \
             {name:?}"
        );
        call.context.inform(call.spans.first, message);
    }
    function.begin(samples);
    function.value(Window { samples, first: 0, behind, ..window })
}

/// A function of a range vector, as it slides over one series after the other.
pub(crate) trait Slide: Default {
    /// Whether what comes out is still the same metric.
    const KEEPS_NAME: bool = false;
    /// Whether the result depends on when the window is looked at, not only on the window.
    const DEPENDS_ON_NOW: bool = false;

    /// What it makes of native histograms.
    const NATIVE: Native = Native::Ignored;

    /// The result for a window of a series that has histograms, where those are its own business.
    fn native(
        &mut self,
        _call: &OverTimeCall<'_>,
        _key: KeyRef<'_>,
        _window: Window<'_>,
    ) -> Result<f64, EvalError> {
        Ok(ABSENT)
    }

    /// Looks at a series that gave a result, and at the cells that it gave.
    fn inspect(&mut self, _call: &OverTimeCall<'_>, _key: KeyRef<'_>, _cells: &[f64]) {}

    /// Begins with the next series.
    fn begin(&mut self, _samples: Samples<'_>) {}

    /// The result for a window, or [`ABSENT`]. Windows come in the order of time.
    fn value(&mut self, window: Window<'_>) -> f64;
}
