//! The alerts that fire, or have just ended: what rules found, or others pushed, and dispatch tells
//! people of.
//!
//! ```text
//! rules ──────── put ─────────┐
//!                             ├─▶ [alerts] ── take_changed ──▶ dispatch
//! the API ──── put_pushed ────┘
//! ```
//!
//! Invariant: an alert is known by its labels; at most one of each is here, in its newest state. It
//! fires for as long as the rules or those who push say so: neither ends what the other says (X50).

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

/// Who says that an alert fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speaker {
    Rules,
    Pushed,
}

/// An alert as it is shown, and by whom.
#[derive(Debug)]
struct Shown {
    by: Speaker,
    alert: Arc<Alert>,
}

#[derive(Debug, Default)]
struct Inner {
    by_labels: ByLabels<Shown>,
    /// What pushes say of alerts that the rules say fire, while they fire by them, too.
    besides: ByLabels<Arc<Alert>>,
    changed: HashSet<Labels, foldhash::fast::RandomState>,
    /// Those that ended, in the order in which that was heard. Its bound is that of the alerts.
    ended: VecDeque<Labels>,
}

impl Alerts {
    /// Takes the newest state of some alerts of the rules. Dispatch is woken where it says something
    /// new; a text that differs is kept and wakes nobody.
    pub fn put<A: Into<Arc<Alert>>>(&self, alerts: impl IntoIterator<Item = A>) {
        self.put_by(Speaker::Rules, alerts);
    }

    /// The same of some that were pushed.
    pub fn put_pushed<A: Into<Arc<Alert>>>(&self, alerts: impl IntoIterator<Item = A>) {
        self.put_by(Speaker::Pushed, alerts);
    }

    fn put_by<A: Into<Arc<Alert>>>(&self, by: Speaker, alerts: impl IntoIterator<Item = A>) {
        // Whatever makes the alerts may look at those that are here.
        let alerts: Vec<Arc<Alert>> = alerts.into_iter().map(Into::into).collect();
        let mut inner = self.lock();
        for alert in alerts {
            inner.put(by, alert);
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
        changed.iter().filter_map(|labels| inner.get(labels).cloned()).collect()
    }

    /// The alert with these labels.
    pub fn get(&self, labels: &Labels) -> Option<Arc<Alert>> {
        self.lock().get(labels).cloned()
    }

    /// The newest state of some, each in the place of the one that is given.
    pub fn newest<'a>(&self, alerts: impl IntoIterator<Item = &'a Arc<Alert>>) -> Vec<Arc<Alert>> {
        let inner = self.lock();
        let newest = |alert: &'a Arc<Alert>| Arc::clone(inner.get(&alert.labels).unwrap_or(alert));
        alerts.into_iter().map(newest).collect()
    }

    /// Those that `keep` says, in no order.
    pub fn filter(&self, keep: impl Fn(&Alert) -> bool) -> Vec<Arc<Alert>> {
        self.lock().shown().filter(|alert| keep(alert)).cloned().collect()
    }

    /// Those that fire because the rules say so.
    pub fn of_rules(&self) -> Vec<Arc<Alert>> {
        let inner = self.lock();
        let of_rules = inner.by_labels.values().filter(|shown| shown.by == Speaker::Rules);
        of_rules.map(|shown| &shown.alert).filter(|alert| alert.is_firing()).cloned().collect()
    }

    /// All of them, sorted by labels.
    pub fn all(&self) -> Vec<Arc<Alert>> {
        let mut all = self.unsorted();
        all.sort_by(|a, b| a.labels.cmp(&b.labels));
        all
    }

    /// All of them in any order: for a hundred thousand, sorting is most of the work.
    pub fn unsorted(&self) -> Vec<Arc<Alert>> {
        self.lock().shown().cloned().collect()
    }

