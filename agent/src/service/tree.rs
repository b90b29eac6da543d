//! The health tree: what every service needs, down to the parts of applications on other hosts.
//!
//! ```text
//! shop ─┬─ website (a check)
//!       └─ payments (a service) ─── page of the bank (a check) ─── database (a component): refused
//! ```
//!
//! Pages of other hosts are read by checks, in the background; here is only what they found last.
//!
//! Invariant: a node that needs others is as bad as the worst of them; only leaves say why.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use base::sample::Timestamp;
use probes::{Component, Reason};

use super::{Health, Need, Service};
use crate::results::Slot;

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A service of this agent.
    Service,
    /// A check of this agent.
    Check,
    /// A part of an application, by its own word.
    Component,
}

impl Kind {
    /// The kind's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Check => "check",
            Self::Component => "component",
        }
    }
}

/// A node of the tree.
#[derive(Debug)]
pub struct Node {
    /// What it is called.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// How it is.
    pub health: Health,
    /// Whether that is known of everything below.
    pub is_known: bool,
    /// Why it is so; of leaves.
    pub reason: Reason,
    /// What is to be said of it in one line; of leaves.
    pub output: String,
    /// The agent whose page it stands for, where it is one of ours.
    pub agent: Option<String>,
    /// What it needs.
    pub needs: Vec<Arc<Node>>,
}

impl Node {
    /// What a check found.
    pub fn of_check(slot: &Slot, now: Timestamp) -> Self {
        let (check, latest) = (slot.check(), slot.latest());
        let health = Health::of(&latest, now);
        let mut node = Self {
            name: check.name.to_string(),
            kind: Kind::Check,
            health,
            is_known: health != Health::Pending,
            reason: Reason::NeverRun,
            output: "has not run yet".to_owned(),
            agent: None,
            needs: Vec::new(),
        };
        let is_overdue = latest.is_overdue(now);
        let Some(result) = latest.result else { return node };
        (node.reason, node.output) = (result.outcome.reason, result.outcome.summary.clone());
        if is_overdue {
            // What its page said was true once.
            node.reason = Reason::NotReported;
            node.output = format!("no result for too long; the last was: {}", node.output);
            return node;
        }
        let tree = &result.outcome.tree;
        node.agent.clone_from(&tree.agent);
        node.needs = tree.components.iter().map(|part| Self::of_component(part, health)).collect();
        node
    }

    /// A part of an application, which is not held to be worse than the check that read it: a
    /// failure that is being tried again is none yet.
    fn of_component(component: &Component, most: Health) -> Arc<Self> {
        let needs: Vec<_> =
            component.parts.iter().map(|part| Self::of_component(part, most)).collect();
        let health = match needs.is_empty() {
            true => Health::of_component(component.status),
            false => Health::worst(needs.iter().map(|need| need.health)),
        };
        Arc::new(Self {
            name: component.name.clone(),
            kind: Kind::Component,
            health: health.min(most),
            // What an application does not say of its parts is no reason not to know how it is.
            is_known: true,
            reason: component.reason,
            output: component.output.clone(),
            agent: component.agent.clone(),
            needs,
        })
    }

    fn of_service(service: &Service, needs: Vec<Arc<Self>>) -> Self {
        // While a reload is on its way a check may not be there yet: nothing is known of it.
        let is_whole = needs.len() == service.needs.len();
        let least = if is_whole { Health::Pass } else { Health::Pending };
        Self {
            name: service.name.clone(),
            kind: Kind::Service,
            health: Health::worst(needs.iter().map(|need| need.health)).max(least),
            is_known: is_whole && needs.iter().all(|need| need.is_known),
            reason: Reason::None,
            output: String::new(),
            agent: None,
            needs,
        }
    }

    /// 1 where it works, 0 where it does not, nothing where nobody knows: what is not known hides
    /// what is well, and not what fails.
    pub fn up(&self) -> Option<f64> {
        match (self.health, self.is_known) {
            (Health::Fail, _) => Some(0.0),
            (_, true) => Some(1.0),
            (_, false) => None,
        }
    }

