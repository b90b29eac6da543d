//! Points in time and lengths of time as Go has them: with a zone, printed and read by layouts.
//!
//! Invariant: no clock, no environment and no file is read here; the zone "local" is UTC, and all
//! other zones come from the database that is compiled in.

mod layout;
mod read;

use std::fmt::Write as _;

use base::sample::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};

use super::error::Failure;
use super::value::Named;

/// A point in time, seen from a zone.
#[derive(Clone, Debug, PartialEq)]
pub struct Time {
    instant: jiff::Timestamp,
    zone: TimeZone,
}

/// The clock and the calendar at a [`Time`].
struct Civil {
    date: DateTime,
    offset: Offset,
    abbreviation: String,
}

impl Time {
    /// The first day of year 1, which Go takes for "no time".
    pub fn zero() -> Self {
        Self::from_civil(jiff::civil::date(1, 1, 1).at(0, 0, 0, 0), TimeZone::UTC)
    }

    /// A time in UTC; one before year -9999 or after 9999 becomes the nearest that there is.
    pub fn at(timestamp: Timestamp) -> Self {
        Self::from_nanos(i128::from(timestamp.millis()) * 1_000_000)
    }

    /// The time `nanos` nanoseconds after the Unix epoch.
    pub(super) fn from_nanos(nanos: i128) -> Self {
        let limit = if nanos < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
        let instant = jiff::Timestamp::from_nanosecond(nanos).unwrap_or(limit);
        Self { instant, zone: TimeZone::UTC }
    }

    fn from_civil(date: DateTime, zone: TimeZone) -> Self {
        let instant = zone
            .to_ambiguous_timestamp(date)
            .compatible()
            .unwrap_or(if date.year() < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX });
        Self { instant, zone }
    }

    /// The same time seen from the zone of that name.
    pub(super) fn in_zone(&self, name: &str) -> Result<Self, String> {
        let zone = match name {
            "" | "UTC" | "Local" => TimeZone::UTC,
            _ => TimeZone::get(name).map_err(|_| format!("unknown time zone {name}"))?,
        };
        Ok(Self { instant: self.instant, zone })
    }

    pub(super) fn nanos(&self) -> i128 {
        self.instant.as_nanosecond()
    }

    pub(super) fn is_zero(&self) -> bool {
        self.instant == Self::zero().instant
    }

    /// The time `nanos` nanoseconds later, in the same zone.
    pub(super) fn plus(&self, nanos: i64) -> Self {
        let moved = Self::from_nanos(self.nanos() + i128::from(nanos));
        Self { instant: moved.instant, zone: self.zone.clone() }
    }

    /// The time that many years, months and days later; a day that its month lacks runs over into
    /// the next.
    pub(super) fn plus_date(&self, years: i64, months: i64, days: i64) -> Self {
        let date = self.civil().date;
        let months = (i64::from(date.year()).saturating_add(years))
            .saturating_mul(12)
            .saturating_add(i64::from(date.month()) - 1)
            .saturating_add(months);
        let year = i16::try_from(months.div_euclid(12)).unwrap_or(i16::MAX).clamp(-9998, 9998);
        let month = i8::try_from(months.rem_euclid(12) + 1).unwrap_or(1);
        let days = days.saturating_add(i64::from(date.day()) - 1).clamp(-10_000_000, 10_000_000);
        let first = jiff::civil::date(year, month, 1).to_datetime(date.time());
        let moved = first.saturating_add(jiff::Span::new().days(days.clamp(-7_000_000, 7_000_000)));
        Self::from_civil(moved, self.zone.clone())
    }

    /// Nanoseconds since `earlier`, as many as Go's durations can hold.
    pub(super) fn since(&self, earlier: &Self) -> i64 {
        let nanos = self.nanos() - earlier.nanos();
        i64::try_from(nanos).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX })
    }

    fn civil(&self) -> Civil {
        let info = self.zone.to_offset_info(self.instant);
        let offset = info.offset();
        let abbreviation = match self.zone.iana_name() {
            _ if self.zone == TimeZone::UTC => "UTC".to_owned(),
            Some(_) => info.abbreviation().to_owned(),
            // Go has no name for a zone that is only an offset, and prints the offset again.
            None => offset_text(offset.seconds(), ""),
        };
        Civil { date: offset.to_datetime(self.instant), offset, abbreviation }
    }

    pub(super) fn date(&self) -> DateTime {
        self.civil().date
    }

    /// The zone's name at that time, such as `CET`.
    pub(super) fn zone_name(&self) -> String {
        self.zone.iana_name().map_or_else(|| self.civil().abbreviation, str::to_owned)
    }

    pub(super) fn month(&self) -> &'static Named {
        &MONTHS[usize::from(self.date().month().unsigned_abs()).clamp(1, 12) - 1]
    }

    pub(super) fn weekday(&self) -> &'static Named {
        weekday(self.date())
    }

    /// The time as `layout` shows it, which is written as Go's reference time would be:
    /// `Mon Jan 2 15:04:05 2006`.
    pub fn format(&self, layout: &str) -> String {
        layout::format(&self.civil(), layout)
    }

    /// Reads a time that was written by `layout`, in UTC unless it names an offset.
    ///
    /// # Errors
    ///
    /// The text was not written by that layout, or the calendar has no such date.
    pub(super) fn parse(layout: &str, text: &str) -> Result<Self, String> {
        let (date, offset) = read::parse(layout, text)?;
        let zone = if offset == Offset::UTC { TimeZone::UTC } else { TimeZone::fixed(offset) };
        Ok(Self::from_civil(date, zone))
    }

    /// As JSON has it.
    pub(super) fn rfc3339(&self) -> String {
        self.format("2006-01-02T15:04:05.999999999Z07:00")
    }
}

