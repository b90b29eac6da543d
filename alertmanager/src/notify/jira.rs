//! Opens issues in Jira, keeps them up to date, resolves them and opens them again.
//!
//! ```text
//! our issue? by its key, else by its label ──▶ open: update ─▶ comment ─▶ resolve, when all is over
//!                                          ├──▶ done, not long ago: reopen, update
//!                                          └──▶ none: create
//! ```
//!
//! A group is one issue: the hash of its key is part of a label, the one that Alertmanager gives,
//! so that an issue of either is found by both. The issue's key is kept as the reference of the
//! thread, because a new issue is not found by its label at once.
//!
//! Source: Atlassian's documentation of Jira's REST API, versions 2 and 3.
//!
//! Invariant: an issue is created only after none was found, so that a message that is sent again
//! makes no second one; what alerts bring is text, never markup that calls somebody.

mod config;
mod issue;
mod request;

pub use config::{JiraConfig, JiraField};

use std::sync::Arc;

use async_trait::async_trait;
use base::http::{Method, percent_encoded};
use base::period::Period;
use base::sample::Timestamp;
use base::secret::Secret;
use serde_json::{Value, json};

use super::http::{Call, Service};
use super::notifier::{DeliveryError, Notification, Notifier, Receipt, excerpt};
use super::paging::{confirmed, escaped, group_id};
use super::payload::Payload;
use super::texts::{Renderer, Text, one_line, shortened};
use crate::template::{Escape, Templates};
use issue::Issue;

/// The longest texts, in characters.
const MAX_SUMMARY: usize = 255;
const MAX_DESCRIPTION: usize = 32_767;
const MAX_LABEL: usize = 255;

/// Keeps the issues of one project.
#[derive(Clone, Debug)]
pub struct JiraNotifier {
    service: Service,
    api: Secret,
    /// Where issues are searched: other than `search` where the API is that of Atlassian's cloud.
    search: Secret,
    /// Whether texts are documents, as version 3 has them, or have the markup of version 2.
    documents: bool,
    templates: Arc<Templates>,
    project: Text,
    issue_type: Text,
    summary: Field,
    description: Field,
    comment: Text,
    labels: Vec<Text>,
    priority: Text,
    fields: Vec<(String, Payload)>,
    reopen_transition: String,
    resolve_transition: String,
    wont_fix_resolution: String,
    reopen_duration: Period,
}

/// A text of an issue, and whether it changes with its alerts.
#[derive(Clone, Debug)]
struct Field {
    text: Text,
    update: bool,
}

#[async_trait]
impl Notifier for JiraNotifier {
    fn integration(&self) -> &'static str {
        "jira"
    }

    async fn notify(&self, notification: &Notification) -> Result<Receipt, DeliveryError> {
        let now = notification.at;
        match self.find(notification).await? {
            Some(issue) => {
                let firing = notification.is_firing();
                let path = format!("issue/{}", issue.path());
                if firing && issue.done {
                    self.transition(&issue, &self.reopen_transition, now).await?;
                }
                self.call(Method::PUT, &path, &self.changed(notification), now).await?;
                if let Some(comment) = self.comment(notification) {
                    self.call(Method::POST, &format!("{path}/comment"), &comment, now).await?;
                }
                if !firing && !issue.done {
                    self.transition(&issue, &self.resolve_transition, now).await?;
                }
                Ok(Receipt::named(issue.key))
            }
            // Nobody needs to be told of the end of what they never heard of.
            None if !notification.is_firing() => Ok(Receipt::default()),
            None => {
                let issue = self.created(notification);
                let created = self.call(Method::POST, "issue", &issue, now).await?;
                Ok(Receipt { reference: created["key"].as_str().map(str::to_owned) })
            }
        }
    }
}

impl JiraNotifier {
    /// The issue of the group that can go on.
    async fn find(&self, notification: &Notification) -> Result<Option<Issue>, DeliveryError> {
        let now = notification.at;
        if let Some(key) = &notification.reference {
            let path = format!("issue/{}?fields=status", percent_encoded(key));
            match self.send(Method::GET, &self.under(&path), None, now).await {
                Ok(value) => {
                    let known = Issue::read(&value).filter(|issue| !issue.done);
                    if known.is_some() {
                        return Ok(known);
                    }
                }
                // It was moved away or deleted.
                Err(DeliveryError::Permanent { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let body = json!({
            "jql": self.query(notification), "fields": ["status"], "maxResults": 2,
        });
        let value = self.send(Method::POST, &self.search, Some(&body), now).await?;
        match value["issues"].as_array() {
            Some(issues) => Ok(issues.iter().find_map(Issue::read)),
            None => Err(DeliveryError::transient("Jira's answer to a search holds no issues")),
        }
    }

    /// Moves the issue by the transition of that name; none of no name.
    async fn transition(
        &self,
        issue: &Issue,
        name: &str,
        now: Timestamp,
    ) -> Result<(), DeliveryError> {
        if name.is_empty() {
            return Ok(());
        }
        let path = format!("issue/{}/transitions", issue.path());
        let value = self.send(Method::GET, &self.under(&path), None, now).await?;
        let known = value["transitions"].as_array().map(Vec::as_slice).unwrap_or_default();
        let Some(found) = known.iter().find(|known| known["name"] == name) else {
            let names: Vec<_> = known.iter().filter_map(|known| known["name"].as_str()).collect();
            let names = excerpt(&names.join(", "));
            return Err(DeliveryError::permanent(format!(
                "there is no transition `{name}` from where {} stands; there are: {names}",
                issue.key
            )));
        };
        let body = json!({"transition": {"id": found["id"]}});
        self.call(Method::POST, &path, &body, now).await.map(drop)
    }

    /// Sends `body` to a place under the address of the API.
    async fn call(
        &self,
        method: Method,
        path: &str,
        body: &Value,
        now: Timestamp,
    ) -> Result<Value, DeliveryError> {
        self.send(method, &self.under(path), Some(body), now).await
    }

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
        // Names of transitions are those of the language.
        let call = call.with("accept-language", Secret::new("en"));
        let answer = self.service.send(call).await?;
        // 204: done, and nothing to say.
        if answer.status == 204 {
            return Ok(Value::Null);
        }
        confirmed(&answer, now, "Jira", |value| {
            value.is_object() && value.get("errorMessages").is_none()
        })
    }

    fn under(&self, path: &str) -> Secret {
        Secret::new(format!("{}{path}", self.api.expose()))
    }
}

#[cfg(test)]
mod tests;
