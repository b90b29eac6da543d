//! A probe with its schedule, its patience and its labels.
//!
//! Invariant: a built check's timeout is at most its interval, so that a run that is stopped at its
//! deadline does not cost the next one.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base::diagnostic::{Diagnostics, Spanned};
use base::labels::is_legacy_label_name;
use base::period::Period;
use probes::health::HealthConfig;
use probes::{Probe, ProbeConfig};
use serde::Deserialize;

use crate::heartbeat::{Heartbeat, HeartbeatConfig};
use crate::push::{Push, PushConfig};
use crate::schedule::{Schedule, report};

/// The timeout where nothing is said, or the interval where that is shorter.
const TIMEOUT: Period = Period::from_secs(10);
/// The most time between two attempts where nothing is said.
const RETRY_INTERVAL: Period = Period::from_secs(30);
/// How often a health page is asked that a service needs by its address.
const PAGE_INTERVAL: Period = Period::from_secs(30);
/// How often a check that is told has a new result, if nothing changes.
pub(crate) const TOLD_INTERVAL: Period = Period::from_secs(10);
/// How often a check that failed is tried again where nothing is said.
const RETRIES: u32 = 2;
/// The longest name.
const MAX_NAME: usize = 128;

/// Labels that we set ourselves.
const OUR_LABELS: [&str; 11] = [
    "check",
    "status",
    "reason",
    "perfdata",
    "unit",
    "service",
    "dependency",
    "culprit",
    "component",
    "job",
    "instance",
];

/// One entry under `checks:`, as written.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckConfig {
    /// Names the check; becomes the `check` label of everything it measures.
    pub(crate) name: Spanned<String>,
    /// From the start of one run to the start of the next.
    #[serde(default)]
    interval: Option<Spanned<Period>>,
    /// In place of an interval: minute, hour, day, month, weekday.
    #[serde(default)]
    cron: Option<Spanned<String>>,
    /// The time zone of `cron`; `UTC` where nothing is said.
    #[serde(default)]
    timezone: Option<Spanned<String>>,
    /// The longest a run may take; `10s` where nothing is said, or the interval where that is shorter.
    #[serde(default)]
    timeout: Option<Spanned<Period>>,
    /// How often a failure is tried again before it is held to be true; `2` where
    /// nothing is said.
    #[serde(default)]
    retries: Option<u32>,
    /// From one attempt to the next; `30s` where nothing is said, or the interval where that is
    /// shorter.
    #[serde(default)]
    retry_interval: Option<Spanned<Period>>,
    /// Further labels of everything it measures.
    #[serde(default)]
    labels: BTreeMap<String, Spanned<String>>,
    /// What to run.
    #[serde(default)]
    probe: Option<ProbeConfig>,
    /// In place of a probe: a job that reports by itself.
    #[serde(default)]
    heartbeat: Option<Spanned<HeartbeatConfig>>,
    /// In place of a probe: a job that pushes its metrics.
    #[serde(default)]
    push: Option<Spanned<PushConfig>>,
}

/// Where a check has its results from.
#[derive(Clone, Debug)]
pub enum Source {
    /// From looking.
    Probe(Arc<dyn Probe>),
    /// From a job that reports.
    Heartbeat(Box<Heartbeat>),
    /// From a job that pushes.
    Push(Box<Push>),
}

/// A check.
#[derive(Clone)]
pub struct Check {
    /// Its name, which no other check has.
    pub name: Arc<str>,
    /// When it runs.
    pub schedule: Schedule,
    /// The longest a run may take.
    pub timeout: Duration,
    /// How often it is tried before a failure is held to be true.
    pub max_attempts: u32,
    /// From one attempt to the next.
    pub retry_interval: Duration,
    /// Its labels, with those of the agent.
    pub labels: BTreeMap<String, String>,
    /// Where its results are from.
    pub source: Source,
    /// Whether a run takes one of the slots for scripts.
    pub takes_slot: bool,
}

impl CheckConfig {
    /// A check of the health page at `url`, which is its name too.
    pub(crate) fn of_page(url: &Spanned<String>) -> Self {
        Self {
            name: url.clone(),
            interval: Some(Spanned { value: PAGE_INTERVAL, place: url.place }),
            cron: None,
            timezone: None,
            timeout: None,
            retries: None,
            retry_interval: None,
            labels: BTreeMap::new(),
            probe: Some(ProbeConfig::Health(Box::new(HealthConfig::of(url.clone())))),
            heartbeat: None,
            push: None,
        }
    }

