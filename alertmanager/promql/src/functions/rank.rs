//! Functions of the order of the values in a window.
//!
//! Invariant: a result depends on the samples in the window only; what is remembered from window to
//! window saves work and changes nothing.

use super::sorted::Sorted;
use crate::evaluate::{ABSENT, KeyRef, OverTimeCall, Row, Samples, Slide, Window, is_absent};
use crate::numeric;

/// `quantile_over_time`
#[derive(Default)]
pub(super) struct Quantile {
    sorted: Sorted,
    keys: Vec<u64>,
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
        let keys = &mut self.keys;
        fill_apart(row, cells, |window| numeric::quantile(window.param, window.values(), keys))
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

/// The most extreme value of windows that slide, in two parts whose results go together.
///
/// ```text
/// values   · · · · · · · · │ · · · ·
///              ├───────────┼─────┤       a window
///              one result  │ one that grows
///              for each    │
///              first value middle, which moves to the end when the window has left it behind
/// ```
///
/// So each value is looked at twice, whatever the length of the windows (a queue of two stacks).
#[derive(Default)]
struct Halves {
    /// The most extreme of the values from each place to the middle, those next to the middle first.
    before: Vec<f64>,
    middle: usize,
    /// The most extreme of those from the middle on.
    behind: f64,
    next: usize,
}

/// `max_over_time` and `min_over_time`.
#[derive(Default)]
pub(super) struct Extreme<const MAX: bool> {
    halves: Halves,
}

pub(super) type Max = Extreme<true>;
pub(super) type Min = Extreme<false>;

impl<const MAX: bool> Extreme<MAX> {
    const WORST: f64 = if MAX { f64::NEG_INFINITY } else { f64::INFINITY };

    #[inline]
    fn outdoes(value: f64, other: f64) -> bool {
        if MAX { value > other } else { value < other }
    }

    /// The more extreme one; the earlier, `a`, where it is not outdone. What is not a number outdoes nothing.
    #[inline]
    fn better(a: f64, b: f64) -> f64 {
        if Self::outdoes(b, a) { b } else { a }
    }

    /// The first of the most extreme values that are numbers.
    fn of(values: &[f64]) -> f64 {
        // Several at a time, as the processor can.
        let mut lanes = [Self::WORST; 8];
        let (chunks, rest) = values.as_chunks::<8>();
        for chunk in chunks {
            let lanes = lanes.iter_mut().zip(chunk);
            lanes.for_each(|(lane, value)| *lane = Self::better(*lane, *value));
        }
        let best = lanes.iter().chain(rest).copied().fold(Self::WORST, Self::better);
        // It may be a zero of the other sign, or there may be no number at all.
        values.iter().copied().find(|value| *value == best).unwrap_or(f64::NAN)
    }
}

impl<const MAX: bool> Slide for Extreme<MAX> {
    fn begin(&mut self, _samples: Samples<'_>) {
        (self.halves.middle, self.halves.next) = (0, 0);
    }

    #[inline]
    fn value(&mut self, window: Window<'_>) -> f64 {
        let Halves { before, middle, behind, next } = &mut self.halves;
        let values = window.samples.values;
        if window.first >= *middle {
            (*middle, *next) = (window.behind, window.behind);
            before.clear();
            let mut best = Self::WORST;
            before.extend(window.values().iter().rev().map(|value| {
                // The earlier one counts, if it is a number.
                best = if Self::outdoes(best, *value) || value.is_nan() { best } else { *value };
                best
            }));
            *behind = Self::WORST;
        }
        *behind = values[*next..window.behind].iter().copied().fold(*behind, Self::better);
        *next = window.behind;
        let best = Self::better(before[*middle - 1 - window.first], *behind);
        // It may be that there is no number at all.
        if best == Self::WORST { Self::of(window.values()) } else { best }
    }

    fn fill(&mut self, row: &Row<'_>, cells: &mut [f64]) -> Option<bool> {
        fill_apart(row, cells, |window| Self::of(window.values()))
    }
}

/// `mad_over_time`: the median of how far the values are from their median.
#[derive(Default)]
pub(super) struct Mad {
    distances: Vec<f64>,
    keys: Vec<u64>,
}

impl Slide for Mad {
    fn value(&mut self, window: Window<'_>) -> f64 {
        // Sorted first, what is no number would be left out.
        if window.values().iter().any(|value| value.is_nan()) {
            return f64::NAN;
        }
        let median = numeric::quantile(0.5, window.values(), &mut self.keys);
        self.distances.clear();
        self.distances.extend(window.values().iter().map(|value| (*value - median).abs()));
        numeric::quantile(0.5, &self.distances, &mut self.keys)
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

    #[test]
    fn windows_that_slide_give_what_each_gives_by_itself() {
        let strange = [f64::NAN, 0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN];
        let values: Vec<_> = (0..200_usize)
            .map(|n| match n * 31 % 23 {
                m if m < 6 && n > 60 => strange[m],
                _ if (20..30).contains(&n) => f64::NAN,
                m => m as f64 - 11.0,
            })
            .collect();
        let times: Vec<_> = (0..values.len() as i64).collect();
        let samples = Samples { times: &times, values: &values, starts: &[] };
        let (mut max, mut min) = (Max::default(), Min::default());
        for (length, step) in [(1, 1), (5, 1), (9, 4), (40, 1), (40, 39), (3, 7), (199, 1)] {
            max.begin(samples);
            min.begin(samples);
            for end in (1..=values.len()).step_by(step) {
                let (first, behind) = (end.saturating_sub(length), end);
                let (param, second) = (f64::NAN, f64::NAN);
                let window =
                    Window { samples, first, behind, start: 0, end: 0, now: 0, param, second };
                let expected = [Max::of(window.values()), Min::of(window.values())];
                let got = [max.value(window), min.value(window)];
                assert_eq!(got.map(f64::to_bits), expected.map(f64::to_bits), "{first}..{behind}");
            }
        }
    }
}
