//! Calendars: the events of an iCalendar file, and when they are.
//!
//! Source: RFC 5545. Read are VEVENT with DTSTART, DTEND or DURATION, RRULE (see `recurrence`), RDATE,
//! EXDATE, RECURRENCE-ID, STATUS and SUMMARY; all else is left out. An event that cannot be read is a
//! fault, never a window at some other time.
//!
//! Invariant: no calendar takes more than [`MAX_BYTES`] and [`MAX_EVENTS`], whoever wrote it (A7.5).

use base::sample::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

use super::recurrence::{Rule, days, utc};
use super::spans::{Span, instant};

/// The largest calendar that is read.
pub(super) const MAX_BYTES: usize = 1 << 20;
/// The most events.
const MAX_EVENTS: usize = 5000;
/// The most faults that are told.
const MOST_TOLD: usize = 5;
/// The longest event: 32 days.
const LONGEST: i64 = 32 * 24 * 3600;

/// A calendar.
#[derive(Clone, Debug, Default)]
pub(super) struct Calendar {
    events: Vec<Event>,
    /// Moments at which an event does not come, by its UID: another stands in its place.
    replaced: Vec<(String, Timestamp)>,
}

#[derive(Clone, Debug)]
struct Event {
    uid: String,
    start: When,
    length: Length,
    rule: Option<(Rule, Option<Timestamp>)>,
    more: Vec<Timestamp>,
    except: Vec<Timestamp>,
}

/// A day or a time, as a calendar says it.
#[derive(Clone, Debug)]
struct When {
    civil: DateTime,
    zone: TimeZone,
    is_day: bool,
}

#[derive(Clone, Copy, Debug)]
enum Length {
    Seconds(i64),
    /// Whole days of the calendar, which may have 23 or 25 hours.
    Days(i64),
}

impl Calendar {
    /// The events in `text`; times without a zone are in `zone`.
    ///
    /// # Errors
    ///
    /// What cannot be read, with its line.
    pub(super) fn read(text: &str, zone: &TimeZone) -> Result<Self, String> {
        if text.len() > MAX_BYTES {
            return Err(format!("is larger than {MAX_BYTES} bytes"));
        }
        let lines = unfold(text);
        if lines.first().is_none_or(|(_, line)| !line.eq_ignore_ascii_case("BEGIN:VCALENDAR")) {
            return Err("does not begin with BEGIN:VCALENDAR".to_owned());
        }
        let mut calendar = Self::default();
        let mut faults = Vec::new();
        let mut event: Option<(usize, Vec<Property>)> = None;
        // Parts of an event, such as an alarm, have properties of the same names.
        let mut within = 0_u32;
        for (number, line) in lines {
            let property = Property::read(&line);
            match (property.name.as_str(), property.value.to_ascii_uppercase().as_str()) {
                ("BEGIN", "VEVENT") => event = Some((number, Vec::new())),
                ("BEGIN", _) if event.is_some() => within += 1,
                ("END", "VEVENT") => {
                    within = 0;
                    if let Some((number, properties)) = event.take()
                        && let Err(fault) = calendar.add(&properties, zone)
                    {
                        faults.push(format!("the event in line {number}: {fault}"));
                    }
                }
                ("END", _) => within = within.saturating_sub(1),
                _ if within == 0 => event.iter_mut().for_each(|(_, p)| p.push(property.clone())),
                _ => {}
            }
            if calendar.events.len() > MAX_EVENTS {
                return Err(format!("has more than {MAX_EVENTS} events"));
            }
        }
        if event.is_some() {
            faults.push("the last event has no end".to_owned());
        }
        match faults.is_empty() {
            true => Ok(calendar),
            false => {
                faults.truncate(MOST_TOLD);
                Err(faults.join("; "))
            }
        }
    }

