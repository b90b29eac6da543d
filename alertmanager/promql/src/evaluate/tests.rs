//! Whole queries over series in their notation, an answer a line.
//!
//! Invariant: what the conformance data cover is not repeated here; these are the limits, and what
//! is ours.

use std::time::Duration;

use base::sample::{Timestamp, is_stale};
use storage::{Point, Storage};

use crate::series_notation::{Point as Written, parse_series};
use crate::{EvalError, Options, Query, Range, Session, Value, evaluate};

/// Series with a sample every ten seconds.
fn storage(lines: &[&str]) -> Storage {
    let storage = Storage::in_memory(storage::Options::default());
    for line in lines {
        let line = parse_series(line).unwrap();
        let series = storage.series(&line.labels).unwrap();
        for (n, written) in line.points.iter().enumerate() {
            let timestamp = Timestamp::from_millis(n as i64 * 10_000);
            match written {
                Written::Gap => {}
                Written::Float(value) => {
                    storage.append(&[Point { series, timestamp, value: *value }]).unwrap();
                }
                Written::Histogram(point) => {
                    let histogram = point.value().unwrap();
                    storage.append_histogram(series, timestamp, histogram).unwrap();
                }
            }
        }
    }
    storage
}

fn print(value: &Value) -> String {
    match value {
        Value::Scalar(sample) => sample.value.to_string(),
        Value::String(text) => text.clone(),
        Value::Vector(series) => {
            let one = |(labels, sample): &(base::labels::Labels, base::sample::Sample)| {
                format!("{labels} {}", sample.value)
            };
            series.iter().map(one).collect::<Vec<_>>().join("; ")
        }
        Value::Matrix(series) => {
            let one = |series: &crate::Series| {
                let samples = series.samples.iter();
                let samples: Vec<_> = samples
                    .map(|s| {
                        assert!(!is_stale(s.value));
                        format!("{}@{}", s.value, s.timestamp.millis() / 1000)
                    })
                    .collect();
                format!("{} {}", series.labels, samples.join(" "))
            };
            series.iter().map(one).collect::<Vec<_>>().join("; ")
        }
    }
}

/// What `query` comes to at every 20 seconds from 40 to 80.
#[track_caller]
fn check(lines: &[&str], query: &str, expected: &str) {
    let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
    let range = Range::new(at(40), at(80), Duration::from_secs(20));
    let query = Query::new(query).unwrap();
    let output = evaluate(&query, &storage(lines), range, &Options::default()).unwrap();
    assert_eq!(print(&output.value), expected, "{query}");
}

#[test]
fn a_series_that_ended_for_any_reason_has_no_value() {
    check(&["x 0 1 2 3 4 5 stale _ 8"], "x", "x 4@40 8@80");
    check(&["x 0 1 2 3 4 5 stale _ 8"], "sum_over_time(x[30s])", "{} 9@40 9@60 8@80");
}

#[test]
fn a_range_that_is_read_twice_is_read_once_and_wide_enough() {
    let both = "rate(x_total[20s]) + on () rate(x_total[40s])";
    check(&["x_total 0+10x9"], both, "{} 2@40 2@60 2@80");
    check(&["x_total 0+10x9"], "x_total - x_total offset 20s", "{} 20@40 20@60 20@80");
}

#[test]
fn queries_of_a_session_share_what_they_read_and_see_what_is_appended() {
    let storage = storage(&["x_total 0+10x9", "y_total 0+10x9"]);
    let queries = ["sum(x_total)", "rate(x_total[30s])", "x_total + y_total", "sum(x_total)"]
        .map(|text| Query::new(text).unwrap());
    let options = Options::default();
    let range = Range::instant(Timestamp::from_millis(90_000));
    let session = Session::new(&storage, &queries, range, &options);
    let value = |n: usize| print(&session.evaluate(&queries[n]).unwrap().value);
    assert_eq!(value(0), "{} 90");
    assert_eq!(value(1), "{} 1");
    let labels = parse_series("x_total").unwrap().labels;
    let series = storage.series(&labels).unwrap();
    let timestamp = Timestamp::from_millis(90_001);
    storage.append(&[Point { series, timestamp, value: 700.0 }]).unwrap();
    session.appended(&labels);
    assert_eq!(value(2), "{} 180", "it is later than the query");
    assert_eq!(value(3), "{} 90");
    assert_eq!(value(3), "{} 90", "once more than announced");
}

