//! The health of everything, or of one service, and its form in JSON: `application/health+json` as
//! draft-inadarei-api-health-check has it, with the tree and its culprit beside it.
//!
//! Invariant: the page for people and the JSON are made of one [`Report`].

use std::collections::BTreeSet;
use std::sync::Arc;

use base::http::StatusCode;
use base::sample::Timestamp;
use probes::Reason;
use serde_json::{Map, Value, json};

use super::{Shown, tree};
use crate::results::{Latest, Slot};
use crate::service::{Forest, Health, Kind, Node, Service};

/// The type of a health report.
pub(super) const CONTENT_TYPE: &str = "application/health+json; charset=utf-8";

/// How it is.
pub(super) struct Report {
    /// All in all.
    pub(super) health: Health,
    /// What is wrong that no check says.
    pub(super) notes: Vec<String>,
    pub(super) checks: Vec<Entry>,
    pub(super) services: Vec<ServiceEntry>,
    /// What this is about, a node for each part of it.
    pub(super) tree: Vec<Arc<Node>>,
    description: String,
    identity: String,
}

/// How it is with a check.
pub(super) struct Entry {
    pub(super) name: Arc<str>,
    pub(super) health: Health,
    pub(super) latest: Latest,
    pub(super) max_attempts: u32,
    /// Whether a result is missing that should be in.
    pub(super) is_overdue: bool,
    pub(super) node: Arc<Node>,
}

/// How it is with a service.
pub(super) struct ServiceEntry {
    pub(super) description: String,
    pub(super) node: Arc<Node>,
}

impl Report {
    /// How it is with all checks and services.
    pub(super) fn of_all(shown: &Shown, now: Timestamp) -> Self {
        let (slots, forest) = (shown.results.slots(), shown.forest(now));
        let checks: Vec<_> =
            slots.iter().filter_map(|slot| Entry::of(slot, &forest, now)).collect();
        let services = shown.services.load();
        let mut services: Vec<_> =
            services.iter().filter_map(|service| ServiceEntry::of(service, &forest)).collect();
        services.sort_by(|a, b| a.node.name.cmp(&b.node.name));
        let mut notes = Vec::clone(&shown.missed.load());
        let mut health = Health::worst(checks.iter().map(|check| check.health));
        // Who reads the page as a tree wants to know what is wrong; the rest is among the checks.
        let broken = checks.iter().map(|check| &check.node);
        let broken = broken.filter(|node| !matches!(node.health, Health::Pass | Health::Pending));
        let tree = broken.cloned().collect();
        let reload = shown.reload();
        if let Some(faults) = &reload.faults {
            notes.push(format!(
                "the configuration {} failed, the one before is in use:\n{faults}",
                reload.source
            ));
            health = health.max(Health::Warn);
        }
        if let Some(fault) = shown.uplink.get().and_then(|uplink| uplink.fault()) {
            notes.push(fault);
            health = health.max(Health::Warn);
        }
        let description = "health of what this agent looks at".to_owned();
        let identity = shown.identity.clone();
        Self { health, notes, checks, services, tree, description, identity }
    }

    /// How it is with one service.
    pub(super) fn of_service(shown: &Shown, service: &Service, now: Timestamp) -> Option<Self> {
        let (slots, forest) = (shown.results.slots(), shown.forest(now));
        let node = Arc::clone(forest.services.get(&service.name)?);
        let mut needed = BTreeSet::new();
        checks_below(&node, &mut BTreeSet::new(), &mut needed);
        let needed = slots.iter().filter(|slot| needed.contains(&*slot.check().name));
        let checks = needed.filter_map(|slot| Entry::of(slot, &forest, now)).collect();
        let description = match service.description.as_str() {
            "" => format!("health of {}", service.name),
            description => description.to_owned(),
        };
        let (health, identity) = (node.health, shown.identity.clone());
        let (notes, services) = (Vec::new(), Vec::new());
        Some(Self { health, notes, checks, services, tree: vec![node], description, identity })
    }

    /// The first broken leaf, with the path to it.
    pub(super) fn culprit(&self) -> Option<(Vec<&str>, &Node)> {
        self.tree.iter().find_map(|node| node.culprit())
    }

    /// The status to answer with: a load balancer looks at nothing else.
    pub(super) fn code(&self) -> StatusCode {
        match self.health {
            Health::Fail => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::OK,
        }
    }

