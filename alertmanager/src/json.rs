//! JSON text, written piece by piece: for lists of alerts, of which there may be a hundred thousand.
//!
//! Invariant: what is appended to text that is valid so far leaves it valid.

use base::labels::Labels;
use base::sample::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;

/// Appends labels as an object.
pub(crate) fn labels(to: &mut Vec<u8>, labels: &Labels) {
    object(to, labels.iter());
}

/// Ends a list whose entries all have a comma behind them.
pub(crate) fn end_list(to: &mut Vec<u8>) {
    match to.last_mut() {
        Some(last) if *last == b',' => *last = b']',
        _ => to.push(b']'),
    }
}

/// Appends a text in quotes.
pub(crate) fn text(to: &mut Vec<u8>, text: &str) {
    let plain = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\';
    if text.bytes().all(plain) {
        to.push(b'"');
        to.extend_from_slice(text.as_bytes());
        to.push(b'"');
    } else {
        // Writing to memory cannot fail.
        let _ = serde_json::to_writer(to, text);
    }
}

/// Appends names with texts as an object.
pub(crate) fn object<'a>(to: &mut Vec<u8>, pairs: impl Iterator<Item = (&'a str, &'a str)>) {
    let mut separator = b'{';
    for (name, value) in pairs {
        to.push(separator);
        text(to, name);
        to.push(b':');
        text(to, value);
        separator = b',';
    }
    if separator == b'{' {
        to.push(b'{');
    }
    to.push(b'}');
}

/// Appends a list of texts.
pub(crate) fn list(to: &mut Vec<u8>, texts: &[String]) {
    to.push(b'[');
    for entry in texts {
        text(to, entry);
        to.push(b',');
    }
    end_list(to);
}

/// Appends a time in RFC 3339 with as many digits as `printer` wants.
pub(crate) fn time(to: &mut Vec<u8>, at: Timestamp, printer: &DateTimePrinter) {
    to.push(b'"');
    let known = jiff::Timestamp::from_millisecond(at.millis()).ok();
    let printed = known.and_then(|known| printer.print_timestamp(&known, &mut *to).ok());
    if printed.is_none() {
        to.extend_from_slice(at.to_string().as_bytes());
    }
    to.push(b'"');
}

/// Appends a number in 16 hexadecimal digits.
pub(crate) fn hexadecimal(to: &mut Vec<u8>, number: u64) {
    for shift in (0..16).rev() {
        let digit = (number >> (4 * shift)) & 0xf;
        to.push(b"0123456789abcdef"[digit as usize]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_and_lists_end() {
        let written = |write: &dyn Fn(&mut Vec<u8>)| {
            let mut to = Vec::new();
            write(&mut to);
            String::from_utf8(to).unwrap()
        };
        for plain in ["", "é", "a\"b", "\\", "\u{0}\n\u{7f}"] {
            assert_eq!(written(&|to| text(to, plain)), serde_json::json!(plain).to_string());
        }
        assert_eq!(written(&|to| list(to, &[])), "[]");
        assert_eq!(written(&|to| list(to, &["a".into(), "b".into()])), r#"["a","b"]"#);
        assert_eq!(written(&|to| labels(to, &Labels::empty())), "{}");
        let pairs = Labels::from_pairs([("b", "2"), ("a", "1")]);
        assert_eq!(written(&|to| labels(to, &pairs)), r#"{"a":"1","b":"2"}"#);
        assert_eq!(written(&|to| hexadecimal(to, 0xab)), "00000000000000ab");
        let printer = DateTimePrinter::new();
        let time = |millis| written(&|to| time(to, Timestamp::from_millis(millis), &printer));
        assert_eq!(time(1_700_000_000_120), "\"2023-11-14T22:13:20.12Z\"");
        assert!(time(i64::MAX).starts_with('"') && time(i64::MAX).ends_with('"'));
    }
}
