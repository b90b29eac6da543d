//! What the outbox holds in memory: the queues of the lanes, what was told, and what may have been.
//!
//! Invariant: plain values behind one lock; what changes them is written to the journal by whoever
//! holds it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use base::sample::Timestamp;
use foldhash::fast::RandomState;

use super::queue::{Entry, Queue};
use super::{Due, Flush, LaneGroup, LastTold, Reason};
use crate::alerts::{Alert, Ending};

/// What was told, with the ids of its record and of that of the flush that told it.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) last: Arc<LastTold>,
    pub(super) record: u64,
    pub(super) flush_record: u64,
}

/// What a receiver may have been told of a group without our knowing, with the id of the record: that
/// stands in the journal from before a message leaves until its answer is noted.
#[derive(Debug)]
pub(super) struct Perhaps {
    pub(super) record: u64,
    /// The first of the messages in question, as if it had told nothing.
    pub(super) message: LastTold,
    /// The alerts of messages to which no answer came.
    pub(super) doubted: Vec<Arc<Alert>>,
    /// Those, and the alerts of the message that is on its way, if one is.
    pub(super) on_its_way: Option<Vec<Arc<Alert>>>,
}

#[derive(Debug, Default)]
pub(super) struct Inner {
    pub(super) lanes: BTreeMap<String, Queue>,
    pub(super) told: HashMap<LaneGroup, Kept>,
    /// The alerts that a receiver may have been told of, firing or ended, since no answer came or has
    /// come yet; its bound is the number of groups and lanes.
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
        self.perhaps.get(key).map_or(&[], |perhaps| perhaps.doubted.as_slice())
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

    /// What a lane was last told of a group, with what it may have been told since, in doubt.
    pub(super) fn known(&self, key: &LaneGroup) -> Option<Arc<LastTold>> {
        let told = self.told.get(key).map(|told| &told.last);
        let perhaps = self.perhaps.get(key).filter(|perhaps| !perhaps.doubted.is_empty());
        let Some(perhaps) = perhaps else { return told.map(Arc::clone) };
        let mut last = LastTold::clone(told.map_or(&perhaps.message, |told| told));
        doubt(&mut last.firing, &perhaps.doubted);
        Some(Arc::new(last))
    }

    /// Where nothing waits for a lane of a group, what it may have been told counts as told: dispatch
    /// hears of it, so that the end is told, and so does whoever reads the journal after a crash, which
    /// still says that it may have been. `new_id` gives ids for the records that will say that it was.
    pub(super) fn settle(&mut self, key: &LaneGroup, mut new_id: impl FnMut() -> u64) -> bool {
        let waits = self.lanes.get(&key.lane).is_some_and(|q| q.get(&key.group_key).is_some());
        let is_in_doubt = self.perhaps.get(key).is_some_and(|one| !one.doubted.is_empty());
        let known = if waits || !is_in_doubt { None } else { self.known(key) };
        let Some(last) = known else { return false };
        let (record, flush_record) = match self.told.get(key) {
            Some(told) => (told.record, told.flush_record),
            None => (new_id(), new_id()),
        };
        self.told.insert(key.clone(), Kept { last, record, flush_record });
        self.news.insert(key.clone());
        true
    }

    /// Whether a lane would hear something new from `flush`, or is to hear the same again.
    pub(super) fn is_news(&self, key: &LaneGroup, flush: &Flush) -> bool {
        flush.reason == Reason::Repeat
            || flush.reason.is_of_answer()
            || flush.is_news_after(self.known(key).as_deref())
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
