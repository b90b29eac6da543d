//! What functions of range vectors look at: the samples of a series, and windows of them.
//!
//! Invariant: the samples of a window are never copied; a series that has ended and begun again is,
//! once, without the markers.

use base::histogram::is_tag;
use base::sample::is_stale;
use storage::Parts;

use super::bounds::{Bounds, Windows};
use super::context::Lease;
use super::histograms::forgotten;
use super::key::KeyRef;
use super::scalar::Column;
use super::select::Selected;
use super::table::{Table, is_absent};
use super::{ABSENT, Context, EvalError, Steps};
use crate::plan::{Detail, Spans};

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
    pub(super) fn parts(
        &self,
        context: &Context<'_>,
    ) -> Result<Option<(Parts<'_>, Lease)>, EvalError> {
        match self {
            Self::Samples(selected, _) => selected.parts(context),
            _ => Ok(None),
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

/// The windows of one series.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a> {
    pub(crate) samples: Samples<'a>,
    pub(crate) windows: &'a Windows,
    /// Where they lie in the samples.
    pub(crate) bounds: &'a Bounds,
    /// The numbers beside the range vector: each one, one for each step, or none.
    pub(crate) params: [&'a [f64]; 2],
}

/// The value of a parameter at a step.
#[inline]
fn at(param: &[f64], step: usize) -> f64 {
    match param {
        [] => f64::NAN,
        [value] => *value,
        values => values[step],
    }
}

impl<'a> Row<'a> {
    /// The window of a step, which has a sample.
    #[inline]
    pub(crate) fn window(&self, step: usize) -> Window<'a> {
        let (first, behind) = self.bounds.windows()[step];
        let end = self.windows.ends.time(step);
        Window {
            samples: self.samples,
            first,
            behind,
            start: end.saturating_sub(self.windows.range),
            end,
            now: self.windows.steps.time(step),
            param: at(self.params[0], step),
            second: at(self.params[1], step),
        }
    }

    /// The windows by themselves, with their steps, where they have no samples in common: nothing that is
    /// remembered from one helps with the next. Nothing where they have.
    pub(crate) fn apart(&self) -> Option<impl Iterator<Item = (usize, Window<'a>)>> {
        let row = *self;
        let windows = row.bounds.windows();
        let apart = windows.windows(2).all(|pair| pair[0].1 <= pair[1].0);
        let present = move |step: &usize| windows[*step].0 < windows[*step].1;
        apart.then(|| (0..windows.len()).filter(present).map(move |step| (step, row.window(step))))
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

    /// The results for all windows of a series without histograms at once, where that can be done
    /// faster: fills the cells and says whether one got a value.
    fn fill(&mut self, _row: &Row<'_>, _cells: &mut [f64]) -> Option<bool> {
        None
    }
}
