//! The words of the language.
//!
//! Invariant: every word of the table is a legal metric or label name somewhere, so a token always
//! keeps the text as it was written.

use std::fmt;

use crate::ast::{AggregateOp, BinaryOp};
use crate::fault::Span;

/// A piece of the text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Token<'a> {
    pub(crate) kind: TokenKind,
    pub(crate) span: Span,
    pub(crate) text: &'a str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenKind {
    End,
    /// A name without a colon.
    Identifier,
    /// A name with a colon.
    MetricIdentifier,
    Number,
    Duration,
    String,
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    Comma,
    Colon,
    At,
    /// `=`
    Assign,
    /// `=~`
    Matches,
    /// `!~`
    NotMatches,
    Operator(BinaryOp),
    Aggregate(AggregateOp),
    Keyword(Keyword),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keyword {
    Offset,
    By,
    Without,
    On,
    Ignoring,
    GroupLeft,
    GroupRight,
    Bool,
    Start,
    End,
    Step,
    Range,
    Anchored,
    Smoothed,
    Fill,
    FillLeft,
    FillRight,
}

impl Keyword {
    const ALL: [(&'static str, Self); 17] = [
        ("offset", Self::Offset),
        ("by", Self::By),
        ("without", Self::Without),
        ("on", Self::On),
        ("ignoring", Self::Ignoring),
        ("group_left", Self::GroupLeft),
        ("group_right", Self::GroupRight),
        ("bool", Self::Bool),
        ("start", Self::Start),
        ("end", Self::End),
        ("step", Self::Step),
        ("range", Self::Range),
        ("anchored", Self::Anchored),
        ("smoothed", Self::Smoothed),
        ("fill", Self::Fill),
        ("fill_left", Self::FillLeft),
        ("fill_right", Self::FillRight),
    ];
}

impl TokenKind {
    /// What the word `text` is outside of braces.
    pub(crate) fn of_word(text: &str) -> Self {
        // The longest word of the tables has twelve letters.
        let mut buffer = [0_u8; 12];
        let Some(lower) = buffer.get_mut(..text.len()) else { return Self::of_name(text) };
        lower.copy_from_slice(text.as_bytes());
        lower.make_ascii_lowercase();
        let word = std::str::from_utf8(lower).unwrap_or(text);
        if matches!(word, "inf" | "nan") {
            return Self::Number;
        }
        if let Some((_, keyword)) = Keyword::ALL.iter().find(|(name, _)| *name == word) {
            return Self::Keyword(*keyword);
        }
        if let Some(op) = AggregateOp::from_word(word) {
            return Self::Aggregate(op);
        }
        BinaryOp::from_word(word).map_or_else(|| Self::of_name(text), Self::Operator)
    }

    fn of_name(text: &str) -> Self {
        if text.contains(':') { Self::MetricIdentifier } else { Self::Identifier }
    }

    /// Whether a metric may have such a word as its name.
    pub(crate) fn names_metric(self) -> bool {
        match self {
            Self::Identifier | Self::MetricIdentifier | Self::Aggregate(_) => true,
            Self::Operator(op) => op.is_set(),
            Self::Keyword(word) => !matches!(
                word,
                Keyword::On
                    | Keyword::Ignoring
                    | Keyword::GroupLeft
                    | Keyword::GroupRight
                    | Keyword::Bool
            ),
            _ => false,
        }
    }

    /// Whether a list of labels may have such a word.
    pub(crate) fn names_label(self) -> bool {
        match self {
            Self::Keyword(word) => word != Keyword::Without,
            Self::Identifier | Self::MetricIdentifier | Self::Aggregate(_) => true,
            Self::Operator(op) => op.is_word(),
            _ => false,
        }
    }
}

/// Prints the token as messages name it: `identifier "up"`, `<op:*>`, `end of input`.
impl fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            TokenKind::End => f.write_str("end of input"),
            TokenKind::Identifier => write!(f, "identifier {:?}", self.text),
            TokenKind::MetricIdentifier => write!(f, "metric identifier {:?}", self.text),
            TokenKind::Number => write!(f, "number {}", Quoted(self.text)),
            TokenKind::Duration => write!(f, "duration {}", Quoted(self.text)),
            TokenKind::String => write!(f, "string {}", Quoted(self.text)),
            TokenKind::Keyword(_) => write!(f, "<{}>", self.text),
            TokenKind::Operator(_) | TokenKind::Matches | TokenKind::NotMatches => {
                write!(f, "<op:{}>", self.text)
            }
            TokenKind::Aggregate(_) => write!(f, "<aggr:{}>", self.text),
            _ => write!(f, "{}", Quoted(self.text)),
        }
    }
}

/// A text in quotes; a long one is cut.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Long is what has more than ten bytes; what is shown of it are ten characters.
        match self.0.char_indices().nth(10) {
            Some((at, _)) => write!(f, "{:?}...", &self.0[..at]),
            None if self.0.len() > 10 => write!(f, "{:?}...", self.0),
            None => write!(f, "{:?}", self.0),
        }
    }
}
