//! Posts JSON in the form of Alertmanager's webhooks, version 4.
//!
//! Source: the webhook section of Alertmanager's configuration reference.
//!
//! Invariant: the fields and their names are those of version 4; what we add has other names.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use base::diagnostic::{Diagnostics, Place, Spanned};
use base::period::Period;
use base::secret::Secret;
use jiff::fmt::temporal::DateTimePrinter;
use serde::Deserialize;

use super::http::{Call, Service, check_url};
use super::notifier::{DeliveryError, Notification, Notifier, Receipt};
use crate::alerts::Alert;
use crate::json;
use base::http::access::{HttpConfig, SecretSource};

/// An entry of `webhook_configs`, as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WebhookConfig {
    /// Whether endings are sent; by default they are.
    pub send_resolved: Option<Spanned<bool>>,
    /// Where to.
    pub url: Option<Spanned<Secret>>,
    /// The file that holds the address.
    pub url_file: Option<std::path::PathBuf>,
    /// How we speak HTTP.
    pub http_config: Option<Spanned<HttpConfig>>,
    /// The most alerts in one message; 0 is any number.
    pub max_alerts: usize,
    /// The longest that it may take; 0 is the lane's limit.
    pub timeout: Option<Period>,
}

/// Posts to one address.
#[derive(Clone, Debug)]
pub struct WebhookNotifier {
    url: SecretSource,
    service: Service,
    max_alerts: usize,
    timeout: Option<Duration>,
}

impl WebhookConfig {
    /// The notifier; `http` is the global configuration of HTTP.
    pub fn build(
        &self,
        place: Place,
        http: &HttpConfig,
        diagnostics: &mut Diagnostics,
    ) -> Option<WebhookNotifier> {
        if let Some(url) = &self.url {
            check_url(url, diagnostics);
        }
        let given = self.url.as_ref().map(|url| url.value.clone());
        let names = ("url", "url_file");
        let both = (given.is_some(), self.url_file.is_some());
        let url = SecretSource::one_of(given, self.url_file.clone(), names, place, diagnostics);
        if both == (false, false) {
            diagnostics.report(place, "`url` is missing");
        }
        let service = Service::build(self.http_config.as_ref(), http, place, diagnostics);
        Some(WebhookNotifier {
            url: url?,
            service: service?,
            max_alerts: self.max_alerts,
            timeout: self.timeout.filter(|t| !t.is_zero()).map(Period::duration),
        })
    }
}

#[async_trait]
impl Notifier for WebhookNotifier {
    fn integration(&self) -> &'static str {
        "webhook"
    }

    async fn notify(&self, notification: &Notification) -> Result<Receipt, DeliveryError> {
        let body = body(notification, self.max_alerts);
        let url = self.url.read().map_err(DeliveryError::transient)?;
        let sent = self.service.send(Call::post(&url, "application/json", body));
        let answer = match self.timeout {
            Some(limit) => tokio::time::timeout(limit, sent)
                .await
                .map_err(|_| DeliveryError::transient(format!("no answer within {limit:?}")))?,
            None => sent.await,
        }?;
        answer.taken(notification.at)?;
        Ok(Receipt::default())
    }
}

/// As many digits of a second as there are.
const PRINTER: DateTimePrinter = DateTimePrinter::new();

