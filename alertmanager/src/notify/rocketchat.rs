//! Posts to Rocket.Chat by its API; the messages of one incident stand in one thread, or the first
//! is changed (`update_message`).
//!
//! Source: Rocket.Chat's documentation of `chat.postMessage` and `chat.update`, and the
//! configuration reference of Alertmanager 0.33.
//!
//! Invariant: what comes from an alert begins no mention and no link with another text (X15, X16).

mod config;

use std::sync::Arc;

use async_trait::async_trait;
use base::http::Method;
use base::http::access::SecretSource;
use base::secret::Secret;
use serde_json::{Map, Value, json};

use super::http::{Answer, Call, Service};
use super::notifier::{DeliveryError, Notification, Notifier, Receipt, excerpt};
use super::parts::{Fields, Part, fill};
use super::texts::Renderer;
use crate::template::{Escape, Markup, Templates};

pub use config::{RocketchatAction, RocketchatConfig, RocketchatGlobals};

const MAX_TITLE: usize = 1024;
/// What a message may have where nobody has set another limit is 5000.
const MAX_TEXT: usize = 4800;

/// A backslash is shown as one by older versions, so what begins something is kept apart.
const MARKUP: Markup = Markup { backslash: "", strict: false, entities: false, apart: "@<]" };

/// Posts to one channel.
#[derive(Clone, Debug)]
pub struct RocketchatNotifier {
    /// Without a slash at its end.
    address: String,
    user: SecretSource,
    token: SecretSource,
    service: Service,
    templates: Arc<Templates>,
    channel: Option<String>,
    message: Vec<Part>,
    attachment: Vec<Part>,
    fields: Fields,
    actions: Vec<Vec<Part>>,
    update: bool,
}

#[async_trait]
impl Notifier for RocketchatNotifier {
    fn integration(&self) -> &'static str {
        "rocketchat"
    }

    async fn notify(&self, notification: &Notification) -> Result<Receipt, DeliveryError> {
        let message = self.message(notification);
        let configured = self.channel.as_deref().unwrap_or_default();
        let earlier = notification.reference.as_deref().and_then(|name| {
            let (room, rest) = name.split_once(':')?;
            let (id, then) = rest.split_once(':')?;
            // A message in the channel of an earlier configuration is none to go on with.
            (then == configured).then_some((room, id))
        });
        if let Some((room, id)) = earlier {
            let handed = if self.update {
                let changed = json!({
                    "roomId": room, "msgId": id, "text": "",
                    "attachments": message["attachments"],
                });
                self.post("chat.update", &changed, notification).await
            } else {
                let mut below = message.clone();
                below.insert("tmid".to_owned(), json!(id));
                self.post("chat.postMessage", &Value::Object(below), notification).await
            };
            match handed {
                // What was there is gone, or can no longer be changed: a new one takes its place.
                Err(DeliveryError::Permanent { .. }) => {}
                handed => return handed.map(|_| Receipt::default()),
            }
        }
        let said = self.post("chat.postMessage", &Value::Object(message), notification).await?;
        let posted = &said["message"];
        let name = posted["rid"].as_str().zip(posted["_id"].as_str());
        Ok(Receipt { reference: name.map(|(room, id)| format!("{room}:{id}:{configured}")) })
    }
}

impl RocketchatNotifier {
    async fn post(
        &self,
        method: &str,
        body: &Value,
        notification: &Notification,
    ) -> Result<Value, DeliveryError> {
        let url = Secret::new(format!("{}/api/v1/{method}", self.address));
        let call = Call::json(Method::POST, &url, body)
            .with("x-auth-token", self.token.read().map_err(DeliveryError::transient)?)
            .with("x-user-id", self.user.read().map_err(DeliveryError::transient)?);
        let answer = self.service.send(call).await?;
        judge(&answer, notification)
    }

    fn message(&self, notification: &Notification) -> Map<String, Value> {
        let renderer = Renderer::new(&self.templates, notification, Escape::Markup(MARKUP));
        let mut message = Map::new();
        if let Some(channel) = &self.channel {
            message.insert("channel".to_owned(), json!(channel));
        }
        fill(&mut message, &self.message, &renderer);
        let mut attachment = Map::new();
        fill(&mut attachment, &self.attachment, &renderer);
        self.fields.fill(&mut attachment, &renderer);
        let actions: Vec<Value> = self
            .actions
            .iter()
            .map(|parts| {
                let mut action = Map::new();
                // It knows no other.
                action.insert("type".to_owned(), json!("button"));
                fill(&mut action, parts, &renderer);
                Value::Object(action)
            })
            .collect();
        if !actions.is_empty() {
            attachment.insert("actions".to_owned(), json!(actions));
        }
        message.insert("attachments".to_owned(), json!([attachment]));
        message
    }
}

/// Success is `{"success":true}`; a failure can come with HTTP status 200, too (F14).
fn judge(answer: &Answer, notification: &Notification) -> Result<Value, DeliveryError> {
    let value = answer.json();
    if let Err(error) = answer.taken(notification.at) {
        return Err(error.after(seconds_in(value["error"].as_str().unwrap_or_default())));
    }
    if value["success"] == true {
        return Ok(value);
    }
    if value["success"] != false {
        return Err(answer.strange());
    }
    let why = value["error"].as_str().unwrap_or(answer.body.trim());
    let reason = format!("the answer was: {}", excerpt(why));
    if why.contains("error-too-many-requests") {
        return Err(DeliveryError::transient(reason).after(seconds_in(why)));
    }
    Err(DeliveryError::permanent(reason))
}

