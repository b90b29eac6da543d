//! Numbers, characters and texts as Go's source writes them: `0x1F`, `1_000`, `'\n'`, `"a\tb"`.
//!
//! Invariant: what is no literal of Go is refused here, never guessed at.

use base::number;

/// A number; how it is written decides what it is where nothing else does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Number {
    /// Its value as a whole number, where it has one that fits.
    pub(super) int: Option<i64>,
    /// Its value.
    pub(super) float: f64,
    /// Whether it is written as a float: with a point or an exponent.
    pub(super) is_float: bool,
}

/// Reads a number. Imaginary ones are refused: nothing here computes with them.
pub(super) fn number(text: &str) -> Option<Number> {
    let (negative, unsigned) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = unsigned.to_ascii_lowercase();
    let (radix, digits) = match lower.get(..2) {
        Some("0x") => (16, &lower[2..]),
        Some("0b") => (2, &lower[2..]),
        Some("0o") => (8, &lower[2..]),
        _ => (10, lower.as_str()),
    };
    let prefixed = radix != 10;
    let plain = without_underscores(digits, prefixed)?;
    let is_float = match radix {
        16 => plain.contains(['.', 'p']),
        10 => plain.contains(['.', 'e']),
        _ => false,
    };
    if is_float {
        let float = if radix == 16 {
            // Go wants an exponent there.
            plain.contains('p').then(|| number::parse(&format!("0x{plain}")))??
        } else {
            let starts = plain.starts_with(|c: char| c.is_ascii_digit() || c == '.');
            starts.then(|| plain.parse::<f64>().ok().filter(|f| f.is_finite()))??
        };
        let float = if negative { -float } else { float };
        let whole = float.fract() == 0.0 && float.abs() < 9.2e18;
        return Some(Number { int: whole.then_some(float as i64), float, is_float });
    }
    // A leading zero means octal, as it does in C.
    let octal = radix == 10 && plain.len() > 1 && plain.starts_with('0');
    let radix = if octal { 8 } else { radix };
    if plain.is_empty() || !plain.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    let magnitude = u64::from_str_radix(&plain, radix).ok()?;
    let signed = if negative { -i128::from(magnitude) } else { i128::from(magnitude) };
    Some(Number { int: i64::try_from(signed).ok(), float: signed as f64, is_float })
}

/// Underscores may stand between digits, and between a prefix and the first.
fn without_underscores(digits: &str, prefixed: bool) -> Option<String> {
    let bytes = digits.as_bytes();
    for (n, _) in bytes.iter().enumerate().filter(|(_, b)| **b == b'_') {
        let before = if n == 0 { prefixed } else { bytes[n - 1].is_ascii_hexdigit() };
        let after = bytes.get(n + 1).is_some_and(u8::is_ascii_hexdigit);
        if !before || !after {
            return None;
        }
    }
    Some(digits.replace('_', ""))
}

/// Reads a character between single quotes.
pub(super) fn rune(text: &str) -> Option<i64> {
    let inside = text.strip_prefix('\'')?.strip_suffix('\'')?;
    let mut bytes = Vec::new();
    let rest = match inside.chars().next()? {
        '\\' => escape(&inside[1..], '\'', &mut bytes)?,
        c => {
            bytes.extend(c.encode_utf8(&mut [0; 4]).bytes());
            &inside[c.len_utf8()..]
        }
    };
    if !rest.is_empty() {
        return None;
    }
    // `'\xff'` is the number 255, though that byte alone is no text.
    match std::str::from_utf8(&bytes) {
        Ok(text) => text.chars().next().map(|c| i64::from(u32::from(c))),
        Err(_) => bytes.first().map(|byte| i64::from(*byte)),
    }
}

