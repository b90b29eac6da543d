//! Native histograms: counts of observations in buckets that grow exponentially, or have bounds of
//! their own.
//!
//! ```text
//! schema 0    (0.5, 1]  (1, 2]  (2, 4]     bucket 0, 1, 2: each bound is twice the one before
//! schema 1    each bound is 2^(1/2) times the one before, and so on
//! CUSTOM      (-Inf, b0]  (b0, b1]  (b1, +Inf]
//! ```
//!
//! Among numbers a histogram travels as a [`Tag`]: a not-a-number that arithmetic never gives, which
//! stands for a place in a table beside the numbers. So floats cost the same with and without them.
//!
//! Invariant: buckets are sorted by their index, none comes twice, and none is empty.

mod wire;

pub use wire::{BucketSpan, Invalid, Side, Spans};

use std::sync::Arc;

/// The schema of histograms with bounds of their own.
pub const CUSTOM: i32 = -53;

/// The schemas of exponential buckets, from the coarsest to the finest.
pub const EXPONENTIAL: std::ops::RangeInclusive<i32> = -4..=8;

/// Buckets by their index, sorted; empty ones are left out.
pub type Buckets = Vec<(i32, f64)>;

/// What is known about a counter's beginning again between the sample before and this one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reset {
    /// Nothing: the two have to be compared.
    #[default]
    Unknown,
    /// It began again.
    Reset,
    /// It did not.
    NotReset,
    /// It is no counter.
    Gauge,
}

/// A native histogram with counts as floats.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// How fine the buckets are, or [`CUSTOM`].
    pub schema: i32,
    /// Whether it continues the sample before.
    pub reset: Reset,
    /// Observations from minus this to this count as zero.
    pub zero_threshold: f64,
    /// How many of them there are.
    pub zero_count: f64,
    /// All observations, those included that are not a number.
    pub count: f64,
    /// The sum of all observations.
    pub sum: f64,
    /// Observations above the zero bucket; all of them where the bounds are custom.
    pub positive: Buckets,
    /// Observations below the zero bucket.
    pub negative: Buckets,
    /// The upper bounds of all custom buckets but the last, which has none; rising.
    pub bounds: Arc<[f64]>,
}

/// A bucket with its bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// Observations are above this, or equal to it in a negative bucket.
    pub lower: f64,
    /// Observations are at most this.
    pub upper: f64,
    /// How many there are.
    pub count: f64,
}

/// Which of a bucket's bounds belong to it, by the numbers that Prometheus's HTTP interface has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// `(0.5, 1]`
    Upper = 0,
    /// `[-1, -0.5)`
    Lower = 1,
    /// `[-0.1, 0.1]`
    Both = 3,
}

/// The upper bound of the bucket `index`, on the positive side.
fn bound(schema: i32, index: i32, custom: &[f64]) -> f64 {
    if schema == CUSTOM {
        return match usize::try_from(index) {
            Err(_) => f64::NEG_INFINITY,
            Ok(at) => custom.get(at).copied().unwrap_or(f64::INFINITY),
        };
    }
    let (whole, part) = if schema >= 0 {
        let shift = schema.min(30);
        let part = index.rem_euclid(1 << shift);
        (i64::from(index >> shift), f64::from(part) / f64::from(1 << shift))
    } else {
        (i64::from(index) << schema.saturating_neg().min(30), 0.0)
    };
    // The bound behind the largest float is the largest float.
    if whole == 1024 && part == 0.0 {
        return f64::MAX;
    }
    let whole = whole.clamp(-2000, 2000) as f64;
    // In two steps, since the smallest bounds are not normal.
    (whole / 2.0).floor().exp2() * part.exp2() * (whole / 2.0).ceil().exp2()
}

/// Whether `value` is at least `bound`, but for the last digits, in which whoever counts may have other
/// bounds than we: the threshold of a zero bucket that grew is one of theirs.
fn reaches(value: f64, bound: f64) -> bool {
    value >= bound - bound.abs() * 1e-14
}

impl Histogram {
    /// Whether it has bounds of its own.
    pub fn is_custom(&self) -> bool {
        self.schema == CUSTOM
    }

