//! Why an alert's expression finds nothing any more: because its condition is over, or because
//! nobody knows.
//!
//! Each selector of the expression reads series. Those that could be the alert's, because they do
//! not contradict its labels, say what became of it: a series whose target did not answer ended
//! with [`Ended::Lost`], one whose target is no longer configured with [`Ended::Removed`].
//!
//! Invariant: an alert is over only if a series with fresh samples, or one that its answering target
//! no longer has, says so, and none of the others is lost. Of an alert that was there before us, samples
//! from before us say nothing: the last of them may be lost (G3).

use std::collections::HashMap;
use std::time::Duration;

use base::labels::Labels;
use base::matcher::Matcher;
use base::sample::{Ended, Sample, Timestamp};
use promql::{Query, Range};
use serde::Deserialize;
use storage::{SelectError, Storage};

use super::states::{Active, Fate};
use crate::scrape::Targets;

/// So long after our start we know all targets, if not sooner.
const SETTLED: Duration = Duration::from_secs(15 * 60);

/// What becomes of an alert whose data are missing: of one whose series vanished because their target
/// does not answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnMissing {
    /// It stays as it is, stale, until fresh data say what is true.
    #[default]
    Hold,
    /// It stays, and goes on as if its condition held: whoever waits for it is told, and those who
    /// were told that it fires hear at once that nobody knows.
    Page,
    /// It is over, as in Prometheus.
    Resolve,
}

impl OnMissing {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Page => "page",
            Self::Resolve => "resolve",
        }
    }
}

impl std::str::FromStr for OnMissing {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Hold, Self::Page, Self::Resolve];
        let found = all.into_iter().find(|one| one.as_str() == text);
        found.ok_or_else(|| "it is one of hold, page and resolve".to_owned())
    }
}

/// What the last sample of a series says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It has fresh samples.
    Alive,
    /// It has, but none since we were started.
    Before,
    /// Its target answers and no longer has it.
    Gone,
    /// Its target does not answer, or we were not there to ask.
    Lost,
    Removed,
}

/// The series that an expression reads, with what became of them.
#[derive(Debug, Default)]
pub(super) struct Inputs {
    /// With the time of the last sample, where that is of the present.
    ends: Vec<(Labels, End, Option<Timestamp>)>,
    has_selectors: bool,
}

/// What is known about targets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watched<'a> {
    pub(super) targets: &'a Targets,
    /// When we were started.
    pub(super) started: Timestamp,
}

impl Inputs {
    /// Reads what became of the series that `query` reads, as of `now`.
    pub(super) fn read(
        query: &Query,
        storage: &Storage,
        now: Timestamp,
        lookback: Duration,
    ) -> Result<Self, SelectError> {
        let mut inputs = Self::default();
        for reads in query.reads() {
            inputs.has_selectors = true;
            let (_, until) = reads.span(Range::instant(now), lookback);
            if until >= now {
                let mut removed = HashMap::new();
                for (labels, last) in storage.last(reads.matchers()) {
                    let mut end = end_of(last, now, lookback);
                    if end == End::Lost && is_removed(&labels, storage, &mut removed) {
                        end = End::Removed;
                    }
                    inputs.ends.push((labels, end, Some(last.timestamp)));
                }
            } else {
                // With an offset the present says nothing: what was there at that time does.
                for series in storage.select(reads.matchers(), until - lookback, until)? {
                    if let (Some(&time), Some(&value)) = (series.times.last(), series.values.last())
                    {
                        let last = Sample { timestamp: Timestamp::from_millis(time), value };
                        inputs.ends.push((series.labels, end_of(last, until, lookback), None));
                    }
                }
            }
        }
        Ok(inputs)
    }

