//! What the outbox holds in memory: the queues of the lanes, what was told, and what may have been.
//!
//! Invariant: plain values behind one lock; what changes them is written to the journal by whoever
//! holds it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use base::sample::Timestamp;
use foldhash::fast::RandomState;

use super::queue::{Entry, Queue};
use super::{Due, Flush, LaneGroup, LastTold};
use crate::alerts::{Alert, Ending};

/// What was told, with the ids of its record and of that of the flush that told it.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) last: Arc<LastTold>,
    pub(super) record: u64,
    pub(super) flush_record: u64,
}

/// Alerts of which a receiver may have been told, since no answer came, with the id of the record.
#[derive(Debug)]
pub(super) struct Perhaps {
    pub(super) record: u64,
    pub(super) alerts: Vec<Arc<Alert>>,
    /// Whether it is known that no answer came, else the message is on its way.
    pub(super) unanswered: bool,
}

#[derive(Debug, Default)]
pub(super) struct Inner {
    pub(super) lanes: BTreeMap<String, Queue>,
    pub(super) told: HashMap<LaneGroup, Kept>,
    /// The alerts that a receiver may have been told of, firing or ended, since no answer came; its
    /// bound is the number of intents.
    pub(super) perhaps: HashMap<LaneGroup, Perhaps>,
    /// What has come of intents since dispatch last asked, and what was not let in; its bound is
    /// the number of groups and lanes.
    pub(super) news: HashSet<LaneGroup>,
    /// How often something was not let in.
    pub(super) overflows: u64,
    pub(super) sequence: u64,
}

impl Inner {
    /// What a lane may have been told of a group once `due` was handed over.
    pub(super) fn perhaps_told(&self, due: &Due) -> Vec<Arc<Alert>> {
        let before = self.may_know(&due.key);
        let differs = |alert: &&Arc<Alert>| {
            before.iter().any(|b| b.labels == alert.labels && b.is_firing() != alert.is_firing())
        };
        let now = |alert| if differs(&alert) { doubtful(alert) } else { Arc::clone(alert) };
        let mut alerts: Vec<_> = due.flush.alerts.iter().map(now).collect();
        add(&mut alerts, before);
        alerts
    }

    /// What a lane may have been told of a group before what is on its way now.
    pub(super) fn may_know(&self, key: &LaneGroup) -> &[Arc<Alert>] {
        let perhaps = self.perhaps.get(key).filter(|perhaps| perhaps.unanswered);
        perhaps.map_or(&[], |perhaps| perhaps.alerts.as_slice())
    }

    /// The alerts that a lane was told of, or may have been, of which `due` says nothing.
    pub(super) fn known_before(&self, due: &Due) -> Vec<Arc<Alert>> {
        // Of a notice only the last is known.
        if due.key.is_notice() {
            return Vec::new();
        }
        let Flush { alerts, kept, .. } = &*due.flush;
        let said: HashSet<_, RandomState> =
            alerts.iter().chain(kept).map(|alert| &alert.labels).collect();
        let mut known: Vec<_> =
            self.told.get(&due.key).map_or_else(Vec::new, |told| told.last.firing.clone());
        doubt(&mut known, self.may_know(&due.key));
        known.retain(|alert| !said.contains(&alert.labels));
        known
    }

    /// What a lane counts as told of a group, if it may have been told what waits for it.
    pub(super) fn counts_as_told(&self, key: &LaneGroup) -> Option<LastTold> {
        let perhaps = self.may_know(key);
        if perhaps.is_empty() {
            return None;
        }
        let Entry { intent, flush, .. } = self.lanes.get(&key.lane)?.get(&key.group_key)?;
        let known = self.told.get(key).map(|told| LastTold::clone(&told.last));
        let mut last = known.unwrap_or_else(|| LastTold {
            thread: intent.id.clone(),
            reference: None,
            at: intent.created_at,
            receiver: flush.receiver.clone(),
            group_labels: flush.group_labels.clone(),
            firing: Vec::new(),
        });
        doubt(&mut last.firing, perhaps);
        Some(last)
    }

    /// Puts the intent of `due` off, if no other has replaced it; returns it as it is then, if it
    /// stays.
    pub(super) fn put_off(
        &mut self,
        due: &Due,
        next_at: Timestamp,
        error: &str,
        refused: bool,
    ) -> Option<Entry> {
        let Self { lanes, news, .. } = self;
        let queue = lanes.get_mut(&due.key.lane)?;
        queue.took_turn();
        queue.failing_since.get_or_insert(due.at);
        // All that waits: the lane has failed for longer now.
        let lane = &due.key.lane;
        let key =
            |group_key: &String| LaneGroup { lane: lane.clone(), group_key: group_key.clone() };
        news.extend(queue.iter().map(|(group_key, _)| key(group_key)));
        news.insert(due.key.clone());
        let current = queue.get(&due.key.group_key).filter(|entry| entry.intent.id == due.id)?;
        let mut entry = current.clone();
        let tried = u32::try_from(due.tries.len()).unwrap_or(u32::MAX).max(1);
        entry.intent.attempts = due.attempts.saturating_add(tried);
        entry.intent.next_at = next_at;
        error.clone_into(&mut entry.intent.last_error);
        entry.intent.refused |= refused;
        queue.put(entry.clone());
        (!entry.leaves).then_some(entry)
    }
}

/// Puts into what a receiver was told what it may have been told since. Of an alert of which the two
/// differ nobody knows what it believes: should it fire, that is news, and should it not, its end is.
fn doubt(told: &mut Vec<Arc<Alert>>, perhaps: &[Arc<Alert>]) {
    let ended: HashSet<_> =
        perhaps.iter().filter(|alert| !alert.is_firing()).map(|alert| &alert.labels).collect();
    told.retain(|alert| !ended.contains(&alert.labels));
    let perhaps: Vec<_> = perhaps.iter().map(doubtful).collect();
    add(told, &perhaps);
}

/// An alert of which nobody knows whether a receiver believes that it fires.
fn doubtful(alert: &Arc<Alert>) -> Arc<Alert> {
    if !alert.is_firing() {
        return Arc::clone(alert);
    }
    let ended = Some((alert.starts_at, Ending::Resolved));
    Arc::new(Alert { ended, ..Alert::clone(alert) })
}

/// Adds those that are not there yet.
pub(super) fn add(to: &mut Vec<Arc<Alert>>, alerts: &[Arc<Alert>]) {
    if alerts.is_empty() {
        return;
    }
    let known: HashSet<_, RandomState> = to.iter().map(|alert| alert.labels.clone()).collect();
    to.extend(alerts.iter().filter(|alert| !known.contains(&alert.labels)).cloned());
}