    /// A bucket of the positive side.
    pub fn positive_bucket(&self, (index, count): (i32, f64)) -> Bucket {
        let at = |index| bound(self.schema, index, &self.bounds);
        let lower = match index.checked_sub(1) {
            // Behind the last custom bound there is only one bucket.
            Some(below) if self.is_custom() => at(below.min(self.bounds.len() as i32 - 1)),
            Some(below) => at(below),
            None => f64::NEG_INFINITY,
        };
        Bucket { lower, upper: at(index), count }
    }

    /// A bucket of the negative side.
    pub fn negative_bucket(&self, bucket: (i32, f64)) -> Bucket {
        let Bucket { lower, upper, count } = self.positive_bucket(bucket);
        Bucket { lower: -upper, upper: -lower, count }
    }

    /// The bucket around zero.
    pub fn zero_bucket(&self) -> Bucket {
        let upper = self.zero_threshold;
        Bucket { lower: -upper, upper, count: self.zero_count }
    }

    /// All buckets that hold something, from the lowest to the highest; none reaches into the zero
    /// bucket, which is only there where it holds more than nothing.
    pub fn buckets(&self) -> impl DoubleEndedIterator<Item = Bucket> {
        let zero = self.zero_threshold;
        let negative = self.negative.iter().rev().map(move |bucket| {
            let bucket = self.negative_bucket(*bucket);
            Bucket { upper: bucket.upper.min(-zero), ..bucket }
        });
        let positive = self.positive.iter().map(move |bucket| {
            let bucket = self.positive_bucket(*bucket);
            let lower = if self.is_custom() { bucket.lower } else { bucket.lower.max(zero) };
            Bucket { lower, ..bucket }
        });
        let middle = (self.zero_count > 0.0).then(|| self.zero_bucket());
        negative.chain(middle).chain(positive)
    }

    /// All buckets that hold something with their bounds as they are, from the lowest to the highest:
    /// what people are shown.
    pub fn shown_buckets(&self) -> impl Iterator<Item = (Closed, Bucket)> {
        let negative = self.negative.iter().rev();
        let negative = negative.map(|bucket| (Closed::Lower, self.negative_bucket(*bucket)));
        let has_zero = self.zero_count != 0.0 && !self.is_custom();
        let zero = has_zero.then(|| (Closed::Both, self.zero_bucket()));
        let positive = self.positive.iter().map(|bucket| {
            // The lowest one has no end.
            let closed =
                if self.is_custom() && bucket.0 == 0 { Closed::Both } else { Closed::Upper };
            (closed, self.positive_bucket(*bucket))
        });
        negative.chain(zero).chain(positive)
    }

    /// The same observations in buckets of a coarser schema.
    #[must_use]
    pub fn at_schema(&self, schema: i32) -> Self {
        if self.is_custom() || schema >= self.schema {
            return self.clone();
        }
        let shift = self.schema.saturating_sub(schema).min(31) as u32;
        let coarser = |buckets: &Buckets| {
            merged(
                buckets
                    .iter()
                    .map(|(index, count)| (((i64::from(*index) - 1) >> shift) as i32 + 1, *count)),
            )
        };
        let (positive, negative) = (coarser(&self.positive), coarser(&self.negative));
        Self { schema, positive, negative, ..self.clone() }
    }

    /// The same observations in custom buckets of which only some bounds are left.
    #[must_use]
    pub fn with_bounds(&self, bounds: &Arc<[f64]>) -> Self {
        if *bounds == self.bounds {
            return self.clone();
        }
        let place = |(index, count): &(i32, f64)| {
            let upper = bound(CUSTOM, *index, &self.bounds);
            (bounds.partition_point(|bound| *bound < upper) as i32, *count)
        };
        let positive = merged(self.positive.iter().map(place));
        Self { positive, bounds: Arc::clone(bounds), ..self.clone() }
    }

