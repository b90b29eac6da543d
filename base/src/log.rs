//! Logs: one line an event, on standard error.
//!
//! Invariant: whatever an event contains, it is one line without control characters and of bounded
//! length (X42), and a closed or full standard error stops nobody (F50).

use std::io::{self, Write};

use tracing_subscriber::fmt::MakeWriter;

/// The longest line; what is over is dropped.
const MAX_LINE: usize = 16 << 10;

/// Sends events of `level` and above to standard error. A second call does nothing.
pub fn init(level: tracing::Level) {
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        .with_ansi(false)
        .log_internal_errors(false)
        .with_writer(OneLine)
        .finish();
    // It fails only where somebody else, a test, has already chosen.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

struct OneLine;

impl<'a> MakeWriter<'a> for OneLine {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        Self
    }
}

impl Write for OneLine {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let line = one_line(&String::from_utf8_lossy(event));
        // Nobody is left to be told where this fails.
        let _ = io::stderr().write_all(line.as_bytes());
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The event with its control characters escaped, but for the line feed at its end.
fn one_line(event: &str) -> String {
    let mut line = String::with_capacity(event.len() + 1);
    for c in event.trim_end_matches('\n').chars() {
        if line.len() >= MAX_LINE {
            line.push_str("...");
            break;
        }
        if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_bounded_line() {
        assert_eq!(one_line("a\nb\r\u{1b}[31m\u{202e}é\n"), "a\\nb\\r\\u{1b}[31m\\u{202e}é\n");
        assert!(one_line(&"x".repeat(1 << 20)).len() < MAX_LINE + 5);
    }
}