/// Prints as Go does: `2024-01-01 09:15:30 +0100 CET`.
impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.format("2006-01-02 15:04:05.999999999 -0700 MST"))
    }
}

/// `layout`, unless it is longer than any that people write.
pub(super) fn bounded_layout(layout: &str) -> Result<&str, Failure> {
    const LONGEST: usize = 1000;
    if layout.len() > LONGEST {
        let message = format!("template limit: a layout of more than {LONGEST} bytes");
        return Err(Failure::Limit(message));
    }
    Ok(layout)
}

fn weekday(date: DateTime) -> &'static Named {
    &WEEKDAYS[usize::from(date.weekday().to_sunday_zero_offset().unsigned_abs()) % 7]
}

/// `+0100`, with `separator` before the minutes.
fn offset_text(seconds: i32, separator: &str) -> String {
    let sign = if seconds < 0 { '-' } else { '+' };
    let minutes = seconds.unsigned_abs() / 60;
    format!("{sign}{:02}{separator}{:02}", minutes / 60, minutes % 60)
}

/// A length of time as Go prints it: `1h2m3.5s`, `1.5ms`, `0s`.
pub(super) fn duration_text(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let total = nanos.unsigned_abs();
    let decimal = |unit: u64, places: usize, name: &str| {
        let (whole, part) = (total / unit, total % unit);
        let part = format!("{part:0places$}");
        let part = part.trim_end_matches('0');
        let point = if part.is_empty() { "" } else { "." };
        format!("{sign}{whole}{point}{part}{name}")
    };
    match total {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{total}ns"),
        1_000..1_000_000 => decimal(1_000, 3, "µs"),
        1_000_000..1_000_000_000 => decimal(1_000_000, 6, "ms"),
        _ => {
            let minutes = total / 60_000_000_000;
            let mut text = sign.to_owned();
            // Writing to a string does not fail.
            if minutes >= 60 {
                let _ = write!(text, "{}h", minutes / 60);
            }
            if minutes > 0 {
                let _ = write!(text, "{}m", minutes % 60);
            }
            let rest = total % 60_000_000_000;
            let part = format!("{:09}", rest % 1_000_000_000);
            let part = part.trim_end_matches('0');
            let point = if part.is_empty() { "" } else { "." };
            let _ = write!(text, "{}{point}{part}s", rest / 1_000_000_000);
            text
        }
    }
}

