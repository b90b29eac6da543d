//! Prints: the receiver of whoever has configured none yet.
//!
//! Invariant: what it prints has no control characters, and a closed output is told as a failure,
//! never a panic.

use std::io::Write;

use async_trait::async_trait;
use base::diagnostic::Spanned;
use serde::Deserialize;

use super::links::web;
use super::notifier::{DeliveryError, Notification, Notifier, Receipt};
use crate::alerts::Alert;

/// An entry of `console_configs`, as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConsoleConfig {
    /// Whether endings are printed; by default they are.
    pub send_resolved: Option<Spanned<bool>>,
}

/// Prints to standard output.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConsoleNotifier;

#[async_trait]
impl Notifier for ConsoleNotifier {
    fn integration(&self) -> &'static str {
        "console"
    }

    async fn notify(&self, notification: &Notification) -> Result<Receipt, DeliveryError> {
        let text = render(notification);
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes())
            .and_then(|()| out.flush())
            .map_err(|error| DeliveryError::transient(format!("cannot print: {error}")))?;
        Ok(Receipt::default())
    }
}

/// A line for each alert, with its texts below.
pub(super) fn render(notification: &Notification) -> String {
    let mut text = match notification.answer.note.as_str() {
        "" => String::new(),
        note => format!("{}.\n", one_line(note)),
    };
    for alert in &notification.alerts {
        let state = match (alert.ended, alert.stale_since) {
            (Some((_, ending)), _) => ending.as_str().to_uppercase(),
            (None, Some(_)) => "FIRING (stale)".to_owned(),
            (None, None) => "FIRING".to_owned(),
        };
        let until = alert.ended.map_or(String::new(), |(at, _)| format!(" until {}", clock(at)));
        let (title, since) = (one_line(&title(alert)), clock(alert.starts_at));
        text.push_str(&format!("[{state}] {title} since {since}{until}\n"));
        for (name, value) in &alert.annotations {
            for line in value.lines() {
                text.push_str(&format!("    {name}: {}\n", one_line(line)));
            }
        }
        if let Some(graph) = web(&alert.generator_url) {
            text.push_str(&format!("    graph: {graph}\n"));
        }
    }
    text
}

fn title(alert: &Alert) -> String {
    let labels = alert.labels.filter(|name| name != base::labels::ALERT_NAME);
    format!("{} {labels}", alert.name())
}

fn clock(at: base::sample::Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.millis())
        .map_or_else(|_| at.to_string(), |at| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

/// The text without control characters, and without those that turn the direction of writing.
fn one_line(text: &str) -> String {
    let odd =
        |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if odd(c) { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use base::labels::Labels;
    use base::sample::Timestamp;

    use super::*;
    use crate::alerts::Ending;
    use crate::outbox::Reason;

    #[test]
    fn prints_a_line_for_each_alert() {
        let alert = Alert {
            labels: Labels::from_pairs([("alertname", "CheckFailed"), ("check", "q\u{1b}[31m")]),
            annotations: BTreeMap::from([("description".into(), "12 files\nat most 10".into())]),
            starts_at: Timestamp::from_millis(1_700_000_000_000),
            ended: None,
            stale_since: None,
            generator_url: "http://v/#a".into(),
        };
        let ended = Alert {
            ended: Some((Timestamp::from_millis(1_700_000_060_000), Ending::TargetRemoved)),
            annotations: BTreeMap::new(),
            generator_url: "javascript:x".into(),
            ..alert.clone()
        };
        let notification = Notification {
            id: "1".into(),
            thread: "1".into(),
            reference: None,
            receiver: "console".into(),
            group_key: String::new(),
            group_labels: Labels::empty(),
            route_labels: Labels::empty(),
            reason: Reason::First,
            alerts: vec![alert, ended],
            at: Timestamp::default(),
            external_url: String::new(),
            answer: Default::default(),
        };
        assert_eq!(
            render(&notification),
            "[FIRING] CheckFailed {check=\"q\u{fffd}[31m\"} since 2023-11-14 22:13:20 UTC\n    \
             description: 12 files\n    description: at most 10\n    graph: http://v/#a\n\
             [EXPIRED: TARGET REMOVED] CheckFailed {check=\"q\u{fffd}[31m\"} since \
             2023-11-14 22:13:20 UTC until 2023-11-14 22:14:20 UTC\n"
        );
    }
}
