//! Cuts the text of an expression into tokens, one when asked.
//!
//! The text means different things between braces (label names may be any word) and between
//! brackets (a colon separates, `step` is a length of time), so the lexer keeps track of both.
//!
//! Invariant: a fault reaches from the token that it is in to the end of the text, because what
//! comes behind it has not been looked at.

use crate::ast::BinaryOp;
use crate::fault::{Fault, Span};
use crate::literal;
use crate::token::{Token, TokenKind};

/// Reads tokens from a text.
#[derive(Debug)]
pub(crate) struct Lexer<'a> {
    text: &'a str,
    at: usize,
    parens: usize,
    in_braces: bool,
    in_brackets: bool,
    seen_colon: bool,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0, parens: 0, in_braces: false, in_brackets: false, seen_colon: false }
    }

    /// The next token; at the end of the text always [`TokenKind::End`].
    pub(crate) fn next(&mut self) -> Result<Token<'a>, Fault> {
        self.skip_blanks();
        let start = self.at;
        let kind = match self.peek() {
            None => self.end()?,
            Some('"' | '\'' | '`') => self.string()?,
            Some(',') => self.take(TokenKind::Comma),
            Some(_) if self.in_braces => self.between_braces()?,
            Some(c) => self.outside_braces(c)?,
        };
        Ok(Token { kind, span: Span::new(start, self.at), text: &self.text[start..self.at] })
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn skip_blanks(&mut self) {
        loop {
            let rest = self.rest();
            let begins = rest.trim_start_matches([' ', '\t', '\n', '\r']);
            self.at += rest.len() - begins.len();
            if !begins.starts_with('#') {
                return;
            }
            self.at += begins.find(['\n', '\r']).unwrap_or(begins.len());
        }
    }

    fn take(&mut self, kind: TokenKind) -> TokenKind {
        self.at += self.peek().map_or(0, char::len_utf8);
        kind
    }

    /// A fault of the token that begins at `start`.
    fn fault(&self, start: usize, message: impl Into<String>) -> Fault {
        Fault::syntax(Span::new(start, self.text.len()), message)
    }

    fn end(&self) -> Result<TokenKind, Fault> {
        if self.in_braces {
            Err(self.fault(self.at, "unexpected end of input inside braces"))
        } else if self.in_brackets {
            Err(self.fault(self.at, "unclosed left bracket"))
        } else if self.parens > 0 {
            Err(self.fault(self.at, "unclosed left parenthesis"))
        } else {
            Ok(TokenKind::End)
        }
    }

    fn string(&mut self) -> Result<TokenKind, Fault> {
        match literal::string_length(self.rest()) {
            Ok(length) => {
                self.at += length;
                Ok(TokenKind::String)
            }
            Err(message) => Err(self.fault(self.at, message)),
        }
    }

    fn word(&mut self) -> &'a str {
        let rest = self.rest();
        let colons = !self.in_braces && !self.in_brackets;
        let ends = |c: char| !(c.is_ascii_alphanumeric() || c == '_' || (c == ':' && colons));
        let word = &rest[..rest.find(ends).unwrap_or(rest.len())];
        self.at += word.len();
        word
    }

    /// A second character that makes another token of the one before it.
    fn followed_by(&mut self, c: char) -> bool {
        let follows = self.peek() == Some(c);
        self.at += usize::from(follows);
        follows
    }

    fn between_braces(&mut self) -> Result<TokenKind, Fault> {
        let start = self.at;
        let rest = self.rest();
        let (kind, length) = match rest.chars().next() {
            Some(c) if c.is_ascii_alphabetic() || c == '_' => {
                self.word();
                return Ok(TokenKind::Identifier);
            }
            Some('=') if rest.starts_with("=~") => (TokenKind::Matches, 2),
            Some('=') => (TokenKind::Assign, 1),
            Some('!') if rest.starts_with("!~") => (TokenKind::NotMatches, 2),
            Some('!') if rest.starts_with("!=") => (TokenKind::Operator(BinaryOp::NotEqual), 2),
            Some('!') => {
                let next = rest[1..].chars().next();
                return Err(self.fault(
                    start,
                    next.map_or("unexpected end of input inside braces".to_owned(), |c| {
                        format!("unexpected character after '!' inside braces: {c:?}")
                    }),
                ));
            }
            Some('{') => return Err(self.fault(start, "unexpected left brace '{'")),
            Some('}') => {
                self.in_braces = false;
                (TokenKind::RightBrace, 1)
            }
            Some(c) => {
                return Err(self.fault(start, format!("unexpected character inside braces: {c:?}")));
            }
            None => return Err(self.fault(start, "unexpected end of input inside braces")),
        };
        self.at += length;
        Ok(kind)
    }

    fn outside_braces(&mut self, c: char) -> Result<TokenKind, Fault> {
        let start = self.at;
        let digit_follows = self.rest()[c.len_utf8()..].starts_with(|c: char| c.is_ascii_digit());
        match c {
            '0'..='9' => self.number(),
            '.' if digit_follows => self.number(),
            'a'..='z' | 'A'..='Z' | '_' => self.name(),
            ':' if self.in_brackets => self.colon(),
            ':' => self.name(),
            '(' => {
                self.parens += 1;
                Ok(self.take(TokenKind::LeftParen))
            }
            ')' => {
                let kind = self.take(TokenKind::RightParen);
                let Some(parens) = self.parens.checked_sub(1) else {
                    return Err(self.fault(self.at, "unexpected right parenthesis ')'"));
                };
                self.parens = parens;
                Ok(kind)
            }
            '[' if self.in_brackets => Err(self.fault(start, "unexpected left bracket '['")),
            '[' => {
                (self.in_brackets, self.seen_colon) = (true, false);
                Ok(self.take(TokenKind::LeftBracket))
            }
            ']' if !self.in_brackets => Err(self.fault(start, "unexpected right bracket ']'")),
            ']' => {
                self.in_brackets = false;
                Ok(self.take(TokenKind::RightBracket))
            }
            '{' if self.in_brackets => Err(self.fault(start, "unexpected character: '{'")),
            '{' => {
                self.in_braces = true;
                Ok(self.take(TokenKind::LeftBrace))
            }
            '@' => Ok(self.take(TokenKind::At)),
            _ => self.operator(c),
        }
    }

    fn number(&mut self) -> Result<TokenKind, Fault> {
        let start = self.at;
        match literal::scan_number(self.rest()) {
            Ok((kind, length)) => {
                self.at += length;
                Ok(kind)
            }
            Err(length) => {
                let seen = &self.text[start..start + length];
                Err(self.fault(start, format!("bad number or duration syntax: {seen:?}")))
            }
        }
    }

    fn name(&mut self) -> Result<TokenKind, Fault> {
        let start = self.at;
        let word = self.word();
        let kind = TokenKind::of_word(word);
        let of_lengths = ["step", "range", "min_of", "max_of"];
        if self.in_brackets && !of_lengths.iter().any(|name| word.eq_ignore_ascii_case(name)) {
            let expected = if self.seen_colon { ']' } else { ':' };
            let c = word.chars().next().unwrap_or_default();
            return Err(
                self.fault(start, format!("unexpected character: {c:?}, expected {expected:?}"))
            );
        }
        Ok(kind)
    }

    fn colon(&mut self) -> Result<TokenKind, Fault> {
        if self.seen_colon {
            return Err(self.fault(self.at, "unexpected colon ':'"));
        }
        self.seen_colon = true;
        Ok(self.take(TokenKind::Colon))
    }

    fn operator(&mut self, c: char) -> Result<TokenKind, Fault> {
        let start = self.at;
        self.at += c.len_utf8();
        let op = match c {
            '+' => BinaryOp::Add,
            '-' => BinaryOp::Subtract,
            '*' => BinaryOp::Multiply,
            '/' => BinaryOp::Divide,
            '%' => BinaryOp::Remainder,
            '^' => BinaryOp::Power,
            '=' if self.followed_by('=') => BinaryOp::Equal,
            '!' if self.followed_by('=') => BinaryOp::NotEqual,
            '=' if self.peek() != Some('~') => return Ok(TokenKind::Assign),
            '=' | '!' => {
                let message = match self.peek() {
                    Some(next) => format!("unexpected character after {c:?}: {next:?}"),
                    None => format!("unexpected end of input after {c:?}"),
                };
                return Err(self.fault(start, message));
            }
            '<' if self.followed_by('=') => BinaryOp::LessOrEqual,
            '<' if self.followed_by('/') => BinaryOp::TrimUpper,
            '<' => BinaryOp::Less,
            '>' if self.followed_by('=') => BinaryOp::GreaterOrEqual,
            '>' if self.followed_by('/') => BinaryOp::TrimLower,
            '>' => BinaryOp::Greater,
            _ => return Err(self.fault(start, format!("unexpected character: {c:?}"))),
        };
        Ok(TokenKind::Operator(op))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The texts of the tokens, or the fault that ends them.
    #[track_caller]
    fn check(text: &str, expected: &str) {
        let mut lexer = Lexer::new(text);
        let mut got = Vec::new();
        loop {
            match lexer.next() {
                Ok(Token { kind: TokenKind::End, .. }) => break,
                Ok(token) => got.push(token.text.to_owned()),
                Err(fault) => {
                    got.push(format!("{}..{} {}", fault.span.start, fault.span.end, fault.message));
                    break;
                }
            }
        }
        assert_eq!(got.join(" "), expected);
    }

    #[test]
    fn cuts_the_text_where_tokens_end() {
        check("sum by(a)(rate(x[5m]))", "sum by ( a ) ( rate ( x [ 5m ] ) )");
        check("a:b{c!~'d'}>=bool-1e3", "a:b { c !~ 'd' } >= bool - 1e3");
        check("x[1h30m:step()]@.5", "x [ 1h30m : step ( ) ] @ .5");
        check("1# a comment\n+ 2 #", "1 + 2");
        check("x{on='\\'',sum=`\\`}", "x { on = '\\'' , sum = `\\` }");
        check("", "");
    }

    #[test]
    fn refuses_what_is_no_token_here() {
        check("x $ y", "x 2..5 unexpected character: '$'");
        check("x é", "x 2..4 unexpected character: 'é'");
        check("a =~ b", "a 2..6 unexpected character after '=': '~'");
        check("a !", "a 2..3 unexpected end of input after '!'");
        check("x{a!b}", "x { a 3..6 unexpected character after '!' inside braces: 'b'");
        check("x{a{", "x { a 3..4 unexpected left brace '{'");
        check("x[a]", "x [ 2..4 unexpected character: 'a', expected ':'");
        check("x[5m:a]", "x [ 5m : 5..7 unexpected character: 'a', expected ']'");
        check("x[1m:1m:1m]", "x [ 1m : 1m 7..11 unexpected colon ':'");
        check("(", "( 1..1 unclosed left parenthesis");
        check("x[", "x [ 2..2 unclosed left bracket");
        check("x]", "x 1..2 unexpected right bracket ']'");
    }
}