    /// What they say of an alert that was not found, whose labels from the data are `own`.
    pub(super) fn fate(
        &self,
        active: &Active,
        own: &Labels,
        now: Timestamp,
        watched: Watched<'_>,
    ) -> Fate {
        let fits = |labels: &Labels| {
            own.iter().all(|(name, value)| labels.get(name).is_none_or(|other| other == value))
        };
        let is_before =
            |at: &Option<Timestamp>| active.restored && at.is_some_and(|at| at < watched.started);
        let mut found = [false; 5];
        for (_, end, at) in self.ends.iter().filter(|(labels, ..)| fits(labels)) {
            let end = if *end == End::Alive && is_before(at) { End::Before } else { *end };
            found[end as usize] = true;
        }
        let [alive, before, gone, lost, removed] = found;
        if lost || before {
            Fate::Missing
        } else if alive || gone || !self.has_selectors {
            Fate::Over
        } else if removed {
            Fate::Removed
        } else if active.restored || active.stale_since.is_some() {
            // It was there before us, and no sample of it has come since.
            match is_watched(own, watched.targets) {
                false if now.since(watched.started) >= SETTLED => Fate::Removed,
                _ => Fate::Missing,
            }
        } else {
            Fate::Over
        }
    }
}

fn end_of(last: Sample, now: Timestamp, lookback: Duration) -> End {
    match Ended::from_value(last.value) {
        Some(Ended::Gone) => End::Gone,
        Some(Ended::Lost) => End::Lost,
        Some(Ended::Removed) => End::Removed,
        // Silence without a marker: we were not running, or the disk was full.
        None if now.since(last.timestamp) >= lookback => End::Lost,
        None => End::Alive,
    }
}

/// Whether the target of a series that was lost has been removed since, of which its `up` tells: such a
/// target ends what it had when it did not answer, and has nothing else to end.
fn is_removed(
    labels: &Labels,
    storage: &Storage,
    known: &mut HashMap<(String, String), bool>,
) -> bool {
    let (Some(job), Some(instance)) = (labels.get("job"), labels.get("instance")) else {
        return false;
    };
    *known.entry((job.to_owned(), instance.to_owned())).or_insert_with(|| {
        let up = [("__name__", "up"), ("job", job), ("instance", instance)];
        let last = storage.last(&up.map(|(name, value)| Matcher::equal(name, value)));
        let is_removed =
            |(_, last): &(Labels, Sample)| Ended::from_value(last.value) == Some(Ended::Removed);
        !last.is_empty() && last.iter().all(is_removed)
    })
}

