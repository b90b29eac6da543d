//! Alerts that others push: Prometheus, vmalert, Grafana, `amtool`.
//!
//! An alert fires until the end that it was pushed with; who keeps it alive pushes it again and
//! again with a later one. One without an end lasts for `resolve_timeout`.
//!
//! Source: the behaviour of Alertmanager's API, version 2, told by its documentation and its
//! acceptance tests.
//!
//! Invariant: what was taken is on the disk; only the end of an alert that is pushed again and again
//! may be older there, never by more than half of the time that it lasts. A restart adds the time in
//! which nobody could push.

mod fresh;
mod run;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::labels::Labels;
use base::sample::Timestamp;
use tokio::sync::{Mutex as Turn, Notify};

use crate::alerts::{Alert, Alerts, ByLabels, Ending};
use crate::crash;
use crate::state::{Batch, Reader, State, StateError, Table, put_alert, put_time};

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
    alert: Arc<Alert>,
    ends_at: Timestamp,
    /// Nobody said when it ends.
    by_timeout: bool,
    updated_at: Timestamp,
    /// Its record in the journal.
    record: u64,
    /// The end that stands there.
    stored_end: Timestamp,
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
    firing: ByLabels<Firing>,
    /// By when they end, and the id of the record.
    ends: BTreeMap<(Timestamp, u64), Labels>,
    /// How far the journal was written with the last of them.
    written: u64,
}

impl Pushed {
    /// Reads what a run before left, and hands it to `alerts`. Nobody could push for `blind`.
    ///
    /// # Errors
    ///
    /// The journal cannot be read. A record that is not ours is left out with a warning.
    pub async fn open(state: State, alerts: Alerts, blind: Duration) -> Result<Self, StateError> {
        let mut times: HashMap<u64, Lasts> = HashMap::new();
        state.journal().each(Table::PushTimes, |record, bytes| {
            times.extend(Lasts::read(&mut Reader::new(bytes)).map(|lasts| (record, lasts)));
        })?;
        let mut inner = Inner::default();
        state.journal().each(Table::Push, |record, bytes| match read(bytes) {
            Some((alert, lasts)) => {
                let lasts = times.get(&record).copied().unwrap_or(lasts);
                inner.insert(Firing {
                    alert: Arc::new(alert),
                    ends_at: lasts.ends_at + blind,
                    by_timeout: lasts.by_timeout,
                    updated_at: lasts.updated_at,
                    record,
                    stored_end: lasts.ends_at,
                });
            }
            None => tracing::warn!("a pushed alert cannot be read"),
        })?;
        alerts.put_pushed(inner.firing.values().map(|firing| Arc::clone(&firing.alert)));
        let inner = Arc::new(Mutex::new(inner));
        Ok(Self { state, alerts, inner, changed: Arc::default(), turn: Arc::default() })
    }

    /// Takes alerts at `now`; those without an end last for `timeout`. They are on the disk when it
    /// returns, and before anybody is told: an intent is durable only with what was written before.
    ///
    /// # Errors
    ///
    /// None of them is taken then. Where the disk took them and did not keep them they are, until a
    /// crash: who is told so pushes them again.
    pub async fn push(
        &self,
        pushes: Vec<Push>,
        now: Timestamp,
        timeout: Duration,
    ) -> Result<(), PushError> {
        let turn = self.turn.lock().await;
        let mut taken = self.merged(pushes, now, timeout);
        let is_over = |firing: &Firing| firing.ends_at <= now;
        let new = taken.iter().filter(|taken| taken.before.is_none() && !is_over(&taken.firing));
        if self.lock().firing.len() + new.count() > MOST {
            return Err(PushError::TooMany);
        }
        let (mut batch, mut later) = (Batch::default(), Batch::default());
        for Taken { firing, before } in &mut taken {
            let Firing { alert, ends_at, record, .. } = &*firing;
            if is_over(firing) {
                if *record != 0 {
                    batch.remove(Table::Push, *record);
                    batch.remove(Table::PushTimes, *record);
                }
                continue;
            }
            let same = before.as_ref().filter(|before| Arc::ptr_eq(before, alert)).is_some();
            let record = match *record {
                0 => self.state.journal().new_id(),
                known => known,
            };
            let lasts = firing.lasts();
            if !same || *ends_at < firing.stored_end {
                batch.put(Table::Push, record, |to| write(to, alert, lasts));
                batch.remove(Table::PushTimes, record);
            } else if firing.stored_end < now + ends_at.since(now) / 2 {
                // Nobody waits for it: until it is on the disk the older end counts.
                later.put(Table::PushTimes, record, |to| lasts.write(to));
            } else {
                continue;
            }
            (firing.record, firing.stored_end) = (record, *ends_at);
        }
        self.state.journal().write(later).map_err(StateError::from)?;
        let written = self.state.journal().append(batch).map_err(StateError::from)?;
        let (told, written) = self.put_in(taken, written, now);
        self.alerts.put_pushed(told);
        self.changed.notify_one();
        // Who pushes next shares the wait for the disk.
        drop(turn);
        self.state.journal().wait_for(written).await.map_err(StateError::from)?;
        crash::point("push.durable");
        Ok(())
    }

