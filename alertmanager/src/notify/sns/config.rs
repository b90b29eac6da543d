//! `sns_configs:` as written.
//!
//! Invariant: the names and defaults are those of Alertmanager; where a message goes comes from the
//! configuration alone (X18).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::access::{HttpConfig, SecretSource};
use base::secret::Secret;
use serde::Deserialize;

use super::super::http::{Service, check_url};
use super::super::notifier::Shared;
use super::super::paging::recipient;
use super::super::texts::Text;
use super::credentials::{CredentialsSource, Role};
use super::{Destination, SnsNotifier};
use crate::aws::Keys;

/// An entry of `sns_configs`, as written. What is not said otherwise is a template.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SnsConfig {
    /// Whether endings are sent; by default they are.
    pub send_resolved: Option<Spanned<bool>>,
    /// How we speak HTTP.
    pub http_config: Option<Spanned<HttpConfig>>,
    /// Where SNS is, where it is not Amazon's in the region; no template.
    pub api_url: Option<Spanned<Secret>>,
    /// Who we are.
    pub sigv4: Spanned<Sigv4Config>,
    /// A topic; no template.
    pub topic_arn: Option<Spanned<String>>,
    /// A phone; no template.
    pub phone_number: Option<Spanned<String>>,
    /// A mobile endpoint; no template.
    pub target_arn: Option<Spanned<String>>,
    /// The subject, where it becomes a mail.
    pub subject: Option<Spanned<String>>,
    /// The text.
    pub message: Option<Spanned<String>>,
    /// Attributes by name; names are templates, too.
    pub attributes: BTreeMap<Spanned<String>, Spanned<String>>,
    /// Which of its clients Alertmanager uses; taken, because it changes nothing here.
    pub use_aws_http_client: Option<bool>,
}

/// Who we are to Amazon, as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sigv4Config {
    /// The region.
    pub region: Option<String>,
    /// The name of a key.
    pub access_key: Option<String>,
    /// The key.
    pub secret_key: Option<Secret>,
    /// The file with the key. Alertmanager has no such setting.
    pub secret_key_file: Option<PathBuf>,
    /// A profile of the shared credentials file, in place of a key.
    pub profile: Option<String>,
    /// A role to take on.
    pub role_arn: Option<String>,
    /// What the role may ask of whoever takes it on.
    pub external_id: Option<String>,
    /// Where roles are given. Alertmanager has no such setting.
    pub sts_url: Option<Spanned<Secret>>,
    /// Whether roles are asked for where the rules of FIPS are kept.
    pub use_fips_sts_endpoint: bool,
}

impl SnsConfig {
    /// The notifier.
    pub fn build(
        &self,
        place: Place,
        shared: Shared<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<SnsNotifier> {
        for url in self.api_url.iter().chain(&self.sigv4.value.sts_url) {
            check_url(url, diagnostics);
        }
        let service = Service::build(self.http_config.as_ref(), shared.http, place, diagnostics);
        let to = self.destination(place, diagnostics);
        let credentials = self.sigv4.value.build(self.sigv4.place, diagnostics);
        let mut text = |name, written: Option<&Spanned<String>>, default: &str| {
            Text::build(name, written, default, diagnostics)
        };
        let subject =
            text("subject", self.subject.as_ref(), "{{ template \"sns.default.subject\" . }}");
        let message =
            text("message", self.message.as_ref(), "{{ template \"sns.default.message\" . }}");
        let attributes: Vec<_> = self
            .attributes
            .iter()
            .map(|(name, value)| {
                text("attributes", Some(name), "").zip(text("attributes", Some(value), ""))
            })
            .collect();
        Some(SnsNotifier {
            service: service?,
            url: self.api_url.as_ref().map(|url| url.value.clone()),
            region: self.sigv4.value.region.clone().filter(|region| !region.is_empty()),
            credentials: credentials?,
            to: to?,
            templates: Arc::clone(shared.templates),
            subject: subject?,
            message: message?,
            attributes: attributes.into_iter().collect::<Option<_>>()?,
        })
    }

    fn destination(&self, place: Place, diagnostics: &mut Diagnostics) -> Option<Destination> {
        let mut given = |name, written: &Option<Spanned<String>>| {
            Some(recipient(name, written.as_ref(), diagnostics)).filter(|text| !text.is_empty())
        };
        let topic = given("topic_arn", &self.topic_arn);
        let phone = given("phone_number", &self.phone_number);
        let target = given("target_arn", &self.target_arn);
        match (topic, phone, target) {
            (Some(topic), None, None) => Some(Destination::Topic(topic)),
            (None, Some(phone), None) => Some(Destination::Phone(phone)),
            (None, None, Some(target)) => Some(Destination::Target(target)),
            _ => {
                let message = "there is not one place to publish to";
                let help = "set one of `topic_arn`, `phone_number` and `target_arn`";
                diagnostics.report_with_help(place, message, help);
                None
            }
        }
    }
}

impl Sigv4Config {
    fn build(&self, place: Place, diagnostics: &mut Diagnostics) -> Option<CredentialsSource> {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let secret = self.secret_key.clone().filter(|key| !key.is_empty());
        let names = ("secret_key", "secret_key_file");
        let file = self.secret_key_file.clone();
        let secret_key = SecretSource::one_of(secret, file, names, place, diagnostics);
        let keys = match (given(&self.access_key), secret_key, given(&self.profile)) {
            (Some(access_key), Some(secret_key), _) => Keys::Given { access_key, secret_key },
            (None, None, Some(profile)) => Keys::Profile(profile),
            (None, None, None) => Keys::Ambient,
            _ => {
                diagnostics.report(place, "`access_key` and `secret_key` belong together");
                return None;
            }
        };
        let (arn, external_id) = (given(&self.role_arn), given(&self.external_id));
        if arn.is_none() && external_id.is_some() {
            diagnostics.report(place, "`external_id` is for a role: `role_arn` is missing");
        }
        let url = self.sts_url.as_ref().map(|url| url.value.clone());
        let external_id = external_id.unwrap_or_default();
        let fips = self.use_fips_sts_endpoint;
        let role = arn.map(|arn| Role { arn, external_id, url, fips });
        Some(CredentialsSource { keys, role })
    }
}
