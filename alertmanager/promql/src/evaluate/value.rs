//! Answers.
//!
//! Invariant: series with steps come sorted by labels; those of an instant query come in the order
//! that the query gives them.

use base::labels::Labels;
use base::sample::{Sample, Timestamp};

use super::Range;
use super::bounds::Windows;
use super::scalar::Column;
use super::table::{Table, is_absent};
use super::window::Input;
use super::{Context, EvalError, Histograms};
use crate::annotation::Annotation;

/// The answer to a query. A value in it may stand for a native histogram: ask [`Histograms::get`].
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// What was asked for.
    pub value: Value,
    /// What it has to be taken with.
    pub annotations: Vec<Annotation>,
    /// The native histograms among the values.
    pub histograms: Histograms,
}

/// What a query can come to.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number at a time, of an instant query.
    Scalar(Sample),
    /// A sample of each series, all at the time of the instant query.
    Vector(Vec<(Labels, Sample)>),
    /// Samples of series: every query with steps, and a range vector of an instant query.
    Matrix(Vec<Series>),
    /// A text, of an instant query.
    String(String),
}

/// A series with its samples in the order of time, at least one.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its labels.
    pub labels: Labels,
    /// Its samples.
    pub samples: Vec<Sample>,
}

fn sample(millis: i64, value: f64) -> Sample {
    Sample { timestamp: Timestamp::from_millis(millis), value }
}

pub(crate) fn of_scalar(column: &Column, range: Range) -> Value {
    let steps = range.steps();
    if range.is_instant() {
        return Value::Scalar(sample(steps.first(), column.at(0)));
    }
    let samples: Vec<_> =
        (0..steps.count).map(|step| sample(steps.time(step), column.at(step))).collect();
    let series = Series { labels: Labels::empty(), samples };
    Value::Matrix(if series.samples.is_empty() { Vec::new() } else { vec![series] })
}

pub(crate) fn of_table(context: &Context<'_>, table: &Table, range: Range) -> (Value, Histograms) {
    let (steps, mut histograms) = (range.steps(), Histograms::default());
    let mut sample = |time, cell| sample(time, histograms.adopt(context, cell));
    if range.is_instant() {
        let one =
            |row: usize| (table.key(row).to_labels(), sample(steps.first(), table.row(row)[0]));
        let vector = (0..table.len()).map(one).collect();
        return (Value::Vector(vector), histograms);
    }
    let series = |row: usize| {
        let cells = table.row(row);
        let is_present = |cell: &f64| !is_absent(*cell);
        let mut samples = Vec::with_capacity(cells.iter().copied().filter(is_present).count());
        let present = cells.iter().enumerate().filter(|(_, cell)| is_present(cell));
        samples.extend(present.map(|(step, cell)| sample(steps.time(step), *cell)));
        Series { labels: table.key(row).to_labels(), samples }
    };
    let matrix = sorted((0..table.len()).map(series).collect());
    (matrix, histograms)
}

pub(crate) fn of_windows(
    context: &Context<'_>,
    input: &Input<'_>,
    windows: &Windows,
) -> Result<(Value, Histograms), EvalError> {
    let (mut found, mut histograms) = (Vec::new(), Histograms::default());
    input.each(context, &mut |key, samples| {
        windows.slide(samples.times, |_, window, _| {
            let samples: Vec<_> = window
                .map(|n| (samples.times[n], histograms.adopt(context, samples.values[n])))
                .map(|(time, value)| sample(time, value))
                .collect();
            if !samples.is_empty() {
                found.push(Series { labels: key.to_key().to_labels(), samples });
            }
        });
        Ok(())
    })?;
    Ok((sorted(found), histograms))
}

fn sorted(mut series: Vec<Series>) -> Value {
    series.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
    Value::Matrix(series)
}
