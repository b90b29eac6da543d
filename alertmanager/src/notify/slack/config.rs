//! `slack_configs`: the settings and rules of Alertmanager's.
//!
//! Source: the configuration reference of Alertmanager 0.33.
//!
//! Invariant: there is one way to the service, a webhook or the API with a token, never both.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::access::{HttpConfig, SecretSource};
use base::period::Period;
use base::secret::Secret;
use serde::Deserialize;

use super::super::http::{Service, check_url};
use super::super::notifier::Shared;
use super::super::parts::{FieldConfig, Fields, Kind, Part, parts};
use super::super::settings::{Named, SecretSetting, fixed};
use super::{MAX_TEXT, MAX_TITLE, POST, SlackNotifier};
use crate::template::{Escape, Markup};

/// Where messages are posted with a token.
const DEFAULT_APP_URL: &str = "https://slack.com/api/chat.postMessage";

/// With `link_names` an `@` in an alert must not call anybody.
const NO_NAMES: Markup = Markup { backslash: "", strict: false, entities: true, apart: "@" };

/// An entry of `slack_configs`, as written. What is not said otherwise is a template.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SlackConfig {
    /// Whether endings are sent; by default they are.
    pub send_resolved: Option<Spanned<bool>>,
    /// The address of the webhook; no template.
    pub api_url: Option<Spanned<Secret>>,
    /// The file that holds the address.
    pub api_url_file: Option<PathBuf>,
    /// The token of an app; no template.
    pub app_token: Option<Spanned<Secret>>,
    /// The file that holds the token.
    pub app_token_file: Option<PathBuf>,
    /// Where messages are posted with the token; no template.
    pub app_url: Option<Spanned<Secret>>,
    /// How we speak HTTP.
    pub http_config: Option<Spanned<HttpConfig>>,
    /// The channel; no template, because a label must not choose who reads.
    pub channel: Option<Spanned<String>>,
    /// Who it is from.
    pub username: Option<Spanned<String>>,
    /// The bar beside the text.
    pub color: Option<Spanned<String>>,
    /// The headline.
    pub title: Option<Spanned<String>>,
    /// Where the headline leads.
    pub title_link: Option<Spanned<String>>,
    /// What stands above the attachment.
    pub pretext: Option<Spanned<String>>,
    /// The text.
    pub text: Option<Spanned<String>>,
    /// The text of the message itself, above all attachments.
    pub message_text: Option<Spanned<String>>,
    /// What is shown where there is no room for more.
    pub fallback: Option<Spanned<String>>,
    /// Names the attachment for Slack's callbacks.
    pub callback_id: Option<Spanned<String>>,
    /// What stands below.
    pub footer: Option<Spanned<String>>,
    /// An emoji in place of a picture of the sender.
    pub icon_emoji: Option<Spanned<String>>,
    /// A picture of the sender.
    pub icon_url: Option<Spanned<String>>,
    /// A picture.
    pub image_url: Option<Spanned<String>>,
    /// A small picture.
    pub thumb_url: Option<Spanned<String>>,
    /// Pairs of a title and a value.
    pub fields: Vec<Spanned<FieldConfig>>,
    /// Whether fields stand beside each other.
    pub short_fields: bool,
    /// Buttons that lead somewhere.
    pub actions: Vec<Spanned<SlackAction>>,
    /// Where Slack's markup counts.
    pub mrkdwn_in: Vec<String>,
    /// Whether names and channels in texts of the configuration become links.
    pub link_names: bool,
    /// Whether the first message is changed where otherwise a further one would stand below it.
    pub update_message: Option<Spanned<bool>>,
    /// The longest that it may take; 0 is the lane's limit.
    pub timeout: Option<Period>,
}

