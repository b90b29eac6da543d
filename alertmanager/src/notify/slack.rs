//! Posts to chat by an incoming webhook as Slack defined it; Mattermost and Rocket.Chat take the
//! same.
//!
//! Source: Slack's documentation of incoming webhooks and of secondary attachments.
//!
//! Invariant: what comes from an alert is text: `&`, `<` and `>` are escaped, so that no label can
//! mention a channel or hide a link (X15). A message counts as taken only if the service says so.

use std::sync::Arc;

use async_trait::async_trait;
use base::diagnostic::{Diagnostics, Place, Spanned};
use base::secret::Secret;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::http::{Answer, Call, Service, check_url};
use super::notifier::{DeliveryError, Notification, Notifier, Receipt, Shared, excerpt};
use super::texts::{Renderer, Text, one_line, shortened};
use crate::template::{Escape, Templates};
use base::http::access::{HttpConfig, SecretSource};

/// What Slack shows of a title, and what fits a message without being refused.
const MAX_TITLE: usize = 1024;
const MAX_TEXT: usize = 7000;

/// An entry of `slack_configs`, as written. What is not said otherwise is a template.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SlackConfig {
    /// Whether endings are sent; by default they are.
    pub send_resolved: Option<Spanned<bool>>,
    /// The address of the webhook; no template.
    pub api_url: Option<Spanned<Secret>>,
    /// The file that holds the address.
    pub api_url_file: Option<std::path::PathBuf>,
    /// How we speak HTTP.
    pub http_config: Option<Spanned<HttpConfig>>,
    /// The channel; no template, because a label must not choose who reads.
    pub channel: Option<Spanned<String>>,
    /// Who it is from.
    pub username: Option<Spanned<String>>,
    /// The bar beside the text.
    pub color: Option<Spanned<String>>,
    /// The headline.
    pub title: Option<Spanned<String>>,
    /// Where the headline leads.
    pub title_link: Option<Spanned<String>>,
    /// What stands above the attachment.
    pub pretext: Option<Spanned<String>>,
    /// The text.
    pub text: Option<Spanned<String>>,
    /// What is shown where there is no room for more.
    pub fallback: Option<Spanned<String>>,
    /// Names the attachment for Slack's callbacks.
    pub callback_id: Option<Spanned<String>>,
    /// What stands below.
    pub footer: Option<Spanned<String>>,
    /// An emoji in place of a picture of the sender.
    pub icon_emoji: Option<Spanned<String>>,
    /// A picture of the sender.
    pub icon_url: Option<Spanned<String>>,
    /// A picture.
    pub image_url: Option<Spanned<String>>,
    /// A small picture.
    pub thumb_url: Option<Spanned<String>>,
    /// Pairs of a title and a value.
    pub fields: Vec<SlackField>,
    /// Whether fields stand beside each other.
    pub short_fields: bool,
    /// Buttons that lead somewhere.
    pub actions: Vec<SlackAction>,
    /// Where Slack's markup counts.
    pub mrkdwn_in: Vec<String>,
    /// Whether names and channels in texts of the configuration become links.
    pub link_names: bool,
}

/// A pair of a title and a value, as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlackField {
    /// The title.
    pub title: Spanned<String>,
    /// The value.
    pub value: Spanned<String>,
    /// Whether it stands beside others.
    #[serde(default)]
    pub short: Option<bool>,
}

/// A button, as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlackAction {
    /// What it is; a `button`.
    #[serde(rename = "type")]
    pub kind: Spanned<String>,
    /// What it says.
    pub text: Spanned<String>,
    /// Where it leads.
    pub url: Spanned<String>,
    /// `primary`, `danger` or nothing.
    #[serde(default)]
    pub style: Option<Spanned<String>>,
}

