//! `pushover_configs:` as written.
//!
//! Invariant: the names and defaults are those of Alertmanager.

use std::path::PathBuf;
use std::sync::Arc;

use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::access::HttpConfig;
use base::period::Period;
use base::secret::Secret;
use serde::Deserialize;

use super::super::http::Service;
use super::super::notifier::Shared;
use super::super::paging::{address, recipient};
use super::super::settings::{Named, SecretSetting};
use super::super::texts::Text;
use super::{Markup, PushoverNotifier};

/// Where messages go.
const API: &str = "https://api.pushover.net/1/messages.json";
/// The shortest time between two repetitions, and the longest that they go on, in seconds.
const MIN_RETRY: u64 = 30;
const MAX_EXPIRE: u64 = 10_800;

/// An entry of `pushover_configs`, as written. What is not said otherwise is a template.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PushoverConfig {
    /// Whether endings are sent; by default they are.
    pub send_resolved: Option<Spanned<bool>>,
    /// How we speak HTTP.
    pub http_config: Option<Spanned<HttpConfig>>,
    /// Where messages go; no template. Alertmanager has no such setting.
    pub api_url: Option<Spanned<Secret>>,
    /// The key of a user or a group; no template.
    pub user_key: Option<Spanned<Secret>>,
    /// The file with that key.
    pub user_key_file: Option<PathBuf>,
    /// The token of the application; no template.
    pub token: Option<Spanned<Secret>>,
    /// The file with that token.
    pub token_file: Option<PathBuf>,
    /// The headline.
    pub title: Option<Spanned<String>>,
    /// The text.
    pub message: Option<Spanned<String>>,
    /// A link.
    pub url: Option<Spanned<String>>,
    /// What it says.
    pub url_title: Option<Spanned<String>>,
    /// The devices, with commas between; all of them if there are none. No template.
    pub device: Option<Spanned<String>>,
    /// The sound.
    pub sound: Option<Spanned<String>>,
    /// From -2, silent, to 2, an emergency.
    pub priority: Option<Spanned<String>>,
    /// From one repetition of an emergency to the next; at least 30 s.
    pub retry: Option<Period>,
    /// How long it is repeated; at most 3 h.
    pub expire: Option<Period>,
    /// After which time the message vanishes from the phone.
    pub ttl: Option<Period>,
    /// Whether the text is HTML.
    pub html: Option<Spanned<bool>>,
    /// Whether all letters are equally wide.
    pub monospace: Option<Spanned<bool>>,
}

impl PushoverConfig {
    /// The notifier.
    pub fn build(
        &self,
        place: Place,
        shared: Shared<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<PushoverNotifier> {
        let none = SecretSetting::default();
        let named = Named { names: ("user_key", "user_key_file"), global: None };
        let own = SecretSetting::of(&self.user_key, &self.user_key_file);
        let user = own.or(none, named, place, diagnostics);
        let named = Named { names: ("token", "token_file"), global: None };
        let own = SecretSetting::of(&self.token, &self.token_file);
        let token = own.or(none, named, place, diagnostics);
        let url = address(self.api_url.as_ref(), None, API, diagnostics);
        let service = Service::build(self.http_config.as_ref(), shared.http, place, diagnostics);
        let device = recipient("device", self.device.as_ref(), diagnostics);
        let on = |flag: &Option<Spanned<bool>>| flag.as_ref().is_some_and(|flag| flag.value);
        let markup = match (on(&self.html), on(&self.monospace)) {
            (true, true) => {
                diagnostics.report(place, "only one of `html` and `monospace` can be given");
                return None;
            }
            (true, false) => Markup::Html,
            (false, true) => Markup::Monospace,
            (false, false) => Markup::None,
        };
        let mut text = |name, written: &Option<Spanned<String>>, default: &str| {
            Text::build(name, written.as_ref(), default, diagnostics)
        };
        let default = |name: &str| format!("{{{{ template \"pushover.default.{name}\" . }}}}");
        let title = text("title", &self.title, &default("title"));
        let message = text("message", &self.message, &default("message"));
        let link = text("url", &self.url, &default("url"));
        let link_title = text("url_title", &self.url_title, "");
        let urgency = "{{ if eq .Status \"firing\" }}2{{ else }}0{{ end }}";
        let priority = text("priority", &self.priority, urgency);
        let sound = text("sound", &self.sound, "");
        let seconds = |period: Option<Period>, default| {
            period.map_or(default, |period| period.duration().as_secs())
        };
        Some(PushoverNotifier {
            service: service?,
            url,
            token: token?,
            user: user?,
            templates: Arc::clone(shared.templates),
            title: title?,
            message: message?,
            link: link?,
            link_title: link_title?,
            priority: priority?,
            sound: sound?,
            device,
            retry: seconds(self.retry, 60).max(MIN_RETRY),
            expire: seconds(self.expire, 3600).min(MAX_EXPIRE),
            ttl: seconds(self.ttl, 0),
            markup,
        })
    }
}