    fn add(&mut self, properties: &[Property], zone: &TimeZone) -> Result<(), String> {
        let find = |name: &str| properties.iter().find(|property| property.name == name);
        let start = find("DTSTART").ok_or("DTSTART is missing")?.when(zone)?;
        let uid = find("UID").map_or_else(String::new, |uid| uid.value.clone());
        if let Some(replaces) = find("RECURRENCE-ID") {
            self.replaced.push((uid.clone(), replaces.when(zone)?.at()?));
        }
        if find("STATUS").is_some_and(|status| status.value.eq_ignore_ascii_case("CANCELLED")) {
            return Ok(());
        }
        let length = match (find("DTEND"), find("DURATION")) {
            (Some(end), _) => start.until(&end.when(zone)?)?,
            (None, Some(duration)) => period(&duration.value)?,
            (None, None) if start.is_day => Length::Days(1),
            (None, None) => return Err("DTEND or DURATION is missing".to_owned()),
        };
        let (Length::Seconds(seconds) | Length::Days(seconds)) = match length {
            Length::Days(days) => Length::Seconds(days * 86_400),
            seconds => seconds,
        };
        if !(1..=LONGEST).contains(&seconds) {
            return Err("it must last for a second at least and 32 days at most".to_owned());
        }
        let rule = match find("RRULE") {
            None => None,
            Some(rule) => {
                let rule = Rule::read(&rule.value, start.civil.date())?;
                let until = match &rule.until {
                    None => None,
                    Some(text) => Some(until(text, &start.zone)?),
                };
                Some((rule, until))
            }
        };
        let all = |name: &str| -> Result<Vec<Timestamp>, String> {
            let mut found = Vec::new();
            for property in properties.iter().filter(|property| property.name == name) {
                for value in property.value.split(',') {
                    let one = Property { value: value.trim().to_owned(), ..property.clone() };
                    found.push(one.when(zone)?.at()?);
                }
            }
            Ok(found)
        };
        let (more, except) = (all("RDATE")?, all("EXDATE")?);
        start.at()?;
        self.events.push(Event { uid, start, length, rule, more, except });
        Ok(())
    }

    /// The spans that begin before `to` and end after `from`, sorted.
    pub(super) fn spans(&self, from: Timestamp, to: Timestamp) -> Vec<Span> {
        let mut spans: Vec<Span> = Vec::new();
        for event in &self.events {
            let is_replaced = |at: Timestamp| {
                let this = |(uid, when): &&(String, Timestamp)| *uid == event.uid && *when == at;
                event.rule.is_some() && self.replaced.iter().any(|other| this(&other))
            };
            let starts = event.starts(from, to).into_iter();
            let starts = starts.filter(|at| !event.except.contains(at) && !is_replaced(*at));
            spans.extend(starts.filter_map(|start| event.span(start)));
        }
        spans.retain(|span| span.start < to && span.end > from);
        spans.sort();
        spans.dedup();
        spans
    }
}

impl Event {
    /// When it may begin between `from` and `to`, and some times around.
    fn starts(&self, from: Timestamp, to: Timestamp) -> Vec<Timestamp> {
        let mut starts = self.more.clone();
        let Some((rule, until)) = &self.rule else {
            starts.extend(self.start.at());
            return starts;
        };
        let first = self.start.civil.date();
        let date = |at: Timestamp| {
            let at = jiff::Timestamp::from_millisecond(at.millis()).ok()?;
            Some(self.start.zone.to_datetime(at).date())
        };
        let before = from - std::time::Duration::from_secs(LONGEST.unsigned_abs() + 2 * 86_400);
        let (Some(begin), Some(end)) = (date(before), date(to)) else { return starts };
        for day in days(begin.max(first)).take_while(|day| *day <= end) {
            if rule.comes(first, day)
                && let Some(at) =
                    instant(&self.start.zone, day.to_datetime(self.start.civil.time()))
                && until.is_none_or(|until| at <= until)
            {
                starts.push(at);
            }
        }
        starts
    }

    fn span(&self, start: Timestamp) -> Option<Span> {
        let end = match self.length {
            Length::Seconds(seconds) => Timestamp::from_millis(start.millis() + seconds * 1000),
            Length::Days(days) => {
                let at = jiff::Timestamp::from_millisecond(start.millis()).ok()?;
                let civil = self.start.zone.to_datetime(at);
                let end = civil.checked_add(jiff::Span::new().try_days(days).ok()?).ok()?;
                instant(&self.start.zone, end)?
            }
        };
        Some(Span { start, end })
    }
}

impl When {
    fn at(&self) -> Result<Timestamp, String> {
        instant(&self.zone, self.civil).ok_or_else(|| "a time is out of range".to_owned())
    }

    fn until(&self, end: &Self) -> Result<Length, String> {
        if self.is_day && end.is_day {
            let days = end.civil.date().since(self.civil.date());
            return Ok(Length::Days(days.map_or(0, |span| i64::from(span.get_days()))));
        }
        Ok(Length::Seconds((end.at()?.millis() - self.at()?.millis()) / 1000))
    }
}