/// The wait in "You must wait 54 seconds before trying this endpoint again".
fn seconds_in(error: &str) -> Option<f64> {
    let (before, _) = error.split_once(" second")?;
    before.rsplit(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::sink::{Judges, Reply, SECRET, Sink, build_entry, flood, hostile, misbehave};
    use super::super::texts::tests::notification;
    use super::*;

    fn build(yaml: &str) -> (Option<RocketchatNotifier>, String) {
        build_entry(yaml, |config: &RocketchatConfig, place, shared, diagnostics| {
            config.build(place, RocketchatGlobals::default(), shared, diagnostics)
        })
    }

    #[track_caller]
    fn built(url: &str, more: &str) -> RocketchatNotifier {
        let yaml = format!(
            "{{api_url: '{url}/', token_id: u1, token: {SECRET}, channel: '#ops', \
             text: '{{{{ .CommonAnnotations.summary }}}}'{more}}}"
        );
        let (notifier, faults) = build(&yaml);
        assert_eq!(faults, "", "{yaml}");
        notifier.unwrap()
    }

    #[tokio::test]
    async fn posts_below_the_first_message_or_changes_it() {
        let sink = Sink::start().await;
        let notifier = built(
            &sink.url(),
            ", fields: [{title: a, value: b}], short_fields: true, emoji: ':fire:', \
             actions: [{type: button, text: Look, url: 'https://v/x'}]",
        );
        let said =
            json!({"success": true, "message": {"_id": "m1", "rid": "r1"}, "channel": "ops"});
        let said = Reply::json(200, said);
        let mut message = notification();
        let replies = std::slice::from_ref(&said);
        let (asked, result) = sink.hand_over(&notifier, &message, replies).await;
        assert_eq!(result, Ok(Receipt::named("r1:m1:#ops")));
        assert_eq!(asked[0].line(), "POST /api/v1/chat.postMessage");
        assert_eq!(asked[0].headers["x-auth-token"], SECRET);
        assert_eq!(asked[0].headers["x-user-id"], "u1");
        let expected = json!({
            "channel": "#ops",
            "emoji": ":fire:",
            "attachments": [{
                "title": "[FIRING:1] CheckFailed on web:1, since 2023-11-14 22:13 UTC",
                "title_link": "http://v/#/alerts?receiver=ops",
                "text": "queue <\u{200b}b>full<\u{200b}/b> & more",
                "color": "red",
                "fields": [{"title": "a", "value": "b", "short": true}],
                "actions": [{"type": "button", "text": "Look", "url": "https://v/x"}],
            }],
        });
        assert_eq!(asked[0].json(), expected);

        message.reference = Some("r1:m1:#ops".to_owned());
        message.alerts.remove(0);
        let (asked, result) = sink.hand_over(&notifier, &message, replies).await;
        assert_eq!(result, Ok(Receipt::default()));
        let body = asked[0].json();
        assert_eq!(
            (&body["tmid"], &body["attachments"][0]["color"]),
            (&json!("m1"), &json!("green"))
        );

        let update = built(&sink.url(), ", update_message: true");
        let (asked, result) = sink.hand_over(&update, &message, replies).await;
        assert_eq!(result, Ok(Receipt::default()));
        assert_eq!(asked[0].line(), "POST /api/v1/chat.update");
        let body = asked[0].json();
        assert_eq!((&body["roomId"], &body["msgId"]), (&json!("r1"), &json!("m1")));

        let gone = json!({"success": false, "error": "The required \"msgId\" ... [invalid-id]"});
        let replies = [Reply::json(400, gone), said.clone()];
        for notifier in [&notifier, &update] {
            let (asked, result) = sink.hand_over(notifier, &message, &replies).await;
            assert_eq!((asked.len(), result), (2, Ok(Receipt::named("r1:m1:#ops"))));
        }
    }

    #[tokio::test]
    async fn takes_the_service_at_its_word() {
        // F12, F14
        let sink = Sink::start().await;
        let notifier = built(&sink.url(), "");
        let slow = "Error, too many requests. Please slow down. You must wait 54 seconds before \
                    trying this endpoint again. [error-too-many-requests]";
        let cases = [
            (429, json!({"success": false, "error": slow}), "again after 54s"),
            (200, json!({"success": false, "error": slow}), "again after 54s"),
            (200, json!({"success": false, "error": "[error-not-allowed]"}), "never"),
            (401, json!({"status": "error", "message": "You must be logged in"}), "never"),
        ];
        sink.judges(&notifier, cases).await;
        misbehave(Judges::Body, &[], |url| built(url, "")).await;
    }

    #[test]
    fn alerts_mention_nobody_and_hide_no_link() {
        // X15, X16
        let body = Value::Object(built("http://h", "").message(&hostile())).to_string();
        for markup in ["<!", "<https", "@all", "@here", "](https"] {
            assert!(!body.contains(markup), "{markup}: {body}");
        }
        let body = Value::Object(built("http://h", "").message(&flood())).to_string();
        assert!(body.len() < 25_000, "{}", body.len());
    }

    #[test]
    fn reports_every_fault() {
        let check = |yaml: &str, expected: &str| assert_eq!(build(yaml).1, expected, "{yaml}");
        check(
            "{channel: '{{ .x }}'}",
            "f.yml:1:1: `token_id` is missing\n  help: set it or `token_id_file` here, or \
             `rocketchat_token_id` under `global:`\n\
             f.yml:1:1: `token` is missing\n  help: set it or `token_file` here, or \
             `rocketchat_token` under `global:`\n\
             f.yml:1:11: `channel` cannot come from an alert\n  \
             help: make a receiver for each `channel` and route to it",
        );
        check(
            "{api_url: nowhere, token_id: a, token: b, token_file: c}",
            "f.yml:1:1: only one of `token` and `token_file` can be given\n\
             f.yml:1:11: this is no address to post to\n  \
             help: write `http://host:port/path` or `https://...`",
        );
    }
}
