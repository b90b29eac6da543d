//! `receivers:` who can be told, and how each is reached.
//!
//! Invariant: a lane's name depends on the receiver's name and the place among its kind only, so
//! that what it was told is found again after a restart.

use std::sync::Arc;

use base::diagnostic::{Diagnostics, Place, Spanned};
use serde::Deserialize;

use super::global::GlobalConfig;
use crate::dispatch::{Lane, Lanes};
use crate::notify::{
    ConsoleConfig, ConsoleNotifier, EmailConfig, Notifier, Shared, SlackConfig, WebhookConfig,
};
use crate::template::Templates;

/// A receiver, as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiverConfig {
    /// The name by which routes call it.
    pub name: Spanned<String>,
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
        let mut receivers = Self { names: vec!["console".to_owned()], ways: Vec::new() };
        receivers.add("console", 0, None, Some(ConsoleNotifier));
        receivers
    }

    pub(super) fn build(
        configs: &[Spanned<ReceiverConfig>],
        global: &GlobalConfig,
        templates: &Arc<Templates>,
        diagnostics: &mut Diagnostics,
    ) -> Self {
        let mut receivers = Self::default();
        let shared = Shared { http: &global.http_config, templates };
        for config in configs {
            let config = &config.value;
            let name = &config.name;
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
