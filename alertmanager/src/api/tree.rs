//! `/api/v1/format_query` and `/api/v1/parse_query`: an expression in its canonical form, and as a
//! tree in Prometheus's words.
//!
//! Invariant: nothing is evaluated.

use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use promql::ast::{Aggregate, At, Binary, Call, ExprKind, Length, Side, VectorSelector, When};
use promql::{Expr, Query, Type, signature};
use serde_json::{Value, json};

use super::Shown;
use super::query::Parameters;
use super::reply::{Failure, success};

/// `/api/v1/format_query`
pub(super) async fn format(
    State(_): State<Shown>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failure> {
    let expr = read(query, &headers, &body)?;
    Ok(success(&headers, &json!(expr.pretty())))
}

/// `/api/v1/parse_query`
pub(super) async fn parse(
    State(_): State<Shown>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failure> {
    let expr = read(query, &headers, &body)?;
    Ok(success(&headers, &tree(&expr)))
}

fn read(query: Option<String>, headers: &HeaderMap, body: &Bytes) -> Result<Expr, Failure> {
    let parameters = Parameters::read(query, headers, body)?;
    let text = parameters.get("query").unwrap_or("");
    let query = Query::new(text).map_err(|faults| Failure::parameter("query", faults))?;
    Ok(query.expr().clone())
}

/// An expression as Prometheus's interface for editors shows it.
fn tree(expr: &Expr) -> Value {
    match &expr.kind {
        ExprKind::Number(number) => {
            json!({"type": "numberLiteral", "val": base::number::plain(number.value)})
        }
        ExprKind::String(text) => json!({"type": "stringLiteral", "val": text}),
        ExprKind::Vector(selector) => of_selector("vectorSelector", selector),
        ExprKind::Matrix(matrix) => {
            let mut value = of_selector("matrixSelector", &matrix.selector);
            value["range"] = length(Some(&matrix.range));
            value
        }
        ExprKind::Subquery(subquery) => {
            let mut value = json!({
                "type": "subquery",
                "expr": tree(&subquery.expr),
                "range": length(Some(&subquery.range)),
                "step": length(subquery.step.as_ref()),
            });
            add_when(&mut value, &subquery.when);
            value
        }
        ExprKind::Call(call) => of_call(call),
        ExprKind::Aggregate(aggregate) => of_aggregate(aggregate),
        ExprKind::Binary(binary) => chain(binary),
        ExprKind::Unary(unary) => {
            let op = if unary.negative { "-" } else { "+" };
            json!({"type": "unaryExpr", "op": op, "expr": tree(&unary.expr)})
        }
        ExprKind::Paren(inner) => json!({"type": "parenExpr", "expr": tree(inner)}),
    }
}

/// Operators one behind the other, of which there may be more than the stack is deep.
fn chain(last: &Binary) -> Value {
    let (mut links, mut first) = (vec![last], &last.left);
    while let ExprKind::Binary(binary) = &first.kind {
        links.push(binary);
        first = &binary.left;
    }
    let (mut left, mut is_vector) = (tree(first), first.kind_of_value() != Type::Scalar);
    for binary in links.into_iter().rev() {
        let right_is_vector = binary.right.kind_of_value() != Type::Scalar;
        let matches = is_vector && right_is_vector;
        left = json!({
            "type": "binaryExpr",
            "op": binary.op.as_str(),
            "lhs": left,
            "rhs": tree(&binary.right),
            "matching": if matches { matching(binary) } else { Value::Null },
            "bool": binary.returns_bool,
        });
        is_vector |= right_is_vector;
    }
    left
}

fn matching(binary: &Binary) -> Value {
    let none = promql::ast::Matching::default();
    let matching = binary.matching.as_ref().unwrap_or(&none);
    let group = matching.group.as_ref();
    let card = match group.map(|group| group.many) {
        _ if binary.op.is_set() => "many-to-many",
        None => "one-to-one",
        Some(Side::Left) => "many-to-one",
        Some(Side::Right) => "one-to-many",
    };
    let include: &[String] = group.map_or(&[], |group| &group.labels);
    let mut value = json!({
        "card": card, "labels": matching.labels, "on": matching.on, "include": include,
    });
    if matching.fill_left.is_some() || matching.fill_right.is_some() {
        value["fillValues"] = json!({"lhs": matching.fill_left, "rhs": matching.fill_right});
    }
    value
}

fn of_selector(kind: &str, selector: &VectorSelector) -> Value {
    let matchers: Vec<Value> = selector
        .matchers
        .iter()
        .map(|m| json!({"name": m.name(), "type": m.op().as_str(), "value": m.value()}))
        .collect();
    let name = selector.name.as_deref().unwrap_or("");
    let mut value = json!({"type": kind, "name": name, "matchers": matchers});
    add_when(&mut value, &selector.when);
    value
}

fn add_when(value: &mut Value, when: &When) {
    let (timestamp, bound) = match when.at {
        None => (Value::Null, Value::Null),
        Some(At::Time(millis)) => (json!(millis), Value::Null),
        Some(At::Start) => (Value::Null, json!("start")),
        Some(At::End) => (Value::Null, json!("end")),
    };
    value["offset"] = length(when.offset.as_ref());
    value["timestamp"] = timestamp;
    value["startOrEnd"] = bound;
}

/// Milliseconds; of a calculation its text.
fn length(length: Option<&Length>) -> Value {
    match length {
        None => json!(0),
        Some(Length::Fixed(millis)) => json!(millis),
        Some(computed) => json!(computed.to_string()),
    }
}

fn of_call(call: &Call) -> Value {
    let known = signature(&call.name);
    let args: &[Type] = known.map_or(&[], |known| known.args);
    let args: Vec<_> = args.iter().map(|kind| kind.short_name()).collect();
    json!({
        "type": "call",
        "func": {
            "name": call.name,
            "argTypes": args,
            "variadic": known.map_or(0, |known| known.variadic),
            "returnType": known.map_or(Type::Vector, |known| known.returns).short_name(),
        },
        "args": call.args.iter().map(tree).collect::<Vec<_>>(),
    })
}

fn of_aggregate(aggregate: &Aggregate) -> Value {
    let grouping = aggregate.grouping.as_ref();
    let labels: &[String] = grouping.map_or(&[], |grouping| &grouping.labels);
    json!({
        "type": "aggregation",
        "op": aggregate.op.as_str(),
        "expr": tree(&aggregate.expr),
        "param": aggregate.param.as_ref().map(tree),
        "grouping": labels,
        "without": grouping.is_some_and(|grouping| grouping.without),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Value) {
        assert_eq!(tree(&promql::parse(text).unwrap()), expected);
    }

    #[test]
    fn selectors_have_their_conditions_and_times() {
        check(
            "a{b=~\"c\"}[5m] offset 1m @ 2",
            json!({"type": "matrixSelector", "name": "a", "range": 300_000, "offset": 60_000,
                "timestamp": 2000, "startOrEnd": null, "matchers": [
                    {"name": "b", "type": "=~", "value": "c"},
                    {"name": "__name__", "type": "=", "value": "a"}]}),
        );
        check(
            "(-a)[1h:] @ end()",
            json!({"type": "subquery", "range": 3_600_000, "step": 0, "offset": 0,
                "timestamp": null, "startOrEnd": "end", "expr": {"type": "parenExpr", "expr": {
                    "type": "unaryExpr", "op": "-", "expr": {"type": "vectorSelector", "name": "a",
                        "offset": 0, "timestamp": null, "startOrEnd": null, "matchers": [
                            {"name": "__name__", "type": "=", "value": "a"}]}}}}),
        );
    }

    #[test]
    fn operators_match_only_between_vectors() {
        let matching = |text: &str| tree(&promql::parse(text).unwrap())["matching"].clone();
        assert_eq!(matching("1 + 2"), Value::Null);
        assert_eq!(matching("a + 2"), Value::Null);
        let one = json!({"card": "one-to-one", "labels": [], "on": false, "include": []});
        assert_eq!(matching("1 + a + b"), one);
        let many = json!({"card": "many-to-one", "labels": ["x"], "on": true, "include": ["y"]});
        assert_eq!(matching("a * on (x) group_left (y) b"), many);
        assert_eq!(matching("a or b")["card"], "many-to-many");
    }

    #[test]
    fn calls_have_their_signature() {
        let call = tree(&promql::parse("round(a)").unwrap());
        let known = json!({
            "name": "round", "argTypes": ["vector", "scalar"], "variadic": 1, "returnType": "vector",
        });
        assert_eq!(call["func"], known);
        let sum = tree(&promql::parse("topk without (a) (3, b)").unwrap());
        assert_eq!((&sum["op"], &sum["without"]), (&json!("topk"), &json!(true)));
        assert_eq!((&sum["param"]["val"], &sum["grouping"]), (&json!("3"), &json!(["a"])));
    }
}