/// A line: `NAME;PARAMETER=VALUE:VALUE`.
#[derive(Clone, Debug)]
struct Property {
    name: String,
    parameters: Vec<(String, String)>,
    value: String,
}

impl Property {
    fn read(line: &str) -> Self {
        let mut quoted = false;
        let colon = line.find(|c| {
            quoted ^= c == '"';
            c == ':' && !quoted
        });
        let (head, value) = line.split_at(colon.unwrap_or(line.len()));
        let mut parts = head.split(';');
        let name = parts.next().unwrap_or_default().to_ascii_uppercase();
        let parameter = |part: &str| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            (name.to_ascii_uppercase(), value.trim_matches('"').to_owned())
        };
        let value = value.strip_prefix(':').unwrap_or(value).trim().to_owned();
        Self { name, parameters: parts.map(parameter).collect(), value }
    }

    fn when(&self, default: &TimeZone) -> Result<When, String> {
        let wrong = || format!("{}: `{}` is not a time", self.name, self.value);
        if self.value.len() == 8 {
            let date: Date = self.value.parse().map_err(|_| wrong())?;
            let (civil, zone) = (date.to_datetime(jiff::civil::Time::midnight()), default.clone());
            return Ok(When { civil, zone, is_day: true });
        }
        let (text, zone) = match self.value.strip_suffix('Z') {
            Some(text) => (text, TimeZone::UTC),
            None => (self.value.as_str(), self.zone(default)?),
        };
        let civil: DateTime = text.parse().map_err(|_| wrong())?;
        Ok(When { civil, zone, is_day: false })
    }

    fn zone(&self, default: &TimeZone) -> Result<TimeZone, String> {
        let Some((_, name)) = self.parameters.iter().find(|(name, _)| name == "TZID") else {
            return Ok(default.clone());
        };
        // Some programs write a path before the name.
        let parts: Vec<&str> = name.trim_start_matches('/').split('/').collect();
        let tails = (0..parts.len()).map(|from| parts[from..].join("/"));
        let known = tails.into_iter().find_map(|name| TimeZone::get(&name).ok());
        known.ok_or_else(|| format!("there is no time zone `{name}`"))
    }
}

/// The last moment of UNTIL, which is a time in UTC, or a day or time in the zone of the event.
fn until(text: &str, zone: &TimeZone) -> Result<Timestamp, String> {
    let wrong = || format!("UNTIL: `{text}` is not a time");
    if text.ends_with('Z') {
        return utc(text).ok_or_else(wrong);
    }
    let civil: DateTime = match text.len() {
        8 => text.parse::<Date>().map_err(|_| wrong())?.at(23, 59, 59, 0),
        _ => text.parse().map_err(|_| wrong())?,
    };
    instant(zone, civil).ok_or_else(wrong)
}

/// `P1D`, `PT2H30M`, `P2W`.
fn period(text: &str) -> Result<Length, String> {
    let wrong = || format!("DURATION: `{text}` is not a duration");
    let mut rest = text.trim_start_matches('+').strip_prefix('P').ok_or_else(wrong)?;
    let (mut days, mut seconds) = (0_i64, 0_i64);
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('T') {
            rest = after;
            continue;
        }
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: i64 = rest[..digits].parse().map_err(|_| wrong())?;
        let number = Some(number).filter(|number| *number < 10_000_000).ok_or_else(wrong)?;
        let unit = rest[digits..].chars().next().ok_or_else(wrong)?;
        match unit {
            'W' => days += number * 7,
            'D' => days += number,
            'H' => seconds += number * 3600,
            'M' => seconds += number * 60,
            'S' => seconds += number,
            _ => return Err(wrong()),
        }
        rest = &rest[digits + 1..];
    }
    Ok(if seconds == 0 { Length::Days(days) } else { Length::Seconds(days * 86_400 + seconds) })
}

/// The lines with their numbers; one that begins with a space goes on the one before.
fn unfold(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let text = text.trim_start_matches('\u{feff}');
    for (number, line) in (1..).zip(text.lines()) {
        match (line.strip_prefix([' ', '\t']), lines.last_mut()) {
            (Some(more), Some((_, last))) => last.push_str(more),
            _ if line.trim().is_empty() => {}
            _ => lines.push((number, line.to_owned())),
        }
    }
    lines
}

#[cfg(test)]
mod tests;
