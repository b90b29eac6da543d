//! Posts to Microsoft Teams by a workflow of Power Automate: one adaptive card each.
//!
//! A workflow does not say what it has posted, so every message is a new one.
//!
//! Source: Microsoft's reference of the Teams connector and of adaptive cards, and the configuration
//! reference of Alertmanager 0.33.
//!
//! Invariant: what comes from an alert reads as it is (X16); a card mentions nobody, because it lists
//! nobody to mention.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::Method;
use base::http::access::{HttpConfig, SecretSource};
use base::secret::Secret;
use serde::Deserialize;
use serde_json::{Value, json};

use super::http::{Answer, Call, Service};
use super::msteams::{MARKUP, MAX_TEXT, MAX_TITLE};
use super::notifier::{DeliveryError, Notification, Notifier, Receipt, Shared, excerpt};
use super::parts::web_address;
use super::settings::{Named, SecretSetting};
use super::texts::{Renderer, Text, but_last_line, one_line, printable, shortened_bytes};
use crate::template::{Escape, Templates};

/// An entry of `msteamsv2_configs`, as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MsteamsV2Config {
    /// Whether endings are sent; by default they are.
    pub send_resolved: Option<Spanned<bool>>,
    /// The address of the workflow.
    pub webhook_url: Option<Spanned<Secret>>,
    /// The file that holds the address.
    pub webhook_url_file: Option<PathBuf>,
    /// How we speak HTTP.
    pub http_config: Option<Spanned<HttpConfig>>,
    /// The headline, a template.
    pub title: Option<Spanned<String>>,
    /// The text, a template.
    pub text: Option<Spanned<String>>,
}

/// Posts to one workflow.
#[derive(Clone, Debug)]
pub struct MsteamsV2Notifier {
    url: SecretSource,
    service: Service,
    templates: Arc<Templates>,
    title: Text,
    text: Text,
}

impl MsteamsV2Config {
    /// The notifier.
    pub fn build(
        &self,
        place: Place,
        shared: Shared<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<MsteamsV2Notifier> {
        let named = Named { names: ("webhook_url", "webhook_url_file"), global: None };
        let url = SecretSetting::of(&self.webhook_url, &self.webhook_url_file);
        let url = url.address_or(SecretSetting::default(), named, place, diagnostics);
        let service = Service::build(self.http_config.as_ref(), shared.http, place, diagnostics);
        let mut text = |name, written: &Option<Spanned<String>>| {
            let default = format!("{{{{ template \"msteamsv2.default.{name}\" . }}}}");
            Text::build(name, written.as_ref(), &default, diagnostics)
        };
        let (title, text) = (text("title", &self.title), text("text", &self.text));
        Some(MsteamsV2Notifier {
            url: url?,
            service: service?,
            templates: Arc::clone(shared.templates),
            title: title?,
            text: text?,
        })
    }
}

#[async_trait]
impl Notifier for MsteamsV2Notifier {
    fn integration(&self) -> &'static str {
        "msteamsv2"
    }

    async fn notify(&self, notification: &Notification) -> Result<Receipt, DeliveryError> {
        let url = self.url.read().map_err(DeliveryError::transient)?;
        let call = Call::json(Method::POST, &url, &self.body(notification));
        judge(&self.service.send(call).await?, notification)?;
        Ok(Receipt::default())
    }
}

impl MsteamsV2Notifier {
    fn body(&self, notification: &Notification) -> Value {
        let renderer = Renderer::new(&self.templates, notification, Escape::Markup(MARKUP));
        let title = one_line(&renderer.render(&self.title), MAX_TITLE);
        let text = printable(&renderer.render(&self.text));
        let mut card = json!({
            "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
            "type": "AdaptiveCard",
            "version": "1.2",
            "body": [
                {
                    "type": "TextBlock",
                    "text": shortened_bytes(&renderer.unless_blank(title), MAX_TITLE),
                    "weight": "Bolder",
                    "size": "Medium",
                    "wrap": true,
                    "style": "heading",
                    "color": if notification.is_firing() { "Attention" } else { "Good" },
                },
                {
                    "type": "TextBlock",
                    "text": but_last_line(&text, MAX_TEXT, shortened_bytes),
                    "wrap": true,
                },
            ],
            "msteams": {"width": "full"},
        });
        let url = web_address(&notification.external_url);
        if !url.is_empty() {
            let action =
                json!({"type": "Action.OpenUrl", "title": "Alerts and silences", "url": url});
            card["actions"] = json!([action]);
        }
        json!({
            "type": "message",
            "attachments": [{
                "contentType": "application/vnd.microsoft.card.adaptive",
                "contentUrl": null,
                "content": card,
            }],
        })
    }
}

