//! `global:` what holds for everything that does not say otherwise.
//!
//! Invariant: the names are those of Prometheus and Alertmanager; each stage and service is given
//! its own part only.

use std::collections::BTreeMap;
use std::path::PathBuf;

use base::diagnostic::{Diagnostics, Spanned};
use base::http::access::HttpConfig;
use base::http::tls::TlsConfig;
use base::labels::Labels;
use base::period::Period;
use base::secret::Secret;
use serde::Deserialize;

use super::Reading;
use crate::notify::{
    EmailGlobals, RocketchatGlobals, SecretSetting, ServiceGlobals, SlackGlobals, TelegramGlobals,
    check_hidden_url, check_server, check_url,
};
use crate::rules::OnMissing;
use crate::scrape::{GlobalScrape, size_of};

/// Where Slack takes messages with the token of an app.
const SLACK_APP_URL: &str = "https://slack.com/api/chat.postMessage";

/// What holds for everything that does not say otherwise, as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct GlobalConfig {
    pub(super) scrape_interval: Option<Spanned<Period>>,
    pub(super) scrape_timeout: Option<Spanned<Period>>,
    pub(super) evaluation_interval: Option<Spanned<Period>>,
    pub(super) rule_query_offset: Option<Period>,
    /// What becomes of alerts whose data are missing, where their rules do not say so.
    pub(super) on_missing: Option<OnMissing>,
    pub(super) scrape_protocols: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) body_size_limit: Option<Spanned<String>>,
    pub(super) sample_limit: usize,
    pub(super) target_limit: usize,
    pub(super) label_limit: usize,
    pub(super) label_name_length_limit: usize,
    pub(super) label_value_length_limit: usize,
    pub(super) keep_dropped_targets: usize,
    pub(super) metric_name_validation_scheme: Option<Spanned<String>>,
    pub(super) metric_name_escaping_scheme: Option<Spanned<String>>,
    pub(super) scrape_native_histograms: bool,
    pub(super) always_scrape_classic_histograms: bool,
    pub(super) convert_classic_histograms_to_nhcb: bool,
    pub(super) extra_scrape_metrics: bool,
    /// Where Prometheus writes queries and failed scrapes to; nothing is written here.
    pub(super) query_log_file: Option<Spanned<PathBuf>>,
    pub(super) scrape_failure_log_file: Option<Spanned<PathBuf>>,
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
    pub(super) smtp_auth_secret: Option<Secret>,
    pub(super) smtp_auth_secret_file: Option<PathBuf>,
    pub(super) smtp_auth_identity: Option<String>,
    pub(super) smtp_require_tls: Option<bool>,
    pub(super) smtp_force_implicit_tls: Option<bool>,
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
    pub(super) slack_app_token: Option<Spanned<Secret>>,
    pub(super) slack_app_token_file: Option<PathBuf>,
    pub(super) slack_app_url: Option<Spanned<Secret>>,
    pub(super) mattermost_webhook_url: Option<Spanned<Secret>>,
    pub(super) mattermost_webhook_url_file: Option<PathBuf>,
    pub(super) rocketchat_api_url: Option<Spanned<Secret>>,
    pub(super) rocketchat_token_id: Option<Spanned<Secret>>,
    pub(super) rocketchat_token_id_file: Option<PathBuf>,
    pub(super) rocketchat_token: Option<Spanned<Secret>>,
    pub(super) rocketchat_token_file: Option<PathBuf>,
    pub(super) telegram_api_url: Option<Spanned<Secret>>,
    pub(super) telegram_bot_token: Option<Spanned<Secret>>,
    pub(super) telegram_bot_token_file: Option<PathBuf>,
    pub(super) webex_api_url: Option<Spanned<Secret>>,
}

