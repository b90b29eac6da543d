//! Opens, updates and ends incidents in PagerDuty, by its events API version 2 or 1.
//!
//! A group is one incident: its key, as a hash, is the `dedup_key`, so that a later message updates
//! the incident and the last one ends it, and a message that is sent twice changes nothing.
//!
//! Source: PagerDuty's documentation of the events API, versions 2 and 1.
//!
//! Invariant: an event is cut to PagerDuty's limits before it is sent; none is refused for its
//! length, for its severity or for a link that leads nowhere.

mod config;

pub use config::{PagerdutyConfig, PagerdutyImage, PagerdutyLink};

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base::http::Method;
use base::http::access::SecretSource;
use base::sample::Timestamp;
use base::secret::Secret;
use serde_json::{Map, Value, json};

use super::http::{Answer, Call, Service};
use super::notifier::{DeliveryError, Notification, Notifier, Receipt, excerpt};
use super::paging::group_id;
use super::parts::web_address;
use super::payload::Payload;
use super::texts::{Renderer, Text, one_line, shortened};
use crate::template::{Escape, Templates};

/// The longest summary, in characters.
const MAX_SUMMARY: usize = 1024;
/// The longest of the short texts beside it.
const MAX_TEXT: usize = 1024;
/// The largest event, in bytes.
const MAX_EVENT: usize = 512_000;
/// What an event can be; anything else is an `error`.
const SEVERITIES: [&str; 4] = ["critical", "error", "warning", "info"];

/// Sends the events of one integration.
#[derive(Clone, Debug)]
pub struct PagerdutyNotifier {
    service: Service,
    url: Secret,
    key: Key,
    templates: Arc<Templates>,
    description: Text,
    client: Text,
    client_url: Text,
    source: Text,
    severity: Text,
    class: Text,
    component: Text,
    group: Text,
    details: Vec<(String, Payload)>,
    images: Vec<[Text; 3]>,
    links: Vec<[Text; 2]>,
    timeout: Option<Duration>,
}

/// What an event says whom it is for; it decides which version of the API is spoken.
#[derive(Clone, Debug)]
enum Key {
    Routing(SecretSource),
    Service(SecretSource),
}

#[async_trait]
impl Notifier for PagerdutyNotifier {
    fn integration(&self) -> &'static str {
        "pagerduty"
    }

    async fn notify(&self, notification: &Notification) -> Result<Receipt, DeliveryError> {
        let (Key::Routing(key) | Key::Service(key)) = &self.key;
        let key = key.read().map_err(DeliveryError::transient)?;
        let event = self.event(notification, &key);
        let call = Call::json(Method::POST, &self.url, &event);
        let answer = self.service.send_within(call, self.timeout).await?;
        judge(&answer, matches!(self.key, Key::Service(_)), notification.at)?;
        Ok(Receipt::default())
    }
}

impl PagerdutyNotifier {
    /// The event, at most [`MAX_EVENT`] long: if need be without the details of its alerts.
    fn event(&self, notification: &Notification, key: &Secret) -> Value {
        let renderer = Renderer::new(&self.templates, notification, Escape::Text).with_room();
        let details = self.details.iter();
        let details: Map<_, _> =
            details.map(|(name, value)| (name.clone(), value.render(&renderer))).collect();
        let event = self.event_with(notification, key, &renderer, details);
        if event.to_string().len() <= MAX_EVENT {
            return event;
        }
        let counts = Map::from_iter([
            (
                "num_firing".to_owned(),
                json!(notification.alerts.iter().filter(|a| a.is_firing()).count()),
            ),
            ("num_alerts".to_owned(), json!(notification.alerts.len())),
            ("left_out".to_owned(), json!("the details were longer than PagerDuty takes")),
        ]);
        self.event_with(notification, key, &renderer, counts)
    }

