//! What waits for the first round after a start (F09), and is looked at again when that is over.
//!
//! Invariant: what a receiver was told already, or what was decided to tell it before the start, does
//! not wait.

use std::collections::{BTreeSet, HashSet};

use base::labels::Labels;
use base::sample::Timestamp;

use super::super::audience::Listener;
use super::super::group::Group;
use super::Dispatcher;
use crate::outbox::LaneGroup;

impl Dispatcher {
    /// The alerts of `group` that `key` does not hear of before the first round is over.
    pub(super) fn waiting(&self, group: &Group, key: &LaneGroup) -> BTreeSet<Labels> {
        if self.mutes.first_round.is_over() {
            return BTreeSet::new();
        }
        let standing = self.outbox.standing(key);
        let known: HashSet<&Labels> = standing.alerts().map(|alert| &alert.labels).collect();
        let waits = |labels: &Labels| {
            !known.contains(labels) && self.mutes.awaits_first_round(labels).is_some()
        };
        group.alerts().map(|a| &a.labels).filter(|labels| waits(labels)).cloned().collect()
    }

    /// Whether some of `audience` is not told of an alert of `group` because of the first round.
    pub(super) fn awaits_round(&self, group: &Group, audience: &[Listener]) -> bool {
        let group_key = group.key().to_string();
        audience.iter().any(|listener| {
            let (lane, group_key) = (listener.lane.id.clone(), group_key.clone());
            !self.waiting(group, &LaneGroup { lane, group_key }).is_empty()
        })
    }

    /// Looks at what waited, if a part of the round is over since the last look. `over` was read
    /// before the alerts were: what was found in the round is known now.
    pub(super) fn end_waiting(&mut self, over: u64, now: Timestamp) {
        if over == self.round_over {
            return;
        }
        self.round_over = over;
        for id in self.groups.ids() {
            if self.groups.get(id).is_some_and(Group::awaits_round) {
                self.groups.change(id, |group| group.round_is_over(now));
            }
        }
    }
}