#[test]
fn a_label_of_values_goes_where_groups_are_without_it() {
    let lines = ["x{a=\"1\"} 7 7 7 7 7 7 7 7 7", "x{a=\"2\"} 8 8 8 8 8 8 8 8 8"];
    let by_value = "{v=\"7\"} 1@40 1@60 1@80; {v=\"8\"} 1@40 1@60 1@80";
    check(&lines, "count_values without (a) (\"v\", x)", by_value);
    check(&lines, "count_values without (a, v) (\"v\", x)", "{} 2@40 2@60 2@80");
    check(&lines, "count_values by (v) (\"v\", x)", by_value);
}

#[test]
fn a_factor_that_is_none_matters_where_there_are_samples() {
    let smoothing = |series: &str| format!("double_exponential_smoothing({series}[1m], 1, 0.5)");
    check(&["x 0+1x9"], &smoothing("y"), "");
    let fault = fails(&smoothing("x"), &Options::default());
    let expected = "invalid smoothing factor. Expected: 0 < sf < 1, got: 1.000000";
    assert_eq!(fault.to_string(), expected);
}

/// How the evaluation of `query` over two series of ten samples ends.
fn fails(query: &str, options: &Options<'_>) -> EvalError {
    let storage = storage(&["x{a=\"1\"} 0+1x9", "x{a=\"2\"} 0+1x9"]);
    let range = Range::instant(Timestamp::from_millis(80_000));
    evaluate(&Query::new(query).unwrap(), &storage, range, options).unwrap_err()
}

#[test]
fn a_query_ends_at_its_limit_or_when_asked_to() {
    let few = Options { max_samples: 15, ..Options::default() };
    let twice = "rate(x[2m]) > rate(x[2m])";
    assert!(matches!(fails(twice, &few), EvalError::TooManySamples(15)));
    assert!(matches!(fails("vector(1)[1y:1ms]", &few), EvalError::TooManySamples(15)));
    let stopped = Options { cancelled: &|| true, ..Options::default() };
    assert!(matches!(fails("x", &stopped), EvalError::Cancelled));
}

#[test]
fn histograms_and_floats_live_side_by_side() {
    let lines = [
        "h{a=\"1\"} {{count:2 sum:4 buckets:[2]}}+{{count:2 sum:4 buckets:[2]}}x9",
        "h{a=\"2\"} 0+1x9",
    ];
    check(&lines, "histogram_count(h)", "{a=\"1\"} 10@40 14@60 18@80");
    check(&lines, "h + 1", "{a=\"2\"} 5@40 7@60 9@80");
    check(&lines, "count(h)", "{} 2@40 2@60 2@80");
    check(&lines, "max(h)", "{} 4@40 6@60 8@80");
    check(&lines, "histogram_sum(rate(h[20s]))", "{a=\"1\"} 0.4@40 0.4@60 0.4@80");
    check(&lines, "scalar(h)", "{} 4@40 6@60 8@80");
}

#[test]
fn a_tag_that_stands_for_nothing_is_no_value() {
    let storage = storage(&["h {{count:1}}"]);
    let series = storage.series(&parse_series("y").unwrap().labels).unwrap();
    for (n, table) in (1..8).enumerate() {
        let timestamp = Timestamp::from_millis(n as i64 * 10_000);
        let value = base::histogram::Tag { table, place: 77 }.value();
        storage.append(&[Point { series, timestamp, value }]).unwrap();
    }
    let queries = [
        "histogram_count(y)",
        "histogram_quantile(0.5, y)",
        "rate(y[1m])",
        "sum(y)",
        "-y",
        "y == y",
        "sum_over_time(y[1m])",
        "resets(y[1m])",
        "increase(y[1m] smoothed)",
    ];
    for query in queries {
        let range = Range::instant(Timestamp::from_millis(60_000));
        let output = evaluate(&Query::new(query).unwrap(), &storage, range, &Options::default());
        assert!(output.is_ok(), "{query}: {output:?}");
    }
}

