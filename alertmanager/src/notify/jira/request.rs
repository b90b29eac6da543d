//! What Jira is asked: issues as they are created and changed, comments, searches.
//!
//! Invariant: what stands in quotes in a search cannot end them, and what alerts bring is no markup.

use serde_json::{Map, Value, json};

use super::*;

impl JiraNotifier {
    /// A new issue.
    pub(super) fn created(&self, notification: &Notification) -> Value {
        let harmless = self.harmless(notification);
        let marked = Renderer::new(&self.templates, &harmless, Escape::Text);
        let renderer = Renderer::new(&self.templates, notification, Escape::Text);
        let mut fields = self.always(notification, &renderer);
        fields.insert("summary".to_owned(), json!(self.summary(&renderer)));
        let project = one_line(&renderer.render(&self.project), MAX_LABEL);
        fields.insert("project".to_owned(), json!({"key": project}));
        let issue_type = one_line(&renderer.render(&self.issue_type), MAX_LABEL);
        fields.insert("issuetype".to_owned(), json!({"name": issue_type}));
        if let Some(description) = self.document(&marked.render(&self.description.text)) {
            fields.insert("description".to_owned(), description);
        }
        self.add_own(&renderer, &mut fields);
        json!({"fields": fields})
    }

    /// The same issue with what has changed.
    pub(super) fn changed(&self, notification: &Notification) -> Value {
        let mut value = self.created(notification);
        if let Some(fields) = value["fields"].as_object_mut() {
            // Where an issue is, and of what type, people may have decided otherwise since; labels
            // that they have added stay.
            fields.remove("project");
            fields.remove("issuetype");
            let labels = fields.remove("labels");
            let own = |name: &str| self.fields.iter().any(|(field, _)| field == name);
            if !self.summary.update && !own("summary") {
                fields.remove("summary");
            }
            if !self.description.update && !own("description") {
                fields.remove("description");
            }
            let labels = labels.as_ref().and_then(Value::as_array).cloned().unwrap_or_default();
            let added: Vec<_> = labels.into_iter().map(|label| json!({"add": label})).collect();
            value["update"] = json!({"labels": added});
        }
        value
    }

    /// A comment, where one is configured.
    pub(super) fn comment(&self, notification: &Notification) -> Option<Value> {
        let harmless = self.harmless(notification);
        let renderer = Renderer::new(&self.templates, &harmless, Escape::Text);
        let body = self.document(&renderer.render(&self.comment))?;
        Some(json!({"body": body}))
    }

    /// What finds the group's issue: an open one, or one that was done not long ago.
    pub(super) fn query(&self, notification: &Notification) -> String {
        let renderer = Renderer::new(&self.templates, notification, Escape::Text);
        let mut query = String::new();
        if !self.wont_fix_resolution.is_empty() {
            // An issue that is not resolved has no resolution that could be another one.
            let resolution = quoted(&self.wont_fix_resolution);
            query.push_str(&format!("(resolution is EMPTY or resolution != {resolution}) and "));
        }
        let minutes = self.reopen_duration.duration().as_secs() / 60;
        match notification.is_firing() && !self.reopen_transition.is_empty() && minutes > 0 {
            true => query.push_str(&format!(
                "(resolutiondate is EMPTY OR resolutiondate >= -{minutes}m) and "
            )),
            false => query.push_str("statusCategory != Done and "),
        }
        let project = quoted(&one_line(&renderer.render(&self.project), MAX_LABEL));
        let label = quoted(&label_of(notification));
        query.push_str(&format!("project={project} and labels={label} "));
        query.push_str("order by status ASC,resolutiondate DESC");
        query
    }

    fn summary(&self, renderer: &Renderer<'_>) -> String {
        let summary = one_line(&renderer.render(&self.summary.text), MAX_SUMMARY);
        // An empty one is refused.
        if summary.is_empty() { "alerts".to_owned() } else { summary }
    }

    /// Labels and priority.
    fn always(&self, notification: &Notification, renderer: &Renderer<'_>) -> Map<String, Value> {
        let labels = self.labels.iter().map(|label| renderer.render(label));
        // A label cannot have a space.
        let labels = labels.map(|label| {
            let words: Vec<_> = label.split_whitespace().collect();
            shortened(&words.join("_"), MAX_LABEL)
        });
        let mut labels: Vec<_> =
            labels.filter(|label| !label.is_empty()).chain([label_of(notification)]).collect();
        labels.sort();
        labels.dedup();
        let mut fields = Map::from_iter([("labels".to_owned(), json!(labels))]);
        let priority = one_line(&renderer.render(&self.priority), MAX_LABEL);
        if !priority.is_empty() {
            fields.insert("priority".to_owned(), json!({"name": priority}));
        }
        fields
    }

    /// The configured fields, which count more than ours.
    fn add_own(&self, renderer: &Renderer<'_>, fields: &mut Map<String, Value>) {
        for (name, value) in &self.fields {
            fields.insert(name.clone(), value.render(renderer));
        }
    }

    /// A text of several lines as the API wants it; nothing where there is no text.
    fn document(&self, text: &str) -> Option<Value> {
        let text = shortened(text.trim(), MAX_DESCRIPTION);
        if text.is_empty() {
            return None;
        }
        if !self.documents {
            return Some(json!(text));
        }
        if let Ok(document @ Value::Object(_)) = serde_json::from_str(&text) {
            return Some(document);
        }
        let paragraphs = text.lines().map(|line| match line {
            "" => json!({"type": "paragraph", "content": []}),
            line => json!({"type": "paragraph", "content": [{"type": "text", "text": line}]}),
        });
        let content: Vec<_> = paragraphs.collect();
        Some(json!({"type": "doc", "version": 1, "content": content}))
    }

    /// The message as it can stand in texts with markup; documents have none.
    fn harmless(&self, notification: &Notification) -> Notification {
        match self.documents {
            true => notification.clone(),
            false => escaped(notification, without_markup),
        }
    }
}

/// The label of the group's issue.
fn label_of(notification: &Notification) -> String {
    format!("ALERT{{{}}}", group_id(notification))
}

/// A text in the quotes of a search.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// The text with a backslash before what begins a mention, a link, a macro or a picture.
fn without_markup(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '[' | '{' | '!' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}
