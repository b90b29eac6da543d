//! Rules that are evaluated together, one after the other, at one time.
//!
//! Invariant: what a rule records is there for the rules after it; a rule that fails neither stops
//! the others nor changes anything.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use base::clock::Stopwatch;
use base::labels::{Labels, LabelsBuilder};
use base::own_metrics::IntCounter;
use base::period::Period;
use base::sample::{Ended, Timestamp};
use promql::{Query, Range, Session};
use storage::{AppendError, Beside, Point, Storage};
use tokio_util::sync::CancellationToken;

use super::alerting::{AlertingRule, Written};
use super::identity::{self, Identity};
use super::measured::{Measured, samples};
use super::missing::OnMissing;
use super::recording::RecordingRule;
use super::states::{Active, AlertStates, Changes};
use super::turn::{QueryLimits, Turn};
use super::view::{AlertView, GroupView, RuleKind, RuleView};
use super::watch::{Place, Watch};
use crate::alerts::{Alert, Ending};
use crate::remote_store::Elsewhere;
use crate::scrape::{Outputs, Targets};
use crate::state::StoredAlert;

/// What the rules that are built in have for a file.
pub const BUILTIN_FILE: &str = "built-in";
/// So many times another store is asked in a round whether rules find anything.
const MOST_ASKED: usize = 10;

/// A rule.
#[derive(Clone, Debug)]
pub(super) enum Rule {
    Alerting(AlertingRule),
    Recording(RecordingRule),
}

impl Rule {
    fn query(&self) -> &Query {
        match self {
            Self::Alerting(rule) => &rule.query,
            Self::Recording(rule) => &rule.query,
        }
    }
}

/// Rules with a name and an interval.
#[derive(Clone, Debug)]
pub struct RuleGroup {
    pub(super) name: String,
    pub(super) file: String,
    pub(super) interval: Period,
    /// How far back it looks, where it says so.
    pub(super) query_offset: Option<Period>,
    pub(super) limit: usize,
    pub(super) rules: Vec<Rule>,
}

/// What rules read and write.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The samples.
    pub storage: Arc<Storage>,
    /// What checks said.
    pub outputs: Outputs,
    /// What is watched.
    pub targets: Targets,
    /// Added to every alert that leaves us.
    pub external_labels: Labels,
    /// Where people reach us, without a slash at the end.
    pub external_url: Arc<str>,
    /// How far back a sample counts.
    pub lookback: Duration,
    /// What an expression may take.
    pub limits: QueryLimits,
    /// Ends what is being evaluated.
    pub stop: CancellationToken,
    /// From one evaluation to the next in a subquery that says nothing about it.
    pub subquery_step: Duration,
    /// What becomes of alerts whose data are missing, where their rule does not say so.
    pub on_missing: OnMissing,
    /// What is done otherwise than by default.
    pub features: promql::Features,
    /// The store that evaluates the rules of files, in place of the samples here. What is missing there
    /// is over.
    pub elsewhere: Option<Elsewhere>,
    /// When we were started.
    pub started: Timestamp,
    /// Counts samples that were stored.
    pub appended: IntCounter,
}

/// What a group remembers from one evaluation to the next.
#[derive(Debug)]
pub struct GroupState {
    rules: Vec<RuleState>,
    /// Which rule is next to be looked at, whether it finds anything.
    next_look: usize,
}

#[derive(Debug, Default)]
struct RuleState {
    alerts: AlertStates,
    /// The series that it wrote last.
    written: HashSet<Labels>,
    error: Option<String>,
    duration: Duration,
    evaluated_at: Option<Timestamp>,
    watch: Watch,
}

/// What an evaluation changed, for whoever keeps and tells it.
#[derive(Debug, Default)]
pub struct Evaluation {
    /// Alerts whose timers changed.
    pub stored: Vec<StoredAlert>,
    /// Alerts that are neither pending nor firing any more, by rule.
    pub ended: Vec<(String, Labels)>,
    /// What there is to tell.
    pub alerts: Vec<Alert>,
    /// How many rules failed.
    pub failed: usize,
}

impl RuleGroup {
    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that it is from.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// From one evaluation to the next.
    pub fn interval(&self) -> Period {
        self.interval
    }

