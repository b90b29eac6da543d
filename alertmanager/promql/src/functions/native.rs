//! What native histograms say without a look at single buckets, and their variance.
//!
//! Invariant: only histograms have a result.

use base::histogram::{Histogram, is_tag};

use crate::evaluate::{ABSENT, EvalError, Table, TableCall};
use crate::histogram::variance;

/// `histogram_count`
pub(super) fn count(call: TableCall<'_>) -> Result<Table, EvalError> {
    each(call, |histogram| histogram.count)
}

/// `histogram_sum`
pub(super) fn sum(call: TableCall<'_>) -> Result<Table, EvalError> {
    each(call, |histogram| histogram.sum)
}

/// `histogram_avg`
pub(super) fn avg(call: TableCall<'_>) -> Result<Table, EvalError> {
    each(call, |histogram| histogram.sum / histogram.count)
}

/// `histogram_stdvar`
pub(super) fn stdvar(call: TableCall<'_>) -> Result<Table, EvalError> {
    each(call, variance)
}

/// `histogram_stddev`
pub(super) fn stddev(call: TableCall<'_>) -> Result<Table, EvalError> {
    each(call, |histogram| variance(histogram).sqrt())
}

fn each(call: TableCall<'_>, value: impl Fn(&Histogram) -> f64) -> Result<Table, EvalError> {
    let TableCall { context, mut table, .. } = call;
    for cell in table.cells_mut() {
        let histogram = if is_tag(*cell) { context.histogram(*cell) } else { None };
        *cell = histogram.map_or(ABSENT, |histogram| value(&histogram));
    }
    table.set_floats_only();
    table.drop_empty_rows();
    table.drop_names()
}
