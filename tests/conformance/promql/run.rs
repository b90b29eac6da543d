//! Runs the commands of a script over a storage of their own.
//!
//! Invariant: a sample that the storage does not take ends the run, so that nothing is left out.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base::histogram::Histogram;
use base::labels::Labels;
use base::sample::Timestamp;
use promql::ast::{self, At, Expr, ExprKind};
use promql::series_notation::Point;
use promql::{EvalError, Features, Options, Output, Query, Range, evaluate};
use storage::{Beside, Storage, histogram_value};

use super::script::{Command, Eval, LoadLine, Millis, When};
use super::{classic, compare};

/// What the scripts are run with: 10,000 samples at most.
fn options(features: Features) -> Options<'static> {
    Options { max_samples: 10_000, features, ..Options::default() }
}

fn empty() -> Storage {
    Storage::in_memory(storage::Options::default())
}

/// The results of all evaluations of a script.
pub(crate) fn script(
    commands: &[Command],
    features: Features,
) -> Vec<(String, Result<(), String>)> {
    let mut data = empty();
    let mut results = Vec::new();
    for command in commands {
        match command {
            Command::Clear => data = empty(),
            Command::Load { step, lines, to_native } => {
                load(&data, *step, lines, *to_native);
            }
            Command::Eval(eval) => {
                let name = format!("line {} {:?}", eval.line, eval.query);
                results
                    .push((name, judge(&Judge { data: &data, options: options(features) }, eval)));
            }
        }
    }
    results
}

fn load(storage: &Storage, step: Millis, lines: &[LoadLine], to_native: bool) {
    // Of a series that comes twice in a command the last line counts.
    let mut series: Vec<(&Labels, &[Point])> = Vec::new();
    let mut starts: HashMap<&Labels, &[Option<Millis>]> = HashMap::new();
    for line in lines {
        match line {
            LoadLine::Series(labels, points) => {
                series.retain(|(known, _)| *known != labels);
                series.push((labels, points));
            }
            LoadLine::StartTimes(labels, times) => {
                starts.insert(labels, times);
            }
        }
    }
    let converted = if to_native { classic::converted(&series) } else { Vec::new() };
    for (labels, points) in series {
        let starts = starts.get(labels).copied().unwrap_or_default();
        for (n, point) in points.iter().enumerate() {
            let at = n as i64 * step;
            let start = starts.get(n).copied().flatten().map_or(0, |since| at + since);
            match point {
                Point::Gap => {}
                Point::Float(value) => append(storage, labels, (at, start), *value, &[]),
                Point::Histogram(point) => {
                    let value = point.value().expect("a histogram that cannot be");
                    histogram(storage, labels, (at, start), value);
                }
            }
        }
    }
    for (labels, samples) in converted {
        for (n, value) in samples {
            histogram(storage, &labels, (n as i64 * step, 0), value);
        }
    }
}

/// Appends a sample at a time and with a start.
fn append(
    storage: &Storage,
    labels: &Labels,
    (at, start): (Millis, Millis),
    value: f64,
    histograms: &[Arc<Histogram>],
) {
    let series = storage.series(labels).unwrap();
    let point = storage::Point { series, timestamp: Timestamp::from_millis(at), value };
    let appended = storage.append_with(&[point], Beside { histograms, starts: &[start] }).unwrap();
    assert_eq!(appended.stored, 1, "{labels} does not fit what is there");
}

fn histogram(storage: &Storage, labels: &Labels, times: (Millis, Millis), value: Histogram) {
    append(storage, labels, times, histogram_value(0), &[Arc::new(value)]);
}

/// What an evaluation is over.
struct Judge<'a> {
    data: &'a Storage,
    options: Options<'static>,
}

impl Judge<'_> {
    fn evaluate(&self, query: &Query, range: Range) -> Result<Output, EvalError> {
        evaluate(query, self.data, range, &self.options)
    }
}

