//! What is worth a look in a rule file that is right: rules that can never fire, that fire too soon,
//! that cannot reach who should hear of them, or that are there twice.
//!
//! Invariant: nothing here makes a file wrong; a rule that is told of works as it is written.

mod bounds;
mod kept;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use base::diagnostic::{Diagnostics, Place, Spanned};
use base::labels::ALERT_NAME;
use promql::ast::ExprKind;
use promql::{Expr, Query, Type};

use super::file::{RuleConfig, RuleFile, Unknown};
use super::watch::needed;
use bounds::{bounds, never_holds};
use kept::kept;

/// A selector of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// The file.
    pub file: String,
    /// Where the expression stands.
    pub place: Place,
    /// The name of the rule.
    pub rule: String,
    /// As it can be asked for.
    pub text: String,
}

/// What was found in some rule files.
#[derive(Debug)]
pub struct Findings {
    /// What is worth a look.
    pub found: Diagnostics,
    /// The selectors without which the rules find nothing, each as often as it is written.
    pub selectors: Vec<Selector>,
    recorded: BTreeSet<String>,
    seen: BTreeMap<RuleKey, (String, Place)>,
    needed: BTreeSet<String>,
}

/// What makes two rules the same: whether they alert, the name, the labels.
type RuleKey = (bool, String, Vec<(String, String)>);

impl Findings {
    /// Nothing found yet. `needed` are the labels that routes ask for, without those that every alert
    /// gets.
    pub fn new(needed: BTreeSet<String>) -> Self {
        Self {
            found: Diagnostics::new(""),
            selectors: Vec::new(),
            recorded: BTreeSet::new(),
            seen: BTreeMap::new(),
            needed,
        }
    }

    /// Looks at the file at `path`, which was read without a fault.
    pub fn look_at(&mut self, path: &Path, unknown: Unknown) {
        let name = path.display().to_string();
        let mut found = Diagnostics::new(&name);
        let file: Option<RuleFile> = base::yaml::read_file(path, &mut found);
        if unknown == Unknown::Ignored {
            found.retain(|fault| !base::yaml::is_unknown_setting(fault));
        }
        for group in file.iter().flat_map(|file| &file.groups) {
            let labels = &group.value.labels;
            for rule in &group.value.rules {
                self.rule(&rule.value, (rule.place, &name), labels, &mut found);
            }
        }
        self.found.extend(found);
    }

    /// The selectors of metrics that no rule of the files records.
    pub fn foreign_selectors(&self) -> impl Iterator<Item = &Selector> {
        let recorded = |selector: &&Selector| {
            let metric = selector.text.split('{').next().unwrap_or_default();
            !self.recorded.contains(metric) && metric != "ALERTS" && metric != "ALERTS_FOR_STATE"
        };
        self.selectors.iter().filter(recorded)
    }

    fn rule(
        &mut self,
        rule: &RuleConfig,
        (place, file): (Place, &str),
        group_labels: &BTreeMap<Spanned<String>, Spanned<String>>,
        found: &mut Diagnostics,
    ) {
        let (name, is_alert) = match (&rule.alert, &rule.record) {
            (Some(alert), _) => (alert, true),
            (None, Some(record)) => (record, false),
            (None, None) => return,
        };
        let mut labels: BTreeMap<String, String> = BTreeMap::new();
        for (label, value) in group_labels.iter().chain(&rule.labels) {
            labels.insert(label.value.clone(), value.value.clone());
        }
        if !is_alert {
            self.recorded.insert(name.value.clone());
        }
        let key = (is_alert, name.value.clone(), labels.clone().into_iter().collect());
        match self.seen.get(&key) {
            Some((other, first)) => {
                let message = format!(
                    "there is a rule `{}` with the same labels already, at {other}:{first}",
                    name.value
                );
                let help = "their series or alerts get in each other's way: give one of them \
                            another name or label";
                found.report_with_help(name, message, help);
            }
            None => drop(self.seen.insert(key, (file.to_owned(), place))),
        }
        let Some(expr) = &rule.expr else { return };
        let Ok(query) = Query::new(&expr.value) else { return };
        for selector in needed(query.expr()) {
            self.selectors.push(Selector {
                file: file.to_owned(),
                place: expr.place,
                rule: name.value.clone(),
                text: selector.to_string(),
            });
        }
        comparisons(query.expr(), expr, found);
        if is_alert {
            patience(rule, query.expr(), name, found);
            self.routing(query.expr(), &labels, expr, found);
        }
    }

