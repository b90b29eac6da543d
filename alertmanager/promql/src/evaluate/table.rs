//! Series in rows, steps in columns.
//!
//! ```text
//!              step 0   step 1   step 2
//! up{job="a"}       1   absent        1
//! up{job="b"}       0        0        0
//! ```
//!
//! All cells are in one piece of memory, row behind row. A cell without a value holds [`ABSENT`], a
//! not-a-number that no value can be, because samples with it end a series. Other such numbers stand
//! for native histograms, which are in a table beside the cells.
//!
//! Invariant: a row has at least one value, and no two rows have the same labels.

use std::collections::HashMap;

use base::histogram::is_tag;
use base::labels::Labels;

use super::context::Lease;
use super::key::{Key, KeyRef, Naming};
use super::{Context, EvalError};
use crate::functions::labels::Relabel;

/// The cell of a series that has no value at a step: the bits of [`base::sample::Ended::Gone`].
pub(crate) const ABSENT: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

/// How many rows are changed between two looks whether the evaluation may go on.
const CHECK_EVERY: usize = 1024;

/// What counts as a sample of the labels that a query makes.
const BYTES_OF_A_SAMPLE: usize = 16;

/// Whether a cell has no value.
#[inline]
pub(crate) fn is_absent(cell: f64) -> bool {
    cell.to_bits() == ABSENT.to_bits()
}

/// Takes series one by one, each with a cell for every step and a value in one of them at least.
pub(crate) trait Sink {
    fn push(&mut self, key: KeyRef<'_>, cells: &[f64]) -> Result<(), EvalError>;
}

#[derive(Debug)]
pub(crate) struct Table {
    keys: Vec<Key>,
    cells: Vec<f64>,
    steps: usize,
    lease: Lease,
    /// What becomes of names that have to go.
    dropped: Naming,
    /// Whether there can be histograms among the cells.
    watch: bool,
    /// Whether there are.
    native: bool,
}

impl Sink for Table {
    fn push(&mut self, key: KeyRef<'_>, cells: &[f64]) -> Result<(), EvalError> {
        self.add(key.to_key(), cells)
    }
}

/// Whether one of the cells has a value.
pub(crate) fn has_value(cells: &[f64]) -> bool {
    cells.iter().any(|cell| !is_absent(*cell))
}

impl Table {
    /// A table without rows.
    pub(crate) fn new(context: &Context<'_>, steps: usize) -> Self {
        let (lease, watch) = (context.lease(), context.has_native());
        let (keys, cells, dropped) = (Vec::new(), Vec::new(), context.without_name());
        Self { keys, cells, steps, lease, dropped, watch, native: false }
    }

    /// Adds a row.
    #[inline]
    pub(crate) fn add(&mut self, key: Key, cells: &[f64]) -> Result<(), EvalError> {
        debug_assert!(has_value(cells) && cells.len() == self.steps, "{key:?}: {cells:?}");
        self.lease.extend(self.steps)?;
        self.native |= self.watch && cells.iter().fold(false, |any, cell| any | is_tag(*cell));
        self.keys.push(key);
        self.cells.extend_from_slice(cells);
        Ok(())
    }

    /// Whether there are native histograms among the values.
    #[inline]
    pub(crate) fn has_native(&self) -> bool {
        self.native
    }

