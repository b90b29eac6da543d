//! Reads the text of an expression into a tree.
//!
//! ```text
//! parser    operators by precedence, signs
//!   operand   numbers, strings, parentheses, functions, aggregations
//!     selector  metric names, braces
//!   suffix    [5m]  [1h:1m]  offset 5m  @ 1234
//!     length    5m, 300, and calculations with lengths
//! ```
//!
//! A recursive descent; chains of operators, which may be long, are loops. A fault of the grammar
//! ends the reading, other faults are collected, so that one look shows all of them.
//!
//! Invariant: neither the stack nor the tree grows beyond a bound, whatever the text.

mod operand;
mod selector;
mod suffix;
mod length;

pub(crate) use selector::{NO_MATCHER, selects_everything, series_labels};

use crate::ast::{Binary, BinaryOp, Expr, ExprKind, Group, Matching, Number, Side, Unary};
use crate::fault::{Fault, Faults, Span};
use crate::lexer::Lexer;
use crate::token::{Keyword, Token, TokenKind};

/// The longest text that is read, in bytes.
pub const MAX_LENGTH: usize = 512 << 10;

/// How deep a tree may be, a chain of operators included, of which each adds one.
pub const MAX_DEPTH: usize = 2000;

/// How many parentheses, signs, functions and brackets may stand within each other.
const MAX_NESTING: usize = 120;

/// Reads an expression, without looking at whether its types fit.
///
/// # Errors
///
/// The text does not follow the grammar, or goes beyond [`MAX_LENGTH`] or [`MAX_DEPTH`].
pub fn parse(text: &str) -> Result<Expr, Faults> {
    if text.len() > MAX_LENGTH {
        let message = format!("expression is longer than {MAX_LENGTH} bytes");
        return Err(Faults::new(text, vec![Fault::syntax(Span::new(0, 0), message)]));
    }
    let mut parser = Parser::new(text);
    match parser.whole() {
        Ok(expr) if parser.faults.is_empty() => Ok(expr),
        Ok(_) => Err(Faults::new(text, parser.faults)),
        Err(fault) => {
            // Where only a limit of ours ended the reading, what was seen says more.
            if fault.message == too_deep() {
                parser.faults.append(&mut parser.later);
            }
            // An aggregation that the text ends in has got nothing to aggregate.
            let is_unclosed = fault.message == "unclosed left parenthesis";
            parser.faults.push(fault);
            if is_unclosed && parser.aggregations > 0 {
                parser.report(Span::default(), "no arguments for aggregate expression provided");
            }
            Err(Faults::new(text, parser.faults))
        }
    }
}

/// How large a part of the tree is.
#[derive(Clone, Copy, Default)]
struct Size {
    /// How many nodes it is deep.
    depth: usize,
    /// The same, but a chain of operators counts as one: how deep a walk through it nests, since
    /// walks go down the left sides of operators in a loop.
    height: usize,
}

impl Size {
    fn max(self, other: Self) -> Self {
        Self { depth: self.depth.max(other.depth), height: self.height.max(other.height) }
    }

    fn higher(self) -> Self {
        Self { depth: self.depth, height: self.height + 1 }
    }
}

/// A part of the tree.
struct Node {
    expr: Expr,
    size: Size,
}

impl Node {
    fn leaf(kind: ExprKind, span: Span) -> Self {
        Self { expr: Expr { kind, span }, size: Size { depth: 1, height: 1 } }
    }
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    peeked: Option<Token<'a>>,
    /// Where the last token that was taken ends.
    end: usize,
    nesting: usize,
    /// Within how many aggregations; a fault of the grammar there says so.
    aggregations: usize,
    faults: Vec<Fault>,
    /// What would be found when the expression is checked, for one that cannot be read to its end.
    later: Vec<Fault>,
}

