//! Watches over the first round after a start, and says when it is over (F09).
//!
//! Invariant: it is over at its bound at the latest, however the clock is set: the bound is measured.

use std::sync::Arc;
use std::time::Duration;

use base::clock::{SteadyClock, Stopwatch};
use base::sample::Timestamp;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::Config;
use crate::mute::{FirstRound, Round};
use crate::pushed::Pushed;
use crate::rules::{BUILTIN_FILE, RuleGroup, Rules};
use crate::scrape::Targets;

/// The longest that targets and rules are waited for, however long their intervals are.
const MOST: Duration = Duration::from_secs(5 * 60);
/// For what is on time to come first.
const MARGIN: Duration = Duration::from_secs(2);
/// How long those who push are waited for: Prometheus pushes again after a minute, at the next
/// evaluation of its rules.
const PUSHED_AGAIN: Duration = Duration::from_secs(75);
/// How often it looks.
const OFTEN: Duration = Duration::from_millis(100);
/// How often it looks at what was pushed, all of it.
const RARELY: Duration = Duration::from_secs(1);

/// The start, and those who know how far the round is.
#[derive(Clone, Debug)]
pub(super) struct Start {
    pub(super) round: FirstRound,
    pub(super) targets: Targets,
    pub(super) rules: Rules,
    pub(super) clock: SteadyClock,
    pub(super) pushed: Pushed,
    /// Whether something that was pushed fired when we were started.
    pub(super) had_pushed: bool,
    /// When we were started, and how long ago.
    pub(super) at: Timestamp,
    pub(super) since: Stopwatch,
}

/// What has to be looked at, by the configuration that is in use.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// By then all targets were scraped and all rules evaluated, if nothing is late.
    within: Duration,
    has_targets: bool,
    /// Their files and names.
    groups: Vec<(String, String)>,
}

impl Wanted {
    /// Nothing: nobody looks.
    pub(super) fn nothing() -> Self {
        Self { within: MARGIN, has_targets: false, groups: Vec::new() }
    }

    pub(super) fn of(config: &Config) -> Self {
        let has_targets = !config.jobs.is_empty();
        // The built-in rules are about targets.
        let counts = |group: &&Arc<RuleGroup>| has_targets || group.file() != BUILTIN_FILE;
        let groups: Vec<_> = config.groups.iter().filter(counts).collect();
        let scraped = config.jobs.iter().map(|job| job.seen_within()).max();
        let judged = groups.iter().map(|group| group.interval().duration()).max();
        let within = scraped.unwrap_or_default() + judged.unwrap_or_default();
        let named = |group: &&Arc<RuleGroup>| (group.file().to_owned(), group.name().to_owned());
        Self {
            within: (within + MARGIN).min(MOST),
            has_targets,
            groups: groups.iter().map(named).collect(),
        }
    }
}

impl Start {
    /// Begins the round; `again` where we ran before, so that somebody may have tried to push
    /// something while we were away.
    pub(super) fn begin(&self, wanted: &Wanted, again: bool) {
        let again = again || self.had_pushed;
        self.round.begin(Round {
            judged_by: self.at + wanted.within,
            pushed_by: again.then(|| self.at + PUSHED_AGAIN),
            pushed: self.pushed.clone(),
        });
        if !wanted.has_targets && wanted.groups.is_empty() {
            self.round.judged();
        }
    }

    /// Looks until the round is over, or until `stop`.
    pub(super) async fn watch(self, wanted: Wanted, stop: CancellationToken) -> anyhow::Result<()> {
        let mut seen_at = (!wanted.has_targets).then_some(self.at);
        let mut looked_at_pushed = Duration::ZERO;
        while !self.round.is_over() {
            let elapsed = self.since.elapsed();
            if seen_at.is_none() && self.targets.were_all_seen() {
                seen_at = Some(self.clock.now());
            }
            if self.round.awaits_judging() {
                if seen_at.is_some_and(|at| self.were_evaluated(&wanted.groups, at)) {
                    info!(after = ?elapsed, "every target was scraped and every rule evaluated once");
                    self.round.judged();
                } else if elapsed >= wanted.within {
                    warn!(
                        after = ?elapsed,
                        "not every target was scraped and every rule evaluated yet; what an \
                         inhibit rule could hold back waits no longer"
                    );
                    self.round.judged();
                }
            }
            if self.round.awaits_pushes() && elapsed >= looked_at_pushed {
                looked_at_pushed = elapsed + RARELY;
                let again = || self.pushed.least_fresh().is_none_or(|at| at >= self.at);
                if elapsed >= PUSHED_AGAIN || self.had_pushed && again() {
                    self.round.pushed_again();
                }
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = sleep(OFTEN) => {}
            }
        }
        Ok(())
    }

    /// Whether each of `groups` was evaluated at or after `at`.
    fn were_evaluated(&self, groups: &[(String, String)], at: Timestamp) -> bool {
        let views = self.rules.all();
        groups.iter().all(|(file, name)| {
            let mut views = views.iter().filter(|view| view.file == *file && view.name == *name);
            views.any(|view| view.evaluated_at.is_some_and(|evaluated| evaluated >= at))
        })
    }
}
