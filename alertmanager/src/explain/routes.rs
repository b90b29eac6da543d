//! Who would be told of an alert, by a configuration alone: the tree of routes, and the way of an
//! alert through it.
//!
//! Invariant: what is told of a node is what dispatch goes by.

use base::labels::Labels;
use base::sample::Timestamp;
use serde_json::{Value, json};

use crate::dispatch::{GroupBy, GroupKey, Lanes, Route, Verdict, Visit};
use crate::matchers;
use crate::mute::InhibitRule;
use crate::time::print_time;

/// By what alerts are routed.
#[derive(Clone, Copy, Debug)]
pub struct Routing<'a> {
    /// The tree.
    pub route: &'a Route,
    /// The ways to each receiver.
    pub lanes: &'a Lanes,
    /// Which alerts hold others back.
    pub inhibit_rules: &'a [InhibitRule],
}

impl Routing<'_> {
    /// The receivers of an alert, in the order of the routes, none twice.
    pub fn receivers(&self, labels: &Labels) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        for route in self.route.matching(labels) {
            if !found.contains(&route.receiver) {
                found.push(route.receiver.clone());
            }
        }
        found
    }

    /// The way of an alert with `labels` at `now`, a node a line and what it does below.
    pub fn tell(&self, labels: &Labels, now: Timestamp) -> String {
        let mut text = format!("{labels} at {}\n", print_time(now));
        for visit in self.route.walk(labels) {
            let indent = "  ".repeat(visit.depth);
            let node = title(visit.route);
            text.push_str(&format!("{indent}{node}: {}\n", verdict(&visit, labels)));
            if matches!(visit.verdict, Verdict::Taken) {
                for line in self.details(visit.route, labels, now) {
                    text.push_str(&format!("{indent}    {line}\n"));
                }
            }
        }
        for rule in self.inhibit_rules.iter().filter(|rule| rule.is_about(labels)) {
            let source = rule.source_of(labels);
            text.push_str(&format!("held back while {source} fires ({})\n", rule.title));
        }
        text.push_str(&format!("receivers: {}\n", self.receivers(labels).join(", ")));
        text
    }

    /// The same for programs.
    pub fn describe(&self, labels: &Labels, now: Timestamp) -> Value {
        let node = |visit: &Visit<'_>| {
            let route = visit.route;
            let mut node = json!({
                "route": route.key,
                "depth": visit.depth,
                "receiver": route.receiver,
                "taken": matches!(visit.verdict, Verdict::Taken),
                "why": verdict(visit, labels),
            });
            if matches!(visit.verdict, Verdict::Taken) {
                node["groupKey"] = json!(group_key(route, labels));
                node["groupWait"] = json!(route.group_wait.to_string());
                node["groupInterval"] = json!(route.group_interval.to_string());
                node["repeatInterval"] = json!(route.repeat_interval.to_string());
                let steps = route.escalation.steps.iter();
                let steps = steps.map(
                    |step| json!({"after": step.after.to_string(), "receiver": step.receiver}),
                );
                node["escalate"] = steps.collect();
                let timeout = route.escalation.acknowledge_timeout;
                node["acknowledgeTimeout"] = json!(timeout.map(|timeout| timeout.to_string()));
                node["mutedBy"] = json!(route.times.muted_by(now));
                let lanes = self.lanes.get(&route.receiver).into_iter().flatten();
                node["lanes"] = lanes.map(|lane| json!(lane.id)).collect();
            }
            node
        };
        let rules = self.inhibit_rules.iter().filter(|rule| rule.is_about(labels));
        let inhibition =
            rules.map(|rule| json!({"rule": rule.title, "source": rule.source_of(labels)}));
        json!({
            "labels": labels.iter().collect::<std::collections::BTreeMap<_, _>>(),
            "at": print_time(now),
            "receivers": self.receivers(labels),
            "routes": self.route.walk(labels).iter().map(node).collect::<Vec<_>>(),
            "inhibition": inhibition.collect::<Vec<_>>(),
        })
    }

    /// What a node does with what it takes.
    fn details(&self, route: &Route, labels: &Labels, now: Timestamp) -> Vec<String> {
        let mut lines = vec![
            format!("group {}", group_key(route, labels)),
            format!(
                "told after {}, then every {}, again after {}",
                route.group_wait, route.group_interval, route.repeat_interval
            ),
        ];
        lines.extend(times(route, now));
        lines.extend(escalation(route));
        let lanes = self.lanes.get(&route.receiver).map_or(&[][..], Vec::as_slice);
        let told = |lane: &crate::dispatch::Lane| match lane.send_resolved {
            true => lane.id.clone(),
            false => format!("{} (not of endings)", lane.id),
        };
        lines.push(match lanes {
            [] => format!("`{}` has no way to be told: nobody is", route.receiver),
            lanes => format!("by {}", lanes.iter().map(told).collect::<Vec<_>>().join(", ")),
        });
        lines
    }

    /// The whole tree, a node a line.
    pub fn show(&self) -> String {
        let mut text = String::new();
        show(self.route, 0, &mut text);
        text
    }
}

