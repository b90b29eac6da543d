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
            if let Written::Float(value) = *written {
                storage.append(&[Point { series, timestamp, value }]).unwrap();
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
