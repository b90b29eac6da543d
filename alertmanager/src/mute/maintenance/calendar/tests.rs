//! Calendars as programs write them, and broken ones.
//!
//! Invariant: what is expected was worked out by hand from RFC 5545.

use super::super::spans::tests::{at, shown};
use super::*;

fn calendar(events: &[&str]) -> String {
    let event =
        |lines: &&str| format!("BEGIN:VEVENT\r\n{}\r\nEND:VEVENT\r\n", lines.replace(' ', "\r\n"));
    let events: String = events.iter().map(event).collect();
    format!("BEGIN:VCALENDAR\r\nVERSION:2.0\r\n{events}END:VCALENDAR\r\n")
}

#[track_caller]
fn check(events: &[&str], from: &str, to: &str, expected: &[&str]) {
    let zone = TimeZone::get("Europe/Paris").unwrap();
    let calendar = Calendar::read(&calendar(events), &zone).unwrap();
    assert_eq!(shown(&calendar.spans(at(from), at(to))), expected, "{events:?}");
}

#[test]
fn finds_when_events_are() {
    let november = |events: &[&str], expected: &[&str]| {
        check(events, "2026-11-01T00:00:00Z", "2026-11-30T00:00:00Z", expected);
    };
    november(
        &["DTSTART:20261105T220000Z DTEND:20261105T233000Z"],
        &["2026-11-05T22:00/2026-11-05T23:30"],
    );
    // Without a zone it is in the one that the configuration names.
    november(&["DTSTART:20261105T220000 DURATION:PT90M"], &["2026-11-05T21:00/2026-11-05T22:30"]);
    november(
        &["DTSTART;TZID=/mozilla.org/America/New_York:20261105T220000 DURATION:PT1H"],
        &["2026-11-06T03:00/2026-11-06T04:00"],
    );
    november(&["DTSTART;VALUE=DATE:20261105"], &["2026-11-04T23:00/2026-11-05T23:00"]);
    // It has begun before, and still goes on.
    november(&["DTSTART:20261020T000000Z DURATION:P2W"], &["2026-10-20T00:00/2026-11-03T00:00"]);
    // The second Tuesday and Wednesday, one of them left out, one moved, one cancelled.
    november(
        &[
            "UID:a DTSTART:20260101T010000Z DURATION:PT1H RRULE:FREQ=WEEKLY EXDATE:20261105T010000Z",
            "UID:a RECURRENCE-ID:20261112T010000Z DTSTART:20261113T050000Z DURATION:PT1H",
            "UID:a RECURRENCE-ID:20261119T010000Z STATUS:CANCELLED DTSTART:20261119T010000Z",
        ],
        &["2026-11-13T05:00/2026-11-13T06:00", "2026-11-26T01:00/2026-11-26T02:00"],
    );
    november(
        &["DTSTART:20261101T010000Z DURATION:PT1H RRULE:FREQ=DAILY;UNTIL=20261102T010000Z"],
        &["2026-11-01T01:00/2026-11-01T02:00", "2026-11-02T01:00/2026-11-02T02:00"],
    );
    november(
        &[
            "DTSTART:20261101T010000Z DURATION:PT1H RDATE:20261103T010000Z,20261104T010000Z RRULE:FREQ=DAILY;COUNT=1",
        ],
        &[
            "2026-11-01T01:00/2026-11-01T02:00",
            "2026-11-03T01:00/2026-11-03T02:00",
            "2026-11-04T01:00/2026-11-04T02:00",
        ],
    );
}

#[test]
fn hours_are_those_of_the_zone_before_and_after_a_change_f28() {
    let event = "DTSTART;TZID=Europe/Berlin:20261001T023000 DURATION:PT1H RRULE:FREQ=DAILY";
    check(
        &[event],
        "2026-10-24T00:00:00Z",
        "2026-10-26T12:00:00Z",
        &[
            "2026-10-24T00:30/2026-10-24T01:30",
            "2026-10-25T00:30/2026-10-25T01:30",
            "2026-10-26T01:30/2026-10-26T02:30",
        ],
    );
    // In spring 02:30 is skipped: once, at the first moment after the gap (A2.2).
    check(
        &[event],
        "2027-03-27T12:00:00Z",
        "2027-03-28T12:00:00Z",
        &["2027-03-28T01:00/2027-03-28T02:00"],
    );
    // A whole day has 25 hours.
    check(
        &["DTSTART;VALUE=DATE:20261025 DTEND;VALUE=DATE:20261026"],
        "2026-10-24T00:00:00Z",
        "2026-10-26T12:00:00Z",
        &["2026-10-24T22:00/2026-10-25T23:00"],
    );
}

#[test]
fn what_cannot_be_read_is_a_fault() {
    let check = |text: &str, expected: &str| {
        assert_eq!(Calendar::read(text, &TimeZone::UTC).unwrap_err(), expected, "{text}");
    };
    let event = |lines: &str, expected: &str| {
        check(&calendar(&[lines]), &format!("the event in line 3: {expected}"));
    };
    check("<html>", "does not begin with BEGIN:VCALENDAR");
    check("BEGIN:VCALENDAR\nBEGIN:VEVENT\n", "the last event has no end");
    event("SUMMARY:x", "DTSTART is missing");
    event("DTSTART:20261105T220000Z", "DTEND or DURATION is missing");
    event("DTSTART:2026 DURATION:PT1H", "DTSTART: `2026` is not a time");
    event(
        "DTSTART;TZID=Mars/Olympus:20261105T220000 DURATION:PT1H",
        "there is no time zone `Mars/Olympus`",
    );
    event(
        "DTSTART:20261105T220000Z DURATION:PT",
        "it must last for a second at least and 32 days at most",
    );
    event(
        "DTSTART:20261105T220000Z DTEND:20261105T210000Z",
        "it must last for a second at least and 32 days at most",
    );
    event("DTSTART:20261105T220000Z DURATION:1H", "DURATION: `1H` is not a duration");
    event(
        "DTSTART:20261105T220000Z DURATION:PT1H RRULE:FREQ=HOURLY",
        "FREQ=HOURLY is not supported",
    );
    event(
        "DTSTART:20261105T220000Z DURATION:PT1H RRULE:FREQ=DAILY;UNTIL=x",
        "UNTIL: `x` is not a time",
    );
    check(&" ".repeat(MAX_BYTES + 1), "is larger than 1048576 bytes");
}

#[test]
fn long_lines_are_put_together_and_alarms_left_out() {
    let text = "BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART:20261105T2200\n 00Z\nBEGIN:VALARM\nDURATION:P9D\n\
                END:VALARM\nDURATION:PT1H\nSUMMARY:a: \"b\"\nEND:VEVENT\nEND:VCALENDAR\n";
    let calendar = Calendar::read(text, &TimeZone::UTC).unwrap();
    let spans = calendar.spans(at("2026-11-01T00:00:00Z"), at("2026-12-01T00:00:00Z"));
    assert_eq!(shown(&spans), ["2026-11-05T22:00/2026-11-05T23:00"]);
}
