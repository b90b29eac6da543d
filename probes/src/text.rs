//! Text that others wrote, made fit to be shown: program output, banners, headers; and lists of
//! texts as they are configured.
//!
//! Invariant: what comes out has no control character but the line feed and the tab, nothing that
//! turns the direction of writing, and at most as many bytes as were asked for (X11).

use std::fmt;

use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};

/// `bytes` as text of at most `max` bytes: what is not UTF-8 is replaced, what could act on a
/// terminal is written as an escape, and what is over is dropped.
///
/// A carriage return before a line feed is dropped, as it is a line end of other systems.
pub fn shown(bytes: &[u8], max: usize) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut out = String::with_capacity(text.len().min(max));
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let line_end = c == '\r' && matches!(chars.peek(), None | Some('\n'));
        if line_end {
            continue;
        }
        let before = out.len();
        if matches!(c, '\n' | '\t') || !is_hostile(c) {
            out.push(c);
        } else {
            out.extend(c.escape_default());
        }
        if out.len() > max {
            out.truncate(before);
            break;
        }
    }
    out
}

/// As [`shown`], of the first line only, without blanks around it.
pub fn shown_line(bytes: &[u8], max: usize) -> String {
    let end = bytes.iter().position(|b| *b == b'\n').unwrap_or(bytes.len());
    shown(bytes[..end].trim_ascii(), max).replace('\t', " ")
}

/// One text, or a list of them.
#[derive(Debug, Default)]
pub(crate) struct Texts(pub(crate) Vec<String>);

impl schemars::JsonSchema for Texts {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Texts".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": ["string", "integer", "array"], "items": {"type": "string"}})
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextsVisitor;

        impl<'de> Visitor<'de> for TextsVisitor {
            type Value = Texts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }

            fn visit_str<E>(self, text: &str) -> Result<Texts, E> {
                Ok(Texts(vec![text.to_owned()]))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Texts, E> {
                Ok(Texts(vec![number.to_string()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Texts, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = list.next_element()? {
                    texts.push(text);
                }
                Ok(Texts(texts))
            }
        }

        deserializer.deserialize_any(TextsVisitor)
    }
}

/// Whether a terminal or a page would do something else with `c` than show it.
fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c,
            // Marks, embeddings, overrides and isolates of direction.
            '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            // Line and paragraph separators, and what has no width.
            | '\u{2028}' | '\u{2029}' | '\u{200b}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], expected: &str) {
        assert_eq!(shown(bytes, 100), expected);
    }

    #[test]
    fn what_acts_on_a_terminal_is_escaped_x11() {
        check(b"plain \xc3\xbc\n\ttext", "plain ü\n\ttext");
        check(b"\x1b[31mred\x1b]0;title\x07", "\\u{1b}[31mred\\u{1b}]0;title\\u{7}");
        check(b"OK\rCRITICAL", "OK\\rCRITICAL");
        check(b"one\r\ntwo\r", "one\ntwo");
        check("a\u{202e}b\u{2066}c".as_bytes(), "a\\u{202e}b\\u{2066}c");
        check(b"nul \0 c1 \xc2\x9b", "nul \\u{0} c1 \\u{9b}");
        check(b"bad \xff\xfe end", "bad \u{fffd}\u{fffd} end");
    }

    #[test]
    fn what_is_over_is_dropped_at_a_whole_character() {
        assert_eq!(shown("aüb".as_bytes(), 2), "a");
        assert_eq!(shown("aüb".as_bytes(), 3), "aü");
        assert_eq!(shown(b"a\x1bb", 4), "a");
    }

    #[test]
    fn a_line_is_one_line() {
        assert_eq!(shown_line(b"  first\tone \nsecond", 100), "first one");
        assert_eq!(shown_line(b"\nsecond", 100), "");
    }
}
