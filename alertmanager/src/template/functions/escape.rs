//! Escaping by function: `html`, `js`, `urlquery`, and base64.
//!
//! Invariant: what comes out can stand in its place without changing what is around it.

use std::fmt::Write as _;

use super::super::print::is_printable;

/// `text` with everything that is special in HTML as a reference.
pub(super) fn html_escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    for c in text.chars() {
        match c {
            '\0' => out.push('\u{fffd}'),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            _ => out.push(c),
        }
    }
    out
}

/// `text` for within the quotes of a text in JavaScript.
pub(super) fn js_escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '\'' | '"' => out.extend(['\\', c]),
            '<' | '>' | '&' | '=' => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            _ if is_printable(c) => out.push(c),
            _ => out.push_str(&format!("\\u{:04X}", u32::from(c))),
        }
    }
    out
}

/// `text` for within the query of an address; a space becomes `+`.
pub(super) fn query_escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            b' ' => out.push('+'),
            // Writing to a string does not fail.
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

/// The opposite of [`query_escaped`].
pub(super) fn query_unescaped(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        match first {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digit = |n: usize| after.get(n).and_then(|b| char::from(*b).to_digit(16));
                let (Some(high), Some(low)) = (digit(0), digit(1)) else {
                    let wrong = [b"%", &after[..after.len().min(2)]].concat();
                    let wrong = String::from_utf8_lossy(&wrong).into_owned();
                    return Err(format!("invalid URL escape {}", super::quoted(&wrong)));
                };
                bytes.push(u8::try_from(high * 16 + low).unwrap_or(0));
                rest = &after[2..];
            }
            byte => bytes.push(*byte),
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The alphabet that needs no escaping in an address.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// RFC 4648, section 5, filled up with `=`.
pub(super) fn base64(text: &str) -> String {
    let mut out = String::with_capacity(text.len().div_ceil(3) * 4);
    for chunk in text.as_bytes().chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - chunk.len()));
        for n in 0..4 {
            out.push(match n <= chunk.len() {
                true => char::from(ALPHABET[(bits >> (18 - 6 * n) & 63) as usize]),
                false => '=',
            });
        }
    }
    out
}

/// The opposite of [`base64`]; line feeds are skipped.
pub(super) fn unbase64(text: &str) -> Result<String, String> {
    let digits: Vec<(usize, u8)> =
        text.bytes().enumerate().filter(|(_, b)| !matches!(b, b'\r' | b'\n')).collect();
    let wrong = |at: usize| format!("illegal base64 data at input byte {at}");
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3);
    for (n, chunk) in digits.chunks(4).enumerate() {
        let last = (n + 1) * 4 >= digits.len();
        let filled = chunk.iter().take_while(|(_, byte)| *byte != b'=').count();
        if chunk.len() < 4 || filled < 2 || (filled < 4 && !last) {
            return Err(wrong(chunk.get(filled).map_or(text.len(), |(at, _)| *at)));
        }
        let mut bits = 0;
        for (at, byte) in &chunk[..filled] {
            let value = ALPHABET.iter().position(|a| a == byte).ok_or_else(|| wrong(*at))?;
            bits = bits << 6 | value as u32;
        }
        if let Some((at, _)) = chunk[filled..].iter().find(|(_, byte)| *byte != b'=') {
            return Err(wrong(*at));
        }
        let bits = bits << (6 * (4 - filled));
        bytes.extend_from_slice(&bits.to_be_bytes()[1..filled]);
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_what_is_special() {
        assert_eq!(html_escaped("<a b='\"'>&\0"), "&lt;a b=&#39;&#34;&#39;&gt;&amp;\u{fffd}");
        assert_eq!(
            js_escaped("a'\"\\<b>&=\né\u{2028}"),
            "a\\'\\\"\\\\\\u003Cb\\u003E\\u0026\\u003D\\u000Aé\\u2028"
        );
        assert_eq!(query_escaped("a b&c=é/~"), "a+b%26c%3D%C3%A9%2F~");
    }

    #[test]
    fn reads_what_was_escaped() {
        let check = |text: &str, expected: Result<&str, &str>| {
            let expected = expected.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(query_unescaped(text), expected, "{text}");
        };
        check("a+b%26%C3%A9", Ok("a b&é"));
        check("%zz", Err("invalid URL escape \"%zz\""));
        check("a%1", Err("invalid URL escape \"%1\""));
        check("%é", Err("invalid URL escape \"%é\""));
    }

    #[test]
    fn base64_there_and_back() {
        for (text, encoded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("flush>>", "Zmx1c2g-Pg==")]
        {
            assert_eq!(base64(text), encoded);
            assert_eq!(unbase64(encoded).as_deref(), Ok(text));
        }
        for wrong in ["Zg", "Zg=", "=", "Zg==Zg==", "Z+==", "Zg=a", "é"] {
            assert!(unbase64(wrong).is_err(), "{wrong}");
        }
    }
}
