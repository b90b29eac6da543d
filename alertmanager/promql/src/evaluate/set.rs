//! `and`, `or`, `unless`: which series of one side have a partner on the other.
//!
//! Invariant: values are passed on as they are, and so are labels, the metric name included.

use super::grouping::Groups;
use super::table::{Table, is_absent};
use super::{ABSENT, EvalError};
use crate::ast::BinaryOp;
use crate::plan::SetPlan;

/// The series that a set operator chooses of both sides.
pub(crate) fn combined(
    plan: &SetPlan,
    mut left: Table,
    mut right: Table,
) -> Result<Table, EvalError> {
    let mut groups = Groups::new(&plan.keep);
    if plan.op == BinaryOp::Or {
        let present = Presence::new(&left, &mut groups);
        present.choose(&mut right, &mut groups, false);
        let joined = left.joined(right);
        return joined.unique();
    }
    let present = Presence::new(&right, &mut groups);
    present.choose(&mut left, &mut groups, plan.op == BinaryOp::And);
    Ok(left)
}

/// At which steps each group has a value.
struct Presence {
    steps: usize,
    cells: Vec<bool>,
}

impl Presence {
    fn new(table: &Table, groups: &mut Groups<'_>) -> Self {
        let steps = table.steps();
        let mut cells = Vec::new();
        for row in 0..table.len() {
            let start = groups.number(table.key(row).as_ref()) * steps;
            cells.resize(groups.len() * steps, false);
            for (to, from) in cells[start..start + steps].iter_mut().zip(table.row(row)) {
                *to |= !is_absent(*from);
            }
        }
        Self { steps, cells }
    }

    /// Keeps the values at the steps where the group of their series is present, or is not.
    fn choose(&self, table: &mut Table, groups: &mut Groups<'_>, where_present: bool) {
        for row in 0..table.len() {
            match groups.find(table.key(row).as_ref()) {
                None if where_present => table.row_mut(row).fill(ABSENT),
                None => {}
                Some(group) => {
                    let present = &self.cells[group * self.steps..][..self.steps];
                    for (cell, present) in table.row_mut(row).iter_mut().zip(present) {
                        if *present != where_present {
                            *cell = ABSENT;
                        }
                    }
                }
            }
        }
        table.drop_empty_rows();
    }
}
