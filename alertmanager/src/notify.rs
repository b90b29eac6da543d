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
mod console;
mod webhook;
mod texts;
mod slack;
mod mail;
mod watchdog;
mod status;
mod minimal;
mod lane;
mod run;

pub use console::{ConsoleConfig, ConsoleNotifier};
pub use lane::{DEFAULT_TIMEOUT, Gate, LaneRunner, Next, NotifyMetrics, Pace};
pub use mail::{EmailConfig, EmailGlobals, EmailNotifier};
pub use notifier::{DeliveryError, Notification, Notifier, Receipt, Shared};
pub use refusal::Refusal;
pub use slack::{SlackConfig, SlackGlobals, SlackNotifier};
pub use status::{LaneState, LaneStates};
pub use watchdog::{EVALUATED_AT, WatchdogConfig, WatchdogNotifier};
pub use webhook::{WebhookConfig, WebhookNotifier};
