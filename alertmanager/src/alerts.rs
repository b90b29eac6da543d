//! The alerts that fire, or have just ended: what rules found and dispatch tells people of.
//!
//! ```text
//! rules ── put ──▶ [alerts] ── take_changed ──▶ dispatch
//! ```
//!
//! Invariant: an alert is known by its labels; at most one of each is here, in its newest state.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::labels::{ALERT_NAME, Labels};
use base::sample::Timestamp;
use tokio::sync::Notify;

/// How long an alert that has ended is still shown.
const KEEP_ENDED: Duration = Duration::from_secs(15 * 60);

/// The alert that always fires, so that somebody outside knows that we are well.
pub const WATCHDOG_ALERT: &str = "VeilleurWatchdog";

/// Why an alert ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Fresh data says that its condition no longer holds.
    Resolved,
    /// What it was about is no longer watched: the target was removed.
    TargetRemoved,
    /// Its rule is no longer configured.
    RuleRemoved,
}

impl Ending {
    /// The ending as a word that people read: `resolved`, `expired: target removed`, ...
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Resolved => "resolved",
            Self::TargetRemoved => "expired: target removed",
            Self::RuleRemoved => "expired: rule removed",
        }
    }
}

/// Something that is wrong, or was until just now.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// What it is known by.
    pub labels: Labels,
    /// Texts for people.
    pub annotations: BTreeMap<String, String>,
    /// When it began to fire.
    pub starts_at: Timestamp,
    /// When and why it ended.
    pub ended: Option<(Timestamp, Ending)>,
    /// Since when nobody knows: its data are missing, so it neither holds nor is over.
    pub stale_since: Option<Timestamp>,
    /// Where one can see why it fires.
    pub generator_url: String,
}

impl Alert {
    /// Its name.
    pub fn name(&self) -> &str {
        self.labels.get(ALERT_NAME).unwrap_or("")
    }

    /// Whether it fires; a stale one does.
    pub fn is_firing(&self) -> bool {
        self.ended.is_none()
    }

    /// Whether people would be told the same of both: texts may differ.
    fn tells_the_same(&self, other: &Self) -> bool {
        self.starts_at == other.starts_at
            && self.ended == other.ended
            && self.stale_since.is_some() == other.stale_since.is_some()
    }
}

/// Something for each alert, found by its labels.
pub(crate) type ByLabels<T> = HashMap<Labels, T, foldhash::fast::RandomState>;

/// All alerts. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Alerts {
    inner: Arc<Mutex<Inner>>,
    changed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Inner {
    by_labels: ByLabels<Arc<Alert>>,
    changed: HashSet<Labels, foldhash::fast::RandomState>,
    /// Those that ended, in the order in which that was heard. Its bound is that of the alerts.
    ended: VecDeque<Labels>,
}

impl Alerts {
    /// Takes the newest state of some alerts. Dispatch is woken where it says something new; a
    /// text that differs is kept and wakes nobody.
    pub fn put<A: Into<Arc<Alert>>>(&self, alerts: impl IntoIterator<Item = A>) {
        // Whatever makes the alerts may look at those that are here.
        let alerts: Vec<Arc<Alert>> = alerts.into_iter().map(Into::into).collect();
        let mut inner = self.lock();
        for alert in alerts {
            let labels = alert.labels.clone();
            let ended = alert.ended.is_some();
            let known = inner.by_labels.insert(labels.clone(), Arc::clone(&alert));
            if ended && known.as_ref().is_none_or(|known| known.is_firing()) {
                inner.ended.push_back(labels.clone());
            }
            if !known.is_some_and(|known| known.tells_the_same(&alert)) {
                inner.changed.insert(labels);
            }
        }
        if !inner.changed.is_empty() {
            self.changed.notify_one();
        }
    }

    /// Waits until there may be something to take.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The alerts that say something new since the last call. Its bound is that of the alerts.
    pub fn take_changed(&self) -> Vec<Arc<Alert>> {
        let mut inner = self.lock();
        let changed = std::mem::take(&mut inner.changed);
        changed.iter().filter_map(|labels| inner.by_labels.get(labels).cloned()).collect()
    }

    /// The alert with these labels.
    pub fn get(&self, labels: &Labels) -> Option<Arc<Alert>> {
        self.lock().by_labels.get(labels).cloned()
    }

    /// The newest state of some, each in the place of the one that is given.
    pub fn newest<'a>(&self, alerts: impl IntoIterator<Item = &'a Arc<Alert>>) -> Vec<Arc<Alert>> {
        let inner = self.lock();
        let newest =
            |alert: &'a Arc<Alert>| Arc::clone(inner.by_labels.get(&alert.labels).unwrap_or(alert));
        alerts.into_iter().map(newest).collect()
    }

    /// Those that `keep` says, in no order.
    pub fn filter(&self, keep: impl Fn(&Alert) -> bool) -> Vec<Arc<Alert>> {
        self.lock().by_labels.values().filter(|alert| keep(alert)).cloned().collect()
    }

    /// All of them, sorted by labels.
    pub fn all(&self) -> Vec<Arc<Alert>> {
        let mut all = self.unsorted();
        all.sort_by(|a, b| a.labels.cmp(&b.labels));
        all
    }

    /// All of them in any order: for a hundred thousand, sorting is most of the work.
    pub fn unsorted(&self) -> Vec<Arc<Alert>> {
        self.lock().by_labels.values().cloned().collect()
    }

    /// Drops what ended long ago. Whoever was told of it is kept in the state, not here.
    pub fn forget_ended(&self, now: Timestamp) {
        let mut inner = self.lock();
        let Inner { by_labels, changed, ended } = &mut *inner;
        while let Some(labels) = ended.front() {
            let at = by_labels.get(labels).and_then(|alert| alert.ended);
            match at {
                Some((at, _)) if changed.contains(labels) || now.since(at) < KEEP_ENDED => return,
                Some(_) => drop(by_labels.remove(labels)),
                // It fires again; its next end stands further back.
                None => {}
            }
            ended.pop_front();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(name: &str, text: &str) -> Alert {
        Alert {
            labels: Labels::from_pairs([("alertname", name)]),
            annotations: BTreeMap::from([("summary".to_owned(), text.to_owned())]),
            starts_at: Timestamp::from_millis(1000),
            ended: None,
            stale_since: None,
            generator_url: String::new(),
        }
    }

    #[test]
    fn a_text_alone_is_kept_and_wakes_nobody() {
        let alerts = Alerts::default();
        alerts.put([alert("a", "one"), alert("b", "one")]);
        assert_eq!(alerts.take_changed().len(), 2);
        alerts.put([alert("a", "two")]);
        assert!(alerts.take_changed().is_empty());
        assert_eq!(alerts.all()[0].annotations["summary"], "two");
        let stale = Alert { stale_since: Some(Timestamp::from_millis(5)), ..alert("a", "two") };
        alerts.put([stale]);
        assert_eq!(alerts.take_changed().len(), 1);
    }

    #[test]
    fn what_ended_is_forgotten_after_a_while_but_not_before_it_was_taken() {
        let alerts = Alerts::default();
        let at = Timestamp::from_millis;
        alerts.put([Alert { ended: Some((at(2000), Ending::Resolved)), ..alert("a", "x") }]);
        alerts.forget_ended(at(10_000_000));
        assert_eq!(alerts.take_changed().len(), 1);
        alerts.forget_ended(at(3000));
        assert_eq!(alerts.all().len(), 1);
        alerts.forget_ended(at(10_000_000));
        assert!(alerts.all().is_empty());
    }
}
