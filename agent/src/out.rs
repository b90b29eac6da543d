//! What we print for people who call us from a shell.
//!
//! Invariant: a reader that hangs up early (`| head -1`) is no failure.

use std::io::{self, Write};

/// Writes `text` to standard output.
///
/// # Errors
///
/// It cannot be written, for another reason than that nobody reads.
pub(crate) fn print(text: &str) -> io::Result<()> {
    forgive(io::stdout().lock().write_all(text.as_bytes()))
}

/// Writes `text` to standard error, as far as that goes: nobody is left to be told.
pub(crate) fn complain(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

fn forgive(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}
