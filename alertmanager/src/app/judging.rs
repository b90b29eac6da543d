//! Rules, dispatch and lanes of the configuration that is in use, and how another takes their place.
//!
//! Invariant: a message goes out by one lane at a time: that of a new configuration begins when the
//! one before has ended.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::clock::SteadyClock;
use base::labels::Labels;
use base::sample::Timestamp;
use base::supervisor::Supervisor;
use tracing::info;

use super::first_round::{Start, Wanted};

use crate::alerts::{Alert, Alerts, Ending};
use crate::config::{Config, WATCHDOG};
use crate::crash;
use crate::disk::Disk;
use crate::dispatch::{AskDispatch, Dispatcher};
use crate::escalation::Escalations;
use crate::hygiene::KeeperParts;
use crate::mute::Mutes;
use crate::news::News;
use crate::notify::{Gate, LaneRunner, LaneStates, NotifyMetrics, Recheck};
use crate::outbox::Outbox;
use crate::own_alerts::{self, OwnAlerts, Storm};
use crate::pushed::Pushed;
use crate::remote_store::Elsewhere;
use crate::rules::{OnMissing, RuleGroup, RuleMetrics, RuleRunner, Rules, Sources, taken_over};
use crate::safe_mode::SafeMode;
use crate::state::State;

/// How long evaluations that are under way have to end at a reload; a message that is on its way to
/// arrive before another lane takes over.
const JUDGING_GRACE: Duration = Duration::from_secs(10);
const DELIVERY_GRACE: Duration = Duration::from_secs(22);
/// The same when we end: all of it within ten seconds (F51). A message that is cut off is sent again
/// after the next start, under the same id.
const LAST_JUDGING: Duration = Duration::from_secs(2);
const LAST_DELIVERY: Duration = Duration::from_secs(4);

/// What runs for the configuration, and what it is made with.
pub(super) struct Judging {
    /// The scope around that of rules and dispatch.
    pub(super) around: Supervisor,
    /// The scope of rules and dispatch.
    pub(super) scope: Supervisor,
    /// The scope around all lanes.
    pub(super) delivering: Supervisor,
    /// The scope of each lane.
    pub(super) lanes: HashMap<String, Supervisor>,
    pub(super) sources: Sources,
    /// What becomes of alerts whose data are missing, where the configuration says nothing.
    pub(super) on_missing: OnMissing,
    pub(super) state: State,
    pub(super) outbox: Outbox,
    pub(super) questions: AskDispatch,
    /// The dispatcher while it does not run: a reload goes on with its groups.
    pub(super) dispatcher: Arc<Mutex<Option<Dispatcher>>>,
    pub(super) alerts: Alerts,
    pub(super) mutes: Mutes,
    pub(super) escalations: Escalations,
    pub(super) pushed: Pushed,
    pub(super) rules: Rules,
    pub(super) news: News,
    pub(super) lane_states: LaneStates,
    pub(super) rule_metrics: RuleMetrics,
    pub(super) notify_metrics: NotifyMetrics,
    pub(super) storm: Arc<Mutex<Storm>>,
    pub(super) disk: Disk,
    /// Whether nothing is judged, and why.
    pub(super) safe: Option<SafeMode>,
    pub(super) start: Start,
    pub(super) clock: SteadyClock,
}

impl Judging {
    /// Ends what runs and starts what `config` wants; nobody evaluated for `blind`.
    ///
    /// # Errors
    ///
    /// The state failed. Nothing is judged or told then: call it again.
    pub(super) async fn take_over(
        &mut self,
        config: &Config,
        blind: Duration,
    ) -> anyhow::Result<()> {
        self.scope.shutdown(JUDGING_GRACE).await;
        self.lanes.values().for_each(|lane| lane.stop_token().cancel());
        crash::point("reload.stopped");
        self.scope = self.around.child();
        self.sources.external_labels = config.external_labels.clone();
        self.sources.on_missing = config.on_missing.unwrap_or(self.on_missing);
        self.sources.elsewhere = config.store.clone().and_then(Elsewhere::here);
        let now = self.clock.believed();
        self.reconcile(&config.groups, blind, now).await?;
        crash::point("reload.reconciled");
        let alerts = self.alerts.unsorted();
        self.mutes.set_rules(config.inhibit_rules.clone(), alerts.iter().map(AsRef::as_ref));
        self.mutes.maintenance.set_windows(config.windows.clone());
        self.start_dispatch(config, now).await?;
        crash::point("reload.adopted");
        self.start_keeping(config, blind);
        self.start_lanes(config);
        for group in config.groups.iter().filter(|_| self.safe.is_none()) {
            self.start_group(Arc::clone(group), blind);
        }
        self.start_own_alerts(config, now);
        self.watch_first_round(config);
        crash::point("reload.done");
        Ok(())
    }

