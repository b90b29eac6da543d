//! A test file, as meant: the rules and the configuration that it names are read, series are values
//! at times, patterns can be searched.
//!
//! Invariant: a file with a fault has no plan; all its faults are told at once.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base::diagnostic::{Diagnostics, Place, Spanned};
use base::labels::{ALERT_NAME, Labels};
use base::period::Period;
use base::sample::Timestamp;
use promql::Query;
use promql::series_notation::{Point, parse_series};
use regex::Regex;

use super::Options;
use super::sampled::Sampled;
use super::start::Start;
use super::written::{
    AlertRuleTestConfig, ExprTestConfig, FileConfig, HeldReason, SampleConfig, Status, TestConfig,
};
use crate::config::{self, Config};
use crate::discovery::{matching, relative_to};
use crate::matchers;
use crate::mute::Silence;
use crate::rules::{OnMissing, RuleGroup, read_file};

/// What there is to do.
#[derive(Debug)]
pub(super) struct Plan {
    /// How often every group is evaluated, where that is not as the group says.
    pub(super) every: Option<Duration>,
    pub(super) groups: Vec<Arc<RuleGroup>>,
    pub(super) config: Option<Config>,
    pub(super) on_missing: OnMissing,
    pub(super) fuzzy: bool,
    pub(super) features: promql::Features,
    pub(super) tests: Vec<Test>,
    /// What is no fault, and worth a look.
    pub(super) warnings: Vec<String>,
}

/// A test.
#[derive(Debug)]
pub(super) struct Test {
    pub(super) place: Place,
    pub(super) name: Option<String>,
    pub(super) start: Start,
    /// How long it takes.
    pub(super) length: Duration,
    /// From one value of a series to the next.
    pub(super) step: Duration,
    pub(super) series: Vec<(Labels, Vec<Point>)>,
    pub(super) external_labels: Option<Labels>,
    pub(super) external_url: String,
    pub(super) alerts: Vec<AlertTest>,
    pub(super) exprs: Vec<ExprTest>,
    pub(super) silences: Vec<Silence>,
    pub(super) messages: Option<Messages>,
    pub(super) held: Vec<HeldTest>,
}

/// Which alerts of a name fire.
#[derive(Debug)]
pub(super) struct AlertTest {
    pub(super) place: Place,
    pub(super) at: Timestamp,
    pub(super) name: String,
    pub(super) expected: Vec<(Labels, BTreeMap<String, String>)>,
}

/// What an expression comes to.
#[derive(Debug)]
pub(super) struct ExprTest {
    pub(super) place: Place,
    pub(super) at: Timestamp,
    pub(super) query: Query,
    pub(super) expected: Vec<(Labels, Sampled)>,
}

/// The messages that are delivered.
#[derive(Debug)]
pub(super) struct Messages {
    pub(super) place: Place,
    pub(super) expected: Vec<Message>,
}

/// A message.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) place: Place,
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
    pub(super) receiver: String,
    pub(super) by: Option<Vec<String>>,
    pub(super) status: Option<Status>,
    pub(super) alerts: Option<Vec<(Labels, Option<Status>)>>,
    pub(super) text: Option<Regex>,
}

/// The alerts that are held back at a time.
#[derive(Debug)]
pub(super) struct HeldTest {
    pub(super) place: Place,
    pub(super) at: Timestamp,
    pub(super) expected: Vec<HeldAlert>,
}

/// An alert that is held back.
#[derive(Debug)]
pub(super) struct HeldAlert {
    pub(super) place: Place,
    pub(super) labels: Labels,
    pub(super) reason: HeldReason,
    pub(super) by: Option<Regex>,
}

