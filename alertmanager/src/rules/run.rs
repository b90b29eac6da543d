//! The loop of a group.
//!
//! Invariant: the times at which a group is evaluated are multiples of its interval, moved by a
//! share of it that depends on its name: the same after every restart, and spread over all groups.
//! News are judged between them ([`early`]): what fails is told at once, and what changes all the time
//! costs no more than four times as much.

mod early;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::clock::{SteadyClock, Stopwatch};
use base::labels::Labels;
use base::own_metrics::{HistogramVec, IntCounterVec, OwnMetrics};
use base::sample::Timestamp;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use self::early::Early;
use super::flapping::Flapping;
use super::group::{GroupState, RuleGroup, Sources};
use super::view::Rules;
use crate::alerts::{Alert, Alerts, Ending};
use crate::news::News;
use crate::state::State;

/// A timer that is later than this was not only slow: the machine slept, we were stopped, or the
/// clock was set ahead.
const PAUSE: Duration = Duration::from_secs(10);

/// Counters of judging.
#[derive(Clone, Debug)]
pub struct RuleMetrics {
    evaluations: IntCounterVec,
    duration: HistogramVec,
    late: IntCounterVec,
    early: IntCounterVec,
}

impl RuleMetrics {
    /// Adds them to `metrics`.
    pub fn new(metrics: &OwnMetrics) -> Self {
        Self {
            evaluations: metrics.counters(
                "veilleur_rule_evaluations_total",
                "Evaluations of rules, by group and whether they gave a result.",
                &["group", "result"],
            ),
            duration: metrics.seconds_by(
                "veilleur_rule_group_duration_seconds",
                "How long evaluating all rules of a group took.",
                &["group"],
            ),
            late: metrics.counters(
                "veilleur_rule_group_late_total",
                "Evaluations of groups that did not happen because the one before took too long.",
                &["group"],
            ),
            early: metrics.counters(
                "veilleur_rule_group_early_total",
                "Evaluations of groups before their time, because something failed or recovered.",
                &["group"],
            ),
        }
    }
}

/// Evaluates a group at its interval.
#[derive(Clone, Debug)]
pub struct RuleRunner {
    /// The group.
    pub group: Arc<RuleGroup>,
    /// What it reads and writes.
    pub sources: Sources,
    /// Where timers are kept.
    pub state: State,
    /// Where alerts go.
    pub alerts: Alerts,
    /// Where people see it.
    pub rules: Rules,
    /// What it does not wait to see.
    pub news: News,
    /// Counters.
    pub metrics: RuleMetrics,
    /// The times of evaluations: those of samples.
    pub clock: SteadyClock,
    /// How long nobody evaluated before this start.
    pub blind: Duration,
    /// The alerts that it last said fire: what it goes on from where it fails and is started again.
    pub told: Arc<Mutex<HashSet<Labels>>>,
}

