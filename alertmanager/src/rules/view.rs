//! Rules and their alerts as people see them: the pages and the API.
//!
//! Invariant: what stands here is of the last evaluation; nothing decides by it.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use base::labels::Labels;
use base::period::Period;
use base::sample::Timestamp;

use super::states::Active;
use super::watch::DeadSelector;
use crate::state::RuleAlertState;

/// A group.
#[derive(Clone, Debug)]
pub struct GroupView {
    /// Its name.
    pub name: String,
    /// The file that it is from.
    pub file: String,
    /// From one evaluation to the next.
    pub interval: Period,
    /// The most alerts or series that a rule may give; 0 is any number.
    pub limit: usize,
    /// When it was last evaluated.
    pub evaluated_at: Option<Timestamp>,
    /// How long that took.
    pub duration: Duration,
    /// Its rules.
    pub rules: Vec<RuleView>,
}

/// A rule.
#[derive(Clone, Debug)]
pub struct RuleView {
    /// The name of the alert or metric.
    pub name: String,
    /// The expression.
    pub query: String,
    /// Why the last evaluation failed.
    pub error: Option<String>,
    /// How long it took.
    pub duration: Duration,
    /// When it was.
    pub evaluated_at: Option<Timestamp>,
    /// Its selectors that find nothing.
    pub dead: Vec<DeadSelector>,
    /// What it makes.
    pub kind: RuleKind,
}

/// What a rule makes.
#[derive(Clone, Debug)]
pub enum RuleKind {
    /// Samples.
    Recording {
        /// The labels that it adds.
        labels: BTreeMap<String, String>,
    },
    /// Alerts.
    Alerting {
        /// How long the condition must hold.
        hold: Duration,
        /// How long the alert fires after that.
        keep_firing_for: Duration,
        /// The labels that it adds, as written.
        labels: BTreeMap<String, String>,
        /// The texts, as written.
        annotations: BTreeMap<String, String>,
        /// Those that are pending or fire.
        alerts: Vec<AlertView>,
    },
}

/// An alert that is pending or fires.
#[derive(Clone, Debug)]
pub struct AlertView {
    /// What it is known by.
    pub labels: Labels,
    /// Texts.
    pub annotations: BTreeMap<String, String>,
    /// How far it is.
    pub state: RuleAlertState,
    /// Since when its condition holds.
    pub active_at: Timestamp,
    /// Since when its data are missing.
    pub stale_since: Option<Timestamp>,
    /// Since when it fires only because it was told to.
    pub keep_since: Option<Timestamp>,
    /// The value of the expression.
    pub value: f64,
}

impl AlertView {
    pub(super) fn of(active: &Active) -> Self {
        Self {
            labels: active.labels.clone(),
            annotations: active.annotations.clone(),
            state: active.state,
            active_at: active.active_at,
            stale_since: active.stale_since,
            keep_since: active.keep_since,
            value: active.value,
        }
    }
}

/// All groups. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    groups: Arc<RwLock<ByFileAndName>>,
}

type ByFileAndName = BTreeMap<(String, String), Arc<GroupView>>;

impl Rules {
    /// All groups, by file and name.
    pub fn all(&self) -> Vec<Arc<GroupView>> {
        self.groups.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Shows no group: others are about to come.
    pub fn clear(&self) {
        self.groups.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(super) fn set(&self, view: GroupView) {
        let key = (view.file.clone(), view.name.clone());
        let mut groups = self.groups.write().unwrap_or_else(PoisonError::into_inner);
        groups.insert(key, Arc::new(view));
    }
}