    /// Puts in what was written up to `to`; gives what is new of it, and up to where the disk has
    /// to be waited for.
    fn put_in(&self, taken: Vec<Taken>, to: Option<u64>, now: Timestamp) -> (Vec<Arc<Alert>>, u64) {
        let mut inner = self.lock();
        // What is pushed again may have been written a moment ago by somebody who still waits.
        inner.written = to.unwrap_or(inner.written);
        let mut told = Vec::with_capacity(taken.len());
        for Taken { firing, before } in taken {
            let known = before.is_some_and(|before| Arc::ptr_eq(&before, &firing.alert));
            if firing.ends_at <= now {
                inner.remove(&firing.alert.labels);
                let ended = Some((firing.ends_at, Ending::Resolved));
                told.push(Arc::new(Alert { ended, ..Alert::clone(&firing.alert) }));
            } else {
                if !known {
                    told.push(Arc::clone(&firing.alert));
                }
                inner.insert(firing);
            }
        }
        (told, inner.written)
    }

    /// What there will be, each alert once.
    fn merged(&self, pushes: Vec<Push>, now: Timestamp, timeout: Duration) -> Vec<Taken> {
        let inner = self.lock();
        let mut taken: Vec<Taken> = Vec::with_capacity(pushes.len());
        let mut places: ByLabels<usize> = ByLabels::default();
        places.reserve(pushes.len());
        for push in pushes {
            let labels = push.labels.clone();
            if let Some(earlier) = places.get(&labels).and_then(|place| taken.get_mut(*place)) {
                earlier.firing = merge(Some(&earlier.firing), push, now, timeout);
                continue;
            }
            let known = inner.firing.get(&labels);
            let ended = if known.is_none() { self.just_ended(&labels) } else { None };
            let firing = merge(known.or(ended.as_ref()), push, now, timeout);
            places.insert(labels, taken.len());
            taken.push(Taken { firing, before: known.map(|known| Arc::clone(&known.alert)) });
        }
        taken
    }

    /// The alert with these labels, where it has ended not long ago.
    fn just_ended(&self, labels: &Labels) -> Option<Firing> {
        let alert = self.alerts.get(labels)?;
        let (ends_at, _) = alert.ended?;
        let alert = Arc::new(Alert { ended: None, ..Alert::clone(&alert) });
        let (by_timeout, updated_at) = (false, ends_at);
        Some(Firing { alert, ends_at, by_timeout, updated_at, record: 0, stored_end: ends_at })
    }

    /// When the alert with these labels ends, if it was pushed.
    pub fn times(&self, labels: &Labels) -> Option<Times> {
        let inner = self.lock();
        let Firing { ends_at, updated_at, .. } = *inner.firing.get(labels)?;
        Some(Times { ends_at, updated_at })
    }

