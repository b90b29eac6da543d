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

mod notifier;
mod http;
mod setting;
mod stream;
mod links;
mod console;
mod webhook;
mod texts;
mod document;
mod slack;
mod mail;
mod elasticsearch;
mod exec;
mod gotify;
mod irc;
mod ntfy;
mod splunk;
mod syslog;
mod twilio;
mod xmpp;
mod status;
mod run;

pub use console::{ConsoleConfig, ConsoleNotifier};
pub use elasticsearch::{ElasticsearchConfig, ElasticsearchNotifier};
pub use exec::{ExecConfig, ExecNotifier};
pub use gotify::{GotifyConfig, GotifyNotifier};
pub use irc::{IrcConfig, IrcNotifier};
pub use mail::{EmailConfig, EmailGlobals, EmailNotifier};
pub use notifier::{DeliveryError, Notification, Notifier, Receipt, Shared};
pub use ntfy::{NtfyConfig, NtfyNotifier};
pub use run::{LaneRunner, NotifyMetrics};
pub use slack::{SlackConfig, SlackGlobals, SlackNotifier};
pub use splunk::{SplunkConfig, SplunkNotifier};
pub use status::{LaneState, LaneStates};
pub use syslog::{SyslogConfig, SyslogNotifier};
pub use twilio::{TwilioConfig, TwilioNotifier};
pub use webhook::{WebhookConfig, WebhookNotifier};
pub use xmpp::{XmppConfig, XmppNotifier};
