//! Posts to Microsoft Teams by the older connectors: one message card each.
//!
//! Source: Microsoft's reference of message cards and of connectors, and the configuration reference
//! of Alertmanager 0.33.
//!
//! Invariant: what comes from an alert reads as it is: no markup, no element, no link with another
//! text (X16).

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
use super::notifier::{DeliveryError, Notification, Notifier, Receipt, Shared, excerpt};
use super::parts::web_address;
use super::settings::{Named, SecretSetting};
use super::texts::{Renderer, Text, but_last_line, one_line, printable, shortened_bytes};
use crate::template::{Escape, Markup, Templates};

/// A message of more than 28 KB is refused; escaped as JSON the text is at most twice as long.
pub(super) const MAX_TITLE: usize = 300;
pub(super) const MAX_TEXT: usize = 12_000;

const RED: &str = "8C1A1A";
const GREEN: &str = "2DC72D";

/// A part of Markdown, and some HTML.
pub(super) const MARKUP: Markup =
    Markup { backslash: r"\`*_[]~|", strict: false, entities: true, apart: "" };

/// An entry of `msteams_configs`, as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MsteamsConfig {
    /// Whether endings are sent; by default they are.
    pub send_resolved: Option<Spanned<bool>>,
    /// The address of the webhook.
    pub webhook_url: Option<Spanned<Secret>>,
    /// The file that holds the address.
    pub webhook_url_file: Option<PathBuf>,
    /// How we speak HTTP.
    pub http_config: Option<Spanned<HttpConfig>>,
    /// The headline, a template.
    pub title: Option<Spanned<String>>,
    /// What is shown where there is no room for more, a template.
    pub summary: Option<Spanned<String>>,
    /// The text, a template.
    pub text: Option<Spanned<String>>,
}

/// Posts to one webhook.
#[derive(Clone, Debug)]
pub struct MsteamsNotifier {
    url: SecretSource,
    service: Service,
    templates: Arc<Templates>,
    title: Text,
    summary: Text,
    text: Text,
}

impl MsteamsConfig {
    /// The notifier.
    pub fn build(
        &self,
        place: Place,
        shared: Shared<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<MsteamsNotifier> {
        let named = Named { names: ("webhook_url", "webhook_url_file"), global: None };
        let url = SecretSetting::of(&self.webhook_url, &self.webhook_url_file);
        let url = url.address_or(SecretSetting::default(), named, place, diagnostics);
        let service = Service::build(self.http_config.as_ref(), shared.http, place, diagnostics);
        let mut text = |name, written: &Option<Spanned<String>>| {
            let default = format!("{{{{ template \"msteams.default.{name}\" . }}}}");
            Text::build(name, written.as_ref(), &default, diagnostics)
        };
        let (title, summary) = (text("title", &self.title), text("summary", &self.summary));
        let text = text("text", &self.text);
        Some(MsteamsNotifier {
            url: url?,
            service: service?,
            templates: Arc::clone(shared.templates),
            title: title?,
            summary: summary?,
            text: text?,
        })
    }
}

#[async_trait]
impl Notifier for MsteamsNotifier {
    fn integration(&self) -> &'static str {
        "msteams"
    }

    async fn notify(&self, notification: &Notification) -> Result<Receipt, DeliveryError> {
        let url = self.url.read().map_err(DeliveryError::transient)?;
        let call = Call::json(Method::POST, &url, &self.body(notification));
        judge(&self.service.send(call).await?, notification)?;
        Ok(Receipt::default())
    }
}

impl MsteamsNotifier {
    fn body(&self, notification: &Notification) -> Value {
        let renderer = Renderer::new(&self.templates, notification, Escape::Markup(MARKUP));
        let line =
            |text: &Text| shortened_bytes(&one_line(&renderer.render(text), MAX_TITLE), MAX_TITLE);
        let text = printable(&renderer.render(&self.text));
        let mut card = json!({
            "@context": "http://schema.org/extensions",
            "@type": "MessageCard",
            "type": "MessageCard",
            "title": line(&self.title),
            // Without it, and without a text, a card is refused.
            "summary": renderer.unless_blank(line(&self.summary)),
            "text": but_last_line(&renderer.unless_blank(text), MAX_TEXT, shortened_bytes),
            "themeColor": if notification.is_firing() { RED } else { GREEN },
        });
        let url = web_address(&notification.external_url);
        if !url.is_empty() {
            card["potentialAction"] = json!([{
                "@type": "OpenUri",
                "name": "Alerts and silences",
                "targets": [{"os": "default", "uri": url}],
            }]);
        }
        card
    }
}

