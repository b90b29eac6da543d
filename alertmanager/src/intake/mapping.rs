//! A mapping of one's own: templates over the message, which become labels, texts and the state.
//!
//! Invariant: a template sees the message and nothing else, within the limits of all templates.

use std::collections::BTreeMap;

use base::diagnostic::{Diagnostics, Spanned};
use base::sample::Timestamp;
use serde_json::Value;

use super::event::{Event, Status};
use super::json::{for_template, time};
use crate::template::{Dialect, Limits, Options, Template, Value as TemplateValue};

/// The words that say that it is over, where the mapping names none.
const OVER: [&str; 10] = [
    "resolved",
    "ok",
    "up",
    "success",
    "succeeded",
    "passed",
    "recovered",
    "fixed",
    "closed",
    "normal",
];

/// Texts over a message, parsed when the configuration is read.
#[derive(Clone, Debug, Default)]
pub(super) struct Texts(Vec<(String, Template)>);

/// A mapping.
#[derive(Clone, Debug, Default)]
pub(super) struct Mapping {
    /// A JSON pointer to the list of things that the message is about; empty for the message itself.
    pub(super) each: String,
    pub(super) labels: Texts,
    pub(super) annotations: Texts,
    pub(super) status: Option<Template>,
    /// Words of `status`, in lower case.
    pub(super) resolved: Vec<String>,
    pub(super) ignored: Vec<String>,
    pub(super) key: Option<Template>,
    pub(super) starts_at: Option<Template>,
    pub(super) ends_at: Option<Template>,
    pub(super) url: Option<Template>,
}

/// Parses a text; its faults are reported.
pub(super) fn template(text: &Spanned<String>, diagnostics: &mut Diagnostics) -> Option<Template> {
    match Template::parse(Dialect::Notification, "", &text.value) {
        Ok(template) => Some(template),
        Err(error) => {
            diagnostics.report(text, error.to_string());
            None
        }
    }
}

impl Texts {
    pub(super) fn build(
        texts: &BTreeMap<String, Spanned<String>>,
        diagnostics: &mut Diagnostics,
    ) -> Self {
        let built =
            texts.iter().filter_map(|(n, text)| Some((n.clone(), template(text, diagnostics)?)));
        Self(built.collect())
    }

    /// Puts the texts among those of an event; an empty one takes away what is there.
    fn put(
        &self,
        into: &mut BTreeMap<String, String>,
        data: &TemplateValue,
        now: Timestamp,
    ) -> Result<(), String> {
        for (name, template) in &self.0 {
            into.insert(name.clone(), render(name, template, data, now)?);
        }
        Ok(())
    }
}

impl Mapping {
    /// The words that say that it is over, by default.
    pub(super) fn over() -> Vec<String> {
        OVER.iter().map(|word| (*word).to_owned()).collect()
    }

    /// What `body` says.
    ///
    /// # Errors
    ///
    /// It has not the list that it should have, or a template fails.
    pub(super) fn read<'v>(
        &self,
        body: &'v Value,
        now: Timestamp,
    ) -> Result<Vec<(Event, &'v Value)>, String> {
        let items: Vec<&Value> = match self.each.as_str() {
            "" => vec![body],
            pointer => {
                let list = body.pointer(pointer).and_then(Value::as_array);
                list.ok_or_else(|| format!("there is no list at `{pointer}`"))?.iter().collect()
            }
        };
        items.into_iter().map(|item| Ok((self.one(item, now)?, item))).collect()
    }

    fn one(&self, item: &Value, now: Timestamp) -> Result<Event, String> {
        let data = for_template(item);
        let text = |name: &str, template: &Option<Template>| match template {
            None => Ok(String::new()),
            Some(template) => render(name, template, &data, now),
        };
        let status = match &self.status {
            None => Status::Firing,
            Some(_) => {
                let word = text("status", &self.status)?.to_lowercase();
                if self.resolved.contains(&word) {
                    Status::Resolved
                } else if word.is_empty() || self.ignored.contains(&word) {
                    Status::Neither
                } else {
                    Status::Firing
                }
            }
        };
        Ok(Event {
            status,
            key: text("key", &self.key)?,
            starts_at: time(&text("starts_at", &self.starts_at)?),
            ends_at: time(&text("ends_at", &self.ends_at)?),
            url: text("url", &self.url)?,
            ..Event::default()
        })
    }

    /// Adds the labels and texts of the mapping to an event about `item`.
    ///
    /// # Errors
    ///
    /// A template fails.
    pub(super) fn add(
        &self,
        event: &mut Event,
        item: &Value,
        now: Timestamp,
    ) -> Result<(), String> {
        let data = for_template(item);
        self.labels.put(&mut event.labels, &data, now)?;
        self.annotations.put(&mut event.annotations, &data, now)
    }
}

fn render(
    name: &str,
    template: &Template,
    data: &TemplateValue,
    now: Timestamp,
) -> Result<String, String> {
    let options = Options { limits: Limits::default(), ..Options::at(now) };
    let text = template.render(data, &options).map_err(|error| format!("`{name}`: {error}"))?;
    // So Go prints what is not there.
    Ok(text.replace("<no value>", "").trim().to_owned())
}
