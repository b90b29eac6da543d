//! Rule files in Prometheus's format.
//!
//! Invariant: a file with a fault gives no group; all its faults are told at once.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use base::diagnostic::{Diagnostics, Place, Spanned};
use base::labels::METRIC_NAME;
use base::period::Period;
use promql::{Fault, Query, Span, Type};
use serde::Deserialize;

use super::alerting::AlertingRule;
use super::group::{Rule, RuleGroup};
use super::identity::Identity;
use super::missing::OnMissing;
use super::recording::RecordingRule;
use super::template::Texts;

/// A rule file, as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RuleFile {
    pub(super) groups: Vec<Spanned<GroupConfig>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GroupConfig {
    name: Spanned<String>,
    #[serde(default)]
    interval: Option<Spanned<Period>>,
    #[serde(default)]
    query_offset: Option<Period>,
    #[serde(default)]
    on_missing: Option<OnMissing>,
    #[serde(default)]
    limit: usize,
    #[serde(default)]
    pub(super) labels: BTreeMap<Spanned<String>, Spanned<String>>,
    #[serde(default)]
    pub(super) rules: Vec<Spanned<RuleConfig>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RuleConfig {
    pub(super) record: Option<Spanned<String>>,
    pub(super) alert: Option<Spanned<String>>,
    pub(super) expr: Option<Spanned<String>>,
    #[serde(rename = "for")]
    pub(super) hold: Option<Spanned<Period>>,
    keep_firing_for: Option<Spanned<Period>>,
    on_missing: Option<Spanned<OnMissing>>,
    pub(super) labels: BTreeMap<Spanned<String>, Spanned<String>>,
    annotations: BTreeMap<Spanned<String>, Spanned<String>>,
}

/// What becomes of a setting that nobody knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unknown {
    /// It is a fault.
    #[default]
    Refused,
    /// It is somebody else's: rule files that other programs read too have some.
    Ignored,
}

/// Reads the rule file at `path`; groups without an interval have `interval`.
///
/// # Errors
///
/// Everything that is wrong with it.
pub fn read_file(
    path: &Path,
    interval: Period,
    unknown: Unknown,
) -> Result<Vec<RuleGroup>, Diagnostics> {
    let name = path.display().to_string();
    let mut diagnostics = Diagnostics::new(&name);
    let file: Option<RuleFile> = base::yaml::read_file(path, &mut diagnostics);
    // Prometheus reads the first document, too; `check rules` tells of the others.
    diagnostics.retain(|fault| !base::yaml::is_second_document(fault));
    if unknown == Unknown::Ignored {
        diagnostics.retain(|fault| !base::yaml::is_unknown_setting(fault));
    }
    let groups = file.unwrap_or_default().build(&name, interval, &mut diagnostics);
    diagnostics.into_result(groups)
}

impl RuleFile {
    /// The groups of the file called `name`.
    pub fn build(
        self,
        name: &str,
        interval: Period,
        diagnostics: &mut Diagnostics,
    ) -> Vec<RuleGroup> {
        let mut seen = HashSet::new();
        let mut groups = Vec::new();
        for group in self.groups {
            let config = group.value;
            if config.name.value.is_empty() {
                diagnostics.report(&config.name, "the group has no name");
            } else if !seen.insert(config.name.value.clone()) {
                let message = format!("there are two groups `{}` in this file", config.name.value);
                diagnostics.report(&config.name, message);
            }
            if let Some(zero) = config.interval.as_ref().filter(|interval| interval.value.is_zero())
            {
                diagnostics.report(zero, "the interval cannot be zero");
            }
            check_labels(&config.labels, diagnostics);
            let mut rules: Vec<_> = config
                .rules
                .into_iter()
                .filter_map(|rule| {
                    rule.value.build(rule.place, (&config.labels, config.on_missing), diagnostics)
                })
                .collect();
            identify(&mut rules, name, &config.name.value);
            groups.push(RuleGroup {
                name: config.name.value,
                file: name.to_owned(),
                interval: config.interval.map_or(interval, |interval| interval.value),
                query_offset: config.query_offset,
                limit: config.limit,
                rules,
            });
        }
        groups
    }
}

