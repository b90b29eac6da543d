//! Expressions: pipelines, commands, and what they are made of.
//!
//! ```text
//! $x := .Labels.job | printf "%s %d" 3 | toUpper
//!       ^ command     ^ command: a function and two words
//! ```
//!
//! Invariant: a name that is not known is reported and stands for nothing, so that the tree keeps
//! its shape; it is never rendered.

use std::sync::Arc;

use super::super::functions::{UNKNOWN, unknown_function};
use super::super::lex::{Kind, Token};
use super::super::literal;
use super::super::print::quoted;
use super::super::syntax::{Command, Operand, Pipe, Word};
use super::{Parse, Parser};

impl<'s> Parser<'s> {
    /// A pipeline with its end.
    pub(super) fn pipe(&mut self, context: &str, end: Kind) -> Parse<Pipe> {
        let at = self.peek_word().at;
        let (variables, assigns) = self.declarations(context)?;
        let mut commands = Vec::new();
        loop {
            let token = self.peek_word();
            match token.kind {
                kind if kind == end => {
                    self.advance();
                    break;
                }
                Kind::Bool
                | Kind::Rune
                | Kind::Dot
                | Kind::Field
                | Kind::Name
                | Kind::Number
                | Kind::Nil
                | Kind::Raw
                | Kind::Quoted
                | Kind::Variable
                | Kind::OpenParen => commands.push(self.command()?),
                _ => {
                    self.advance();
                    return Err(self.unexpected(token, context));
                }
            }
        }
        if commands.is_empty() {
            return Err(self.error(format!("missing value for {context}")));
        }
        for (n, command) in commands.iter().enumerate().skip(1) {
            let first = command.words.first().map(|word| &word.operand);
            if let Some(
                Operand::Bool(_)
                | Operand::Dot
                | Operand::Nil
                | Operand::Number { .. }
                | Operand::Rune { .. }
                | Operand::Text { .. },
            ) = first
            {
                let message = format!("non executable command in pipeline stage {}", n + 1);
                return Err(self.error(message));
            }
        }
        if !assigns {
            self.variables.extend(variables.iter().cloned());
        }
        Ok(Pipe { at, variables, assigns, commands })
    }

    /// `$x :=`, `$x =`, and in a loop `$i, $x :=`; nothing where the pipeline declares nothing.
    fn declarations(&mut self, context: &str) -> Parse<(Vec<Arc<str>>, bool)> {
        let start = self.next;
        let mut variables: Vec<Arc<str>> = Vec::new();
        while self.peek_word().kind == Kind::Variable {
            let variable = self.advance_word();
            let operator = self.peek_word();
            match operator.kind {
                Kind::Assign | Kind::Declare => {
                    self.advance_word();
                    variables.push(variable.text.into());
                    let assigns = operator.kind == Kind::Assign;
                    for name in variables.clone() {
                        if assigns && !self.variables.contains(&name) {
                            self.undefined(variable, &name)?;
                        }
                    }
                    return Ok((variables, assigns));
                }
                Kind::Comma => {
                    self.advance_word();
                    variables.push(variable.text.into());
                    if context != "range" || variables.len() > 1 {
                        return Err(self.error(format!("too many declarations in {context}")));
                    }
                    let next = self.peek_word();
                    if next.kind != Kind::Variable {
                        self.advance_word();
                        return Err(self.error("range can only initialize variables"));
                    }
                }
                _ if variables.is_empty() => break,
                _ => {
                    self.advance_word();
                    return Err(self.unexpected(operator, context));
                }
            }
        }
        self.next = start;
        Ok((Vec::new(), false))
    }

