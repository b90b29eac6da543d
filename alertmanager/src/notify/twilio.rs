//! Sends text messages (SMS) by Twilio.
//!
//! Source: Twilio's documentation of the Messages resource and of its error codes.
//!
//! Invariant: one entry of the configuration sends to one number, so that no message is half
//! delivered: what is tried again reaches nobody twice.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::access::{HttpConfig, SecretSource};
use base::http::percent_encoded;
use base::secret::Secret;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::http::{Answer, Call, Service};
use super::notifier::{DeliveryError, Notification, Notifier, Receipt, Shared, excerpt};
use super::settings::{SecretSetting, base_address, needed};
use super::texts::{Renderer, Text, shortened};
use crate::template::{Escape, Templates};

/// The longest body that Twilio takes, in characters.
const MAX_BODY: usize = 1600;

/// An entry of `twilio_configs`, as written. `text` is a template.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TwilioConfig {
    /// Whether endings are sent; by default they are.
    pub send_resolved: Option<Spanned<bool>>,
    /// The service; `https://api.twilio.com` by default.
    pub url: Option<Spanned<Secret>>,
    /// The account, `AC...`.
    pub account_sid: Option<Spanned<String>>,
    /// A key to the account, `SK...`, in place of the account's own token.
    pub api_key_sid: Option<Spanned<String>>,
    /// The token of the account, or the secret of the key.
    pub auth_token: Option<Spanned<Secret>>,
    /// The file that holds it.
    pub auth_token_file: Option<PathBuf>,
    /// The number, or the name, that it is from.
    pub from: Option<Spanned<String>>,
    /// A messaging service, `MG...`, in place of `from`.
    pub messaging_service_sid: Option<Spanned<String>>,
    /// The number that it goes to.
    pub to: Option<Spanned<String>>,
    /// How we speak HTTP.
    pub http_config: Option<Spanned<HttpConfig>>,
    /// The text.
    pub text: Option<Spanned<String>>,
}

