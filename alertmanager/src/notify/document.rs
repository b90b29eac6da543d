//! An alert as a document, for services that keep and search documents.
//!
//! The names are those of the Elastic Common Schema where it has them; what is ours alone stands
//! below `veilleur`.
//!
//! Invariant: one firing of an alert is one document, whose id depends on nothing that changes while
//! it fires: so a later state takes the place of an earlier one.

use base::sample::Timestamp;
use serde_json::{Map, Value, json};

use super::notifier::Notification;
use super::texts::shortened;
use crate::alerts::{Alert, Ending};

/// The longest text of a field, in characters.
const MAX_TEXT: usize = 8000;

/// Names one firing of an alert.
pub(super) fn id(alert: &Alert) -> String {
    format!("{:016x}-{:x}", alert.labels.fingerprint(), alert.starts_at.millis())
}

/// `firing`, `stale`, `resolved`, or why else it ended.
fn state(alert: &Alert) -> &'static str {
    match (alert.ended, alert.stale_since) {
        (Some((_, ending)), _) => ending.as_str(),
        (None, Some(_)) => "stale",
        (None, None) => "firing",
    }
}

/// The alert as it is now.
pub(super) fn alert(alert: &Alert, notification: &Notification) -> Value {
    let summary = ["summary", "description"].map(|name| alert.annotations.get(name));
    let summary = summary.into_iter().flatten().next().map_or("", String::as_str);
    let message = format!("[{}] {}: {summary}", state(alert).to_uppercase(), alert.name());
    let mut event = json!({
        "kind": "alert",
        "id": id(alert),
        "start": time(alert.starts_at),
        "created": time(notification.at),
    });
    if !alert.generator_url.is_empty() {
        event["url"] = json!(shortened(&alert.generator_url, MAX_TEXT));
    }
    if let Some((at, _)) = alert.ended {
        let length = at.since(alert.starts_at).as_nanos();
        event["end"] = json!(time(at));
        event["duration"] = json!(u64::try_from(length).unwrap_or(u64::MAX));
    }
    let mut document = json!({
        "@timestamp": time(alert.starts_at),
        "message": shortened(message.trim_end_matches(": "), MAX_TEXT),
        "event": event,
        "rule": {"name": shortened(alert.name(), MAX_TEXT)},
        "labels": texts(alert.labels.iter()),
        "veilleur": {
            "document": "alert",
            "status": if alert.is_firing() { "firing" } else { "resolved" },
            "state": state(alert),
            "fingerprint": format!("{:016x}", alert.labels.fingerprint()),
            "annotations": texts(alert.annotations.iter().map(|(n, v)| (n.as_str(), v.as_str()))),
            "receiver": notification.receiver,
            "group_key": shortened(&notification.group_key, MAX_TEXT),
            "incident": notification.thread,
        },
    });
    if let Some(host) = alert.labels.get("host").or_else(|| alert.labels.get("instance")) {
        document["host"] = json!({"name": shortened(host, MAX_TEXT)});
    }
    document
}

/// The group as a whole: an incident, from its first alert to its all-clear; `began` is when its
/// first message was sent.
pub(super) fn incident(notification: &Notification, began: Timestamp) -> Value {
    let firing = notification.alerts.iter().filter(|alert| alert.is_firing()).count();
    let ended = notification
        .alerts
        .iter()
        .filter(|alert| alert.ended.is_some_and(|(_, ending)| ending == Ending::Resolved));
    let mut event = json!({
        "kind": "alert",
        "id": notification.thread,
        "start": time(began),
        "created": time(notification.at),
    });
    if firing == 0 {
        let length = notification.at.since(began).as_nanos();
        event["end"] = json!(time(notification.at));
        event["duration"] = json!(u64::try_from(length).unwrap_or(u64::MAX));
    }
    let status = notification.status();
    let named: Vec<_> = notification.group_labels.iter().map(|(_, value)| value).collect();
    let message = format!("[{}] {}", status.to_uppercase(), named.join(" "));
    json!({
        "@timestamp": time(began),
        "message": shortened(message.trim_end(), MAX_TEXT),
        "event": event,
        "labels": texts(notification.group_labels.iter()),
        "veilleur": {
            "document": "incident",
            "status": status,
            "firing": firing,
            "resolved": ended.count(),
            "reason": notification.reason.as_str(),
            "receiver": notification.receiver,
            "group_key": shortened(&notification.group_key, MAX_TEXT),
            "incident": notification.thread,
        },
    })
}