    /// Words up to a `|` or to the end of the pipeline, which stays.
    fn command(&mut self) -> Parse<Command> {
        let at = self.peek_word().at;
        let mut words = Vec::new();
        loop {
            self.peek_word();
            match self.operand()? {
                Some(word) => words.push(word),
                None => break,
            }
            let token = self.peek();
            match token.kind {
                Kind::Space => {
                    self.advance();
                }
                Kind::Close | Kind::CloseParen | Kind::Pipe => break,
                _ => {
                    self.advance();
                    return Err(self.unexpected(token, "operand"));
                }
            }
        }
        if self.peek_word().kind == Kind::Pipe {
            let pipe = self.advance();
            if matches!(self.peek_word().kind, Kind::Close | Kind::CloseParen) {
                self.advance();
                return Err(self.error("missing value for command"));
            }
            if words.is_empty() {
                return Err(self.unexpected(pipe, "command"));
            }
        }
        if words.is_empty() {
            return Err(self.error("empty command"));
        }
        Ok(Command { at, words })
    }

    /// A term with the fields behind it.
    fn operand(&mut self) -> Parse<Option<Word>> {
        let Some(term) = self.term()? else { return Ok(None) };
        let mut names: Vec<Arc<str>> = Vec::new();
        while self.peek().kind == Kind::Field {
            names.push(self.advance().text[1..].into());
        }
        if names.is_empty() {
            return Ok(Some(term));
        }
        let Word { at, operand } = term;
        let operand = match operand {
            Operand::Field(mut path) => {
                path.extend(names);
                Operand::Field(path)
            }
            Operand::Variable(name, mut path) => {
                path.extend(names);
                Operand::Variable(name, path)
            }
            Operand::Pipe(_) | Operand::Function(_) => {
                Operand::Chain(Box::new(Word { at, operand }), names)
            }
            operand => {
                let shown = Word { at, operand }.to_string();
                return Err(self.error(format!("unexpected . after term {}", quoted(&shown))));
            }
        };
        Ok(Some(Word { at, operand }))
    }

    /// A single word, or nothing where none begins.
    fn term(&mut self) -> Parse<Option<Word>> {
        let token = self.peek_word();
        let written: Arc<str> = token.text.into();
        let operand = match token.kind {
            Kind::Name => match self.dialect.function(token.text) {
                Some(function) => Operand::Function(function),
                None => {
                    let fault = self.fault_at(token.at, unknown_function(self.dialect, token.text));
                    self.report(fault)?;
                    Operand::Function(&UNKNOWN)
                }
            },
            Kind::Dot => Operand::Dot,
            Kind::Nil => Operand::Nil,
            Kind::Bool => Operand::Bool(token.text == "true"),
            Kind::Field => Operand::Field(vec![token.text[1..].into()]),
            Kind::Variable => {
                if !self.variables.iter().any(|name| **name == *token.text) {
                    self.undefined(token, token.text)?;
                }
                Operand::Variable(written, Vec::new())
            }
            Kind::Number => match literal::number(token.text) {
                Some(value) => Operand::Number { value, written },
                None => {
                    return Err(self
                        .fault_at(token.at, format!("bad number syntax: {}", quoted(token.text))));
                }
            },
            Kind::Rune => match literal::rune(token.text) {
                Some(value) => Operand::Rune { value, written },
                None => {
                    let message = format!("malformed character constant: {}", token.text);
                    return Err(self.fault_at(token.at, message));
                }
            },
            Kind::Quoted | Kind::Raw => {
                Operand::Text { value: self.text_literal(token)?.into(), written }
            }
            Kind::OpenParen => {
                self.advance();
                let pipe =
                    self.deeper(|parser| parser.pipe("parenthesized pipeline", Kind::CloseParen))?;
                return Ok(Some(Word { at: token.at, operand: Operand::Pipe(Box::new(pipe)) }));
            }
            _ => return Ok(None),
        };
        self.advance();
        Ok(Some(Word { at: token.at, operand }))
    }

    pub(super) fn text_literal(&self, token: Token<'s>) -> Parse<String> {
        literal::text(token.text)
            .ok_or_else(|| self.fault_at(token.at, format!("invalid syntax in {}", token.text)))
    }

    fn undefined(&mut self, token: Token<'s>, name: &str) -> Parse<()> {
        let fault = self.fault_at(token.at, format!("undefined variable {}", quoted(name)));
        self.report(fault)
    }
}
