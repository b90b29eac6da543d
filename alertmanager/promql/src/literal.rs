//! Numbers, lengths of time and strings as they are written in an expression.
//!
//! Invariant: what the `scan` functions accept, the reading functions turn into a value or refuse
//! with a message; neither looks at more text than the literal.

use base::period::{ParsePeriodError, Period};

use crate::token::TokenKind;

/// How long the number or duration at the start of `text` is; an `Err` is how much of it was read
/// before it became wrong.
pub(crate) fn scan_number(text: &str) -> Result<(TokenKind, usize), usize> {
    let number = scan_plain_number(text)?;
    let follows = |at: usize| text.as_bytes().get(at).copied();
    let is_word = |byte: Option<u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !is_word(follows(number)) {
        return Ok((TokenKind::Number, number));
    }
    let mut at = number;
    loop {
        if !matches!(follows(at), Some(b's' | b'm' | b'h' | b'd' | b'w' | b'y')) {
            return Err(at);
        }
        // A unit has one letter, or two of which the second is an s: `ms`.
        at += if follows(at + 1) == Some(b's') { 2 } else { 1 };
        if !follows(at).is_some_and(|b| b.is_ascii_digit()) {
            break;
        }
        while follows(at).is_some_and(|b| b.is_ascii_digit()) {
            at += 1;
        }
    }
    if is_word(follows(at)) { Err(at + 1) } else { Ok((TokenKind::Duration, at)) }
}

fn scan_plain_number(text: &str) -> Result<usize, usize> {
    let bytes = text.as_bytes();
    if bytes.len() >= 2 && bytes[0] == b'0' && matches!(bytes[1], b'x' | b'X') {
        let hex = |b: &&u8| b.is_ascii_hexdigit() || **b == b'_';
        return Ok(2 + bytes[2..].iter().take_while(hex).count());
    }
    let (mut at, mut dot, mut exponent) = (0, false, false);
    while let Some(&byte) = bytes.get(at) {
        let next = bytes.get(at + 1);
        match byte {
            b'0'..=b'9' => {}
            b'.' if dot || exponent => return Err(at + 1),
            b'.' if matches!(next, Some(b'_' | b'.')) => return Err(at + 2),
            b'.' => dot = true,
            b'_' if matches!(next, None | Some(b'_' | b'.' | b'e' | b'E')) => return Err(at + 1),
            b'_' => {}
            b'e' | b'E' => {
                let sign = usize::from(matches!(next, Some(b'+' | b'-')));
                if exponent || !bytes.get(at + 1 + sign).is_some_and(u8::is_ascii_digit) {
                    return Err(at + 1 + sign);
                }
                exponent = true;
                at += sign;
            }
            _ => break,
        }
        at += 1;
    }
    Ok(at)
}

/// The value of a number token.
pub(crate) fn read_number(text: &str) -> Result<f64, String> {
    let plain = text.replace('_', "");
    let integer = match plain.as_bytes() {
        [b'0', b'x' | b'X', ..] => u64::from_str_radix(&plain[2..], 16).ok(),
        [b'0', _, ..] => u64::from_str_radix(&plain, 8).ok(),
        _ => None,
    };
    let value = integer.map(|n| n as f64).or_else(|| base::number::parse(&plain));
    let named = plain.starts_with(|c: char| c.is_ascii_alphabetic());
    let fault = match value {
        Some(value) if value.is_finite() || named => return Ok(value),
        Some(_) => "value out of range",
        None => "invalid syntax",
    };
    Err(format!("error parsing number: strconv.ParseFloat: parsing {text:?}: {fault}"))
}

/// The length of a duration token in milliseconds.
pub(crate) fn read_duration(text: &str) -> Result<i64, String> {
    match text.parse::<Period>() {
        Ok(period) => i64::try_from(period.millis()).map_err(|_| "duration out of range".into()),
        Err(ParsePeriodError::TooLong(_)) => Err("duration out of range".into()),
        Err(ParsePeriodError::Malformed(_)) => Err(match unknown_unit(text) {
            Some(unit) => format!("unknown unit {unit:?} in duration {text:?}"),
            None => format!("not a valid duration string: {text:?}"),
        }),
    }
}

