//! Growth of native histograms.
//!
//! Invariant: each bucket grows as a counter of its own would, but all of them begin again at once.

use std::sync::Arc;

use base::histogram::{Histogram, Reset};

use super::over_time::only_histograms;
use super::start::{began, began_again};
use crate::evaluate::{ABSENT, Context, EvalError, KeyRef, OverTimeCall, Window};
use crate::fault::Span;
use crate::histogram::{Incompatible, difference, multiple, quotient, sum};

/// Where something is said about a series.
#[derive(Clone, Copy)]
pub(super) struct Site<'a> {
    pub(super) context: &'a Context<'a>,
    pub(super) name: &'a str,
    pub(super) span: Span,
}

impl<'a> Site<'a> {
    pub(super) fn new(call: &'a OverTimeCall<'_>, key: KeyRef<'a>) -> Self {
        let name = key.metric_name();
        Self { context: call.context, name, span: call.spans.first }
    }

    pub(super) fn not_a_counter(self) {
        let name = self.name;
        let message = format!("this native histogram metric is not a counter: {name:?}");
        self.context.warn(self.span, message);
    }

    pub(super) fn not_a_gauge(self) {
        let name = self.name;
        let message = format!("this native histogram metric is not a gauge: {name:?}");
        self.context.warn(self.span, message);
    }

    pub(super) fn mixed(self) {
        self.context.warn_of_mix(self.name, self.span);
    }

    /// A difference, where there is one. What is known about beginning again is looked at elsewhere.
    pub(super) fn difference(self, a: &Histogram, b: &Histogram) -> Option<Histogram> {
        self.noted(difference(a, b), "subtraction")
    }

    /// A sum, where there is one.
    pub(super) fn sum(self, a: &Histogram, b: &Histogram) -> Option<Histogram> {
        self.noted(sum(a, b), "addition")
    }

    fn noted(
        self,
        result: Result<(Histogram, crate::histogram::Notes), Incompatible>,
        operation: &str,
    ) -> Option<Histogram> {
        match result {
            Ok((histogram, mut notes)) => {
                notes.collision = false;
                self.context.note(notes, operation, self.span);
                Some(histogram)
            }
            Err(Incompatible) => {
                self.mixed();
                None
            }
        }
    }
}

/// The change between the first and the last histogram of a window, as a gauge. `began_again` says of
/// which it is known otherwise that the counter began again behind it.
pub(super) fn change(
    site: Site<'_>,
    histograms: &[Arc<Histogram>],
    counter: bool,
    began_again: impl Fn(usize) -> bool,
) -> Option<Histogram> {
    let ([first, second, ..], Some(last)) = (histograms, histograms.last()) else { return None };
    let gauge = |histogram: &Arc<Histogram>| histogram.reset == Reset::Gauge;
    if counter && histograms.iter().any(gauge) {
        site.not_a_counter();
    }
    // What the first one had is lost with the reset behind it, its buckets included.
    let lost_first = counter && (began_again(0) || second.began_again_after(first));
    let nothing = || {
        let (schema, bounds) = (second.schema, Arc::clone(&second.bounds));
        Arc::new(Histogram { schema, bounds, ..Histogram::default() })
    };
    let first = if lost_first { nothing() } else { Arc::clone(first) };
    let looked_at = if counter { &histograms[1..] } else { std::slice::from_ref(last) };
    if looked_at.iter().any(|other| other.is_custom() != first.is_custom()) {
        site.mixed();
        return None;
    }
    let coarsest = looked_at.iter().map(|other| other.schema).fold(first.schema, i32::min);
    let mut result = site.difference(&last.at_schema(coarsest), &first)?;
    if counter {
        let mut before = &first;
        for (n, now) in histograms.iter().enumerate().skip(1) {
            // The first is nothing where it was lost, and nothing cannot be fallen below.
            let again =
                !(n == 1 && lost_first) && (began_again(n - 1) || now.began_again_after(before));
            if again {
                result = site.sum(&result, before)?;
            }
            before = now;
        }
    } else if !gauge(&histograms[0]) || !gauge(last) {
        site.not_a_gauge();
    }
    result.reset = Reset::Gauge;
    Some(result)
}

/// `rate`, `increase` and `delta` of a window that has histograms; `scale` says by how much the
/// change is larger to the edges.
pub(super) fn grown(
    call: &OverTimeCall<'_>,
    key: KeyRef<'_>,
    window: Window<'_>,
    counter: bool,
    scale: impl Fn(f64, f64) -> f64,
) -> Result<f64, EvalError> {
    let Some(histograms) = only_histograms(call, key, window) else { return Ok(ABSENT) };
    let site = Site::new(call, key);
    let again = |n: usize| began_again(&window.samples, window.first + n);
    let zero_known = counter && began(&window).is_some();
    let grown = match histograms.as_slice() {
        [only] if zero_known => Some((**only).clone()),
        [first, ..] if zero_known => {
            change(site, &histograms, counter, again).and_then(|grown| site.sum(&grown, first))
        }
        _ => change(site, &histograms, counter, again),
    };
    let Some(result) = grown else { return Ok(ABSENT) };
    let factor = scale(histograms[0].count, result.count);
    call.context.keep(multiple(&result, factor))
}

/// `irate` and `idelta` of a window that has histograms.
pub(super) fn last_change(
    call: &OverTimeCall<'_>,
    key: KeyRef<'_>,
    window: Window<'_>,
    rate: bool,
) -> Result<f64, EvalError> {
    let Some(first) = window.behind.checked_sub(2).filter(|first| *first >= window.first) else {
        return Ok(ABSENT);
    };
    let window = Window { first, ..window };
    let Some(histograms) = only_histograms(call, key, window) else { return Ok(ABSENT) };
    let [before, last] = histograms.as_slice() else { return Ok(ABSENT) };
    let site = Site::new(call, key);
    let gauges = [before, last].iter().filter(|h| h.reset == Reset::Gauge).count();
    if rate && gauges > 0 {
        site.not_a_counter();
    }
    if !rate && gauges < 2 {
        site.not_a_gauge();
    }
    let again = || began_again(&window.samples, window.first) || last.began_again_after(before);
    let mut result = if rate && again() {
        (**last).clone()
    } else {
        match site.difference(last, before) {
            Some(result) => result,
            None => return Ok(ABSENT),
        }
    };
    result.reset = Reset::Gauge;
    if rate {
        let times = window.times();
        result = quotient(&result, (times[1] - times[0]) as f64 / 1000.0);
    }
    call.context.keep(result)
}
