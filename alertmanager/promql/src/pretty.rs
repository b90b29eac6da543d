//! Prints an expression over several lines, where it is too long for one.
//!
//! Invariant: what is printed means the same as the canonical form.

use crate::ast::{Expr, ExprKind};
use crate::print::{matching_text, subquery_suffix};

/// What is not longer than this stands on one line.
const LINE: usize = 100;

impl Expr {
    /// The canonical form in lines of about a hundred characters, as Prometheus's `format_query`
    /// gives it.
    pub fn pretty(&self) -> String {
        pretty(self, 0)
    }
}

/// Blanks before a line at this level.
fn indent(level: usize) -> String {
    "  ".repeat(level)
}

fn pretty(expr: &Expr, level: usize) -> String {
    let (text, blanks) = (expr.to_string(), indent(level));
    let is_short = text.chars().count() <= LINE;
    match &expr.kind {
        ExprKind::Binary(_) if !is_short => chain(expr, level),
        ExprKind::Call(call) if !is_short && !call.args.is_empty() => {
            let args: Vec<_> = call.args.iter().map(|arg| pretty(arg, level + 1)).collect();
            format!("{blanks}{}(\n{}\n{blanks})", call.name, args.join(",\n"))
        }
        ExprKind::Aggregate(aggregate) if !is_short => {
            let args = aggregate.param.iter().chain([&aggregate.expr]);
            let args: Vec<_> = args.map(|arg| pretty(arg, level + 1)).collect();
            format!("{blanks}{}(\n{}\n{blanks})", aggregate.head(), args.join(",\n"))
        }
        ExprKind::Paren(inner) if !is_short => {
            format!("{blanks}(\n{}\n{blanks})", pretty(inner, level + 1))
        }
        ExprKind::Subquery(subquery) if !is_short => {
            format!("{}{}", pretty(&subquery.expr, level), subquery_suffix(subquery))
        }
        ExprKind::Unary(unary) => {
            let sign = if unary.negative { "-" } else { "+" };
            format!("{blanks}{sign}{}", pretty(&unary.expr, level).trim_start())
        }
        _ => format!("{blanks}{text}"),
    }
}

/// A chain of operators, of which there may be more than the stack is deep.
fn chain(last: &Expr, level: usize) -> String {
    let (mut links, mut first) = (Vec::new(), last);
    while let ExprKind::Binary(binary) = &first.kind {
        if first.to_string().chars().count() <= LINE {
            break;
        }
        links.push(binary);
        first = &binary.left;
    }
    let mut text = pretty(first, level + links.len());
    for (n, binary) in links.iter().enumerate().rev() {
        let returns_bool = if binary.returns_bool { " bool" } else { "" };
        text.push_str(&format!(
            "\n{}{}{returns_bool}{}\n{}",
            indent(level + n),
            binary.op.as_str(),
            matching_text(binary.matching.as_ref()),
            pretty(&binary.right, level + n + 1),
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use crate::parse;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let pretty = parse(text).unwrap().pretty();
        assert_eq!(pretty, expected);
        assert_eq!(parse(&pretty).unwrap(), unplaced(&pretty, text), "it means something else");
    }

    /// The expression of `text` with the places that it has in `pretty`.
    fn unplaced(pretty: &str, text: &str) -> crate::Expr {
        let (expr, other) = (parse(pretty).unwrap(), parse(text).unwrap());
        assert_eq!(expr.to_string(), other.to_string());
        expr
    }

    #[test]
    fn what_fits_stays_on_one_line() {
        check("sum( rate(x[5m]) )by(job)", "sum by (job) (rate(x[5m]))");
        check("-a+b", "-a + b");
    }

    #[test]
    fn what_is_too_long_is_broken_at_its_parts() {
        let (a, b) = (format!("a{}", "a".repeat(60)), format!("b{}", "b".repeat(60)));
        check(
            &format!("sum by (job) ({a}) / on (job) {b}"),
            &format!("  sum by (job) ({a})\n/ on (job)\n  {b}"),
        );
        check(
            &format!("topk by (job) (3, {a} > bool {b})"),
            &format!("topk by (job) (\n  3,\n    {a}\n  > bool\n    {b}\n)"),
        );
        check(
            &format!("-clamp(({a} + {b}), 0, 1)"),
            &format!("-clamp(\n  (\n      {a}\n    +\n      {b}\n  ),\n  0,\n  1\n)"),
        );
        check(
            &format!("max_over_time(rate({a}{{job=\"{b}\"}}[5m])[1h:1m])"),
            &format!("max_over_time(\n  rate(\n    {a}{{job=\"{b}\"}}[5m]\n  )[1h:1m]\n)"),
        );
        check(&format!("{a} + {b} + c"), &format!("    {a}\n  +\n    {b}\n+\n  c"));
    }
}
