//! Sums and means of many histograms.
//!
//! Each number carries the digits that its sum lost, as [`crate::numeric::Sum`] does.
//!
//! Invariant: the buckets of the lost digits are those of the sum.

use base::histogram::{Buckets, Histogram, Reset};

use super::{Incompatible, Notes, aligned, full, quotient, together, union};

/// A sum of histograms so far.
#[derive(Clone, Debug)]
pub(crate) struct Total {
    sum: Histogram,
    /// What the additions lost, in the same buckets.
    lost: Histogram,
    /// How many histograms there were.
    count: f64,
    seen_reset: bool,
    seen_no_reset: bool,
    reconciled: bool,
}

/// A sum, and the digits that it loses.
fn added(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let lost = if !sum.is_finite() {
        0.0
    } else if a.abs() >= b.abs() {
        (a - sum) + b
    } else {
        (b - sum) + a
    };
    (sum, lost)
}

fn add(to: &mut f64, lost: &mut f64, value: f64) {
    let (sum, more) = added(*to, value);
    *to = sum;
    *lost = if sum.is_finite() { *lost + more } else { 0.0 };
}

fn add_side(to: &mut Buckets, lost: &mut Buckets, other: &Buckets) {
    let more: Buckets = full(union(to, other).map(|(index, a, b)| (index, added(a, b).1)));
    *to = full(union(to, other).map(|(index, a, b)| (index, a + b)));
    if !more.is_empty() {
        *lost = full(union(lost, &more).map(|(index, a, b)| (index, a + b)));
    }
}

impl Total {
    /// A sum of one histogram.
    pub(crate) fn new(first: &Histogram) -> Self {
        let lost = Histogram {
            schema: first.schema,
            zero_threshold: first.zero_threshold,
            bounds: first.bounds.clone(),
            ..Histogram::default()
        };
        let mut total = Self {
            sum: first.clone(),
            lost,
            count: 1.0,
            seen_reset: false,
            seen_no_reset: false,
            reconciled: false,
        };
        total.see(first.reset);
        total
    }

    fn see(&mut self, reset: Reset) {
        self.seen_reset |= reset == Reset::Reset;
        self.seen_no_reset |= reset == Reset::NotReset;
    }

    /// Adds one more.
    pub(crate) fn add(&mut self, other: &Histogram) -> Result<(), Incompatible> {
        let (mut sum, other, reconciled) = aligned(&self.sum, other)?;
        self.see(other.reset);
        self.reconciled |= reconciled;
        self.count += 1.0;
        let lost = &mut self.lost;
        if sum.schema != lost.schema || reconciled || sum.zero_threshold != lost.zero_threshold {
            *lost = lost.at_schema(sum.schema).with_bounds(&sum.bounds);
            *lost = lost.with_zero(sum.zero_threshold);
            lost.zero_threshold = sum.zero_threshold;
        }
        sum.reset = together(sum.reset, other.reset).0;
        add(&mut sum.count, &mut lost.count, other.count);
        add(&mut sum.sum, &mut lost.sum, other.sum);
        add(&mut sum.zero_count, &mut lost.zero_count, other.zero_count);
        add_side(&mut sum.positive, &mut lost.positive, &other.positive);
        add_side(&mut sum.negative, &mut lost.negative, &other.negative);
        self.sum = sum;
        Ok(())
    }

    /// The sum.
    pub(crate) fn sum(&self) -> Histogram {
        let side = |a: &Buckets, b: &Buckets| full(union(a, b).map(|(n, a, b)| (n, a + b)));
        Histogram {
            count: self.sum.count + self.lost.count,
            sum: self.sum.sum + self.lost.sum,
            zero_count: self.sum.zero_count + self.lost.zero_count,
            positive: side(&self.sum.positive, &self.lost.positive),
            negative: side(&self.sum.negative, &self.lost.negative),
            ..self.sum.clone()
        }
    }

    /// What there is to know about the sum.
    pub(crate) fn notes(&self) -> Notes {
        Notes { collision: self.seen_reset && self.seen_no_reset, reconciled: self.reconciled }
    }

    /// The sum of `histograms`, of which there must be one.
    pub(crate) fn of<'a>(
        mut histograms: impl Iterator<Item = &'a Histogram>,
    ) -> Option<Result<Self, Incompatible>> {
        let mut total = Self::new(histograms.next()?);
        for histogram in histograms {
            if let Err(error) = total.add(histogram) {
                return Some(Err(error));
            }
        }
        Some(Ok(total))
    }

    /// The mean of `histograms` whose sum this is. Where the sum is too large for a float, parts of
    /// it are added up.
    pub(crate) fn mean<'a>(&self, histograms: impl Iterator<Item = &'a Histogram>) -> Histogram {
        let sum = self.sum();
        let parts: Vec<_> = if finite(&sum) {
            Vec::new()
        } else {
            histograms.map(|histogram| quotient(histogram, self.count)).collect()
        };
        match Self::of(parts.iter()) {
            Some(Ok(total)) => total.sum(),
            _ => quotient(&sum, self.count),
        }
    }
}

fn finite(histogram: &Histogram) -> bool {
    let Histogram { count, sum, zero_count, positive, negative, .. } = histogram;
    let sides = positive.iter().chain(negative).map(|(_, count)| count);
    [count, sum, zero_count].into_iter().chain(sides).all(|value| value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn total(sums: &[f64]) -> (Histogram, Histogram) {
        let all: Vec<_> = sums
            .iter()
            .map(|sum| Histogram { sum: *sum, positive: vec![(3, *sum)], ..Histogram::default() })
            .collect();
        let total = Total::of(all.iter()).unwrap().unwrap();
        (total.sum(), total.mean(all.iter()))
    }

    #[test]
    fn keeps_what_floats_lose() {
        let (sum, mean) = total(&[1.0, 1e100, 1.0, -1e100]);
        assert_eq!((sum.sum, sum.positive.as_slice()), (2.0, [(3, 2.0)].as_slice()));
        assert_eq!((mean.sum, mean.positive.as_slice()), (0.5, [(3, 0.5)].as_slice()));
    }

    #[test]
    fn a_mean_survives_a_sum_that_overflows() {
        let (sum, mean) = total(&[1.5e308, 1.5e308]);
        assert_eq!((sum.sum, mean.sum), (f64::INFINITY, 1.5e308));
    }
}
