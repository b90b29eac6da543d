//! `quantile` and `count_values`: aggregations that need all values of a group at a time.
//!
//! Invariant: the values of one group at one step are all that is copied at a time.

use std::collections::HashMap;

use base::histogram::is_tag;
use base::labels::Labels;
use base::number;

use super::super::key::Key;
use super::super::table::{Table, is_absent};
use super::super::{ABSENT, Context, EvalError};
use super::{Column, Members};
use crate::plan::Keep;
use crate::{histogram, numeric};

/// A quantile of each group at each step.
pub(super) fn quantiles(
    context: &Context<'_>,
    table: &Table,
    members: &Members<'_>,
    quantile: &Column,
) -> Result<Table, EvalError> {
    let mut result = Table::new(context, table.steps());
    let mut cells = vec![ABSENT; table.steps()];
    let (mut values, mut keys) = (Vec::new(), Vec::new());
    for (group, rows) in members.rows.iter().enumerate() {
        context.check()?;
        for (step, cell) in cells.iter_mut().enumerate() {
            values.clear();
            let value = |row: &usize| table.row(*row)[step];
            values.extend(rows.iter().map(value).filter(|value| !is_absent(*value)));
            *cell = if values.is_empty() {
                ABSENT
            } else {
                numeric::quantile(quantile.at(step), &values, &mut keys)
            };
        }
        result.add(members.groups.key(group), &cells)?;
    }
    Ok(result)
}

/// How often each value occurs in each group; the value becomes the label `label`, which goes again
/// where it is among those that groups are without.
pub(super) fn counted_values(
    context: &Context<'_>,
    table: &Table,
    members: &Members<'_>,
    label: &str,
) -> Result<Table, EvalError> {
    let steps = table.steps();
    let goes = |names: &[String]| names.iter().any(|name| name == label);
    let is_shown = !matches!(members.groups.keep(), Keep::Except(names) if goes(names));
    let mut rows: HashMap<Labels, usize> = HashMap::new();
    let mut labels = Vec::new();
    let mut counts: Vec<f64> = Vec::new();
    let mut lease = context.lease();
    for (group, members_rows) in members.rows.iter().enumerate() {
        context.check()?;
        // Texts of numbers are made once for each number of a group.
        let mut places: HashMap<u64, usize> = HashMap::new();
        for row in members_rows {
            for (step, cell) in table.row(*row).iter().enumerate() {
                if is_absent(*cell) {
                    continue;
                }
                let bits = if cell.is_nan() && !is_tag(*cell) { f64::NAN } else { *cell }.to_bits();
                let place = match places.get(&bits) {
                    Some(place) => *place,
                    None => {
                        let text = match context.histogram(*cell) {
                            Some(histogram) => histogram::text(&histogram),
                            None => number::plain(*cell),
                        };
                        let own = members.groups.labels(group);
                        let wanted = if is_shown { own.with(label, &text) } else { own.clone() };
                        let next = rows.len();
                        let place = *rows.entry(wanted.clone()).or_insert(next);
                        if place == next {
                            lease.extend(steps)?;
                            labels.push(wanted);
                            counts.resize(counts.len() + steps, ABSENT);
                        }
                        places.insert(bits, place);
                        place
                    }
                };
                let count = &mut counts[place * steps + step];
                *count = if is_absent(*count) { 1.0 } else { *count + 1.0 };
            }
        }
    }
    let mut result = Table::new(context, steps);
    for (place, labels) in labels.into_iter().enumerate() {
        result.add(Key::from(labels), &counts[place * steps..][..steps])?;
    }
    Ok(result)
}
