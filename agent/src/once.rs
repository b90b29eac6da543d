//! Running checks once, for people: does it work, here and now?
//!
//! Invariant: timeouts and the number of scripts at a time are those of the configuration.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use base::diagnostic::nearest;
use base::supervisor::Supervisor;
use probes::{Outcome, Status};
use tokio::sync::{Semaphore, mpsc};

use crate::check::Check;
use crate::config::Config;
use crate::run::look;

/// What one check found.
#[derive(Debug)]
pub(crate) struct Line {
    check: Arc<str>,
    /// Nothing where nobody looks, because the check is told.
    outcome: Option<Outcome>,
    duration: Duration,
}

/// The checks called `names`, or all.
///
/// # Errors
///
/// There is no check of a name.
pub(crate) fn choose(config: Config, names: &[String]) -> Result<(usize, Vec<Check>), String> {
    let known = || config.checks.iter().map(|check| check.name.as_ref());
    for name in names {
        if !known().any(|known| known == name) {
            let guess = nearest(name, known());
            let guess = guess.map_or(String::new(), |guess| format!("; did you mean `{guess}`?"));
            return Err(format!("there is no check `{name}`{guess}"));
        }
    }
    let chosen = |check: &Check| names.is_empty() || names.iter().any(|n| **n == *check.name);
    let concurrency = config.concurrency;
    Ok((concurrency, config.checks.into_iter().filter(chosen).collect()))
}

/// Runs `checks` once, with at most `concurrency` scripts at a time.
pub(crate) async fn run(
    checks: Vec<Check>,
    concurrency: usize,
    supervisor: &Supervisor,
) -> Vec<Line> {
    let scripts = Arc::new(Semaphore::new(concurrency));
    // It holds every result that can come.
    let (results, mut done) = mpsc::channel(checks.len().max(1));
    let count = checks.len();
    for (n, check) in checks.into_iter().enumerate() {
        let (scripts, results) = (Arc::clone(&scripts), results.clone());
        let stop = supervisor.stop_token().clone();
        supervisor.spawn("check", async move {
            if check.is_told() {
                let line = Line { check: check.name, outcome: None, duration: Duration::ZERO };
                let _ = results.send((n, line)).await;
                return;
            }
            let permit = if check.takes_slot { scripts.acquire_owned().await.ok() } else { None };
            let (outcome, duration) = look(&check, &stop).await;
            drop(permit);
            // Nobody hears it only where we are stopping.
            let _ = results
                .send((n, Line { check: check.name, outcome: Some(outcome), duration }))
                .await;
        });
    }
    drop(results);
    let mut lines = Vec::with_capacity(count);
    while let Some(line) = done.recv().await {
        lines.push(line);
    }
    lines.sort_by_key(|(n, _)| *n);
    lines.into_iter().map(|(_, line)| line).collect()
}

/// The worst status of all that were looked at.
pub(crate) fn worst(lines: &[Line]) -> Status {
    let looked_at = lines.iter().filter_map(|line| line.outcome.as_ref());
    looked_at.fold(Status::Ok, |worst, outcome| worst.worse(outcome.status))
}

/// A line for each check, in columns, with its further lines indented.
pub(crate) fn table(lines: &[Line]) -> String {
    let widest = lines.iter().map(|line| line.check.chars().count()).max().unwrap_or(0);
    let mut table = String::new();
    for Line { check, outcome, duration } in lines {
        let Some(outcome) = outcome else {
            let summary = "is not looked at: it waits to be told";
            let _ = writeln!(table, "{check:widest$}  {:8}  {:>8}  {summary}", "-", "-");
            continue;
        };
        let (status, seconds) = (outcome.status.as_str(), duration.as_secs_f64());
        // Writing to a string does not fail.
        let _ = writeln!(table, "{check:widest$}  {status:8}  {seconds:7.3}s  {}", outcome.summary);
        if outcome.status != Status::Ok {
            for line in outcome.details.lines() {
                let _ = writeln!(table, "{:widest$}  {line}", "");
            }
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use probes::Reason;

    use super::*;

    fn line(check: &str, status: Status, details: &str) -> Line {
        let mut outcome = Outcome::new(status, Reason::Threshold, "summary");
        outcome.details = details.to_owned();
        let outcome = Some(outcome);
        Line { check: check.into(), outcome, duration: Duration::from_millis(1234) }
    }

    #[test]
    fn columns_are_aligned() {
        let lines =
            [line("a", Status::Ok, "hidden"), line("größer", Status::Critical, "why\nelse")];
        assert_eq!(
            table(&lines),
            "a       ok          1.234s  summary\n\
             größer  critical    1.234s  summary\n\
             \x20       why\n        else\n"
        );
        assert_eq!(worst(&lines), Status::Critical);
        assert_eq!(worst(&[]), Status::Ok);
        let told = [Line { check: "job".into(), outcome: None, duration: Duration::ZERO }];
        assert_eq!(worst(&told), Status::Ok);
        assert_eq!(
            table(&told),
            "job  -                -  is not looked at: it waits to be told\n"
        );
    }
}
