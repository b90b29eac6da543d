//! Tells VictorOps, now Splunk On-Call, by its REST endpoint.
//!
//! A group is one incident: its key, as a hash, is the `entity_id`, so that a later message updates
//! the incident and `RECOVERY` ends it.
//!
//! Source: the documentation of VictorOps's generic REST integration.
//!
//! Invariant: the fields that decide what happens to the incident are ours; no setting and no alert
//! replaces them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::access::{HttpConfig, SecretSource};
use base::http::{Method, percent_encoded};
use base::sample::Timestamp;
use base::secret::Secret;
use serde::Deserialize;
use serde_json::{Value, json};

use super::http::{Answer, Call, Service};
use super::notifier::{DeliveryError, Notification, Notifier, Receipt, Shared, excerpt};
use super::paging::{ServiceGlobals, base_address, confirmed, group_id, recipient};
use super::settings::{Named, SecretSetting};
use super::texts::{Renderer, Text, one_line, shortened};
use crate::template::{Escape, Templates};

/// Where VictorOps is.
const API: &str = "https://alert.victorops.com/integrations/generic/20131114/alert/";
/// The longest text, in characters, and the longest other field.
const MAX_STATE_MESSAGE: usize = 20_480;
const MAX_FIELD: usize = 1024;
/// What something that fires can be.
const TYPES: [&str; 3] = ["INFO", "WARNING", "CRITICAL"];
/// The fields that no setting replaces.
const RESERVED: [&str; 7] = [
    "routing_key",
    "message_type",
    "state_message",
    "entity_display_name",
    "monitoring_tool",
    "entity_id",
    "entity_state",
];

/// An entry of `victorops_configs`, as written. What is not said otherwise is a template.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VictoropsConfig {
    /// Whether endings are sent; by default they are.
    pub send_resolved: Option<Spanned<bool>>,
    /// How we speak HTTP.
    pub http_config: Option<Spanned<HttpConfig>>,
    /// The key of the integration; no template.
    pub api_key: Option<Spanned<Secret>>,
    /// The file with that key.
    pub api_key_file: Option<PathBuf>,
    /// Where VictorOps is; no template.
    pub api_url: Option<Spanned<Secret>>,
    /// Which team it is for; no template.
    pub routing_key: Option<Spanned<String>>,
    /// `INFO`, `WARNING` or `CRITICAL`; anything else is `CRITICAL`.
    pub message_type: Option<Spanned<String>>,
    /// The text.
    pub state_message: Option<Spanned<String>>,
    /// The headline.
    pub entity_display_name: Option<Spanned<String>>,
    /// Who tells it.
    pub monitoring_tool: Option<Spanned<String>>,
    /// Further fields by name.
    pub custom_fields: BTreeMap<Spanned<String>, Spanned<String>>,
}

/// Sends to one routing key.
#[derive(Clone, Debug)]
pub struct VictoropsNotifier {
    service: Service,
    api: Secret,
    key: SecretSource,
    routing_key: String,
    templates: Arc<Templates>,
    message_type: Text,
    state_message: Text,
    entity_display_name: Text,
    monitoring_tool: Text,
    custom_fields: Vec<(String, Text)>,
}

