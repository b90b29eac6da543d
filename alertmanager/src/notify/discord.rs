//! Posts to Discord by a webhook; with `update_message` the first message of an incident is changed.
//!
//! Source: Discord's documentation of `Execute Webhook`, `Edit Webhook Message`, embeds, allowed
//! mentions and rate limits.
//!
//! Invariant: a message mentions whom the configuration names and nobody else: what comes from an
//! alert reads as it is, and Discord is told whom to ring (X16).

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::Method;
use base::http::access::{HttpConfig, SecretSource};
use base::secret::Secret;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::http::{Answer, Call, Service};
use super::notifier::{DeliveryError, Notification, Notifier, Receipt, Shared};
use super::parts::{Kind, Part, fill, parts};
use super::settings::{Named, SecretSetting, with_query};
use super::texts::Renderer;
use crate::template::{Escape, Markup, Templates};

/// The most characters of the parts of a message.
const MAX_NAME: usize = 80;
const MAX_TITLE: usize = 256;
const MAX_DESCRIPTION: usize = 4096;
const MAX_CONTENT: usize = 2000;

const RED: u32 = 0x99_2d22;
const GREEN: u32 = 0x2e_cc71;

/// Any sign can have a backslash before it; there are no references.
const MARKUP: Markup =
    Markup { backslash: r"\`*_[]~|<>", strict: false, entities: false, apart: "@" };

/// An entry of `discord_configs`, as written. What is not said otherwise is a template.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DiscordConfig {
    /// Whether endings are sent; by default they are.
    pub send_resolved: Option<Spanned<bool>>,
    /// The address of the webhook; no template.
    pub webhook_url: Option<Spanned<Secret>>,
    /// The file that holds the address.
    pub webhook_url_file: Option<PathBuf>,
    /// How we speak HTTP.
    pub http_config: Option<Spanned<HttpConfig>>,
    /// What stands above the frame; whom it mentions is rung.
    pub content: Option<Spanned<String>>,
    /// The headline.
    pub title: Option<Spanned<String>>,
    /// The text.
    pub message: Option<Spanned<String>>,
    /// Who it is from.
    pub username: Option<Spanned<String>>,
    /// A picture of the sender.
    pub avatar_url: Option<Spanned<String>>,
    /// Whether the first message is changed where otherwise a further one would be posted.
    pub update_message: bool,
}

/// Posts to one webhook.
#[derive(Clone, Debug)]
pub struct DiscordNotifier {
    url: SecretSource,
    service: Service,
    templates: Arc<Templates>,
    content: Vec<Part>,
    title: Vec<Part>,
    message: Vec<Part>,
    mentions: Value,
    /// Who it is from, and a picture of them.
    sender: Vec<Part>,
    update: bool,
}

impl DiscordConfig {
    /// The notifier.
    pub fn build(
        &self,
        place: Place,
        shared: Shared<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<DiscordNotifier> {
        let named = Named { names: ("webhook_url", "webhook_url_file"), global: None };
        let url = SecretSetting::of(&self.webhook_url, &self.webhook_url_file);
        let url = url.address_or(SecretSetting::default(), named, place, diagnostics);
        let service = Service::build(self.http_config.as_ref(), shared.http, place, diagnostics);
        let mut one = |setting| parts(&[setting], diagnostics);
        let (content, title, message) = (
            one(("content", Kind::Lines(MAX_CONTENT), &self.content, "discord.default.content")),
            one(("title", Kind::Line(MAX_TITLE), &self.title, "discord.default.title")),
            one((
                "message",
                Kind::Lines(MAX_DESCRIPTION),
                &self.message,
                "discord.default.message",
            )),
        );
        let written = self.content.as_ref().map_or("", |content| content.value.as_str());
        let sender = parts(
            &[
                ("username", Kind::Plain(MAX_NAME), &self.username, ""),
                ("avatar_url", Kind::Link, &self.avatar_url, ""),
            ],
            diagnostics,
        );
        Some(DiscordNotifier {
            url: url?,
            service: service?,
            templates: Arc::clone(shared.templates),
            content,
            title,
            message,
            mentions: mentions(written),
            sender,
            update: self.update_message,
        })
    }
}

/// Whom the text of the configuration mentions, as `allowed_mentions` has it.
fn mentions(content: &str) -> Value {
    let ids = |opening: &str| {
        let mut ids: Vec<&str> = content
            .split(opening)
            .skip(1)
            .filter_map(|rest| rest.split_once('>'))
            .map(|(id, _)| id)
            .filter(|id| !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit()))
            .collect();
        ids.sort_unstable();
        ids.dedup();
        // More than a hundred are refused.
        ids.truncate(100);
        ids
    };
    let everyone = content.contains("@everyone") || content.contains("@here");
    let users = [ids("<@"), ids("<@!")].concat();
    let parse: &[&str] = if everyone { &["everyone"] } else { &[] };
    json!({"parse": parse, "roles": ids("<@&"), "users": users})
}

