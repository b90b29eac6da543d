//! Another configuration takes the place of the one before: the groups stay where alerts take the same
//! ways as before (F08).
//!
//! Invariant: what a dispatcher does after a reload is what one would do that was made anew, but that
//! a group that has waited does not wait again.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use base::sample::Timestamp;

use super::{Dispatcher, Lanes};
use crate::alerts::{Alert, ByLabels};
use crate::dispatch::audience::Fallbacks;
use crate::dispatch::group::{Group, GroupKey};
use crate::dispatch::groups::GroupId;
use crate::dispatch::route::Route;

/// The places of the nodes of another tree, by those of the nodes of a tree that are the same there.
struct Places(Vec<Option<usize>>);

impl Places {
    /// Nodes are the same that are reached by the same matchers and make the same groups.
    fn new(before: &Route, after: &Route) -> Self {
        let mut known: HashMap<(&str, _), Vec<usize>> = HashMap::new();
        // The last first, so that the first is taken first.
        for route in after.all().into_iter().rev() {
            known.entry((route.key.as_str(), &route.group_by)).or_default().push(route.place);
        }
        let nodes = before.all().into_iter();
        Self(nodes.map(|r| known.get_mut(&(r.key.as_str(), &r.group_by))?.pop()).collect())
    }

    /// The place in the other tree. The way of a drill is in none, and stays.
    fn of(&self, place: usize) -> Option<usize> {
        self.0.get(place).copied().unwrap_or(Some(place))
    }
}

impl Dispatcher {
    /// The dispatcher for another configuration. What that costs grows with the alerts that take
    /// other ways now, and the groups that others hear of; where the tree leads as before, alerts are
    /// not looked at. To be followed by [`Dispatcher::adopt`].
    #[must_use]
    pub fn reconfigured(
        mut self,
        root: Route,
        lanes: Lanes,
        fallbacks: Fallbacks,
        now: Timestamp,
    ) -> Self {
        let places = Places::new(&self.root, &root);
        let astray = match self.root.leads_as(&root) {
            true => ByLabels::default(),
            false => self.take_out(&root, &places),
        };
        // Who hears in the place of others may be anybody's lane.
        let all = self.fallbacks != fallbacks
            || self.root.receiver != root.receiver
            || self.lanes.get(&root.receiver) != lanes.get(&root.receiver)
            || !fallbacks.is_empty() && self.lanes != lanes;
        let routes: Vec<_> = root.all().into_iter().map(|route| Arc::new(route.alone())).collect();
        let lanes_before = std::mem::replace(&mut self.lanes, lanes);
        for id in self.groups.ids() {
            let Some(group) = self.groups.get(id) else { continue };
            let before = group.route();
            let place = places.of(before.place);
            let route = place.and_then(|place| routes.get(place)).unwrap_or(before);
            let route = Arc::clone(route);
            let same = before.tells_as(&route)
                && lanes_before.get(&before.receiver) == self.lanes.get(&route.receiver);
            if same && !all {
                self.groups.change(id, |group| group.lead_by(route));
            } else {
                let renewed = self.renewed(group, route, now);
                self.groups.change(id, |group| *group = renewed);
            }
        }
        self.groups.find_anew();
        (self.routes, self.root) = (routes, Arc::new(root));
        (self.fallbacks, self.made_at) = (fallbacks, now);
        astray.into_values().for_each(|alert| self.take(alert, now));
        // What has ended with its rule is told as ended.
        self.take_changed(now);
        // The times of routes may hold back others.
        self.muted_at.2 = i64::MIN;
        self
    }

    /// Takes out the groups that do not stay as they are by the tree of `root`: those of nodes that
    /// are not in it, and those that an alert joins or leaves. Gives the alerts that are to be taken
    /// again.
    fn take_out(&mut self, root: &Route, places: &Places) -> ByLabels<Arc<Alert>> {
        let ids = self.groups.ids().into_iter();
        let of = |id: &GroupId| self.groups.get(*id).map(|group| group.route().place);
        let gone = ids.filter(|id| of(id).is_some_and(|place| places.of(place).is_none()));
        let mut gone: BTreeSet<GroupId> = gone.collect();
        let mut astray: ByLabels<Arc<Alert>> = ByLabels::default();
        for alert in self.alerts.unsorted() {
            let nodes = self.root.of(&alert.labels);
            let before = nodes.iter().map(|route| places.of(route.place));
            let after = root.of(&alert.labels);
            if before.eq(after.iter().map(|route| Some(route.place))) {
                continue;
            }
            for route in nodes.iter() {
                let key = GroupKey::of(route, &alert.labels);
                gone.extend(self.groups.find(route.place, &key.labels));
            }
            // A group that it joins is there perhaps, and knows nothing of it.
            astray.insert(alert.labels.clone(), alert);
        }
        for id in gone {
            let alerts = self.groups.get(id).into_iter().flat_map(Group::alerts);
            let firing = alerts.filter(|alert| alert.is_firing());
            astray.extend(firing.map(|alert| (alert.labels.clone(), Arc::clone(alert))));
            self.groups.remove(id);
        }
        astray
    }

    /// A group of which other people hear now, or at other times.
    fn renewed(&self, group: &Group, route: Arc<Route>, now: Timestamp) -> Group {
        let firing = || group.alerts().filter(|alert| alert.is_firing());
        let began = firing().map(|alert| alert.starts_at).min().unwrap_or(now);
        let mut renewed = self.group(group.key().clone(), route, began, now);
        firing().for_each(|alert| renewed.insert(Arc::clone(alert), now));
        renewed
    }
}
