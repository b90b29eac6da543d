//! Series by selectors, held against thresholds.
//!
//! Invariant: of all that is offered at most [`MAX_SERIES`] values are kept.

mod selector;

use std::fmt::Write;

use base::diagnostic::{Diagnostics, Spanned};
use base::family::MetricFamily;
use base::labels::Labels;
use base::number::shortest;
use serde::Deserialize;

use self::selector::Selector;
use crate::range::Range;
use crate::text::shown;
use crate::{Measurement, Outcome, Reason, Status};

/// The most series that one probe holds against thresholds.
const MAX_SERIES: usize = 500;
/// The longest name of a value, in bytes.
const MAX_LABEL: usize = 256;
/// How many values that are over their limits are told.
const MOST_TOLD: usize = 50;

/// Series with their thresholds, as written.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SeriesConfig {
    /// Which series: a name, and matchers of labels as in PromQL.
    select: Spanned<String>,
    /// What people are shown as its name; the series itself where nothing is said.
    #[serde(default)]
    name: Option<String>,
    /// The unit of the value, as in performance data.
    #[serde(default)]
    unit: String,
    /// The range outside of which it warns.
    #[serde(default)]
    warn: Option<Spanned<String>>,
    /// The range outside of which it is critical.
    #[serde(default)]
    crit: Option<Spanned<String>>,
    /// How it is where no series is there.
    #[serde(default)]
    missing: Option<Spanned<String>>,
}

/// What is looked at, and how it should be.
#[derive(Clone, Debug, Default)]
pub struct SeriesList(Vec<Series>);

/// Series with their thresholds.
#[derive(Clone, Debug)]
struct Series {
    select: Selector,
    /// The selector as written.
    text: String,
    name: Option<String>,
    unit: String,
    warn: Option<Range>,
    crit: Option<Range>,
    missing: Status,
}

/// A value that was selected.
pub(crate) struct Found {
    /// Which of the series of the configuration it is.
    series: usize,
    labels: Labels,
    value: f64,
}

impl SeriesList {
    /// What is to be looked at, reporting everything that is wrong with it.
    pub fn build(series: Vec<SeriesConfig>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let series: Vec<_> = series.into_iter().map(|series| series.build(diagnostics)).collect();
        series.into_iter().collect::<Option<_>>().map(Self)
    }

    /// Whether nothing is looked at.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Notes the value of a series for everything that means it; at most one over the limit.
    pub(crate) fn select(&self, labels: &Labels, value: f64, found: &mut Vec<Found>) {
        for (n, series) in self.0.iter().enumerate() {
            if found.len() <= MAX_SERIES && series.select.matches(labels) {
                found.push(Found { series: n, labels: labels.clone(), value });
            }
        }
    }

    /// Holds the values of `families` against the thresholds.
    pub fn judge(&self, families: &[MetricFamily]) -> Outcome {
        let mut found = Vec::new();
        for family in families {
            for sample in &family.samples {
                let name = format!("{}{}", family.name, sample.suffix);
                let labels =
                    sample.labels.iter().map(|(name, value)| (name.as_ref(), value.as_str()));
                let labels = labels.chain([("__name__", name.as_str())]);
                self.select(&Labels::from_pairs(labels), sample.value, &mut found);
            }
        }
        self.hold(&found)
    }

    /// Holds what was found against the thresholds.
    pub(crate) fn hold(&self, found: &[Found]) -> Outcome {
        if found.len() > MAX_SERIES {
            let summary = format!("more than {MAX_SERIES} series are selected");
            return Outcome::critical(Reason::OutputTooLong, summary);
        }
        let mut outcome = Outcome::ok("");
        // What is wrong, the worst first, in the order of the configuration.
        let mut wrong: Vec<(Status, Reason, String)> = Vec::new();
        for (n, series) in self.0.iter().enumerate() {
            let own: Vec<_> = found.iter().filter(|found| found.series == n).collect();
            if own.is_empty() && series.missing != Status::Ok {
                let text = format!("there is no series `{}`", series.text);
                wrong.push((series.missing, Reason::SeriesMissing, text));
            }
            for found in &own {
                let status = Range::judge(found.value, series.warn.as_ref(), series.crit.as_ref());
                let label = series.label(&found.labels, own.len() > 1);
                if status != Status::Ok {
                    let text = series.told(&label, found.value, status);
                    wrong.push((status, Reason::Threshold, text));
                }
                outcome.measurements.push(series.measurement(label, found.value));
            }
        }
        let worst = wrong.iter().fold(Status::Ok, |worst, (status, ..)| worst.worse(*status));
        outcome.status = worst;
        let Some((_, reason, text)) = wrong.iter().find(|(status, ..)| *status == worst) else {
            outcome.summary = match &outcome.measurements[..] {
                [one] => format!("{} is {}{}", one.label, shortest(one.value), one.unit),
                all => format!("{} values are within their limits", all.len()),
            };
            return outcome;
        };
        outcome.reason = *reason;
        outcome.summary = text.clone();
        if wrong.len() > 1 {
            let _ = write!(outcome.summary, ", and {} more", wrong.len() - 1);
            let lines = wrong.iter().take(MOST_TOLD);
            let lines = lines.map(|(status, _, text)| format!("{status}: {text}"));
            outcome.details = lines.collect::<Vec<_>>().join("\n");
        }
        outcome
    }
}

impl SeriesConfig {
    fn build(self, diagnostics: &mut Diagnostics) -> Option<Series> {
        let select = self.select.value.parse::<Selector>();
        if let Err(error) = &select {
            let help = "write it like `node_load1` or `up{job=\"shop\"}`";
            diagnostics.report_with_help(&self.select, error.to_string(), help);
        }
        let mut range = |text: &Option<Spanned<String>>| {
            let text = text.as_ref()?;
            let range = text.value.parse::<Range>();
            range.map_err(|error| diagnostics.report(text, error.to_string())).ok()
        };
        let (warn, crit) = (range(&self.warn), range(&self.crit));
        let missing = match &self.missing {
            None => Status::Unknown,
            Some(word) => match Status::ALL.iter().find(|status| status.as_str() == word.value) {
                Some(status) => *status,
                None => {
                    let message = format!("`{}` is not a status", word.value);
                    let help = "write `ok`, `warning`, `critical` or `unknown`";
                    diagnostics.report_with_help(word, message, help);
                    Status::Unknown
                }
            },
        };
        let (text, name, unit) = (self.select.value, self.name, self.unit);
        Some(Series { select: select.ok()?, text, name, unit, warn, crit, missing })
    }
}

impl Series {
    /// What the value is called: by the configured name, with the labels that tell it apart where
    /// it is one of `several`.
    fn label(&self, labels: &Labels, several: bool) -> String {
        let text = match &self.name {
            None => labels.to_string(),
            Some(name) if several => format!("{name}{}", labels.without_name()),
            Some(name) => name.clone(),
        };
        shown(text.as_bytes(), MAX_LABEL).replace(['\n', '\t'], " ")
    }

    fn told(&self, label: &str, value: f64, status: Status) -> String {
        let range = if status == Status::Critical { self.crit } else { self.warn };
        let range = range.map_or(String::new(), |range| range.to_string());
        format!("{label} is {}{}, outside of {range}", shortest(value), self.unit)
            .replace("outside of @", "inside of ")
    }

    fn measurement(&self, label: String, value: f64) -> Measurement {
        let text = |range: &Option<Range>| range.as_ref().map(Range::to_string);
        let (warn, crit, unit) = (text(&self.warn), text(&self.crit), self.unit.clone());
        Measurement { label, value, unit, warn, crit, min: None, max: None }
    }
}
