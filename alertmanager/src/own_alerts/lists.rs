//! Lists of targets that have become old, as alerts.
//!
//! Invariant: one alert a job at most, about the oldest of its lists.

use base::period::Period;
use base::sample::Timestamp;

use super::faults::{Fault, PATIENCE};
use crate::scrape::SourceState;

/// How many times a service may have failed to answer.
const INTERVALS: u32 = 3;

/// What is wrong with the services that a job asks for targets: the last good list of one is older than
/// three of its intervals (F55). Where there never was one, it is as old as we are.
pub(super) fn of_job(
    job: &str,
    sources: &[SourceState],
    started: Timestamp,
    now: Timestamp,
) -> Option<Fault> {
    let good_at = |state: &SourceState| state.good_at.unwrap_or(started).max(started);
    let is_old = |state: &&SourceState| {
        let patience = state.pause.saturating_mul(INTERVALS).max(PATIENCE);
        !state.error.is_empty() && now.since(good_at(state)) > patience
    };
    let oldest = sources.iter().filter(is_old).min_by_key(|state| good_at(state))?;
    let since = good_at(oldest);
    let age = Period::from_secs(now.since(since).as_secs() / 60 * 60);
    let summary =
        format!("the list of targets of the job `{job}` is old: what is new is not scraped");
    let text = format!(
        "`{}` has named no targets for {age}; {} of the last time are scraped: {}",
        oldest.kind, oldest.targets, oldest.error
    );
    Some(Fault::new("TargetListOld", "warning", &[("scrape_job", job)], [summary, text], since))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_list_that_is_older_than_three_intervals_is_told_f55() {
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
        let state = |good_at: Option<i64>, error: &str, pause: u64| SourceState {
            kind: "http",
            good_at: good_at.map(at),
            error: error.to_owned(),
            targets: 2,
            pause: Duration::from_secs(pause),
        };
        let cases = [
            (vec![], 1000, None),
            (vec![state(Some(0), "", 60)], 1000, None),
            (vec![state(Some(0), "500", 60)], 180, None),
            (vec![state(Some(0), "500", 60)], 181, Some(0)),
            // Not sooner than other faults of ours are told.
            (vec![state(Some(0), "500", 1)], 60, None),
            (vec![state(Some(0), "500", 1)], 61, Some(0)),
            (vec![state(None, "500", 60)], 181, Some(0)),
            (vec![state(Some(50), "500", 1), state(Some(20), "no", 1)], 200, Some(20)),
        ];
        for (sources, now, expected) in cases {
            let fault = of_job("web", &sources, at(0), at(now));
            let since = fault.as_ref().map(|fault| fault.since.millis() / 1000);
            assert_eq!(since, expected, "{sources:?} {now}");
        }
        let fault = of_job("web", &[state(Some(0), "status 500", 60)], at(0), at(200)).unwrap();
        let text = "`http` has named no targets for 3m; 2 of the last time are scraped: status 500";
        assert_eq!(fault.annotations["description"], text);
    }
}
