//! Writes to people, departments and tags in WeCom, the WeChat for companies.
//!
//! A message needs an access token, which is fetched anew for each: a notifier keeps nothing
//! between two messages, WeCom gives the same token again while it is valid, and one that was taken
//! back is never used.
//!
//! Source: WeCom's documentation of `gettoken` and of application messages.
//!
//! Invariant: what comes from an alert has no character that is markup for WeCom: no label can make
//! a link or call somebody (X16).

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::Method;
use base::http::access::{HttpConfig, SecretSource};
use base::sample::Timestamp;
use base::secret::Secret;
use serde::Deserialize;
use serde_json::{Value, json};

use super::http::{Answer, Call, Service};
use super::notifier::{DeliveryError, Notification, Notifier, Receipt, Shared, excerpt};
use super::paging::{ServiceGlobals, base_address, confirmed, escaped, form, recipient};
use super::settings::{Named, SecretSetting};
use super::texts::{Renderer, Text, one_line, shortened_bytes};
use crate::template::{Escape, Templates};

/// Where WeCom is.
const API: &str = "https://qyapi.weixin.qq.com/cgi-bin/";
/// The longest message, in bytes.
const MAX_CONTENT: usize = 2048;
/// The longest list of recipients.
const MAX_RECIPIENTS: usize = 4096;
/// What passes with time: busy, too many calls, a token that has expired or was taken back since.
const PASSING: [i64; 7] = [-1, 40014, 41001, 42001, 45009, 45011, 45033];

/// An entry of `wechat_configs`, as written. What is not said otherwise is a template.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WechatConfig {
    /// Whether endings are sent; by default they are.
    pub send_resolved: Option<Spanned<bool>>,
    /// How we speak HTTP.
    pub http_config: Option<Spanned<HttpConfig>>,
    /// The secret of the application; no template.
    pub api_secret: Option<Spanned<Secret>>,
    /// The file with that secret.
    pub api_secret_file: Option<PathBuf>,
    /// Where WeCom is; no template.
    pub api_url: Option<Spanned<Secret>>,
    /// The company; no template.
    pub corp_id: Option<Spanned<String>>,
    /// The text.
    pub message: Option<Spanned<String>>,
    /// `text` or `markdown`.
    pub message_type: Option<Spanned<String>>,
    /// The application's number; no template.
    pub agent_id: Option<Spanned<String>>,
    /// People, with `|` between; no template.
    pub to_user: Option<Spanned<String>>,
    /// Departments, with `|` between; no template.
    pub to_party: Option<Spanned<String>>,
    /// Tags, with `|` between; no template.
    pub to_tag: Option<Spanned<String>>,
}

/// Writes to one list of recipients.
#[derive(Clone, Debug)]
pub struct WechatNotifier {
    service: Service,
    api: Secret,
    secret: SecretSource,
    corp_id: String,
    templates: Arc<Templates>,
    message: Text,
    markdown: bool,
    /// The recipients and the application, by the names that the API gives them.
    recipients: Vec<(&'static str, Text)>,
}

impl WechatConfig {
    /// The notifier; `corp_id` is what `global:` says.
    pub fn build(
        &self,
        place: Place,
        globals: ServiceGlobals<'_>,
        corp_id: Option<&Spanned<String>>,
        shared: Shared<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<WechatNotifier> {
        let names = ("api_secret", "api_secret_file");
        let named = Named { names, global: Some("wechat_api_secret") };
        let own = SecretSetting::of(&self.api_secret, &self.api_secret_file);
        let secret = own.or(globals.key, named, place, diagnostics);
        let api = base_address(self.api_url.as_ref(), globals.url, API, diagnostics);
        let service = Service::build(self.http_config.as_ref(), shared.http, place, diagnostics);
        let corp_id = recipient("corp_id", self.corp_id.as_ref().or(corp_id), diagnostics);
        if corp_id.is_empty() && !diagnostics.is_partial_in("global") {
            let help = "set `corp_id`, or `wechat_api_corp_id` under `global:`";
            diagnostics.report_with_help(place, "`corp_id` is missing", help);
        }
        let markdown = match self.message_type.as_ref().map(|kind| (kind, kind.value.as_str())) {
            None | Some((_, "" | "text")) => false,
            Some((_, "markdown")) => true,
            Some((kind, other)) => {
                let message = format!("there is no message of the type `{other}`");
                diagnostics.report_with_help(kind, message, "`text` or `markdown`");
                false
            }
        };
        let default = "{{ template \"wechat.default.message\" . }}";
        let message = Text::build("message", self.message.as_ref(), default, diagnostics);
        let lists = [
            ("touser", "to_user", &self.to_user),
            ("toparty", "to_party", &self.to_party),
            ("totag", "to_tag", &self.to_tag),
            ("agentid", "agent_id", &self.agent_id),
        ];
        let recipients: Vec<_> = lists
            .into_iter()
            .map(|(field, name, written)| {
                recipient(name, written.as_ref(), diagnostics);
                let default = format!("{{{{ template \"wechat.default.{name}\" . }}}}");
                Some((field, Text::build(name, written.as_ref(), &default, diagnostics)?))
            })
            .collect();
        Some(WechatNotifier {
            service: service?,
            api,
            secret: secret?,
            corp_id,
            templates: Arc::clone(shared.templates),
            message: message?,
            markdown,
            recipients: recipients.into_iter().collect::<Option<_>>()?,
        })
    }
}

#[async_trait]
impl Notifier for WechatNotifier {
    fn integration(&self) -> &'static str {
        "wechat"
    }