    /// The first broken leaf, where it does not work, and the names on the way to it from this node
    /// on.
    pub fn culprit(&self) -> Option<(Vec<&str>, &Self)> {
        if self.health != Health::Fail {
            return None;
        }
        let (mut path, mut node) = (vec![self.name.as_str()], self);
        while let Some(next) = node.needs.iter().find(|need| need.health == Health::Fail) {
            path.push(&next.name);
            node = next;
        }
        Some((path, node))
    }
}

/// The trees of all services, as of one moment.
#[derive(Debug)]
pub struct Forest {
    /// By the name of the service.
    pub services: BTreeMap<String, Arc<Node>>,
    /// By the name of the check.
    pub checks: BTreeMap<Arc<str>, Arc<Node>>,
}

impl Forest {
    /// How it is with `services`, each behind those that it needs, and all checks in `slots`.
    pub fn new(services: &[Service], slots: &[Arc<Slot>], now: Timestamp) -> Self {
        Self::grow(services, slots, now, |_| true)
    }

    /// As [`Forest::new`], with no checks but those that a service needs.
    pub fn of_services(services: &[Service], slots: &[Arc<Slot>], now: Timestamp) -> Self {
        let needs = services.iter().flat_map(|service| &service.needs);
        let needed: HashSet<&str> = needs
            .filter_map(|need| match need {
                Need::Check(name) => Some(name.as_str()),
                Need::Service(_) => None,
            })
            .collect();
        Self::grow(services, slots, now, |name| needed.contains(name))
    }

