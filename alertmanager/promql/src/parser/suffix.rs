//! What follows an operand: ranges, subqueries, and the modifiers that move them in time.
//!
//! Invariant: a modifier binds more tightly than any operator, and each may be given once.

use super::{Node, Parsed, Parser};
use crate::ast::{
    At, Edges, Expr, ExprKind, Length, MatrixSelector, Subquery, VectorSelector, When,
};
use crate::fault::Span;
use crate::token::{Keyword, TokenKind};

const ONLY_SELECTORS: &str = "ranges only allowed for vector selectors";

impl Parser<'_> {
    /// `node` with what follows it.
    pub(super) fn suffixed(&mut self, mut node: Node) -> Parsed<Node> {
        // Whether there is a range behind what cannot have one, which has been reported.
        let mut refused = false;
        loop {
            let start = node.expr.span;
            match self.peek()?.kind {
                TokenKind::LeftBracket => {
                    (node, refused) = self.bracket(node)?;
                    continue;
                }
                TokenKind::Keyword(Keyword::Offset) => self.offset(&mut node.expr, refused)?,
                TokenKind::At => self.at(&mut node.expr, refused)?,
                TokenKind::Keyword(Keyword::Anchored) => self.edges(&mut node, Edges::Anchored)?,
                TokenKind::Keyword(Keyword::Smoothed) => self.edges(&mut node, Edges::Smoothed)?,
                _ => return Ok(node),
            }
            node.expr.span = self.since(start);
        }
    }

    /// `node` with a range or a subquery, and whether a range was refused.
    fn bracket(&mut self, mut node: Node) -> Parsed<(Node, bool)> {
        let bracket = self.take()?;
        let range = self.positive_length("subquery or range selector")?;
        let start = node.expr.span;
        if self.accept(TokenKind::Colon)? {
            let ends = self.peek()?.kind == TokenKind::RightBracket;
            let step = if ends { None } else { Some(self.positive_length("subquery selector")?) };
            self.expect(TokenKind::RightBracket, "subquery selector", "\"]\"")?;
            let subquery = Subquery { expr: node.expr, range, step, when: When::default() };
            let kind = ExprKind::Subquery(Box::new(subquery));
            return Ok((self.node(kind, self.since(start), node.size.higher())?, false));
        }
        self.expect(TokenKind::RightBracket, "subquery or range", "\":\" or \"]\"")?;
        let message = match node.expr.kind {
            ExprKind::Vector(VectorSelector { when: When { offset: Some(_), .. }, .. }) => {
                "no offset modifiers allowed before range"
            }
            ExprKind::Vector(VectorSelector { when: When { at: Some(_), .. }, .. }) => {
                "no @ modifiers allowed before range"
            }
            ExprKind::Vector(selector) => {
                let kind = ExprKind::Matrix(MatrixSelector { selector, range });
                return Ok((self.node(kind, self.since(start), node.size)?, false));
            }
            _ => ONLY_SELECTORS,
        };
        self.report(self.since(bracket.span), message);
        node.expr.span = self.since(start);
        Ok((node, true))
    }

    fn offset(&mut self, expr: &mut Expr, refused: bool) -> Parsed<()> {
        self.take()?;
        let offset = self.offset_length()?;
        let span = expr.span;
        if let Some(when) = self.when(expr, refused, "offset modifier") {
            if when.offset.is_some() {
                self.report(span, "offset may not be set multiple times");
            } else {
                when.offset = Some(offset);
            }
        }
        Ok(())
    }

    fn at(&mut self, expr: &mut Expr, refused: bool) -> Parsed<()> {
        let span = expr.span;
        self.take()?;
        let token = self.peek()?;
        let at = match token.kind {
            TokenKind::Keyword(word @ (Keyword::Start | Keyword::End)) => {
                self.take()?;
                self.expect(TokenKind::LeftParen, "@", "timestamp")?;
                self.expect(TokenKind::RightParen, "@", "timestamp")?;
                if word == Keyword::Start { At::Start } else { At::End }
            }
            _ => {
                let seconds = self.signed_number("@")?;
                let millis = (seconds * 1000.0).round();
                // Also false for not a number.
                if !(millis > i64::MIN as f64 && millis < i64::MAX as f64) {
                    let bound = if seconds.is_finite() {
                        format!("{seconds:.6}")
                    } else {
                        base::number::shortest(seconds)
                    };
                    let message = format!("timestamp out of bounds for @ modifier: {bound}");
                    self.report(span, message);
                }
                At::Time(millis as i64)
            }
        };
        if let Some(when) = self.when(expr, refused, "@ modifier") {
            if when.at.is_some() {
                self.report(span, "@ <timestamp> may not be set multiple times");
            } else {
                when.at = Some(at);
            }
        }
        Ok(())
    }

    /// The modifiers of `expr`; where it can have none that is reported.
    fn when<'e>(
        &mut self,
        expr: &'e mut Expr,
        refused: bool,
        modifier: &str,
    ) -> Option<&'e mut When> {
        let span = expr.span;
        match &mut expr.kind {
            _ if refused => self.report(span, ONLY_SELECTORS),
            ExprKind::Vector(selector) => return Some(&mut selector.when),
            ExprKind::Matrix(matrix) => return Some(&mut matrix.selector.when),
            ExprKind::Subquery(subquery) => return Some(&mut subquery.when),
            _ => self.report(
                span,
                format!(
                    "{modifier} must be preceded by an instant vector selector or range vector \
                     selector or a subquery"
                ),
            ),
        }
        None
    }

    fn edges(&mut self, node: &mut Node, edges: Edges) -> Parsed<()> {
        let word = self.take()?;
        match &mut node.expr.kind {
            ExprKind::Vector(selector) => selector.edges = edges,
            ExprKind::Matrix(matrix) => matrix.selector.edges = edges,
            _ if !self.faults.is_empty() => {}
            _ => return Err(self.unexpected(word)),
        }
        Ok(())
    }

    fn positive_length(&mut self, context: &str) -> Parsed<Length> {
        let start = self.peek()?.span;
        let before = self.faults.len();
        let length = self.length(context)?;
        // What is divided by zero comes to nothing, and has no place in the text.
        if self.faults[before..].iter().any(|fault| fault.message.ends_with(" by zero")) {
            self.report(Span::default(), "duration must be greater than 0");
        }
        if matches!(length, Length::Fixed(millis) if millis <= 0) {
            self.report(self.since(start), "duration must be greater than 0");
        }
        Ok(length)
    }
}
