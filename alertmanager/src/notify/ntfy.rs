//! Publishes to a topic of ntfy.
//!
//! A later message of the same group carries the same `sequence_id`, by which ntfy (2.16 and later)
//! puts it in the place of the earlier one; an older server shows one message more.
//!
//! Source: ntfy's documentation, "Publishing" and "Updating and deleting notifications".
//!
//! Invariant: a message is plain text, so nothing from an alert is markup (X16), and counts as taken
//! only when the server gives it an id.

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
use super::links::Links;
use super::notifier::{DeliveryError, Notification, Notifier, Receipt, Shared};
use super::settings::{base_address, needed};
use super::texts::{Renderer, Text, one_line, shortened_bytes};
use crate::template::{Escape, Templates};

/// The longest title, in characters: more is not shown anywhere.
const MAX_TITLE: usize = 250;
/// The longest message, in bytes: a longer one becomes an attachment.
const MAX_MESSAGE: usize = 4000;
/// The most tags.
const MAX_TAGS: usize = 5;

/// The most buttons that the service shows; it refuses a message with more.
const MOST_ACTIONS: usize = 3;

/// An entry of `ntfy_configs`, as written. `title`, `message`, `priority` and `tags` are templates.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NtfyConfig {
    /// Whether endings are sent; by default they are.
    pub send_resolved: Option<Spanned<bool>>,
    /// The server; `https://ntfy.sh` by default.
    pub url: Option<Spanned<Secret>>,
    /// The topic.
    pub topic: Option<Spanned<String>>,
    /// The access token.
    pub token: Option<Secret>,
    /// The file that holds it.
    pub token_file: Option<PathBuf>,
    /// How we speak HTTP.
    pub http_config: Option<Spanned<HttpConfig>>,
    /// The headline.
    pub title: Option<Spanned<String>>,
    /// The text.
    pub message: Option<Spanned<String>>,
    /// 1 to 5, or `min`, `low`, `default`, `high`, `max`.
    pub priority: Option<Spanned<String>>,
    /// Words, separated by commas; some of them are shown as emoji.
    pub tags: Option<Spanned<String>>,
    /// Whether a later message takes the place of the earlier one; by default it does.
    pub update_message: Option<bool>,
}

/// Publishes to one topic.
#[derive(Clone, Debug)]
pub struct NtfyNotifier {
    url: Secret,
    topic: String,
    token: Option<SecretSource>,
    service: Service,
    templates: Arc<Templates>,
    title: Text,
    message: Text,
    priority: Text,
    tags: Text,
    update: bool,
}

impl NtfyConfig {
    /// The notifier.
    pub fn build(
        &self,
        place: Place,
        shared: Shared<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<NtfyNotifier> {
        let url = base_address(self.url.as_ref(), None, "https://ntfy.sh", diagnostics);
        let topic = needed("topic", self.topic.as_ref(), place, diagnostics);
        let named = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        if let (Some(topic), Some(written)) = (&topic, &self.topic)
            && (topic.len() > 64 || !topic.chars().all(named))
        {
            let message = format!("`{topic}` is no topic");
            let help = "at most 64 letters, digits, `-` and `_`";
            diagnostics.report_with_help(written, message, help);
        }
        let names = ("token", "token_file");
        let (token, file) = (self.token.clone(), self.token_file.clone());
        let token = SecretSource::one_of(token, file, names, place, diagnostics);
        let service = Service::build(self.http_config.as_ref(), shared.http, place, diagnostics);
        let mut text = |name, written: &Option<Spanned<String>>, default: &str| {
            Text::build(name, written.as_ref(), default, diagnostics)
        };
        let title = text("title", &self.title, "{{ template \"veilleur.default.title\" . }}");
        let message = text("message", &self.message, "{{ template \"veilleur.default.text\" . }}");
        let firing = "{{ if eq .Status \"firing\" }}high{{ else }}default{{ end }}";
        let priority = text("priority", &self.priority, firing);
        let mark =
            "{{ if eq .Status \"firing\" }}rotating_light{{ else }}white_check_mark{{ end }}";
        let tags = text("tags", &self.tags, mark);
        Some(NtfyNotifier {
            url: Secret::new(url),
            topic: topic?,
            token,
            service: service?,
            templates: Arc::clone(shared.templates),
            title: title?,
            message: message?,
            priority: priority?,
            tags: tags?,
            update: self.update_message.unwrap_or(true),
        })
    }
}

#[async_trait]
impl Notifier for NtfyNotifier {
    fn integration(&self) -> &'static str {
        "ntfy"
    }