/// A button, as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SlackAction {
    /// What it is; a `button`.
    #[serde(rename = "type")]
    pub kind: Option<Spanned<String>>,
    /// What it says.
    pub text: Option<Spanned<String>>,
    /// Where it leads.
    pub url: Option<Spanned<String>>,
    /// `primary`, `danger` or nothing.
    pub style: Option<Spanned<String>>,
    /// By what a program that listens to buttons knows it, where it leads nowhere.
    pub name: Option<Spanned<String>>,
    /// What that program is told.
    pub value: Option<Spanned<String>>,
    /// What is asked before.
    pub confirm: Option<Spanned<SlackConfirmation>>,
}

/// What is asked before a button counts, as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SlackConfirmation {
    /// The question.
    pub text: Option<Spanned<String>>,
    /// What stands above it.
    pub title: Option<Spanned<String>>,
    /// The answer that counts.
    pub ok_text: Option<Spanned<String>>,
    /// The other one.
    pub dismiss_text: Option<Spanned<String>>,
}

/// What holds for every receiver.
#[derive(Clone, Copy, Debug, Default)]
pub struct SlackGlobals<'a> {
    /// The address of a webhook where a receiver names none.
    pub api_url: SecretSetting<'a>,
    /// The token of an app where a receiver has neither that nor an address.
    pub app_token: SecretSetting<'a>,
    /// Where messages are posted with a token.
    pub app_url: Option<&'a Spanned<Secret>>,
}

