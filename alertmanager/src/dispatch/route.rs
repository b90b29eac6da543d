//! The tree of routes.
//!
//! Source: the configuration reference of Alertmanager.
//!
//! Invariant: every node is complete: what it does not say it has from its parent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base::diagnostic::{Diagnostics, Place, Spanned};
use base::labels::{Labels, LabelsBuilder, is_legacy_label_name};
use base::matcher::Matcher;
use base::period::Period;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::escalation::{Policy, Step, StepConfig, check_receiver};
use crate::matchers;
use crate::mute::{self, Index, RouteTimes, TimeIntervals};

/// A node of the tree, as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RouteConfig {
    /// Who is told.
    pub receiver: Option<Spanned<String>>,
    /// The labels by which alerts are put together; `...` for all.
    pub group_by: Option<Vec<Spanned<String>>>,
    /// Labels with their values; the older form of `matchers`.
    #[serde(rename = "match")]
    pub equal: BTreeMap<Spanned<String>, String>,
    /// Labels with regular expressions; the older form of `matchers`.
    pub match_re: BTreeMap<Spanned<String>, Option<Spanned<String>>>,
    /// Which alerts go here.
    pub matchers: Vec<Spanned<String>>,
    /// Whether the next sibling is asked too.
    #[serde(rename = "continue")]
    pub goes_on: bool,
    /// Nodes below.
    pub routes: Vec<Spanned<Self>>,
    /// How long a new group waits for others.
    pub group_wait: Option<Spanned<Period>>,
    /// How long a group waits before it tells of changes.
    pub group_interval: Option<Spanned<Period>>,
    /// After which time people are told again although nothing changed.
    pub repeat_interval: Option<Spanned<Period>>,
    /// When it tells nobody.
    pub mute_time_intervals: Vec<Spanned<String>>,
    /// When alone it tells.
    pub active_time_intervals: Vec<Spanned<String>>,
    /// What messages by this node and those below it say of it, for templates.
    pub labels: BTreeMap<Spanned<String>, String>,
    /// Who else is told when nobody answers.
    pub escalate: Option<Vec<Spanned<StepConfig>>>,
    /// How long an acknowledgement holds.
    pub acknowledge_timeout: Option<Spanned<Period>>,
}

/// By which labels alerts are put together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum GroupBy {
    /// Alerts with exactly the same labels.
    All,
    /// Alerts that agree on these.
    Labels(BTreeSet<String>),
}

impl GroupBy {
    /// Whether the alerts of a group agree on the label of that name.
    pub fn has(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Labels(names) => names.contains(name),
        }
    }

    /// The labels of the group that an alert belongs to.
    pub fn group_labels(&self, labels: &Labels) -> Labels {
        match self {
            Self::All => labels.clone(),
            Self::Labels(names) => labels.filter(|name| names.contains(name)),
        }
    }
}

/// A node of the tree.
#[derive(Clone, Debug)]
pub struct Route {
    /// Who is told.
    pub receiver: String,
    /// By which labels alerts are put together.
    pub group_by: GroupBy,
    /// How long a new group waits for others.
    pub group_wait: Period,
    /// How long a group waits before it tells of changes.
    pub group_interval: Period,
    /// After which time people are told again although nothing changed.
    pub repeat_interval: Period,
    /// What messages by it say of it, for templates.
    pub labels: Labels,
    /// Who else is told when nobody answers.
    pub escalation: Arc<Policy>,
    /// When it tells.
    pub times: RouteTimes,
    /// The way to the node, by its matchers and those of its parents: `{}/{team="db"}`.
    pub key: String,
    /// Its place among all nodes of the tree, as [`Route::all`] has them.
    pub place: usize,
    pub(super) matchers: Vec<Matcher>,
    pub(super) goes_on: bool,
    pub(super) routes: Vec<Self>,
    /// Those below it that may match an alert.
    pub(super) index: Index<usize>,
}

/// What the nodes of a tree refer to.
#[derive(Clone, Copy, Debug)]
pub struct World<'a> {
    /// The receivers that exist.
    pub receivers: &'a [String],
    /// The time intervals that exist.
    pub intervals: &'a TimeIntervals,
}

/// What a node has from its parent.
#[derive(Clone)]
struct Inherited<'a> {
    receiver: Option<String>,
    group_by: GroupBy,
    group_wait: Period,
    group_interval: Period,
    repeat_interval: Period,
    labels: Labels,
    escalation: Arc<Policy>,
    key: &'a str,
}

/// The deepest that routes can be nested.
const MAX_DEPTH: usize = 32;

impl Route {
    /// The tree that leads everything to `receiver`.
    pub fn to(receiver: &str) -> Self {
        let receiver_here = Spanned { value: receiver.to_owned(), place: Place::default() };
        let root = RouteConfig { receiver: Some(receiver_here), ..RouteConfig::default() };
        let mut diagnostics = Diagnostics::new("");
        let receivers = [receiver.to_owned()];
        let world = World { receivers: &receivers, intervals: &TimeIntervals::new() };
        root.build(Place::default(), world, &mut diagnostics)
    }

