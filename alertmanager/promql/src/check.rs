//! Checks that the types of an expression fit, and makes the plan that is evaluated.
//!
//! Messages are worded as Prometheus words them; what Prometheus knows and this evaluator does not
//! is refused here, by name and place.
//!
//! Invariant: a plan comes out exactly where no fault does.

mod binary;
mod call;
mod info_join;

use std::sync::Arc;

use base::labels::METRIC_NAME;

use crate::ast::{
    Aggregate, AggregateOp, Binary, BinaryOp, Edges, Expr, ExprKind, Length, Number, Unary,
    VectorSelector, When,
};
use crate::fault::{Fault, Faults, Span};
use crate::parser::{NO_MATCHER, selects_everything};
use crate::plan::{
    AggregatePlan, Detail, Keep, MatrixPlan, Plan, ScalarPlan, Selection, Shift, Type, VectorPlan,
    WithScalarPlan,
};
use crate::query::Query;

/// Checks an expression that was read from `text`.
///
/// # Errors
///
/// Types do not fit, or a part is not supported yet.
pub fn check(text: &str, expr: Expr) -> Result<Query, Faults> {
    let mut checker = Checker::default();
    match checker.check(&expr).plan {
        Some(Plan::Matrix(MatrixPlan::Samples { selection, .. }))
            if checker.faults.is_empty() && selection.edges != Edges::Plain =>
        {
            let what = "`anchored` or `smoothed` outside of a function";
            Err(Faults::new(text, vec![Fault::unsupported(expr.span, what)]))
        }
        Some(plan) if checker.faults.is_empty() => Ok(Query::checked(text, expr, plan)),
        _ => Err(Faults::new(text, checker.faults)),
    }
}

/// The type of a part, which is known also where its plan is not.
struct Checked {
    kind: Type,
    plan: Option<Plan>,
}

impl Checked {
    fn faulty(kind: Type) -> Self {
        Self { kind, plan: None }
    }

    fn vector(plan: Option<VectorPlan>) -> Self {
        Self { kind: Type::Vector, plan: plan.map(Plan::Vector) }
    }

    fn scalar(plan: Option<ScalarPlan>) -> Self {
        Self { kind: Type::Scalar, plan: plan.map(Plan::Scalar) }
    }

    fn matrix(plan: Option<MatrixPlan>) -> Self {
        Self { kind: Type::Matrix, plan: plan.map(Plan::Matrix) }
    }

    fn into_vector(self) -> Option<VectorPlan> {
        if let Some(Plan::Vector(vector)) = self.plan { Some(vector) } else { None }
    }

    fn into_scalar(self) -> Option<ScalarPlan> {
        if let Some(Plan::Scalar(scalar)) = self.plan { Some(scalar) } else { None }
    }

    fn into_string(self) -> Option<String> {
        if let Some(Plan::String(text)) = self.plan { Some(text) } else { None }
    }
}

#[derive(Default)]
struct Checker {
    faults: Vec<Fault>,
    /// What is looked at of the histograms of selectors that come next.
    detail: Detail,
}

impl Checker {
    fn report(&mut self, span: Span, message: impl Into<String>) {
        self.faults.push(Fault::meaning(span, message));
    }

    fn unsupported(&mut self, span: Span, what: &str) {
        self.faults.push(Fault::unsupported(span, what));
    }

    fn check(&mut self, expr: &Expr) -> Checked {
        match &expr.kind {
            ExprKind::Number(Number { value, .. }) => {
                Checked::scalar(Some(ScalarPlan::Number(*value)))
            }
            ExprKind::String(text) => {
                Checked { kind: Type::String, plan: Some(Plan::String(text.clone())) }
            }
            ExprKind::Vector(selector) => {
                if selector.edges == Edges::Anchored {
                    self.unsupported(expr.span, "`anchored` without a range");
                }
                Checked::vector(self.selection(selector, expr.span).map(VectorPlan::Select))
            }
            ExprKind::Matrix(matrix) => {
                let selection = self.selection(&matrix.selector, expr.span);
                let range = matrix.range.clone();
                let samples = |selection| MatrixPlan::Samples { selection, range };
                Checked::matrix(selection.map(samples))
            }
            ExprKind::Subquery(subquery) => {
                let inner = self.with_buckets(|checker| checker.check(&subquery.expr));
                if inner.kind != Type::Vector {
                    let got = inner.kind.short_name();
                    let message =
                        format!("subquery is only allowed on instant vector, got {got} instead");
                    self.report(expr.span, message);
                }
                let (range, step) = (subquery.range.clone(), subquery.step.clone());
                let shift = shift(&subquery.when);
                Checked::matrix(inner.into_vector().map(|vector| MatrixPlan::Subquery {
                    vector: Box::new(vector),
                    range,
                    step,
                    shift,
                }))
            }
            ExprKind::Call(call) => self.call(call, expr.span),
            ExprKind::Aggregate(aggregate) => self.aggregate(aggregate, expr.span),
            ExprKind::Binary(binary) => self.chain(binary),
            ExprKind::Unary(unary) => self.unary(unary, expr.span),
            ExprKind::Paren(inner) => self.check(inner),
        }
    }

