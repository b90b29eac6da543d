//! The latest of every check: what its loop writes, and pages and metrics read.
//!
//! ```text
//! loop ── record ──▶ Slot (one a check) ◀── latest ── /metrics, /health
//! ```
//!
//! Invariant: a slot's lock is held for a few assignments only, never while something waits.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use base::sample::Timestamp;
use probes::{Outcome, Status};
use tokio::sync::Notify;

use crate::check::{Check, Source};
use crate::state::State;
use crate::{heartbeat, push};

/// What the last run of a check found.
#[derive(Debug)]
pub struct CheckResult {
    /// What the probe says.
    pub outcome: Outcome,
    /// When the run began.
    pub started: Timestamp,
    /// How long it took.
    pub duration: Duration,
    /// How much later it began than it should have.
    pub lateness: Duration,
}

/// What is known of a check.
#[derive(Clone, Debug, Default)]
pub struct Latest {
    /// The state after the last run.
    pub state: State,
    /// The last run.
    pub result: Option<Arc<CheckResult>>,
    /// How many runs ended with each status, by its number.
    pub runs: [u64; 4],
    /// How many runs were left out, because the one before was not done.
    pub skipped: u64,
    /// When the next result must be in at the latest.
    pub overdue: Option<Timestamp>,
    /// Whether it runs at the moment.
    pub is_running: bool,
    /// Counts up with each new definition of the check: a run of an old one is not recorded.
    generation: u64,
}

/// A check and what is known of it.
#[derive(Debug)]
pub struct Slot {
    check: ArcSwap<Check>,
    latest: Mutex<Latest>,
    /// What came of a check that is told; a new definition of the check does not change what came.
    heartbeat: Mutex<heartbeat::State>,
    push: Mutex<push::State>,
    /// Told when something came.
    pub(crate) told: Notify,
    /// Told when the check was replaced by a different one.
    pub(crate) changed: Notify,
}

impl Slot {
    /// A check of which nothing is known.
    pub fn new(check: Check) -> Self {
        Self {
            check: ArcSwap::from_pointee(check),
            latest: Mutex::default(),
            heartbeat: Mutex::default(),
            push: Mutex::default(),
            told: Notify::new(),
            changed: Notify::new(),
        }
    }

    /// The check as it is configured at present.
    pub fn check(&self) -> Arc<Check> {
        self.check.load_full()
    }

    /// What is known at present.
    pub fn latest(&self) -> Latest {
        self.lock().clone()
    }

    /// Puts `check` in the place of the one with the same name. What is known is kept only where
    /// it is the same.
    pub fn replace(&self, check: Check) {
        let is_same = self.check.load().is_same(&check);
        self.check.store(Arc::new(check));
        if !is_same {
            let mut latest = self.lock();
            let generation = latest.generation + 1;
            *latest = Latest { generation, ..Latest::default() };
            drop(latest);
            self.changed.notify_one();
        }
    }

    /// Forgets the results: nothing is known any more.
    pub(crate) fn forget(&self) {
        let mut latest = self.lock();
        let generation = latest.generation + 1;
        let runs = latest.runs;
        *latest = Latest { generation, runs, ..Latest::default() };
    }

    /// Notes that a run begins; what it returns is for [`Slot::record`].
    pub fn begin(&self) -> u64 {
        let mut latest = self.lock();
        latest.is_running = true;
        latest.generation
    }

    /// Notes what a run found. Returns the state before and after, or nothing where the check was
    /// replaced meanwhile.
    pub fn record(&self, generation: u64, result: CheckResult) -> Option<(State, State)> {
        let most = self.check.load().max_attempts;
        let mut latest = self.lock();
        latest.is_running = false;
        if latest.generation != generation {
            return None;
        }
        let status = result.outcome.status;
        let before = latest.state;
        latest.state = before.after(status, most);
        latest.runs[usize::from(status.code())] += 1;
        latest.result = Some(Arc::new(result));
        Some((before, latest.state))
    }

    /// Notes when the next result must be in, and how many runs were left out.
    pub(crate) fn plan(&self, overdue: Timestamp, skipped: u64) {
        let mut latest = self.lock();
        latest.overdue = Some(overdue);
        latest.skipped += skipped;
    }

    /// What came of the job that the check waits for.
    pub fn heartbeat(&self) -> MutexGuard<'_, heartbeat::State> {
        self.heartbeat.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was pushed to the check.
    pub fn push(&self) -> MutexGuard<'_, push::State> {
        self.push.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it is at `now` with a check that is told; nothing where nothing came yet.
    pub fn judge(&self, now: Timestamp) -> Option<Outcome> {
        let check = self.check();
        match &check.source {
            Source::Heartbeat(heartbeat) => {
                let mut state = self.heartbeat();
                state.note_alive(heartbeat, now);
                heartbeat.judge(&state, now)
            }
            Source::Push(push) => {
                let mut state = self.push();
                state.note_alive(now);
                push.judge(&state, now)
            }
            Source::Probe(_) => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Latest> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Latest {
    /// The status of the last run; unknown before the first.
    pub fn status(&self) -> Status {
        self.state.status().unwrap_or(Status::Unknown)
    }

    /// Whether a result is missing that should be in: a run that should have ended long ago says
    /// nothing about the present.
    pub fn is_overdue(&self, now: Timestamp) -> bool {
        self.overdue.is_some_and(|overdue| now > overdue)
    }
}

/// All checks, in the order of the configuration.
#[derive(Debug, Default)]
pub struct Results {
    slots: ArcSwap<Vec<Arc<Slot>>>,
}

impl Results {
    /// Nothing known yet of `checks`.
    pub fn new(checks: Vec<Check>) -> Self {
        let slots = checks.into_iter().map(|check| Arc::new(Slot::new(check))).collect();
        Self { slots: ArcSwap::from_pointee(slots) }
    }

    /// The slots of all checks.
    pub fn slots(&self) -> Arc<Vec<Arc<Slot>>> {
        self.slots.load_full()
    }

    /// Puts `checks` in the place of those that there were, keeping what is known of those that
    /// did not change. Returns the slots that are new and those that are gone.
    pub fn replace(&self, checks: Vec<Check>) -> (Vec<Arc<Slot>>, Vec<Arc<Slot>>) {
        let before = self.slots();
        let mut old: BTreeMap<Arc<str>, Arc<Slot>> =
            before.iter().map(|slot| (Arc::clone(&slot.check().name), Arc::clone(slot))).collect();
        let (mut slots, mut new) = (Vec::with_capacity(checks.len()), Vec::new());
        for check in checks {
            let slot = match old.remove(&check.name) {
                Some(slot) => {
                    slot.replace(check);
                    slot
                }
                None => {
                    let slot = Arc::new(Slot::new(check));
                    new.push(Arc::clone(&slot));
                    slot
                }
            };
            slots.push(slot);
        }
        self.slots.store(Arc::new(slots));
        (new, old.into_values().collect())
    }
}