/// Names and texts as an object without objects in it: a dot would make one, and a label `a` beside
/// a label `a.b` would then be a text and an object at once.
fn texts<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Value {
    let mut map = Map::new();
    for (name, text) in pairs {
        let name = name.replace('.', "_");
        map.insert(name, json!(shortened(text, MAX_TEXT)));
    }
    Value::Object(map)
}

/// RFC 3339 with milliseconds.
pub(super) fn time(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.millis())
        .map_or_else(|_| at.to_string(), |at| format!("{at:.3}"))
}

#[cfg(test)]
mod tests {
    use super::super::texts::tests::notification;
    use super::*;

    #[test]
    fn a_later_state_has_the_same_id() {
        let message = notification();
        let (firing, mut later) = (&message.alerts[0], message.alerts[0].clone());
        later.ended = Some((Timestamp::from_millis(1_700_000_060_000), Ending::Resolved));
        later.annotations.clear();
        assert_eq!(id(firing), id(&later));
        let fingerprint = firing.labels.fingerprint();
        assert_eq!(id(firing), format!("{fingerprint:016x}-18bcfe56800"));
        later.starts_at = Timestamp::from_millis(1_700_000_000_001);
        assert_ne!(id(firing), id(&later), "the next firing is another document");
    }

    #[test]
    fn an_alert_has_the_names_of_the_common_schema() {
        let mut message = notification();
        let alert_ = &mut message.alerts[1];
        alert_.labels = alert_.labels.with("app", "x").with("app.kubernetes.io/name", "y");
        let got = alert(&message.alerts[1], &message);
        let fingerprint = message.alerts[1].labels.fingerprint();
        assert_eq!(
            got,
            json!({
                "@timestamp": "2023-11-14T22:13:20.000Z",
                "message": "[EXPIRED: TARGET REMOVED] CheckFailed: queue <b>full</b> & more",
                "event": {
                    "kind": "alert", "id": format!("{fingerprint:016x}-18bcfe56800"),
                    "start": "2023-11-14T22:13:20.000Z", "end": "2023-11-14T22:14:20.000Z",
                    "created": "2023-11-14T22:15:00.000Z", "duration": 60_000_000_000_u64,
                    "url": "http://v/#a",
                },
                "rule": {"name": "CheckFailed"},
                "host": {"name": "db:1"},
                "labels": {
                    "alertname": "CheckFailed", "instance": "db:1", "app": "x",
                    "app_kubernetes_io/name": "y",
                },
                "veilleur": {
                    "document": "alert", "status": "resolved", "state": "expired: target removed",
                    "fingerprint": format!("{fingerprint:016x}"),
                    "annotations": {"summary": "queue <b>full</b> & more"},
                    "receiver": "ops", "group_key": "{}:{alertname=\"CheckFailed\"}",
                    "incident": "id1",
                },
            })
        );
    }

    #[test]
    fn an_incident_ends_with_its_last_alert() {
        let mut message = notification();
        let began = Timestamp::from_millis(1_700_000_030_000);
        let open = incident(&message, began);
        assert_eq!(open["event"]["end"], Value::Null);
        assert_eq!(
            (&open["veilleur"]["firing"], &open["message"]),
            (&json!(1), &json!("[FIRING] CheckFailed"))
        );
        message.alerts.remove(0);
        let over = incident(&message, began);
        assert_eq!(over["event"]["id"], "id1");
        assert_eq!(over["event"]["duration"], json!(70_000_000_000_u64));
        assert_eq!(over["veilleur"]["status"], "resolved");
    }
}
