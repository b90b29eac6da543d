//! Comparisons, with the types that Go lets be compared.
//!
//! Invariant: numbers of different types are never compared, as in Go: what a template says here
//! it says there.

use super::super::error::Failure;
use super::super::value::Value;

#[derive(PartialEq)]
enum Basic<'v> {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(&'v str),
    Other,
}

fn basic(value: &Value) -> Basic<'_> {
    match value {
        Value::Bool(value) => Basic::Bool(*value),
        Value::Float(value) => Basic::Float(*value),
        Value::Text(text) | Value::Safe(_, text) => Basic::Text(text),
        _ => value.as_int().map_or(Basic::Other, Basic::Int),
    }
}

const INCOMPATIBLE: &str = "incompatible types for comparison";
const INVALID: &str = "invalid type for comparison";

/// Whether both are the same. Nothing is the same as nothing, and differs from all else.
pub(super) fn equal(a: &Value, b: &Value) -> Result<bool, Failure> {
    match (basic(a), basic(b)) {
        (Basic::Other, Basic::Other) => match (a, b) {
            (Value::Nil, other) | (other, Value::Nil) => Ok(*other == Value::Nil),
            (Value::Time(a), Value::Time(b)) => Ok(a == b),
            _ => Err(format!("non-comparable type {}", a.type_name()).into()),
        },
        (a_basic, b_basic) => {
            if std::mem::discriminant(&a_basic) == std::mem::discriminant(&b_basic) {
                Ok(a_basic == b_basic)
            } else if *a == Value::Nil || *b == Value::Nil {
                Ok(false)
            } else {
                Err(INCOMPATIBLE.into())
            }
        }
    }
}

/// Whether `a` is less than `b`; truth has no order.
pub(super) fn less(a: &Value, b: &Value) -> Result<bool, Failure> {
    ordered(a, b, |a, b| a < b, |a, b| a < b, |a, b| a < b)
}

/// Whether `a` is less than `b` or the same.
pub(super) fn less_or_equal(a: &Value, b: &Value) -> Result<bool, Failure> {
    ordered(a, b, |a, b| a <= b, |a, b| a <= b, |a, b| a <= b)
}

fn ordered(
    a: &Value,
    b: &Value,
    ints: impl Fn(i64, i64) -> bool,
    floats: impl Fn(f64, f64) -> bool,
    texts: impl Fn(&str, &str) -> bool,
) -> Result<bool, Failure> {
    match (basic(a), basic(b)) {
        (Basic::Int(a), Basic::Int(b)) => Ok(ints(a, b)),
        (Basic::Float(a), Basic::Float(b)) => Ok(floats(a, b)),
        (Basic::Text(a), Basic::Text(b)) => Ok(texts(a, b)),
        (Basic::Other, _) | (_, Basic::Other) | (Basic::Bool(_), Basic::Bool(_)) => {
            Err(INVALID.into())
        }
        _ => Err(INCOMPATIBLE.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(
        a: impl Into<Value>,
        b: impl Into<Value>,
        eq: Result<bool, &str>,
        lt: Result<bool, &str>,
    ) {
        let (a, b) = (a.into(), b.into());
        let told = |result: Result<bool, Failure>| {
            result.map_err(|failure| match failure {
                Failure::Message(message) => message,
                other => format!("{other:?}"),
            })
        };
        assert_eq!(told(equal(&a, &b)), eq.map_err(str::to_owned), "{a:?} = {b:?}");
        assert_eq!(told(less(&a, &b)), lt.map_err(str::to_owned), "{a:?} < {b:?}");
    }

    #[test]
    fn compares_what_go_compares() {
        check(1, 2, Ok(false), Ok(true));
        check(2, 2, Ok(true), Ok(false));
        check(1.5, 1.5, Ok(true), Ok(false));
        check("a", "b", Ok(false), Ok(true));
        check(Value::Duration(5), 5, Ok(true), Ok(false));
        check(true, true, Ok(true), Err(INVALID));
        check(1, 1.0, Err(INCOMPATIBLE), Err(INCOMPATIBLE));
        check("1", 1, Err(INCOMPATIBLE), Err(INCOMPATIBLE));
        check(Value::Nil, Value::Nil, Ok(true), Err(INVALID));
        check(Value::Nil, "a", Ok(false), Err(INVALID));
        check(f64::NAN, f64::NAN, Ok(false), Ok(false));
        check(
            Value::list([]),
            Value::list([]),
            Err("non-comparable type []interface {}"),
            Err(INVALID),
        );
    }
}