/// Reads a text between double quotes, or between back quotes, where nothing is special.
pub(super) fn text(literal: &str) -> Option<String> {
    if let Some(raw) = literal.strip_prefix('`') {
        return Some(raw.strip_suffix('`')?.replace('\r', ""));
    }
    let mut rest = literal.strip_prefix('"')?.strip_suffix('"')?;
    if !rest.contains('\\') {
        return Some(rest.to_owned());
    }
    let mut bytes = Vec::with_capacity(rest.len());
    while let Some((before, after)) = rest.split_once('\\') {
        bytes.extend(before.bytes());
        rest = escape(after, '"', &mut bytes)?;
    }
    bytes.extend(rest.bytes());
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Reads what follows a backslash; gives the rest.
fn escape<'t>(text: &'t str, quote: char, out: &mut Vec<u8>) -> Option<&'t str> {
    let c = text.chars().next()?;
    let after = &text[c.len_utf8()..];
    let number = |digits: usize, radix: u32, from: &'t str| {
        let written = from.get(..digits)?;
        let all = written.chars().all(|c| c.is_digit(radix));
        let value = u32::from_str_radix(written, radix).ok().filter(|_| all)?;
        Some((value, &from[digits..]))
    };
    let simple = match c {
        'a' => 7,
        'b' => 8,
        'f' => 12,
        'n' => 10,
        'r' => 13,
        't' => 9,
        'v' => 11,
        '\\' => b'\\',
        _ if c == quote => quote as u8,
        'x' => {
            let (value, rest) = number(2, 16, after)?;
            out.push(u8::try_from(value).ok()?);
            return Some(rest);
        }
        '0'..='7' => {
            let (value, rest) = number(3, 8, text)?;
            out.push(u8::try_from(value).ok()?);
            return Some(rest);
        }
        'u' | 'U' => {
            let (value, rest) = number(if c == 'u' { 4 } else { 8 }, 16, after)?;
            out.extend(char::from_u32(value)?.encode_utf8(&mut [0; 4]).bytes());
            return Some(rest);
        }
        _ => return None,
    };
    out.push(simple);
    Some(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<(Option<i64>, f64, bool)>) {
        let got = number(text).map(|n| (n.int, n.float, n.is_float));
        assert_eq!(got, expected, "{text}");
    }

    #[test]
    fn reads_numbers() {
        let int = |text: &str, value: i64| check(text, Some((Some(value), value as f64, false)));
        int("0", 0);
        int("-0", 0);
        int("73", 73);
        int("7_3", 73);
        int("0b10_010_01", 73);
        int("073", 59);
        int("0O73", 59);
        int("0x7_3", 0x73);
        int("0x_73", 0x73);
        int("0xef", 0xef);
        int("+73", 73);
        int("-9223372036854775808", i64::MIN);
        check("9223372036854775808", Some((None, 9_223_372_036_854_775_808.0, false)));
        check("1e9", Some((Some(1_000_000_000), 1e9, true)));
        check("-1.2", Some((None, -1.2, true)));
        check(".5", Some((None, 0.5, true)));
        check("1.", Some((Some(1), 1.0, true)));
        check("1e19", Some((None, 1e19, true)));
        check("0x_1p4", Some((Some(16), 16.0, true)));
        check("0x1p-4", Some((None, 0.0625, true)));
        for wrong in
            ["+-2", "0x123.", "1e.", "1+2.", "08", "1__0", "1_", "_1", "0x", "4i", "1e400", "", "."]
        {
            check(wrong, None);
        }
    }

    #[test]
    fn reads_characters_and_texts() {
        let runes = [
            ("'a'", 97),
            ("'\\n'", 10),
            ("'\\''", 39),
            ("'パ'", 0x30d1),
            ("'\\xFF'", 255),
            ("'\\u30d1'", 0x30d1),
        ];
        for (text, expected) in runes {
            assert_eq!(rune(text), Some(expected), "{text}");
        }
        for wrong in ["'xx'", "''", "'\\q'", "'\\\"'", "'"] {
            assert_eq!(rune(wrong), None, "{wrong}");
        }
        let texts = [
            (r#""a\tb\"\\""#, "a\tb\"\\"),
            (r#""\x41\101\u00e9\U0001F600""#, "AAé😀"),
            ("`a\\n\r`", "a\\n"),
            (r#""\xff""#, "\u{fffd}"),
        ];
        for (literal, expected) in texts {
            assert_eq!(text(literal).as_deref(), Some(expected), "{literal}");
        }
        for wrong in [r#""\'""#, r#""\x4""#, r#""\400""#, r#""\ud800""#, r#""\x+1""#, r#""\x4é""#]
        {
            assert_eq!(text(wrong), None, "{wrong}");
        }
    }
}
