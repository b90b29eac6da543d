//! Posts to chat by an incoming webhook as Slack defined it, which others take too, or with the token
//! of an app by Slack's API.
//!
//! With a token the messages of one incident stand in one thread, or the first is changed
//! (`update_message`).
//!
//! Source: Slack's documentation of incoming webhooks, of secondary attachments, and of the methods
//! `chat.postMessage` and `chat.update`.
//!
//! Invariant: what comes from an alert is text: `&`, `<` and `>` are escaped, so that no label can
//! mention a channel or hide a link (X15). A message counts as taken only if the service says so.

mod config;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base::http::Method;
use base::http::access::SecretSource;
use base::secret::Secret;
use serde_json::{Map, Value, json};

use super::http::{Answer, Call, Service};
use super::notifier::{DeliveryError, Notification, Notifier, Receipt, asked_wait, excerpt};
use super::parts::{Fields, Part, fill};
use super::texts::Renderer;
use crate::outbox::Reason;
use crate::template::{Escape, Templates};

pub use config::{SlackAction, SlackConfig, SlackConfirmation, SlackGlobals};

/// What Slack shows of a title, and what fits a message without being refused.
const MAX_TITLE: usize = 1024;
const MAX_TEXT: usize = 7000;

/// The methods that post and that change, as the last part of their address.
const POST: &str = "/chat.postMessage";
const UPDATE: &str = "/chat.update";

/// Posts to one webhook or channel.
#[derive(Clone, Debug)]
pub struct SlackNotifier {
    url: SecretSource,
    token: Option<SecretSource>,
    service: Service,
    templates: Arc<Templates>,
    escape: Escape,
    channel: Option<String>,
    /// The parts of the message, and of its attachment, by the names that Slack gives them.
    message: Vec<Part>,
    attachment: Vec<Part>,
    fields: Fields,
    /// Buttons, each with what is asked before.
    actions: Vec<(Vec<Part>, Vec<Part>)>,
    mrkdwn_in: Vec<String>,
    link_names: bool,
    update: bool,
    timeout: Duration,
}

#[async_trait]
impl Notifier for SlackNotifier {
    fn integration(&self) -> &'static str {
        "slack"
    }

    fn preview(&self, notification: &Notification) -> String {
        let message = Value::Object(self.message(notification));
        let attachment = &message["attachments"][0];
        let said = ["pretext", "title", "text"].map(|name| attachment[name].as_str());
        said.into_iter().flatten().collect::<Vec<_>>().join("\n")
    }

    async fn notify(&self, notification: &Notification) -> Result<Receipt, DeliveryError> {
        match tokio::time::timeout(self.timeout, self.deliver(notification)).await {
            Ok(handed) => handed,
            Err(_) => Err(DeliveryError::transient(format!("no answer within {:?}", self.timeout))),
        }
    }
}

impl SlackNotifier {
    async fn deliver(&self, notification: &Notification) -> Result<Receipt, DeliveryError> {
        let url = self.url.read().map_err(DeliveryError::transient)?;
        let message = self.message(notification);
        let Some(base) = url.expose().strip_suffix(POST) else {
            self.post(&url, message, notification).await?;
            return Ok(Receipt::default());
        };
        let configured = self.channel.as_deref().unwrap_or_default();
        let earlier =
            notification.reference.as_deref().and_then(|name| Earlier::parse(name, configured));
        if let Some(earlier) = earlier {
            let handed = if self.update {
                let update = Secret::new(format!("{base}{UPDATE}"));
                self.post(&update, earlier.changed(message.clone()), notification).await
            } else {
                let below = earlier.below(message.clone(), notification);
                self.post(&url, below, notification).await
            };
            match handed {
                // What was there is gone, or can no longer be changed: a new one takes its place.
                Err(DeliveryError::Permanent { .. }) => {}
                handed => return handed.map(|_| Receipt::default()),
            }
        }
        let said = self.post(&url, message, notification).await?;
        Ok(Receipt { reference: Earlier::name(&said, configured) })
    }

    async fn post(
        &self,
        url: &Secret,
        message: Map<String, Value>,
        notification: &Notification,
    ) -> Result<Value, DeliveryError> {
        let mut call = Call::json(Method::POST, url, &Value::Object(message));
        if let Some(token) = &self.token {
            let token = token.read().map_err(DeliveryError::transient)?;
            let bearer = Secret::new(format!("Bearer {}", token.expose()));
            call = call.with("authorization", bearer);
        }
        let answer = self.service.send(call).await?;
        judge(&answer, notification)?;
        Ok(answer.json())
    }

