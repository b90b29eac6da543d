//! Aggregations: one series for each group of series, or some series of each.
//!
//! ```text
//! aggregate   which calculation, and what comes before it
//!   fold      sum, avg, min, ...: values one by one, nothing of them is kept
//!   rank      topk, bottomk: some series, as they are
//!   collect   quantile, count_values: need all values of a group at a time
//!   limit     limitk, limit_ratio: some series, whatever their values
//!   native    sums of native histograms, which the others ignore
//! ```
//!
//! Invariant: labels are looked at once for each series, whatever the number of steps.

mod collect;
mod fold;
mod limit;
mod native;
mod rank;

pub(crate) use fold::{Fold, OneMetric};

use super::scalar::Column;
use super::{Context, EvalError, Groups, Table};
use crate::ast::AggregateOp;
use crate::plan::AggregatePlan;

/// The aggregation of a table.
pub(crate) fn aggregated(
    context: &Context<'_>,
    plan: &AggregatePlan,
    mut table: Table,
    param: Option<Column>,
) -> Result<Table, EvalError> {
    if table.has_native() {
        match plan.op {
            AggregateOp::Sum | AggregateOp::Avg => return native::added(context, plan, &table),
            op if !op.takes_native() => {
                table = native::floats_only(context, plan, table, param.as_ref());
            }
            _ => {}
        }
    }
    if let Some(mut fold) = Fold::new(context, plan, table.steps()) {
        for row in 0..table.len() {
            fold.add(table.key(row).as_ref(), table.row(row))?;
        }
        return fold.finish();
    }
    let param = param.unwrap_or(Column::Constant(f64::NAN));
    let members = Members::new(plan, &table);
    match plan.op {
        AggregateOp::TopK => rank::ranked(context, table, &members, &param, true),
        AggregateOp::BottomK => rank::ranked(context, table, &members, &param, false),
        AggregateOp::Quantile => {
            for quantile in param.values() {
                context.check_quantile(*quantile, plan.param_span);
            }
            collect::quantiles(context, &table, &members, &param)
        }
        AggregateOp::LimitK => limit::first(table, &members, &param),
        AggregateOp::LimitRatio => limit::share(context, plan, table, &param),
        _ => collect::counted_values(context, &table, &members, &plan.label),
    }
}

/// Which rows make which group.
struct Members<'a> {
    groups: Groups<'a>,
    rows: Vec<Vec<usize>>,
}

impl<'a> Members<'a> {
    fn new(plan: &'a AggregatePlan, table: &Table) -> Self {
        let mut groups = Groups::new(&plan.keep);
        let mut rows: Vec<Vec<usize>> = Vec::new();
        for row in 0..table.len() {
            let group = groups.number(table.key(row).as_ref());
            rows.resize_with(groups.len(), Vec::new);
            rows[group].push(row);
        }
        Self { groups, rows }
    }
}
