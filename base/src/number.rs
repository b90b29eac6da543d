//! Floats printed as Go prints them: the texts that ours are compared with (exposition, templates,
//! the query API) were all printed by Go.
//!
//! And sizes as configuration files write them, and how many there are of something.
//!
//! Invariant: the digits are the fewest that read back as the same float.

use std::fmt::Write as _;

/// A number of things whose name takes an `s`: `1 check`, `2 checks`.
pub fn counted(count: usize, name: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {name}{ending}")
}

/// The longest that a float is written with its shortest digits.
const MOST_DIGITS: usize = 24;

/// The decimal digits of a finite float and where the point stands: `0.d1d2d3... * 10^point`.
struct Digits {
    negative: bool,
    digits: [u8; MOST_DIGITS],
    count: usize,
    point: i32,
}

impl Digits {
    fn of(value: f64) -> Self {
        let mut buffer = zmij::Buffer::new();
        let text = buffer.format_finite(value.abs());
        let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
        let exponent: i32 = exponent.parse().unwrap_or(0);
        let whole = mantissa.find('.').unwrap_or(mantissa.len());
        let (mut digits, mut count, mut leading) = ([b'0'; MOST_DIGITS], 0, 0);
        for digit in mantissa.bytes().filter(u8::is_ascii_digit) {
            match digits.get_mut(count) {
                _ if digit == b'0' && count == 0 => leading += 1,
                Some(place) => {
                    *place = digit;
                    count += 1;
                }
                None => break,
            }
        }
        while count > 0 && digits[count - 1] == b'0' {
            count -= 1;
        }
        let point = if count == 0 { 1 } else { whole as i32 - leading + exponent };
        Self { negative: value.is_sign_negative(), digits, count: count.max(1), point }
    }

    fn digits(&self) -> &str {
        std::str::from_utf8(&self.digits[..self.count]).unwrap_or_default()
    }

    fn sign(&self) -> &'static str {
        if self.negative { "-" } else { "" }
    }

    /// Without an exponent.
    fn plain(&self, out: &mut String) {
        out.push_str(self.sign());
        let digits = self.digits();
        let count = digits.len() as i32;
        if self.point <= 0 {
            out.push_str("0.");
            out.extend(std::iter::repeat_n('0', self.point.unsigned_abs() as usize));
            out.push_str(digits);
        } else if self.point >= count {
            out.push_str(digits);
            out.extend(std::iter::repeat_n('0', (self.point - count) as usize));
        } else {
            out.push_str(&digits[..self.point as usize]);
            out.push('.');
            out.push_str(&digits[self.point as usize..]);
        }
    }

    /// With an exponent of at least two digits.
    fn scientific(&self, out: &mut String) {
        out.push_str(self.sign());
        let (first, rest) = self.digits().split_at(1);
        out.push_str(first);
        if !rest.is_empty() {
            out.push('.');
            out.push_str(rest);
        }
        let exponent = self.point - 1;
        let sign = if exponent < 0 { '-' } else { '+' };
        // Writing to a string does not fail.
        let _ = write!(out, "e{sign}{:02}", exponent.unsigned_abs());
    }
}

fn special(value: f64) -> Option<&'static str> {
    if value.is_nan() {
        Some("NaN")
    } else if value == f64::INFINITY {
        Some("+Inf")
    } else if value == f64::NEG_INFINITY {
        Some("-Inf")
    } else {
        None
    }
}

/// Whole numbers below this are their own shortest digits.
const WHOLE: f64 = 1e15;
/// From here on up to [`WHOLE`] the digits are had without an exponent.
const SMALLEST_WITHOUT_EXPONENT: f64 = 1e-5;

/// Appends a number between these bounds; says whether it is one.
#[inline]
fn push_between(out: &mut String, value: f64, least: f64, most: f64) -> bool {
    let size = value.abs();
    let whole = value as i64;
    if size < most && whole as f64 == value && (whole != 0 || value.is_sign_positive()) {
        out.push_str(itoa::Buffer::new().format(whole));
        return true;
    }
    let is_between = least <= size && size < most;
    if is_between {
        out.push_str(zmij::Buffer::new().format_finite(value));
    }
    is_between
}

/// Appends `value` as `strconv.FormatFloat(value, 'g', -1, 64)` prints it: `42`, `0.5`, `1e+06`.
pub fn push_shortest(out: &mut String, value: f64) {
    if push_between(out, value, 1e-4, 1e6) {
        return;
    }
    match special(value) {
        Some(text) => out.push_str(text),
        None => {
            let digits = Digits::of(value);
            let exponent = digits.point - 1;
            if (-4..6).contains(&exponent) { digits.plain(out) } else { digits.scientific(out) }
        }
    }
}

/// `value` as `strconv.FormatFloat(value, 'g', -1, 64)` prints it.
pub fn shortest(value: f64) -> String {
    let mut out = String::new();
    push_shortest(&mut out, value);
    out
}

/// Appends `value` as `strconv.FormatFloat(value, 'f', -1, 64)` prints it: never with an exponent.
pub fn push_plain(out: &mut String, value: f64) {
    if push_between(out, value, SMALLEST_WITHOUT_EXPONENT, WHOLE) {
        return;
    }
    match special(value) {
        Some(text) => out.push_str(text),
        None => Digits::of(value).plain(out),
    }
}

/// `value` as `strconv.FormatFloat(value, 'f', -1, 64)` prints it: never with an exponent.
pub fn plain(value: f64) -> String {
    let mut out = String::new();
    push_plain(&mut out, value);
    out
}

