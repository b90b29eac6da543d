//! Posts to incident.io, in the form that its alert source for Alertmanager takes.
//!
//! The group's key names the alert there, so that a later message updates it and the last one ends
//! it.
//!
//! Source: incident.io's documentation of alert sources.
//!
//! Invariant: a message is at most as large as incident.io takes; what is left out is counted.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::Method;
use base::http::access::{HttpConfig, SecretSource};
use base::period::Period;
use base::sample::Timestamp;
use base::secret::Secret;
use serde::Deserialize;
use serde_json::{Value, json};

use super::http::{Answer, Call, Service, check_url};
use super::notifier::{DeliveryError, Notification, Notifier, Receipt, Shared};
use super::paging::confirmed;
use super::settings::SecretSetting;
use super::texts::shortened_bytes;
use super::webhook;

/// The largest message, in bytes.
const MAX_BODY: usize = 512 << 10;
/// How long the texts of the one alert are that is left of a message that is far too large.
const SHORT: usize = 1000;

/// An entry of `incidentio_configs`, as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IncidentioConfig {
    /// Whether endings are sent; by default they are.
    pub send_resolved: Option<Spanned<bool>>,
    /// How we speak HTTP.
    pub http_config: Option<Spanned<HttpConfig>>,
    /// The address of the alert source.
    pub url: Option<Spanned<Secret>>,
    /// The file with that address.
    pub url_file: Option<PathBuf>,
    /// The token of the alert source.
    pub alert_source_token: Option<Spanned<Secret>>,
    /// The file with that token.
    pub alert_source_token_file: Option<PathBuf>,
    /// The most alerts in one message; 0 is any number.
    pub max_alerts: usize,
    /// The longest that it may take; 0 is the lane's limit.
    pub timeout: Option<Period>,
}

/// Posts to one alert source.
#[derive(Clone, Debug)]
pub struct IncidentioNotifier {
    service: Service,
    url: SecretSource,
    token: Option<SecretSource>,
    max_alerts: usize,
    timeout: Option<Duration>,
}

impl IncidentioConfig {
    /// The notifier.
    pub fn build(
        &self,
        place: Place,
        shared: Shared<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<IncidentioNotifier> {
        if let Some(url) = &self.url {
            check_url(url, diagnostics);
        }
        let given = |text: &Option<Spanned<Secret>>| text.as_ref().map(|text| text.value.clone());
        let url = given(&self.url);
        if !SecretSetting::of(&self.url, &self.url_file).is_set() {
            diagnostics.report_with_help(place, "`url` is missing", "set `url` or `url_file`");
        }
        let file = self.url_file.clone();
        let url = SecretSource::one_of(url, file, ("url", "url_file"), place, diagnostics);
        let token = given(&self.alert_source_token).filter(|token| !token.is_empty());
        let both = token.is_some() && self.alert_source_token_file.is_some();
        let names = ("alert_source_token", "alert_source_token_file");
        let file = self.alert_source_token_file.clone();
        let token = SecretSource::one_of(token, file, names, place, diagnostics);
        let own = self.http_config.as_ref();
        let authorized = own.map_or(shared.http, |own| &own.value).authorization.is_some();
        match (&token, authorized) {
            (Some(_), true) if own.is_some() => diagnostics.report(
                place,
                "only one of `alert_source_token` and `http_config.authorization` can be given",
            ),
            (None, false) if !both => diagnostics.report_with_help(
                place,
                "`alert_source_token` is missing",
                "set `alert_source_token`, `alert_source_token_file` or `http_config.authorization`",
            ),
            _ => {}
        }
        let service = Service::build(own, shared.http, place, diagnostics);
        Some(IncidentioNotifier {
            service: service?,
            url: url?,
            token,
            max_alerts: self.max_alerts,
            timeout: self.timeout.filter(|t| !t.is_zero()).map(Period::duration),
        })
    }
}

#[async_trait]
impl Notifier for IncidentioNotifier {
    fn integration(&self) -> &'static str {
        "incidentio"
    }

    async fn notify(&self, notification: &Notification) -> Result<Receipt, DeliveryError> {
        let url = self.url.read().map_err(DeliveryError::transient)?;
        let body = body(notification, self.max_alerts);
        let mut call = Call::json(Method::POST, &url, &body);
        if let Some(token) = &self.token {
            let token = token.read().map_err(DeliveryError::transient)?;
            call = call.with("authorization", Secret::new(format!("Bearer {}", token.expose())));
        }
        let answer = self.service.send_within(call, self.timeout).await?;
        judge(&answer, notification.at)?;
        Ok(Receipt::default())
    }
}

