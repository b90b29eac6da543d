//! Who hears of a group: the lanes of its receiver, and others in their place where those fail.
//!
//! ```text
//! receiver ── stuck ──▶ its fallback ── stuck ──▶ its fallback ──▶ ...
//!
//! an alert about the delivery to `ops`, led to `ops` by its route:
//!     the fallbacks of `ops`, else the receiver of the first route, else other lanes of `ops`
//! ```
//!
//! Invariant: an alert about the delivery by a lane never goes to that lane, and it goes to the
//! receiver of that lane only where there is no other. Fallbacks are no circle (the configuration is
//! checked for it), and what a lane hears is decided by what it was told: so nothing goes round.

use std::collections::BTreeMap;
use std::time::Duration;

use base::labels::{ALERT_NAME, Labels};
use base::sample::Timestamp;

use super::route::Route;
use super::run::{Lane, Lanes};
use crate::escalation::Bout;
use crate::outbox::{LaneGroup, Outbox};

/// The alert that says that messages are not delivered.
pub const NOTIFICATION_FAILED: &str = "NotificationFailed";
/// Its labels that say by which lane.
pub const FAILED_RECEIVER: &str = "receiver";
/// The lane: `ops/email/0`.
pub const FAILED_LANE: &str = "lane";

/// Who hears of a receiver's alerts where that one cannot be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// The name of the other receiver.
    pub to: String,
    /// How long the receiver may fail before.
    pub after: Duration,
}

/// By the receiver's name.
pub type Fallbacks = BTreeMap<String, Fallback>;

/// A lane that hears of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listener {
    pub(super) receiver: String,
    pub(super) lane: Lane,
    /// Whether it hears of everything, but for alerts about its own receiver.
    all: bool,
    /// The receiver in whose place it hears of alerts about it.
    about: Option<String>,
    /// Whether it is the route's own, or stands in its place; else it hears because nobody answers.
    pub(super) is_own: bool,
    /// When it was last called because nobody answers, if it was.
    pub(super) called_at: Option<Timestamp>,
}

impl Listener {
    /// Whether it hears of an alert with these labels.
    pub(super) fn hears(&self, labels: &Labels) -> bool {
        match about(labels) {
            None => self.all,
            Some((_, lane)) if lane == self.lane.id => false,
            Some((receiver, _)) if receiver == self.receiver => {
                self.about.as_deref() == Some(receiver)
            }
            Some((receiver, _)) => self.all || self.about.as_deref() == Some(receiver),
        }
    }
}

/// The receiver and the lane that an alert says messages are not delivered to.
pub(super) fn about(labels: &Labels) -> Option<(&str, &str)> {
    if labels.get(ALERT_NAME) != Some(NOTIFICATION_FAILED) {
        return None;
    }
    Some((labels.get(FAILED_RECEIVER)?, labels.get(FAILED_LANE).unwrap_or("")))
}

/// What there is to choose from.
#[derive(Clone, Copy, Debug)]
pub(super) struct World<'a> {
    pub(super) lanes: &'a Lanes,
    pub(super) fallbacks: &'a Fallbacks,
    /// The receiver of the first route.
    pub(super) root: &'a str,
    pub(super) outbox: &'a Outbox,
}