#[test]
fn histograms_that_are_made_count_towards_the_limit() {
    let storage = storage(&["h {{count:9 buckets:[1 2 3]}}x9"]);
    let few = Options { max_samples: 60, ..Options::default() };
    let range = Range::new(Timestamp::from_millis(0), Timestamp::from_millis(90_000), STEP);
    let result = evaluate(&Query::new("h * 2 * 2 * 2").unwrap(), &storage, range, &few);
    assert!(matches!(result, Err(EvalError::TooManySamples(60))), "{result:?}");
}

const STEP: Duration = Duration::from_secs(10);

#[test]
fn a_missing_side_counts_as_what_it_is_filled_with() {
    let ends = "a{x=\"2\"} 2x5 stale";
    let lines = ["a{x=\"1\"} 1x9", ends, "b{x=\"2\"} 20x9", "b{x=\"3\"} 30x9"];
    check(
        &lines,
        "a - fill(0) b",
        "{x=\"1\"} 1@40 1@60 1@80; {x=\"2\"} -18@40 -20@60 -20@80; {x=\"3\"} -30@40 -30@60 -30@80",
    );
    check(&lines, "a - fill_right(0) b", "{x=\"1\"} 1@40 1@60 1@80; {x=\"2\"} -18@40");
}

#[test]
fn a_ratio_and_its_complement_choose_all_series_once() {
    let lines: Vec<_> = (0..40).map(|n| format!("x{{n=\"{n}\"}} 1x9")).collect();
    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
    let both = "count(limit_ratio(0.3, x) or limit_ratio(-0.7, x))";
    check(&lines, both, "{} 40@40 40@60 40@80");
    check(&lines, "limit_ratio(0.3, x) and limit_ratio(-0.7, x)", "");
    check(&lines, "count(limitk(7, x))", "{} 7@40 7@60 7@80");
}

#[test]
fn lengths_and_numbers_may_depend_on_the_query() {
    check(&["x 0+1x9"], "count_over_time(x[step()])", "{} 2@40 2@60 2@80");
    check(&["x 0+1x9"], "x offset (range() / 2)", "x 2@40 4@60 6@80");
    check(&["x 0+1x9"], "x + start() + end() + step() + range()", "{} 184@40 186@60 188@80");
    check(&["x 0+1x9"], "max_of(2, min_of(time(), 50))", "{} 40@40 50@60 50@80");
}

#[test]
fn info_adds_labels_of_the_newest_series() {
    let lines = [
        "up{job=\"a\", instance=\"i\"} 1x9",
        "target_info{job=\"a\", instance=\"i\", v=\"1\"} 1x5 stale",
        "target_info{job=\"a\", instance=\"i\", v=\"2\"} _x6 1x3",
    ];
    let expected = "up{instance=\"i\", job=\"a\", v=\"1\"} 1@40; \
                    up{instance=\"i\", job=\"a\", v=\"2\"} 1@60 1@80";
    check(&lines, "info(up)", expected);
    check(&lines, "info(up, {w=~\".+\"})", "");
}

#[test]
fn series_that_are_found_on_the_disk_count_towards_the_limit_x26() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::open(folder.path(), storage::Options::default()).unwrap();
    let at = |hours: i64| Timestamp::from_millis(hours * 3_600_000);
    for hours in [0, 9] {
        let point = |n: i32| {
            let labels =
                base::labels::Labels::from_pairs([("__name__", "x"), ("n", &n.to_string())]);
            Point { series: storage.series(&labels).unwrap(), timestamp: at(hours), value: 1.0 }
        };
        let points: Vec<_> = (0..1000).map(point).collect();
        storage.append(&points).unwrap();
    }
    storage.maintain(at(9)).unwrap();
    assert!(storage.stats().blocks > 0);
    for (text, edge) in [("count(x)", 16_000), ("count(last_over_time(x[1m]))", 16_000)] {
        let count = |max_samples| {
            let options = Options { max_samples, ..Options::default() };
            evaluate(&Query::new(text).unwrap(), &storage, Range::instant(at(0)), &options)
        };
        let refused = count(edge);
        assert!(matches!(refused, Err(EvalError::TooManySamples(_))), "{text}: {refused:?}");
        assert_eq!(print(&count(edge + 10_000).unwrap().value), "{} 1000", "{text}");
    }
}