/// Sends to one number.
#[derive(Clone, Debug)]
pub struct TwilioNotifier {
    url: Secret,
    user: String,
    token: SecretSource,
    /// `From` or `MessagingServiceSid`, and its value.
    sender: (&'static str, String),
    to: String,
    service: Service,
    templates: Arc<Templates>,
    text: Text,
}

impl TwilioConfig {
    /// The notifier.
    pub fn build(
        &self,
        place: Place,
        shared: Shared<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<TwilioNotifier> {
        let url = base_address(self.url.as_ref(), None, "https://api.twilio.com", diagnostics);
        let account = needed("account_sid", self.account_sid.as_ref(), place, diagnostics);
        check_sid("account_sid", "AC", self.account_sid.as_ref(), diagnostics);
        check_sid("api_key_sid", "SK", self.api_key_sid.as_ref(), diagnostics);
        check_sid("messaging_service_sid", "MG", self.messaging_service_sid.as_ref(), diagnostics);
        let token = SecretSetting::of(&self.auth_token, &self.auth_token_file);
        let token = token.needed(("auth_token", "auth_token_file"), place, diagnostics);
        let sender = match (&self.from, &self.messaging_service_sid) {
            (Some(from), Some(_)) => {
                let message = "only one of `from` and `messaging_service_sid` can be given";
                diagnostics.report(from, message);
                None
            }
            (None, Some(service)) => Some(("MessagingServiceSid", service.value.clone())),
            (from, None) => needed("from", from.as_ref(), place, diagnostics).map(|f| ("From", f)),
        };
        let to = needed("to", self.to.as_ref(), place, diagnostics);
        if let (Some(to), Some(written)) = (&to, &self.to)
            && !is_number(to)
        {
            let message = format!("`{to}` is no number of a phone");
            let help = "one number as `+33612345678`; make an entry for each";
            diagnostics.report_with_help(written, message, help);
        }
        let service = Service::build(self.http_config.as_ref(), shared.http, place, diagnostics);
        let default = "{{ template \"veilleur.default.short\" . }}";
        let text = Text::build("text", self.text.as_ref(), default, diagnostics);
        let account = account?;
        let url = format!("{url}/2010-04-01/Accounts/{account}/Messages.json");
        Some(TwilioNotifier {
            url: Secret::new(url),
            user: self.api_key_sid.as_ref().map_or(account, |key| key.value.clone()),
            token: token?,
            sender: sender?,
            to: to?,
            service: service?,
            templates: Arc::clone(shared.templates),
            text: text?,
        })
    }
}

/// Reports an identifier that cannot be one: `AC` and 32 digits of base 16, for example.
fn check_sid(
    name: &str,
    prefix: &str,
    written: Option<&Spanned<String>>,
    diagnostics: &mut Diagnostics,
) {
    let Some(written) = written.filter(|written| !written.value.is_empty()) else { return };
    let right = written
        .value
        .strip_prefix(prefix)
        .is_some_and(|rest| rest.len() == 32 && rest.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if !right && !written.value.contains("{{") {
        let message = format!("`{name}` is `{prefix}` with 32 digits of base 16");
        diagnostics.report(written, message);
    }
}

/// E.164, or a channel of Twilio's before it: `whatsapp:+33612345678`.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix("whatsapp:").unwrap_or(text).strip_prefix('+');
    digits.is_some_and(|digits| {
        (6..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

#[async_trait]
impl Notifier for TwilioNotifier {
    fn integration(&self) -> &'static str {
        "twilio"
    }

    fn preview(&self, notification: &Notification) -> String {
        self.text(notification)
    }

    async fn notify(&self, notification: &Notification) -> Result<Receipt, DeliveryError> {
        let token = self.token.read().map_err(DeliveryError::transient)?;
        let pair = STANDARD.encode(format!("{}:{}", self.user, token.expose()));
        let form = self.form(notification).into_bytes();
        let call = Call::post(&self.url, "application/x-www-form-urlencoded", form)
            .with("authorization", Secret::new(format!("Basic {pair}")));
        judge(&self.service.send(call).await?, notification)
    }
}

impl TwilioNotifier {
    /// An empty text is refused; that something is the matter is still worth a message.
    fn text(&self, notification: &Notification) -> String {
        let renderer = Renderer::new(&self.templates, notification, Escape::Text);
        let text = renderer.unless_blank(renderer.render(&self.text));
        shortened(text.trim(), MAX_BODY)
    }

    fn form(&self, notification: &Notification) -> String {
        let body = self.text(notification);
        let (name, sender) = &self.sender;
        [("To", &self.to), (*name, sender), ("Body", &body)]
            .map(|(name, value)| format!("{name}={}", percent_encoded(value)))
            .join("&")
    }
}

/// A message that was taken has a `sid`, and a status that is not yet a failure (F14).
fn judge(answer: &Answer, notification: &Notification) -> Result<Receipt, DeliveryError> {
    let said = answer.json();
    if let Err(error) = answer.taken(notification.at) {
        // 20429: too many requests; 14107, 30022 and 63018: too many messages; 30001: the queue
        // is full. Each passes.
        let passes = matches!(
            said["code"].as_u64(),
            Some(14107 | 20429 | 20500 | 20503 | 30001 | 30022 | 63018)
        );
        return Err(match error {
            DeliveryError::Permanent { reason } if passes => {
                DeliveryError::transient(reason.to_string())
            }
            error => error,
        });
    }
    match (said["sid"].as_str(), said["status"].as_str()) {
        (Some(sid), Some("failed" | "undelivered" | "canceled")) => {
            let why = said["error_message"].as_str().unwrap_or("no reason was given");
            let code = &said["error_code"];
            let reason = format!("the message {sid} has failed: {} ({code})", excerpt(why));
            Err(DeliveryError::permanent(reason))
        }
        (Some(sid), Some(_)) => Ok(Receipt::named(sid)),
        _ => Err(answer.strange()),
    }
}

#[cfg(test)]
mod tests {
    use base::http::HeaderMap;

    use super::super::sink::{Judges, Reply, SECRET, Sink, build_entry, flood, misbehave};
    use super::super::texts::tests::notification;
    use super::*;

    const ACCOUNT: &str = "AC0123456789abcdef0123456789abcdef";

    fn build(yaml: &str) -> (Option<TwilioNotifier>, String) {
        build_entry(yaml, TwilioConfig::build)
    }

    fn good(extra: &str) -> TwilioNotifier {
        let yaml = format!(
            "{{account_sid: {ACCOUNT}, auth_token: {SECRET}, from: '+15005550006', to: '+33612345678'{extra}}}"
        );
        let (built, faults) = build(&yaml);
        assert_eq!(faults, "", "{yaml}");
        built.unwrap()
    }

    #[test]
    fn a_text_message_is_short_and_goes_to_the_configured_number_only() {
        // X18, F16
        let mut message = notification();
        for alert in &mut message.alerts {
            alert.labels = alert.labels.with("alertname", "x&To=%2B1&MediaUrl=http://e");
            alert.annotations.insert("summary".into(), "ä".repeat(5000));
        }
        let form = good(", text: '{{ .CommonLabels.alertname }} {{ .CommonAnnotations.summary }}'")
            .form(&message);
        let fields: Vec<_> = form.split('&').map(|field| field.split_once('=').unwrap()).collect();
        let names: Vec<_> = fields.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["To", "From", "Body"]);
        assert_eq!(fields[0].1, "%2B33612345678");
        assert!(fields[2].1.starts_with("x%26To%3D%252B1%26MediaUrl%3Dhttp%3A%2F%2Fe%20%C3%A4"));
        let characters = fields[2].1.matches("%C3%A4").count();
        assert!((1500..MAX_BODY).contains(&characters), "{characters}");
    }

    #[test]
    fn the_usual_text_fits_a_few_messages() {
        let form = good("").form(&notification());
        let body = form.split("Body=").nth(1).unwrap();
        assert!(body.starts_with("%5BFIRING%5D%20CheckFailed%20on%20web%3A1"), "{body}");
        assert!(!good(", text: ''").form(&notification()).ends_with("Body="));
        let service = "MG0123456789abcdef0123456789abcdef";
        let yaml = format!(
            "{{account_sid: {ACCOUNT}, auth_token: t, messaging_service_sid: {service}, to: '+33612345678'}}"
        );
        let form = build(&yaml).0.unwrap().form(&notification());
        assert!(form.contains(&format!("&MessagingServiceSid={service}&")), "{form}");
    }

    #[test]
    fn success_is_a_message_that_has_not_failed() {
        // F14
        let check = |status, body: &str, expected: &str| {
            let answer = Answer { status, headers: HeaderMap::new(), body: body.to_owned() };
            let got = match judge(&answer, &notification()) {
                Ok(receipt) => receipt.reference.unwrap_or_default(),
                Err(DeliveryError::Transient { .. }) => "again".to_owned(),
                Err(DeliveryError::Permanent { .. }) => "never".to_owned(),
            };
            assert_eq!(got, expected, "{status} {body}");
        };
        check(201, r#"{"sid":"SM1","status":"queued","error_code":null}"#, "SM1");
        check(201, r#"{"sid":"SM1","status":"failed","error_code":30007}"#, "never");
        check(200, "<html>", "again");
        check(429, r#"{"code":20429,"message":"Too Many Requests","status":429}"#, "again");
        check(400, r#"{"code":21211,"message":"Invalid 'To'","status":400}"#, "never");
        check(400, r#"{"code":21610,"message":"unsubscribed","status":400}"#, "never");
        check(400, r#"{"code":14107,"message":"rate","status":400}"#, "again");
        check(401, r#"{"code":20003,"message":"Authenticate","status":401}"#, "never");
        check(503, "", "again");
    }

    #[test]
    fn reports_every_fault() {
        let check = |yaml: &str, expected: &str| assert_eq!(build(yaml).1, expected, "{yaml}");
        check(
            "{}",
            "f.yml:1:1: `account_sid` is missing\n\
             f.yml:1:1: `auth_token` is missing\n  help: set it or `auth_token_file`\n\
             f.yml:1:1: `from` is missing\n\
             f.yml:1:1: `to` is missing",
        );
        check(
            &format!(
                "{{account_sid: {ACCOUNT}, auth_token: t, from: a, to: '{{{{ .CommonLabels.phone }}}}'}}"
            ),
            "f.yml:1:79: `to` cannot come from an alert\n  \
             help: make a receiver for each `to` and route to it",
        );
        check(
            "{account_sid: AC1, auth_token: t, from: a, to: '0612'}",
            "f.yml:1:15: `account_sid` is `AC` with 32 digits of base 16\n\
             f.yml:1:48: `0612` is no number of a phone\n  \
             help: one number as `+33612345678`; make an entry for each",
        );
    }

    fn at(url: &str) -> TwilioNotifier {
        good(&format!(", url: '{url}'"))
    }

    #[tokio::test]
    async fn a_message_is_a_form_for_the_account() {
        let sink = Sink::start().await;
        let taken = Reply::json(201, serde_json::json!({"sid": "SM1", "status": "queued"}));
        let (asked, result) = sink.hand_over(&at(&sink.url()), &flood(), &[taken]).await;
        assert_eq!(result, Ok(Receipt::named("SM1")));
        let path = format!("POST /2010-04-01/Accounts/{ACCOUNT}/Messages.json");
        assert_eq!(asked[0].line(), path);
        let pair = STANDARD.encode(format!("{ACCOUNT}:{SECRET}"));
        assert_eq!(asked[0].headers["authorization"], format!("Basic {pair}"));
        assert_eq!(asked[0].headers["content-type"], "application/x-www-form-urlencoded");
    }

    #[tokio::test]
    async fn whatever_goes_wrong_is_told_apart() {
        misbehave(Judges::Body, &[], at).await;
    }
}
