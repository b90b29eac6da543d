//! Jobs that push their metrics: a check that keeps them as Prometheus's Pushgateway does.
//!
//! ```yaml
//! - name: etl
//!   push:
//!     job: etl                  # or '*' for every job that no other check takes
//!     max_age: 25h
//!     series: [{select: etl_rows, crit: '1:', missing: critical}]
//! ```
//!
//! ```text
//! PUT, POST, DELETE /metrics/job/NAME{/LABEL/VALUE} ─▶ State: groups by their labels ─▶ judge(now)
//! ```
//!
//! Invariant: everything here is a function of what came and of the given time, and all that is kept is
//! bounded.

mod path;
mod state;

pub use path::group_of;
pub(crate) use state::MAX_BODY;
pub use state::{GroupLabels, PushError, Pushed, State};

use std::time::Duration;

use base::diagnostic::{Diagnostics, Spanned};
use base::period::Period;
use base::sample::Timestamp;
use probes::series::{SeriesConfig, SeriesList};
use probes::{Outcome, Reason};
use serde::Deserialize;

/// A push check, as written.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PushConfig {
    /// The job that pushes; the check's name where nothing is said.
    #[serde(default)]
    job: Option<Spanned<String>>,
    /// How old what was pushed may be; as old as it likes where nothing is said.
    #[serde(default)]
    max_age: Option<Spanned<Period>>,
    /// Values that are held against thresholds.
    #[serde(default)]
    series: Vec<SeriesConfig>,
}

/// What is expected of a job that pushes.
#[derive(Clone, Debug)]
pub struct Push {
    /// The job's name, or `*`.
    pub job: String,
    max_age: Option<Duration>,
    series: SeriesList,
}

impl PushConfig {
    /// What is expected, reporting everything that is wrong with it; the check is called `name`.
    pub fn build(self, name: &Spanned<String>, diagnostics: &mut Diagnostics) -> Option<Push> {
        let job = self.job.as_ref().unwrap_or(name);
        if job.value.is_empty() {
            diagnostics.report(job, "a job has a name");
        }
        if let Some(age) = self.max_age.as_ref().filter(|age| age.value.is_zero()) {
            diagnostics.report(age, "an age cannot be 0");
        }
        let series = SeriesList::build(self.series, diagnostics)?;
        let max_age = self.max_age.as_ref().map(|age| age.value.duration());
        Some(Push { job: job.value.clone(), max_age, series })
    }
}

impl Push {
    /// How it is at `now` by what was pushed; nothing as long as nothing was.
    pub fn judge(&self, state: &State, now: Timestamp) -> Option<Outcome> {
        let (labels, oldest) = state.oldest()?;
        let families = state.families();
        let mut outcome = match self.series.is_empty() {
            true => Outcome::ok(""),
            false => self.series.judge(&families),
        };
        let age = Period::from_secs(now.since(oldest.pushed).as_secs());
        if self.max_age.is_some_and(|most| now > oldest.pushed + most + oldest.credit.min(most)) {
            outcome.summary = format!("{} was pushed {age} ago", shown(labels));
            (outcome.status, outcome.reason) = (probes::Status::Critical, Reason::NotReported);
        } else if outcome.summary.is_empty() {
            let groups = state.count();
            let groups =
                if groups == 1 { "1 group".to_owned() } else { format!("{groups} groups") };
            outcome.summary = format!("{groups}, the oldest pushed {age} ago");
        }
        outcome.families = families;
        Some(outcome)
    }
}

/// A group for people: its labels as they are written in PromQL.
fn shown(labels: &GroupLabels) -> String {
    base::labels::Labels::from_pairs(labels.iter().map(|(n, v)| (n.as_str(), v.as_str())))
        .to_string()
}
