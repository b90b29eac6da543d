//! Posts to a space of Google Chat by a webhook; the messages of one incident stand in one thread,
//! which is named after it.
//!
//! Source: Google's documentation of incoming webhooks, of text formatting and of threads.
//!
//! Invariant: what comes from an alert mentions nobody and hides no link behind another text (X15).

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
use super::settings::{Named, SecretSetting, with_query};
use super::texts::{Renderer, Text, but_last_line, one_line, printable, shortened};
use crate::template::{Escape, Markup, Templates};

/// The most characters of a message.
const MAX_TITLE: usize = 300;
const MAX_TEXT: usize = 4096 - MAX_TITLE - 10;

/// It knows no backslash, so what begins a mention or a link is kept apart.
const MARKUP: Markup = Markup { backslash: "", strict: false, entities: false, apart: "<@" };

/// An entry of `googlechat_configs`, as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GoogleChatConfig {
    /// Whether endings are sent; by default they are.
    pub send_resolved: Option<Spanned<bool>>,
    /// The address of the webhook, with its key and token.
    pub webhook_url: Option<Spanned<Secret>>,
    /// The file that holds the address.
    pub webhook_url_file: Option<PathBuf>,
    /// How we speak HTTP.
    pub http_config: Option<Spanned<HttpConfig>>,
    /// The first line, a template.
    pub title: Option<Spanned<String>>,
    /// The text below it, a template.
    pub text: Option<Spanned<String>>,
    /// Whether the messages of one incident stand in one thread; by default they do.
    pub threads: Option<bool>,
}

/// Posts to one space.
#[derive(Clone, Debug)]
pub struct GoogleChatNotifier {
    url: SecretSource,
    service: Service,
    templates: Arc<Templates>,
    title: Text,
    text: Text,
    threads: bool,
}

impl GoogleChatConfig {
    /// The notifier.
    pub fn build(
        &self,
        place: Place,
        shared: Shared<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<GoogleChatNotifier> {
        let named = Named { names: ("webhook_url", "webhook_url_file"), global: None };
        let url = SecretSetting::of(&self.webhook_url, &self.webhook_url_file);
        let url = url.address_or(SecretSetting::default(), named, place, diagnostics);
        let service = Service::build(self.http_config.as_ref(), shared.http, place, diagnostics);
        let mut text = |name, written: &Option<Spanned<String>>| {
            let default = format!("{{{{ template \"veilleur.default.{name}\" . }}}}");
            Text::build(name, written.as_ref(), &default, diagnostics)
        };
        let (title, text) = (text("title", &self.title), text("text", &self.text));
        Some(GoogleChatNotifier {
            url: url?,
            service: service?,
            templates: Arc::clone(shared.templates),
            title: title?,
            text: text?,
            threads: self.threads.unwrap_or(true),
        })
    }
}

#[async_trait]
impl Notifier for GoogleChatNotifier {
    fn integration(&self) -> &'static str {
        "googlechat"
    }

    async fn notify(&self, notification: &Notification) -> Result<Receipt, DeliveryError> {
        let mut url = self.url.read().map_err(DeliveryError::transient)?;
        if self.threads {
            let option = "messageReplyOption=REPLY_MESSAGE_FALLBACK_TO_NEW_THREAD";
            url = Secret::new(with_query(url.expose(), option));
        }
        let call = Call::json(Method::POST, &url, &self.body(notification));
        judge(&self.service.send(call).await?, notification)?;
        Ok(Receipt::default())
    }
}

impl GoogleChatNotifier {
    fn body(&self, notification: &Notification) -> Value {
        let renderer = Renderer::new(&self.templates, notification, Escape::Markup(MARKUP));
        let title = one_line(&renderer.render(&self.title), MAX_TITLE);
        let text = printable(&renderer.render(&self.text));
        let text = but_last_line(&text, MAX_TEXT, shortened);
        // A `*` in the title would end the bold type in the middle.
        let bold = !title.is_empty() && !title.contains('*');
        let title = if bold { format!("*{title}*") } else { title };
        let text = renderer.unless_blank(format!("{title}\n{text}").trim().to_owned());
        let mut body = json!({"text": text});
        if self.threads {
            body["thread"] = json!({"threadKey": notification.thread});
        }
        body
    }
}

