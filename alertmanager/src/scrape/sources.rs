//! The services that are asked for targets, as the jobs of now name them.
//!
//! Invariant: what two jobs ask alike is asked once, and goes on over a reload.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::clock::SteadyClock;
use base::own_metrics::{IntGaugeVec, OwnMetrics};
use base::supervisor::Supervisor;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::config::Job;
use super::targets::SourceState;
use crate::discovery::{self, Found, Source, State};

/// Gauges of discovery.
#[derive(Clone, Debug)]
pub(super) struct SourceMetrics {
    good_at: IntGaugeVec,
    targets: IntGaugeVec,
    failures: IntGaugeVec,
}

impl SourceMetrics {
    pub(super) fn new(metrics: &OwnMetrics) -> Self {
        let gauges = |name, help| metrics.gauges(name, help, &["job", "kind", "source"]);
        Self {
            good_at: gauges(
                "veilleur_discovery_last_success_timestamp_seconds",
                "When a service last named its targets; 0 before the first time.",
            ),
            targets: gauges(
                "veilleur_discovery_targets",
                "How many targets a service names, before relabelling.",
            ),
            failures: gauges(
                "veilleur_discovery_failures",
                "How often a service was asked and did not answer, or not rightly.",
            ),
        }
    }
}

/// The services that are asked.
#[derive(Default)]
pub(super) struct Asking {
    running: Vec<Running>,
    wake: Arc<Notify>,
    seen: u64,
}

struct Running {
    source: Source,
    found: Found,
    stop: CancellationToken,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Asking {
    /// Asks what `jobs` name, and nothing else any more.
    pub(super) fn adjust(&mut self, jobs: &[Job], clock: &SteadyClock, supervisor: &Supervisor) {
        let wanted = || jobs.iter().flat_map(|job| &job.sources);
        self.running.retain(|running| wanted().any(|source| *source == running.source));
        for source in wanted() {
            if self.found(source).is_none() {
                let (found, stop) = (Found::default(), supervisor.stop_token().child_token());
                let wake = Arc::clone(&self.wake);
                let task = discovery::run(
                    source.clone(),
                    found.clone(),
                    wake,
                    clock.clone(),
                    stop.clone(),
                );
                supervisor.spawn("discovery", task);
                self.running.push(Running { source: source.clone(), found, stop });
            }
        }
    }

    /// Whether some list is another one than when it was last asked.
    pub(super) fn has_changed(&mut self) -> bool {
        let now = self.running.iter().map(|running| running.found.version()).sum();
        std::mem::replace(&mut self.seen, now) != now
    }

    /// Waits until some list may be another one.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// What each of the sources of `job` has named.
    pub(super) fn of<'a>(&'a self, job: &'a Job) -> impl Iterator<Item = (&'a Source, State)> {
        let found = |source| self.found(source).map(Found::state).unwrap_or_default();
        job.sources.iter().map(move |source| (source, found(source)))
    }

    /// Whether each of the sources of `job` has answered once, well or badly.
    pub(super) fn has_answered(&self, job: &Job) -> bool {
        let answered = |source| self.found(source).is_some_and(|found| found.version() > 0);
        job.sources.iter().all(answered)
    }

    /// How every source of `jobs` is, for people and as gauges.
    pub(super) fn show(
        &self,
        jobs: &[Job],
        metrics: &SourceMetrics,
    ) -> BTreeMap<String, Vec<SourceState>> {
        for gauges in [&metrics.good_at, &metrics.targets, &metrics.failures] {
            gauges.reset();
        }
        let mut shown = BTreeMap::new();
        for job in jobs {
            let mut states = Vec::new();
            for (n, (source, state)) in self.of(job).enumerate() {
                let (kind, targets) = (source.kind(), state.targets.len());
                let number = n.to_string();
                let labels = [job.name.as_str(), kind, number.as_str()];
                let at = state.good_at.map_or(0, |at| at.millis() / 1000);
                metrics.good_at.with_label_values(&labels).set(at);
                metrics.targets.with_label_values(&labels).set(targets as i64);
                metrics.failures.with_label_values(&labels).set(state.failures as i64);
                let (good_at, error) = (state.good_at, state.error);
                let pause = source.pause;
                states.push(SourceState { kind, good_at, error, targets, pause });
            }
            shown.insert(job.name.clone(), states);
        }
        shown
    }

    fn found(&self, source: &Source) -> Option<&Found> {
        let running = self.running.iter().find(|running| running.source == *source);
        running.map(|running| &running.found)
    }
}