    /// Turns what was written into what will run, reporting everything that is wrong with it.
    /// `agent_labels` are those of the whole agent, which the check's own go before.
    pub fn build(
        mut self,
        agent_labels: &BTreeMap<String, String>,
        diagnostics: &mut Diagnostics,
    ) -> Option<Check> {
        check_name(&self.name, diagnostics);
        if self.heartbeat.is_some() || self.push.is_some() {
            return self.build_told(agent_labels, diagnostics);
        }
        let Some(probe) = self.probe.take() else {
            // What could not be read is not missing.
            if !diagnostics.is_partial() {
                let message = "neither `probe`, `heartbeat` nor `push` says what is checked";
                diagnostics.report(&self.name, message);
            }
            return None;
        };
        let schedule = self.schedule(diagnostics);
        let interval = self.interval.as_ref().map(|interval| interval.value);
        let timeout = self.timeout(interval, diagnostics);
        let retry_interval = self.retry_interval(interval, diagnostics);
        let mut labels = agent_labels.clone();
        labels.extend(build_labels(self.labels, diagnostics));
        let takes_slot = probe.starts_programs();
        let probe = probe.build(diagnostics);
        Some(Check {
            name: self.name.value.into(),
            schedule: schedule?,
            timeout: timeout.duration(),
            max_attempts: self.retries.unwrap_or(RETRIES).saturating_add(1),
            retry_interval: retry_interval.duration(),
            labels,
            source: Source::Probe(probe?),
            takes_slot,
        })
    }

    /// A check that is told. It is judged whenever something comes, and all the time between.
    fn build_told(
        self,
        agent_labels: &BTreeMap<String, String>,
        diagnostics: &mut Diagnostics,
    ) -> Option<Check> {
        let kinds = [self.probe.is_some(), self.heartbeat.is_some(), self.push.is_some()];
        if kinds.into_iter().filter(|is_there| *is_there).count() > 1 {
            let message = "only one of `probe`, `heartbeat` and `push` says what is checked";
            diagnostics.report(&self.name, message);
        }
        let needless = [
            self.interval.as_ref().map(|interval| interval.place),
            self.cron.as_ref().map(|cron| cron.place),
            self.timezone.as_ref().map(|timezone| timezone.place),
            self.timeout.as_ref().map(|timeout| timeout.place),
            self.retry_interval.as_ref().map(|retry| retry.place),
        ];
        for place in needless.into_iter().flatten() {
            let message = "this means nothing to a check that nobody runs";
            let help = "say when the job reports inside of `heartbeat` or `push`";
            diagnostics.report_with_help(place, message, help);
        }
        let mut labels = agent_labels.clone();
        labels.extend(build_labels(self.labels, diagnostics));
        let heartbeat = self.heartbeat.map(|config| config.value.build(&self.name, diagnostics));
        let push = self.push.map(|config| config.value.build(&self.name, diagnostics));
        let source = match (heartbeat, push) {
            (Some(heartbeat), _) => Source::Heartbeat(Box::new(heartbeat?)),
            (None, push) => Source::Push(Box::new(push??)),
        };
        Some(Check {
            schedule: Schedule::every(TOLD_INTERVAL.duration(), &self.name.value),
            name: self.name.value.into(),
            timeout: TOLD_INTERVAL.duration(),
            max_attempts: 1,
            retry_interval: TOLD_INTERVAL.duration(),
            labels,
            source,
            takes_slot: false,
        })
    }

    fn schedule(&self, diagnostics: &mut Diagnostics) -> Option<Schedule> {
        if let (Some(zone), None) = (&self.timezone, &self.cron) {
            let message = "a time zone means nothing without `cron`";
            diagnostics.report(zone, message);
        }
        match (&self.interval, &self.cron) {
            (Some(interval), None) if interval.value.is_zero() => {
                diagnostics.report(interval, "an interval cannot be 0");
                None
            }
            (Some(interval), None) => {
                Some(Schedule::every(interval.value.duration(), &self.name.value))
            }
            (None, Some(cron)) => self.calendar(cron, diagnostics),
            (None, None) => {
                // What could not be read is not missing.
                if !diagnostics.is_partial() {
                    let message = "neither `interval` nor `cron` says when the check runs";
                    diagnostics.report_with_help(&self.name, message, "add `interval: 30s`");
                }
                None
            }
            (Some(_), Some(cron)) => {
                let message = "either `interval` or `cron` says when the check runs, not both";
                diagnostics.report(cron, message);
                None
            }
        }
    }

