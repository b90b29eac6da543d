//! Aggregations that take the values of a group one by one.
//!
//! Invariant: a cell of a group has a value exactly where one of its series has.

use super::super::context::Lease;
use super::super::key::{Key, KeyRef};
use super::super::table::{Sink, is_absent};
use super::super::{ABSENT, Context, EvalError, Groups, Table};
use crate::ast::AggregateOp;
use crate::numeric::{Mean, Sum, Variance};
use crate::plan::AggregatePlan;

/// A calculation for each group and step.
pub(crate) struct Fold<'a> {
    context: &'a Context<'a>,
    groups: Groups<'a>,
    steps: usize,
    cells: Cells,
    lease: Lease,
}

/// The state of the calculation, group behind group, a cell for each step.
enum Cells {
    Sum(Vec<Option<Sum>>),
    Avg(Vec<Option<Mean>>),
    Count(Vec<f64>),
    Min(Vec<f64>),
    Max(Vec<f64>),
    Group(Vec<f64>),
    Variance(Vec<Option<Variance>>),
    Deviation(Vec<Option<Variance>>),
}

impl<'a> Fold<'a> {
    /// The calculation of `plan`, if it is of this kind.
    pub(crate) fn new(
        context: &'a Context<'a>,
        plan: &'a AggregatePlan,
        steps: usize,
    ) -> Option<Self> {
        let cells = match plan.op {
            AggregateOp::Sum => Cells::Sum(Vec::new()),
            AggregateOp::Avg => Cells::Avg(Vec::new()),
            AggregateOp::Count => Cells::Count(Vec::new()),
            AggregateOp::Min => Cells::Min(Vec::new()),
            AggregateOp::Max => Cells::Max(Vec::new()),
            AggregateOp::Group => Cells::Group(Vec::new()),
            AggregateOp::Stdvar => Cells::Variance(Vec::new()),
            AggregateOp::Stddev => Cells::Deviation(Vec::new()),
            _ => return None,
        };
        let groups = Groups::new(&plan.keep);
        Some(Self { context, groups, steps, cells, lease: context.lease() })
    }

    /// Takes the cells of a series.
    pub(crate) fn add(&mut self, key: KeyRef<'_>, row: &[f64]) -> Result<(), EvalError> {
        let before = self.groups.len();
        let group = self.groups.number(key);
        if self.groups.len() > before {
            // A cell takes up to four times what a value takes.
            self.lease.extend(self.steps.saturating_mul(4))?;
            self.context.check()?;
        }
        let (start, end) = (group * self.steps, (group + 1) * self.steps);
        match &mut self.cells {
            Cells::Sum(cells) => {
                each(cells, start, end, row, None, |cell, value| match cell {
                    Some(sum) => sum.add(value),
                    None => cell.insert(Sum::default()).add(value),
                });
            }
            Cells::Avg(cells) => each(cells, start, end, row, None, |cell, value| {
                cell.get_or_insert_default().add(value);
            }),
            Cells::Variance(cells) | Cells::Deviation(cells) => {
                each(cells, start, end, row, None, |cell, value| {
                    cell.get_or_insert_default().add(value);
                });
            }
            Cells::Count(cells) => each(cells, start, end, row, ABSENT, |cell, _| {
                *cell = if is_absent(*cell) { 1.0 } else { *cell + 1.0 };
            }),
            Cells::Min(cells) => each(cells, start, end, row, ABSENT, |cell, value| {
                // Also where the cell is absent, which is not a number.
                if value < *cell || cell.is_nan() {
                    *cell = value;
                }
            }),
            Cells::Max(cells) => each(cells, start, end, row, ABSENT, |cell, value| {
                if value > *cell || cell.is_nan() {
                    *cell = value;
                }
            }),
            Cells::Group(cells) => each(cells, start, end, row, ABSENT, |cell, _| *cell = 1.0),
        }
        Ok(())
    }

    /// The series of the groups.
    pub(crate) fn finish(self) -> Result<Table, EvalError> {
        let Self { context, groups, steps, cells, lease: _lease } = self;
        let values: Vec<f64> = match cells {
            Cells::Sum(cells) => values(cells, Sum::value),
            Cells::Avg(cells) => values(cells, Mean::value),
            Cells::Variance(cells) => values(cells, Variance::value),
            Cells::Deviation(cells) => values(cells, |variance| variance.value().sqrt()),
            Cells::Count(cells) | Cells::Min(cells) | Cells::Max(cells) | Cells::Group(cells) => {
                cells
            }
        };
        let mut table = Table::new(context, steps);
        for group in 0..groups.len() {
            table.add(groups.key(group), &values[group * steps..(group + 1) * steps])?;
        }
        Ok(table)
    }
}

/// Adds up series that lost their names, and watches whether they had the same one: series of several
/// metrics might have become the same. Native histograms are not for it, either.
pub(crate) struct OneMetric<'a> {
    fold: Fold<'a>,
    /// The labels of the first series.
    first: Option<Key>,
    several: bool,
}

impl<'a> OneMetric<'a> {
    pub(crate) fn new(fold: Fold<'a>) -> Self {
        Self { fold, first: None, several: false }
    }

    /// What has been added up, if it was of one metric.
    pub(crate) fn into_fold(self) -> Option<Fold<'a>> {
        (!self.several).then_some(self.fold)
    }
}

impl Sink for OneMetric<'_> {
    fn push(&mut self, key: KeyRef<'_>, cells: &[f64]) -> Result<(), EvalError> {
        if self.fold.context.any_native(cells) {
            self.several = true;
        }
        if key.is_nameless() {
            let first = self.first.get_or_insert_with(|| key.to_key());
            self.several |= first.as_ref().metadata() != key.metadata();
        }
        self.fold.add(key, cells)
    }
}

/// Adds each value of `row` to its cell; `empty` is what a new cell holds.
fn each<T: Clone>(
    cells: &mut Vec<T>,
    start: usize,
    end: usize,
    row: &[f64],
    empty: T,
    add: impl Fn(&mut T, f64),
) {
    if cells.len() < end {
        cells.resize(end, empty);
    }
    for (cell, value) in cells[start..end].iter_mut().zip(row) {
        if !is_absent(*value) {
            add(cell, *value);
        }
    }
}

fn values<T: Copy>(cells: Vec<Option<T>>, value: impl Fn(T) -> f64) -> Vec<f64> {
    cells.into_iter().map(|cell| cell.map_or(ABSENT, &value)).collect()
}
