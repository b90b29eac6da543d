//! Reads times by layouts.
//!
//! Invariant: a text is read only as a whole, and only into a date that the calendar has.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::Offset;

use super::super::print::quoted;
use super::layout::{Element, Pad, split};
use super::{MONTHS, WEEKDAYS};

/// What has been read so far.
struct Read {
    year: i16,
    month: Option<i8>,
    day: Option<i8>,
    day_of_year: Option<i16>,
    hour: i8,
    minute: i8,
    second: i8,
    nanos: i32,
    afternoon: Option<bool>,
    offset: Offset,
}

/// Reads `text` by `layout`; what is missing is the first that there is, as in `0001-01-01`.
pub(super) fn parse(layout: &str, text: &str) -> Result<(DateTime, Offset), String> {
    let mut read = Read {
        year: 1,
        month: None,
        day: None,
        day_of_year: None,
        hour: 0,
        minute: 0,
        second: 0,
        nanos: 0,
        afternoon: None,
        offset: Offset::UTC,
    };
    let (mut pattern, mut rest) = (layout, text);
    loop {
        let (before, element, after) = split(pattern);
        let mismatch = |rest: &str, what: &str| {
            let (text, layout) = (quoted(text), quoted(layout));
            format!(
                "parsing time {text} as {layout}: cannot parse {} as {}",
                quoted(rest),
                quoted(what)
            )
        };
        rest = rest.strip_prefix(before).ok_or_else(|| mismatch(rest, before))?;
        let Some((element, notation)) = element else { break };
        let next = split(after).1.map(|(element, _)| element);
        rest = match take(&mut read, element, rest, next) {
            Some(Ok(rest)) => rest,
            Some(Err(range)) => {
                return Err(format!("parsing time {}: {range} out of range", quoted(text)));
            }
            None => return Err(mismatch(rest, notation)),
        };
        pattern = after;
    }
    if !rest.is_empty() {
        return Err(format!("parsing time {}: extra text: {}", quoted(text), quoted(rest)));
    }
    let range = |what: &str| format!("parsing time {}: {what} out of range", quoted(text));
    if let Some(afternoon) = read.afternoon {
        read.hour = read.hour % 12 + if afternoon { 12 } else { 0 };
    }
    let date = match (read.day_of_year, read.month, read.day) {
        (Some(day), None, None) => Date::new(read.year, 1, 1)
            .and_then(|date| date.with().day_of_year(day).build())
            .map_err(|_| range("day-of-year"))?,
        (_, month, day) => {
            Date::new(read.year, month.unwrap_or(1), day.unwrap_or(1)).map_err(|_| range("day"))?
        }
    };
    let time =
        Time::new(read.hour, read.minute, read.second, read.nanos).map_err(|_| range("hour"))?;
    Ok((date.to_datetime(time), read.offset))
}

/// Reads one element from the beginning of `text`: the rest of it, or what is out of range, or
/// nothing where it does not begin so.
fn take<'t>(
    read: &mut Read,
    element: Element,
    text: &'t str,
    next: Option<Element>,
) -> Option<Result<&'t str, &'static str>> {
    let within = |value: i32, low: i32, high: i32| (low..=high).contains(&value);
    let (rest, fault) = match element {
        Element::Year => {
            let (value, rest) = digits(text, 4, 4)?;
            read.year = i16::try_from(value).ok()?;
            (rest, None)
        }
        Element::ShortYear => {
            let (value, rest) = digits(text, 2, 2)?;
            read.year =
                i16::try_from(if value >= 69 { 1900 + value } else { 2000 + value }).ok()?;
            (rest, None)
        }
        Element::MonthName | Element::ShortMonthName => {
            let (n, rest) =
                name(text, element == Element::ShortMonthName, MONTHS.iter().map(|m| m.name))?;
            read.month = i8::try_from(n + 1).ok();
            (rest, None)
        }
        Element::DayName | Element::ShortDayName => {
            (name(text, element == Element::ShortDayName, WEEKDAYS.iter().map(|d| d.name))?.1, None)
        }
        Element::Month(pad) => {
            let (value, rest) = padded(text, pad)?;
            read.month = i8::try_from(value).ok();
            (rest, (!within(value, 1, 12)).then_some("month"))
        }
        Element::Day(pad) => {
            let (value, rest) = padded(text, pad)?;
            read.day = i8::try_from(value).ok();
            (rest, (!within(value, 1, 31)).then_some("day"))
        }
        Element::DayOfYear(_) => {
            let (value, rest) = digits(text.trim_start_matches(' '), 1, 3)?;
            read.day_of_year = i16::try_from(value).ok();
            (rest, (!within(value, 1, 366)).then_some("day-of-year"))
        }
        Element::Hour => {
            let (value, rest) = digits(text, 1, 2)?;
            read.hour = i8::try_from(value).ok()?;
            (rest, (!within(value, 0, 23)).then_some("hour"))
        }
        Element::Hour12(pad) => {
            let (value, rest) = padded(text, pad)?;
            read.hour = i8::try_from(value).ok()?;
            (rest, (!within(value, 0, 12)).then_some("hour"))
        }
        Element::Minute(pad) => {
            let (value, rest) = padded(text, pad)?;
            read.minute = i8::try_from(value).ok()?;
            (rest, (!within(value, 0, 59)).then_some("minute"))
        }
        Element::Second(pad) => {
            let (value, mut rest) = padded(text, pad)?;
            read.second = i8::try_from(value).ok()?;
            // A fraction may follow the seconds even where the layout has none.
            if !matches!(next, Some(Element::Fraction { .. })) && rest.starts_with(['.', ',']) {
                rest = fraction(read, rest, None).unwrap_or(rest);
            }
            (rest, (!within(value, 0, 59)).then_some("second"))
        }
        Element::Fraction { trim: true, .. } => (fraction(read, text, None).unwrap_or(text), None),
        Element::Fraction { digits, .. } => (fraction(read, text, Some(digits))?, None),
        Element::Half { .. } => {
            let (half, rest) = text.split_at_checked(2)?;
            read.afternoon = Some(match half {
                "PM" | "pm" => true,
                "AM" | "am" => false,
                _ => return None,
            });
            (rest, None)
        }
        Element::ZoneName => {
            let length = text.bytes().take_while(u8::is_ascii_uppercase).count();
            ((3..=5).contains(&length).then(|| &text[length..])?, None)
        }
        Element::Zone { z: true, .. } if text.starts_with('Z') => (&text[1..], None),
        Element::Zone { separator, parts, .. } => {
            let negative = match text.chars().next()? {
                '-' => true,
                '+' => false,
                _ => return None,
            };
            let (mut seconds, mut rest) = (0, &text[1..]);
            for (n, unit) in [3600, 60, 1].into_iter().take(parts.into()).enumerate() {
                rest = if n > 0 { rest.strip_prefix(separator)? } else { rest };
                let (value, after) = digits(rest, 2, 2)?;
                (seconds, rest) = (seconds + value * unit, after);
            }
            match Offset::from_seconds(if negative { -seconds } else { seconds }) {
                Ok(offset) => read.offset = offset,
                Err(_) => return Some(Err("time zone offset hour")),
            }
            (rest, None)
        }
    };
    Some(fault.map_or(Ok(rest), Err))
}

