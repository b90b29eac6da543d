//! How each target is, for people: the targets page and API.
//!
//! Invariant: what stands here is of the last scrape; nothing decides by it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use base::labels::Labels;
use base::period::Period;
use base::sample::Timestamp;

use super::metadata::Metadata;
use super::target::TargetKey;

/// Whether a target answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It has not been scraped yet.
    Unknown,
    /// It answered.
    Up,
    /// It did not, or not with metrics.
    Down,
}

impl Health {
    /// The word that the API uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// How a target is.
#[derive(Clone, Debug)]
pub struct TargetState {
    /// Its labels before relabelling.
    pub discovered: Labels,
    /// From one scrape to the next.
    pub interval: Period,
    /// The longest a scrape may take.
    pub timeout: Period,
    /// Whether it answers.
    pub health: Health,
    /// Why it does not, empty where it does.
    pub last_error: String,
    /// When it was last scraped.
    pub last_scrape: Option<Timestamp>,
    /// How long that took.
    pub last_duration: Duration,
}

/// How a service is that is asked for targets (F55).
#[derive(Clone, Debug)]
pub struct SourceState {
    /// The kind: `http`.
    pub kind: &'static str,
    /// When the last good list came; nothing before the first.
    pub good_at: Option<Timestamp>,
    /// Why there is no newer one, empty where the last answer was good.
    pub error: String,
    /// How many targets it names.
    pub targets: usize,
    /// From one question to the next.
    pub pause: Duration,
}

/// Targets of a job that relabelling dropped: how many, and the labels of the first of them.
#[derive(Clone, Debug, Default)]
pub struct Dropped {
    /// How many.
    pub count: usize,
    /// The first of them.
    pub shown: Vec<Labels>,
}

/// The address of a target that is not asked, but pushes.
pub const PUSHED: &str = "push:";

/// All targets. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Targets {
    inner: Arc<RwLock<Inner>>,
    dropped: Arc<RwLock<BTreeMap<String, Dropped>>>,
    sources: Arc<RwLock<BTreeMap<String, Vec<SourceState>>>>,
}

#[derive(Debug, Default)]
struct Inner {
    states: BTreeMap<TargetKey, TargetState>,
    /// What each says of its metrics.
    metadata: BTreeMap<TargetKey, Arc<Metadata>>,
    /// Of the first targets that there were, those that were not scraped yet; `None` before them.
    /// Its bound is that of the targets.
    unseen: Option<BTreeSet<TargetKey>>,
}

impl Targets {
    /// All targets, sorted by job, labels and address.
    pub fn all(&self) -> BTreeMap<TargetKey, TargetState> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).states.clone()
    }

    /// Shows each target with how it is to `look`, without a copy of all of them.
    pub fn each(&self, mut look: impl FnMut(&TargetKey, Health)) {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        inner.states.iter().for_each(|(key, state)| look(key, state.health));
    }

    /// Whether each of the targets that there were at the start was scraped once, or is gone.
    pub fn were_all_seen(&self) -> bool {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        inner.unseen.as_ref().is_some_and(BTreeSet::is_empty)
    }

    /// Whether a target with these labels is scraped.
    pub(crate) fn is_scraped(&self, labels: &Labels) -> bool {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        inner.states.keys().any(|key| key.url != PUSHED && key.labels == *labels)
    }

    /// The targets that there are; only the first call counts.
    pub(super) fn expect<'a>(&self, keys: impl Iterator<Item = &'a TargetKey>) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        inner.unseen.get_or_insert_with(|| keys.cloned().collect());
    }

    /// The services that are asked for targets, of every job: those of a job that asks none are none.
    pub fn sources(&self) -> BTreeMap<String, Vec<SourceState>> {
        self.sources.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_sources(&self, sources: BTreeMap<String, Vec<SourceState>>) {
        *self.sources.write().unwrap_or_else(PoisonError::into_inner) = sources;
    }

    /// By job, what relabelling dropped.
    pub fn dropped(&self) -> BTreeMap<String, Dropped> {
        self.dropped.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What each target says of its metrics, since its last scrape that succeeded.
    pub fn metadata(&self) -> Vec<(TargetKey, Arc<Metadata>)> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        inner.metadata.iter().map(|(key, said)| (key.clone(), Arc::clone(said))).collect()
    }

    pub(super) fn describe(&self, key: &TargetKey, metadata: Arc<Metadata>) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        inner.metadata.insert(key.clone(), metadata);
    }

    pub(crate) fn set(&self, key: &TargetKey, state: TargetState) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        if state.last_scrape.is_some() {
            inner.saw(key);
        }
        inner.states.insert(key.clone(), state);
    }

    pub(crate) fn remove(&self, key: &TargetKey) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        inner.saw(key);
        inner.states.remove(key);
        inner.metadata.remove(key);
    }

    pub(super) fn set_dropped(&self, all: BTreeMap<String, Dropped>) {
        *self.dropped.write().unwrap_or_else(PoisonError::into_inner) = all;
    }
}

impl Inner {
    fn saw(&mut self, key: &TargetKey) {
        if let Some(unseen) = &mut self.unseen {
            unseen.remove(key);
        }
    }
}
