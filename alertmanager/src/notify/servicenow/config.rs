//! `servicenow_configs:` as written.
//!
//! Invariant: what is not given is ServiceNow's own default.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::access::HttpConfig;
use base::http::percent_encoded;
use base::secret::Secret;
use serde::Deserialize;

use super::super::http::Service;
use super::super::notifier::Shared;
use super::super::paging::base_address;
use super::super::payload::PayloadConfig;
use super::super::texts::Text;
use super::{RESOLVED, ServicenowNotifier};

/// The state of an incident that somebody works on.
const IN_PROGRESS: &str = "2";

/// An entry of `servicenow_configs`, as written. What is not said otherwise is a template.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServicenowConfig {
    /// Whether endings are told; by default they are.
    pub send_resolved: Option<Spanned<bool>>,
    /// How we speak HTTP, and who we are to ServiceNow.
    pub http_config: Option<Spanned<HttpConfig>>,
    /// The instance: `https://company.service-now.com`; no template.
    pub api_url: Option<Spanned<Secret>>,
    /// The table; `incident` by default. No template.
    pub table: Option<Spanned<String>>,
    /// The headline.
    pub short_description: Option<Spanned<String>>,
    /// The text.
    pub description: Option<Spanned<String>>,
    /// A note on every change.
    pub work_notes: Option<Spanned<String>>,
    /// From 1, high, to 3, low.
    pub urgency: Option<Spanned<String>>,
    /// From 1, high, to 3, low.
    pub impact: Option<Spanned<String>>,
    /// Why an incident is resolved; no template.
    pub close_code: Option<String>,
    /// What is noted then.
    pub close_notes: Option<Spanned<String>>,
    /// The state of an incident that is over; no template.
    pub resolved_state: Option<String>,
    /// The state of an incident that is back; no template.
    pub reopened_state: Option<String>,
    /// Further fields of a new incident by name.
    pub fields: BTreeMap<String, Spanned<PayloadConfig>>,
}

impl ServicenowConfig {
    /// The notifier.
    pub fn build(
        &self,
        place: Place,
        shared: Shared<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<ServicenowNotifier> {
        if self.api_url.is_none() {
            let help = "set it like `https://company.service-now.com`";
            diagnostics.report_with_help(place, "`api_url` is missing", help);
        }
        let api = base_address(self.api_url.as_ref(), None, "", diagnostics);
        let service = Service::build(self.http_config.as_ref(), shared.http, place, diagnostics);
        let table = self.table.as_ref().map_or("incident", |table| table.value.as_str());
        let fields: Vec<_> = self
            .fields
            .iter()
            .map(|(name, value)| {
                Some((name.clone(), value.value.build("fields", value.place, diagnostics)?))
            })
            .collect();
        let mut text = |name, written: &Option<Spanned<String>>, default: &str| {
            Text::build(name, written.as_ref(), default, diagnostics)
        };
        let title = "{{ template \"veilleur.default.title\" . }}";
        let told = "{{ template \"veilleur.default.text\" . }}";
        let short_description = text("short_description", &self.short_description, title);
        let description = text("description", &self.description, told);
        let work_notes = text("work_notes", &self.work_notes, told);
        let urgency = text("urgency", &self.urgency, "");
        let impact = text("impact", &self.impact, "");
        let close_notes = text("close_notes", &self.close_notes, title);
        let given = |text: &Option<String>, default: &str| {
            text.clone().unwrap_or_else(|| default.to_owned())
        };
        Some(ServicenowNotifier {
            service: service?,
            table: format!("{}api/now/table/{}", api.expose(), percent_encoded(table)),
            templates: Arc::clone(shared.templates),
            short_description: short_description?,
            description: description?,
            work_notes: work_notes?,
            urgency: urgency?,
            impact: impact?,
            close_code: given(&self.close_code, "Solved (Permanently)"),
            close_notes: close_notes?,
            resolved_state: given(&self.resolved_state, RESOLVED),
            reopened_state: given(&self.reopened_state, IN_PROGRESS),
            fields: fields.into_iter().collect::<Option<_>>()?,
        })
    }
}
