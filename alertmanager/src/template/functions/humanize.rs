//! Numbers for people: with a prefix, as a length of time, as a percentage, as a date.
//!
//! Invariant: four significant digits, whatever the size of the number.

use base::number;

use super::super::error::Failure;
use super::super::print::{quoted, significant};
use super::super::time::Time;
use super::super::value::Value;

const BELOW_ONE: [&str; 8] = ["m", "u", "n", "p", "f", "a", "z", "y"];
const ABOVE_THOUSAND: [&str; 8] = ["k", "M", "G", "T", "P", "E", "Z", "Y"];
const ABOVE_1024: [&str; 8] = ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"];

/// The number that a value is or that its text is.
pub(super) fn float(value: &Value) -> Result<f64, Failure> {
    match value {
        Value::Float(value) => Ok(*value),
        Value::Int(value) => Ok(*value as f64),
        Value::Duration(nanos) => Ok(*nanos as f64 / 1e9),
        Value::Text(text) | Value::Safe(_, text) => {
            let wrong = |why: &str| {
                Failure::from(format!("strconv.ParseFloat: parsing {}: {why}", quoted(text)))
            };
            let float = number::parse(text).ok_or_else(|| wrong("invalid syntax"))?;
            let digits = text.contains(|c: char| c.is_ascii_digit());
            if float.is_infinite() && digits { Err(wrong("value out of range")) } else { Ok(float) }
        }
        other => Err(format!("can't convert {} to float", other.type_name()).into()),
    }
}

/// `1234567` as `1.235M`, `0.12` as `120m`.
pub(super) fn humanize(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        significant(value, 4)
    } else if value.abs() >= 1.0 {
        scaled(value, &ABOVE_THOUSAND, 1000.0)
    } else {
        small(value)
    }
}

/// `1048576` as `1Mi`.
pub(super) fn humanize1024(value: f64) -> String {
    if value.abs() <= 1.0 || !value.is_finite() {
        significant(value, 4)
    } else {
        scaled(value, &ABOVE_1024, 1024.0)
    }
}

fn scaled(mut value: f64, prefixes: &[&'static str], base: f64) -> String {
    let mut shown = "";
    for prefix in prefixes {
        if value.abs() < base {
            break;
        }
        shown = prefix;
        value /= base;
    }
    format!("{}{shown}", significant(value, 4))
}

fn small(mut value: f64) -> String {
    let mut shown = "";
    for prefix in BELOW_ONE {
        if value.abs() >= 1.0 {
            break;
        }
        shown = prefix;
        value *= 1000.0;
    }
    format!("{}{shown}", significant(value, 4))
}

/// Seconds as `1d 2h 3m 4s`, `1.234s` or `100ms`.
pub(super) fn humanize_duration(value: f64) -> String {
    if !value.is_finite() {
        return significant(value, 4);
    }
    if value == 0.0 {
        return format!("{}s", significant(value, 4));
    }
    if value.abs() < 1.0 {
        return format!("{}s", small(value));
    }
    let sign = if value < 0.0 { "-" } else { "" };
    let whole = value.abs() as i64;
    let (days, hours) = (whole / 86_400, whole / 3600 % 24);
    let (minutes, seconds) = (whole / 60 % 60, whole % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{sign}{}s", significant(value.abs(), 4)),
        (0, 0, _) => format!("{sign}{minutes}m {seconds}s"),
        (0, ..) => format!("{sign}{hours}h {minutes}m {seconds}s"),
        _ => format!("{sign}{days}d {hours}h {minutes}m {seconds}s"),
    }
}

/// A share as `12.35%`.
pub(super) fn humanize_percentage(value: f64) -> String {
    format!("{}%", significant(value * 100.0, 4))
}

/// Seconds since the epoch as a date in UTC.
pub(super) fn humanize_timestamp(value: f64) -> Result<String, Failure> {
    if value.is_finite() { Ok(time(value)?.to_string()) } else { Ok(significant(value, 4)) }
}

/// Seconds since the epoch as a time, in whole milliseconds.
pub(super) fn time(value: f64) -> Result<Time, Failure> {
    if !value.is_finite() {
        return Err("value is NaN or Inf".into());
    }
    let nanos = value * 1e9;
    let limit = 9_223_372_036_854_775_808.0;
    if !(-limit..=limit).contains(&nanos) {
        return Err(format!(
            "{} cannot be represented as a nanoseconds timestamp since it overflows int64",
            number::shortest(value)
        )
        .into());
    }
    Ok(Time::from_nanos(i128::from(nanos as i64 / 1_000_000) * 1_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_to_what_people_read() {
        let check = |value: f64, thousand: &str, binary: &str, duration: &str| {
            let got = (humanize(value), humanize1024(value), humanize_duration(value));
            let got = (got.0.as_str(), got.1.as_str(), got.2.as_str());
            assert_eq!(got, (thousand, binary, duration), "{value}");
        };
        check(0.0, "0", "0", "0s");
        check(1.0, "1", "1", "1s");
        check(-0.001, "-1m", "-0.001", "-1ms");
        check(1_234_567.0, "1.235M", "1.177Mi", "14d 6h 56m 7s");
        check(-90.5, "-90.5", "-90.5", "-1m 30s");
        check(1e30, "1e+06Y", "8.272e+05Yi", "106751991167300d 15h 30m 7s");
        check(1e-30, "1e-06y", "1e-30", "1e-06ys");
        check(f64::NAN, "NaN", "NaN", "NaN");
        check(59.999, "60", "60", "60s");
    }

    #[test]
    fn reads_numbers_from_texts() {
        let check = |text: &str, expected: Result<f64, &str>| {
            let got = float(&text.into()).map_err(|failure| format!("{failure:?}"));
            match (got, expected) {
                (Ok(got), Ok(expected)) => assert_eq!(got, expected, "{text}"),
                (Err(got), Err(expected)) => assert!(got.contains(expected), "{text}: {got}"),
                (got, expected) => panic!("{text}: {got:?}, not {expected:?}"),
            }
        };
        check("1.5", Ok(1.5));
        check("-Inf", Ok(f64::NEG_INFINITY));
        check("1e999", Err("value out of range"));
        check("", Err("invalid syntax"));
        check(" 1", Err("invalid syntax"));
        assert!(float(&Value::Nil).is_err());
    }
}
