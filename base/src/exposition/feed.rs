//! Pieces of text to lines, as they arrive.
//!
//! Invariant: at most one line is kept between two pieces, and a line is read the same whether its
//! series was expected or not.

use super::parse::short;
use super::{Entry, Format, MAX_LINE, ParseError, Parser};

/// What is known of a text before it is read.
#[derive(Clone, Copy, Debug)]
pub struct Expecting<F, G> {
    /// The text of the series that comes next, as an earlier text of the same kind had it. It need not
    /// be looked into.
    pub series: F,
    /// Takes its value, where it is what comes next, and where there is nothing else to say of it.
    pub value: G,
}

impl<S, E> Expecting<fn(&S) -> Option<&[u8]>, fn(&mut S, f64) -> Result<(), E>> {
    fn nothing() -> Self {
        Self { series: |_| None, value: |_, _| Ok(()) }
    }
}

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
        self.feed_expecting(chunk, entry, Expecting::nothing(), |entry, found| entry(found))
    }

    /// As [`Parser::feed`], where the text of the next series is mostly known.
    ///
    /// # Errors
    ///
    /// As [`Parser::feed`].
    pub fn feed_expecting<S, E: From<ParseError>>(
        &mut self,
        chunk: &[u8],
        state: &mut S,
        expecting: Expecting<impl Fn(&S) -> Option<&[u8]>, impl Fn(&mut S, f64) -> Result<(), E>>,
        entry: impl Fn(&mut S, Entry<'_>) -> Result<(), E>,
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
            self.lines(&line, state, &expecting, &entry)?;
            // The buffer's memory serves the next partial line.
            self.partial = line;
            self.partial.clear();
            rest = &rest[end + 1..];
        }
        let complete = memchr::memrchr(b'\n', rest).map_or(0, |end| end + 1);
        self.lines(&rest[..complete], state, &expecting, &entry)?;
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
            self.lines(&line, entry, &Expecting::nothing(), &|entry: &mut _, found| entry(found))?;
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
        expecting: &Expecting<impl Fn(&S) -> Option<&[u8]>, impl Fn(&mut S, f64) -> Result<(), E>>,
        entry: &impl Fn(&mut S, Entry<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let before = &bytes[..error.valid_up_to()];
            let line = self.line + 1 + memchr::memchr_iter(b'\n', before).count() as u64;
            ParseError { line, reason: "the text is not UTF-8".to_owned() }
        })?;
        let expects = self.format == Format::Text;
        let mut start = 0;
        while start < bytes.len() {
            self.line += 1;
            let expected = (expecting.series)(state).filter(|_| expects);
            let length = expected.filter(|series| begins(&bytes[start..], series)).map(<[u8]>::len);
            // Mostly it is as expected, and a number.
            if let Some((value, end)) = length.and_then(|length| plain(&bytes[start + length..])) {
                (expecting.value)(state, value)?;
                start += length.unwrap_or_default() + end;
                continue;
            }
            let end = memchr::memchr(b'\n', &bytes[start..]).map_or(bytes.len(), |end| start + end);
            let line = &text[start..end];
            start = end + 1;
            if line.len() > MAX_LINE {
                return Err(self.error_here(format!("the line is over {MAX_LINE} bytes")).into());
            }
            let found = match length {
                Some(length) => {
                    let (series, rest) = line.split_at(length);
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

/// Whether the series of the line at the start of `text` is `series`, as far as that can be seen from
/// how the two go on.
#[inline]
fn begins(text: &[u8], series: &[u8]) -> bool {
    let Some(rest) = text.strip_prefix(series) else { return false };
    match (series, rest) {
        // A line does not begin so, and only one that does is a comment.
        ([..=b' ' | b'#', ..] | [], _) => false,
        ([.., b'}'], [b' ' | b'\t', ..]) => true,
        // The name alone: braces could follow it.
        (_, [b' ', digit, ..]) => !matches!(digit, b' ' | b'\t' | b'{'),
        _ => false,
    }
}

/// The value behind a series, and where the next line begins; nothing where there is more in this one
/// than a space and a short number.
#[inline]
fn plain(text: &[u8]) -> Option<(f64, usize)> {
    let (value, length) = short(text.strip_prefix(b" ")?)?;
    (text.get(1 + length) == Some(&b'\n')).then_some((value, length + 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is expected, and the series and value that were found.
    type State<'a> = (Option<&'a str>, Option<(String, u64)>);

    fn series<'a>((expected, _): &'a State<'_>) -> Option<&'a [u8]> {
        expected.map(str::as_bytes)
    }

    /// What is expected is found.
    fn value((expected, found): &mut State<'_>, value: f64) -> Result<(), ParseError> {
        *found = expected.map(|expected| (expected.to_owned(), value.to_bits()));
        Ok(())
    }

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
        let expecting = Expecting { series, value };
        parser
            .feed_expecting(line.as_bytes(), &mut state, expecting, entry)
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
            " 1234567890123456",
            " 12345678901234567",
            " 0.25",
            " 1.2.3",
            " -1",
            " 1\r",
        ];
        for written in series {
            for value in values {
                // What follows is another line, whatever it is.
                let line = format!("{written}{value}\n# 2\n");
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