fn unknown_unit(text: &str) -> Option<&str> {
    text.split(|c: char| c.is_ascii_digit())
        .filter(|unit| !unit.is_empty())
        .find(|unit| !matches!(*unit, "y" | "w" | "d" | "h" | "m" | "s" | "ms"))
}

/// How long the string at the start of `text` is, quotes included.
pub(crate) fn string_length(text: &str) -> Result<usize, String> {
    let mut chars = text.char_indices();
    let quote = chars.next().map_or('"', |(_, c)| c);
    if quote == '`' {
        return match text[1..].find('`') {
            Some(end) => Ok(end + 2),
            None => Err("unterminated raw string".into()),
        };
    }
    while let Some((at, c)) = chars.next() {
        match c {
            '\n' => break,
            '\\' => {
                let (length, _) = read_escape(&text[at + 1..], quote)?;
                // The character after the backslash is the first that the escape takes.
                for _ in 0..text[at + 1..at + 1 + length].chars().count() {
                    chars.next();
                }
            }
            c if c == quote => return Ok(at + 1),
            _ => {}
        }
    }
    Err("unterminated quoted string".into())
}

/// What an escape stands for.
enum Escaped {
    Byte(u8),
    Char(char),
}

/// Reads what stands behind a backslash: how long it is and what it means.
fn read_escape(text: &str, quote: char) -> Result<(usize, Escaped), String> {
    let Some(first) = text.chars().next() else {
        return Err("escape sequence not terminated".into());
    };
    let simple = |byte| Ok((1, Escaped::Byte(byte)));
    let (skip, digits, radix, most) = match first {
        'a' => return simple(7),
        'b' => return simple(8),
        'f' => return simple(12),
        'n' => return simple(b'\n'),
        'r' => return simple(b'\r'),
        't' => return simple(b'\t'),
        'v' => return simple(11),
        '\\' => return simple(b'\\'),
        c if c == quote => return Ok((1, Escaped::Char(c))),
        '0'..='7' => (0, 3, 8, 255),
        'x' => (1, 2, 16, 255),
        'u' => (1, 4, 16, u32::MAX),
        'U' => (1, 8, 16, u32::MAX),
        c => return Err(format!("unknown escape sequence {}", code_point(c))),
    };
    let mut value = 0_u32;
    let mut chars = text[skip..].chars();
    for _ in 0..digits {
        let c = chars.next().ok_or("escape sequence not terminated")?;
        let digit = c
            .to_digit(radix)
            .ok_or_else(|| format!("illegal character {} in escape sequence", code_point(c)))?;
        value = value.wrapping_mul(radix).wrapping_add(digit);
    }
    let invalid = "escape sequence is an invalid Unicode code point";
    if value > most {
        return Err(invalid.into());
    }
    let escaped = match first {
        'u' | 'U' => Escaped::Char(char::from_u32(value).ok_or(invalid)?),
        _ => Escaped::Byte(value as u8),
    };
    Ok((skip + digits, escaped))
}

fn code_point(c: char) -> String {
    format!("U+{:04X} {c:?}", u32::from(c))
}

