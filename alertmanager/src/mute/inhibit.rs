//! Alerts that hold others back: the cause fires, so its effects need not be told.
//!
//! Source: the configuration reference of Alertmanager. An alert that is on both sides of a rule is
//! not held back by others that are on both sides, so no two of them silence each other.
//!
//! Invariant: the cost of asking grows with the rules that could hold the alert back, not with all
//! rules, nor with the alerts that fire.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use base::diagnostic::{Diagnostics, Spanned};
use base::labels::Labels;
use base::matcher::Matcher;
use serde::Deserialize;

use super::effects::Effects;
use super::index::Index;
use crate::alerts::Alert;
use crate::matchers;

/// A rule, as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InhibitRuleConfig {
    /// How people call it.
    name: Option<String>,
    /// Labels with their values; the older form of `source_matchers`.
    source_match: BTreeMap<Spanned<String>, String>,
    /// Labels with regular expressions; the older form of `source_matchers`.
    source_match_re: BTreeMap<Spanned<String>, Option<Spanned<String>>>,
    /// Which alerts hold others back.
    source_matchers: Vec<Spanned<String>>,
    target_match: BTreeMap<Spanned<String>, String>,
    target_match_re: BTreeMap<Spanned<String>, Option<Spanned<String>>>,
    /// Which alerts are held back.
    target_matchers: Vec<Spanned<String>>,
    /// The labels in which both must agree; one that is missing is empty.
    equal: Vec<Spanned<String>>,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InhibitRule {
    /// Its name, else what it says: `source {...} target {...}`.
    pub title: String,
    source: Vec<Matcher>,
    target: Vec<Matcher>,
    equal: BTreeSet<String>,
}

/// The rules with the alerts that hold others back now.
#[derive(Clone, Debug, Default)]
pub struct Inhibitor {
    rules: Vec<Rule>,
    /// Rules by a label with the value that their source, or their target, must have; and those
    /// that ask for no such label.
    by_source: Index<usize>,
    by_target: Index<usize>,
    /// How many alerts hold others back.
    sources: usize,
    /// Counts how often other rules took the place of those before.
    pub(super) version: u64,
}

#[derive(Clone, Debug)]
struct Rule {
    rule: InhibitRule,
    /// Alerts that fire by the labels in which a target must agree with them.
    sources: HashMap<Labels, BTreeMap<Labels, bool>>,
}

impl InhibitRuleConfig {
    /// The rule.
    pub fn build(&self, diagnostics: &mut Diagnostics) -> InhibitRule {
        let source = (&self.source_match, &self.source_match_re, &self.source_matchers);
        let target = (&self.target_match, &self.target_match_re, &self.target_matchers);
        let mut equal = BTreeSet::new();
        for name in &self.equal {
            if name.value.is_empty() {
                diagnostics.report(name, "a label name is empty");
            }
            equal.insert(name.value.clone());
        }
        let source = matchers::build_all(source.0, source.1, source.2, diagnostics);
        let target = matchers::build_all(target.0, target.1, target.2, diagnostics);
        let says = || {
            let (source, target) = (matchers::print_all(&source), matchers::print_all(&target));
            format!("source {source} target {target}")
        };
        InhibitRule { title: self.name.clone().unwrap_or_else(says), source, target, equal }
    }
}

impl InhibitRule {
    /// Whether it can hold back an alert with `labels`.
    pub fn is_about(&self, labels: &Labels) -> bool {
        matches(&self.target, labels)
    }

    /// What its source must have, beside the labels in which both must agree.
    pub fn source_of(&self, labels: &Labels) -> String {
        let agreed = self.equal.iter().map(|name| {
            let value = labels.get(name).unwrap_or_default();
            Matcher::equal(name, value)
        });
        matchers::print_all(&self.source.iter().cloned().chain(agreed).collect::<Vec<_>>())
    }

    /// The values in which both must agree.
    fn agreement(&self, labels: &Labels) -> Labels {
        labels.filter(|name| self.equal.contains(name))
    }
}

impl Inhibitor {
    /// The rules, before any alert fires.
    pub fn new(rules: impl IntoIterator<Item = InhibitRule>) -> Self {
        let mut inhibitor = Self::default();
        for (place, rule) in rules.into_iter().enumerate() {
            inhibitor.by_source.add(&rule.source, place);
            inhibitor.by_target.add(&rule.target, place);
            inhibitor.rules.push(Rule { rule, sources: HashMap::new() });
        }
        inhibitor
    }

    /// The rules, in their order.
    pub(super) fn rules(&self) -> impl Iterator<Item = &InhibitRule> {
        self.rules.iter().map(|rule| &rule.rule)
    }

