//! Quoted texts whose lines go back further to the left than the standard lets them.
//!
//! The reader of Go, and so Prometheus, takes them: what stands before a line of a quoted text is
//! not part of it. Rule files in public use have such texts.
//!
//! Invariant: only blanks are added, before lines that begin within quotes, where they mean nothing.

use granit_parser::{ErrorKind, ScanError};

/// How much text may be read again, in bytes: a file full of such lines is not worth minutes.
const MOST: usize = 256 << 20;

/// Moves lines to the right until the reader takes them.
#[derive(Debug, Default)]
pub(super) struct Indent {
    read: usize,
}

impl Indent {
    /// The text with the line moved that `error` is about; none where it is about something else.
    pub(super) fn repaired(&mut self, text: &str, error: &ScanError) -> Option<String> {
        self.read = self.read.saturating_add(text.len());
        let is_indent = matches!(error.kind(), ErrorKind::InvalidQuotedScalarIndent);
        if !is_indent || self.read > MOST {
            return None;
        }
        let mut start = 0;
        for _ in 1..error.marker().line() {
            start += text.get(start..)?.find('\n')? + 1;
        }
        let (before, from) = text.split_at_checked(start)?;
        let deepest = before.lines().map(depth).max().unwrap_or(0);
        // Further than that it was moved before, and it did not help.
        if from.len() - from.trim_start_matches(' ').len() > deepest {
            return None;
        }
        Some(format!("{before}{}{from}", " ".repeat(deepest + 1)))
    }
}

/// How far to the right a line begins, behind the dashes of lists.
fn depth(line: &str) -> usize {
    line.len() - line.trim_start_matches([' ', '-']).len()
}