    /// How many rules it has.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether it has no rule.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The same, looking as far back as `offset` unless it says how far.
    #[must_use]
    pub fn looking_back(self, offset: Option<Period>) -> Self {
        Self { query_offset: self.query_offset.or(offset), ..self }
    }

    /// How old the data are that it looks at.
    pub fn query_offset(&self) -> Period {
        self.query_offset.unwrap_or_default()
    }

    /// The names of the metrics whose news it need not wait for. None where it records: what others
    /// count on are samples at even times. None where it looks at the past.
    pub fn listens_to(&self) -> impl Iterator<Item = &str> {
        let alerts_only = self.rules.iter().all(|rule| matches!(rule, Rule::Alerting(_)));
        let rules =
            if alerts_only && self.query_offset().is_zero() { &self.rules[..] } else { &[] };
        rules.iter().flat_map(|rule| rule.query().metric_names())
    }

    /// The names of the metrics that its rules read, where they are written out.
    pub fn reads(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().flat_map(|rule| rule.query().metric_names())
    }

    /// Whether one of its rules records the metric `name`.
    fn records(&self, name: &str) -> bool {
        self.rules.iter().any(|rule| matches!(rule, Rule::Recording(rule) if rule.name == name))
    }

    fn identities(&self) -> impl Iterator<Item = &Identity> {
        self.rules.iter().filter_map(|rule| match rule {
            Rule::Alerting(rule) => Some(rule.identity.as_ref()),
            Rule::Recording(_) => None,
        })
    }

    /// The ids of its rules that make alerts.
    pub fn alerting_ids(&self) -> impl Iterator<Item = &str> {
        self.identities().map(Identity::key)
    }

    /// What it remembers at the start: the alerts in `stored` that are its rules'. Nobody evaluated
    /// for `blind`.
    pub fn restore(&self, stored: &[StoredAlert], blind: Duration) -> GroupState {
        let restore = |rule: &Rule| {
            let mut state = RuleState::default();
            if let Rule::Alerting(rule) = rule {
                for alert in stored.iter().filter(|alert| alert.rule == rule.identity.key()) {
                    state.alerts.restore(alert.clone(), blind);
                }
            }
            state
        };
        GroupState { rules: self.rules.iter().map(restore).collect(), next_look: 0 }
    }

    /// Nobody evaluated for `blind`: what is pending waits so much longer. Gives it as it is to be
    /// stored.
    pub fn credit(&self, state: &mut GroupState, blind: Duration) -> Vec<StoredAlert> {
        let mut waiting = Vec::new();
        for (rule, state) in self.rules.iter().zip(&mut state.rules) {
            if let Rule::Alerting(rule) = rule {
                let credited = state.alerts.credit(blind);
                waiting.extend(credited.map(|active| active.to_stored(rule.identity.key())));
            }
        }
        waiting
    }

    /// The alerts that fire, as far as it remembers.
    pub fn firing(&self, state: &GroupState, sources: &Sources) -> Vec<Alert> {
        let firing = |active: &&Active| active.fired_at.is_some();
        let all = state.rules.iter().flat_map(|rule| rule.alerts.iter());
        all.filter(firing).map(|active| sources.alert(active, None)).collect()
    }

