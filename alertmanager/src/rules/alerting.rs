//! A rule that makes alerts.
//!
//! Invariant: an evaluation that fails changes no alert.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use base::labels::{ALERT_NAME, Labels, LabelsBuilder, METRIC_NAME};
use base::sample::Timestamp;
use promql::{Query, Session};

use super::group::Sources;
use super::identity::Identity;
use super::measured::Measured;
use super::missing::{Inputs, OnMissing, Watched};
use super::states::{Active, AlertStates, Changes, Fate, Found};
use super::template::{Seen, Texts};
use super::turn::Turn;
use crate::state::RuleAlertState;
use crate::template::QuerySample;

/// The series that show alerts to queries.
const ALERTS: &str = "ALERTS";
const ALERTS_FOR_STATE: &str = "ALERTS_FOR_STATE";
/// The series that shows alerts whose data are missing; a built-in rule watches it.
const STALE: &str = "veilleur_alert_stale";
/// Its label with what the rule says of missing data, where that is `page`.
const ON_MISSING: &str = "on_missing";

/// A rule that makes alerts.
#[derive(Clone, Debug)]
pub(super) struct AlertingRule {
    pub(super) name: String,
    pub(super) query: Query,
    pub(super) hold: Duration,
    pub(super) keep_firing_for: Duration,
    /// What becomes of its alerts whose data are missing, where it says so.
    pub(super) on_missing: Option<OnMissing>,
    pub(super) labels: Texts,
    pub(super) annotations: Texts,
    pub(super) written_labels: BTreeMap<String, String>,
    pub(super) written_annotations: BTreeMap<String, String>,
    /// What makes it the same rule after a reload or a restart.
    pub(super) identity: Box<Identity>,
}

/// A sample that a rule writes.
pub(super) type Written = (Labels, Measured);

impl AlertingRule {
    /// One evaluation at `now`, of data as of `at`.
    ///
    /// # Errors
    ///
    /// What went wrong; `states` is as before.
    pub(super) fn evaluate(
        &self,
        states: &mut AlertStates,
        now: Timestamp,
        at: Timestamp,
        limit: usize,
        (sources, session): (&Sources, &Session<'_>),
    ) -> Result<(Changes, Vec<Written>), String> {
        let samples = sources.judged(&self.query, at, session)?;
        let found = self.found(samples, at, sources)?;
        if limit > 0 && found.len() > limit {
            return Err(format!("exceeded limit of {limit} with {} alerts", found.len()));
        }
        let present: HashSet<&Labels> = found.iter().map(|found| &found.labels).collect();
        let missing = states.iter().any(|active| !present.contains(&active.labels));
        let on_missing = self.on_missing(sources);
        let holds = on_missing != OnMissing::Resolve && sources.elsewhere.is_none();
        let inputs = match missing && holds {
            true => Inputs::read(&self.query, &sources.storage, at, sources.lookback)
                .map_err(|error| error.to_string())?,
            false => Inputs::default(),
        };
        let watched = Watched { targets: &sources.targets, started: sources.started };
        let fate = |active: &Active| {
            if !holds {
                return Fate::Over;
            }
            let own = active.labels.filter(|name| !self.written_labels.contains_key(name));
            match inputs.fate(active, &own.with(ALERT_NAME, ""), at, watched) {
                Fate::Missing if on_missing == OnMissing::Page => Fate::Feared,
                fate => fate,
            }
        };
        let changes = states.advance(now, self.hold, self.keep_firing_for, found, fate);
        Ok((changes, self.series(states, on_missing)))
    }

    /// What becomes of its alerts whose data are missing.
    fn on_missing(&self, sources: &Sources) -> OnMissing {
        self.on_missing.unwrap_or(sources.on_missing)
    }

    /// The alerts that the samples of the expression are.
    fn found(
        &self,
        samples: Vec<(Labels, Measured)>,
        now: Timestamp,
        sources: &Sources,
    ) -> Result<Vec<Found>, String> {
        let query = |text: &str| -> Result<Vec<QuerySample>, String> {
            let query = Query::new(text).map_err(|error| error.to_string())?;
            let samples = sources.instant(&query, now)?;
            let sample = |(labels, value): (Labels, Measured)| {
                let value = value.number();
                QuerySample { labels, value }
            };
            Ok(samples.into_iter().map(sample).collect())
        };
        let mut seen_labels = HashSet::new();
        let mut found = Vec::with_capacity(samples.len());
        for (labels, value) in samples {
            let value = value.number();
            let own = labels.without_name();
            let output = sources.outputs.get(&own);
            let seen = Seen {
                labels: &own,
                value,
                output: output.as_deref().unwrap_or(""),
                external_labels: &sources.external_labels,
                external_url: &sources.external_url,
                query: &query,
                now,
            };
            let mut builder = LabelsBuilder::from(&own);
            for (name, text) in self.labels.render(&seen) {
                builder.set(name, &text);
            }
            builder.set(ALERT_NAME, &self.name);
            let labels = builder.build();
            if !seen_labels.insert(labels.clone()) {
                return Err(
                    "vector contains metrics with the same labelset after applying alert labels"
                        .to_owned(),
                );
            }
            let annotations = self
                .annotations
                .render(&seen)
                .map(|(name, text)| (name.to_owned(), text))
                .collect();
            found.push(Found { labels, annotations, value });
        }
        Ok(found)
    }

    /// The series that show the alerts.
    fn series(&self, states: &AlertStates, on_missing: OnMissing) -> Vec<Written> {
        let mut series = Vec::new();
        for active in states.iter() {
            let state = match active.state {
                RuleAlertState::Pending => "pending",
                RuleAlertState::Firing => "firing",
            };
            let labels = active.labels.with(METRIC_NAME, ALERTS).with("alertstate", state);
            series.push((labels, Measured::Float(1.0)));
            let since = active.active_at.seconds().floor();
            let labels = active.labels.with(METRIC_NAME, ALERTS_FOR_STATE);
            series.push((labels, Measured::Float(since)));
            if active.stale_since.is_some() && active.state == RuleAlertState::Firing {
                let labels = active.labels.with("alert", &self.name).with(ALERT_NAME, "");
                let pages = if on_missing == OnMissing::Page { on_missing.as_str() } else { "" };
                let labels = labels.with(ON_MISSING, pages).with(METRIC_NAME, STALE);
                series.push((labels, Measured::Float(1.0)));
            }
        }
        series
    }
}

impl Sources {
    /// The samples of an expression at `now`.
    pub(super) fn instant(
        &self,
        query: &Query,
        now: Timestamp,
    ) -> Result<Vec<(Labels, Measured)>, String> {
        let turn = Turn::new(self.limits, &self.stop);
        let is_over = || turn.is_over();
        let (options, range) = (self.options(&is_over), promql::Range::instant(now));
        let session = Session::new(&self.storage, [query], range, &options);
        self.judged(query, now, &session).map_err(|error| turn.why(error))
    }

    /// How expressions are evaluated, until they are `cancelled`.
    pub(super) fn options<'a>(
        &self,
        cancelled: &'a (dyn Fn() -> bool + Sync),
    ) -> promql::Options<'a> {
        promql::Options {
            lookback: self.lookback,
            subquery_step: self.subquery_step,
            max_samples: self.limits.samples,
            features: self.features,
            cancelled,
        }
    }
}
