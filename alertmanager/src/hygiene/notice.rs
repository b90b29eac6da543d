//! What people are told of silences and windows of maintenance.
//!
//! To a receiver a silence that holds its alerts is like an alert that fires: it begins, is about to
//! end, and has ended, in one thread.
//!
//! Invariant: a notice depends on nothing but what it is about and the time; of one state of a thing
//! there is one notice.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::labels::{ALERT_NAME, Labels};
use base::period::Period;
use base::sample::Timestamp;

use crate::alerts::{Alert, Ending};
use crate::matchers;
use crate::mute::{ENDED_BECAUSE, Occurrence, Phase, Silence};
use crate::outbox::NOTICE;

/// The annotation that says which state a notice is about.
const STATE: &str = "state";
/// The most alerts that are named.
const MOST_NAMED: usize = 10;

/// What somebody is told.
#[derive(Clone, Debug)]
pub(super) struct Notice {
    /// What it is about.
    pub(super) group_labels: Labels,
    /// The state that it tells of, and its texts.
    pub(super) alert: Alert,
}

/// What notices are about.
#[derive(Clone, Debug)]
pub(super) enum About {
    /// A silence that holds alerts; whether it is about to end.
    Silence(Arc<Silence>, bool),
    /// A window that will begin soon, or runs.
    Window(Arc<Occurrence>),
}

impl About {
    /// By what its notices are known, in the place of a group's key.
    pub(super) fn key(&self) -> String {
        match self {
            Self::Silence(silence, _) => format!("{NOTICE}silence:{}", silence.id),
            Self::Window(occurrence) => format!("{NOTICE}maintenance:{}", occurrence.id),
        }
    }

    /// The state that it is in, of which there is one notice.
    pub(super) fn state(&self, now: Timestamp) -> &'static str {
        match self {
            Self::Silence(_, true) => "ending",
            Self::Silence(_, false) => "active",
            Self::Window(occurrence) => occurrence.phase(now).as_str(),
        }
    }

    /// What those are told whose alerts are `held`.
    pub(super) fn notice(&self, held: &[Arc<Alert>], now: Timestamp, external_url: &str) -> Notice {
        match self {
            Self::Silence(silence, ending) => of_silence(silence, *ending, held, now, external_url),
            Self::Window(occurrence) => of_window(occurrence, held, now, external_url),
        }
    }
}

/// The state that a receiver was told of.
pub(super) fn state_of(alert: &Alert) -> &str {
    alert.annotations.get(STATE).map_or("", String::as_str)
}

/// That a silence holds alerts, or is about to end.
fn of_silence(
    silence: &Silence,
    ending: bool,
    held: &[Arc<Alert>],
    now: Timestamp,
    external_url: &str,
) -> Notice {
    let until = clock(silence.ends_at);
    let count = alerts(held.len());
    let summary = if ending {
        let left = Period::from_secs(silence.ends_at.since(now).as_secs());
        format!("this silence ends in {left}, at {until}, and {count} of yours fire in it")
    } else {
        format!("a silence holds back {count} of yours until {until}")
    };
    let group_labels =
        Labels::from_pairs([(ALERT_NAME, "Silence"), ("created_by", silence.created_by.as_str())]);
    let state = if ending { "ending" } else { "active" };
    let mut annotations = annotations(state, summary, &silence.comment, held);
    annotations.insert("matchers".to_owned(), matchers::print_all(&silence.matchers));
    Notice {
        alert: Alert {
            labels: group_labels.with("silence", &silence.id),
            annotations,
            starts_at: silence.starts_at,
            ended: None,
            stale_since: None,
            generator_url: format!("{external_url}/#silence-{}", silence.id),
        },
        group_labels,
    }
}

/// That a window will begin or has begun.
fn of_window(
    occurrence: &Occurrence,
    held: &[Arc<Alert>],
    now: Timestamp,
    external_url: &str,
) -> Notice {
    let (window, span) = (&occurrence.window, occurrence.span);
    let phase = occurrence.phase(now);
    let summary = if phase == Phase::Announced {
        let left = Period::from_secs(span.start.since(now).as_secs());
        format!("maintenance begins in {left}: from {} to {}", clock(span.start), clock(span.end))
    } else {
        format!("maintenance until {}: alerts are held back", clock(span.end))
    };
    let group_labels =
        Labels::from_pairs([(ALERT_NAME, "Maintenance"), ("maintenance", window.name.as_str())]);
    let mut annotations = annotations(phase.as_str(), summary, &window.comment, held);
    annotations.insert("matchers".to_owned(), matchers::print_all(&window.matchers));
    if !window.owner.is_empty() {
        annotations.insert("owner".to_owned(), window.owner.clone());
    }
    Notice {
        alert: Alert {
            labels: group_labels.clone(),
            annotations,
            starts_at: occurrence.began().unwrap_or(now),
            ended: None,
            stale_since: None,
            generator_url: format!("{external_url}/#maintenance-{}", occurrence.id),
        },
        group_labels,
    }
}

/// What was told has ended at `now`.
pub(super) fn ended(
    told: &Alert,
    silence: Option<&Silence>,
    window: Option<&Occurrence>,
    now: Timestamp,
) -> Alert {
    let why = silence.and_then(|silence| silence.annotations.get(ENDED_BECAUSE));
    let summary = match (why, silence, window) {
        (Some(why), ..) => format!("the silence was ended: {why}"),
        (None, Some(_), _) => {
            "the silence has ended; what fires of what it held is told now".to_owned()
        }
        (None, None, Some(window)) if window.span.end <= window.span.start => {
            "the maintenance was called off".to_owned()
        }
        (None, None, Some(window)) => {
            let settle = Period::from(window.window.settle);
            format!("the maintenance has ended; what still fires in {settle} is told then")
        }
        (None, None, None) => "it is over".to_owned(),
    };
    let mut annotations = told.annotations.clone();
    annotations.insert("summary".to_owned(), summary);
    annotations.insert(STATE.to_owned(), "ended".to_owned());
    annotations.remove("alerts");
    // A window that was called off has not begun.
    let starts_at = told.starts_at.min(now);
    let ended = Some((now, Ending::Resolved));
    Alert { annotations, starts_at, ended, ..told.clone() }
}

fn annotations(
    state: &str,
    summary: String,
    comment: &str,
    held: &[Arc<Alert>],
) -> BTreeMap<String, String> {
    let mut annotations =
        BTreeMap::from([("summary".to_owned(), summary), (STATE.to_owned(), state.to_owned())]);
    if !comment.is_empty() {
        annotations.insert("comment".to_owned(), comment.to_owned());
    }
    if !held.is_empty() {
        let name = |alert: &Arc<Alert>| {
            let labels = alert.labels.filter(|name| name != ALERT_NAME);
            format!("{} {labels}", alert.name())
        };
        let mut names: Vec<String> = held.iter().take(MOST_NAMED).map(name).collect();
        if held.len() > MOST_NAMED {
            names.push(format!("and {} more", held.len() - MOST_NAMED));
        }
        annotations.insert("alerts".to_owned(), names.join("\n"));
    }
    annotations
}

fn alerts(count: usize) -> String {
    match count {
        1 => "1 alert".to_owned(),
        count => format!("{count} alerts"),
    }
}

/// The time as people read it, in UTC.
fn clock(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.millis())
        .map_or_else(|_| at.to_string(), |at| at.strftime("%Y-%m-%d %H:%M UTC").to_string())
}