    /// Evaluates every rule at `now`.
    pub fn evaluate(
        &self,
        state: &mut GroupState,
        now: Timestamp,
        sources: &Sources,
    ) -> Evaluation {
        let at = now - self.query_offset().duration();
        let own = sources.clone();
        // What is built in judges what we watch ourselves.
        let own = Sources { elsewhere: own.elsewhere.filter(|_| self.file != BUILTIN_FILE), ..own };
        let sources = &own;
        let (mut evaluation, begun) = (Evaluation::default(), Stopwatch::start());
        // What several rules read is read once.
        let turn = Turn::new(sources.limits, &sources.stop);
        let is_over = || turn.is_over();
        let (options, range) = (sources.options(&is_over), Range::instant(at));
        let queries = self.rules.iter().map(Rule::query);
        let session = Session::new(&sources.storage, queries, range, &options);
        for (rule, state) in self.rules.iter().zip(&mut state.rules) {
            let watch = Stopwatch::start();
            turn.next();
            let result = match rule {
                Rule::Recording(rule) => rule
                    .evaluate(at, self.limit, (sources, &session))
                    .map(|written| (Changes::default(), written)),
                Rule::Alerting(rule) => {
                    rule.evaluate(&mut state.alerts, now, at, self.limit, (sources, &session))
                }
            };
            state.error = match result {
                Ok((changes, written)) => {
                    if let Rule::Alerting(rule) = rule {
                        evaluation.add(rule.identity.key(), changes, sources);
                    }
                    state.write(written, at, sources, &session).err().map(|error| error.to_string())
                }
                Err(error) => Some(turn.why(error)),
            };
            evaluation.failed += usize::from(state.error.is_some());
            state.duration = watch.elapsed();
            state.evaluated_at = Some(now);
        }
        if self.file != BUILTIN_FILE {
            let limits = (sources.limits.timeout, &sources.stop);
            let there = sources.elsewhere.as_ref();
            let ask = there.map(|there| move |query: &Query| there.instant(query, at, limits));
            let place = match &ask {
                Some(ask) => Place::Elsewhere(ask),
                None => Place::Here(&sources.storage),
            };
            let half = self.interval.duration() / 2;
            self.look(state, place, now, || begun.elapsed() >= half || sources.stop.is_cancelled());
        }
        evaluation
    }

    /// Looks whether rules find anything, when all are judged: another store is asked a little in each
    /// round and nothing any more where it `is_late`, and the next round goes on from there.
    fn look(
        &self,
        state: &mut GroupState,
        place: Place<'_>,
        now: Timestamp,
        is_late: impl Fn() -> bool,
    ) {
        let (mut asked, count) = (0, self.rules.len());
        for _ in 0..count {
            if asked >= MOST_ASKED || is_late() {
                return;
            }
            let at = state.next_look % count;
            state.next_look = at + 1;
            let (rule, known) = (&self.rules[at], &mut state.rules[at]);
            asked += known.watch.look(rule.query(), |name| self.records(name), place, now);
        }
    }

    /// The group as people see it.
    pub fn view(&self, state: &GroupState, evaluated_at: Option<Timestamp>) -> GroupView {
        GroupView {
            name: self.name.clone(),
            file: self.file.clone(),
            interval: self.interval,
            limit: self.limit,
            evaluated_at,
            duration: state.rules.iter().map(|rule| rule.duration).sum(),
            rules: self
                .rules
                .iter()
                .zip(&state.rules)
                .map(|(rule, state)| state.view(rule))
                .collect(),
        }
    }
}

/// The alerts of rules that were edited or moved, as those of the rules in `groups` that took their
/// places; what was stored of each under another id.
pub fn taken_over(
    groups: &[Arc<RuleGroup>],
    stored: &mut [StoredAlert],
) -> (Vec<StoredAlert>, Vec<(String, Labels)>) {
    let rules: Vec<&Identity> = groups.iter().flat_map(|group| group.identities()).collect();
    let successors = identity::successors(&rules, stored);
    let (mut moved, mut before) = (Vec::new(), Vec::new());
    for alert in stored {
        if let Some(successor) = successors.get(&alert.rule) {
            let rule = std::mem::replace(&mut alert.rule, successor.clone());
            before.push((rule, alert.labels.clone()));
            moved.push(alert.clone());
        }
    }
    (moved, before)
}

impl RuleState {
    /// Stores what a rule gave, and ends what it gave last time and does not now.
    fn write(
        &mut self,
        written: Vec<Written>,
        at: Timestamp,
        sources: &Sources,
        session: &Session<'_>,
    ) -> Result<(), AppendError> {
        let storage = &sources.storage;
        let now: HashSet<Labels> = written.iter().map(|(labels, _)| labels.clone()).collect();
        let (mut points, mut natives) = (Vec::with_capacity(written.len()), Vec::new());
        for (labels, value) in &written {
            let value = match value {
                Measured::Float(value) => *value,
                Measured::Native(histogram) => {
                    natives.push(Arc::clone(histogram));
                    storage::histogram_value(natives.len() - 1)
                }
            };
            points.push(Point { series: storage.own_series(labels)?, timestamp: at, value });
        }
        for labels in self.written.difference(&now) {
            let value = Ended::Gone.value();
            points.push(Point { series: storage.own_series(labels)?, timestamp: at, value });
        }
        let beside = Beside { histograms: &natives, starts: &[] };
        let appended = storage.append_anyway(&points, beside)?;
        sources.appended.inc_by(appended.stored as u64);
        // The rules after it see what it wrote.
        now.union(&self.written).for_each(|labels| session.appended(labels));
        self.written = now;
        Ok(())
    }

