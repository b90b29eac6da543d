//! One alert as a message of RFC 5424.
//!
//! ```text
//! <27>1 2026-11-21T10:00:00.000Z host veilleur - firing [alert@32473 alertname="Down" ...] text
//! ```
//!
//! Invariant: `"`, `\` and `]` of a label stand escaped in the structured data, no control character
//! stands anywhere, and a message that is too long loses the end of its text, then labels, never
//! its form.

use super::super::document::time;
use super::super::notifier::Notification;
use super::super::texts::{one_line, shortened_bytes};
use super::SyslogNotifier;
use crate::alerts::Alert;

/// The longest value of a label that is told, in bytes.
const MAX_VALUE: usize = 256;
/// What is left for the text where there are many labels, in bytes.
const MIN_TEXT: usize = 512;

/// What a message is made of.
pub(super) struct Message<'a> {
    pub(super) from: &'a SyslogNotifier,
    pub(super) alert: &'a Alert,
    pub(super) notification: &'a Notification,
}

impl Message<'_> {
    /// The message with this text, at most `most` bytes long.
    pub(super) fn write(&self, text: &str, most: usize) -> String {
        let priority = u32::from(self.from.facility) * 8 + severity(self.alert);
        let at = time(self.notification.at);
        let status = if self.alert.is_firing() { "firing" } else { "resolved" };
        let (hostname, app_name) = (&self.from.hostname, &self.from.app_name);
        let mut message = format!("<{priority}>1 {at} {hostname} {app_name} - {status} ");
        message.push('[');
        message.push_str(&self.from.structured_data_id);
        let since = time(self.alert.starts_at);
        let own = [
            ("status", status),
            ("since", since.as_str()),
            ("receiver", &self.notification.receiver),
            ("incident", &self.notification.thread),
        ];
        for (name, value) in own.into_iter().chain(self.alert.labels.iter()) {
            let pair = format!(" {}=\"{}\"", parameter(name), escaped(value));
            if message.len() + pair.len() + MIN_TEXT < most {
                message.push_str(&pair);
            }
        }
        message.push_str("] ");
        let text = one_line(text, most);
        if !text.is_ascii() {
            // By this mark a server knows that the text is in UTF-8 (RFC 5424, section 6.4).
            message.push('\u{feff}');
        }
        let room = most.saturating_sub(message.len());
        message.push_str(&shortened_bytes(&text, room));
        message
    }
}

/// How bad it is, from 0 to 7: by the label `severity` as people write it.
fn severity(alert: &Alert) -> u32 {
    if !alert.is_firing() {
        return 5;
    }
    match alert.labels.get("severity").unwrap_or("") {
        "emergency" | "disaster" => 0,
        "page" | "alert" => 1,
        "critical" => 2,
        "warning" | "unknown" => 4,
        "notice" => 5,
        "info" | "information" => 6,
        "debug" | "none" => 7,
        _ => 3,
    }
}

/// A name that structured data may have: up to 32 printable ASCII characters without `=`, `]`, `"`.
fn parameter(name: &str) -> String {
    let good = |c: char| c.is_ascii_graphic() && !"=]\"".contains(c);
    name.chars().take(32).map(|c| if good(c) { c } else { '_' }).collect()
}

fn escaped(value: &str) -> String {
    let value = shortened_bytes(&one_line(value, MAX_VALUE), MAX_VALUE);
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        if "\"\\]".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::super::texts::tests::notification;
    use super::super::config::tests::build;
    use super::*;

    fn write(notification: &Notification, text: &str, most: usize) -> String {
        let yaml = "{address: logs, hostname: h, facility: local0}";
        let from = build(yaml).0.unwrap();
        Message { from: &from, alert: &notification.alerts[0], notification }.write(text, most)
    }

    #[test]
    fn a_message_has_the_form_of_the_rfc() {
        let mut message = notification();
        assert_eq!(
            write(&message, "it burns", 2048),
            "<131>1 2023-11-14T22:15:00.000Z h veilleur - firing [alert@32473 status=\"firing\" \
             since=\"2023-11-14T22:13:20.000Z\" receiver=\"ops\" incident=\"id1\" \
             alertname=\"CheckFailed\" instance=\"web:1\"] it burns"
        );
        message.alerts.remove(0);
        let over = write(&message, "ü", 2048);
        assert!(over.starts_with("<133>1 ") && over.ends_with("] \u{feff}ü"), "{over}");
    }

    #[test]
    fn labels_stay_in_their_place() {
        // X13, F16
        let mut message = notification();
        let labels = &message.alerts[0].labels;
        let hostile = "x\"] <0>1 - - - - - -\n\\[a b=\"c\"]\u{7}";
        let labels = labels.with("a b=\"c\"]é", hostile).with("severity", "critical");
        message.alerts[0].labels = labels;
        let got = write(&message, &format!("one\ntwo {}", "ä".repeat(9000)), 2048);
        assert!(got.starts_with("<130>1 "), "{got}");
        let expected = r#" a_b__c___="x\"\] <0>1 - - - - - - \\[a b=\"c\"\]" "#;
        assert!(got.contains(expected), "{got}\n{expected}");
        assert!(!got.contains(char::is_control), "{got}");
        assert!((2000..=2048).contains(&got.len()), "{}", got.len());
        for n in 0..500 {
            let name = format!("label{n}");
            message.alerts[0].labels = message.alerts[0].labels.with(&name, &"y".repeat(300));
        }
        let got = write(&message, "the text", 2048);
        assert!(got.len() <= 2048 && got.ends_with("\"] the text"), "{got}");
    }
}
