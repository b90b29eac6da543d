//! Alerts that others push: Prometheus, vmalert, Grafana, `amtool`.
//!
//! An alert fires until the end that it was pushed with; who keeps it alive pushes it again and
//! again with a later one. One without an end lasts for `resolve_timeout`.
//!
//! Source: the behaviour of Alertmanager's API, version 2, told by its documentation and its
//! acceptance tests.
//!
//! Invariant: what was taken is on the disk; only the end of an alert that is pushed again and again
//! may be older there, and a restart adds the time in which nobody could push.

mod run;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::labels::Labels;
use base::sample::Timestamp;
use serde_json::{Value, json};
use tokio::sync::{Mutex as Turn, Notify};

use crate::alerts::{Alert, Alerts, Ending};
use crate::state::{State, StateError, StoredPush, alert_from_json, alert_to_json};

/// The most that may fire at a time.
const MOST: usize = 1_000_000;

/// An alert as it was pushed.
#[derive(Clone, Debug, PartialEq)]
pub struct Push {
    /// What it is known by; none of them empty.
    pub labels: Labels,
    /// Texts for people.
    pub annotations: BTreeMap<String, String>,
    /// When it began, if that was said.
    pub starts_at: Option<Timestamp>,
    /// When it ends, or has ended, if that was said.
    pub ends_at: Option<Timestamp>,
    /// Where one can see why it fires.
    pub generator_url: String,
}

/// Why a push is refused.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// There are too many alerts.
    #[error("there are {MOST} alerts already, the most that are allowed")]
    TooMany,
    /// Nothing has changed: the state failed.
    #[error(transparent)]
    State(#[from] StateError),
}

/// An alert that fires.
#[derive(Clone, Debug)]
struct Firing {
    alert: Alert,
    ends_at: Timestamp,
    /// Nobody said when it ends.
    by_timeout: bool,
    updated_at: Timestamp,
}

/// What is known of when a pushed alert ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// When it ends if nobody pushes it again.
    pub ends_at: Timestamp,
    /// When it was pushed last.
    pub updated_at: Timestamp,
}

/// The pushed alerts. Clones share them.
#[derive(Clone, Debug)]
pub struct Pushed {
    state: State,
    alerts: Alerts,
    inner: Arc<Mutex<Inner>>,
    changed: Arc<Notify>,
    /// Whoever writes holds it from the look at what there is to the last change.
    turn: Arc<Turn<()>>,
}

#[derive(Debug, Default)]
struct Inner {
    firing: HashMap<Labels, Firing>,
    ends: BTreeSet<(Timestamp, Labels)>,
}

impl Pushed {
    /// Reads what a run before left, and hands it to `alerts`. Nobody could push for `blind`.
    ///
    /// # Errors
    ///
    /// The database failed. A row that is not ours is left out with a warning.
    pub async fn open(state: State, alerts: Alerts, blind: Duration) -> Result<Self, StateError> {
        let mut inner = Inner::default();
        for row in state.pushed_alerts().await? {
            match from_row(&row) {
                Some(mut firing) => {
                    firing.ends_at = firing.ends_at + blind;
                    inner.insert(firing);
                }
                None => tracing::warn!("a pushed alert cannot be read"),
            }
        }
        alerts.put(inner.firing.values().map(|firing| firing.alert.clone()));
        let inner = Arc::new(Mutex::new(inner));
        Ok(Self { state, alerts, inner, changed: Arc::default(), turn: Arc::default() })
    }

    /// Takes alerts at `now`; those without an end last for `timeout`.
    ///
    /// # Errors
    ///
    /// None of them is taken then.
    pub async fn push(
        &self,
        pushes: Vec<Push>,
        now: Timestamp,
        timeout: Duration,
    ) -> Result<(), PushError> {
        let _turn = self.turn.lock().await;
        let mut taken: BTreeMap<Labels, Firing> = BTreeMap::new();
        let mut rows: BTreeMap<Labels, StoredPush> = BTreeMap::new();
        for push in pushes {
            let new = firing(push, now, timeout);
            let labels = new.alert.labels.clone();
            let before = taken.get(&labels).cloned().or_else(|| self.before(&labels));
            let merged = match &before {
                Some(before) => merge(before, new),
                None => new,
            };
            // A later end alone is written with the next change.
            let durable = before.as_ref().is_some_and(|before| {
                before.alert == merged.alert && before.ends_at <= merged.ends_at
            });
            if !durable || rows.contains_key(&labels) {
                rows.insert(labels.clone(), to_row(&merged));
            }
            taken.insert(labels, merged);
        }
        let is_over = |firing: &Firing| firing.ends_at <= now;
        let new = taken.iter().filter(|(_, firing)| !is_over(firing));
        if self.lock().firing.len() + new.count() > MOST {
            return Err(PushError::TooMany);
        }
        let ended: Vec<_> = taken.iter().filter(|(_, firing)| is_over(firing)).collect();
        ended.iter().for_each(|(labels, _)| drop(rows.remove(*labels)));
        let ended: Vec<_> =
            ended.iter().map(|(labels, _)| labels.as_encoded().to_owned()).collect();
        let rows: Vec<_> = rows.into_values().collect();
        self.state.save_pushed_alerts(&rows, &ended).await?;
        let mut inner = self.lock();
        let mut told = Vec::with_capacity(taken.len());
        for (labels, firing) in taken {
            let (alert, ends_at) = (firing.alert.clone(), firing.ends_at);
            if is_over(&firing) {
                inner.remove(&labels);
                told.push(Alert { ended: Some((ends_at, Ending::Resolved)), ..alert });
            } else {
                inner.insert(firing);
                told.push(alert);
            }
        }
        drop(inner);
        self.alerts.put(told);
        self.changed.notify_one();
        Ok(())
    }

