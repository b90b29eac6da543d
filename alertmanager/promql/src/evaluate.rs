//! Evaluates a query: every part of it for all steps at once.
//!
//! ```text
//! Selection ──storage──▶ samples ──┬─ the last before each step ─▶ Table ─┐
//!                                  └─ windows that slide ────────▶ Table ─┤
//!                                                                         ▼
//!                       Value ◀── aggregations, operators, functions of tables
//! ```
//!
//! A [`Table`] has a row for each series and a column for each step. Labels are looked at once for
//! a series, not once for each of its values; a range is read once and a window slides over it.
//!
//! Invariant: a step's values do not depend on which other steps are asked for.

mod context;
mod histograms;
mod hash;
mod steps;
mod length;
mod key;
mod table;
mod select;
mod smooth;
mod scalar;
mod bounds;
mod window;
mod pieces;
mod slide;
mod grouping;
mod aggregate;
mod operator;
mod mixed;
mod matching;
mod info_join;
mod set;
mod value;
mod session;

pub use context::{EvalError, Features, Options};
pub use histograms::Histograms;
pub use session::Session;
pub use steps::Range;
pub use value::{Output, Series, Value};

#[cfg(test)]
pub(crate) use bounds::Bounds;
pub(crate) use bounds::Windows;
pub(crate) use context::Context;
pub(crate) use grouping::Groups;
pub(crate) use histograms::Cell;
pub(crate) use key::{Key, KeyRef};
pub(crate) use scalar::Column;
pub(crate) use slide::slide;
pub(crate) use steps::Steps;
pub(crate) use table::{ABSENT, Sink, Table, has_value, is_absent};
pub(crate) use window::{Native, OverTimeCall, Row, Samples, Slide, Window};

use storage::Storage;

use crate::ast::{At, Edges};
use crate::plan::{
    AggregatePlan, MatrixPlan, OverTimePlan, Plan, ScalarPlan, Shift, Spans, VectorPlan,
};
use crate::query::Query;
use aggregate::{Fold, OneMetric};
use select::Selections;
use window::Input;

/// Makes rows from the windows of a range vector.
pub(crate) type OverTime = fn(&OverTimeCall<'_>, &mut dyn Sink) -> Result<(), EvalError>;

/// Makes a table from a table.
pub(crate) type ToTable = fn(TableCall<'_>) -> Result<Table, EvalError>;

/// What a function of a table is called with.
pub(crate) struct TableCall<'a> {
    pub(crate) context: &'a Context<'a>,
    pub(crate) table: Table,
    pub(crate) params: Vec<Column>,
    pub(crate) texts: &'a [String],
    pub(crate) steps: Steps,
    pub(crate) spans: Spans,
}

/// Evaluates `query` over the samples of `storage`.
///
/// Cost: all samples that the selectors of the query reach are held in memory at a time, sixteen
/// bytes each; with the steps of all intermediate series they count towards the limit of `options`.
///
/// # Errors
///
/// - [`EvalError::Query`]: the series do not match as the query demands.
/// - [`EvalError::TooManySamples`], [`EvalError::Cancelled`]: a limit or the caller ended it.
/// - [`EvalError::Storage`]: samples could not be read.
pub fn evaluate(
    query: &Query,
    storage: &Storage,
    range: Range,
    options: &Options<'_>,
) -> Result<Output, EvalError> {
    Session::new(storage, [query], range, options).evaluate(query)
}

/// A query under evaluation.
#[derive(Clone, Copy)]
struct Evaluation<'a> {
    context: &'a Context<'a>,
    selections: &'a Selections<'a>,
    range: Range,
}

impl<'a> Evaluation<'a> {
    fn value(self, plan: &'a Plan) -> Result<(Value, Histograms), EvalError> {
        let floats = |value| (value, Histograms::default());
        let steps = self.range.steps();
        match plan {
            Plan::Scalar(scalar) => {
                let column = self.scalar(scalar, steps)?;
                Ok(floats(value::of_scalar(&column, self.range)))
            }
            Plan::Vector(vector) => {
                let table = self.vector(vector, steps)?.at_the_end()?;
                self.context.check()?;
                Ok(value::of_table(self.context, &table, self.range))
            }
            Plan::Matrix(matrix) if self.range.is_instant() => {
                let (input, windows) = self.matrix(matrix, steps)?;
                let input = match input {
                    Input::Table(table, steps) => Input::Table(table.at_the_end()?, steps),
                    samples => samples,
                };
                value::of_windows(self.context, &input, &windows)
            }
            Plan::String(text) if self.range.is_instant() => {
                Ok(floats(Value::String(text.clone())))
            }
            Plan::Matrix(_) | Plan::String(_) => {
                let kind = if matches!(plan, Plan::Matrix(_)) { "range vector" } else { "string" };
                Err(EvalError::Query(format!(
                    "invalid expression type {kind:?} for range query, must be Scalar or instant \
                     Vector"
                )))
            }
        }
    }

