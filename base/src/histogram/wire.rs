//! Native histograms as protobuf messages have them: spans of buckets, with counts or with the
//! differences from one count to the next.
//!
//! ```text
//! spans    (offset 2, length 2) (offset 1, length 1)     buckets 2 3 . 5: an offset is a gap
//! deltas   5 -2 1                                        counts  5 3 . 4
//! ```
//!
//! Sources: `prompb/types.proto` and `io.prometheus.client` of Prometheus.
//!
//! Invariant: what comes out keeps the rules of [`Histogram`], or is refused with a reason; it takes no
//! more memory than the counts that were sent.

use std::sync::Arc;

use super::{Buckets, EXPONENTIAL, Histogram, Reset};

/// The finest schema that is taken; those finer than [`EXPONENTIAL`] are made coarser.
const FINEST: i32 = 52;

/// Buckets that follow each other.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct BucketSpan {
    /// How many buckets are left out before it; of the first, the index.
    #[prost(sint32, tag = "1")]
    pub offset: i32,
    /// How many buckets it has.
    #[prost(uint32, tag = "2")]
    pub length: u32,
}

/// Why a histogram is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("native histogram: {0}")]
pub struct Invalid(&'static str);

/// The buckets of one side.
#[derive(Clone, Copy, Debug, Default)]
pub struct Side<'a> {
    /// Where the buckets are.
    pub spans: &'a [BucketSpan],
    /// Counts of whole numbers: the first, then the differences.
    pub deltas: &'a [i64],
    /// Other counts, as they are.
    pub counts: &'a [f64],
}

impl Side<'_> {
    /// The buckets; those of custom bounds begin at 0, all others at 1 less than their upper bound.
    fn buckets(&self) -> Result<Buckets, Invalid> {
        let mut sum = 0_i64;
        let whole = self.deltas.iter().map(|delta| {
            sum = sum.wrapping_add(*delta);
            sum as f64
        });
        let mut counts = whole.chain(self.counts.iter().copied());
        let mut buckets = Buckets::new();
        let mut index = 0_i32;
        for (n, span) in self.spans.iter().enumerate() {
            if n > 0 && span.offset < 0 {
                return Err(Invalid("a span of buckets begins before the end of the last"));
            }
            let overflow = Invalid("a bucket lies outside of all numbers");
            index = index.checked_add(span.offset).ok_or(overflow.clone())?;
            for _ in 0..span.length {
                let count = counts.next().ok_or(Invalid("there are fewer counts than buckets"))?;
                if count != 0.0 {
                    buckets.push((index, count));
                }
                index = index.checked_add(1).ok_or(overflow.clone())?;
            }
        }
        match counts.next() {
            None => Ok(buckets),
            Some(_) => Err(Invalid("there are more counts than buckets")),
        }
    }
}

/// Spans and counts of one side of a histogram.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spans {
    /// Where the buckets are.
    pub spans: Vec<BucketSpan>,
    /// How many observations each has.
    pub counts: Vec<f64>,
}

impl Spans {
    /// The spans of buckets that are sorted.
    pub fn of(buckets: &Buckets) -> Self {
        let mut of = Self::default();
        let mut next = 0_i32;
        for (index, count) in buckets {
            match of.spans.last_mut().filter(|_| *index == next) {
                Some(span) => span.length += 1,
                None => {
                    let offset = index.wrapping_sub(next);
                    of.spans.push(BucketSpan { offset, length: 1 });
                }
            }
            of.counts.push(*count);
            next = index.wrapping_add(1);
        }
        of
    }

    /// The counts as the first and the differences, where all are whole numbers.
    pub fn deltas(&self) -> Option<Vec<i64>> {
        let mut before = 0;
        let delta = |count: &f64| {
            let whole = count.fract() == 0.0 && count.abs() < (1_u64 << 53) as f64;
            let count = whole.then_some(*count as i64)?;
            let delta = count - before;
            before = count;
            Some(delta)
        };
        self.counts.iter().map(delta).collect()
    }
}

impl Histogram {
    /// The histogram with these buckets; everything else is that of `self`.
    ///
    /// # Errors
    ///
    /// [`Invalid`]: it cannot be, whatever sent it.
    pub fn with_sides(
        mut self,
        positive: Side<'_>,
        negative: Side<'_>,
        bounds: &[f64],
    ) -> Result<Self, Invalid> {
        self.positive = positive.buckets()?;
        self.negative = negative.buckets()?;
        if self.is_custom() {
            self.bounds = Arc::from(bounds);
            self.check_custom()?;
        } else if !bounds.is_empty() {
            return Err(Invalid("bounds of its own need the schema -53"));
        }
        if !self.is_custom() && !(*EXPONENTIAL.start()..=FINEST).contains(&self.schema) {
            return Err(Invalid("its schema is not known"));
        }
        if self.zero_threshold.is_nan() || self.zero_threshold < 0.0 {
            return Err(Invalid("its zero bucket has no width"));
        }
        self.check_counts()?;
        Ok(self.at_schema(*EXPONENTIAL.end()))
    }

