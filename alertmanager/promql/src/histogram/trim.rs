//! The part of a native histogram above or below a value.
//!
//! Invariant: where nothing is cut off the histogram stays as it is; else its sum is what the middle
//! of each bucket says, since nothing better is known.

use base::histogram::{Bucket, Buckets, Histogram};

/// Where values are cut off.
#[derive(Clone, Copy)]
struct Cut {
    at: f64,
    /// Whether what is above goes, not what is below.
    above: bool,
    custom: bool,
}

/// The observations below `at`, or above it.
pub(crate) fn trimmed(histogram: &Histogram, at: f64, keep_below: bool) -> Histogram {
    let cut = Cut { at, above: keep_below, custom: histogram.is_custom() };
    let (mut count, mut sum, mut changed) = (0.0, 0.0, false);
    let mut side = |buckets: &Buckets, positive: bool| {
        let mut left = Buckets::new();
        for bucket in buckets {
            let whole = if positive {
                histogram.positive_bucket(*bucket)
            } else {
                histogram.negative_bucket(*bucket)
            };
            let (kept, middle) = cut.bucket(whole, positive);
            changed |= kept != bucket.1;
            if kept != 0.0 {
                left.push((bucket.0, kept));
            }
            count += kept;
            sum += middle * kept;
        }
        left
    };
    let positive = side(&histogram.positive, true);
    let negative = side(&histogram.negative, false);
    let mut zero_count = histogram.zero_count;
    if zero_count > 0.0 {
        let (kept, middle) = cut.zero(histogram);
        changed |= kept != zero_count;
        zero_count = kept;
        count += kept;
        sum += middle * kept;
    }
    if !changed {
        return histogram.clone();
    }
    Histogram { positive, negative, zero_count, count, sum, ..histogram.clone() }
}

impl Cut {
    /// How much of a bucket is kept, and the middle of what is.
    fn bucket(self, bucket: Bucket, positive: bool) -> (f64, f64) {
        let Bucket { lower, upper, count } = bucket;
        let (inside, outside) = if self.above {
            (upper <= self.at, lower >= self.at)
        } else {
            (lower >= self.at, upper <= self.at)
        };
        if inside {
            return (count, self.middle(lower, upper, positive));
        }
        if outside {
            return (0.0, 0.0);
        }
        if lower == f64::NEG_INFINITY || upper == f64::INFINITY {
            return self.endless(bucket);
        }
        let below = count * self.share_below(bucket, positive);
        if self.above {
            (below, self.middle(lower, self.at, positive))
        } else {
            (count - below, self.middle(self.at, upper, positive))
        }
    }

    /// A bucket without an end, in which the cut lies.
    fn endless(self, bucket: Bucket) -> (f64, f64) {
        let Bucket { lower, upper, count } = bucket;
        let nothing = (0.0, 0.0);
        if lower == f64::NEG_INFINITY {
            let begins_at_zero = upper > 0.0 && upper != f64::INFINITY;
            return match self.above {
                true if self.at > 0.0 && begins_at_zero => (count * self.at / upper, self.at / 2.0),
                true if upper <= 0.0 => (count, self.at),
                true => nothing,
                false if self.at >= 0.0 && begins_at_zero => {
                    (count * (1.0 - self.at / upper), f64::midpoint(self.at, upper))
                }
                false => nothing,
            };
        }
        // Nobody knows how far up the values go: all may be beyond the cut.
        if self.above { nothing } else { (count, self.at) }
    }

    fn share_below(self, Bucket { lower, upper, .. }: Bucket, positive: bool) -> f64 {
        if self.custom {
            return (self.at - lower) / (upper - lower);
        }
        let (low, high, at) = (lower.abs().log2(), upper.abs().log2(), self.at.abs().log2());
        if positive { (at - low) / (high - low) } else { 1.0 - (at - high) / (low - high) }
    }

    fn middle(self, lower: f64, upper: f64, positive: bool) -> f64 {
        match (lower.is_infinite(), upper.is_infinite()) {
            (true, true) => 0.0,
            (true, false) if upper > 0.0 => upper / 2.0,
            (true, false) => upper,
            (false, true) => lower,
            (false, false) if self.custom => f64::midpoint(lower, upper),
            (false, false) => {
                let middle = (lower * upper).abs().sqrt();
                if positive { middle } else { -middle }
            }
        }
    }

    /// The zero bucket, which has only the side on which there are other observations.
    fn zero(self, histogram: &Histogram) -> (f64, f64) {
        let Bucket { mut lower, mut upper, count } = histogram.zero_bucket();
        match (histogram.negative.is_empty(), histogram.positive.is_empty()) {
            (true, false) => lower = 0.0,
            (false, true) => upper = 0.0,
            _ => {}
        }
        let (from, to) =
            if self.above { (lower, upper.min(self.at)) } else { (lower.max(self.at), upper) };
        // In this order a bucket without any width is kept where it lies on the right side.
        let inside = if self.above { self.at >= upper } else { self.at <= lower };
        let outside = if self.above { self.at <= lower } else { self.at >= upper };
        match (inside, outside) {
            (_, true) if self.above => (0.0, 0.0),
            (true, _) => (count, f64::midpoint(lower, upper)),
            (_, true) => (0.0, 0.0),
            _ => (count * ((to - from) / (upper - lower)), f64::midpoint(from, to)),
        }
    }
}