    fn scalar(self, plan: &'a ScalarPlan, steps: Steps) -> Result<Column, EvalError> {
        match plan {
            ScalarPlan::Number(value) => Ok(Column::Constant(*value)),
            ScalarPlan::Time => Column::times(self.context, steps),
            ScalarPlan::OfRange(function) => Ok(Column::Constant(function(self.range))),
            ScalarPlan::OfTwo(function, a, b) => {
                let (a, b) = (self.scalar(a, steps)?, self.scalar(b, steps)?);
                Ok(operator::of_two(a, b, function))
            }
            ScalarPlan::OfVector(vector) => {
                let table = self.vector(vector, steps)?;
                Column::of_table(self.context, &table)
            }
            ScalarPlan::Negative(inner) => {
                let mut column = self.scalar(inner, steps)?;
                column.change(|value| -value);
                Ok(column)
            }
            // A chain of operators may be long.
            ScalarPlan::Binary(..) => {
                let (mut chain, mut first) = (Vec::new(), plan);
                while let ScalarPlan::Binary(op, left, right) = first {
                    chain.push((*op, right));
                    first = left;
                }
                let mut left = self.scalar(first, steps)?;
                for (op, right) in chain.into_iter().rev() {
                    let right = self.scalar(right, steps)?;
                    left = operator::between_columns(op, left, right);
                }
                Ok(left)
            }
        }
    }

    fn columns(self, plans: &'a [ScalarPlan], steps: Steps) -> Result<Vec<Column>, EvalError> {
        plans.iter().map(|plan| self.scalar(plan, steps)).collect()
    }

    fn vector(self, plan: &'a VectorPlan, steps: Steps) -> Result<Table, EvalError> {
        // Down the left sides of operators, and up again: a chain of them may be long.
        let (mut chain, mut first) = (Vec::new(), plan);
        while let Some(left) = first.left() {
            chain.push(first);
            first = left;
        }
        let mut table = self.operand(first, steps)?;
        for plan in chain.into_iter().rev() {
            self.context.check()?;
            table = self.operator(plan, table, steps)?;
        }
        Ok(table)
    }

    fn operator(self, plan: &'a VectorPlan, left: Table, steps: Steps) -> Result<Table, EvalError> {
        match plan {
            VectorPlan::WithScalar(plan) => {
                let scalar = self.scalar(&plan.scalar, steps)?;
                if left.has_native() || plan.op.is_trim() {
                    return mixed::with_scalar(self.context, plan, left, &scalar);
                }
                operator::with_scalar(plan, left, &scalar)
            }
            VectorPlan::Match(plan) => {
                let right = self.vector(&plan.right, steps)?;
                matching::matched(self.context, plan, &left, &right)
            }
            VectorPlan::Set(plan) => {
                let right = self.vector(&plan.right, steps)?;
                set::combined(plan, left, right)
            }
            _ => Ok(left),
        }
    }

    fn operand(self, plan: &'a VectorPlan, steps: Steps) -> Result<Table, EvalError> {
        let context = self.context;
        match plan {
            VectorPlan::Select(selection) => {
                let times = self.times(steps, &selection.shift)?;
                let mut table = Table::new(context, steps.count);
                self.selections.last_values(context, selection, times, &mut table)?;
                Ok(table)
            }
            VectorPlan::SampleTimes(selection) => {
                let times = self.times(steps, &selection.shift)?;
                let mut table = Table::new(context, steps.count);
                self.selections.last_times(context, selection, times, &mut table)?;
                table.drop_names()
            }
            VectorPlan::Info(plan) => {
                let table = self.vector(&plan.vector, steps)?;
                let mut times = steps;
                for shift in &plan.shifts {
                    times = self.times(times, shift)?;
                }
                info_join::with_labels(context, self.selections, plan, &table, times)
            }
            VectorPlan::OfScalar(scalar) => {
                let column = self.scalar(scalar, steps)?;
                column.into_table(context, steps.count)
            }
            VectorPlan::Values { function, vector, params } => {
                let mut table = self.vector(vector, steps)?;
                let params = self.columns(params, steps)?;
                if table.has_native() {
                    table.drop_native();
                }
                operator::each_value(&mut table, *function, &params);
                table.drop_names()
            }
            VectorPlan::OverTime(over_time) => {
                let mut table = Table::new(context, steps.count);
                self.over_time(over_time, steps, &mut table)?;
                if table.may_have_clashed() { table.unique() } else { Ok(table) }
            }
            VectorPlan::Table { function, vector, params, texts, spans } => {
                let params = self.columns(params, steps)?;
                let table = self.vector(vector, steps)?;
                function(TableCall { context, table, params, texts, steps, spans: *spans })
            }
            VectorPlan::Relabel { relabel, vector } => {
                let mut table = self.vector(vector, steps)?;
                table.relabel_by(context, relabel)?;
                table.unique()
            }
            VectorPlan::Absent { vector, labels } => {
                let table = self.vector(vector, steps)?;
                table.where_absent(context, Key::from(labels.clone()))
            }
            VectorPlan::Aggregate(plan) => {
                if let Some(table) = self.folded(plan, steps)? {
                    return Ok(table);
                }
                let table = self.vector(&plan.vector, steps)?;
                let param = plan.param.as_ref().map(|param| self.scalar(param, steps));
                aggregate::aggregated(context, plan, table, param.transpose()?)
            }
            // They are handled with the chain that they are in.
            VectorPlan::WithScalar(_) | VectorPlan::Match(_) | VectorPlan::Set(_) => {
                self.vector(plan, steps)
            }
        }
    }

