//! Sends to an application of Gotify.
//!
//! Gotify cannot change a message. With a client's token, which may delete, the message before is
//! taken away once the next one of its group is there, so that one message stands for each group.
//!
//! Source: Gotify's API documentation (`POST /message`, `DELETE /message/{id}`) and its message
//! extras.
//!
//! Invariant: a message is plain text, and nothing from an alert is markup (X16); that an old
//! message cannot be taken away never makes the new one count as lost.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::Method;
use base::http::access::{HttpConfig, SecretSource};
use base::secret::Secret;
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::warn;

use super::http::{Answer, Call, Service};
use super::links::Links;
use super::notifier::{DeliveryError, Notification, Notifier, Receipt, Shared};
use super::settings::{SecretSetting, needed_address};
use super::texts::{Renderer, Text, one_line, shortened};
use crate::template::{Escape, Templates};

/// What a phone shows of a title, and what fits a message.
const MAX_TITLE: usize = 250;
const MAX_MESSAGE: usize = 8000;

/// An entry of `gotify_configs`, as written. `title`, `message` and `priority` are templates.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GotifyConfig {
    /// Whether endings are sent; by default they are.
    pub send_resolved: Option<Spanned<bool>>,
    /// The server.
    pub url: Option<Spanned<Secret>>,
    /// The application's token.
    pub token: Option<Spanned<Secret>>,
    /// The file that holds it.
    pub token_file: Option<PathBuf>,
    /// A client's token, by which the message before is taken away.
    pub client_token: Option<Secret>,
    /// The file that holds it.
    pub client_token_file: Option<PathBuf>,
    /// How we speak HTTP.
    pub http_config: Option<Spanned<HttpConfig>>,
    /// The headline.
    pub title: Option<Spanned<String>>,
    /// The text.
    pub message: Option<Spanned<String>>,
    /// 0 to 10.
    pub priority: Option<Spanned<String>>,
}

/// Sends to one application.
#[derive(Clone, Debug)]
pub struct GotifyNotifier {
    url: String,
    token: SecretSource,
    client: Option<SecretSource>,
    service: Service,
    templates: Arc<Templates>,
    title: Text,
    message: Text,
    priority: Text,
}

impl GotifyConfig {
    /// The notifier.
    pub fn build(
        &self,
        place: Place,
        shared: Shared<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<GotifyNotifier> {
        let url = needed_address("url", self.url.as_ref(), place, diagnostics);
        let token = SecretSetting::of(&self.token, &self.token_file);
        let token = token.needed(("token", "token_file"), place, diagnostics);
        let (client, file) = (self.client_token.clone(), self.client_token_file.clone());
        let names = ("client_token", "client_token_file");
        let client = SecretSource::one_of(client, file, names, place, diagnostics);
        let service = Service::build(self.http_config.as_ref(), shared.http, place, diagnostics);
        let mut text = |name, written: &Option<Spanned<String>>, default: &str| {
            Text::build(name, written.as_ref(), default, diagnostics)
        };
        let title = text("title", &self.title, "{{ template \"veilleur.default.title\" . }}");
        let message = text("message", &self.message, "{{ template \"veilleur.default.text\" . }}");
        // From 4 on a phone makes a sound, from 8 on it insists.
        let firing = "{{ if eq .Status \"firing\" }}8{{ else }}4{{ end }}";
        let priority = text("priority", &self.priority, firing);
        Some(GotifyNotifier {
            url: url?,
            token: token?,
            client,
            service: service?,
            templates: Arc::clone(shared.templates),
            title: title?,
            message: message?,
            priority: priority?,
        })
    }
}

#[async_trait]
impl Notifier for GotifyNotifier {
    fn integration(&self) -> &'static str {
        "gotify"
    }

    fn preview(&self, notification: &Notification) -> String {
        let body = self.body(notification);
        let said = ["title", "message"].map(|name| body[name].as_str());
        said.into_iter().flatten().collect::<Vec<_>>().join("\n")
    }

    async fn notify(&self, notification: &Notification) -> Result<Receipt, DeliveryError> {
        let token = self.token.read().map_err(DeliveryError::transient)?;
        let url = Secret::new(format!("{}/message", self.url));
        let call = Call::json(Method::POST, &url, &self.body(notification));
        let answer = self.service.send(call.with("x-gotify-key", token)).await?;
        let receipt = judge(&answer, notification)?;
        if let Err(error) = self.take_away(notification).await {
            warn!(%error, "the message before cannot be taken away");
        }
        Ok(receipt)
    }
}

impl GotifyNotifier {
    fn body(&self, notification: &Notification) -> Value {
        let renderer = Renderer::new(&self.templates, notification, Escape::Text);
        let message = renderer.unless_blank(renderer.render(&self.message));
        let mut body = json!({
            "title": one_line(&renderer.render(&self.title), MAX_TITLE),
            "message": shortened(message.trim(), MAX_MESSAGE),
            "extras": {"client::display": {"contentType": "text/plain"}},
        });
        let priority = renderer.render(&self.priority);
        if let Some(priority) = priority.trim().parse::<u8>().ok().filter(|p| *p <= 10) {
            body["priority"] = json!(priority);
        }
        if let Some(url) = Links::of(notification).alerts {
            body["extras"]["client::notification"] = json!({"click": {"url": url}});
        }
        body
    }

