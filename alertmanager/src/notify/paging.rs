//! What pagers and tickets have in common: an address, a key, whom it is for, by what they know a
//! group, and how they confirm that they took a message.
//!
//! Invariant: addresses and recipients come from the configuration, never from an alert (X18), and
//! no fault shows what may be a secret.

use std::path::PathBuf;

use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::access::SecretSource;
use base::secret::Secret;
use ring::digest::{SHA256, digest};

use super::http::{Answer, check_url};
use super::notifier::{DeliveryError, Notification, excerpt};
use crate::alerts::Alert;
use base::labels::LabelsBuilder;
use base::sample::Timestamp;
use serde_json::Value;

/// What `global:` says of a service.
#[derive(Clone, Copy, Debug, Default)]
pub struct ServiceGlobals<'a> {
    /// Its address.
    pub url: Option<&'a Spanned<Secret>>,
    /// The key by which it knows us.
    pub key: Option<&'a Spanned<Secret>>,
    /// The file with that key.
    pub key_file: Option<&'a PathBuf>,
}

/// The address of a service, with a slash at its end: the receiver's own, else that of `global:`,
/// else `default`.
pub(super) fn base_address(
    own: Option<&Spanned<Secret>>,
    global: Option<&Spanned<Secret>>,
    default: &str,
    diagnostics: &mut Diagnostics,
) -> Secret {
    let address = address(own, global, default, diagnostics);
    match address.expose().ends_with('/') {
        true => address,
        false => Secret::new(format!("{}/", address.expose())),
    }
}

/// As [`base_address`], as it is written.
pub(super) fn address(
    own: Option<&Spanned<Secret>>,
    global: Option<&Spanned<Secret>>,
    default: &str,
    diagnostics: &mut Diagnostics,
) -> Secret {
    match own.or(global) {
        Some(address) => {
            check_url(address, diagnostics);
            address.value.clone()
        }
        None => Secret::new(default),
    }
}

/// A key, by the names of its settings: here and under `global:`.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyNames {
    pub(super) own: (&'static str, &'static str),
    pub(super) global: Option<&'static str>,
}

/// The receiver's own key, else that of `global:`; an empty one is none.
pub(super) fn key(
    names: KeyNames,
    own: (Option<&Spanned<Secret>>, Option<&PathBuf>),
    globals: ServiceGlobals<'_>,
    place: Place,
    diagnostics: &mut Diagnostics,
) -> Option<SecretSource> {
    let given = |key: Option<&Spanned<Secret>>| {
        key.map(|key| key.value.clone()).filter(|key| !key.is_empty())
    };
    let (value, file) = (given(own.0), own.1.cloned());
    if value.is_some() || file.is_some() {
        return SecretSource::one_of(value, file, names.own, place, diagnostics);
    }
    // That both are given is reported where `global:` is read.
    let global = given(globals.key).map(SecretSource::Given);
    let global = global.or_else(|| globals.key_file.cloned().map(SecretSource::File));
    if global.is_none() {
        let (own, file) = names.own;
        let elsewhere = names.global.map_or_else(String::new, |global| {
            format!(", or `{global}` under `global:`")
        });
        let help = format!("set `{own}` or `{file}`{elsewhere}");
        diagnostics.report_with_help(place, format!("`{own}` is missing"), help);
    }
    global
}

/// Whom a message is for, or which way it takes: a text without templates.
pub(super) fn recipient(
    name: &str,
    written: Option<&Spanned<String>>,
    diagnostics: &mut Diagnostics,
) -> String {
    let Some(written) = written else { return String::new() };
    if written.value.contains("{{") {
        diagnostics.report_with_help(
            written,
            format!("`{name}` cannot come from an alert"),
            "make a receiver for each and route to it",
        );
    }
    written.value.clone()
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

/// `text` as it can stand in a part of a URL: all but letters, digits and `-._~` as percent codes.
pub(super) fn percent(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Pairs as the body of a form, or the query of a URL.
pub(super) fn form<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let pairs = pairs.into_iter();
    pairs.map(|(name, value)| format!("{}={}", percent(name), percent(value))).collect::<Vec<_>>().join("&")
}

/// The text, at most `most` bytes long, cut between characters.
pub(super) fn cut_bytes(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    const MORE: &str = "…";
    let mut end = most.saturating_sub(MORE.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{MORE}", &text[..end])
}

/// Whether a text is the address of a page: what links may lead to (X13).
pub(super) fn is_web_address(text: &str) -> bool {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    matches!(scheme.as_deref(), Some("http" | "https")) && !text.contains(char::is_whitespace)
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
    Notification {
        group_labels: labels(&notification.group_labels),
        alerts: notification.alerts.iter().map(alert).collect(),
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
            alert.annotations.insert("summary".into(), format!("{summary}{n}").into());
            alert
        };
        Notification { alerts: (0..alerts).map(alert).collect(), ..notification() }
    }

    #[test]
    fn texts_fit_where_they_stand() {
        assert_eq!(percent("a b/ü&="), "a%20b%2F%C3%BC%26%3D");
        assert_eq!(form([("a", "1 2"), ("b", "&")]), "a=1%202&b=%26");
        assert_eq!(cut_bytes("äöü", 6), "äöü");
        assert_eq!(cut_bytes("äöüß", 7), "äö…");
        assert_eq!(cut_bytes("äöüß", 6), "ä…");
        assert_eq!(cut_bytes("", 0), "");
    }

    #[test]
    fn links_lead_to_pages_only() {
        // X13
        let check = |text: &str, expected| assert_eq!(is_web_address(text), expected, "{text}");
        check("https://h/x", true);
        check("HTTP://h", true);
        check("javascript:alert(1)//http://", false);
        check("javascript://h", false);
        check("data:text/html,x", false);
        check("https://h/ x", false);
        check("", false);
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
    fn a_key_is_found_and_missed() {
        let secret = |text: &str| Spanned { value: Secret::new(text), place: Place::default() };
        let (own, global) = (secret("own"), secret("global"));
        let file = PathBuf::from("/file");
        let names = KeyNames { own: ("k", "k_file"), global: Some("g_k") };
        let check = |own: (Option<&Spanned<Secret>>, Option<&PathBuf>), global, expected: &str| {
            let mut diagnostics = Diagnostics::new("f.yml");
            let globals = ServiceGlobals { key: global, ..ServiceGlobals::default() };
            let got = match key(names, own, globals, Place::default(), &mut diagnostics) {
                Some(SecretSource::Given(key)) => key.expose().to_owned(),
                Some(SecretSource::File(file)) => file.display().to_string(),
                None => diagnostics.to_string(),
            };
            assert_eq!(got, expected);
        };
        check((Some(&own), None), Some(&global), "own");
        check((None, Some(&file)), Some(&global), "/file");
        check((None, None), Some(&global), "global");
        check((Some(&secret("")), None), Some(&global), "global");
        check((Some(&own), Some(&file)), None, "f.yml:0:0: only one of `k` and `k_file` can be given");
        check(
            (None, None),
            None,
            "f.yml:0:0: `k` is missing\n  help: set `k` or `k_file`, or `g_k` under `global:`",
        );
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
