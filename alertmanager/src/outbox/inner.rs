//! What the outbox holds in memory: the queues of the lanes, what was told, and what may have been.
//!
//! Invariant: plain values behind one lock; what changes them is written to the database by whoever
//! holds it.

use std::collections::{BTreeMap, HashMap, HashSet};

use base::sample::Timestamp;

use super::queue::{Entry, Queue};
use super::{Due, LaneGroup, LastTold};
use crate::alerts::Alert;
use crate::state::Intent;

#[derive(Debug, Default)]
pub(super) struct Inner {
    pub(super) lanes: BTreeMap<String, Queue>,
    pub(super) told: HashMap<LaneGroup, LastTold>,
    /// The alerts that a receiver may have been told of, firing or ended, since no answer came; its
    /// bound is the number of intents.
    pub(super) perhaps: HashMap<LaneGroup, Vec<Alert>>,
    /// What has come of intents since dispatch last asked, and what was not let in; its bound is
    /// the number of groups and lanes.
    pub(super) news: HashSet<LaneGroup>,
    /// How often something was not let in.
    pub(super) overflows: u64,
    pub(super) sequence: u64,
}

impl Inner {
    /// What a lane may have been told of a group once `due` was handed over.
    pub(super) fn perhaps_told(&self, due: &Due) -> Vec<Alert> {
        let mut alerts = due.flush.alerts.clone();
        for alert in self.perhaps.get(&due.key).into_iter().flatten() {
            if !alerts.iter().any(|other| other.labels == alert.labels) {
                alerts.push(alert.clone());
            }
        }
        alerts
    }

    /// The alerts that a lane was told of, or may have been, of which `due` says nothing.
    pub(super) fn known_before(&self, due: &Due) -> Vec<Alert> {
        // Of a notice only the last is known.
        if due.key.is_notice() {
            return Vec::new();
        }
        let told = self.told.get(&due.key).map_or(&[][..], |told| &told.firing);
        let perhaps = self.perhaps.get(&due.key).map_or(&[][..], Vec::as_slice);
        let silent =
            |alert: &&Alert| !due.flush.alerts.iter().any(|other| other.labels == alert.labels);
        let firing = perhaps.iter().filter(|alert| alert.is_firing());
        told.iter().chain(firing).filter(silent).cloned().collect()
    }

    /// What a lane counts as told of a group, if it may have been told what waits for it.
    pub(super) fn counts_as_told(&self, key: &LaneGroup) -> Option<LastTold> {
        let perhaps = self.perhaps.get(key).filter(|alerts| !alerts.is_empty())?;
        let Entry { intent, flush, .. } = self.lanes.get(&key.lane)?.get(&key.group_key)?;
        let mut last = self.told.get(key).cloned().unwrap_or_else(|| LastTold {
            thread: intent.id.clone(),
            reference: None,
            at: intent.created_at,
            receiver: flush.receiver.clone(),
            group_labels: flush.group_labels.clone(),
            firing: Vec::new(),
        });
        for alert in perhaps {
            // Perhaps it was told to have ended: should it fire, that is news.
            if !alert.is_firing() {
                last.firing.retain(|other| other.labels != alert.labels);
            } else if !last.firing.iter().any(|other| other.labels == alert.labels) {
                last.firing.push(alert.clone());
            }
        }
        Some(last)
    }

    /// Puts the intent of `due` off, if no other has replaced it; returns it as it is then.
    pub(super) fn put_off(
        &mut self,
        due: &Due,
        next_at: Timestamp,
        error: &str,
        refused: bool,
    ) -> Option<Intent> {
        if due.may_have_arrived {
            let perhaps = self.perhaps_told(due);
            self.perhaps.insert(due.key.clone(), perhaps);
        }
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
        let intent = entry.intent.clone();
        queue.put(entry);
        Some(intent)
    }
}