impl GlobalConfig {
    /// What holds for every job that does not say otherwise.
    pub(super) fn scrape(&self, interval: Period, diagnostics: &mut Diagnostics) -> GlobalScrape {
        let size = self.body_size_limit.as_ref();
        GlobalScrape {
            interval: self.scrape_interval.map_or(interval, |period| period.value),
            timeout: self.scrape_timeout.map_or(Period::from_secs(10), |period| period.value),
            scrape_protocols: self.scrape_protocols.clone(),
            body_size_limit: size.map_or(0, |size| size_of(size, diagnostics)),
            sample_limit: self.sample_limit,
            target_limit: self.target_limit,
            label_limit: self.label_limit,
            label_name_length_limit: self.label_name_length_limit,
            label_value_length_limit: self.label_value_length_limit,
            keep_dropped_targets: self.keep_dropped_targets,
            metric_name_validation_scheme: self.metric_name_validation_scheme.clone(),
            metric_name_escaping_scheme: self.metric_name_escaping_scheme.clone(),
            scrape_native_histograms: self.scrape_native_histograms,
            always_scrape_classic_histograms: self.always_scrape_classic_histograms,
            convert_classic_histograms_to_nhcb: self.convert_classic_histograms_to_nhcb,
            extra_scrape_metrics: self.extra_scrape_metrics,
        }
    }

    /// What is added to every alert. In a file of Prometheus's `$NAME` and `${NAME}` are variables of
    /// the environment, and `$$` is a dollar.
    pub(super) fn external_labels(
        &self,
        reading: Reading,
        diagnostics: &mut Diagnostics,
    ) -> Labels {
        for name in self.external_labels.keys().filter(|name| name.value.is_empty()) {
            diagnostics.report(name, "a label name is empty");
        }
        let expand = |value: &String| match reading {
            Reading::Own => value.clone(),
            _ => expanded(value, base::yaml::variable),
        };
        let labels = self.external_labels.iter();
        Labels::from_pairs(labels.map(|(name, value)| (name.value.clone(), expand(value))))
    }

    /// What mails are sent by.
    pub(super) fn email(&self) -> EmailGlobals {
        EmailGlobals {
            from: self.smtp_from.clone(),
            smarthost: self.smtp_smarthost.clone(),
            hello: self.smtp_hello.clone(),
            auth_username: self.smtp_auth_username.clone(),
            auth_password: self.smtp_auth_password.clone(),
            auth_password_file: self.smtp_auth_password_file.clone(),
            auth_secret: self.smtp_auth_secret.clone(),
            auth_secret_file: self.smtp_auth_secret_file.clone(),
            auth_identity: self.smtp_auth_identity.clone(),
            require_tls: self.smtp_require_tls,
            force_implicit_tls: self.smtp_force_implicit_tls,
            tls_config: self.smtp_tls_config.clone(),
        }
    }