impl RuleRunner {
    /// Evaluates until `stop`.
    ///
    /// # Errors
    ///
    /// The state failed, or an evaluation did so badly that its thread ended; started again, it
    /// goes on from the state.
    pub async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        self.sources.stop = stop.clone();
        let stored = self.state.rule_alerts().await?;
        let mut state = self.group.restore(&stored, self.blind);
        self.go_on(self.group.firing(&state, &self.sources), self.clock.now());
        // There from the start, so that the first late evaluation is a rise.
        self.metrics.late.with_label_values(&[self.group.name()]);
        let mut news = self.news.listen(self.group.listens_to());
        let mut planned = self.next_tick(self.clock.now());
        let mut early = Early::default();
        let mut flapping = Flapping::default();
        loop {
            let now = self.clock.now();
            let at = early.next(planned);
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = sleep(at.since(now)) => {}
                () = news.wait(), if early.listens() => {
                    early.hear(self.clock.now());
                    continue;
                }
            }
            let late = self.clock.now().since(at);
            if late > self.group.interval().duration() * 3 && late > PAUSE {
                planned = self.resume(&mut state, late).await?;
                early.rest_until(planned);
                continue;
            }
            news.caught_up();
            state = self.evaluate(state, &mut flapping, at).await?;
            if early.judge(at, planned, self.group.interval().duration()) {
                self.metrics.early.with_label_values(&[self.group.name()]).inc();
                continue;
            }
            let next = self.next_tick(self.clock.now());
            let missed = next.since(planned).as_millis() / self.interval_millis() as u128;
            if missed > 1 {
                let group = self.group.name();
                self.metrics.late.with_label_values(&[group]).inc_by(missed as u64 - 1);
                warn!(
                    group,
                    missed = missed - 1,
                    "evaluations are left out: the one before took too long"
                );
            }
            planned = next;
        }
    }

    /// Says what fires by the state, and that what else was said to fire has ended: what was saved last
    /// may not have been said, or was held back because it flapped.
    fn go_on(&self, firing: Vec<Alert>, now: Timestamp) {
        let told = std::mem::take(&mut *self.lock_told());
        let fires: HashSet<&Labels> = firing.iter().map(|alert| &alert.labels).collect();
        let left = told.iter().filter(|labels| !fires.contains(labels));
        let known = left.filter_map(|labels| self.alerts.get(labels));
        let ended: Vec<Alert> = known
            .filter(|alert| alert.is_firing())
            .map(|alert| Alert { ended: Some((now, Ending::Resolved)), ..Alert::clone(&alert) })
            .collect();
        self.say(firing.into_iter().chain(ended).collect());
    }

    fn say(&self, alerts: Vec<Alert>) {
        let mut told = self.lock_told();
        for alert in &alerts {
            match alert.is_firing() {
                true => told.insert(alert.labels.clone()),
                false => told.remove(&alert.labels),
            };
        }
        drop(told);
        self.alerts.put(alerts);
    }

    fn lock_told(&self) -> MutexGuard<'_, HashSet<Labels>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes on after nobody evaluated for `pause`: that time does not count for `for` (F26). Returns
    /// when the next evaluation is: after targets were scraped again.
    async fn resume(&self, state: &mut GroupState, pause: Duration) -> anyhow::Result<Timestamp> {
        warn!(group = self.group.name(), ?pause, "nobody evaluated: this time does not count");
        let waiting = self.group.credit(state, pause);
        self.state.keep_rule_alerts(&waiting, &[]).await;
        Ok(self.next_tick(self.clock.now()) + self.group.interval().duration())
    }

    /// One evaluation, everything that it changed made durable, and then told.
    async fn evaluate(
        &self,
        mut state: GroupState,
        flapping: &mut Flapping,
        now: Timestamp,
    ) -> anyhow::Result<GroupState> {
        let watch = Stopwatch::start();
        let (group, sources) = (Arc::clone(&self.group), self.sources.clone());
        // Off the runtime's threads: an expensive expression must not hold up anything else.
        let (state, evaluation) = tokio::task::spawn_blocking(move || {
            let evaluation = group.evaluate(&mut state, now, &sources);
            (state, evaluation)
        })
        .await?;
        self.state.keep_rule_alerts(&evaluation.stored, &evaluation.ended).await;
        self.say(flapping.pass(evaluation.alerts, now));
        // What was cut short says nothing of its rule.
        if evaluation.failed > 0 && self.sources.stop.is_cancelled() {
            return Ok(state);
        }
        self.rules.set(self.group.view(&state, Some(now)));
        let name = self.group.name();
        let good = self.group.len() - evaluation.failed;
        self.metrics.evaluations.with_label_values(&[name, "ok"]).inc_by(good as u64);
        self.metrics
            .evaluations
            .with_label_values(&[name, "failed"])
            .inc_by(evaluation.failed as u64);
        self.metrics.duration.with_label_values(&[name]).observe(watch.seconds());
        Ok(state)
    }

    fn interval_millis(&self) -> i64 {
        i64::try_from(self.group.interval().millis()).unwrap_or(i64::MAX).max(1)
    }

    /// The first time after `now` that is the group's.
    fn next_tick(&self, now: Timestamp) -> Timestamp {
        let names = [("file", self.group.file()), ("group", self.group.name())];
        let interval = self.interval_millis();
        let phase = (Labels::from_pairs(names).fingerprint() % interval as u64) as i64;
        let since = (now.millis() - phase).rem_euclid(interval);
        Timestamp::from_millis(now.millis() - since + interval)
    }
}

#[cfg(test)]
mod tests;
