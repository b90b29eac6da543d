//! Prints values as Go's `fmt` does: `%v`, `print`, `println`, and `printf` with its verbs.
//!
//! Invariant: what cannot be printed by a verb is printed as a complaint, as in `%!d(string=x)`;
//! nothing but the length of the output makes printing fail.

mod float;
mod format;
mod verb;

use super::error::Failure;
use super::limits::Bounded;
use super::time::duration_text;
use super::value::{ListKind, MapKind, Value};

pub(super) use float::significant;
pub(super) use format::printf;
use verb::Spec;

/// Appends `value` as an action prints it.
pub(super) fn display(out: &mut Bounded, value: &Value) -> Result<(), Failure> {
    match value {
        Value::Text(text) | Value::Safe(_, text) => out.push_str(text),
        Value::Nil => out.push_str("<no value>"),
        _ => verb::push(out, value, &Spec::PLAIN),
    }
}

/// Appends the values with a space between those of which neither is a text.
pub(super) fn print(out: &mut Bounded, values: &[Value]) -> Result<(), Failure> {
    let mut text_before = true;
    for (n, value) in values.iter().enumerate() {
        let text = value.as_text().is_some();
        if n > 0 && !text && !text_before {
            out.push(' ')?;
        }
        verb::push(out, value, &Spec::PLAIN)?;
        text_before = text;
    }
    Ok(())
}

/// Appends the values with spaces between them and a line feed after them.
pub(super) fn println(out: &mut Bounded, values: &[Value]) -> Result<(), Failure> {
    for (n, value) in values.iter().enumerate() {
        if n > 0 {
            out.push(' ')?;
        }
        verb::push(out, value, &Spec::PLAIN)?;
    }
    out.push('\n')
}

/// What the `String` method of the value's type gives, where Go's has one.
pub(super) fn string_method(value: &Value) -> Option<String> {
    match value {
        Value::Time(time) => Some(time.to_string()),
        Value::Duration(nanos) => Some(duration_text(*nanos)),
        Value::Named(named) => Some(named.name.to_owned()),
        Value::Map(map) if map.kind == MapKind::Kv => {
            Some(pairs_text(super::methods::sorted_pairs(map).iter()))
        }
        Value::List(list) if list.kind == ListKind::Pairs => {
            Some(pairs_text(super::methods::names_and_values(list).iter()))
        }
        _ => None,
    }
}

fn pairs_text<'a>(
    pairs: impl Iterator<Item = &'a (std::sync::Arc<str>, std::sync::Arc<str>)>,
) -> String {
    let pairs: Vec<_> = pairs.map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join(", ")
}

/// `text` in double quotes, escaped as in Go's source.
pub(super) fn quoted(text: &str) -> String {
    quoted_by(text, '"', false)
}

/// As [`quoted`], with another quote, or with everything escaped that is not ASCII.
fn quoted_by(text: &str, quote: char, ascii: bool) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            _ if c == quote => out.extend(['\\', c]),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            _ if is_printable(c) && (c.is_ascii() || !ascii) => out.push(c),
            '\0'..=' ' | '\x7f' => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            '\0'..='\u{ffff}' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            _ => out.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    out.push(quote);
    out
}

/// Whether Go prints the character as it is: no control, no format, no space but the plain one.
pub(super) fn is_printable(c: char) -> bool {
    const HIDDEN: &[(char, char)] = &[
        ('\u{ad}', '\u{ad}'),
        ('\u{600}', '\u{605}'),
        ('\u{61c}', '\u{61c}'),
        ('\u{180e}', '\u{180e}'),
        ('\u{200b}', '\u{200f}'),
        ('\u{202a}', '\u{202e}'),
        ('\u{2060}', '\u{206f}'),
        ('\u{e000}', '\u{f8ff}'),
        ('\u{feff}', '\u{feff}'),
        ('\u{fff9}', '\u{fffb}'),
        ('\u{e0000}', '\u{10ffff}'),
    ];
    c == ' '
        || !(c.is_control()
            || c.is_whitespace()
            || HIDDEN.iter().any(|(first, last)| (*first..=*last).contains(&c)))
}

#[cfg(test)]
mod tests {
    use base::labels::Labels;

    use super::*;

    #[track_caller]
    fn check(value: impl Into<Value>, expected: &str) {
        let mut out = Bounded::new(1000);
        display(&mut out, &value.into()).unwrap();
        assert_eq!(out.as_str(), expected);
    }

    #[test]
    fn prints_what_an_action_prints() {
        check(1_234_567.0, "1.234567e+06");
        check(0.1, "0.1");
        check(-0.0, "-0");
        check(f64::INFINITY, "+Inf");
        check(42, "42");
        check(true, "true");
        check("<b>", "<b>");
        check(Value::Nil, "<no value>");
        check(Value::list([Value::Nil, "a".into()]), "[<nil> a]");
        check(Value::map([("b", 2.into()), ("a", Value::from(1))]), "map[a:1 b:2]");
        check(Value::Duration(90_000_000_000), "1m30s");
        let labels = Labels::from_pairs([("job", "a"), ("alertname", "x"), ("b", "c")]);
        check(Value::labels(labels.clone()), "map[alertname:x b:c job:a]");
        check(Value::kv(labels), "alertname=x, b=c, job=a");
    }

    #[test]
    fn spaces_stand_only_between_what_is_no_text() {
        let check = |values: &[Value], expected: &str, line: &str| {
            let (mut out, mut out_line) = (Bounded::new(100), Bounded::new(100));
            print(&mut out, values).unwrap();
            println(&mut out_line, values).unwrap();
            assert_eq!((out.as_str(), out_line.as_str()), (expected, line));
        };
        check(&[1.into(), 2.into(), "a".into(), 3.into()], "1 2a3", "1 2 a 3\n");
        check(&["a".into(), "b".into()], "ab", "a b\n");
        check(&[Value::Nil, Value::Nil], "<nil> <nil>", "<nil> <nil>\n");
        check(&[], "", "\n");
    }

    #[test]
    fn quotes_as_go_does() {
        assert_eq!(quoted("a\"\\\n\u{7}é\u{202e}\0"), r#""a\"\\\n\aé\u202e\x00""#);
        assert_eq!(quoted_by("é'", '\'', true), r"'\u00e9\''");
    }
}
