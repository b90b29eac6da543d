//! Posts JSON in the form of Alertmanager's webhooks, version 4, or in one that is configured.
//!
//! Source: the webhook section of Alertmanager's configuration reference.
//!
//! Invariant: the fields and their names are those of version 4; what we add has other names.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::Method;
use base::labels::Labels;
use base::period::Period;
use base::sample::Timestamp;
use base::secret::Secret;
use serde::Deserialize;
use serde_json::{Value, json};

use super::http::{Call, Service, check_hidden_url};
use super::links;
use super::notifier::{DeliveryError, Notification, Notifier, Receipt, Shared};
use super::payload::{Payload, PayloadConfig};
use super::settings::SecretSetting;
use super::texts::Renderer;
use super::webhook_text;
use crate::alerts::Alert;
use crate::template::Templates;
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
    /// What is posted in place of version 4: a structure of templates.
    pub payload: Option<Spanned<PayloadConfig>>,
}

/// Posts to one address.
#[derive(Clone, Debug)]
pub struct WebhookNotifier {
    url: SecretSource,
    service: Service,
    max_alerts: usize,
    timeout: Option<Duration>,
    payload: Option<(Payload, Arc<Templates>)>,
}

impl WebhookConfig {
    /// The notifier.
    pub fn build(
        &self,
        place: Place,
        shared: Shared<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<WebhookNotifier> {
        if let Some(url) = &self.url {
            check_hidden_url(url, diagnostics);
        }
        let given = self.url.as_ref().map(|url| url.value.clone());
        let names = ("url", "url_file");
        let url = SecretSource::one_of(given, self.url_file.clone(), names, place, diagnostics);
        if !SecretSetting::of(&self.url, &self.url_file).is_set() {
            diagnostics.report(place, "`url` is missing");
        }
        let service = Service::build(self.http_config.as_ref(), shared.http, place, diagnostics);
        let payload = match &self.payload {
            Some(written) => {
                let payload = written.value.build("payload", written.place, diagnostics)?;
                Some((payload, Arc::clone(shared.templates)))
            }
            None => None,
        };
        Some(WebhookNotifier {
            url: url?,
            service: service?,
            max_alerts: self.max_alerts,
            timeout: self.timeout.filter(|t| !t.is_zero()).map(Period::duration),
            payload,
        })
    }
}

#[async_trait]
impl Notifier for WebhookNotifier {
    fn integration(&self) -> &'static str {
        "webhook"
    }

    async fn notify(&self, notification: &Notification) -> Result<Receipt, DeliveryError> {
        let url = self.url.read().map_err(DeliveryError::transient)?;
        let call = match &self.payload {
            None => Call::post(
                &url,
                "application/json",
                webhook_text::text(notification, self.max_alerts),
            ),
            Some(_) => Call::json(Method::POST, &url, &self.body(notification)),
        };
        let answer = self.service.send_within(call, self.timeout).await?;
        answer.taken(notification.at)?;
        Ok(Receipt::default())
    }
}

impl WebhookNotifier {
    /// The message as it is configured, else in version 4.
    fn body(&self, notification: &Notification) -> Value {
        match &self.payload {
            None => body(notification, self.max_alerts),
            Some((payload, templates)) => {
                let (kept, left_out) = within(notification, self.max_alerts);
                let kept = Notification { alerts: kept.to_vec(), ..notification.clone() };
                let renderer = Renderer::with_left_out(templates, &kept, left_out).with_room();
                payload.render(&renderer)
            }
        }
    }
}

/// The first alerts, and how many are left out; 0 is any number.
fn within(notification: &Notification, max_alerts: usize) -> (&[Alert], usize) {
    let all = notification.alerts.len();
    let kept = if max_alerts == 0 { all } else { all.min(max_alerts) };
    (notification.alerts.get(..kept).unwrap_or_default(), all - kept)
}

/// The message in version 4.
pub(super) fn body(notification: &Notification, max_alerts: usize) -> Value {
    let (kept, left_out) = within(notification, max_alerts);
    let mut body = json!({
        "version": "4",
        "groupKey": notification.group_key,
        "truncatedAlerts": left_out,
        "status": notification.status(),
        "receiver": notification.receiver,
        "groupLabels": object(&notification.group_labels),
        "commonLabels": object(&notification.common_labels()),
        "commonAnnotations": notification.common_annotations(),
        "externalURL": notification.external_url,
        "alerts": kept.iter().map(alert).collect::<Vec<_>>(),
        "notificationId": notification.id,
    });
    for (name, text) in answer(notification) {
        body[name] = json!(text);
    }
    body
}

/// What there is to say of whether somebody has answered; no other program has such fields.
pub(super) fn answer(notification: &Notification) -> impl Iterator<Item = (&'static str, String)> {
    let note = Some(notification.answer.note.clone()).filter(|note| !note.is_empty());
    let fields = [("note", note), ("acknowledgeURL", links::acknowledge(notification))];
    fields.into_iter().filter_map(|(name, text)| Some((name, text?)))
}

