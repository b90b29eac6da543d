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
    /// We have just been started, and what could hold it back may not be known yet.
    FirstRound {
        /// A rule of inhibition that is about it, by its name or its place.
        rule: String,
        /// When it is told at the latest.
        until: Timestamp,
    },
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
        if let Some((rule, until)) = mutes.awaits_first_round(labels) {
            found.push(Self::FirstRound { rule, until });
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

    /// `silenced`, `inhibited`, `starting`, `maintenance` or `muted`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Silence(_) => "silenced",
            Self::Cause { .. } => "inhibited",
            Self::FirstRound { .. } => "starting",
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
            Self::FirstRound { rule, until } => write!(
                f,
                "what could inhibit it is not known yet after the start: every target is scraped and \
                 every rule evaluated once before it is told, by {} at the latest ({rule})",
                print_time(*until)
            ),
            Self::Maintenance(names) => write!(f, "in maintenance: {}", names.join(", ")),
            Self::Times(names) => write!(f, "muted by its times: {}", names.join(", ")),
        }
    }
}