impl FileConfig {
    /// The plan of a file in `folder`.
    pub(super) fn build(
        self,
        folder: &Path,
        options: &Options,
        diagnostics: &mut Diagnostics,
    ) -> Option<Plan> {
        let mut warnings = Vec::new();
        let config = self.config.as_ref().and_then(|path| {
            config::read(&relative_to(folder, &path.value), None)
                .map_err(|faults| diagnostics.extend(faults))
                .ok()
        });
        let written = self.evaluation_interval;
        if let Some(zero) = written.as_ref().filter(|period| period.value.is_zero()) {
            diagnostics.report(zero, "`evaluation_interval` cannot be zero");
        }
        let interval = written.map_or(Period::from_secs(60), |period| period.value);
        let mut groups = Vec::new();
        for path in self.files(folder, &mut warnings) {
            match read_file(&path, interval, options.unknown) {
                Ok(read) => groups.extend(read.into_iter().map(Arc::new)),
                Err(faults) => diagnostics.extend(faults),
            }
        }
        let known: HashSet<String> = groups.iter().map(|group| group.file().to_owned()).collect();
        let configured = config.iter().flat_map(|config| &config.groups);
        groups.extend(configured.filter(|group| !known.contains(group.file())).cloned());
        self.order(&mut groups, diagnostics);
        let mut tests = Vec::new();
        for test in &self.tests {
            if options.wants(test.value.name.as_deref()) {
                tests.push(test.value.build(test.place, interval, config.as_ref(), diagnostics));
            }
        }
        let told = if self.config.is_some() { OnMissing::Hold } else { OnMissing::Resolve };
        let on_missing = self.missing_data.map_or(told, |missing| missing.value);
        diagnostics.is_empty().then_some(Plan {
            every: (written.is_some() || config.is_none()).then(|| interval.duration()),
            groups,
            config,
            on_missing,
            fuzzy: self.fuzzy_compare,
            features: options.features,
            tests,
            warnings,
        })
    }

    /// The rule files.
    fn files(&self, folder: &Path, warnings: &mut Vec<String>) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for pattern in &self.rule_files {
            let path = relative_to(folder, &pattern.value);
            let files = matching(&path);
            if files.iter().all(|file| !file.exists()) {
                warnings.push(format!("no file matches `{}` of `rule_files`", pattern.value));
                continue;
            }
            found.extend(files);
        }
        found
    }

    /// Puts the groups in the order that is asked for; those that are not named come first.
    fn order(&self, groups: &mut [Arc<RuleGroup>], diagnostics: &mut Diagnostics) {
        let mut places = BTreeMap::new();
        for (n, name) in self.group_eval_order.iter().enumerate() {
            if places.insert(name.value.as_str(), n + 1).is_some() {
                let message = format!("`{}` is there twice", name.value);
                diagnostics.report(name, message);
            }
        }
        groups.sort_by_key(|group| places.get(group.name()).copied().unwrap_or(0));
    }
}

impl TestConfig {
    fn build(
        &self,
        place: Place,
        interval: Period,
        config: Option<&Config>,
        diagnostics: &mut Diagnostics,
    ) -> Test {
        if let Some(zero) = self.interval.as_ref().filter(|period| period.value.is_zero()) {
            diagnostics.report(zero, "`interval` cannot be zero");
        }
        let start = self.start(diagnostics);
        if config.is_none() {
            self.needs_config(diagnostics);
        }
        let from = start.at;
        let external =
            (!self.external_labels.is_empty()).then(|| Labels::from_pairs(&self.external_labels));
        let mut series = Vec::new();
        for input in &self.input_series {
            let (name, values) = (&input.value.series, &input.value.values);
            // Read as one text, as promtool does; what is wrong with the name stands in the name.
            match parse_series(&format!("{} {}", name.value, values.value)) {
                Ok(line) => {
                    let impossible = |point: &Point| match point {
                        Point::Histogram(point) => point.value().is_none(),
                        Point::Float(_) | Point::Gap => false,
                    };
                    if line.points.iter().any(impossible) {
                        let message = "the histograms have buckets that cannot be added";
                        diagnostics.report(values, message);
                    }
                    series.push((line.labels, line.points));
                }
                Err(faults) => diagnostics.report(name, faults.to_string()),
            }
        }
        let mut test = Test {
            place,
            name: self.name.clone(),
            length: Duration::ZERO,
            step: self.interval.map_or(interval, |interval| interval.value).duration(),
            series,
            external_labels: external,
            external_url: self.external_url.clone().unwrap_or_default(),
            alerts: build_all(&self.alert_rule_test, |t, p| t.build(p, from, diagnostics)),
            exprs: self
                .promql_expr_test
                .iter()
                .filter_map(|test| test.value.build(test.place, from, diagnostics))
                .collect(),
            silences: self.silences(from, diagnostics),
            messages: self.messages(from, config, diagnostics),
            held: self.held(from, diagnostics),
            start,
        };
        let until = self.until.map_or(Duration::ZERO, |until| until.value.duration());
        test.length = test.last().since(from).max(until);
        test
    }

