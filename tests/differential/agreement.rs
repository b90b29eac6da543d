//! How near two values have to be, by what the expression is made of: to the last bit, but where
//! something in it leaves digits open. docs/compatibility.md says the same.
//!
//! | what leaves them open | by how much |
//! | --- | --- |
//! | functions of a mathematical library, and bounds of exponential buckets, which it calculates | [`DIGITS`] |
//! | adding series up in a range query, where their order is that of a hash table | [`DIGITS`] |
//! | the largest and the smallest of those | [`SIGN`] |
//! | adding native histograms up, for which later versions carry the digits that a sum loses | [`DIGITS`] |
//! | deviations of series, and of exponential buckets, which lose digits there | [`DEVIATIONS`] |
//!
//! Invariant: the rule looks at the functions and operators of the expression, never at the samples.

use base::labels::METRIC_NAME;
use base::matcher::Matcher;
use promql::Expr;
use promql::ast::{AggregateOp, BinaryOp, Call, ExprKind, VectorSelector};

use crate::expression::NATIVE_METRICS;

/// By how much two values may differ where digits are open, as a share of the larger one.
pub(crate) const DIGITS: f64 = 1e-9;

/// Whether zero has a sign, where the first of equal values counts.
const SIGN: f64 = f64::MIN_POSITIVE;

/// The same of deviations, from which a large mean takes more digits.
const DEVIATIONS: f64 = 1e-6;

#[rustfmt::skip]
const OF_THE_LIBRARY: [&str; 18] = [
    "acos", "acosh", "asin", "asinh", "atan", "atanh", "cos", "cosh", "exp", "ln", "log10", "log2",
    "sin", "sinh", "tan", "tanh", "histogram_fraction", "histogram_quantile",
];
const OF_DEVIATIONS: [&str; 2] = ["histogram_stddev", "histogram_stdvar"];

/// By how much values of `expr` may differ; zero means that they are the same to the last bit.
pub(crate) fn tolerance(expr: &Expr, is_range: bool) -> f64 {
    expr.parts().map(|part| of_part(part, is_range)).fold(0.0, f64::max)
}

fn of_part(part: &Expr, is_range: bool) -> f64 {
    match &part.kind {
        ExprKind::Call(call) if OF_DEVIATIONS.contains(&call.name.as_str()) => DEVIATIONS,
        ExprKind::Call(call)
            if ["avg_over_time", "sum_over_time"].contains(&call.name.as_str())
                && reads(part, &NATIVE_METRICS) =>
        {
            DIGITS
        }
        ExprKind::Call(call) if OF_THE_LIBRARY.contains(&call.name.as_str()) => DIGITS,
        ExprKind::Binary(binary) if matches!(binary.op, BinaryOp::Power | BinaryOp::Atan2) => {
            DIGITS
        }
        ExprKind::Aggregate(aggregate) => match aggregate.op {
            AggregateOp::Stddev | AggregateOp::Stdvar => DEVIATIONS,
            AggregateOp::Sum | AggregateOp::Avg
                if is_range && !is_in_order(&aggregate.expr) || reads(part, &NATIVE_METRICS) =>
            {
                DIGITS
            }
            AggregateOp::Max | AggregateOp::Min if is_range && !is_in_order(&aggregate.expr) => {
                SIGN
            }
            _ => 0.0,
        },
        ExprKind::Subquery(subquery) => tolerance(&subquery.expr, true),
        _ => 0.0,
    }
}

/// Whether Prometheus has the series of an expression in an order that it always has them in: not
/// where they were put together step by step, which is in a hash table.
pub(crate) fn is_in_order(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Vector(_) | ExprKind::Matrix(_) => true,
        ExprKind::Paren(inner) => is_in_order(inner),
        ExprKind::Unary(unary) => is_in_order(&unary.expr),
        ExprKind::Subquery(subquery) => is_in_order(&subquery.expr),
        // These, and those of a range, go from series to series; the others from step to step.
        ExprKind::Call(call) if ["label_join", "label_replace"].contains(&call.name.as_str()) => {
            call.args.first().is_some_and(is_in_order)
        }
        ExprKind::Call(call) => range_of(call).is_some_and(is_in_order),
        ExprKind::Aggregate(aggregate) => {
            let gathers = matches!(
                aggregate.op,
                AggregateOp::CountValues
                    | AggregateOp::TopK
                    | AggregateOp::BottomK
                    | AggregateOp::LimitK
                    | AggregateOp::LimitRatio
            );
            !gathers && is_in_order(&aggregate.expr)
        }
        ExprKind::Number(_) | ExprKind::String(_) | ExprKind::Binary(_) => false,
    }
}

fn range_of(call: &Call) -> Option<&Expr> {
    let is_range =
        |expr: &&Expr| matches!(expr.bare().kind, ExprKind::Matrix(_) | ExprKind::Subquery(_));
    call.args.iter().find(is_range)
}

/// What tells how much counters have grown.
const GROWTH: [&str; 4] = ["rate", "irate", "increase", "resets"];