/// Posts to one webhook.
#[derive(Clone, Debug)]
pub struct SlackNotifier {
    url: SecretSource,
    service: Service,
    templates: Arc<Templates>,
    channel: Option<String>,
    /// The parts of the message, and of its attachment, by the names that Slack gives them.
    message: Vec<(&'static str, Text)>,
    attachment: Vec<(&'static str, Text)>,
    fields: Vec<(Text, Text, bool)>,
    actions: Vec<(Text, Text, Text, Option<Text>)>,
    mrkdwn_in: Vec<String>,
    link_names: bool,
}

/// What holds for every receiver.
#[derive(Clone, Copy, Debug)]
pub struct SlackGlobals<'a> {
    /// The address where a receiver names none.
    pub api_url: Option<&'a Spanned<Secret>>,
    /// The file with that address.
    pub api_url_file: Option<&'a std::path::PathBuf>,
}

impl SlackConfig {
    /// The notifier.
    pub fn build(
        &self,
        place: Place,
        globals: SlackGlobals<'_>,
        shared: Shared<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<SlackNotifier> {
        let url = self.address(place, globals, diagnostics);
        let service = Service::build(self.http_config.as_ref(), shared.http, place, diagnostics);
        if let Some(channel) = self.channel.as_ref().filter(|c| c.value.contains("{{")) {
            diagnostics.report_with_help(
                channel,
                "the channel cannot come from an alert",
                "make a receiver for each channel and route to it",
            );
        }
        let default = |name: &str| format!("{{{{ template \"slack.default.{name}\" . }}}}");
        let mut texts = |parts: &[(&'static str, &Option<Spanned<String>>, String)]| {
            let build =
                |(name, written, default): &(&'static str, &Option<Spanned<String>>, String)| {
                    Some((*name, Text::build(name, written.as_ref(), default, diagnostics)?))
                };
            parts.iter().map(build).collect::<Vec<_>>().into_iter().flatten().collect::<Vec<_>>()
        };
        let message = texts(&[
            ("username", &self.username, default("username")),
            ("icon_emoji", &self.icon_emoji, default("iconemoji")),
            ("icon_url", &self.icon_url, default("iconurl")),
        ]);
        let attachment = texts(&[
            ("title", &self.title, default("title")),
            ("title_link", &self.title_link, default("titlelink")),
            ("pretext", &self.pretext, default("pretext")),
            ("text", &self.text, default("text")),
            ("fallback", &self.fallback, default("fallback")),
            ("callback_id", &self.callback_id, default("callbackid")),
            ("footer", &self.footer, default("footer")),
            ("color", &self.color, default("color")),
            ("image_url", &self.image_url, String::new()),
            ("thumb_url", &self.thumb_url, String::new()),
        ]);
        let mut text = |name, written| Text::build(name, Some(written), "", diagnostics);
        let fields: Vec<_> = self
            .fields
            .iter()
            .filter_map(|field| {
                let short = field.short.unwrap_or(self.short_fields);
                Some((text("fields", &field.title)?, text("fields", &field.value)?, short))
            })
            .collect();
        let actions: Vec<_> = self
            .actions
            .iter()
            .filter_map(|action| {
                let style = action.style.as_ref().map(|style| text("actions", style));
                Some((
                    text("actions", &action.kind)?,
                    text("actions", &action.text)?,
                    text("actions", &action.url)?,
                    style.flatten(),
                ))
            })
            .collect();
        Some(SlackNotifier {
            url: url?,
            service: service?,
            templates: Arc::clone(shared.templates),
            channel: self.channel.as_ref().map(|channel| channel.value.clone()),
            message,
            attachment,
            fields,
            actions,
            mrkdwn_in: self.mrkdwn_in.clone(),
            link_names: self.link_names,
        })
    }

    fn address(
        &self,
        place: Place,
        globals: SlackGlobals<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<SecretSource> {
        let own = self.api_url.is_some() || self.api_url_file.is_some();
        let (url, file) = if own {
            (self.api_url.as_ref(), self.api_url_file.as_ref())
        } else {
            (globals.api_url, globals.api_url_file)
        };
        if let Some(url) = url {
            check_url(url, diagnostics);
        }
        let given = url.map(|url| url.value.clone());
        let names = ("api_url", "api_url_file");
        if given.is_none() && file.is_none() {
            diagnostics.report_with_help(
                place,
                "there is no address to post to",
                "set `api_url` here, or `slack_api_url` under `global:`",
            );
        }
        SecretSource::one_of(given, file.cloned(), names, place, diagnostics)
    }
}

#[async_trait]
impl Notifier for SlackNotifier {
    fn integration(&self) -> &'static str {
        "slack"
    }

    async fn notify(&self, notification: &Notification) -> Result<Receipt, DeliveryError> {
        let body = self.body(notification).to_string().into_bytes();
        let url = self.url.read().map_err(DeliveryError::transient)?;
        let answer = self.service.send(Call::post(&url, "application/json", body)).await?;
        judge(&answer, notification)?;
        Ok(Receipt::default())
    }
}

impl SlackNotifier {
    fn body(&self, notification: &Notification) -> Value {
        let renderer = Renderer::new(&self.templates, notification, Escape::Entities);
        let mut message = Map::new();
        if let Some(channel) = &self.channel {
            message.insert("channel".to_owned(), json!(channel));
        }
        for (name, text) in &self.message {
            insert(&mut message, name, one_line(&renderer.render(text), MAX_TITLE));
        }
        if self.link_names {
            message.insert("link_names".to_owned(), json!(true));
        }
        let mut attachment = Map::new();
        for (name, text) in &self.attachment {
            let text = renderer.render(text);
            let text = match *name {
                "text" | "pretext" => shortened(text.trim(), MAX_TEXT),
                _ => one_line(&text, MAX_TITLE),
            };
            insert(&mut attachment, name, text);
        }
        let fields: Vec<_> = self
            .fields
            .iter()
            .map(|(title, value, short)| {
                let value = shortened(&renderer.render(value), MAX_TEXT);
                json!({"title": renderer.render(title), "value": value, "short": short})
            })
            .collect();
        if !fields.is_empty() {
            attachment.insert("fields".to_owned(), json!(fields));
        }
        let actions: Vec<_> = self
            .actions
            .iter()
            .map(|(kind, text, url, style)| {
                let mut action = Map::new();
                insert(&mut action, "type", renderer.render(kind));
                insert(&mut action, "text", renderer.render(text));
                insert(&mut action, "url", renderer.render(url));
                insert(
                    &mut action,
                    "style",
                    style.as_ref().map_or_else(String::new, |s| renderer.render(s)),
                );
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
        Value::Object(message)
    }
}

fn insert(map: &mut Map<String, Value>, name: &str, text: String) {
    if !text.is_empty() {
        map.insert(name.to_owned(), json!(text));
    }
}

/// Slack says `ok`, or `{"ok":true}`; Rocket.Chat `{"success":true}`. A page that some proxy puts
/// in between says neither (F14).
fn judge(answer: &Answer, notification: &Notification) -> Result<(), DeliveryError> {
    let said = answer.body.trim();
    answer.taken(notification.at)?;
    let value: Value = serde_json::from_str(said).unwrap_or(Value::Null);
    let refused = value["ok"] == false || value["success"] == false;
    if refused {
        let why = value["error"].as_str().unwrap_or(said);
        let reason = format!("the answer was: {}", excerpt(why));
        return Err(match why {
            "rate_limited" | "ratelimited" | "internal_error" | "service_unavailable" => {
                DeliveryError::transient(reason)
            }
            _ => DeliveryError::permanent(reason),
        });
    }
    if said.starts_with('<') {
        let reason = format!("the answer is not that of a chat service: {}", excerpt(said));
        return Err(DeliveryError::transient(reason));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use base::http::HeaderMap;

    use super::super::texts::tests::notification;
    use super::*;

    fn build(yaml: &str) -> (Option<SlackNotifier>, String) {
        let mut diagnostics = Diagnostics::new("f.yml");
        let config: Spanned<SlackConfig> = base::yaml::read(yaml, &mut diagnostics).unwrap();
        let http = HttpConfig::default();
        let globals = SlackGlobals { api_url: None, api_url_file: None };
        let shared = Shared { http: &http, templates: &Arc::new(Templates::defaults()) };
        let built = config.value.build(config.place, globals, shared, &mut diagnostics);
        (built, diagnostics.to_string())
    }

    #[test]
    fn writes_a_message_whose_labels_are_text() {
        let (notifier, faults) = build(
            "{api_url: 'http://127.0.0.1:1/x', channel: '#ops', text: '{{ .CommonAnnotations.summary }}', \
             fields: [{title: Where, value: '{{ range .Alerts }}{{ .Labels.instance }} {{ end }}', short: true}]}",
        );
        assert_eq!(faults, "");
        let body = notifier.unwrap().body(&notification());
        let attachment = &body["attachments"][0];
        assert_eq!(body["channel"], "#ops");
        assert_eq!(attachment["title"], "[FIRING:1] CheckFailed");
        assert_eq!(attachment["text"], "queue &lt;b&gt;full&lt;/b&gt; &amp; more");
        assert_eq!(attachment["color"], "danger");
        assert_eq!(attachment["fields"][0]["value"], "web:1 db:1 ");
    }

    #[test]
    fn mentions_and_floods_come_out_literally() {
        // X15
        let (notifier, _) = build("{api_url: 'http://127.0.0.1:1/x'}");
        let mut message = notification();
        let hostile = format!("<!channel> <@U1> <https://evil|login> {}", "x".repeat(50_000));
        message.alerts[0].annotations.insert("summary".into(), hostile);
        let body = notifier.unwrap().body(&message).to_string();
        assert!(
            !body.contains("<!channel>") && !body.contains("<@U1>") && !body.contains("<https"),
            "{body}"
        );
        assert!(body.contains("&lt;!channel&gt;") && body.len() < 20_000);
    }

    #[test]
    fn counts_as_taken_only_what_the_service_says_it_took() {
        let check = |status: u16, body: &str, expected: &str| {
            let answer = Answer { status, headers: HeaderMap::new(), body: body.to_owned() };
            let got = match judge(&answer, &notification()) {
                Ok(()) => "taken".to_owned(),
                Err(DeliveryError::Transient { reason, .. }) => format!("again: {reason}"),
                Err(DeliveryError::Permanent { reason }) => format!("never: {reason}"),
            };
            assert_eq!(got, expected, "{status} {body}");
        };
        check(200, "ok", "taken");
        check(200, r#"{"ok":true}"#, "taken");
        check(200, r#"{"success":true}"#, "taken");
        check(200, "", "taken");
        check(
            200,
            r#"{"ok":false,"error":"channel_not_found"}"#,
            "never: the answer was: channel_not_found",
        );
        check(200, r#"{"ok":false,"error":"ratelimited"}"#, "again: the answer was: ratelimited");
        check(
            200,
            "<html>log in</html>",
            "again: the answer is not that of a chat service: <html>log in</html>",
        );
        check(404, "no_service", "never: the answer was HTTP status 404: no_service");
        check(500, "", "again: the answer was HTTP status 500");
    }

    #[test]
    fn reports_every_fault() {
        let check = |yaml: &str, expected: &str| assert_eq!(build(yaml).1, expected, "{yaml}");
        check(
            "{channel: '{{ .x }}', title: '{{ nope }}'}",
            "f.yml:1:1: there is no address to post to\n  \
             help: set `api_url` here, or `slack_api_url` under `global:`\n\
             f.yml:1:11: the channel cannot come from an alert\n  \
             help: make a receiver for each channel and route to it\n\
             f.yml:1:30: template: title:1: function \"nope\" not defined",
        );
    }
}