    /// Puts the alerts in order before anybody looks at them: those that fire by the rules that
    /// there are now fire, the others have ended with their rule.
    async fn reconcile(
        &self,
        groups: &[Arc<RuleGroup>],
        blind: Duration,
        now: Timestamp,
    ) -> anyhow::Result<()> {
        let mut stored = self.state.rule_alerts().await?;
        let (moved, mut left) = taken_over(groups, &mut stored);
        let mut firing: Vec<Alert> = Vec::new();
        let mut views = Vec::with_capacity(groups.len());
        for group in groups {
            let state = group.restore(&stored, blind);
            firing.extend(group.firing(&state, &self.sources));
            views.push(group.view(&state, None));
        }
        // Nobody looks whether it still holds.
        if let Some(safe) = &self.safe {
            firing
                .iter_mut()
                .for_each(|alert| alert.stale_since = alert.stale_since.or(Some(safe.since)));
        }
        let known: HashSet<&str> = groups.iter().flat_map(|group| group.alerting_ids()).collect();
        let gone: Vec<_> = stored.iter().filter(|row| !known.contains(row.rule.as_str())).collect();
        let fires: HashSet<Labels> = firing.iter().map(|alert| alert.labels.clone()).collect();
        let fired = gone.iter().filter(|row| row.fired_at.is_some());
        let fired = fired.map(|row| self.sources.stored_alert(row));
        let shown = self.alerts.of_rules().into_iter();
        let ended: Vec<Alert> = fired
            .chain(shown.map(|alert| Alert::clone(&alert)))
            .filter(|alert| !fires.contains(&alert.labels))
            .map(|alert| Alert { ended: Some((now, Ending::RuleRemoved)), ..alert })
            .collect();
        for alert in &ended {
            info!(alert = %alert.labels, "an alert ends: its rule is no longer configured");
        }
        self.alerts.put(firing.into_iter().chain(ended));
        self.rules.replace(views);
        left.extend(gone.into_iter().map(|row| (row.rule.clone(), row.labels.clone())));
        self.state.keep_rule_alerts(&moved, &left).await;
        Ok(())
    }

    async fn start_dispatch(&self, config: &Config, now: Timestamp) -> anyhow::Result<()> {
        let (route, lanes) = (config.route.clone(), config.lanes.clone());
        let fallbacks = config.receivers.fallbacks().clone();
        let (alerts, outbox, mutes) =
            (self.alerts.clone(), self.outbox.clone(), self.mutes.clone());
        let (questions, escalations) = (self.questions.clone(), self.escalations.clone());
        let make = {
            let (route, lanes, fallbacks) = (route.clone(), lanes.clone(), fallbacks.clone());
            move |now| {
                let (alerts, outbox, mutes) = (alerts.clone(), outbox.clone(), mutes.clone());
                Dispatcher::new(route.clone(), lanes.clone(), alerts, outbox, mutes, now)
                    .answering(questions.clone())
                    .escalating(escalations.clone())
                    .with_fallbacks(fallbacks.clone())
            }
        };
        let lock = |slot: &Mutex<Option<Dispatcher>>| {
            slot.lock().unwrap_or_else(PoisonError::into_inner).take()
        };
        let mut first = match lock(&self.dispatcher) {
            Some(before) => before.reconfigured(route, lanes, fallbacks, now),
            None => make(now),
        };
        // What is no longer to be told is withdrawn before a lane begins.
        first.adopt().await?;
        let slot = Arc::clone(&self.dispatcher);
        *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(first);
        let (make, clock) = (Arc::new(make), self.clock.clone());
        self.scope.supervise("dispatch", move |stop| {
            let (slot, make, clock) = (Arc::clone(&slot), Arc::clone(&make), clock.clone());
            async move {
                let dispatcher = match lock(&slot) {
                    Some(dispatcher) => dispatcher,
                    // The one before has failed.
                    None => {
                        let mut again = make(clock.believed());
                        again.adopt().await?;
                        again
                    }
                };
                let ended = dispatcher.run(clock, stop).await?;
                *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(ended);
                Ok(())
            }
        });
        Ok(())
    }

    /// Looks after silences and windows of maintenance.
    fn start_keeping(&self, config: &Config, blind: Duration) {
        let parts = KeeperParts {
            settings: config.hygiene.clone(),
            route: Arc::new(config.route.clone()),
            lanes: config.lanes.clone(),
            alerts: self.alerts.clone(),
            pushed: self.pushed.clone(),
            mutes: self.mutes.clone(),
            outbox: self.outbox.clone(),
            storage: Arc::clone(&self.sources.storage),
            state: self.state.clone(),
            external_url: Arc::clone(&self.sources.external_url),
        };
        let clock = self.clock.clone();
        self.scope.supervise("keeper", move |stop| parts.clone().run(blind, clock.clone(), stop));
    }