/// `nanos` rounded to the nearest multiple of `unit`, halves away from zero.
pub(super) fn round(nanos: i64, unit: i64) -> i64 {
    if unit <= 0 {
        return nanos;
    }
    let rest = i128::from(nanos % unit);
    let whole = i128::from(nanos) - rest;
    let rounded = if rest.abs() * 2 < i128::from(unit) {
        whole
    } else {
        whole + i128::from(unit) * rest.signum()
    };
    i64::try_from(rounded).unwrap_or(if rounded < 0 { i64::MIN } else { i64::MAX })
}

const fn month(number: i64, name: &'static str) -> Named {
    Named { type_name: "time.Month", number, name }
}

const fn day(number: i64, name: &'static str) -> Named {
    Named { type_name: "time.Weekday", number, name }
}

static MONTHS: [Named; 12] = [
    month(1, "January"),
    month(2, "February"),
    month(3, "March"),
    month(4, "April"),
    month(5, "May"),
    month(6, "June"),
    month(7, "July"),
    month(8, "August"),
    month(9, "September"),
    month(10, "October"),
    month(11, "November"),
    month(12, "December"),
];

static WEEKDAYS: [Named; 7] = [
    day(0, "Sunday"),
    day(1, "Monday"),
    day(2, "Tuesday"),
    day(3, "Wednesday"),
    day(4, "Thursday"),
    day(5, "Friday"),
    day(6, "Saturday"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_durations_as_go_does() {
        let check = |nanos: i64, expected: &str| assert_eq!(duration_text(nanos), expected);
        check(0, "0s");
        check(1, "1ns");
        check(1_100, "1.1µs");
        check(2_200_000, "2.2ms");
        check(3_300_000_000, "3.3s");
        check(245_000_000_000, "4m5s");
        check(245_001_000_000, "4m5.001s");
        check(18_367_001_000_000, "5h6m7.001s");
        check(-3_600_000_000_000, "-1h0m0s");
        check(i64::MAX, "2562047h47m16.854775807s");
        check(i64::MIN, "-2562047h47m16.854775808s");
    }

    #[test]
    fn adds_dates_as_a_calendar_does() {
        let start = Time::parse("2006-01-02", "2024-01-31").unwrap();
        let check = |years, months, days, expected: &str| {
            assert_eq!(start.plus_date(years, months, days).format("2006-01-02"), expected);
        };
        check(0, 0, 1, "2024-02-01");
        check(0, 1, 0, "2024-03-02");
        check(1, -2, 0, "2024-12-01");
        check(0, -1, -30, "2023-12-01");
        // Nothing overflows.
        start.plus_date(i64::MAX, i64::MIN, i64::MAX);
        start.plus_date(i64::MIN, i64::MIN, i64::MIN);
    }

    #[test]
    fn stays_within_the_calendar() {
        for millis in [i64::MIN, i64::MAX] {
            let time = Time::at(Timestamp::from_millis(millis));
            assert!(!time.to_string().is_empty() && !time.plus(i64::MAX).to_string().is_empty());
        }
        assert!(Time::zero().is_zero());
        assert_eq!(Time::zero().to_string(), "0001-01-01 00:00:00 +0000 UTC");
    }

    #[test]
    fn rounds_halves_away_from_zero() {
        let check = |nanos, unit, expected| assert_eq!(round(nanos, unit), expected);
        check(15, 10, 20);
        check(-15, 10, -20);
        check(14, 10, 10);
        check(14, 0, 14);
        check(i64::MAX, i64::MAX - 1, i64::MAX - 1);
        check(i64::MIN, 10, i64::MIN);
    }
}
