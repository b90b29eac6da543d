//! Service level objectives: a share of good events over a window becomes rules that tell when the
//! budget of errors burns too fast.
//!
//! ```text
//! good, total ─▶ slo:good_rate, slo:total_rate ─────────────────▶ slo:error_budget_remaining_ratio
//!                  │ but for maintenance of the objective            1: all of it is left, 0: none
//!                  ▼
//!                slo:counted_good_rate, slo:counted_total_rate ─▶ the same, maintenance left out
//!                  │
//!                  └▶ slo:error_ratio{window="5m" ... "3d"} ─▶ SLOBudgetBurn, when a long and a short
//!                                                              window burn faster than the budget lasts
//! ```
//!
//! A window of time is the sum of the rates that were recorded within it, so that none of the
//! source's samples is read more than once, and what is left out once stays left out.
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
use crate::mute::MAINTENANCE_METRIC;

/// What the rules of objectives have for a file.
pub const SLO_FILE: &str = "slos";

/// Where a length of time goes in the expressions.
const WINDOW: &str = "$window";

/// Over which time the rates are that everything else is made of.
const BASE: &str = "5m";

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

/// How many times as fast as it lasts the budget may burn over a long window (2, 5, 10 and 10 % of
/// that of 30 days), the short window that says whether it burns still, and how bad that is.
/// Source: the Site Reliability Workbook, chapter 5.
const BURNS: [(&str, f64, &str, &str); 4] = [
    ("1h", 14.4, "5m", "critical"),
    ("6h", 6.0, "30m", "critical"),
    ("1d", 3.0, "2h", "warning"),
    ("3d", 1.0, "6h", "warning"),
];

/// The share of the budget that may be gone at the most before it is told: counts where the objective
/// is for a few days.
const MAX_SHARE: f64 = 0.5;

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
        let objective = format!("vector({})", (self.objective.value * 1e10).round() / 1e12);
        let record = |record: &str, label: Option<(&str, &str)>, expr: String| {
            let mut labels = BTreeMap::from([("slo", name.as_str())]);
            labels.extend(label);
            json!({"record": record, "expr": expr, "labels": labels})
        };
        let series = |metric: &str| format!("{metric}{{slo={name:?}}}");
        // Within a rate there are still the errors of the time before.
        let counted = |metric: &str| {
            let maintenance = series(MAINTENANCE_METRIC);
            format!("{} unless on () last_over_time({maintenance}[{BASE}])", series(metric))
        };
        let error_ratio = |good: &str, total: &str, window: &str| {
            let [good, total] = [good, total].map(series);
            match window {
                BASE => format!("1 - {good} / {total}"),
                _ => format!(
                    "1 - sum_over_time({good}[{window}]) / sum_over_time({total}[{window}])"
                ),
            }
        };
        let counted_ratio =
            |window: &str| error_ratio("slo:counted_good_rate", "slo:counted_total_rate", window);
        let left = |ratio: String| format!("1 - ({ratio}) / {budget}");
        let whole = window.to_string();
        let mut rules = vec![
            record("slo:good_rate", None, self.good.value.replace(WINDOW, BASE)),
            record("slo:total_rate", None, self.total.value.replace(WINDOW, BASE)),
            record("slo:counted_good_rate", None, counted("slo:good_rate")),
            record("slo:counted_total_rate", None, counted("slo:total_rate")),
            record("slo:objective_ratio", None, objective),
            record(
                "slo:error_budget_remaining_ratio",
                Some(("maintenance", "included")),
                left(error_ratio("slo:good_rate", "slo:total_rate", &whole)),
            ),
            record(
                "slo:error_budget_remaining_ratio",
                Some(("maintenance", "excluded")),
                left(counted_ratio(&whole)),
            ),
        ];
        rules.extend(WINDOWS.iter().map(|(window, _)| {
            record("slo:error_ratio", Some(("window", window)), counted_ratio(window))
        }));
        for (long, speed, short, severity) in BURNS {
            let seconds = WINDOWS.iter().find(|known| known.0 == long).map_or(0.0, |known| known.1);
            // How often the long window goes into the whole.
            let times = window.millis() as f64 / 1000.0 / seconds;
            let speed = speed.min(MAX_SHARE * times);
            if speed < 1.0 {
                // The budget lasts.
                continue;
            }
            let burns = |window: &str| {
                let series = format!("slo:error_ratio{{slo={name:?},window={window:?}}}");
                format!("{series} > {}", (speed * budget * 1e12).round() / 1e12)
            };
            let mut labels: BTreeMap<&str, &str> =
                self.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            labels.entry("severity").or_insert(severity);
            let mut texts = BTreeMap::from([(
                "summary",
                format!(
                    "{name} burns its budget of errors {speed:.1} times as fast as it lasts \
                     ({:.0} % of it within {long})",
                    speed / times * 100.0
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
    match Query::new(&expr.value.replace(WINDOW, BASE)) {
        Ok(query) if query.kind() == Type::Vector => {}
        Ok(query) => {
            let message = format!("the expression is a {}, not a vector", query.kind().as_str());
            diagnostics.report(expr, message);
        }
        Err(faults) => diagnostics.report(expr, format!("in the expression, {faults}")),
    }
}

#[cfg(test)]
mod tests;
