//! The ways of discovery that Prometheus has and we have not: their settings are read, so that what
//! is wrong with them is told, and so is that nothing is found by them.
//!
//! Source: the configuration reference of Prometheus.
//!
//! Invariant: none of them is taken in silence.

use std::collections::BTreeMap;

use base::diagnostic::{Diagnostics, Place, Spanned, nearest};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// Settings of a way that we have not, as written.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct ForeignSdConfig(BTreeMap<Spanned<String>, IgnoredAny>);

/// What a fault says of a way that we have not, after its name.
const UNKNOWN: &str = "is read, and nothing is discovered by it";

/// Settings that most of them have, for HTTP.
const HTTP: &[&str] = &[
    "basic_auth",
    "authorization",
    "oauth2",
    "bearer_token",
    "bearer_token_file",
    "tls_config",
    "follow_redirects",
    "proxy_url",
    "no_proxy",
    "proxy_from_environment",
    "proxy_connect_header",
    "http_headers",
    "enable_http2",
    "refresh_interval",
    "port",
];

/// The settings of each beside those for HTTP; `!` stands before what it must have.
const KINDS: &[(&str, &str)] = &[
    (
        "azure",
        "environment !subscription_id tenant_id client_id client_secret authentication_method \
         resource_group",
    ),
    ("digitalocean", ""),
    ("dockerswarm", "!host !role filters"),
    ("eureka", "!server"),
    ("gce", "!project !zone filter tag_separator"),
    ("hetzner", "!role label_selector"),
    ("ionos", "!datacenter_id"),
    ("kuma", "!server client_id fetch_timeout"),
    ("lightsail", "region access_key secret_key profile role_arn external_id endpoint"),
    ("linode", "region tag_separator"),
    ("marathon", "!servers auth_token auth_token_file"),
    ("nerve", "!servers !paths timeout"),
    ("nomad", "allow_stale namespace region server tag_separator"),
    (
        "oci",
        "region tenancy user fingerprint key_file key_passphrase compartments \
         authentication_method",
    ),
    ("outscale", "region access_key secret_key secret_key_file endpoint"),
    ("ovhcloud", "application_key application_secret consumer_key !service endpoint"),
    ("puppetdb", "!url !query include_parameters"),
    (
        "scaleway",
        "!project_id !role access_key secret_key secret_key_file api_url zone name_filter \
         tags_filter",
    ),
    ("serverset", "!servers !paths timeout"),
    (
        "stackit",
        "!project region service_account_key service_account_key_path private_key \
         private_key_path credentials_file_path endpoint",
    ),
    ("triton", "!account role !dns_suffix !endpoint groups version"),
    ("uyuni", "!server !username !password entitlement separator"),
    ("vultr", "region instance_filter"),
];

impl ForeignSdConfig {
    /// Reports that nothing is discovered by `kind`, and what is wrong with its settings.
    pub fn report(&self, kind: &str, place: Place, diagnostics: &mut Diagnostics) {
        let own = KINDS.iter().find(|(name, _)| *name == kind).map_or("", |(_, own)| own);
        let own: Vec<&str> = own.split_whitespace().collect();
        let known =
            || own.iter().map(|name| name.trim_start_matches('!')).chain(HTTP.iter().copied());
        for name in self.0.keys() {
            if !known().any(|known| known == name.value) {
                let message = format!("unknown setting `{}`", name.value);
                match nearest(&name.value, known()) {
                    Some(near) => {
                        let help = format!("did you mean `{near}`?");
                        diagnostics.report_with_help(name, message, help);
                    }
                    None => diagnostics.report(name, message),
                }
            }
        }
        for name in own.iter().filter_map(|name| name.strip_prefix('!')) {
            if !self.0.keys().any(|given| given.value == name) {
                diagnostics.report(place, format!("`{name}` is missing"));
            }
        }
        diagnostics.report_with_help(
            place,
            format!("`{kind}_sd_configs` {UNKNOWN}"),
            "take the section out, or have its targets written for `file_sd_configs` or \
             `http_sd_configs`",
        );
    }
}

/// Whether a fault says that a way of discovery is one that we have not, and nothing else.
pub fn is_foreign(fault: &base::diagnostic::Fault) -> bool {
    fault.message().ends_with(UNKNOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_told_beside_that_nothing_is_found() {
        let mut diagnostics = Diagnostics::new("f.yml");
        let config: Spanned<ForeignSdConfig> =
            base::yaml::read("{severs: [x], port: 1}", &mut diagnostics).unwrap();
        config.value.report("marathon", config.place, &mut diagnostics);
        let told: Vec<_> = diagnostics.faults().iter().map(|f| f.message().to_owned()).collect();
        let expected = [
            "`marathon_sd_configs` is read, and nothing is discovered by it",
            "`servers` is missing",
            "unknown setting `severs`",
        ];
        let mut sorted = told.clone();
        sorted.sort();
        assert_eq!(sorted, expected);
        assert_eq!(diagnostics.faults().iter().filter(|fault| is_foreign(fault)).count(), 1);
    }
}