/// Whether the values are known to differ, which docs/compatibility.md says of these:
///
/// - `info` with the growth of histograms, which this one spoils now and then, also when asked first;
/// - times of samples at a time with an offset, which this one forgets;
/// - quantiles of histograms with observations that are not numbers, which are taken from the last
///   bucket there;
/// - quantiles of histograms that were negated, where there is less than nothing in buckets;
/// - growth of histograms that fall again and again, for which later versions know where zero was;
/// - growth of counters whose custom bounds change, which later versions do not take for a beginning;
/// - counts and sums of the growth of counters with hints, which this one looks at twice and forgets.
pub(crate) fn is_known_to_differ(expr: &Expr) -> bool {
    expr.parts().any(|part| {
        let ExprKind::Call(call) = &part.kind else { return false };
        match call.name.as_str() {
            "info" => grows(part) && reads(part, &NATIVE_METRICS),
            "timestamp" => call.args.first().is_some_and(|arg| match &arg.bare().kind {
                ExprKind::Vector(VectorSelector { when, .. }) => {
                    when.at.is_some() && when.offset.is_some()
                }
                _ => false,
            }),
            "histogram_quantile" => {
                let is_negative = |kind: &ExprKind| matches!(kind, ExprKind::Unary(_));
                let negates = has(part, is_negative) && reads(part, &NATIVE_METRICS);
                reads(part, &["native_nan"]) || negates
            }
            "histogram_count" | "histogram_sum" | "histogram_avg" => {
                grows(part) && reads(part, &["native_gaps"])
            }
            name if GROWTH.contains(&name) => {
                let falls = |name: &&str| ["delta", "idelta"].contains(name);
                reads(part, &["native_gauge", "native_moved", "native_mixed"])
                    || part.functions().iter().any(falls) && reads(part, &NATIVE_METRICS)
            }
            _ => false,
        }
    })
}

fn grows(expr: &Expr) -> bool {
    expr.functions().iter().any(|name| GROWTH.contains(name))
}

/// Whether an expression has a selector that takes one of these metrics.
fn reads(expr: &Expr, names: &[&str]) -> bool {
    let takes = |selector: &VectorSelector| {
        let fits = |name: &str| {
            let of_name = |m: &&Matcher| m.name() == METRIC_NAME;
            selector.matchers.iter().filter(of_name).all(|matcher| matcher.matches(name))
        };
        names.iter().any(|name| fits(name))
    };
    expr.parts().any(|part| match &part.kind {
        ExprKind::Vector(selector) => takes(selector),
        ExprKind::Matrix(matrix) => takes(&matrix.selector),
        _ => false,
    })
}

/// Whether an expression has a part that `is` such.
pub(crate) fn has(expr: &Expr, is: impl Fn(&ExprKind) -> bool) -> bool {
    expr.parts().any(|part| is(&part.kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_open_where_the_library_or_the_order_decides() {
        let check = |text: &str, instant: f64, range: f64| {
            let expr = promql::parse(text).unwrap();
            assert_eq!([false, true].map(|is| tolerance(&expr, is)), [instant, range], "{text}");
        };
        check("x + y * 2 % 3", 0.0, 0.0);
        check("sum(x)", 0.0, 0.0);
        check("sum(rate(x[5m]))", 0.0, 0.0);
        check("avg(sum by (a) (-x))", 0.0, 0.0);
        check("sum(abs(x))", 0.0, DIGITS);
        check("sum(x + y)", 0.0, DIGITS);
        check("max(x + y)", 0.0, SIGN);
        check("max(x)", 0.0, 0.0);
        check("sum_over_time(sum(x + y)[5m:])", DIGITS, DIGITS);
        check("1 + max(ln(x))", DIGITS, DIGITS);
        check("sum(native_gaps)", DIGITS, DIGITS);
        check("x ^ 2", DIGITS, DIGITS);
        check("ln(stddev(x))", DEVIATIONS, DEVIATIONS);
        check("stddev_over_time(x[5m])", 0.0, 0.0);
    }

    #[test]
    fn what_is_known_to_differ_is_told_by_the_metric_it_reads() {
        let check = |text: &str, expected: bool| {
            assert_eq!(is_known_to_differ(&promql::parse(text).unwrap()), expected, "{text}");
        };
        check("rate(native_moved[5m])", true);
        check("rate({__name__=~\"native_(gauge|se.*)\"}[5m])", true);
        check("rate({job=\"api\"}[5m])", true);
        check("timestamp(x offset 5m @ 7)", true);
        check("timestamp(x @ 7) + timestamp(x offset 5m)", false);
        check("rate(delta(native_nan[1m])[5m:1m])", true);
        check("rate(delta(x_total[1m])[5m:1m])", false);
        check("rate(native_seconds[5m]) + native_moved", false);
        check("histogram_quantile(0.5, native_nan)", true);
        check("native_nan", false);
        check("histogram_quantile(0.5, -native_seconds)", true);
        check("histogram_quantile(0.5, native_seconds)", false);

        check("histogram_count(rate(native_gaps[5m]))", true);
        check("histogram_count(native_gaps) + rate(native_gaps[5m])", false);
    }
}
