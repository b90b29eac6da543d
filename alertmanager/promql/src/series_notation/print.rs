//! How a native histogram is written in the notation of series.
//!
//! Invariant: equal histograms print the same, and what is printed is read as the same histogram
//! unless it has more than a thousand empty buckets in a row.

use base::histogram::{Histogram, Reset};
use base::number::shortest;

/// `{{schema:1 count:3 sum:2.5 z_bucket:1 z_bucket_w:0.1 buckets:[2]}}`; what is zero is left out.
pub fn print_histogram(histogram: &Histogram) -> String {
    let mut parts = Vec::new();
    let mut number = |name: &str, value: f64| {
        if value != 0.0 {
            parts.push(format!("{name}:{}", shortest(value)));
        }
    };
    number("schema", f64::from(histogram.schema));
    number("count", histogram.count);
    number("sum", histogram.sum);
    number("z_bucket", histogram.zero_count);
    number("z_bucket_w", histogram.zero_threshold);
    let list = |name: &str, values: &[f64]| {
        let values: Vec<_> = values.iter().map(|value| shortest(*value)).collect();
        format!("{name}:[{}]", values.join(" "))
    };
    if !histogram.bounds.is_empty() {
        parts.push(list("custom_values", &histogram.bounds));
    }
    match histogram.reset {
        Reset::Unknown => {}
        Reset::Reset => parts.push("counter_reset_hint:reset".to_owned()),
        Reset::NotReset => parts.push("counter_reset_hint:not_reset".to_owned()),
        Reset::Gauge => parts.push("counter_reset_hint:gauge".to_owned()),
    }
    let sides = [
        ("offset", "buckets", &histogram.positive),
        ("n_offset", "n_buckets", &histogram.negative),
    ];
    for (offset, name, buckets) in sides {
        let Some((first, _)) = buckets.first() else { continue };
        if *first != 0 {
            parts.push(format!("{offset}:{first}"));
        }
        let (mut next, mut counts) = (*first, Vec::new());
        for (index, count) in buckets {
            // A gap as wide as it may be in a histogram would be millions of zeros: it is cut.
            let gap = usize::try_from(index.saturating_sub(next)).unwrap_or(0).min(1000);
            counts.resize(counts.len() + gap, 0.0);
            counts.push(*count);
            next = index.saturating_add(1);
        }
        parts.push(list(name, &counts));
    }
    format!("{{{{{}}}}}", parts.join(" "))
}

#[cfg(test)]
mod tests {
    use super::super::{Point, parse_points};
    use super::*;

    #[test]
    fn what_is_printed_is_read_as_the_same() {
        let check = |text: &str| {
            let points = parse_points(text).unwrap();
            let [Point::Histogram(point)] = points.as_slice() else { panic!("{points:?}") };
            assert_eq!(print_histogram(&point.value().unwrap()), text);
        };
        check("{{}}");
        check(
            "{{schema:1 count:32.1 sum:-0.3 z_bucket:7.1 z_bucket_w:0.05 offset:-3 buckets:[5.1 0 7] n_offset:-5 n_buckets:[4.1 5]}}",
        );
        check("{{schema:-53 count:3 sum:5 custom_values:[5 10] buckets:[1 2]}}");
        check("{{count:4 sum:5.6 counter_reset_hint:not_reset buckets:[4]}}");
        check("{{count:4 sum:NaN counter_reset_hint:gauge buckets:[4]}}");
    }
}
