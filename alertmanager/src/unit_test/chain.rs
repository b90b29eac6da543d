//! The way from an alert to its receivers in a test: routes, groups, what holds back, the outbox.
//!
//! Invariant: a message counts as delivered when its lane takes it from the outbox, and goes nowhere.

use std::sync::Arc;

use base::sample::Timestamp;

use crate::alerts::{Alert, Alerts};
use crate::config::Config;
use crate::dispatch::{Dispatcher, HeldBy, Route};
use crate::mute::{Maintenance, Mutes, Silence, Silences};
use crate::notify::{Notification, Notifier};
use crate::outbox::Outbox;
use crate::state::State;

/// What tells.
pub(super) struct Chain {
    alerts: Alerts,
    outbox: Outbox,
    mutes: Mutes,
    dispatcher: Dispatcher,
    route: Route,
    lanes: Vec<(String, Arc<dyn Notifier>)>,
    external_url: String,
    has_times: bool,
    /// When dispatch has something to do next.
    due: Option<Timestamp>,
    pub(super) delivered: Vec<Delivered>,
}

/// A message that was delivered, by all ways that told the same at the same time.
#[derive(Clone, Debug)]
pub(super) struct Delivered {
    pub(super) at: Timestamp,
    pub(super) receiver: String,
    /// The kinds of the ways: `email`, `slack`.
    pub(super) by: Vec<String>,
    pub(super) group_key: String,
    pub(super) alerts: Vec<Alert>,
    /// What people read, of each way.
    pub(super) texts: Vec<String>,
}

/// An alert that fires and is held back on one of its routes.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) alert: Arc<Alert>,
    pub(super) by: Vec<HeldBy>,
}

impl Delivered {
    /// Whether something still fires.
    pub(super) fn is_firing(&self) -> bool {
        self.alerts.iter().any(Alert::is_firing)
    }
}

impl Chain {
    /// The chain of `config` for the alerts of a test.
    ///
    /// # Errors
    ///
    /// A silence is none, or the state failed.
    pub(super) async fn begin(
        config: &Config,
        alerts: &Alerts,
        silences: &[Silence],
        (external_url, start): (&str, Timestamp),
    ) -> Result<Self, String> {
        let failed = |error: crate::state::StateError| error.to_string();
        let state = State::in_memory().await.map_err(failed)?;
        let outbox = Outbox::open(state.clone()).await.map_err(failed)?;
        let silences_kept = Silences::open(state.clone()).await.map_err(failed)?;
        let maintenance = Maintenance::open(state).await.map_err(failed)?;
        let mutes = Mutes::new(silences_kept, maintenance);
        for silence in silences {
            let made = mutes.silences.set(silence.clone(), start).await;
            made.map_err(|error| format!("a silence is refused: {error}"))?;
        }
        mutes.maintenance.set_windows(config.windows.clone());
        mutes.set_rules(config.inhibit_rules.clone(), []);
        let mut dispatcher = Dispatcher::new(
            config.route.clone(),
            config.lanes.clone(),
            alerts.clone(),
            outbox.clone(),
            mutes.clone(),
            start,
        )
        .with_fallbacks(config.receivers.fallbacks().clone());
        dispatcher.adopt().await.map_err(failed)?;
        let lanes = config.receivers.notifiers();
        Ok(Self {
            alerts: alerts.clone(),
            outbox,
            mutes,
            dispatcher,
            has_times: config.route.all().iter().any(|route| !route.times.is_always()),
            route: config.route.clone(),
            lanes: lanes.map(|(lane, way)| (lane.to_owned(), Arc::clone(way))).collect(),
            external_url: external_url.to_owned(),
            due: None,
            delivered: Vec::new(),
        })
    }

    /// When there is something to do after `now`; times at which routes are mute begin and end with
    /// a minute.
    pub(super) fn next(&self, now: Timestamp) -> Timestamp {
        const MINUTE: i64 = 60_000;
        let minute = Timestamp::from_millis((now.millis().div_euclid(MINUTE) + 1) * MINUTE);
        let minute = if self.has_times { minute } else { Timestamp::MAX };
        // What is still due was looked at just now: not again before a while.
        let again = now + std::time::Duration::from_secs(1);
        self.due.map_or(minute, |due| due.max(again).min(minute))
    }

    /// Looks at everything that is due at `now`, and delivers.
    ///
    /// # Errors
    ///
    /// The state failed.
    pub(super) async fn step(&mut self, now: Timestamp) -> Result<(), String> {
        let failed = |error: crate::state::StateError| error.to_string();
        loop {
            self.due = self.dispatcher.step(now).await.map_err(failed)?;
            let mut is_quiet = true;
            for (lane, way) in self.lanes.clone() {
                while let Ok(due) = self.outbox.next(&lane, now) {
                    let message = Notification::of(&due, now, &self.external_url);
                    self.note(message, way.as_ref());
                    self.outbox.delivered(&due, None, now).await.map_err(failed)?;
                    is_quiet = false;
                }
            }
            if is_quiet {
                return Ok(());
            }
        }
    }

    /// Notes a message, beside that of another way that says the same.
    fn note(&mut self, message: Notification, way: &dyn Notifier) {
        let text = way.preview(&message);
        let same = self.delivered.iter_mut().find(|other| {
            other.at == message.at
                && other.receiver == message.receiver
                && other.group_key == message.group_key
                && other.alerts == message.alerts
        });
        match same {
            Some(same) => {
                same.by.push(way.integration().to_owned());
                same.texts.push(text);
            }
            None => self.delivered.push(Delivered {
                at: message.at,
                receiver: message.receiver,
                by: vec![way.integration().to_owned()],
                group_key: message.group_key,
                alerts: message.alerts,
                texts: vec![text],
            }),
        }
    }

    /// The alerts that fire at `now` and are held back.
    pub(super) fn held(&self, now: Timestamp) -> Vec<Held> {
        let mut found = Vec::new();
        for alert in self.alerts.all().into_iter().filter(|alert| alert.is_firing()) {
            let mut by: Vec<HeldBy> = Vec::new();
            for route in self.route.matching(&alert.labels) {
                for reason in HeldBy::all(route, &alert.labels, &self.mutes, now) {
                    if by.iter().all(|known| known.to_string() != reason.to_string()) {
                        by.push(reason);
                    }
                }
            }
            if !by.is_empty() {
                found.push(Held { alert, by });
            }
        }
        found
    }
}
