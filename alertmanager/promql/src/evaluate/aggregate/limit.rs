//! `limitk` and `limit_ratio`: some series of each group, whatever their values.
//!
//! Invariant: whether `limit_ratio` chooses a series depends on its labels alone, and a ratio below
//! zero chooses exactly those that its complement does not.

use base::number;

use super::super::table::{Table, is_absent};
use super::super::{ABSENT, Context, EvalError};
use super::rank::check_k;
use super::{Column, Members};
use crate::evaluate::hash::label_hash;
use crate::plan::AggregatePlan;

/// The first `k` series of each group that have a value at a step.
pub(super) fn first(
    mut table: Table,
    members: &Members<'_>,
    k: &Column,
) -> Result<Table, EvalError> {
    for value in k.values() {
        check_k(*value)?;
    }
    for rows in &members.rows {
        for step in 0..table.steps() {
            // Negative numbers become zero.
            let mut left = k.at(step) as usize;
            for row in rows {
                let cell = &mut table.row_mut(*row)[step];
                match left.checked_sub(1) {
                    _ if is_absent(*cell) => {}
                    Some(less) => left = less,
                    None => *cell = ABSENT,
                }
            }
        }
    }
    table.drop_empty_rows();
    Ok(table)
}

/// The series whose hash lies in a share of all hashes.
pub(super) fn share(
    context: &Context<'_>,
    plan: &AggregatePlan,
    mut table: Table,
    ratio: &Column,
) -> Result<Table, EvalError> {
    for value in ratio.values() {
        if value.is_nan() {
            let message = "Ratio value is NaN";
            return Err(EvalError::Query(message.to_owned()));
        }
        let capped = value.clamp(-1.0, 1.0);
        if capped != *value {
            let (got, to) = (number::shortest(*value), number::shortest(capped));
            let message =
                format!("ratio value should be between -1 and 1, got {got}, capping to {to}");
            context.warn(plan.param_span, message);
        }
    }
    for row in 0..table.len() {
        let place = label_hash(&table.key(row).to_labels()) as f64 / u64::MAX as f64;
        for (step, cell) in table.row_mut(row).iter_mut().enumerate() {
            let ratio = ratio.at(step).clamp(-1.0, 1.0);
            let chosen = if ratio >= 0.0 { place < ratio } else { place >= 1.0 + ratio };
            if !chosen {
                *cell = ABSENT;
            }
        }
    }
    table.drop_empty_rows();
    Ok(table)
}
