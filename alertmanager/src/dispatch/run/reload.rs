//! Another configuration takes the place of the one before: the groups stay where alerts take the same
//! ways as before (F08).
//!
//! Invariant: what a dispatcher does after a reload is what one would do that was made anew, but that
//! a group that has waited does not wait again.

use std::sync::Arc;

use base::sample::Timestamp;

use super::{Dispatcher, Lanes};
use crate::dispatch::audience::Fallbacks;
use crate::dispatch::group::Group;
use crate::dispatch::route::Route;

impl Dispatcher {
    /// The dispatcher for another configuration. Where its tree leads every alert to the same nodes
    /// as the one before, that costs what has changed, not what fires; else all groups are made
    /// anew, from what was told of them. To be followed by [`Dispatcher::adopt`].
    #[must_use]
    pub fn reconfigured(
        mut self,
        root: Route,
        lanes: Lanes,
        fallbacks: Fallbacks,
        now: Timestamp,
    ) -> Self {
        if !self.root.leads_as(&root) {
            let (alerts, outbox, mutes) = (self.alerts, self.outbox, self.mutes);
            return Self::new(root, lanes, alerts, outbox, mutes, now)
                .answering(self.questions)
                .with_fallbacks(fallbacks);
        }
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
            // The way of a drill is not in the tree.
            let route = Arc::clone(routes.get(before.place).unwrap_or(before));
            let same = before.tells_as(&route)
                && lanes_before.get(&before.receiver) == self.lanes.get(&route.receiver);
            if same && !all {
                self.groups.change(id, |group| group.lead_by(route));
            } else {
                let renewed = self.renewed(group, route, now);
                self.groups.change(id, |group| *group = renewed);
            }
        }
        (self.routes, self.root) = (routes, Arc::new(root));
        (self.fallbacks, self.made_at) = (fallbacks, now);
        // What has ended with its rule is told as ended.
        self.take_changed(now);
        // The times of routes may hold back others.
        self.muted_at.2 = i64::MIN;
        self
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
