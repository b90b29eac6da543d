//! How each lane is doing, for people: the health page and the metrics.
//!
//! Invariant: nothing decides by it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use base::sample::Timestamp;

/// How a lane is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneState {
    /// When it last delivered something.
    pub delivered_at: Option<Timestamp>,
    /// Since when it has failed, where its last try did.
    pub failing_since: Option<Timestamp>,
    /// What the last failure was.
    pub last_error: String,
    /// How many messages were refused for good.
    pub refused: u64,
    /// Whether the last try was refused for good.
    pub refused_now: bool,
    /// When a message was last taken in its minimal form only.
    pub shortened_at: Option<Timestamp>,
}

/// All lanes. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct LaneStates {
    states: Arc<Mutex<BTreeMap<String, LaneState>>>,
}

impl LaneStates {
    /// All lanes by name.
    pub fn all(&self) -> BTreeMap<String, LaneState> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Shows these lanes, with what is known of those that stay.
    pub fn set_lanes(&self, lanes: impl IntoIterator<Item = String>) {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        *states = lanes
            .into_iter()
            .map(|lane| {
                let known = states.get(&lane).cloned().unwrap_or_default();
                (lane, known)
            })
            .collect();
    }

    pub(super) fn delivered(&self, lane: &str, now: Timestamp) {
        self.change(lane, |state| {
            state.delivered_at = Some(now);
            state.failing_since = None;
            state.refused_now = false;
        });
    }

    pub(super) fn shortened(&self, lane: &str, now: Timestamp) {
        self.change(lane, |state| state.shortened_at = Some(now));
    }

    pub(super) fn failed(&self, lane: &str, now: Timestamp, error: &str, for_good: bool) {
        self.change(lane, |state| {
            state.failing_since.get_or_insert(now);
            error.clone_into(&mut state.last_error);
            state.refused += u64::from(for_good);
            state.refused_now = for_good;
        });
    }

    fn change(&self, lane: &str, change: impl FnOnce(&mut LaneState)) {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        change(states.entry(lane.to_owned()).or_default());
    }
}
