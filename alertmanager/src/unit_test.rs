//! Unit tests of rules, and of the whole way from a sample to a message.
//!
//! ```text
//! test file ─▶ Plan ─▶ Simulation: samples ─▶ rules ─▶ [alerts] ─▶ Chain: routes, groups, outbox
//!                        time goes from one thing that is due to the next        │
//! expected ──────────────────────── judge ◀──────────────────────────────────────┘
//! ```
//!
//! The format is promtool's. A file that names a configuration goes on where promtool ends: who is
//! told what and when, and what is held back.
//!
//! Invariant: what is judged, grouped, held back and told is so by the very stages of the running
//! program; nothing leaves the process.

mod written;
mod start;
mod sampled;
mod plan;
mod simulation;
mod chain;
mod judge;

use std::path::Path;

use base::diagnostic::{Diagnostics, Place};
use base::sample::Timestamp;
use regex::Regex;

use crate::config::WATCHDOG;
use chain::Chain;
use plan::{Plan, Test};
use simulation::Simulation;
use written::FileConfig;

pub use crate::rules::Unknown;

/// How files are run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Only tests with a name in which this is found.
    pub only: Option<Regex>,
    /// What becomes of settings of rule files that nobody knows.
    pub unknown: Unknown,
    /// What is done otherwise than by default where expressions are evaluated.
    pub features: promql::Features,
}

impl Options {
    fn wants(&self, name: Option<&str>) -> bool {
        self.only.as_ref().is_none_or(|only| only.is_match(name.unwrap_or_default()))
    }
}

/// What came of a file.
#[derive(Debug)]
pub struct Outcome {
    /// How many tests were run.
    pub tests: usize,
    /// How many of them failed.
    pub failed: usize,
    /// What is no fault, and worth a look.
    pub warnings: Vec<String>,
    /// Everything that is wrong, each with its place. The file has passed where this is empty.
    pub faults: Diagnostics,
}

/// Runs the tests of a file.
pub async fn run_file(path: &Path, options: &Options) -> Outcome {
    let mut faults = Diagnostics::new(&path.display().to_string());
    let mut outcome = Outcome { tests: 0, failed: 0, warnings: Vec::new(), faults: faults.clone() };
    let folder = path.parent().unwrap_or(Path::new("."));
    let file: Option<FileConfig> = base::yaml::read_file(path, &mut faults);
    let plan = file.and_then(|file| file.build(folder, options, &mut faults));
    // A file that is wrong is not run, not even in part.
    if let Some(plan) = plan.filter(|_| faults.is_empty()) {
        outcome.tests = plan.tests.len();
        for test in &plan.tests {
            let wrong = run(&plan, test).await;
            outcome.failed += usize::from(!wrong.is_empty());
            let name = test.name.as_ref().map_or(String::new(), |name| format!(" (test `{name}`)"));
            for (place, difference) in wrong {
                // The name stands with the sentence, before what is listed below it.
                let (sentence, rest) = match difference.split_once('\n') {
                    Some((sentence, rest)) => (sentence, format!("\n{rest}")),
                    None => (difference.as_str(), String::new()),
                };
                faults.report(place, format!("{sentence}{name}{rest}"));
            }
        }
        outcome.warnings = plan.warnings;
    }
    outcome.faults = faults;
    outcome
}

/// Runs one test; gives what is wrong, with its place.
async fn run(plan: &Plan, test: &Test) -> Vec<(Place, String)> {
    let mut wrong = Vec::new();
    if let Err(error) = walk(plan, test, &mut wrong).await {
        wrong.push((test.place, error));
    }
    wrong
}

/// Goes through the time of a test.
async fn walk(plan: &Plan, test: &Test, wrong: &mut Vec<(Place, String)>) -> Result<(), String> {
    let start = &test.start;
    let end = start.at + test.length;
    let mut simulation = Simulation::begin(plan, test)?;
    let mut chain = match &plan.config {
        Some(config) => {
            let origin = (test.external_url.as_str(), start.at);
            Some(Chain::begin(config, &simulation.alerts, &test.silences, origin).await?)
        }
        None => None,
    };
    let mut now = start.at;
    loop {
        if simulation.next() <= now {
            let failed = simulation.judge(now)?;
            if !failed.is_empty() {
                // What comes after a rule that failed says nothing.
                wrong.extend(failed.into_iter().map(|failure| (test.place, failure)));
                return Ok(());
            }
        }
        if let Some(chain) = &mut chain {
            chain.step(now).await?;
        }
        for alerts in test.alerts.iter().filter(|alerts| alerts.at == now) {
            let firing = simulation.firing(&alerts.name);
            let difference = judge::alerts(alerts, &firing, start);
            wrong.extend(difference.map(|difference| (alerts.place, difference)));
        }
        if let Some(chain) = &chain {
            for held in test.held.iter().filter(|held| held.at == now) {
                for (alert, difference) in judge::held(held, &chain.held(now), start) {
                    wrong.push((alert.map_or(held.place, |alert| alert.place), difference));
                }
            }
        }
        let due = chain.as_ref().map_or(Timestamp::MAX, |chain| chain.next(now));
        let asked = test.times().filter(|at| *at > now).min().unwrap_or(Timestamp::MAX);
        now = simulation.next().min(due).min(asked);
        if now > end {
            break;
        }
    }
    simulation.end(end)?;
    for expr in &test.exprs {
        let got = simulation.query(&expr.query, expr.at);
        let difference = judge::samples(expr, got, plan.fuzzy, start);
        wrong.extend(difference.map(|difference| (expr.place, difference)));
    }
    if let (Some(messages), Some(chain)) = (&test.messages, &chain) {
        // The watchdog tells all the time; who does not ask for it need not list what it tells.
        let asked = messages.expected.iter().any(|message| message.receiver == WATCHDOG);
        let told = chain.delivered.iter().filter(|told| asked || told.receiver != WATCHDOG);
        let told: Vec<_> = told.cloned().collect();
        for (message, difference) in judge::messages(&messages.expected, &told, start) {
            wrong.push((message.map_or(messages.place, |message| message.place), difference));
        }
    }
    Ok(())
}
