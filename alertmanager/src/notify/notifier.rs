//! The trait behind which every service stands, and what it is given.
//!
//! Invariant: a notifier keeps no state between two messages, so that a message can be handed to
//! it again after a crash. What it needs to find an earlier message again is in its receipt, which
//! the lane keeps.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base::http::HeaderMap;
use base::http::access::HttpConfig;
use base::labels::Labels;
use base::sample::Timestamp;

use super::console::render;
use super::refusal::Refusal;
use crate::alerts::Alert;
use crate::drill;
use crate::outbox::{Answer, Due, LONGEST_WAIT, Reason};
use crate::template::Templates;

/// A message about a group of alerts.
#[derive(Clone, Debug)]
pub struct Notification {
    /// Names the message, also when it is sent again: `Message-ID`, deduplication key.
    pub id: String,
    /// The id of the first message since the group was last all clear; `id` for the first.
    pub thread: String,
    /// What the service called an earlier message of the thread, from its [`Receipt`]; `None` where
    /// there was none, or it said nothing.
    pub reference: Option<String>,
    /// The receiver's name.
    pub receiver: String,
    /// The key of the group, as Alertmanager's webhooks have it.
    pub group_key: String,
    /// The labels that the alerts agree on by configuration.
    pub group_labels: Labels,
    /// What the route says of itself.
    pub route_labels: Labels,
    /// Why it is sent.
    pub reason: Reason,
    /// The alerts: those that fire first.
    pub alerts: Vec<Alert>,
    /// When it is sent.
    pub at: Timestamp,
    /// Where people reach us, without a slash at the end.
    pub external_url: String,
    /// Whether somebody has answered.
    pub answer: Answer,
}

impl Notification {
    /// The message that `due` is, sent at `at` by whom people reach at `external_url`. One about a
    /// drill says so.
    pub fn of(due: &Due, at: Timestamp, external_url: &str) -> Self {
        let mut alerts: Vec<&Arc<Alert>> = due.flush.alerts.iter().collect();
        alerts.sort_by(|a, b| {
            b.is_firing().cmp(&a.is_firing()).then_with(|| a.labels.cmp(&b.labels))
        });
        let alerts = alerts.into_iter().map(|alert| drill::marked(Alert::clone(alert))).collect();
        Self {
            id: due.id.clone(),
            thread: due.thread.clone(),
            reference: due.reference.clone(),
            receiver: due.flush.receiver.clone(),
            group_key: due.key.group_key.clone(),
            group_labels: drill::marked_labels(due.flush.group_labels.clone()),
            route_labels: due.flush.route_labels.clone(),
            reason: due.flush.reason,
            alerts,
            at,
            external_url: external_url.to_owned(),
            answer: due.flush.answer.clone(),
        }
    }

    /// Whether something still fires.
    pub fn is_firing(&self) -> bool {
        self.alerts.iter().any(Alert::is_firing)
    }

    /// `firing` or `resolved`.
    pub fn status(&self) -> &'static str {
        if self.is_firing() { "firing" } else { "resolved" }
    }

    /// The labels that all alerts have with the same value.
    pub fn common_labels(&self) -> Labels {
        let Some((first, rest)) = self.alerts.split_first() else { return Labels::empty() };
        let common =
            |name: &str, value: &str| rest.iter().all(|a| a.labels.get(name) == Some(value));
        Labels::from_pairs(first.labels.iter().filter(|(name, value)| common(name, value)))
    }

    /// The annotations that all alerts have with the same text.
    pub fn common_annotations(&self) -> BTreeMap<String, String> {
        let Some((first, rest)) = self.alerts.split_first() else { return BTreeMap::new() };
        let mut common = first.annotations.clone();
        common.retain(|name, text| rest.iter().all(|a| a.annotations.get(name) == Some(text)));
        common
    }
}

/// What every service is built with.
#[derive(Clone, Copy, Debug)]
pub struct Shared<'a> {
    /// How HTTP is spoken where a receiver does not say otherwise.
    pub http: &'a HttpConfig,
    /// The templates by name.
    pub templates: &'a Arc<Templates>,
}

/// A service that messages can be handed to.
#[async_trait]
pub trait Notifier: Send + Sync + std::fmt::Debug {
    /// What it is, as its configuration calls it: `email`, `slack`.
    fn integration(&self) -> &'static str;

    /// What people would read of a message, without sending it; by default a plain text.
    fn preview(&self, notification: &Notification) -> String {
        render(notification)
    }

    /// Hands over a message. The lane limits how long it may take.
    ///
    /// # Errors
    ///
    /// The service did not take it; the variant says whether it is worth another try.
    async fn notify(&self, notification: &Notification) -> Result<Receipt, DeliveryError>;
}

/// That a service has taken a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// By what a later message of the thread can change this one, or stand below it. `None` leaves
    /// what was known before.
    pub reference: Option<String>,
}

impl Receipt {
    /// Taken, under this name.
    pub fn named(reference: impl Into<String>) -> Self {
        Self { reference: Some(reference.into()) }
    }
}

