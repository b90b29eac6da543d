//! Posts to a room of Webex; the messages of one incident stand below the first, or change it
//! (`update_message`).
//!
//! Source: Webex's documentation of `Create a Message`, `Edit a Message` and of its formatting, and
//! the configuration reference of Alertmanager 0.33.
//!
//! Invariant: what comes from an alert reads as it is and mentions nobody (X15, X16).

use std::sync::Arc;

use async_trait::async_trait;
use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::access::HttpConfig;
use base::http::{Method, percent_encoded};
use base::secret::Secret;
use serde::Deserialize;
use serde_json::{Value, json};

use super::http::{Answer, Call, Service};
use super::notifier::{DeliveryError, Notification, Notifier, Receipt, Shared};
use super::settings::{base_address, needed};
use super::texts::{Renderer, Text, but_last_line, printable, shortened_bytes};
use crate::template::{Escape, Markup, Templates};

const DEFAULT_ADDRESS: &str = "https://webexapis.com/v1/messages";

/// The most bytes of a message.
const MAX_TEXT: usize = 7439;

/// CommonMark; `<@all>` mentions.
const MARKUP: Markup = Markup { backslash: r"\`*_[]~|", strict: false, entities: true, apart: "@" };

/// An entry of `webex_configs`, as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WebexConfig {
    /// Whether endings are sent; by default they are.
    pub send_resolved: Option<Spanned<bool>>,
    /// The address of the API.
    pub api_url: Option<Spanned<Secret>>,
    /// How we speak HTTP; the bot's token stands in it, under `authorization`.
    pub http_config: Option<Spanned<HttpConfig>>,
    /// The room.
    pub room_id: Option<Spanned<String>>,
    /// The text, a template.
    pub message: Option<Spanned<String>>,
    /// Whether the first message is changed where otherwise a further one would stand below it.
    pub update_message: bool,
}

/// Posts to one room.
#[derive(Clone, Debug)]
pub struct WebexNotifier {
    address: String,
    service: Service,
    templates: Arc<Templates>,
    room: String,
    message: Text,
    update: bool,
}

impl WebexConfig {
    /// The notifier; `api_url` is the address where this one names none.
    pub fn build(
        &self,
        place: Place,
        api_url: Option<&Spanned<Secret>>,
        shared: Shared<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<WebexNotifier> {
        let address = base_address(self.api_url.as_ref(), api_url, DEFAULT_ADDRESS, diagnostics);
        let room = needed("room_id", self.room_id.as_ref(), place, diagnostics);
        if self.http_config.as_ref().is_none_or(|http| http.value.authorization.is_none()) {
            diagnostics.report_with_help(
                place,
                "`http_config.authorization` is missing",
                "set `credentials` or `credentials_file` there: the token of the bot",
            );
        }
        let service = Service::build(self.http_config.as_ref(), shared.http, place, diagnostics);
        let default = "{{ template \"webex.default.message\" . }}";
        let message = Text::build("message", self.message.as_ref(), default, diagnostics);
        Some(WebexNotifier {
            address,
            service: service?,
            templates: Arc::clone(shared.templates),
            room: room?,
            message: message?,
            update: self.update_message,
        })
    }
}

#[async_trait]
impl Notifier for WebexNotifier {
    fn integration(&self) -> &'static str {
        "webex"
    }

    async fn notify(&self, notification: &Notification) -> Result<Receipt, DeliveryError> {
        let post = Secret::new(self.address.clone());
        let message = self.body(notification);
        if let Some(first) = &notification.reference {
            let handed = if self.update {
                let edit = Secret::new(format!("{}/{}", self.address, percent_encoded(first)));
                self.send(Method::PUT, &edit, &message, notification).await
            } else {
                let mut below = message.clone();
                below["parentId"] = json!(first);
                self.send(Method::POST, &post, &below, notification).await
            };
            match handed {
                // What was there is gone, or can no longer be changed: a new one takes its place.
                Err(DeliveryError::Permanent { .. }) => {}
                handed => return handed.map(|_| Receipt::default()),
            }
        }
        self.send(Method::POST, &post, &message, notification).await.map(Receipt::named)
    }
}

impl WebexNotifier {
    async fn send(
        &self,
        method: Method,
        url: &Secret,
        body: &Value,
        notification: &Notification,
    ) -> Result<String, DeliveryError> {
        judge(&self.service.send(Call::json(method, url, body)).await?, notification)
    }

    fn body(&self, notification: &Notification) -> Value {
        let renderer = Renderer::new(&self.templates, notification, Escape::Markup(MARKUP));
        let text = renderer.unless_blank(printable(&renderer.render(&self.message)));
        json!({"roomId": self.room, "markdown": but_last_line(&text, MAX_TEXT, shortened_bytes)})
    }
}