impl RuleConfig {
    fn build(
        mut self,
        place: Place,
        (group_labels, on_missing): (
            &BTreeMap<Spanned<String>, Spanned<String>>,
            Option<OnMissing>,
        ),
        diagnostics: &mut Diagnostics,
    ) -> Option<Rule> {
        check_labels(&self.labels, diagnostics);
        for (name, value) in group_labels {
            self.labels.entry(name.clone()).or_insert_with(|| value.clone());
        }
        let query = self.query(place, diagnostics);
        let (record, alert) = (self.record.take(), self.alert.take());
        match (record, alert) {
            (Some(_), Some(alert)) => {
                diagnostics.report(&alert, "a rule has either `record` or `alert`");
                None
            }
            (None, None) => {
                diagnostics.report(place, "a rule needs `record` or `alert`");
                None
            }
            (Some(record), None) => self.recording(record, query, diagnostics),
            (None, Some(alert)) => self.alerting((alert, on_missing), query, diagnostics),
        }
    }

    fn query(&self, place: Place, diagnostics: &mut Diagnostics) -> Option<Query> {
        let Some(expr) = self.expr.as_ref().filter(|expr| !expr.value.trim().is_empty()) else {
            diagnostics.report(place, "`expr` is missing");
            return None;
        };
        match Query::new(&expr.value) {
            Ok(query) if matches!(query.kind(), Type::Vector | Type::Scalar) => Some(query),
            Ok(query) => {
                let message =
                    format!("the expression is a {}, not a vector", query.kind().as_str());
                diagnostics.report(expr, message);
                None
            }
            Err(faults) => {
                // What has no place of its own follows from a fault that has one.
                let has_place = |fault: &&Fault| fault.span != Span::default();
                let first = std::iter::once(faults.first());
                for fault in first.chain(faults.iter().skip(1).filter(has_place)) {
                    let at = fault.span.place(&expr.value);
                    diagnostics.report(expr, format!("in the expression, {at}: {}", fault.message));
                }
                None
            }
        }
    }

    fn recording(
        self,
        record: Spanned<String>,
        query: Option<Query>,
        diagnostics: &mut Diagnostics,
    ) -> Option<Rule> {
        let name = &record.value;
        if name.is_empty() || name.contains(['{', '}']) {
            diagnostics.report(&record, format!("`{name}` is no metric name"));
        }
        for (what, place) in [
            ("for", self.hold.as_ref().map(Place::from)),
            ("keep_firing_for", self.keep_firing_for.as_ref().map(Place::from)),
            ("on_missing", self.on_missing.as_ref().map(Place::from)),
            ("annotations", self.annotations.keys().next().map(Place::from)),
        ] {
            if let Some(place) = place {
                diagnostics.report(place, format!("a recording rule cannot have `{what}`"));
            }
        }
        let labels = Texts::written(&self.labels);
        Some(Rule::Recording(RecordingRule { name: record.value, query: query?, labels }))
    }

    fn alerting(
        self,
        (alert, on_missing): (Spanned<String>, Option<OnMissing>),
        query: Option<Query>,
        diagnostics: &mut Diagnostics,
    ) -> Option<Rule> {
        let name = alert.value.clone();
        if name.is_empty() {
            diagnostics.report(&alert, "the alert has no name");
        }
        for annotation in self.annotations.keys().filter(|name| name.value.is_empty()) {
            diagnostics.report(annotation, "an annotation has no name");
        }
        let labels = Texts::build(&name, &self.labels, diagnostics);
        let annotations = Texts::build(&name, &self.annotations, diagnostics);
        let query = query?;
        let written_labels = Texts::written(&self.labels);
        Some(Rule::Alerting(AlertingRule {
            identity: Box::new(Identity::new(&name, &query, &written_labels)),
            name,
            query,
            hold: self.hold.map_or_else(Default::default, |period| period.value.duration()),
            keep_firing_for: self
                .keep_firing_for
                .map_or_else(Default::default, |period| period.value.duration()),
            on_missing: self.on_missing.map(|written| written.value).or(on_missing),
            labels,
            annotations,
            written_labels,
            written_annotations: Texts::written(&self.annotations),
        }))
    }
}