/// Success is the message with its name.
fn judge(answer: &Answer, notification: &Notification) -> Result<(), DeliveryError> {
    answer.taken(notification.at)?;
    let value = answer.json();
    if value["name"].as_str().is_some_and(|name| name.contains("/messages/")) {
        return Ok(());
    }
    match value["error"]["message"].as_str() {
        Some(why) => {
            let reason = format!("the answer was: {}", excerpt(why));
            Err(match value["error"]["status"].as_str() {
                Some("RESOURCE_EXHAUSTED" | "UNAVAILABLE" | "INTERNAL" | "DEADLINE_EXCEEDED") => {
                    DeliveryError::transient(reason)
                }
                _ => DeliveryError::permanent(reason),
            })
        }
        None => Err(answer.strange()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::sink::{Judges, Reply, SECRET, Sink, build_entry, flood, hostile, misbehave};
    use super::super::texts::tests::notification;
    use super::*;

    fn build(yaml: &str) -> (Option<GoogleChatNotifier>, String) {
        build_entry(yaml, GoogleChatConfig::build)
    }

    #[track_caller]
    fn built(url: &str, more: &str) -> GoogleChatNotifier {
        let yaml =
            format!("{{webhook_url: '{url}/v1/spaces/A/messages?key=k&token={SECRET}'{more}}}");
        let (notifier, faults) = build(&yaml);
        assert_eq!(faults, "", "{yaml}");
        notifier.unwrap()
    }

    const TEXT: &str = ", text: '{{ .CommonAnnotations.summary }}'";

    #[tokio::test]
    async fn the_messages_of_an_incident_stand_in_one_thread() {
        let sink = Sink::start().await;
        let notifier = built(&sink.url(), TEXT);
        let said =
            Reply::json(200, json!({"name": "spaces/A/messages/M", "thread": {"name": "t"}}));
        let replies = std::slice::from_ref(&said);
        let mut message = notification();
        for (text, status) in [
            ("[FIRING:1] CheckFailed on web:1, since 2023-11-14 22:13 UTC", false),
            ("[RESOLVED] CheckFailed (db:1), since 2023-11-14 22:13 UTC", true),
        ] {
            if status {
                message.alerts.remove(0);
            }
            let (asked, result) = sink.hand_over(&notifier, &message, replies).await;
            assert_eq!(result, Ok(Receipt::default()));
            let option = "messageReplyOption=REPLY_MESSAGE_FALLBACK_TO_NEW_THREAD";
            let path = format!("/v1/spaces/A/messages?key=k&token={SECRET}&{option}");
            assert_eq!(asked[0].line(), format!("POST {path}"));
            let expected = json!({
                "text": format!("*{text}*\nqueue <\u{200b}b>full<\u{200b}/b> & more"),
                "thread": {"threadKey": "id1"},
            });
            assert_eq!(asked[0].json(), expected);
        }
        let apart = built(&sink.url(), ", threads: false");
        let (asked, _) = sink.hand_over(&apart, &message, replies).await;
        assert_eq!(asked[0].json()["thread"], Value::Null);
        assert!(!asked[0].path.contains("messageReplyOption"));
    }

    #[tokio::test]
    async fn takes_the_service_at_its_word() {
        // F12, F14
        let sink = Sink::start().await;
        let notifier = built(&sink.url(), "");
        let error = |status: &str| json!({"error": {"message": "no", "status": status}});
        let cases = [
            (429, error("RESOURCE_EXHAUSTED"), "again"),
            (200, error("RESOURCE_EXHAUSTED"), "again"),
            (200, error("PERMISSION_DENIED"), "never"),
            (403, error("PERMISSION_DENIED"), "never"),
            (200, json!({"name": "spaces/A"}), "again"),
        ];
        sink.judges(&notifier, cases).await;
        misbehave(Judges::Body, &[], |url| built(url, "")).await;
    }

    #[test]
    fn alerts_mention_nobody_and_fit() {
        // X15, F16
        for message in [hostile(), flood()] {
            let body = built("http://h", "").body(&message);
            let text = body["text"].as_str().unwrap();
            for markup in ["<users/all>", "<https", "@everyone"] {
                assert!(!text.contains(markup), "{markup}: {text}");
            }
            assert!(text.chars().count() <= 4096, "{text}");
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
