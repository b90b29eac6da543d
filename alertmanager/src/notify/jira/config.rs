//! `jira_configs:` as written.
//!
//! Invariant: the names and defaults are those of Alertmanager.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::Uri;
use base::http::access::HttpConfig;
use base::period::Period;
use base::secret::Secret;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};

use super::super::http::Service;
use super::super::notifier::Shared;
use super::super::paging::{ServiceGlobals, base_address};
use super::super::payload::PayloadConfig;
use super::super::texts::Text;
use super::{Field, JiraNotifier};

/// An entry of `jira_configs`, as written. What is not said otherwise is a template.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JiraConfig {
    /// Whether endings are told; by default they are.
    pub send_resolved: Option<Spanned<bool>>,
    /// How we speak HTTP, and who we are to Jira.
    pub http_config: Option<Spanned<HttpConfig>>,
    /// The address of the API with its version; no template.
    pub api_url: Option<Spanned<Secret>>,
    /// `auto`, `cloud` or `datacenter`: how issues are searched.
    pub api_type: Option<Spanned<String>>,
    /// The project's key.
    pub project: Option<Spanned<String>>,
    /// The type of issues.
    pub issue_type: Option<Spanned<String>>,
    /// The headline.
    pub summary: Spanned<JiraField>,
    /// The text.
    pub description: Spanned<JiraField>,
    /// A comment on every change. Alertmanager has no such setting.
    pub comment: Option<Spanned<String>>,
    /// Further labels.
    pub labels: Vec<Spanned<String>>,
    /// The priority.
    pub priority: Option<Spanned<String>>,
    /// The transition that opens an issue again; no template.
    pub reopen_transition: Option<String>,
    /// The transition that resolves an issue; no template.
    pub resolve_transition: Option<String>,
    /// The resolution of issues that are left alone; no template.
    pub wont_fix_resolution: Option<String>,
    /// For how long after its end an issue is opened again.
    pub reopen_duration: Option<Period>,
    /// Further fields by name.
    pub fields: BTreeMap<String, Spanned<PayloadConfig>>,
}

/// A text of an issue, as written: a template, or one with a word on updates.
#[derive(Clone, Debug, Default)]
pub struct JiraField {
    /// The text.
    pub template: Option<String>,
    /// Whether the text of an open issue is replaced; by default it is.
    pub enable_update: Option<bool>,
}

impl JiraConfig {
    /// The notifier.
    pub fn build(
        &self,
        place: Place,
        globals: ServiceGlobals<'_>,
        shared: Shared<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<JiraNotifier> {
        if self.api_url.is_none() && globals.url.is_none() {
            let help = "set it here like `https://company.atlassian.net/rest/api/2/`, or \
                        `jira_api_url` under `global:`";
            diagnostics.report_with_help(place, "`api_url` is missing", help);
        }
        let api = base_address(self.api_url.as_ref(), globals.url, "", diagnostics);
        for (name, setting) in [("project", &self.project), ("issue_type", &self.issue_type)] {
            if setting.as_ref().is_none_or(|setting| setting.value.is_empty()) {
                diagnostics.report(place, format!("`{name}` is missing"));
            }
        }
        let search = self.search(&api, diagnostics);
        let service = Service::build(self.http_config.as_ref(), shared.http, place, diagnostics);
        let fields: Vec<_> = self
            .fields
            .iter()
            .map(|(name, value)| {
                Some((name.clone(), value.value.build("fields", value.place, diagnostics)?))
            })
            .collect();
        let mut text = |name, written: Option<&Spanned<String>>, default: &str| {
            Text::build(name, written, default, diagnostics)
        };
        let default = |name: &str| format!("{{{{ template \"jira.default.{name}\" . }}}}");
        let mut field = |name, written: &Spanned<JiraField>| {
            let place = written.place;
            let template = written.value.template.clone();
            let template = template.map(|value| Spanned { value, place });
            let text = text(name, template.as_ref(), &default(name))?;
            Some(Field { text, update: written.value.enable_update.unwrap_or(true) })
        };
        let summary = field("summary", &self.summary);
        let description = field("description", &self.description);
        let project = text("project", self.project.as_ref(), "");
        let issue_type = text("issue_type", self.issue_type.as_ref(), "");
        let priority = text("priority", self.priority.as_ref(), &default("priority"));
        let comment = text("comment", self.comment.as_ref(), "");
        let labels: Vec<_> =
            self.labels.iter().map(|label| text("labels", Some(label), "")).collect();
        Some(JiraNotifier {
            service: service?,
            documents: version(&api) == Some("3"),
            api,
            search,
            templates: Arc::clone(shared.templates),
            project: project?,
            issue_type: issue_type?,
            summary: summary?,
            description: description?,
            comment: comment?,
            labels: labels.into_iter().collect::<Option<_>>()?,
            priority: priority?,
            fields: fields.into_iter().collect::<Option<_>>()?,
            reopen_transition: self.reopen_transition.clone().unwrap_or_default(),
            resolve_transition: self.resolve_transition.clone().unwrap_or_default(),
            wont_fix_resolution: self.wont_fix_resolution.clone().unwrap_or_default(),
            reopen_duration: self.reopen_duration.unwrap_or_default(),
        })
    }

    /// Where issues are searched. In Atlassian's cloud that is a place of version 3, whatever
    /// version the rest is of; the others have only the older one.
    fn search(&self, api: &Secret, diagnostics: &mut Diagnostics) -> Secret {
        let uri = api.expose().parse::<Uri>().ok();
        let host = uri.as_ref().and_then(Uri::host).unwrap_or_default();
        let written = self.api_type.as_ref().map(|kind| (kind, kind.value.as_str()));
        let cloud = match written {
            None | Some((_, "auto")) => host.ends_with("atlassian.net"),
            Some((_, "cloud")) => true,
            Some((_, "datacenter")) => false,
            Some((kind, other)) => {
                let message = format!("there is no `api_type` `{other}`");
                diagnostics.report_with_help(kind, message, "`auto`, `cloud` or `datacenter`");
                false
            }
        };
        Secret::new(match cloud {
            true => {
                format!("{}search/jql", api.expose().replacen("/rest/api/2/", "/rest/api/3/", 1))
            }
            false => format!("{}search", api.expose()),
        })
    }
}

/// The last part of the API's path, which is its version.
fn version(api: &Secret) -> Option<&str> {
    api.expose().trim_end_matches('/').rsplit('/').next()
}

impl<'de> Deserialize<'de> for JiraField {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        struct Whole {
            template: Option<String>,
            enable_update: Option<bool>,
        }

        struct Written;

        impl<'de> Visitor<'de> for Written {
            type Value = JiraField;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a template, or `template` and `enable_update`")
            }

            fn visit_str<E>(self, text: &str) -> Result<JiraField, E> {
                Ok(JiraField { template: Some(text.to_owned()), enable_update: None })
            }

            fn visit_unit<E>(self) -> Result<JiraField, E> {
                Ok(JiraField::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<JiraField, A::Error> {
                let Whole { template, enable_update } =
                    Whole::deserialize(MapAccessDeserializer::new(map))?;
                Ok(JiraField { template, enable_update })
            }
        }

        deserializer.deserialize_any(Written)
    }
}
