//! Escapes values for text, attributes and addresses.
//!
//! Invariant: what is written holds no character that could end the place where it stands.

use super::super::error::Failure;
use super::super::limits::Bounded;
use super::super::value::Safe;
use super::context::Part;

/// What stands for an address whose scheme is not allowed.
const UNSAFE: &str = "#unsafe-url";

/// Appends `text` with references for the three characters that begin markup, as Slack asks.
pub(super) fn push_entities(out: &mut Bounded, text: &str) -> Result<(), Failure> {
    let mut rest = text;
    while let Some(at) = rest.find(['&', '<', '>']) {
        out.push_str(&rest[..at])?;
        out.push_str(match &rest[at..=at] {
            "&" => "&amp;",
            "<" => "&lt;",
            _ => "&gt;",
        })?;
        rest = &rest[at + 1..];
    }
    out.push_str(rest)
}

/// Appends `text` between tags; `escaped` text keeps the references that it has.
pub(super) fn push_text(out: &mut Bounded, text: &str, escaped: bool) -> Result<(), Failure> {
    push_escaped(out, text, escaped, |_| false)
}

/// Appends `text` in an attribute's value.
pub(super) fn push_attribute(
    out: &mut Bounded,
    text: &str,
    quoted: bool,
    escaped: bool,
) -> Result<(), Failure> {
    if quoted {
        return push_escaped(out, text, escaped, |_| false);
    }
    if text.is_empty() {
        // Without a value the next attribute would be taken for it.
        return out.push_str("&#65533;");
    }
    push_escaped(out, text, escaped, |c| c.is_ascii_whitespace() || c == '=' || c == '`')
}

fn push_escaped(
    out: &mut Bounded,
    text: &str,
    escaped: bool,
    also: impl Fn(char) -> bool,
) -> Result<(), Failure> {
    let mut from = 0;
    for (at, c) in text.char_indices() {
        let reference = match c {
            '\0' => "\u{fffd}".to_owned(),
            '&' if !escaped => "&amp;".to_owned(),
            '<' => "&lt;".to_owned(),
            '>' => "&gt;".to_owned(),
            '"' | '\'' | '+' => format!("&#{};", u32::from(c)),
            _ if also(c) => format!("&#{};", u32::from(c)),
            _ => continue,
        };
        out.push_str(&text[from..at])?;
        out.push_str(&reference)?;
        from = at + c.len_utf8();
    }
    out.push_str(&text[from..])
}

/// `text` as a part of an address, still to be escaped for its attribute.
pub(super) fn address(text: &str, part: Part, safe: Option<Safe>) -> String {
    if part == Part::Start && !allowed(text, safe == Some(Safe::Url)) {
        return UNSAFE.to_owned();
    }
    match (part, safe) {
        (_, Some(Safe::Query)) => text.to_owned(),
        (Part::Query, None | Some(Safe::Html)) => encoded(text, false),
        _ => encoded(text, true),
    }
}

/// Whether the scheme of `text`, if it has one, is harmless.
fn allowed(text: &str, vouched: bool) -> bool {
    let Some((scheme, _)) = text.split_once(':') else { return true };
    if scheme.contains(['/', '?', '#']) {
        return true;
    }
    if vouched {
        // The author may link into other programs, but never run what the data say.
        let plain: String = scheme.chars().filter(char::is_ascii_alphanumeric).collect();
        let runs = ["javascript", "vbscript", "data"];
        !scheme.is_empty() && !runs.iter().any(|name| plain.eq_ignore_ascii_case(name))
    } else {
        ["http", "https", "mailto"].iter().any(|name| scheme.eq_ignore_ascii_case(name))
    }
}

/// Percent-encodes; with `keep` what has a meaning in addresses stays, and so does what is
/// already encoded.
fn encoded(text: &str, keep: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    for (n, byte) in bytes.iter().enumerate() {
        let stays = match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => true,
            b'!' | b'#' | b'$' | b'&' | b'*' | b'+' | b',' | b'/' | b':' | b';' | b'=' | b'?'
            | b'@' | b'[' | b']' => keep,
            b'%' => {
                let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_hexdigit);
                keep && digit(n + 1) && digit(n + 2)
            }
            _ => false,
        };
        if stays {
            out.push(char::from(*byte));
        } else {
            out.push_str(&format!("%{byte:02x}"));
        }
    }
    out
}
