//! Functions of all samples in a window.
//!
//! Invariant: a result depends on the samples in the window only; what is remembered from window to
//! window saves work and changes nothing.

use std::sync::Arc;

use base::histogram::{Histogram, is_tag};

use super::start::began_again;
use crate::evaluate::{ABSENT, Cell, EvalError, KeyRef, Native, OverTimeCall, Slide, Window};
use crate::histogram::{Incompatible, Total, same};
use crate::numeric::{self, Mean, Variance};

/// A function that looks at each value once and remembers nothing.
macro_rules! functions_of_values {
    ($native:expr; $($(#[$doc:meta])* $name:ident = $function:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Default)]
        pub(super) struct $name;

        impl Slide for $name {
            const NATIVE: Native = $native;

            #[inline]
            fn value(&mut self, window: Window<'_>) -> f64 {
                let function: fn(&[f64]) -> f64 = $function;
                function(window.values())
            }
        }
    )*};
}

functions_of_values! {
    Native::Ignored;
    /// `stdvar_over_time`
    Stdvar = variance;
    /// `stddev_over_time`
    Stddev = |values| variance(values).sqrt();
}

functions_of_values! {
    Native::AsIs;
    /// `count_over_time`
    Count = |values| values.len() as f64;
    /// `present_over_time`
    Present = |_| 1.0;
}

fn variance(values: &[f64]) -> f64 {
    let mut variance = Variance::default();
    values.iter().for_each(|value| variance.add(*value));
    variance.value()
}

/// `sum_over_time` and `avg_over_time`.
#[derive(Default)]
pub(super) struct Added<const MEAN: bool>;

pub(super) type Sum = Added<false>;
pub(super) type Avg = Added<true>;

impl<const MEAN: bool> Slide for Added<MEAN> {
    const NATIVE: Native = Native::Own;

    #[inline]
    fn value(&mut self, window: Window<'_>) -> f64 {
        if MEAN {
            let mut mean = Mean::default();
            window.values().iter().for_each(|value| mean.add(*value));
            return mean.value();
        }
        let mut sum = numeric::Sum::default();
        window.values().iter().for_each(|value| sum.add(*value));
        sum.value()
    }

    fn native(
        &mut self,
        call: &OverTimeCall<'_>,
        key: KeyRef<'_>,
        window: Window<'_>,
    ) -> Result<f64, EvalError> {
        let Some(histograms) = only_histograms(call, key, window) else { return Ok(ABSENT) };
        if histograms.is_empty() {
            return Ok(self.value(window));
        }
        let each = || histograms.iter().map(|histogram| &**histogram);
        match Total::of(each()) {
            None => Ok(ABSENT),
            Some(Ok(total)) => {
                call.context.note(total.notes(), "aggregation", call.spans.first);
                call.context.keep(if MEAN { total.mean(each()) } else { total.sum() })
            }
            Some(Err(Incompatible)) => {
                call.context.warn_of_mix(key.metric_name(), call.spans.first);
                Ok(ABSENT)
            }
        }
    }
}

/// The histograms of a window, none where it has only floats; nothing, and a warning, where it has
/// both.
pub(super) fn only_histograms(
    call: &OverTimeCall<'_>,
    key: KeyRef<'_>,
    window: Window<'_>,
) -> Option<Vec<Arc<Histogram>>> {
    let values = window.values();
    let tags = values.iter().filter(|value| is_tag(**value)).count();
    if tags > 0 && tags < values.len() {
        let name = key.metric_name();
        let message =
            format!("encountered a mix of histograms and floats for metric name {name:?}");
        call.context.warn(call.spans.first, message);
        return None;
    }
    let histograms = values.iter().filter(|value| is_tag(**value));
    // One for each tag, or nothing: a tag may stand for nothing.
    histograms.map(|value| call.context.histogram(*value)).collect()
}

/// `first_over_time`
#[derive(Default)]
pub(super) struct First;

impl Slide for First {
    const KEEPS_NAME: bool = true;
    const NATIVE: Native = Native::AsIs;

    fn value(&mut self, window: Window<'_>) -> f64 {
        window.samples.values[window.first]
    }
}

/// `last_over_time`
#[derive(Default)]
pub(super) struct Last;

impl Slide for Last {
    const KEEPS_NAME: bool = true;
    const NATIVE: Native = Native::AsIs;

    #[inline]
    fn value(&mut self, window: Window<'_>) -> f64 {
        window.samples.values[window.behind - 1]
    }
}

/// Where there is any sample, told apart by metric: what `absent_over_time` looks at.
#[derive(Default)]
pub(super) struct Any;

impl Slide for Any {
    const KEEPS_NAME: bool = true;
    const NATIVE: Native = Native::AsIs;

    #[inline]
    fn value(&mut self, _window: Window<'_>) -> f64 {
        1.0
    }
}

/// Seconds since the Unix epoch.
fn seconds(millis: i64) -> f64 {
    millis as f64 / 1000.0
}

/// `ts_of_first_over_time` and `ts_of_last_over_time`.
#[derive(Default)]
pub(super) struct TimeOfEnd<const LAST: bool>;

pub(super) type TimeOfFirst = TimeOfEnd<false>;
pub(super) type TimeOfLast = TimeOfEnd<true>;

impl<const LAST: bool> Slide for TimeOfEnd<LAST> {
    const NATIVE: Native = Native::AsIs;

    fn value(&mut self, window: Window<'_>) -> f64 {
        let at = if LAST { window.behind - 1 } else { window.first };
        seconds(window.samples.times[at])
    }
}

/// `ts_of_max_over_time` and `ts_of_min_over_time`: when the last of the extreme values was.
#[derive(Default)]
pub(super) struct TimeOfExtreme<const MAX: bool>;

pub(super) type TimeOfMax = TimeOfExtreme<true>;
pub(super) type TimeOfMin = TimeOfExtreme<false>;

impl<const MAX: bool> Slide for TimeOfExtreme<MAX> {
    fn value(&mut self, window: Window<'_>) -> f64 {
        let (times, values) = (window.times(), window.values());
        let mut best = 0;
        for (at, value) in values.iter().enumerate() {
            let outdoes = if MAX { *value >= values[best] } else { *value <= values[best] };
            if outdoes || values[best].is_nan() {
                best = at;
            }
        }
        seconds(times[best])
    }
}

/// How many pairs of neighbours there are of a kind.
fn count_pairs(values: &[f64], counts: impl Fn(f64, f64) -> bool) -> f64 {
    values.windows(2).filter(|pair| counts(pair[0], pair[1])).count() as f64
}

/// How often values change.
pub(super) fn changes(values: &[f64]) -> f64 {
    count_pairs(values, |a, b| a != b && !(a.is_nan() && b.is_nan()))
}

/// How often values fall.
pub(super) fn resets(values: &[f64]) -> f64 {
    count_pairs(values, |a, b| b < a)
}

/// As [`changes`], or [`resets`], where there are histograms among the values. From a float to a
/// histogram is both.
pub(super) fn native_pairs(
    call: &OverTimeCall<'_>,
    values: &[f64],
    resets: bool,
    began_again: impl Fn(usize) -> bool,
) -> f64 {
    let cells: Vec<_> = values.iter().map(|value| call.context.cell(*value)).collect();
    let counts = |pair: &[Cell]| match (&pair[0], &pair[1]) {
        (Cell::Float(a), Cell::Float(b)) if resets => b < a,
        (Cell::Float(a), Cell::Float(b)) => a != b && !(a.is_nan() && b.is_nan()),
        (Cell::Native(a), Cell::Native(b)) if resets => b.began_again_after(a),
        (Cell::Native(a), Cell::Native(b)) => !same(a, b),
        _ => true,
    };
    let pairs = cells.windows(2).enumerate();
    pairs.filter(|(at, pair)| counts(pair) || resets && began_again(*at)).count() as f64
}

/// `changes` and `resets`.
#[derive(Default)]
pub(super) struct Pairs<const RESETS: bool>;

pub(super) type Changes = Pairs<false>;
pub(super) type Resets = Pairs<true>;

impl<const RESETS: bool> Slide for Pairs<RESETS> {
    const NATIVE: Native = Native::Own;

    #[inline]
    fn value(&mut self, window: Window<'_>) -> f64 {
        match RESETS {
            true if window.samples.starts.is_empty() => resets(window.values()),
            true => {
                let pairs = window.values().windows(2).enumerate();
                let again = |at| began_again(&window.samples, window.first + at);
                pairs.filter(|(at, pair)| pair[1] < pair[0] || again(*at)).count() as f64
            }
            false => changes(window.values()),
        }
    }

    fn native(
        &mut self,
        call: &OverTimeCall<'_>,
        _key: KeyRef<'_>,
        window: Window<'_>,
    ) -> Result<f64, EvalError> {
        let again = |at| began_again(&window.samples, window.first + at);
        Ok(native_pairs(call, window.values(), RESETS, again))
    }
}