impl SlackConfig {
    /// The notifier.
    pub fn build(
        &self,
        place: Place,
        globals: SlackGlobals<'_>,
        shared: Shared<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<SlackNotifier> {
        let way = self.way(place, globals, diagnostics);
        let service = Service::build(self.http_config.as_ref(), shared.http, place, diagnostics);
        let channel = fixed("channel", self.channel.as_ref(), diagnostics);
        let line = Kind::Line(MAX_TITLE);
        let message = parts(
            &[
                ("username", line, &self.username, "slack.default.username"),
                ("icon_emoji", line, &self.icon_emoji, "slack.default.iconemoji"),
                ("icon_url", Kind::Link, &self.icon_url, "slack.default.iconurl"),
                ("text", Kind::Lines(MAX_TEXT), &self.message_text, ""),
            ],
            diagnostics,
        );
        let attachment = parts(
            &[
                ("title", line, &self.title, "slack.default.title"),
                ("title_link", Kind::Link, &self.title_link, "slack.default.titlelink"),
                ("pretext", Kind::Lines(MAX_TEXT), &self.pretext, "slack.default.pretext"),
                ("text", Kind::Lines(MAX_TEXT), &self.text, "slack.default.text"),
                ("fallback", line, &self.fallback, "slack.default.fallback"),
                ("callback_id", line, &self.callback_id, "slack.default.callbackid"),
                ("footer", line, &self.footer, "slack.default.footer"),
                ("color", line, &self.color, "slack.default.color"),
                ("image_url", Kind::Link, &self.image_url, ""),
                ("thumb_url", Kind::Link, &self.thumb_url, ""),
            ],
            diagnostics,
        );
        let fields = Fields::build(&self.fields, self.short_fields, true, MAX_TITLE, diagnostics);
        let actions = self
            .actions
            .iter()
            .map(|action| action.value.build(action.place, diagnostics))
            .collect();
        let (url, token) = way?;
        Some(SlackNotifier {
            url,
            token,
            service: service?,
            templates: Arc::clone(shared.templates),
            escape: if self.link_names { Escape::Markup(NO_NAMES) } else { Escape::Entities },
            channel,
            message,
            attachment,
            fields,
            actions,
            mrkdwn_in: self.mrkdwn_in.clone(),
            link_names: self.link_names,
            update: self.update_message.as_ref().is_some_and(|update| update.value),
            timeout: self.timeout.filter(|t| !t.is_zero()).map_or(Duration::MAX, Period::duration),
        })
    }

    /// Where messages are posted, and the token.
    fn way(
        &self,
        place: Place,
        globals: SlackGlobals<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<(SecretSource, Option<SecretSource>)> {
        let own_url = SecretSetting::of(&self.api_url, &self.api_url_file);
        let own_token = SecretSetting::of(&self.app_token, &self.app_token_file);
        if own_url.is_set() && own_token.is_set() {
            let message = "only one of `api_url`, `api_url_file` and `app_token`, `app_token_file` \
                           can be given";
            diagnostics.report(place, message);
            return None;
        }
        let authorization =
            self.http_config.as_ref().and_then(|http| http.value.authorization.as_ref());
        let by_token = own_token.is_set()
            || (!own_url.is_set() && authorization.is_none() && globals.app_token.is_set());
        let app_url = self.app_url.as_ref().or(globals.app_url);
        let update = self.update_message.as_ref().filter(|update| update.value);
        if by_token {
            if let Some(authorization) = authorization {
                let message = "`authorization` and `app_token` say two things of who we are";
                diagnostics.report_with_help(authorization, message, "take one of them out");
            }
            if let Some(url) = &self.app_url {
                check_url(url, diagnostics);
            }
            let url = app_url.map_or(Secret::new(DEFAULT_APP_URL), |url| url.value.clone());
            if let Some(update) = update.filter(|_| !url.expose().ends_with(POST)) {
                let help = format!("let `app_url` end in `{POST}`");
                let message = "`update_message` needs Slack's own API";
                diagnostics.report_with_help(update, message, help);
            }
            let named =
                Named { names: ("app_token", "app_token_file"), global: Some("slack_app_token") };
            let token = own_token.or(globals.app_token, named, place, diagnostics)?;
            return Some((SecretSource::Given(url), Some(token)));
        }
        if let Some(update) = update {
            let posts = |url: &Spanned<Secret>| url.value.expose() == DEFAULT_APP_URL;
            if !self.api_url.as_ref().is_some_and(posts) {
                let help = format!(
                    "use `app_token`, or set `api_url` to {DEFAULT_APP_URL} and the token under \
                     `http_config`"
                );
                let message = "`update_message` needs the token of an app; `api_url` is a webhook";
                diagnostics.report_with_help(update, message, help);
            }
        }
        let named = Named {
            names: ("api_url", "api_url_file"),
            global: Some("slack_api_url` or `slack_app_token"),
        };
        Some((own_url.address_or(globals.api_url, named, place, diagnostics)?, None))
    }
}

impl SlackAction {
    /// The parts of the button, and of what is asked before.
    fn build(&self, place: Place, diagnostics: &mut Diagnostics) -> (Vec<Part>, Vec<Part>) {
        let SlackAction { kind, text, url, style, name, value, confirm } = self;
        let empty =
            |part: &Option<Spanned<String>>| part.as_ref().is_none_or(|part| part.value.is_empty());
        for (setting, part) in [("type", kind), ("text", text)] {
            if empty(part) {
                diagnostics.report(place, format!("the action has no `{setting}`"));
            }
        }
        if empty(url) && empty(name) {
            diagnostics.report(place, "the action has neither `url` nor `name`");
        }
        let line = Kind::Line(MAX_TITLE);
        let common =
            [("type", line, kind, ""), ("text", line, text, ""), ("style", line, style, "")];
        let mut action = parts(&common, diagnostics);
        if !empty(url) {
            // It leads somewhere, so nobody is told that it was pressed.
            action.extend(parts(&[("url", Kind::Link, url, "")], diagnostics));
            return (action, Vec::new());
        }
        let told = [("name", line, name, ""), ("value", line, value, "")];
        action.extend(parts(&told, diagnostics));
        let Some(confirm) = confirm else { return (action, Vec::new()) };
        let SlackConfirmation { text, title, ok_text, dismiss_text } = &confirm.value;
        if empty(text) {
            diagnostics.report(confirm, "the confirmation has no `text`");
        }
        let asked = parts(
            &[
                ("text", line, text, ""),
                ("title", line, title, ""),
                ("ok_text", line, ok_text, ""),
                ("dismiss_text", line, dismiss_text, ""),
            ],
            diagnostics,
        );
        (action, asked)
    }
}