/// The message of webhooks, under its own version. Of one that is too large the first alert is left,
/// which is enough for the group to be known by; if need be with texts cut short.
fn body(notification: &Notification, max_alerts: usize) -> Value {
    let written = |notification: &Notification, most| {
        let mut body = webhook::body(notification, most);
        body["version"] = json!("1");
        body
    };
    let whole = written(notification, max_alerts);
    if whole.to_string().len() <= MAX_BODY {
        return whole;
    }
    let first = written(notification, 1);
    if first.to_string().len() <= MAX_BODY {
        return first;
    }
    let mut short = notification.clone();
    for alert in &mut short.alerts {
        for text in alert.annotations.values_mut() {
            *text = shortened_bytes(text, SHORT);
        }
    }
    written(&short, 1)
}

/// incident.io answers 202 with a status of its own.
fn judge(answer: &Answer, now: Timestamp) -> Result<(), DeliveryError> {
    let positive = |value: &Value| value["status"] == "success" || value["message"].is_string();
    answer.taken(now)?;
    if answer.body.trim().is_empty() {
        return Ok(());
    }
    confirmed(answer, now, "incident.io", positive).map(drop)
}

#[cfg(test)]
mod tests {
    use base::http::HeaderMap;

    use super::super::sink::build_entry;
    use super::super::texts::tests::notification;
    use super::*;

    fn build(yaml: &str) -> (Option<IncidentioNotifier>, String) {
        build_entry(yaml, IncidentioConfig::build)
    }

    #[test]
    fn writes_what_alertmanager_writes() {
        let got = body(&notification(), 1);
        assert_eq!(got["version"], "1");
        assert_eq!(got["groupKey"], notification().group_key);
        assert_eq!((&got["status"], &got["truncatedAlerts"]), (&json!("firing"), &json!(1)));
        assert_eq!(got["alerts"][0]["labels"]["instance"], "web:1");
    }

    #[test]
    fn a_flood_is_cut_to_what_is_taken() {
        // F16
        let mut flood = notification();
        let long = "ß".repeat(100_000);
        for alert in &mut flood.alerts {
            alert.annotations.insert("summary".into(), long.clone());
        }
        let first = body(&flood, 0);
        assert_eq!(
            (first["alerts"].as_array().unwrap().len(), &first["truncatedAlerts"]),
            (1, &json!(1))
        );
        assert!(first.to_string().len() <= MAX_BODY && first.to_string().len() > 150_000);
        flood.alerts[0].annotations.insert("more".into(), long.repeat(2));
        let short = body(&flood, 0).to_string();
        assert!(short.len() < 10_000, "{}", short.len());
    }

    #[test]
    fn counts_as_taken_only_what_incident_io_says_it_took() {
        let check = |status, body: &str, expected: &str| {
            let answer = Answer { status, headers: HeaderMap::new(), body: body.to_owned() };
            let got = match judge(&answer, Timestamp::default()) {
                Ok(()) => "taken",
                Err(DeliveryError::Transient { .. }) => "again",
                Err(DeliveryError::Permanent { .. }) => "never",
            };
            assert_eq!(got, expected, "{status} {body}");
        };
        check(202, r#"{"status":"success","message":"Event accepted"}"#, "taken");
        check(202, "", "taken");
        check(200, "<html>", "again");
        check(200, r#"{"error":"x"}"#, "again");
        check(401, "", "never");
        check(429, "", "again");
    }

    #[test]
    fn reports_every_fault() {
        let check = |yaml: &str, expected: &str| assert_eq!(build(yaml).1, expected, "{yaml}");
        let ok = "url: 'http://127.0.0.1:1/'";
        check(&format!("{{{ok}, alert_source_token: t}}"), "");
        check(&format!("{{{ok}, http_config: {{authorization: {{credentials: t}}}}}}"), "");
        check(
            "{}",
            "f.yml:1:1: `url` is missing\n  help: set `url` or `url_file`\n\
             f.yml:1:1: `alert_source_token` is missing\n  help: set `alert_source_token`, \
             `alert_source_token_file` or `http_config.authorization`",
        );
        check(
            &format!("{{{ok}, alert_source_token: t, alert_source_token_file: /f}}"),
            "f.yml:1:1: only one of `alert_source_token` and `alert_source_token_file` can be given",
        );
        check(
            &format!(
                "{{{ok}, alert_source_token: t, http_config: {{authorization: {{credentials: t}}}}}}"
            ),
            "f.yml:1:1: only one of `alert_source_token` and `http_config.authorization` can be given",
        );
    }
}