    fn check_custom(&self) -> Result<(), Invalid> {
        if !self.negative.is_empty() || self.zero_count != 0.0 {
            return Err(Invalid("with bounds of its own it has one side only"));
        }
        let rises = |pair: &[f64]| pair[0] < pair[1];
        let finite = self.bounds.iter().all(|bound| !bound.is_nan() && *bound < f64::INFINITY);
        if !finite || !self.bounds.windows(2).all(rises) {
            return Err(Invalid("its own bounds do not rise"));
        }
        let last = self.positive.last().map_or(0, |(index, _)| *index);
        let first = self.positive.first().map_or(0, |(index, _)| *index);
        if first < 0 || usize::try_from(last).is_ok_and(|last| last > self.bounds.len()) {
            return Err(Invalid("a bucket has no bound"));
        }
        Ok(())
    }

    fn check_counts(&self) -> Result<(), Invalid> {
        let buckets = || self.positive.iter().chain(&self.negative).map(|(_, count)| *count);
        let all = || buckets().chain([self.zero_count, self.count]);
        if all().any(f64::is_nan) {
            return Err(Invalid("a count is not a number"));
        }
        if self.reset == Reset::Gauge {
            return Ok(());
        }
        if all().any(|count| count < 0.0) {
            return Err(Invalid("a count is below zero"));
        }
        // Observations that are not a number are in no bucket, and the sum then is none either. Counts
        // with fractions may be off by what floats are.
        let sum = buckets().sum::<f64>() + self.zero_count;
        if sum > self.count * (1.0 + 1e-9) {
            return Err(Invalid("its buckets hold more than it counts"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::CUSTOM;

    fn spans(spans: &[(i32, u32)]) -> Vec<BucketSpan> {
        spans.iter().map(|&(offset, length)| BucketSpan { offset, length }).collect()
    }

    /// Positive buckets of a histogram, or why it is refused.
    #[track_caller]
    fn check(
        of: Histogram,
        at: &[(i32, u32)],
        deltas: &[i64],
        expected: Result<&[(i32, f64)], &str>,
    ) {
        let spans = spans(at);
        let side = Side { spans: &spans, deltas, counts: &[] };
        let bounds = Arc::clone(&of.bounds);
        let got = of.with_sides(side, Side::default(), &bounds);
        let got = got.map(|histogram| histogram.positive).map_err(|error| error.0);
        assert_eq!(got.as_deref(), expected.as_ref().map(|buckets| *buckets));
    }

    #[test]
    fn spans_become_buckets_or_a_reason_x22() {
        let of = |count: f64| Histogram { count, ..Histogram::default() };
        check(of(12.0), &[(2, 2), (1, 1)], &[5, -2, 1], Ok(&[(2, 5.0), (3, 3.0), (5, 4.0)]));
        check(of(5.0), &[(-2, 2)], &[5, -5], Ok(&[(-2, 5.0)]));
        check(of(1.0), &[(0, 2)], &[1], Err("there are fewer counts than buckets"));
        check(of(1.0), &[(0, u32::MAX)], &[1], Err("there are fewer counts than buckets"));
        check(of(1.0), &[(0, 1)], &[1, 1], Err("there are more counts than buckets"));
        check(of(9.0), &[(i32::MAX, 2)], &[1, 1], Err("a bucket lies outside of all numbers"));
        check(
            of(9.0),
            &[(1, 1), (-1, 1)],
            &[1, 1],
            Err("a span of buckets begins before the end of the last"),
        );
        check(of(1.0), &[(0, 1)], &[2], Err("its buckets hold more than it counts"));
        check(of(1.0), &[(0, 1)], &[-2], Err("a count is below zero"));
        check(of(f64::NAN), &[], &[], Err("a count is not a number"));
        let gauge = Histogram { reset: Reset::Gauge, ..of(0.0) };
        check(gauge, &[(0, 1)], &[-2], Ok(&[(0, -2.0)]));
        check(Histogram { schema: 60, ..of(0.0) }, &[], &[], Err("its schema is not known"));
        check(Histogram { schema: 9, ..of(3.0) }, &[(3, 2)], &[1, 1], Ok(&[(2, 3.0)]));
        let own = |bounds: &[f64]| Histogram { schema: CUSTOM, bounds: bounds.into(), ..of(9.0) };
        check(own(&[1.0, 2.0]), &[(0, 3)], &[1, 0, 0], Ok(&[(0, 1.0), (1, 1.0), (2, 1.0)]));
        check(own(&[1.0]), &[(0, 3)], &[1, 0, 0], Err("a bucket has no bound"));
        check(own(&[2.0, 1.0]), &[], &[], Err("its own bounds do not rise"));
        check(own(&[1.0, f64::INFINITY]), &[], &[], Err("its own bounds do not rise"));
    }

    #[test]
    fn buckets_become_the_same_spans() {
        let buckets = vec![(-3, 1.0), (-2, 2.0), (4, 7.0)];
        let of = Spans::of(&buckets);
        assert_eq!(of.spans, spans(&[(-3, 2), (5, 1)]));
        let deltas = of.deltas().unwrap();
        let side = Side { spans: &of.spans, deltas: &deltas, counts: &[] };
        assert_eq!(side.buckets().unwrap(), buckets);
        let side = Side { deltas: &[], counts: &of.counts, ..side };
        assert_eq!(side.buckets().unwrap(), buckets);
        assert_eq!(Spans::of(&vec![(0, 0.5)]).deltas(), None);
    }
}