    fn calendar(&self, cron: &Spanned<String>, diagnostics: &mut Diagnostics) -> Option<Schedule> {
        let zone = self.timezone.as_ref();
        match Schedule::calendar(&cron.value, zone.map_or("UTC", |zone| &zone.value)) {
            Ok(schedule) => Some(schedule),
            Err(error) => {
                report(&error, cron, zone, diagnostics);
                None
            }
        }
    }

    fn timeout(&self, interval: Option<Period>, diagnostics: &mut Diagnostics) -> Period {
        let most = interval.filter(|interval| !interval.is_zero());
        let Some(timeout) = &self.timeout else {
            return most.map_or(TIMEOUT, |most| most.min(TIMEOUT));
        };
        if timeout.value.is_zero() {
            diagnostics.report(timeout, "a timeout cannot be 0");
        } else if let Some(most) = most.filter(|most| timeout.value > *most) {
            let message = format!("{} is longer than the interval, {most}", timeout.value);
            let help = "shorten `timeout`, or make `interval` longer";
            diagnostics.report_with_help(timeout, message, help);
        }
        timeout.value
    }

    fn retry_interval(&self, interval: Option<Period>, diagnostics: &mut Diagnostics) -> Period {
        let usual = interval.map_or(RETRY_INTERVAL, |interval| interval.min(RETRY_INTERVAL));
        let Some(retry) = &self.retry_interval else { return usual };
        if retry.value.is_zero() {
            diagnostics.report(retry, "a retry interval cannot be 0");
        }
        retry.value
    }
}

impl Check {
    /// Whether nobody runs it: its results come by themselves.
    pub fn is_told(&self) -> bool {
        !matches!(self.source, Source::Probe(_))
    }

    /// What it waits for, where it is told.
    pub fn heartbeat(&self) -> Option<&Heartbeat> {
        match &self.source {
            Source::Heartbeat(heartbeat) => Some(heartbeat),
            Source::Probe(_) | Source::Push(_) => None,
        }
    }

    /// Which job may push to it, where it is such a check.
    pub fn push(&self) -> Option<&Push> {
        match &self.source {
            Source::Push(push) => Some(push),
            Source::Probe(_) | Source::Heartbeat(_) => None,
        }
    }

    /// Whether `other` is the same check, so that what is known of this one holds for it. Secrets
    /// do not count: they are not shown.
    pub fn is_same(&self, other: &Self) -> bool {
        format!("{self:?}") == format!("{other:?}")
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check")
            .field("name", &self.name)
            .field("schedule", &self.schedule)
            .field("timeout", &self.timeout)
            .field("max_attempts", &self.max_attempts)
            .field("retry_interval", &self.retry_interval)
            .field("labels", &self.labels)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

fn check_name(name: &Spanned<String>, diagnostics: &mut Diagnostics) {
    let text = &name.value;
    if text.is_empty() || text.len() > MAX_NAME || text.chars().any(char::is_control) {
        let message = format!("a name has between 1 and {MAX_NAME} characters that can be seen");
        diagnostics.report(name, message);
    }
}

/// Labels that people may set, reporting those they may not.
pub(crate) fn build_labels(
    labels: BTreeMap<String, Spanned<String>>,
    diagnostics: &mut Diagnostics,
) -> BTreeMap<String, String> {
    for (name, value) in &labels {
        if !is_legacy_label_name(name) {
            let help = "use letters, digits and underscores";
            diagnostics.report_with_help(value, format!("`{name}` is not a label name"), help);
        } else if OUR_LABELS.contains(&name.as_str()) || name.starts_with("__") {
            diagnostics.report(value, format!("the label `{name}` is not yours to set"));
        } else if matches!(name.as_str(), "le" | "quantile") {
            diagnostics
                .report(value, format!("the label `{name}` belongs to histograms and summaries"));
        }
    }
    labels.into_iter().map(|(name, value)| (name, value.value)).collect()
}