    fn view(&self, rule: &Rule) -> RuleView {
        let (name, query, kind) = match rule {
            Rule::Recording(rule) => {
                (&rule.name, &rule.query, RuleKind::Recording { labels: rule.labels.clone() })
            }
            Rule::Alerting(rule) => {
                let mut alerts: Vec<_> = self.alerts.iter().map(AlertView::of).collect();
                alerts.sort_by(|a, b| a.labels.cmp(&b.labels));
                let kind = RuleKind::Alerting {
                    hold: rule.hold,
                    keep_firing_for: rule.keep_firing_for,
                    labels: rule.written_labels.clone(),
                    annotations: rule.written_annotations.clone(),
                    alerts,
                };
                (&rule.name, &rule.query, kind)
            }
        };
        RuleView {
            name: name.clone(),
            query: query.to_string(),
            error: self.error.clone(),
            duration: self.duration,
            evaluated_at: self.evaluated_at,
            dead: self.watch.dead(),
            kind,
        }
    }
}

impl Evaluation {
    fn add(&mut self, rule: &str, changes: Changes, sources: &Sources) {
        self.stored.extend(changes.stored.iter().map(|active| active.to_stored(rule)));
        self.ended.extend(changes.gone.into_iter().map(|labels| (rule.to_owned(), labels)));
        let alerts = changes.alerts.iter().map(|(active, ended)| sources.alert(active, *ended));
        self.alerts.extend(alerts);
    }
}

impl Sources {
    /// The values of `query` at `at`: by `session`, or elsewhere.
    pub(super) fn judged(
        &self,
        query: &Query,
        at: Timestamp,
        session: &Session<'_>,
    ) -> Result<Vec<(Labels, Measured)>, String> {
        match &self.elsewhere {
            None => session.evaluate(query).and_then(samples).map_err(|error| error.to_string()),
            Some(elsewhere) => {
                let found = elsewhere.instant(query, at, (self.limits.timeout, &self.stop))?;
                Ok(found.into_iter().map(|(l, value)| (l, Measured::Float(value))).collect())
            }
        }
    }

    /// The alert that was stored, as it left the rules when they still had it.
    pub fn stored_alert(&self, stored: &StoredAlert) -> Alert {
        self.alert(&Active::from_stored(stored.clone(), Duration::ZERO), None)
    }

    /// The alert as it leaves the rules: with the external labels that it does not have itself.
    fn alert(&self, active: &Active, ended: Option<(Timestamp, Ending)>) -> Alert {
        let mut builder = LabelsBuilder::from(&active.labels);
        for (name, value) in &self.external_labels {
            if builder.get(name).is_none() {
                builder.set(name, value);
            }
        }
        let labels = builder.build();
        let url = format!("{}/#alert-{:016x}", self.external_url, labels.fingerprint());
        Alert { labels, ..active.to_alert(ended, url) }
    }

    /// Over a storage of its own, which is empty.
    #[cfg(test)]
    pub(super) fn of_a_test() -> Self {
        let metrics = base::own_metrics::OwnMetrics::new();
        Self {
            storage: Arc::new(Storage::in_memory(storage::Options::default())),
            outputs: Outputs::default(),
            targets: Targets::default(),
            external_labels: Labels::default(),
            external_url: "http://v".into(),
            lookback: Duration::from_secs(300),
            limits: QueryLimits::default(),
            stop: CancellationToken::new(),
            subquery_step: Duration::from_secs(60),
            on_missing: OnMissing::default(),
            features: promql::Features::default(),
            elsewhere: None,
            started: Timestamp::default(),
            appended: metrics.counter("appended_total", "For a test."),
        }
    }
}

#[cfg(test)]
mod tests;