    /// How many observations a zero bucket would have that reaches to `threshold` at least, and how
    /// far it then reaches: no bucket is divided.
    fn zero_for(&self, threshold: f64) -> (f64, f64) {
        if threshold == self.zero_threshold {
            return (self.zero_count, threshold);
        }
        let mut threshold = threshold;
        loop {
            let (mut count, begun) = (self.zero_count, threshold);
            for side in [&self.positive, &self.negative] {
                for bucket in side {
                    let Bucket { lower, upper, count: more } = self.positive_bucket(*bucket);
                    if reaches(lower, threshold) {
                        break;
                    }
                    count += more;
                    if !reaches(threshold, upper) {
                        threshold = upper;
                    }
                }
            }
            if threshold == begun {
                return (count, threshold);
            }
        }
    }

    /// The same observations with a zero bucket that reaches to `threshold` at least.
    #[must_use]
    pub fn with_zero(&self, threshold: f64) -> Self {
        if threshold <= self.zero_threshold || self.is_custom() {
            return self.clone();
        }
        let (zero_count, zero_threshold) = self.zero_for(threshold);
        let mut wider = Self { zero_count, zero_threshold, ..self.clone() };
        let beyond =
            |bucket: &(i32, f64)| reaches(self.positive_bucket(*bucket).lower, zero_threshold);
        wider.positive.retain(beyond);
        wider.negative.retain(beyond);
        wider
    }

    /// Whether a counter began again between `before` and this one: by what is known, or else because
    /// something has become less.
    pub fn began_again_after(&self, before: &Self) -> bool {
        match self.reset {
            Reset::Reset => return true,
            Reset::NotReset => return false,
            Reset::Unknown | Reset::Gauge => {}
        }
        if self.count < before.count || self.is_custom() != before.is_custom() {
            return true;
        }
        if self.is_custom() {
            return self.lost_custom(before);
        }
        if self.schema > before.schema || self.zero_threshold < before.zero_threshold {
            return true;
        }
        let (zero_count, end) = before.zero_for(self.zero_threshold);
        if end != self.zero_threshold || self.zero_count < zero_count {
            return true;
        }
        // Coarser buckets may reach into the zero bucket, those of this one as well.
        let mut before = before.at_schema(self.schema);
        let is_zero =
            |bucket: &(i32, f64)| reaches(self.zero_threshold, self.positive_bucket(*bucket).upper);
        before.positive.retain(|bucket| !is_zero(bucket));
        before.negative.retain(|bucket| !is_zero(bucket));
        lost(&self.positive, &before.positive) || lost(&self.negative, &before.negative)
    }

    fn lost_custom(&self, before: &Self) -> bool {
        if self.bounds == before.bounds {
            return lost(&self.positive, &before.positive);
        }
        let common = common_bounds(&self.bounds, &before.bounds);
        lost(&self.with_bounds(&common).positive, &before.with_bounds(&common).positive)
    }

    /// What is to be stored behind `before`, which is none where the series has no histogram there:
    /// the same, with what is known about the counter's beginning again.
    #[must_use]
    pub fn after(mut self, before: Option<&Self>) -> Self {
        self.reset = match before {
            _ if self.reset == Reset::Gauge => Reset::Gauge,
            None => Reset::Unknown,
            Some(before) if before.reset == Reset::Gauge => Reset::Unknown,
            Some(before) => {
                let forced = self.reset == Reset::Reset;
                self.reset = Reset::Unknown;
                let again = forced || self.began_again_after(before);
                if again { Reset::Reset } else { Reset::NotReset }
            }
        };
        self
    }
}

/// Whether a bucket has less than it had.
fn lost(now: &[(i32, f64)], before: &[(i32, f64)]) -> bool {
    let mut now = now.iter().peekable();
    before.iter().any(|(index, count)| {
        while now.next_if(|(other, _)| other < index).is_some() {}
        let left = now.peek().filter(|(other, _)| other == index).map_or(0.0, |(_, count)| *count);
        left < *count
    })
}

/// The bounds that both have; both rise.
pub fn common_bounds(a: &[f64], b: &[f64]) -> Arc<[f64]> {
    a.iter().copied().filter(|bound| b.binary_search_by(|x| x.total_cmp(bound)).is_ok()).collect()
}

