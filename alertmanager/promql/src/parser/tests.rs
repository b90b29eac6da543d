//! What the grammar takes, and where the faults of a text are said to be.
//!
//! Invariant: every message is compared whole.

use super::*;

/// The printed expression with every operation in parentheses, or the faults with their places.
#[track_caller]
fn check(text: &str, expected: &str) {
    let got = match parse(text) {
        Ok(expr) => grouped(&expr),
        Err(faults) => {
            let faults: Vec<_> = faults
                .iter()
                .map(|f| format!("{}..{} {}", f.span.start, f.span.end, f.message))
                .collect();
            faults.join("; ")
        }
    };
    assert_eq!(got, expected, "{text}");
}

fn grouped(expr: &Expr) -> String {
    match &expr.kind {
        ExprKind::Binary(b) => {
            format!("[{} {} {}]", grouped(&b.left), b.op.as_str(), grouped(&b.right))
        }
        ExprKind::Unary(u) => format!("[-{}]", grouped(&u.expr)),
        _ => expr.to_string(),
    }
}

#[test]
fn operators_bind_as_in_prometheus() {
    check("1 + 2 * 3", "[1 + [2 * 3]]");
    check("1 * 2 + 3", "[[1 * 2] + 3]");
    check("a - b - c", "[[a - b] - c]");
    check("2 ^ 3 ^ 2", "[2 ^ [3 ^ 2]]");
    check("-2 ^ 2", "[-[2 ^ 2]]");
    check("-a * b", "[[-a] * b]");
    check("2 ^ -3 ^ 2 * 4", "[[2 ^ [-[3 ^ 2]]] * 4]");
    check("a or b and c unless d", "[a or [[b and c] unless d]]");
    check("a == b + 1 > c", "[[a == [b + 1]] > c]");
    check("a atan2 b % c", "[[a atan2 b] % c]");
    check("-a offset 5m", "[-a offset 5m]");
    check("x offset -1 ^ 2", "[x offset -1s ^ 2]");
}

#[test]
fn words_of_the_language_may_name_metrics_and_labels() {
    check("sum + avg", "[sum + avg]");
    check("offset offset 5m", "offset offset 5m");
    check("and and or", "[and and or]");
    check("sum{by=\"1\"}", "sum{by=\"1\"}");
    check("sum by (on, bool, and) (start)", "sum by (on, bool, and) (start)");
    check("a + fill", "[a + fill]");
    check("a + fill{x='1'}[5m] * 2", "[a + [fill{x=\"1\"}[5m] * 2]]");
    check("rate", "rate");
    check("on", "0..2 unexpected <on>");
}

#[test]
fn faults_that_do_not_end_the_reading_come_together() {
    check(
        "foo(1, {}, x[0s])",
        "13..15 duration must be greater than 0; \
         0..3 unknown function with name \"foo\"",
    );
    check(
        "sum(x, y) + topk()",
        "0..9 wrong number of arguments for aggregate expression provided, expected 1, got 2; \
         12..18 no arguments for aggregate expression provided",
    );
    check("x[5m / 0]", "5..6 division by zero; 0..0 duration must be greater than 0");
    check(
        "sum(rate(",
        "9..9 unclosed left parenthesis; 0..0 no arguments for aggregate expression provided",
    );
    check("sum by (a:b, '') (x)", "13..15 invalid label name for grouping: \"\"");
    check(
        "x[5m][5m] offset 1m",
        "5..9 ranges only allowed for vector selectors; 0..9 ranges only allowed for vector selectors",
    );
    check(
        "x{a=~'('}",
        "2..8 error parsing regexp: `(` is not a usable regular expression: unclosed group",
    );
}

#[test]
fn text_without_bounds_is_refused_and_not_run_into() {
    for open in ["(", "-", "sum(", "abs(", "x + (", "x[", "{", "1 ^ ", "sum by (a) (", "x[1m:("] {
        let faults = parse(&open.repeat(100_000)).unwrap_err();
        assert_eq!(faults.first().kind, crate::FaultKind::Syntax, "{open}");
    }
    let chain = format!("{}x", "x + ".repeat(20_000));
    assert!(parse(&chain).unwrap_err().to_string().contains("2000 chained parts"));
    let long = format!("'{}'", "x".repeat(1_000_000));
    assert_eq!(
        parse(&long).unwrap_err().to_string(),
        "1:1: parse error: expression is longer than 524288 bytes"
    );
    let brackets = format!("x{}", "[1m:]".repeat(100_000));
    assert!(parse(&brackets).unwrap_err().to_string().contains("more than 120 nested"));
}

#[test]
fn a_long_chain_of_operators_is_read() {
    let chain = vec!["up"; 1500].join(" or ");
    assert_eq!(parse(&chain).unwrap().to_string(), chain);
    let nested = format!("{}x{}", "(".repeat(100), ")".repeat(100));
    assert_eq!(parse(&nested).unwrap().to_string(), nested);
}
