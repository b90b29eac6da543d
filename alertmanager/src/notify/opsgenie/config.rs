//! `opsgenie_configs:` as written.
//!
//! Invariant: the names and defaults are those of Alertmanager; whom an alert is for comes from the
//! configuration alone (X18).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::access::HttpConfig;
use base::secret::Secret;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::http::Service;
use super::super::notifier::Shared;
use super::super::paging::{ServiceGlobals, base_address, recipient};
use super::super::settings::{Named, SecretSetting};
use super::super::texts::Text;
use super::OpsgenieNotifier;

/// Where Opsgenie is.
const API: &str = "https://api.opsgenie.com/";
/// Who can be responsible. `teams` are several in one entry, with commas between.
const KINDS: [&str; 5] = ["team", "teams", "user", "escalation", "schedule"];

/// An entry of `opsgenie_configs`, as written. What is not said otherwise is a template.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OpsgenieConfig {
    /// Whether endings are sent; by default they are.
    pub send_resolved: Option<Spanned<bool>>,
    /// How we speak HTTP.
    pub http_config: Option<Spanned<HttpConfig>>,
    /// The key of an API integration; no template.
    pub api_key: Option<Spanned<Secret>>,
    /// The file with that key.
    pub api_key_file: Option<PathBuf>,
    /// Where Opsgenie is; no template.
    pub api_url: Option<Spanned<Secret>>,
    /// The headline.
    pub message: Option<Spanned<String>>,
    /// The text.
    pub description: Option<Spanned<String>>,
    /// What the alert is from.
    pub source: Option<Spanned<String>>,
    /// Texts by name, beside the labels that all alerts have.
    pub details: BTreeMap<String, Spanned<String>>,
    /// What is affected.
    pub entity: Option<Spanned<String>>,
    /// Who is responsible; no template.
    pub responders: Vec<Spanned<ResponderConfig>>,
    /// What can be done, with commas between.
    pub actions: Option<Spanned<String>>,
    /// Tags, with commas between.
    pub tags: Option<Spanned<String>>,
    /// A note.
    pub note: Option<Spanned<String>>,
    /// `P1` to `P5`.
    pub priority: Option<Spanned<String>>,
    /// Whether message and description of an open alert are replaced.
    pub update_alerts: bool,
}

/// Who is responsible, as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ResponderConfig {
    /// By Opsgenie's id.
    pub id: Option<Spanned<String>>,
    /// By name.
    pub name: Option<Spanned<String>>,
    /// A user, by name.
    pub username: Option<Spanned<String>>,
    /// `team`, `teams`, `user`, `escalation` or `schedule`.
    #[serde(rename = "type")]
    pub kind: Option<Spanned<String>>,
}

impl OpsgenieConfig {
    /// The notifier.
    pub fn build(
        &self,
        place: Place,
        globals: ServiceGlobals<'_>,
        shared: Shared<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<OpsgenieNotifier> {
        let names = ("api_key", "api_key_file");
        let named = Named { names, global: Some("opsgenie_api_key") };
        let own = SecretSetting::of(&self.api_key, &self.api_key_file);
        let key = own.or(globals.key, named, place, diagnostics);
        let api = base_address(self.api_url.as_ref(), globals.url, API, diagnostics);
        let service = Service::build(self.http_config.as_ref(), shared.http, place, diagnostics);
        let responders = self.responders.iter();
        let responders =
            responders.flat_map(|one| one.value.build(one.place, diagnostics)).collect();
        let mut text = |name, written: Option<&Spanned<String>>, default: &str| {
            Text::build(name, written, default, diagnostics)
        };
        let default = |name: &str| format!("{{{{ template \"opsgenie.default.{name}\" . }}}}");
        let message = text("message", self.message.as_ref(), &default("message"));
        let description = text("description", self.description.as_ref(), &default("description"));
        let source = text("source", self.source.as_ref(), &default("source"));
        let entity = text("entity", self.entity.as_ref(), "");
        let actions = text("actions", self.actions.as_ref(), "");
        let tags = text("tags", self.tags.as_ref(), "");
        let note = text("note", self.note.as_ref(), "");
        let priority = text("priority", self.priority.as_ref(), "");
        let details: Vec<_> = self
            .details
            .iter()
            .map(|(name, value)| Some((name.clone(), text("details", Some(value), "")?)))
            .collect();
        Some(OpsgenieNotifier {
            service: service?,
            api,
            key: key?,
            templates: Arc::clone(shared.templates),
            message: message?,
            description: description?,
            source: source?,
            entity: entity?,
            actions: actions?,
            tags: tags?,
            note: note?,
            priority: priority?,
            details: details.into_iter().collect::<Option<_>>()?,
            responders,
            update_alerts: self.update_alerts,
        })
    }
}

impl ResponderConfig {
    /// As the API wants it; `teams` are one for each name.
    fn build(&self, place: Place, diagnostics: &mut Diagnostics) -> Vec<Value> {
        let kind = self.kind.as_ref();
        let id = recipient("id", self.id.as_ref(), diagnostics);
        let name = recipient("name", self.name.as_ref(), diagnostics);
        let username = recipient("username", self.username.as_ref(), diagnostics);
        if id.is_empty() && name.is_empty() && username.is_empty() {
            let message = "a responder has an `id`, a `name` or a `username`";
            diagnostics.report(place, message);
        }
        let written = recipient("type", kind, diagnostics);
        let known = KINDS.into_iter().find(|known| written.eq_ignore_ascii_case(known));
        let Some(known) = known else {
            let message = format!("`{written}` cannot be responsible");
            let help = format!("one of {}", KINDS.join(", "));
            diagnostics.report_with_help(kind.map_or(place, |kind| kind.place), message, help);
            return Vec::new();
        };
        if known == "teams" {
            let names = name.split(',').map(str::trim).filter(|name| !name.is_empty());
            return names.map(|name| json!({"name": name, "type": "team"})).collect();
        }
        let mut responder = Map::new();
        for (field, text) in [("id", &id), ("name", &name), ("username", &username)] {
            if !text.is_empty() {
                responder.insert(field.to_owned(), json!(text));
            }
        }
        responder.insert("type".to_owned(), json!(known));
        vec![Value::Object(responder)]
    }
}