/// Success is the status: a workflow that is started answers 202 with nothing. What has a page or an
/// error in its body is none (F14).
fn judge(answer: &Answer, notification: &Notification) -> Result<(), DeliveryError> {
    answer.taken(notification.at)?;
    let value = answer.json();
    let error = &value["error"];
    if !error.is_null() {
        let why = error["message"].as_str().or(error.as_str()).unwrap_or(answer.body.trim());
        return Err(DeliveryError::permanent(format!("the answer was: {}", excerpt(why))));
    }
    match answer.body.trim() {
        "" | "1" => Ok(()),
        _ if value.is_object() => Ok(()),
        _ => Err(answer.strange()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::sink::{
        Judges, Reply, SECRET, Sink, build_entry, flood, hostile, misbehave_but, outcome,
    };
    use super::super::texts::tests::notification;
    use super::*;

    fn build(yaml: &str) -> (Option<MsteamsV2Notifier>, String) {
        build_entry(yaml, MsteamsV2Config::build)
    }

    #[track_caller]
    fn built(url: &str, more: &str) -> MsteamsV2Notifier {
        let (notifier, faults) = build(&format!("{{webhook_url: '{url}/{SECRET}'{more}}}"));
        assert_eq!(faults, "", "{more}");
        notifier.unwrap()
    }

    #[test]
    fn writes_an_adaptive_card() {
        let notifier = built("http://h", ", text: '{{ .CommonAnnotations.summary }}'");
        let mut message = notification();
        let body = notifier.body(&message);
        let expected = json!({
            "type": "message",
            "attachments": [{
                "contentType": "application/vnd.microsoft.card.adaptive",
                "contentUrl": null,
                "content": {
                    "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                    "type": "AdaptiveCard",
                    "version": "1.2",
                    "body": [
                        {"type": "TextBlock", "text": "[FIRING:1] CheckFailed on web:1, since 2023-11-14 22:13 UTC", "weight": "Bolder",
                         "size": "Medium", "wrap": true, "style": "heading", "color": "Attention"},
                        {"type": "TextBlock", "wrap": true,
                         "text": "queue &lt;b&gt;full&lt;/b&gt; &amp; more"},
                    ],
                    "msteams": {"width": "full"},
                    "actions": [{"type": "Action.OpenUrl", "title": "Alerts and silences",
                                 "url": "http://v"}],
                },
            }],
        });
        assert_eq!(body, expected);
        message.alerts.remove(0);
        let body = notifier.body(&message);
        assert_eq!(body["attachments"][0]["content"]["body"][0]["color"], "Good");
    }

    #[tokio::test]
    async fn takes_the_service_at_its_word() {
        // F14
        let sink = Sink::start().await;
        let notifier = built(&sink.url(), "");
        let off = json!({"error": {"code": "WorkflowTriggerIsNotEnabled", "message": "it is off"}});
        let cases = [
            (Reply::text(202, ""), "taken"),
            (Reply::json(200, json!({"status": "ok"})), "taken"),
            (Reply::json(400, off.clone()), "never"),
            (Reply::json(200, off), "never"),
            (Reply::text(200, "<html>log in</html>"), "again"),
        ];
        for (reply, expected) in cases {
            let (_, result) = sink.hand_over(&notifier, &notification(), &[reply]).await;
            assert_eq!(outcome(&result), expected, "{result:?}");
        }
        // A workflow says nothing where it is started.
        misbehave_but(&[("nothing", "taken")], Judges::Body, &[], |url| built(url, "")).await;
    }

    #[test]
    fn alerts_are_text_and_fit() {
        // X13, X16, F16
        for message in [hostile(), flood()] {
            let body = built("http://h", "").body(&message).to_string();
            for markup in ["<", "[log in](", "](javascript"] {
                assert!(!body.contains(markup), "{markup}: {body}");
            }
            assert!(body.len() < 28_000, "{}", body.len());
        }
    }

    #[test]
    fn reports_every_fault() {
        let check = |yaml: &str, expected: &str| assert_eq!(build(yaml).1, expected, "{yaml}");
        check("{}", "f.yml:1:1: `webhook_url` is missing\n  help: set it or `webhook_url_file`");
        check(
            "{webhook_url: 'http://h/', webhook_url_file: x}",
            "f.yml:1:1: only one of `webhook_url` and `webhook_url_file` can be given",
        );
    }
}