    /// The nodes that an alert goes to, in the order of the configuration.
    pub fn matching(&self, labels: &Labels) -> Vec<&Self> {
        if !self.matchers.iter().all(|matcher| matcher.matches_labels(labels)) {
            return Vec::new();
        }
        let mut found = Vec::new();
        let below = if self.routes.is_empty() { Vec::new() } else { self.index.of(labels) };
        for route in below.into_iter().filter_map(|place| self.routes.get(place)) {
            let below = route.matching(labels);
            let hit = !below.is_empty();
            found.extend(below);
            if hit && !route.goes_on {
                break;
            }
        }
        if found.is_empty() { vec![self] } else { found }
    }

    /// The tree as JSON, in the form of the configuration.
    pub fn describe(&self) -> Value {
        let mut node = json!({
            "receiver": self.receiver,
            "group_by": match &self.group_by {
                GroupBy::All => vec!["..."],
                GroupBy::Labels(names) => names.iter().map(String::as_str).collect(),
            },
            "group_wait": self.group_wait.to_string(),
            "group_interval": self.group_interval.to_string(),
            "repeat_interval": self.repeat_interval.to_string(),
        });
        if !self.matchers.is_empty() {
            node["matchers"] = self.matchers.iter().map(matchers::print).collect();
        }
        if self.goes_on {
            node["continue"] = json!(true);
        }
        if !self.escalation.steps.is_empty() {
            let step =
                |step: &Step| json!({"after": step.after.to_string(), "receiver": step.receiver});
            node["escalate"] = self.escalation.steps.iter().map(step).collect();
        }
        if !self.routes.is_empty() {
            node["routes"] = self.routes.iter().map(Self::describe).collect();
        }
        node
    }

    /// The node without those below it.
    pub fn alone(&self) -> Self {
        Self {
            receiver: self.receiver.clone(),
            group_by: self.group_by.clone(),
            labels: self.labels.clone(),
            escalation: Arc::clone(&self.escalation),
            times: self.times.clone(),
            key: self.key.clone(),
            matchers: self.matchers.clone(),
            routes: Vec::new(),
            index: Index::default(),
            ..*self
        }
    }

    /// Whether both trees lead every alert to nodes at the same places, and into groups of the same
    /// labels.
    pub fn leads_as(&self, other: &Self) -> bool {
        (&self.matchers, self.goes_on, &self.group_by)
            == (&other.matchers, other.goes_on, &other.group_by)
            && self.routes.len() == other.routes.len()
            && self.routes.iter().zip(&other.routes).all(|(own, other)| own.leads_as(other))
    }

    /// Whether people are told the same, and when, by this node as by the other.
    pub fn tells_as(&self, other: &Self) -> bool {
        let times = |route: &Self| (route.group_wait, route.group_interval, route.repeat_interval);
        (&self.receiver, &self.labels, times(self), &self.times, &self.escalation)
            == (&other.receiver, &other.labels, times(other), &other.times, &other.escalation)
    }

    /// Gives the node and those below it their places, from `next` on.
    fn number(&mut self, next: &mut usize) {
        self.place = *next;
        *next += 1;
        self.routes.iter_mut().for_each(|route| route.number(next));
    }

    /// The node at a place, if it is this or one below.
    pub fn at(&self, place: usize) -> Option<&Self> {
        if place == self.place {
            return Some(self);
        }
        // Those below one stand before the next beside it.
        let after = self.routes.partition_point(|route| route.place <= place);
        self.routes.get(after.checked_sub(1)?)?.at(place)
    }

    /// The node and all below it.
    pub fn all(&self) -> Vec<&Self> {
        std::iter::once(self).chain(self.routes.iter().flat_map(Self::all)).collect()
    }
}

impl RouteConfig {
    /// The tree with this node as its root, at `place`, that refers to what is in `world`.
    pub fn build(&self, place: Place, world: World<'_>, diagnostics: &mut Diagnostics) -> Route {
        if self.receiver.is_none() {
            diagnostics.report_with_help(
                place,
                "the first route has no receiver",
                "name the receiver of whatever no other route takes",
            );
        }
        if !self.equal.is_empty() || !self.match_re.is_empty() || !self.matchers.is_empty() {
            diagnostics.report(place, "the first route takes everything; it cannot have matchers");
        }
        if self.goes_on {
            diagnostics.report(place, "the first route has no sibling to `continue` with");
        }
        for (name, times) in [
            ("mute_time_intervals", &self.mute_time_intervals),
            ("active_time_intervals", &self.active_time_intervals),
        ] {
            if let Some(first) = times.first() {
                let message = format!("the first route cannot have `{name}`");
                diagnostics.report_with_help(first, message, "put them into a route below it");
            }
        }
        let inherited = Inherited {
            receiver: None,
            group_by: GroupBy::Labels(BTreeSet::new()),
            group_wait: Period::from_secs(30),
            group_interval: Period::from_secs(300),
            repeat_interval: Period::from_secs(4 * 3600),
            labels: Labels::empty(),
            escalation: Arc::default(),
            key: "",
        };
        let mut root = self.node(place, &inherited, world, 0, diagnostics);
        root.number(&mut 0);
        root
    }

