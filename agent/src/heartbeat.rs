//! Jobs that report by themselves: a check that is not looked at, but told.
//!
//! ```yaml
//! - name: backup
//!   heartbeat: {id: 6c1d9c3e-..., cron: '30 2 * * *', timezone: Europe/Paris, grace: 1h}
//! ```
//!
//! ```text
//! POST, where enabled GET or HEAD, /ping/ID[/start|/fail|/log|/EXIT CODE] ─▶ Signal ─▶ State ─▶ judge(now) ─▶ Outcome
//! new ─▶ up ─▶ late (past the time) ─▶ down (past the grace)          design A10
//! ```
//!
//! Only the time at which we received a signal counts (A10.4). While we were not there to receive
//! any, none can have been missed: that time is credited (A10.5).
//!
//! Invariant: everything here is a function of what came and of the given time.

mod config;
mod state;

pub use config::HeartbeatConfig;
pub use state::{MAX_OUTPUT, Signal, State, Told};

use std::time::Duration;

use base::family::MetricFamily;
use base::period::Period;
use base::sample::Timestamp;
use probes::thresholds::{Limits, Value};
use probes::{Outcome, Reason, Status};

use crate::schedule::Schedule;

/// When a job reports.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    /// What stands behind `/ping/`.
    pub id: String,
    /// Whether GET and HEAD report, too. Whatever fetches links to show them would report (X38), so
    /// it is only where somebody says so (A10.1).
    pub get: bool,
    expected: Expected,
    grace: Duration,
    max_runtime: Duration,
    first_by: Option<Duration>,
    limits: Limits,
}

/// How long the job took: a value that limits can be set for.
const RUNTIME: &str = "runtime";

/// When the next report must come.
#[derive(Clone, Debug)]
enum Expected {
    /// So long after the one before.
    After(Duration),
    /// By a calendar.
    On(Schedule),
}

impl Heartbeat {
    /// When the report after one at `last` is expected, and how far it is to the one after that.
    fn expected_after(&self, last: Timestamp) -> (Timestamp, Duration) {
        match &self.expected {
            Expected::After(period) => (last + *period, *period),
            Expected::On(schedule) => match schedule.next_after(last) {
                // The calendar has no further day: nothing is expected any more.
                None => (Timestamp::MAX, Duration::ZERO),
                Some(next) => {
                    (next, schedule.next_after(next).map_or(Duration::ZERO, |n| n.since(next)))
                }
            },
        }
    }

    /// How it is at `now` by what came; nothing as long as nothing has come and nothing need have
    /// (A10.3).
    pub fn judge(&self, state: &State, now: Timestamp) -> Option<Outcome> {
        let Some(last) = &state.last else {
            let by = state.since + self.first_by? + state.credit;
            let ago = Period::from_secs(now.since(state.since).as_secs());
            let summary = format!("nothing has ever been reported, in {ago}");
            return (now > by).then(|| Outcome::critical(Reason::NotReported, summary));
        };
        let mut outcome = self.verdict(state, last, now);
        outcome.details = state.output.clone();
        if let Some(runtime) = last.runtime {
            let value = Value { name: RUNTIME, value: runtime.as_secs_f64(), unit: "s" };
            let verdict = self.limits.judge(&[value]);
            if outcome.status == Status::Ok && verdict.status != Status::Ok {
                outcome.summary = format!("{}; {}", verdict.text, outcome.summary);
                (outcome.status, outcome.reason) = (verdict.status, Reason::Threshold);
            }
            outcome.measurements = verdict.measurements;
        }
        let mut gauge = |name, help, time: Timestamp| {
            outcome.families.push(MetricFamily::gauge(name, help).with(&[], time.seconds()));
        };
        let name = "veilleur_heartbeat_last_signal_timestamp_seconds";
        gauge(name, "When the job last reported that it had ended.", last.at);
        if let Some(success) = state.last_success {
            let name = "veilleur_heartbeat_last_success_timestamp_seconds";
            gauge(name, "When the job last reported success.", success);
        }
        let due = self.due(state, last.at);
        if due < Timestamp::MAX {
            let help = "When the next report of the job must be in, the grace not counted.";
            gauge("veilleur_heartbeat_expected_timestamp_seconds", help, due);
        }
        Some(outcome)
    }

    /// When the next report is expected, with what is credited.
    fn due(&self, state: &State, last: Timestamp) -> Timestamp {
        let (due, distance) = self.expected_after(last);
        due + state.credit.min(distance)
    }

    fn verdict(&self, state: &State, last: &Signal, now: Timestamp) -> Outcome {
        let ago = |time: Timestamp| format!("{} ago", Period::from_secs(now.since(time).as_secs()));
        let said = match state.output.lines().next().unwrap_or("").trim() {
            "" => String::new(),
            line => format!(": {line}"),
        };
        if let Some(code) = last.failed {
            let code = code.map_or(String::new(), |code| format!(" with exit code {code}"));
            let summary = format!("failed {}{code}{said}", ago(last.at));
            return Outcome::critical(Reason::JobFailed, summary);
        }
        let (due, longest) = (self.due(state, last.at), self.max_runtime + state.credit);
        let longest_running = state.starts.iter().map(|start| start.at).min();
        if let Some(start) = longest_running.filter(|start| now > *start + longest) {
            let most = Period::from_secs(self.max_runtime.as_secs());
            let summary = format!("started {} and has not ended within {most}", ago(start));
            return Outcome::critical(Reason::NotReported, summary);
        }
        if now > due + self.grace {
            let summary = format!("has not reported: expected {}, last {}", ago(due), ago(last.at));
            return Outcome::critical(Reason::NotReported, summary);
        }
        let running =
            longest_running.map_or(String::new(), |start| format!(", started {}", ago(start)));
        if now > due {
            let left = Period::from_secs((due + self.grace).since(now).as_secs());
            let last = ago(last.at);
            return Outcome::ok(format!("late: last {last}{running}, down in {left}{said}"));
        }
        Outcome::ok(format!("reported {}{running}{said}", ago(last.at)))
    }
}
