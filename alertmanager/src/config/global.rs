//! `global:` what holds for everything that does not say otherwise.
//!
//! Invariant: the names are those of Prometheus and Alertmanager; each stage and service is given
//! its own part only.

use std::collections::BTreeMap;
use std::path::PathBuf;

use base::diagnostic::{Diagnostics, Spanned};
use base::http::access::HttpConfig;
use base::http::tls::TlsConfig;
use base::period::Period;
use base::secret::Secret;
use serde::Deserialize;

use crate::notify::{EmailGlobals, ServiceGlobals, SlackGlobals};

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
    pub(super) pagerduty_url: Option<Spanned<Secret>>,
    pub(super) opsgenie_api_url: Option<Spanned<Secret>>,
    pub(super) opsgenie_api_key: Option<Spanned<Secret>>,
    pub(super) opsgenie_api_key_file: Option<PathBuf>,
    pub(super) victorops_api_url: Option<Spanned<Secret>>,
    pub(super) victorops_api_key: Option<Spanned<Secret>>,
    pub(super) victorops_api_key_file: Option<PathBuf>,
    pub(super) wechat_api_url: Option<Spanned<Secret>>,
    pub(super) wechat_api_secret: Option<Spanned<Secret>>,
    pub(super) wechat_api_secret_file: Option<PathBuf>,
    pub(super) wechat_api_corp_id: Option<Spanned<String>>,
    pub(super) jira_api_url: Option<Spanned<Secret>>,
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

    /// What PagerDuty is told by.
    pub(super) fn pagerduty(&self) -> ServiceGlobals<'_> {
        ServiceGlobals { url: self.pagerduty_url.as_ref(), ..ServiceGlobals::default() }
    }

    /// What Opsgenie is told by.
    pub(super) fn opsgenie(&self) -> ServiceGlobals<'_> {
        ServiceGlobals {
            url: self.opsgenie_api_url.as_ref(),
            key: self.opsgenie_api_key.as_ref(),
            key_file: self.opsgenie_api_key_file.as_ref(),
        }
    }

    /// What VictorOps is told by.
    pub(super) fn victorops(&self) -> ServiceGlobals<'_> {
        ServiceGlobals {
            url: self.victorops_api_url.as_ref(),
            key: self.victorops_api_key.as_ref(),
            key_file: self.victorops_api_key_file.as_ref(),
        }
    }

    /// What WeCom is told by, and the company.
    pub(super) fn wechat(&self) -> (ServiceGlobals<'_>, Option<&Spanned<String>>) {
        let service = ServiceGlobals {
            url: self.wechat_api_url.as_ref(),
            key: self.wechat_api_secret.as_ref(),
            key_file: self.wechat_api_secret_file.as_ref(),
        };
        (service, self.wechat_api_corp_id.as_ref())
    }

    /// Where Jira is.
    pub(super) fn jira(&self) -> ServiceGlobals<'_> {
        ServiceGlobals { url: self.jira_api_url.as_ref(), ..ServiceGlobals::default() }
    }

    /// Reports what is given twice, as a text and as a file.
    pub(super) fn check(&self, diagnostics: &mut Diagnostics) {
        let pairs = [
            ("opsgenie_api_key", &self.opsgenie_api_key, &self.opsgenie_api_key_file),
            ("victorops_api_key", &self.victorops_api_key, &self.victorops_api_key_file),
            ("wechat_api_secret", &self.wechat_api_secret, &self.wechat_api_secret_file),
        ];
        for (name, value, file) in pairs {
            let given = value.as_ref().filter(|value| !value.value.is_empty());
            if let (Some(value), Some(_)) = (given, file) {
                let message = format!("only one of `{name}` and `{name}_file` can be given");
                diagnostics.report(value, message);
            }
        }
    }
}