    /// Deletes the message of the group before this one, where we may.
    async fn take_away(&self, notification: &Notification) -> Result<(), DeliveryError> {
        let (Some(client), Some(before)) = (&self.client, &notification.reference) else {
            return Ok(());
        };
        // The number is one that the server gave us; whatever else is in the store is no path.
        let Ok(number) = before.parse::<u64>() else { return Ok(()) };
        let token = client.read().map_err(DeliveryError::transient)?;
        let url = Secret::new(format!("{}/message/{number}", self.url));
        let mut call = Call::post(&url, "application/json", Vec::new());
        call.method = Method::DELETE;
        let answer = self.service.send(call.with("x-gotify-key", token)).await?;
        match answer.status {
            // Somebody has read it and thrown it away.
            404 => Ok(()),
            _ => answer.taken(notification.at),
        }
    }
}

/// A message that was taken is answered with itself, under its number (F14).
fn judge(answer: &Answer, notification: &Notification) -> Result<Receipt, DeliveryError> {
    answer.taken(notification.at)?;
    match answer.json()["id"].as_u64() {
        Some(number) => Ok(Receipt::named(number.to_string())),
        None => Err(answer.strange()),
    }
}

#[cfg(test)]
mod tests {
    use base::http::HeaderMap;

    use super::super::sink::{Judges, Reply, SECRET, Sink, build_entry, flood, misbehave};
    use super::super::texts::tests::notification;
    use super::*;

    fn build(yaml: &str) -> (Option<GotifyNotifier>, String) {
        build_entry(yaml, GotifyConfig::build)
    }

    #[test]
    fn a_message_is_plain_text_with_a_link() {
        // X16
        let (notifier, faults) =
            build("{url: 'http://g/', token: t, message: '{{ .CommonAnnotations.summary }}'}");
        assert_eq!(faults, "");
        let notifier = notifier.unwrap();
        let mut message = notification();
        for alert in &mut message.alerts {
            alert.annotations.insert("summary".into(), "**x** <img src=//evil>".into());
        }
        let expected = json!({
            "title": "[FIRING:1] CheckFailed on web:1, since 2023-11-14 22:13 UTC", "message": "**x** <img src=//evil>", "priority": 8,
            "extras": {
                "client::display": {"contentType": "text/plain"},
                "client::notification": {"click": {"url": "http://v/#/alerts"}},
            },
        });
        assert_eq!(notifier.body(&message), expected);
        message.alerts.remove(0);
        assert_eq!(notifier.body(&message)["priority"], 4);
        message.alerts[0].annotations.insert("summary".into(), "ä".repeat(50_000));
        let text = notifier.body(&message)["message"].as_str().unwrap().chars().count();
        assert!((3000..=MAX_MESSAGE).contains(&text), "{text}");
    }

    #[test]
    fn success_is_a_message_with_a_number() {
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
        check(200, r#"{"id":25,"appid":5,"message":"x"}"#, "25");
        check(200, r#"{"error":"Unauthorized","errorCode":401}"#, "again");
        check(200, "<html>", "again");
        check(401, r#"{"error":"Unauthorized","errorCode":401}"#, "never");
        check(400, r#"{"error":"Bad Request"}"#, "never");
        check(502, "", "again");
    }

    #[test]
    fn reports_every_fault() {
        let check = |yaml: &str, expected: &str| assert_eq!(build(yaml).1, expected, "{yaml}");
        check(
            "{}",
            "f.yml:1:1: `url` is missing\n\
             f.yml:1:1: `token` is missing\n  help: set it or `token_file`",
        );
        check(
            "{url: 'http://g', token: t, client_token: a, client_token_file: b}",
            "f.yml:1:1: only one of `client_token` and `client_token_file` can be given",
        );
    }

    fn with_tokens(url: &str) -> GotifyNotifier {
        let yaml = format!("{{url: '{url}', token: {SECRET}, client_token: {SECRET}2}}");
        build(&yaml).0.unwrap()
    }

    #[tokio::test]
    async fn the_message_before_is_taken_away_once_the_next_is_there() {
        let sink = Sink::start().await;
        let notifier = with_tokens(&sink.url());
        let taken = Reply::json(200, json!({"id": 26}));
        let mut message = flood();
        message.reference = Some("25".into());
        for answer in [Reply::text(200, ""), Reply::text(403, ""), Reply::Close] {
            let replies = [taken.clone(), answer];
            let (asked, result) = sink.hand_over(&notifier, &message, &replies).await;
            assert_eq!(result, Ok(Receipt::named("26")), "{replies:?}");
            let lines: Vec<_> = asked.iter().map(|asked| asked.line()).collect();
            assert_eq!(lines, ["POST /message", "DELETE /message/25"]);
            assert_eq!(asked[0].headers["x-gotify-key"], SECRET);
            assert_eq!(asked[1].headers["x-gotify-key"], format!("{SECRET}2"));
            let text = asked[0].json()["message"].as_str().unwrap().chars().count();
            assert!(text <= MAX_MESSAGE, "{text}");
        }
        message.reference = Some("../application/1".into());
        let (asked, _) = sink.hand_over(&notifier, &message, &[taken]).await;
        assert_eq!(asked.len(), 1);
    }

    #[tokio::test]
    async fn whatever_goes_wrong_is_told_apart() {
        misbehave(Judges::Body, &[], with_tokens).await;
    }
}
