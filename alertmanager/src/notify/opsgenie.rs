//! Opens, updates and closes alerts in Opsgenie, and in whatever speaks its API, such as the
//! operations of Jira Service Management.
//!
//! A group is one alert: its key, as a hash, is the `alias`. While it is open a further creation
//! only counts; with `update_alerts` its message and description are replaced, too.
//!
//! Source: Opsgenie's documentation of the alert API, version 2.
//!
//! Invariant: what is sent is cut to Opsgenie's limits before it is sent; none is refused for its
//! length or its priority.

mod config;

pub use config::{OpsgenieConfig, ResponderConfig};

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base::http::Method;
use base::http::access::SecretSource;
use base::sample::Timestamp;
use base::secret::Secret;
use serde_json::{Map, Value, json};

use super::http::{Answer, Call, Service};
use super::notifier::{DeliveryError, Notification, Notifier, Receipt};
use super::paging::{confirmed, group_id};
use super::texts::{Renderer, Text, one_line, shortened};
use crate::outbox::LONGEST_WAIT;
use crate::template::{Escape, Templates};

/// The longest texts, in characters.
const MAX_MESSAGE: usize = 130;
const MAX_DESCRIPTION: usize = 15_000;
const MAX_NOTE: usize = 25_000;
const MAX_ENTITY: usize = 512;
const MAX_SOURCE: usize = 100;
/// The most tags and their length; the most actions and theirs.
const TAGS: (usize, usize) = (20, 50);
const ACTIONS: (usize, usize) = (10, 50);
/// The longest that all details can be together.
const MAX_DETAILS: usize = 8000;

/// Sends to one Opsgenie integration.
#[derive(Clone, Debug)]
pub struct OpsgenieNotifier {
    service: Service,
    api: Secret,
    key: SecretSource,
    templates: Arc<Templates>,
    message: Text,
    description: Text,
    source: Text,
    entity: Text,
    actions: Text,
    tags: Text,
    note: Text,
    priority: Text,
    details: Vec<(String, Text)>,
    responders: Vec<Value>,
    update_alerts: bool,
}

/// A request: how, where under the address of the API, and what.
#[derive(Debug, PartialEq)]
struct Step {
    method: Method,
    path: String,
    body: Value,
}

#[async_trait]
impl Notifier for OpsgenieNotifier {
    fn integration(&self) -> &'static str {
        "opsgenie"
    }

    async fn notify(&self, notification: &Notification) -> Result<Receipt, DeliveryError> {
        let key = self.key.read().map_err(DeliveryError::transient)?;
        let key = Secret::new(format!("GenieKey {}", key.expose()));
        for Step { method, path, body } in self.steps(notification) {
            let url = Secret::new(format!("{}{path}", self.api.expose()));
            let call = Call::json(method, &url, &body).with("authorization", key.clone());
            judge(&self.service.send(call).await?, notification.at)?;
        }
        Ok(Receipt::default())
    }
}

impl OpsgenieNotifier {
    /// What is to be done, in order. Each can be done again without harm.
    fn steps(&self, notification: &Notification) -> Vec<Step> {
        let renderer = Renderer::new(&self.templates, notification, Escape::Text);
        let alias = group_id(notification);
        let source = one_line(&renderer.render(&self.source), MAX_SOURCE);
        let step = |method, path: String, body| Step { method, path, body };
        let of_alert = |what: &str| format!("v2/alerts/{alias}/{what}?identifierType=alias");
        if !notification.is_firing() {
            return vec![step(Method::POST, of_alert("close"), json!({"source": source}))];
        }
        let create = self.create(notification, &renderer, &alias, source);
        let message = json!({"message": create["message"]});
        let description = json!({"description": create["description"]});
        let mut steps = vec![step(Method::POST, "v2/alerts".to_owned(), create)];
        if self.update_alerts {
            steps.push(step(Method::PUT, of_alert("message"), message));
            if description["description"].is_string() {
                steps.push(step(Method::PUT, of_alert("description"), description));
            }
        }
        steps
    }

    fn create(
        &self,
        notification: &Notification,
        renderer: &Renderer<'_>,
        alias: &str,
        source: String,
    ) -> Value {
        let mut alert = Map::new();
        let mut put = |name: &str, value: Value| {
            if value != "" && value != json!([]) {
                alert.insert(name.to_owned(), value);
            }
        };
        put("alias", json!(alias));
        // An empty message is refused.
        let message = match one_line(&renderer.render(&self.message), MAX_MESSAGE) {
            message if message.is_empty() => notification.status().to_uppercase(),
            message => message,
        };
        put("message", json!(message));
        let description = renderer.render(&self.description);
        put("description", json!(shortened(description.trim_end(), MAX_DESCRIPTION)));
        put("details", self.details(notification, renderer));
        put("source", json!(source));
        put("responders", json!(self.responders));
        put("tags", json!(list(&renderer.render(&self.tags), TAGS)));
        put("note", json!(shortened(&renderer.render(&self.note), MAX_NOTE)));
        put("entity", json!(one_line(&renderer.render(&self.entity), MAX_ENTITY)));
        put("actions", json!(list(&renderer.render(&self.actions), ACTIONS)));
        let priority = renderer.render(&self.priority).trim().to_uppercase();
        if matches!(priority.as_str(), "P1" | "P2" | "P3" | "P4" | "P5") {
            put("priority", json!(priority));
        }
        Value::Object(alert)
    }

    /// The labels that all alerts have, and what is configured; as many as there is room for.
    fn details(&self, notification: &Notification, renderer: &Renderer<'_>) -> Value {
        let common = notification.common_labels();
        // What is configured has the first claim to the room that there is.
        let configured =
            self.details.iter().map(|(name, text)| (name.clone(), renderer.render(text)));
        let labels = common.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        let (mut details, mut room) = (Map::new(), MAX_DETAILS);
        for (name, value) in configured.chain(labels) {
            if details.contains_key(&name) {
                continue;
            }
            let Some(left) = room.checked_sub(name.chars().count() + 1) else { continue };
            let value = shortened(&value, left);
            room = left.saturating_sub(value.chars().count());
            details.insert(name, json!(value));
        }
        Value::Object(details)
    }
}

/// The parts between commas, as many and as long as there can be.
fn list(text: &str, (most, longest): (usize, usize)) -> Vec<String> {
    let parts = text.split(',').map(|part| one_line(part, longest));
    parts.filter(|part| !part.is_empty()).take(most).collect()
}

/// Opsgenie takes every request by naming it, and works it off afterwards. Where there are too many
/// it says so by 429, and for how long in a header of its own.
fn judge(answer: &Answer, now: Timestamp) -> Result<(), DeliveryError> {
    let named = |value: &Value| value["requestId"].is_string();
    match confirmed(answer, now, "Opsgenie", named) {
        Err(DeliveryError::Transient { reason, retry_after: None, in_doubt }) => {
            let period = answer.headers.get("x-ratelimit-period-in-sec");
            let seconds = period.and_then(|period| period.to_str().ok()?.trim().parse().ok());
            let wait = seconds.filter(|_| answer.status == 429).map(Duration::from_secs);
            let retry_after = wait.map(|wait| wait.min(LONGEST_WAIT));
            Err(DeliveryError::Transient { reason, retry_after, in_doubt })
        }
        judged => judged.map(drop),
    }
}

#[cfg(test)]
mod tests;
