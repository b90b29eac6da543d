//! Posts to Mattermost by an incoming webhook, with all that its posts can have.
//!
//! A webhook does not say what it has posted, so every message is a new one.
//!
//! Source: Mattermost's documentation of incoming webhooks, message attachments and priorities.
//!
//! Invariant: what comes from an alert reads as it is: no markup, no link with another text, and
//! nobody is mentioned by it (X15, X16).

mod config;

use std::sync::Arc;

use async_trait::async_trait;
use base::http::Method;
use base::http::access::SecretSource;
use serde_json::{Map, Value, json};

use super::http::{Call, Service};
use super::notifier::{DeliveryError, Notification, Notifier, Receipt};
use super::parts::{Fields, Part, fill};
use super::texts::Renderer;
use crate::template::{Escape, Markup, Templates};

pub use config::{MattermostAttachment, MattermostConfig, MattermostPriority, MattermostProps};

/// The most characters of a post; longer ones are posted in pieces.
const MAX_TEXT: usize = 16_383;
const MAX_LINE: usize = 1024;

/// CommonMark; Slack's `<!channel>` and `<address|text>` are understood, too.
const MARKUP: Markup = Markup { backslash: r"\`*_[]~|", strict: false, entities: true, apart: "@" };

/// Posts to one webhook.
#[derive(Clone, Debug)]
pub struct MattermostNotifier {
    url: SecretSource,
    service: Service,
    templates: Arc<Templates>,
    channel: Option<String>,
    message: Vec<Part>,
    attachments: Vec<Attachment>,
    props: Vec<Part>,
    priority: Option<Priority>,
}

#[derive(Clone, Debug)]
struct Attachment {
    parts: Vec<Part>,
    fields: Fields,
}

#[derive(Clone, Debug)]
struct Priority {
    priority: Vec<Part>,
    requested_ack: bool,
    persistent_notifications: bool,
}

#[async_trait]
impl Notifier for MattermostNotifier {
    fn integration(&self) -> &'static str {
        "mattermost"
    }

    async fn notify(&self, notification: &Notification) -> Result<Receipt, DeliveryError> {
        let url = self.url.read().map_err(DeliveryError::transient)?;
        let call = Call::json(Method::POST, &url, &self.body(notification));
        let answer = self.service.send(call).await?;
        answer.taken(notification.at)?;
        // It says so in two letters; a page that some proxy puts in between does not (F14).
        match answer.body.trim() {
            "ok" => Ok(Receipt::default()),
            _ => Err(answer.strange()),
        }
    }
}

impl MattermostNotifier {
    fn body(&self, notification: &Notification) -> Value {
        let renderer = Renderer::new(&self.templates, notification, Escape::Markup(MARKUP));
        let mut message = Map::new();
        if let Some(channel) = &self.channel {
            message.insert("channel".to_owned(), json!(channel));
        }
        fill(&mut message, &self.message, &renderer);
        let attachments: Vec<Value> = self
            .attachments
            .iter()
            .map(|attachment| {
                let mut written = Map::new();
                fill(&mut written, &attachment.parts, &renderer);
                attachment.fields.fill(&mut written, &renderer);
                Value::Object(written)
            })
            .collect();
        message.insert("attachments".to_owned(), json!(attachments));
        let mut props = Map::new();
        fill(&mut props, &self.props, &renderer);
        if !props.is_empty() {
            message.insert("props".to_owned(), Value::Object(props));
        }
        let priority = self.priority.as_ref().and_then(|priority| priority.written(&renderer));
        if let Some(priority) = priority {
            message.insert("priority".to_owned(), priority);
        }
        Value::Object(message)
    }
}

