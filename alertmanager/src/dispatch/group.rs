//! The alerts of one route that are told together, and when they are due.
//!
//! Invariant: a group is due at its ticks only: first after `group_wait`, then every
//! `group_interval`; a tick at which nothing changed costs nothing.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base::labels::{Labels, escape_value};
use base::sample::Timestamp;

use super::ask::GroupTimes;
use super::route::Route;
use crate::alerts::{Alert, ByLabels};
use crate::drill;

/// By what a group is known, also after a restart: its route and its labels.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupKey {
    /// The way to the route.
    pub route: String,
    /// The labels that the alerts agree on.
    pub labels: Labels,
}

impl GroupKey {
    /// The group of an alert with `labels` on `route`. A drill has one of its own.
    pub fn of(route: &Route, labels: &Labels) -> Self {
        let group = route.group_by.group_labels(labels);
        Self { route: route.key.clone(), labels: drill::group_labels(group, labels) }
    }
}

/// Prints the key as Alertmanager's webhooks have it: `{}/{team="db"}:{alertname="Down"}`.
impl fmt::Display for GroupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{{", self.route)?;
        for (n, (name, value)) in self.labels.iter().enumerate() {
            let separator = if n > 0 { ", " } else { "" };
            write!(f, "{separator}{name}=\"{}\"", escape_value(value))?;
        }
        f.write_str("}")
    }
}

/// A group.
#[derive(Clone, Debug)]
pub struct Group {
    key: GroupKey,
    route: Arc<Route>,
    alerts: ByLabels<Arc<Alert>>,
    /// When it was made.
    met_at: Timestamp,
    /// The first tick; every `group_interval` after it is another.
    first_tick: Timestamp,
    last_flush: Option<Timestamp>,
    /// When something first changed since the last flush.
    changed_at: Option<Timestamp>,
    /// When people are to be told again although nothing changed.
    repeat_at: Option<Timestamp>,
    /// Those of its alerts that were held back when it was last looked at.
    held: BTreeSet<Labels>,
    /// Since when some of them are not.
    let_go_at: Option<Timestamp>,
    /// Whether some of them were left out because of the first round after the start.
    awaits_round: bool,
    /// Whether somebody is waited for to answer, or has answered.
    has_bout: bool,
    /// When that is to be looked at again.
    step_due: Option<Timestamp>,
}

/// What was held back is told no later than this after it was let go, also where groups wait longer
/// (F06).
const SETTLE: Duration = Duration::from_secs(120);

impl Group {
    /// The group of `route` that an alert with `labels` belongs to, met at `now`. `told_at` is when
    /// somebody was last told of it, before a restart or a reload.
    pub fn new(
        key: GroupKey,
        route: Arc<Route>,
        began: Timestamp,
        now: Timestamp,
        told_at: Option<Timestamp>,
    ) -> Self {
        // An alert that has been firing for longer has waited already.
        let has_waited = began + route.group_wait.duration() < now;
        let wait = if has_waited { Duration::ZERO } else { route.group_wait.duration() };
        let first = told_at.unwrap_or(now + wait);
        Self {
            key,
            route,
            alerts: ByLabels::default(),
            met_at: now,
            first_tick: first,
            last_flush: told_at,
            changed_at: None,
            repeat_at: None,
            held: BTreeSet::new(),
            let_go_at: None,
            awaits_round: false,
            has_bout: false,
            step_due: None,
        }
    }

    /// What it is known by.
    pub fn key(&self) -> &GroupKey {
        &self.key
    }

    /// The route that it belongs to.
    pub fn route(&self) -> &Arc<Route> {
        &self.route
    }

    /// Puts the route of another configuration in the place of one that tells the same.
    pub fn lead_by(&mut self, route: Arc<Route>) {
        self.route = route;
    }

    /// Whether one of its alerts has ended.
    pub fn has_ended(&self) -> bool {
        self.alerts.values().any(|alert| !alert.is_firing())
    }

    /// Its alerts, in no order.
    pub fn alerts(&self) -> impl Iterator<Item = &Arc<Alert>> {
        self.alerts.values()
    }

    /// Takes the newest state of an alert at `now`.
    pub fn insert(&mut self, alert: Arc<Alert>, now: Timestamp) {
        self.alerts.insert(alert.labels.clone(), alert);
        self.touch(now);
    }

