//! Limits on what a probe measures, by the name of the measured value, in Nagios range notation.
//!
//! ```yaml
//! thresholds:
//!   days_left: {warn: "14:", crit: "3:"}
//!   seconds: {warn: 0.5}
//! ```
//!
//! Invariant: every name is that of a value that the probe can measure, and every range is one.

use std::collections::BTreeMap;

use base::diagnostic::{Diagnostics, Spanned, nearest};
use serde::Deserialize;

use crate::outcome::{Measurement, Status};
use crate::range::Range;

/// When a value is worth a warning, and when it is critical; as written.
#[derive(Clone, Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ThresholdsConfig {
    /// The range outside of which a value is worth a warning; with `@` inside of which.
    #[serde(default)]
    pub(crate) warn: Option<Spanned<String>>,
    /// The range outside of which a value is critical.
    #[serde(default)]
    pub(crate) crit: Option<Spanned<String>>,
}

/// The limits of one value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Thresholds {
    warn: Option<Range>,
    crit: Option<Range>,
}

impl ThresholdsConfig {
    /// The limits, reporting ranges that are none.
    pub fn build(&self, diagnostics: &mut Diagnostics) -> Thresholds {
        let mut range = |text: &Option<Spanned<String>>| {
            let text = text.as_ref()?;
            text.value.parse().map_err(|error| diagnostics.report(text, format!("{error}"))).ok()
        };
        Thresholds { warn: range(&self.warn), crit: range(&self.crit) }
    }
}

impl Thresholds {
    /// Judges a value, critical first.
    pub fn judge(&self, value: f64) -> Status {
        Range::judge(value, self.warn.as_ref(), self.crit.as_ref())
    }

    /// The value as performance data, with these limits. `unit` is one of [`Measurement::unit`].
    pub fn measurement(&self, label: &str, value: f64, unit: &str) -> Measurement {
        let text = |range: &Option<Range>| range.as_ref().map(Range::to_string);
        Measurement {
            label: label.to_owned(),
            value,
            unit: unit.to_owned(),
            warn: text(&self.warn),
            crit: text(&self.crit),
            ..Measurement::default()
        }
    }

    /// Judges a value; where it is over a range, with a text that says so.
    pub(crate) fn told(&self, name: &str, value: f64, unit: &str) -> (Status, Option<String>) {
        let status = self.judge(value);
        let text = self.broken(status).map(|range| {
            let (value, unit) = (rounded(value), if unit == "c" { "" } else { unit });
            format!("`{name}` is {value}{unit}, {status} by `{range}`")
        });
        (status, text)
    }

    /// Which range raised `status`.
    fn broken(&self, status: Status) -> Option<&Range> {
        match status {
            Status::Critical => self.crit.as_ref(),
            Status::Warning => self.warn.as_ref(),
            _ => None,
        }
    }
}

/// The limits of a probe's values, as written: by the name of the value.
pub type LimitsConfig = BTreeMap<String, Spanned<ThresholdsConfig>>;

/// The limits of a probe's values.
#[derive(Clone, Debug, Default)]
pub struct Limits(BTreeMap<String, Thresholds>);

/// Something measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// Its name, which limits are set by.
    pub name: &'static str,
    /// How much.
    pub value: f64,
    /// The unit, as in [`Measurement::unit`].
    pub unit: &'static str,
}

/// What limits say about values.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The worst that any of them is.
    pub status: Status,
    /// Which values are over which range, for a person; empty where none is.
    pub text: String,
    /// All values with their limits.
    pub measurements: Vec<Measurement>,
}

impl Verdict {
    /// Adds what is said of a further value.
    pub(crate) fn add(&mut self, status: Status, text: Option<&str>) {
        self.status = self.status.worse(status);
        if let Some(text) = text {
            self.text += if self.text.is_empty() { "" } else { ", " };
            self.text += text;
        }
    }
}

impl Limits {
    /// The limits, reporting ranges that are none and names that are not among `known`.
    pub fn build(config: &LimitsConfig, known: &[&str], diagnostics: &mut Diagnostics) -> Self {
        let mut limits = BTreeMap::new();
        for (name, thresholds) in config {
            if known.contains(&name.as_str()) {
                limits.insert(name.clone(), thresholds.value.build(diagnostics));
                continue;
            }
            let help = match nearest(name, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("measured here: `{}`", known.join("`, `")),
            };
            let message = format!("no value `{name}` is measured");
            diagnostics.report_with_help(thresholds, message, help);
        }
        Self(limits)
    }