#[async_trait]
impl Notifier for DiscordNotifier {
    fn integration(&self) -> &'static str {
        "discord"
    }

    async fn notify(&self, notification: &Notification) -> Result<Receipt, DeliveryError> {
        let url = self.url.read().map_err(DeliveryError::transient)?;
        let mut message = self.message(notification);
        let number = |id: &&str| !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit());
        let earlier = notification.reference.as_deref().filter(|_| self.update).filter(number);
        if let Some(id) = earlier {
            let (address, query) = url.expose().split_once('?').unwrap_or((url.expose(), ""));
            let query = if query.is_empty() { String::new() } else { format!("?{query}") };
            let edit = Secret::new(format!("{address}/messages/{id}{query}"));
            let mut changed = message.clone();
            // Who it is from cannot be changed.
            changed.remove("username");
            changed.remove("avatar_url");
            match self.send(Method::PATCH, &edit, changed, notification).await {
                // What was there is gone: a new one takes its place.
                Err(DeliveryError::Permanent { .. }) => {}
                handed => return handed.map(|_| Receipt::default()),
            }
        }
        // An empty content is one that is not there.
        if message["content"] == "" {
            message.remove("content");
        }
        let post = Secret::new(with_query(url.expose(), "wait=true"));
        let id = self.send(Method::POST, &post, message, notification).await?;
        Ok(Receipt::named(id))
    }
}

impl DiscordNotifier {
    /// Sends a message; returns its id.
    async fn send(
        &self,
        method: Method,
        url: &Secret,
        message: Map<String, Value>,
        notification: &Notification,
    ) -> Result<String, DeliveryError> {
        let call = Call::json(method, url, &Value::Object(message));
        judge(&self.service.send(call).await?, notification)
    }

    fn message(&self, notification: &Notification) -> Map<String, Value> {
        let renderer = Renderer::new(&self.templates, notification, Escape::Markup(MARKUP));
        let one = |parts: &[Part]| parts.first().map_or_else(String::new, |p| p.render(&renderer));
        let mut message = Map::new();
        message.insert("content".to_owned(), json!(one(&self.content)));
        let embed = json!({
            "title": one(&self.title),
            "description": renderer.unless_blank(one(&self.message)),
            "color": if notification.is_firing() { RED } else { GREEN },
        });
        message.insert("embeds".to_owned(), json!([embed]));
        message.insert("allowed_mentions".to_owned(), self.mentions.clone());
        fill(&mut message, &self.sender, &renderer);
        message
    }
}