    /// Checks `expr`, which must have this type.
    fn expect(&mut self, expr: &Expr, kind: Type, context: &str) -> Checked {
        let checked = self.check(expr);
        if checked.kind != kind {
            let (expected, got) = (kind.as_str(), checked.kind.as_str());
            self.report(expr.span, format!("expected type {expected} in {context}, got {got}"));
        }
        checked
    }

    fn selection(&mut self, selector: &VectorSelector, span: Span) -> Option<Selection> {
        self.check_matchers(selector, span);
        Some(self.any_selection(selector, span))
    }

    fn check_matchers(&mut self, selector: &VectorSelector, span: Span) {
        match &selector.name {
            Some(name) => {
                let others = selector.matchers.iter().rev().skip(1);
                for other in others.rev().filter(|other| other.name() == METRIC_NAME) {
                    let other = other.value();
                    let message =
                        format!("metric name must not be set twice: {name:?} or {other:?}");
                    self.report(span, message);
                }
            }
            None if selects_everything(&selector.matchers) => self.report(span, NO_MATCHER),
            None => {}
        }
    }

    /// As [`Checker::selection`], also where the selector would select everything.
    fn any_selection(&mut self, selector: &VectorSelector, span: Span) -> Selection {
        let matchers = Arc::from(selector.matchers.as_slice());
        let (shift, edges) = (shift(&selector.when), selector.edges);
        Selection { matchers, shift, edges, span, detail: self.detail }
    }

    fn unary(&mut self, unary: &Unary, span: Span) -> Checked {
        let inner = self.check(&unary.expr);
        match inner.kind {
            _ if inner.plan.is_none() => {}
            Type::Scalar | Type::Vector if !unary.negative => {}
            Type::Scalar => {
                let scalar = inner.into_scalar().map(|s| ScalarPlan::Negative(Box::new(s)));
                return Checked::scalar(scalar);
            }
            Type::Vector => {
                let negative = |vector| {
                    VectorPlan::WithScalar(Box::new(WithScalarPlan {
                        op: BinaryOp::Multiply,
                        returns_bool: false,
                        vector,
                        scalar: ScalarPlan::Number(-1.0),
                        scalar_is_left: false,
                        span,
                    }))
                };
                return Checked::vector(inner.into_vector().map(negative));
            }
            Type::Matrix | Type::String => {
                let got = inner.kind.as_str();
                let message = format!(
                    "unary expression only allowed on expressions of type scalar or instant \
                     vector, got {got:?}"
                );
                self.report(span, message);
            }
        }
        inner
    }

    fn aggregate(&mut self, aggregate: &Aggregate, span: Span) -> Checked {
        let Aggregate { op, grouping, param, expr } = aggregate;
        let vector = self.expect(expr, Type::Vector, "aggregation expression").into_vector();
        let context = "aggregation parameter";
        let param_span = param.as_ref().map_or(span, |param| param.span);
        let (mut number, mut label) = (None, None);
        match param {
            Some(param) if *op == AggregateOp::CountValues => {
                label = self.expect(param, Type::String, context).into_string();
                if label.as_deref() == Some("") {
                    self.report(param.span, "invalid label name \"\"");
                }
            }
            Some(param) => number = self.expect(param, Type::Scalar, context).into_scalar(),
            None => {}
        }
        let keep = match grouping {
            Some(grouping) => keep(&grouping.labels, grouping.without),
            None => Keep::Only(Vec::new()),
        };
        let complete = param.is_none() || number.is_some() || label.is_some();
        Checked::vector(vector.filter(|_| complete).map(|vector| {
            let label = label.unwrap_or_default();
            VectorPlan::Aggregate(Box::new(AggregatePlan {
                op: *op,
                keep,
                param: number,
                label,
                vector,
                param_span,
                whole: span,
                span: expr.span,
            }))
        }))
    }

    /// Checks a chain of operators in a loop, since it may be long.
    fn chain(&mut self, last: &Binary) -> Checked {
        let mut chain = vec![last];
        let mut first = &last.left;
        while let ExprKind::Binary(binary) = &first.kind {
            chain.push(binary);
            first = &binary.left;
        }
        let check = |checker: &mut Self| {
            let left = checker.check(first);
            chain.iter().rev().fold(left, |left, binary| checker.binary(binary, left))
        };
        let trims = chain.iter().any(|binary| binary.op.is_trim());
        if trims { self.with_buckets(check) } else { check(self) }
    }

    /// Checks a part that needs buckets, whatever is asked for around it.
    fn with_buckets(&mut self, check: impl FnOnce(&mut Self) -> Checked) -> Checked {
        let before = self.detail;
        if before == Detail::Counts {
            self.detail = Detail::Resets;
        }
        let checked = check(self);
        self.detail = before;
        checked
    }
}

fn shift(when: &When) -> Shift {
    Shift { offset: when.offset.clone().unwrap_or(Length::Fixed(0)), at: when.at }
}

/// The labels of `by` and `on`, or all but those of `without` and `ignoring`.
fn keep(labels: &[String], except: bool) -> Keep {
    let mut labels = labels.to_vec();
    labels.sort_unstable();
    labels.dedup();
    if except { Keep::Except(labels) } else { Keep::Only(labels) }
}
