//! Service level objectives: a share of good events over a window becomes rules that tell when the
//! budget of errors burns too fast.
//!
//! ```text
//! good, total ──▶ slo:error_ratio{window="5m" ... "3d"} ──▶ SLOBudgetBurn, when a long and a short
//!                                                            window burn faster than the budget lasts
//!             ──▶ slo:error_budget_remaining                 1: all of it is left, 0: none
//! ```
//!
//! Invariant: the rules that come of an objective are rules like any other, and each can be written by
//! hand in a rule file.

use std::collections::BTreeMap;

use base::diagnostic::{Diagnostics, Place, Spanned};
use base::period::Period;
use promql::{Query, Type};
use serde::Deserialize;
use serde_json::{Value, json};

use super::file::RuleFile;
use super::group::RuleGroup;

/// What the rules of objectives have for a file.
pub const SLO_FILE: &str = "slos";

/// Where a length of time goes in the expressions.
const WINDOW: &str = "$window";

/// The windows over which errors are recorded, with their seconds.
const WINDOWS: [(&str, f64); 7] = [
    ("5m", 300.0),
    ("30m", 1800.0),
    ("1h", 3600.0),
    ("2h", 7200.0),
    ("6h", 21_600.0),
    ("1d", 86_400.0),
    ("3d", 259_200.0),
];

/// Which share of the budget may burn within a long window, the short window that says whether it
/// burns still, and how bad that is.
const BURNS: [(&str, f64, &str, &str); 4] = [
    ("1h", 0.02, "5m", "critical"),
    ("6h", 0.05, "30m", "critical"),
    ("1d", 0.1, "2h", "warning"),
    ("3d", 0.1, "6h", "warning"),
];

/// One entry under `slos:`, as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SloConfig {
    /// Names the objective; the label `slo` of its series and alerts.
    name: Spanned<String>,
    /// The share of good events, in percent.
    objective: Spanned<f64>,
    /// Over which time.
    #[serde(default)]
    window: Option<Spanned<Period>>,
    /// The rate of good events, with `$window` for the range.
    good: Spanned<String>,
    /// The rate of all events, in the same form.
    total: Spanned<String>,
    /// More labels of the alerts.
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// More texts of the alerts.
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// The groups of rules that come of objectives, one for each, judged every `interval`.
pub fn slo_groups(
    slos: &[Spanned<SloConfig>],
    interval: Period,
    diagnostics: &mut Diagnostics,
) -> Vec<RuleGroup> {
    let mut names = BTreeMap::new();
    let mut groups = Vec::new();
    for slo in slos {
        let config = &slo.value;
        if let Some(first) = names.insert(&config.name.value, config.name.place) {
            let message = format!("there is `{}` already, at {first}", config.name.value);
            diagnostics.report(&config.name, message);
        }
        if config.is_right(diagnostics) {
            groups.push(config.rules());
        }
    }
    let mut own = Diagnostics::new(SLO_FILE);
    let text = json!({"groups": groups}).to_string();
    let file: RuleFile = base::yaml::read(&text, &mut own).unwrap_or_default();
    let built = file.build(SLO_FILE, interval, &mut own);
    // What the checks of an entry did not find, such as labels that no rule can have.
    if let (false, Some(first)) = (own.is_empty(), slos.first()) {
        let faults: Vec<_> = own.faults().iter().map(|fault| fault.message().to_owned()).collect();
        diagnostics.report(first.place, format!("of the rules of `slos`: {}", faults.join("; ")));
    }
    built
}

impl SloConfig {
    fn window(&self) -> Period {
        self.window.as_ref().map_or(Period::from_secs(30 * 86_400), |window| window.value)
    }

    fn is_right(&self, diagnostics: &mut Diagnostics) -> bool {
        let before = diagnostics.faults().len();
        if self.name.value.is_empty() {
            diagnostics.report(&self.name, "the objective has no name");
        }
        let share = self.objective.value;
        if !(share > 0.0 && share < 100.0) {
            let message = format!("{share} is not between 0 and 100 percent");
            diagnostics.report_with_help(&self.objective, message, "write it like `99.9`");
        }
        if self.window().millis() < 86_400_000 {
            let place = self.window.as_ref().map_or(self.name.place, Place::from);
            diagnostics.report(place, "the window is shorter than a day");
        }
        for expr in [&self.good, &self.total] {
            if !expr.value.contains(WINDOW) {
                let help = "write it like `sum(rate(requests_total[$window]))`";
                diagnostics.report_with_help(expr, format!("`{WINDOW}` is not in it"), help);
            } else {
                check(expr, diagnostics);
            }
        }
        diagnostics.faults().len() == before
    }

