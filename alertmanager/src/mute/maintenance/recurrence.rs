//! Rules by which an event of a calendar comes again.
//!
//! Source: RFC 5545, section 3.3.10. Known are FREQ from DAILY to YEARLY with INTERVAL, COUNT, UNTIL,
//! BYDAY, BYMONTHDAY, BYMONTH and WKST.
//!
//! Invariant: a part of a rule that is not known makes the rule unreadable; it is never left out.

use base::sample::Timestamp;
use jiff::Span;
use jiff::civil::{Date, Weekday};

/// The furthest that the last of COUNT occurrences is looked for, in days: a century.
const FURTHEST: usize = 36_525;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Frequency {
    Daily,
    Weekly,
    Monthly,
    Yearly,
}

/// A rule.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    frequency: Frequency,
    interval: i64,
    count: Option<usize>,
    /// As it is written: a time, or a day.
    pub(super) until: Option<String>,
    /// The last day, where a count says so.
    last: Option<Date>,
    /// Days of the week, each with its place in the month where it has one.
    days: Vec<(i64, Weekday)>,
    month_days: Vec<i64>,
    months: Vec<i64>,
    week_start: Weekday,
}

impl Rule {
    /// Reads the value of `RRULE` of an event that begins on `first`.
    pub(super) fn read(text: &str, first: Date) -> Result<Self, String> {
        let mut rule = Self {
            frequency: Frequency::Daily,
            interval: 1,
            count: None,
            until: None,
            last: None,
            days: Vec::new(),
            month_days: Vec::new(),
            months: Vec::new(),
            week_start: Weekday::Monday,
        };
        let mut frequency = None;
        for part in text.split(';').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            match name.to_ascii_uppercase().as_str() {
                "FREQ" => {
                    frequency = Some(match value {
                        "DAILY" => Frequency::Daily,
                        "WEEKLY" => Frequency::Weekly,
                        "MONTHLY" => Frequency::Monthly,
                        "YEARLY" => Frequency::Yearly,
                        other => return Err(format!("FREQ={other} is not supported")),
                    });
                }
                "INTERVAL" => rule.interval = number(value, 1, 10_000)?,
                "COUNT" => {
                    rule.count = usize::try_from(number(value, 1, 1_000_000)?).ok();
                }
                "UNTIL" => rule.until = Some(value.to_owned()),
                "BYDAY" => rule.days = each(value, day)?,
                "BYMONTHDAY" => rule.month_days = each(value, |text| number(text, -31, 31))?,
                "BYMONTH" => rule.months = each(value, |text| number(text, 1, 12))?,
                "WKST" => rule.week_start = day(value)?.1,
                other => return Err(format!("{other} is not supported")),
            }
        }
        rule.frequency = frequency.ok_or("FREQ is missing")?;
        let ordinal = rule.days.iter().any(|(place, _)| *place != 0);
        let by_month = rule.frequency == Frequency::Monthly
            || rule.frequency == Frequency::Yearly && !rule.months.is_empty();
        if ordinal && !by_month {
            return Err("BYDAY with a number needs FREQ=MONTHLY or BYMONTH".to_owned());
        }
        if let Some(count) = rule.count {
            rule.last =
                days(first).take(FURTHEST).filter(|day| rule.fits(first, *day)).nth(count - 1);
        }
        Ok(rule)
    }

    /// Whether an event that begins on `first` comes on `day`, as far as the days say.
    pub(super) fn comes(&self, first: Date, day: Date) -> bool {
        day >= first && self.last.is_none_or(|last| day <= last) && self.fits(first, day)
    }

    fn fits(&self, first: Date, day: Date) -> bool {
        let months = |day: Date| i64::from(day.year()) * 12 + i64::from(day.month());
        let in_turn = match self.frequency {
            Frequency::Daily => day_number(day) - day_number(first),
            Frequency::Weekly => (self.week(day) - self.week(first)) / 7,
            Frequency::Monthly => months(day) - months(first),
            Frequency::Yearly => i64::from(day.year()) - i64::from(first.year()),
        };
        if in_turn.rem_euclid(self.interval) != 0 {
            return false;
        }
        if !self.months.is_empty() && !self.months.contains(&i64::from(day.month())) {
            return false;
        }
        let of_month = i64::from(day.day());
        let length = i64::from(day.days_in_month());
        let by_month_day =
            |wanted: &i64| of_month == if *wanted < 0 { length + wanted + 1 } else { *wanted };
        if !self.month_days.is_empty() && !self.month_days.iter().any(by_month_day) {
            return false;
        }
        let by_day = |(place, weekday): &(i64, Weekday)| {
            *weekday == day.weekday()
                && match place {
                    0 => true,
                    place if *place > 0 => (of_month - 1) / 7 + 1 == *place,
                    place => (length - of_month) / 7 + 1 == -place,
                }
        };
        if !self.days.is_empty() {
            return self.days.iter().any(by_day);
        }
        // What no part says is as on the first day.
        let same_month = !self.months.is_empty() || day.month() == first.month();
        match self.frequency {
            Frequency::Daily => true,
            Frequency::Weekly => day.weekday() == first.weekday(),
            _ if !self.month_days.is_empty() => true,
            Frequency::Monthly => day.day() == first.day(),
            Frequency::Yearly => same_month && day.day() == first.day(),
        }
    }

    /// The number of the first day of a day's week.
    fn week(&self, day: Date) -> i64 {
        let since = i64::from(day.weekday().since(self.week_start));
        day_number(day) - since
    }
}

