//! How a native histogram is printed: `{count:3, sum:2.5, [-0.1,0.1]:1, (0.5,1]:2}`.
//!
//! Invariant: buckets come from the lowest to the highest, and empty ones do not.

use std::fmt::Write;

use base::histogram::{Bucket, Histogram};
use base::number::shortest;

/// The text of a histogram.
pub(crate) fn text(histogram: &Histogram) -> String {
    let (count, sum) = (shortest(histogram.count), shortest(histogram.sum));
    let mut text = format!("{{count:{count}, sum:{sum}");
    let mut print = |open: char, bucket: Bucket, close: char| {
        let Bucket { lower, upper, count } = bucket;
        let (lower, upper, count) = (shortest(lower), shortest(upper), shortest(count));
        // A String takes everything.
        let _done = write!(text, ", {open}{lower},{upper}{close}:{count}");
    };
    for bucket in histogram.negative.iter().rev() {
        print('[', histogram.negative_bucket(*bucket), ')');
    }
    if histogram.zero_count != 0.0 {
        print('[', histogram.zero_bucket(), ']');
    }
    for bucket in &histogram.positive {
        let first = histogram.is_custom() && bucket.0 == 0;
        print(if first { '[' } else { '(' }, histogram.positive_bucket(*bucket), ']');
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
