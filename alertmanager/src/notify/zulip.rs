//! Posts to Zulip: the topic is the thread; with `update_message` the first message of an incident is
//! changed.
//!
//! Source: Zulip's documentation of `Send a message`, `Edit a message` and of rate limits.
//!
//! Invariant: what comes from an alert mentions nobody and hides no link behind another text (X16).

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::access::{HttpConfig, SecretSource};
use base::http::{Method, percent_encoded};
use base::secret::Secret;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::http::{Answer, Call, Service};
use super::notifier::{DeliveryError, Notification, Notifier, Receipt, Shared, excerpt};
use super::settings::{SecretSetting, fixed, needed, needed_address};
use super::texts::{Renderer, Text, but_last_line, one_line, printable, shortened};
use crate::template::{Escape, Markup, Templates};

/// The most characters of a topic and of a message.
const MAX_TOPIC: usize = 60;
const MAX_TITLE: usize = 300;
const MAX_TEXT: usize = 9500;

/// It knows no backslash, so what begins something is kept apart.
const MARKUP: Markup = Markup { backslash: "", strict: false, entities: false, apart: "@<]" };

/// An entry of `zulip_configs`, as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ZulipConfig {
    /// Whether endings are sent; by default they are.
    pub send_resolved: Option<Spanned<bool>>,
    /// The address of the organisation: `https://example.zulipchat.com`.
    pub api_url: Option<Spanned<Secret>>,
    /// The address of the bot.
    pub bot_email: Option<Spanned<String>>,
    /// The bot's key.
    pub api_key: Option<Spanned<Secret>>,
    /// The file that holds the key.
    pub api_key_file: Option<PathBuf>,
    /// How we speak HTTP.
    pub http_config: Option<Spanned<HttpConfig>>,
    /// The channel.
    pub channel: Option<Spanned<String>>,
    /// People in place of a channel, by their mail addresses.
    pub to: Vec<Spanned<String>>,
    /// The topic, a template; one that stays the same while the incident goes on.
    pub topic: Option<Spanned<String>>,
    /// The first line, a template.
    pub title: Option<Spanned<String>>,
    /// The text below it, a template.
    pub text: Option<Spanned<String>>,
    /// Whether the first message is changed where otherwise a further one would stand below it.
    pub update_message: bool,
}

/// Posts to one channel, or to some people.
#[derive(Clone, Debug)]
pub struct ZulipNotifier {
    /// `https://server/api/v1/messages`.
    address: String,
    bot: String,
    key: SecretSource,
    service: Service,
    templates: Arc<Templates>,
    to: To,
    title: Text,
    text: Text,
    update: bool,
}

#[derive(Clone, Debug)]
enum To {
    /// The channel, and the topic.
    Channel(String, Text),
    /// A list of addresses as JSON.
    People(String),
}

impl ZulipConfig {
    /// The notifier.
    pub fn build(
        &self,
        place: Place,
        shared: Shared<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<ZulipNotifier> {
        let server = needed_address("api_url", self.api_url.as_ref(), place, diagnostics);
        let bot = needed("bot_email", self.bot_email.as_ref(), place, diagnostics);
        let key = SecretSetting::of(&self.api_key, &self.api_key_file);
        let key = key.needed(("api_key", "api_key_file"), place, diagnostics);
        let to = self.to(place, diagnostics);
        let service = Service::build(self.http_config.as_ref(), shared.http, place, diagnostics);
        let mut text = |name, written: &Option<Spanned<String>>| {
            let default = format!("{{{{ template \"veilleur.default.{name}\" . }}}}");
            Text::build(name, written.as_ref(), &default, diagnostics)
        };
        let (title, text) = (text("title", &self.title), text("text", &self.text));
        Some(ZulipNotifier {
            address: format!("{}/api/v1/messages", server?),
            bot: bot?,
            key: key?,
            service: service?,
            templates: Arc::clone(shared.templates),
            to: to?,
            title: title?,
            text: text?,
            update: self.update_message,
        })
    }

    fn to(&self, place: Place, diagnostics: &mut Diagnostics) -> Option<To> {
        let default = "{{ with .GroupLabels }}{{ .Values.Join \" \" }}{{ else }}alerts{{ end }}";
        let topic = Text::build("topic", self.topic.as_ref(), default, diagnostics);
        let channel = self.channel.as_ref().filter(|channel| !channel.value.is_empty());
        match (channel, self.to.as_slice()) {
            (Some(channel), []) => {
                Some(To::Channel(fixed("channel", Some(channel), diagnostics)?, topic?))
            }
            (None, []) => {
                let help = "or name people in `to`";
                diagnostics.report_with_help(place, "`channel` is missing", help);
                None
            }
            (Some(channel), _) => {
                diagnostics.report(channel, "only one of `channel` and `to` can be given");
                None
            }
            (None, people) => {
                let people: Vec<String> =
                    people.iter().filter_map(|one| fixed("to", Some(one), diagnostics)).collect();
                if let Some(topic) = &self.topic {
                    diagnostics.report(topic, "messages to people have no topic");
                }
                Some(To::People(serde_json::json!(people).to_string()))
            }
        }
    }
}

#[async_trait]
impl Notifier for ZulipNotifier {
    fn integration(&self) -> &'static str {
        "zulip"
    }

