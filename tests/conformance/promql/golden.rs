//! Range queries over recorded data, with the answers of Prometheus.

use std::collections::BTreeMap;
use std::time::Duration;

use base::exposition::{Entry, Format, ParseError, Parser};
use base::labels::Labels;
use base::number;
use base::sample::Timestamp;
use promql::{Options, Query, Range, Value, evaluate};
use serde_json::Value as Json;
use storage::{Point, Storage};

use crate::report::Report;

pub(crate) fn run(report: &mut Report) {
    let storage = load(&report.text("promql-golden/data.om.txt"));
    let table: Json = serde_json::from_str(&report.text("promql-golden/queries.json")).unwrap();
    let seconds = |name: &str| table[name].as_i64().unwrap() * 1000;
    let times = (seconds("start"), seconds("end"), seconds("step"));
    report.table("promql-golden/queries.json", |case| ask(&storage, case, times));
}

fn load(text: &str) -> Storage {
    let storage = Storage::in_memory(storage::Options::default());
    let mut points = Vec::new();
    let mut parser = Parser::new(Format::OpenMetrics, usize::MAX);
    let mut entry = |entry: Entry<'_>| -> Result<(), ParseError> {
        if let Entry::Sample(sample) = entry {
            let series = storage.series(&sample.labels()?).unwrap();
            let timestamp = sample.timestamp.unwrap();
            points.push(Point { series, timestamp, value: sample.value });
        }
        Ok(())
    };
    parser.feed(text.as_bytes(), &mut entry).unwrap();
    parser.finish(&mut entry).unwrap();
    points.sort_by_key(|point| point.timestamp);
    let appended = storage.append(&points).unwrap();
    assert_eq!(appended.stored, points.len());
    storage
}

type Answer = BTreeMap<Labels, Vec<(i64, f64)>>;

fn ask(storage: &Storage, case: &Json, (start, end, step): (i64, i64, i64)) -> Result<(), String> {
    let at = Timestamp::from_millis;
    let range = Range::new(at(start), at(end), Duration::from_millis(step as u64));
    let text = case["query"].as_str().unwrap();
    let output = Query::new(text)
        .map_err(|error| error.to_string())
        .and_then(|q| evaluate(&q, storage, range, &Options::default()).map_err(|e| e.to_string()));
    let Some(expected) = case["range"].as_array() else {
        return match output {
            Ok(_) => Err("an answer, where Prometheus has none".to_owned()),
            Err(_) => Ok(()),
        };
    };
    let expected: Answer = expected.iter().map(|series| recorded(series, start, step)).collect();
    let Value::Matrix(got) = output?.value else { return Err("no matrix".to_owned()) };
    let got: Answer = got
        .into_iter()
        .map(|s| {
            let samples = s.samples.iter().map(|s| (s.timestamp.millis(), s.value)).collect();
            (s.labels, samples)
        })
        .collect();
    let near = |a: f64, b: f64| {
        a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= 1e-6 * a.abs().max(b.abs())
    };
    let equal = |a: &[(i64, f64)], b: &[(i64, f64)]| {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && near(a.1, b.1))
    };
    let mut pairs = got.iter().zip(&expected);
    if got.len() == expected.len() && pairs.all(|(a, b)| a.0 == b.0 && equal(a.1, b.1)) {
        Ok(())
    } else {
        Err(format!("{got:?}, not {expected:?} ({text})"))
    }
}

fn recorded(series: &Json, start: i64, step: i64) -> (Labels, Vec<(i64, f64)>) {
    let labels = series["metric"].as_object().unwrap();
    let labels = labels.iter().map(|(name, value)| (name, value.as_str().unwrap())).collect();
    let value = |value: &Json| number::parse(value.as_str().unwrap()).unwrap();
    let samples = series["values"].as_array().unwrap().iter().enumerate().map(|(n, entry)| {
        match entry.as_array() {
            Some(pair) => ((pair[0].as_f64().unwrap() * 1000.0) as i64, value(&pair[1])),
            None => (start + n as i64 * step, value(entry)),
        }
    });
    (labels, samples.collect())
}
