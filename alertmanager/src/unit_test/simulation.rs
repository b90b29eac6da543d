//! Samples and rules of a test, with a clock that the test moves.
//!
//! Invariant: no sample is there before its time: what a rule sees is what it would have seen.

use std::sync::Arc;
use std::time::Duration;

use base::labels::Labels;
use base::own_metrics::OwnMetrics;
use base::sample::Timestamp;
use promql::series_notation::Point;
use promql::{Query, Range, Value};
use storage::{SeriesRef, Storage};

use super::plan::{Plan, Test};
use super::sampled::Sampled;
use crate::alerts::Alerts;
use crate::rules::{AlertView, GroupState, QueryLimits, RuleGroup, RuleKind, Sources};
use crate::scrape::{Outputs, Targets};
use crate::state::RuleAlertState;

/// How far back a sample counts.
const LOOKBACK: Duration = Duration::from_secs(300);

/// What judges.
pub(super) struct Simulation<'a> {
    test: &'a Test,
    inputs: Vec<Input<'a>>,
    groups: Vec<Judged>,
    /// When samples come although no rule is there to read them; they come where all groups are
    /// judged at one interval, as in promtool.
    tick: Timestamp,
    every: Option<Duration>,
    sources: Sources,
    pub(super) alerts: Alerts,
}

/// A series that is still to come in part.
struct Input<'a> {
    series: SeriesRef,
    points: std::iter::Enumerate<std::slice::Iter<'a, Point>>,
    next: Option<(usize, &'a Point)>,
}

/// A group of rules.
struct Judged {
    group: Arc<RuleGroup>,
    state: GroupState,
    every: Duration,
    next: Timestamp,
}

impl<'a> Simulation<'a> {
    /// The beginning of a test.
    ///
    /// # Errors
    ///
    /// There are too many series.
    pub(super) fn begin(plan: &'a Plan, test: &'a Test) -> Result<Self, String> {
        let storage = Arc::new(Storage::in_memory(storage::Options::default()));
        let mut inputs = Vec::new();
        for (labels, points) in &test.series {
            let series = storage.series(labels).map_err(|error| error.to_string())?;
            let mut points = points.iter().enumerate();
            inputs.push(Input { series, next: points.next(), points });
        }
        let start = test.start.at;
        let judged = |group: &Arc<RuleGroup>| Judged {
            group: Arc::clone(group),
            state: group.restore(&[], Duration::ZERO),
            every: plan.every.unwrap_or(group.interval().duration()),
            next: start,
        };
        let configured = || plan.config.as_ref().map(|config| config.external_labels.clone());
        let external_labels = test.external_labels.clone().or_else(configured);
        let sources = Sources {
            storage,
            outputs: Outputs::default(),
            targets: Targets::default(),
            external_labels: external_labels.unwrap_or_else(Labels::empty),
            external_url: test.external_url.as_str().into(),
            lookback: LOOKBACK,
            limits: QueryLimits::default(),
            stop: Default::default(),
            subquery_step: plan.every.unwrap_or(Duration::from_secs(60)),
            on_missing: plan.on_missing,
            features: plan.features,
            elsewhere: None,
            started: start,
            appended: OwnMetrics::new().counter("samples_total", "Samples that rules wrote."),
        };
        let groups = plan.groups.iter().map(judged).collect();
        let tick = if plan.every.is_some() { start } else { Timestamp::MAX };
        let (every, alerts) = (plan.every, Alerts::default());
        Ok(Self { test, inputs, groups, tick, every, sources, alerts })
    }

    /// When something is judged next.
    pub(super) fn next(&self) -> Timestamp {
        self.groups.iter().map(|judged| judged.next).fold(self.tick, Timestamp::min)
    }