/// Whether a route tells at `now`, where that depends on the time.
pub fn times(route: &Route, now: Timestamp) -> Option<String> {
    let muted = route.times.muted_by(now);
    let names = |intervals: &[(String, _)]| {
        intervals.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")
    };
    let of = match (route.times.mute.as_slice(), route.times.active.as_slice()) {
        ([], []) => return None,
        (mute, []) => format!("mute in {}", names(mute)),
        ([], active) => format!("active in {} only", names(active)),
        (mute, active) => format!("mute in {}, active in {} only", names(mute), names(active)),
    };
    Some(match muted.as_slice() {
        [] => format!("{of}: tells at this time"),
        muted => format!("{of}: tells nobody at this time, because of {}", muted.join(", ")),
    })
}

/// Who is told when nobody answers, where anybody is.
fn escalation(route: &Route) -> Option<String> {
    let steps = route.escalation.told()?;
    Some(format!("unanswered: {steps}; an answer holds {}", route.escalation.timeout_told()))
}

/// The group of an alert at a route.
pub fn group_key(route: &Route, labels: &Labels) -> String {
    GroupKey::of(route, labels).to_string()
}

fn title(route: &Route) -> String {
    let matchers = route.matchers();
    let matchers =
        if matchers.is_empty() { "everything".to_owned() } else { matchers::print_all(matchers) };
    format!("{matchers} to {}", route.receiver)
}

fn verdict(visit: &Visit<'_>, labels: &Labels) -> String {
    let goes_on = if visit.route.goes_on() { ", and the next is asked too" } else { "" };
    match visit.verdict {
        Verdict::Taken => format!("takes it{goes_on}"),
        Verdict::Below => format!("matches, and a route below takes it{goes_on}"),
        Verdict::Refused(matcher) => {
            let wanted = matchers::print(matcher);
            match labels.get(matcher.name()) {
                Some(value) => {
                    format!("no: {wanted}, and it is \"{}\"", base::labels::escape_value(value))
                }
                None => format!("no: {wanted}, and it has no such label"),
            }
        }
        Verdict::NotAsked(by) => {
            format!("not asked: {} before it takes it", matchers::print_all(by.matchers()))
        }
    }
}

fn show(route: &Route, depth: usize, text: &mut String) {
    let group_by = match &route.group_by {
        GroupBy::All => "all labels".to_owned(),
        GroupBy::Labels(names) if names.is_empty() => "nothing".to_owned(),
        GroupBy::Labels(names) => names.iter().map(String::as_str).collect::<Vec<_>>().join(", "),
    };
    let goes_on = if route.goes_on() { ", and the next is asked too" } else { "" };
    let indent = "  ".repeat(depth);
    text.push_str(&format!(
        "{indent}{}{goes_on}  [by {group_by}; after {}, every {}, again after {}{}]\n",
        title(route),
        route.group_wait,
        route.group_interval,
        route.repeat_interval,
        escalation(route).map_or_else(String::new, |told| format!("; {told}"))
    ));
    for below in route.routes() {
        show(below, depth + 1, text);
    }
}