impl Priority {
    /// Whatever it says that is none of the three is `standard`, and only those that are more can
    /// ask for something: the post would be refused otherwise.
    fn written(&self, renderer: &Renderer<'_>) -> Option<Value> {
        let said = self.priority.first()?.render(renderer).to_lowercase();
        if said.is_empty() {
            return None;
        }
        let known = ["urgent", "important"].into_iter().find(|name| *name == said);
        let priority = known.unwrap_or("standard");
        Some(json!({
            "priority": priority,
            "requested_ack": self.requested_ack && priority != "standard",
            "persistent_notifications": self.persistent_notifications && priority == "urgent",
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::SecretSetting;
    use super::super::sink::{Judges, SECRET, build_entry, flood, hostile, misbehave};
    use super::super::sink::{Reply, Sink, outcome};
    use super::super::texts::tests::notification;
    use super::*;

    fn build(yaml: &str) -> (Option<MattermostNotifier>, String) {
        build_entry(yaml, |config: &MattermostConfig, place, shared, diagnostics| {
            config.build(place, SecretSetting::default(), shared, diagnostics)
        })
    }

    #[track_caller]
    fn built(url: &str, more: &str) -> MattermostNotifier {
        let (notifier, faults) = build(&format!("{{webhook_url: '{url}/{SECRET}'{more}}}"));
        assert_eq!(faults, "", "{more}");
        notifier.unwrap()
    }

    #[test]
    fn writes_one_attachment() {
        let more = ", channel: ops, text: '{{ .CommonAnnotations.summary }}', \
                    fields: [{title: a_b, value: '{{ .Status }}', short: true}], \
                    props: {card: '{{ .Receiver }}'}, \
                    priority: {priority: '{{ if eq .Status \"firing\" }}Urgent{{ else }}x{{ end }}', \
                               requested_ack: true, persistent_notifications: true}";
        let notifier = built("http://h", more);
        let mut message = notification();
        let expected = json!({
            "channel": "ops",
            "username": "Veilleur",
            "attachments": [{
                "fallback": "[FIRING:1] CheckFailed on web:1, since 2023-11-14 22:13 UTC | http://v/#/alerts?receiver=ops",
                "color": "danger",
                "text": "queue &lt;b&gt;full&lt;/b&gt; &amp; more",
                "title": "[FIRING:1] CheckFailed on web:1, since 2023-11-14 22:13 UTC",
                "title_link": "http://v/#/alerts?receiver=ops",
                "fields": [{"title": "a_b", "value": "firing", "short": true}],
            }],
            "props": {"card": "ops"},
            "priority":
                {"priority": "urgent", "requested_ack": true, "persistent_notifications": true},
        });
        assert_eq!(notifier.body(&message), expected);
        message.alerts.remove(0);
        let body = notifier.body(&message);
        assert_eq!(body["attachments"][0]["color"], "good");
        let standard = json!({"priority": "standard", "requested_ack": false, "persistent_notifications": false});
        assert_eq!(body["priority"], standard);
    }

    #[test]
    fn writes_the_attachments_that_are_given() {
        let more = ", text: above, attachments: [{title: one}, {text: two, color: '#ff0000'}]";
        let body = built("http://h", more).body(&notification());
        assert_eq!(body["text"], "above");
        let expected = json!([{"title": "one"}, {"text": "two", "color": "#ff0000"}]);
        assert_eq!(body["attachments"], expected);
    }

    #[test]
    fn alerts_mention_nobody_and_hide_no_link() {
        // X15, X16, X13
        let body = built("http://h", "").body(&hostile()).to_string();
        for markup in ["<!", "@everyone", "@all", "[log in](", "<https", "](javascript"] {
            assert!(!body.contains(markup), "{markup}: {body}");
        }
        let text = built("http://h", "").body(&flood())["attachments"][0]["text"].clone();
        let text = text.as_str().unwrap();
        assert!(text.chars().count() <= MAX_TEXT && text.contains("Only 10 of 5000"), "{text}");
    }

    #[tokio::test]
    async fn posts_and_survives_every_bad_answer() {
        let sink = Sink::start().await;
        let notifier = built(&sink.url(), "");
        let replies = [Reply::text(200, "ok")];
        let (asked, result) = sink.hand_over(&notifier, &notification(), &replies).await;
        assert_eq!(result, Ok(Receipt::default()));
        assert_eq!(asked[0].line(), format!("POST /{SECRET}"));
        let wrong = json!({"id": "web.incoming_webhook.channel.app_error", "status_code": 404});
        let (_, result) =
            sink.hand_over(&notifier, &notification(), &[Reply::json(404, wrong)]).await;
        assert_eq!(outcome(&result), "never");
        misbehave(Judges::Body, &[], |url| built(url, "")).await;
    }

    #[test]
    fn reports_every_fault() {
        let check = |yaml: &str, expected: &str| assert_eq!(build(yaml).1, expected, "{yaml}");
        check(
            "{channel: '{{ .x }}', fields: [{title: a}]}",
            "f.yml:1:1: `webhook_url` is missing\n  help: set it or `webhook_url_file` here, or \
             `mattermost_webhook_url` under `global:`\n\
             f.yml:1:11: `channel` cannot come from an alert\n  \
             help: make a receiver for each `channel` and route to it\n\
             f.yml:1:32: the field has no `value`",
        );
        check(
            "{webhook_url: 'http://h/', webhook_url_file: /x}",
            "f.yml:1:1: only one of `webhook_url` and `webhook_url_file` can be given",
        );
    }
}