/// Buckets whose indices rise, added up where an index comes several times.
fn merged(buckets: impl Iterator<Item = (i32, f64)>) -> Buckets {
    let mut all = Buckets::new();
    for (index, count) in buckets {
        match all.last_mut() {
            Some((last, sum)) if *last == index => *sum += count,
            _ => all.push((index, count)),
        }
    }
    all.retain(|(_, count)| *count != 0.0);
    // It may stay for as long as its series does.
    all.shrink_to_fit();
    all
}

/// Where the histogram is that a number stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Which table: from 1 to 7.
    pub table: u8,
    /// Its place there, below 2^48.
    pub place: u64,
}

/// An infinite exponent, not quiet: arithmetic gives only quiet ones.
const TAGGED: u64 = 0x7ff0;

impl Tag {
    /// The number that stands for the histogram.
    #[inline]
    pub fn value(self) -> f64 {
        let table = TAGGED | u64::from(self.table & 7);
        f64::from_bits(table << 48 | self.place & ((1 << 48) - 1))
    }

    /// The histogram that a number stands for, if it does.
    #[inline]
    pub fn of(value: f64) -> Option<Self> {
        let bits = value.to_bits();
        let table = (bits >> 48).wrapping_sub(TAGGED);
        let is = (1..8).contains(&table);
        is.then_some(Self { table: table as u8, place: bits & ((1 << 48) - 1) })
    }
}

