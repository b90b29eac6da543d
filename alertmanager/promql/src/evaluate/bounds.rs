//! Which samples lie in the window of each step.
//!
//! ```text
//! samples   · ·  ·  · ·  ·  ·  ·
//! step 0   (--------]
//! step 1       (--------]          a window lacks its left end and has its right one
//! ```
//!
//! Series that are scraped together have their samples at the same times, so that what was found for
//! one is right for the next.
//!
//! Invariant: what is kept is what would be found for the times at hand.

use std::ops::Range;

use super::Steps;

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

    /// The samples of every window in turn, of those at `times`, which rise, and where the window ends;
    /// windows without a sample are empty ranges.
    pub(crate) fn slide(&self, times: &[i64], mut each: impl FnMut(usize, Range<usize>, i64)) {
        let (mut first, mut behind) = (0, 0);
        for step in 0..self.count() {
            let end = self.ends.time(step);
            let from = end.saturating_sub(self.range).saturating_sub(self.beyond.0);
            let to = end.saturating_add(self.beyond.1);
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

/// The samples of the windows of a series, kept for the next one.
#[derive(Debug, Default)]
pub(crate) struct Bounds {
    times: Vec<i64>,
    /// The first sample of each window, and the one behind the last; the same where there is none.
    windows: Vec<(usize, usize)>,
    /// How often the times have been others than those before.
    version: u64,
}

impl Bounds {
    /// Looks for the windows of a series with samples at `times`, which rise. `windows` have to be the
    /// same for all series.
    pub(crate) fn find(&mut self, times: &[i64], windows: &Windows) {
        if self.version > 0 && self.times == times {
            return;
        }
        self.version += 1;
        self.times.clear();
        self.times.extend_from_slice(times);
        self.windows.clear();
        windows.slide(times, |_, window, _| self.windows.push((window.start, window.end)));
    }

    /// The samples of each window, in the order of the steps.
    #[inline]
    pub(crate) fn windows(&self) -> &[(usize, usize)] {
        &self.windows
    }

    /// Another number when the windows are others; never zero when there are some.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use base::sample::Timestamp;

    use super::super::Range as Times;
    use super::*;

    #[test]
    fn windows_are_found_again_for_the_times_of_the_next_series() {
        let at = Timestamp::from_millis;
        let steps = Times::new(at(10), at(40), Duration::from_millis(10)).steps();
        let windows = Windows::new(steps, steps, 20);
        let mut bounds = Bounds::default();
        let mut check = |times: &[i64], version, expected: &[(usize, usize)]| {
            bounds.find(times, &windows);
            assert_eq!((bounds.version(), bounds.windows()), (version, expected), "{times:?}");
        };
        check(&[], 1, &[(0, 0), (0, 0), (0, 0), (0, 0)]);
        check(&[-10, 0, 10, 11, 40], 2, &[(1, 3), (2, 4), (3, 4), (4, 5)]);
        check(&[-10, 0, 10, 11, 40], 2, &[(1, 3), (2, 4), (3, 4), (4, 5)]);
        check(&[-10, 0, 10, 11, 41], 3, &[(1, 3), (2, 4), (3, 4), (4, 4)]);
    }
}
