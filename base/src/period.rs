//! Lengths of time as configuration files and PromQL write them: `30s`, `1h30m`, `2w`.
//!
//! Invariant: what prints can be read back and is the same length.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

/// A length of time in whole milliseconds, never negative.
///
/// The notation is Prometheus's: units `y w d h m s ms` from long to short, each at most once; a
/// day has 24 hours and a year 365 days. `0` needs no unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Period(u64);

const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// The longest period, about 292 years: what fits Prometheus's nanoseconds.
const MAX_MILLIS: u64 = i64::MAX as u64 / 1_000_000;

impl Period {
    /// A period of `millis` milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// A period of `seconds` seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds * 1000)
    }

    /// Its length in milliseconds.
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// Whether it has no length.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The same length for the standard library.
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl From<Duration> for Period {
    /// The length in whole milliseconds, what is over is dropped.
    fn from(duration: Duration) -> Self {
        Self(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }
}

/// Why a text is no period.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParsePeriodError {
    /// The text does not follow the notation.
    #[error("`{0}` is not a period; write it like `30s`, `5m` or `1h30m`")]
    Malformed(String),
    /// The length is over 292 years.
    #[error("`{0}` is too long a period")]
    TooLong(String),
}

impl FromStr for Period {
    type Err = ParsePeriodError;

    fn from_str(text: &str) -> Result<Self, ParsePeriodError> {
        let malformed = || ParsePeriodError::Malformed(text.to_owned());
        let too_long = || ParsePeriodError::TooLong(text.to_owned());
        if text == "0" {
            return Ok(Self(0));
        }
        let (mut rest, mut total, mut next_unit) = (text, 0_u64, 0);
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let letters = rest[digits..].bytes().take_while(u8::is_ascii_alphabetic).count();
            if digits == 0 || letters == 0 {
                return Err(malformed());
            }
            let unit = &rest[digits..digits + letters];
            let at = UNITS[next_unit..]
                .iter()
                .position(|(name, _)| *name == unit)
                .ok_or_else(malformed)?
                + next_unit;
            let number: u64 = rest[..digits].parse().map_err(|_| too_long())?;
            total = number
                .checked_mul(UNITS[at].1)
                .and_then(|millis| total.checked_add(millis))
                .filter(|millis| *millis <= MAX_MILLIS)
                .ok_or_else(too_long)?;
            next_unit = at + 1;
            rest = &rest[digits + letters..];
        }
        if next_unit == 0 { Err(malformed()) } else { Ok(Self(total)) }
    }
}

/// Prints the shortest form: units from long to short, years and weeks only where nothing is over.
impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.0;
        for (name, millis) in UNITS {
            let exact_only = matches!(name, "y" | "w");
            if exact_only && !rest.is_multiple_of(millis) {
                continue;
            }
            if rest >= millis {
                write!(f, "{}{name}", rest / millis)?;
                rest %= millis;
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, printed: &str) {
        let result = text.parse::<Period>();
        let got = result.map_or_else(|error| error.to_string(), |period| period.to_string());
        assert_eq!(got, printed, "{text}");
    }

    #[test]
    fn reads_and_prints() {
        check("0", "0s");
        check("0s", "0s");
        check("324ms", "324ms");
        check("90s", "1m30s");
        check("1h30m", "1h30m");
        check("14d", "2w");
        check("15d", "15d");
        check("10y", "10y");
        check("366d", "366d");
        check("1y2w3d4h5m6s7ms", "382d4h5m6s7ms");
    }

    #[test]
    fn refuses_what_is_no_period() {
        let malformed = |text: &str| {
            check(text, &format!("`{text}` is not a period; write it like `30s`, `5m` or `1h30m`"));
        };
        for text in ["", "5", "s", "-3s", "1.5d", "1m1h", "1s1s", "1y1m1d", "1 s", "1S", "10µs"] {
            malformed(text);
        }
        check("294y", "`294y` is too long a period");
        check("99999999999999999999s", "`99999999999999999999s` is too long a period");
    }
}