    fn node(
        &self,
        place: Place,
        inherited: &Inherited<'_>,
        world: World<'_>,
        depth: usize,
        diagnostics: &mut Diagnostics,
    ) -> Route {
        self.check(world.receivers, diagnostics);
        let matchers =
            matchers::build_all(&self.equal, &self.match_re, &self.matchers, diagnostics);
        let own_key = matchers::print_all(&matchers);
        let key = if depth == 0 { own_key } else { format!("{}/{own_key}", inherited.key) };
        let or = |own: &Option<Spanned<Period>>, parent| own.as_ref().map_or(parent, |p| p.value);
        let receiver = self.receiver.as_ref().map(|r| r.value.clone());
        let receiver = receiver.or_else(|| inherited.receiver.clone());
        let timeout = self.acknowledge_timeout.as_ref().map(|timeout| timeout.value);
        let escalation = inherited.escalation.below(
            receiver.as_deref().unwrap_or_default(),
            self.escalate.as_deref(),
            timeout,
            world.receivers,
            diagnostics,
        );
        let mut node = Inherited {
            receiver,
            group_by: self.build_group_by(diagnostics).unwrap_or(inherited.group_by.clone()),
            group_wait: or(&self.group_wait, inherited.group_wait),
            group_interval: or(&self.group_interval, inherited.group_interval),
            repeat_interval: or(&self.repeat_interval, inherited.repeat_interval),
            labels: self.build_labels(&inherited.labels, diagnostics),
            escalation: Arc::new(escalation),
            key: "",
        };
        node.key = &key;
        let find = |names: &[Spanned<String>], diagnostics: &mut Diagnostics| {
            mute::find_all(names, world.intervals, diagnostics)
        };
        let times = RouteTimes {
            mute: find(&self.mute_time_intervals, diagnostics),
            active: find(&self.active_time_intervals, diagnostics),
        };
        let mut routes = Vec::new();
        if depth >= MAX_DEPTH && !self.routes.is_empty() {
            diagnostics.report(place, format!("routes are nested more than {MAX_DEPTH} deep"));
        } else {
            for route in &self.routes {
                let below = route.value.node(route.place, &node, world, depth + 1, diagnostics);
                routes.push(below);
            }
        }
        let mut index = Index::default();
        for (place, route) in routes.iter().enumerate() {
            index.add(&route.matchers, place);
        }
        Route {
            receiver: node.receiver.unwrap_or_default(),
            group_by: node.group_by,
            group_wait: node.group_wait,
            group_interval: node.group_interval,
            repeat_interval: node.repeat_interval,
            labels: node.labels,
            escalation: node.escalation,
            times,
            key,
            place: 0,
            matchers,
            goes_on: self.goes_on,
            routes,
            index,
        }
    }

    fn check(&self, receivers: &[String], diagnostics: &mut Diagnostics) {
        if let Some(receiver) = &self.receiver {
            check_receiver(receiver, receivers, diagnostics);
        }
        for (name, period) in
            [("group_interval", &self.group_interval), ("repeat_interval", &self.repeat_interval)]
        {
            if let Some(period) = period.as_ref().filter(|period| period.value.is_zero()) {
                diagnostics.report(period, format!("`{name}` cannot be zero"));
            }
        }
    }

    fn build_labels(&self, inherited: &Labels, diagnostics: &mut Diagnostics) -> Labels {
        let mut labels = LabelsBuilder::from(inherited);
        for (name, value) in &self.labels {
            if !is_legacy_label_name(&name.value) {
                let message = format!("templates cannot name the label `{}`", name.value);
                diagnostics.report_with_help(name, message, "write letters, digits and `_`");
            }
            labels.set(&name.value, value);
        }
        labels.build()
    }

    fn build_group_by(&self, diagnostics: &mut Diagnostics) -> Option<GroupBy> {
        let names = self.group_by.as_ref()?;
        let mut labels = BTreeSet::new();
        let all = names.iter().any(|name| name.value == "...");
        for name in names {
            if name.value.is_empty() {
                diagnostics.report(name, "a label name is empty");
            } else if all && names.len() > 1 {
                diagnostics.report(name, "`...` stands for all labels, no other can be beside it");
                break;
            } else if !labels.insert(name.value.clone()) {
                diagnostics.report(name, format!("`{}` is there twice", name.value));
            }
        }
        Some(if all { GroupBy::All } else { GroupBy::Labels(labels) })
    }
}

#[cfg(test)]
mod tests;
