//! Compares an answer with what a script expects.

use std::collections::BTreeMap;

use base::histogram::{Buckets, Histogram};
use base::labels::Labels;
use base::sample::is_stale;
use promql::series_notation::Point;
use promql::{Histograms, Output, Series, Severity, Value};

use super::script::{Expect, Millis, Text};

/// Whether the failure is one of those expected.
pub(crate) fn failure(expect: &Expect, message: &str) -> Result<(), String> {
    let texts = expect.fail.as_deref().unwrap_or_default();
    if texts.iter().all(|text| text.fits(message)) {
        Ok(())
    } else {
        Err(format!("failed with another message: {message}"))
    }
}

/// Whether the annotations are those expected.
pub(crate) fn annotations(expect: &Expect, output: &Output) -> Result<(), String> {
    for (severity, expected, none) in [
        (Severity::Warning, &expect.warn, expect.no_warn),
        (Severity::Info, &expect.info, expect.no_info),
    ] {
        let got: Vec<_> = output
            .annotations
            .iter()
            .filter(|annotation| annotation.severity == severity)
            .map(ToString::to_string)
            .collect();
        let fits = |text: &Text| got.iter().any(|message| text.fits(message));
        if none && !got.is_empty() {
            return Err(format!("unexpected {got:?}"));
        }
        if !expected.iter().all(fits) {
            return Err(format!("an annotation is missing among {got:?}"));
        }
        let covered = |message: &String| expected.iter().any(|text| text.fits(message));
        if !expected.is_empty() && !got.iter().all(covered) {
            return Err(format!("an annotation too many among {got:?}"));
        }
    }
    Ok(())
}

/// The rule of `FORMAT.md`.
pub(crate) fn same(a: f64, b: f64) -> bool {
    if is_stale(a) || is_stale(b) {
        return is_stale(a) && is_stale(b);
    }
    a == b || a.is_nan() && b.is_nan() || (a - b).abs() < 1e-6 * (a.abs() + b.abs())
}

/// A value, got or expected.
#[derive(Clone, Debug)]
enum Cell {
    Float(f64),
    /// And whether the hint about counter resets counts.
    Native(Histogram, bool),
}

impl Cell {
    fn got(value: f64, histograms: &Histograms) -> Self {
        match histograms.get(value) {
            Some(histogram) => Self::Native((**histogram).clone(), true),
            None => Self::Float(value),
        }
    }

    fn expected(point: &Point) -> Result<Option<Self>, String> {
        Ok(match point {
            Point::Gap => None,
            Point::Float(value) => Some(Self::Float(*value)),
            Point::Histogram(point) => {
                let histogram = point.value().ok_or("a histogram that cannot be")?;
                Some(Self::Native(histogram, point.says_reset()))
            }
        })
    }
}

fn same_cell(got: &Cell, expected: &Cell) -> bool {
    match (got, expected) {
        (Cell::Float(a), Cell::Float(b)) => same(*a, *b),
        (Cell::Native(a, _), Cell::Native(b, hint)) => {
            same_histogram(a, b) && (!hint || a.reset == b.reset)
        }
        _ => false,
    }
}

fn same_histogram(a: &Histogram, b: &Histogram) -> bool {
    let sides = |a: &Buckets, b: &Buckets| {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && same(a.1, b.1))
    };
    a.schema == b.schema
        && a.zero_threshold == b.zero_threshold
        && a.bounds == b.bounds
        && same(a.zero_count, b.zero_count)
        && same(a.count, b.count)
        && same(a.sum, b.sum)
        && sides(&a.positive, &b.positive)
        && sides(&a.negative, &b.negative)
}

/// The value of each expected series at one time.
fn expected_vector(expect: &Expect) -> Result<Vec<(Labels, Cell)>, String> {
    let mut expected = Vec::new();
    for (labels, points) in &expect.series {
        let [point] = points.as_slice() else { return Err("not one value".to_owned()) };
        let value = Cell::expected(point)?.ok_or("a gap is expected")?;
        expected.push((labels.clone(), value));
    }
    Ok(expected)
}

