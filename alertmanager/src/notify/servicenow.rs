//! Opens incidents in ServiceNow, notes what changes, resolves them and opens them again.
//!
//! A group is one incident: the hash of its key is the `correlation_id`, by which an active one is
//! found again; its `sys_id` is kept as the reference of the thread.
//!
//! Source: ServiceNow's documentation of the Table API and of the table `incident`.
//!
//! Invariant: an incident is created only after none was found, so that a message that is sent
//! again makes no second one; what alerts bring cannot bring HTML into a work note.

mod config;

pub use config::ServicenowConfig;

use std::sync::Arc;

use async_trait::async_trait;
use base::http::{Method, percent_encoded};
use base::sample::Timestamp;
use base::secret::Secret;
use serde_json::{Map, Value, json};

use super::http::{Call, Service};
use super::notifier::{DeliveryError, Notification, Notifier, Receipt};
use super::paging::{confirmed, escaped, form, group_id};
use super::payload::Payload;
use super::texts::{Renderer, Text, one_line, shortened};
use crate::template::{Escape, Templates};

/// The longest texts, in characters.
const MAX_SHORT: usize = 160;
const MAX_TEXT: usize = 4000;
/// The state of an incident that is resolved, but not closed yet.
const RESOLVED: &str = "6";

/// Keeps the incidents of one instance.
#[derive(Clone, Debug)]
pub struct ServicenowNotifier {
    service: Service,
    /// The address of the table, without a slash at its end.
    table: String,
    templates: Arc<Templates>,
    short_description: Text,
    description: Text,
    work_notes: Text,
    urgency: Text,
    impact: Text,
    close_code: String,
    close_notes: Text,
    resolved_state: String,
    reopened_state: String,
    fields: Vec<(String, Payload)>,
}

/// An incident that was found.
#[derive(Clone, Debug, PartialEq)]
struct Incident {
    sys_id: String,
    resolved: bool,
}

#[async_trait]
impl Notifier for ServicenowNotifier {
    fn integration(&self) -> &'static str {
        "servicenow"
    }

    async fn notify(&self, notification: &Notification) -> Result<Receipt, DeliveryError> {
        let now = notification.at;
        let value = match self.find(notification).await? {
            Some(incident) => {
                let changes = self.changed(notification, incident.resolved);
                let sys_id = percent_encoded(&incident.sys_id);
                let url = Secret::new(format!("{}/{sys_id}", self.table));
                self.send(Method::PATCH, &url, Some(&changes), now).await?
            }
            // Nobody needs to be told of the end of what they never heard of.
            None if !notification.is_firing() => return Ok(Receipt::default()),
            None => {
                let url = Secret::new(self.table.clone());
                self.send(Method::POST, &url, Some(&self.created(notification)), now).await?
            }
        };
        Ok(Receipt { reference: value["result"]["sys_id"].as_str().map(str::to_owned) })
    }
}

impl ServicenowNotifier {
    /// The group's active incident: the one that we know of, else the newest of its correlation.
    async fn find(&self, notification: &Notification) -> Result<Option<Incident>, DeliveryError> {
        let id = group_id(notification);
        let mut query = format!("correlation_id={id}^active=true^ORDERBYDESCsys_created_on");
        if let Some(sys_id) = notification.reference.as_ref().filter(|id| is_sys_id(id)) {
            query = format!("sys_id={sys_id}^active=true^NQ{query}");
        }
        let fields = [
            ("sysparm_query", query.as_str()),
            ("sysparm_fields", "sys_id,state"),
            ("sysparm_limit", "1"),
        ];
        let url = Secret::new(format!("{}?{}", self.table, form(fields)));
        let value = self.send(Method::GET, &url, None, notification.at).await?;
        let found = value["result"].as_array().and_then(|found| found.first());
        Ok(found.and_then(|incident| {
            let sys_id = incident["sys_id"].as_str().filter(|id| is_sys_id(id))?.to_owned();
            Some(Incident { sys_id, resolved: incident["state"] == *self.resolved_state })
        }))
    }

    /// A new incident.
    fn created(&self, notification: &Notification) -> Value {
        let harmless = escaped(notification, without_code);
        let renderer = Renderer::new(&self.templates, &harmless, Escape::Text);
        let mut fields = self.texts(&renderer);
        fields.insert("correlation_id".to_owned(), json!(group_id(notification)));
        fields.insert("correlation_display".to_owned(), json!("Veilleur"));
        for (name, text) in [("urgency", &self.urgency), ("impact", &self.impact)] {
            let text = one_line(&renderer.render(text), MAX_SHORT);
            if !text.is_empty() {
                fields.insert(name.to_owned(), json!(text));
            }
        }
        for (name, value) in &self.fields {
            fields.insert(name.clone(), value.render(&renderer));
        }
        Value::Object(fields)
    }

    /// What has changed: the texts and a note, and the state where the group is over or back.
    fn changed(&self, notification: &Notification, resolved: bool) -> Value {
        let harmless = escaped(notification, without_code);
        let renderer = Renderer::new(&self.templates, &harmless, Escape::Text);
        let mut fields = self.texts(&renderer);
        let mut put = |name: &str, text: String| {
            if !text.is_empty() {
                fields.insert(name.to_owned(), json!(text));
            }
        };
        let long = |text: &Text| shortened(renderer.render(text).trim(), MAX_TEXT);
        put("work_notes", long(&self.work_notes));
        if notification.is_firing() && resolved {
            put("state", self.reopened_state.clone());
        } else if !notification.is_firing() && !resolved {
            put("state", self.resolved_state.clone());
            put("close_code", self.close_code.clone());
            put("close_notes", long(&self.close_notes));
        }
        Value::Object(fields)
    }

    fn texts(&self, renderer: &Renderer<'_>) -> Map<String, Value> {
        let short = one_line(&renderer.render(&self.short_description), MAX_SHORT);
        let long = shortened(renderer.render(&self.description).trim(), MAX_TEXT);
        Map::from_iter([
            ("short_description".to_owned(), json!(short)),
            ("description".to_owned(), json!(long)),
        ])
    }

    /// ServiceNow answers with a `result`. An instance that sleeps shows a page, with status 200.
    async fn send(
        &self,
        method: Method,
        url: &Secret,
        body: Option<&Value>,
        now: Timestamp,
    ) -> Result<Value, DeliveryError> {
        let call = match body {
            Some(body) => Call::json(method, url, body),
            None => Call { method, ..Call::post(url, "application/json", Vec::new()) },
        };
        let call = call.with("accept", Secret::new("application/json"));
        let answer = self.service.send(call).await?;
        confirmed(&answer, now, "ServiceNow", |value| value.get("result").is_some())
    }
}

/// Whether a text can be the id of a record: 32 hexadecimal digits.
fn is_sys_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The text without the mark that begins HTML in a note.
fn without_code(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let lower = text.to_ascii_lowercase();
    let mut rest = 0;
    for (at, mark) in lower.match_indices("[code]") {
        out.push_str(&text[rest..at]);
        out.push_str("[ code ]");
        rest = at + mark.len();
    }
    out.push_str(&text[rest..]);
    out
}

#[cfg(test)]
mod tests;