    /// What Slack's messages are sent by.
    pub(super) fn slack(&self) -> SlackGlobals<'_> {
        SlackGlobals {
            api_url: secret(&self.slack_api_url, &self.slack_api_url_file),
            app_token: secret(&self.slack_app_token, &self.slack_app_token_file),
            app_url: self.slack_app_url.as_ref(),
        }
    }

    /// Mattermost's webhook.
    pub(super) fn mattermost(&self) -> SecretSetting<'_> {
        secret(&self.mattermost_webhook_url, &self.mattermost_webhook_url_file)
    }

    /// What Rocket.Chat's messages are sent by.
    pub(super) fn rocketchat(&self) -> RocketchatGlobals<'_> {
        RocketchatGlobals {
            api_url: self.rocketchat_api_url.as_ref(),
            token_id: secret(&self.rocketchat_token_id, &self.rocketchat_token_id_file),
            token: secret(&self.rocketchat_token, &self.rocketchat_token_file),
        }
    }

    /// What Telegram's messages are sent by.
    pub(super) fn telegram(&self) -> TelegramGlobals<'_> {
        TelegramGlobals {
            api_url: self.telegram_api_url.as_ref(),
            bot_token: secret(&self.telegram_bot_token, &self.telegram_bot_token_file),
        }
    }

    /// Reports what is wrong with addresses, and secrets that are given twice, whether or not a receiver
    /// uses them.
    pub(super) fn check(&self, diagnostics: &mut Diagnostics) {
        check_server(self.smtp_smarthost.as_ref(), diagnostics);
        let shown = [
            &self.pagerduty_url,
            &self.opsgenie_api_url,
            &self.victorops_api_url,
            &self.wechat_api_url,
            &self.jira_api_url,
            &self.slack_app_url,
            &self.rocketchat_api_url,
            &self.telegram_api_url,
            &self.webex_api_url,
        ];
        shown.into_iter().flatten().for_each(|url| check_url(url, diagnostics));
        let hidden = [&self.slack_api_url, &self.mattermost_webhook_url];
        let hidden = hidden.into_iter().flatten().filter(|url| !url.value.is_empty());
        hidden.for_each(|url| check_hidden_url(url, diagnostics));
        let (slack, rocketchat) = (self.slack(), self.rocketchat());
        for (name, setting) in [
            ("slack_api_url", slack.api_url),
            ("slack_app_token", slack.app_token),
            ("mattermost_webhook_url", self.mattermost()),
            ("rocketchat_token_id", rocketchat.token_id),
            ("rocketchat_token", rocketchat.token),
            ("telegram_bot_token", self.telegram().bot_token),
            ("opsgenie_api_key", self.opsgenie().key),
            ("victorops_api_key", self.victorops().key),
            ("wechat_api_secret", self.wechat().0.key),
        ] {
            if let SecretSetting { value: Some(value), file: Some(_) } = setting {
                let message = format!("only one of `{name}` and `{name}_file` can be given");
                diagnostics.report(value, message);
            }
        }
        // Both are right where they lead to the same place, as on the way from the one to the other.
        let app_url = slack.app_url.map_or(SLACK_APP_URL, |url| url.value.expose());
        let same = slack.api_url.value.is_some_and(|url| url.value.expose() == app_url);
        if slack.api_url.is_set() && slack.app_token.is_set() && !same {
            let place = slack.api_url.value.or(slack.app_token.value);
            diagnostics.report(
                place.map(|value| value.place).unwrap_or_default(),
                "only one of `slack_api_url`, `slack_api_url_file` and `slack_app_token`, \
                 `slack_app_token_file` can be given",
            );
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
            key: secret(&self.opsgenie_api_key, &self.opsgenie_api_key_file),
        }
    }

    /// What VictorOps is told by.
    pub(super) fn victorops(&self) -> ServiceGlobals<'_> {
        ServiceGlobals {
            url: self.victorops_api_url.as_ref(),
            key: secret(&self.victorops_api_key, &self.victorops_api_key_file),
        }
    }

    /// What WeCom is told by, and the company.
    pub(super) fn wechat(&self) -> (ServiceGlobals<'_>, Option<&Spanned<String>>) {
        let service = ServiceGlobals {
            url: self.wechat_api_url.as_ref(),
            key: secret(&self.wechat_api_secret, &self.wechat_api_secret_file),
        };
        (service, self.wechat_api_corp_id.as_ref())
    }

    /// WeCom, without the company.
    pub(super) fn wechat_service(&self) -> ServiceGlobals<'_> {
        self.wechat().0
    }

    /// The company at WeCom.
    pub(super) fn wechat_company(&self) -> Option<&Spanned<String>> {
        self.wechat().1
    }

    /// Where Webex is.
    pub(super) fn webex(&self) -> Option<&Spanned<Secret>> {
        self.webex_api_url.as_ref()
    }

    /// Where Jira is.
    pub(super) fn jira(&self) -> ServiceGlobals<'_> {
        ServiceGlobals { url: self.jira_api_url.as_ref(), ..ServiceGlobals::default() }
    }
}

/// `text` with the variables that it names; one that is not set is empty.
fn expanded(text: &str, variable: impl Fn(&str) -> Option<String>) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let (name, after) = match after.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            Some((name, after)) => (name, after),
            None if after.starts_with('$') => ("$", &after[1..]),
            None => after.split_at(after.find(|c| !word(c)).unwrap_or(after.len())),
        };
        match name {
            "$" | "" => out.push('$'),
            name => out.push_str(&variable(name).unwrap_or_default()),
        }
        rest = after;
    }
    out + rest
}

/// A secret and its file.
fn secret<'a>(value: &'a Option<Spanned<Secret>>, file: &'a Option<PathBuf>) -> SecretSetting<'a> {
    SecretSetting { value: value.as_ref(), file: file.as_ref() }.given()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn external_labels_name_variables_as_in_prometheus() {
        let variable = |name: &str| (name == "TEST").then(|| "value".to_owned());
        let check = |text: &str, expected: &str| assert_eq!(expanded(text, variable), expected);
        check("foo", "foo");
        check("${TEST}", "value");
        check("foo${TEST}bar", "foovaluebar");
        check("$TEST-x", "value-x");
        check("foo$${TEST}", "foo${TEST}");
        check("foo$$bar", "foo$bar");
        check("${NONE}x", "x");
        check("5$", "5$");
    }
}