/// Success is the text `1`; a failure comes with HTTP status 200, too, and says which status the
/// service behind the connector had (F14).
fn judge(answer: &Answer, notification: &Notification) -> Result<(), DeliveryError> {
    answer.taken(notification.at)?;
    let said = answer.body.trim();
    if said == "1" {
        return Ok(());
    }
    let Some((_, rest)) = said.split_once("returned HTTP error ") else {
        return Err(answer.strange());
    };
    let status: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let reason = format!("the answer was: {}", excerpt(said));
    match status.parse::<u16>() {
        Ok(400..=407 | 409..=424 | 426..=428) => Err(DeliveryError::permanent(reason)),
        _ => Err(DeliveryError::transient(reason)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::sink::{
        Judges, Reply, SECRET, Sink, build_entry, flood, hostile, misbehave, outcome,
    };
    use super::super::texts::tests::notification;
    use super::*;

    fn build(yaml: &str) -> (Option<MsteamsNotifier>, String) {
        build_entry(yaml, MsteamsConfig::build)
    }

    #[track_caller]
    fn built(url: &str, more: &str) -> MsteamsNotifier {
        let (notifier, faults) = build(&format!("{{webhook_url: '{url}/{SECRET}'{more}}}"));
        assert_eq!(faults, "", "{more}");
        notifier.unwrap()
    }

    #[test]
    fn writes_a_card() {
        let notifier = built("http://h", ", text: '**{{ .CommonAnnotations.summary }}**'");
        let mut message = notification();
        let mut expected = json!({
            "@context": "http://schema.org/extensions",
            "@type": "MessageCard",
            "type": "MessageCard",
            "title": "[FIRING:1] CheckFailed on web:1, since 2023-11-14 22:13 UTC",
            "summary": "[FIRING:1] CheckFailed on web:1, since 2023-11-14 22:13 UTC",
            "text": "**queue &lt;b&gt;full&lt;/b&gt; &amp; more**",
            "themeColor": "8C1A1A",
            "potentialAction": [{
                "@type": "OpenUri",
                "name": "Alerts and silences",
                "targets": [{"os": "default", "uri": "http://v"}],
            }],
        });
        assert_eq!(notifier.body(&message), expected);
        message.alerts.remove(0);
        expected["title"] = json!("[RESOLVED] CheckFailed (db:1), since 2023-11-14 22:13 UTC");
        expected["summary"] = json!("[RESOLVED] CheckFailed (db:1), since 2023-11-14 22:13 UTC");
        expected["themeColor"] = json!("2DC72D");
        assert_eq!(notifier.body(&message), expected);
    }

    #[tokio::test]
    async fn takes_the_service_at_its_word() {
        // F12, F14
        let sink = Sink::start().await;
        let notifier = built(&sink.url(), "");
        let behind = "Webhook message delivery failed with error: Microsoft Teams endpoint returned \
                      HTTP error";
        let cases = [
            ("1".to_owned(), "taken"),
            (format!("{behind} 429 with ContextId tcid=0"), "again"),
            (format!("{behind} 503 with ContextId"), "again"),
            (format!("{behind} 413 with ContextId"), "never"),
            (format!("{behind} with ContextId"), "again"),
        ];
        for (body, expected) in cases {
            let replies = [Reply::text(200, &body)];
            let (_, result) = sink.hand_over(&notifier, &notification(), &replies).await;
            assert_eq!(outcome(&result), expected, "{body}");
        }
        misbehave(Judges::Body, &[], |url| built(url, "")).await;
    }

    #[test]
    fn alerts_are_text_and_fit() {
        // X13, X16, F16
        for message in [hostile(), flood()] {
            let body = built("http://h", "").body(&message);
            let text = body["text"].as_str().unwrap();
            for markup in ["<", "[log in]", "](javascript"] {
                assert!(!text.contains(markup), "{markup}: {text}");
            }
            assert!(body.to_string().len() < 28_000, "{}", body.to_string().len());
        }
    }

    #[test]
    fn reports_every_fault() {
        let check = |yaml: &str, expected: &str| assert_eq!(build(yaml).1, expected, "{yaml}");
        check(
            "{summary: '{{ nope }}'}",
            "f.yml:1:1: `webhook_url` is missing\n  help: set it or `webhook_url_file`\n\
             f.yml:1:11: template: summary:1: function \"nope\" not defined",
        );
    }
}
