//! Calculating with native histograms.
//!
//! ```text
//! histogram   two of them: sums, differences, multiples
//!   total     many of them: sums and means that lose no digits
//!   quantile  quantiles, fractions, variance
//!   trim      the part above or below a value
//!   text      how one is printed
//! ```
//!
//! Two histograms are first brought to the same buckets: the coarser schema, the wider zero bucket,
//! the bounds that both have.
//!
//! Invariant: no bucket is divided but where a value lies within it.

mod quantile;
mod text;
mod total;
mod trim;

pub(crate) use quantile::{NotNumbers, fraction, quantile, variance};
pub(crate) use text::text;
pub(crate) use total::Total;
pub(crate) use trim::trimmed;

use base::histogram::{Buckets, Histogram, Reset, common_bounds};

/// Exponential and custom buckets have nothing in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Incompatible;

/// What there is to know about a sum or difference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Notes {
    /// One of the two began again and the other is known not to.
    pub(crate) collision: bool,
    /// Custom bounds differed.
    pub(crate) reconciled: bool,
}

/// Both with the same buckets, and whether custom bounds differed.
fn aligned(a: &Histogram, b: &Histogram) -> Result<(Histogram, Histogram, bool), Incompatible> {
    if a.is_custom() != b.is_custom() {
        return Err(Incompatible);
    }
    if a.is_custom() {
        if a.bounds == b.bounds {
            return Ok((a.clone(), b.clone(), false));
        }
        let common = common_bounds(&a.bounds, &b.bounds);
        return Ok((a.with_bounds(&common), b.with_bounds(&common), true));
    }
    let (mut a, mut b) = (a.clone(), b.clone());
    // Each may have a bucket that makes the other's zero bucket wider once more.
    while a.zero_threshold != b.zero_threshold {
        a = a.with_zero(b.zero_threshold);
        b = b.with_zero(a.zero_threshold);
    }
    // Only then: a coarser bucket may reach into the zero bucket.
    let schema = a.schema.min(b.schema);
    Ok((a.at_schema(schema), b.at_schema(schema), false))
}

/// What is known about a sum's beginning again.
fn together(a: Reset, b: Reset) -> (Reset, bool) {
    match (a, b) {
        _ if a == b => (a, false),
        (Reset::Gauge, _) | (_, Reset::Gauge) => (Reset::Gauge, false),
        (Reset::Unknown, _) | (_, Reset::Unknown) => (Reset::Unknown, false),
        _ => (Reset::Unknown, true),
    }
}

/// All indices of two sides, with what each has there.
fn union(a: &[(i32, f64)], b: &[(i32, f64)]) -> impl Iterator<Item = (i32, f64, f64)> {
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    std::iter::from_fn(move || {
        let at = match (a.peek(), b.peek()) {
            (None, None) => return None,
            (Some((at, _)), None) | (None, Some((at, _))) => *at,
            (Some((x, _)), Some((y, _))) => *x.min(y),
        };
        let left = a.next_if(|(index, _)| *index == at).map_or(0.0, |(_, count)| *count);
        let right = b.next_if(|(index, _)| *index == at).map_or(0.0, |(_, count)| *count);
        Some((at, left, right))
    })
}

fn full(buckets: impl Iterator<Item = (i32, f64)>) -> Buckets {
    buckets.filter(|(_, count)| *count != 0.0).collect()
}

/// The first and so many times the second.
fn combined(a: &Histogram, b: &Histogram, times: f64) -> Result<(Histogram, Notes), Incompatible> {
    let (mut sum, b, reconciled) = aligned(a, b)?;
    let (reset, collision) = together(sum.reset, b.reset);
    sum.reset = reset;
    sum.zero_count += times * b.zero_count;
    sum.count += times * b.count;
    sum.sum += times * b.sum;
    let add = |a: &Buckets, b: &Buckets| full(union(a, b).map(|(n, a, b)| (n, a + times * b)));
    sum.positive = add(&sum.positive, &b.positive);
    sum.negative = add(&sum.negative, &b.negative);
    Ok((sum, Notes { collision, reconciled }))
}

/// The observations of both.
pub(crate) fn sum(a: &Histogram, b: &Histogram) -> Result<(Histogram, Notes), Incompatible> {
    combined(a, b, 1.0)
}

/// The observations of the first without those of the second.
pub(crate) fn difference(a: &Histogram, b: &Histogram) -> Result<(Histogram, Notes), Incompatible> {
    combined(a, b, -1.0)
}

/// Each count by `change`.
fn changed(histogram: &Histogram, change: impl Fn(f64) -> f64) -> Histogram {
    let side = |buckets: &Buckets| full(buckets.iter().map(|(n, count)| (*n, change(*count))));
    Histogram {
        zero_count: change(histogram.zero_count),
        count: change(histogram.count),
        sum: change(histogram.sum),
        positive: side(&histogram.positive),
        negative: side(&histogram.negative),
        ..histogram.clone()
    }
}

