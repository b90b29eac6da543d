//! Operators between numbers, and between series and a number.
//!
//! Invariant: an absent operand gives an absent result.

use super::scalar::Column;
use super::table::{Table, is_absent};
use super::{ABSENT, EvalError};
use crate::ast::BinaryOp;
use crate::plan::WithScalarPlan;

/// Hands `visit` the function that an operator stands for, so that the loop around it is compiled
/// for each of them.
macro_rules! with_function {
    ($op:expr, $visit:expr) => {
        match $op {
            BinaryOp::Add => $visit(|a: f64, b: f64| a + b),
            BinaryOp::Subtract => $visit(|a: f64, b: f64| a - b),
            BinaryOp::Multiply => $visit(|a: f64, b: f64| a * b),
            BinaryOp::Divide => $visit(|a: f64, b: f64| a / b),
            BinaryOp::Remainder => $visit(|a: f64, b: f64| a % b),
            BinaryOp::Power => $visit(f64::powf),
            BinaryOp::Atan2 => $visit(f64::atan2),
            op => $visit(move |a: f64, b: f64| f64::from(u8::from(compares(op, a, b)))),
        }
    };
}

/// Whether a comparison holds.
#[inline]
fn compares(op: BinaryOp, a: f64, b: f64) -> bool {
    match op {
        BinaryOp::Equal => a == b,
        BinaryOp::NotEqual => a != b,
        BinaryOp::Less => a < b,
        BinaryOp::LessOrEqual => a <= b,
        BinaryOp::Greater => a > b,
        BinaryOp::GreaterOrEqual => a >= b,
        _ => false,
    }
}

/// The result for two numbers, or that they are not chosen.
#[inline]
fn chosen(op: BinaryOp, a: f64, b: f64, result: f64) -> f64 {
    if compares(op, a, b) { result } else { ABSENT }
}

/// A comparison of anything: whether it holds, or what it chooses.
pub(crate) fn chosen_or_told(told: bool, holds: bool, chosen: f64) -> f64 {
    match (told, holds) {
        (true, holds) => f64::from(u8::from(holds)),
        (false, true) => chosen,
        (false, false) => ABSENT,
    }
}

/// The result for two numbers.
pub(crate) fn number(op: BinaryOp, returns_bool: bool, a: f64, b: f64) -> f64 {
    let mut result = [ABSENT];
    between_cells(op, returns_bool, &[a], &[b], &mut result);
    result[0]
}

/// Any function of two scalars.
pub(crate) fn of_two(a: Column, b: Column, function: &fn(f64, f64) -> f64) -> Column {
    combined(a, b, function)
}

fn combined(left: Column, right: Column, function: impl Fn(f64, f64) -> f64) -> Column {
    match (left, right) {
        (Column::Constant(a), Column::Constant(b)) => Column::Constant(function(a, b)),
        (Column::Each(mut values, lease), right) => {
            values.iter_mut().enumerate().for_each(|(n, a)| *a = function(*a, right.at(n)));
            Column::Each(values, lease)
        }
        (Column::Constant(a), Column::Each(mut values, lease)) => {
            values.iter_mut().for_each(|b| *b = function(a, *b));
            Column::Each(values, lease)
        }
    }
}

/// An operator between two scalars; comparisons give 0 or 1.
pub(crate) fn between_columns(op: BinaryOp, left: Column, right: Column) -> Column {
    with_function!(op, |function| combined(left, right, function))
}

/// The cells of two series, put together cell by cell.
pub(crate) fn between_cells(
    op: BinaryOp,
    returns_bool: bool,
    left: &[f64],
    right: &[f64],
    result: &mut [f64],
) {
    fn combined(
        left: &[f64],
        right: &[f64],
        result: &mut [f64],
        function: impl Fn(f64, f64) -> f64,
    ) {
        for ((to, a), b) in result.iter_mut().zip(left).zip(right) {
            *to = if is_absent(*a) || is_absent(*b) { ABSENT } else { function(*a, *b) };
        }
    }
    if op.is_comparison() && !returns_bool {
        combined(left, right, result, |a, b| chosen(op, a, b, a));
    } else {
        with_function!(op, |function| combined(left, right, result, function));
    }
}

