//! What goes wrong with a template, worded as Go words it, because people look such texts up.
//!
//! ```text
//! template: mail:3: unclosed action
//! template: mail:3:14: executing "subject" at <.Foo>: can't evaluate field Foo in type string
//! ```
//!
//! Invariant: an error names the template and the place in its text; it never holds output.

use base::diagnostic::Place;

use super::print::quoted;

/// Why a template cannot be used, or could not be rendered.
///
/// The variant says what to do about it; the text says where and what.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The text is no template: the configuration is at fault.
    #[error("template: {}:{}: {}", .0.template, .0.place.line, .0.message)]
    Syntax(Fault),
    /// The template does not fit the data that it was given.
    #[error("{}", executing(.0))]
    Execution(Fault),
    /// Rendering took more than is allowed: send a minimal text instead.
    #[error("{}", executing(.0))]
    Limit(Fault),
}

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The name under which the text was parsed.
    pub template: String,
    /// Where in that text.
    pub place: Place,
    /// What, without the place.
    pub message: String,
    /// The named template that was being rendered, and what of it.
    pub(super) executing: Option<Executing>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Executing {
    pub(super) name: String,
    /// Bytes before the place in its line, which Go counts from 0.
    pub(super) byte: usize,
    /// The expression, as the parser understood it.
    pub(super) expression: String,
}

impl TemplateError {
    /// What is wrong, and where.
    pub fn fault(&self) -> &Fault {
        match self {
            Self::Syntax(fault) | Self::Execution(fault) | Self::Limit(fault) => fault,
        }
    }

    /// The error with what Prometheus writes before it in an annotation that it could not render:
    /// `error executing template NAME: ...`.
    pub fn as_prometheus(&self) -> String {
        let step = match self {
            Self::Syntax(_) => "parsing",
            Self::Execution(_) | Self::Limit(_) => "executing",
        };
        format!("error {step} template {}: {self}", self.fault().template)
    }
}

fn executing(fault: &Fault) -> String {
    let Fault { template, place, message, executing } = fault;
    match executing {
        None => format!("template: {template}: {message}"),
        Some(Executing { name, byte, expression }) => {
            let name = quoted(name);
            let line = place.line;
            format!(
                "template: {template}:{line}:{byte}: executing {name} at <{expression}>: {message}"
            )
        }
    }
}

/// The place of byte `at` of `text`, and how many bytes stand before it in its line.
pub(super) fn place_of(text: &str, at: usize) -> (Place, usize) {
    let before = &text[..at.min(text.len())];
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = 1 + before.bytes().filter(|b| *b == b'\n').count();
    let column = 1 + before[start..].chars().count();
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    (Place { line: number(line), column: number(column) }, before.len() - start)
}

/// The most of an expression or message that an error quotes, in bytes.
const LONGEST: usize = 500;

/// `text` without what is too much for a log.
pub(super) fn shortened(mut text: String) -> String {
    if text.len() > LONGEST {
        let end = (0..=LONGEST).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push_str("...");
    }
    text
}

/// What a function of the template language gives where it cannot answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// What is wrong; the interpreter adds where.
    Message(String),
    /// Which limit was passed.
    Limit(String),
    /// An error that already knows its place, from a template that the function rendered.
    Stopped(Box<TemplateError>),
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self::Message(message)
    }
}

impl From<&str> for Failure {
    fn from(message: &str) -> Self {
        Self::Message(message.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_counts_lines_and_characters_from_one_and_bytes_from_zero() {
        let check = |text: &str, at: usize, line: u32, column: u32, byte: usize| {
            assert_eq!(place_of(text, at), (Place { line, column }, byte), "{text:?} {at}");
        };
        check("abc", 0, 1, 1, 0);
        check("abc", 2, 1, 3, 2);
        check("é.x", 2, 1, 2, 2);
        check("a\nbc", 3, 2, 2, 1);
        check("a\n", 99, 2, 1, 0);
    }
}
