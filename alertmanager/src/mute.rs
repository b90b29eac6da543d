//! What holds messages back: silences, windows of maintenance, inhibition, and times at which routes
//! are mute.
//!
//! ```text
//! silences (durable, by the API) ──┐
//! maintenance, planned or asked for┤
//! inhibit_rules, what fires now ───┼─▶ held back? ──▶ dispatch leaves it out, and compares again
//! time intervals of the route ─────┘                  when that changes
//! ```
//!
//! What is held back is neither told nor counted as told: when it is let go, a receiver is told the
//! difference between what it knows and what is true then (F05 to F07).
//!
//! Invariant: nothing here changes an alert; who asks twice at one time is answered the same.

mod times;
mod beginnings;
mod index;
mod effects;
mod inhibit;
mod blind;
mod first_round;
mod silence;
mod maintenance;

pub use blind::{Blind, MONITORING_BLIND};
pub use effects::Effects;
pub use first_round::{FirstRound, Round};
pub(crate) use index::Index;
pub use inhibit::{InhibitRule, InhibitRuleConfig, Inhibitor};
pub use maintenance::{
    Asked, MAINTENANCE_METRIC, Maintenance, MaintenanceConfig, MaintenanceError, Occurrence, Phase,
    Span, Window, build_windows, read_time,
};
pub use silence::{ENDED_BECAUSE, Silence, SilenceError, SilenceState, Silences};
pub use times::{
    RouteTimes, TimeInterval, TimeIntervalConfig, TimeIntervals, TimesConfig, build_all, find_all,
};

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::labels::Labels;
use base::sample::Timestamp;

use crate::alerts::Alert;
use crate::drill;

/// What holds alerts back, whatever their route. Clones share it.
#[derive(Clone, Debug)]
pub struct Mutes {
    /// The silences.
    pub silences: Silences,
    /// The windows of maintenance.
    pub maintenance: Maintenance,
    /// What waits after a start.
    pub first_round: FirstRound,
    inhibitor: Arc<Mutex<Inhibitor>>,
    blind: Arc<Mutex<Option<Blind>>>,
}

impl Mutes {
    /// Those silences and windows, and no rules of inhibition.
    pub fn new(silences: Silences, maintenance: Maintenance) -> Self {
        Self {
            silences,
            maintenance,
            first_round: FirstRound::default(),
            inhibitor: Arc::default(),
            blind: Arc::default(),
        }
    }

    /// Puts other rules of inhibition in the place of those before; `alerts` are all that there
    /// are. Where the rules are the same nothing is done: what they hold is known already.
    pub fn set_rules<'a>(
        &self,
        rules: impl IntoIterator<Item = InhibitRule>,
        alerts: impl IntoIterator<Item = &'a Alert>,
    ) {
        let rules: Vec<InhibitRule> = rules.into_iter().collect();
        let version = {
            let before = self.lock();
            if before.rules().eq(&rules) {
                return;
            }
            before.version.wrapping_add(1)
        };
        let mut inhibitor = Inhibitor::new(rules);
        inhibitor.version = version;
        for alert in alerts.into_iter().filter(|alert| drill::id_of(&alert.labels).is_none()) {
            inhibitor.put(alert, &mut Effects::default());
        }
        *self.lock() = inhibitor;
    }

    /// Takes the newest state of an alert; `effects` are told whom it may hold back, or let go. A
    /// drill is the cause of nothing.
    pub fn put(&self, alert: &Alert, effects: &mut Effects) {
        if drill::id_of(&alert.labels).is_some() {
            return;
        }
        self.lock().put(alert, effects);
        if alert.name() == MONITORING_BLIND {
            effects.concern_everybody();
        }
    }

    /// Notes whether most targets do not answer. Who calls it puts the alert that says so after it,
    /// so that what is held back now is looked at.
    pub fn set_blind(&self, blind: Option<Blind>) {
        *self.blind.lock().unwrap_or_else(PoisonError::into_inner) = blind;
    }

    /// Whether an alert with `labels` is held back at `now`.
    pub fn is_held(&self, labels: &Labels, now: Timestamp) -> bool {
        self.inhibited_by(labels).is_some()
            || !self.silences.silenced_by(labels, now).is_empty()
            || !self.maintenance.held_by(labels, now).is_empty()
    }

    /// What changes whenever silences, windows or other rules of inhibition hold back something else:
    /// their changes counted, and the last time before `now` at which one began or ended.
    pub fn epoch(&self, now: Timestamp) -> (u64, Option<Timestamp>) {
        let (silences, windows) = (self.silences.epoch(now), self.maintenance.epoch(now));
        let changes = silences.0.wrapping_add(windows.0).wrapping_add(self.lock().version);
        (changes, silences.1.max(windows.1))
    }

    /// When the next silence or window begins or ends.
    pub fn next_edge(&self, now: Timestamp) -> Option<Timestamp> {
        let edges = [self.silences.next_edge(now), self.maintenance.next_edge(now)];
        edges.into_iter().flatten().min()
    }

    /// Since when what was let go at `edge` could have been told, but for the time to settle.
    pub fn let_go_since(&self, edge: Option<Timestamp>, now: Timestamp) -> Timestamp {
        edge.and_then(|edge| self.maintenance.settled_since(edge, now)).unwrap_or(now)
    }

    /// The labels of an alert that holds back the one with `labels`.
    pub fn inhibited_by(&self, labels: &Labels) -> Option<Labels> {
        let inhibited_by = self.lock().inhibited_by(labels).cloned();
        inhibited_by.or_else(|| {
            let blind = self.blind.lock().unwrap_or_else(PoisonError::into_inner);
            blind.as_ref().filter(|blind| blind.holds(labels)).map(|blind| blind.alert.clone())
        })
    }

    /// The rule by which an alert with `labels` is held back, by its name or place, and the labels of
    /// the one that holds it back.
    pub fn inhibition_of(&self, labels: &Labels) -> Option<(String, Labels)> {
        let by_rule = |inhibitor: &Inhibitor| {
            let (rule, source) = inhibitor.inhibition_of(labels)?;
            Some((rule.title.clone(), source.clone()))
        };
        let found = by_rule(&self.lock());
        found.or_else(|| {
            let source = self.inhibited_by(labels)?;
            Some(("most targets do not answer".to_owned(), source))
        })
    }

    /// Until when an alert with `labels` waits at the latest for the first round after the start, and
    /// the rule for whose sake it does.
    pub fn awaits_first_round(&self, labels: &Labels) -> Option<(String, Timestamp)> {
        let until = self.first_round.until(labels)?;
        let inhibitor = self.lock();
        let rule = inhibitor.about(labels)?;
        Some((rule.title.clone(), until))
    }

    fn lock(&self) -> MutexGuard<'_, Inhibitor> {
        self.inhibitor.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