    /// The document.
    pub(super) fn to_json(&self, now: Timestamp) -> String {
        let mut checks = Map::new();
        for entry in &self.checks {
            entry.add_to(&mut checks);
        }
        let mut document = json!({
            "status": self.health.as_str(),
            "version": "1",
            "releaseId": env!("CARGO_PKG_VERSION"),
            "description": self.description,
            "time": rfc3339(now),
            "agent": self.identity,
            "checks": checks,
            "tree": tree::to_json(&self.tree),
        });
        if let Some((path, leaf)) = self.culprit() {
            document["output"] = json!(format!("{}: {}", path.join("/"), leaf.output));
            document["culprit"] = culprit(&path, leaf);
        }
        if !self.notes.is_empty() {
            document["notes"] = json!(self.notes);
        }
        if !self.services.is_empty() {
            let services = self.services.iter();
            let services = services.map(|entry| (entry.node.name.clone(), entry.to_json()));
            document["services"] = Value::Object(services.collect());
        }
        let mut text = format!("{document:#}");
        text.push('\n');
        text
    }
}

/// The names of the checks below `node`, each service looked at once.
fn checks_below(node: &Node, seen: &mut BTreeSet<String>, checks: &mut BTreeSet<String>) {
    for need in &node.needs {
        match need.kind {
            Kind::Check => drop(checks.insert(need.name.clone())),
            Kind::Service if seen.insert(need.name.clone()) => checks_below(need, seen, checks),
            Kind::Service | Kind::Component => {}
        }
    }
}

fn culprit(path: &[&str], leaf: &Node) -> Value {
    json!({
        "path": path,
        "kind": leaf.kind.as_str(),
        "reason": leaf.reason.as_str(),
        "output": leaf.output,
    })
}

impl Entry {
    /// Nothing where the check has just been taken away.
    fn of(slot: &Slot, forest: &Forest, now: Timestamp) -> Option<Self> {
        let (check, latest) = (slot.check(), slot.latest());
        let node = Arc::clone(forest.checks.get(&check.name)?);
        Some(Self {
            name: Arc::clone(&check.name),
            health: node.health,
            is_overdue: latest.is_overdue(now),
            latest,
            max_attempts: check.max_attempts,
            node,
        })
    }

    /// Why it is so.
    pub(super) fn reason(&self) -> Reason {
        self.latest.result.as_ref().map_or(Reason::NeverRun, |result| result.outcome.reason)
    }

    /// What is to be said of it in one line.
    pub(super) fn summary(&self) -> &str {
        self.latest.result.as_ref().map_or("has not run yet", |result| &result.outcome.summary)
    }

    /// Adds the check, and beside it each number that it measured as `name:label`.
    fn add_to(&self, checks: &mut Map<String, Value>) {
        let mut entry = json!({
            "componentType": "component",
            "status": self.health.as_str(),
            "observedValue": self.latest.status().as_str(),
            "reason": self.reason().as_str(),
            "attempt": self.latest.state.attempt(),
            "maxAttempts": self.max_attempts,
        });
        if self.health != Health::Pass {
            entry["output"] = json!(self.output());
        }
        let Some(result) = &self.latest.result else {
            checks.insert(self.name.to_string(), json!([entry]));
            return;
        };
        let time = rfc3339(result.started);
        entry["time"] = json!(time);
        entry["durationSeconds"] = json!(result.duration.as_secs_f64());
        if let Some(hard) = self.latest.state.hard() {
            entry["hardStatus"] = json!(hard.as_str());
        }
        checks.insert(self.name.to_string(), json!([entry]));
        for measurement in &result.outcome.measurements {
            if measurement.value.is_finite() {
                let key = format!("{}:{}", self.name, measurement.label);
                let value = json!([{
                    "componentType": "component",
                    "observedValue": measurement.value,
                    "observedUnit": measurement.unit,
                    "time": time,
                }]);
                checks.entry(key).or_insert(value);
            }
        }
    }

    fn output(&self) -> String {
        let details = self.latest.result.as_ref().map_or("", |result| &result.outcome.details);
        let mut output = self.summary().to_owned();
        if self.is_overdue {
            output = format!("no result for too long; the last was: {output}");
        }
        if !details.is_empty() {
            output.push('\n');
            output.push_str(details);
        }
        output
    }
}

impl ServiceEntry {
    fn of(service: &Service, forest: &Forest) -> Option<Self> {
        let node = Arc::clone(forest.services.get(&service.name)?);
        Some(Self { description: service.description.clone(), node })
    }

    fn to_json(&self) -> Value {
        let needs = self.node.needs.iter();
        let needs: Map<_, _> =
            needs.map(|need| (need.name.clone(), json!(need.health.as_str()))).collect();
        let mut entry = json!({
            "status": self.node.health.as_str(),
            "description": self.description,
            "needs": needs,
        });
        if let Some((path, leaf)) = self.node.culprit() {
            entry["culprit"] = culprit(&path, leaf);
        }
        entry
    }
}

/// The time as RFC 3339 writes it, in UTC.
pub(super) fn rfc3339(time: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(time.millis())
        .map_or_else(|_| String::new(), |t| t.to_string())
}
