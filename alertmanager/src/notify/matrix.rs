//! Posts to a room of Matrix; the messages of one incident stand in one thread, or the first is
//! changed (`update_message`).
//!
//! A message has the id of ours as its transaction, so that one which is handed over again after a
//! crash is shown once (G2).
//!
//! Source: the Matrix specification 1.11: sending events, `m.room.message`, threads, replacements,
//! mentions, rate limits.
//!
//! Invariant: what comes from an alert reads as it is, and every message says that it mentions nobody
//! (X16).

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::access::{HttpConfig, SecretSource};
use base::http::{Method, percent_encoded};
use base::secret::Secret;
use serde::Deserialize;
use serde_json::{Value, json};

use super::cut::cut_html;
use super::http::{Answer, Call, Service};
use super::notifier::{DeliveryError, Notification, Notifier, Receipt, Shared};
use super::settings::{SecretSetting, needed, needed_address};
use super::texts::{Renderer, Text, but_last_line, one_line, printable, shortened};
use crate::template::{Escape, Markup, Templates};

/// An event of more than 64 KiB is refused; the text stands in it up to four times.
const MAX_TITLE: usize = 300;
const MAX_TEXT: usize = 3000;

/// The plain text: what could call somebody in it is kept apart.
const CALLS_NOBODY: Markup = Markup { backslash: "", strict: false, entities: false, apart: "@" };

/// An entry of `matrix_configs`, as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MatrixConfig {
    /// Whether endings are sent; by default they are.
    pub send_resolved: Option<Spanned<bool>>,
    /// The address of the home server.
    pub homeserver_url: Option<Spanned<Secret>>,
    /// The token of the user who posts.
    pub access_token: Option<Spanned<Secret>>,
    /// The file that holds the token.
    pub access_token_file: Option<PathBuf>,
    /// The room: `!name:server`.
    pub room_id: Option<Spanned<String>>,
    /// How we speak HTTP.
    pub http_config: Option<Spanned<HttpConfig>>,
    /// The first line, a template.
    pub title: Option<Spanned<String>>,
    /// The text below it, a template.
    pub text: Option<Spanned<String>>,
    /// `m.text`, as where nothing is said, or `m.notice`, which makes no sound.
    pub message_type: Option<Spanned<String>>,
    /// Whether the first message is changed where otherwise a further one would stand below it.
    pub update_message: bool,
}

/// Posts to one room.
#[derive(Clone, Debug)]
pub struct MatrixNotifier {
    /// Up to the transaction: `https://server/.../send/m.room.message`.
    address: String,
    token: SecretSource,
    service: Service,
    templates: Arc<Templates>,
    title: Text,
    text: Text,
    kind: String,
    update: bool,
}

impl MatrixConfig {
    /// The notifier.
    pub fn build(
        &self,
        place: Place,
        shared: Shared<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<MatrixNotifier> {
        let server = self.homeserver_url.as_ref();
        let server = needed_address("homeserver_url", server, place, diagnostics);
        let token = SecretSetting::of(&self.access_token, &self.access_token_file);
        let token = token.needed(("access_token", "access_token_file"), place, diagnostics);
        let room = needed("room_id", self.room_id.as_ref(), place, diagnostics);
        if let Some(written) = self.room_id.as_ref().filter(|_| room.is_some())
            && !written.value.starts_with('!')
        {
            let message = format!("`{}` is not the id of a room", written.value);
            let help =
                "write the one that begins with `!`; a name that begins with `#` leads to it";
            diagnostics.report_with_help(written, message, help);
        }
        let kind = self.message_type.as_ref().map_or("m.text", |kind| kind.value.as_str());
        if let Some(written) = self.message_type.as_ref()
            && !["m.text", "m.notice"].contains(&kind)
        {
            let message = format!("there is no `message_type` `{kind}`");
            diagnostics.report_with_help(written, message, "write `m.text` or `m.notice`");
        }
        let service = Service::build(self.http_config.as_ref(), shared.http, place, diagnostics);
        let mut text = |name, written: &Option<Spanned<String>>| {
            let default = format!("{{{{ template \"veilleur.default.{name}\" . }}}}");
            Text::build(name, written.as_ref(), &default, diagnostics)
        };
        let (title, text) = (text("title", &self.title), text("text", &self.text));
        let room = percent_encoded(&room?);
        Some(MatrixNotifier {
            address: format!("{}/_matrix/client/v3/rooms/{room}/send/m.room.message", server?),
            token: token?,
            service: service?,
            templates: Arc::clone(shared.templates),
            title: title?,
            text: text?,
            kind: kind.to_owned(),
            update: self.update_message,
        })
    }
}

#[async_trait]
impl Notifier for MatrixNotifier {
    fn integration(&self) -> &'static str {
        "matrix"
    }

