//! Operators between series of two sides that belong together.
//!
//! ```text
//! many side   a{x="1",y="1"} ─┐
//!             a{x="1",y="2"} ─┴─ {x="1"} ─── b{x="1",z="7"}   one side
//! ```
//!
//! Invariant: at no step does a group have two series on the one side; where each side is to be the
//! one, it has none with two on either.

use std::collections::HashMap;
use std::fmt;

use base::labels::{Labels, LabelsBuilder};

use super::grouping::{Groups, TextHashes};
use super::key::{Key, Naming};
use super::mixed::Operator;
use super::operator::between_cells;
use super::table::{Table, has_value, is_absent};
use super::{ABSENT, Context, EvalError};
use crate::plan::{Cardinality, Keep, MatchPlan};
use crate::print::{Name, Quoted};

/// The result of the operator for all series that match.
pub(crate) fn matched(
    context: &Context<'_>,
    plan: &MatchPlan,
    left: &Table,
    right: &Table,
) -> Result<Table, EvalError> {
    let swapped = plan.cardinality == Cardinality::OneToMany;
    let (many, one) = if swapped { (right, left) } else { (left, right) };
    let mut result = Table::new(context, many.steps());
    let [fill_one, fill_many] = if swapped { plan.fill } else { [plan.fill[1], plan.fill[0]] };
    let fills = fill_one.is_some() || fill_many.is_some();
    if !fills && (many.len() == 0 || one.len() == 0) {
        return Ok(result);
    }
    let mut groups = Groups::new(&plan.keep);
    let mut partners: Vec<Vec<usize>> = Vec::new();
    for row in 0..one.len() {
        let group = groups.number(one.key(row).as_ref());
        partners.resize_with(groups.len(), Vec::new);
        partners[group].push(row);
    }
    if fills {
        (0..many.len()).for_each(|row| {
            groups.number(many.key(row).as_ref());
        });
        partners.resize_with(groups.len(), Vec::new);
    }
    check_one_side(plan, many, one, &groups, &partners)?;
    let mut merged = Merged::new(plan, many, groups.len());
    let mut cells = vec![ABSENT; many.steps()];
    let native = many.has_native() || one.has_native() || plan.op.is_trim();
    let MatchPlan { op, returns_bool, span, .. } = *plan;
    let operator = Operator { context, op, returns_bool, span };
    let calculate = |many: &[f64], one: &[f64], cells: &mut [f64]| {
        let (a, b) = if swapped { (one, many) } else { (many, one) };
        if native {
            return operator.between_rows(a, b, cells);
        }
        between_cells(op, returns_bool, a, b, cells);
        Ok(())
    };
    for row in 0..many.len() {
        if row % 256 == 0 {
            context.check()?;
        }
        let Some(group) = groups.find(many.key(row).as_ref()) else { continue };
        for &partner in &partners[group] {
            calculate(many.row(row), one.row(partner), &mut cells)?;
            if has_value(&cells) {
                let key = result_key(context, plan, many.key(row), one.key(partner));
                merged.add(&mut result, group, key, &cells)?;
            }
        }
        if let Some(value) = fill_one {
            let filled = missing(one, &partners[group], value);
            calculate(many.row(row), &filled, &mut cells)?;
            if has_value(&cells) {
                let lone = Key::from(groups.labels(group).clone());
                let key = result_key(context, plan, many.key(row), &lone);
                merged.add(&mut result, group, key, &cells)?;
            }
        }
    }
    let Some(value) = fill_many else { return Ok(result) };
    let mut members: Vec<Vec<usize>> = vec![Vec::new(); groups.len()];
    for row in 0..many.len() {
        if let Some(group) = groups.find(many.key(row).as_ref()) {
            members[group].push(row);
        }
    }
    for (group, rows) in partners.iter().enumerate() {
        let filled = missing(many, &members[group], value);
        for &row in rows {
            calculate(&filled, one.row(row), &mut cells)?;
            if has_value(&cells) {
                let lone = Key::from(groups.labels(group).clone());
                let key = result_key(context, plan, &lone, one.key(row));
                merged.add(&mut result, group, key, &cells)?;
            }
        }
    }
    Ok(result)
}

/// `value` at the steps where none of these rows has one.
fn missing(table: &Table, rows: &[usize], value: f64) -> Vec<f64> {
    let present = |step: usize| rows.iter().any(|row| !is_absent(table.row(*row)[step]));
    (0..table.steps()).map(|step| if present(step) { ABSENT } else { value }).collect()
}