    async fn notify(&self, notification: &Notification) -> Result<Receipt, DeliveryError> {
        let form = self.form(notification);
        let to = match &self.to {
            To::Channel(channel, _) => channel,
            To::People(people) => people,
        };
        let first = notification.reference.as_deref().and_then(|name| {
            let (id, then) = name.split_once(':')?;
            // A message to those of an earlier configuration is none to change.
            (then == to && id.bytes().all(|b| b.is_ascii_digit())).then_some(id)
        });
        if let Some(id) = first.filter(|_| self.update) {
            let url = Secret::new(format!("{}/{id}", self.address));
            let content: Vec<_> = form.iter().filter(|(name, _)| *name == "content").collect();
            match self.send(Method::PATCH, &url, content, notification).await {
                // It is gone, or too old to be changed: a new one takes its place.
                Err(DeliveryError::Permanent { .. }) => {}
                handed => return handed.map(|_| Receipt::default()),
            }
        }
        let url = Secret::new(self.address.clone());
        let id = self.send(Method::POST, &url, &form, notification).await?;
        Ok(Receipt { reference: id.map(|id| format!("{id}:{to}")) })
    }
}

impl ZulipNotifier {
    /// What is posted, by the names that Zulip gives it.
    fn form(&self, notification: &Notification) -> Vec<(&'static str, String)> {
        let renderer = Renderer::new(&self.templates, notification, Escape::Markup(MARKUP));
        let mut form = match &self.to {
            To::Channel(channel, topic) => {
                let topic = one_line(&renderer.render_as(topic, Escape::Text), MAX_TOPIC);
                let topic = if topic.is_empty() { "alerts".to_owned() } else { topic };
                vec![("type", "stream".to_owned()), ("to", channel.clone()), ("topic", topic)]
            }
            To::People(people) => vec![("type", "direct".to_owned()), ("to", people.clone())],
        };
        let title = one_line(&renderer.render(&self.title), MAX_TITLE);
        let text = printable(&renderer.render(&self.text));
        let text = but_last_line(&text, MAX_TEXT, shortened);
        // A `*` in the title would end the bold type in the middle.
        let bold = !title.is_empty() && !title.contains('*');
        let title = if bold { format!("**{title}**") } else { title };
        let text = renderer.unless_blank(format!("{title}\n{text}").trim().to_owned());
        form.push(("content", text));
        form
    }