/// Success is the message itself, with its id. A limit tells its wait in the body, in seconds.
fn judge(answer: &Answer, notification: &Notification) -> Result<String, DeliveryError> {
    let value = answer.json();
    answer.taken(notification.at).map_err(|error| error.after(value["retry_after"].as_f64()))?;
    match value["id"].as_str() {
        Some(id) => Ok(id.to_owned()),
        None => Err(answer.strange()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::sink::{Judges, Reply, SECRET, Sink, build_entry, flood, hostile, misbehave};
    use super::super::texts::tests::notification;
    use super::*;

    fn build(yaml: &str) -> (Option<DiscordNotifier>, String) {
        build_entry(yaml, DiscordConfig::build)
    }

    #[track_caller]
    fn built(url: &str, more: &str) -> DiscordNotifier {
        let yaml = format!(
            "{{webhook_url: '{url}/api/webhooks/1/{SECRET}', \
             message: '{{{{ .CommonAnnotations.summary }}}}'{more}}}"
        );
        let (notifier, faults) = build(&yaml);
        assert_eq!(faults, "", "{yaml}");
        notifier.unwrap()
    }

    #[tokio::test]
    async fn posts_and_changes() {
        let sink = Sink::start().await;
        let notifier = built(
            &sink.url(),
            ", username: 'watch {{ .Status }}', avatar_url: 'https://v/{{ .Status }}.png'",
        );
        let said = Reply::json(200, json!({"id": "42", "channel_id": "7"}));
        let mut message = notification();
        let replies = std::slice::from_ref(&said);
        let (asked, result) = sink.hand_over(&notifier, &message, replies).await;
        assert_eq!(result, Ok(Receipt::named("42")));
        assert_eq!(asked[0].line(), format!("POST /api/webhooks/1/{SECRET}?wait=true"));
        let mut expected = json!({
            "username": "watch firing",
            "avatar_url": "https://v/firing.png",
            "embeds": [{
                "title": "[FIRING:1] CheckFailed on web:1, since 2023-11-14 22:13 UTC",
                "description": "queue \\<b\\>full\\</b\\> & more",
                "color": RED,
            }],
            "allowed_mentions": {"parse": [], "roles": [], "users": []},
        });
        assert_eq!(asked[0].json(), expected);

        message.reference = Some("42".to_owned());
        let (asked, _) = sink.hand_over(&notifier, &message, replies).await;
        assert_eq!(asked[0].method, "POST");

        let update = built(&sink.url(), ", update_message: true");
        message.alerts.remove(0);
        let (asked, result) = sink.hand_over(&update, &message, replies).await;
        assert_eq!(result, Ok(Receipt::default()));
        assert_eq!(asked[0].line(), format!("PATCH /api/webhooks/1/{SECRET}/messages/42"));
        expected["content"] = json!("");
        expected["embeds"][0]["title"] =
            json!("[RESOLVED] CheckFailed (db:1), since 2023-11-14 22:13 UTC");
        expected["embeds"][0]["color"] = json!(GREEN);
        let object = expected.as_object_mut().unwrap();
        object.remove("username");
        object.remove("avatar_url");
        assert_eq!(asked[0].json(), expected);

        let gone = Reply::json(404, json!({"message": "Unknown Message", "code": 10008}));
        let (asked, result) = sink.hand_over(&update, &message, &[gone, said]).await;
        assert_eq!((asked.len(), result), (2, Ok(Receipt::named("42"))));
    }

    #[tokio::test]
    async fn an_address_with_a_query_keeps_it() {
        let sink = Sink::start().await;
        let yaml = format!("{{webhook_url: '{}/w?thread_id=9', update_message: true}}", sink.url());
        let notifier = build(&yaml).0.unwrap();
        let mut message = notification();
        let (asked, _) = sink.hand_over(&notifier, &message, &[]).await;
        assert_eq!(asked[0].path, "/w?thread_id=9&wait=true");
        message.reference = Some("42".to_owned());
        let (asked, _) = sink.hand_over(&notifier, &message, &[]).await;
        assert_eq!(asked[0].path, "/w/messages/42?thread_id=9");
    }

    #[tokio::test]
    async fn takes_the_service_at_its_word() {
        // F12, F14
        let sink = Sink::start().await;
        let notifier = built(&sink.url(), "");
        let limit = json!({"message": "You are being rate limited.", "retry_after": 64.57, "global": false});
        let cases = [
            (429, limit, "again after 64.57s"),
            (404, json!({"message": "Unknown Webhook", "code": 10015}), "never"),
            (400, json!({"embeds": ["0"]}), "never"),
            (200, json!({"message": "Cannot send", "code": 50006}), "again"),
        ];
        sink.judges(&notifier, cases).await;
        misbehave(Judges::Body, &[], |url| built(url, "")).await;
    }

    #[test]
    fn whom_the_configuration_names_is_rung_and_nobody_else() {
        // X16
        let check = |content: &str, expected: Value| assert_eq!(mentions(content), expected);
        check("", json!({"parse": [], "roles": [], "users": []}));
        check(
            "<@&12> <@34> <@!56> <@&12> <@x>",
            json!({"parse": [], "roles": ["12"], "users": ["34", "56"]}),
        );
        check("@everyone", json!({"parse": ["everyone"], "roles": [], "users": []}));
        let more = ", content: '<@&12> {{ .CommonAnnotations.summary }}'";
        let message = built("http://h", more).message(&hostile());
        let body = Value::Object(message.clone()).to_string();
        assert!(message["content"].as_str().unwrap().starts_with("<@&12> "), "{body}");
        for markup in ["@everyone", "@here", "<@U1>", "[log in](", "javascript:alert(1))"] {
            assert!(!body.contains(markup), "{markup}: {body}");
        }
        assert_eq!(message["allowed_mentions"]["roles"], json!(["12"]));
    }

    #[test]
    fn a_flood_fits() {
        // F16
        let (notifier, faults) = build("{webhook_url: 'http://h/x', content: '{{ .Alerts }}'}");
        assert_eq!(faults, "");
        let message = notifier.unwrap().message(&flood());
        let count = |text: &Value| text.as_str().unwrap().chars().count();
        let embed = &message["embeds"][0];
        assert!(count(&message["content"]) <= MAX_CONTENT);
        assert!(count(&embed["title"]) <= MAX_TITLE);
        assert!(count(&embed["description"]) <= MAX_DESCRIPTION);
    }

    #[test]
    fn reports_every_fault() {
        let check = |yaml: &str, expected: &str| assert_eq!(build(yaml).1, expected, "{yaml}");
        check(
            "{title: '{{'}",
            "f.yml:1:1: `webhook_url` is missing\n  help: set it or `webhook_url_file`\n\
             f.yml:1:9: template: title:1: unclosed action",
        );
        check(
            "{webhook_url: 'http://h/', webhook_url_file: x, username: '{{'}",
            "f.yml:1:1: only one of `webhook_url` and `webhook_url_file` can be given\n\
             f.yml:1:59: template: username:1: unclosed action",
        );
    }
}
