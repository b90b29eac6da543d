//! Between which numbers the values of an expression lie, whatever the data.
//!
//! Invariant: no value of the expression is outside; what is no number is not spoken of, since no
//! comparison but `!=` holds for it.

use promql::Expr;
use promql::ast::{Aggregate, AggregateOp, Binary, BinaryOp, Call, ExprKind};

/// From a number to a number, both included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bounds {
    pub(super) least: f64,
    pub(super) most: f64,
}

const ANY: Bounds = Bounds { least: f64::NEG_INFINITY, most: f64::INFINITY };
const NOT_NEGATIVE: Bounds = Bounds { least: 0.0, most: f64::INFINITY };
const AT_LEAST_ONE: Bounds = Bounds { least: 1.0, most: f64::INFINITY };
const ONE: Bounds = Bounds { least: 1.0, most: 1.0 };
const SHARE: Bounds = Bounds { least: 0.0, most: 1.0 };

/// Whether `left OP right` is false for all numbers in their bounds.
pub(super) fn never_holds(op: BinaryOp, left: Bounds, right: Bounds) -> bool {
    let apart = left.most < right.least || left.least > right.most;
    match op {
        BinaryOp::Greater => left.most <= right.least,
        BinaryOp::GreaterOrEqual => left.most < right.least,
        BinaryOp::Less => left.least >= right.most,
        BinaryOp::LessOrEqual => left.least > right.most,
        BinaryOp::Equal => apart,
        _ => false,
    }
}

/// Where the values of an expression lie.
pub(super) fn bounds(expr: &Expr) -> Bounds {
    match &expr.kind {
        ExprKind::Number(number) if !number.value.is_nan() => {
            Bounds { least: number.value, most: number.value }
        }
        ExprKind::Vector(selector) => of_metric(selector.name.as_deref()),
        ExprKind::Matrix(matrix) => of_metric(matrix.selector.name.as_deref()),
        ExprKind::Subquery(subquery) => bounds(&subquery.expr),
        ExprKind::Paren(inner) => bounds(inner),
        ExprKind::Unary(unary) if unary.negative => {
            let Bounds { least, most } = bounds(&unary.expr);
            Bounds { least: -most, most: -least }
        }
        ExprKind::Unary(unary) => bounds(&unary.expr),
        ExprKind::Call(call) => of_call(call),
        ExprKind::Aggregate(aggregate) => of_aggregate(aggregate),
        ExprKind::Binary(binary) => of_binary(binary),
        ExprKind::Number(_) | ExprKind::String(_) => ANY,
    }
}

fn of_metric(name: Option<&str>) -> Bounds {
    match name {
        Some("up" | "veilleur_agent_up") => SHARE,
        _ => ANY,
    }
}

fn of_call(call: &Call) -> Bounds {
    let first = || call.args.first().map_or(ANY, bounds);
    let up_to = |least: f64, most: f64| Bounds { least, most };
    match call.name.as_str() {
        "absent" | "absent_over_time" | "present_over_time" => ONE,
        "count_over_time" => AT_LEAST_ONE,
        "rate" | "increase" | "irate" | "changes" | "resets" | "abs" | "sqrt"
        | "stddev_over_time" | "stdvar_over_time" | "mad_over_time" | "time" => NOT_NEGATIVE,
        "hour" => up_to(0.0, 23.0),
        "minute" => up_to(0.0, 59.0),
        "month" => up_to(1.0, 12.0),
        "day_of_week" => up_to(0.0, 6.0),
        "day_of_month" => up_to(1.0, 31.0),
        "day_of_year" => up_to(1.0, 366.0),
        "days_in_month" => up_to(28.0, 31.0),
        "histogram_fraction" => SHARE,
        "vector" | "max_over_time" | "min_over_time" | "avg_over_time" | "last_over_time"
        | "first_over_time" | "sort" | "sort_desc" | "label_replace" | "label_join" => first(),
        _ => ANY,
    }
}

fn of_aggregate(aggregate: &Aggregate) -> Bounds {
    use AggregateOp::{Avg, BottomK, Count, Group, LimitK, Max, Min, Stddev, Stdvar, Sum, TopK};
    let inner = bounds(&aggregate.expr);
    match aggregate.op {
        Count => AT_LEAST_ONE,
        Group => ONE,
        Stddev | Stdvar => NOT_NEGATIVE,
        Min | Max | Avg | TopK | BottomK | LimitK => inner,
        Sum if inner.least >= 0.0 => NOT_NEGATIVE,
        _ => ANY,
    }
}

fn of_binary(binary: &Binary) -> Bounds {
    let (left, right) = (bounds(&binary.left), bounds(&binary.right));
    let not_negative = left.least >= 0.0 && right.least >= 0.0;
    match binary.op {
        op if op.is_comparison() && binary.returns_bool => SHARE,
        // It lets values of the left side through, or of the only side that has series.
        op if op.is_comparison() => match binary.left.kind_of_value() {
            promql::Type::Scalar => right,
            _ => chosen(op, left, right),
        },
        BinaryOp::And | BinaryOp::Unless => left,
        BinaryOp::Or => {
            Bounds { least: left.least.min(right.least), most: left.most.max(right.most) }
        }
        BinaryOp::Add | BinaryOp::Multiply | BinaryOp::Divide if not_negative => NOT_NEGATIVE,
        _ => ANY,
    }
}

/// What is left of `left` where it was compared with `right`.
fn chosen(op: BinaryOp, left: Bounds, right: Bounds) -> Bounds {
    match op {
        BinaryOp::Greater | BinaryOp::GreaterOrEqual => {
            Bounds { least: left.least.max(right.least), most: left.most }
        }
        BinaryOp::Less | BinaryOp::LessOrEqual => {
            Bounds { least: left.least, most: left.most.min(right.most) }
        }
        _ => left,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparisons_that_cannot_hold_are_known() {
        let check = |text: &str, expected: bool| {
            let expr = promql::parse(text).unwrap();
            let ExprKind::Binary(binary) = &expr.bare().kind else { panic!("{text}") };
            let got = never_holds(binary.op, bounds(&binary.left), bounds(&binary.right));
            assert_eq!(got, expected, "{text}");
        };
        check("count(up) == 0", true);
        check("count(up) < 1", true);
        check("count(up) < 2", false);
        check("absent(up) == 0", true);
        check("absent(up) == 1", false);
        check("up > 1", true);
        check("up >= 1", false);
        check("up == 2", true);
        check("avg by (job) (up) > 1", true);
        check("sum(up) > 1", false);
        check("rate(x[5m]) < 0", true);
        check("rate(x[5m]) <= 0", false);
        check("x < 0", false);
        check("delta(x[5m]) < 0", false);
        check("5 > hour()", false);
        check("24 < hour()", true);
        check("(x > 5) < 3", true);
        check("(x > 3) < 5", false);
        check("-count(x) > 0", true);
        check("sum(rate(a[5m])) / sum(rate(b[5m])) < 0", true);
        check("vector(1) > 1", true);
        check("(up == bool 1) > 1", true);
        check("x != 1", false);
    }
}