impl VictoropsConfig {
    /// The notifier.
    pub fn build(
        &self,
        place: Place,
        globals: ServiceGlobals<'_>,
        shared: Shared<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<VictoropsNotifier> {
        let names = ("api_key", "api_key_file");
        let named = Named { names, global: Some("victorops_api_key") };
        let own = SecretSetting::of(&self.api_key, &self.api_key_file);
        let key = own.or(globals.key, named, place, diagnostics);
        let api = base_address(self.api_url.as_ref(), globals.url, API, diagnostics);
        let service = Service::build(self.http_config.as_ref(), shared.http, place, diagnostics);
        let routing_key = recipient("routing_key", self.routing_key.as_ref(), diagnostics);
        if routing_key.is_empty() {
            diagnostics.report(place, "`routing_key` is missing");
        }
        for name in self.custom_fields.keys().filter(|name| RESERVED.contains(&&*name.value)) {
            let message = format!("`{}` is a field of ours", name.value);
            diagnostics.report_with_help(
                name,
                message,
                "use the setting of that name, or another name",
            );
        }
        let mut text = |name, written: Option<&Spanned<String>>, default: &str| {
            Text::build(name, written, default, diagnostics)
        };
        let default = |name: &str| format!("{{{{ template \"victorops.default.{name}\" . }}}}");
        let message_type = text("message_type", self.message_type.as_ref(), "CRITICAL");
        let state_message =
            text("state_message", self.state_message.as_ref(), &default("state_message"));
        let entity_display_name = text(
            "entity_display_name",
            self.entity_display_name.as_ref(),
            &default("entity_display_name"),
        );
        let monitoring_tool =
            text("monitoring_tool", self.monitoring_tool.as_ref(), &default("monitoring_tool"));
        let custom_fields: Vec<_> = self
            .custom_fields
            .iter()
            .map(|(name, value)| {
                Some((name.value.clone(), text("custom_fields", Some(value), "")?))
            })
            .collect();
        Some(VictoropsNotifier {
            service: service?,
            api,
            key: key?,
            routing_key,
            templates: Arc::clone(shared.templates),
            message_type: message_type?,
            state_message: state_message?,
            entity_display_name: entity_display_name?,
            monitoring_tool: monitoring_tool?,
            custom_fields: custom_fields.into_iter().collect::<Option<_>>()?,
        })
    }
}

#[async_trait]
impl Notifier for VictoropsNotifier {
    fn integration(&self) -> &'static str {
        "victorops"
    }

    async fn notify(&self, notification: &Notification) -> Result<Receipt, DeliveryError> {
        let key = self.key.read().map_err(DeliveryError::transient)?;
        let (key, routing_key) =
            (percent_encoded(key.expose()), percent_encoded(&self.routing_key));
        let url = Secret::new(format!("{}{key}/{routing_key}", self.api.expose()));
        let body = self.body(notification);
        let answer = self.service.send(Call::json(Method::POST, &url, &body)).await?;
        judge(&answer, notification.at)?;
        Ok(Receipt::default())
    }
}

impl VictoropsNotifier {
    fn body(&self, notification: &Notification) -> Value {
        let renderer = Renderer::new(&self.templates, notification, Escape::Text);
        let short = |text: &Text| one_line(&renderer.render(text), MAX_FIELD);
        let custom = self.custom_fields.iter();
        let mut body: Value = custom
            .map(|(name, text)| (name.clone(), json!(shortened(&renderer.render(text), MAX_FIELD))))
            .collect();
        let written = short(&self.message_type);
        let message_type = match notification.is_firing() {
            false => "RECOVERY",
            true => TYPES.into_iter().find(|known| *known == written).unwrap_or("CRITICAL"),
        };
        let state_message = renderer.render(&self.state_message);
        body["message_type"] = json!(message_type);
        body["entity_id"] = json!(group_id(notification));
        body["entity_display_name"] = json!(short(&self.entity_display_name));
        body["state_message"] = json!(shortened(state_message.trim_end(), MAX_STATE_MESSAGE));
        body["monitoring_tool"] = json!(short(&self.monitoring_tool));
        body
    }
}

/// VictorOps says `"result": "success"`, or why not.
fn judge(answer: &Answer, now: Timestamp) -> Result<(), DeliveryError> {
    answer.taken(now)?;
    if answer.json()["result"] == "failure" {
        let reason = format!("the answer was: {}", excerpt(answer.body.trim()));
        return Err(DeliveryError::bad_message(reason));
    }
    confirmed(answer, now, "VictorOps", |value| value["result"] == "success").map(drop)
}

#[cfg(test)]
mod tests {
    use base::http::HeaderMap;

