//! A checked expression, and what it reads.
//!
//! Invariant: what [`Query::reads`] says is all that an evaluation reads.

use std::fmt;
use std::time::Duration;

use base::labels::METRIC_NAME;
use base::matcher::{MatchOp, Matcher};
use base::sample::Timestamp;

use crate::ast::{At, Edges, Expr, Length};
use crate::evaluate::Range;
use crate::fault::Faults;
use crate::plan::{InfoPlan, MatrixPlan, Plan, ScalarPlan, Selection, Shift, Type, VectorPlan};
use crate::{check, parse};

/// An expression that can be evaluated.
#[derive(Clone)]
pub struct Query {
    text: String,
    expr: Expr,
    plan: Plan,
}

impl Query {
    /// Reads and checks an expression.
    ///
    /// # Errors
    ///
    /// It cannot be read, its types do not fit, or a part of it is not supported yet.
    pub fn new(text: &str) -> Result<Self, Faults> {
        check(text, parse(text)?)
    }

    pub(crate) fn checked(text: &str, expr: Expr, plan: Plan) -> Self {
        Self { text: text.to_owned(), expr, plan }
    }

    /// The text as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The expression as it was read.
    pub fn expr(&self) -> &Expr {
        &self.expr
    }

    /// The type of its value.
    pub fn kind(&self) -> Type {
        match self.plan {
            Plan::Scalar(_) => Type::Scalar,
            Plan::Vector(_) => Type::Vector,
            Plan::Matrix(_) => Type::Matrix,
            Plan::String(_) => Type::String,
        }
    }

    /// What its selectors read, in the order in which they are written.
    pub fn reads(&self) -> Vec<Reads<'_>> {
        let mut found = Vec::new();
        visit(&self.plan, &mut |reads| found.push(reads));
        found
    }

    /// The names of the metrics that it reads, where they are written out, each once.
    pub fn metric_names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.reads().iter().filter_map(Reads::metric_name).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }
}

impl fmt::Debug for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Query").field(&self.text).finish()
    }
}

/// Prints the canonical form.
impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.expr.fmt(f)
    }
}

/// What one selector of a query reads.
#[derive(Clone, Debug)]
pub struct Reads<'a> {
    selection: &'a Selection,
    /// How long a stretch of time it needs; nothing for an instant selector.
    range: Option<&'a Length>,
    /// The subqueries around it, the outermost first: how far back, and how moved.
    around: Around<'a>,
    /// How its times move beyond that, the outermost first.
    moved: &'a [Shift],
}

impl<'a> Reads<'a> {
    pub(crate) fn selection(&self) -> &'a Selection {
        self.selection
    }

    /// Which series.
    pub fn matchers(&self) -> &'a [Matcher] {
        &self.selection.matchers
    }

    /// The name of the metric, where it is written out.
    pub fn metric_name(&self) -> Option<&'a str> {
        let named = |m: &&Matcher| m.name() == METRIC_NAME && m.op() == MatchOp::Equal;
        self.selection.matchers.iter().find(named).map(Matcher::value)
    }

    /// Whether it is looked at step by step, and not over a range.
    pub fn is_instant(&self) -> bool {
        self.range.is_none()
    }

    /// From when to when, both included, for an evaluation over `range` where instant selectors
    /// look back by `lookback`.
    pub fn span(&self, range: Range, lookback: Duration) -> (Timestamp, Timestamp) {
        let (mut from, mut to) = (range.start().millis(), range.end().millis());
        // A length that cannot be told ends the evaluation before anything is read.
        let length = |length: &Length| length.millis(range).unwrap_or(0);
        let mut move_by = |shift: &Shift, back: i64| {
            match shift.at {
                None => {}
                Some(At::Time(millis)) => (from, to) = (millis, millis),
                Some(At::Start) => (from, to) = (range.start().millis(), range.start().millis()),
                Some(At::End) => (from, to) = (range.end().millis(), range.end().millis()),
            }
            // The left end of a range is not included.
            let offset = length(&shift.offset);
            from = from.saturating_sub(offset).saturating_sub(back).saturating_add(1);
            to = to.saturating_sub(offset);
        };
        for (back, shift) in &self.around {
            move_by(shift, length(back));
        }
        let lookback = i64::try_from(lookback.as_millis()).unwrap_or(i64::MAX);
        for shift in self.moved {
            move_by(shift, 0);
        }
        move_by(&self.selection.shift, self.range.map_or(lookback, length));
        if self.selection.edges != Edges::Plain {
            let before = if self.range.is_some() { lookback } else { 0 };
            from = from.saturating_sub(before);
            to = to.saturating_add(lookback);
        }
        (Timestamp::from_millis(from), Timestamp::from_millis(to))
    }
}