fn judge(judge: &Judge<'_>, eval: &Eval) -> Result<(), String> {
    let query = match Query::new(&eval.query) {
        Ok(query) => query,
        Err(faults) => {
            let unsupported =
                faults.iter().find(|fault| fault.kind == promql::FaultKind::Unsupported);
            return match (unsupported, &eval.expect.fail) {
                (Some(fault), _) => Err(fault.message.clone()),
                (None, Some(_)) => compare::failure(&eval.expect, &faults.to_string()),
                (None, None) => Err(faults.to_string()),
            };
        }
    };
    let at = Timestamp::from_millis;
    let range = match eval.when {
        When::Instant(time) => Range::instant(at(time)),
        When::Range { start, end, step } => {
            Range::new(at(start), at(end), Duration::from_millis(step as u64))
        }
    };
    let result = judge.evaluate(&query, range);
    let output = match (result, &eval.expect.fail) {
        (Err(error), Some(_)) => return compare::failure(&eval.expect, &error.to_string()),
        (Err(error), None) => return Err(error.to_string()),
        (Ok(_), Some(_)) => return Err("did not fail".to_owned()),
        (Ok(output), None) => output,
    };
    compare::annotations(&eval.expect, &output)?;
    match eval.when {
        When::Range { start, end, step } => {
            compare::matrix(&eval.expect, &output, (start, end, step))
        }
        When::Instant(time) => {
            compare::instant(&eval.expect, &output)?;
            same_in_the_middle(judge, &query, eval, time)?;
            same_when_pinned(judge, &query, eval, time)
        }
    }
}

/// Whether the result is the same as the middle step of a range.
fn same_in_the_middle(
    judge: &Judge<'_>,
    query: &Query,
    eval: &Eval,
    time: Millis,
) -> Result<(), String> {
    if !has_steps(query) || asks_for_bounds(query.expr()) {
        return Ok(());
    }
    let at = Timestamp::from_millis;
    let range = Range::new(at(time - 60_000), at(time + 60_000), Duration::from_secs(60));
    let output = judge.evaluate(query, range).map_err(|e| e.to_string())?;
    compare::middle(&eval.expect, &output, time)
        .map_err(|why| format!("in the middle of a range: {why}"))
}

fn has_steps(query: &Query) -> bool {
    matches!(query.kind(), promql::Type::Scalar | promql::Type::Vector)
}

fn asks_for_bounds(expr: &Expr) -> bool {
    let bounds = ["end", "range", "start", "step"];
    if expr.functions().iter().any(|name| bounds.contains(name)) {
        return true;
    }
    let is_bound = |when: &ast::When| matches!(when.at, Some(At::Start | At::End));
    expr.parts().any(|part| match &part.kind {
        ExprKind::Vector(selector) => is_bound(&selector.when),
        ExprKind::Matrix(matrix) => is_bound(&matrix.selector.when),
        ExprKind::Subquery(subquery) => is_bound(&subquery.when),
        _ => false,
    })
}

/// Functions of the current time.
const OF_NOW: [&str; 11] = [
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "days_in_month",
    "hour",
    "minute",
    "month",
    "predict_linear",
    "time",
    "timestamp",
    "year",
];

/// Whether the result is the same at any time once all selectors look at the time of the query.
fn same_when_pinned(
    judge: &Judge<'_>,
    query: &Query,
    eval: &Eval,
    time: Millis,
) -> Result<(), String> {
    let of_now = query.expr().functions().iter().any(|name| OF_NOW.contains(name));
    if !has_steps(query) || of_now || asks_for_bounds(query.expr()) {
        return Ok(());
    }
    let mut expr = query.expr().clone();
    pin(&mut expr, time);
    let pinned = promql::check(query.text(), expr).map_err(|e| e.to_string())?;
    for other in [time - 3_600_000, time + 1, time + 86_400_000] {
        let range = Range::instant(Timestamp::from_millis(other));
        let output = judge.evaluate(&pinned, range).map_err(|e| e.to_string())?;
        compare::instant(&eval.expect, &output)
            .map_err(|why| format!("pinned and evaluated at {other}: {why}"))?;
    }
    Ok(())
}

/// Gives `@ time` to all selectors and subqueries that have none; what is in a subquery moves with
/// it.
fn pin(expr: &mut Expr, time: Millis) {
    let set = |when: &mut ast::When| {
        when.at.get_or_insert(At::Time(time));
    };
    match &mut expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) => {}
        ExprKind::Vector(selector) => set(&mut selector.when),
        ExprKind::Matrix(matrix) => set(&mut matrix.selector.when),
        ExprKind::Subquery(subquery) => set(&mut subquery.when),
        ExprKind::Call(call) => call.args.iter_mut().for_each(|arg| pin(arg, time)),
        ExprKind::Aggregate(aggregate) => {
            aggregate.param.iter_mut().for_each(|param| pin(param, time));
            pin(&mut aggregate.expr, time);
        }
        ExprKind::Binary(binary) => {
            pin(&mut binary.left, time);
            pin(&mut binary.right, time);
        }
        ExprKind::Unary(unary) => pin(&mut unary.expr, time),
        ExprKind::Paren(inner) => pin(inner, time),
    }
}