    async fn notify(&self, notification: &Notification) -> Result<Receipt, DeliveryError> {
        let content = self.content(notification);
        if let Some(first) = &notification.reference {
            let related =
                if self.update { changed(&content, first) } else { below(&content, first) };
            match self.send(&notification.id, &related, notification).await {
                // What was there cannot be related to: a new one takes its place.
                Err(DeliveryError::Permanent { .. }) => {}
                handed => return handed.map(|_| Receipt::default()),
            }
            let again = format!("{}-new", notification.id);
            return self.send(&again, &content, notification).await.map(Receipt::named);
        }
        self.send(&notification.id, &content, notification).await.map(Receipt::named)
    }
}

impl MatrixNotifier {
    /// Sends the content of an event; returns the event's id.
    async fn send(
        &self,
        transaction: &str,
        content: &Value,
        notification: &Notification,
    ) -> Result<String, DeliveryError> {
        let url = Secret::new(format!("{}/{}", self.address, percent_encoded(transaction)));
        let token = self.token.read().map_err(DeliveryError::transient)?;
        let call = Call::json(Method::PUT, &url, content)
            .with("authorization", Secret::new(format!("Bearer {}", token.expose())));
        judge(&self.service.send(call).await?, notification)
    }

    fn content(&self, notification: &Notification) -> Value {
        let renderer = Renderer::new(&self.templates, notification, Escape::Html);
        let line = |escape| one_line(&renderer.render_as(&self.title, escape), MAX_TITLE);
        let lines = |escape| {
            let text = printable(&renderer.render_as(&self.text, escape));
            match escape {
                Escape::Html => but_last_line(&text, MAX_TEXT, cut_html),
                _ => but_last_line(&text, MAX_TEXT, shortened),
            }
        };
        let plain = Escape::Markup(CALLS_NOBODY);
        let marked = format!("<strong>{}</strong><br>{}", line(Escape::Html), lines(Escape::Html));
        json!({
            "msgtype": self.kind,
            "body": format!("{}\n{}", line(plain), lines(plain)),
            "format": "org.matrix.custom.html",
            "formatted_body": marked.replace('\n', "<br>"),
            "m.mentions": {},
        })
    }
}

/// The content below an earlier event.
fn below(content: &Value, first: &str) -> Value {
    let mut content = content.clone();
    content["m.relates_to"] = json!({
        "rel_type": "m.thread",
        "event_id": first,
        // For programs that know no threads it is an answer.
        "is_falling_back": true,
        "m.in_reply_to": {"event_id": first},
    });
    content
}

/// The content in place of an earlier event's.
fn changed(content: &Value, first: &str) -> Value {
    let mut replacing = content.clone();
    for part in ["body", "formatted_body"] {
        let text = content[part].as_str().unwrap_or_default();
        replacing[part] = json!(format!("* {text}"));
    }
    replacing["m.new_content"] = content.clone();
    replacing["m.relates_to"] = json!({"rel_type": "m.replace", "event_id": first});
    replacing
}

