//! By how much the change between the samples of a window grows when it is extended to the edges.
//!
//! ```text
//!        start        first sample             last sample   end
//!          ├──────────────┤· · · · · · · · · · · · ├──────────┤
//!            as far as a sample could be missing, and never below zero
//! ```
//!
//! Invariant: what is kept from series to series gives, to the last bit, what each window by itself
//! would.

use super::start::began;
use crate::evaluate::{ABSENT, Row, Window};

/// By how much the change from edge to edge of a window, which has more than one sample or a sample
/// that counts since a time within it, is larger than that between the samples, which begin with
/// `begin`.
#[inline]
pub(super) fn factor(begin: f64, change: f64, counter: bool, window: &Window<'_>) -> f64 {
    let times = window.times();
    let seconds = |from: i64, to: i64| (to - from) as f64 / 1000.0;
    let (first, last) = (times[0], times[times.len() - 1]);
    let mut sampled = seconds(first, last);
    let mut to_start = seconds(window.start, first);
    let mut to_end = seconds(last, window.end);
    let between = if times.len() > 1 { sampled / (times.len() - 1) as f64 } else { 0.0 };
    // A sample that is this far from an edge has none missing before it.
    let threshold = between * 1.1;
    if to_start >= threshold {
        to_start = between / 2.0;
    }
    // Where the counter is so far from zero it is further away than the start can be.
    let near_zero = begin < 2.0 * change;
    if let Some(start) = began(window).filter(|_| counter) {
        (sampled, to_start) = (seconds(start, last), 0.0);
    } else if counter && near_zero && change > 0.0 && begin >= 0.0 {
        to_start = to_start.min(sampled * (begin / change));
    }
    if to_end >= threshold {
        to_end = between / 2.0;
    }
    (sampled + to_start + to_end) / sampled
}

/// What the times of the samples say about every window: the same for all series that are scraped
/// together.
#[derive(Debug, Default)]
pub(super) struct Scales {
    /// Of which bounds, by their version.
    version: u64,
    windows: Vec<Scale>,
    /// The steps whose windows have fewer samples than two.
    lacking: Vec<usize>,
}

/// The first and the last sample of a window, and what the change between them is multiplied by.
#[derive(Clone, Copy, Debug)]
struct Scale {
    first: usize,
    last: usize,
    scale: f64,
    /// A counter whose first value is at most so many times its change may have been zero within the
    /// window, before that value; then the scale is another one.
    reach: f64,
}

impl Scale {
    #[inline]
    fn is_near_zero(&self, begin: f64, change: f64) -> bool {
        (change > 0.0) & (begin <= self.reach * change)
    }
}

