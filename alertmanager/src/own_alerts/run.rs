//! The loop that looks at ourselves, and pushes what is wrong as alerts.
//!
//! Invariant: it owns the time; what is wrong is decided by plain functions of what it looks at.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::clock::SteadyClock;
use base::labels::{ALERT_NAME, Labels};
use base::sample::Timestamp;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::faults::{
    Fault, PATIENCE, SAFE_MODE, dead_rules, of_disk, of_group, of_lane, of_safe_mode,
};
use super::lists::of_job;
use super::storm::{Begun, Seen, Storm};
use crate::alerts::{Alert, Alerts};
use crate::disk::Disk;
use crate::dispatch::Fallbacks;
use crate::mute::{Blind, MONITORING_BLIND, Mutes};
use crate::notify::LaneStates;
use crate::outbox::Outbox;
use crate::pushed::{Push, Pushed};
use crate::rules::Rules;
use crate::safe_mode::SafeMode;
use crate::scrape::{Health, Targets};

/// How often it looks.
const LOOK: Duration = Duration::from_secs(2);
/// A look that is later than this was not only slow.
const PAUSE: Duration = Duration::from_secs(10);
/// How long an alert lasts that is not pushed again, and when it is.
const LASTS: Duration = Duration::from_secs(300);
const AGAIN: Duration = Duration::from_secs(60);

/// What it looks at, and whom it tells.
#[derive(Clone, Debug)]
pub struct OwnAlerts {
    /// How the lanes are doing.
    pub states: LaneStates,
    /// What waits for them.
    pub outbox: Outbox,
    /// How the rules are doing.
    pub rules: Rules,
    /// How the targets are.
    pub targets: Targets,
    /// Takes the alerts.
    pub pushed: Pushed,
    /// Holds others back while most targets do not answer.
    pub mutes: Mutes,
    /// Whether they do not.
    pub storm: Arc<Mutex<Storm>>,
    /// How the data folder is.
    pub disk: Disk,
    /// Whether nothing is judged, and why.
    pub safe: Option<SafeMode>,
    /// What fires: an alert of ours from before this start, too.
    pub alerts: Alerts,
    /// How long each receiver may fail before others hear of its alerts.
    pub fallbacks: Fallbacks,
    /// The time of evaluations.
    pub clock: SteadyClock,
    /// How far that is behind, where the system's clock was set ahead (F25).
    pub behind: Duration,
    /// Since when rules could be evaluated.
    pub started: Timestamp,
}

/// What was pushed, by its labels: the texts, and when.
pub type Told = BTreeMap<Labels, (BTreeMap<String, String>, Timestamp)>;