    /// The limits on values whose names are known only when they are measured, reporting ranges that
    /// are none.
    pub fn of_any(config: &LimitsConfig, diagnostics: &mut Diagnostics) -> Self {
        let limits = config.iter();
        Self(limits.map(|(name, one)| (name.clone(), one.value.build(diagnostics))).collect())
    }

    /// These limits, with those given for a value that has none.
    #[must_use]
    pub fn with_default(mut self, name: &str, warn: &str, crit: &str) -> Self {
        let default = || Thresholds { warn: warn.parse().ok(), crit: crit.parse().ok() };
        self.0.entry(name.to_owned()).or_insert_with(default);
        self
    }

    /// Whether there is a limit on the value of that name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Holds what was measured elsewhere against the limits that there are for it, which stand in
    /// place of its own. Returns the worst with a text that says why, and the first name that has
    /// limits and was not measured.
    pub(crate) fn hold(&self, measured: &mut [Measurement]) -> (Status, String, Option<&str>) {
        let mut verdict =
            Verdict { status: Status::Ok, text: String::new(), measurements: Vec::new() };
        for one in &mut *measured {
            let Some(thresholds) = self.0.get(&one.label) else { continue };
            let shown = thresholds.measurement("", one.value, "");
            (one.warn, one.crit) = (shown.warn, shown.crit);
            let (status, text) = thresholds.told(&one.label, one.value, &one.unit);
            verdict.add(status, text.as_deref());
        }
        let is_there = |name: &String| measured.iter().any(|one| one.label == *name);
        let missing = self.0.keys().find(|name| !is_there(name)).map(String::as_str);
        (verdict.status, verdict.text, missing)
    }

    /// Judges what was measured.
    pub fn judge(&self, values: &[Value]) -> Verdict {
        let none = Thresholds::default();
        let mut verdict =
            Verdict { status: Status::Ok, text: String::new(), measurements: Vec::new() };
        for Value { name, value, unit } in values {
            let thresholds = self.0.get(*name).unwrap_or(&none);
            verdict.measurements.push(thresholds.measurement(name, *value, unit));
            let (status, text) = thresholds.told(name, *value, unit);
            verdict.add(status, text.as_deref());
        }
        verdict
    }
}

/// As many digits as a person wants to read.
fn rounded(value: f64) -> f64 {
    let rounded = (value * 1e6).round() / 1e6;
    if rounded.is_finite() && rounded != 0.0 { rounded } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct File {
        thresholds: LimitsConfig,
    }

    fn build(text: &str) -> (Limits, String) {
        let mut diagnostics = Diagnostics::new("f.yml");
        let file: File = base::yaml::read(text, &mut diagnostics).unwrap();
        let limits = Limits::build(&file.thresholds, &["days_left", "seconds"], &mut diagnostics);
        (limits, diagnostics.to_string())
    }

    #[track_caller]
    fn check(thresholds: &str, seconds: f64, status: Status, text: &str) {
        let (limits, faults) = build(&format!("thresholds: {{seconds: {{{thresholds}}}}}"));
        assert_eq!(faults, "");
        let verdict = limits.judge(&[Value { name: "seconds", value: seconds, unit: "s" }]);
        assert_eq!((verdict.status, verdict.text.as_str()), (status, text), "{thresholds}");
        assert_eq!(verdict.measurements[0].value.to_bits(), seconds.to_bits());
    }

    #[test]
    fn judges_by_ranges() {
        check("warn: 1, crit: 2", 0.5, Status::Ok, "");
        check("warn: 1, crit: 2", 1.5, Status::Warning, "`seconds` is 1.5s, warning by `1`");
        check("warn: 1, crit: 2", 2.5, Status::Critical, "`seconds` is 2.5s, critical by `2`");
        check("warn: '@10:20'", 15.0, Status::Warning, "`seconds` is 15s, warning by `@10:20`");
        check("crit: '3:'", 2.0, Status::Critical, "`seconds` is 2s, critical by `3:`");
        check("crit: '3:'", f64::NAN, Status::Critical, "`seconds` is NaNs, critical by `3:`");
    }

    #[test]
    fn reports_what_is_no_range_and_no_value_with_its_place() {
        let text = "thresholds:\n  days_left: {warn: 5x}\n  second: {crit: 1}\n  x: {}\n";
        assert_eq!(
            build(text).1,
            "f.yml:2:21: `5x` is not a range; write it like `10`, `10:`, `~:10`, `10:20` or \
             `@10:20`\n\
             f.yml:3:11: no value `second` is measured\n  help: did you mean `seconds`?\n\
             f.yml:4:6: no value `x` is measured\n  help: measured here: `days_left`, `seconds`"
        );
    }
}