    /// Sends a form; returns the id of the message where the answer has one.
    async fn send(
        &self,
        method: Method,
        url: &Secret,
        form: impl IntoIterator<Item = &(&'static str, String)> + Send,
        notification: &Notification,
    ) -> Result<Option<String>, DeliveryError> {
        let pairs: Vec<String> = form
            .into_iter()
            .map(|(name, text)| format!("{name}={}", percent_encoded(text)))
            .collect();
        let body = pairs.join("&").into_bytes();
        let key = self.key.read().map_err(DeliveryError::transient)?;
        let who = STANDARD.encode(format!("{}:{}", self.bot, key.expose()));
        let call = Call { method, ..Call::post(url, "application/x-www-form-urlencoded", body) }
            .with("authorization", Secret::new(format!("Basic {who}")));
        judge(&self.service.send(call).await?, notification)
    }
}

/// Success is `"result":"success"`. A limit tells its wait in the body, in seconds.
fn judge(answer: &Answer, notification: &Notification) -> Result<Option<String>, DeliveryError> {
    let value = answer.json();
    answer.taken(notification.at).map_err(|error| error.after(value["retry-after"].as_f64()))?;
    match value["result"].as_str() {
        Some("success") => Ok(value["id"].as_u64().map(|id| id.to_string())),
        Some(_) => {
            let why = value["msg"].as_str().unwrap_or(answer.body.trim());
            Err(DeliveryError::permanent(format!("the answer was: {}", excerpt(why))))
        }
        None => Err(answer.strange()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::sink::{Judges, Reply, SECRET, Sink, build_entry, flood, hostile, misbehave};
    use super::super::texts::tests::notification;
    use super::*;

    fn build(yaml: &str) -> (Option<ZulipNotifier>, String) {
        build_entry(yaml, ZulipConfig::build)
    }

    #[track_caller]
    fn built(url: &str, more: &str) -> ZulipNotifier {
        let yaml = format!("{{api_url: '{url}/', bot_email: b@x, api_key: {SECRET}{more}}}");
        let (notifier, faults) = build(&yaml);
        assert_eq!(faults, "", "{yaml}");
        notifier.unwrap()
    }

    const TEXT: &str = ", text: '{{ .CommonAnnotations.summary }}'";

    #[tokio::test]
    async fn posts_to_a_topic_and_changes() {
        let sink = Sink::start().await;
        let notifier = built(&sink.url(), &format!(", channel: ops & co{TEXT}"));
        let said = Reply::json(200, json!({"result": "success", "msg": "", "id": 42}));
        let replies = std::slice::from_ref(&said);
        let mut message = notification();
        let (asked, result) = sink.hand_over(&notifier, &message, replies).await;
        assert_eq!(result, Ok(Receipt::named("42:ops & co")));
        assert_eq!(asked[0].line(), "POST /api/v1/messages");
        assert_eq!(asked[0].headers["content-type"], "application/x-www-form-urlencoded");
        let who = STANDARD.encode(format!("b@x:{SECRET}"));
        assert_eq!(asked[0].headers["authorization"], format!("Basic {who}"));
        let content = "content=%2A%2A%5BFIRING%3A1%5D%20CheckFailed%20on%20web%3A1%2C%20since%202023-11-14%2022%3A13%20UTC%2A%2A%0Aqueue%20%3C%E2%80%8Bb%3E\
                       full%3C%E2%80%8B%2Fb%3E%20%26%20more";
        let to = "type=stream&to=ops%20%26%20co&topic=CheckFailed";
        assert_eq!(asked[0].body, format!("{to}&{content}"));

        let update = built(&sink.url(), &format!(", channel: ops, update_message: true{TEXT}"));
        message.reference = Some("42:ops".to_owned());
        let (asked, result) = sink.hand_over(&update, &message, replies).await;
        assert_eq!(result, Ok(Receipt::default()));
        assert_eq!(
            (asked[0].line().as_str(), asked[0].body.as_str()),
            ("PATCH /api/v1/messages/42", content)
        );

        let late = json!({"result": "error", "code": "BAD_REQUEST",
                          "msg": "The time limit for editing this message has passed"});
        let (asked, result) =
            sink.hand_over(&update, &message, &[Reply::json(400, late), said.clone()]).await;
        assert_eq!((asked.len(), result), (2, Ok(Receipt::named("42:ops"))));

        let people = built(&sink.url(), &format!(", to: [a@x, c@x]{TEXT}"));
        let (asked, _) = sink.hand_over(&people, &message, replies).await;
        assert!(
            asked[0].body.starts_with("type=direct&to=%5B%22a%40x%22%2C%22c%40x%22%5D&content=")
        );
    }

    #[tokio::test]
    async fn takes_the_service_at_its_word() {
        // F12, F14
        let sink = Sink::start().await;
        let notifier = built(&sink.url(), ", channel: ops");
        let limit = json!({"result": "error", "code": "RATE_LIMIT_HIT", "retry-after": 28.7});
        let cases = [
            (429, limit, "again after 28.7s"),
            (400, json!({"result": "error", "code": "STREAM_DOES_NOT_EXIST"}), "never"),
            (401, json!({"result": "error", "code": "UNAUTHORIZED"}), "never"),
            (200, json!({"result": "error", "msg": "no"}), "never"),
            (200, json!({"hello": 1}), "again"),
        ];
        sink.judges(&notifier, cases).await;
        misbehave(Judges::Body, &[], |url| built(url, ", channel: ops")).await;
    }

    #[tokio::test]
    async fn alerts_mention_nobody_and_fit() {
        // X16, F16
        let sink = Sink::start().await;
        let notifier = built(&sink.url(), ", channel: ops, topic: '{{ .Alerts }}'");
        for message in [hostile(), flood()] {
            let (asked, _) = sink.hand_over(&notifier, &message, &[]).await;
            let body = &asked[0].body;
            for markup in ["@**all**", "@everyone", "](https", "<https"] {
                assert!(!body.contains(&percent_encoded(markup)), "{markup}: {body}");
            }
            let topic = body.split("topic=").nth(1).unwrap().split('&').next().unwrap();
            assert!(topic.len() < 600 && body.len() < 60_000, "{topic} {}", body.len());
        }
    }

    #[test]
    fn reports_every_fault() {
        let check = |yaml: &str, expected: &str| assert_eq!(build(yaml).1, expected, "{yaml}");
        check(
            "{}",
            "f.yml:1:1: `api_url` is missing\n\
             f.yml:1:1: `bot_email` is missing\n\
             f.yml:1:1: `api_key` is missing\n  help: set it or `api_key_file`\n\
             f.yml:1:1: `channel` is missing\n  help: or name people in `to`",
        );
        check(
            "{api_url: 'http://h', bot_email: b, api_key: k, channel: a, to: [b]}",
            "f.yml:1:58: only one of `channel` and `to` can be given",
        );
        check(
            "{api_url: 'http://h', bot_email: b, api_key: k, to: ['{{ .x }}'], topic: t}",
            "f.yml:1:54: `to` cannot come from an alert\n  \
             help: make a receiver for each `to` and route to it\n\
             f.yml:1:74: messages to people have no topic",
        );
    }
}
