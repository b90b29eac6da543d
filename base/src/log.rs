//! Logs: one line an event, on standard error.
//!
//! Invariant: whatever an event contains, it is one line without control characters and of bounded
//! length (X42); a standard error that is closed, full or not read stops nobody, and what is lost there
//! is counted (F50).

use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use prometheus::IntCounter;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tracing::field::Field;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{Writer, debug_fn};

/// The longest line; what is over is dropped.
const MAX_LINE: usize = 16 << 10;
/// The longest text of one field; what is over is dropped before it is made.
const MAX_FIELD: usize = 4 << 10;
/// A pipe that can be written to takes so many bytes without making us wait.
const PIECE: usize = 4096;
/// How long a reader that keeps up otherwise may take to make room.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// Sends events of `level` and above to standard error. A second call does nothing.
///
/// Returns the counter of lines that could not be written.
pub fn init(level: tracing::Level) -> IntCounter {
    let help =
        "Lines of the log that standard error did not take: it was closed, full or not read.";
    let dropped = IntCounter::new("veilleur_log_lines_dropped_total", help);
    let dropped = dropped.expect("its name and help are constants and valid");
    let lines = Lines { dropped: dropped.clone(), is_stuck: Arc::default() };
    let fields = debug_fn(|writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug| {
        if field.name() != "message" {
            write!(writer, "{}=", field.name())?;
        }
        let mut short = Short { writer, left: MAX_FIELD };
        // It fails where the text is longer, too; what there is of it stays.
        match write!(short, "{value:?}") {
            Err(_) if short.left == 0 => writer.write_str("..."),
            result => result,
        }
    });
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        .with_ansi(false)
        .log_internal_errors(false)
        .fmt_fields(fields.delimited(" "))
        .with_writer(lines)
        .finish();
    // It fails only where somebody else, a test, has already chosen.
    let _ = tracing::subscriber::set_global_default(subscriber);
    dropped
}

/// Takes so many bytes of a text, and then ends its making.
struct Short<'a, W> {
    writer: &'a mut W,
    left: usize,
}

impl<W: fmt::Write> fmt::Write for Short<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.len() <= self.left {
            self.left -= text.len();
            return self.writer.write_str(text);
        }
        let end = text.floor_char_boundary(self.left);
        self.left = 0;
        self.writer.write_str(&text[..end])?;
        Err(fmt::Error)
    }
}

/// Writes lines to standard error.
#[derive(Clone)]
struct Lines {
    dropped: IntCounter,
    /// Whether the last line found no room.
    is_stuck: Arc<AtomicBool>,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Lines {
    /// Writes a line, or as much of it as there is room for.
    fn put(&self, to: &mut (impl Write + AsFd), line: &[u8]) -> io::Result<()> {
        for piece in line.chunks(PIECE) {
            let waits = if self.is_stuck.load(Ordering::Relaxed) {
                Timespec { tv_sec: 0, tv_nsec: 0 }
            } else {
                PATIENCE
            };
            // Not by making it non-blocking: others may have the same terminal.
            let has_room = poll(&mut [PollFd::new(to, PollFlags::OUT)], Some(&waits))? > 0;
            self.is_stuck.store(!has_room, Ordering::Relaxed);
            if !has_room {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            to.write_all(piece)?;
        }
        Ok(())
    }
}

impl Write for Lines {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let line = one_line(&String::from_utf8_lossy(event));
        // Nobody is left to be told where this fails, but whoever reads our metrics.
        if self.put(&mut io::stderr().lock(), line.as_bytes()).is_err() {
            self.dropped.inc();
        }
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
    fn a_field_of_10_mb_is_short_and_is_not_made_x42() {
        struct Endless(std::cell::Cell<usize>);
        impl fmt::Debug for Endless {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                for _ in 0..1 << 20 {
                    self.0.set(self.0.get() + 10);
                    f.write_str("0123456789")?;
                }
                Ok(())
            }
        }
        let (mut text, endless) = (String::new(), Endless(Default::default()));
        let mut short = Short { writer: &mut text, left: MAX_FIELD };
        assert!(write!(short, "é{endless:?}").is_err());
        assert_eq!(text.len(), MAX_FIELD);
        assert!(endless.0.get() < 2 * MAX_FIELD, "{}", endless.0.get());
    }

    #[test]
    fn a_pipe_that_nobody_reads_stops_nobody_f50() {
        let (reader, mut writer) = io::pipe().unwrap();
        let (dropped, is_stuck) = (IntCounter::new("x", "x").unwrap(), Arc::default());
        let lines = Lines { dropped, is_stuck };
        let line = [b'x'; 10_000];
        let lost = (0..1000).filter(|_| lines.put(&mut writer, &line).is_err()).count();
        assert!((900..1000).contains(&lost), "{lost}");
        drop(reader);
        assert!(lines.put(&mut writer, &line).is_err());
    }

    #[test]
    fn an_event_is_one_bounded_line_x42() {
        assert_eq!(one_line("a\nb\r\u{1b}[31m\u{202e}é\n"), "a\\nb\\r\\u{1b}[31m\\u{202e}é\n");
        assert!(one_line(&"x".repeat(1 << 20)).len() < MAX_LINE + 5);
    }
}