/// The message in version 4.
fn body(notification: &Notification, max_alerts: usize) -> Vec<u8> {
    let kept = match max_alerts {
        0 => notification.alerts.len(),
        most => notification.alerts.len().min(most),
    };
    // About as much as an alert takes.
    let mut to = Vec::with_capacity(kept * 512 + 512);
    to.extend_from_slice(b"{\"version\":\"4\",\"groupKey\":");
    json::text(&mut to, &notification.group_key);
    to.extend_from_slice(b",\"truncatedAlerts\":");
    to.extend_from_slice((notification.alerts.len() - kept).to_string().as_bytes());
    for (name, text) in [
        ("status", notification.status()),
        ("receiver", &notification.receiver),
        ("externalURL", &notification.external_url),
        ("notificationId", &notification.id),
    ] {
        field(&mut to, name);
        json::text(&mut to, text);
    }
    field(&mut to, "groupLabels");
    json::labels(&mut to, &notification.group_labels);
    field(&mut to, "commonLabels");
    json::labels(&mut to, &notification.common_labels());
    field(&mut to, "commonAnnotations");
    texts(&mut to, &notification.common_annotations());
    field(&mut to, "alerts");
    to.push(b'[');
    for shown in &notification.alerts[..kept] {
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

#[cfg(test)]
mod tests {
    use base::labels::Labels;
    use base::sample::Timestamp;
    use serde_json::{Value, json};

    use super::*;
    use crate::alerts::Ending;
    use crate::outbox::Reason;

    fn notification() -> Notification {
        let alert = |instance: &str, ended: bool| Alert {
            labels: Labels::from_pairs([("alertname", "Down"), ("instance", instance)]),
            annotations: BTreeMap::from([("summary".into(), "it is down".into())]),
            starts_at: Timestamp::from_millis(1_700_000_000_123),
            ended: ended.then(|| (Timestamp::from_millis(1_700_000_060_000), Ending::Resolved)),
            stale_since: None,
            generator_url: "http://v/x".into(),
        };
        Notification {
            id: "id1".into(),
            thread: "id1".into(),
            reference: None,
            receiver: "hooks".into(),
            group_key: "{}:{alertname=\"Down\"}".into(),
            group_labels: Labels::from_pairs([("alertname", "Down")]),
            route_labels: Labels::empty(),
            reason: Reason::First,
            alerts: vec![alert("a", false), alert("b", true)],
            at: Timestamp::default(),
            external_url: "http://v".into(),
        }
    }

    #[test]
    fn writes_version_4() {
        let expected = json!({
            "version": "4", "groupKey": "{}:{alertname=\"Down\"}", "truncatedAlerts": 0,
            "status": "firing", "receiver": "hooks", "groupLabels": {"alertname": "Down"},
            "commonLabels": {"alertname": "Down"}, "commonAnnotations": {"summary": "it is down"},
            "externalURL": "http://v", "notificationId": "id1",
            "alerts": [
                {"status": "firing", "labels": {"alertname": "Down", "instance": "a"},
                 "annotations": {"summary": "it is down"}, "startsAt": "2023-11-14T22:13:20.123Z",
                 "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "http://v/x",
                 "fingerprint": "f1d0d8bf7d6a0a1c"},
                {"status": "resolved", "labels": {"alertname": "Down", "instance": "b"},
                 "annotations": {"summary": "it is down"}, "startsAt": "2023-11-14T22:13:20.123Z",
                 "endsAt": "2023-11-14T22:14:20Z", "generatorURL": "http://v/x",
                 "fingerprint": "x", "ending": "resolved"},
            ],
        });
        let read = |body: Vec<u8>| serde_json::from_slice::<Value>(&body).unwrap();
        let mut got = read(body(&notification(), 0));
        let mut expected = expected;
        for n in 0..2 {
            let fingerprint = notification().alerts[n].labels.fingerprint();
            expected["alerts"][n]["fingerprint"] = json!(format!("{fingerprint:016x}"));
        }
        assert_eq!(got.take(), expected);
        let cut = read(body(&notification(), 1));
        assert_eq!(
            (cut["truncatedAlerts"].clone(), cut["alerts"].as_array().unwrap().len()),
            (json!(1), 1)
        );
    }

    #[test]
    fn reports_every_fault_without_the_address() {
        let check = |yaml: &str, expected: &str| {
            let mut diagnostics = Diagnostics::new("f.yml");
            let config: Spanned<WebhookConfig> = base::yaml::read(yaml, &mut diagnostics).unwrap();
            config.value.build(config.place, &HttpConfig::default(), &mut diagnostics);
            assert_eq!(diagnostics.to_string(), expected, "{yaml}");
        };
        check("{url: 'http://127.0.0.1:1/x'}", "");
        check("{max_alerts: 1}", "f.yml:1:1: `url` is missing");
        check(
            "{url: 'hooks.example/s3cret'}",
            "f.yml:1:7: this is no address to post to\n  \
             help: write `http://host:port/path` or `https://...`, without a user name",
        );
        check(
            "{url: 'http://h/', url_file: /x}",
            "f.yml:1:1: only one of `url` and `url_file` can be given",
        );
    }
}
