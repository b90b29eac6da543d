//! Growth from edge to edge of a range, which samples outside of it tell.
//!
//! ```text
//!   sample   start   sample   sample   end   sample
//!      ●───────┤────────●────────●──────├───────●
//!      anchored: from the last sample up to the start to the last one up to the end
//!              smoothed: from edge to edge, on straight lines between samples
//! ```
//!
//! Invariant: nothing is extrapolated.

use std::sync::Arc;

use base::histogram::{Histogram, Reset, is_tag};

use super::native_rate::Site;
use super::over_time::{changes, native_pairs, only_histograms, resets};
use super::rate::CounterNames;
use crate::evaluate::{ABSENT, EvalError, KeyRef, Native, OverTimeCall, Slide, Window};
use crate::histogram::{between, quotient};

/// `changes` and `resets` of an anchored range.
#[derive(Default)]
pub(super) struct Pairs<const RESETS: bool>;

pub(super) type Changes = Pairs<false>;
pub(super) type Resets = Pairs<true>;

/// The values from the last sample up to the start on; none where there is no later one.
fn anchored<'a>(window: &Window<'a>) -> &'a [f64] {
    let (times, values) = (window.times(), window.values());
    if times.last().is_none_or(|last| *last <= window.start) {
        return &[];
    }
    &values[times.partition_point(|t| *t <= window.start).saturating_sub(1)..]
}

impl<const RESETS: bool> Slide for Pairs<RESETS> {
    const NATIVE: Native = Native::Own;

    fn value(&mut self, window: Window<'_>) -> f64 {
        match anchored(&window) {
            [] => ABSENT,
            values if RESETS => resets(values),
            values => changes(values),
        }
    }

    fn native(
        &mut self,
        call: &OverTimeCall<'_>,
        _key: KeyRef<'_>,
        window: Window<'_>,
    ) -> Result<f64, EvalError> {
        Ok(match anchored(&window) {
            [] => ABSENT,
            values => native_pairs(call, values, RESETS, |_| false),
        })
    }
}

/// `rate`, `increase` and `delta` of an anchored range, or of a smoothed one.
#[derive(Default)]
pub(super) struct Extended<const SMOOTHED: bool, const COUNTER: bool, const RATE: bool> {
    names: CounterNames,
}

pub(super) type Anchored<const COUNTER: bool, const RATE: bool> = Extended<false, COUNTER, RATE>;
pub(super) type Smoothed<const COUNTER: bool, const RATE: bool> = Extended<true, COUNTER, RATE>;

/// Which samples of a window tell the values at its edges.
fn edges(window: &Window<'_>, smoothed: bool) -> Option<(usize, usize)> {
    let times = window.times();
    let most = times.len().checked_sub(1)?;
    let first = times[..most].partition_point(|t| *t <= window.start).saturating_sub(1);
    let last = if smoothed { times[..most].partition_point(|t| *t < window.end) } else { most };
    let outside = times[last] <= window.start || smoothed && times[first] > window.end;
    (!outside).then_some((first, last))
}

/// How far `time` is from one sample to the next.
fn share(times: &[i64], at: usize, time: i64) -> f64 {
    (time - times[at]) as f64 / (times[at + 1] - times[at]) as f64
}

