//! Threshold ranges as the Nagios plugin guidelines define them: `10`, `10:`, `~:10`, `10:20`,
//! `@10:20`.
//!
//! Invariant: the start is never above the end; both ends belong to the range.

use std::fmt;
use std::str::FromStr;

use crate::outcome::Status;

/// For which values to raise an alert: those outside of it, or with `@` those inside.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    start: f64,
    end: f64,
    inside: bool,
}

/// Why a text is no range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a range; write it like `10`, `10:`, `~:10`, `10:20` or `@10:20`")]
pub struct ParseRangeError(String);

impl Range {
    /// The lower end, negative infinity for none.
    pub fn start(&self) -> f64 {
        self.start
    }

    /// The upper end, infinity for none.
    pub fn end(&self) -> f64 {
        self.end
    }

    /// Whether the values inside raise the alert.
    pub fn inside(&self) -> bool {
        self.inside
    }

    /// Whether `value` raises the alert. What is not a number lies in no range.
    pub fn alerts(&self, value: f64) -> bool {
        (self.start..=self.end).contains(&value) == self.inside
    }

    /// The upper end where the range is written as one number: the form that can be drawn as a
    /// line.
    pub fn as_limit(&self) -> Option<f64> {
        (self.start == 0.0 && self.end.is_finite() && !self.inside).then_some(self.end)
    }

    /// Judges `value` by both thresholds, critical first.
    pub fn judge(value: f64, warning: Option<&Self>, critical: Option<&Self>) -> Status {
        if critical.is_some_and(|range| range.alerts(value)) {
            Status::Critical
        } else if warning.is_some_and(|range| range.alerts(value)) {
            Status::Warning
        } else {
            Status::Ok
        }
    }
}

impl FromStr for Range {
    type Err = ParseRangeError;

    fn from_str(text: &str) -> Result<Self, ParseRangeError> {
        let error = || ParseRangeError(text.to_owned());
        let (inside, bounds) = match text.strip_prefix('@') {
            Some(bounds) => (true, bounds),
            None => (false, text),
        };
        let number = |text: &str| match text.parse::<f64>() {
            // `inf` and `nan` are numbers to Rust, but not in the guidelines.
            Ok(number) if number.is_finite() => Ok(number),
            _ => Err(error()),
        };
        let (start, end) = match bounds.split_once(':') {
            None => (0.0, number(bounds)?),
            Some((start, end)) => {
                let start = if start == "~" { f64::NEG_INFINITY } else { number(start)? };
                (start, if end.is_empty() { f64::INFINITY } else { number(end)? })
            }
        };
        if start <= end { Ok(Self { start, end, inside }) } else { Err(error()) }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.inside {
            f.write_str("@")?;
        }
        match self.start {
            start if start == f64::NEG_INFINITY => f.write_str("~:")?,
            0.0 if self.end.is_finite() => {}
            start => write!(f, "{start}:")?,
        }
        if self.end.is_finite() { write!(f, "{}", self.end) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, alerting: &[f64], silent: &[f64]) {
        let range: Range = text.parse().unwrap();
        assert!(
            alerting.iter().all(|value| range.alerts(*value)),
            "{text} alerts for {alerting:?}"
        );
        assert!(!silent.iter().any(|value| range.alerts(*value)), "{text} is silent at {silent:?}");
        assert_eq!(range.to_string().parse::<Range>().unwrap(), range, "{range}");
    }

    #[test]
    fn alerts_outside_or_with_an_at_sign_inside() {
        check("10", &[-1.0, 10.5], &[0.0, 10.0]);
        check("10:", &[9.9], &[10.0, 1e9]);
        check("~:10", &[10.1], &[-1e9, 10.0]);
        check("-5:-1", &[-6.0, 0.0], &[-5.0, -1.0]);
        check("@10:20", &[10.0, 20.0], &[9.0, 21.0]);
        check("~:", &[], &[-1e9, 1e9]);
    }

    #[test]
    fn what_is_not_a_number_is_outside() {
        check("0:10", &[f64::NAN], &[]);
        check("@0:10", &[], &[f64::NAN]);
    }

    #[test]
    fn refuses_what_is_no_range() {
        for text in ["", ":", "@", "20:10", "1:2:3", "10:abc", "10 : 20", "inf", "~", "nan:", ":5"]
        {
            assert!(text.parse::<Range>().is_err(), "{text}");
        }
    }

    #[test]
    fn only_a_plain_number_is_a_limit() {
        let limit = |text: &str| text.parse::<Range>().unwrap().as_limit();
        assert_eq!(limit("10"), Some(10.0));
        assert_eq!(limit("10:"), None);
        assert_eq!(limit("@10"), None);
        assert_eq!(limit("~:10"), None);
    }
}