    pub(crate) fn set_floats_only(&mut self) {
        self.native = false;
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(crate) fn steps(&self) -> usize {
        self.steps
    }

    pub(crate) fn key(&self, row: usize) -> &Key {
        &self.keys[row]
    }

    pub(crate) fn row(&self, row: usize) -> &[f64] {
        &self.cells[row * self.steps..][..self.steps]
    }

    pub(crate) fn row_mut(&mut self, row: usize) -> &mut [f64] {
        &mut self.cells[row * self.steps..][..self.steps]
    }

    /// All cells, row behind row.
    pub(crate) fn cells_mut(&mut self) -> &mut [f64] {
        &mut self.cells
    }

    /// Keeps the rows that `keep` accepts, by their number.
    fn retain_rows(&mut self, keep: impl Fn(usize) -> bool) {
        let mut kept = 0;
        for row in 0..self.keys.len() {
            if !keep(row) {
                continue;
            }
            if kept != row {
                self.keys.swap(kept, row);
                self.cells.copy_within(row * self.steps..(row + 1) * self.steps, kept * self.steps);
            }
            kept += 1;
        }
        self.keys.truncate(kept);
        self.cells.truncate(kept * self.steps);
    }

    /// Drops the rows that have lost all their values.
    pub(crate) fn drop_empty_rows(&mut self) {
        let full: Vec<_> = (0..self.len()).map(|row| has_value(self.row(row))).collect();
        if full.contains(&false) {
            self.retain_rows(|row| full[row]);
        }
    }

    /// Puts the rows into another order, or leaves some out.
    #[must_use]
    pub(crate) fn with_rows(self, rows: &[usize]) -> Self {
        let mut cells = Vec::with_capacity(rows.len() * self.steps);
        rows.iter().for_each(|row| cells.extend_from_slice(self.row(*row)));
        let keys = rows.iter().map(|row| self.keys[*row].clone()).collect();
        Self { keys, cells, ..self }
    }

    /// Changes the labels of every row, which may then be the same for several; see
    /// [`Table::unique`].
    pub(crate) fn relabel(&mut self, mut change: impl FnMut(&Key) -> Key) {
        self.keys.iter_mut().for_each(|key| *key = change(key));
    }

    /// As [`Table::relabel`], by what a query says: what its labels take counts as samples do (X26).
    ///
    /// # Errors
    ///
    /// They take too much, or the evaluation was ended.
    pub(crate) fn relabel_by(
        &mut self,
        context: &Context<'_>,
        relabel: &Relabel,
    ) -> Result<(), EvalError> {
        for (row, key) in self.keys.iter_mut().enumerate() {
            if row.is_multiple_of(CHECK_EVERY) {
                context.check()?;
            }
            let changed = relabel.apply(key)?;
            let pairs = changed.as_ref().iter();
            let bytes: usize = pairs.map(|(name, value)| name.len() + value.len()).sum();
            self.lease.extend(bytes / BYTES_OF_A_SAMPLE)?;
            *key = changed;
        }
        Ok(())
    }

    /// Drops the labels that say what the metric is.
    ///
    /// # Errors
    ///
    /// As [`Table::unique`].
    pub(crate) fn drop_names(mut self) -> Result<Self, EvalError> {
        // What goes later is told apart until then.
        let clash = self.dropped == Naming::Gone && self.may_clash();
        self.keys.iter_mut().for_each(|key| key.set_naming(self.dropped));
        if clash { self.unique() } else { Ok(self) }
    }

    /// Drops the labels that were to go at the end of the evaluation.
    ///
    /// # Errors
    ///
    /// As [`Table::unique`].
    pub(crate) fn at_the_end(mut self) -> Result<Self, EvalError> {
        let mut any = false;
        for key in self.keys.iter_mut().filter(|key| key.as_ref().is_doomed()) {
            key.set_naming(Naming::Gone);
            any = true;
        }
        if any { self.unique() } else { Ok(self) }
    }

    /// Whether rows may become the same when they lose the labels that say what the metric is.
    pub(crate) fn may_clash(&self) -> bool {
        // What all of them share, or have lost already, does not tell them apart.
        let mut keys = self.keys.iter().map(Key::as_ref);
        match keys.next() {
            None => false,
            Some(first) if first.is_nameless() => keys.any(|key| !key.is_nameless()),
            Some(first) => {
                let first = first.metadata();
                keys.any(|key| key.is_nameless() || key.metadata() != first)
            }
        }
    }

    /// Whether rows that have lost the labels that say what the metric is may be the same.
    pub(crate) fn may_have_clashed(&self) -> bool {
        let mut keys = self.keys.iter().map(|key| key.as_ref().metadata());
        if self.dropped == Naming::Doomed {
            return false;
        }
        keys.next().is_some_and(|first| keys.any(|other| other != first))
    }

    /// Makes one row of those that have the same labels.
    ///
    /// # Errors
    ///
    /// Two of them have a value at the same step.
    pub(crate) fn unique(mut self) -> Result<Self, EvalError> {
        let mut first: HashMap<Labels, usize> = HashMap::with_capacity(self.len());
        let mut doubles = vec![false; self.len()];
        for (row, double) in doubles.iter_mut().enumerate() {
            let before = *first.entry(self.keys[row].to_labels()).or_insert(row);
            if before == row {
                continue;
            }
            *double = true;
            let (above, below) = self.cells.split_at_mut(row * self.steps);
            let target = &mut above[before * self.steps..][..self.steps];
            for (to, from) in target.iter_mut().zip(&below[..self.steps]) {
                match (is_absent(*to), is_absent(*from)) {
                    (_, true) => {}
                    (true, false) => *to = *from,
                    (false, false) => {
                        let message = "vector cannot contain metrics with the same labelset";
                        return Err(EvalError::Query(message.to_owned()));
                    }
                }
            }
        }
        if doubles.contains(&true) {
            self.retain_rows(|row| !doubles[row]);
        }
        Ok(self)
    }

    /// The rows of both tables; the labels of the two may overlap, see [`Table::unique`].
    #[must_use]
    pub(crate) fn joined(mut self, mut other: Self) -> Self {
        self.keys.append(&mut other.keys);
        self.cells.append(&mut other.cells);
        self.native |= other.native;
        self.lease.join(other.lease);
        self
    }

    /// A row of ones at the steps where no row has a value.
    pub(crate) fn where_absent(&self, context: &Context<'_>, key: Key) -> Result<Self, EvalError> {
        let mut absent = Self::new(context, self.steps);
        let mut cells = vec![1.0; self.steps];
        for row in 0..self.len() {
            for (to, from) in cells.iter_mut().zip(self.row(row)) {
                if !is_absent(*from) {
                    *to = ABSENT;
                }
            }
        }
        if has_value(&cells) {
            absent.add(key, &cells)?;
        }
        Ok(absent)
    }
}

#[cfg(test)]
mod tests {
    use base::sample::Ended;

