//! `global:` what holds for everything that does not say otherwise.
//!
//! Invariant: the names are those of Prometheus and Alertmanager; each stage and service is given
//! its own part only.

use std::collections::BTreeMap;
use std::path::PathBuf;

use base::diagnostic::Spanned;
use base::http::access::HttpConfig;
use base::http::tls::TlsConfig;
use base::period::Period;
use base::secret::Secret;
use serde::Deserialize;

use crate::notify::{EmailGlobals, SlackGlobals};

/// What holds for everything that does not say otherwise, as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct GlobalConfig {
    pub(super) scrape_interval: Option<Spanned<Period>>,
    pub(super) scrape_timeout: Option<Spanned<Period>>,
    pub(super) evaluation_interval: Option<Spanned<Period>>,
    pub(super) rule_query_offset: Option<Period>,
    pub(super) external_labels: BTreeMap<Spanned<String>, String>,
    /// Alerts that are pushed without an end last for it; ours end when their data say so.
    pub(super) resolve_timeout: Option<Period>,
    pub(super) http_config: HttpConfig,
    pub(super) smtp_from: Option<Spanned<String>>,
    pub(super) smtp_smarthost: Option<Spanned<String>>,
    pub(super) smtp_hello: Option<Spanned<String>>,
    pub(super) smtp_auth_username: Option<String>,
    pub(super) smtp_auth_password: Option<Secret>,
    pub(super) smtp_auth_password_file: Option<PathBuf>,
    pub(super) smtp_require_tls: Option<bool>,
    pub(super) smtp_tls_config: Option<Spanned<TlsConfig>>,
    pub(super) slack_api_url: Option<Spanned<Secret>>,
    pub(super) slack_api_url_file: Option<PathBuf>,
}

impl GlobalConfig {
    /// What mails are sent by.
    pub(super) fn email(&self) -> EmailGlobals {
        EmailGlobals {
            from: self.smtp_from.clone(),
            smarthost: self.smtp_smarthost.clone(),
            hello: self.smtp_hello.clone(),
            auth_username: self.smtp_auth_username.clone(),
            auth_password: self.smtp_auth_password.clone(),
            auth_password_file: self.smtp_auth_password_file.clone(),
            require_tls: self.smtp_require_tls,
            tls_config: self.smtp_tls_config.clone(),
        }
    }

    /// What chat by Slack's webhooks is sent by.
    pub(super) fn slack(&self) -> SlackGlobals<'_> {
        SlackGlobals {
            api_url: self.slack_api_url.as_ref(),
            api_url_file: self.slack_api_url_file.as_ref(),
        }
    }
}
