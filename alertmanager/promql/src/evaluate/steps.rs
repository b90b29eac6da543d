//! The times at which something is evaluated.
//!
//! Invariant: times rise from step to step, or are all the same.

use std::time::Duration;

use base::sample::Timestamp;

/// When a query is evaluated: once, or from a start to an end in steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    start: Timestamp,
    end: Timestamp,
    /// None for a query that is evaluated once.
    step: Option<Duration>,
}

impl Range {
    /// Once, at `time`.
    pub fn instant(time: Timestamp) -> Self {
        Self { start: time, end: time, step: None }
    }

    /// At `start` and then every `step` up to `end`, which is included where a step falls on it. A
    /// step is at least a millisecond long. How many steps there may be is the caller's business.
    pub fn new(start: Timestamp, end: Timestamp, step: Duration) -> Self {
        Self { start, end, step: Some(step) }
    }

    /// Whether it is a single evaluation, whose answer has no steps.
    pub fn is_instant(self) -> bool {
        self.step.is_none()
    }

    /// Where it begins.
    pub fn start(self) -> Timestamp {
        self.start
    }

    /// Where it ends.
    pub fn end(self) -> Timestamp {
        self.end
    }

    /// From one evaluation to the next; none of a query that is evaluated once.
    pub fn step(self) -> Option<Duration> {
        self.step
    }

    pub(crate) fn steps(self) -> Steps {
        let step = self.step.map_or(1, |step| i64::try_from(step.as_millis()).unwrap_or(i64::MAX));
        Steps::new(self.start.millis(), self.end.millis(), step.max(1))
    }
}

/// Evenly spaced times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Steps {
    start: i64,
    /// Zero where all times are the same.
    step: i64,
    pub(crate) count: usize,
}

impl Steps {
    fn new(start: i64, end: i64, step: i64) -> Self {
        let length = i128::from(end) - i128::from(start);
        let count = if length < 0 { 0 } else { length / i128::from(step) + 1 };
        Self { start, step, count: usize::try_from(count).unwrap_or(usize::MAX) }
    }

    /// The multiples of `step` that lie from `from` to `to`, both included.
    pub(crate) fn aligned(from: i64, to: i64, step: i64) -> Self {
        let step = step.max(1);
        let start = from.div_euclid(step).saturating_mul(step);
        let start = if start < from { start.saturating_add(step) } else { start };
        Self::new(start, to, step)
    }

    /// The same times, `offset` milliseconds earlier.
    pub(crate) fn moved(self, offset: i64) -> Self {
        Self { start: self.start.saturating_sub(offset), ..self }
    }

    /// As many times, all of them `time`.
    pub(crate) fn pinned(self, time: i64) -> Self {
        Self { start: time, step: 0, count: self.count }
    }

    pub(crate) fn is_pinned(self) -> bool {
        self.step == 0
    }

    /// The time of step `n`.
    #[inline]
    pub(crate) fn time(self, n: usize) -> i64 {
        self.start.saturating_add((n as i64).saturating_mul(self.step))
    }

    pub(crate) fn first(self) -> i64 {
        self.start
    }

    pub(crate) fn last(self) -> i64 {
        self.time(self.count.saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(steps: Steps, expected: &[i64]) {
        assert_eq!((0..steps.count).map(|n| steps.time(n)).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_end_is_included_where_a_step_falls_on_it() {
        check(Steps::new(0, 30, 10), &[0, 10, 20, 30]);
        check(Steps::new(0, 29, 10), &[0, 10, 20]);
        check(Steps::new(5, 5, 10), &[5]);
        check(Steps::new(5, 4, 10), &[]);
        check(Range::instant(Timestamp::from_millis(7)).steps(), &[7]);
        check(Steps::new(0, 20, 10).moved(3), &[-3, 7, 17]);
        check(Steps::new(0, 20, 10).pinned(4).moved(3), &[1, 1, 1]);
    }

    #[test]
    fn aligned_steps_are_multiples() {
        check(Steps::aligned(-24, 10, 10), &[-20, -10, 0, 10]);
        check(Steps::aligned(-20, 9, 10), &[-20, -10, 0]);
        check(Steps::aligned(1, 9, 10), &[]);
    }

    #[test]
    fn absurd_ranges_do_no_harm() {
        let all = Steps::new(i64::MIN, i64::MAX, 1);
        assert_eq!(all.count, usize::MAX);
        assert_eq!(all.moved(i64::MAX).time(usize::MAX >> 1), -1);
        assert_eq!(Steps::aligned(i64::MAX - 1, i64::MAX, 10).count, 1);
    }
}
