//! Times that come again: minutes of the day, days, months, years, in a zone.
//!
//! Source: the configuration reference of Alertmanager. Ranges over midnight, which it does not
//! have, are marked with `overnight: true` (A5.9).
//!
//! Invariant: a zone that nobody knows is a fault of the configuration, never UTC (A0.6).

mod ranges;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use base::diagnostic::{Diagnostics, Place, Spanned, nearest};
use base::sample::Timestamp;
use jiff::Span;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::Deserialize;

/// An interval with its name, as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeIntervalConfig {
    /// How routes call it.
    pub name: Spanned<String>,
    /// Its parts: it holds where one of them does.
    #[serde(default)]
    pub time_intervals: Vec<TimesConfig>,
}

/// What must hold together, as written; what is left out always holds.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TimesConfig {
    times: Vec<Spanned<TimeRangeConfig>>,
    weekdays: Vec<Spanned<String>>,
    days_of_month: Vec<Spanned<String>>,
    months: Vec<Spanned<String>>,
    years: Vec<Spanned<String>>,
    location: Option<Spanned<String>>,
}

/// A part of a day, as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TimeRangeConfig {
    start_time: Spanned<String>,
    end_time: Spanned<String>,
    /// It ends on the next day; the days that are said are those on which it begins.
    #[serde(default)]
    overnight: bool,
}

/// Minutes of a day, the end not included. Where it ends on the next day, the end is before the
/// start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TimeRange {
    start: i32,
    end: i32,
    overnight: bool,
}

/// What must hold together.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Times {
    ranges: Vec<TimeRange>,
    /// From 0, Sunday.
    weekdays: Vec<RangeInclusive<i32>>,
    /// Below zero from the end of the month.
    days: Vec<(i32, i32)>,
    months: Vec<RangeInclusive<i32>>,
    years: Vec<RangeInclusive<i32>>,
    zone: TimeZone,
}

/// A time that comes again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimeInterval {
    parts: Vec<Times>,
}

/// All intervals by name.
pub type TimeIntervals = BTreeMap<String, Arc<TimeInterval>>;

/// When a route tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteTimes {
    /// It is mute in these.
    pub mute: Vec<(String, Arc<TimeInterval>)>,
    /// It tells in these only, if there are any.
    pub active: Vec<(String, Arc<TimeInterval>)>,
}

impl RouteTimes {
    /// Whether it tells at any time.
    pub fn is_always(&self) -> bool {
        self.mute.is_empty() && self.active.is_empty()
    }

    /// The names of the intervals that keep it mute at `now`; nothing where it tells.
    pub fn muted_by(&self, now: Timestamp) -> Vec<&str> {
        let holds = |(_, interval): &&(String, Arc<TimeInterval>)| interval.contains(now);
        let muted: Vec<&str> = self.mute.iter().filter(holds).map(|(n, _)| n.as_str()).collect();
        if muted.is_empty() && !self.active.is_empty() && !self.active.iter().any(|i| holds(&i)) {
            return self.active.iter().map(|(name, _)| name.as_str()).collect();
        }
        muted
    }
}

/// The intervals of a configuration, by name.
pub fn build_all(
    configs: &[Spanned<TimeIntervalConfig>],
    diagnostics: &mut Diagnostics,
) -> TimeIntervals {
    let mut all = TimeIntervals::new();
    for config in configs {
        let name = &config.value.name;
        if name.value.is_empty() {
            diagnostics.report(name, "a time interval has no name");
        }
        let parts = &config.value.time_intervals;
        let interval = build_parts(parts, &TimeZone::UTC, diagnostics);
        if all.insert(name.value.clone(), Arc::new(interval)).is_some() {
            diagnostics.report(name, format!("there are two time intervals `{}`", name.value));
        }
    }
    all
}

/// The intervals that a route names.
pub fn find_all(
    names: &[Spanned<String>],
    all: &TimeIntervals,
    diagnostics: &mut Diagnostics,
) -> Vec<(String, Arc<TimeInterval>)> {
    let mut found = Vec::new();
    for name in names {
        match all.get(&name.value) {
            Some(interval) => found.push((name.value.clone(), Arc::clone(interval))),
            None if diagnostics.is_partial_in("time_intervals") => {}
            None => {
                let message = format!("there is no time interval `{}`", name.value);
                let help = match nearest(&name.value, all.keys().map(String::as_str)) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "add it under `time_intervals:`".to_owned(),
                };
                diagnostics.report_with_help(name, message, help);
            }
        }
    }
    found
}