    fn preview(&self, notification: &Notification) -> String {
        let body = self.body(notification);
        let said = ["title", "message"].map(|name| body[name].as_str());
        said.into_iter().flatten().collect::<Vec<_>>().join("\n")
    }

    async fn notify(&self, notification: &Notification) -> Result<Receipt, DeliveryError> {
        let body = self.body(notification);
        // By the whole body as JSON: in a header, a title could not be in UTF-8.
        let mut call = Call::json(Method::POST, &self.url, &body);
        if let Some(token) = &self.token {
            let token = token.read().map_err(DeliveryError::transient)?;
            let value = Secret::new(format!("Bearer {}", token.expose()));
            call = call.with("authorization", value);
        }
        judge(&self.service.send(call).await?, notification)
    }
}

impl NtfyNotifier {
    fn body(&self, notification: &Notification) -> Value {
        let renderer = Renderer::new(&self.templates, notification, Escape::Text);
        let mut message = Map::new();
        let mut set = |name: &str, value: Value| {
            message.insert(name.to_owned(), value);
        };
        set("topic", json!(self.topic));
        let title = one_line(&renderer.render(&self.title), MAX_TITLE);
        if !title.is_empty() {
            set("title", json!(title));
        }
        let text = renderer.unless_blank(renderer.render(&self.message));
        set("message", json!(shortened_bytes(text.trim(), MAX_MESSAGE)));
        if let Some(priority) = priority(&renderer.render(&self.priority)) {
            set("priority", json!(priority));
        }
        let tags = renderer.render(&self.tags);
        let tags: Vec<_> = tags
            .split(',')
            .map(|tag| one_line(tag, 64))
            .filter(|tag| !tag.is_empty())
            .take(MAX_TAGS)
            .collect();
        if !tags.is_empty() {
            set("tags", json!(tags));
        }
        let links = Links::of(notification);
        if let Some(alerts) = &links.alerts {
            set("click", json!(alerts));
        }
        let actions: Vec<_> = links
            .named()
            .take(MOST_ACTIONS)
            .map(|(name, url)| json!({"action": "view", "label": name, "url": url}))
            .collect();
        if !actions.is_empty() {
            set("actions", json!(actions));
        }
        if self.update {
            set("sequence_id", json!(notification.thread));
        }
        Value::Object(message)
    }
}

/// The number of a priority; nothing where the template gave something else, so that the server's
/// own default counts.
fn priority(text: &str) -> Option<u8> {
    match text.trim() {
        "1" | "min" => Some(1),
        "2" | "low" => Some(2),
        "3" | "default" => Some(3),
        "4" | "high" => Some(4),
        "5" | "max" | "urgent" => Some(5),
        _ => None,
    }
}

/// A message that was taken is answered with itself, under its id (F14).
fn judge(answer: &Answer, notification: &Notification) -> Result<Receipt, DeliveryError> {
    answer.taken(notification.at)?;
    let said = answer.json();
    match (said["event"].as_str(), said["id"].as_str()) {
        (Some("message"), Some(id)) if !id.is_empty() => Ok(Receipt::named(id)),
        _ => Err(answer.strange()),
    }
}

#[cfg(test)]
mod tests {
    use base::http::HeaderMap;

    use super::super::sink::{Judges, Reply, SECRET, Sink, build_entry, flood, misbehave};
    use super::super::texts::tests::notification;
    use super::*;

    fn build(yaml: &str) -> (Option<NtfyNotifier>, String) {
        build_entry(yaml, NtfyConfig::build)
    }

    #[test]
    fn a_message_says_what_where_since_when() {
        let (notifier, faults) = build("{topic: ops}");
        assert_eq!(faults, "");
        let notifier = notifier.unwrap();
        let body = notifier.body(&notification());
        let text = body["message"].as_str().unwrap();
        assert!(
            text.starts_with("Firing: CheckFailed on web:1, since 2023-11-14 22:13 UTC"),
            "{text}"
        );
        let mut rest = body.clone();
        rest["message"] = json!("");
        assert_eq!(
            rest,
            json!({
                "topic": "ops", "title": "[FIRING:1] CheckFailed on web:1, since 2023-11-14 22:13 UTC", "message": "",
                "priority": 4, "tags": ["rotating_light"], "sequence_id": "id1",
                "click": "http://v/#/alerts",
                "actions": [
                    {"action": "view", "label": "Silence",
                     "url": "http://v/silences/new?filter=%7Balertname%3D%22CheckFailed%22%7D"},
                    {"action": "view", "label": "Graph", "url": "http://v/#a"},
                ],
            })
        );
        let mut over = notification();
        over.alerts.remove(0);
        let body = notifier.body(&over);
        assert_eq!(body["title"], "[RESOLVED] CheckFailed (db:1), since 2023-11-14 22:13 UTC");
        assert_eq!((&body["priority"], &body["tags"][0]), (&json!(3), &json!("white_check_mark")));
        assert_eq!(body["sequence_id"], "id1", "it takes the place of the message before");
    }