/// So many times the observations; fewer than none is no counter.
pub(crate) fn multiple(histogram: &Histogram, by: f64) -> Histogram {
    let mut result = changed(histogram, |value| value * by);
    if by < 0.0 {
        result.reset = Reset::Gauge;
    }
    result
}

/// The observations divided by a number; by zero no bucket is left.
pub(crate) fn quotient(histogram: &Histogram, by: f64) -> Histogram {
    let mut result = changed(histogram, |value| value / by);
    if by < 0.0 {
        result.reset = Reset::Gauge;
    }
    if by == 0.0 {
        result.positive.clear();
        result.negative.clear();
    }
    result
}

/// What lies between two histograms: so much of the way from the first to the second. A counter that
/// began again did so at the first.
pub(crate) fn between(
    a: &Histogram,
    b: &Histogram,
    share: f64,
    counter: bool,
) -> Result<(Histogram, Notes), Incompatible> {
    if a.is_custom() != b.is_custom() {
        return Err(Incompatible);
    }
    if counter && b.began_again_after(a) {
        return Ok((multiple(b, share), Notes::default()));
    }
    let (change, notes) = difference(b, a)?;
    let (mut result, _) = sum(&multiple(&change, share), a)?;
    result.reset = b.reset;
    Ok((result, notes))
}

/// Whether both have the same observations, whatever is known about their beginning again.
pub(crate) fn same(a: &Histogram, b: &Histogram) -> bool {
    let same = |a: f64, b: f64| a == b || a.is_nan() && b.is_nan();
    let sides = |a: &Buckets, b: &Buckets| {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && same(a.1, b.1))
    };
    a.schema == b.schema
        && a.zero_threshold == b.zero_threshold
        && a.bounds == b.bounds
        && same(a.zero_count, b.zero_count)
        && same(a.count, b.count)
        && same(a.sum, b.sum)
        && sides(&a.positive, &b.positive)
        && sides(&a.negative, &b.negative)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series_notation::{Point, parse_points};

    fn read(notation: &str) -> Histogram {
        match parse_points(&format!("{{{{{notation}}}}}")).unwrap().pop() {
            Some(Point::Histogram(point)) => point.value().unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn check(got: Histogram, expected: &str) {
        let expected = read(expected);
        assert!(same(&got, &expected) && got.reset == expected.reset, "{got:?}, not {expected:?}");
    }

    #[test]
    fn sums_and_differences_are_of_the_buckets_that_both_have() {
        let (a, b) = (read("schema:1 count:6 buckets:[1 2 3]"), read("count:3 buckets:[1 2]"));
        check(sum(&a, &b).unwrap().0, "count:9 buckets:[2 7]");
        check(difference(&b, &a).unwrap().0, "count:-3 buckets:[0 -3]");
        let a = read("count:6 z_bucket:1 z_bucket_w:0.1 buckets:[2 3]");
        let b = read("count:4 z_bucket:2 z_bucket_w:0.7 buckets:[0 2]");
        check(sum(&a, &b).unwrap().0, "count:10 z_bucket:5 z_bucket_w:1 offset:1 buckets:[5]");
        let a = read("schema:-53 count:6 custom_values:[1 2 3] buckets:[1 2 3]");
        let b = read("schema:-53 count:1 custom_values:[2 4] buckets:[0 1]");
        let (both, notes) = sum(&a, &b).unwrap();
        check(both, "schema:-53 count:7 custom_values:[2] buckets:[3 4]");
        assert_eq!(notes, Notes { collision: false, reconciled: true });
        assert_eq!(sum(&a, &read("count:1")), Err(Incompatible));
    }

    #[test]
    fn multiples_change_every_count() {
        let a = read("count:6 sum:3 z_bucket:1 buckets:[2 3] counter_reset_hint:not_reset");
        check(
            multiple(&a, 2.0),
            "count:12 sum:6 z_bucket:2 buckets:[4 6] counter_reset_hint:not_reset",
        );
        check(
            multiple(&a, -1.0),
            "count:-6 sum:-3 z_bucket:-1 buckets:[-2 -3] counter_reset_hint:gauge",
        );
        check(quotient(&a, 0.0), "count:Inf sum:Inf z_bucket:Inf counter_reset_hint:not_reset");
    }

    #[test]
    fn what_is_known_of_both_is_known_of_the_sum() {
        use Reset::{Gauge, NotReset, Reset as Again, Unknown};
        let check = |a, b, reset, collision| assert_eq!(together(a, b), (reset, collision));
        check(NotReset, NotReset, NotReset, false);
        check(Gauge, Again, Gauge, false);
        check(Unknown, NotReset, Unknown, false);
        check(Again, NotReset, Unknown, true);
    }
}
