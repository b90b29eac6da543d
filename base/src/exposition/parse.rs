//! Chunks of text to entries, line by line, as they arrive.
//!
//! Invariant: at most one line is kept between two chunks.

use std::borrow::Cow;

use super::series::{self, name_length, quote_end, unescape, unexpected};
use super::{Entry, Format, ParseError, SampleEntry};
use crate::family::{Exemplar, MetricKind};
use crate::sample::Timestamp;

/// Reads a text piece by piece.
///
/// ```
/// use base::exposition::{Entry, Format, ParseError, Parser};
/// let mut parser = Parser::new(Format::Text, 1 << 20);
/// let mut values = Vec::new();
/// let mut entry = |entry: Entry<'_>| {
///     if let Entry::Sample(sample) = entry {
///         values.push((sample.labels()?.to_string(), sample.value));
///     }
///     Ok::<(), ParseError>(())
/// };
/// parser.feed(b"up{job=\"a\"} 1\nlo", &mut entry)?;
/// parser.feed(b"ad 0.5", &mut entry)?;
/// parser.finish(&mut entry)?;
/// assert_eq!(values, [("up{job=\"a\"}".to_owned(), 1.0), ("load".to_owned(), 0.5)]);
/// # Ok::<(), ParseError>(())
/// ```
#[derive(Debug)]
pub struct Parser {
    pub(super) format: Format,
    pub(super) strict: bool,
    pub(super) max_body: usize,
    pub(super) bytes: usize,
    pub(super) line: u64,
    /// The beginning of a line whose end has not come yet.
    pub(super) partial: Vec<u8>,
    kind: MetricKind,
    pub(super) ended: bool,
}

impl Parser {
    /// A parser of `format` for a body of at most `max_body` bytes.
    pub fn new(format: Format, max_body: usize) -> Self {
        Self {
            format,
            strict: false,
            max_body,
            bytes: 0,
            line: 0,
            partial: Vec::new(),
            kind: MetricKind::Unknown,
            ended: false,
        }
    }

    /// A parser for [`super::check`], which keeps to the letter of the format.
    pub(super) fn strict(format: Format, max_body: usize) -> Self {
        Self { strict: true, ..Self::new(format, max_body) }
    }

    /// `reason` at the line that was read last.
    pub(super) fn error_here(&self, reason: String) -> ParseError {
        ParseError { line: self.line, reason }
    }

