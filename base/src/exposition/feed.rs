//! Pieces of text to lines, as they arrive.
//!
//! Invariant: at most one line is kept between two pieces, and a line is read the same whether its
//! series was expected or not.

use super::{Entry, Format, MAX_LINE, ParseError, Parser};

impl Parser {
    /// Reads a further piece and hands its entries to `entry`, whose error ends the reading.
    ///
    /// # Errors
    ///
    /// A line is malformed or too long, the body too long, or `entry` failed.
    pub fn feed<E: From<ParseError>>(
        &mut self,
        chunk: &[u8],
        entry: &mut impl FnMut(Entry<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.feed_expecting(chunk, entry, |_| None, |entry, found| entry(found))
    }

    /// As [`Parser::feed`], where the text of the next series is mostly known: it is `expected` of
    /// `state`, as an earlier text of the same kind had it, and then need not be looked into.
    ///
    /// # Errors
    ///
    /// As [`Parser::feed`].
    pub fn feed_expecting<S, E: From<ParseError>>(
        &mut self,
        chunk: &[u8],
        state: &mut S,
        expected: impl Fn(&S) -> Option<&str> + Copy,
        entry: impl Fn(&mut S, Entry<'_>) -> Result<(), E> + Copy,
    ) -> Result<(), E> {
        self.bytes = self.bytes.saturating_add(chunk.len());
        if self.bytes > self.max_body {
            return Err(self
                .error_here(format!("the body is over its limit of {} bytes", self.max_body))
                .into());
        }
        let mut rest = chunk;
        if !self.partial.is_empty() {
            let Some(end) = memchr::memchr(b'\n', rest) else { return Ok(self.keep(rest)?) };
            self.keep(&rest[..=end])?;
            let line = std::mem::take(&mut self.partial);
            self.lines(&line, state, expected, entry)?;
            // The buffer's memory serves the next partial line.
            self.partial = line;
            self.partial.clear();
            rest = &rest[end + 1..];
        }
        let complete = memchr::memrchr(b'\n', rest).map_or(0, |end| end + 1);
        self.lines(&rest[..complete], state, expected, entry)?;
        Ok(self.keep(&rest[complete..])?)
    }

    /// Reads what is left after the last piece.
    ///
    /// # Errors
    ///
    /// As [`Parser::feed`]; OpenMetrics text that does not end with `# EOF`.
    pub fn finish<E: From<ParseError>>(
        &mut self,
        entry: &mut impl FnMut(Entry<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut line = std::mem::take(&mut self.partial);
        if !line.is_empty() {
            let missing_end = match self.format {
                Format::Text => self.strict && !line.trim_ascii().is_empty(),
                Format::OpenMetrics => !matches!(line.as_slice(), b"# EOF"),
            };
            if missing_end {
                self.line += 1;
                return Err(self.error_here("the last line has no line feed".to_owned()).into());
            }
            line.push(b'\n');
            self.lines(&line, entry, |_| None, |entry, found| entry(found))?;
        }
        if self.format == Format::OpenMetrics && !self.ended {
            return Err(self.error_here("the text does not end with `# EOF`".to_owned()).into());
        }
        Ok(())
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), ParseError> {
        self.partial.extend_from_slice(bytes);
        if self.partial.len() > MAX_LINE {
            self.line += 1;
            return Err(self.error_here(format!("the line is over {MAX_LINE} bytes")));
        }
        Ok(())
    }

    /// Reads whole lines.
    fn lines<S, E: From<ParseError>>(
        &mut self,
        bytes: &[u8],
        state: &mut S,
        expected: impl Fn(&S) -> Option<&str> + Copy,
        entry: impl Fn(&mut S, Entry<'_>) -> Result<(), E> + Copy,
    ) -> Result<(), E> {
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let before = &bytes[..error.valid_up_to()];
            let line = self.line + 1 + memchr::memchr_iter(b'\n', before).count() as u64;
            ParseError { line, reason: "the text is not UTF-8".to_owned() }
        })?;
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', bytes) {
            self.line += 1;
            let line = &text[start..end];
            start = end + 1;
            if line.len() > MAX_LINE {
                return Err(self.error_here(format!("the line is over {MAX_LINE} bytes")).into());
            }
            let known = expected(state).and_then(|series| behind(line, series));
            let found = match known.filter(|_| self.format == Format::Text) {
                Some((series, rest)) => {
                    self.text_value(series, rest).map(|sample| Some(Entry::Sample(sample)))
                }
                None => self.entry(line),
            };
            match found {
                Ok(Some(found)) => entry(state, found)?,
                Ok(None) => {}
                Err(reason) => return Err(self.error_here(reason).into()),
            }
        }
        Ok(())
    }
}

/// The text of `line` that is `series`, and what follows; nothing where its series is, or could be,
/// another one.
#[inline]
fn behind<'a>(line: &'a str, series: &str) -> Option<(&'a str, &'a str)> {
    let rest = line.strip_prefix(series)?;
    let is_whole = match (series.as_bytes(), rest.as_bytes()) {
        // A line does not begin so, and only one that does is a comment.
        ([..=b' ' | b'#', ..] | [], _) => false,
        ([.., b'}'], [b' ' | b'\t', ..]) => true,
        // The name alone: braces could follow it.
        (_, [b' ', digit, ..]) => !matches!(digit, b' ' | b'\t' | b'{'),
        _ => false,
    };
    is_whole.then(|| line.split_at(line.len() - rest.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is expected, and the series and value that were found.
    type State<'a> = (Option<&'a str>, Option<(String, u64)>);

    /// The series and value of one line, told which series to expect; or why it is refused.
    fn read(line: &str, expected: Option<&str>) -> Result<(String, u64), String> {
        let mut parser = Parser::new(Format::Text, 1 << 20);
        let mut state: State<'_> = (expected, None);
        let entry = |(_, found): &mut State<'_>, entry: Entry<'_>| {
            if let Entry::Sample(sample) = entry {
                *found = Some((sample.series.to_owned(), sample.value.to_bits()));
            }
            Ok::<_, ParseError>(())
        };
        parser
            .feed_expecting(line.as_bytes(), &mut state, |(expected, _)| *expected, entry)
            .map_err(|error| error.to_string())?;
        state.1.ok_or_else(|| "no sample".to_owned())
    }

    #[test]
    fn what_is_expected_changes_nothing() {
        let series = [
            "a",
            "up",
            "up ",
            "up{",
            "{\"up\"}",
            "up{a=\"b\"}",
            "up{a=\"}\"}",
            "up {a=\"b\"}",
            "#",
            "# up",
            " up",
            "",
            "\u{1}{a=\"b\"}",
            "up{a=\"b",
        ];
        let values = [
            " 1",
            " 1.5 3",
            "\t2",
            "  3",
            " {x=\"y\"} 4",
            "",
            " ",
            "x 1",
            "{c=\"d\"} 5",
            " 1 2 3",
            " no",
        ];
        for written in series {
            for value in values {
                let line = format!("{written}{value}\n");
                let plain = read(&line, None);
                for expected in series {
                    // Only what was a series of an earlier text is ever expected.
                    let known = read(&format!("{expected} 1\n"), None);
                    if known.is_ok_and(|(known, _)| known == expected) {
                        assert_eq!(read(&line, Some(expected)), plain, "{line} {expected}");
                    }
                }
            }
        }
    }
}