    fn start(&self, diagnostics: &mut Diagnostics) -> Start {
        if let (Some(_), Some(twice)) = (&self.start, &self.start_timestamp) {
            diagnostics.report(twice, "there is `start` already, which means the same");
        }
        let Some(text) = self.start.as_ref().or(self.start_timestamp.as_ref()) else {
            return Start::default();
        };
        Start::read(&text.value).unwrap_or_else(|message| {
            diagnostics.report(text, message);
            Start::default()
        })
    }

    fn needs_config(&self, diagnostics: &mut Diagnostics) {
        let written = [
            ("silences", self.silences.first().map(|first| first.place)),
            ("notifications", self.notifications.as_ref().map(|all| all.place)),
            ("held", self.held.first().map(|first| first.place)),
        ];
        for (name, place) in written {
            if let Some(place) = place {
                diagnostics.report_with_help(
                    place,
                    format!("`{name}` without a configuration"),
                    "name one at the top of the file: `config: veilleur.yml`",
                );
            }
        }
    }

    fn silences(&self, from: Timestamp, diagnostics: &mut Diagnostics) -> Vec<Silence> {
        let mut silences = Vec::new();
        for silence in &self.silences {
            let silence = &silence.value;
            if silence.until.value <= silence.from {
                diagnostics.report(&silence.until, "the silence ends before it begins");
            }
            let none = BTreeMap::new();
            silences.push(Silence {
                id: String::new(),
                matchers: matchers::build_all(
                    &none,
                    &BTreeMap::new(),
                    &silence.matchers,
                    diagnostics,
                ),
                starts_at: from + silence.from.duration(),
                ends_at: from + silence.until.value.duration(),
                created_by: silence.created_by.clone(),
                comment: silence.comment.clone(),
                annotations: BTreeMap::new(),
                updated_at: from,
            });
        }
        silences
    }

    fn messages(
        &self,
        from: Timestamp,
        config: Option<&Config>,
        diagnostics: &mut Diagnostics,
    ) -> Option<Messages> {
        let all = self.notifications.as_ref()?;
        let mut expected = Vec::new();
        for message in &all.value {
            let (place, message) = (message.place, &message.value);
            let name = &message.receiver;
            if config.is_some_and(|config| !config.lanes.contains_key(&name.value)) {
                diagnostics.report(name, format!("there is no receiver `{}`", name.value));
            }
            let at = from + message.at.duration();
            expected.push(Message {
                place,
                from: at,
                to: at + message.within.duration(),
                receiver: name.value.clone(),
                by: message.by.clone(),
                status: message.status,
                alerts: message.alerts.as_ref().map(|alerts| {
                    alerts.iter().map(|a| (Labels::from_pairs(&a.labels), a.status)).collect()
                }),
                text: pattern(message.text.as_ref(), diagnostics),
            });
        }
        Some(Messages { place: all.place, expected })
    }

    fn held(&self, from: Timestamp, diagnostics: &mut Diagnostics) -> Vec<HeldTest> {
        build_all(&self.held, |test, place| HeldTest {
            place,
            at: from + test.at.duration(),
            expected: build_all(&test.alerts, |alert, place| HeldAlert {
                place,
                labels: Labels::from_pairs(&alert.labels),
                reason: alert.reason,
                by: pattern(alert.by.as_ref(), diagnostics),
            }),
        })
    }
}

