//! Selectors: a metric name, conditions in braces, or both.
//!
//! Invariant: the condition for the name before the braces is the last of a selector's matchers.

use base::labels::{Labels, LabelsBuilder, METRIC_NAME};
use base::matcher::{MatchOp, Matcher};

use super::{Node, Parsed, Parser, unexpected};
use crate::ast::{BinaryOp, Edges, ExprKind, VectorSelector, When};
use crate::fault::{Fault, Span};
use crate::token::{Token, TokenKind};

const CONTEXT: &str = "label matching";

/// What is said of a selector that a slip of the pen made select everything.
pub(crate) const NO_MATCHER: &str = "vector selector must contain at least one non-empty matcher";

pub(crate) fn selects_everything(matchers: &[Matcher]) -> bool {
    matchers.iter().all(|matcher| matcher.matches(""))
}

/// Reads the labels of a series at the start of `text`, and says where they end.
pub(crate) fn series_labels(text: &str) -> Result<(Labels, usize), Fault> {
    let mut parser = Parser::new(text);
    let mut labels = LabelsBuilder::default();
    let first = parser.peek()?;
    if first.kind.names_metric() {
        labels.set(METRIC_NAME, parser.take()?.text);
    } else if first.kind != TokenKind::LeftBrace {
        return Err(unexpected(first, "series", "metric name or \"{\""));
    }
    // Looked at without reading a token, because what follows may be values.
    let next = text[parser.end..].trim_start();
    if next.starts_with('{') && !next.starts_with("{{") {
        for matcher in parser.matchers()? {
            if matcher.op() != MatchOp::Equal {
                let message = format!("a series is described with only `=`, not `{matcher}`");
                return Err(Fault::syntax(Span::new(first.span.start, parser.end), message));
            }
            labels.set(matcher.name(), matcher.value());
        }
    }
    match parser.faults.into_iter().next() {
        Some(fault) => Err(fault),
        None => Ok((labels.build(), parser.end)),
    }
}

impl<'a> Parser<'a> {
    /// The selector that begins with the metric name `token`, which has been taken.
    pub(super) fn metric(&mut self, token: Token<'a>) -> Parsed<Node> {
        let name = token.text;
        let mut matchers = Vec::new();
        if self.peek()?.kind == TokenKind::LeftBrace {
            matchers = self.matchers()?;
        }
        let span = self.since(token.span);
        matchers.push(Matcher::equal(METRIC_NAME, name));
        Ok(selector(Some(name.to_owned()), matchers, span))
    }

    /// A selector without a name before its braces.
    pub(super) fn braces_only(&mut self) -> Parsed<Node> {
        let start = self.peek()?.span;
        let matchers = self.matchers()?;
        let span = self.since(start);
        if self.later.is_empty() && selects_everything(&matchers) {
            self.later.push(Fault::meaning(span, NO_MATCHER));
        }
        Ok(selector(None, matchers, span))
    }

    fn matchers(&mut self) -> Parsed<Vec<Matcher>> {
        self.expect(TokenKind::LeftBrace, CONTEXT, "\"{\"")?;
        let mut matchers = Vec::new();
        while !self.accept(TokenKind::RightBrace)? {
            if let Some(matcher) = self.matcher()? {
                matchers.push(matcher);
            }
            if self.accept(TokenKind::RightBrace)? {
                break;
            }
            self.expect(TokenKind::Comma, CONTEXT, "\",\" or \"}\"")?;
        }
        Ok(matchers)
    }

    fn matcher(&mut self) -> Parsed<Option<Matcher>> {
        let start = self.peek()?;
        let name = match start.kind {
            TokenKind::Identifier => self.take()?.text.to_owned(),
            TokenKind::String => self.string()?,
            _ => return Err(unexpected(start, CONTEXT, "identifier or \"}\"")),
        };
        let op = match self.peek()?.kind {
            TokenKind::Assign => MatchOp::Equal,
            TokenKind::Operator(BinaryOp::NotEqual) => MatchOp::NotEqual,
            TokenKind::Matches => MatchOp::Matches,
            TokenKind::NotMatches => MatchOp::NotMatches,
            // A name in quotes that stands for itself.
            _ if start.kind == TokenKind::String => {
                return Ok(Some(Matcher::equal(METRIC_NAME, &name)));
            }
            _ => return Err(unexpected(self.peek()?, CONTEXT, "label matching operator")),
        };
        self.take()?;
        let value = self.peek()?;
        if value.kind != TokenKind::String {
            return Err(unexpected(value, CONTEXT, "string"));
        }
        let value = self.string()?;
        match Matcher::new(&name, op, &value) {
            Ok(matcher) => Ok(Some(matcher)),
            Err(error) => {
                let message = format!("error parsing regexp: {error}");
                self.report(self.since(start.span), message);
                Ok(None)
            }
        }
    }
}

fn selector(name: Option<String>, matchers: Vec<Matcher>, span: Span) -> Node {
    let selector = VectorSelector { name, matchers, when: When::default(), edges: Edges::Plain };
    Node::leaf(ExprKind::Vector(selector), span)
}