    use super::super::paging::tests::flood;
    use super::super::sink::build_entry;
    use super::super::texts::tests::notification;
    use super::*;

    fn build(yaml: &str) -> (Option<VictoropsNotifier>, String) {
        build_entry(yaml, |config: &VictoropsConfig, place, shared, diagnostics| {
            config.build(place, ServiceGlobals::default(), shared, diagnostics)
        })
    }

    #[track_caller]
    fn body(yaml: &str, notification: &Notification) -> Value {
        let (notifier, faults) = build(yaml);
        assert_eq!(faults, "", "{yaml}");
        notifier.unwrap().body(notification)
    }

    fn ended() -> Notification {
        let mut notification = notification();
        notification.alerts.remove(0);
        notification
    }

    #[test]
    fn writes_what_fires_and_what_is_over() {
        let yaml = "{api_key: k, routing_key: r, message_type: WARNING, state_message: '{{ .Status }}', custom_fields: {n: '{{ len .Alerts }}'}}";
        let id = group_id(&notification());
        let expected = |kind: &str, status: &str, count: &str, title: &str| {
            json!({
                "message_type": kind, "entity_id": id, "entity_display_name": title,
                "state_message": status, "monitoring_tool": "Veilleur", "n": count,
            })
        };
        assert_eq!(
            body(yaml, &notification()),
            expected(
                "WARNING",
                "firing",
                "2",
                "[FIRING:1] CheckFailed on web:1, since 2023-11-14 22:13 UTC"
            )
        );
        let title = "[RESOLVED] CheckFailed (db:1), since 2023-11-14 22:13 UTC";
        assert_eq!(body(yaml, &ended()), expected("RECOVERY", "resolved", "1", title));
    }

    #[test]
    fn an_alert_neither_ends_an_incident_nor_floods_it() {
        // F16
        let mut flood = flood(100);
        for alert in &mut flood.alerts {
            alert.annotations.insert("kind".into(), "RECOVERY".into());
        }
        let each = "{{ range .Alerts }}{{ .Annotations.summary }}{{ end }}";
        let yaml = format!(
            "{{api_key: k, routing_key: r, message_type: '{{{{ .CommonAnnotations.kind }}}}', state_message: '{each}'}}"
        );
        let got = body(&yaml, &flood);
        assert_eq!(got["message_type"], "CRITICAL");
        assert_eq!(got["state_message"].as_str().unwrap().chars().count(), MAX_STATE_MESSAGE);
    }

    #[test]
    fn counts_as_taken_only_what_victorops_says_it_took() {
        let check = |status, body: &str, expected: &str| {
            let answer = Answer { status, headers: HeaderMap::new(), body: body.to_owned() };
            let got = match judge(&answer, Timestamp::default()) {
                Ok(()) => "taken",
                Err(DeliveryError::Transient { .. }) => "again",
                Err(DeliveryError::Permanent { .. }) => "never",
            };
            assert_eq!(got, expected, "{status} {body}");
        };
        check(200, r#"{"result":"success","entity_id":"x"}"#, "taken");
        check(200, r#"{"result":"failure","message":"no such key"}"#, "never");
        check(200, "<html>", "again");
        check(404, "", "never");
        check(503, "", "again");
    }

    #[test]
    fn reports_every_fault() {
        let check = |yaml: &str, expected: &str| assert_eq!(build(yaml).1, expected, "{yaml}");
        check(
            "{custom_fields: {entity_id: x}}",
            "f.yml:1:1: `api_key` is missing\n  help: set it or `api_key_file` here, or \
             `victorops_api_key` under `global:`\n\
             f.yml:1:1: `routing_key` is missing\n\
             f.yml:1:18: `entity_id` is a field of ours\n  \
             help: use the setting of that name, or another name",
        );
        check(
            "{api_key: k, routing_key: '{{ .CommonLabels.team }}'}",
            "f.yml:1:27: `routing_key` cannot come from an alert\n  \
             help: make a receiver for each `routing_key` and route to it",
        );
    }
}
