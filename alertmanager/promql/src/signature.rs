//! What functions take and give, and the type of an expression: for those who show expressions.
//!
//! Invariant: what is said here is what the check of an expression goes by.

use crate::ast::{Expr, ExprKind};
use crate::functions::{self, Tail};
use crate::plan::Type;

/// What a function takes and gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The types of its arguments, those included that may be left out.
    pub args: &'static [Type],
    /// How many arguments more or less there may be, as Prometheus says it: 0 for none, 1 where the
    /// last may be left out, -1 where it may come any number of times.
    pub variadic: i32,
    /// The type of its value.
    pub returns: Type,
}

/// The signature of the function with this name.
pub fn signature(name: &str) -> Option<Signature> {
    let function = functions::find(name)?;
    let variadic = match function.tail {
        Tail::Required => 0,
        Tail::Number(_) | Tail::Now | Tail::Optional => 1,
        Tail::Repeated => -1,
    };
    Some(Signature { args: function.args, variadic, returns: function.returns })
}

impl Expr {
    /// The type of its value; of a function that there is not, a vector.
    pub fn kind_of_value(&self) -> Type {
        let mut expr = self;
        loop {
            match &expr.kind {
                ExprKind::Number(_) => return Type::Scalar,
                ExprKind::String(_) => return Type::String,
                ExprKind::Vector(_) | ExprKind::Aggregate(_) => return Type::Vector,
                ExprKind::Matrix(_) | ExprKind::Subquery(_) => return Type::Matrix,
                ExprKind::Call(call) => {
                    return signature(&call.name).map_or(Type::Vector, |known| known.returns);
                }
                ExprKind::Paren(inner) => expr = inner,
                ExprKind::Unary(unary) => expr = &unary.expr,
                ExprKind::Binary(binary) => match binary.right.kind_of_value() {
                    Type::Scalar => expr = &binary.left,
                    _ => return Type::Vector,
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;

    #[test]
    fn an_expression_has_the_type_of_its_outermost_part() {
        let check = |text: &str, expected: Type| {
            assert_eq!(parse(text).unwrap().kind_of_value(), expected, "{text}");
        };
        check("1 + time() * 2", Type::Scalar);
        check("(-(1))", Type::Scalar);
        check("\"a\"", Type::String);
        check("1 + up", Type::Vector);
        check("up + 1 + 1", Type::Vector);
        check("scalar(up)", Type::Scalar);
        check("rate(up[5m])", Type::Vector);
        check("up[5m]", Type::Matrix);
        check("up[5m:]", Type::Matrix);
        check("count(up)", Type::Vector);
    }

    #[test]
    fn signatures_say_what_may_be_left_out() {
        let variadic = |name: &str| signature(name).unwrap().variadic;
        assert_eq!([variadic("rate"), variadic("round"), variadic("label_join")], [0, 1, -1]);
        assert_eq!(signature("time").unwrap().returns, Type::Scalar);
        assert_eq!(signature("no"), None);
    }
}