    #[test]
    fn labels_choose_neither_markup_nor_length_nor_topic() {
        // X16, F16
        let config = "{topic: ops, priority: '{{ .CommonLabels.alertname }}', \
                      tags: '{{ .CommonLabels.alertname }}', update_message: false}";
        let mut message = notification();
        for alert in &mut message.alerts {
            alert.labels = alert.labels.with("alertname", "a,b,c,d,e,f\r\n**g**");
            alert.annotations.insert("summary".into(), "ä".repeat(50_000));
            alert.generator_url = "javascript:alert(1)".into();
        }
        let body = build(config).0.unwrap().body(&message);
        assert!(body["message"].as_str().unwrap().len() <= MAX_MESSAGE);
        assert_eq!(body["priority"], Value::Null);
        assert_eq!(body["markdown"], Value::Null);
        assert_eq!(body["tags"], json!(["a", "b", "c", "d", "e"]));
        assert_eq!(body["actions"].as_array().unwrap().len(), 1);
        assert_eq!(body["sequence_id"], Value::Null);
    }

    #[test]
    fn success_is_a_message_with_an_id() {
        // F14
        let check = |status, body: &str, expected: &str| {
            let answer = Answer { status, headers: HeaderMap::new(), body: body.to_owned() };
            let got = match judge(&answer, &notification()) {
                Ok(receipt) => receipt.reference.unwrap_or_default(),
                Err(DeliveryError::Transient { .. }) => "again".to_owned(),
                Err(DeliveryError::Permanent { .. }) => "never".to_owned(),
            };
            assert_eq!(got, expected, "{status} {body}");
        };
        check(200, r#"{"id":"hwQ2YpKdmg","event":"message","topic":"ops"}"#, "hwQ2YpKdmg");
        check(200, r#"{"code":40001,"http":400,"error":"x"}"#, "again");
        check(200, "<html>sign in</html>", "again");
        check(200, "", "again");
        check(429, r#"{"code":42901,"http":429,"error":"limit reached"}"#, "again");
        check(507, r#"{"code":50701}"#, "again");
        check(401, r#"{"code":40101,"http":401,"error":"unauthorized"}"#, "never");
        check(403, r#"{"code":40301,"http":403,"error":"forbidden"}"#, "never");
        check(302, "", "never");
    }

    #[test]
    fn reports_every_fault() {
        let check = |yaml: &str, expected: &str| assert_eq!(build(yaml).1, expected, "{yaml}");
        check("{}", "f.yml:1:1: `topic` is missing");
        check(
            "{topic: '{{ .CommonLabels.team }}', url: 'ntfy.example'}",
            "f.yml:1:9: `topic` cannot come from an alert\n  \
             help: make a receiver for each `topic` and route to it\n\
             f.yml:1:42: this is no address to post to\n  \
             help: write `http://host:port/path` or `https://...`",
        );
        check(
            "{topic: a/b, token: x, token_file: y}",
            "f.yml:1:1: only one of `token` and `token_file` can be given\n\
             f.yml:1:9: `a/b` is no topic\n  help: at most 64 letters, digits, `-` and `_`",
        );
    }

    fn with_token(url: &str) -> NtfyNotifier {
        build(&format!("{{url: '{url}', topic: ops, token: {SECRET}}}")).0.unwrap()
    }

    #[tokio::test]
    async fn a_message_is_posted_once_and_keeps_the_limits() {
        let sink = Sink::start().await;
        let taken = Reply::json(200, json!({"id": "x1", "event": "message"}));
        let notifier = with_token(&sink.url());
        let (asked, result) = sink.hand_over(&notifier, &flood(), &[taken]).await;
        assert_eq!(result, Ok(Receipt::named("x1")));
        assert_eq!(asked[0].line(), "POST /");
        assert_eq!(asked[0].headers["authorization"], format!("Bearer {SECRET}"));
        assert!(asked[0].json()["message"].as_str().unwrap().len() <= MAX_MESSAGE);
        assert_eq!(asked[0].json()["topic"], "ops");
    }

    #[tokio::test]
    async fn whatever_goes_wrong_is_told_apart() {
        misbehave(Judges::Body, &[], with_token).await;
    }
}