/// Hands every selector of `plan` to `found`.
fn visit<'a>(plan: &'a Plan, found: &mut dyn FnMut(Reads<'a>)) {
    let mut around = Vec::new();
    match plan {
        Plan::Scalar(scalar) => visit_scalar(scalar, &mut around, found),
        Plan::Vector(vector) => visit_vector(vector, &mut around, found),
        Plan::Matrix(matrix) => visit_matrix(matrix, &mut around, found),
        Plan::String(_) => {}
    }
}

type Around<'a> = Vec<(&'a Length, &'a Shift)>;

fn visit_scalar<'a>(
    mut plan: &'a ScalarPlan,
    around: &mut Around<'a>,
    found: &mut dyn FnMut(Reads<'a>),
) {
    let mut rights = Vec::new();
    loop {
        match plan {
            ScalarPlan::Number(_) | ScalarPlan::Time | ScalarPlan::OfRange(_) => break,
            ScalarPlan::OfVector(vector) => {
                visit_vector(vector, around, found);
                break;
            }
            ScalarPlan::Negative(inner) => plan = inner,
            ScalarPlan::OfTwo(_, left, right) | ScalarPlan::Binary(_, left, right) => {
                rights.push(&**right);
                plan = left;
            }
        }
    }
    rights.into_iter().rev().for_each(|right| visit_scalar(right, around, found));
}

/// What stands to the right of a chain of operators.
enum Right<'a> {
    Scalar(&'a ScalarPlan),
    Vector(&'a VectorPlan),
}

fn visit_vector<'a>(
    mut plan: &'a VectorPlan,
    around: &mut Around<'a>,
    found: &mut dyn FnMut(Reads<'a>),
) {
    let mut rights = Vec::new();
    loop {
        match plan {
            VectorPlan::Select(selection) | VectorPlan::SampleTimes(selection) => {
                found(Reads { selection, range: None, around: around.clone(), moved: &[] });
                break;
            }
            VectorPlan::Info(info) => {
                let InfoPlan { vector, info: selection, shifts, .. } = &**info;
                visit_vector(vector, around, found);
                found(Reads { selection, range: None, around: around.clone(), moved: shifts });
                break;
            }
            VectorPlan::OfScalar(scalar) => {
                visit_scalar(scalar, around, found);
                break;
            }
            VectorPlan::OverTime(call) => {
                call.params.iter().for_each(|param| visit_scalar(param, around, found));
                visit_matrix(&call.matrix, around, found);
                break;
            }
            VectorPlan::Values { vector, params, .. }
            | VectorPlan::Table { vector, params, .. } => {
                rights.extend(params.iter().rev().map(Right::Scalar));
                plan = vector;
            }
            VectorPlan::Relabel { vector, .. } | VectorPlan::Absent { vector, .. } => plan = vector,
            VectorPlan::Aggregate(aggregate) => {
                rights.extend(aggregate.param.iter().map(Right::Scalar));
                plan = &aggregate.vector;
            }
            VectorPlan::WithScalar(with) => {
                rights.push(Right::Scalar(&with.scalar));
                plan = &with.vector;
            }
            VectorPlan::Match(pair) => {
                rights.push(Right::Vector(&pair.right));
                plan = &pair.left;
            }
            VectorPlan::Set(pair) => {
                rights.push(Right::Vector(&pair.right));
                plan = &pair.left;
            }
        }
    }
    for right in rights.into_iter().rev() {
        match right {
            Right::Scalar(scalar) => visit_scalar(scalar, around, found),
            Right::Vector(vector) => visit_vector(vector, around, found),
        }
    }
}

fn visit_matrix<'a>(
    plan: &'a MatrixPlan,
    around: &mut Around<'a>,
    found: &mut dyn FnMut(Reads<'a>),
) {
    match plan {
        MatrixPlan::Samples { selection, range } => {
            found(Reads { selection, range: Some(range), around: around.clone(), moved: &[] });
        }
        MatrixPlan::Subquery { vector, range, shift, .. } => {
            around.push((range, shift));
            visit_vector(vector, around, found);
            around.pop();
        }
    }
}
