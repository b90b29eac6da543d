//! `topk` and `bottomk`: the series of each group with the largest or smallest values.
//!
//! Invariant: which of equal values are chosen is left open by the language; they are those that a
//! binary heap of the chosen keeps, as it does in Prometheus. What is not a number is chosen last.

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
    let mut chosen = Chosen { heap: Vec::new(), largest };
    for step in 0..table.steps() {
        context.check()?;
        // Negative numbers become zero.
        let k = k.at(step) as usize;
        for rows in &members.rows {
            chosen.heap.clear();
            for row in rows {
                let cell = table.row(*row)[step];
                if is_absent(cell) {
                    continue;
                }
                if let Some(left) = chosen.offer((cell, *row), k) {
                    table.row_mut(left)[step] = ABSENT;
                }
            }
            if !context.has_steps() {
                chosen.heap.sort_unstable_by(|a, b| compare(a.0, b.0, largest).then(a.1.cmp(&b.1)));
                order.extend(chosen.heap.iter().map(|(_, row)| *row));
            }
        }
    }
    if !context.has_steps() && table.steps() == 1 {
        return Ok(table.with_rows(&order));
    }
    table.drop_empty_rows();
    Ok(table)
}

/// The values that are chosen so far, with their rows: the one that goes first is the first.
struct Chosen {
    heap: Vec<(f64, usize)>,
    largest: bool,
}

impl Chosen {
    /// Takes a value where it is one of the `k` first; returns the row of the one that is none.
    fn offer(&mut self, new: (f64, usize), k: usize) -> Option<usize> {
        if self.heap.len() < k {
            self.heap.push(new);
            self.rise();
            return None;
        }
        let Some(first) = self.heap.first_mut() else { return Some(new.1) };
        if compare(new.0, first.0, self.largest) != Ordering::Less {
            return Some(new.1);
        }
        let left = std::mem::replace(first, new);
        self.sink();
        Some(left.1)
    }

    /// Whether the one at `a` goes before the one at `b`.
    fn goes_before(&self, a: usize, b: usize) -> bool {
        let (a, b) = (self.heap[a].0, self.heap[b].0);
        a.is_nan() || if self.largest { a < b } else { a > b }
    }

    /// Puts the last one into its place.
    fn rise(&mut self) {
        let mut at = self.heap.len() - 1;
        while at > 0 && self.goes_before(at, (at - 1) / 2) {
            self.heap.swap(at, (at - 1) / 2);
            at = (at - 1) / 2;
        }
    }

    /// Puts the first one into its place.
    fn sink(&mut self) {
        let mut at = 0;
        loop {
            let (mut next, other) = (2 * at + 1, 2 * at + 2);
            if next >= self.heap.len() {
                return;
            }
            if other < self.heap.len() && self.goes_before(other, next) {
                next = other;
            }
            if !self.goes_before(next, at) {
                return;
            }
            self.heap.swap(at, next);
            at = next;
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of `values` are chosen, by their numbers.
    #[track_caller]
    fn check(values: &[f64], k: usize, largest: bool, expected: &[usize]) {
        let mut chosen = Chosen { heap: Vec::new(), largest };
        let mut left: Vec<usize> =
            values.iter().enumerate().filter_map(|(n, v)| chosen.offer((*v, n), k)).collect();
        let mut rows: Vec<usize> = chosen.heap.iter().map(|(_, row)| *row).collect();
        rows.sort_unstable();
        assert_eq!(rows, expected, "{values:?}");
        left.extend(rows);
        left.sort_unstable();
        assert_eq!(left, (0..values.len()).collect::<Vec<_>>(), "each is chosen or left");
    }

    #[test]
    fn the_first_are_chosen_and_of_equal_ones_those_that_a_heap_keeps() {
        check(&[1.0, 3.0, 2.0], 2, true, &[1, 2]);
        check(&[1.0, 3.0, 2.0], 2, false, &[0, 2]);
        check(&[1.0, 1.0, 1.0], 2, true, &[0, 1]);
        check(&[0.0, 1.0, 0.0, 1.0], 2, true, &[1, 3]);
        check(&[0.0, 0.0, 0.0, 1.0], 3, true, &[1, 2, 3]);
        check(&[1.0, 1.0, 1.0, 0.0, 0.0], 3, false, &[2, 3, 4]);
        check(&[f64::NAN, 1.0, f64::NAN, 0.0], 2, true, &[1, 3]);
        check(&[f64::NAN, f64::NAN, 1.0], 5, true, &[0, 1, 2]);
        check(&[1.0], 0, true, &[]);
    }
}