/// Whether an instant query came to what is expected.
pub(crate) fn instant(expect: &Expect, output: &Output) -> Result<(), String> {
    let histograms = &output.histograms;
    match &output.value {
        Value::String(text) => match &expect.string {
            Some(expected) if expected == text => Ok(()),
            other => Err(format!("the string {text:?}, not {other:?}")),
        },
        Value::Scalar(sample) => match expect.scalar {
            Some(expected) if same(sample.value, expected) => Ok(()),
            other => Err(format!("the number {}, not {other:?}", sample.value)),
        },
        Value::Vector(got) => {
            if expect.scalar.is_some() || expect.string.is_some() {
                return Err("a vector".to_owned());
            }
            let cell = |value| Cell::got(value, histograms);
            let got: Vec<_> = got.iter().map(|(l, s)| (l.clone(), cell(s.value))).collect();
            vectors(expect, got)
        }
        Value::Matrix(got) => {
            let Some(steps) = expect.range_vector else { return Err("a range vector".to_owned()) };
            series(expect, got, histograms, steps)
        }
    }
}

fn vectors(expect: &Expect, mut got: Vec<(Labels, Cell)>) -> Result<(), String> {
    let mut expected = expected_vector(expect)?;
    if !expect.ordered {
        got.sort_by(|a, b| a.0.cmp(&b.0));
        expected.sort_by(|a, b| a.0.cmp(&b.0));
    }
    let equal = |(a, b): (&(Labels, Cell), &(Labels, Cell))| a.0 == b.0 && same_cell(&a.1, &b.1);
    if got.len() == expected.len() && got.iter().zip(&expected).all(equal) {
        Ok(())
    } else {
        Err(format!("{got:?}, not {expected:?}"))
    }
}

/// Whether a range query came to what is expected.
pub(crate) fn matrix(
    expect: &Expect,
    output: &Output,
    steps: (Millis, Millis, Millis),
) -> Result<(), String> {
    match &output.value {
        Value::Matrix(got) => series(expect, got, &output.histograms, steps),
        other => Err(format!("no matrix but {other:?}")),
    }
}

fn series(
    expect: &Expect,
    got: &[Series],
    histograms: &Histograms,
    (start, end, step): (Millis, Millis, Millis),
) -> Result<(), String> {
    let mut expected: BTreeMap<&Labels, Vec<(Millis, Cell)>> = BTreeMap::new();
    for (labels, points) in &expect.series {
        let mut samples = Vec::new();
        for (n, point) in points.iter().enumerate() {
            let time = start + n as i64 * step;
            if time > end {
                return Err(format!("more values than steps are expected of {labels}"));
            }
            samples.extend(Cell::expected(point)?.map(|value| (time, value)));
        }
        if expected.insert(labels, samples).is_some() {
            return Err(format!("{labels} is expected twice"));
        }
    }
    let cells = |series: &Series| -> Vec<(Millis, Cell)> {
        let samples = series.samples.iter();
        samples.map(|s| (s.timestamp.millis(), Cell::got(s.value, histograms))).collect()
    };
    let got: BTreeMap<_, _> = got.iter().map(|s| (&s.labels, cells(s))).collect();
    let equal = |labels: &Labels, samples: &[(Millis, Cell)]| {
        let got = got.get(labels).map(Vec::as_slice).unwrap_or_default();
        let mut pairs = got.iter().zip(samples);
        got.len() == samples.len() && pairs.all(|(a, b)| a.0 == b.0 && same_cell(&a.1, &b.1))
    };
    if got.len() == expected.len() && expected.iter().all(|(l, samples)| equal(l, samples)) {
        Ok(())
    } else {
        Err(format!("{got:?}, not {expected:?}"))
    }
}

/// Whether the step at `time` of a range query has what is expected of an instant query.
pub(crate) fn middle(expect: &Expect, output: &Output, time: Millis) -> Result<(), String> {
    let Value::Matrix(got) = &output.value else {
        return Err(format!("no matrix but {:?}", output.value));
    };
    let at = |s: &Series| {
        let sample = s.samples.iter().find(|sample| sample.timestamp.millis() == time)?;
        Some((s.labels.clone(), Cell::got(sample.value, &output.histograms)))
    };
    let got: Vec<_> = got.iter().filter_map(at).collect();
    if let Some(expected) = expect.scalar {
        return match got.as_slice() {
            [(labels, Cell::Float(value))] if labels.is_empty() && same(*value, expected) => Ok(()),
            _ => Err(format!("{got:?}, not {expected}")),
        };
    }
    let unordered = Expect { series: expect.series.clone(), ..Expect::default() };
    vectors(&unordered, got)
}