impl<const SMOOTHED: bool, const COUNTER: bool, const RATE: bool>
    Extended<SMOOTHED, COUNTER, RATE>
{
    /// The values at both edges.
    fn at_edges(window: &Window<'_>, first: usize, last: usize) -> (f64, f64) {
        let (times, values) = (window.times(), window.values());
        let (mut left, mut right) = (values[first], values[last]);
        if SMOOTHED && times[first] < window.start {
            // A counter that falls has begun again at zero.
            let begin = if COUNTER && values[first + 1] < left { 0.0 } else { left };
            left = begin + (values[first + 1] - begin) * share(times, first, window.start);
        }
        if SMOOTHED && last > 0 && times[last] > window.end {
            let before = values[last - 1];
            let end = if COUNTER && right < before { right + before } else { right };
            right = before + (end - before) * share(times, last - 1, window.end);
        }
        (left, right)
    }

    /// What the counter had each time when it began again.
    fn correction(
        site: Site<'_>,
        window: &Window<'_>,
        histograms: &[Arc<Histogram>],
        (first, last): (usize, usize),
        (left, right): (&Histogram, &Histogram),
    ) -> Option<Vec<Histogram>> {
        let (mut lost, mut begin) = (Vec::new(), first + 1);
        let mut before = left;
        let spans_reset = |at: usize| histograms[at + 1].began_again_after(&histograms[at]);
        if SMOOTHED && window.times()[first] < window.start && spans_reset(first) {
            // The value at the edge has taken it into account.
            before = &histograms[first + 1];
            begin += 1;
        }
        if begin > last {
            return Some(lost);
        }
        for now in &histograms[begin..last] {
            if now.began_again_after(before) {
                lost.push(before.clone());
            }
            before = now;
        }
        if right.began_again_after(before) {
            lost.push(before.clone());
        }
        let same = lost.iter().all(|histogram| histogram.is_custom() == right.is_custom());
        if !same {
            site.mixed();
        }
        same.then_some(lost)
    }

    fn native_growth(
        site: Site<'_>,
        window: &Window<'_>,
        histograms: &[Arc<Histogram>],
    ) -> Option<Histogram> {
        let (first, last) = edges(window, SMOOTHED)?;
        let used = &histograms[first..=last];
        if used.iter().any(|histogram| histogram.is_custom() != used[0].is_custom()) {
            site.mixed();
            return None;
        }
        let gauge = |histogram: &Histogram| histogram.reset == Reset::Gauge;
        if COUNTER && used.iter().any(|histogram| gauge(histogram)) {
            site.not_a_counter();
        }
        let times = window.times();
        let edge = |at: usize, time: i64| {
            let share = share(times, at, time);
            let middle = between(&histograms[at], &histograms[at + 1], share, COUNTER);
            middle.ok().map(|(histogram, _)| histogram)
        };
        let left = if SMOOTHED && times[first] < window.start {
            edge(first, window.start)?
        } else {
            (*histograms[first]).clone()
        };
        let right = if SMOOTHED && last > 0 && times[last] > window.end {
            edge(last - 1, window.end)?
        } else {
            (*histograms[last]).clone()
        };
        if !(COUNTER || gauge(&left) && gauge(&right)) {
            site.not_a_gauge();
        }
        let mut result = site.difference(&right, &left)?;
        if COUNTER {
            let edges = (&left, &right);
            for lost in Self::correction(site, window, histograms, (first, last), edges)? {
                result = site.sum(&result, &lost)?;
            }
        }
        if RATE {
            result = quotient(&result, (window.end - window.start) as f64 / 1000.0);
        }
        result.reset = Reset::Gauge;
        Some(result)
    }
}

impl<const SMOOTHED: bool, const COUNTER: bool, const RATE: bool> Slide
    for Extended<SMOOTHED, COUNTER, RATE>
{
    const NATIVE: Native = Native::Own;

    fn inspect(&mut self, call: &OverTimeCall<'_>, key: KeyRef<'_>, cells: &[f64]) {
        if COUNTER && !cells.iter().any(|cell| is_tag(*cell)) {
            self.names.inspect(call, key);
        }
    }

    fn value(&mut self, window: Window<'_>) -> f64 {
        let Some((first, last)) = edges(&window, SMOOTHED) else { return ABSENT };
        let (left, right) = Self::at_edges(&window, first, last);
        let mut growth = right - left;
        if COUNTER {
            // What lies at an edge or beyond it has been taken into account.
            let times = window.times();
            let begin = first + usize::from(times[first] <= window.start);
            let end = last + usize::from(times[last] < window.end);
            let mut before = left;
            for value in window.values().get(begin..end).unwrap_or_default() {
                if *value < before {
                    growth += before;
                }
                before = *value;
            }
            if right < before {
                growth += before;
            }
        }
        if RATE { growth / ((window.end - window.start) as f64 / 1000.0) } else { growth }
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
        match Self::native_growth(Site::new(call, key), &window, &histograms) {
            Some(histogram) => call.context.keep(histogram),
            None => Ok(ABSENT),
        }
    }
}
