//! When a test begins, and in which zone its times are told.
//!
//! Invariant: a local time that a zone does not have, or has twice, is a fault, never a guess.

use base::period::Period;
use base::sample::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// The beginning of a test.
#[derive(Clone, Debug)]
pub(super) struct Start {
    /// When.
    pub(super) at: Timestamp,
    /// The zone in which it was written, where one was.
    zone: Option<TimeZone>,
}

impl Default for Start {
    fn default() -> Self {
        Self { at: Timestamp::from_millis(0), zone: None }
    }
}

impl Start {
    /// Reads `2026-11-20 22:00 Europe/Paris`, a time of RFC 3339, or seconds since the Unix epoch.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Ok(seconds) = text.parse::<f64>() {
            if !seconds.is_finite() || seconds.abs() > 1e11 {
                return Err(format!("`{text}` is too far away"));
            }
            return Ok(Self { at: Timestamp::from_seconds(seconds), zone: None });
        }
        if let Ok(at) = text.parse::<jiff::Timestamp>() {
            return Ok(Self { at: Timestamp::from_millis(at.as_millisecond()), zone: None });
        }
        let malformed = || {
            format!(
                "`{text}` is not a time; write `2026-11-20 22:00 Europe/Paris`, \
                 `2026-11-20T21:00:00Z` or seconds since 1970"
            )
        };
        let (local, name) = text.rsplit_once(' ').ok_or_else(malformed)?;
        let local: DateTime = local.trim().parse().map_err(|_| malformed())?;
        let zone = TimeZone::get(name).map_err(|_| format!("`{name}` is not a time zone"))?;
        let at = zone.to_ambiguous_zoned(local).unambiguous().map_err(|_| {
            format!(
                "{name} has `{local}` not once: its clocks are changed then; write another time"
            )
        })?;
        let at = Timestamp::from_millis(at.timestamp().as_millisecond());
        Ok(Self { at, zone: Some(zone) })
    }

    /// A time as people read it: since the start, and on the clock of the zone where there is one.
    pub(super) fn tell(&self, at: Timestamp) -> String {
        let since = Period::from(at.since(self.at));
        let clock = self.zone.as_ref().and_then(|zone| {
            let at = jiff::Timestamp::from_millisecond(at.millis()).ok()?;
            Some(at.to_zoned(zone.clone()).strftime("%a %Y-%m-%d %H:%M:%S %Z").to_string())
        });
        match clock {
            Some(clock) => format!("{since} ({clock})"),
            None => since.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let got = match Start::read(text) {
            Ok(start) => {
                format!("{} {}", start.at, start.tell(start.at + Period::from_secs(90).duration()))
            }
            Err(error) => error,
        };
        assert_eq!(got, expected, "{text}");
    }

    #[test]
    fn reads_a_time_with_its_zone() {
        check("0", "0 1m30s");
        check("1609459200", "1609459200000 1m30s");
        check("2026-11-20T22:00:00+01:00", "1795208400000 1m30s");
        check("2026-11-20 22:00 Europe/Paris", "1795208400000 1m30s (Fri 2026-11-20 22:01:30 CET)");
        check("2026-11-20T22:00:00 UTC", "1795212000000 1m30s (Fri 2026-11-20 22:01:30 UTC)");
    }

    #[test]
    fn a_time_that_there_is_not_once_is_refused() {
        // F28: the night in which clocks go forward, and that in which they go back.
        check(
            "2026-03-29 02:30 Europe/Paris",
            "Europe/Paris has `2026-03-29T02:30:00` not once: its clocks are changed then; write another time",
        );
        check(
            "2026-10-25 02:30 Europe/Paris",
            "Europe/Paris has `2026-10-25T02:30:00` not once: its clocks are changed then; write another time",
        );
        check("2026-11-20 22:00 Mars", "`Mars` is not a time zone");
        let malformed = "is not a time; write `2026-11-20 22:00 Europe/Paris`, `2026-11-20T21:00:00Z` or seconds since 1970";
        check("tomorrow", &format!("`tomorrow` {malformed}"));
        check("1e300", "`1e300` is too far away");
    }
}
