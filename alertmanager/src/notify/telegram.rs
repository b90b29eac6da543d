//! Posts by a bot of Telegram; the messages of one incident answer the first, or change it
//! (`update_message`).
//!
//! Source: the documentation of Telegram's Bot API (`sendMessage`, `editMessageText`, formatting
//! options), and the configuration reference of Alertmanager 0.33.
//!
//! Invariant: what comes from an alert reads as it is, and a message that Telegram cannot read as
//! markup goes out as plain text (X16).

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::Method;
use base::http::access::{HttpConfig, SecretSource};
use base::secret::Secret;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::cut::cut_html;
use super::http::{Answer, Call, Service};
use super::notifier::{DeliveryError, Notification, Notifier, Receipt, Shared, excerpt};
use super::settings::{Named, SecretSetting, base_address};
use super::texts::{Renderer, Text, but_last_line, printable, shortened};
use crate::template::{Escape, Markup, Templates};

const DEFAULT_ADDRESS: &str = "https://api.telegram.org";

/// The most characters of a message.
const MAX_TEXT: usize = 4096;

/// The older markup: these four can have a backslash before them.
const MARKDOWN: Markup = Markup { backslash: "_*`[", strict: true, entities: false, apart: "" };
/// Everything that could mean something must have one.
const MARKDOWN_V2: Markup =
    Markup { backslash: r"\_*[]()~`>#+-=|{}.!", strict: true, entities: false, apart: "" };

/// An entry of `telegram_configs`, as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelegramConfig {
    /// Whether endings are sent; by default they are.
    pub send_resolved: Option<Spanned<bool>>,
    /// The address of the API.
    pub api_url: Option<Spanned<Secret>>,
    /// The token of the bot.
    pub bot_token: Option<Spanned<Secret>>,
    /// The file that holds the token.
    pub bot_token_file: Option<PathBuf>,
    /// The chat.
    pub chat_id: Option<Spanned<i64>>,
    /// The file that holds the number of the chat.
    pub chat_id_file: Option<Spanned<PathBuf>>,
    /// The topic of a forum.
    pub message_thread_id: Option<i64>,
    /// How we speak HTTP.
    pub http_config: Option<Spanned<HttpConfig>>,
    /// The text, a template.
    pub message: Option<Spanned<String>>,
    /// Whether it makes no sound.
    pub disable_notifications: bool,
    /// `HTML` (as where nothing is said), `MarkdownV2`, `Markdown`, or empty for plain text.
    pub parse_mode: Option<Spanned<String>>,
    /// Whether the first message is changed where otherwise a further one would answer it.
    pub update_message: bool,
}

/// What holds for every receiver.
#[derive(Clone, Copy, Debug, Default)]
pub struct TelegramGlobals<'a> {
    /// The address of the API.
    pub api_url: Option<&'a Spanned<Secret>>,
    /// The token of the bot.
    pub bot_token: SecretSetting<'a>,
}

/// Posts to one chat.
#[derive(Clone, Debug)]
pub struct TelegramNotifier {
    /// Without a slash at its end.
    address: String,
    token: SecretSource,
    chat: Chat,
    topic: Option<i64>,
    service: Service,
    templates: Arc<Templates>,
    message: Text,
    silent: bool,
    mode: Mode,
    update: bool,
}

#[derive(Clone, Debug)]
enum Chat {
    Number(i64),
    File(PathBuf),
}

/// How a message is marked up: the mode's name, and how values are escaped in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mode {
    name: &'static str,
    escape: Escape,
}

const MODES: [Mode; 4] = [
    Mode { name: "HTML", escape: Escape::Html },
    Mode { name: "MarkdownV2", escape: Escape::Markup(MARKDOWN_V2) },
    Mode { name: "Markdown", escape: Escape::Markup(MARKDOWN) },
    PLAIN,
];
const PLAIN: Mode = Mode { name: "", escape: Escape::Text };