/// Refuses groups with two series on the one side at the same step.
fn check_one_side(
    plan: &MatchPlan,
    many: &Table,
    one: &Table,
    groups: &Groups<'_>,
    partners: &[Vec<usize>],
) -> Result<(), EvalError> {
    let any =
        |table: &Table, step: usize| (0..table.len()).any(|row| !is_absent(table.row(row)[step]));
    for (group, rows) in partners.iter().enumerate().filter(|(_, rows)| rows.len() > 1) {
        for step in 0..one.steps() {
            let mut present = rows.iter().filter(|row| !is_absent(one.row(**row)[step]));
            // Where the other side has nothing at all, nothing is matched, and nothing amiss.
            if let (Some(first), Some(second)) = (present.next(), present.next())
                && any(many, step)
            {
                let mut doubles = [one.key(*first).to_labels(), one.key(*second).to_labels()];
                doubles.sort_unstable();
                let side = match plan.cardinality {
                    Cardinality::OneToMany => "left",
                    Cardinality::OneToOne | Cardinality::ManyToOne => "right",
                };
                return Err(EvalError::Query(format!(
                    "found duplicate series for the match group {} on the {side} hand-side of the \
                     operation: [{}, {}];many-to-many matching not allowed: matching labels must \
                     be unique on one side",
                    Braces(groups.labels(group)),
                    Braces(&doubles[0]),
                    Braces(&doubles[1]),
                )));
            }
        }
    }
    Ok(())
}

/// The labels of a result.
fn result_key(context: &Context<'_>, plan: &MatchPlan, many: &Key, one: &Key) -> Key {
    let chooses = plan.op.is_comparison() && !plan.returns_bool || plan.op.is_trim();
    let key = if chooses {
        many.clone()
    } else if plan.op.is_comparison() {
        many.without_name(context.without_name())
    } else {
        // What is calculated of two metrics is neither, and has the name of neither at any time.
        many.without_name(Naming::Gone)
    };
    if plan.cardinality == Cardinality::OneToOne {
        let kept = match &plan.keep {
            Keep::Only(names) => Labels::from_sorted(
                key.as_ref().iter().filter(|(n, _)| names.iter().any(|k| k == n)),
            ),
            Keep::Except(names) if names.is_empty() => return key,
            Keep::Except(names) => Labels::from_sorted(
                key.as_ref().iter().filter(|(n, _)| names.iter().all(|k| k != n)),
            ),
        };
        return key.with_labels(kept);
    }
    if plan.include.is_empty() {
        return key;
    }
    let mut labels = LabelsBuilder::from(&key.to_labels());
    for name in &plan.include {
        labels.set(name, one.get(name).unwrap_or(""));
    }
    key.with_labels(labels.build())
}

/// Where the results with the same labels go.
struct Merged {
    /// The row with these labels, and the group that it is of; only where series of several groups
    /// may become the same.
    rows: Option<HashMap<Labels, (usize, usize), TextHashes>>,
    /// The rows of each group, for which the one side must stay one.
    of_group: Vec<Vec<usize>>,
}

impl Merged {
    fn new(plan: &MatchPlan, many: &Table, groups: usize) -> Self {
        // What is the one on both sides has the labels of its group, and perhaps a name.
        let one_to_one = plan.cardinality == Cardinality::OneToOne;
        let filled = plan.fill.iter().any(Option::is_some);
        let may_clash = !one_to_one && (filled || !plan.include.is_empty() || many.may_clash());
        let rows = may_clash.then(HashMap::default);
        let of_group = if one_to_one { vec![Vec::new(); groups] } else { Vec::new() };
        Self { rows, of_group }
    }

    fn add(
        &mut self,
        result: &mut Table,
        group: usize,
        key: Key,
        cells: &[f64],
    ) -> Result<(), EvalError> {
        let clash = |message: &str| Err(EvalError::Query(message.to_owned()));
        if let Some(rows) = self.of_group.get_mut(group) {
            if rows.iter().any(|row| overlap(result.row(*row), cells)) {
                return clash(
                    "multiple matches for labels: many-to-one matching must be explicit \
                     (group_left/group_right)",
                );
            }
            let same = |row: &&usize| result.key(**row).to_labels() == key.to_labels();
            if let Some(row) = rows.iter().find(same) {
                fill(result.row_mut(*row), cells);
                return Ok(());
            }
            rows.push(result.len());
            return result.add(key, cells);
        }
        let Some(rows) = &mut self.rows else { return result.add(key, cells) };
        match rows.get(&key.to_labels()) {
            None => {
                rows.insert(key.to_labels(), (result.len(), group));
                result.add(key, cells)
            }
            Some((row, other)) if overlap(result.row(*row), cells) => {
                if *other == group {
                    clash("multiple matches for labels: grouping labels must ensure unique matches")
                } else {
                    clash("vector cannot contain metrics with the same labelset")
                }
            }
            Some((row, _)) => {
                fill(result.row_mut(*row), cells);
                Ok(())
            }
        }
    }
}

/// Puts the values of `from` where there are some.
fn fill(to: &mut [f64], from: &[f64]) {
    for (to, from) in to.iter_mut().zip(from).filter(|(_, from)| !is_absent(**from)) {
        *to = *from;
    }
}

fn overlap(a: &[f64], b: &[f64]) -> bool {
    a.iter().zip(b).any(|(a, b)| !is_absent(*a) && !is_absent(*b))
}

/// Prints all labels in braces, the metric name among them.
struct Braces<'a>(&'a Labels);

impl fmt::Display for Braces<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (n, (name, value)) in self.0.iter().enumerate() {
            let separator = if n > 0 { ", " } else { "" };
            write!(f, "{separator}{}={}", Name(name), Quoted(value))?;
        }
        f.write_str("}")
    }
}
