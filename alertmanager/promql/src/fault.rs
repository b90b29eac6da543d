//! What is wrong with an expression, and where in its text.
//!
//! Invariant: a list of faults is never empty, and its first fault is the one to show.

use std::fmt;

use base::diagnostic::Place;

/// A part of an expression's text, in bytes; `end` is behind the last one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// Behind the last byte.
    pub end: usize,
}

impl Span {
    /// The bytes from `start` up to `end`.
    pub fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    /// From the start of this part to the end of `other`.
    #[must_use]
    pub fn to(self, other: Self) -> Self {
        Self { start: self.start, end: other.end }
    }

    /// The line and column where it begins in `text`.
    pub fn place(self, text: &str) -> Place {
        let before = text.get(..self.start).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Place {
            line: count(before.matches('\n').count() + 1),
            column: count(before[line_start..].chars().count() + 1),
        }
    }
}

/// What to do about a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// The text does not follow the grammar.
    Syntax,
    /// The text can be read, but its parts do not fit together.
    Meaning,
    /// Prometheus knows it and this evaluator does not yet.
    Unsupported,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub span: Span,
    /// What to do about it.
    pub kind: FaultKind,
    /// What, without the place.
    pub message: String,
}

impl Fault {
    pub(crate) fn syntax(span: Span, message: impl Into<String>) -> Self {
        Self { span, kind: FaultKind::Syntax, message: message.into() }
    }

    pub(crate) fn meaning(span: Span, message: impl Into<String>) -> Self {
        Self { span, kind: FaultKind::Meaning, message: message.into() }
    }

    pub(crate) fn unsupported(span: Span, what: impl fmt::Display) -> Self {
        let message = format!("{what} is not supported yet");
        Self { span, kind: FaultKind::Unsupported, message }
    }
}

/// Everything that is wrong with an expression. Prints the first fault as Prometheus does:
/// `1:5: parse error: unexpected end of input`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    place: Place,
    /// Whether there is no text, and so no place in it.
    of_nothing: bool,
    list: Vec<Fault>,
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = &self.list[0].message;
        match self.of_nothing {
            true => write!(f, "unknown position: parse error: {message}"),
            false => write!(f, "{}: parse error: {message}", self.place),
        }
    }
}

impl std::error::Error for Faults {}

impl Faults {
    /// The faults of `text`, of which there must be one at least.
    pub(crate) fn new(text: &str, list: Vec<Fault>) -> Self {
        debug_assert!(!list.is_empty(), "no fault");
        let place = list.first().map_or_else(Place::default, |f| f.span.place(text));
        Self { place, of_nothing: text.is_empty(), list }
    }

    /// The faults in the order in which they were found.
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.list.iter()
    }

    /// The first fault.
    pub fn first(&self) -> &Fault {
        &self.list[0]
    }

    /// The line and column of the first fault.
    pub fn place(&self) -> Place {
        self.place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_counts_lines_and_characters_from_one() {
        let text = "sum(\n  é + $)";
        let at = |start| Span::new(start, start + 1).place(text).to_string();
        assert_eq!(at(0), "1:1");
        assert_eq!(at(text.find('+').unwrap()), "2:5");
        assert_eq!(at(text.len()), "2:9");
        assert_eq!(at(1000), "2:9");
    }
}