impl Test {
    /// The times at which something is asked for while the test goes on.
    pub(super) fn times(&self) -> impl Iterator<Item = Timestamp> {
        let alerts = self.alerts.iter().map(|test| test.at);
        alerts.chain(self.held.iter().map(|test| test.at))
    }

    /// The last time that is asked for.
    fn last(&self) -> Timestamp {
        let exprs = self.exprs.iter().map(|test| test.at);
        let messages = self.messages.iter().flat_map(|all| &all.expected).map(|m| m.to);
        self.times().chain(exprs).chain(messages).max().unwrap_or(self.start.at)
    }
}

impl AlertRuleTestConfig {
    fn build(&self, place: Place, from: Timestamp, diagnostics: &mut Diagnostics) -> AlertTest {
        if self.alertname.value.is_empty() {
            diagnostics.report(place, "`alertname` is missing");
        }
        let expected = self.exp_alerts.iter().map(|alert| {
            let labels = Labels::from_pairs(&alert.value.exp_labels);
            (labels.with(ALERT_NAME, &self.alertname.value), alert.value.exp_annotations.clone())
        });
        AlertTest {
            place,
            at: from + self.eval_time.duration(),
            name: self.alertname.value.clone(),
            expected: expected.collect(),
        }
    }
}

impl ExprTestConfig {
    fn build(
        &self,
        place: Place,
        from: Timestamp,
        diagnostics: &mut Diagnostics,
    ) -> Option<ExprTest> {
        let mut expected = Vec::new();
        for sample in &self.exp_samples {
            expected.extend(sample.value.build(diagnostics));
        }
        match Query::new(&self.expr.value) {
            Ok(query) => {
                Some(ExprTest { place, at: from + self.eval_time.duration(), query, expected })
            }
            Err(faults) => {
                diagnostics.report(&self.expr, format!("in the expression, {faults}"));
                None
            }
        }
    }
}

impl SampleConfig {
    fn build(&self, diagnostics: &mut Diagnostics) -> Option<(Labels, Sampled)> {
        let labels = match self.labels.as_ref().filter(|text| !text.value.trim().is_empty()) {
            None => Ok(Labels::empty()),
            Some(text) => parse_series(&text.value)
                .map(|line| line.labels)
                .map_err(|faults| diagnostics.report(text, faults.to_string())),
        };
        let value = match &self.value {
            None => Some(0.0),
            Some(text) => {
                let value = number(&text.value);
                if value.is_none() {
                    diagnostics.report(text, format!("`{}` is not a number", text.value));
                }
                value
            }
        };
        let value = match self.histogram.as_ref().filter(|text| !text.value.trim().is_empty()) {
            None => value.map(Sampled::Float),
            Some(text) => Sampled::histogram(&text.value)
                .map_err(|message| diagnostics.report(text, message))
                .ok(),
        };
        Some((labels.ok()?, value?))
    }
}

/// A number as YAML or PromQL writes it.
fn number(text: &str) -> Option<f64> {
    let text = text.trim();
    match text.to_ascii_lowercase().as_str() {
        ".nan" => Some(f64::NAN),
        ".inf" | "+.inf" => Some(f64::INFINITY),
        "-.inf" => Some(f64::NEG_INFINITY),
        _ => base::number::parse(text),
    }
}

fn build_all<T, U>(all: &[Spanned<T>], mut build: impl FnMut(&T, Place) -> U) -> Vec<U> {
    all.iter().map(|one| build(&one.value, one.place)).collect()
}

fn pattern(text: Option<&Spanned<String>>, diagnostics: &mut Diagnostics) -> Option<Regex> {
    let text = text?;
    Regex::new(&text.value)
        .map_err(|error| {
            let message = format!("`{}` is not a regular expression: {error}", text.value);
            diagnostics.report(text, message.replace('\n', " "));
        })
        .ok()
}
