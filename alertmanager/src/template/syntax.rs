//! What a template says: text, actions, and the expressions in them.
//!
//! Expressions print as Go prints them, because its errors quote what they complain about.
//!
//! Invariant: a tree is never changed once it is parsed; it is shared between threads.

use std::fmt;
use std::sync::Arc;

use super::functions::Function;
use super::literal::Number;
use super::print::quoted;

/// A text that was parsed, for the places in errors.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) name: Arc<str>,
    pub(super) text: Arc<str>,
}

/// A template: the body of a text, or of a `define` in it.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) name: Arc<str>,
    pub(super) source: Arc<Source>,
    pub(super) body: Vec<Node>,
}

/// A part of a template. Places are bytes of the source.
#[derive(Debug)]
pub(super) enum Node {
    Text {
        from: usize,
        to: usize,
    },
    Action(Pipe),
    /// The branches in order; `with` sets the dot, `if` does not.
    If {
        with: bool,
        branches: Vec<(Pipe, Vec<Node>)>,
        otherwise: Vec<Node>,
    },
    Range {
        pipe: Pipe,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
    Template(Call),
    Break,
    Continue,
}

/// `{{template "name" pipe}}`
#[derive(Debug)]
pub(super) struct Call {
    pub(super) at: usize,
    pub(super) name: Arc<str>,
    pub(super) pipe: Option<Pipe>,
}

/// Commands of which each hands its value to the next, and the variables that take the last.
#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) at: usize,
    pub(super) variables: Vec<Arc<str>>,
    /// Whether the variables were declared before.
    pub(super) assigns: bool,
    pub(super) commands: Vec<Command>,
}

/// A function, a method or a single value, with arguments. There is at least one word.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) at: usize,
    pub(super) words: Vec<Word>,
}

#[derive(Debug)]
pub(super) struct Word {
    pub(super) at: usize,
    pub(super) operand: Operand,
}

#[derive(Debug)]
pub(super) enum Operand {
    Dot,
    Nil,
    Bool(bool),
    Number {
        value: Number,
        written: Arc<str>,
    },
    /// A character is a number.
    Rune {
        value: i64,
        written: Arc<str>,
    },
    Text {
        value: Arc<str>,
        written: Arc<str>,
    },
    /// `.a.b`
    Field(Vec<Arc<str>>),
    /// `$x.a.b`
    Variable(Arc<str>, Vec<Arc<str>>),
    Function(&'static Function),
    /// `(pipe)`
    Pipe(Box<Pipe>),
    /// `(pipe).a.b`
    Chain(Box<Word>, Vec<Arc<str>>),
}

impl Pipe {
    /// Whether its value is put into variables instead of being printed.
    pub(super) fn is_silent(&self) -> bool {
        !self.variables.is_empty()
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{{template {}", quoted(&self.name))?;
        if let Some(pipe) = &self.pipe {
            write!(f, " {pipe}")?;
        }
        f.write_str("}}")
    }
}

impl fmt::Display for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.variables.is_empty() {
            let operator = if self.assigns { "=" } else { ":=" };
            write!(f, "{} {operator} ", self.variables.join(", "))?;
        }
        for (n, command) in self.commands.iter().enumerate() {
            write!(f, "{}{command}", if n > 0 { " | " } else { "" })?;
        }
        Ok(())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, word) in self.words.iter().enumerate() {
            write!(f, "{}{word}", if n > 0 { " " } else { "" })?;
        }
        Ok(())
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = |f: &mut fmt::Formatter<'_>, names: &[Arc<str>]| {
            names.iter().try_for_each(|name| write!(f, ".{name}"))
        };
        match &self.operand {
            Operand::Dot => f.write_str("."),
            Operand::Nil => f.write_str("nil"),
            Operand::Bool(value) => write!(f, "{value}"),
            Operand::Number { written, .. }
            | Operand::Rune { written, .. }
            | Operand::Text { written, .. } => f.write_str(written),
            Operand::Field(names) => path(f, names),
            Operand::Variable(name, names) => {
                f.write_str(name)?;
                path(f, names)
            }
            Operand::Function(function) => f.write_str(function.name),
            Operand::Pipe(pipe) => write!(f, "({pipe})"),
            Operand::Chain(word, names) => {
                write!(f, "{word}")?;
                path(f, names)
            }
        }
    }
}
