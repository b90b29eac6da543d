//! What pagers and tickets have in common: an address, a key, whom it is for, by what they know a
//! group, and how they confirm that they took a message.
//!
//! Invariant: addresses and recipients come from the configuration, never from an alert (X18), and
//! no fault shows what may be a secret.

use base::diagnostic::{Diagnostics, Spanned};
use base::http::percent_encoded;
use base::labels::LabelsBuilder;
use base::sample::Timestamp;
use base::secret::Secret;
use ring::digest::{SHA256, digest};
use serde_json::Value;

use super::http::{Answer, check_url};
use super::notifier::{DeliveryError, Notification, excerpt};
use super::settings::{self, SecretSetting};
use crate::alerts::Alert;

/// What `global:` says of a service.
#[derive(Clone, Copy, Debug, Default)]
pub struct ServiceGlobals<'a> {
    /// Its address.
    pub url: Option<&'a Spanned<Secret>>,
    /// The key by which it knows us.
    pub key: SecretSetting<'a>,
}

/// The address of a service, with a slash at its end: the receiver's own, else that of `global:`,
/// else `default`.
pub(super) fn base_address(
    own: Option<&Spanned<Secret>>,
    global: Option<&Spanned<Secret>>,
    default: &str,
    diagnostics: &mut Diagnostics,
) -> Secret {
    Secret::new(format!("{}/", settings::base_address(own, global, default, diagnostics)))
}

/// As [`base_address`], as it is written.
pub(super) fn address(
    own: Option<&Spanned<Secret>>,
    global: Option<&Spanned<Secret>>,
    default: &str,
    diagnostics: &mut Diagnostics,
) -> Secret {
    if let Some(address) = own {
        check_url(address, diagnostics);
    }
    own.or(global).map_or_else(|| Secret::new(default), |address| address.value.clone())
}

/// Whom a message is for, or which way it takes: a text without templates.
pub(super) fn recipient(
    name: &str,
    written: Option<&Spanned<String>>,
    diagnostics: &mut Diagnostics,
) -> String {
    // What is wrong with it is told once: it is not missing.
    let _ = settings::fixed(name, written, diagnostics);
    written.map(|written| written.value.clone()).unwrap_or_default()
}

/// The group's key as a hash in hexadecimal digits: what pagers and tickets know the group by. It is
/// the one that Alertmanager uses, so that what it opened can be closed by us.
pub(super) fn group_id(notification: &Notification) -> String {
    hex(digest(&SHA256, notification.group_key.as_bytes()).as_ref())
}

/// Bytes in hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Pairs as the body of a form, or the query of a URL.
pub(super) fn form<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let pairs = pairs.into_iter();
    pairs
        .map(|(name, value)| format!("{}={}", percent_encoded(name), percent_encoded(value)))
        .collect::<Vec<_>>()
        .join("&")
}

/// The message with every text of its alerts and labels as `escape` makes it, for services whose
/// markup knows other characters than those of HTML.
pub(super) fn escaped(notification: &Notification, escape: fn(&str) -> String) -> Notification {
    let labels = |labels: &base::labels::Labels| {
        let mut out = LabelsBuilder::default();
        for (name, value) in labels {
            out.set(name, &escape(value));
        }
        out.build()
    };
    let alert = |alert: &Alert| Alert {
        labels: labels(&alert.labels),
        annotations: alert
            .annotations
            .iter()
            .map(|(name, text)| (name.clone(), escape(text)))
            .collect(),
        ..alert.clone()
    };
    let mut answer = notification.answer.clone();
    answer.note = escape(&answer.note);
    Notification {
        group_labels: labels(&notification.group_labels),
        alerts: notification.alerts.iter().map(alert).collect(),
        answer,
        ..notification.clone()
    }
}

/// The answer's JSON, if its status is a success and it says what `service` says of a message that
/// it has taken (F14).
///
/// # Errors
///
/// By its status; or it is of somebody else, a proxy or a login page, which passes with time.
pub(super) fn confirmed(
    answer: &Answer,
    now: Timestamp,
    service: &str,
    positive: impl FnOnce(&Value) -> bool,
) -> Result<Value, DeliveryError> {
    answer.taken(now)?;
    let value = answer.json();
    if positive(&value) {
        return Ok(value);
    }
    let said = match answer.body.trim() {
        "" => "it is empty".to_owned(),
        said => excerpt(said),
    };
    let reason = format!("the answer is not what {service} says of a message it took: {said}");
    Err(DeliveryError::transient(reason))
}

#[cfg(test)]
pub(super) mod tests {
    use base::http::HeaderMap;

    use super::super::texts::tests::notification;
    use super::*;

    /// So many alerts, each with a text of 500 characters.
    pub(crate) fn flood(alerts: usize) -> Notification {
        let one = notification().alerts.remove(0);
        let summary = format!("ß{}", "x".repeat(499));
        let alert = |n: usize| {
            let mut alert = one.clone();
            alert.labels = alert.labels.with("instance", &format!("web:{n}"));
            alert.annotations.insert("summary".into(), format!("{summary}{n}"));
            alert
        };
        Notification { alerts: (0..alerts).map(alert).collect(), ..notification() }
    }

    #[test]
    fn pairs_become_a_form() {
        assert_eq!(form([("a", "1 ü/"), ("b", "&")]), "a=1%20%C3%BC%2F&b=%26");
    }

    #[test]
    fn the_group_is_known_as_alertmanager_knows_it() {
        // sha256sum of the key.
        let mut notification = notification();
        notification.group_key = "{}:{alertname=\"Down\"}".to_owned();
        let expected = "af94c9e8f6a3043625e36c6f472fe6be85ac23a9117184ee4cb7b4ad7401a47e";
        assert_eq!(group_id(&notification), expected);
    }

    #[test]
    fn what_is_escaped_is_what_alerts_bring() {
        let escaped = escaped(&notification(), |text| text.replace('<', "("));
        assert_eq!(escaped.alerts[0].annotations["summary"], "queue (b>full(/b> & more");
        assert_eq!(escaped.group_key, notification().group_key);
    }

    #[test]
    fn only_the_service_itself_confirms() {
        let check = |status, body: &str, expected: &str| {
            let answer = Answer { status, headers: HeaderMap::new(), body: body.to_owned() };
            let got = confirmed(&answer, Timestamp::default(), "X", |value| value["ok"] == true);
            let got = got.map_or_else(|error| error.to_string(), |value| value.to_string());
            assert_eq!(got, expected);
        };
        check(200, r#"{"ok":true}"#, r#"{"ok":true}"#);
        check(200, "", "the answer is not what X says of a message it took: it is empty");
        check(200, "<html>", "the answer is not what X says of a message it took: <html>");
        check(400, "", "refused for good: the answer was HTTP status 400");
    }
}
