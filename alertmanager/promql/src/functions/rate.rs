//! Growth of counters and change of gauges, extrapolated to the edges of a window or between the
//! last two samples.
//!
//! Where it is known since when a counter counts, and that is asked for, it was zero then.
//!
//! Invariant: a counter that falls has begun again at zero.

use base::histogram::is_tag;
use base::labels::METRIC_NAME;

use super::edge::{Scales, factor};
use super::native_rate::{grown, last_change};
use super::start::{began, began_again, overlap};
use crate::evaluate::{
    ABSENT, EvalError, KeyRef, Native, OverTimeCall, Row, Samples, Slide, Window, is_absent,
};

/// Where a counter falls, or begins again otherwise, so that windows need not look at each pair again.
#[derive(Default)]
struct Falls {
    /// The samples before the falls.
    places: Vec<usize>,
    /// The samples before those that count since an earlier time than they can.
    overlaps: Vec<usize>,
}

impl Falls {
    fn begin(&mut self, samples: Samples<'_>) {
        let values = samples.values;
        self.places.clear();
        self.overlaps.clear();
        if !samples.starts.is_empty() {
            let before = 0..values.len().saturating_sub(1);
            let falls = |at: &usize| values[at + 1] < values[*at] || began_again(&samples, *at);
            self.places.extend(before.clone().filter(falls));
            self.overlaps.extend(before.filter(|at| overlap(&samples, *at)));
            return;
        }
        // Most counters never fall in a query's range: find that out without a branch a value.
        let falls = values.windows(2).fold(false, |falls, pair| falls | (pair[1] < pair[0]));
        if falls {
            let pairs = values.windows(2).enumerate();
            self.places.extend(pairs.filter(|(_, pair)| pair[1] < pair[0]).map(|(at, _)| at));
        }
    }

    /// Whether samples of a window overlap.
    fn overlap_in(&self, window: &Window<'_>) -> bool {
        let next = self.overlaps.partition_point(|at| *at < window.first);
        self.overlaps.get(next).is_some_and(|at| *at + 1 < window.behind)
    }

    /// What the counter lost by the falls between the samples of a window, in their order.
    fn add_lost(&self, mut growth: f64, window: &Window<'_>) -> f64 {
        let begin = self.places.partition_point(|at| *at < window.first);
        for at in &self.places[begin..] {
            if *at + 1 >= window.behind {
                break;
            }
            growth += window.samples.values[*at];
        }
        growth
    }
}

/// `delta`
#[derive(Default)]
pub(super) struct Delta(Scales);

impl Slide for Delta {
    const NATIVE: Native = Native::Own;

    fn native(
        &mut self,
        call: &OverTimeCall<'_>,
        key: KeyRef<'_>,
        window: Window<'_>,
    ) -> Result<f64, EvalError> {
        let scale = |begin, change| factor(begin, change, false, &window);
        native_or(self.value(window), window, || grown(call, key, window, false, scale))
    }

    #[inline]
    fn value(&mut self, window: Window<'_>) -> f64 {
        match window.values() {
            [first, .., last] => {
                let change = last - first;
                change * factor(*first, change, false, &window)
            }
            _ => ABSENT,
        }
    }

    fn fill(&mut self, row: &Row<'_>, cells: &mut [f64]) -> Option<bool> {
        Some(self.0.fill(row, cells, false, |factor, _| factor))
    }
}

/// `floats`, if the window has nothing else.
fn native_or(
    floats: f64,
    window: Window<'_>,
    native: impl FnOnce() -> Result<f64, EvalError>,
) -> Result<f64, EvalError> {
    if window.values().iter().any(|value| is_tag(*value)) { native() } else { Ok(floats) }
}

/// A counter that is watched for falls.
#[derive(Default)]
struct Counter {
    falls: Falls,
    scales: Scales,
    names: CounterNames,
    /// Whether samples of a window of the series overlap.
    overlaps: bool,
}

impl Counter {
    /// The growth between the samples of a window, and by how much it is larger to the edges.
    #[inline]
    fn growth(&mut self, window: &Window<'_>) -> Option<(f64, f64)> {
        let values = window.values();
        let (first, last) = (values.first()?, values.last()?);
        let mut growth = self.falls.add_lost(last - first, window);
        if !window.samples.starts.is_empty() {
            self.overlaps |= self.falls.overlap_in(window);
            if began(window).is_some() {
                growth += first;
                return Some((growth, factor(*first, growth, true, window)));
            }
        }
        (values.len() > 1).then(|| (growth, factor(*first, growth, true, window)))
    }

    /// The growth of a counter that never falls, scaled by what `unit` makes of the factors.
    fn fill(
        &mut self,
        row: &Row<'_>,
        cells: &mut [f64],
        unit: impl Fn(f64, &Window<'_>) -> f64,
    ) -> Option<bool> {
        let plain = row.samples.starts.is_empty() && self.falls.places.is_empty();
        plain.then(|| self.scales.fill(row, cells, true, unit))
    }

    /// What there is to say about a series that gave a result.
    fn inspect(&mut self, call: &OverTimeCall<'_>, key: KeyRef<'_>, cells: &[f64]) {
        if std::mem::take(&mut self.overlaps) {
            let name = key.metric_name();
            let message = format!(
                "sample has start time that overlaps with previous sample timestamp for metric \
                 {name:?}"
            );
            call.context.warn(call.spans.first, message);
        }
        if cells.iter().any(|cell| !is_absent(*cell) && !is_tag(*cell)) {
            self.names.inspect(call, key);
        }
    }
}

/// `increase`
#[derive(Default)]
pub(super) struct Increase(Counter);

impl Slide for Increase {
    const NATIVE: Native = Native::Own;