    fn message(&self, notification: &Notification) -> Map<String, Value> {
        let renderer = Renderer::new(&self.templates, notification, self.escape);
        let mut message = Map::new();
        if let Some(channel) = &self.channel {
            message.insert("channel".to_owned(), json!(channel));
        }
        fill(&mut message, &self.message, &renderer);
        if self.link_names {
            message.insert("link_names".to_owned(), json!(true));
        }
        let mut attachment = Map::new();
        fill(&mut attachment, &self.attachment, &renderer);
        self.fields.fill(&mut attachment, &renderer);
        let actions: Vec<_> = self
            .actions
            .iter()
            .map(|(parts, asked)| {
                let (mut action, mut confirm) = (Map::new(), Map::new());
                fill(&mut action, parts, &renderer);
                fill(&mut confirm, asked, &renderer);
                if !confirm.is_empty() {
                    action.insert("confirm".to_owned(), Value::Object(confirm));
                }
                Value::Object(action)
            })
            .collect();
        if !actions.is_empty() {
            attachment.insert("actions".to_owned(), json!(actions));
        }
        let markup = if self.mrkdwn_in.is_empty() {
            json!(["fallback", "pretext", "text"])
        } else {
            json!(self.mrkdwn_in)
        };
        attachment.insert("mrkdwn_in".to_owned(), markup);
        message.insert("attachments".to_owned(), json!([attachment]));
        message
    }
}

/// A message that was posted before: its channel as Slack calls it, and its time, which is its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Earlier<'a> {
    channel: &'a str,
    ts: &'a str,
}

impl<'a> Earlier<'a> {
    /// The message, where it went to the channel that is configured now, too.
    fn parse(reference: &'a str, configured: &str) -> Option<Self> {
        let (channel, rest) = reference.split_once(':')?;
        let (ts, then) = rest.split_once(':')?;
        (then == configured).then_some(Self { channel, ts })
    }

    fn name(said: &Value, configured: &str) -> Option<String> {
        let (channel, ts) = (said["channel"].as_str()?, said["ts"].as_str()?);
        (!channel.is_empty() && !ts.is_empty()).then(|| format!("{channel}:{ts}:{configured}"))
    }

    /// The message in place of the earlier one.
    fn changed(&self, mut message: Map<String, Value>) -> Map<String, Value> {
        // Who it is from cannot be changed.
        for name in ["username", "icon_emoji", "icon_url"] {
            message.remove(name);
        }
        message.insert("channel".to_owned(), json!(self.channel));
        message.insert("ts".to_owned(), json!(self.ts));
        message
    }

    /// The message below the earlier one. It is shown in the channel, too, unless all that it says
    /// is that a part is over.
    fn below(
        &self,
        mut message: Map<String, Value>,
        notification: &Notification,
    ) -> Map<String, Value> {
        let partly = notification.reason == Reason::Resolved && notification.is_firing();
        message.insert("channel".to_owned(), json!(self.channel));
        message.insert("thread_ts".to_owned(), json!(self.ts));
        message.insert("reply_broadcast".to_owned(), json!(!partly));
        message
    }
}

/// Slack says `ok`, or `{"ok":true}`; Rocket.Chat `{"success":true}`. A page that some proxy puts
/// in between says neither (F14).
fn judge(answer: &Answer, notification: &Notification) -> Result<(), DeliveryError> {
    answer.taken(notification.at)?;
    let value = answer.json();
    if answer.body.trim() == "ok" || value["ok"] == true || value["success"] == true {
        return Ok(());
    }
    if value["ok"] != false && value["success"] != false {
        return Err(answer.strange());
    }
    let why = value["error"].as_str().unwrap_or(answer.body.trim());
    let reason = format!("the answer was: {}", excerpt(why));
    let passes = [
        "rate_limited",
        "ratelimited",
        "internal_error",
        "fatal_error",
        "service_unavailable",
        "request_timeout",
        "team_added_to_org",
    ];
    if passes.contains(&why) {
        let retry_after = asked_wait(&answer.headers, notification.at);
        return Err(DeliveryError::Transient { reason, retry_after, in_doubt: false });
    }
    let advice = match why {
        "not_in_channel" | "channel_not_found" => {
            "; write the channel's id, and invite the app into it"
        }
        "missing_scope" => "; the app needs the scope `chat:write`",
        "invalid_auth" | "not_authed" | "token_revoked" | "token_expired" | "account_inactive" => {
            "; the token is not, or no longer, a valid one"
        }
        _ => "",
    };
    let of_the_message = [
        "invalid_attachments",
        "invalid_blocks",
        "invalid_payload",
        "msg_blocks_too_long",
        "msg_too_long",
        "no_text",
        "too_many_attachments",
    ];
    match of_the_message.contains(&why) {
        true => Err(DeliveryError::bad_message(reason)),
        false => Err(DeliveryError::permanent(format!("{reason}{advice}"))),
    }
}

#[cfg(test)]
mod tests;