impl World<'_> {
    /// Who hears of the group `group_key` of `receiver` at `now`; `has_reports` where there is an
    /// alert about the delivery to `receiver` among its alerts.
    pub(super) fn audience(
        &self,
        receiver: &str,
        group_key: &str,
        has_reports: bool,
        now: Timestamp,
    ) -> Vec<Listener> {
        let mut audience = self.listeners(receiver, true, None);
        for pair in self.chain(receiver).windows(2) {
            let [from, to] = pair else { break };
            if !self.is_stuck(from, group_key, now) {
                break;
            }
            audience.extend(self.listeners(to, true, None));
        }
        if has_reports {
            let substitute = self.substitute(receiver);
            for listener in self.listeners(&substitute, false, Some(receiver)) {
                match audience.iter_mut().find(|other| other.lane.id == listener.lane.id) {
                    Some(other) => other.about = listener.about,
                    None => audience.push(listener),
                }
            }
        }
        audience
    }

    /// Adds those who hear because nobody answers, also those who do so at other times: of what they
    /// were told they are told the end.
    pub(super) fn add_steps(&self, route: &Route, bout: Option<&Bout>, to: &mut Vec<Listener>) {
        let bout = bout.filter(|bout| bout.acknowledged.is_none());
        let again_at = bout.and_then(|bout| bout.again_at);
        let last = bout.and_then(|bout| {
            let mut reached = bout.reached.iter().rev().map(|reached| &reached.receiver);
            reached.find(|receiver| !self.lanes_of(receiver).is_empty())
        });
        for step in &route.escalation.steps {
            let again_at = again_at.filter(|_| last == Some(&step.receiver));
            let called_at = bout.and_then(|bout| bout.called_at(&step.receiver)).max(again_at);
            for listener in self.listeners(&step.receiver, true, None) {
                match to.iter_mut().find(|other| other.lane.id == listener.lane.id) {
                    Some(other) if other.all || called_at.is_some() => {
                        (other.called_at, other.all) = (called_at, true);
                    }
                    Some(_) => {}
                    None => to.push(Listener { is_own: false, called_at, ..listener }),
                }
            }
        }
        // No step leads anywhere: whoever was told first is told again.
        if last.is_none() && again_at.is_some() {
            to.iter_mut().filter(|own| own.is_own).for_each(|own| own.called_at = again_at);
        }
    }

    /// Every lane that may hear of a group of `route`, now or at another time.
    pub(super) fn reachable(&self, route: &Route, has_reports: bool) -> Vec<String> {
        let mut names = self.chain(&route.receiver);
        for step in &route.escalation.steps {
            if !names.contains(&step.receiver.as_str()) {
                names.push(&step.receiver);
            }
        }
        if has_reports && !names.contains(&self.root) {
            names.push(self.root);
        }
        let lanes = names.into_iter().flat_map(|name| self.lanes_of(name));
        lanes.map(|lane| lane.id.clone()).collect()
    }

    /// The receiver and its fallbacks, in their order.
    fn chain<'b>(&'b self, receiver: &'b str) -> Vec<&'b str> {
        let mut chain = vec![receiver];
        while let Some(next) = chain.last().and_then(|name| self.fallbacks.get(*name))
            // Checked when the configuration was read; an endless loop would be the end of us.
            && !chain.contains(&next.to.as_str())
        {
            chain.push(&next.to);
        }
        chain
    }

    fn is_stuck(&self, receiver: &str, group_key: &str, now: Timestamp) -> bool {
        let Some(fallback) = self.fallbacks.get(receiver) else { return false };
        self.lanes_of(receiver).iter().any(|lane| {
            let key = LaneGroup { lane: lane.id.clone(), group_key: group_key.to_owned() };
            self.outbox.is_stuck(&key, fallback.after, now)
        })
    }

    /// Who is told that messages to `receiver` are not delivered, where a route says `receiver`.
    fn substitute(&self, receiver: &str) -> String {
        let others = self.chain(receiver).into_iter().skip(1).chain([self.root]);
        let others: Vec<&str> = others.filter(|name| *name != receiver).collect();
        let works = |name: &&&str| {
            let lanes = self.lanes_of(name);
            !lanes.is_empty() && !lanes.iter().any(|lane| self.outbox.is_failing(&lane.id))
        };
        let best = others
            .iter()
            .find(works)
            .or_else(|| others.iter().find(|name| !self.lanes_of(name).is_empty()));
        (*best.unwrap_or(&receiver)).to_owned()
    }

    fn lanes_of(&self, receiver: &str) -> &[Lane] {
        self.lanes.get(receiver).map_or(&[], Vec::as_slice)
    }

    fn listeners(&self, receiver: &str, all: bool, about: Option<&str>) -> Vec<Listener> {
        let listener = |lane: &Lane| Listener {
            receiver: receiver.to_owned(),
            lane: lane.clone(),
            all,
            about: about.map(str::to_owned),
            is_own: true,
            called_at: None,
        };
        self.lanes_of(receiver).iter().map(listener).collect()
    }
}
