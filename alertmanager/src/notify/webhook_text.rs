//! The webhook's message in version 4, written as text at once: it is what most receivers get, and
//! may have thousands of alerts.
//!
//! Invariant: it says the same as [`super::webhook::body`].

use std::collections::BTreeMap;

use jiff::fmt::temporal::DateTimePrinter;

use super::notifier::Notification;
use super::webhook::answer;
use crate::alerts::Alert;
use crate::json;

/// As many digits of a second as there are.
const PRINTER: DateTimePrinter = DateTimePrinter::new();

/// The message of [`super::webhook::body`] as text.
pub(super) fn text(notification: &Notification, max_alerts: usize) -> Vec<u8> {
    let all = notification.alerts.len();
    let kept = if max_alerts == 0 { all } else { all.min(max_alerts) };
    // About as much as an alert takes.
    let mut to = Vec::with_capacity(kept * 512 + 512);
    to.extend_from_slice(b"{\"version\":\"4\",\"groupKey\":");
    json::text(&mut to, &notification.group_key);
    to.extend_from_slice(b",\"truncatedAlerts\":");
    to.extend_from_slice((all - kept).to_string().as_bytes());
    for (name, text) in [
        ("status", notification.status()),
        ("receiver", &notification.receiver),
        ("externalURL", &notification.external_url),
        ("notificationId", &notification.id),
    ] {
        field(&mut to, name);
        json::text(&mut to, text);
    }
    for (name, text) in answer(notification) {
        field(&mut to, name);
        json::text(&mut to, &text);
    }
    field(&mut to, "groupLabels");
    json::labels(&mut to, &notification.group_labels);
    field(&mut to, "commonLabels");
    json::labels(&mut to, &notification.common_labels());
    field(&mut to, "commonAnnotations");
    texts(&mut to, &notification.common_annotations());
    field(&mut to, "alerts");
    to.push(b'[');
    for shown in notification.alerts.iter().take(kept) {
        alert(&mut to, shown);
        to.push(b',');
    }
    json::end_list(&mut to);
    to.push(b'}');
    to
}

fn alert(to: &mut Vec<u8>, alert: &Alert) {
    to.extend_from_slice(b"{\"status\":");
    json::text(to, if alert.is_firing() { "firing" } else { "resolved" });
    field(to, "labels");
    json::labels(to, &alert.labels);
    field(to, "annotations");
    texts(to, &alert.annotations);
    field(to, "startsAt");
    json::time(to, alert.starts_at, &PRINTER);
    field(to, "endsAt");
    match alert.ended {
        Some((at, _)) => json::time(to, at, &PRINTER),
        // Go's zero time, as Alertmanager writes it.
        None => json::text(to, "0001-01-01T00:00:00Z"),
    }
    field(to, "generatorURL");
    json::text(to, &alert.generator_url);
    to.extend_from_slice(b",\"fingerprint\":\"");
    json::hexadecimal(to, alert.labels.fingerprint());
    to.push(b'"');
    if let Some(since) = alert.stale_since {
        field(to, "staleSince");
        json::time(to, since, &PRINTER);
    }
    if let Some((_, ending)) = alert.ended {
        field(to, "ending");
        json::text(to, ending.as_str());
    }
    to.push(b'}');
}

/// Begins a further field of an object.
fn field(to: &mut Vec<u8>, name: &str) {
    to.push(b',');
    json::text(to, name);
    to.push(b':');
}

fn texts(to: &mut Vec<u8>, texts: &BTreeMap<String, String>) {
    json::object(to, texts.iter().map(|(name, text)| (name.as_str(), text.as_str())));
}
