//! The first round after a start: until everything was looked at once, what could be held back by a
//! rule of inhibition waits, for its cause may fire without being known yet (F09).
//!
//! What others push waits for them, too: who keeps an alert alive pushes it again within a minute or
//! so, and pushes the cause then that began while we were away.
//!
//! Invariant: once a part of the round is over it stays over, so nothing waits twice.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::labels::{ALERT_NAME, Labels};
use base::sample::Timestamp;
use tokio::sync::Notify;

use crate::alerts::WATCHDOG_ALERT;
use crate::drill;
use crate::pushed::Pushed;

/// What the round consists of.
#[derive(Clone, Debug)]
pub struct Round {
    /// Every target is to be scraped once, and every group of rules to be evaluated after it: by
    /// then at the latest it is over.
    pub judged_by: Timestamp,
    /// Those who push are to have done it again, by then at the latest; `None` where nobody can have
    /// pushed before.
    pub pushed_by: Option<Timestamp>,
    /// What was pushed.
    pub pushed: Pushed,
}

/// How far the first round is. Clones share it; where none has begun, it is over.
#[derive(Clone, Debug, Default)]
pub struct FirstRound {
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    round: Option<Round>,
    is_judged: bool,
    /// Parts that are over, counted.
    over: u64,
}

impl FirstRound {
    /// Begins it. To be called once, before anybody is told anything.
    pub fn begin(&self, round: Round) {
        *self.lock() = State { round: Some(round), is_judged: false, over: 0 };
    }

    /// Everything was scraped and judged, or had its time.
    pub fn judged(&self) {
        self.end(|state| state.is_judged = true);
    }

    /// Those who push have done it again, or had their time.
    pub fn pushed_again(&self) {
        self.end(|state| state.round.iter_mut().for_each(|round| round.pushed_by = None));
    }

    fn end(&self, part: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        part(&mut state);
        state.over += 1;
        if state.is_judged && state.round.as_ref().is_some_and(|round| round.pushed_by.is_none()) {
            state.round = None;
        }
        self.changed.notify_one();
    }

    /// Whether targets and rules are still waited for.
    pub fn awaits_judging(&self) -> bool {
        let state = self.lock();
        state.round.is_some() && !state.is_judged
    }

    /// Whether those who push are still waited for.
    pub fn awaits_pushes(&self) -> bool {
        self.lock().round.as_ref().is_some_and(|round| round.pushed_by.is_some())
    }

    /// Whether nothing waits.
    pub fn is_over(&self) -> bool {
        self.lock().round.is_none()
    }

    /// How many parts are over: another number says that something need not wait any more.
    pub fn over(&self) -> u64 {
        self.lock().over
    }

    /// Waits until a part is over.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Until when an alert with `labels` waits at the latest, if a rule could hold it back. Neither a
    /// drill nor the sign of life does: they are about us.
    pub(super) fn until(&self, labels: &Labels) -> Option<Timestamp> {
        let state = self.lock();
        let round = state.round.as_ref()?;
        if labels.get(ALERT_NAME) == Some(WATCHDOG_ALERT) || drill::id_of(labels).is_some() {
            return None;
        }
        let judged_by = (!state.is_judged).then_some(round.judged_by);
        let pushed_by = round.pushed_by.filter(|_| round.pushed.times(labels).is_some());
        judged_by.max(pushed_by)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
