//! Layouts: how Go is told to print or read a time, by writing its reference time; and printing.
//!
//! ```text
//! Mon Jan 2 15:04:05 2006 MST      Sat Nov 24 11:14:12 2012 UTC
//! 2006-01-02T15:04:05.000Z07:00    2012-11-24T11:14:12.000Z
//! ```
//!
//! Invariant: what no element matches is literal text, so every text is a layout.

use std::fmt::Write as _;

use super::{Civil, MONTHS, weekday};

/// An element of a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    Year,
    ShortYear,
    MonthName,
    ShortMonthName,
    Month(Pad),
    DayName,
    ShortDayName,
    Day(Pad),
    DayOfYear(Pad),
    Hour,
    Hour12(Pad),
    Minute(Pad),
    Second(Pad),
    /// That many digits after a point or comma; `trim` leaves out zeros at the end.
    Fraction {
        separator: char,
        digits: usize,
        trim: bool,
    },
    Half {
        upper: bool,
    },
    ZoneName,
    Zone {
        z: bool,
        separator: &'static str,
        parts: u8,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pad {
    None,
    Zero,
    Space,
}

/// The elements by how they are written; what begins another comes after it.
const ELEMENTS: &[(&str, Element)] = &[
    ("January", Element::MonthName),
    ("Jan", Element::ShortMonthName),
    ("Monday", Element::DayName),
    ("Mon", Element::ShortDayName),
    ("MST", Element::ZoneName),
    ("2006", Element::Year),
    ("002", Element::DayOfYear(Pad::Zero)),
    ("01", Element::Month(Pad::Zero)),
    ("02", Element::Day(Pad::Zero)),
    ("03", Element::Hour12(Pad::Zero)),
    ("04", Element::Minute(Pad::Zero)),
    ("05", Element::Second(Pad::Zero)),
    ("06", Element::ShortYear),
    ("15", Element::Hour),
    ("1", Element::Month(Pad::None)),
    ("2", Element::Day(Pad::None)),
    ("__2", Element::DayOfYear(Pad::Space)),
    ("_2", Element::Day(Pad::Space)),
    ("3", Element::Hour12(Pad::None)),
    ("4", Element::Minute(Pad::None)),
    ("5", Element::Second(Pad::None)),
    ("PM", Element::Half { upper: true }),
    ("pm", Element::Half { upper: false }),
    ("Z070000", Element::Zone { z: true, separator: "", parts: 3 }),
    ("Z07:00:00", Element::Zone { z: true, separator: ":", parts: 3 }),
    ("Z0700", Element::Zone { z: true, separator: "", parts: 2 }),
    ("Z07:00", Element::Zone { z: true, separator: ":", parts: 2 }),
    ("Z07", Element::Zone { z: true, separator: "", parts: 1 }),
    ("-070000", Element::Zone { z: false, separator: "", parts: 3 }),
    ("-07:00:00", Element::Zone { z: false, separator: ":", parts: 3 }),
    ("-0700", Element::Zone { z: false, separator: "", parts: 2 }),
    ("-07:00", Element::Zone { z: false, separator: ":", parts: 2 }),
    ("-07", Element::Zone { z: false, separator: "", parts: 1 }),
];

/// The element that `rest` begins with, and its length.
fn element(rest: &str) -> Option<(Element, usize)> {
    let after = |n: usize| rest.as_bytes().get(n);
    if let Some(separator @ ('.' | ',')) = rest.chars().next() {
        let digit = *after(1).filter(|b| matches!(b, b'0' | b'9'))?;
        let digits = rest.bytes().skip(1).take_while(|b| *b == digit).count();
        let trim = digit == b'9';
        let more = after(1 + digits).is_some_and(u8::is_ascii_digit);
        return (!more).then_some((Element::Fraction { separator, digits, trim }, 1 + digits));
    }
    let (name, element) = ELEMENTS.iter().find(|(name, element)| {
        rest.starts_with(name)
            && match element {
                // `Month` and `Janet` are words of their own.
                Element::ShortMonthName | Element::ShortDayName => {
                    !after(name.len()).is_some_and(u8::is_ascii_lowercase)
                }
                // In `_2006` the line stands for itself.
                Element::Day(Pad::Space) => !rest.starts_with("_2006"),
                _ => true,
            }
    })?;
    Some((*element, name.len()))
}

/// The text before the first element, the element with its notation, and what follows it.
pub(super) fn split(layout: &str) -> (&str, Option<(Element, &str)>, &str) {
    for (at, _) in layout.char_indices() {
        if let Some((element, length)) = element(&layout[at..]) {
            let (before, rest) = layout.split_at(at);
            let (notation, after) = rest.split_at(length);
            return (before, Some((element, notation)), after);
        }
    }
    (layout, None, "")
}

pub(super) fn format(time: &Civil, layout: &str) -> String {
    let mut out = String::with_capacity(layout.len() + 10);
    let mut rest = layout;
    while !rest.is_empty() {
        let (before, element, after) = split(rest);
        out.push_str(before);
        if let Some((element, _)) = element {
            push(&mut out, time, element);
        }
        rest = after;
    }
    out
}

fn push(out: &mut String, time: &Civil, element: Element) {
    let Civil { date, offset, abbreviation } = time;
    let mut number = |value: i32, pad: Pad, width: usize| {
        // Writing to a string does not fail.
        let _ = match pad {
            Pad::None => write!(out, "{value}"),
            Pad::Zero => write!(out, "{value:0width$}"),
            Pad::Space => write!(out, "{value:width$}"),
        };
    };
    let month = MONTHS[usize::from(date.month().unsigned_abs()).clamp(1, 12) - 1].name;
    let twelve = match date.hour() % 12 {
        0 => 12,
        hour => hour,
    };
    match element {
        Element::Year => number(i32::from(date.year()), Pad::Zero, 4),
        Element::ShortYear => number(i32::from(date.year()).rem_euclid(100), Pad::Zero, 2),
        Element::MonthName => out.push_str(month),
        Element::ShortMonthName => out.push_str(&month[..3]),
        Element::Month(pad) => number(date.month().into(), pad, 2),
        Element::DayName => out.push_str(weekday(*date).name),
        Element::ShortDayName => out.push_str(&weekday(*date).name[..3]),
        Element::Day(pad) => number(date.day().into(), pad, 2),
        Element::DayOfYear(pad) => number(date.day_of_year().into(), pad, 3),
        Element::Hour => number(date.hour().into(), Pad::Zero, 2),
        Element::Hour12(pad) => number(twelve.into(), pad, 2),
        Element::Minute(pad) => number(date.minute().into(), pad, 2),
        Element::Second(pad) => number(date.second().into(), pad, 2),
        Element::Fraction { separator, digits, trim } => {
            let all = format!("{:09}", date.subsec_nanosecond());
            let mut shown: String =
                all.chars().chain(std::iter::repeat('0')).take(digits).collect();
            if trim {
                shown.truncate(shown.trim_end_matches('0').len());
            }
            if !shown.is_empty() {
                out.push(separator);
                out.push_str(&shown);
            }
        }
        Element::Half { upper } => out.push_str(match (date.hour() < 12, upper) {
            (true, true) => "AM",
            (true, false) => "am",
            (false, true) => "PM",
            (false, false) => "pm",
        }),
        Element::ZoneName => out.push_str(abbreviation),
        Element::Zone { z: true, .. } if offset.is_zero() => out.push('Z'),
        Element::Zone { separator, parts, .. } => {
            let seconds = offset.seconds().unsigned_abs();
            out.push(if offset.is_negative() { '-' } else { '+' });
            let all = [seconds / 3600, seconds / 60 % 60, seconds % 60];
            for (n, part) in all.iter().take(parts.into()).enumerate() {
                let _ = write!(out, "{}{part:02}", if n > 0 { separator } else { "" });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Time;

    #[track_caller]
    fn check(layout: &str, expected: &str) {
        let time =
            Time::parse("2006-01-02T15:04:05Z07:00", "2009-02-04T21:00:57.012345678Z").unwrap();
        assert_eq!(time.format(layout), expected, "{layout}");
    }

    #[test]
    fn prints_by_layouts() {
        check("Mon Jan _2 15:04:05 2006", "Wed Feb  4 21:00:57 2009");
        check("Monday, 02-Jan-06 15:04:05 MST", "Wednesday, 04-Feb-09 21:00:57 UTC");
        check("2006-01-02T15:04:05.999999999Z07:00", "2009-02-04T21:00:57.012345678Z");
        check("Mon, 02 Jan 2006 15:04:05 -0700", "Wed, 04 Feb 2009 21:00:57 +0000");
        check("3:04PM 03 pm", "9:00PM 09 pm");
        check(".000 ,000000 .99 .990", ".012 ,012345 .01 .990");
        check("January Month Janet 1", "February Month Janet 2");
        check("002 __2 _2006 Z07 -07", "035  35 _2009 Z +00");
        check("", "");
        check("no element at öll", "no element at öll");
    }
}
