//! The text of a series, `name{label="value"}` or `{"name", label="value"}`, to labels.
//!
//! Invariant: what is accepted has exactly one name, and no label twice.

use std::borrow::Cow;

use super::Format;
use crate::family::{LabelPairs, MetricKind};
use crate::labels::{Labels, LabelsBuilder, METRIC_NAME};
use crate::number;

/// Reads the labels of a series as text; without quotes around the name or with.
///
/// # Errors
///
/// What is wrong with it.
pub fn parse_series(text: &str) -> Result<Labels, String> {
    labels(text, MetricKind::Unknown, Format::Text)
}

/// As [`parse_series`], with the bounds of histograms and summaries written as floats.
pub(super) fn labels(text: &str, kind: MetricKind, format: Format) -> Result<Labels, String> {
    let mut builder = LabelsBuilder::default();
    let mut names = 0;
    let bound = match kind {
        MetricKind::Histogram => "le",
        MetricKind::Summary => "quantile",
        _ => "",
    };
    for part in Parts::new(text, format) {
        match part? {
            Part::Name { name, .. } => {
                builder.set(METRIC_NAME, &name);
                names += 1;
            }
            Part::Label { name, value, .. } => {
                if builder.get(&name).is_some() {
                    return Err(format!("the label `{name}` comes twice"));
                }
                let number = if name == bound { number::parse(&value) } else { None };
                match number {
                    Some(number) => builder.set(&name, &float_text(number)),
                    None => builder.set(&name, &value),
                };
            }
        }
    }
    match names {
        1 => Ok(builder.build()),
        0 => Err("there is no metric name".to_owned()),
        _ => Err("there is more than one metric name".to_owned()),
    }
}

/// The metric's name, and the labels as they are written, in their order.
pub(super) fn pairs(text: &str, format: Format) -> Result<(String, LabelPairs), String> {
    // For the checks only: one name, no label twice.
    let name = labels(text, MetricKind::Unknown, format)?.metric_name().to_owned();
    let parts = Parts::new(text, format).filter_map(|part| match part {
        Ok(Part::Label { name, value, .. }) => {
            Some((Cow::Owned(name.into_owned()), value.into_owned()))
        }
        _ => None,
    });
    Ok((name, parts.collect()))
}

/// Reads labels without a name, `{a="b"}`: an exemplar's or an output's.
pub(super) fn nameless(text: &str) -> Result<LabelPairs, String> {
    let mut pairs = LabelPairs::new();
    for part in Parts::new(text, Format::OpenMetrics) {
        match part? {
            Part::Name { name, .. } => return Err(format!("`{name}` has no value")),
            Part::Label { name, value, .. } => {
                pairs.push((Cow::Owned(name.into_owned()), value.into_owned()));
            }
        }
    }
    Ok(pairs)
}

/// Appends a float as OpenMetrics writes it: always with a point or an exponent.
pub(super) fn push_float_text(out: &mut String, value: f64) {
    let start = out.len();
    number::push_shortest(out, value);
    if value.is_finite() && !out.as_bytes()[start..].iter().any(|b| matches!(b, b'.' | b'e')) {
        out.push_str(".0");
    }
}

/// A float as OpenMetrics writes it.
pub(super) fn float_text(value: f64) -> String {
    let mut text = String::new();
    push_float_text(&mut text, value);
    text
}

/// A piece of a series' text.
#[derive(Debug)]
pub(super) enum Part<'a> {
    Name { name: Cow<'a, str>, raw: &'a str },
    Label { name: Cow<'a, str>, value: Cow<'a, str>, quoted: bool, raw_value: &'a str },
}

/// Walks over the pieces; ends after the first error.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    rest: &'a str,
    format: Format,
    state: State,
}

#[derive(Debug, PartialEq)]
enum State {
    Start,
    Labels,
    Done,
}

impl<'a> Parts<'a> {
    pub(super) fn new(text: &'a str, format: Format) -> Self {
        Self { rest: text, format, state: State::Start }
    }

    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }

    fn start(&mut self) -> Result<Option<Part<'a>>, String> {
        self.skip_blanks();
        let length = name_length(self.rest, true);
        let (name, rest) = self.rest.split_at(length);
        self.rest = rest;
        self.skip_blanks();
        self.state = match self.rest.strip_prefix('{') {
            Some(rest) => {
                self.rest = rest;
                State::Labels
            }
            None if self.rest.is_empty() => State::Done,
            None => return Err(unexpected("a metric name or `{`", self.rest)),
        };
        Ok((length > 0).then_some(Part::Name { name: Cow::Borrowed(name), raw: name }))
    }

    fn label(&mut self) -> Result<Option<Part<'a>>, String> {
        self.skip_blanks();
        if let Some(rest) = self.rest.strip_prefix('}') {
            self.rest = rest;
            self.skip_blanks();
            self.state = State::Done;
            let over = self.rest;
            return if over.is_empty() { Ok(None) } else { Err(unexpected("the value", over)) };
        }
        let quoted = self.rest.starts_with('"');
        let (name, raw) = if quoted { self.quoted()? } else { self.plain_name()? };
        self.skip_blanks();
        let part = match self.rest.strip_prefix('=') {
            Some(rest) => {
                self.rest = rest;
                self.skip_blanks();
                let (value, raw_value) = self.quoted()?;
                if name == METRIC_NAME {
                    return Err(format!("the label `{METRIC_NAME}` is reserved"));
                }
                Part::Label { name, value, quoted, raw_value }
            }
            None if quoted => Part::Name { name, raw },
            None => return Err(unexpected("`=`", self.rest)),
        };
        self.skip_blanks();
        match self.rest.strip_prefix(',') {
            Some(rest) => self.rest = rest,
            // Prometheus does without the comma in the text format.
            None if self.format == Format::Text || self.rest.starts_with('}') => {}
            None => return Err(unexpected("`,` or `}`", self.rest)),
        }
        Ok(Some(part))
    }

    fn plain_name(&mut self) -> Result<(Cow<'a, str>, &'a str), String> {
        let length = name_length(self.rest, false);
        if length == 0 {
            return Err(unexpected("a label name", self.rest));
        }
        let (name, rest) = self.rest.split_at(length);
        self.rest = rest;
        Ok((Cow::Borrowed(name), name))
    }

    /// A text in quotes, unescaped and as written.
    fn quoted(&mut self) -> Result<(Cow<'a, str>, &'a str), String> {
        let inner =
            self.rest.strip_prefix('"').ok_or_else(|| unexpected("a text in quotes", self.rest))?;
        let end = quote_end(inner.as_bytes()).ok_or("a quote is not closed")?;
        self.rest = &inner[end + 1..];
        Ok((unescape(&inner[..end], true), &inner[..end]))
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = Result<Part<'a>, String>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let result = match self.state {
                State::Start => self.start(),
                State::Labels => self.label(),
                State::Done => return None,
            };
            match result {
                Ok(Some(part)) => return Some(Ok(part)),
                Ok(None) => {}
                Err(error) => {
                    self.state = State::Done;
                    return Some(Err(error));
                }
            }
        }
    }
}

