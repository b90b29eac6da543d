//! What stands between operators: literals, parentheses, functions, aggregations.
//!
//! Invariant: a word is a function or an aggregation only before a parenthesis (an aggregation also
//! before `by` and `without`); everywhere else it names a metric.

use super::{Node, Parsed, Parser, Size, unexpected};
use crate::ast::{Aggregate, AggregateOp, BinaryOp, Call, Expr, ExprKind, Grouping, Number};
use crate::fault::Span;
use crate::functions;
use crate::literal;
use crate::token::{Keyword, Token, TokenKind};

impl<'a> Parser<'a> {
    pub(super) fn operand(&mut self) -> Parsed<Node> {
        let node = self.bare_operand()?;
        self.suffixed(node)
    }

    fn bare_operand(&mut self) -> Parsed<Node> {
        let token = self.peek()?;
        match token.kind {
            TokenKind::Number | TokenKind::Duration => {
                let number = self.number()?;
                Ok(Node::leaf(ExprKind::Number(number), token.span))
            }
            TokenKind::String => {
                let text = self.string()?;
                Ok(Node::leaf(ExprKind::String(text), token.span))
            }
            TokenKind::LeftParen => {
                self.take()?;
                let inner = self.nested(|p| p.expression(0))?;
                self.expect(TokenKind::RightParen, "", "")?;
                let span = self.since(token.span);
                self.node(ExprKind::Paren(Box::new(inner.expr)), span, inner.size.higher())
            }
            TokenKind::LeftBrace => self.braces_only(),
            TokenKind::Aggregate(op) => {
                self.take()?;
                match self.peek()?.kind {
                    TokenKind::LeftParen | TokenKind::Keyword(Keyword::By | Keyword::Without) => {
                        self.aggregate(op, token)
                    }
                    _ => self.metric(token),
                }
            }
            kind if kind.names_metric() => {
                self.take()?;
                let is_call = kind != TokenKind::MetricIdentifier && is_function_word(token);
                if is_call && self.peek()?.kind == TokenKind::LeftParen {
                    self.call(token)
                } else {
                    self.metric(token)
                }
            }
            _ => Err(self.unexpected(token)),
        }
    }

    /// Whether an expression can begin with the next token.
    pub(super) fn begins_operand(&mut self) -> Parsed<bool> {
        Ok(match self.peek()?.kind {
            TokenKind::Number
            | TokenKind::Duration
            | TokenKind::String
            | TokenKind::LeftParen
            | TokenKind::LeftBrace
            | TokenKind::Operator(BinaryOp::Add | BinaryOp::Subtract) => true,
            kind => kind.names_metric(),
        })
    }

    /// A number or duration token.
    pub(super) fn number(&mut self) -> Parsed<Number> {
        let token = self.take()?;
        let is_duration = token.kind == TokenKind::Duration;
        let value = if is_duration {
            literal::read_duration(token.text).map(|millis| millis as f64 / 1000.0)
        } else {
            literal::read_number(token.text)
        };
        let value = value.unwrap_or_else(|message| {
            self.report(token.span, message);
            0.0
        });
        Ok(Number { value, is_duration })
    }

    /// A number with or without a sign.
    pub(super) fn signed_number(&mut self, context: &str) -> Parsed<f64> {
        let negative = self.peek()?.kind == TokenKind::Operator(BinaryOp::Subtract);
        if negative || self.peek()?.kind == TokenKind::Operator(BinaryOp::Add) {
            self.take()?;
        }
        let token = self.peek()?;
        if !matches!(token.kind, TokenKind::Number | TokenKind::Duration) {
            let expected = if context == "@" { "timestamp" } else { "number" };
            return Err(unexpected(token, context, expected));
        }
        let value = self.number()?.value;
        Ok(if negative { -value } else { value })
    }

    /// A string token.
    pub(super) fn string(&mut self) -> Parsed<String> {
        let token = self.take()?;
        Ok(literal::read_string(token.text).unwrap_or_else(|message| {
            self.report(token.span, message);
            String::new()
        }))
    }

