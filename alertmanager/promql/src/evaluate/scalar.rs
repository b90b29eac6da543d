//! Numbers that are the same for all series: one for each step, or one for all of them.
//!
//! Invariant: a scalar has a value at every step; where there is none it is not a number.

use base::histogram::is_tag;

use super::context::Lease;
use super::key::Key;
use super::table::{Table, is_absent};
use super::{Context, EvalError, Steps};

fn is_no_float(cell: f64) -> bool {
    is_absent(cell) || is_tag(cell)
}

#[derive(Debug)]
pub(crate) enum Column {
    Constant(f64),
    Each(Vec<f64>, Lease),
}

impl Column {
    fn each(
        context: &Context<'_>,
        count: usize,
        values: impl Iterator<Item = f64>,
    ) -> Result<Self, EvalError> {
        let mut lease = context.lease();
        lease.extend(count)?;
        Ok(Self::Each(values.collect(), lease))
    }

    /// The times of the steps, in seconds.
    pub(crate) fn times(context: &Context<'_>, steps: Steps) -> Result<Self, EvalError> {
        Self::each(context, steps.count, (0..steps.count).map(|n| steps.time(n) as f64 / 1000.0))
    }

    /// The values of the only series of a table, or not a number where there is not one.
    pub(crate) fn of_table(context: &Context<'_>, table: &Table) -> Result<Self, EvalError> {
        let value = |step: usize| {
            let mut cells =
                (0..table.len()).map(|row| table.row(row)[step]).filter(|cell| !is_no_float(*cell));
            match (cells.next(), cells.next()) {
                (Some(value), None) => value,
                _ => f64::NAN,
            }
        };
        Self::each(context, table.steps(), (0..table.steps()).map(value))
    }

    /// A table whose only row, without labels, has these values.
    pub(crate) fn into_table(
        self,
        context: &Context<'_>,
        steps: usize,
    ) -> Result<Table, EvalError> {
        let mut table = Table::new(context, steps);
        if steps > 0 {
            match self {
                Self::Constant(value) => {
                    // Asked for first, because the steps of a subquery may be any number.
                    let Self::Each(values, _lease) =
                        Self::each(context, steps, std::iter::repeat_n(value, steps))?
                    else {
                        return Ok(table);
                    };
                    table.add(Key::empty(), &values)?;
                }
                Self::Each(values, _lease) => table.add(Key::empty(), &values)?,
            }
        }
        Ok(table)
    }

    /// The value at a step.
    #[inline]
    pub(crate) fn at(&self, step: usize) -> f64 {
        match self {
            Self::Constant(value) => *value,
            Self::Each(values, _) => values[step],
        }
    }

    pub(crate) fn change(&mut self, change: impl Fn(f64) -> f64) {
        match self {
            Self::Constant(value) => *value = change(*value),
            Self::Each(values, _) => values.iter_mut().for_each(|value| *value = change(*value)),
        }
    }

    /// The values, at least one; of a constant only the one.
    pub(crate) fn values(&self) -> &[f64] {
        match self {
            Self::Constant(value) => std::slice::from_ref(value),
            Self::Each(values, _) => values,
        }
    }
}