    /// Judges what is due at `now`; gives what failed.
    ///
    /// # Errors
    ///
    /// The samples of the test cannot be stored.
    pub(super) fn judge(&mut self, now: Timestamp) -> Result<Vec<String>, String> {
        self.feed(now)?;
        if let Some(every) = self.every {
            self.tick = now + every;
        }
        let mut failed = Vec::new();
        for judged in self.groups.iter_mut().filter(|judged| judged.next <= now) {
            judged.next = now + judged.every;
            let evaluation = judged.group.evaluate(&mut judged.state, now, &self.sources);
            if evaluation.failed > 0 {
                let view = judged.group.view(&judged.state, Some(now));
                failed.extend(view.rules.iter().filter_map(|rule| {
                    let error = rule.error.as_ref()?;
                    let time = self.test.start.tell(now);
                    Some(format!("{}: rule `{}` failed at {time}: {error}", view.file, rule.name))
                }));
            }
            self.alerts.put(evaluation.alerts);
        }
        Ok(failed)
    }

    /// Stores what is left until `end`, for who asks after it. Where all groups are judged at one
    /// interval nothing comes after the last time, so that promtool and we say the same.
    ///
    /// # Errors
    ///
    /// The samples of the test cannot be stored.
    pub(super) fn end(&mut self, end: Timestamp) -> Result<(), String> {
        if self.every.is_none() { self.feed(end) } else { Ok(()) }
    }

    /// Stores the samples of the test until `now`.
    fn feed(&mut self, now: Timestamp) -> Result<(), String> {
        let (mut points, mut histograms) = (Vec::new(), Vec::new());
        for input in &mut self.inputs {
            while let Some((n, point)) = input.next {
                let after = self.test.step.saturating_mul(u32::try_from(n).unwrap_or(u32::MAX));
                let timestamp = self.test.start.at + after;
                if timestamp > now {
                    break;
                }
                match point {
                    Point::Gap => {}
                    Point::Float(value) => {
                        let value = *value;
                        points.push(storage::Point { series: input.series, timestamp, value });
                    }
                    Point::Histogram(histogram) => histograms.push((
                        input.series,
                        timestamp,
                        // What cannot be was refused with the file.
                        histogram.value().unwrap_or_default(),
                    )),
                }
                input.next = input.points.next();
            }
        }
        let storage = &self.sources.storage;
        let mut appended = storage.append(&points).map_err(|error| error.to_string())?;
        for (series, timestamp, histogram) in histograms {
            let one = storage.append_histogram(series, timestamp, histogram);
            let one = one.map_err(|error| error.to_string())?;
            appended.duplicates += one.duplicates;
            appended.out_of_order += one.out_of_order;
        }
        if appended.duplicates + appended.out_of_order > 0 {
            return Err(
                "a series of the test has two values for one time, or is that of a rule".to_owned()
            );
        }
        Ok(())
    }

    /// The alerts that fire by rules of that name.
    pub(super) fn firing(&self, name: &str) -> Vec<AlertView> {
        let mut found = Vec::new();
        for judged in &self.groups {
            for rule in judged.group.view(&judged.state, None).rules {
                if let RuleKind::Alerting { alerts, .. } = rule.kind
                    && rule.name == name
                {
                    let firing = |alert: &AlertView| alert.state == RuleAlertState::Firing;
                    found.extend(alerts.into_iter().filter(firing));
                }
            }
        }
        found
    }

    /// The samples that a query gives at a time.
    ///
    /// # Errors
    ///
    /// It cannot be evaluated, or gives something else.
    pub(super) fn query(
        &self,
        query: &Query,
        at: Timestamp,
    ) -> Result<Vec<(Labels, Sampled)>, String> {
        let options = promql::Options {
            lookback: LOOKBACK,
            subquery_step: self.sources.subquery_step,
            features: self.sources.features,
            ..promql::Options::default()
        };
        let storage = &self.sources.storage;
        let output = promql::evaluate(query, storage, Range::instant(at), &options);
        let output = output.map_err(|error| error.to_string())?;
        let sampled = |value: f64| match output.histograms.get(value) {
            Some(histogram) => Sampled::Native((**histogram).clone()),
            None => Sampled::Float(value),
        };
        match output.value {
            Value::Vector(samples) => {
                Ok(samples.into_iter().map(|(l, sample)| (l, sampled(sample.value))).collect())
            }
            Value::Scalar(sample) => Ok(vec![(Labels::empty(), Sampled::Float(sample.value))]),
            Value::Matrix(_) | Value::String(_) => {
                Err("the result is neither a vector nor a scalar".to_owned())
            }
        }
    }
}
