//! What goes wrong while a node is read.
//!
//! Invariant: the first place that an error is given is the one it keeps.

use std::fmt;

use serde::de::{self, Unexpected};

use super::super::compose::{ReadFault, ReadFaultKind};
use crate::diagnostic::Place;

/// An error on its way up: located by the first reader that it passes.
#[derive(Debug)]
pub(super) struct ReadError {
    kind: Option<ReadFaultKind>,
    located: Option<(Place, Vec<usize>)>,
}

impl ReadError {
    /// Forgets where it is.
    pub(super) fn without_place(self) -> Self {
        Self { located: None, ..self }
    }

    fn of(kind: ReadFaultKind) -> Self {
        Self { kind: Some(kind), located: None }
    }

    /// Says where it is, unless that is known.
    pub(super) fn at(mut self, place: Place, path: impl FnOnce() -> Vec<usize>) -> Self {
        self.located.get_or_insert_with(|| (place, path()));
        self
    }

    /// The fault, at `place` unless it is known to be elsewhere.
    pub(super) fn located(self, place: Place, path: impl FnOnce() -> Vec<usize>) -> ReadFault {
        let (place, path) = self.located.unwrap_or_else(|| (place, path()));
        let kind = self.kind.unwrap_or_else(|| ReadFaultKind::Wrong("cannot be read".to_owned()));
        ReadFault { path, place, kind }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.kind)
    }
}

impl std::error::Error for ReadError {}

impl de::Error for ReadError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::of(ReadFaultKind::Wrong(message.to_string()))
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::custom(format!("expected {expected}, found {}", found(unexpected)))
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::invalid_type(unexpected, expected)
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::unknown(field, "setting", expected)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::unknown(variant, "kind", expected)
    }

    fn missing_field(field: &'static str) -> Self {
        Self::of(ReadFaultKind::Missing(field))
    }
}

impl ReadError {
    fn unknown(name: &str, what: &'static str, expected: &'static [&'static str]) -> Self {
        let known = expected.iter().map(|&name| name.to_owned()).collect();
        Self::of(ReadFaultKind::Unknown { name: name.to_owned(), what, known })
    }
}

fn found(unexpected: Unexpected<'_>) -> String {
    match unexpected {
        Unexpected::Str(text) => format!("`{text}`"),
        Unexpected::Bool(value) => format!("`{value}`"),
        Unexpected::Unsigned(value) => format!("`{value}`"),
        Unexpected::Signed(value) => format!("`{value}`"),
        Unexpected::Float(value) => format!("`{value}`"),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "settings".to_owned(),
        Unexpected::Unit | Unexpected::Option => "nothing".to_owned(),
        other => other.to_string(),
    }
}
