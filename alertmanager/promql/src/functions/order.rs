//! `sort` and `sort_desc`.
//!
//! Invariant: only the order of an instant query's series changes; with steps series are sorted by
//! their labels anyway.

use std::cmp::Ordering;

use crate::evaluate::{EvalError, Table, TableCall};

pub(super) fn ascending(call: TableCall<'_>) -> Result<Table, EvalError> {
    Ok(sorted(call, |a, b| a.total_cmp(&b)))
}

pub(super) fn descending(call: TableCall<'_>) -> Result<Table, EvalError> {
    Ok(sorted(call, |a, b| b.total_cmp(&a)))
}

/// The rows in the order of their values, those that are not a number last.
fn sorted(call: TableCall<'_>, compare: impl Fn(f64, f64) -> Ordering) -> Table {
    let TableCall { context, table, steps, spans, .. } = call;
    if context.has_steps() {
        let message =
            "sort is ineffective for range queries since results are always ordered by labels";
        context.warn(spans.call, message.to_owned());
    }
    if steps.count != 1 {
        return table;
    }
    let mut rows: Vec<_> = (0..table.len()).collect();
    let value = |row: usize| table.row(row)[0];
    rows.sort_by(|&a, &b| {
        let (a, b) = (value(a), value(b));
        a.is_nan().cmp(&b.is_nan()).then_with(|| {
            // Zeros are equal, whatever their sign.
            if a == b { Ordering::Equal } else { compare(a, b) }
        })
    });
    table.with_rows(&rows)
}