/// The value of a string token. Bytes that are no UTF-8 become the replacement character: a label
/// value that they could be compared with does not exist.
pub(crate) fn read_string(text: &str) -> Result<String, String> {
    let quote = text.chars().next().unwrap_or('"');
    let inside = text.get(1..text.len().saturating_sub(1)).unwrap_or("");
    if quote == '`' {
        return Ok(inside.replace('\r', ""));
    }
    if !inside.contains('\\') {
        return Ok(inside.to_owned());
    }
    let mut bytes = Vec::with_capacity(inside.len());
    let mut rest = inside;
    while let Some((before, after)) = rest.split_once('\\') {
        bytes.extend_from_slice(before.as_bytes());
        let (length, escaped) = read_escape(after, quote)?;
        match escaped {
            Escaped::Byte(byte) => bytes.push(byte),
            Escaped::Char(c) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
        rest = &after[length..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_scan(text: &str, expected: Result<&str, &str>) {
        let got = scan_number(text);
        let got = got.map(|(_, length)| &text[..length]).map_err(|length| &text[..length]);
        assert_eq!(got, expected);
    }

    #[test]
    fn finds_where_a_number_ends() {
        for text in ["1", ".5", "5.", "1e-3", "1.5E+3", "0x1F", "1_000", "0755", "5m", "1h30m5ms"] {
            check_scan(text, Ok(text));
            check_scan(&format!("{text}]"), Ok(text));
        }
        check_scan("5-3", Ok("5"));
        check_scan("1.5h ", Ok("1.5h"));
        check_scan("5y1hs", Ok("5y1hs"));
        check_scan("5mm", Err("5mm"));
        check_scan("1m1", Err("1m1"));
        check_scan("0deadbeef", Err("0de"));
        check_scan("0b11", Err("0"));
        check_scan("100..4", Err("100.."));
        check_scan("1e", Err("1e"));
        check_scan("1__0", Err("1_"));
        check_scan("1é", Ok("1"));
    }

    #[test]
    fn reads_numbers_as_go_does() {
        let check = |text: &str, value: f64| assert_eq!(read_number(text), Ok(value), "{text}");
        check("1_000.5", 1000.5);
        check("0x1f", 31.0);
        check("0755", 493.0);
        check("089", 89.0);
        check("08.5", 8.5);
        check("inF", f64::INFINITY);
        assert!(read_number("NaN").unwrap().is_nan());
        let fault = |text: &str| read_number(text).unwrap_err();
        assert!(fault("1e400").ends_with("parsing \"1e400\": value out of range"));
        assert!(fault("0x").ends_with("parsing \"0x\": invalid syntax"));
    }

    #[test]
    fn reads_durations() {
        assert_eq!(read_duration("1h30m"), Ok(5_400_000));
        let check = |text: &str, fault: &str| assert_eq!(read_duration(text).unwrap_err(), fault);
        check("5y1hs", "unknown unit \"hs\" in duration \"5y1hs\"");
        check("1.5h", "unknown unit \".\" in duration \"1.5h\"");
        check("5m1m", "not a valid duration string: \"5m1m\"");
        check("999y", "duration out of range");
    }

    #[track_caller]
    fn check_string(text: &str, expected: Result<&str, &str>) {
        let got = string_length(text).and_then(|length| read_string(&text[..length]));
        assert_eq!(got, expected.map(str::to_owned).map_err(str::to_owned));
    }

    #[test]
    fn reads_strings_in_all_three_quotes() {
        check_string(r#""a\tb\"c" more"#, Ok("a\tb\"c"));
        check_string(r"'it\'s' more", Ok("it's"));
        check_string(r"`a\tb`", Ok(r"a\tb"));
        check_string(r#""é\u00e9\U0001F600\x41\101""#, Ok("éé😀AA"));
        check_string(r#""\xff""#, Ok("\u{fffd}"));
        check_string(r#""\xc3\xa9""#, Ok("é"));
        check_string("\"a\nb\"", Err("unterminated quoted string"));
        check_string("'a", Err("unterminated quoted string"));
        check_string("`a", Err("unterminated raw string"));
        check_string(r#""\'""#, Err("unknown escape sequence U+0027 '\\''"));
        check_string(r#""\x.""#, Err("illegal character U+002E '.' in escape sequence"));
        check_string(r#""\é""#, Err("unknown escape sequence U+00E9 'é'"));
        check_string(r#""\ud800""#, Err("escape sequence is an invalid Unicode code point"));
        check_string(r#""\"#, Err("escape sequence not terminated"));
    }
}
