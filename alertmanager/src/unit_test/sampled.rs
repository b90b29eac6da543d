//! The value of a sample: a number or a native histogram.
//!
//! Invariant: two histograms are the same where they are written the same.

use std::fmt;

use base::histogram::Histogram;
use base::number;
use promql::series_notation::{Point, parse_points, print_histogram};

/// A sample's value.
#[derive(Clone, Debug)]
pub(super) enum Sampled {
    Float(f64),
    Native(Histogram),
}

impl Sampled {
    /// Reads a histogram as series are written; the error says what is wrong.
    pub(super) fn histogram(text: &str) -> Result<Self, String> {
        let points = parse_points(text).map_err(|faults| faults.to_string())?;
        match points.as_slice() {
            [Point::Histogram(point)] => {
                let value = point.value().ok_or_else(|| format!("`{text}` cannot be"))?;
                Ok(Self::Native(value))
            }
            _ => Err(format!("`{text}` is not one histogram")),
        }
    }

    /// Whether the two count as the same; numbers may differ in the last bit where `fuzzy` says so.
    pub(super) fn is(&self, other: &Self, fuzzy: bool) -> bool {
        match (self, other) {
            (Self::Float(a), Self::Float(b)) => same(*a, *b, fuzzy),
            (Self::Native(a), Self::Native(b)) => {
                let indices = |h: &Histogram| -> Vec<i32> {
                    h.positive.iter().chain(&h.negative).map(|bucket| bucket.0).collect()
                };
                // The text cuts wide gaps between buckets.
                indices(a) == indices(b) && self.to_string() == other.to_string()
            }
            _ => false,
        }
    }
}

impl fmt::Display for Sampled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Float(value) => f.write_str(&number::plain(*value)),
            Self::Native(histogram) => f.write_str(&print_histogram(histogram)),
        }
    }
}

fn same(a: f64, b: f64, fuzzy: bool) -> bool {
    a == b || a.is_nan() && b.is_nan() || fuzzy && (a.next_up() == b || a.next_down() == b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_differ_in_the_last_bit_only_where_that_is_allowed() {
        let low = 3.0_f64.next_down();
        assert!(same(3.0, 3.0, false) && same(f64::NAN, f64::NAN, false));
        assert!(!same(3.0, low, false) && same(3.0, low, true) && same(low, 3.0, true));
        assert!(!same(3.0, low.next_down(), true));
    }

    #[test]
    fn histograms_are_compared_as_they_are_meant() {
        let check = |a: &str, b: &str, expected: bool| {
            let (a, b) = (Sampled::histogram(a).unwrap(), Sampled::histogram(b).unwrap());
            assert_eq!(a.is(&b, false), expected, "{a} {b}");
        };
        check("{{count:2 sum:3 buckets:[2]}}", "{{sum:3 count:2 buckets:[2]}}", true);
        check("{{buckets:[0 2]}}", "{{buckets:[2] offset:1}}", true);
        check("{{sum:3}}", "{{sum:4}}", false);
        check("{{sum:NaN}}", "{{sum:NaN}}", true);
        check("{{count:2}}", "{{count:2 counter_reset_hint:not_reset}}", false);
        assert!(!Sampled::Float(0.0).is(&Sampled::histogram("{{}}").unwrap(), false));
        assert_eq!(Sampled::histogram("1 2").unwrap_err(), "`1 2` is not one histogram");
    }
}
