//! Functions of the order of the values in a window.
//!
//! Invariant: a result depends on the samples in the window only; what is remembered from window to
//! window saves work and changes nothing.

use std::collections::VecDeque;

use super::sorted::Sorted;
use crate::evaluate::{ABSENT, KeyRef, OverTimeCall, Row, Samples, Slide, Window, is_absent};
use crate::numeric;

/// `quantile_over_time`
#[derive(Default)]
pub(super) struct Quantile {
    sorted: Sorted,
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

    fn begin(&mut self, samples: Samples<'_>) {
        self.sorted.begin(samples);
    }

    fn value(&mut self, window: Window<'_>) -> f64 {
        numeric::quantile_of_sorted(window.param, self.sorted.slide(window))
    }

    fn fill(&mut self, row: &Row<'_>, cells: &mut [f64]) -> Option<bool> {
        let buffer = self.sorted.buffer();
        fill_apart(row, cells, |window| {
            buffer.clear();
            buffer.extend_from_slice(window.values());
            numeric::quantile(window.param, buffer)
        })
    }
}

/// Fills the cells window by window, where nothing that is remembered from one helps with the next.
fn fill_apart(
    row: &Row<'_>,
    cells: &mut [f64],
    mut value: impl FnMut(Window<'_>) -> f64,
) -> Option<bool> {
    let mut any = false;
    let windows = row.apart()?;
    cells.fill(ABSENT);
    for (step, window) in windows {
        cells[step] = value(window);
        any = true;
    }
    Some(any)
}

/// The largest or smallest value of windows that slide: of each window the values that none behind
/// them outdoes, so that the first is the one, and each value comes and goes once.
#[derive(Default)]
struct Candidates {
    samples: VecDeque<usize>,
    /// The first sample that has not been looked at.
    next: usize,
}

/// `max_over_time` and `min_over_time`.
#[derive(Default)]
pub(super) struct Extreme<const MAX: bool> {
    candidates: Candidates,
}

pub(super) type Max = Extreme<true>;
pub(super) type Min = Extreme<false>;

impl<const MAX: bool> Extreme<MAX> {
    #[inline]
    fn outdoes(value: f64, other: f64) -> bool {
        if MAX { value > other } else { value < other }
    }

    /// The first of the most extreme values that are numbers.
    fn of(values: &[f64]) -> f64 {
        let worst = if MAX { f64::NEG_INFINITY } else { f64::INFINITY };
        let better = |a: f64, b: f64| if Self::outdoes(b, a) { b } else { a };
        // Several at a time, as the processor can.
        let mut lanes = [worst; 8];
        let (chunks, rest) = values.as_chunks::<8>();
        for chunk in chunks {
            lanes.iter_mut().zip(chunk).for_each(|(lane, value)| *lane = better(*lane, *value));
        }
        let best = lanes.iter().chain(rest).copied().fold(worst, better);
        // It may be a zero of the other sign, or there may be no number at all.
        values.iter().copied().find(|value| *value == best).unwrap_or(f64::NAN)
    }
}

impl<const MAX: bool> Slide for Extreme<MAX> {
    fn begin(&mut self, _samples: Samples<'_>) {
        self.candidates.samples.clear();
        self.candidates.next = 0;
    }

    #[inline]
    fn value(&mut self, window: Window<'_>) -> f64 {
        let Candidates { samples, next } = &mut self.candidates;
        let values = window.samples.values;
        while samples.front().is_some_and(|at| *at < window.first) {
            samples.pop_front();
        }
        for at in (*next).max(window.first)..window.behind {
            let value = values[at];
            // What is not a number counts only where there is nothing else.
            if value.is_nan() {
                continue;
            }
            while samples.back().is_some_and(|back| Self::outdoes(value, values[*back])) {
                samples.pop_back();
            }
            samples.push_back(at);
        }
        *next = window.behind;
        samples.front().map_or(f64::NAN, |at| values[*at])
    }

    fn fill(&mut self, row: &Row<'_>, cells: &mut [f64]) -> Option<bool> {
        fill_apart(row, cells, |window| Self::of(window.values()))
    }
}

/// `mad_over_time`: the median of how far the values are from their median.
#[derive(Default)]
pub(super) struct Mad {
    sorted: Vec<f64>,
}

impl Slide for Mad {
    fn value(&mut self, window: Window<'_>) -> f64 {
        self.sorted.clear();
        self.sorted.extend_from_slice(window.values());
        // Sorted first, what is no number would be left out.
        if self.sorted.iter().any(|value| value.is_nan()) {
            return f64::NAN;
        }
        let median = numeric::quantile(0.5, &mut self.sorted);
        self.sorted.iter_mut().for_each(|value| *value = (*value - median).abs());
        numeric::quantile(0.5, &mut self.sorted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_the_most_extreme_numbers_is_the_one() {
        const INF: f64 = f64::INFINITY;
        const NAN: f64 = f64::NAN;
        let check = |values: &[f64], max: f64, min: f64| {
            let bits = |value: f64| if value.is_nan() { None } else { Some(value.to_bits()) };
            assert_eq!(bits(Max::of(values)), bits(max), "{values:?}");
            assert_eq!(bits(Min::of(values)), bits(min), "{values:?}");
        };
        check(&[], NAN, NAN);
        check(&[NAN; 20], NAN, NAN);
        check(&[NAN, 3.0, NAN, -1.0], 3.0, -1.0);
        check(&[-INF; 9], -INF, -INF);
        check(&[NAN, INF, 1.0], INF, 1.0);
        check(&[-1.0, -0.0, 0.0], -0.0, -1.0);
        check(&[1.0, 0.0, -0.0], 1.0, 0.0);
        let many: Vec<_> = (0..100).map(|n| f64::from(n * 37 % 100)).collect();
        check(&many, 99.0, 0.0);
        check(&many[1..63], 99.0, 2.0);
    }
}
