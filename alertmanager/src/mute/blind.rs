//! What is held back while most targets do not answer: their alerts say only that we see nothing.
//!
//! Invariant: an alert that others push, one about a target that answers, and the one that is the
//! reason are never held back by it (F17).

use std::collections::HashSet;

use base::labels::{ALERT_NAME, Labels};

use crate::alerts::WATCHDOG_ALERT;
use crate::pushed::Pushed;

/// The alert that is told in the place of those that are held back.
pub const MONITORING_BLIND: &str = "MonitoringBlind";

/// Most targets do not answer.
#[derive(Clone, Debug)]
pub struct Blind {
    /// The labels of the alert that says so.
    pub alert: Labels,
    /// The `instance` labels of the targets that do not answer.
    pub instances: HashSet<String>,
    /// What others push they see themselves.
    pub pushed: Pushed,
}

impl Blind {
    /// Whether an alert with `labels` is held back: it is about a target that does not answer, or
    /// about no single target.
    pub(super) fn holds(&self, labels: &Labels) -> bool {
        if labels.get(ALERT_NAME) == Some(WATCHDOG_ALERT) || self.pushed.times(labels).is_some() {
            return false;
        }
        labels.get("instance").is_none_or(|instance| self.instances.contains(instance))
    }
}