/// How long the name at the start of `text` is; metric names may have colons.
pub(super) fn name_length(text: &str, colons: bool) -> usize {
    let bytes = text.as_bytes();
    if bytes.first().is_none_or(u8::is_ascii_digit) {
        return 0;
    }
    let end = |&b: &u8| !(b.is_ascii_alphanumeric() || b == b'_' || (colons && b == b':'));
    bytes.iter().position(end).unwrap_or(bytes.len())
}

/// Where the quote that began before `bytes` ends.
pub(super) fn quote_end(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr::memchr2(b'"', b'\\', &bytes[at..])?;
        if bytes[at] == b'"' {
            return Some(at);
        }
        at += 2;
        if at > bytes.len() {
            return None;
        }
    }
}

/// Resolves `\\`, `\n` and, where `quotes`, `\"`; any other backslash stands for itself.
pub(super) fn unescape(text: &str, quotes: bool) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let replaced = match (c, chars.peek()) {
            ('\\', Some('\\')) => Some('\\'),
            ('\\', Some('n')) => Some('\n'),
            ('\\', Some('"')) if quotes => Some('"'),
            _ => None,
        };
        if replaced.is_some() {
            chars.next();
        }
        out.push(replaced.unwrap_or(c));
    }
    Cow::Owned(out)
}

pub(super) fn unexpected(expected: &str, found: &str) -> String {
    match found.chars().next() {
        Some(c) => format!("expected {expected}, found {c:?}"),
        None => format!("expected {expected}, found the end of the line"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let got = parse_series(text).map_or_else(|e| format!("error: {e}"), |l| l.to_string());
        assert_eq!(got, expected, "{text}");
    }

    #[test]
    fn reads_plain_and_quoted_notation() {
        check("up", "up");
        check("up{}", "up");
        check(r#"up{a="b",c="d",}"#, r#"up{a="b", c="d"}"#);
        check(r#"up { c = "d" , a="b" }"#, r#"up{a="b", c="d"}"#);
        check(r#"{"my.metric","a.b"="c"}"#, r#"{"my.metric", "a.b"="c"}"#);
        check(r#"{a="1", "up"}"#, r#"up{a="1"}"#);
        check(r#"up{a="\"\\\n\x"}"#, r#"up{a="\"\\\n\\x"}"#);
    }

    #[test]
    fn refuses_the_rest() {
        check("", "error: there is no metric name");
        check("9a", "error: expected a metric name or `{`, found '9'");
        check(r#"{a="1"}"#, "error: there is no metric name");
        check(r#"a{"b"}"#, "error: there is more than one metric name");
        check("up{a}", "error: expected `=`, found '}'");
        check("up{=\"\"}", "error: expected a label name, found '='");
        check("up{a='b'}", "error: expected a text in quotes, found '\\''");
        check("up{a=\"b", "error: a quote is not closed");
        check("up{a=\"b\\", "error: a quote is not closed");
        check(r#"up{a="b",,c="d"}"#, "error: expected a label name, found ','");
        check(r#"up{a="1",a="2"}"#, "error: the label `a` comes twice");
        check(r#"up{__name__="x"}"#, "error: the label `__name__` is reserved");
        check(r#"up{a="1"}x"#, "error: expected the value, found 'x'");
    }

    #[test]
    fn bounds_are_floats() {
        let labels = |kind, text| labels(text, kind, Format::Text).unwrap().to_string();
        assert_eq!(labels(MetricKind::Histogram, r#"a{le="10"}"#), r#"a{le="10.0"}"#);
        assert_eq!(labels(MetricKind::Histogram, r#"a{le="+Inf"}"#), r#"a{le="+Inf"}"#);
        assert_eq!(labels(MetricKind::Summary, r#"a{quantile="0"}"#), r#"a{quantile="0.0"}"#);
        assert_eq!(labels(MetricKind::Gauge, r#"a{le="10"}"#), r#"a{le="10"}"#);
    }
}