impl TelegramConfig {
    /// The notifier.
    pub fn build(
        &self,
        place: Place,
        globals: TelegramGlobals<'_>,
        shared: Shared<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<TelegramNotifier> {
        let address =
            base_address(self.api_url.as_ref(), globals.api_url, DEFAULT_ADDRESS, diagnostics);
        let named =
            Named { names: ("bot_token", "bot_token_file"), global: Some("telegram_bot_token") };
        let token = SecretSetting::of(&self.bot_token, &self.bot_token_file).or(
            globals.bot_token,
            named,
            place,
            diagnostics,
        );
        let chat_file = self.chat_id_file.as_ref();
        let chat_file = chat_file.filter(|file| !file.value.as_os_str().is_empty());
        let chat = match (self.chat_id.as_ref().filter(|id| id.value != 0), chat_file) {
            (Some(id), None) => Some(Chat::Number(id.value)),
            (None, Some(file)) => Some(Chat::File(file.value.clone())),
            (Some(id), Some(_)) => {
                diagnostics.report(id, "only one of `chat_id` and `chat_id_file` can be given");
                None
            }
            (None, None) => {
                let help = "set it or `chat_id_file`; those of groups are negative";
                diagnostics.report_with_help(place, "`chat_id` is missing", help);
                None
            }
        };
        let written = self.parse_mode.as_ref().map_or("HTML", |mode| mode.value.as_str());
        let mode = MODES.into_iter().find(|mode| mode.name == written);
        if let (None, Some(mode)) = (mode, &self.parse_mode) {
            let message = format!("there is no `parse_mode` `{}`", mode.value);
            let help = "write `HTML`, `MarkdownV2`, `Markdown` or nothing between the quotes";
            diagnostics.report_with_help(mode, message, help);
        }
        let service = Service::build(self.http_config.as_ref(), shared.http, place, diagnostics);
        let default = "{{ template \"telegram.default.message\" . }}";
        let message = Text::build("message", self.message.as_ref(), default, diagnostics);
        Some(TelegramNotifier {
            address,
            token: token?,
            chat: chat?,
            topic: self.message_thread_id.filter(|id| *id != 0),
            service: service?,
            templates: Arc::clone(shared.templates),
            message: message?,
            silent: self.disable_notifications,
            mode: mode?,
            update: self.update_message,
        })
    }
}

impl Chat {
    fn number(&self) -> Result<i64, DeliveryError> {
        match self {
            Self::Number(id) => Ok(*id),
            Self::File(path) => {
                let shown = path.display();
                let text = std::fs::read_to_string(path).map_err(|error| {
                    DeliveryError::transient(format!("cannot read {shown}: {error}"))
                })?;
                text.trim().parse().map_err(|_| {
                    DeliveryError::transient(format!("{shown} holds no number of a chat"))
                })
            }
        }
    }
}

#[async_trait]
impl Notifier for TelegramNotifier {
    fn integration(&self) -> &'static str {
        "telegram"
    }

    async fn notify(&self, notification: &Notification) -> Result<Receipt, DeliveryError> {
        let chat = self.chat.number()?;
        // A number of another chat than this names another message.
        let earlier = notification.reference.as_deref().and_then(|name| {
            let (room, id) = name.split_once(':')?;
            (room.parse() == Ok(chat)).then(|| id.parse::<i64>().ok()).flatten()
        });
        if let Some(id) = earlier.filter(|_| self.update) {
            let place = json!({"chat_id": chat, "message_id": id});
            match self.hand_over("editMessageText", &place, notification).await {
                // It says already what it is to say.
                Err(Refusal { why, .. }) if why.contains("message is not modified") => {
                    return Ok(Receipt::default());
                }
                // What was there is gone, or can no longer be changed: a new one takes its place.
                Err(Refusal { error: DeliveryError::Permanent { .. }, .. }) => {}
                Err(Refusal { error, .. }) => return Err(error),
                Ok(_) => return Ok(Receipt::default()),
            }
        }
        let mut place = json!({"chat_id": chat, "disable_notification": self.silent});
        if let Some(topic) = self.topic {
            place["message_thread_id"] = json!(topic);
        }
        if let Some(id) = earlier.filter(|_| !self.update) {
            place["reply_parameters"] =
                json!({"message_id": id, "allow_sending_without_reply": true});
        }
        let id =
            self.hand_over("sendMessage", &place, notification).await.map_err(|no| no.error)?;
        match earlier.filter(|_| !self.update) {
            // All answer the first.
            Some(_) => Ok(Receipt::default()),
            None => Ok(Receipt::named(format!("{chat}:{id}"))),
        }
    }
}