/// Reads a number as Go does: decimals, and hexadecimals with or without a binary exponent
/// (`0x1p-3`).
pub fn parse(text: &str) -> Option<f64> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1.0, &text[1..]),
        b'+' => (1.0, &text[1..]),
        _ => (1.0, text),
    };
    let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) else {
        return text.parse().ok();
    };
    let (mantissa, exponent) = hex.split_once(['p', 'P']).unwrap_or((hex, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut value = 0.0;
    for c in whole.chars().chain(fraction.chars()) {
        value = value * 16.0 + f64::from(c.to_digit(16)?);
    }
    let exponent = exponent.parse::<i32>().ok()?.checked_sub(4 * fraction.len() as i32)?;
    Some(sign * value * 2_f64.powi(exponent))
}

/// Reads `10MB`, `512KiB`, `0`: units as Prometheus has them, in powers of 1024.
pub fn parse_size(text: &str) -> Option<usize> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: usize = text[..digits].parse().ok()?;
    let shift = match &text[digits..] {
        "" if number == 0 => 0,
        "B" => 0,
        "KB" | "KiB" => 10,
        "MB" | "MiB" => 20,
        "GB" | "GiB" => 30,
        "TB" | "TiB" => 40,
        _ => return None,
    };
    number.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_in_words() {
        let told = [0, 1, 2].map(|count| counted(count, "rule"));
        assert_eq!(told, ["0 rules", "1 rule", "2 rules"]);
    }

    #[track_caller]
    fn check(value: f64, short: &str, long: &str) {
        assert_eq!((shortest(value).as_str(), plain(value).as_str()), (short, long));
    }

    #[test]
    fn prints_what_go_prints() {
        check(0.0, "0", "0");
        check(-0.0, "-0", "-0");
        check(42.0, "42", "42");
        check(-17.0, "-17", "-17");
        check(0.23, "0.23", "0.23");
        check(999_999.0, "999999", "999999");
        check(1e6, "1e+06", "1000000");
        check(1_234_567.0, "1.234567e+06", "1234567");
        check(1_756_047.3, "1.7560473e+06", "1756047.3");
        check(3.14e42, "3.14e+42", &format!("314{}", "0".repeat(40)));
        check(-1.23e-45, "-1.23e-45", &format!("-0.{}123", "0".repeat(44)));
        check(0.0001, "0.0001", "0.0001");
        check(0.00001, "1e-05", "0.00001");
        check(5e-324, "5e-324", &format!("0.{}5", "0".repeat(323)));
        check(123_456.789, "123456.789", "123456.789");
        check(0.000_099_999, "9.9999e-05", "0.000099999");
        check(0.000_009_999, "9.999e-06", "0.000009999");
        check(999_999.5, "999999.5", "999999.5");
        check(1_000_000.5, "1.0000005e+06", "1000000.5");
        check(-123_456_789_012_345.0, "-1.23456789012345e+14", "-123456789012345");
        check(1e15, "1e+15", "1000000000000000");
        check(1e15 + 0.5, "1.0000000000000005e+15", "1000000000000000.5");
        check(9_007_199_254_740_992.0, "9.007199254740992e+15", "9007199254740992");
        check(1e16, "1e+16", "10000000000000000");
        check(9_223_372_036_854_775_808.0, "9.223372036854776e+18", "9223372036854776000");
        check(
            f64::MAX,
            "1.7976931348623157e+308",
            &format!("17976931348623157{}", "0".repeat(292)),
        );
        check(f64::NAN, "NaN", "NaN");
        check(f64::INFINITY, "+Inf", "+Inf");
        check(f64::NEG_INFINITY, "-Inf", "-Inf");
    }

    #[test]
    fn what_is_written_at_once_is_what_its_digits_say() {
        let slowly = |value: f64| {
            let (digits, [mut short, mut long]) =
                (Digits::of(value), [String::new(), String::new()]);
            digits.plain(&mut long);
            match digits.point - 1 {
                -4..6 => digits.plain(&mut short),
                _ => digits.scientific(&mut short),
            }
            (short, long)
        };
        let mut bits = 0x9e37_79b9_7f4a_7c15_u64;
        for n in 0..200_000 {
            bits ^= bits << 13;
            bits ^= bits >> 7;
            bits ^= bits << 17;
            let around_one = f64::from_bits(bits >> 12 | 0x3ff << 52);
            let anything = around_one * 10_f64.powi(n % 44 - 22);
            for value in [anything, -anything, anything.round(), (anything * 1e3).round() / 1e3] {
                let (short, long) = slowly(value);
                check(value, &short, &long);
                assert_eq!(long.parse(), Ok(value));
            }
        }
    }

    #[test]
    fn reads_what_go_reads() {
        let check = |text: &str, expected: Option<f64>| assert_eq!(parse(text), expected, "{text}");
        check("1.5e3", Some(1500.0));
        check("-Inf", Some(f64::NEG_INFINITY));
        check("0x1f", Some(31.0));
        check("-0x1p-3", Some(-0.125));
        check("0X1.8P1", Some(3.0));
        check("0x", None);
        check("0x1p", None);
        check("", None);
        check("1_000", None);
    }

    #[test]
    fn reads_sizes() {
        let check = |text: &str, expected| assert_eq!(parse_size(text), expected, "{text}");
        check("0", Some(0));
        check("10MB", Some(10 << 20));
        check("1KiB", Some(1024));
        check("100", None);
        check("MB", None);
        check("99999999999999TB", None);
    }
}
