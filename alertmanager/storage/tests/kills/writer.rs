//! The writer: appends, syncs, deletes, reads, moves windows into blocks, and tells each step.
//!
//! ```text
//! p PID            the first line
//! a STEP           samples of the step are appended, and its exemplar
//! s STEP           everything up to the step is on the disk
//! D WHAT FROM TO   steps of a series, or of all, are about to be deleted
//! d                they are
//! ```
//!
//! Invariant: a line is told behind what it tells of, but for `D`.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base::histogram::Histogram;
use base::labels::Labels;
use base::matcher::Matcher;
use base::sample::Timestamp;
use storage::{Beside, Exemplar, Options, Point, SeriesSamples, Storage};

/// Simulated time from one step to the next.
pub(crate) const STEP: i64 = 60_000;
const RETENTION: Duration = Duration::from_secs(8 * 3600);
/// How many steps are kept at least.
pub(crate) const KEPT: i64 = RETENTION.as_millis() as i64 / STEP;
/// A series for each kind of value, and one of histograms.
pub(crate) const FLOATS: usize = 4;
/// The series of which parts are deleted.
const GONE: usize = 3;
/// Stands for all series.
pub(crate) const ALL: usize = 9;
/// Each so many steps there is an exemplar; so many are kept.
pub(crate) const EXEMPLAR_STEPS: i64 = 5;
pub(crate) const EXEMPLARS: usize = 20;
/// Steps of a block.
const WINDOW: i64 = 120;

pub(crate) fn open(folder: &Path) -> Result<Storage, String> {
    // The head is written every few hundred steps.
    let options = Options {
        retention: RETENTION,
        checkpoint_bytes: 20_000,
        max_exemplars: EXEMPLARS,
        ..Options::default()
    };
    Storage::open(folder, options).map_err(|error| error.to_string())
}

/// What a float series has at a step.
pub(crate) fn value(series: usize, step: i64) -> f64 {
    match series {
        0 => step as f64,
        1 => (step * 7919 % 1009) as f64 / 8.0,
        2 => (step as f64).sqrt(),
        _ => 1.0,
    }
}

fn histogram(step: i64) -> Histogram {
    let count = step as f64;
    Histogram { count, sum: 2.0 * count, positive: vec![(1, count)], ..Histogram::default() }
}

fn labels(series: usize) -> Labels {
    Labels::from_pairs([("__name__", "x"), ("n", &series.to_string())])
}

fn at(step: i64) -> Timestamp {
    Timestamp::from_millis(step * STEP)
}

pub(crate) fn everything(storage: &Storage) -> Result<Vec<SeriesSamples>, String> {
    let matchers = [Matcher::equal("__name__", "x")];
    storage.select(&matchers, Timestamp::MIN, Timestamp::MAX).map_err(|error| error.to_string())
}

fn append(storage: &Storage, step: i64) {
    let timestamp = at(step);
    let mut points: Vec<_> = (0..FLOATS)
        .map(|n| Point {
            series: storage.series(&labels(n)).unwrap(),
            timestamp,
            value: value(n, step),
        })
        .collect();
    let series = storage.series(&labels(FLOATS)).unwrap();
    points.push(Point { series, timestamp, value: storage::histogram_value(0) });
    let histograms = &[Arc::new(histogram(step))];
    let appended = storage.append_with(&points, Beside { histograms, starts: &[] }).unwrap();
    assert_eq!(appended.stored, FLOATS + 1, "step {step}");
    append_exemplar(storage, step);
}

fn append_exemplar(storage: &Storage, step: i64) {
    if step % EXEMPLAR_STEPS == 0 {
        let trace = Labels::from_pairs([("trace_id", &*step.to_string())]);
        let exemplar = Exemplar { labels: trace, value: step as f64, timestamp: at(step) };
        assert_eq!(storage.append_exemplars([(labels(1), exemplar)]), 1);
    }
}

/// The steps of the exemplars that there are.
pub(crate) fn exemplars(storage: &Storage) -> Vec<i64> {
    let found = storage.exemplars(&[Vec::new()], Timestamp::MIN, Timestamp::MAX);
    let all = found.into_values().flatten();
    all.map(|exemplar| exemplar.labels.get("trace_id").unwrap().parse().unwrap()).collect()
}

/// Appends until it is killed.
pub(crate) fn write(folder: &Path) {
    let mut out = std::io::stdout().lock();
    let mut tell = move |line: String| out.write_all(line.as_bytes()).unwrap();
    tell(format!("p {}\n", std::process::id()));
    let storage = open(folder).unwrap();
    let newest = everything(&storage).unwrap().iter().filter_map(|s| s.times.last().copied()).max();
    let newest = newest.map_or(-1, |newest| newest / STEP);
    // A crash may have taken it without the sample.
    if newest >= 0 {
        append_exemplar(&storage, newest);
    }
    for step in newest + 1.. {
        append(&storage, step);
        tell(format!("a {step}\n"));
        if step % 7 == 0 {
            storage.sync().unwrap();
            tell(format!("s {step}\n"));
        }
        if step % 45 == 0 {
            storage.maintain(at(step)).unwrap();
            // Somebody reads the log, and is one segment behind.
            let segment = storage.log_end().map(|end| end.segment.saturating_sub(1));
            storage.keep_log_from(segment).unwrap();
        }
        let mut delete = |what: usize, from: i64, to: i64| {
            let matchers = match what {
                ALL => vec![Matcher::equal("__name__", "x")],
                n => vec![Matcher::equal("n", &n.to_string())],
            };
            tell(format!("D {what} {from} {to}\n"));
            storage.delete(&matchers, at(from), at(to)).unwrap();
            tell("d\n".to_owned());
        };
        if step % 63 == 62 && step > 200 {
            delete(GONE, step - 190, step - 170);
        }
        if step % 77 == 76 {
            delete(GONE, step - 30, step - 10);
        }
        // A whole block goes.
        if step % 400 == 399 {
            let window = (step - 200) / WINDOW;
            delete(ALL, window * WINDOW, window * WINDOW + WINDOW - 1);
        }
        if step % 100 == 0 {
            let read = everything(&storage).unwrap();
            assert!(read.iter().all(|series| series.times.last() == Some(&(step * STEP))));
        }
    }
}
