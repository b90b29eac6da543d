//! Functions of all samples in a window.
//!
//! Invariant: a result depends on the samples in the window only; what is remembered from window to
//! window saves work and changes nothing.

use std::collections::VecDeque;

use crate::evaluate::{KeyRef, OverTimeCall, Samples, Slide, Window, is_absent};
use crate::numeric::{self, Mean, Variance};

/// A function that looks at each value once and remembers nothing.
macro_rules! functions_of_values {
    ($($(#[$doc:meta])* $name:ident = $function:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Default)]
        pub(super) struct $name;

        impl Slide for $name {
            #[inline]
            fn value(&mut self, window: Window<'_>) -> f64 {
                let function: fn(&[f64]) -> f64 = $function;
                function(window.values())
            }
        }
    )*};
}

functions_of_values! {
    /// `sum_over_time`
    Sum = |values| {
        let mut sum = numeric::Sum::default();
        values.iter().for_each(|value| sum.add(*value));
        sum.value()
    };
    /// `avg_over_time`
    Avg = |values| {
        let mut mean = Mean::default();
        values.iter().for_each(|value| mean.add(*value));
        mean.value()
    };
    /// `stdvar_over_time`
    Stdvar = variance;
    /// `stddev_over_time`
    Stddev = |values| variance(values).sqrt();
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

/// `last_over_time`
#[derive(Default)]
pub(super) struct Last;

impl Slide for Last {
    const KEEPS_NAME: bool = true;

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

    #[inline]
    fn value(&mut self, _window: Window<'_>) -> f64 {
        1.0
    }
}

/// `quantile_over_time`
#[derive(Default)]
pub(super) struct Quantile {
    sorted: Vec<f64>,
    /// The last quantile that was looked at.
    checked: Option<u64>,
}

impl Slide for Quantile {
    fn inspect(&mut self, call: &OverTimeCall<'_>, _key: KeyRef<'_>, cells: &[f64]) {
        // Where there is no sample nobody cares.
        let Some(param) = call.params.first() else { return };
        for (step, _) in cells.iter().enumerate().filter(|(_, cell)| !is_absent(**cell)) {
            let quantile = param.at(step);
            if self.checked.replace(quantile.to_bits()) != Some(quantile.to_bits()) {
                call.context.check_quantile(quantile, call.spans.first);
            }
        }
    }

    fn value(&mut self, window: Window<'_>) -> f64 {
        self.sorted.clear();
        self.sorted.extend_from_slice(window.values());
        numeric::quantile(window.param, &mut self.sorted)
    }
}

/// The largest or smallest value of windows that slide: of each window the values that none behind
/// them outdoes, so that the first is the one, and each value comes and goes once.
#[derive(Default)]
struct Extreme {
    candidates: VecDeque<usize>,
    /// The first sample that has not been looked at.
    next: usize,
}

impl Extreme {
    fn begin(&mut self) {
        self.candidates.clear();
        self.next = 0;
    }

    #[inline]
    fn value(&mut self, window: Window<'_>, outdoes: impl Fn(f64, f64) -> bool) -> f64 {
        let values = window.samples.values;
        while self.candidates.front().is_some_and(|at| *at < window.first) {
            self.candidates.pop_front();
        }
        for at in self.next.max(window.first)..window.behind {
            let value = values[at];
            // What is not a number counts only where there is nothing else.
            if value.is_nan() {
                continue;
            }
            while self.candidates.back().is_some_and(|back| outdoes(value, values[*back])) {
                self.candidates.pop_back();
            }
            self.candidates.push_back(at);
        }
        self.next = window.behind;
        self.candidates.front().map_or(f64::NAN, |at| values[*at])
    }
}

/// `max_over_time`
#[derive(Default)]
pub(super) struct Max(Extreme);

impl Slide for Max {
    fn begin(&mut self, _samples: Samples<'_>) {
        self.0.begin();
    }

    #[inline]
    fn value(&mut self, window: Window<'_>) -> f64 {
        self.0.value(window, |value, other| value > other)
    }
}

/// `min_over_time`
#[derive(Default)]
pub(super) struct Min(Extreme);

impl Slide for Min {
    fn begin(&mut self, _samples: Samples<'_>) {
        self.0.begin();
    }

    #[inline]
    fn value(&mut self, window: Window<'_>) -> f64 {
        self.0.value(window, |value, other| value < other)
    }
}

/// How many pairs of neighbours there are of a kind.
fn count_pairs(values: &[f64], counts: impl Fn(f64, f64) -> bool) -> f64 {
    values.windows(2).filter(|pair| counts(pair[0], pair[1])).count() as f64
}

functions_of_values! {
    /// `changes`
    Changes = |values| count_pairs(values, |a, b| a != b && !(a.is_nan() && b.is_nan()));
    /// `resets`
    Resets = |values| count_pairs(values, |a, b| b < a);
}
