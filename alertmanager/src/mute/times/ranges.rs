//! Days, months and years as text: one, or from one to another.
//!
//! Source: the configuration reference of Alertmanager.
//!
//! Invariant: a range that is read is not empty in every month.

use jiff::tz::TimeZone;

/// Reads a range, both ends included, from text in lower case; says what is wrong with it.
pub(super) type Read = fn(&str) -> Result<(i32, i32), String>;

const WEEKDAYS: [&str; 7] =
    ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];
const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// `monday`, `monday:friday`; from 0, Sunday.
pub(super) fn weekdays(text: &str) -> Result<(i32, i32), String> {
    range(text, "a weekday", |name| place(&WEEKDAYS, name))
}

/// `january`, `1`, `january:march`; from 1.
pub(super) fn months(text: &str) -> Result<(i32, i32), String> {
    range(text, "a month", |name| {
        place(&MONTHS, name).map(|n| n + 1).or_else(|| number(name, 1, 12))
    })
}

/// `2026`, `2026:2028`.
pub(super) fn years(text: &str) -> Result<(i32, i32), String> {
    range(text, "a year", |year| number(year, 0, 9999))
}

/// `1`, `1:5`, `-3:-1`, `20:-1`; below zero from the end of the month.
pub(super) fn days(text: &str) -> Result<(i32, i32), String> {
    let day = |day: &str| number(day, -31, 31).filter(|day| *day != 0);
    let (from, to) = ends(text, "a day of the month", day)?;
    if from < 0 && to > 0 {
        return Err(format!("`{text}` begins at the end of the month and ends at its start"));
    }
    in_order(text, (from, to), (from < 0) == (to < 0))
}

/// `09:30`, up to `24:00`, as minutes.
pub(super) fn minute(text: &str) -> Option<i32> {
    let (hour, minute) = text.split_once(':')?;
    let digits = |text: &str| text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(hour) || !digits(minute) {
        return None;
    }
    let (hour, minute) = (number(hour, 0, 24)?, number(minute, 0, 59)?);
    (hour < 24 || minute == 0).then_some(hour * 60 + minute)
}

/// The zone with that IANA name; `Local` is the machine's.
pub(super) fn zone(name: &str) -> Option<TimeZone> {
    match name {
        "Local" => Some(TimeZone::system()),
        "" | "UTC" => Some(TimeZone::UTC),
        _ => TimeZone::get(name).ok(),
    }
}

fn range(text: &str, what: &str, read: impl Fn(&str) -> Option<i32>) -> Result<(i32, i32), String> {
    in_order(text, ends(text, what, read)?, true)
}

fn ends(text: &str, what: &str, read: impl Fn(&str) -> Option<i32>) -> Result<(i32, i32), String> {
    let (from, to) = text.split_once(':').unwrap_or((text, text));
    let read = |end: &str| read(end.trim()).ok_or_else(|| format!("`{end}` is not {what}"));
    Ok((read(from)?, read(to)?))
}

fn in_order(text: &str, (from, to): (i32, i32), comparable: bool) -> Result<(i32, i32), String> {
    if comparable && from > to {
        return Err(format!("`{text}` ends before it begins"));
    }
    Ok((from, to))
}

fn place(names: &[&str], name: &str) -> Option<i32> {
    names.iter().position(|known| *known == name).and_then(|n| i32::try_from(n).ok())
}

fn number(text: &str, least: i32, most: i32) -> Option<i32> {
    text.parse().ok().filter(|number| (least..=most).contains(number))
}