    /// Whether nothing is ever held back.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Takes the newest state of an alert; `effects` are told which others may be held back, or let
    /// go, by that.
    pub fn put(&mut self, alert: &Alert, effects: &mut Effects) {
        for place in self.by_source.of(&alert.labels) {
            let Some(Rule { rule, sources }) = self.rules.get_mut(place) else { continue };
            if !matches(&rule.source, &alert.labels) {
                continue;
            }
            let agreement = rule.agreement(&alert.labels);
            if alert.is_firing() {
                let both = matches(&rule.target, &alert.labels);
                let firing = sources.entry(agreement.clone()).or_default();
                if firing.insert(alert.labels.clone(), both).is_none() {
                    self.sources += 1;
                    effects.concern(&rule.equal, &agreement);
                }
            } else if let Some(firing) = sources.get_mut(&agreement) {
                if firing.remove(&alert.labels).is_some() {
                    self.sources -= 1;
                    effects.concern(&rule.equal, &agreement);
                }
                if firing.is_empty() {
                    sources.remove(&agreement);
                }
            }
        }
    }

    /// A rule that can hold back an alert with `labels`, whether it does or not.
    pub fn about(&self, labels: &Labels) -> Option<&InhibitRule> {
        let candidates = self.by_target.of(labels).into_iter();
        let rules = candidates.filter_map(|place| self.rules.get(place)).map(|rule| &rule.rule);
        rules.into_iter().find(|rule| rule.is_about(labels))
    }

    /// The labels of an alert that holds back the one with `labels`.
    pub fn inhibited_by(&self, labels: &Labels) -> Option<&Labels> {
        self.inhibition_of(labels).map(|(_, source)| source)
    }

    /// The same, with the rule.
    pub fn inhibition_of(&self, labels: &Labels) -> Option<(&InhibitRule, &Labels)> {
        if self.sources == 0 {
            return None;
        }
        let candidates = self.by_target.of(labels).into_iter();
        candidates.filter_map(|place| self.rules.get(place)).find_map(|candidate| {
            let Rule { rule, sources } = candidate;
            if !matches(&rule.target, labels) {
                return None;
            }
            let firing = sources.get(&rule.agreement(labels))?;
            let on_both_sides = matches(&rule.source, labels);
            let mut free = firing.iter().filter(|(_, both)| !on_both_sides || !**both);
            free.next().map(|(source, _)| (rule, source))
        })
    }
}

fn matches(matchers: &[Matcher], labels: &Labels) -> bool {
    matchers.iter().all(|matcher| matcher.matches_labels(labels))
}

#[cfg(test)]
mod tests {
    use base::sample::Timestamp;

    use super::*;
    use crate::alerts::Ending;

    fn alert(labels: &str, firing: bool) -> Alert {
        let pairs = labels.split(' ').filter_map(|pair| pair.split_once('='));
        Alert {
            labels: Labels::from_pairs(pairs),
            annotations: BTreeMap::new(),
            starts_at: Timestamp::from_millis(0),
            ended: (!firing).then(|| (Timestamp::from_millis(1), Ending::Resolved)),
            stale_since: None,
            generator_url: String::new(),
        }
    }

    fn inhibitor(yaml: &str) -> Inhibitor {
        let mut diagnostics = Diagnostics::new("f.yml");
        let configs: Vec<InhibitRuleConfig> = base::yaml::read(yaml, &mut diagnostics).unwrap();
        let rules: Vec<_> = configs.iter().map(|config| config.build(&mut diagnostics)).collect();
        assert_eq!(diagnostics.to_string(), "");
        Inhibitor::new(rules)
    }

    fn changes(inhibitor: &mut Inhibitor, labels: &str, firing: bool) -> bool {
        let mut effects = Effects::default();
        inhibitor.put(&alert(labels, firing), &mut effects);
        !effects.is_nobody()
    }

    #[test]
    fn effects_are_held_back_while_their_cause_fires() {
        let rule = "[{source_matchers: [alertname=Down], target_match: {alertname: Slow}, equal: [host, zone]}]";
        let mut inhibitor = inhibitor(rule);
        let held = |inhibitor: &Inhibitor, labels: &str| {
            inhibitor.inhibited_by(&alert(labels, true).labels).is_some()
        };
        assert!(!held(&inhibitor, "alertname=Slow host=a"));
        assert!(changes(&mut inhibitor, "alertname=Down host=a", true));
        assert!(!changes(&mut inhibitor, "alertname=Down host=a", true), "nothing new");
        assert!(!changes(&mut inhibitor, "alertname=Other host=a", true));
        // A label that is missing on both sides is equal; one that is missing on one is not.
        assert!(held(&inhibitor, "alertname=Slow host=a"));
        assert!(!held(&inhibitor, "alertname=Slow host=a zone=z"));
        assert!(!held(&inhibitor, "alertname=Slow host=b"));
        assert!(changes(&mut inhibitor, "alertname=Down host=a", false));
        assert!(!held(&inhibitor, "alertname=Slow host=a"));
    }

    #[test]
    fn no_two_alerts_hold_each_other_back() {
        let mut inhibitor =
            inhibitor("[{source_matchers: ['a=~\"1|2\"'], target_matchers: ['a=~\"1|2|3\"']}]");
        for name in ["a=1", "a=2"] {
            changes(&mut inhibitor, name, true);
        }
        assert!(inhibitor.inhibited_by(&alert("a=1", true).labels).is_none());
        assert!(inhibitor.inhibited_by(&alert("a=3", true).labels).is_some());
    }
}