    pub(super) fn entry<'a>(&mut self, line: &'a str) -> Result<Option<Entry<'a>>, String> {
        match self.format {
            Format::Text => {
                let line = line.trim_start_matches([' ', '\t']);
                match line.as_bytes().first() {
                    None => Ok(None),
                    Some(b'#') => self.text_comment(line).map(Some),
                    Some(_) => self.text_sample(line).map(|s| Some(Entry::Sample(s))),
                }
            }
            Format::OpenMetrics if self.ended => Err("there is more after `# EOF`".to_owned()),
            Format::OpenMetrics => match line.strip_prefix("# ") {
                Some("EOF") => {
                    self.ended = true;
                    Ok(None)
                }
                Some(meta) => self.openmetrics_meta(meta).map(Some),
                None => self.openmetrics_sample(line).map(|s| Some(Entry::Sample(s))),
            },
        }
    }

    fn text_comment<'a>(&mut self, line: &'a str) -> Result<Entry<'a>, String> {
        let blank = [' ', '\t'];
        let comment = line[1..].trim_start_matches(blank);
        let Some((keyword, rest)) = comment.split_once(blank) else {
            return Ok(Entry::Comment(line));
        };
        let rest = rest.trim_start_matches(blank);
        match keyword {
            "HELP" | "TYPE" if rest.is_empty() => Ok(Entry::Comment(line)),
            "HELP" => {
                let (name, text) = meta_name(rest)?;
                let text = text.strip_prefix(blank).unwrap_or(text).trim_start_matches(blank);
                Ok(Entry::Help { name, text: unescape(text, false) })
            }
            "TYPE" => {
                let (name, kind) = meta_name(rest)?;
                let kind = match kind.trim_matches(blank) {
                    "counter" => MetricKind::Counter,
                    "gauge" => MetricKind::Gauge,
                    "histogram" => MetricKind::Histogram,
                    "summary" => MetricKind::Summary,
                    "untyped" | "unknown" => MetricKind::Unknown,
                    "gaugehistogram" | "gauge_histogram" if self.strict => {
                        MetricKind::GaugeHistogram
                    }
                    other => return Err(format!("`{other}` is no metric type")),
                };
                self.kind = kind;
                Ok(Entry::Type { name, kind })
            }
            "OUTPUT" if line.starts_with("# OUTPUT {") => Ok(output(rest)),
            _ => Ok(Entry::Comment(line)),
        }
    }

    fn text_sample<'a>(&self, line: &'a str) -> Result<SampleEntry<'a>, String> {
        let (series, rest) = split_series(line, true)?;
        self.text_value(series, rest)
    }

    /// What follows a series.
    pub(super) fn text_value<'a>(
        &self,
        series: &'a str,
        rest: &str,
    ) -> Result<SampleEntry<'a>, String> {
        let blank = [' ', '\t'];
        let mut fields = rest.split(blank).filter(|field| !field.is_empty());
        let value = float(fields.next().ok_or("there is no value")?)?;
        let timestamp = match fields.next() {
            None => None,
            Some(text) if !self.strict && text.starts_with('-') => {
                return Err(format!("`{text}` is no timestamp"));
            }
            Some(text) => {
                let millis = text.parse().map_err(|_| format!("`{text}` is no timestamp"))?;
                Some(Timestamp::from_millis(millis))
            }
        };
        match fields.next() {
            None => Ok(self.sample(series, value, timestamp, None)),
            Some(more) => Err(unexpected("the end of the line", more)),
        }
    }

    fn openmetrics_meta<'a>(&mut self, meta: &'a str) -> Result<Entry<'a>, String> {
        let (keyword, rest) = meta.split_once(' ').ok_or("this is no comment of OpenMetrics")?;
        if !matches!(keyword, "HELP" | "TYPE" | "UNIT") {
            return Err("this is no comment of OpenMetrics".to_owned());
        }
        let (name, rest) = meta_name(rest)?;
        let text =
            rest.strip_prefix(' ').ok_or_else(|| format!("there is no text after {keyword}"))?;
        match keyword {
            "HELP" => Ok(Entry::Help { name, text: unescape(text, true) }),
            "UNIT" => {
                let suffix = name.strip_suffix(text).and_then(|name| name.strip_suffix('_'));
                if !text.is_empty() && suffix.is_none() {
                    return Err(format!("the unit `{text}` is not a suffix of `{name}`"));
                }
                Ok(Entry::Unit { name, unit: Cow::Borrowed(text) })
            }
            _ => {
                let kind = match text {
                    "counter" => MetricKind::Counter,
                    "gauge" => MetricKind::Gauge,
                    "histogram" => MetricKind::Histogram,
                    "gaugehistogram" => MetricKind::GaugeHistogram,
                    "summary" => MetricKind::Summary,
                    "info" => MetricKind::Info,
                    "stateset" => MetricKind::StateSet,
                    "unknown" => MetricKind::Unknown,
                    other => return Err(format!("`{other}` is no metric type")),
                };
                self.kind = kind;
                Ok(Entry::Type { name, kind })
            }
        }
    }

    fn openmetrics_sample<'a>(&self, line: &'a str) -> Result<SampleEntry<'a>, String> {
        let (series, rest) = split_series(line, false)?;
        let (value, rest) = field(rest)?;
        let value = float(value)?;
        let (timestamp, rest) = match rest.strip_prefix(" #") {
            Some(_) => (None, rest),
            None if rest.is_empty() => (None, rest),
            None => {
                let (text, rest) = field(rest)?;
                (Some(seconds(text)?), rest)
            }
        };
        let exemplar = match rest.strip_prefix(" # ") {
            Some(rest) => Some(exemplar(rest)?),
            None if rest.is_empty() => None,
            None => return Err(unexpected("the end of the line", rest)),
        };
        Ok(self.sample(series, value, timestamp, exemplar))
    }

    #[inline]
    pub(super) fn sample<'a>(
        &self,
        series: &'a str,
        value: f64,
        timestamp: Option<Timestamp>,
        exemplar: Option<Exemplar>,
    ) -> SampleEntry<'a> {
        let (kind, format, line) = (self.kind, self.format, self.line);
        SampleEntry { series, value, timestamp, exemplar, start: None, kind, format, line }
    }
}

/// The text of the series at the start of a line, and the rest; the labels are not looked into
/// except for where they end.
fn split_series(line: &str, blanks: bool) -> Result<(&str, &str), String> {
    let name = name_length(line, true);
    let mut at = name;
    if blanks {
        at += line[at..].len() - line[at..].trim_start_matches([' ', '\t']).len();
    }
    let bytes = line.as_bytes();
    if bytes.get(at) != Some(&b'{') {
        return match name {
            0 => Err(unexpected("a metric name", line)),
            _ => Ok(line.split_at(name)),
        };
    }
    at += 1;
    loop {
        match memchr::memchr2(b'"', b'}', &bytes[at..]) {
            None => return Err("a brace is not closed".to_owned()),
            Some(found) if bytes[at + found] == b'}' => {
                return Ok(line.split_at(at + found + 1));
            }
            Some(found) => {
                at += found + 1;
                at += quote_end(&bytes[at..]).ok_or("a quote is not closed")? + 1;
            }
        }
    }
}

