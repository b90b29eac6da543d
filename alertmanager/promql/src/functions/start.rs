//! Since when counters count: what that says about their beginning again.
//!
//! ```text
//! start       start                a later start: the counter began again between the samples
//!   ├──── 5 ── 9   ├──── 2 ── 4    and it was zero at each of them
//! ```
//!
//! Invariant: a start that is not known, or not before its sample, says nothing.

use crate::evaluate::{Samples, Window};

fn start(samples: &Samples<'_>, at: usize) -> Option<(i64, i64)> {
    let start = *samples.starts.get(at)?;
    (start != 0).then_some((start, samples.times[at]))
}

/// Whether the counter began again between the sample `at` and the next, by what is known of the
/// time since which they count.
pub(super) fn began_again(samples: &Samples<'_>, at: usize) -> bool {
    let (Some((start, time)), Some(&before)) = (start(samples, at + 1), samples.times.get(at))
    else {
        return false;
    };
    if start >= time || start < before {
        return false;
    }
    // A start at the sample before: each says what was counted since the last one, unless nothing
    // was known of that either.
    let known = |(start, time): (i64, i64)| start < time;
    start > before || self::start(samples, at).is_some_and(known)
}

/// Whether the sample behind `at` counts since a time before it that is another one.
pub(super) fn overlap(samples: &Samples<'_>, at: usize) -> bool {
    let Some((start, _)) = start(samples, at + 1) else { return false };
    start < samples.times[at] && samples.starts.get(at).is_some_and(|before| *before != start)
}

/// When the first sample of a window was zero, where that lies within the window.
#[inline]
pub(super) fn began(window: &Window<'_>) -> Option<i64> {
    let start = *window.starts().first()?;
    (start != 0 && start > window.start && start < window.times()[0]).then_some(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each sample as its time and its start.
    fn check(samples: [(i64, i64); 2], again: bool, overlaps: bool) {
        let (times, starts) = (samples.map(|s| s.0), samples.map(|s| s.1));
        let samples = Samples { times: &times, values: &[1.0, 2.0], starts: &starts };
        assert_eq!((began_again(&samples, 0), overlap(&samples, 0)), (again, overlaps));
        assert!(!began_again(&samples, 1));
    }

    #[test]
    fn a_later_start_is_a_beginning() {
        check([(10, 5), (20, 5)], false, false);
        check([(10, 5), (20, 15)], true, false);
        check([(10, 5), (20, 0)], false, false);
        check([(10, 0), (20, 15)], true, false);
        check([(10, 5), (20, 20)], false, false);
        check([(10, 5), (20, 25)], false, false);
        check([(10, 5), (20, 7)], false, true);
    }

    #[test]
    fn a_start_at_the_sample_before_counts_where_that_one_had_a_start() {
        check([(10, 5), (20, 10)], true, false);
        check([(10, 0), (20, 10)], false, false);
        check([(10, 10), (20, 10)], false, false);
        check([(10, 15), (20, 10)], false, false);
    }
}