    fn call(&mut self, name: Token<'a>) -> Parsed<Node> {
        let (args, size) = self.arguments()?;
        if functions::find(name.text).is_none() {
            self.report(name.span, format!("unknown function with name {:?}", name.text));
        }
        let call = Call { name: name.text.to_owned(), args };
        let span = self.since(name.span);
        self.node(ExprKind::Call(call), span, size.higher())
    }

    /// The arguments in their parentheses, and the size of the largest.
    fn arguments(&mut self) -> Parsed<(Vec<Expr>, Size)> {
        self.expect(TokenKind::LeftParen, "", "")?;
        let (mut args, mut size) = (Vec::new(), Size::default());
        if self.accept(TokenKind::RightParen)? {
            return Ok((args, size));
        }
        loop {
            let node = self.nested(|p| p.expression(0))?;
            size = size.max(node.size);
            args.push(node.expr);
            let token = self.peek()?;
            if !self.accept(TokenKind::Comma)? {
                break;
            }
            if !self.begins_operand()? {
                self.report(token.span, "trailing commas not allowed in function call args");
                break;
            }
        }
        self.expect(TokenKind::RightParen, "", "")?;
        Ok((args, size))
    }

    fn aggregate(&mut self, op: AggregateOp, name: Token<'a>) -> Parsed<Node> {
        let mut grouping = self.grouping()?;
        let first = self.peek()?;
        if first.kind != TokenKind::LeftParen {
            return Err(unexpected(first, "aggregation", ""));
        }
        self.aggregations += 1;
        let (mut args, size) = self.arguments()?;
        self.aggregations -= 1;
        if grouping.is_none() {
            grouping = self.grouping()?;
        }
        let span = self.since(name.span);
        let expected = if op.has_param() { 2 } else { 1 };
        if args.is_empty() {
            self.report(span, "no arguments for aggregate expression provided");
        } else if args.len() != expected {
            let got = args.len();
            self.report(
                span,
                format!(
                    "wrong number of arguments for aggregate expression provided, \
                     expected {expected}, got {got}"
                ),
            );
        }
        // Where an argument is missing a fault has been reported, and nobody will see the tree.
        let missing = || Expr { kind: ExprKind::String(String::new()), span: Span::default() };
        let expr = args.pop().unwrap_or_else(missing);
        let param = op.has_param().then(|| args.pop().unwrap_or_else(missing));
        let aggregate = Aggregate { op, grouping, param, expr };
        self.node(ExprKind::Aggregate(Box::new(aggregate)), span, size.higher())
    }

    fn grouping(&mut self) -> Parsed<Option<Grouping>> {
        let without = match self.peek()?.kind {
            TokenKind::Keyword(Keyword::By) => false,
            TokenKind::Keyword(Keyword::Without) => true,
            _ => return Ok(None),
        };
        self.take()?;
        Ok(Some(Grouping { without, labels: self.grouping_labels()? }))
    }

    /// A list of labels in parentheses.
    pub(super) fn grouping_labels(&mut self) -> Parsed<Vec<String>> {
        const CONTEXT: &str = "grouping opts";
        self.expect(TokenKind::LeftParen, CONTEXT, "\"(\"")?;
        let mut labels = Vec::new();
        while !self.accept(TokenKind::RightParen)? {
            let token = self.peek()?;
            match token.kind {
                TokenKind::String => labels.push(self.string()?),
                kind if kind.names_label() => labels.push(self.take()?.text.to_owned()),
                _ => return Err(unexpected(token, CONTEXT, "label")),
            }
            let name = labels.last().map_or("", String::as_str);
            if name.is_empty() {
                let message = format!("invalid label name for grouping: {name:?}");
                self.report(token.span, message);
            }
            if self.accept(TokenKind::RightParen)? {
                break;
            }
            self.expect(TokenKind::Comma, CONTEXT, "\",\" or \")\"")?;
        }
        Ok(labels)
    }
}

/// Whether a word that could name a metric may be the name of a function.
fn is_function_word(token: Token<'_>) -> bool {
    match token.kind {
        TokenKind::Identifier => true,
        TokenKind::Keyword(word) => {
            matches!(word, Keyword::Start | Keyword::End | Keyword::Step | Keyword::Range)
        }
        _ => false,
    }
}