/// The name at the start of metadata, plain or in quotes, and the rest.
fn meta_name(text: &str) -> Result<(Cow<'_, str>, &str), String> {
    if let Some(inner) = text.strip_prefix('"') {
        let end = quote_end(inner.as_bytes()).ok_or("a quote is not closed")?;
        return Ok((unescape(&inner[..end], true), &inner[end + 1..]));
    }
    let (name, rest) = text.split_at(name_length(text, true));
    if name.is_empty() || !rest.is_empty() && !rest.starts_with([' ', '\t']) {
        return Err(unexpected("a metric name", if name.is_empty() { text } else { rest }));
    }
    Ok((Cow::Borrowed(name), rest))
}

/// `{labels} text`; one that is malformed is a comment like any other.
fn output(text: &str) -> Entry<'_> {
    let parsed = split_series(text, false).ok().and_then(|(labels, text)| {
        let labels = series::nameless(labels).ok()?.into_iter().collect();
        let text = unescape(text.strip_prefix(' ').unwrap_or(text), false);
        Some(Entry::Output { labels, text })
    });
    parsed.unwrap_or(Entry::Comment(text))
}

/// A field of OpenMetrics: one space, then text up to the next space.
fn field(text: &str) -> Result<(&str, &str), String> {
    let text = text.strip_prefix(' ').ok_or_else(|| unexpected("a space", text))?;
    let end = memchr::memchr(b' ', text.as_bytes()).unwrap_or(text.len());
    if end == 0 { Err(unexpected("a value", text)) } else { Ok(text.split_at(end)) }
}

fn exemplar(text: &str) -> Result<Exemplar, String> {
    if !text.starts_with('{') {
        return Err(unexpected("the exemplar's `{`", text));
    }
    let (labels, rest) = split_series(text, false)?;
    let labels = series::nameless(labels)?;
    let (value, rest) = field(rest)?;
    let value = float(value)?;
    let timestamp = match rest {
        "" => None,
        rest => match field(rest)? {
            (text, "") => Some(seconds(text)?),
            (_, rest) => return Err(unexpected("the end of the line", rest)),
        },
    };
    Ok(Exemplar { labels, value, timestamp })
}

fn seconds(text: &str) -> Result<Timestamp, String> {
    match float(text) {
        Ok(seconds) if seconds.is_finite() => Ok(Timestamp::from_seconds(seconds)),
        _ => Err(format!("`{text}` is no timestamp")),
    }
}

/// Numbers are mostly short; the rest goes to the standard library, which reads what Go reads but for
/// hexadecimals and underscores, which the format forbids.
#[inline]
fn float(text: &str) -> Result<f64, String> {
    match short(text.as_bytes()) {
        Some((value, length)) if length == text.len() => return Ok(value),
        _ => {}
    }
    text.parse().map_err(|_| format!("`{text}` is no number"))
}

/// The number at the start of `bytes`, and how long it is, where it has up to fifteen digits, with a
/// point among them or without: the number without the point and the power of ten are floats exactly, so
/// that one division rounds as it must.
#[inline]
pub(super) fn short(bytes: &[u8]) -> Option<(f64, usize)> {
    const POWERS: [f64; 16] =
        [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];
    const MOST: usize = 16;
    let bytes = bytes.get(..MOST).unwrap_or(bytes);
    let mut number = 0_u64;
    let mut digits = |mut at: usize| {
        while let Some(digit) = bytes.get(at).map(|byte| byte.wrapping_sub(b'0'))
            && digit < 10
        {
            number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
            at += 1;
        }
        at
    };
    let whole = digits(0);
    let (mut end, mut places) = (whole, 0);
    if bytes.get(whole) == Some(&b'.') {
        end = digits(whole + 1);
        places = end - whole - 1;
    }
    if !(1..=15).contains(&(whole + places)) {
        return None;
    }
    let number = number as f64;
    Some((if places == 0 { number } else { number / POWERS[places] }, end))
}

#[cfg(test)]
mod tests {
    use super::super::MAX_LINE;
    use super::*;

    #[test]
    fn short_numbers_are_those_of_the_standard_library() {
        let check = |text: &str| {
            let expected = text.parse::<f64>().ok().map(f64::to_bits);
            assert_eq!(float(text).ok().map(f64::to_bits), expected, "{text}");
        };
        let texts = [
            "",
            ".",
            "..",
            "1..2",
            "5.",
            ".5",
            "0.1",
            "00.10",
            "1.5e3",
            "-1.5",
            "0",
            "0.0",
            "123456789012345",
            "1234567890123456",
            ".000000000000001",
            "0.1234567890123456",
        ];
        texts.into_iter().for_each(check);
        let mut number = 1_u64;
        for places in (0..16).cycle().take(20_000) {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let digits = format!("{:015}", (number >> 11) % 1_000_000_000_000_000);
            check(&format!("{}.{}", &digits[..places.min(15)], &digits[places.min(15)..]));
        }
    }

