//! Aggregations of tables with native histograms.
//!
//! Invariant: a group has a sum where all of its samples at a step are floats, or all histograms
//! whose buckets have something in common.

use std::sync::Arc;

use base::histogram::{Histogram, is_tag};

use super::super::histograms::Cell;
use super::super::table::{Table, has_value};
use super::super::{ABSENT, Context, EvalError};
use super::{Column, Members};
use crate::ast::AggregateOp;
use crate::histogram::Total;
use crate::numeric::{Mean, Sum};
use crate::plan::AggregatePlan;

/// A table without the histograms that an aggregation can do nothing with.
pub(super) fn floats_only(
    context: &Context<'_>,
    plan: &AggregatePlan,
    mut table: Table,
    param: Option<&Column>,
) -> Table {
    let op = plan.op.as_str();
    let ranks = matches!(plan.op, AggregateOp::TopK | AggregateOp::BottomK);
    // Where nothing is chosen nothing is looked at.
    let chooses = |step: usize| param.is_none_or(|k| k.at(step) >= 1.0);
    let ignored = |row: usize| {
        let cells = table.row(row).iter().enumerate();
        cells.into_iter().any(|(step, cell)| is_tag(*cell) && (!ranks || chooses(step)))
    };
    if (0..table.len()).any(ignored) {
        let span = if ranks { plan.whole } else { plan.span };
        context.inform(span, format!("ignored histogram in {op} aggregation"));
    }
    table.drop_native();
    table
}

/// `sum` and `avg`.
pub(super) fn added(
    context: &Context<'_>,
    plan: &AggregatePlan,
    table: &Table,
) -> Result<Table, EvalError> {
    let members = Members::new(plan, table);
    let mut result = Table::new(context, table.steps());
    let mut cells = vec![ABSENT; table.steps()];
    for (group, rows) in members.rows.iter().enumerate() {
        context.check()?;
        for (step, cell) in cells.iter_mut().enumerate() {
            *cell = one(context, plan, table, rows, step)?;
        }
        if has_value(&cells) {
            result.add(members.groups.key(group), &cells)?;
        }
    }
    Ok(result)
}

fn one(
    context: &Context<'_>,
    plan: &AggregatePlan,
    table: &Table,
    rows: &[usize],
    step: usize,
) -> Result<f64, EvalError> {
    let (mut sum, mut mean, mut floats) = (Sum::default(), Mean::default(), 0_usize);
    let mut histograms: Vec<Arc<Histogram>> = Vec::new();
    let mut total: Option<Total> = None;
    for row in rows {
        match context.cell(table.row(*row)[step]) {
            Cell::Absent => {}
            Cell::Float(value) => {
                floats += 1;
                sum.add(value);
                mean.add(value);
            }
            Cell::Native(histogram) => {
                match &mut total {
                    Some(total) => {
                        if total.add(&histogram).is_err() {
                            context.warn_of_mix(table.key(*row).metric_name(), plan.span);
                            // What comes behind is not looked at.
                            if floats > 0 {
                                context.warn_of_floats(plan.span);
                            }
                            return Ok(ABSENT);
                        }
                    }
                    // Behind a float they will not be added up.
                    None if floats > 0 => {}
                    None => total = Some(Total::new(&histogram)),
                }
                histograms.push(histogram);
            }
        }
    }
    let average = plan.op == AggregateOp::Avg;
    if histograms.is_empty() {
        return Ok(match floats {
            0 => ABSENT,
            _ if average => mean.value(),
            _ => sum.value(),
        });
    }
    if floats > 0 {
        context.warn_of_floats(plan.span);
        return Ok(ABSENT);
    }
    let Some(total) = total else { return Ok(ABSENT) };
    context.note(total.notes(), "aggregation", plan.span);
    context.keep(if average {
        total.mean(histograms.iter().map(|histogram| &**histogram))
    } else {
        total.sum()
    })
}

impl Table {
    /// Drops all cells that are native histograms.
    pub(crate) fn drop_native(&mut self) {
        for cell in self.cells_mut() {
            if is_tag(*cell) {
                *cell = ABSENT;
            }
        }
        self.drop_empty_rows();
        self.set_floats_only();
    }
}

impl Context<'_> {
    /// Warns of floats beside histograms.
    fn warn_of_floats(&self, span: crate::fault::Span) {
        let message = "encountered a mix of histograms and floats for aggregation";
        self.warn(span, message.to_owned());
    }

    /// Warns of histograms that have no buckets in common.
    pub(crate) fn warn_of_mix(&self, name: &str, span: crate::fault::Span) {
        let message = format!(
            "vector contains a mix of histograms with exponential and custom buckets schemas for \
             metric name {name:?}"
        );
        self.warn(span, message);
    }
}