    /// The alert with these labels as it is known, also when it has just ended.
    fn before(&self, labels: &Labels) -> Option<Firing> {
        if let Some(firing) = self.lock().firing.get(labels) {
            return Some(firing.clone());
        }
        let alert = self.alerts.get(labels)?;
        let (ends_at, _) = alert.ended?;
        let alert = Alert { ended: None, ..Alert::clone(&alert) };
        Some(Firing { alert, ends_at, by_timeout: false, updated_at: ends_at })
    }

    /// When the alert with these labels ends, if it was pushed.
    pub fn times(&self, labels: &Labels) -> Option<Times> {
        let inner = self.lock();
        let Firing { ends_at, updated_at, .. } = *inner.firing.get(labels)?;
        Some(Times { ends_at, updated_at })
    }

    /// Ends what is over at `now`; returns when the next one is.
    ///
    /// # Errors
    ///
    /// The state failed; nothing has ended.
    pub async fn step(&self, now: Timestamp) -> Result<Option<Timestamp>, StateError> {
        let _turn = self.turn.lock().await;
        let over: Vec<Firing> = {
            let inner = self.lock();
            let over = inner.ends.iter().take_while(|(ends_at, _)| *ends_at <= now);
            over.filter_map(|(_, labels)| inner.firing.get(labels).cloned()).collect()
        };
        let ended: Vec<_> =
            over.iter().map(|firing| firing.alert.labels.as_encoded().to_owned()).collect();
        self.state.save_pushed_alerts(&[], &ended).await?;
        let mut inner = self.lock();
        over.iter().for_each(|firing| inner.remove(&firing.alert.labels));
        let next = inner.ends.first().map(|(ends_at, _)| *ends_at);
        drop(inner);
        self.alerts.put(over.into_iter().map(|firing| Alert {
            ended: Some((firing.ends_at, Ending::Resolved)),
            ..firing.alert
        }));
        Ok(next)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn insert(&mut self, firing: Firing) {
        let labels = firing.alert.labels.clone();
        self.remove(&labels);
        self.ends.insert((firing.ends_at, labels.clone()));
        self.firing.insert(labels, firing);
    }

    fn remove(&mut self, labels: &Labels) {
        if let Some(known) = self.firing.remove(labels) {
            self.ends.remove(&(known.ends_at, labels.clone()));
        }
    }
}

fn firing(push: Push, now: Timestamp, timeout: Duration) -> Firing {
    let starts_at = push.starts_at.unwrap_or_else(|| push.ends_at.map_or(now, |end| end.min(now)));
    Firing {
        ends_at: push.ends_at.unwrap_or(now + timeout),
        by_timeout: push.ends_at.is_none(),
        updated_at: now,
        alert: Alert {
            labels: push.labels,
            annotations: push.annotations,
            starts_at,
            ended: None,
            stale_since: None,
            generator_url: push.generator_url,
        },
    }
}

/// The same alert, pushed before and pushed now: where their times overlap it is one, and keeps its
/// earliest start.
fn merge(before: &Firing, new: Firing) -> Firing {
    let within = |time: Timestamp| time > before.alert.starts_at && time < before.ends_at;
    let overlaps = within(new.ends_at)
        || within(new.alert.starts_at)
        || new.alert.starts_at <= before.alert.starts_at && new.ends_at >= before.ends_at;
    if !overlaps {
        return new;
    }
    let mut merged = new;
    merged.alert.starts_at = merged.alert.starts_at.min(before.alert.starts_at);
    let is_over = |firing: &Firing| firing.ends_at <= merged.updated_at;
    // An end that was said counts more than one that was not; of two that were, the later.
    let keeps_end = match (is_over(before), is_over(&merged)) {
        (true, true) => true,
        (_, true) => false,
        (_, false) => !before.by_timeout,
    };
    if keeps_end && before.ends_at > merged.ends_at {
        (merged.ends_at, merged.by_timeout) = (before.ends_at, before.by_timeout);
    }
    merged
}

fn to_row(firing: &Firing) -> StoredPush {
    let body = json!({
        "alert": alert_to_json(&firing.alert),
        "byTimeout": firing.by_timeout,
        "updatedAt": firing.updated_at.millis(),
    });
    StoredPush {
        labels: firing.alert.labels.as_encoded().to_owned(),
        ends_at: firing.ends_at,
        body: body.to_string(),
    }
}

fn from_row(row: &StoredPush) -> Option<Firing> {
    let body: Value = serde_json::from_str(&row.body).ok()?;
    Some(Firing {
        alert: alert_from_json(&body["alert"])?,
        ends_at: row.ends_at,
        by_timeout: body["byTimeout"].as_bool()?,
        updated_at: Timestamp::from_millis(body["updatedAt"].as_i64()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    async fn open(dir: &std::path::Path, blind: Duration) -> (Pushed, Alerts) {
        let state = State::open(&dir.join("state.db")).await.unwrap();
        let alerts = Alerts::default();
        (Pushed::open(state, alerts.clone(), blind).await.unwrap(), alerts)
    }

    fn push(starts_at: Option<f64>, ends_at: Option<f64>) -> Push {
        Push {
            labels: Labels::from_pairs([("alertname", "a")]),
            annotations: BTreeMap::new(),
            starts_at: starts_at.map(at),
            ends_at: ends_at.map(at),
            generator_url: String::new(),
        }
    }

    /// The alert as `start` or `start-end`, in seconds.
    fn shown(alerts: &Alerts) -> String {
        let one = |alert: &Arc<Alert>| {
            let start = alert.starts_at.millis() as f64 / 1000.0;
            match alert.ended {
                None => format!("{start}"),
                Some((end, _)) => format!("{start}-{}", end.millis() as f64 / 1000.0),
            }
        };
        alerts.all().iter().map(one).collect::<Vec<_>>().join(" ")
    }

    #[tokio::test]
    async fn the_same_alert_keeps_its_start_and_gets_the_newest_end() {
        let dir = tempfile::tempdir().unwrap();
        let (pushed, alerts) = open(dir.path(), Duration::ZERO).await;
        // When it is pushed, with which start and end, and what is true then.
        let steps = [
            (1.0, Some(1.1), None, "1.1"),
            (1.2, Some(1.0), None, "1"),
            (2.1, Some(2.0), None, "1"),
            (4.6, Some(3.0), Some(4.5), "1-4.5"),
            (4.8, Some(2.9), Some(4.8), "1-4.8"),
            (4.81, Some(2.9), Some(4.1), "1-4.8"),
            (5.3, Some(5.0), None, "5"),
            (6.0, None, None, "5"),
            (7.0, None, Some(7.0), "5-7"),
        ];
        for (now, start, end, expected) in steps {
            let push = vec![push(start, end)];
            pushed.push(push, at(now), Duration::from_secs(300)).await.unwrap();
            assert_eq!(shown(&alerts), expected, "at {now}");
        }
    }

    #[tokio::test]
    async fn an_alert_ends_when_nobody_pushes_it_again_and_a_restart_ends_none() {
        let dir = tempfile::tempdir().unwrap();
        let timeout = Duration::from_secs(300);
        {
            let (pushed, alerts) = open(dir.path(), Duration::ZERO).await;
            pushed.push(vec![push(None, None)], at(10.0), timeout).await.unwrap();
            pushed.push(vec![push(None, None)], at(100.0), timeout).await.unwrap();
            assert_eq!(pushed.step(at(399.0)).await.unwrap(), Some(at(400.0)));
            assert_eq!(shown(&alerts), "10");
        }
        // As after a crash, an hour later.
        let (pushed, alerts) = open(dir.path(), Duration::from_secs(3600)).await;
        assert_eq!(shown(&alerts), "10");
        assert_eq!(pushed.step(at(3700.0)).await.unwrap(), Some(at(3910.0)));
        pushed.push(vec![push(None, None)], at(3720.0), timeout).await.unwrap();
        assert_eq!(pushed.step(at(4019.0)).await.unwrap(), Some(at(4020.0)));
        assert_eq!(pushed.step(at(4020.0)).await.unwrap(), None);
        assert_eq!(shown(&alerts), "10-4020");
        let (_, alerts) = open(dir.path(), Duration::ZERO).await;
        assert_eq!(shown(&alerts), "");
    }
}