    /// Labels that routes ask for and the expression drops.
    fn routing(
        &self,
        expr: &Expr,
        labels: &BTreeMap<String, String>,
        written: &Spanned<String>,
        found: &mut Diagnostics,
    ) {
        let kept = kept(expr);
        let gone = self.needed.iter().filter(|label| {
            label.as_str() != ALERT_NAME && !labels.contains_key(*label) && !kept.may_have(label)
        });
        let gone: Vec<_> = gone.map(|label| format!("`{label}`")).collect();
        if !gone.is_empty() {
            let message = format!("the expression drops {}, which routes ask for", gone.join(", "));
            let help = "keep it with `by`, or set it under `labels:`";
            found.report_with_help(written, message, help);
        }
    }
}

/// Comparisons that never hold.
fn comparisons(expr: &Expr, written: &Spanned<String>, found: &mut Diagnostics) {
    for part in expr.parts() {
        let ExprKind::Binary(binary) = &part.kind else { continue };
        let is_filter = binary.op.is_comparison() && !binary.returns_bool;
        if !is_filter || part.kind_of_value() == Type::Scalar {
            continue;
        }
        let (left, right) = (bounds(&binary.left), bounds(&binary.right));
        if never_holds(binary.op, left, right) {
            let at = part.span.place(&written.value);
            let message = format!("in the expression, {at}: `{part}` never holds");
            let counts = matches!(left.least, 1.0) && left.most > 1.0 && right.most < 1.0;
            match counts {
                true => found.report_with_help(
                    written,
                    message,
                    "where there is nothing to count there is no series: ask for `absent(..)`",
                ),
                false => found.report(written, message),
            }
        }
    }
}

/// An alert that a single sample sets off.
fn patience(rule: &RuleConfig, expr: &Expr, name: &Spanned<String>, found: &mut Diagnostics) {
    let waits = rule.hold.as_ref().is_some_and(|hold| !hold.value.is_zero());
    let is_range = |part: &Expr| matches!(part.kind, ExprKind::Matrix(_) | ExprKind::Subquery(_));
    let has_series = expr.parts().any(|part| matches!(part.kind, ExprKind::Vector(_)));
    if !waits && has_series && !expr.parts().any(is_range) {
        let message = format!("`{}` has no `for`: one sample is enough to tell people", name.value);
        found.report_with_help(name, message, "write `for: 2m`, or look at a range");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(rules: &str, expected: &str) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("r.yml");
        std::fs::write(&path, format!("groups:\n- name: g\n  rules:\n{rules}")).unwrap();
        let mut findings = Findings::new(["team".to_owned()].into());
        findings.look_at(&path, Unknown::Refused);
        let text = findings.found.to_string();
        let text = text.replace(&format!("{}", path.display()), "r.yml");
        let lines: Vec<_> = text.lines().filter(|line| !line.starts_with("  help")).collect();
        assert_eq!(lines.join("\n"), expected);
    }

    #[test]
    fn tells_what_is_worth_a_look() {
        check("  - {alert: A, expr: up == 0, for: 1m}\n  - {record: 'a:b', expr: sum(up)}\n", "");
        check(
            "  - {alert: A, expr: up == 0}\n",
            "r.yml:4:13: `A` has no `for`: one sample is enough to tell people",
        );
        check("  - {alert: A, expr: 'rate(x[5m]) > 1'}\n", "");
        check("  - {alert: A, expr: 'vector(1)', labels: {team: a}}\n", "");
        check(
            "  - {alert: A, expr: 'count by (team) (up) == 0', for: 1m}\n",
            "r.yml:4:22: in the expression, 1:1: `count by (team) (up) == 0` never holds",
        );
        check("  - {record: a, expr: 'up > bool 1'}\n", "");
        check(
            "  - {alert: A, expr: sum(up) < 3, for: 1m}\n",
            "r.yml:4:22: the expression drops `team`, which routes ask for",
        );
        check("  - {alert: A, expr: sum(up) < 3, for: 1m, labels: {team: a}}\n", "");
        check(
            "  - {record: a, expr: b}\n  - {record: a, expr: c}\n",
            "r.yml:5:14: there is a rule `a` with the same labels already, at r.yml:4:5",
        );
        check("  - {record: a, expr: b}\n  - {record: a, expr: c, labels: {x: y}}\n", "");
        check("  - {record: a, expr: b}\n---\n", "r.yml:5:1: a second document begins here");
    }

    #[test]
    fn selectors_of_what_the_files_record_are_not_foreign() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("r.yml");
        let rules =
            "  - {alert: A, expr: 'r:a > rate(b{c=\"d\"}[5m])'}\n  - {record: 'r:a', expr: e}\n";
        std::fs::write(&path, format!("groups:\n- name: g\n  rules:\n{rules}")).unwrap();
        let mut findings = Findings::new(BTreeSet::new());
        findings.look_at(&path, Unknown::Refused);
        let foreign: Vec<_> = findings.foreign_selectors().map(|s| s.text.as_str()).collect();
        assert_eq!(foreign, ["b{c=\"d\"}", "e"]);
    }
}