/// Why a notification did not reach its receiver.
///
/// The variant says what to do about it; what went wrong is the message's part, without secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryError {
    /// Worth another try, no sooner than after `retry_after` where the service named a time.
    #[error("{reason}")]
    Transient {
        /// What went wrong.
        reason: String,
        /// How long the service asks to wait.
        retry_after: Option<Duration>,
        /// Whether the service was given the message and did not say what became of it: it may have
        /// taken it all the same.
        in_doubt: bool,
    },
    /// Would fail the same way again: the address, the credentials or the message is at fault.
    #[error("refused for good: {reason}")]
    Permanent {
        /// What went wrong.
        reason: Refusal,
    },
}

impl DeliveryError {
    /// Worth another try.
    pub fn transient(reason: impl Into<String>) -> Self {
        Self::Transient { reason: reason.into(), retry_after: None, in_doubt: false }
    }

    /// The same, where the service was given the message before.
    pub(super) fn after_sending(self) -> Self {
        match self {
            Self::Transient { reason, retry_after, .. } => {
                Self::Transient { reason, retry_after, in_doubt: true }
            }
            permanent => permanent,
        }
    }

    /// Not worth another try.
    pub fn permanent(reason: impl Into<String>) -> Self {
        Self::Permanent { reason: Refusal::of_the_receiver(reason) }
    }

    /// Not worth another try with this message; a smaller and plainer one may be taken.
    pub fn bad_message(reason: impl Into<String>) -> Self {
        Self::Permanent { reason: Refusal::of_the_message(reason) }
    }

    /// Judges an answer by its HTTP status: 408, 425, 429 and 5xx pass with time, others do not.
    pub(super) fn from_status(
        status: u16,
        headers: &HeaderMap,
        body: &str,
        now: Timestamp,
    ) -> Self {
        let said = body.trim();
        let reason = match said {
            "" => format!("the answer was HTTP status {status}"),
            said => format!("the answer was HTTP status {status}: {}", excerpt(said)),
        };
        match status {
            408 | 425 | 429 | 500.. => {
                // Whoever stands before the service did not wait for its answer.
                let in_doubt = matches!(status, 502 | 504);
                Self::Transient { reason, retry_after: asked_wait(headers, now), in_doubt }
            }
            // What cannot be read, is too large, or has something in it that is not taken.
            400 | 413 | 414 | 415 | 422 | 431 => Self::bad_message(reason),
            _ => Self::permanent(reason),
        }
    }

    /// The same, where it is worth another try no sooner than after so many seconds, which a service
    /// may name in a way of its own.
    pub(super) fn after(self, seconds: Option<f64>) -> Self {
        let wait = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        match (self, wait) {
            (Self::Transient { reason, in_doubt, .. }, Some(wait)) => {
                Self::Transient { reason, retry_after: Some(wait.min(LONGEST_WAIT)), in_doubt }
            }
            (error, _) => error,
        }
    }
}

/// How long the service asks to wait by the header `Retry-After`.
pub(super) fn asked_wait(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = headers.get("retry-after")?.to_str().ok()?;
    retry_after(value, now)
}

/// What a service said, short enough for a log.
pub(super) fn excerpt(text: &str) -> String {
    match text.char_indices().nth(300) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}

/// `Retry-After`: seconds or a date (RFC 9110, section 10.2.3), at most [`LONGEST_WAIT`].
fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let wait = match value.trim().parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = jiff::fmt::rfc2822::parse(value.trim()).ok()?;
            Timestamp::from_millis(date.timestamp().as_millisecond()).since(now)
        }
    };
    Some(wait.min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn judges_answers_by_their_status() {
        let check = |status, header: &str, expected: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("retry-after", header.parse().unwrap());
            let now = Timestamp::from_millis(784_111_777_000);
            let got = match DeliveryError::from_status(status, &headers, "no", now) {
                DeliveryError::Transient { retry_after, .. } => format!("{retry_after:?}"),
                DeliveryError::Permanent { reason } if reason.blames_message() => {
                    "the message".to_owned()
                }
                DeliveryError::Permanent { .. } => "permanent".to_owned(),
            };
            assert_eq!(got, expected, "{status} {header}");
        };
        check(429, "7", "Some(7s)");
        check(503, "999999", "Some(900s)");
        check(429, "Sun, 06 Nov 1994 08:49:40 GMT", "Some(3s)");
        check(429, "-1", "None");
        check(500, "soon", "None");
        check(400, "7", "the message");
        check(413, "7", "the message");
        check(401, "7", "permanent");
        check(302, "7", "permanent");
        check(404, "7", "permanent");
    }

    #[test]
    fn what_alerts_have_in_common() {
        let alert = |instance: &str, text: &str| Alert {
            labels: Labels::from_pairs([("alertname", "a"), ("instance", instance)]),
            annotations: BTreeMap::from([("s".into(), "x".into()), ("t".into(), text.into())]),
            starts_at: Timestamp::default(),
            ended: None,
            stale_since: None,
            generator_url: String::new(),
        };
        let notification = Notification {
            id: String::new(),
            thread: String::new(),
            reference: None,
            receiver: String::new(),
            group_key: String::new(),
            group_labels: Labels::empty(),
            route_labels: Labels::empty(),
            reason: Reason::First,
            alerts: vec![alert("1", "one"), alert("2", "two")],
            at: Timestamp::default(),
            external_url: String::new(),
            answer: Answer::default(),
        };
        assert_eq!(notification.common_labels().to_string(), r#"{alertname="a"}"#);
        assert_eq!(notification.common_annotations().keys().collect::<Vec<_>>(), ["s"]);
    }
}