impl OwnAlerts {
    /// Looks until `stop`.
    ///
    /// # Errors
    ///
    /// None: what the state does not take is pushed at the next look.
    pub async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut told = self.told_before(self.clock.believed());
        while !stop.is_cancelled() {
            let now = self.clock.believed();
            let before = std::mem::replace(&mut self.behind, self.clock.held_back());
            // Evaluations go on at the time that the system's clock has.
            if self.behind < before {
                self.started = now;
            }
            self.step(&mut told, now).await;
            stop.run_until_cancelled(sleep(LOOK)).await;
            let woken = self.clock.believed();
            // Nobody could evaluate while the machine slept (F26).
            if woken.since(now + LOOK) > PAUSE {
                self.started = woken;
            }
        }
        Ok(())
    }

    /// What a start before this one said, which may be over: safe mode, as it was left.
    fn told_before(&self, now: Timestamp) -> Told {
        let is_ours = |alert: &Alert| {
            let label = |name| alert.labels.get(name);
            alert.is_firing()
                && label(ALERT_NAME) == Some(SAFE_MODE)
                && label("job") == Some("veilleur")
        };
        let before = self.alerts.filter(is_ours).into_iter();
        before.map(|alert| (alert.labels.clone(), (alert.annotations.clone(), now))).collect()
    }

    /// Looks at `now`, and pushes what has changed since what was `told`.
    pub async fn step(&self, told: &mut Told, now: Timestamp) {
        let faults = self.faults(now);
        let mut pushes = Vec::new();
        for fault in &faults {
            let known = told
                .get(&fault.labels)
                .is_some_and(|(texts, at)| *texts == fault.annotations && now.since(*at) < AGAIN);
            if !known {
                pushes.push(push(fault.clone(), now + LASTS));
            }
        }
        let over: Vec<Labels> = told
            .keys()
            .filter(|labels| !faults.iter().any(|fault| fault.labels == **labels))
            .cloned()
            .collect();
        for labels in &over {
            let annotations = told.get(labels).map(|(texts, _)| texts.clone()).unwrap_or_default();
            let fault = Fault { labels: labels.clone(), annotations, since: now };
            pushes.push(Push { starts_at: None, ..push(fault, now) });
        }
        if pushes.is_empty() {
            return;
        }
        let noted: Vec<_> =
            pushes.iter().map(|p| (p.labels.clone(), p.annotations.clone())).collect();
        match self.pushed.push(pushes, now, LASTS).await {
            Ok(()) => {
                told.extend(noted.into_iter().map(|(labels, texts)| (labels, (texts, now))));
                over.iter().for_each(|labels| drop(told.remove(labels)));
            }
            Err(error) => error!(%error, "what is wrong with us cannot be told"),
        }
    }

    /// Everything that is wrong at `now`.
    fn faults(&self, now: Timestamp) -> Vec<Fault> {
        let waiting = self.outbox.waiting();
        let mut faults = Vec::new();
        for (lane, state) in self.states.all() {
            let waiting = waiting.get(&lane).copied().unwrap_or_default();
            let receiver = lane.split('/').next().unwrap_or(&lane);
            let fallback = self.fallbacks.get(receiver);
            let patience = fallback.map_or(PATIENCE, |fallback| fallback.after.min(PATIENCE));
            faults.extend(of_lane(&lane, &state, waiting, patience, now));
        }
        faults.extend(self.safe.as_ref().map(of_safe_mode));
        // In safe mode nobody looks, which is told once.
        for group in self.rules.all().into_iter().filter(|_| self.safe.is_none()) {
            faults.extend(of_group(&group, PATIENCE, self.started, now));
            faults.extend(dead_rules(&group));
        }
        for (job, sources) in self.targets.sources() {
            faults.extend(of_job(&job, &sources, self.started, now));
        }
        faults.extend(self.disk.fault().map(of_disk));
        faults.extend(self.blind(now));
        faults
    }

    /// Whether most targets do not answer; then what they would say is held back.
    fn blind(&self, now: Timestamp) -> Option<Fault> {
        let mut targets = Vec::new();
        self.targets.each(|key, health| {
            if health != Health::Unknown {
                targets.push(Seen {
                    key: format!("{} {} {}", key.job, key.labels, key.url),
                    instance: key.labels.get("instance").unwrap_or("").to_owned(),
                    up: health == Health::Up,
                });
            }
        });
        let mut storm = self.storm.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = storm.observe(now, &targets);
        let fault = begun.map(blind_fault);
        let blind = begun.zip(fault.as_ref()).map(|(begun, fault)| Blind {
            alert: fault.labels.clone(),
            instances: begun.instances.clone(),
            pushed: self.pushed.clone(),
        });
        self.mutes.set_blind(blind);
        fault
    }
}

fn blind_fault(begun: &Begun) -> Fault {
    let summary = format!(
        "monitoring is blind: {} of {} targets do not answer any more",
        begun.down, begun.targets
    );
    let text = "they were lost within a minute, so it is rather our network than all of them; \
                alerts about them are held back until most answer again";
    Fault::new(MONITORING_BLIND, "critical", &[], [summary, text.to_owned()], begun.since)
}

fn push(fault: Fault, ends_at: Timestamp) -> Push {
    Push {
        labels: fault.labels,
        annotations: fault.annotations,
        starts_at: Some(fault.since),
        ends_at: Some(ends_at),
        generator_url: String::new(),
    }
}
