//! Walks over the parts of an expression.
//!
//! Invariant: the walk needs no stack of its own, however deep the tree is.

use crate::ast::{Expr, ExprKind};

impl Expr {
    /// This expression and all parts of it, each before its own parts, from left to right.
    pub fn parts(&self) -> Parts<'_> {
        Parts { waiting: vec![self] }
    }

    /// The names of the functions and aggregations that it uses, sorted, each once.
    pub fn functions(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self
            .parts()
            .filter_map(|part| match &part.kind {
                ExprKind::Call(call) => Some(call.name.as_str()),
                ExprKind::Aggregate(aggregate) => Some(aggregate.op.as_str()),
                _ => None,
            })
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// The parts of an expression; see [`Expr::parts`].
#[derive(Clone, Debug)]
pub struct Parts<'a> {
    waiting: Vec<&'a Expr>,
}

impl<'a> Iterator for Parts<'a> {
    type Item = &'a Expr;

    fn next(&mut self) -> Option<&'a Expr> {
        let expr = self.waiting.pop()?;
        match &expr.kind {
            ExprKind::Number(_)
            | ExprKind::String(_)
            | ExprKind::Vector(_)
            | ExprKind::Matrix(_) => {}
            ExprKind::Subquery(subquery) => self.waiting.push(&subquery.expr),
            ExprKind::Call(call) => self.waiting.extend(call.args.iter().rev()),
            ExprKind::Aggregate(aggregate) => {
                self.waiting.push(&aggregate.expr);
                self.waiting.extend(&aggregate.param);
            }
            ExprKind::Binary(binary) => self.waiting.extend([&binary.right, &binary.left]),
            ExprKind::Unary(unary) => self.waiting.push(&unary.expr),
            ExprKind::Paren(inner) => self.waiting.push(inner),
        }
        Some(expr)
    }
}

#[cfg(test)]
mod tests {
    use crate::parse;

    #[test]
    fn parts_come_from_left_to_right() {
        let expr = parse("-a + topk(2, (rate(b[5m])))[1h:]").unwrap();
        let parts: Vec<_> = expr.parts().map(ToString::to_string).collect();
        let expected = [
            "-a + topk(2, (rate(b[5m])))[1h:]",
            "-a",
            "a",
            "topk(2, (rate(b[5m])))[1h:]",
            "topk(2, (rate(b[5m])))",
            "2",
            "(rate(b[5m]))",
            "rate(b[5m])",
            "b[5m]",
        ];
        assert_eq!(parts, expected);
        assert_eq!(expr.functions(), ["rate", "topk"]);
    }
}
