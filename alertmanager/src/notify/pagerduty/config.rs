//! `pagerduty_configs:` as written.
//!
//! Invariant: the names and defaults are those of Alertmanager.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::access::{HttpConfig, SecretSource};
use base::period::Period;
use base::secret::Secret;
use serde::Deserialize;

use super::super::http::Service;
use super::super::notifier::Shared;
use super::super::paging::{ServiceGlobals, address};
use super::super::payload::PayloadConfig;
use super::super::texts::Text;
use super::{Key, PagerdutyNotifier};

/// Where events of version 2 go, and those of version 1.
const EVENTS_V2: &str = "https://events.pagerduty.com/v2/enqueue";
const EVENTS_V1: &str = "https://events.pagerduty.com/generic/2010-04-15/create_event.json";

/// The details that an event has where none of these names are given.
const DETAILS: [(&str, &str); 4] = [
    ("firing", "{{ .Alerts.Firing | toJson }}"),
    ("resolved", "{{ .Alerts.Resolved | toJson }}"),
    ("num_firing", "{{ .Alerts.Firing | len }}"),
    ("num_resolved", "{{ .Alerts.Resolved | len }}"),
];

/// An entry of `pagerduty_configs`, as written. What is not said otherwise is a template.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PagerdutyConfig {
    /// Whether endings are sent; by default they are.
    pub send_resolved: Option<Spanned<bool>>,
    /// How we speak HTTP.
    pub http_config: Option<Spanned<HttpConfig>>,
    /// The key of an integration of the events API, version 2; no template.
    pub routing_key: Option<Spanned<Secret>>,
    /// The file with that key.
    pub routing_key_file: Option<PathBuf>,
    /// The key of a generic integration, for which version 1 is spoken; no template.
    pub service_key: Option<Spanned<Secret>>,
    /// The file with that key.
    pub service_key_file: Option<PathBuf>,
    /// Where events go; no template.
    pub url: Option<Spanned<Secret>>,
    /// What PagerDuty says that the event is from.
    pub client: Option<Spanned<String>>,
    /// Where that leads.
    pub client_url: Option<Spanned<String>>,
    /// The summary.
    pub description: Option<Spanned<String>>,
    /// Texts, or structures of them, by name.
    pub details: BTreeMap<String, Spanned<PayloadConfig>>,
    /// Pictures.
    pub images: Vec<PagerdutyImage>,
    /// Links.
    pub links: Vec<PagerdutyLink>,
    /// What is affected; the client where it is not said.
    pub source: Option<Spanned<String>>,
    /// `critical`, `error`, `warning` or `info`.
    pub severity: Option<Spanned<String>>,
    /// The kind of event.
    pub class: Option<Spanned<String>>,
    /// What part of the source it is.
    pub component: Option<Spanned<String>>,
    /// What the source belongs to.
    pub group: Option<Spanned<String>>,
    /// The longest that it may take; 0 is the lane's limit.
    pub timeout: Option<Period>,
}

/// A picture, as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PagerdutyImage {
    /// Where it is; `https` only.
    pub src: Option<Spanned<String>>,
    /// What stands in its place.
    pub alt: Option<Spanned<String>>,
    /// Where it leads.
    pub href: Option<Spanned<String>>,
}

/// A link, as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PagerdutyLink {
    /// Where it leads.
    pub href: Option<Spanned<String>>,
    /// What it says.
    pub text: Option<Spanned<String>>,
}

impl PagerdutyConfig {
    /// The notifier.
    pub fn build(
        &self,
        place: Place,
        globals: ServiceGlobals<'_>,
        shared: Shared<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<PagerdutyNotifier> {
        let key = self.key(place, diagnostics);
        // The address under `global:` is one of version 2.
        let url = match key {
            Some(Key::Service(_)) => address(self.url.as_ref(), None, EVENTS_V1, diagnostics),
            _ => address(self.url.as_ref(), globals.url, EVENTS_V2, diagnostics),
        };
        let service = Service::build(self.http_config.as_ref(), shared.http, place, diagnostics);
        let mut details: BTreeMap<String, _> = DETAILS
            .into_iter()
            .map(|(name, text)| {
                let value = PayloadConfig::Text(text.to_owned());
                (name.to_owned(), Spanned { value, place })
            })
            .collect();
        details.extend(self.details.clone());
        let details: Vec<_> = details
            .into_iter()
            .map(|(name, value)| {
                Some((name, value.value.build("details", value.place, diagnostics)?))
            })
            .collect();
        let mut text = |name, written: &Option<Spanned<String>>, default: &str| {
            Text::build(name, written.as_ref(), default, diagnostics)
        };
        let images: Vec<_> = self
            .images
            .iter()
            .map(|image| {
                let [src, alt, href] =
                    [&image.src, &image.alt, &image.href].map(|part| text("images", part, ""));
                Some([src?, alt?, href?])
            })
            .collect();
        let links: Vec<_> = self
            .links
            .iter()
            .map(|link| {
                let [href, label] = [&link.href, &link.text].map(|part| text("links", part, ""));
                Some([href?, label?])
            })
            .collect();
        let client_default = "{{ template \"pagerduty.default.client\" . }}";
        let client = text("client", &self.client, client_default);
        let client_url = text(
            "client_url",
            &self.client_url,
            "{{ template \"pagerduty.default.clientURL\" . }}",
        );
        let description = text(
            "description",
            &self.description,
            "{{ template \"pagerduty.default.description\" . }}",
        );
        let source = match self.source {
            Some(_) => text("source", &self.source, ""),
            None => client.clone(),
        };
        let severity = text("severity", &self.severity, "error");
        let class = text("class", &self.class, "");
        let component = text("component", &self.component, "");
        let group = text("group", &self.group, "");
        Some(PagerdutyNotifier {
            service: service?,
            url,
            key: key?,
            templates: Arc::clone(shared.templates),
            description: description?,
            client: client?,
            client_url: client_url?,
            source: source?,
            severity: severity?,
            class: class?,
            component: component?,
            group: group?,
            details: details.into_iter().collect::<Option<_>>()?,
            images: images.into_iter().collect::<Option<_>>()?,
            links: links.into_iter().collect::<Option<_>>()?,
            timeout: self.timeout.filter(|t| !t.is_zero()).map(Period::duration),
        })
    }

    /// The service's key where there is one, as in Alertmanager, else that for routing.
    fn key(&self, place: Place, diagnostics: &mut Diagnostics) -> Option<Key> {
        let given = |key: &Option<Spanned<Secret>>| {
            key.as_ref().map(|key| key.value.clone()).filter(|key| !key.is_empty())
        };
        let faults = diagnostics.faults().len();
        let names = ("service_key", "service_key_file");
        let file = self.service_key_file.clone();
        let service =
            SecretSource::one_of(given(&self.service_key), file, names, place, diagnostics);
        let names = ("routing_key", "routing_key_file");
        let file = self.routing_key_file.clone();
        let routing =
            SecretSource::one_of(given(&self.routing_key), file, names, place, diagnostics);
        let key = service.map(Key::Service).or(routing.map(Key::Routing));
        if key.is_none() && diagnostics.faults().len() == faults {
            let help = "set `routing_key` or `routing_key_file`";
            diagnostics.report_with_help(place, "`routing_key` is missing", help);
        }
        key
    }
}