/// An interval that holds where one of `parts` does; those without a location are in `zone`.
pub(super) fn build_parts(
    parts: &[TimesConfig],
    zone: &TimeZone,
    diagnostics: &mut Diagnostics,
) -> TimeInterval {
    TimeInterval { parts: parts.iter().map(|part| part.build(zone, diagnostics)).collect() }
}

/// The zone with that name; UTC where it is a fault.
pub(super) fn zone(name: &Spanned<String>, diagnostics: &mut Diagnostics) -> TimeZone {
    ranges::zone(&name.value).unwrap_or_else(|| {
        let help = "write a name such as `Europe/Paris`; see timedatectl list-timezones";
        let message = format!("`{}` is not a time zone", name.value);
        diagnostics.report_with_help(name, message, help);
        TimeZone::UTC
    })
}

impl TimesConfig {
    /// An interval of this part alone.
    pub fn interval(&self, diagnostics: &mut Diagnostics) -> TimeInterval {
        TimeInterval { parts: vec![self.build(&TimeZone::UTC, diagnostics)] }
    }

    fn build(&self, default: &TimeZone, diagnostics: &mut Diagnostics) -> Times {
        let zone = match &self.location {
            None => default.clone(),
            Some(name) => zone(name, diagnostics),
        };
        let mut each = |texts: &[Spanned<String>], read: ranges::Read| {
            let mut found = Vec::new();
            for text in texts {
                match read(&text.value.to_lowercase()) {
                    Ok(range) => found.push(range),
                    Err(message) => diagnostics.report(text, message),
                }
            }
            found
        };
        let ordered = |ranges: Vec<(i32, i32)>| ranges.into_iter().map(|(a, b)| a..=b).collect();
        Times {
            weekdays: ordered(each(&self.weekdays, ranges::weekdays)),
            days: each(&self.days_of_month, ranges::days),
            months: ordered(each(&self.months, ranges::months)),
            years: ordered(each(&self.years, ranges::years)),
            ranges: self.times.iter().filter_map(|r| r.value.build(r.place, diagnostics)).collect(),
            zone,
        }
    }
}

impl TimeRangeConfig {
    fn build(&self, place: Place, diagnostics: &mut Diagnostics) -> Option<TimeRange> {
        let mut minute = |text: &Spanned<String>| {
            let minute = ranges::minute(&text.value);
            if minute.is_none() {
                let message = format!("`{}` is not a time of the day", text.value);
                diagnostics.report_with_help(text, message, "write hours and minutes: `09:30`");
            }
            minute
        };
        let (start, end) = (minute(&self.start_time), minute(&self.end_time));
        let (start, end) = (start?, end?);
        if self.overnight == (end <= start) {
            return Some(TimeRange { start, end, overnight: self.overnight });
        }
        let (start, end) = (&self.start_time.value, &self.end_time.value);
        if self.overnight {
            let message = format!("{end} is after {start}, on the same day");
            diagnostics.report_with_help(place, message, "leave out `overnight`");
        } else {
            let message = format!("{end} is not after {start}");
            let help = "write `overnight: true` beside it if it ends on the next day";
            diagnostics.report_with_help(place, message, help);
        }
        None
    }
}

impl TimeInterval {
    /// Whether it holds at every half hour of a year: then there is no time at which it does not.
    pub(super) fn is_always(&self) -> bool {
        // 2028 has all days that a year can have.
        const BEGIN: i64 = 1_830_297_600_000;
        let half_hours = (0..366 * 48).map(|n| BEGIN + n * 1_800_000);
        self.parts.iter().any(|part| part.years.is_empty())
            && half_hours.map(Timestamp::from_millis).all(|at| self.contains(at))
    }

    /// Whether it holds at `now`.
    pub fn contains(&self, now: Timestamp) -> bool {
        let Ok(now) = jiff::Timestamp::from_millisecond(now.millis()) else { return false };
        self.parts.iter().any(|part| part.contains(now))
    }
}