/// Success is the event's id. A limit tells its wait in the body, in milliseconds.
fn judge(answer: &Answer, notification: &Notification) -> Result<String, DeliveryError> {
    let value = answer.json();
    let wait = value["retry_after_ms"].as_f64().map(|wait| wait / 1000.0);
    answer.taken(notification.at).map_err(|error| error.after(wait))?;
    match value["event_id"].as_str() {
        Some(id) => Ok(id.to_owned()),
        None => Err(answer.strange()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::sink::{Judges, Reply, SECRET, Sink, build_entry, flood, hostile, misbehave};
    use super::super::texts::tests::notification;
    use super::*;

    fn build(yaml: &str) -> (Option<MatrixNotifier>, String) {
        build_entry(yaml, MatrixConfig::build)
    }

    #[track_caller]
    fn built(url: &str, more: &str) -> MatrixNotifier {
        let yaml = format!(
            "{{homeserver_url: '{url}/', access_token: {SECRET}, room_id: '!a:x.example', \
             text: '{{{{ .CommonAnnotations.summary }}}}'{more}}}"
        );
        let (notifier, faults) = build(&yaml);
        assert_eq!(faults, "", "{yaml}");
        notifier.unwrap()
    }

    #[tokio::test]
    async fn posts_below_the_first_message_or_changes_it() {
        let sink = Sink::start().await;
        let notifier = built(&sink.url(), ", message_type: m.notice");
        let said = Reply::json(200, json!({"event_id": "$e1"}));
        let mut message = notification();
        let replies = std::slice::from_ref(&said);
        let (asked, result) = sink.hand_over(&notifier, &message, replies).await;
        assert_eq!(result, Ok(Receipt::named("$e1")));
        let path = "/_matrix/client/v3/rooms/%21a%3Ax.example/send/m.room.message/id2";
        assert_eq!(asked[0].line(), format!("PUT {path}"));
        assert_eq!(asked[0].headers["authorization"], format!("Bearer {SECRET}"));
        let content = json!({
            "msgtype": "m.notice",
            "body": "[FIRING:1] CheckFailed on web:1, since 2023-11-14 22:13 UTC\nqueue <b>full</b> & more",
            "format": "org.matrix.custom.html",
            "formatted_body": "<strong>[FIRING:1] CheckFailed on web:1, since 2023-11-14 22:13 UTC</strong><br>\
                               queue &lt;b&gt;full&lt;/b&gt; &amp; more",
            "m.mentions": {},
        });
        assert_eq!(asked[0].json(), content);

        message.reference = Some("$e0".to_owned());
        let (asked, result) = sink.hand_over(&notifier, &message, replies).await;
        assert_eq!(result, Ok(Receipt::default()));
        let relation = json!({"rel_type": "m.thread", "event_id": "$e0", "is_falling_back": true,
                              "m.in_reply_to": {"event_id": "$e0"}});
        assert_eq!(asked[0].json()["m.relates_to"], relation);

        let update = built(&sink.url(), ", message_type: m.notice, update_message: true");
        let (asked, result) = sink.hand_over(&update, &message, replies).await;
        assert_eq!(result, Ok(Receipt::default()));
        let body = asked[0].json();
        assert_eq!(body["m.relates_to"], json!({"rel_type": "m.replace", "event_id": "$e0"}));
        assert_eq!(body["m.new_content"], content);
        assert_eq!(
            body["body"],
            "* [FIRING:1] CheckFailed on web:1, since 2023-11-14 22:13 UTC\nqueue <b>full</b> & more"
        );

        let gone = json!({"errcode": "M_UNKNOWN", "error": "Can't send relation to unknown event"});
        let replies = [Reply::json(400, gone), said.clone()];
        let (asked, result) = sink.hand_over(&notifier, &message, &replies).await;
        assert_eq!(result, Ok(Receipt::named("$e1")));
        assert!(asked[1].path.ends_with("/id2-new"), "{asked:?}");
        assert_eq!(asked[1].json(), content);
    }

    #[tokio::test]
    async fn takes_the_service_at_its_word() {
        // F12, F14
        let sink = Sink::start().await;
        let notifier = built(&sink.url(), "");
        let limit = json!({"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 2500});
        let cases = [
            (429, limit, "again after 2.5s"),
            (403, json!({"errcode": "M_FORBIDDEN", "error": "not in the room"}), "never"),
            (401, json!({"errcode": "M_UNKNOWN_TOKEN"}), "never"),
            (413, json!({"errcode": "M_TOO_LARGE"}), "never"),
            (200, json!({"errcode": "M_UNKNOWN"}), "again"),
        ];
        sink.judges(&notifier, cases).await;
        misbehave(Judges::Body, &[], |url| built(url, "")).await;
    }

    #[test]
    fn alerts_are_text_and_fit() {
        // X13, X16, F16
        let (notifier, faults) = build(
            "{homeserver_url: 'http://h', access_token: x, room_id: '!a:b', update_message: true}",
        );
        assert_eq!(faults, "");
        let notifier = notifier.unwrap();
        for message in [hostile(), flood()] {
            let content = notifier.content(&message);
            let marked = content["formatted_body"].as_str().unwrap();
            for markup in ["<script", "<https", "<a ", "<at"] {
                assert!(!marked.contains(markup), "{markup}: {marked}");
            }
            let body = content["body"].as_str().unwrap();
            assert!(!body.contains("@room") && !body.contains("@everyone"), "{body}");
            let event = changed(&content, "$e").to_string();
            assert!(event.len() < 60_000, "{}", event.len());
        }
    }

    #[test]
    fn reports_every_fault() {
        let check = |yaml: &str, expected: &str| assert_eq!(build(yaml).1, expected, "{yaml}");
        check(
            "{}",
            "f.yml:1:1: `homeserver_url` is missing\n\
             f.yml:1:1: `access_token` is missing\n  help: set it or `access_token_file`\n\
             f.yml:1:1: `room_id` is missing",
        );
        check(
            "{homeserver_url: 'http://h', access_token: x, room_id: '#a:b', message_type: text}",
            "f.yml:1:56: `#a:b` is not the id of a room\n  help: write the one that begins with `!`; \
             a name that begins with `#` leads to it\n\
             f.yml:1:78: there is no `message_type` `text`\n  help: write `m.text` or `m.notice`",
        );
    }
}
