//! Operators where an operand may be a native histogram.
//!
//! ```text
//! + - == !=    two histograms        * /    a histogram and a number, * also the other way round
//! </ >/        a histogram and a number
//! ```
//!
//! Invariant: what has no meaning has no result, and a remark says so.

use std::sync::Arc;

use base::histogram::{Histogram, Reset};

use super::histograms::Cell;
use super::operator::{chosen_or_told, number};
use super::scalar::Column;
use super::table::Table;
use super::{ABSENT, Context, EvalError};
use crate::ast::BinaryOp;
use crate::fault::Span;
use crate::histogram::{Incompatible, Notes, difference, multiple, quotient, same, sum, trimmed};
use crate::plan::WithScalarPlan;

/// An operator at its place.
#[derive(Clone, Copy)]
pub(crate) struct Operator<'a> {
    pub(crate) context: &'a Context<'a>,
    pub(crate) op: BinaryOp,
    pub(crate) returns_bool: bool,
    pub(crate) span: Span,
}

impl Operator<'_> {
    /// The result for two cells.
    pub(crate) fn between(self, a: f64, b: f64) -> Result<f64, EvalError> {
        let context = self.context;
        match (context.cell(a), context.cell(b)) {
            (Cell::Absent, _) | (_, Cell::Absent) => Ok(ABSENT),
            (Cell::Float(_), Cell::Float(_)) if self.op.is_trim() => {
                Ok(self.meaningless("float", "float"))
            }
            (Cell::Float(a), Cell::Float(b)) => Ok(number(self.op, self.returns_bool, a, b)),
            (Cell::Float(factor), Cell::Native(b)) => match self.op {
                BinaryOp::Multiply => context.keep(multiple(&b, factor)),
                _ => Ok(self.meaningless("float", "histogram")),
            },
            (Cell::Native(a), Cell::Float(b)) => match self.op {
                BinaryOp::Multiply => context.keep(multiple(&a, b)),
                BinaryOp::Divide => context.keep(quotient(&a, b)),
                BinaryOp::TrimUpper => context.keep(trimmed(&a, b, true)),
                BinaryOp::TrimLower => context.keep(trimmed(&a, b, false)),
                _ => Ok(self.meaningless("histogram", "float")),
            },
            (Cell::Native(x), Cell::Native(y)) => self.between_histograms(a, &x, &y),
        }
    }

    fn between_histograms(
        self,
        a: f64,
        x: &Arc<Histogram>,
        y: &Arc<Histogram>,
    ) -> Result<f64, EvalError> {
        match self.op {
            BinaryOp::Add => self.noted(sum(x, y), "addition"),
            BinaryOp::Subtract => {
                let result = difference(x, y).map(|(histogram, notes)| {
                    (Histogram { reset: Reset::Gauge, ..histogram }, notes)
                });
                self.noted(result, "subtraction")
            }
            BinaryOp::Equal => Ok(chosen_or_told(self.returns_bool, same(x, y), a)),
            BinaryOp::NotEqual => Ok(chosen_or_told(self.returns_bool, !same(x, y), a)),
            _ => Ok(self.meaningless("histogram", "histogram")),
        }
    }

    fn noted(
        self,
        result: Result<(Histogram, Notes), Incompatible>,
        operation: &str,
    ) -> Result<f64, EvalError> {
        match result {
            Ok((histogram, notes)) => {
                self.context.note(notes, operation, self.span);
                self.context.keep(histogram)
            }
            Err(Incompatible) => {
                let message = format!(
                    "incompatible bucket layout encountered for binary operator {}",
                    self.op.as_str()
                );
                self.context.warn(self.span, message);
                Ok(ABSENT)
            }
        }
    }

    fn meaningless(self, left: &str, right: &str) -> f64 {
        let op = self.op.as_str();
        let message = format!(
            "incompatible sample types encountered for binary operator {op:?}: {left} {op} {right}"
        );
        self.context.inform(self.span, message);
        ABSENT
    }

    /// The results for two rows.
    pub(crate) fn between_rows(
        self,
        left: &[f64],
        right: &[f64],
        result: &mut [f64],
    ) -> Result<(), EvalError> {
        for ((to, a), b) in result.iter_mut().zip(left).zip(right) {
            *to = self.between(*a, *b)?;
        }
        Ok(())
    }
}

impl Context<'_> {
    /// Says what there is to know about a sum or difference of histograms.
    pub(crate) fn note(&self, notes: Notes, operation: &str, span: Span) {
        if notes.collision {
            let message = format!("conflicting counter resets during histogram {operation}");
            self.warn(span, message);
        }
        if notes.reconciled {
            let message = format!("mismatched custom buckets were reconciled during {operation}");
            self.inform(span, message);
        }
    }
}

/// An operator between the series of a table and a scalar on either side.
pub(crate) fn with_scalar(
    context: &Context<'_>,
    plan: &WithScalarPlan,
    mut table: Table,
    scalar: &Column,
) -> Result<Table, EvalError> {
    let WithScalarPlan { op, returns_bool, scalar_is_left, span, .. } = *plan;
    let operator = Operator { context, op, returns_bool, span };
    for row in 0..table.len() {
        for step in 0..table.steps() {
            let (cell, number) = (table.row(row)[step], scalar.at(step));
            let mut result = if scalar_is_left {
                operator.between(number, cell)?
            } else {
                operator.between(cell, number)?
            };
            // A comparison chooses the series, on whichever side it stands.
            if op.is_comparison() && !returns_bool && !super::is_absent(result) {
                result = cell;
            }
            table.row_mut(row)[step] = result;
        }
    }
    table.drop_empty_rows();
    let chooses = op.is_comparison() && !returns_bool || op.is_trim();
    if chooses { Ok(table) } else { table.drop_names() }
}
