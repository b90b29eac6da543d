//! What holds messages back: silences, inhibition, and times at which routes are mute.
//!
//! ```text
//! silences (durable, by the API) ──┐
//! inhibit_rules, what fires now ───┼─▶ held back? ──▶ dispatch leaves it out, and compares again
//! time intervals of the route ─────┘                  when that changes
//! ```
//!
//! What is held back is neither told nor counted as told: when it is let go, a receiver is told the
//! difference between what it knows and what is true then (F05 to F07).
//!
//! Invariant: nothing here changes an alert; who asks twice at one time is answered the same.

mod times;
mod index;
mod inhibit;
mod blind;
mod silence;

pub(crate) use index::Index;
pub use blind::{Blind, MONITORING_BLIND};
pub use inhibit::{InhibitRule, InhibitRuleConfig, Inhibitor};
pub use silence::{Silence, SilenceError, SilenceState, Silences};
pub use times::{
    RouteTimes, TimeInterval, TimeIntervalConfig, TimeIntervals, TimesConfig, build_all, find_all,
};

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::labels::Labels;
use base::sample::Timestamp;

use crate::alerts::Alert;

/// What holds alerts back, whatever their route. Clones share it.
#[derive(Clone, Debug)]
pub struct Mutes {
    /// The silences.
    pub silences: Silences,
    inhibitor: Arc<Mutex<Inhibitor>>,
    blind: Arc<Mutex<Option<Blind>>>,
}

impl Mutes {
    /// Those silences, and no rules of inhibition.
    pub fn new(silences: Silences) -> Self {
        Self { silences, inhibitor: Arc::default(), blind: Arc::default() }
    }

    /// Puts other rules of inhibition in the place of those before; `alerts` are all that there
    /// are.
    pub fn set_rules<'a>(
        &self,
        rules: impl IntoIterator<Item = InhibitRule>,
        alerts: impl IntoIterator<Item = &'a Alert>,
    ) {
        let mut inhibitor = Inhibitor::new(rules);
        for alert in alerts {
            inhibitor.put(alert);
        }
        *self.lock() = inhibitor;
    }

    /// Takes the newest state of an alert; true where another may be held back, or let go, by it.
    pub fn put(&self, alert: &Alert) -> bool {
        self.lock().put(alert) || alert.name() == MONITORING_BLIND
    }

    /// Notes whether most targets do not answer. Who calls it puts the alert that says so after it,
    /// so that what is held back now is looked at.
    pub fn set_blind(&self, blind: Option<Blind>) {
        *self.blind.lock().unwrap_or_else(PoisonError::into_inner) = blind;
    }

    /// Whether an alert with `labels` is held back at `now`.
    pub fn is_held(&self, labels: &Labels, now: Timestamp) -> bool {
        self.inhibited_by(labels).is_some() || !self.silences.silenced_by(labels, now).is_empty()
    }

    /// The labels of an alert that holds back the one with `labels`.
    pub fn inhibited_by(&self, labels: &Labels) -> Option<Labels> {
        let inhibited_by = self.lock().inhibited_by(labels).cloned();
        inhibited_by.or_else(|| {
            let blind = self.blind.lock().unwrap_or_else(PoisonError::into_inner);
            blind.as_ref().filter(|blind| blind.holds(labels)).map(|blind| blind.alert.clone())
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inhibitor> {
        self.inhibitor.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