/// A number of `least` to `most` digits.
fn digits(text: &str, least: usize, most: usize) -> Option<(i32, &str)> {
    let count = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
    if count < least {
        return None;
    }
    Some((text[..count].parse().ok()?, &text[count..]))
}

fn padded(text: &str, pad: Pad) -> Option<(i32, &str)> {
    match pad {
        Pad::Zero => digits(text, 2, 2),
        Pad::None => digits(text, 1, 2),
        Pad::Space => digits(text.strip_prefix(' ').unwrap_or(text), 1, 2),
    }
}

/// Which of the names, in full or only their first three letters, `text` begins with.
fn name(
    text: &str,
    short: bool,
    names: impl Iterator<Item = &'static str>,
) -> Option<(usize, &str)> {
    names
        .map(|name| if short { &name[..3] } else { name })
        .enumerate()
        .find(|(_, name)| text.get(..name.len()).is_some_and(|t| t.eq_ignore_ascii_case(name)))
        .map(|(n, name)| (n, &text[name.len()..]))
}

fn fraction<'t>(read: &mut Read, text: &'t str, exactly: Option<usize>) -> Option<&'t str> {
    let after = text.strip_prefix(['.', ','])?;
    let count = after.bytes().take_while(u8::is_ascii_digit).count();
    if count == 0 || exactly.is_some_and(|digits| digits != count) {
        return None;
    }
    let nine: String = after[..count].chars().chain(std::iter::repeat('0')).take(9).collect();
    read.nanos = nine.parse().ok()?;
    Some(&after[count..])
}

#[cfg(test)]
mod tests {
    use super::super::Time;

    #[track_caller]
    fn read(layout: &str, text: &str, expected: &str) {
        let got = Time::parse(layout, text).map_or_else(|error| error, |time| time.rfc3339());
        assert_eq!(got, expected, "{layout} {text}");
    }

    #[test]
    fn reads_by_layouts() {
        read("2006-01-02", "2024-03-15", "2024-03-15T00:00:00Z");
        read("Jan _2 2006 3:04PM", "Mar  5 2024 1:30PM", "2024-03-05T13:30:00Z");
        read(
            "2006-01-02T15:04:05Z07:00",
            "2024-03-15T10:00:00.5+02:00",
            "2024-03-15T10:00:00.5+02:00",
        );
        read("2006 002", "2024 366", "2024-12-31T00:00:00Z");
        read("06 MST", "99 CEST", "1999-01-01T00:00:00Z");
    }

    #[test]
    fn says_what_it_cannot_read() {
        let of = |layout: &str, text: &str| format!("parsing time \"{text}\" as \"{layout}\": ");
        read("2006", "x", &(of("2006", "x") + "cannot parse \"x\" as \"2006\""));
        read("2006-01", "2024", &(of("2006-01", "2024") + "cannot parse \"\" as \"-\""));
        read("2006", "20245", "parsing time \"20245\": extra text: \"5\"");
        read("2006-01-02", "2024-13-01", "parsing time \"2024-13-01\": month out of range");
        read("2006-01-02", "2023-02-29", "parsing time \"2023-02-29\": day out of range");
        read("15:04", "24:00", "parsing time \"24:00\": hour out of range");
        read("-07", "+99", "parsing time \"+99\": time zone offset hour out of range");
    }
}
