//! The least that can be said of a group: what a service gets that refused the whole message.
//!
//! Invariant: whatever the alerts hold, the minimal message has a few short lines without control
//! characters, and says that it is not all (F16).

use std::collections::BTreeMap;

use base::labels::{ALERT_NAME, LabelsBuilder};

use super::notifier::Notification;
use super::texts::one_line;
use crate::alerts::Alert;

/// The most alerts, labels of each, and characters of each text.
const MOST_ALERTS: usize = 5;
const MOST_LABELS: usize = 20;
const MOST_TEXT: usize = 120;

/// The minimal form of a message; nothing where the message is minimal already.
pub(super) fn minimal(notification: &Notification) -> Option<Notification> {
    let mut short = notification.clone();
    short.alerts.truncate(MOST_ALERTS);
    short.alerts = short.alerts.iter().map(minimal_alert).collect();
    short.group_labels = cut_labels(&notification.group_labels);
    if short.alerts == notification.alerts && short.group_labels == notification.group_labels {
        return None;
    }
    short.answer.note = one_line(&short.answer.note, MOST_TEXT);
    let more = match notification.alerts.len().saturating_sub(MOST_ALERTS) {
        0 => String::new(),
        more => format!("; {more} more alerts are not in it"),
    };
    let url = &notification.external_url;
    let text =
        format!("the service refused the whole message, this is its short form{more}: {url}");
    if let Some(first) = short.alerts.first_mut() {
        first.annotations.insert("shortened".to_owned(), text);
    }
    Some(short)
}

fn minimal_alert(alert: &Alert) -> Alert {
    let summary = alert.annotations.get("summary");
    let summary = summary.map(|text| ("summary".to_owned(), one_line(text, MOST_TEXT)));
    Alert {
        labels: cut_labels(&alert.labels),
        annotations: summary.into_iter().collect::<BTreeMap<_, _>>(),
        generator_url: String::new(),
        ..alert.clone()
    }
}

/// The first labels and the name, each on one short line.
fn cut_labels(labels: &base::labels::Labels) -> base::labels::Labels {
    let mut cut = LabelsBuilder::default();
    let name = labels.iter().filter(|(name, _)| *name == ALERT_NAME);
    let others = labels.iter().filter(|(name, _)| *name != ALERT_NAME && name.len() <= MOST_TEXT);
    for (name, value) in name.chain(others).take(MOST_LABELS) {
        cut.set(name, &one_line(value, MOST_TEXT));
    }
    cut.build()
}

#[cfg(test)]
mod tests {
    use base::labels::Labels;

    use super::super::texts::tests::notification;
    use super::*;

    #[test]
    fn says_little_and_that_it_is_not_all_f16() {
        let mut hostile = notification();
        let template = hostile.alerts[0].clone();
        hostile.alerts = (0..5000)
            .map(|n| {
                let mut alert = template.clone();
                let labels = (0..100).map(|l| (format!("label{l}"), "x\r\n".repeat(1000)));
                let labels: Vec<_> = labels.collect();
                alert.labels = Labels::from_pairs(labels.iter().map(|(n, v)| (n, v)))
                    .with("alertname", &format!("Down{n}"));
                alert.annotations.insert("summary".into(), "y\0".repeat(500_000));
                alert.annotations.insert("description".into(), "z".repeat(1_000_000));
                alert
            })
            .take(7)
            .collect();
        let short = minimal(&hostile).unwrap();
        assert_eq!(short.alerts.len(), MOST_ALERTS);
        assert_eq!(short.alerts[0].name(), "Down0");
        let said = &short.alerts[0].annotations["shortened"];
        assert!(said.contains("; 2 more alerts are not in it"), "{said}");
        let mut size = 0;
        for alert in &short.alerts {
            let labels = alert.labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned()));
            for (name, text) in labels.chain(alert.annotations.clone()) {
                assert!(!text.chars().any(char::is_control), "{name}: {text}");
                size += name.len() + text.len();
            }
        }
        assert!(size < 20_000, "{size}");
        // The same alerts by their states, so that what was told stays true.
        assert_eq!(short.status(), hostile.status());
        assert_eq!(short.group_key, hostile.group_key);
    }

    #[test]
    fn what_is_minimal_already_has_no_smaller_form() {
        let mut small = minimal(&notification()).unwrap();
        small.alerts[0].annotations.remove("shortened");
        assert!(minimal(&small).is_none());
    }
}
