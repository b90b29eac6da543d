//! How it is with something, in one word.
//!
//! Invariant: what is not known counts for nothing: nothing is up or down by it.

use base::sample::Timestamp;
use probes::Status;

use crate::results::Latest;

/// How it is with a check, or with all that a service needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// As it should be.
    Pass,
    /// It has not run yet, or nobody says.
    Pending,
    /// Works, but needs a look; or it failed, and is being tried again.
    Warn,
    /// Does not work, or nobody knows any more.
    Fail,
}

impl Health {
    /// How it is with a check at `now`.
    pub fn of(latest: &Latest, now: Timestamp) -> Self {
        if latest.is_overdue(now) {
            return Self::Fail;
        }
        match (latest.state.status(), latest.state.is_soft()) {
            (None, _) => Self::Pending,
            (Some(Status::Ok), _) => Self::Pass,
            (Some(Status::Warning), _) | (_, true) => Self::Warn,
            (Some(Status::Critical | Status::Unknown), false) => Self::Fail,
        }
    }

    /// How it is with a part of an application by its own word.
    pub fn of_component(status: Status) -> Self {
        match status {
            Status::Ok => Self::Pass,
            Status::Unknown => Self::Pending,
            Status::Warning => Self::Warn,
            Status::Critical => Self::Fail,
        }
    }

    /// The worst of all; well where there are none.
    pub fn worst(all: impl IntoIterator<Item = Self>) -> Self {
        all.into_iter().max().unwrap_or(Self::Pass)
    }

    /// The word of `application/health+json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Pending | Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }

    /// The word that people are shown.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "well",
            Self::Pending => "pending",
            Self::Warn => "warning",
            Self::Fail => "failed",
        }
    }
}