    /// Notes that something came of what was to be told, so that it is compared again.
    pub fn touch(&mut self, now: Timestamp) {
        self.changed_at.get_or_insert(now);
    }

    /// Notes which of its alerts are held back at `now`; where that has changed, it is compared
    /// again. True where one is that was not.
    pub fn hold(&mut self, held: BTreeSet<Labels>, now: Timestamp) -> bool {
        let more = held.difference(&self.held).next().is_some();
        if held != self.held {
            self.touch(now);
            if self.held.difference(&held).next().is_some() {
                self.let_go_at.get_or_insert(now);
            }
            self.held = held;
        }
        more
    }

    /// Notes that it was looked at, and whether some of its alerts wait for the first round.
    pub fn set_awaits_round(&mut self, awaits: bool) {
        self.awaits_round = awaits;
    }

    /// Whether some of its alerts wait for the first round.
    pub fn awaits_round(&self) -> bool {
        self.awaits_round
    }

    /// What waited for the first round is due at once: its tick is past.
    pub fn round_is_over(&mut self, now: Timestamp) {
        self.awaits_round = false;
        self.touch(now);
        self.let_go_at = Some(now - SETTLE);
    }

    /// Goes on with a wait that began under another configuration, or before a restart, when the first
    /// of its alerts did: it does not begin again (F08).
    pub fn go_on(&mut self, now: Timestamp) {
        let began = self.alerts.values().map(|alert| alert.starts_at).min();
        if let (Some(began), None) = (began, self.last_flush) {
            let first = (began + self.route.group_wait.duration()).max(now);
            self.first_tick = self.first_tick.min(first);
        }
    }

    /// Notes whether somebody is waited for to answer, or has answered, and when that is to be looked
    /// at again.
    pub fn set_bout(&mut self, has_bout: bool, step_due: Option<Timestamp>) {
        (self.has_bout, self.step_due) = (has_bout, step_due);
    }

    /// Whether somebody is waited for to answer, or has answered.
    pub fn has_bout(&self) -> bool {
        self.has_bout
    }

    /// When that is to be looked at again.
    pub fn step_due(&self) -> Option<Timestamp> {
        self.step_due
    }

    /// Follows a clock that was set back: no tick is further away than without the jump.
    pub fn set_back(&mut self, now: Timestamp) {
        let first = match self.last_flush {
            Some(last) if last > now => now,
            Some(_) => return,
            None => self.first_tick.min(now + self.route.group_wait.duration()),
        };
        self.first_tick = self.first_tick.min(first);
        self.last_flush = self.last_flush.map(|last| last.min(now));
        self.let_go_at = self.let_go_at.map(|at| at.min(now));
        self.changed_at = self.changed_at.map(|at| at.min(now));
    }

    /// Since when it is there, and when there is something to do.
    pub fn times(&self) -> GroupTimes {
        GroupTimes { since: self.met_at, due: self.due() }
    }

    /// When there is something to do; `None` where nothing is.
    pub fn due(&self) -> Option<Timestamp> {
        match (self.changed_at, self.last_flush) {
            (Some(_), None) => Some(self.first_tick),
            (Some(changed), Some(last)) => {
                let tick = self.tick_after(last).max(self.tick_at_or_after(changed));
                Some(self.let_go_at.map_or(tick, |at| tick.min(at + SETTLE)))
            }
            (None, _) => self.repeat_at.map(|at| self.tick_at_or_after(at)),
        }
    }

    /// Notes that the group was looked at at `now`; people are to be told again at `repeat_at`.
    pub fn flushed(&mut self, now: Timestamp, repeat_at: Option<Timestamp>) {
        self.last_flush = Some(now);
        self.changed_at = None;
        self.let_go_at = None;
        self.repeat_at = repeat_at;
    }

    /// Drops the alerts that ended, but for those that `keep` still needs; true where none is left.
    pub fn drop_ended(&mut self, keep: impl Fn(&Alert) -> bool) -> bool {
        self.alerts.retain(|_, alert| alert.is_firing() || keep(alert));
        self.alerts.is_empty()
    }

    fn tick_after(&self, time: Timestamp) -> Timestamp {
        self.tick_at_or_after(Timestamp::from_millis(time.millis() + 1))
    }

