//! Native histograms in answers, as Prometheus writes them.
//!
//! Invariant: buckets come from the lowest to the highest, and empty ones do not.

use base::histogram::{Bucket, Histogram};
use base::number;

/// `{"count":"3","sum":"2.5","buckets":[[0,"0.5","1","3"]]}`, each bucket with the number of the rule
/// for its bounds, the bounds, and how many observations it holds.
pub(super) fn write_histogram(out: &mut String, histogram: &Histogram) {
    let (count, sum) = (number::plain(histogram.count), number::plain(histogram.sum));
    out.push_str(&format!("{{\"count\":\"{count}\",\"sum\":\"{sum}\""));
    let mut before = ",\"buckets\":[";
    for (closed, Bucket { lower, upper, count }) in histogram.shown_buckets() {
        let [lower, upper, count] = [lower, upper, count].map(number::plain);
        let rule = closed as u8;
        out.push_str(&format!("{before}[{rule},\"{lower}\",\"{upper}\",\"{count}\"]"));
        before = ",";
    }
    out.push_str(if before == "," { "]}" } else { "}" });
}

#[cfg(test)]
mod tests {
    use base::histogram::CUSTOM;

    use super::*;

    #[test]
    fn writes_histograms_as_prometheus_does() {
        let check = |histogram: &Histogram, expected: &str| {
            let mut out = String::new();
            write_histogram(&mut out, histogram);
            assert_eq!(out, expected);
        };
        let histogram = Histogram {
            count: 7.0,
            sum: 2.5,
            zero_threshold: 0.1,
            zero_count: 1.0,
            positive: vec![(0, 2.0)],
            negative: vec![(1, 4.0)],
            ..Histogram::default()
        };
        check(
            &histogram,
            "{\"count\":\"7\",\"sum\":\"2.5\",\"buckets\":[[1,\"-2\",\"-1\",\"4\"],\
             [3,\"-0.1\",\"0.1\",\"1\"],[0,\"0.5\",\"1\",\"2\"]]}",
        );
        let custom = Histogram {
            schema: CUSTOM,
            count: 3.0,
            positive: vec![(0, 1.0), (1, 2.0)],
            bounds: [0.5].into(),
            ..Histogram::default()
        };
        check(
            &custom,
            "{\"count\":\"3\",\"sum\":\"0\",\"buckets\":[[3,\"-Inf\",\"0.5\",\"1\"],\
             [0,\"0.5\",\"+Inf\",\"2\"]]}",
        );
        check(&Histogram::default(), "{\"count\":\"0\",\"sum\":\"0\"}");
    }
}
