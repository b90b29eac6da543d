//! What holds an alert back on one of its routes, told so that people know whom to ask.
//!
//! Invariant: it names something exactly where dispatch holds the alert back.

use std::fmt;
use std::sync::Arc;

use base::labels::Labels;
use base::sample::Timestamp;

use super::route::Route;
use crate::mute::{Mutes, Silence};
use crate::time::print_time;

/// What holds an alert back.
#[derive(Clone, Debug)]
pub enum HeldBy {
    /// Somebody does not want to hear of it.
    Silence(Arc<Silence>),
    /// Its cause fires.
    Cause {
        /// The rule of inhibition, by its name or its place.
        rule: String,
        /// The alert that holds it back.
        source: Labels,
    },
    /// Somebody works there, and said so: the names of the windows.
    Maintenance(Vec<String>),
    /// Its route tells nobody at this time: the names of the intervals.
    Times(Vec<String>),
}

impl HeldBy {
    /// Everything that holds an alert with `labels` back on `route` at `now`.
    pub fn all(route: &Route, labels: &Labels, mutes: &Mutes, now: Timestamp) -> Vec<Self> {
        let mut found = Vec::new();
        let ids = mutes.silences.silenced_by(labels, now);
        found.extend(ids.iter().filter_map(|id| mutes.silences.get(id)).map(Self::Silence));
        if let Some((rule, source)) = mutes.inhibition_of(labels) {
            found.push(Self::Cause { rule, source });
        }
        found.extend(Self::of_windows(labels, mutes, now));
        found.extend(Self::of_times(route, now));
        found
    }

    /// The windows of maintenance that hold an alert with `labels` back at `now`.
    pub fn of_windows(labels: &Labels, mutes: &Mutes, now: Timestamp) -> Option<Self> {
        let names = mutes.maintenance.held_by(labels, now);
        (!names.is_empty()).then_some(Self::Maintenance(names))
    }

    /// The times of a route that hold everything back at `now`.
    pub fn of_times(route: &Route, now: Timestamp) -> Option<Self> {
        let times = route.times.muted_by(now);
        let names = || Self::Times(times.iter().map(|name| (*name).to_owned()).collect());
        (!times.is_empty()).then(names)
    }

    /// `silenced`, `inhibited`, `maintenance` or `muted`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Silence(_) => "silenced",
            Self::Cause { .. } => "inhibited",
            Self::Maintenance(_) => "maintenance",
            Self::Times(_) => "muted",
        }
    }
}

/// Says who or what it is.
impl fmt::Display for HeldBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silence(silence) => {
                let until = print_time(silence.ends_at);
                write!(f, "silenced by {} until {until}", silence.created_by)?;
                if !silence.comment.is_empty() {
                    write!(f, ": {}", silence.comment)?;
                }
                write!(f, " (silence {})", silence.id)
            }
            Self::Cause { rule, source } => write!(f, "inhibited by {source} ({rule})"),
            Self::Maintenance(names) => write!(f, "in maintenance: {}", names.join(", ")),
            Self::Times(names) => write!(f, "muted by its times: {}", names.join(", ")),
        }
    }
}
