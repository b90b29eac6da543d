//! Taking the kernel's texts apart: lines, fields and numbers, without a copy.
//!
//! Invariant: every function takes any bytes.

use std::borrow::Cow;

/// The lines, without their ends; a last one that is empty is none.
pub(super) fn lines(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        let line = &rest[..end];
        rest = rest.get(end + 1..).unwrap_or_default();
        Some(line)
    })
}

/// The parts between blanks.
pub(super) fn fields(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| matches!(byte, b' ' | b'\t' | b'\n')).filter(|field| !field.is_empty())
}

/// What stands before and after the first `separator`, without blanks around.
pub(super) fn split(line: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(separator, line)?;
    Some((line[..at].trim_ascii(), line[at + 1..].trim_ascii()))
}

/// A number without sign and fraction.
pub(super) fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |value, byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// A number with a sign perhaps, as a metric's value.
pub(super) fn value(digits: &[u8]) -> Option<f64> {
    match digits {
        [b'-', digits @ ..] => number(digits).map(|value| -(value as f64)),
        digits => number(digits).map(|value| value as f64),
    }
}

/// A number in base 16, with `0x` or without.
pub(super) fn hexadecimal(digits: &[u8]) -> Option<u64> {
    let digits = digits.strip_prefix(b"0x").unwrap_or(digits);
    // The standard library would accept a sign.
    if !digits.first()?.is_ascii_hexdigit() {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// A number with a fraction perhaps.
pub(super) fn float(digits: &[u8]) -> Option<f64> {
    std::str::from_utf8(digits).ok()?.parse().ok().filter(|value: &f64| value.is_finite())
}

/// The bytes as text; what is not UTF-8 is replaced, because labels are text.
pub(super) fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_with_the_text() {
        let check = |text: &str, expected: &[&str]| {
            let got: Vec<_> = lines(text.as_bytes()).map(text_of).collect();
            assert_eq!(got, expected, "{text:?}");
        };
        check("", &[]);
        check("a", &["a"]);
        check("a\n", &["a"]);
        check("a\n\nb\n", &["a", "", "b"]);
        check("\n", &[""]);
    }

    #[test]
    fn fields_are_what_stands_between_blanks() {
        let got: Vec<_> = fields(b"  eth0: 1\t22  x\n").map(text_of).collect();
        assert_eq!(got, ["eth0:", "1", "22", "x"]);
        assert_eq!(fields(b"  ").count(), 0);
        assert_eq!(split(b"cpu MHz\t: 800.0", b':'), Some((&b"cpu MHz"[..], &b"800.0"[..])));
        assert_eq!(split(b"power management:", b':'), Some((&b"power management"[..], &b""[..])));
        assert_eq!(split(b"no colon", b':'), None);
    }

    #[test]
    fn numbers_are_digits_and_nothing_else() {
        let check = |digits: &str, expected: Option<f64>| {
            assert_eq!(value(digits.as_bytes()), expected, "{digits}");
        };
        check("0", Some(0.0));
        check("18446744073709551615", Some(18_446_744_073_709_551_615.0));
        check("18446744073709551616", None);
        check("-1", Some(-1.0));
        check("", None);
        check("-", None);
        check("+1", None);
        check("1.5", None);
        check("1a", None);
        assert_eq!(hexadecimal(b"0x1003"), Some(0x1003));
        assert_eq!(hexadecimal(b"0000588a"), Some(0x588a));
        assert_eq!(hexadecimal(b"+1"), None);
        assert_eq!(hexadecimal(b"0x"), None);
        assert_eq!(float(b"0.21"), Some(0.21));
        assert_eq!(float(b"inf"), None);
        assert_eq!(float(b"\xff"), None);
    }

    fn text_of(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }
}