/// Success is the message with its id.
fn judge(answer: &Answer, notification: &Notification) -> Result<String, DeliveryError> {
    answer.taken(notification.at)?;
    match answer.json()["id"].as_str() {
        Some(id) => Ok(id.to_owned()),
        None => Err(answer.strange()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::sink::{
        Judges, Reply, SECRET, Sink, build_entry, flood, hostile, misbehave, outcome,
    };
    use super::super::texts::tests::notification;
    use super::*;

    fn build(yaml: &str) -> (Option<WebexNotifier>, String) {
        build_entry(yaml, |config: &WebexConfig, place, shared, diagnostics| {
            config.build(place, None, shared, diagnostics)
        })
    }

    #[track_caller]
    fn built(url: &str, more: &str) -> WebexNotifier {
        let yaml = format!(
            "{{api_url: '{url}/v1/messages', room_id: R, \
             http_config: {{authorization: {{credentials: {SECRET}}}}}{more}}}"
        );
        let (notifier, faults) = build(&yaml);
        assert_eq!(faults, "", "{yaml}");
        notifier.unwrap()
    }

    #[tokio::test]
    async fn posts_below_the_first_message_or_changes_it() {
        let sink = Sink::start().await;
        let text = ", message: '{{ .Status }}: {{ .CommonAnnotations.summary }}'";
        let notifier = built(&sink.url(), text);
        let said = Reply::json(200, json!({"id": "M/1", "roomId": "R"}));
        let replies = std::slice::from_ref(&said);
        let mut message = notification();
        let (asked, result) = sink.hand_over(&notifier, &message, replies).await;
        assert_eq!(result, Ok(Receipt::named("M/1")));
        assert_eq!(asked[0].line(), "POST /v1/messages");
        assert_eq!(asked[0].headers["authorization"], format!("Bearer {SECRET}"));
        let mut expected = json!({
            "roomId": "R",
            "markdown": "firing: queue &lt;b&gt;full&lt;/b&gt; &amp; more",
        });
        assert_eq!(asked[0].json(), expected);

        message.reference = Some("M/1".to_owned());
        message.alerts.remove(0);
        expected["markdown"] = json!("resolved: queue &lt;b&gt;full&lt;/b&gt; &amp; more");
        let update = built(&sink.url(), &format!("{text}, update_message: true"));
        let (asked, result) = sink.hand_over(&update, &message, replies).await;
        assert_eq!(result, Ok(Receipt::default()));
        assert_eq!(asked[0].line(), "PUT /v1/messages/M%2F1");
        assert_eq!(asked[0].json(), expected);

        let gone = Reply::json(404, json!({"message": "Could not find a message"}));
        for notifier in [&notifier, &update] {
            let replies = [gone.clone(), said.clone()];
            let (asked, result) = sink.hand_over(notifier, &message, &replies).await;
            assert_eq!((result, asked.len()), (Ok(Receipt::named("M/1")), 2));
            assert_eq!(asked[1].json(), expected);
        }
        expected["parentId"] = json!("M/1");
        let (asked, result) = sink.hand_over(&notifier, &message, replies).await;
        assert_eq!(result, Ok(Receipt::default()));
        assert_eq!(asked[0].json(), expected);
    }

    #[tokio::test]
    async fn takes_the_service_at_its_word() {
        // F14
        let sink = Sink::start().await;
        let notifier = built(&sink.url(), "");
        let replies = [Reply::json(200, json!({"message": "no", "trackingId": "x"}))];
        let (_, result) = sink.hand_over(&notifier, &notification(), &replies).await;
        assert_eq!(outcome(&result), "again");
        misbehave(Judges::Body, &[], |url| built(url, "")).await;
    }

    #[test]
    fn alerts_mention_nobody_and_fit() {
        // X15, X16, F16
        for message in [hostile(), flood()] {
            let body = built("http://h", "").body(&message);
            let text = body["markdown"].as_str().unwrap();
            for markup in ["<", "@everyone", "@all", "[log in]("] {
                assert!(!text.contains(markup), "{markup}: {text}");
            }
            assert!(text.len() <= MAX_TEXT, "{}", text.len());
        }
    }

    #[test]
    fn reports_every_fault() {
        let check = |yaml: &str, expected: &str| assert_eq!(build(yaml).1, expected, "{yaml}");
        let token = "f.yml:1:1: `http_config.authorization` is missing\n  \
                     help: set `credentials` or `credentials_file` there: the token of the bot";
        check("{}", &format!("f.yml:1:1: `room_id` is missing\n{token}"));
        check(
            "{room_id: '{{ .x }}'}",
            &format!(
                "{token}\nf.yml:1:11: `room_id` cannot come from an alert\n  \
                 help: make a receiver for each `room_id` and route to it"
            ),
        );
    }
}