/// Tells the rules of a group from each other.
fn identify(rules: &mut [Rule], file: &str, group: &str) {
    let mut counts: HashMap<String, usize> = HashMap::new();
    for rule in rules {
        let Rule::Alerting(rule) = rule else { continue };
        let count = counts.entry(rule.identity.rule().to_owned()).or_default();
        let identity = std::mem::take(&mut *rule.identity);
        *rule.identity = identity.at(file, group, *count);
        *count += 1;
    }
}

fn check_labels(
    labels: &BTreeMap<Spanned<String>, Spanned<String>>,
    diagnostics: &mut Diagnostics,
) {
    for name in labels.keys() {
        if name.value.is_empty() || name.value == METRIC_NAME {
            diagnostics.report(name, format!("`{}` is no label name for a rule", name.value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let mut diagnostics = Diagnostics::new("r.yml");
        let file: RuleFile = base::yaml::read(text, &mut diagnostics).unwrap_or_default();
        let groups = file.build("r.yml", Period::from_secs(60), &mut diagnostics);
        let got = match diagnostics.is_empty() {
            true => groups
                .iter()
                .map(|g| format!("{} {} {}", g.name, g.interval, g.rules.len()))
                .collect::<Vec<_>>()
                .join(", "),
            false => diagnostics.to_string(),
        };
        assert_eq!(got, expected, "{text}");
    }

    #[test]
    fn reads_groups() {
        check("", "");
        check(
            "groups:\n- name: a\n  interval: 15s\n  limit: 3\n  labels: {team: x}\n  rules:\n  \
             - {record: 'j:up', expr: sum by (job) (up)}\n  - alert: Down\n    expr: up == 0\n    \
             for: 5m\n    keep_firing_for: 1m\n    labels: {severity: '{{ $labels.job }}'}\n    \
             annotations: {summary: '{{ $value | humanize }}'}\n- name: b\n",
            "a 15s 2, b 1m 0",
        );
    }

    #[test]
    fn reports_every_fault_of_a_file() {
        check(
            "groups:\n- name: a\n  interval: 0s\n- name: a\n  rules:\n  - {expr: up}\n  - {alert: A, record: b, expr: up}\n  \
             - {record: c, expr: 'sum(', for: 1m}\n  - {alert: D, expr: 'up[5m]'}\n  \
             - {alert: E, expr: up, labels: {__name__: x}, annotations: {s: '{{ $lables.x }}'}}\n  \
             - {alert: F}\n  - {alert: G, expr: 'up anchored', annotation: {}}\n  \
             - {record: h, expr: up, on_missing: page}\n  - {alert: I, expr: up, on_missing: forget}\n",
            "r.yml:3:13: the interval cannot be zero\n\
             r.yml:4:9: there are two groups `a` in this file\n\
             r.yml:6:5: a rule needs `record` or `alert`\n\
             r.yml:7:13: a rule has either `record` or `alert`\n\
             r.yml:8:23: in the expression, 1:5: unclosed left parenthesis\n\
             r.yml:8:36: a recording rule cannot have `for`\n\
             r.yml:9:22: the expression is a range vector, not a vector\n\
             r.yml:10:35: `__name__` is no label name for a rule\n\
             r.yml:10:66: `s`: template: __alert_E:1: undefined variable \"$lables\"\n\
             r.yml:11:5: `expr` is missing\n\
             r.yml:12:22: in the expression, 1:1: `anchored` without a range is not supported yet\n\
             r.yml:12:37: unknown setting `annotation`\n  help: did you mean `annotations`?\n\
             r.yml:13:39: a recording rule cannot have `on_missing`\n\
             r.yml:14:38: unknown kind `forget`\n  help: known here: `hold`, `page`, `resolve`",
        );
    }
}
