//! Quantiles, fractions and variance of native histograms.
//!
//! Observations are taken to be spread evenly over the logarithm of a bucket's values; evenly over
//! the values themselves in the zero bucket and in custom buckets.
//!
//! Invariant: of a bucket without an end nothing is known but the end that it has.

use base::histogram::{Bucket, Histogram};

use crate::numeric::Sum;

/// What observations that are not a number did to a quantile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotNumbers {
    /// It lies among them.
    Result,
    /// It lies higher than it would without them.
    Skewed,
}

/// The zero bucket has only the side on which there are other observations.
fn one_sided(histogram: &Histogram, bucket: Bucket) -> Bucket {
    if histogram.is_custom() || !(bucket.lower < 0.0 && bucket.upper > 0.0) {
        return bucket;
    }
    match (histogram.negative.is_empty(), histogram.positive.is_empty()) {
        (true, false) => Bucket { lower: 0.0, ..bucket },
        (false, true) => Bucket { upper: 0.0, ..bucket },
        _ => bucket,
    }
}

fn is_linear(histogram: &Histogram, bucket: Bucket) -> bool {
    histogram.is_custom() || bucket.lower <= 0.0 && bucket.upper >= 0.0
}

/// The value below which the share `q` of all observations lies.
pub(crate) fn quantile(q: f64, histogram: &Histogram) -> (f64, Option<NotNumbers>) {
    // What is no number goes on.
    if q < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if q > 1.0 {
        return (f64::INFINITY, None);
    }
    if histogram.count == 0.0 || q.is_nan() {
        return (f64::NAN, None);
    }
    // From the nearer end. Observations that are not a number are in no bucket, and so are at the
    // upper end, as it were.
    let not_numbers = histogram.sum.is_nan();
    let from_below = not_numbers || q < 0.5;
    let rank = if from_below { q } else { 1.0 - q } * histogram.count;
    let (mut bucket, mut count) = (Bucket { lower: 0.0, upper: 0.0, count: 0.0 }, 0.0);
    let look = |next: Bucket| {
        bucket = next;
        count += next.count;
        count >= rank
    };
    let _found = if from_below {
        histogram.buckets().any(look)
    } else {
        histogram.buckets().rev().any(look)
    };
    let bucket = one_sided(histogram, bucket);
    let count = count.min(histogram.count);
    if count < rank {
        return if not_numbers {
            (f64::NAN, Some(NotNumbers::Result))
        } else {
            (bucket.upper, None)
        };
    }
    let counted = || histogram.buckets().map(|bucket| bucket.count).sum::<f64>();
    let note = (not_numbers && counted() < histogram.count).then_some(NotNumbers::Skewed);
    let rank = if from_below { rank - (count - bucket.count) } else { count - rank };
    (value_at(histogram, bucket, rank / bucket.count), note)
}

/// The value in a bucket below which so much of it lies.
fn value_at(histogram: &Histogram, bucket: Bucket, share: f64) -> f64 {
    let Bucket { mut lower, upper, .. } = bucket;
    if histogram.is_custom() {
        if lower == f64::NEG_INFINITY {
            if upper <= 0.0 {
                return upper;
            }
            lower = 0.0;
        }
        if upper == f64::INFINITY {
            return lower;
        }
    }
    if is_linear(histogram, Bucket { lower, ..bucket }) {
        return lower + (upper - lower) * share;
    }
    let (low, high) = (lower.abs().log2(), upper.abs().log2());
    if lower > 0.0 {
        (low + (high - low) * share).exp2()
    } else {
        -(high + (low - high) * (1.0 - share)).exp2()
    }
}

/// The share of a bucket's observations that lie up to a value within it.
fn share_up_to(value: f64, bucket: Bucket, linear: bool) -> f64 {
    let Bucket { lower, upper, .. } = bucket;
    if linear {
        return (value - lower) / (upper - lower);
    }
    let (low, high, at) = (lower.abs().log2(), upper.abs().log2(), value.abs().log2());
    if value > 0.0 { (at - low) / (high - low) } else { 1.0 - (at - high) / (low - high) }
}

/// The share of all observations that lie between two values.
pub(crate) fn fraction(low: f64, high: f64, histogram: &Histogram) -> f64 {
    if histogram.count == 0.0 || low.is_nan() || high.is_nan() {
        return f64::NAN;
    }
    if low >= high {
        return 0.0;
    }
    let total = if histogram.sum.is_nan() {
        histogram.buckets().map(|bucket| bucket.count).sum()
    } else {
        histogram.count
    };
    let up_to = |value: f64| {
        let mut below = 0.0;
        for bucket in histogram.buckets() {
            let mut bucket = one_sided(histogram, bucket);
            if histogram.is_custom() && bucket.lower == f64::NEG_INFINITY {
                if value == f64::NEG_INFINITY {
                    return 0.0;
                }
                if bucket.upper > 0.0 {
                    bucket.lower = 0.0;
                } else if value < bucket.upper {
                    return below + bucket.count;
                }
            }
            if bucket.lower >= value {
                return below;
            }
            if bucket.upper > value {
                if bucket.upper == f64::INFINITY {
                    return below;
                }
                let linear = is_linear(histogram, bucket);
                return below + bucket.count * share_up_to(value, bucket, linear);
            }
            below += bucket.count;
        }
        total
    };
    (up_to(high).min(total) - up_to(low).min(total)) / histogram.count
}

/// The variance, where each observation is taken to lie in the middle of its bucket.
pub(crate) fn variance(histogram: &Histogram) -> f64 {
    let mean = histogram.sum / histogram.count;
    let mut squares = Sum::default();
    for bucket in histogram.buckets() {
        let Bucket { lower, upper, count } = bucket;
        let middle = if histogram.is_custom() {
            f64::midpoint(lower, upper)
        } else if is_linear(histogram, bucket) {
            0.0
        } else {
            (lower * upper).sqrt().copysign(upper)
        };
        let delta = middle - mean;
        squares.add(count * delta * delta);
    }
    squares.value() / histogram.count
}
