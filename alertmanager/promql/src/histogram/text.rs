//! How a native histogram is printed: `{count:3, sum:2.5, [-0.1,0.1]:1, (0.5,1]:2}`.
//!
//! Invariant: buckets come from the lowest to the highest, and empty ones do not.

use std::fmt::Write;

use base::histogram::{Bucket, Closed, Histogram};
use base::number::shortest;

/// The text of a histogram.
pub(crate) fn text(histogram: &Histogram) -> String {
    let (count, sum) = (shortest(histogram.count), shortest(histogram.sum));
    let mut text = format!("{{count:{count}, sum:{sum}");
    for (closed, Bucket { lower, upper, count }) in histogram.shown_buckets() {
        let (lower, upper, count) = (shortest(lower), shortest(upper), shortest(count));
        let open = if closed == Closed::Upper { '(' } else { '[' };
        let close = if closed == Closed::Lower { ')' } else { ']' };
        // A String takes everything.
        let _done = write!(text, ", {open}{lower},{upper}{close}:{count}");
    }
    text.push('}');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_what_there_is() {
        let histogram = Histogram {
            count: 6.0,
            sum: 2.5,
            zero_threshold: 0.1,
            zero_count: 1.0,
            positive: vec![(0, 2.0), (1, 1.0)],
            negative: vec![(1, 1.0), (2, 1.0)],
            ..Histogram::default()
        };
        let expected = "{count:6, sum:2.5, [-4,-2):1, [-2,-1):1, [-0.1,0.1]:1, (0.5,1]:2, (1,2]:1}";
        assert_eq!(text(&histogram), expected);
    }
}
