//! All groups: found by their route and labels, by their key, and by when they are due.
//!
//! Invariant: every group stands in the queue at the time at which it is due, and only there; so
//! looking for what is due costs nothing for those that are not.

use std::collections::{BTreeSet, HashMap};

use base::labels::Labels;
use base::sample::Timestamp;

use super::group::Group;

/// Names a group while it lives.
pub(super) type GroupId = u64;

#[derive(Debug)]
struct Entry {
    group: Group,
    /// The group's key, as receivers and the outbox know it.
    key: String,
    /// When it stands in the queue, and in that of the steps.
    queued: Option<Timestamp>,
    step_queued: Option<Timestamp>,
}

/// All groups.
#[derive(Debug, Default)]
pub(super) struct Groups {
    entries: HashMap<GroupId, Entry>,
    /// By the place of the route and the labels of the group.
    by_labels: HashMap<(usize, Labels), GroupId, foldhash::fast::RandomState>,
    /// Two routes with the same matchers have groups with the same key.
    by_key: HashMap<String, Vec<GroupId>>,
    due: BTreeSet<(Timestamp, GroupId)>,
    /// Those of which somebody is told next when nobody answers.
    steps: BTreeSet<(Timestamp, GroupId)>,
    last: GroupId,
}

impl Groups {
    /// The group of a route with these labels.
    pub(super) fn find(&self, route: usize, labels: &Labels) -> Option<GroupId> {
        // The key of a map cannot be borrowed in parts; labels are cheap to clone.
        self.by_labels.get(&(route, labels.clone())).copied()
    }

    /// Puts a group in.
    pub(super) fn insert(&mut self, key: String, group: Group) -> GroupId {
        self.last += 1;
        let id = self.last;
        self.by_labels.insert((group.route().place, group.key().labels.clone()), id);
        self.by_key.entry(key.clone()).or_default().push(id);
        self.entries.insert(id, Entry { group, key, queued: None, step_queued: None });
        self.change(id, |_| ());
        id
    }

    /// The group, if it lives.
    pub(super) fn get(&self, id: GroupId) -> Option<&Group> {
        self.entries.get(&id).map(|entry| &entry.group)
    }

    /// The key of a group.
    pub(super) fn key(&self, id: GroupId) -> Option<&str> {
        self.entries.get(&id).map(|entry| entry.key.as_str())
    }

    /// The groups with this key.
    pub(super) fn named(&self, key: &str) -> &[GroupId] {
        self.by_key.get(key).map_or(&[], Vec::as_slice)
    }

    /// Changes a group; it is due when it says so afterwards.
    pub(super) fn change<T>(
        &mut self,
        id: GroupId,
        change: impl FnOnce(&mut Group) -> T,
    ) -> Option<T> {
        let entry = self.entries.get_mut(&id)?;
        let result = change(&mut entry.group);
        let (due, step) = (entry.group.due(), entry.group.step_due());
        for (queue, queued, due) in [
            (&mut self.due, &mut entry.queued, due),
            (&mut self.steps, &mut entry.step_queued, step),
        ] {
            if due != *queued {
                if let Some(at) = *queued {
                    queue.remove(&(at, id));
                }
                queue.extend(due.map(|at| (at, id)));
                *queued = due;
            }
        }
        Some(result)
    }

    /// Drops a group.
    pub(super) fn remove(&mut self, id: GroupId) {
        let Some(Entry { group, key, queued, step_queued }) = self.entries.remove(&id) else {
            return;
        };
        for (queue, queued) in [(&mut self.due, queued), (&mut self.steps, step_queued)] {
            if let Some(at) = queued {
                queue.remove(&(at, id));
            }
        }
        self.by_labels.remove(&(group.route().place, group.key().labels.clone()));
        if let Some(ids) = self.by_key.get_mut(&key) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.by_key.remove(&key);
            }
        }
    }

    /// To be called when the routes of groups have other places.
    pub(super) fn find_anew(&mut self) {
        let name = |entry: &Entry| (entry.group.route().place, entry.group.key().labels.clone());
        self.by_labels = self.entries.iter().map(|(id, entry)| (name(entry), *id)).collect();
    }

    /// All of them, in no order.
    pub(super) fn ids(&self) -> Vec<GroupId> {
        self.entries.keys().copied().collect()
    }

    /// Those that are due at `now`, those first that have been for longest.
    pub(super) fn due(&self, now: Timestamp) -> Vec<GroupId> {
        self.due.iter().take_while(|(at, _)| *at <= now).map(|(_, id)| *id).collect()
    }

    /// Those of which it is to be seen at `now` whether somebody has answered.
    pub(super) fn steps_due(&self, now: Timestamp) -> Vec<GroupId> {
        self.steps.iter().take_while(|(at, _)| *at <= now).map(|(_, id)| *id).collect()
    }

    /// When the next one is.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.due.first().into_iter().chain(self.steps.first()).map(|(at, _)| *at).min()
    }
}