    /// The alerts that were pushed and fire, with when they began.
    pub fn firing(&self) -> HashMap<Labels, Timestamp> {
        let inner = self.lock();
        let all = inner.firing.iter();
        all.map(|(labels, firing)| (labels.clone(), firing.alert.starts_at)).collect()
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
            let over = inner.ends.iter().take_while(|((ends_at, _), _)| *ends_at <= now);
            over.filter_map(|(_, labels)| inner.firing.get(labels).cloned()).collect()
        };
        let mut batch = Batch::default();
        for firing in &over {
            batch.remove(Table::Push, firing.record);
            batch.remove(Table::PushTimes, firing.record);
        }
        self.state.journal().commit(batch).await?;
        let mut inner = self.lock();
        over.iter().for_each(|firing| inner.remove(&firing.alert.labels));
        let next = inner.ends.first_key_value().map(|((ends_at, _), _)| *ends_at);
        drop(inner);
        self.alerts.put_pushed(over.into_iter().map(|firing| Alert {
            ended: Some((firing.ends_at, Ending::Resolved)),
            ..Alert::clone(&firing.alert)
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
        self.ends.insert((firing.ends_at, firing.record), labels.clone());
        self.firing.insert(labels, firing);
    }

    fn remove(&mut self, labels: &Labels) {
        if let Some(known) = self.firing.remove(labels) {
            self.ends.remove(&(known.ends_at, known.record));
        }
    }
}

/// An alert that is being taken.
#[derive(Debug)]
struct Taken {
    firing: Firing,
    /// What it was until now, if it fired.
    before: Option<Arc<Alert>>,
}

/// How long an alert lasts.
#[derive(Clone, Copy, Debug)]
struct Lasts {
    ends_at: Timestamp,
    by_timeout: bool,
    updated_at: Timestamp,
}

impl Lasts {
    fn write(self, to: &mut Vec<u8>) {
        put_time(to, self.ends_at);
        to.push(u8::from(self.by_timeout));
        put_time(to, self.updated_at);
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let ends_at = reader.time()?;
        let by_timeout = reader.byte()? != 0;
        Some(Self { ends_at, by_timeout, updated_at: reader.time()? })
    }
}

impl Firing {
    fn lasts(&self) -> Lasts {
        let Self { ends_at, by_timeout, updated_at, .. } = *self;
        Lasts { ends_at, by_timeout, updated_at }
    }
}

/// The form in which alerts are written.
const FORM: u8 = 1;

fn write(to: &mut Vec<u8>, alert: &Alert, lasts: Lasts) {
    to.push(FORM);
    put_alert(to, alert);
    lasts.write(to);
}

fn read(record: &[u8]) -> Option<(Alert, Lasts)> {
    let mut reader = Reader::new(record);
    if reader.byte()? != FORM {
        return None;
    }
    Some((reader.alert()?, Lasts::read(&mut reader)?))
}

/// The same alert, as it was and as it is pushed now: where their times overlap it is one, and keeps
/// its earliest start. Where it says nothing new it is the one that is there.
fn merge(before: Option<&Firing>, push: Push, now: Timestamp, timeout: Duration) -> Firing {
    let starts_at = push.starts_at.unwrap_or_else(|| push.ends_at.map_or(now, |end| end.min(now)));
    let mut merged = Firing {
        ends_at: push.ends_at.unwrap_or(now + timeout),
        by_timeout: push.ends_at.is_none(),
        updated_at: now,
        record: before.map_or(0, |before| before.record),
        stored_end: before.map_or(now, |before| before.stored_end),
        alert: Arc::new(Alert {
            labels: push.labels,
            annotations: push.annotations,
            starts_at,
            ended: None,
            stale_since: None,
            generator_url: push.generator_url,
        }),
    };
    let Some(before) = before else { return merged };
    let within = |time: Timestamp| time > before.alert.starts_at && time < before.ends_at;
    let overlaps = within(merged.ends_at)
        || within(starts_at)
        || starts_at <= before.alert.starts_at && merged.ends_at >= before.ends_at;
    if !overlaps {
        return merged;
    }
    if before.alert.starts_at < starts_at {
        Arc::make_mut(&mut merged.alert).starts_at = before.alert.starts_at;
    }
    if merged.alert == before.alert {
        merged.alert = Arc::clone(&before.alert);
    }
    let is_over = |firing: &Firing| firing.ends_at <= now;
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