/// Whether a number stands for a histogram.
#[inline]
pub fn is_tag(value: f64) -> bool {
    (value.to_bits() >> 48).wrapping_sub(TAGGED + 1) < 7
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exponential(schema: i32, positive: &[(i32, f64)]) -> Histogram {
        let count = positive.iter().map(|(_, count)| count).sum();
        Histogram { schema, positive: positive.to_vec(), count, ..Histogram::default() }
    }

    fn custom(bounds: &[f64], positive: &[(i32, f64)]) -> Histogram {
        Histogram { bounds: bounds.into(), ..exponential(CUSTOM, positive) }
    }

    #[test]
    fn bounds_grow_by_the_schema() {
        let check = |h: &Histogram, index, lower: f64, upper: f64| {
            let bucket = h.positive_bucket((index, 1.0));
            assert_eq!((bucket.lower, bucket.upper), (lower, upper), "{index} of {}", h.schema);
        };
        let zero = exponential(0, &[]);
        check(&zero, 0, 0.5, 1.0);
        check(&zero, 1, 1.0, 2.0);
        check(&zero, -1, 0.25, 0.5);
        check(&zero, 1024, 2_f64.powi(1023), f64::MAX);
        check(&exponential(-1, &[]), 2, 4.0, 16.0);
        check(&exponential(1, &[]), 2, 2_f64.sqrt(), 2.0);
        check(&custom(&[5.0, 10.0], &[]), 0, f64::NEG_INFINITY, 5.0);
        check(&custom(&[5.0, 10.0], &[]), 2, 10.0, f64::INFINITY);
        check(&custom(&[], &[]), 0, f64::NEG_INFINITY, f64::INFINITY);
        check(&custom(&[5.0], &[]), 77, 5.0, f64::INFINITY);
        let bucket = zero.negative_bucket((1, 1.0));
        assert_eq!((bucket.lower, bucket.upper), (-2.0, -1.0));
        for schema in [i32::MIN, -9, 40, i32::MAX] {
            exponential(schema, &[]).positive_bucket((i32::MIN, 1.0));
            exponential(schema, &[]).positive_bucket((i32::MAX, 1.0));
        }
    }

    #[test]
    fn coarser_buckets_hold_the_same() {
        let fine = exponential(1, &[(-1, 1.0), (0, 2.0), (1, 4.0), (2, 8.0), (3, 16.0)]);
        assert_eq!(fine.at_schema(0).positive, [(0, 3.0), (1, 12.0), (2, 16.0)]);
        let own = custom(&[1.0, 2.0, 3.0], &[(0, 1.0), (1, 2.0), (2, 4.0), (3, 8.0)]);
        assert_eq!(own.with_bounds(&[2.0].into()).positive, [(0, 3.0), (1, 12.0)]);
        assert_eq!(own.with_bounds(&[].into()).positive, [(0, 15.0)]);
        let wide = exponential(0, &[(0, 1.0), (1, 2.0), (2, 4.0)]).with_zero(1.5);
        assert_eq!((wide.zero_threshold, wide.zero_count), (2.0, 3.0));
        assert_eq!(wide.positive, [(2, 4.0)]);
    }

    #[test]
    fn a_zero_bucket_ends_at_a_bound_whoever_calculated_that() {
        let fine = exponential(2, &[(-5, 1.0), (-4, 2.0), (-3, 4.0)]);
        let end = fine.positive_bucket((-4, 1.0)).upper;
        for end in [end, end.next_down(), end.next_up()] {
            let wide = fine.with_zero(end);
            assert_eq!((wide.zero_count, wide.zero_threshold), (3.0, end));
            assert_eq!(wide.positive, [(-3, 4.0)]);
            let now = Histogram { positive: vec![(-3, 5.0)], ..wide.clone() };
            assert!(!now.began_again_after(&fine));
        }
    }

    #[test]
    fn a_counter_that_lost_something_began_again() {
        let check = |now: &Histogram, before: &Histogram, again: bool| {
            assert_eq!(now.began_again_after(before), again, "{now:?} after {before:?}");
        };
        let one = exponential(0, &[(0, 1.0), (2, 4.0)]);
        check(&one, &one, false);
        check(&exponential(0, &[(0, 2.0), (2, 4.0)]), &one, false);
        check(&exponential(0, &[(0, 9.0), (2, 3.0)]), &one, true);
        check(&exponential(0, &[(0, 1.0), (2, 3.0)]), &one, true);
        check(&exponential(-1, &[(0, 1.0), (1, 4.0)]), &one, false);
        // Half of (0.25, 1] lies in the zero bucket.
        let zero = |histogram| Histogram { zero_threshold: 0.5, ..histogram };
        check(&zero(exponential(-1, &[(0, 1.0), (1, 4.0)])), &zero(one.clone()), false);
        check(&zero(exponential(-1, &[(0, 1.0), (1, 3.0)])), &zero(one.clone()), true);
        check(&exponential(1, &[(0, 1.0), (4, 4.0)]), &one, true);
        check(&custom(&[1.0], &[(0, 5.0)]), &one, true);
        check(&custom(&[1.0], &[(0, 5.0)]), &custom(&[1.0, 2.0], &[(0, 5.0)]), false);
        check(&custom(&[2.0], &[(1, 9.0)]), &custom(&[2.0, 3.0], &[(0, 5.0)]), true);
        let known = |reset, again| {
            check(&Histogram { reset, ..Histogram::default() }, &one, again);
        };
        known(Reset::NotReset, false);
        known(Reset::Reset, true);
        known(Reset::Unknown, true);
    }

    #[test]
    fn what_is_stored_says_whether_it_continues() {
        let one = exponential(0, &[(0, 1.0)]);
        let gauge = Histogram { reset: Reset::Gauge, ..one.clone() };
        assert_eq!(one.clone().after(None).reset, Reset::Unknown);
        assert_eq!(one.clone().after(Some(&one)).reset, Reset::NotReset);
        assert_eq!(one.clone().after(Some(&gauge)).reset, Reset::Unknown);
        assert_eq!(gauge.clone().after(Some(&one)).reset, Reset::Gauge);
        assert_eq!(Histogram::default().after(Some(&one)).reset, Reset::Reset);
        let forced = Histogram { reset: Reset::Reset, ..one.clone() };
        assert_eq!(forced.after(Some(&one)).reset, Reset::Reset);
    }

    #[test]
    fn a_tag_is_no_number_and_no_marker() {
        let tag = Tag { table: 3, place: 0xffff_1234_5678 };
        assert_eq!(Tag::of(tag.value()), Some(tag));
        assert!(tag.value().is_nan() && is_tag(tag.value()));
        let others = [0.0, f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
        let markers = [2, 3, 4].map(|n| f64::from_bits(0x7ff0_0000_0000_0000 + n));
        for other in others.into_iter().chain(markers) {
            assert!(!is_tag(other) && Tag::of(other).is_none(), "{other}");
        }
        assert!(!is_tag(tag.value() + 1.0));
    }
}
