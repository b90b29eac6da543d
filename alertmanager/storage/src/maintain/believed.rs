//! Up to when there are samples that a clock gave their times which was right.
//!
//! Behind a hole of more than a day, as a clock leaves it that was set ahead, time goes on from the
//! beginning of the hole, until a day has passed there.
//!
//! Invariant: nothing goes because of a clock that was wrong for less than a day (F25).

use std::time::Duration;

use base::sample::Timestamp;

/// So long without a sample is a hole, and so long behind it shows that its end was right.
const HOLE: Duration = Duration::from_secs(24 * 60 * 60);

/// How far time has come by `spans` with samples, oldest first.
pub(super) fn newest(spans: &[(Timestamp, Timestamp)]) -> Option<Timestamp> {
    let (mut begin, mut newest) = *spans.first()?;
    let mut before = None;
    for (first, last) in &spans[1..] {
        if first.since(newest) > HOLE {
            (before, begin) = (Some(end_of(before, begin, newest)), *first);
        }
        newest = newest.max(*last);
    }
    Some(end_of(before, begin, newest))
}

/// The end of a stretch from `begin` to `end` with a hole before it, which `before` is the end of.
fn end_of(before: Option<Timestamp>, begin: Timestamp, end: Timestamp) -> Timestamp {
    match before {
        Some(before) if end.since(begin) < HOLE => before + end.since(begin),
        _ => end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_believed_where_it_goes_on() {
        let check = |spans: &[(i64, i64)], expected: i64| {
            let hour = |n: i64| Timestamp::from_millis(n * 3_600_000);
            let spans: Vec<_> = spans.iter().map(|(a, b)| (hour(*a), hour(*b))).collect();
            assert_eq!(newest(&spans), Some(hour(expected)), "{spans:?}");
        };
        check(&[(0, 10)], 10);
        check(&[(0, 10), (30, 31)], 31);
        check(&[(0, 10), (9000, 9001)], 11);
        check(&[(0, 10), (9000, 9010), (9010, 9023)], 33);
        check(&[(0, 10), (9000, 9010), (9010, 9024)], 9024);
        check(&[(0, 10), (9000, 9001), (20_000, 20_002)], 13);
        assert_eq!(newest(&[]), None);
    }
}
