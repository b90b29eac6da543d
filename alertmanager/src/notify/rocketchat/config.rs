//! `rocketchat_configs`: the settings and rules of Alertmanager's, and `update_message`.
//!
//! Invariant: there is a user and a token, own or global.

use std::path::PathBuf;
use std::sync::Arc;

use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::access::HttpConfig;
use base::secret::Secret;
use serde::Deserialize;

use super::super::http::Service;
use super::super::notifier::Shared;
use super::super::parts::{FieldConfig, Fields, Kind, parts};
use super::super::settings::{Named, SecretSetting, base_address, fixed};
use super::{MAX_TEXT, MAX_TITLE, RocketchatNotifier};

/// The public server of Rocket.Chat.
const DEFAULT_ADDRESS: &str = "https://open.rocket.chat/";

/// An entry of `rocketchat_configs`, as written. What is not said otherwise is a template.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RocketchatConfig {
    /// Whether endings are sent; by default they are.
    pub send_resolved: Option<Spanned<bool>>,
    /// The address of the server; no template.
    pub api_url: Option<Spanned<Secret>>,
    /// The user; no template.
    pub token_id: Option<Spanned<Secret>>,
    /// The file that names the user.
    pub token_id_file: Option<PathBuf>,
    /// The user's token; no template.
    pub token: Option<Spanned<Secret>>,
    /// The file that holds the token.
    pub token_file: Option<PathBuf>,
    /// How we speak HTTP.
    pub http_config: Option<Spanned<HttpConfig>>,
    /// The channel, or `@user`; no template.
    pub channel: Option<Spanned<String>>,
    /// The bar beside the text.
    pub color: Option<Spanned<String>>,
    /// The headline.
    pub title: Option<Spanned<String>>,
    /// Where the headline leads.
    pub title_link: Option<Spanned<String>>,
    /// The text.
    pub text: Option<Spanned<String>>,
    /// Pairs of a title and a value.
    pub fields: Vec<Spanned<FieldConfig>>,
    /// Whether fields stand beside each other.
    pub short_fields: bool,
    /// An emoji in place of a picture of the sender.
    pub emoji: Option<Spanned<String>>,
    /// A picture of the sender.
    pub icon_url: Option<Spanned<String>>,
    /// A picture.
    pub image_url: Option<Spanned<String>>,
    /// A small picture.
    pub thumb_url: Option<Spanned<String>>,
    /// Is taken, and changes nothing, as in Alertmanager.
    pub link_names: bool,
    /// Buttons.
    pub actions: Vec<RocketchatAction>,
    /// Whether the first message is changed where otherwise a further one would stand below it.
    pub update_message: bool,
}

/// A button, as written. The names without `_` are those by which Alertmanager reads them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RocketchatAction {
    /// What it is; a `button`, whatever is written.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// What it says.
    pub text: Option<Spanned<String>>,
    /// Where it leads.
    pub url: Option<Spanned<String>>,
    /// A picture on it.
    #[serde(alias = "imageurl")]
    pub image_url: Option<Spanned<String>>,
    /// What is said when it is pressed.
    pub msg: Option<Spanned<String>>,
    /// Is taken, and changes nothing, as in Alertmanager; so are those below.
    #[serde(alias = "iswebview")]
    pub is_webview: bool,
    /// How high a page beside the chat is.
    #[serde(alias = "webviewheightratio")]
    pub webview_height_ratio: Option<String>,
    /// Whether the message is put into the input.
    #[serde(alias = "msginchatwindow")]
    pub msg_in_chat_window: bool,
    /// How it is sent.
    #[serde(alias = "msgprocessingtype")]
    pub msg_processing_type: Option<String>,
}

/// What holds for every receiver.
#[derive(Clone, Copy, Debug, Default)]
pub struct RocketchatGlobals<'a> {
    /// The address of the server.
    pub api_url: Option<&'a Spanned<Secret>>,
    /// The user.
    pub token_id: SecretSetting<'a>,
    /// The user's token.
    pub token: SecretSetting<'a>,
}

impl RocketchatConfig {
    /// The notifier.
    pub fn build(
        &self,
        place: Place,
        globals: RocketchatGlobals<'_>,
        shared: Shared<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<RocketchatNotifier> {
        let address =
            base_address(self.api_url.as_ref(), globals.api_url, DEFAULT_ADDRESS, diagnostics);
        let user =
            Named { names: ("token_id", "token_id_file"), global: Some("rocketchat_token_id") };
        let user = SecretSetting::of(&self.token_id, &self.token_id_file).or(
            globals.token_id,
            user,
            place,
            diagnostics,
        );
        let token = Named { names: ("token", "token_file"), global: Some("rocketchat_token") };
        let token = SecretSetting::of(&self.token, &self.token_file).or(
            globals.token,
            token,
            place,
            diagnostics,
        );
        let service = Service::build(self.http_config.as_ref(), shared.http, place, diagnostics);
        let channel = fixed("channel", self.channel.as_ref(), diagnostics);
        let (line, plain) = (Kind::Line(MAX_TITLE), Kind::Plain(MAX_TITLE));
        let message = parts(
            &[
                ("emoji", plain, &self.emoji, "rocketchat.default.emoji"),
                ("avatar", Kind::Link, &self.icon_url, "rocketchat.default.iconurl"),
            ],
            diagnostics,
        );
        let color = "{{ if eq .Status \"firing\" }}red{{ else }}green{{ end }}";
        let attachment = parts(
            &[
                ("title", line, &self.title, "rocketchat.default.title"),
                ("title_link", Kind::Link, &self.title_link, "rocketchat.default.titlelink"),
                ("text", Kind::Lines(MAX_TEXT), &self.text, "rocketchat.default.text"),
                ("image_url", Kind::Link, &self.image_url, ""),
                ("thumb_url", Kind::Link, &self.thumb_url, ""),
                ("color", plain, &self.color, color),
            ],
            diagnostics,
        );
        let fields = Fields::build(&self.fields, self.short_fields, false, MAX_TITLE, diagnostics);
        let actions = self
            .actions
            .iter()
            .map(|action| {
                let settings = [
                    ("text", line, &action.text, ""),
                    ("url", Kind::Link, &action.url, ""),
                    ("image_url", Kind::Link, &action.image_url, ""),
                    ("msg", line, &action.msg, ""),
                ];
                parts(&settings, diagnostics)
            })
            .collect();
        Some(RocketchatNotifier {
            address,
            user: user?,
            token: token?,
            service: service?,
            templates: Arc::clone(shared.templates),
            channel,
            message,
            attachment,
            fields,
            actions,
            update: self.update_message,
        })
    }
}