fn day_number(day: Date) -> i64 {
    let epoch = jiff::civil::date(1970, 1, 1);
    day.since(epoch).map_or(0, |span| i64::from(span.get_days()))
}

/// The day and all after it.
pub(super) fn days(from: Date) -> impl Iterator<Item = Date> {
    std::iter::successors(Some(from), |day| day.checked_add(Span::new().days(1)).ok())
}

fn each<T>(text: &str, read: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    text.split(',').map(|part| read(part.trim())).collect()
}

fn number(text: &str, least: i64, most: i64) -> Result<i64, String> {
    let number = text.strip_prefix('+').unwrap_or(text).parse::<i64>().ok();
    let number = number.filter(|number| *number != 0 && (least..=most).contains(number));
    number.ok_or_else(|| format!("`{text}` is not a number from {least} to {most}"))
}

/// `MO`, `2TU`, `-1FR`.
fn day(text: &str) -> Result<(i64, Weekday), String> {
    let wrong = || format!("`{text}` is not a day of the week");
    let (place, name) = text.split_at_checked(text.len().saturating_sub(2)).ok_or_else(wrong)?;
    let weekday = match name {
        "MO" => Weekday::Monday,
        "TU" => Weekday::Tuesday,
        "WE" => Weekday::Wednesday,
        "TH" => Weekday::Thursday,
        "FR" => Weekday::Friday,
        "SA" => Weekday::Saturday,
        "SU" => Weekday::Sunday,
        _ => return Err(wrong()),
    };
    let place = if place.is_empty() { 0 } else { number(place, -5, 5)? };
    Ok((place, weekday))
}

/// A moment as `20261121T093000Z`, in UTC.
pub(super) fn utc(text: &str) -> Option<Timestamp> {
    let civil: jiff::civil::DateTime = text.strip_suffix('Z')?.parse().ok()?;
    super::spans::instant(&jiff::tz::TimeZone::UTC, civil)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first days on which the rule lets an event come that begins on `first`.
    #[track_caller]
    fn check(rule: &str, first: &str, expected: &str) {
        let first: Date = first.parse().unwrap();
        let got = match Rule::read(rule, first) {
            Err(error) => error,
            Ok(rule) => {
                let coming = days(first).take(800).filter(|day| rule.comes(first, *day)).take(4);
                coming.map(|day| day.strftime("%m-%d").to_string()).collect::<Vec<_>>().join(" ")
            }
        };
        assert_eq!(got, expected, "{rule}");
    }

    #[test]
    fn finds_the_days_of_a_rule() {
        // 2026-11-02 is a Monday.
        check("FREQ=DAILY", "2026-11-02", "11-02 11-03 11-04 11-05");
        check("FREQ=DAILY;INTERVAL=10;COUNT=3", "2026-11-02", "11-02 11-12 11-22");
        check("FREQ=WEEKLY", "2026-11-02", "11-02 11-09 11-16 11-23");
        check("FREQ=WEEKLY;INTERVAL=2;BYDAY=TU,SU", "2026-11-03", "11-03 11-08 11-17 11-22");
        check(
            "FREQ=WEEKLY;INTERVAL=2;BYDAY=TU,SU;WKST=SU",
            "2026-11-03",
            "11-03 11-15 11-17 11-29",
        );
        check("FREQ=WEEKLY;BYDAY=MO,WE;COUNT=3", "2026-11-02", "11-02 11-04 11-09");
        check("FREQ=MONTHLY", "2026-01-31", "01-31 03-31 05-31 07-31");
        check("FREQ=MONTHLY;BYDAY=2TU", "2026-11-10", "11-10 12-08 01-12 02-09");
        check("FREQ=MONTHLY;BYDAY=-1FR", "2026-11-27", "11-27 12-25 01-29 02-26");
        check("FREQ=MONTHLY;BYMONTHDAY=-1", "2026-11-30", "11-30 12-31 01-31 02-28");
        check("FREQ=MONTHLY;BYMONTHDAY=13;BYDAY=FR", "2026-11-13", "11-13 08-13 10-13");
        check("FREQ=YEARLY", "2026-11-02", "11-02 11-02 11-02");
        check("FREQ=YEARLY;BYMONTH=1,3;BYDAY=1SU", "2026-11-02", "01-03 03-07 01-02 03-05");
    }

    #[test]
    fn what_it_does_not_know_is_a_fault() {
        let check = |rule: &str, expected: &str| check(rule, "2026-11-02", expected);
        check("FREQ=SECONDLY", "FREQ=SECONDLY is not supported");
        check("FREQ=MONTHLY;BYSETPOS=1", "BYSETPOS is not supported");
        check("INTERVAL=2", "FREQ is missing");
        check("FREQ=DAILY;INTERVAL=0", "`0` is not a number from 1 to 10000");
        check("FREQ=WEEKLY;BYDAY=XX", "`XX` is not a day of the week");
        check("FREQ=WEEKLY;BYDAY=é", "`é` is not a day of the week");
        check("FREQ=WEEKLY;BYDAY=2MO", "BYDAY with a number needs FREQ=MONTHLY or BYMONTH");
    }
}