impl Scales {
    /// Fills the cells of a series that has at most one sample at a time, no known start times and never
    /// falls, and says whether one got a value. `counter` is whether it cannot be below zero, `unit` how
    /// a factor becomes the scale of a window.
    pub(super) fn fill(
        &mut self,
        row: &Row<'_>,
        cells: &mut [f64],
        counter: bool,
        unit: impl Fn(f64, &Window<'_>) -> f64,
    ) -> bool {
        let values = row.samples.values;
        if values.is_empty() {
            cells.fill(ABSENT);
            return false;
        }
        if self.version != row.bounds.version() {
            self.version = row.bounds.version();
            self.find(row, &unit);
        }
        let mut near_zero = false;
        for (cell, window) in cells.iter_mut().zip(&self.windows) {
            let begin = values[window.first];
            let change = values[window.last] - begin;
            near_zero |= window.is_near_zero(begin, change);
            *cell = change * window.scale;
        }
        if counter && near_zero {
            for (step, (cell, window)) in cells.iter_mut().zip(&self.windows).enumerate() {
                let begin = values[window.first];
                let change = values[window.last] - begin;
                if window.is_near_zero(begin, change) {
                    let window = row.window(step);
                    *cell = change * unit(factor(begin, change, true, &window), &window);
                }
            }
        }
        for step in &self.lacking {
            cells[*step] = ABSENT;
        }
        self.lacking.len() < cells.len()
    }

    fn find(&mut self, row: &Row<'_>, unit: impl Fn(f64, &Window<'_>) -> f64) {
        self.windows.clear();
        self.lacking.clear();
        for (step, (first, behind)) in row.bounds.windows().iter().enumerate() {
            if behind - first < 2 {
                self.lacking.push(step);
                self.windows.push(Scale { first: 0, last: 0, scale: 0.0, reach: f64::NAN });
                continue;
            }
            let window = row.window(step);
            // As for a gauge: without a look at the values.
            let scale = unit(factor(f64::NAN, f64::NAN, false, &window), &window);
            let times = window.times();
            let (start, end) = (times[0], times[times.len() - 1]);
            // A little more than the truth, so that rounding does not hide a counter that is as near as
            // this: those that are not get the same scale again.
            let reach = (start - window.start) as f64 / (end - start) as f64 * 1.000_001;
            self.windows.push(Scale { first: *first, last: behind - 1, scale, reach });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use base::sample::Timestamp;

    use super::super::rate::{Delta, Increase, Rate};
    use crate::evaluate::{ABSENT, Bounds, Range, Row, Samples, Slide, Windows};

    /// Compares what a function fills at once with what it gives window by window.
    #[track_caller]
    fn check<F: Slide>(function: &mut F, bounds: &mut Bounds, times: &[i64], values: &[f64]) {
        let at = Timestamp::from_millis;
        let steps = Range::new(at(0), at(60_000), Duration::from_millis(700)).steps();
        let windows = Windows::new(steps, steps, 9_000);
        let samples = Samples { times, values, starts: &[] };
        bounds.find(times, &windows);
        function.begin(samples);
        let row = Row { samples, windows: &windows, bounds, params: [&[], &[]] };
        let mut cells = vec![f64::NAN; windows.count()];
        let any = function.fill(&row, &mut cells).unwrap();
        let value = |(step, (first, behind)): (usize, &(usize, usize))| {
            if first < behind { function.value(row.window(step)) } else { ABSENT }
        };
        let expected: Vec<_> = bounds.windows().iter().enumerate().map(value).collect();
        let bits = |cells: &[f64]| cells.iter().map(|cell| cell.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&cells), bits(&expected), "{times:?} {values:?}");
        assert_eq!(any, expected.iter().any(|cell| cell.to_bits() != ABSENT.to_bits()));
    }

    #[test]
    fn all_windows_at_once_give_what_each_gives_by_itself() {
        let (mut delta, mut increase, mut rate) =
            (Delta::default(), Increase::default(), Rate::default());
        let mut bounds = [(); 3].map(|()| Bounds::default());
        let mut seed = 1_u64;
        let mut random = move |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % below
        };
        for round in 0..2_000 {
            let (mut time, mut value) = (-10_000 + random(40_000) as i64, 0.0);
            let (mut times, mut values) = (Vec::new(), Vec::new());
            // Some begin at zero, some near it and some far away; some stand still.
            let growth = [0.0, 1e-3, 1.0, 1e9, 5e-324, f64::INFINITY, f64::NAN][random(7) as usize];
            value += growth * [0.0, 0.1, 30.0][random(3) as usize];
            for _ in 0..random(60) {
                times.push(time);
                values.push(value);
                time += [1, 500, 1_000, 1_000, 7_000][random(5) as usize];
                value += growth * random(4) as f64;
            }
            if round % 2 == 0 {
                check(&mut rate, &mut bounds[0], &times, &values);
                check(&mut increase, &mut bounds[1], &times, &values);
            }
            values.iter_mut().for_each(|value| *value -= random(9) as f64);
            check(&mut delta, &mut bounds[2], &times, &values);
        }
    }
}
