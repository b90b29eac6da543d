//! Compares an answer with what a script expects.

use std::collections::BTreeMap;

use base::labels::Labels;
use base::sample::{Sample, is_stale};
use promql::series_notation::Point;
use promql::{Output, Series, Severity, Value};

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

fn float(point: &Point) -> Result<Option<f64>, String> {
    match point {
        Point::Gap => Ok(None),
        Point::Float(value) => Ok(Some(*value)),
        Point::Histogram(_) => Err("native histograms are not supported yet".to_owned()),
    }
}

/// The value of each expected series at one time.
fn expected_vector(expect: &Expect) -> Result<Vec<(Labels, f64)>, String> {
    let mut expected = Vec::new();
    for (labels, points) in &expect.series {
        let [point] = points.as_slice() else { return Err("not one value".to_owned()) };
        let value = float(point)?.ok_or("a gap is expected")?;
        expected.push((labels.clone(), value));
    }
    Ok(expected)
}

/// Whether an instant query came to what is expected.
pub(crate) fn instant(expect: &Expect, value: &Value) -> Result<(), String> {
    match value {
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
            let got: Vec<_> = got.iter().map(|(l, s)| (l.clone(), s.value)).collect();
            vectors(expect, got)
        }
        Value::Matrix(got) => {
            let Some(steps) = expect.range_vector else { return Err("a range vector".to_owned()) };
            series(expect, got, steps)
        }
    }
}

fn vectors(expect: &Expect, mut got: Vec<(Labels, f64)>) -> Result<(), String> {
    let mut expected = expected_vector(expect)?;
    if !expect.ordered {
        got.sort_by(|a, b| a.0.cmp(&b.0));
        expected.sort_by(|a, b| a.0.cmp(&b.0));
    }
    let equal = |(a, b): (&(Labels, f64), &(Labels, f64))| a.0 == b.0 && same(a.1, b.1);
    if got.len() == expected.len() && got.iter().zip(&expected).all(equal) {
        Ok(())
    } else {
        Err(format!("{got:?}, not {expected:?}"))
    }
}

/// Whether a range query came to what is expected.
pub(crate) fn matrix(
    expect: &Expect,
    value: &Value,
    steps: (Millis, Millis, Millis),
) -> Result<(), String> {
    match value {
        Value::Matrix(got) => series(expect, got, steps),
        other => Err(format!("no matrix but {other:?}")),
    }
}

fn series(
    expect: &Expect,
    got: &[Series],
    (start, end, step): (Millis, Millis, Millis),
) -> Result<(), String> {
    let mut expected: BTreeMap<&Labels, Vec<(Millis, f64)>> = BTreeMap::new();
    for (labels, points) in &expect.series {
        let mut samples = Vec::new();
        for (n, point) in points.iter().enumerate() {
            let time = start + n as i64 * step;
            if time > end {
                return Err(format!("more values than steps are expected of {labels}"));
            }
            samples.extend(float(point)?.map(|value| (time, value)));
        }
        if expected.insert(labels, samples).is_some() {
            return Err(format!("{labels} is expected twice"));
        }
    }
    let got: BTreeMap<_, _> = got.iter().map(|s| (&s.labels, s.samples.as_slice())).collect();
    let equal = |labels: &Labels, samples: &[(Millis, f64)]| {
        let got: &[Sample] = got.get(labels).copied().unwrap_or_default();
        let mut pairs = got.iter().zip(samples);
        let equal =
            |(s, e): (&Sample, &(Millis, f64))| s.timestamp.millis() == e.0 && same(s.value, e.1);
        got.len() == samples.len() && pairs.all(equal)
    };
    if got.len() == expected.len() && expected.iter().all(|(l, samples)| equal(l, samples)) {
        Ok(())
    } else {
        Err(format!("{got:?}, not {expected:?}"))
    }
}

/// Whether the step at `time` of a range query has what is expected of an instant query.
pub(crate) fn middle(expect: &Expect, value: &Value, time: Millis) -> Result<(), String> {
    let Value::Matrix(got) = value else { return Err(format!("no matrix but {value:?}")) };
    let at = |s: &Series| {
        let sample = s.samples.iter().find(|sample| sample.timestamp.millis() == time)?;
        Some((s.labels.clone(), sample.value))
    };
    let got: Vec<_> = got.iter().filter_map(at).collect();
    if let Some(expected) = expect.scalar {
        return match got.as_slice() {
            [(labels, value)] if labels.is_empty() && same(*value, expected) => Ok(()),
            _ => Err(format!("{got:?}, not {expected}")),
        };
    }
    let unordered = Expect { series: expect.series.clone(), ..Expect::default() };
    vectors(&unordered, got)
}