    fn tick_at_or_after(&self, time: Timestamp) -> Timestamp {
        let interval = self.route.group_interval.millis().max(1) as i64;
        let late = time.millis() - self.first_tick.millis();
        let ticks = late.max(0).div_euclid(interval) + i64::from(late.max(0) % interval > 0);
        Timestamp::from_millis(self.first_tick.millis() + ticks * interval)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use base::diagnostic::{Diagnostics, Place};

    use super::*;
    use crate::dispatch::{RouteConfig, World};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn group(began: i64, now: i64, told_at: Option<i64>) -> Group {
        let yaml = "{receiver: r, group_wait: 10s, group_interval: 60s}";
        let mut diagnostics = Diagnostics::new("");
        let config: RouteConfig = base::yaml::read(yaml, &mut diagnostics).unwrap();
        let world = World { receivers: &["r".to_owned()], intervals: &Default::default() };
        let route = config.build(Place::default(), world, &mut diagnostics);
        let labels = Labels::from_pairs([("a", "\"")]);
        let key = GroupKey { route: route.key.clone(), labels };
        Group::new(key, Arc::new(route), at(began), at(now), told_at.map(at))
    }

    fn alert(name: &str, ended: bool) -> Arc<Alert> {
        Arc::new(Alert {
            labels: Labels::from_pairs([("alertname", name)]),
            annotations: BTreeMap::new(),
            starts_at: at(0),
            ended: ended.then(|| (at(1), crate::alerts::Ending::Resolved)),
            stale_since: None,
            generator_url: String::new(),
        })
    }

    #[test]
    fn waits_before_the_first_time_and_between_changes() {
        let mut group = group(100, 100, None);
        assert_eq!(group.due(), None);
        group.insert(alert("a", false), at(100));
        assert_eq!(group.due(), Some(at(110)));
        group.flushed(at(110), Some(at(110 + 240)));
        assert_eq!(group.due(), Some(at(350)));
        // Ticks are at 110, 170, 230, 290: what changes at 232 is due at 290.
        group.flushed(at(231), Some(at(471)));
        group.insert(alert("b", false), at(232));
        assert_eq!(group.due(), Some(at(290)));
        group.flushed(at(290), Some(at(471)));
        assert_eq!(group.due(), Some(at(530)));
        // Also after a long quiet time, so that those that come together are told together.
        group.flushed(at(290), None);
        group.insert(alert("c", false), at(1000));
        assert_eq!(group.due(), Some(at(1010)));
    }

    #[test]
    fn what_has_fired_for_long_does_not_wait_again() {
        let mut group = group(100, 500, None);
        group.insert(alert("a", false), at(500));
        assert_eq!(group.due(), Some(at(500)));
    }

    #[test]
    fn a_wait_does_not_begin_again_f08() {
        for (now, due) in [(104, 110), (109, 110), (110, 110), (150, 150)] {
            let mut group = group(100, now, None);
            group.insert(
                Arc::new(Alert { starts_at: at(100), ..Alert::clone(&alert("a", false)) }),
                at(now),
            );
            group.go_on(at(now));
            assert_eq!(group.due(), Some(at(due)), "{now}");
        }
    }

    #[test]
    fn goes_on_from_what_was_told_before_a_restart() {
        let mut group = group(100, 500, Some(480));
        group.insert(alert("a", false), at(500));
        assert_eq!(group.due(), Some(at(540)));
    }

    #[test]
    fn what_is_let_go_waits_for_the_next_tick_and_no_longer_than_two_minutes_f06() {
        let held = || BTreeSet::from([Labels::from_pairs([("alertname", "a")])]);
        for (interval, due) in [(60, 170), (600, 235)] {
            let mut group = group(100, 100, None);
            let mut route = Route::clone(&group.route);
            route.group_interval = base::period::Period::from_secs(interval);
            group.route = Arc::new(route);
            group.insert(alert("a", false), at(100));
            group.hold(held(), at(105));
            group.flushed(at(110), None);
            group.hold(held(), at(112));
            assert_eq!(group.due(), None);
            group.hold(BTreeSet::new(), at(115));
            assert_eq!(group.due(), Some(at(due)));
        }
    }

    #[test]
    fn forgets_what_ended_when_nobody_needs_it() {
        let mut group = group(0, 0, None);
        group.insert(alert("a", true), at(1));
        group.insert(alert("b", true), at(1));
        assert!(!group.drop_ended(|alert| alert.name() == "b"));
        assert!(group.drop_ended(|_| false));
        assert_eq!(group.key().to_string(), r#"{}:{a="\""}"#);
    }
}
