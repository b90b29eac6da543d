//! When something that comes again begins and ends.
//!
//! Invariant: what holds by the interval at a minute is within a span, also where a clock is changed:
//! the spans are found by asking the interval itself, minute by minute (F28).

use base::sample::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};

use super::super::times::TimeInterval;

/// From when until when, the end not included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// The first moment.
    pub start: Timestamp,
    /// The first moment after it.
    pub end: Timestamp,
}

pub(super) const MINUTE: i64 = 60_000;
/// The longest that is looked back for a start and ahead for an end: a month. What began earlier has
/// no start, 0.
const LONGEST: i64 = 32 * 24 * 60 * MINUTE;

/// The spans of `interval` that begin before `to` and end after `from`.
pub(super) fn of_interval(interval: &TimeInterval, from: Timestamp, to: Timestamp) -> Vec<Span> {
    let holds = |minute: i64| interval.contains(Timestamp::from_millis(minute));
    let first = from.millis().div_euclid(MINUTE) * MINUTE;
    let mut spans = Vec::new();
    let mut begun = None;
    if holds(first) {
        let mut start = first;
        while start > first - LONGEST && holds(start - MINUTE) {
            start -= MINUTE;
        }
        begun = Some(if start > first - LONGEST { start } else { 0 });
    }
    let mut minute = first;
    loop {
        minute += MINUTE;
        match (begun, holds(minute)) {
            (None, true) if minute < to.millis() => begun = Some(minute),
            (Some(start), false) => {
                spans.push(span(start, minute));
                begun = None;
            }
            (Some(start), true) if minute >= to.millis() + LONGEST => {
                spans.push(span(start, minute));
                break;
            }
            _ => {}
        }
        if begun.is_none() && minute >= to.millis() {
            break;
        }
    }
    spans
}

fn span(start: i64, end: i64) -> Span {
    Span { start: Timestamp::from_millis(start), end: Timestamp::from_millis(end) }
}

/// The moment at which clocks in `zone` show `civil`: of two the earlier; where they skip it, the
/// first after the gap (A2.2).
pub(super) fn instant(zone: &TimeZone, civil: DateTime) -> Option<Timestamp> {
    let at = |at: jiff::Timestamp| Timestamp::from_millis(at.as_millisecond());
    match zone.to_ambiguous_timestamp(civil).offset() {
        AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(civil).ok().map(at),
        AmbiguousOffset::Fold { before, .. } => before.to_timestamp(civil).ok().map(at),
        AmbiguousOffset::Gap { after, .. } => {
            let before_gap = after.to_timestamp(civil).ok()?;
            zone.following(before_gap).next().map(|change| at(change.timestamp()))
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use base::diagnostic::Diagnostics;

    use super::super::super::times::TimesConfig;
    use super::*;

    pub(crate) fn at(text: &str) -> Timestamp {
        Timestamp::from_millis(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
    }

    /// Spans as `START/END`, to the minute.
    pub(crate) fn shown(spans: &[Span]) -> Vec<String> {
        let time = |at: Timestamp| {
            let at = jiff::Timestamp::from_millisecond(at.millis()).unwrap();
            at.strftime("%Y-%m-%dT%H:%M").to_string()
        };
        spans.iter().map(|span| format!("{}/{}", time(span.start), time(span.end))).collect()
    }

    #[track_caller]
    fn check(yaml: &str, from: &str, to: &str, expected: &[&str]) {
        let mut diagnostics = Diagnostics::new("f.yml");
        let config: TimesConfig = base::yaml::read(yaml, &mut diagnostics).unwrap();
        let interval = config.interval(&mut diagnostics);
        assert_eq!(shown(&of_interval(&interval, at(from), at(to))), expected, "{yaml}");
    }

    #[test]
    fn finds_spans_also_where_clocks_are_changed_f28() {
        let nightly =
            "{times: [{start_time: '02:00', end_time: '04:00'}], location: Europe/Berlin}";
        // The one that runs, and the next.
        let (from, to) = ("2026-06-01T01:30:00Z", "2026-06-02T01:00:00Z");
        let spans = ["2026-06-01T00:00/2026-06-01T02:00", "2026-06-02T00:00/2026-06-02T02:00"];
        check(nightly, from, to, &spans);
        // In spring 02:00 is skipped: it begins at 03:00, an hour is left.
        let (from, to) = ("2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z");
        check(nightly, from, to, &["2026-03-29T01:00/2026-03-29T02:00"]);
        // In autumn the hour from 02:00 comes twice: three hours, and one window.
        let (from, to) = ("2026-10-24T12:00:00Z", "2026-10-25T12:00:00Z");
        check(nightly, from, to, &["2026-10-25T00:00/2026-10-25T03:00"]);
        let weekend = "{weekdays: ['saturday', 'sunday'], location: Europe/Berlin}";
        let (from, to) = ("2026-10-25T12:00:00Z", "2026-10-26T12:00:00Z");
        check(weekend, from, to, &["2026-10-23T22:00/2026-10-25T23:00"]);
        check("{years: ['2020']}", from, to, &[]);
    }

    #[test]
    fn what_began_long_ago_has_no_start() {
        let (from, to) = ("2026-10-25T12:00:00Z", "2026-10-26T12:00:00Z");
        check("{years: ['2026']}", from, to, &["1970-01-01T00:00/2026-11-27T12:00"]);
    }

    #[test]
    fn a_time_that_clocks_skip_is_the_first_after_the_gap_a2_2() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let check = |civil: &str, expected: &str| {
            assert_eq!(instant(&zone, civil.parse().unwrap()), Some(at(expected)), "{civil}");
        };
        check("2026-03-29T02:30:00", "2026-03-29T01:00:00Z");
        check("2026-10-25T02:30:00", "2026-10-25T00:30:00Z");
        check("2026-06-01T02:30:00", "2026-06-01T00:30:00Z");
    }
}
