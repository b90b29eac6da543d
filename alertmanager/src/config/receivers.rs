//! `receivers:` who can be told, and how each is reached.
//!
//! Invariant: a lane's name depends on the receiver's name and the place among its kind only, so
//! that what it was told is found again after a restart.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base::diagnostic::{Diagnostics, Place, Spanned};
use base::period::Period;
use serde::Deserialize;

use super::fallbacks;
use super::global::GlobalConfig;
use super::watchdog::WATCHDOG;
use crate::dispatch::{Fallbacks, Lane, Lanes};
use crate::notify::{
    ConsoleConfig, ConsoleNotifier, DEFAULT_TIMEOUT, EmailConfig, Notifier, Shared, SlackConfig,
    WatchdogNotifier, WebhookConfig,
};
use crate::template::Templates;

/// A receiver, as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiverConfig {
    /// The name by which routes call it.
    pub name: Spanned<String>,
    /// Who hears of it where this one cannot be told.
    #[serde(default)]
    pub(super) fallback: Option<Spanned<String>>,
    /// How long it may fail before the fallback hears; 5m by default.
    #[serde(default)]
    pub(super) fallback_after: Option<Spanned<Period>>,
    /// The longest that handing over one message may take; 20s by default.
    #[serde(default)]
    pub(super) timeout: Option<Spanned<Period>>,
    #[serde(default)]
    email_configs: Vec<Spanned<EmailConfig>>,
    #[serde(default)]
    slack_configs: Vec<Spanned<SlackConfig>>,
    #[serde(default)]
    webhook_configs: Vec<Spanned<WebhookConfig>>,
    #[serde(default)]
    console_configs: Vec<Spanned<ConsoleConfig>>,
}

/// All ways to all receivers.
#[derive(Clone, Debug, Default)]
pub struct Receivers {
    /// Receivers by name, also those that nobody is told by.
    names: Vec<String>,
    ways: Vec<Way>,
    fallbacks: Fallbacks,
    /// By the receiver's name.
    timeouts: BTreeMap<String, Duration>,
}

/// One way to one receiver.
#[derive(Clone, Debug)]
struct Way {
    receiver: String,
    lane: Lane,
    notifier: Arc<dyn Notifier>,
}

impl Receivers {
    /// The receiver that prints.
    pub(super) fn console() -> Self {
        let mut receivers = Self { names: vec!["console".to_owned()], ..Self::default() };
        receivers.add("console", 0, None, Some(ConsoleNotifier));
        receivers
    }

    pub(super) fn build(
        configs: &[Spanned<ReceiverConfig>],
        global: &GlobalConfig,
        templates: &Arc<Templates>,
        diagnostics: &mut Diagnostics,
    ) -> Self {
        let fallbacks = fallbacks::build(configs, diagnostics);
        let mut receivers = Self { fallbacks, ..Self::default() };
        let shared = Shared { http: &global.http_config, templates };
        for config in configs {
            let config = &config.value;
            let name = &config.name;
            let timeout = fallbacks::timeout(config.timeout.as_ref(), DEFAULT_TIMEOUT, diagnostics);
            receivers.timeouts.insert(name.value.clone(), timeout);
            if name.value.is_empty() || name.value.contains('/') {
                diagnostics.report(name, format!("`{}` cannot name a receiver", name.value));
            } else if receivers.names.contains(&name.value) {
                diagnostics.report(name, format!("there are two receivers `{}`", name.value));
            }
            receivers.names.push(name.value.clone());
            let mut ways = Entries { receivers: &mut receivers, receiver: &name.value };
            ways.add(&config.email_configs, |email, place| {
                let built = email.build(place, &global.email(), templates, diagnostics);
                (email.send_resolved.as_ref(), built)
            });
            ways.add(&config.slack_configs, |slack, place| {
                let built = slack.build(place, global.slack(), shared, diagnostics);
                (slack.send_resolved.as_ref(), built)
            });
            ways.add(&config.webhook_configs, |webhook, place| {
                (webhook.send_resolved.as_ref(), webhook.build(place, shared.http, diagnostics))
            });
            ways.add(&config.console_configs, |console, _| {
                (console.send_resolved.as_ref(), Some(ConsoleNotifier))
            });
        }
        receivers
    }

    /// Adds a way; where none is said, endings are told too: whoever was told that something fires
    /// is told when it is over.
    fn add<N: Notifier + 'static>(
        &mut self,
        receiver: &str,
        place: usize,
        send_resolved: Option<&Spanned<bool>>,
        notifier: Option<N>,
    ) {
        let Some(notifier) = notifier else { return };
        let id = format!("{receiver}/{}/{place}", notifier.integration());
        let send_resolved = send_resolved.is_none_or(|send| send.value);
        self.ways.push(Way {
            receiver: receiver.to_owned(),
            lane: Lane { id, send_resolved },
            notifier: Arc::new(notifier),
        });
    }

    /// The lanes of each receiver.
    pub(super) fn lanes(&self) -> Lanes {
        let mut lanes: Lanes = self.names.iter().map(|name| (name.clone(), Vec::new())).collect();
        for way in &self.ways {
            lanes.entry(way.receiver.clone()).or_default().push(way.lane.clone());
        }
        lanes
    }

    /// Every lane with its service.
    pub fn notifiers(&self) -> impl Iterator<Item = (&str, &Arc<dyn Notifier>)> {
        self.ways.iter().map(|way| (way.lane.id.as_str(), &way.notifier))
    }

    /// Who hears of a receiver's alerts where that one cannot be told.
    pub fn fallbacks(&self) -> &Fallbacks {
        &self.fallbacks
    }

    /// The longest that handing over a message by a lane may take.
    pub fn timeout(&self, lane: &str) -> Duration {
        let way = self.ways.iter().find(|way| way.lane.id == lane);
        way.and_then(|way| self.timeouts.get(&way.receiver)).copied().unwrap_or(DEFAULT_TIMEOUT)
    }

    /// Adds the receiver of the watchdog.
    pub(super) fn add_watchdog(&mut self, notifier: WatchdogNotifier, timeout: Duration) {
        self.names.push(WATCHDOG.to_owned());
        self.timeouts.insert(WATCHDOG.to_owned(), timeout);
        let quiet = Spanned { value: false, place: Place::default() };
        self.add(WATCHDOG, 0, Some(&quiet), Some(notifier));
    }

    /// How many receivers there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

/// The entries of one receiver.
struct Entries<'a> {
    receivers: &'a mut Receivers,
    receiver: &'a str,
}

impl Entries<'_> {
    /// Adds all of one kind; `build` says whether endings are told, and makes the notifier.
    fn add<C, N: Notifier + 'static>(
        &mut self,
        entries: &[Spanned<C>],
        mut build: impl FnMut(&C, Place) -> (Option<&Spanned<bool>>, Option<N>),
    ) {
        for (n, entry) in entries.iter().enumerate() {
            let (send_resolved, notifier) = build(&entry.value, entry.place);
            self.receivers.add(self.receiver, n, send_resolved, notifier);
        }
    }
}

impl From<&ReceiverConfig> for Place {
    fn from(config: &ReceiverConfig) -> Self {
        config.name.place
    }
}
