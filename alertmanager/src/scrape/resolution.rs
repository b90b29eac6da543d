//! How fine native histograms may be: `native_histogram_min_bucket_factor` and
//! `native_histogram_bucket_limit`.
//!
//! Source: the configuration reference of Prometheus.
//!
//! Invariant: what a coarser histogram holds is what the finer one held, in fewer buckets.

use base::histogram::Histogram;

/// The coarsest and the finest that there are.
const COARSEST: i32 = -4;
const FINEST: i32 = 8;

/// How fine a histogram may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Resolution {
    schema: i32,
    buckets: usize,
}

impl Resolution {
    /// With at most so many `buckets`, and each at least `factor` times as wide as the one before; 0 is as
    /// one likes.
    pub(super) fn new(buckets: u64, factor: f64) -> Self {
        let buckets = usize::try_from(buckets).unwrap_or(usize::MAX);
        let schema = match factor {
            factor if factor > 1.0 => {
                let schema = (-factor.log2().log2()).floor();
                schema.clamp(f64::from(COARSEST), f64::from(FINEST)) as i32
            }
            _ => FINEST,
        };
        Self { schema, buckets: if buckets == 0 { usize::MAX } else { buckets } }
    }

    /// The most buckets.
    pub(super) fn buckets(self) -> usize {
        self.buckets
    }

    /// The histogram, made coarser until it fits; nothing where none does.
    pub(super) fn fitting(self, mut histogram: Histogram) -> Option<Histogram> {
        let fits = |histogram: &Histogram| {
            histogram.positive.len() + histogram.negative.len() <= self.buckets
        };
        if histogram.is_custom() {
            return fits(&histogram).then_some(histogram);
        }
        if histogram.schema > self.schema {
            histogram = histogram.at_schema(self.schema);
        }
        while !fits(&histogram) {
            if histogram.schema <= COARSEST {
                return None;
            }
            histogram = histogram.at_schema(histogram.schema - 1);
        }
        Some(histogram)
    }
}

#[cfg(test)]
mod tests {
    use base::histogram::CUSTOM;

    use super::*;

    /// The schema and the number of buckets that a histogram of this schema with 40 buckets comes to.
    #[track_caller]
    fn check(limit: u64, factor: f64, schema: i32, expected: Option<(i32, usize)>) {
        let positive = (1..=40).map(|index| (index, 1.0)).collect();
        let histogram = Histogram { schema, positive, count: 40.0, ..Histogram::default() };
        let fitting = Resolution::new(limit, factor).fitting(histogram);
        let observed = |histogram: &Histogram| histogram.positive.iter().map(|(_, n)| n).sum();
        assert_eq!(fitting.as_ref().map_or(40.0, observed), 40.0_f64);
        assert_eq!(fitting.map(|h| (h.schema, h.positive.len())), expected);
    }

    #[test]
    fn what_is_too_fine_or_has_too_many_buckets_becomes_coarser() {
        check(0, 0.0, 8, Some((8, 40)));
        check(40, 1.0, 3, Some((3, 40)));
        check(39, 1.0, 3, Some((2, 20)));
        check(10, 1.0, 3, Some((1, 10)));
        // The factors of the schemas: 1.1 lies between those of 3 and 2.
        check(0, 1.1, 8, Some((2, 1)));
        check(0, 1.1, 2, Some((2, 40)));
        check(0, 2.0, 2, Some((0, 10)));
        check(0, 1e9, -3, Some((-4, 20)));
        check(3, 1.0, -2, None);
        check(5, 0.0, CUSTOM, None);
        check(40, 4.0, CUSTOM, Some((CUSTOM, 40)));
    }
}
