//! Times and lengths of time as parameters and command lines write them: seconds with fractions, RFC 3339, `5m`.
//!
//! Invariant: what is out of the range of our times is refused, not cut off.

use std::time::Duration;

use base::period::Period;
use base::sample::Timestamp;

/// A point in time.
///
/// # Errors
///
/// What is wrong with the text.
pub fn parse_time(text: &str) -> Result<Timestamp, String> {
    if let Ok(seconds) = text.parse::<f64>() {
        let millis = seconds * 1000.0;
        if millis.is_finite() && millis.abs() < i64::MAX as f64 / 2.0 {
            return Ok(Timestamp::from_seconds(seconds));
        }
    } else if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Ok(Timestamp::from_millis(at.as_millisecond()));
    }
    Err(format!("cannot parse {text:?} to a valid timestamp"))
}

/// A length of time.
///
/// # Errors
///
/// What is wrong with the text.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<f64>() {
        if (0.0..=1e9).contains(&seconds) {
            return Ok(Duration::from_secs_f64(seconds));
        }
    } else if let Ok(period) = text.parse::<Period>() {
        return Ok(period.duration());
    }
    Err(format!("cannot parse {text:?} to a valid duration"))
}

/// For people, to the minute: `2024-01-31 09:15 UTC`.
pub fn print_minute(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.millis())
        .map_or_else(|_| at.to_string(), |at| at.strftime("%Y-%m-%d %H:%M UTC").to_string())
}

/// RFC 3339, in UTC.
pub fn print_time(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.millis())
        .map_or_else(|_| at.to_string(), |at| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_times_and_durations() {
        let time = |text: &str| parse_time(text).map(Timestamp::millis).ok();
        assert_eq!(time("1435781430.781"), Some(1_435_781_430_781));
        assert_eq!(time("2015-07-01T20:10:30.781Z"), Some(1_435_781_430_781));
        assert_eq!(time("2015-07-01T22:10:30.781+02:00"), Some(1_435_781_430_781));
        for bad in ["", "now", "1e300", "NaN", "+Inf"] {
            assert_eq!(time(bad), None, "{bad}");
        }
        let duration = |text: &str| parse_duration(text).map(|d| d.as_millis()).ok();
        assert_eq!(duration("15"), Some(15_000));
        assert_eq!(duration("0.5"), Some(500));
        assert_eq!(duration("1m30s"), Some(90_000));
        for bad in ["", "-1", "1x", "1e300", "NaN"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }
}
