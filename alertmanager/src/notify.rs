//! Delivers what dispatch has queued: each way to each receiver is a lane of its own.
//!
//! ```text
//! [outbox] ─▶ lane ops/email/0 ─▶ mail
//!          ─▶ lane ops/slack/0 ─▶ chat       a lane that fails or hangs delays only itself
//!          ─▶ lane hooks/webhook/0 ─▶ ...
//! ```
//!
//! A [`Notifier`] knows one service: it renders a [`Notification`] and hands it over. Whether it
//! is tried again, when, and what is noted of it is the lane's part.
//!
//! Invariant: success is the positive final answer of the service, nothing less (F14).

mod refusal;
mod notifier;
mod http;
mod texts;
mod settings;
mod endpoint;
mod stream;
mod links;
mod parts;
mod cut;
mod document;
#[cfg(test)]
mod sink;
mod paging;
mod payload;
mod console;
mod webhook_text;
mod webhook;
mod slack;
mod mattermost;
mod rocketchat;
mod discord;
mod telegram;
mod msteams;
mod msteamsv2;
mod matrix;
mod zulip;
mod googlechat;
mod webex;
mod mail;
mod watchdog;
mod pagerduty;
mod opsgenie;
mod victorops;
mod pushover;
mod sns;
mod wechat;
mod jira;
mod servicenow;
mod incidentio;
#[cfg(test)]
mod exchanges;
mod elasticsearch;
mod exec;
mod gotify;
mod irc;
mod ntfy;
mod splunk;
mod syslog;
mod twilio;
mod xmpp;
#[cfg(test)]
mod first_lines;
mod aimed;
mod status;
mod minimal;
mod lane;
mod run;

pub use aimed::{Aim, Aims, Allowed, Field, Named, aimed};
pub use console::{ConsoleConfig, ConsoleNotifier};
pub use discord::{DiscordConfig, DiscordNotifier};
pub use elasticsearch::{ElasticsearchConfig, ElasticsearchNotifier};
pub use exec::{ExecConfig, ExecNotifier};
pub use googlechat::{GoogleChatConfig, GoogleChatNotifier};
pub use gotify::{GotifyConfig, GotifyNotifier};
pub use http::{check_hidden_url, check_url};
pub use incidentio::{IncidentioConfig, IncidentioNotifier};
pub use irc::{IrcConfig, IrcNotifier};
pub use jira::{JiraConfig, JiraField, JiraNotifier};
pub use lane::{DEFAULT_TIMEOUT, Gate, LaneRunner, Next, NotifyMetrics, Pace, Recheck};
pub use mail::{EmailConfig, EmailGlobals, EmailNotifier, ThreadingConfig, check_server};
pub use matrix::{MatrixConfig, MatrixNotifier};
pub use mattermost::{
    MattermostAttachment, MattermostConfig, MattermostNotifier, MattermostPriority, MattermostProps,
};
pub use msteams::{MsteamsConfig, MsteamsNotifier};
pub use msteamsv2::{MsteamsV2Config, MsteamsV2Notifier};
pub use notifier::{DeliveryError, Notification, Notifier, Receipt, Shared};
pub use ntfy::{NtfyConfig, NtfyNotifier};
pub use opsgenie::{OpsgenieConfig, OpsgenieNotifier, ResponderConfig};
pub use pagerduty::{PagerdutyConfig, PagerdutyImage, PagerdutyLink, PagerdutyNotifier};
pub use paging::ServiceGlobals;
pub use parts::FieldConfig;
pub use payload::PayloadConfig;
pub use pushover::{PushoverConfig, PushoverNotifier};
pub use refusal::Refusal;
pub use rocketchat::{RocketchatAction, RocketchatConfig, RocketchatGlobals, RocketchatNotifier};
pub use servicenow::{ServicenowConfig, ServicenowNotifier};
pub use settings::SecretSetting;
pub use slack::{SlackAction, SlackConfig, SlackConfirmation, SlackGlobals, SlackNotifier};
pub use sns::{Sigv4Config, SnsConfig, SnsNotifier};
pub use splunk::{SplunkConfig, SplunkNotifier};
pub use status::{LaneState, LaneStates};
pub use syslog::{SyslogConfig, SyslogNotifier};
pub use telegram::{TelegramConfig, TelegramGlobals, TelegramNotifier};
pub use twilio::{TwilioConfig, TwilioNotifier};
pub use victorops::{VictoropsConfig, VictoropsNotifier};
pub use watchdog::{EVALUATED_AT, WatchdogConfig, WatchdogNotifier};
pub use webex::{WebexConfig, WebexNotifier};
pub use webhook::{WebhookConfig, WebhookNotifier};
pub use wechat::{WechatConfig, WechatNotifier};
pub use xmpp::{XmppConfig, XmppNotifier};
pub use zulip::{ZulipConfig, ZulipNotifier};
