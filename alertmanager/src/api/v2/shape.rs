//! Alerts as JSON text, written without a detour: there may be a hundred thousand of them.
//!
//! Invariant: the fields, their order and their form are those of Alertmanager.

use base::sample::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;

use super::HeldBy;
use crate::alerts::Alert;
use crate::dispatch::Route;
use crate::json::{end_list, hexadecimal, labels, list, object, text, time};

/// RFC 3339 with three digits.
const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(3));

/// Appends an alert; `times` are when it ends, and when it was last heard of.
pub(super) fn put(
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
    time(to, ends_at, &PRINTER);
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
    time(to, alert.starts_at, &PRINTER);
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
    time(to, updated_at, &PRINTER);
    if !alert.generator_url.is_empty() {
        to.extend_from_slice(b",\"generatorURL\":");
        text(to, &alert.generator_url);
    }
    to.extend_from_slice(b",\"labels\":");
    labels(to, &alert.labels);
    to.push(b'}');
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use base::labels::Labels;
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
        let held =
            HeldBy { silences: vec!["s1".into(), "s2".into()], alert: Some(by), times: vec![] };
        let times = (Timestamp::from_millis(1_700_000_060_000), Timestamp::from_millis(-1));
        let mut got = Vec::new();
        put(&mut got, &shown, &held, times, &[&one, &two, &one]);
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
        put(&mut got, &plain, &free, times, &[]);
        let got: Value = serde_json::from_slice(&got).unwrap();
        assert_eq!((&got["status"]["state"], &got["labels"]), (&json!("active"), &json!({})));
        assert_eq!(got["receivers"], json!([]));
    }
}
