//! Lengths of time: in brackets any calculation, behind `offset` a single term.
//!
//! Invariant: a number or duration with or without a sign becomes [`Length::Fixed`]; everything
//! else stays a calculation, also where its result could be told.

use super::{Parsed, Parser, unexpected};
use crate::ast::{BinaryOp, Length, LengthExpr, LengthKind, Number};
use crate::fault::Span;
use crate::token::{Keyword, Token, TokenKind};

const EXPECTED: &str = "number, duration, step(), or range()";

/// About 292 years: what fits Prometheus's nanoseconds.
const MOST_SECONDS: f64 = 9_223_372_036.0;

impl Parser<'_> {
    /// A length in brackets.
    pub(super) fn length(&mut self, context: &str) -> Parsed<Length> {
        let nesting = self.nesting;
        let expr = self.length_sum(0, context)?;
        self.nesting = nesting;
        Ok(self.fixed_or_computed(expr))
    }

    /// A length behind `offset`, where an operator would belong to the expression.
    pub(super) fn offset_length(&mut self) -> Parsed<Length> {
        let nesting = self.nesting;
        let expr = self.bare_length()?;
        self.nesting = nesting;
        Ok(self.fixed_or_computed(expr))
    }

    /// A term with or without signs, to which no power belongs: `x offset -1 ^ 2` is a power of `x`.
    fn bare_length(&mut self) -> Parsed<LengthExpr> {
        let token = self.peek()?;
        match token.kind {
            TokenKind::Operator(sign @ (BinaryOp::Add | BinaryOp::Subtract)) => {
                self.take()?;
                let inner = self.nested(Self::bare_length)?;
                Ok(signed(sign, token, inner))
            }
            _ => self.length_term("offset"),
        }
    }

    fn fixed_or_computed(&mut self, expr: LengthExpr) -> Length {
        let LengthKind::Number(Number { value: seconds, .. }) = expr.kind else {
            return Length::Computed(Box::new(expr));
        };
        if seconds.is_nan() || seconds.abs() > MOST_SECONDS {
            self.report(expr.span, "duration out of range");
        }
        Length::Fixed((seconds * 1000.0).round() as i64)
    }

    fn length_sum(&mut self, least: u8, context: &str) -> Parsed<LengthExpr> {
        let mut left = self.length_term(context)?;
        loop {
            let token = self.peek()?;
            let TokenKind::Operator(op) = token.kind else { return Ok(left) };
            let calculates = op.precedence() >= BinaryOp::Add.precedence() && !op.is_word();
            if !calculates || op.precedence() < least {
                return Ok(left);
            }
            self.take()?;
            let next = op.precedence() + u8::from(op != BinaryOp::Power);
            // Counted until the whole length is read: a chain is as deep as it is long.
            self.nesting += 1;
            let right = self.nested(|p| p.length_sum(next, context))?;
            self.check_divisor(op, token, &right);
            let span = left.span.to(right.span);
            let kind = LengthKind::Binary(op, Box::new(left), Box::new(right));
            left = LengthExpr { kind, span };
        }
    }

    fn check_divisor(&mut self, op: BinaryOp, token: Token<'_>, right: &LengthExpr) {
        if !matches!(right.kind, LengthKind::Number(Number { value: 0.0, .. })) {
            return;
        }
        match op {
            BinaryOp::Divide => self.report(token.span, "division by zero"),
            BinaryOp::Remainder => self.report(token.span, "modulo by zero"),
            _ => {}
        }
    }

    fn length_term(&mut self, context: &str) -> Parsed<LengthExpr> {
        let token = self.peek()?;
        let kind = match token.kind {
            TokenKind::Number | TokenKind::Duration => LengthKind::Number(self.number()?),
            TokenKind::Operator(op @ (BinaryOp::Add | BinaryOp::Subtract)) => {
                self.take()?;
                let power = BinaryOp::Power.precedence();
                let inner = self.nested(|p| p.length_sum(power, context))?;
                return Ok(signed(op, token, inner));
            }
            TokenKind::LeftParen => {
                self.take()?;
                let inner = self.nested(|p| p.length_sum(0, context))?;
                self.expect(TokenKind::RightParen, context, "\")\"")?;
                LengthKind::Paren(Box::new(inner))
            }
            TokenKind::Keyword(word @ (Keyword::Step | Keyword::Range)) => {
                self.take()?;
                self.expect(TokenKind::LeftParen, context, "\"(\"")?;
                self.expect(TokenKind::RightParen, context, "\")\"")?;
                if word == Keyword::Step { LengthKind::Step } else { LengthKind::Range }
            }
            TokenKind::Identifier if token.text.eq_ignore_ascii_case("min_of") => {
                let (a, b) = self.pair(context)?;
                LengthKind::MinOf(a, b)
            }
            TokenKind::Identifier if token.text.eq_ignore_ascii_case("max_of") => {
                let (a, b) = self.pair(context)?;
                LengthKind::MaxOf(a, b)
            }
            _ => return Err(unexpected(token, context, EXPECTED)),
        };
        Ok(LengthExpr { kind, span: self.since(token.span) })
    }

    fn pair(&mut self, context: &str) -> Parsed<(Box<LengthExpr>, Box<LengthExpr>)> {
        self.take()?;
        self.expect(TokenKind::LeftParen, context, "\"(\"")?;
        let first = self.nested(|p| p.length_sum(0, context))?;
        self.expect(TokenKind::Comma, context, "\",\"")?;
        let second = self.nested(|p| p.length_sum(0, context))?;
        self.expect(TokenKind::RightParen, context, "\")\"")?;
        Ok((Box::new(first), Box::new(second)))
    }
}

/// A length behind its sign; a literal takes it in, as in Prometheus.
fn signed(sign: BinaryOp, token: Token<'_>, inner: LengthExpr) -> LengthExpr {
    let span = Span::new(token.span.start, inner.span.end);
    let kind = match (sign, inner.kind) {
        (BinaryOp::Add, kind) => kind,
        (_, LengthKind::Number(number)) => {
            LengthKind::Number(Number { value: -number.value, ..number })
        }
        (_, kind) => LengthKind::Negative(Box::new(LengthExpr { kind, span: inner.span })),
    };
    LengthExpr { kind, span }
}
