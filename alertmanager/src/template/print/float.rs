//! Floats with a given number of digits, as the verbs `%e`, `%f` and `%g` print them.
//!
//! Invariant: rounding is that of the exact binary value, halves to even.

use base::number;

/// Beyond that many digits every float is exact, and zeros follow.
const EXACT: usize = 1100;

/// `value` without its sign; `None` for what is no finite number.
pub(super) fn digits(value: f64, verb: char, precision: Option<usize>) -> Option<String> {
    if !value.is_finite() {
        return None;
    }
    let value = value.abs();
    Some(match (verb, precision) {
        ('f' | 'F', precision) => {
            let precision = precision.unwrap_or(6);
            let mut text = format!("{value:.*}", precision.min(EXACT));
            text.extend(std::iter::repeat_n('0', precision.saturating_sub(EXACT)));
            text
        }
        ('e' | 'E', precision) => {
            let (digits, exponent) = rounded(value, precision.unwrap_or(6));
            cased(scientific(&digits, exponent), verb)
        }
        ('g' | 'G', Some(precision)) => {
            let precision = precision.max(1);
            let (digits, exponent) = rounded(value, precision - 1);
            let digits = match digits.trim_end_matches('0') {
                "" => "0",
                digits => digits,
            };
            if exponent < -4 || exponent >= i32::try_from(precision).unwrap_or(i32::MAX) {
                cased(scientific(digits, exponent), verb)
            } else {
                plain(digits, exponent)
            }
        }
        _ => cased(number::shortest(value), verb),
    })
}

/// `value` with at most `digits` significant digits, as `%.4g` prints it.
pub(in super::super) fn significant(value: f64, digits: usize) -> String {
    match self::digits(value, 'g', Some(digits)) {
        Some(text) if value.is_sign_negative() => format!("-{text}"),
        Some(text) => text,
        None => number::shortest(value),
    }
}

/// The digits of `d.ddd` with `places` after the point, and the power of ten that it is times.
fn rounded(value: f64, places: usize) -> (String, i32) {
    let text = format!("{value:.*e}", places.min(EXACT));
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let mut digits = mantissa.replace('.', "");
    digits.extend(std::iter::repeat_n('0', places.saturating_sub(EXACT)));
    (digits, exponent.parse().unwrap_or(0))
}

fn scientific(digits: &str, exponent: i32) -> String {
    let (first, rest) = digits.split_at(1);
    let point = if rest.is_empty() { "" } else { "." };
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{first}{point}{rest}e{sign}{:02}", exponent.unsigned_abs())
}

fn plain(digits: &str, exponent: i32) -> String {
    let zeros = |count: usize| "0".repeat(count);
    let Ok(whole) = usize::try_from(exponent + 1) else {
        return format!("0.{}{digits}", zeros((-exponent - 1).unsigned_abs() as usize));
    };
    match digits.len() {
        _ if whole == 0 => format!("0.{digits}"),
        count if count <= whole => format!("{digits}{}", zeros(whole - count)),
        _ => format!("{}.{}", &digits[..whole], &digits[whole..]),
    }
}

fn cased(text: String, verb: char) -> String {
    if verb.is_ascii_uppercase() { text.to_ascii_uppercase() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: f64, verb: char, precision: Option<usize>, expected: &str) {
        assert_eq!(
            digits(value, verb, precision).unwrap(),
            expected,
            "{value} %{precision:?}{verb}"
        );
    }

    #[test]
    fn prints_with_a_precision() {
        check(1.0, 'f', None, "1.000000");
        check(2.5, 'f', Some(0), "2");
        check(3.5, 'f', Some(0), "4");
        check(0.125, 'f', Some(2), "0.12");
        check(1_234.567_8, 'e', Some(3), "1.235e+03");
        check(0.0, 'e', Some(2), "0.00e+00");
        check(1e-7, 'E', Some(0), "1E-07");
        check(1_234_567.0, 'g', Some(4), "1.235e+06");
        check(1000.0, 'g', Some(4), "1000");
        check(10_000.0, 'g', Some(4), "1e+04");
        check(9999.9, 'g', Some(4), "1e+04");
        check(0.000_123_45, 'g', Some(3), "0.000123");
        check(0.000_012_345, 'g', Some(3), "1.23e-05");
        check(0.12, 'g', Some(4), "0.12");
        check(0.0, 'g', Some(4), "0");
        check(100.0, 'g', Some(0), "1e+02");
        check(1e21, 'g', None, "1e+21");
        check(0.1, 'f', Some(1200), &(format!("{:.1100}", 0.1) + &"0".repeat(100)));
    }

    #[test]
    fn significant_digits_keep_the_sign() {
        let check = |value: f64, expected: &str| assert_eq!(significant(value, 4), expected);
        check(-0.222_22, "-0.2222");
        check(f64::NEG_INFINITY, "-Inf");
        check(f64::NAN, "NaN");
        check(-0.0, "-0");
        check(123.456, "123.5");
    }
}