    fn event_with(
        &self,
        notification: &Notification,
        key: &Secret,
        renderer: &Renderer<'_>,
        details: Map<String, Value>,
    ) -> Value {
        let short = |text: &Text| one_line(&renderer.render(text), MAX_TEXT);
        let summary = one_line(&renderer.render(&self.description), MAX_SUMMARY);
        let client_url = web_address(&renderer.render(&self.client_url));
        let firing = notification.is_firing();
        let action = if firing { "trigger" } else { "resolve" };
        let id = group_id(notification);
        let mut event = Map::new();
        let mut put = |name: &str, value: Value| {
            if value != "" && value != json!([]) {
                event.insert(name.to_owned(), value);
            }
        };
        if let Key::Service(_) = self.key {
            put("service_key", json!(key.expose()));
            put("event_type", json!(action));
            put("incident_key", json!(id));
            put("description", json!(summary));
            put("details", Value::Object(details));
            if firing {
                put("client", json!(short(&self.client)));
                put("client_url", json!(client_url));
            }
            return Value::Object(event);
        }
        put("routing_key", json!(key.expose()));
        put("event_action", json!(action));
        put("dedup_key", json!(id));
        put("client", json!(short(&self.client)));
        put("client_url", json!(client_url));
        put("images", self.images(renderer));
        put("links", self.links(renderer));
        let severity = short(&self.severity).to_lowercase();
        let severity = SEVERITIES.into_iter().find(|known| *known == severity).unwrap_or("error");
        let source = match short(&self.source) {
            source if source.is_empty() => "veilleur".to_owned(),
            source => source,
        };
        let mut payload = json!({
            "summary": summary, "source": source, "severity": severity, "custom_details": details,
        });
        for (name, text) in
            [("class", &self.class), ("component", &self.component), ("group", &self.group)]
        {
            let text = short(text);
            if !text.is_empty() {
                payload[name] = json!(text);
            }
        }
        if let Some(since) = since(notification) {
            payload["timestamp"] = json!(since);
        }
        put("payload", payload);
        Value::Object(event)
    }

    fn images(&self, renderer: &Renderer<'_>) -> Value {
        let images = self.images.iter().map(|texts| texts.each_ref().map(|t| renderer.render(t)));
        // PagerDuty shows none that is not encrypted.
        images
            .map(|[src, alt, href]| {
                let (src, href) = (web_address(&src), web_address(&href));
                json!({"src": src, "alt": shortened(&alt, MAX_TEXT), "href": href})
            })
            .filter(|image| image["src"].as_str().is_some_and(|src| src.starts_with("https")))
            .collect()
    }

    fn links(&self, renderer: &Renderer<'_>) -> Value {
        let links = self.links.iter().map(|texts| texts.each_ref().map(|t| renderer.render(t)));
        links
            .map(|[href, text]| {
                json!({"href": web_address(&href), "text": shortened(&text, MAX_TEXT)})
            })
            .filter(|link| link["href"] != "")
            .collect()
    }
}

/// Since when the oldest alert that fires does so.
fn since(notification: &Notification) -> Option<String> {
    let firing = notification.alerts.iter().filter(|alert| alert.is_firing());
    let since = firing.map(|alert| alert.starts_at).min()?;
    jiff::Timestamp::from_millisecond(since.millis()).ok().map(|since| since.to_string())
}

/// PagerDuty says `"status": "success"`. Version 1 tells by 403 that there are too many events.
fn judge(answer: &Answer, version_1: bool, now: Timestamp) -> Result<(), DeliveryError> {
    if version_1 && answer.status == 403 {
        let reason = format!("too many events: {}", excerpt(answer.body.trim()));
        return Err(DeliveryError::transient(reason));
    }
    answer.taken(now)?;
    match answer.json()["status"].as_str() {
        Some("success") => Ok(()),
        Some(status) if status.contains("invalid") => Err(DeliveryError::bad_message(format!(
            "the answer was: {}",
            excerpt(answer.body.trim())
        ))),
        _ => {
            let reason = format!("the answer is not PagerDuty's: {}", excerpt(answer.body.trim()));
            Err(DeliveryError::transient(reason))
        }
    }
}

#[cfg(test)]
mod tests;