    fn grow(
        services: &[Service],
        slots: &[Arc<Slot>],
        now: Timestamp,
        is_wanted: impl Fn(&str) -> bool,
    ) -> Self {
        let checks = slots.iter().filter_map(|slot| {
            let name = Arc::clone(&slot.check().name);
            is_wanted(&name).then(|| (name, Arc::new(Node::of_check(slot, now))))
        });
        let mut forest = Self { services: BTreeMap::new(), checks: checks.collect() };
        for service in services {
            let needs = service.needs.iter().filter_map(|need| match need {
                Need::Check(name) => forest.checks.get(name.as_str()),
                Need::Service(name) => forest.services.get(name),
            });
            let node = Node::of_service(service, needs.cloned().collect());
            forest.services.insert(service.name.clone(), Arc::new(node));
        }
        forest
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use probes::{Outcome, Status, Tree};

    use super::*;
    use crate::config::{Source, Terms};
    use crate::results::{CheckResult, Results};

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    /// Checks called by letters, each with its last outcome; the services of `yaml`.
    fn forest(yaml: &str, outcomes: &[(&str, Outcome)]) -> Forest {
        let mut text = String::from("checks:\n");
        for name in ["a", "b", "c", "d"] {
            let check = "interval: 1m, retries: 0, probe: {tcp: {address: 'x:1'}}";
            text.push_str(&format!("- {{name: {name}, {check}}}\n"));
        }
        let source = Source::Embedded { name: "test", text: text + yaml };
        let config = source.load(Terms::default()).unwrap_or_else(|faults| panic!("{faults}"));
        let results = Results::new(config.checks);
        for slot in results.slots().iter() {
            let name = slot.check().name.to_string();
            for (_, outcome) in outcomes.iter().filter(|(check, _)| *check == name) {
                let generation = slot.begin();
                let (outcome, duration) = (outcome.clone(), Duration::ZERO);
                let result = CheckResult { outcome, started: NOW, duration, lateness: duration };
                slot.record(generation, result);
            }
        }
        Forest::new(&config.services, &results.slots(), NOW)
    }

    fn bad(text: &str) -> Outcome {
        Outcome::critical(Reason::ConnectionRefused, text)
    }

    #[track_caller]
    fn check(forest: &Forest, service: &str, health: Health, up: Option<f64>, culprit: &str) {
        let node = &forest.services[service];
        let found =
            node.culprit().map(|(path, leaf)| format!("{}: {}", path.join("/"), leaf.output));
        assert_eq!(
            (node.health, node.up(), found.as_deref().unwrap_or("")),
            (health, up, culprit),
            "{service}"
        );
    }

    const SERVICES: &str = "services:\n  shop: {needs: [a, pay, stock]}\n  \
                            pay: {needs: [bank, b]}\n  bank: {needs: [c]}\n  stock: {needs: [d]}\n";

    #[test]
    fn a_service_is_as_bad_as_what_it_stands_on() {
        let ok = || Outcome::ok("fine");
        let all = |b: Outcome, c: Outcome, d: Outcome| {
            forest(SERVICES, &[("a", ok()), ("b", b), ("c", c), ("d", d)])
        };
        let f = all(ok(), ok(), ok());
        check(&f, "shop", Health::Pass, Some(1.0), "");
        let f = all(bad("b is gone"), bad("c is gone"), bad("d is gone"));
        check(&f, "shop", Health::Fail, Some(0.0), "shop/pay/bank/c: c is gone");
        check(&f, "stock", Health::Fail, Some(0.0), "stock/d: d is gone");
        let warning = Outcome::new(Status::Warning, Reason::Threshold, "much");
        let f = all(warning, ok(), ok());
        check(&f, "pay", Health::Warn, Some(1.0), "");
        check(&f, "shop", Health::Warn, Some(1.0), "");
    }

    #[test]
    fn what_is_not_known_hides_what_is_well_and_not_what_fails() {
        let f = forest(SERVICES, &[("a", Outcome::ok("")), ("b", Outcome::ok(""))]);
        check(&f, "shop", Health::Pending, None, "");
        check(&f, "bank", Health::Pending, None, "");
        let f = forest(SERVICES, &[("d", bad("gone"))]);
        check(&f, "shop", Health::Fail, Some(0.0), "shop/stock/d: gone");
    }

    #[test]
    fn a_check_that_is_not_there_yet_is_not_known() {
        let need = |name: &str| Need::Check(name.to_owned());
        let (name, description) = ("s".to_owned(), String::new());
        let service = Service { name, needs: vec![need("gone")], description };
        let forest = Forest::new(&[service], &[], NOW);
        check(&forest, "s", Health::Pending, None, "");
    }

    #[test]
    fn the_parts_of_a_page_are_nodes_and_no_worse_than_its_check() {
        let page = |status| {
            let mut outcome = Outcome::new(status, Reason::ComponentFailed, "db: refused");
            let parts = vec![
                Component::new("cache", Status::Unknown, ""),
                Component::new("db", Status::Critical, "refused"),
            ];
            let core = Component { parts, ..Component::new("core", Status::Critical, "") };
            outcome.tree = Box::new(Tree { agent: Some("77".into()), components: vec![core] });
            outcome
        };
        let services = "services: {s: {needs: [a]}}\n";
        let f = forest(services, &[("a", page(Status::Critical))]);
        check(&f, "s", Health::Fail, Some(0.0), "s/a/core/db: refused");
        assert_eq!(f.checks["a"].agent.as_deref(), Some("77"));
        // The application says that it works all the same.
        let f = forest(services, &[("a", page(Status::Warning))]);
        check(&f, "s", Health::Warn, Some(1.0), "");
        assert_eq!(f.checks["a"].needs[0].needs[1].health, Health::Warn);
    }

    #[test]
    fn a_diamond_is_no_circle_and_costs_nothing_twice() {
        let mut services = String::from("services:\n  s00: {needs: [a]}\n");
        for n in 1..16 {
            services.push_str(&format!("  t{n:02}: {{needs: [s{:02}]}}\n", n - 1));
            services.push_str(&format!("  s{n:02}: {{needs: [t{n:02}, s{:02}]}}\n", n - 1));
        }
        // 2^15 ways lead from the top to the check.
        let f = forest(&services, &[("a", bad("gone"))]);
        let (path, _) = f.services["s15"].culprit().unwrap();
        assert_eq!((path.len(), path[path.len() - 1]), (32, "a"));
    }
}
