//! Alerts as JSON text, written without a detour: there may be a hundred thousand of them.
//!
//! Invariant: the fields, their order and their form are those of Alertmanager.

use base::labels::Labels;
use base::sample::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;

use super::HeldBy;
use crate::alerts::Alert;
use crate::dispatch::Route;

/// RFC 3339 with three digits.
const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(3));

/// Appends an alert; `times` are when it ends, and when it was last heard of.
pub(super) fn alert(
    to: &mut Vec<u8>,
    alert: &Alert,
    held: &HeldBy,
    times: (Timestamp, Timestamp),
    routes: &[&Route],
) {
    let (ends_at, updated_at) = times;
    to.extend_from_slice(b"{\"annotations\":");
    object(to, alert.annotations.iter().map(|(name, text)| (name.as_str(), text.as_str())));
    to.extend_from_slice(b",\"endsAt\":");
    time(to, ends_at);
    to.extend_from_slice(b",\"fingerprint\":\"");
    hexadecimal(to, alert.labels.fingerprint());
    to.extend_from_slice(b"\",\"receivers\":[");
    for (place, route) in routes.iter().enumerate() {
        let named = |other: &&Route| other.receiver == route.receiver;
        if !routes[..place].iter().any(named) {
            to.extend_from_slice(b"{\"name\":");
            text(to, &route.receiver);
            to.extend_from_slice(b"},");
        }
    }
    end_list(to);
    to.extend_from_slice(b",\"startsAt\":");
    time(to, alert.starts_at);
    to.extend_from_slice(b",\"status\":{\"inhibitedBy\":[");
    if let Some(by) = &held.alert {
        to.push(b'"');
        hexadecimal(to, by.fingerprint());
        to.push(b'"');
    }
    to.extend_from_slice(b"],\"mutedBy\":");
    list(to, &held.times);
    to.extend_from_slice(b",\"silencedBy\":");
    list(to, &held.silences);
    let is_held = !held.silences.is_empty() || held.alert.is_some() || !held.times.is_empty();
    let state = if is_held { "suppressed" } else { "active" };
    to.extend_from_slice(b",\"state\":");
    text(to, state);
    to.extend_from_slice(b"},\"updatedAt\":");
    time(to, updated_at);
    to.extend_from_slice(b",\"generatorURL\":");
    text(to, &alert.generator_url);
    to.extend_from_slice(b",\"labels\":");
    labels(to, &alert.labels);
    to.push(b'}');
}

/// Appends labels as an object.
pub(super) fn labels(to: &mut Vec<u8>, labels: &Labels) {
    object(to, labels.iter());
}

/// Ends a list whose entries all have a comma behind them.
pub(super) fn end_list(to: &mut Vec<u8>) {
    match to.last_mut() {
        Some(last) if *last == b',' => *last = b']',
        _ => to.push(b']'),
    }
}

/// Appends a text in quotes.
pub(super) fn text(to: &mut Vec<u8>, text: &str) {
    let plain = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\';
    if text.bytes().all(plain) {
        to.push(b'"');
        to.extend_from_slice(text.as_bytes());
        to.push(b'"');
    } else {
        // Writing to memory cannot fail.
        let _ = serde_json::to_writer(to, text);
    }
}

fn object<'a>(to: &mut Vec<u8>, pairs: impl Iterator<Item = (&'a str, &'a str)>) {
    let mut separator = b'{';
    for (name, value) in pairs {
        to.push(separator);
        text(to, name);
        to.push(b':');
        text(to, value);
        separator = b',';
    }
    if separator == b'{' {
        to.push(b'{');
    }
    to.push(b'}');
}

fn list(to: &mut Vec<u8>, texts: &[String]) {
    to.push(b'[');
    for entry in texts {
        text(to, entry);
        to.push(b',');
    }
    end_list(to);
}

fn time(to: &mut Vec<u8>, at: Timestamp) {
    to.push(b'"');
    let known = jiff::Timestamp::from_millisecond(at.millis()).ok();
    let printed = known.and_then(|known| PRINTER.print_timestamp(&known, &mut *to).ok());
    if printed.is_none() {
        to.extend_from_slice(at.to_string().as_bytes());
    }
    to.push(b'"');
}

fn hexadecimal(to: &mut Vec<u8>, number: u64) {
    for shift in (0..16).rev() {
        let digit = (number >> (4 * shift)) & 0xf;
        to.push(b"0123456789abcdef"[digit as usize]);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn writes_what_alertmanager_writes() {
        let (one, two) = (Route::to("ops"), Route::to("dev \"x\""));
        let shown = Alert {
            labels: Labels::from_pairs([("alertname", "a"), ("q", "\"\\\n\u{7}é")]),
            annotations: BTreeMap::new(),
            starts_at: Timestamp::from_millis(1_700_000_000_123),
            ended: None,
            stale_since: None,
            generator_url: "http://x/".to_owned(),
        };
        let by = Labels::from_pairs([("alertname", "b")]);
        let held = HeldBy { silences: vec!["s1".into(), "s2".into()], alert: Some(by), times: vec![] };
        let times = (Timestamp::from_millis(1_700_000_060_000), Timestamp::from_millis(-1));
        let mut got = Vec::new();
        alert(&mut got, &shown, &held, times, &[&one, &two, &one]);
        let got: Value = serde_json::from_slice(&got).unwrap();
        let expected = json!({
            "annotations": {}, "endsAt": "2023-11-14T22:14:20.000Z",
            "fingerprint": format!("{:016x}", shown.labels.fingerprint()),
            "receivers": [{"name": "ops"}, {"name": "dev \"x\""}],
            "startsAt": "2023-11-14T22:13:20.123Z",
            "status": {
                "inhibitedBy": [format!("{:016x}", held.alert.unwrap().fingerprint())],
                "mutedBy": [], "silencedBy": ["s1", "s2"], "state": "suppressed",
            },
            "updatedAt": "1969-12-31T23:59:59.999Z", "generatorURL": "http://x/",
            "labels": {"alertname": "a", "q": "\"\\\n\u{7}é"},
        });
        assert_eq!(got, expected);
        let mut got = Vec::new();
        let plain = Alert { labels: Labels::empty(), ..shown };
        let free = HeldBy::default();
        alert(&mut got, &plain, &free, times, &[]);
        let got: Value = serde_json::from_slice(&got).unwrap();
        assert_eq!((&got["status"]["state"], &got["labels"]), (&json!("active"), &json!({})));
        assert_eq!(got["receivers"], json!([]));
    }
}