/// Why Telegram did not take a message, and what it said of it.
#[derive(Debug)]
struct Refusal {
    error: DeliveryError,
    why: String,
}

impl From<DeliveryError> for Refusal {
    fn from(error: DeliveryError) -> Self {
        Self { error, why: String::new() }
    }
}

impl TelegramNotifier {
    /// Calls `method` with the message, marked up, and where that cannot be read, plain. Returns the
    /// number of the message.
    async fn hand_over(
        &self,
        method: &str,
        place: &Value,
        notification: &Notification,
    ) -> Result<i64, Refusal> {
        match self.call(method, place, self.mode, notification).await {
            Err(Refusal { why, .. })
                if self.mode != PLAIN
                    && (why.contains("can't parse entities") || why.contains("is too long")) =>
            {
                self.call(method, place, PLAIN, notification).await
            }
            handed => handed,
        }
    }

    async fn call(
        &self,
        method: &str,
        place: &Value,
        mode: Mode,
        notification: &Notification,
    ) -> Result<i64, Refusal> {
        let token = self.token.read().map_err(DeliveryError::transient)?;
        let url = Secret::new(format!("{}/bot{}/{method}", self.address, token.expose()));
        let mut body: Map<String, Value> = place.as_object().cloned().unwrap_or_default();
        body.insert("text".to_owned(), json!(self.text(mode, notification)));
        if !mode.name.is_empty() {
            body.insert("parse_mode".to_owned(), json!(mode.name));
        }
        body.insert("link_preview_options".to_owned(), json!({"is_disabled": true}));
        let call = Call::json(Method::POST, &url, &Value::Object(body));
        judge(&self.service.send(call).await?, notification)
    }

    fn text(&self, mode: Mode, notification: &Notification) -> String {
        let renderer = Renderer::new(&self.templates, notification, mode.escape);
        let text = renderer.unless_blank(printable(&renderer.render(&self.message)));
        match mode.escape {
            Escape::Html => but_last_line(&text, MAX_TEXT, cut_html),
            _ => but_last_line(&text, MAX_TEXT, shortened),
        }
    }
}

/// Success is `{"ok":true}` with the message.
fn judge(answer: &Answer, notification: &Notification) -> Result<i64, Refusal> {
    let value = answer.json();
    let why = value["description"].as_str().unwrap_or_default().to_owned();
    if let Err(error) = answer.taken(notification.at) {
        let parameters = &value["parameters"];
        let error = match parameters["migrate_to_chat_id"].as_i64() {
            Some(id) => DeliveryError::permanent(format!(
                "the group has become a supergroup: write `chat_id: {id}`"
            )),
            None => error.after(parameters["retry_after"].as_f64()),
        };
        return Err(Refusal { error, why });
    }
    if value["ok"] == true
        && let Some(id) = value["result"]["message_id"].as_i64()
    {
        return Ok(id);
    }
    let error = match value["ok"] == false {
        true => DeliveryError::permanent(format!("the answer was: {}", excerpt(&why))),
        false => answer.strange(),
    };
    Err(Refusal { error, why })
}

#[cfg(test)]
mod tests;
