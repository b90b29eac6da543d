//! `mattermost_configs`: the settings and rules of Alertmanager's.
//!
//! Source: the configuration reference of Alertmanager 0.33.
//!
//! Invariant: what is left out has the text of the template that Alertmanager names.

use std::path::PathBuf;
use std::sync::Arc;

use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::access::HttpConfig;
use base::secret::Secret;
use serde::Deserialize;

use super::super::http::Service;
use super::super::notifier::Shared;
use super::super::parts::{FieldConfig, Fields, Kind, parts};
use super::super::settings::{Named, SecretSetting, fixed};
use super::{Attachment, MAX_LINE, MAX_TEXT, MattermostNotifier, Priority};

/// An entry of `mattermost_configs`, as written. What is not said otherwise is a template.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MattermostConfig {
    /// Whether endings are sent; by default they are.
    pub send_resolved: Option<Spanned<bool>>,
    /// The address of the webhook; no template.
    pub webhook_url: Option<Spanned<Secret>>,
    /// The file that holds the address.
    pub webhook_url_file: Option<PathBuf>,
    /// How we speak HTTP.
    pub http_config: Option<Spanned<HttpConfig>>,
    /// The channel; no template.
    pub channel: Option<Spanned<String>>,
    /// Who it is from.
    pub username: Option<Spanned<String>>,
    /// The text; of the attachment, or of the message where `attachments` are given.
    pub text: Option<Spanned<String>>,
    /// What is shown where there is no room for more.
    pub fallback: Option<Spanned<String>>,
    /// The bar beside the text.
    pub color: Option<Spanned<String>>,
    /// What stands above the attachment.
    pub pretext: Option<Spanned<String>>,
    /// Who has written it.
    pub author_name: Option<Spanned<String>>,
    /// Where their name leads.
    pub author_link: Option<Spanned<String>>,
    /// A picture of them.
    pub author_icon: Option<Spanned<String>>,
    /// The headline.
    pub title: Option<Spanned<String>>,
    /// Where the headline leads.
    pub title_link: Option<Spanned<String>>,
    /// Pairs of a title and a value.
    pub fields: Vec<Spanned<FieldConfig>>,
    /// A small picture.
    pub thumb_url: Option<Spanned<String>>,
    /// What stands below.
    pub footer: Option<Spanned<String>>,
    /// A picture beside that.
    pub footer_icon: Option<Spanned<String>>,
    /// A picture.
    pub image_url: Option<Spanned<String>>,
    /// A picture of the sender.
    pub icon_url: Option<Spanned<String>>,
    /// An emoji in its place.
    pub icon_emoji: Option<Spanned<String>>,
    /// Attachments in place of the one that the settings above make.
    pub attachments: Vec<MattermostAttachment>,
    /// The type of the post; begins with `custom_`.
    #[serde(rename = "type")]
    pub kind: Option<Spanned<String>>,
    /// Further properties of the post.
    pub props: Option<MattermostProps>,
    /// How urgent it is.
    pub priority: Option<MattermostPriority>,
}

/// An attachment, as written. All of it are templates.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MattermostAttachment {
    /// What is shown where there is no room for more.
    pub fallback: Option<Spanned<String>>,
    /// The bar beside the text.
    pub color: Option<Spanned<String>>,
    /// What stands above the attachment.
    pub pretext: Option<Spanned<String>>,
    /// The text.
    pub text: Option<Spanned<String>>,
    /// Who has written it.
    pub author_name: Option<Spanned<String>>,
    /// Where their name leads.
    pub author_link: Option<Spanned<String>>,
    /// A picture of them.
    pub author_icon: Option<Spanned<String>>,
    /// The headline.
    pub title: Option<Spanned<String>>,
    /// Where the headline leads.
    pub title_link: Option<Spanned<String>>,
    /// Pairs of a title and a value.
    pub fields: Vec<Spanned<FieldConfig>>,
    /// A small picture.
    pub thumb_url: Option<Spanned<String>>,
    /// What stands below.
    pub footer: Option<Spanned<String>>,
    /// A picture beside that.
    pub footer_icon: Option<Spanned<String>>,
    /// A picture.
    pub image_url: Option<Spanned<String>>,
}

/// Further properties of a post, as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MattermostProps {
    /// What is shown beside the channel when somebody asks for more; a template.
    pub card: Option<Spanned<String>>,
}

/// How urgent a post is, as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MattermostPriority {
    /// `urgent`, `important` or `standard`; a template.
    pub priority: Option<Spanned<String>>,
    /// Whether it asks to be acknowledged, where it is more than `standard`.
    pub requested_ack: bool,
    /// Whether people are told again and again, where it is `urgent`.
    pub persistent_notifications: bool,
}