fn alert(alert: &Alert) -> Value {
    let mut value = json!({
        "status": if alert.is_firing() { "firing" } else { "resolved" },
        "labels": object(&alert.labels),
        "annotations": alert.annotations,
        "startsAt": time(Some(alert.starts_at)),
        "endsAt": time(alert.ended.map(|(at, _)| at)),
        "generatorURL": alert.generator_url,
        "fingerprint": format!("{:016x}", alert.labels.fingerprint()),
    });
    if let Some(since) = alert.stale_since {
        value["staleSince"] = json!(time(Some(since)));
    }
    if let Some((_, ending)) = alert.ended {
        value["ending"] = json!(ending.as_str());
    }
    value
}

fn object(labels: &Labels) -> Value {
    labels.iter().map(|(name, value)| (name.to_owned(), json!(value))).collect()
}

/// RFC 3339; no time is Go's zero time, as Alertmanager writes it.
fn time(at: Option<Timestamp>) -> String {
    at.and_then(|at| jiff::Timestamp::from_millisecond(at.millis()).ok())
        .map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), |at| at.to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::sink::{Judges, SECRET, misbehave, written};
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
            answer: Default::default(),
        }
    }

    fn build(
        config: Spanned<WebhookConfig>,
        diagnostics: &mut Diagnostics,
    ) -> Option<WebhookNotifier> {
        let (http, templates) = (HttpConfig::default(), Arc::new(Templates::defaults()));
        let shared = Shared { http: &http, templates: &templates };
        config.value.build(config.place, shared, diagnostics)
    }

    #[test]
    fn writes_what_is_configured() {
        let mut diagnostics = Diagnostics::new("f.yml");
        let yaml = "{url: 'http://127.0.0.1:1/x', max_alerts: 1, payload: {text: '{{ .Status }}: {{ .CommonAnnotations.summary }}',\n\
                    alerts: '{{ range .Alerts }}{{ .Labels.instance }}{{ end }}', more: '{{ .TruncatedAlerts }}', by: {name: veilleur}}}";
        let config = base::yaml::read(yaml, &mut diagnostics).unwrap();
        let notifier = build(config, &mut diagnostics);
        assert_eq!(diagnostics.to_string(), "");
        let expected = json!({
            "text": "firing: it is down", "alerts": "a", "more": 1, "by": {"name": "veilleur"},
        });
        assert_eq!(notifier.unwrap().body(&notification()), expected);
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
        for most in [0, 1] {
            let text = webhook_text::text(&notification(), most);
            let text: Value = serde_json::from_slice(&text).unwrap();
            assert_eq!(text, body(&notification(), most));
        }
        let mut got = body(&notification(), 0);
        let mut expected = expected;
        for n in 0..2 {
            let fingerprint = notification().alerts[n].labels.fingerprint();
            expected["alerts"][n]["fingerprint"] = json!(format!("{fingerprint:016x}"));
        }
        assert_eq!(got.take(), expected);
        let cut = body(&notification(), 1);
        assert_eq!(
            (cut["truncatedAlerts"].clone(), cut["alerts"].as_array().unwrap().len()),
            (json!(1), 1)
        );
    }

    #[tokio::test]
    async fn survives_every_bad_answer() {
        // Whatever program is behind it says something else: the status is all that counts.
        misbehave(Judges::Status, &[], |url| {
            let (config, mut diagnostics) =
                written::<WebhookConfig>(&format!("{{url: '{url}/{SECRET}'}}"));
            build(config, &mut diagnostics).unwrap()
        })
        .await;
    }

    #[tokio::test]
    async fn nothing_is_sent_to_a_metadata_service_x19() {
        let (config, mut diagnostics) =
            written::<WebhookConfig>("{url: 'http://169.254.169.254/latest/'}");
        let notifier = build(config, &mut diagnostics).unwrap();
        assert_eq!(diagnostics.notes().len(), 1);
        let refused = notifier.notify(&notification()).await.unwrap_err();
        let told = refused.to_string();
        assert!(told.contains("169.254.169.254 is a link-local address"), "{told}");
        assert!(matches!(refused, DeliveryError::Permanent { .. }), "{told}");
    }

    #[test]
    fn reports_every_fault_without_the_address() {
        let check = |yaml: &str, expected: &str| {
            let mut diagnostics = Diagnostics::new("f.yml");
            let config: Spanned<WebhookConfig> = base::yaml::read(yaml, &mut diagnostics).unwrap();
            build(config, &mut diagnostics);
            assert_eq!(diagnostics.to_string(), expected, "{yaml}");
        };
        check("{url: 'http://127.0.0.1:1/x'}", "");
        check("{max_alerts: 1}", "f.yml:1:1: `url` is missing");
        check(
            "{url: 'hooks.example/s3cret'}",
            "f.yml:1:7: this is no address to post to\n  \
             help: write `http://host:port/path` or `https://...`",
        );
        check(
            "{url: 'http://h/', url_file: /x}",
            "f.yml:1:1: only one of `url` and `url_file` can be given",
        );
        check(
            "{url: 'http://h/', payload: {a: '{{ nope }}'}}",
            "f.yml:1:33: template: payload:1: function \"nope\" not defined",
        );
    }
}