impl Times {
    fn contains(&self, now: jiff::Timestamp) -> bool {
        let now = self.zone.to_datetime(now);
        let minute = i32::from(now.hour()) * 60 + i32::from(now.minute());
        if self.ranges.is_empty() {
            return self.contains_day(now);
        }
        self.ranges.iter().any(|range| {
            if !range.overnight {
                return (range.start..range.end).contains(&minute) && self.contains_day(now);
            }
            // After midnight it is the day before on which it began.
            let yesterday = || now.checked_sub(Span::new().days(1));
            minute >= range.start && self.contains_day(now)
                || minute < range.end && yesterday().is_ok_and(|day| self.contains_day(day))
        })
    }

    fn contains_day(&self, day: DateTime) -> bool {
        let among = |ranges: &[RangeInclusive<i32>], value: i32| {
            ranges.is_empty() || ranges.iter().any(|range| range.contains(&value))
        };
        let weekday = i32::from(day.date().weekday().to_sunday_zero_offset());
        among(&self.weekdays, weekday)
            && among(&self.months, i32::from(day.month()))
            && among(&self.years, i32::from(day.year()))
            && self.contains_day_of_month(day)
    }

    fn contains_day_of_month(&self, day: DateTime) -> bool {
        // By the calendar, not by the hours of a month, of which one may have one more or less.
        let last = i32::from(day.date().days_in_month());
        let from_start = |day: i32| if day < 0 { last + day + 1 } else { day };
        let day = i32::from(day.day());
        let holds = |&(from, to): &(i32, i32)| (from_start(from)..=from_start(to)).contains(&day);
        self.days.is_empty() || self.days.iter().any(holds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(yaml: &str) -> (TimeInterval, String) {
        let mut diagnostics = Diagnostics::new("f.yml");
        let config: TimesConfig = base::yaml::read(yaml, &mut diagnostics).unwrap();
        let interval = config.interval(&mut diagnostics);
        (interval, diagnostics.to_string())
    }

    #[track_caller]
    fn check(yaml: &str, times: &[(&str, bool)]) {
        let (interval, faults) = interval(yaml);
        assert_eq!(faults, "");
        for (time, expected) in times {
            let at = time.parse::<jiff::Timestamp>().unwrap().as_millisecond();
            assert_eq!(interval.contains(Timestamp::from_millis(at)), *expected, "{time}");
        }
    }

    #[test]
    fn a_range_over_midnight_belongs_to_the_day_on_which_it_begins() {
        // 2026-11-20 is a Friday.
        check(
            "{weekdays: [friday], times: [{start_time: '22:00', end_time: '06:00', overnight: true}]}",
            &[
                ("2026-11-20T05:59:00Z", false),
                ("2026-11-20T21:59:59Z", false),
                ("2026-11-20T22:00:00Z", true),
                ("2026-11-21T05:59:59Z", true),
                ("2026-11-21T06:00:00Z", false),
                ("2026-11-21T22:00:00Z", false),
            ],
        );
    }

    #[test]
    fn days_from_the_end_are_those_of_the_calendar_also_when_the_clock_changes_f28() {
        // In Berlin the last days of March and October have 23 and 25 hours.
        check(
            "{days_of_month: ['-1'], location: Europe/Berlin}",
            &[
                ("2026-03-30T21:59:59Z", false),
                ("2026-03-30T22:00:00Z", true),
                ("2026-03-31T21:59:59Z", true),
                ("2026-03-31T22:00:00Z", false),
                ("2026-10-30T22:59:59Z", false),
                ("2026-10-30T23:00:00Z", true),
                ("2024-02-29T12:00:00Z", true),
                ("2024-02-28T12:00:00Z", false),
            ],
        );
    }

    #[test]
    fn every_fault_is_told_with_what_to_do() {
        let yaml = "times: [{start_time: '9:00', end_time: '10:00'}, {start_time: '09:00', end_time: '08:00'}, \
                    {start_time: '09:00', end_time: '10:00', overnight: true}]\n\
                    weekdays: [someday]\ndays_of_month: ['32']\nmonths: ['13']\nyears: [x]\nlocation: Mars\n";
        let (_, faults) = interval(yaml);
        let messages: Vec<_> = faults
            .lines()
            .filter(|line| line.starts_with("f.yml"))
            .map(|line| &line[8..])
            .collect();
        let expected = [
            "22: `9:00` is not a time of the day",
            "50: 08:00 is not after 09:00",
            "92: 10:00 is after 09:00, on the same day",
            "12: `someday` is not a weekday",
            "17: `32` is not a day of the month",
            "10: `13` is not a month",
            "9: `x` is not a year",
            "11: `Mars` is not a time zone",
        ];
        assert_eq!(messages, expected);
    }
}
