//! A value of an answer: a number, or a native histogram bucket by bucket.
//!
//! Invariant: a bucket that only one side has counts as one with nothing in it on the other, since
//! rounding decides whether the last observation of a bucket is gone. What docs/compatibility.md says of
//! empty buckets times an infinity, and of histograms that Prometheus spoils, is no difference.

use std::fmt;

use base::histogram::{Closed, Histogram};
use base::number;
use promql::Histograms;
use serde_json::Value as Json;

/// Near zero, where open digits cancel, by how much two values may differ at all.
const NEAR_ZERO: f64 = 1e-12;

/// By how much bounds of buckets may differ: theirs are from a table.
const BOUNDS: f64 = 1e-12;

/// A value.
#[derive(Clone, Debug)]
pub(crate) enum Cell {
    Float(f64),
    Native(Native),
}

/// A histogram as the HTTP interface shows one.
#[derive(Clone, Debug)]
pub(crate) struct Native {
    count: f64,
    sum: f64,
    buckets: Vec<Bucket>,
}

/// A bucket: which of its bounds belong to it, the bounds, and how much it holds.
#[derive(Clone, Debug)]
struct Bucket {
    rule: u64,
    lower: f64,
    upper: f64,
    count: f64,
}

impl Cell {
    /// What a value of our answer stands for.
    pub(crate) fn of_value(value: f64, histograms: &Histograms) -> Self {
        histograms.get(value).map_or(Self::Float(value), |histogram| native(histogram))
    }

    /// A histogram of an answer of Prometheus.
    pub(crate) fn of_json(json: &Json) -> Self {
        let number = |json: &Json| number::parse(json.as_str().unwrap()).unwrap();
        let bucket = |json: &Json| Bucket {
            rule: json[0].as_u64().unwrap(),
            lower: number(&json[1]),
            upper: number(&json[2]),
            count: number(&json[3]),
        };
        let buckets = json["buckets"].as_array().into_iter().flatten().map(bucket).collect();
        Self::Native(Native { count: number(&json["count"]), sum: number(&json["sum"]), buckets })
    }

    /// Whether ours and theirs are the same: to the last bit where there is no tolerance.
    pub(crate) fn is_near(&self, theirs: &Self, tolerance: f64) -> bool {
        match (self, theirs) {
            (Self::Float(a), Self::Float(b)) => near(*a, *b, tolerance),
            (Self::Native(a), Self::Native(b)) => {
                a.is_near(b, tolerance) || a.is_whole() && b.is_spoilt(a, tolerance)
            }
            _ => false,
        }
    }
}

fn native(histogram: &Histogram) -> Cell {
    // Theirs shows no zero bucket with less than nothing in it.
    let shows = |(closed, bucket): &(Closed, base::histogram::Bucket)| {
        *closed != Closed::Both || bucket.count > 0.0 || histogram.is_custom()
    };
    let buckets = histogram.shown_buckets().filter(shows).map(|(closed, bucket)| {
        let base::histogram::Bucket { lower, upper, count } = bucket;
        Bucket { rule: closed as u64, lower, upper, count }
    });
    let (count, sum, buckets) = (histogram.count, histogram.sum, buckets.collect());
    Cell::Native(Native { count, sum, buckets })
}

fn near(a: f64, b: f64, tolerance: f64) -> bool {
    if a.is_nan() || b.is_nan() || tolerance == 0.0 {
        return a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
    }
    let difference = (a - b).abs();
    a == b || difference <= tolerance * a.abs().max(b.abs()) || difference < NEAR_ZERO
}

impl Native {
    /// Whether the buckets hold what was counted.
    fn is_whole(&self) -> bool {
        near(self.buckets.iter().map(|bucket| bucket.count).sum(), self.count, 1e-6)
    }

    /// Whether it is one that says of itself what `other` says, and lacks what that has in its buckets.
    fn is_spoilt(&self, other: &Self, tolerance: f64) -> bool {
        let same = near(self.count, other.count, tolerance) && near(self.sum, other.sum, tolerance);
        same && self.buckets.len() < other.buckets.len() && !self.is_whole()
    }

    fn is_near(&self, other: &Self, tolerance: f64) -> bool {
        let same = |a, b| near(a, b, tolerance);
        let same_bound = |a, b| near(a, b, BOUNDS);
        let place = |a: &Bucket, b: &Bucket| {
            a.rule == b.rule && same_bound(a.lower, b.lower) && same_bound(a.upper, b.upper)
        };
        let (mut left, mut right) = (self.buckets.iter(), other.buckets.iter());
        let (mut a, mut b) = (left.next(), right.next());
        loop {
            match (a, b) {
                (None, None) => break,
                (Some(x), Some(y)) if place(x, y) => {
                    if !same(x.count, y.count) {
                        return false;
                    }
                    (a, b) = (left.next(), right.next());
                }
                (Some(x), y) if y.is_none_or(|y| x.upper < y.upper) => {
                    if !same(x.count, 0.0) {
                        return false;
                    }
                    a = left.next();
                }
                (_, Some(y)) => {
                    // What was empty there, times an infinity.
                    let was_empty = y.count.is_nan() && !self.count.is_finite();
                    if !was_empty && !same(y.count, 0.0) {
                        return false;
                    }
                    b = right.next();
                }
                (Some(_), None) => return false,
            }
        }
        same(self.count, other.count) && same(self.sum, other.sum)
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Native { count, sum, buckets } = match self {
            Self::Float(value) => return value.fmt(f),
            Self::Native(native) => native,
        };
        write!(f, "{{count {count} sum {sum}")?;
        for Bucket { rule, lower, upper, count } in buckets {
            write!(f, " {rule}|{lower}..{upper}: {count}")?;
        }
        f.write_str("}")
    }
}