    /// The entries of a text, one a line, or the error.
    fn read(format: Format, chunks: &[&[u8]]) -> String {
        let mut out = Vec::new();
        let mut parser = Parser::new(format, 1 << 20);
        let mut entry = |entry: Entry<'_>| {
            out.push(match entry {
                Entry::Sample(sample) => {
                    let labels = sample.labels()?;
                    let time = sample.timestamp.map(|t| format!(" @{t}")).unwrap_or_default();
                    let example = sample.exemplar.map(|e| format!(" {:?} {}", e.labels, e.value));
                    format!("{labels} {}{time}{}", sample.value, example.unwrap_or_default())
                }
                Entry::Output { labels, text } => format!("output {labels} {text}"),
                other => format!("{other:?}"),
            });
            Ok(())
        };
        let mut all = || -> Result<(), ParseError> {
            chunks.iter().try_for_each(|chunk| parser.feed(chunk, &mut entry))?;
            parser.finish(&mut entry)
        };
        match all() {
            Ok(()) => out.join("\n"),
            Err(error) => format!("error in {error}"),
        }
    }

    #[track_caller]
    fn text(input: &str, expected: &str) {
        assert_eq!(read(Format::Text, &[input.as_bytes()]), expected, "{input}");
        // The same in pieces of every size.
        for size in 1..input.len().min(20) {
            let pieces: Vec<_> = input.as_bytes().chunks(size).collect();
            assert_eq!(read(Format::Text, &pieces), expected, "{input} in pieces of {size}");
        }
    }

    #[track_caller]
    fn open(input: &str, expected: &str) {
        assert_eq!(read(Format::OpenMetrics, &[input.as_bytes()]), expected, "{input}");
    }

    #[test]
    fn reads_the_text_format() {
        text("up 1", "up 1");
        text("\n\t up{a=\"b\"}\t1.5 \t123 \n# x\n", "up{a=\"b\"} 1.5 @123\nComment(\"# x\")");
        text("a +Inf\nb -inf\nc nan\nd 1e3\n", "a inf\nb -inf\nc NaN\nd 1000");
        text("a{b=\"}\\\" #\"} 08\n", "a{b=\"}\\\" #\"} 8");
        text("# HELP a b\\n \\\" c\n", "Help { name: \"a\", text: \"b\\n \\\\\\\" c\" }");
        text("# OUTPUT {check=\"x\"} all\\nfine\n", "output {check=\"x\"} all\nfine");
        text("# OUTPUT {check} x\n", "Comment(\"{check} x\")");
    }

    #[test]
    fn refuses_malformed_text_with_the_line() {
        text("a 1\nb\n", "error in line 2: there is no value");
        text("a 1 2 3\n", "error in line 1: expected the end of the line, found '3'");
        text("a 1_2\n", "error in line 1: `1_2` is no number");
        text("a 0x1\n", "error in line 1: `0x1` is no number");
        text("a{b=\"c\n", "error in line 1: a quote is not closed");
        text("a{b=\"c\"\n", "error in line 1: a brace is not closed");
        text("<html>\n", "error in line 1: expected a metric name, found '<'");
        let bytes: &[u8] = b"a 1\na{b=\"\xff\"} 1\n";
        assert_eq!(read(Format::Text, &[bytes]), "error in line 2: the text is not UTF-8");
    }

    #[test]
    fn reads_openmetrics() {
        open("a_total 1 1.5 # {id=\"x\"} 0.5\n# EOF\n", "a_total 1 @1500 [(\"id\", \"x\")] 0.5");
        open("a 1\n# EOF", "a 1");
        open("a 1\n", "error in line 1: the text does not end with `# EOF`");
        open("# EOF\na 1\n", "error in line 2: there is more after `# EOF`");
        open("a  1\n# EOF\n", "error in line 1: expected a value, found ' '");
        open("a 1 \n# EOF\n", "error in line 1: expected a value, found the end of the line");
    }

    #[test]
    fn bounds_lines_and_bodies() {
        let long = format!("a{{b=\"{}\"}} 1\n", "x".repeat(MAX_LINE));
        let expected = "error in line 1: the line is over 65536 bytes";
        assert_eq!(read(Format::Text, &[long.as_bytes()]), expected);
        let endless: Vec<_> = std::iter::repeat_n(&b"xxxxxxxxxxxxxxxx"[..], 5000).collect();
        assert_eq!(read(Format::Text, &endless), expected);
        let body = "a 1\n".repeat(300_000);
        assert!(read(Format::Text, &[body.as_bytes()]).contains("the body is over"));
    }
}