    use super::*;
    use crate::evaluate::{Options, Range};

    fn table(rows: &[(&str, &[f64])]) -> Table {
        let (options, range) = (Options::default(), Range::instant(Default::default()));
        let context = Context::new(&options, range, &Default::default());
        let mut table = Table::new(&context, rows[0].1.len());
        for (label, cells) in rows {
            let labels: Labels = [("__name__", *label), ("a", &label[..1])].into_iter().collect();
            table.add(Key::from(labels), cells).unwrap();
        }
        table
    }

    fn text(table: &Table) -> String {
        let cell = |c: &f64| if is_absent(*c) { "_".to_owned() } else { c.to_string() };
        let row = |n: usize| {
            let cells: Vec<_> = table.row(n).iter().map(cell).collect();
            format!("{} {}", table.key(n).to_labels(), cells.join(" "))
        };
        (0..table.len()).map(row).collect::<Vec<_>>().join("; ")
    }

    const A: f64 = ABSENT;

    #[test]
    fn absent_is_the_marker_that_ends_a_series() {
        assert!(is_absent(Ended::Gone.value()) && !is_absent(f64::NAN) && !is_absent(-A));
    }

    #[test]
    fn rows_that_lose_their_values_are_dropped() {
        let mut table = table(&[("x", &[A, 1.0]), ("z", &[2.0, A])]);
        assert_eq!(text(&table), r#"x{a="x"} _ 1; z{a="z"} 2 _"#);
        table.row_mut(0).fill(A);
        table.drop_empty_rows();
        assert_eq!(text(&table), r#"z{a="z"} 2 _"#);
    }

    #[test]
    fn rows_that_lose_their_names_become_one_or_an_error() {
        let apart = table(&[("x", &[A, 1.0]), ("z", &[3.0, A]), ("xx", &[2.0, A])]);
        assert_eq!(text(&apart.drop_names().unwrap()), r#"{a="x"} 2 1; {a="z"} 3 _"#);
        let together = table(&[("x", &[A, 1.0]), ("xx", &[2.0, 3.0])]);
        let error = together.drop_names().unwrap_err().to_string();
        assert_eq!(error, "vector cannot contain metrics with the same labelset");
    }

    #[test]
    fn rows_are_reordered_and_joined() {
        let one = table(&[("x", &[1.0]), ("y", &[2.0])]).with_rows(&[1, 0]);
        let two = one.joined(table(&[("z", &[3.0])]));
        assert_eq!(text(&two), r#"y{a="y"} 2; x{a="x"} 1; z{a="z"} 3"#);
    }
}
