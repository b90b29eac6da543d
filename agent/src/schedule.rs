//! When a check runs: every so often, or by the calendar.
//!
//! Invariant: what is next depends on the given time alone, so that a restart changes nothing.

use std::fmt;
use std::time::Duration;

use base::diagnostic::{Diagnostics, Spanned};
use base::sample::Timestamp;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;

/// When a check runs.
#[derive(Clone)]
pub enum Schedule {
    /// From the start of one run to the start of the next.
    Every {
        /// The distance, in whole milliseconds and not zero.
        interval: Duration,
        /// Where in the interval a run starts, counted from the Unix epoch.
        phase: Duration,
    },
    /// By the calendar of a time zone.
    Calendar {
        /// Minute, hour, day, month, weekday; boxed, as it is large and rare.
        cron: Box<Cron>,
        /// The zone.
        zone: TimeZone,
    },
}

/// Why a text is no calendar.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CalendarError {
    /// The text does not follow the notation.
    #[error("`{text}` is not a cron expression: {why}")]
    Malformed {
        /// The text.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// There is no such day.
    #[error("`{0}` never comes")]
    Never(String),
    /// There is no such time zone.
    #[error("`{0}` is not a time zone")]
    NoSuchZone(String),
}

impl Schedule {
    /// Every `interval`, spread over it by the check's name.
    pub fn every(interval: Duration, name: &str) -> Self {
        let millis = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX).max(1);
        let phase = Duration::from_millis(hash(name) % millis);
        Self::Every { interval: Duration::from_millis(millis), phase }
    }

    /// By a cron expression of five fields, in the time zone with the IANA name `zone`.
    ///
    /// # Errors
    ///
    /// [`CalendarError`].
    pub fn calendar(text: &str, zone: &str) -> Result<Self, CalendarError> {
        let zone = if zone == "UTC" {
            TimeZone::UTC
        } else {
            TimeZone::get(zone).map_err(|_| CalendarError::NoSuchZone(zone.to_owned()))?
        };
        let parser =
            CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = Box::new(parser.parse(text).map_err(|error| CalendarError::Malformed {
            text: text.to_owned(),
            why: error.to_string().to_lowercase().trim_end_matches('.').to_owned(),
        })?);
        let schedule = Self::Calendar { cron, zone };
        // Any day will do to find out; this one is the first of a leap year.
        let some_day = Timestamp::from_millis(1_704_067_200_000);
        match schedule.next_after(some_day) {
            Some(_) => Ok(schedule),
            None => Err(CalendarError::Never(text.to_owned())),
        }
    }

    /// The first start after `now`; none where the calendar has no more.
    pub fn next_after(&self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Every { interval, phase } => {
                let interval = i64::try_from(interval.as_millis()).ok()?;
                let since =
                    (now.millis() - i64::try_from(phase.as_millis()).ok()?).rem_euclid(interval);
                Some(Timestamp::from_millis(now.millis() + interval - since))
            }
            Self::Calendar { cron, zone } => {
                let now = jiff::Timestamp::from_millisecond(now.millis()).ok()?;
                let next = cron.find_next_occurrence(&now.to_zoned(zone.clone()), false).ok()?;
                Some(Timestamp::from_millis(next.timestamp().as_millisecond()))
            }
        }
    }
}

/// Reports why `cron`, in the time zone `zone`, is no calendar.
pub(crate) fn report(
    error: &CalendarError,
    cron: &Spanned<String>,
    zone: Option<&Spanned<String>>,
    diagnostics: &mut Diagnostics,
) {
    match error {
        CalendarError::NoSuchZone(_) => {
            let place = zone.map_or(cron.place, |zone| zone.place);
            let help = "write a name of the IANA list, such as `Europe/Paris`";
            diagnostics.report_with_help(place, error.to_string(), help);
        }
        CalendarError::Malformed { .. } => {
            let help = "write minute, hour, day, month and weekday, such as `30 6 * * MON-FRI`";
            diagnostics.report_with_help(cron, error.to_string(), help);
        }
        CalendarError::Never(_) => diagnostics.report(cron, error.to_string()),
    }
}

/// FNV-1a, the same in every run and on every machine.
fn hash(text: &str) -> u64 {
    let step = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every { interval, .. } => write!(f, "every {interval:?}"),
            Self::Calendar { cron, zone } => {
                write!(f, "at {} in {:?}", cron.as_str(), zone.iana_name())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        Timestamp::from_millis(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
    }

    #[test]
    fn starts_are_spread_and_stable() {
        let every = |name: &str| Schedule::every(Duration::from_secs(60), name);
        let at =
            |name: &str, now| every(name).next_after(Timestamp::from_millis(now)).unwrap().millis();
        let first = at("disk", 1_700_000_000_000);
        assert!(first > 1_700_000_000_000 && first <= 1_700_000_060_000);
        assert_eq!(at("disk", first - 1), first);
        assert_eq!(at("disk", first), first + 60_000);
        assert_eq!(at("disk", first + 59_999), first + 60_000);
        let mut seconds: Vec<_> =
            (0..600).map(|n| at(&format!("check {n}"), 0) / 1000 % 60).collect();
        seconds.sort_unstable();
        let fullest = seconds.chunk_by(|a, b| a == b).map(<[_]>::len).max().unwrap();
        assert!(fullest <= 25, "{fullest} of 600 checks start in one second of sixty");
    }

    #[track_caller]
    fn check(text: &str, zone: &str, now: &str, expected: &[&str]) {
        let schedule = Schedule::calendar(text, zone).unwrap();
        let mut now = time(now);
        for next in expected {
            now = schedule.next_after(now).unwrap();
            assert_eq!(now, time(next), "{text} {zone}, expected {next}");
        }
    }

    #[test]
    fn a_calendar_knows_its_zone_and_the_change_of_the_clock() {
        check(
            "30 2 * * *",
            "UTC",
            "2026-01-01T00:00:00Z",
            &["2026-01-01T02:30:00Z", "2026-01-02T02:30:00Z"],
        );
        check(
            "0 9 * * MON-FRI",
            "Europe/Berlin",
            "2026-01-02T12:00:00Z",
            &["2026-01-05T08:00:00Z"],
        );
        // 2:30 does not exist on March 29th, and comes twice on October 25th.
        check(
            "30 2 * * *",
            "Europe/Berlin",
            "2026-03-28T12:00:00Z",
            &["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"],
        );
        check(
            "30 2 * * *",
            "Europe/Berlin",
            "2026-10-24T12:00:00Z",
            &["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"],
        );
        check("@daily", "UTC", "2026-01-01T00:00:00Z", &["2026-01-02T00:00:00Z"]);
    }

    #[test]
    fn what_is_no_calendar_is_told() {
        let error = |text, zone| Schedule::calendar(text, zone).unwrap_err().to_string();
        assert_eq!(error("0 0 30 2 *", "UTC"), "`0 0 30 2 *` never comes");
        assert_eq!(error("* * * * *", "Europe/Berln"), "`Europe/Berln` is not a time zone");
        assert!(
            error("* * * * * *", "UTC").starts_with("`* * * * * *` is not a cron expression: ")
        );
        assert!(error("61 * * * *", "UTC").starts_with("`61 * * * *` is not a cron expression: "));
        assert!(error("", "UTC").starts_with("`` is not a cron expression: "));
    }
}