    /// Drops what ended long ago. Whoever was told of it is kept in the state, not here.
    pub fn forget_ended(&self, now: Timestamp) {
        let mut inner = self.lock();
        let Inner { by_labels, changed, ended, .. } = &mut *inner;
        while let Some(labels) = ended.front() {
            let at = by_labels.get(labels).and_then(|shown| shown.alert.ended);
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

/// The alert, firing since `at` if that is earlier: people are told once of what two say.
fn since(alert: Arc<Alert>, at: Timestamp) -> Arc<Alert> {
    if at < alert.starts_at {
        return Arc::new(Alert { starts_at: at, ..Alert::clone(&alert) });
    }
    alert
}

impl Inner {
    fn put(&mut self, by: Speaker, alert: Arc<Alert>) {
        let labels = alert.labels.clone();
        let other = self.by_labels.get(&labels).filter(|known| known.by != by);
        let shown = match (other, alert.is_firing()) {
            // Whoever has not said that it fires cannot say that it has ended.
            (Some(_), false) => return drop(self.besides.remove(&labels)),
            (Some(other), true) if other.alert.is_firing() => {
                if by == Speaker::Pushed {
                    self.besides.insert(labels, alert);
                    return;
                }
                let pushed = Arc::clone(&other.alert);
                let alert = since(alert, pushed.starts_at);
                self.besides.insert(labels.clone(), pushed);
                Shown { by, alert }
            }
            (None, false) => match self.besides.remove(&labels) {
                Some(pushed) => {
                    Shown { by: Speaker::Pushed, alert: since(pushed, alert.starts_at) }
                }
                None => Shown { by, alert },
            },
            _ => Shown { by, alert },
        };
        let alert = Arc::clone(&shown.alert);
        let known = self.by_labels.insert(labels.clone(), shown).map(|known| known.alert);
        if !alert.is_firing() && known.as_ref().is_none_or(|known| known.is_firing()) {
            self.ended.push_back(labels.clone());
        }
        if !known.is_some_and(|known| known.tells_the_same(&alert)) {
            self.changed.insert(labels);
        }
    }

    fn get(&self, labels: &Labels) -> Option<&Arc<Alert>> {
        self.by_labels.get(labels).map(|shown| &shown.alert)
    }

    fn shown(&self) -> impl Iterator<Item = &Arc<Alert>> {
        self.by_labels.values().map(|shown| &shown.alert)
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
    fn neither_the_rules_nor_a_push_ends_what_the_other_says_x50() {
        let (fires, ends) = (|at: i64| (at, None), |from: i64, at: i64| (from, Some(at)));
        // Who speaks, from when it fires, until when; then what is shown and whether it is news.
        let check = |said: &[(char, (i64, Option<i64>))], expected: &str| {
            let alerts = Alerts::default();
            let mut told = Vec::new();
            for (by, (starts_at, ends_at)) in said {
                let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
                let ended = ends_at.map(|end| (at(end), Ending::Resolved));
                let put = Alert { starts_at: at(*starts_at), ended, ..alert("a", "x") };
                match by {
                    'r' => alerts.put([put]),
                    _ => alerts.put_pushed([put]),
                }
                let news = if alerts.take_changed().is_empty() { "" } else { "!" };
                let shown = &alerts.all()[0];
                let state = if shown.is_firing() { "fires" } else { "ended" };
                told.push(format!("{state} {}{news}", shown.starts_at.millis() / 1000));
            }
            assert_eq!(told.join(", "), expected, "{said:?}");
        };
        check(&[('r', fires(5)), ('p', ends(1, 2))], "fires 5!, fires 5");
        check(&[('p', fires(5)), ('r', ends(6, 6))], "fires 5!, fires 5");
        check(
            &[('r', fires(5)), ('r', ends(5, 6)), ('p', ends(5, 7))],
            "fires 5!, ended 5!, ended 5",
        );
        check(
            &[('r', fires(5)), ('r', ends(5, 6)), ('p', fires(7))],
            "fires 5!, ended 5!, fires 7!",
        );
        // Both say so, and one after the other that it has ended.
        let both = [('r', fires(5)), ('p', fires(4)), ('p', ends(4, 6)), ('r', ends(5, 7))];
        check(&both, "fires 5!, fires 5, fires 5, ended 5!");
        let both = [('r', fires(5)), ('p', fires(6)), ('r', ends(5, 7)), ('p', ends(6, 8))];
        check(&both, "fires 5!, fires 5, fires 5, ended 6!");
        let both = [('p', fires(5)), ('r', fires(6)), ('r', ends(6, 7)), ('p', ends(5, 8))];
        check(&both, "fires 5!, fires 5, fires 5, ended 5!");
        let both = [('p', fires(5)), ('r', fires(6)), ('p', ends(5, 7)), ('r', ends(6, 8))];
        check(&both, "fires 5!, fires 5, fires 5, ended 6!");
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