    /// A group in the form of rule files.
    fn rules(&self) -> Value {
        let (name, window) = (&self.name.value, self.window());
        // Rounded, so that 99.9 leaves 0.001 and not a little more.
        let budget = ((100.0 - self.objective.value) * 1e10).round() / 1e12;
        let ratio = |window: &str| {
            let [good, total] = [&self.good, &self.total].map(|e| e.value.replace(WINDOW, window));
            format!("1 - (\n{good}\n) / (\n{total}\n)")
        };
        let recorded = |labels: Value, record: &str, expr: String| json!({"record": record, "expr": expr, "labels": labels});
        let mut rules: Vec<Value> = WINDOWS
            .iter()
            .map(|(window, _)| {
                let labels = json!({"slo": name, "window": window});
                recorded(labels, "slo:error_ratio", ratio(window))
            })
            .collect();
        let labels = || json!({"slo": name});
        let objective = format!("vector({})", self.objective.value / 100.0);
        rules.push(recorded(labels(), "slo:objective_ratio", objective));
        let left = format!("1 - (\n{}\n) / {budget}", ratio(&window.to_string()));
        rules.push(recorded(labels(), "slo:error_budget_remaining_ratio", left));
        for (long, share, short, severity) in BURNS {
            let seconds = WINDOWS.iter().find(|known| known.0 == long).map_or(0.0, |known| known.1);
            // So fast that this share of the budget is gone within the long window.
            let speed = share * window.millis() as f64 / 1000.0 / seconds;
            let burns = |window: &str| {
                let series = format!("slo:error_ratio{{slo={name:?},window={window:?}}}");
                format!("{series} > {}", (speed * budget * 1e12).round() / 1e12)
            };
            let mut labels: BTreeMap<&str, &str> =
                self.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            labels.entry("severity").or_insert(severity);
            labels.insert("long_window", long);
            let mut texts = BTreeMap::from([(
                "summary",
                format!(
                    "{name} burns its budget of errors {speed:.1} times as fast as it lasts \
                     ({:.0} % of it within {long})",
                    share * 100.0
                ),
            )]);
            texts.extend(self.annotations.iter().map(|(name, text)| (name.as_str(), text.clone())));
            rules.push(json!({
                "alert": "SLOBudgetBurn",
                "expr": format!("{} and ignoring (window) {}", burns(long), burns(short)),
                "labels": labels,
                "annotations": texts,
            }));
        }
        json!({"name": name, "rules": rules})
    }
}

/// Whether an expression is one, and gives series.
fn check(expr: &Spanned<String>, diagnostics: &mut Diagnostics) {
    match Query::new(&expr.value.replace(WINDOW, "5m")) {
        Ok(query) if query.kind() == Type::Vector => {}
        Ok(query) => {
            let message = format!("the expression is a {}, not a vector", query.kind().as_str());
            diagnostics.report(expr, message);
        }
        Err(faults) => diagnostics.report(expr, format!("in the expression, {faults}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(yaml: &str) -> (Vec<RuleGroup>, String) {
        let mut diagnostics = Diagnostics::new("f.yml");
        let slos: Vec<Spanned<SloConfig>> =
            base::yaml::read(yaml, &mut diagnostics).unwrap_or_default();
        let groups = slo_groups(&slos, Period::from_secs(30), &mut diagnostics);
        (groups, diagnostics.to_string())
    }

    #[test]
    fn an_objective_becomes_rules() {
        let (groups, faults) = build(
            "- name: web\n  objective: 99.9\n  good: 'sum(rate(ok[$window]))'\n  \
             total: 'sum(rate(all[$window]))'\n  labels: {team: web}\n",
        );
        assert_eq!(faults, "");
        let group = &groups[0];
        assert_eq!((group.name(), group.file(), group.len()), ("web", SLO_FILE, 13));
        let view = group.view(&group.restore(&[], Default::default()), None);
        let told: Vec<_> = view.rules.iter().map(|r| format!("{} {}", r.name, r.query)).collect();
        assert_eq!(told[0], "slo:error_ratio 1 - (sum(rate(ok[5m]))) / (sum(rate(all[5m])))");
        assert!(told[8].starts_with("slo:error_budget_remaining_ratio "), "{}", told[8]);
        assert!(told[8].contains("sum(rate(ok[30d]))"), "{}", told[8]);
        // 2 % of the budget of 30 days within an hour is 14.4 times as fast as it lasts.
        let burn = &told[9];
        assert!(
            burn.starts_with("SLOBudgetBurn slo:error_ratio{slo=\"web\",window=\"1h\"} > 0.0144")
        );
        assert!(burn.contains("and ignoring (window) slo:error_ratio{slo=\"web\",window=\"5m\"}"));
    }

    #[test]
    fn what_is_wrong_is_told_where_it_stands() {
        let check = |fields: &str, expected: &str| {
            let rest = "good: 'sum(rate(a[$window]))', total: 'sum(rate(b[$window]))'";
            let (_, faults) = build(&format!("- {{{fields}, {rest}}}\n"));
            assert_eq!(faults.lines().next().unwrap_or(""), expected, "{fields}");
        };
        check("name: a, objective: 99", "");
        check("name: a, objective: 100", "f.yml:1:23: 100 is not between 0 and 100 percent");
        check("name: a, objective: 99, window: 1h", "f.yml:1:35: the window is shorter than a day");
        check("name: '', objective: 99", "f.yml:1:10: the objective has no name");
        let of = |good: &str| {
            let yaml = format!(
                "- name: a\n  objective: 99\n  good: {good}\n  total: 'rate(b[$window])'\n"
            );
            build(&yaml).1.lines().next().unwrap_or("").to_owned()
        };
        assert_eq!(of("'rate(a[5m])'"), "f.yml:3:9: `$window` is not in it");
        assert_eq!(of("'a[$window]'"), "f.yml:3:9: the expression is a range vector, not a vector");
        let unread = "f.yml:3:9: in the expression, 1:10: parse error: unclosed left parenthesis";
        assert_eq!(of("'rate(a[$window]'").replace("1:12", "1:10"), unread);
        let twice = "- &a {name: a, objective: 9, good: 'a[$window]', total: 'a[$window]'}\n- *a\n";
        assert!(build(twice).1.contains("there is `a` already, at 1:13"), "{}", build(twice).1);
    }
}