    /// An aggregation of series that come one by one, where it needs no more than that.
    fn folded(self, plan: &'a AggregatePlan, steps: Steps) -> Result<Option<Table>, EvalError> {
        let Some(fold) = Fold::new(self.context, plan, steps.count) else { return Ok(None) };
        let mut sink = OneMetric::new(fold);
        match &plan.vector {
            VectorPlan::Select(selection) => {
                let times = self.times(steps, &selection.shift)?;
                self.selections.last_values(self.context, selection, times, &mut sink)?;
            }
            // Of several metrics there may be series that become the same, which must be looked at
            // together.
            VectorPlan::OverTime(over_time) if over_time.reads_one_metric() => {
                self.over_time(over_time, steps, &mut sink)?;
            }
            _ => return Ok(None),
        }
        sink.into_fold().map(Fold::finish).transpose()
    }

    fn over_time(
        self,
        plan: &'a OverTimePlan,
        steps: Steps,
        sink: &mut dyn Sink,
    ) -> Result<(), EvalError> {
        if let Some(message) = &plan.refused {
            return Err(EvalError::Query(message.clone()));
        }
        let params = self.columns(&plan.params, steps)?;
        let (input, windows) = self.matrix(&plan.matrix, steps)?;
        let call =
            OverTimeCall { context: self.context, input, windows, params, spans: plan.spans };
        (plan.function)(&call, sink)
    }

    fn matrix(self, plan: &'a MatrixPlan, steps: Steps) -> Result<(Input<'a>, Windows), EvalError> {
        match plan {
            MatrixPlan::Samples { selection, range } => {
                let range = self.length(range.positive_millis(self.range))?;
                let mut windows = Windows::new(steps, self.times(steps, &selection.shift)?, range);
                let lookback = self.context.lookback();
                match selection.edges {
                    Edges::Plain => {}
                    Edges::Anchored => windows.widen(lookback, 0),
                    Edges::Smoothed => windows.widen(lookback, lookback),
                }
                let (from, to) = windows.reach();
                let selected = self.selections.select(self.context, selection, from, to)?;
                Ok((Input::Samples(selected, selection.detail), windows))
            }
            MatrixPlan::Subquery { vector, range, step, shift } => {
                let range = self.length(range.positive_millis(self.range))?;
                let windows = Windows::new(steps, self.times(steps, shift)?, range);
                let step = match step {
                    Some(step) => self.length(step.positive_millis(self.range))?,
                    None => self.context.subquery_step(),
                };
                let (from, to) = windows.reach();
                let inner = Steps::aligned(from, to, step);
                let table = self.vector(vector, inner)?;
                Ok((Input::Table(table, inner), windows))
            }
        }
    }

    /// The times that a selector looks at, one for each step.
    fn times(&self, steps: Steps, shift: &Shift) -> Result<Steps, EvalError> {
        let offset = self.length(shift.offset.millis(self.range))?;
        let at = match shift.at {
            None => return Ok(steps.moved(offset)),
            Some(At::Time(millis)) => millis,
            Some(At::Start) => self.range.start().millis(),
            Some(At::End) => self.range.end().millis(),
        };
        Ok(steps.pinned(at).moved(offset))
    }

    fn length(&self, millis: Result<i64, String>) -> Result<i64, EvalError> {
        millis.map_err(EvalError::Query)
    }
}

impl VectorPlan {
    /// The table that an operator changes, where the plan is one.
    fn left(&self) -> Option<&Self> {
        match self {
            Self::WithScalar(plan) => Some(&plan.vector),
            Self::Match(plan) => Some(&plan.left),
            Self::Set(plan) => Some(&plan.left),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
