//! Which settings of each service say whom a message goes to, or as whom.
//!
//! Invariant: a setting that is a template in Alertmanager and leads a message somewhere is here; so
//! is every one of ours that may be a template.

use base::diagnostic::{Place, Spanned};
use base::secret::Secret;

use super::super::{
    DiscordConfig, ElasticsearchConfig, EmailConfig, GoogleChatConfig, GotifyConfig,
    IncidentioConfig, IrcConfig, JiraConfig, MatrixConfig, MattermostConfig, MsteamsConfig,
    MsteamsV2Config, NtfyConfig, OpsgenieConfig, PagerdutyConfig, PushoverConfig, RocketchatConfig,
    ServicenowConfig, SlackConfig, SnsConfig, SplunkConfig, SyslogConfig, TelegramConfig,
    TwilioConfig, VictoropsConfig, WebexConfig, WebhookConfig, WechatConfig, XmppConfig,
    ZulipConfig,
};

/// What leads a message somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aim {
    /// A name, a number or a key by which a service knows somebody.
    Name,
    /// Addresses of mail, with commas between.
    Mail,
    /// An address of the web.
    Url,
}

impl Aim {
    /// What stands in the place of a template while nothing is rendered.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Name => "rendered-later",
            Self::Mail => "rendered-later@example.invalid",
            Self::Url => "http://rendered-later.invalid/",
        }
    }
}

/// A setting that leads a message somewhere.
pub struct Field<'a> {
    pub(super) name: &'static str,
    pub(super) kind: Aim,
    value: Setting<'a>,
}

enum Setting<'a> {
    Open(&'a mut Spanned<String>),
    Hidden(&'a mut Spanned<Secret>),
}

impl Field<'_> {
    pub(super) fn text(&self) -> &str {
        match &self.value {
            Setting::Open(text) => &text.value,
            Setting::Hidden(secret) => secret.value.expose(),
        }
    }

    pub(super) fn place(&self) -> Place {
        match &self.value {
            Setting::Open(text) => text.place,
            Setting::Hidden(secret) => secret.place,
        }
    }

    pub(super) fn is_secret(&self) -> bool {
        matches!(self.value, Setting::Hidden(_))
    }

    pub(super) fn set(&mut self, text: &str) {
        match &mut self.value {
            Setting::Open(value) => value.value = text.to_owned(),
            Setting::Hidden(value) => value.value = Secret::new(text),
        }
    }
}

impl<'a> From<&'a mut Spanned<String>> for Setting<'a> {
    fn from(value: &'a mut Spanned<String>) -> Self {
        Self::Open(value)
    }
}

impl<'a> From<&'a mut Spanned<Secret>> for Setting<'a> {
    fn from(value: &'a mut Spanned<Secret>) -> Self {
        Self::Hidden(value)
    }
}

/// An entry of a receiver.
pub trait Aims {
    /// Its settings that lead a message somewhere and are there, always in the same order.
    fn aims(&mut self) -> Vec<Field<'_>>;
}

macro_rules! aims {
    ($($config:ident { $($setting:ident: $kind:ident),* })*) => {$(
        impl Aims for $config {
            fn aims(&mut self) -> Vec<Field<'_>> {
                #[allow(unused_mut, reason = "a service may have none")]
                let mut found = Vec::new();
                $(found.extend(self.$setting.as_mut().map(|value| Field {
                    name: stringify!($setting),
                    kind: Aim::$kind,
                    value: value.into(),
                }));)*
                found
            }
        }
    )*};
}

aims! {
    DiscordConfig {}
    ElasticsearchConfig {}
    EmailConfig { to: Mail, from: Mail }
    GoogleChatConfig {}
    GotifyConfig {}
    IncidentioConfig {}
    IrcConfig {}
    JiraConfig {}
    MatrixConfig { room_id: Name }
    MattermostConfig { channel: Name }
    MsteamsConfig {}
    MsteamsV2Config {}
    NtfyConfig { topic: Name }
    PagerdutyConfig { routing_key: Name, service_key: Name }
    PushoverConfig { user_key: Name, token: Name, device: Name }
    RocketchatConfig { channel: Name }
    ServicenowConfig {}
    SlackConfig { channel: Name }
    SnsConfig { topic_arn: Name, phone_number: Name, target_arn: Name, api_url: Url }
    SplunkConfig {}
    SyslogConfig {}
    TelegramConfig {}
    TwilioConfig { to: Name }
    VictoropsConfig { routing_key: Name, api_key: Name }
    WebexConfig { room_id: Name }
    WebhookConfig { url: Url }
    WechatConfig { corp_id: Name, agent_id: Name, to_user: Name, to_party: Name, to_tag: Name }
    XmppConfig {}
    ZulipConfig { channel: Name }
}

impl Aims for OpsgenieConfig {
    fn aims(&mut self) -> Vec<Field<'_>> {
        let mut found = Vec::new();
        let field = |name, value| Field { name, kind: Aim::Name, value };
        found.extend(self.api_key.as_mut().map(|key| field("api_key", key.into())));
        for responder in &mut self.responders {
            let one = &mut responder.value;
            let settings =
                [("id", &mut one.id), ("name", &mut one.name), ("username", &mut one.username)];
            for (name, setting) in settings {
                found.extend(setting.as_mut().map(|value| field(name, value.into())));
            }
        }
        found
    }
}