    fn native(
        &mut self,
        call: &OverTimeCall<'_>,
        key: KeyRef<'_>,
        window: Window<'_>,
    ) -> Result<f64, EvalError> {
        let scale = |begin, change| factor(begin, change, true, &window);
        native_or(self.value(window), window, || grown(call, key, window, true, scale))
    }

    fn begin(&mut self, samples: Samples<'_>) {
        self.0.falls.begin(samples);
    }

    fn inspect(&mut self, call: &OverTimeCall<'_>, key: KeyRef<'_>, cells: &[f64]) {
        self.0.inspect(call, key, cells);
    }

    #[inline]
    fn value(&mut self, window: Window<'_>) -> f64 {
        self.0.growth(&window).map_or(ABSENT, |(growth, factor)| growth * factor)
    }

    fn fill(&mut self, row: &Row<'_>, cells: &mut [f64]) -> Option<bool> {
        self.0.fill(row, cells, |factor, _| factor)
    }
}

/// What growth is multiplied by, so that it is that of a second.
#[inline]
fn per_second(factor: f64, window: &Window<'_>) -> f64 {
    factor / ((window.end - window.start) as f64 / 1000.0)
}

/// `rate`
#[derive(Default)]
pub(super) struct Rate(Counter);

impl Slide for Rate {
    const NATIVE: Native = Native::Own;

    fn native(
        &mut self,
        call: &OverTimeCall<'_>,
        key: KeyRef<'_>,
        window: Window<'_>,
    ) -> Result<f64, EvalError> {
        let scale = |begin, change| per_second(factor(begin, change, true, &window), &window);
        native_or(self.value(window), window, || grown(call, key, window, true, scale))
    }

    fn begin(&mut self, samples: Samples<'_>) {
        self.0.falls.begin(samples);
    }

    fn inspect(&mut self, call: &OverTimeCall<'_>, key: KeyRef<'_>, cells: &[f64]) {
        self.0.inspect(call, key, cells);
    }

    #[inline]
    fn value(&mut self, window: Window<'_>) -> f64 {
        let rate = |(growth, factor)| growth * per_second(factor, &window);
        self.0.growth(&window).map_or(ABSENT, rate)
    }

    fn fill(&mut self, row: &Row<'_>, cells: &mut [f64]) -> Option<bool> {
        self.0.fill(row, cells, per_second)
    }
}

/// The last two samples of a window: the values, and the seconds between them.
#[inline]
fn last_two(window: &Window<'_>) -> Option<(f64, f64, f64)> {
    match (window.times(), window.values()) {
        ([.., s, t], [.., a, b]) => Some((*a, *b, (t - s) as f64 / 1000.0)),
        _ => None,
    }
}

/// `idelta`
#[derive(Default)]
pub(super) struct LastDelta;

impl Slide for LastDelta {
    const NATIVE: Native = Native::Own;

    fn native(
        &mut self,
        call: &OverTimeCall<'_>,
        key: KeyRef<'_>,
        window: Window<'_>,
    ) -> Result<f64, EvalError> {
        let last = Window { first: window.behind.saturating_sub(2).max(window.first), ..window };
        native_or(self.value(window), last, || last_change(call, key, last, false))
    }

    #[inline]
    fn value(&mut self, window: Window<'_>) -> f64 {
        last_two(&window).map_or(ABSENT, |(before, last, _)| last - before)
    }
}

/// `irate`
#[derive(Default)]
pub(super) struct LastRate;

impl Slide for LastRate {
    const NATIVE: Native = Native::Own;

    fn native(
        &mut self,
        call: &OverTimeCall<'_>,
        key: KeyRef<'_>,
        window: Window<'_>,
    ) -> Result<f64, EvalError> {
        let last = Window { first: window.behind.saturating_sub(2).max(window.first), ..window };
        native_or(self.value(window), last, || last_change(call, key, last, true))
    }

    #[inline]
    fn value(&mut self, window: Window<'_>) -> f64 {
        let before = window.behind.saturating_sub(2);
        match last_two(&window) {
            Some((before, last, seconds)) if last < before => last / seconds,
            Some((_, last, seconds)) if began_again(&window.samples, before) => last / seconds,
            Some((before, last, seconds)) => (last - before) / seconds,
            None => ABSENT,
        }
    }
}

/// Remarks on metrics whose name does not say that they are counters.
#[derive(Default)]
pub(super) struct CounterNames {
    /// The last name that was fine.
    fine: String,
}

impl CounterNames {
    pub(super) fn inspect(&mut self, call: &OverTimeCall<'_>, key: KeyRef<'_>) {
        let Some(name) = key.get(METRIC_NAME).filter(|name| *name != self.fine) else { return };
        if ["_total", "_sum", "_count", "_bucket"].iter().any(|suffix| name.ends_with(suffix)) {
            name.clone_into(&mut self.fine);
            return;
        }
        let message = format!(
            "metric might not be a counter, name does not end in _total/_sum/_count/_bucket: \
             {name:?}"
        );
        call.context.inform(call.spans.first, message);
    }
}