    async fn notify(&self, notification: &Notification) -> Result<Receipt, DeliveryError> {
        let token = self.token(notification.at).await?;
        let query = form([("access_token", token.expose())]);
        let url = Secret::new(format!("{}message/send?{query}", self.api.expose()));
        let body = self.body(notification);
        let answer = self.service.send(Call::json(Method::POST, &url, &body)).await?;
        judge(&answer, notification.at)?;
        Ok(Receipt::default())
    }
}

impl WechatNotifier {
    async fn token(&self, now: Timestamp) -> Result<Secret, DeliveryError> {
        let secret = self.secret.read().map_err(DeliveryError::transient)?;
        let query = form([("corpid", self.corp_id.as_str()), ("corpsecret", secret.expose())]);
        let url = Secret::new(format!("{}gettoken?{query}", self.api.expose()));
        let call = Call { method: Method::GET, ..Call::post(&url, "application/json", Vec::new()) };
        let value = judge(&self.service.send(call).await?, now)?;
        let token = value["access_token"].as_str().filter(|token| !token.is_empty());
        let missing = || DeliveryError::transient("WeCom's answer holds no access token");
        token.map(Secret::new).ok_or_else(missing)
    }

    fn body(&self, notification: &Notification) -> Value {
        // Whom it is for follows from the configuration, whatever a template asks for.
        let nobody = Notification { alerts: Vec::new(), ..notification.clone() };
        let nobody = Notification { group_labels: base::labels::Labels::empty(), ..nobody };
        let configured = Renderer::new(&self.templates, &nobody, Escape::Text);
        let list = |text| json!(one_line(&configured.render(text), MAX_RECIPIENTS));
        let lists = self.recipients.iter().map(|(field, text)| ((*field).to_owned(), list(text)));
        let mut body: Value = lists.collect();
        let harmless = escaped(notification, without_markup);
        let renderer = Renderer::new(&self.templates, &harmless, Escape::Text);
        let content = shortened_bytes(renderer.render(&self.message).trim(), MAX_CONTENT);
        let kind = if self.markdown { "markdown" } else { "text" };
        body["msgtype"] = json!(kind);
        body[kind] = json!({"content": content});
        body["safe"] = json!("0");
        body
    }
}

/// The text with characters that look like those of WeCom's markup, but are none: it knows no way to
/// write those themselves.
fn without_markup(text: &str) -> String {
    let look_alike = |c| match c {
        '<' => '＜',
        '>' => '＞',
        '[' => '［',
        ']' => '］',
        '`' => '｀',
        c => c,
    };
    text.chars().map(look_alike).collect()
}

/// WeCom says `"errcode": 0`, or what is wrong, always with status 200.
fn judge(answer: &Answer, now: Timestamp) -> Result<Value, DeliveryError> {
    answer.taken(now)?;
    match answer.json()["errcode"].as_i64() {
        Some(0) | None => confirmed(answer, now, "WeCom", |value| value["errcode"] == 0),
        Some(code) => {
            let reason = format!("the answer was: {}", excerpt(answer.body.trim()));
            Err(match PASSING.contains(&code) {
                true => DeliveryError::transient(reason),
                false => DeliveryError::permanent(reason),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use base::http::HeaderMap;

    use super::super::sink::build_entry;
    use super::super::texts::tests::notification;
    use super::*;

    fn build(yaml: &str) -> (Option<WechatNotifier>, String) {
        build_entry(yaml, |config: &WechatConfig, place, shared, diagnostics| {
            config.build(place, ServiceGlobals::default(), None, shared, diagnostics)
        })
    }

    #[track_caller]
    fn body(yaml: &str, notification: &Notification) -> Value {
        let (notifier, faults) = build(yaml);
        assert_eq!(faults, "", "{yaml}");
        notifier.unwrap().body(notification)
    }

    #[test]
    fn writes_text_and_markdown() {
        let yaml = "{api_secret: s, corp_id: c, agent_id: '1000002', to_user: '@all', message: '{{ .Status }}'}";
        assert_eq!(
            body(yaml, &notification()),
            json!({
                "touser": "@all", "toparty": "", "totag": "", "agentid": "1000002",
                "msgtype": "text", "text": {"content": "firing"}, "safe": "0",
            })
        );
        let yaml =
            "{api_secret: s, corp_id: c, message_type: markdown, message: '**{{ .Status }}**'}";
        assert_eq!(body(yaml, &notification())["markdown"], json!({"content": "**firing**"}));
    }

    #[test]
    fn labels_neither_call_people_nor_make_links_nor_flood() {
        // X16, F16
        let mut hostile = notification();
        let text = format!("<@all> [x](http://evil) <a href=x> {}", "报".repeat(5000));
        hostile.alerts[0].annotations.insert("summary".into(), text);
        let got = body("{api_secret: s, corp_id: c, message_type: markdown}", &hostile);
        let content = got["markdown"]["content"].as_str().unwrap();
        assert!(content.len() <= MAX_CONTENT && content.ends_with("报…"), "{content}");
        assert!(content.contains("＜@all＞ ［x］(http://evil)"), "{content}");
    }

    #[test]
    fn counts_as_taken_only_what_wecom_says_it_took() {
        // F12, F14
        let check = |status, body: &str, expected: &str| {
            let answer = Answer { status, headers: HeaderMap::new(), body: body.to_owned() };
            let got = match judge(&answer, Timestamp::default()) {
                Ok(_) => "taken",
                Err(DeliveryError::Transient { .. }) => "again",
                Err(DeliveryError::Permanent { .. }) => "never",
            };
            assert_eq!(got, expected, "{status} {body}");
        };
        check(200, r#"{"errcode":0,"errmsg":"ok"}"#, "taken");
        check(200, r#"{"errcode":42001,"errmsg":"access_token expired"}"#, "again");
        check(200, r#"{"errcode":45009,"errmsg":"api freq out of limit"}"#, "again");
        check(200, r#"{"errcode":-1,"errmsg":"system busy"}"#, "again");
        check(200, r#"{"errcode":40001,"errmsg":"invalid secret"}"#, "never");
        check(200, r#"{"errcode":81013,"errmsg":"no such user"}"#, "never");
        check(200, "<html>", "again");
        check(502, "", "again");
    }

    #[test]
    fn reports_every_fault() {
        let check = |yaml: &str, expected: &str| assert_eq!(build(yaml).1, expected, "{yaml}");
        check(
            "{message_type: card, to_user: '{{ .CommonLabels.user }}'}",
            "f.yml:1:1: `api_secret` is missing\n  help: set it or `api_secret_file` here, or \
             `wechat_api_secret` under `global:`\n\
             f.yml:1:1: `corp_id` is missing\n  \
             help: set `corp_id`, or `wechat_api_corp_id` under `global:`\n\
             f.yml:1:16: there is no message of the type `card`\n  help: `text` or `markdown`\n\
             f.yml:1:31: `to_user` cannot come from an alert\n  \
             help: make a receiver for each `to_user` and route to it",
        );
    }
}