/// Whether a target is configured that the labels could be of.
fn is_watched(own: &Labels, targets: &Targets) -> bool {
    let (Some(job), Some(instance)) = (own.get("job"), own.get("instance")) else { return true };
    targets.all().keys().any(|key| key.job == job && key.labels.get("instance") == Some(instance))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use storage::{Options, Point};

    use super::*;
    use crate::state::RuleAlertState;

    const LOOKBACK: Duration = Duration::from_secs(300);

    /// The fate of an alert of instance `a`, whose series have as their last samples what `series`
    /// says: name, instance, value, seconds ago.
    #[track_caller]
    fn check(expression: &str, series: &[(&str, &str, f64, i64)], restored: bool, expected: Fate) {
        check_for(expression, series, restored, expected, LOOKBACK);
    }

    /// The same, where a sample counts for as long as `lookback`.
    #[track_caller]
    fn check_for(
        expression: &str,
        series: &[(&str, &str, f64, i64)],
        restored: bool,
        expected: Fate,
        lookback: Duration,
    ) {
        let storage = Storage::in_memory(Options::default());
        let now = Timestamp::from_millis(100_000_000);
        for (name, instance, value, ago) in series {
            let labels =
                Labels::from_pairs([("__name__", *name), ("instance", instance), ("job", "j")]);
            let series = storage.series(&labels).unwrap();
            let timestamp = Timestamp::from_millis(now.millis() - ago * 1000);
            storage.append(&[Point { series, timestamp, value: *value }]).unwrap();
        }
        let own = Labels::from_pairs([("instance", "a"), ("job", "j")]);
        let active = Active {
            labels: own.with("alertname", "x"),
            annotations: BTreeMap::new(),
            value: 1.0,
            state: RuleAlertState::Firing,
            active_at: now,
            fired_at: Some(now),
            keep_since: None,
            stale_since: None,
            restored,
        };
        let query = Query::new(expression).unwrap();
        let inputs = Inputs::read(&query, &storage, now, lookback).unwrap();
        let targets = Targets::default();
        let started = Timestamp::from_millis(now.millis() - 3_600_000);
        let fate = inputs.fate(&active, &own, now, Watched { targets: &targets, started });
        assert_eq!(fate, expected, "{expression} {series:?}");
    }

    #[test]
    fn only_fresh_samples_or_a_removed_target_end_an_alert_f41_f42() {
        let (gone, lost, removed) =
            (Ended::Gone.value(), Ended::Lost.value(), Ended::Removed.value());
        check("x > 5", &[("x", "a", 1.0, 10)], false, Fate::Over);
        check("x > 5", &[("x", "a", lost, 10)], false, Fate::Missing);
        check("x > 5", &[("x", "a", gone, 10)], false, Fate::Over);
        check("x > 5", &[("x", "a", removed, 10)], false, Fate::Removed);
        // A target that did not answer any more when it was removed.
        let removed = ("up", "a", removed, 5);
        check("x > 5", &[("x", "a", lost, 10), removed], false, Fate::Removed);
        check("x > 5", &[("x", "a", lost, 10), ("up", "a", 0.0, 5)], false, Fate::Missing);
        check("x > 5", &[("x", "a", lost, 10), ("up", "b", 0.0, 5), removed], true, Fate::Removed);
        // Nothing for longer than a sample counts, and no word why.
        check("x > 5", &[("x", "a", 9.0, 400)], false, Fate::Missing);
        // Another instance's series say nothing of this one.
        check("x > 5", &[("x", "a", 1.0, 10), ("x", "b", lost, 10)], false, Fate::Over);
        check("x > 5", &[("x", "b", 1.0, 10), ("x", "a", lost, 10)], false, Fate::Missing);
        // One input that is lost is enough.
        check("x / y > 5", &[("x", "a", 1.0, 10), ("y", "a", lost, 10)], false, Fate::Missing);
        check("sum(x) > 5", &[("x", "a", 1.0, 10), ("x", "a", 1.0, 9)], false, Fate::Over);
        check("rate(x[5m]) > 5", &[("x", "a", lost, 10)], false, Fate::Missing);
        check("absent(x)", &[("x", "a", 1.0, 10)], false, Fate::Over);
        check("vector(1) > 2", &[], false, Fate::Over);
        check("x > 5", &[], false, Fate::Over);
        check(
            "x offset 1h > 5",
            &[("x", "a", lost, 3605), ("x", "a", 1.0, 5)],
            false,
            Fate::Missing,
        );
        check("x offset 1h > 5", &[("x", "a", 1.0, 3605), ("x", "a", lost, 5)], false, Fate::Over);
    }

    #[test]
    fn after_a_restart_no_trace_is_not_an_end() {
        check("x > 5", &[("y", "a", 1.0, 10)], true, Fate::Removed);
        check("x > 5", &[("x", "a", 1.0, 10)], true, Fate::Over);
    }

    #[test]
    fn samples_from_before_a_restart_end_nothing_that_was_there_before_g3() {
        // We were started an hour ago; a sample counts for two.
        let check = |expression, ago, restored, expected| {
            check_for(expression, &[("x", "a", 1.0, ago)], restored, expected, LOOKBACK * 24);
        };
        check("x > 5", 3605, true, Fate::Missing);
        check("x > 5", 3605, false, Fate::Over);
        check("x > 5", 3600, true, Fate::Over);
        check("sum(x) > 5", 3605, true, Fate::Missing);
        // What it was like then is asked.
        check("x offset 1h > 5", 3605, true, Fate::Over);
        check_for(
            "x > 5",
            &[("x", "a", 1.0, 3605), ("x", "a", 1.0, 10)],
            true,
            Fate::Over,
            LOOKBACK,
        );
        let others = [("x", "a", 1.0, 10), ("x", "b", 1.0, 3605)];
        check_for("x > 5", &others, true, Fate::Over, LOOKBACK * 24);
    }
}