/// An operator between the series of a table and a scalar on either side.
pub(crate) fn with_scalar(
    plan: &WithScalarPlan,
    mut table: Table,
    scalar: &Column,
) -> Result<Table, EvalError> {
    let WithScalarPlan { op, returns_bool, scalar_is_left, .. } = *plan;
    if op.is_comparison() && !returns_bool {
        change_cells(&mut table, scalar, |cell, number| {
            let (a, b) = if scalar_is_left { (number, cell) } else { (cell, number) };
            chosen(op, a, b, cell)
        });
        table.drop_empty_rows();
        return Ok(table);
    }
    if scalar_is_left {
        with_function!(op, |function| flipped(&mut table, scalar, function));
    } else {
        with_function!(op, |function| change_cells(&mut table, scalar, function));
    }
    table.drop_names()
}

fn flipped(table: &mut Table, scalar: &Column, function: impl Fn(f64, f64) -> f64) {
    change_cells(table, scalar, |cell, number| function(number, cell));
}

fn change_cells(table: &mut Table, scalar: &Column, function: impl Fn(f64, f64) -> f64) {
    match scalar {
        Column::Constant(number) => {
            for cell in table.cells_mut().iter_mut().filter(|cell| !is_absent(**cell)) {
                *cell = function(*cell, *number);
            }
        }
        Column::Each(numbers, _) => {
            for row in 0..table.len() {
                for (cell, number) in table.row_mut(row).iter_mut().zip(numbers) {
                    if !is_absent(*cell) {
                        *cell = function(*cell, *number);
                    }
                }
            }
        }
    }
}

/// Changes every value by a function of it and of scalars; what becomes absent is dropped.
pub(crate) fn each_value(table: &mut Table, function: fn(f64, [f64; 2]) -> f64, params: &[Column]) {
    let at = |n: usize, step: usize| params.get(n).map_or(f64::NAN, |param| param.at(step));
    for row in 0..table.len() {
        for (step, cell) in table.row_mut(row).iter_mut().enumerate() {
            if !is_absent(*cell) {
                *cell = function(*cell, [at(0, step), at(1, step)]);
            }
        }
    }
    table.drop_empty_rows();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(op: BinaryOp, returns_bool: bool, left: f64, right: f64, expected: f64) {
        let mut result = [0.0];
        between_cells(op, returns_bool, &[left], &[right], &mut result);
        let same = result[0] == expected || result[0].to_bits() == expected.to_bits();
        assert!(same, "{left} {} {right} is {}", op.as_str(), result[0]);
    }

    #[test]
    fn operators_do_what_their_names_say() {
        check(BinaryOp::Add, false, 1.0, 2.0, 3.0);
        check(BinaryOp::Subtract, false, 1.0, 2.0, -1.0);
        check(BinaryOp::Multiply, false, 3.0, 2.0, 6.0);
        check(BinaryOp::Divide, false, 1.0, 0.0, f64::INFINITY);
        check(BinaryOp::Remainder, false, -7.0, 4.0, -3.0);
        check(BinaryOp::Power, false, -1.0, f64::INFINITY, 1.0);
        check(BinaryOp::Atan2, false, 0.0, -1.0, std::f64::consts::PI);
    }

    #[test]
    fn comparisons_choose_or_say() {
        check(BinaryOp::Less, false, 1.0, 2.0, 1.0);
        check(BinaryOp::Less, false, 2.0, 1.0, ABSENT);
        check(BinaryOp::Less, true, 2.0, 1.0, 0.0);
        check(BinaryOp::GreaterOrEqual, true, 2.0, 2.0, 1.0);
        check(BinaryOp::NotEqual, true, f64::NAN, f64::NAN, 1.0);
        check(BinaryOp::Equal, false, f64::NAN, f64::NAN, ABSENT);
        check(BinaryOp::Equal, true, ABSENT, 1.0, ABSENT);
        check(BinaryOp::Add, false, 1.0, ABSENT, ABSENT);
    }
}