/// A fault in an `Err` ends the reading.
type Parsed<T> = Result<T, Fault>;

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Self {
        let lexer = Lexer::new(text);
        Self {
            lexer,
            peeked: None,
            end: 0,
            nesting: 0,
            aggregations: 0,
            faults: Vec::new(),
            later: Vec::new(),
        }
    }

    fn whole(&mut self) -> Parsed<Expr> {
        if self.peek()?.kind == TokenKind::End {
            return Err(Fault::syntax(Span::new(0, 0), "no expression found in input"));
        }
        let node = self.expression(0)?;
        self.expect_end()?;
        Ok(node.expr)
    }

    fn expect_end(&mut self) -> Parsed<()> {
        match self.peek()? {
            Token { kind: TokenKind::End, .. } => Ok(()),
            token => Err(self.unexpected(token)),
        }
    }

    fn peek(&mut self) -> Parsed<Token<'a>> {
        match self.peeked {
            Some(token) => Ok(token),
            None => Ok(*self.peeked.insert(self.lexer.next()?)),
        }
    }

    fn take(&mut self) -> Parsed<Token<'a>> {
        let token = self.peek()?;
        self.peeked = None;
        self.end = token.span.end;
        Ok(token)
    }

    /// Takes the next token if it is of this kind.
    fn accept(&mut self, kind: TokenKind) -> Parsed<bool> {
        let is = self.peek()?.kind == kind;
        if is {
            self.take()?;
        }
        Ok(is)
    }

    /// Takes the next token, which must be of this kind.
    fn expect(&mut self, kind: TokenKind, context: &str, expected: &str) -> Parsed<Token<'a>> {
        let token = self.peek()?;
        match token.kind {
            found if found == kind => self.take(),
            _ if context.is_empty() => Err(self.unexpected(token)),
            _ => Err(unexpected(token, context, expected)),
        }
    }

    /// The fault of a token where an expression should begin or end.
    fn unexpected(&self, token: Token<'_>) -> Fault {
        unexpected(token, if self.aggregations > 0 { "aggregation" } else { "" }, "")
    }

    /// From `start` to the end of what has been taken.
    fn since(&self, start: Span) -> Span {
        Span::new(start.start, self.end)
    }

    fn report(&mut self, span: Span, message: impl Into<String>) {
        self.faults.push(Fault::syntax(span, message));
    }

    /// Runs `inner` one level further in.
    fn nested<T>(&mut self, inner: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.nesting >= MAX_NESTING {
            return Err(Fault::syntax(Span::new(self.end, self.end), too_deep()));
        }
        self.nesting += 1;
        let result = inner(self);
        self.nesting -= 1;
        result
    }

    /// Puts `kind` on top of parts of this size.
    fn node(&self, kind: ExprKind, span: Span, parts: Size) -> Parsed<Node> {
        let size = Size { depth: parts.depth + 1, height: parts.height };
        if size.depth > MAX_DEPTH || size.height > MAX_NESTING {
            return Err(Fault::syntax(span, too_deep()));
        }
        Ok(Node { expr: Expr { kind, span }, size })
    }

    /// An expression of operators that bind at least as tightly as `least`.
    fn expression(&mut self, least: u8) -> Parsed<Node> {
        let left = self.signed()?;
        self.chain(left, least)
    }

    fn signed(&mut self) -> Parsed<Node> {
        let sign = self.peek()?;
        let negative = match sign.kind {
            TokenKind::Operator(BinaryOp::Subtract) => true,
            TokenKind::Operator(BinaryOp::Add) => false,
            _ => return self.operand(),
        };
        self.take()?;
        let node = self.nested(|p| p.expression(BinaryOp::Power.precedence()))?;
        let span = sign.span.to(node.expr.span);
        if let ExprKind::Number(Number { value, is_duration }) = node.expr.kind {
            let value = if negative { -value } else { value };
            return Ok(Node::leaf(ExprKind::Number(Number { value, is_duration }), span));
        }
        let unary = Unary { negative, expr: node.expr };
        self.node(ExprKind::Unary(Box::new(unary)), span, node.size.higher())
    }

    fn binary(&mut self, left: Node, op: BinaryOp) -> Parsed<Node> {
        let op_token = self.take()?;
        let returns_bool = self.accept(TokenKind::Keyword(Keyword::Bool))?;
        let (matching, operand) = self.matching()?;
        let op_span = match operand {
            Some(token) => Span::new(op_token.span.start, token.span.start),
            None => self.since(op_token.span),
        };
        let least = op.precedence() + u8::from(op != BinaryOp::Power);
        let right = match operand {
            // A metric that is called `fill`; what follows belongs to it.
            Some(token) => self.nested(|p| {
                let operand = p.metric(token)?;
                let operand = p.suffixed(operand)?;
                p.chain(operand, least)
            })?,
            None => self.nested(|p| p.expression(least))?,
        };
        let span = left.expr.span.to(right.expr.span);
        let size = left.size.max(right.size.higher());
        let binary =
            Binary { op, op_span, returns_bool, matching, left: left.expr, right: right.expr };
        self.node(ExprKind::Binary(Box::new(binary)), span, size)
    }

    /// The operators that follow `left` and bind at least as tightly as `least`.
    fn chain(&mut self, mut left: Node, least: u8) -> Parsed<Node> {
        while let TokenKind::Operator(op) = self.peek()?.kind {
            if op.precedence() < least {
                break;
            }
            left = self.binary(left, op)?;
        }
        Ok(left)
    }

    /// The modifiers behind an operator, and the token that turned out to be a metric and none.
    fn matching(&mut self) -> Parsed<(Option<Matching>, Option<Token<'a>>)> {
        let mut matching = None;
        if let TokenKind::Keyword(word @ (Keyword::On | Keyword::Ignoring)) = self.peek()?.kind {
            self.take()?;
            let labels = self.grouping_labels()?;
            let group = self.group()?;
            matching =
                Some(Matching { on: word == Keyword::On, labels, group, ..Matching::default() });
        }
        while let TokenKind::Keyword(
            word @ (Keyword::Fill | Keyword::FillLeft | Keyword::FillRight),
        ) = self.peek()?.kind
        {
            let token = self.take()?;
            if self.peek()?.kind != TokenKind::LeftParen {
                return Ok((matching, Some(token)));
            }
            self.take()?;
            let value = self.signed_number("fill")?;
            self.expect(TokenKind::RightParen, "fill", "\")\"")?;
            let matching = matching.get_or_insert_with(Matching::default);
            if word != Keyword::FillRight {
                matching.fill_left = Some(value);
            }
            if word != Keyword::FillLeft {
                matching.fill_right = Some(value);
            }
        }
        Ok((matching, None))
    }

    fn group(&mut self) -> Parsed<Option<Group>> {
        let many = match self.peek()?.kind {
            TokenKind::Keyword(Keyword::GroupLeft) => Side::Left,
            TokenKind::Keyword(Keyword::GroupRight) => Side::Right,
            _ => return Ok(None),
        };
        self.take()?;
        let listed = self.peek()?.kind == TokenKind::LeftParen || !self.begins_operand()?;
        let labels = if listed { self.grouping_labels()? } else { Vec::new() };
        Ok(Some(Group { many, labels }))
    }
}

fn too_deep() -> String {
    format!("expression has more than {MAX_NESTING} nested or {MAX_DEPTH} chained parts")
}

/// The fault of a token that does not fit.
fn unexpected(token: Token<'_>, context: &str, expected: &str) -> Fault {
    let mut message = format!("unexpected {token}");
    if !context.is_empty() {
        message.push_str(" in ");
        message.push_str(context);
    }
    if !expected.is_empty() {
        message.push_str(", expected ");
        message.push_str(expected);
    }
    Fault::syntax(token.span, message)
}

#[cfg(test)]
mod tests;