impl MattermostConfig {
    /// The notifier; `global` is the webhook where this one names none.
    pub fn build(
        &self,
        place: Place,
        global: SecretSetting<'_>,
        shared: Shared<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<MattermostNotifier> {
        let named = Named {
            names: ("webhook_url", "webhook_url_file"),
            global: Some("mattermost_webhook_url"),
        };
        let own = SecretSetting::of(&self.webhook_url, &self.webhook_url_file);
        let url = own.address_or(global, named, place, diagnostics);
        let service = Service::build(self.http_config.as_ref(), shared.http, place, diagnostics);
        let channel = fixed("channel", self.channel.as_ref(), diagnostics);
        let plain = Kind::Plain(MAX_LINE);
        let mut message = parts(
            &[
                ("username", plain, &self.username, "mattermost.default.username"),
                ("icon_url", Kind::Link, &self.icon_url, ""),
                ("icon_emoji", plain, &self.icon_emoji, ""),
                ("type", plain, &self.kind, ""),
            ],
            diagnostics,
        );
        let attachments = if self.attachments.is_empty() {
            vec![self.attachment().build(&DEFAULTS, diagnostics)]
        } else {
            let text = ("text", Kind::Lines(MAX_TEXT), &self.text, DEFAULTS.text);
            message.extend(parts(&[text], diagnostics));
            self.attachments.iter().map(|one| one.build(&NOTHING, diagnostics)).collect()
        };
        let props = self.props.as_ref().map_or(&None, |props| &props.card);
        let props = parts(&[("card", Kind::Lines(MAX_TEXT), props, "")], diagnostics);
        let priority = self.priority.as_ref().map(|priority| Priority {
            priority: parts(&[("priority", plain, &priority.priority, "")], diagnostics),
            requested_ack: priority.requested_ack,
            persistent_notifications: priority.persistent_notifications,
        });
        Some(MattermostNotifier {
            url: url?,
            service: service?,
            templates: Arc::clone(shared.templates),
            channel,
            message,
            attachments,
            props,
            priority,
        })
    }

    /// The one attachment that the settings of the message itself make.
    fn attachment(&self) -> MattermostAttachment {
        MattermostAttachment {
            fallback: self.fallback.clone(),
            color: self.color.clone(),
            pretext: self.pretext.clone(),
            text: self.text.clone(),
            author_name: self.author_name.clone(),
            author_link: self.author_link.clone(),
            author_icon: self.author_icon.clone(),
            title: self.title.clone(),
            title_link: self.title_link.clone(),
            fields: self.fields.clone(),
            thumb_url: self.thumb_url.clone(),
            footer: self.footer.clone(),
            footer_icon: self.footer_icon.clone(),
            image_url: self.image_url.clone(),
        }
    }
}

/// What stands for parts that are left out.
struct Defaults {
    fallback: &'static str,
    color: &'static str,
    text: &'static str,
    title: &'static str,
    title_link: &'static str,
}

const DEFAULTS: Defaults = Defaults {
    fallback: "mattermost.default.fallback",
    color: "mattermost.default.color",
    text: "mattermost.default.text",
    title: "mattermost.default.title",
    title_link: "mattermost.default.titlelink",
};

const NOTHING: Defaults = Defaults { fallback: "", color: "", text: "", title: "", title_link: "" };

impl MattermostAttachment {
    fn build(&self, defaults: &Defaults, diagnostics: &mut Diagnostics) -> Attachment {
        let (line, plain) = (Kind::Line(MAX_LINE), Kind::Plain(MAX_LINE));
        let lines = Kind::Lines(MAX_TEXT);
        let parts = parts(
            &[
                ("fallback", plain, &self.fallback, defaults.fallback),
                ("color", plain, &self.color, defaults.color),
                ("pretext", lines, &self.pretext, ""),
                ("text", lines, &self.text, defaults.text),
                ("author_name", plain, &self.author_name, ""),
                ("author_link", Kind::Link, &self.author_link, ""),
                ("author_icon", Kind::Link, &self.author_icon, ""),
                ("title", line, &self.title, defaults.title),
                ("title_link", Kind::Link, &self.title_link, defaults.title_link),
                ("thumb_url", Kind::Link, &self.thumb_url, ""),
                ("footer", line, &self.footer, ""),
                ("footer_icon", Kind::Link, &self.footer_icon, ""),
                ("image_url", Kind::Link, &self.image_url, ""),
            ],
            diagnostics,
        );
        let fields = Fields::build(&self.fields, false, true, MAX_LINE, diagnostics);
        Attachment { parts, fields }
    }
}