    fn start_lanes(&mut self, config: &Config) {
        let receivers = &config.receivers;
        let mut before = std::mem::take(&mut self.lanes);
        self.lane_states.set_lanes(receivers.notifiers().map(|(lane, _)| lane.to_owned()));
        for (lane, notifier) in receivers.notifiers() {
            let runner = LaneRunner {
                lane: lane.to_owned(),
                notifier: Arc::clone(notifier),
                timeout: receivers.timeout(lane),
                gate: self.gate(lane, config),
                recheck: Some(self.recheck()),
                outbox: self.outbox.clone(),
                states: self.lane_states.clone(),
                metrics: self.notify_metrics.clone(),
                external_url: Arc::clone(&self.sources.external_url),
            };
            let (old, scope) = (before.remove(lane), self.delivering.child());
            let clock = self.clock.clone();
            scope.supervise("deliver", move |stop| {
                let (old, runner, clock) = (old.clone(), runner.clone(), clock.clone());
                async move {
                    if let Some(old) = old {
                        old.shutdown(DELIVERY_GRACE).await;
                    }
                    runner.run(clock, stop).await
                }
            });
            self.lanes.insert(lane.to_owned(), scope);
        }
        for old in before.into_values() {
            self.delivering.spawn("retire", async move { old.shutdown(DELIVERY_GRACE).await });
        }
    }

    /// A message about something that was silenced since must not leave, nor one that is sent for want of
    /// an answer once there is one (F20).
    fn recheck(&self) -> Recheck {
        let (silences, escalations) = (self.mutes.silences.clone(), self.escalations.clone());
        Recheck::new(move |due, now| {
            if due.flush.answer.is_missing && escalations.is_acknowledged(&due.key.group_key) {
                return true;
            }
            let mut firing = due.flush.alerts.iter().filter(|alert| alert.is_firing());
            firing.any(|alert| !silences.silenced_by(&alert.labels, now).is_empty())
        })
    }

    /// What must be well for a lane to hand anything over: everything, for the watchdog.
    fn gate(&self, lane: &str, config: &Config) -> Option<Gate> {
        let watchdog = config.watchdog.clone()?;
        if lane.split('/').next() != Some(WATCHDOG) {
            return None;
        }
        let (states, rules) = (self.lane_states.clone(), self.rules.clone());
        let safe = self.safe.as_ref().map(SafeMode::summary);
        let disk = self.disk.clone();
        let patience = watchdog.interval * 2;
        Some(Gate::new(move |now| {
            let lanes = states.all().into_iter().filter(|(lane, _)| {
                let receiver = lane.split('/').next().unwrap_or(lane);
                receiver != WATCHDOG && !watchdog.despite.iter().any(|name| name == receiver)
            });
            // What is only in memory is not well, although nobody waits for it.
            let ill = || own_alerts::why_not_well(lanes, &rules.all(), patience, now);
            safe.clone().or_else(ill).or_else(|| disk.fault().map(|fault| fault.why))
        }))
    }

    fn start_group(&self, group: Arc<RuleGroup>, blind: Duration) {
        let runner = RuleRunner {
            group,
            sources: self.sources.clone(),
            state: self.state.clone(),
            alerts: self.alerts.clone(),
            rules: self.rules.clone(),
            news: self.news.clone(),
            metrics: self.rule_metrics.clone(),
            clock: self.clock.clone(),
            blind,
            told: Arc::default(),
        };
        // Started again after a failure, it has not been blind.
        let first = Arc::new(AtomicBool::new(true));
        self.scope.supervise("rules", move |stop| {
            let mut runner = runner.clone();
            if !first.swap(false, Ordering::Relaxed) {
                runner.blind = Duration::ZERO;
            }
            runner.run(stop)
        });
    }

    fn start_own_alerts(&self, config: &Config, now: Timestamp) {
        let own_alerts = OwnAlerts {
            states: self.lane_states.clone(),
            outbox: self.outbox.clone(),
            rules: self.rules.clone(),
            targets: self.sources.targets.clone(),
            pushed: self.pushed.clone(),
            mutes: self.mutes.clone(),
            storm: Arc::clone(&self.storm),
            disk: self.disk.clone(),
            safe: self.safe.clone(),
            clock: self.clock.clone(),
            behind: Duration::ZERO,
            alerts: self.alerts.clone(),
            fallbacks: config.receivers.fallbacks().clone(),
            started: now,
        };
        self.scope.supervise("own alerts", move |stop| own_alerts.clone().run(stop));
    }

    /// What is to be looked at in the first round.
    pub(super) fn wanted(&self, config: &Config) -> Wanted {
        if self.safe.is_some() { Wanted::nothing() } else { Wanted::of(config) }
    }

    /// The first round goes on over a reload.
    fn watch_first_round(&self, config: &Config) {
        let (start, wanted) = (self.start.clone(), self.wanted(config));
        if !start.round.is_over() {
            self.scope
                .supervise("first round", move |stop| start.clone().watch(wanted.clone(), stop));
        }
    }

    /// Ends everything; what was not delivered stays in the outbox.
    pub(super) async fn stop(&mut self) {
        self.scope.shutdown(LAST_JUDGING).await;
        self.delivering.shutdown(LAST_DELIVERY).await;
    }
}
