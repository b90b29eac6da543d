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

impl GroupView {
    fn key(&self) -> (String, String) {
        (self.file.clone(), self.name.clone())
    }

    fn has_rules_of(&self, other: &Self) -> bool {
        let same = |a: &RuleView, b: &RuleView| {
            a.name == b.name && a.query == b.query && a.kind.is_written_as(&b.kind)
        };
        (self.interval, self.limit, self.rules.len())
            == (other.interval, other.limit, other.rules.len())
            && self.rules.iter().zip(&other.rules).all(|(a, b)| same(a, b))
    }
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

impl RuleKind {
    /// Whether both say the same in a rule file, whatever has come of it.
    fn is_written_as(&self, other: &Self) -> bool {
        let written = |kind: &Self| match kind.clone() {
            Self::Recording { labels } => (None, labels, BTreeMap::new()),
            Self::Alerting { hold, keep_firing_for, labels, annotations, .. } => {
                (Some((hold, keep_firing_for)), labels, annotations)
            }
        };
        written(self) == written(other)
    }
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

    /// Shows these groups and no others, before they are evaluated: what is known of one with the same
    /// rules stays.
    pub fn replace(&self, views: Vec<GroupView>) {
        let mut groups = self.groups.write().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut *groups);
        for view in views {
            let known = before.remove(&view.key()).filter(|known| known.has_rules_of(&view));
            groups.insert(view.key(), known.unwrap_or_else(|| Arc::new(view)));
        }
    }

    pub(super) fn set(&self, view: GroupView) {
        let mut groups = self.groups.write().unwrap_or_else(PoisonError::into_inner);
        groups.insert(view.key(), Arc::new(view));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(name: &str, expr: &str, at: Option<i64>) -> GroupView {
        GroupView {
            name: name.to_owned(),
            file: "rules.yml".to_owned(),
            interval: Period::from_secs(60),
            limit: 0,
            evaluated_at: at.map(Timestamp::from_millis),
            duration: Duration::ZERO,
            rules: vec![RuleView {
                name: "Down".to_owned(),
                query: expr.to_owned(),
                error: None,
                duration: Duration::ZERO,
                evaluated_at: at.map(Timestamp::from_millis),
                dead: Vec::new(),
                kind: RuleKind::Recording { labels: BTreeMap::new() },
            }],
        }
    }

    #[test]
    fn a_reload_keeps_what_is_known_of_rules_that_stay() {
        let rules = Rules::default();
        for (name, expr) in [("stays", "up"), ("changes", "up"), ("goes", "up")] {
            rules.set(group(name, expr, Some(7)));
        }
        rules.replace(vec![
            group("stays", "up", None),
            group("changes", "up == 0", None),
            group("comes", "up", None),
        ]);
        let shown = |view: &Arc<GroupView>| (view.name.clone(), view.evaluated_at.is_some());
        let all: Vec<_> = rules.all().iter().map(shown).collect();
        let expected = [("changes", false), ("comes", false), ("stays", true)];
        assert_eq!(all, expected.map(|(name, known)| (name.to_owned(), known)));
    }
}
