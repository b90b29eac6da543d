//! Windows of maintenance: planned times in which alerts are held back, announced before and looked
//! at again after.
//!
//! ```text
//! maintenance: times, calendars ──┐                 ┌─▶ holds alerts until its end and `settle` more
//! the API: begun, ended early ────┴─▶ [Occurrence] ─┼─▶ told to those whom they go to
//!                                                   └─▶ the series `veilleur_maintenance`
//! ```
//!
//! A window that comes again has an [`Occurrence`] for each time. What it holds back is judged all
//! the time; after its end and a settle time receivers are told the difference between what they know
//! and what is true then (A5.2). Windows that overlap are a set, never a count (A5.4).
//!
//! Invariant: what the API answered is on the disk, and a window that was ended does not come back.

mod spans;
mod recurrence;
mod calendar;
mod config;
mod run;
mod store;

pub use config::{MaintenanceConfig, build_windows, read_time};
pub use spans::Span;
pub use store::{Asked, Maintenance, MaintenanceError};

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base::http::access::HttpAccess;
use base::labels::Labels;
use base::matcher::{MatchOp, Matcher};
use base::sample::Timestamp;
use base::secret::Secret;
use jiff::tz::TimeZone;

use super::times::TimeInterval;

/// The series of a window that runs: 1, with its `name` and the labels that it asks for.
pub const MAINTENANCE_METRIC: &str = "veilleur_maintenance";

/// A window.
#[derive(Clone, Debug)]
pub struct Window {
    /// How people call it.
    pub name: String,
    /// Which alerts it holds: those that all of them accept.
    pub matchers: Vec<Matcher>,
    /// Who answers for it.
    pub owner: String,
    /// Why.
    pub comment: String,
    /// How long before it begins it is announced.
    pub announce: Duration,
    /// How long it goes on to hold after its end.
    pub settle: Duration,
    /// Who is told of it; nobody means those whom its alerts go to.
    pub receivers: Vec<String>,
    schedule: Schedule,
}

/// When a window is.
#[derive(Clone, Debug)]
enum Schedule {
    Once(Span),
    Times(TimeInterval),
    Calendar(Arc<Address>),
}

/// Where a calendar is.
#[derive(Clone, Debug)]
enum Address {
    File { path: PathBuf, zone: TimeZone },
    Url { url: Secret, access: HttpAccess, zone: TimeZone, refresh: Duration },
}

impl Address {
    /// Names it for the store; the address of a calendar on the net may be a secret, so it is hashed.
    fn key(&self) -> String {
        match self {
            Self::File { path, .. } => format!("file:{}", path.display()),
            Self::Url { url, .. } => {
                let hash = ring::digest::digest(&ring::digest::SHA256, url.expose().as_bytes());
                hash.as_ref().iter().fold("url:".to_owned(), |key, byte| format!("{key}{byte:02x}"))
            }
        }
    }

    fn zone(&self) -> &TimeZone {
        match self {
            Self::File { zone, .. } | Self::Url { zone, .. } => zone,
        }
    }
}

/// What a window is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It will begin.
    Planned,
    /// It will begin soon, and people are told so.
    Announced,
    /// It runs.
    Running,
    /// It has ended, and still holds while things settle.
    Settling,
    /// It is over.
    Over,
}

impl Phase {
    /// The phase as a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Announced => "announced",
            Self::Running => "running",
            Self::Settling => "settling",
            Self::Over => "over",
        }
    }
}

/// A window at one of its times.
#[derive(Clone, Debug)]
pub struct Occurrence {
    /// By what it is known.
    pub id: String,
    /// What it is a time of.
    pub window: Arc<Window>,
    /// When it is.
    pub span: Span,
}

impl Occurrence {
    /// What it is doing at `now`.
    pub fn phase(&self, now: Timestamp) -> Phase {
        let Span { start, end } = self.span;
        if now >= end + self.window.settle || end <= start {
            Phase::Over
        } else if now >= end {
            Phase::Settling
        } else if now >= start {
            Phase::Running
        } else if now + self.window.announce >= start {
            Phase::Announced
        } else {
            Phase::Planned
        }
    }

    /// When it began or will; nothing where that was more than a month ago.
    pub fn began(&self) -> Option<Timestamp> {
        Some(self.span.start).filter(|start| *start != Timestamp::default())
    }

    /// Whether it holds alerts back at `now`.
    pub fn holds(&self, now: Timestamp) -> bool {
        matches!(self.phase(now), Phase::Running | Phase::Settling)
    }

    /// Whether it is about an alert with `labels`.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.window.matches(labels)
    }
}

impl Window {
    /// A window of one time.
    pub fn once(name: &str, matchers: Vec<Matcher>, span: Span) -> Self {
        Self {
            name: name.to_owned(),
            matchers,
            owner: String::new(),
            comment: String::new(),
            announce: config::ANNOUNCE,
            settle: config::SETTLE,
            receivers: Vec::new(),
            schedule: Schedule::Once(span),
        }
    }

    /// Whether it is about an alert with `labels`.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches_labels(labels))
    }

    /// The labels that it asks for with one value each: those of its series.
    pub fn equal_labels(&self) -> Labels {
        let equal =
            self.matchers.iter().filter(|m| m.op() == MatchOp::Equal && !m.value().is_empty());
        Labels::from_pairs(equal.map(|matcher| (matcher.name(), matcher.value())))
    }
}
