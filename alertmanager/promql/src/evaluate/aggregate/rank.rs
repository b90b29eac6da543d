//! `topk` and `bottomk`: the series of each group with the largest or smallest values.
//!
//! Invariant: of equal values the one whose series comes first is chosen, and what is not a number
//! is chosen last.

use std::cmp::Ordering;

use super::super::table::{Table, is_absent};
use super::super::{ABSENT, Context, EvalError};
use super::{Column, Members};
use crate::numeric::smaller_first;

/// Keeps the `k` first of each group at each step; of an instant query in their order.
pub(super) fn ranked(
    context: &Context<'_>,
    mut table: Table,
    members: &Members<'_>,
    k: &Column,
    largest: bool,
) -> Result<Table, EvalError> {
    for value in k.values() {
        check_k(*value)?;
    }
    let mut order = Vec::new();
    let mut candidates: Vec<(f64, usize)> = Vec::new();
    for step in 0..table.steps() {
        context.check()?;
        // Negative numbers become zero.
        let k = k.at(step) as usize;
        for rows in &members.rows {
            candidates.clear();
            let value = |row: &usize| (table.row(*row)[step], *row);
            candidates.extend(rows.iter().map(value).filter(|(cell, _)| !is_absent(*cell)));
            let compare =
                |a: &(f64, usize), b: &(f64, usize)| compare(a.0, b.0, largest).then(a.1.cmp(&b.1));
            if k == 0 {
                // Nothing is chosen, and there is no place to divide at.
            } else if k < candidates.len() {
                candidates.select_nth_unstable_by(k - 1, compare);
            }
            let k = k.min(candidates.len());
            for (_, row) in &candidates[k..] {
                table.row_mut(*row)[step] = ABSENT;
            }
            if !context.has_steps() {
                candidates[..k].sort_unstable_by(compare);
                order.extend(candidates[..k].iter().map(|(_, row)| *row));
            }
        }
    }
    if !context.has_steps() && table.steps() == 1 {
        return Ok(table.with_rows(&order));
    }
    table.drop_empty_rows();
    Ok(table)
}

pub(super) fn check_k(k: f64) -> Result<(), EvalError> {
    if k.is_nan() {
        Err(EvalError::Query("Parameter value is NaN".to_owned()))
    } else if k.abs() >= 2_f64.powi(63) {
        let k = base::number::shortest(k);
        Err(EvalError::Query(format!("Scalar value {k} overflows int64")))
    } else {
        Ok(())
    }
}

fn compare(a: f64, b: f64, largest: bool) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (false, false) if largest => smaller_first(b, a),
        (false, false) => smaller_first(a, b),
        (a, b) => a.cmp(&b),
    }
}
