//! What is to be told of a group, what was told of it, and how much is waiting.
//!
//! Invariant: plain values; nothing here knows the database or a clock.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use base::labels::Labels;
use base::sample::Timestamp;
use foldhash::fast::RandomState;

use crate::alerts::Alert;
use crate::state::Attempt;

/// Why somebody is told something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The first message of a group.
    First,
    /// Alerts have joined the group.
    NewAlerts,
    /// Alerts have ended.
    Resolved,
    /// Nothing has changed for the repeat interval.
    Repeat,
    /// Nobody has answered.
    Escalated,
    /// Somebody has it in hand.
    Acknowledged,
    /// Nobody has it in hand any more.
    Unacknowledged,
}

impl Reason {
    /// The reason as a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::NewAlerts => "new alerts",
            Self::Resolved => "resolved",
            Self::Repeat => "repeat",
            Self::Escalated => "escalated",
            Self::Acknowledged => "acknowledged",
            Self::Unacknowledged => "unacknowledged",
        }
    }

    /// Whether it is one to tell again what is known, because of whether somebody has answered.
    pub(super) fn is_of_answer(self) -> bool {
        matches!(self, Self::Escalated | Self::Acknowledged | Self::Unacknowledged)
    }

    pub(super) fn named(name: &str) -> Self {
        match name {
            "new alerts" => Self::NewAlerts,
            "resolved" => Self::Resolved,
            "repeat" => Self::Repeat,
            "escalated" => Self::Escalated,
            "acknowledged" => Self::Acknowledged,
            "unacknowledged" => Self::Unacknowledged,
            _ => Self::First,
        }
    }
}

/// When the message of that id was put into the outbox: an id begins with it.
pub fn queued_at(id: &str) -> Option<Timestamp> {
    let millis = i64::from_str_radix(id.get(..12)?, 16).ok()?;
    Some(Timestamp::from_millis(millis))
}

/// What a message says of whether somebody has answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// A sentence for people, without a stop; empty where there is nothing to say.
    pub note: String,
    /// Whether it is told because nobody has: it is not, once somebody does.
    pub is_missing: bool,
    /// Whether it asks for one.
    pub is_wanted: bool,
}

/// What is to be told of a group.
#[derive(Clone, Debug, PartialEq)]
pub struct Flush {
    /// The receiver's name.
    pub receiver: String,
    /// The labels that the group's alerts agree on.
    pub group_labels: Labels,
    /// What the route says of itself.
    pub route_labels: Labels,
    /// Why.
    pub reason: Reason,
    /// The alerts that fire, and those that the receiver was told of and that have ended.
    pub alerts: Vec<Arc<Alert>>,
    /// Alerts that are held back and not told of, of which it goes on to know that they fire.
    pub kept: Vec<Arc<Alert>>,
    /// Whether somebody has answered.
    pub answer: Answer,
}

/// By what an intent and what was told are known.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneGroup {
    /// The lane.
    pub lane: String,
    /// The group's key.
    pub group_key: String,
}

/// What a lane was last told of a group.
#[derive(Clone, Debug, PartialEq)]
pub struct LastTold {
    /// The id of the first message since the group was last all clear.
    pub thread: String,
    /// What the service calls a message of the thread, where it said so.
    pub reference: Option<String>,
    /// When.
    pub at: Timestamp,
    /// The receiver's name.
    pub receiver: String,
    /// The labels of the group.
    pub group_labels: Labels,
    /// The alerts that it was told are firing. One that has ended is in doubt: it was perhaps told
    /// that it fires, and perhaps that it does not.
    pub firing: Vec<Arc<Alert>>,
}

/// An intent that is due.
#[derive(Clone, Debug, PartialEq)]
pub struct Due {
    /// Names it on the wire.
    pub id: String,
    /// The lane and the group.
    pub key: LaneGroup,
    /// What is to be told.
    pub flush: Arc<Flush>,
    /// The id of the thread that it belongs to; its own where it begins one.
    pub thread: String,
    /// What the service calls an earlier message of the thread, where it said so.
    pub reference: Option<String>,
    /// How often it was tried before.
    pub attempts: u32,
    /// When it was taken.
    pub at: Timestamp,
    /// Whether no answer came: the service may have taken it all the same.
    pub may_have_arrived: bool,
    /// What came of handing it over, for the history: written with what it leads to.
    pub tries: Vec<Attempt>,
}

/// What a lane knows of a group and what waits for it, as of one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Standing {
    /// What it was last told, with what it may have been told since, in doubt.
    pub told: Option<Arc<LastTold>>,
    /// What waits.
    pub intended: Option<Intended>,
}

impl Standing {
    /// The alerts that either is about.
    pub fn alerts(&self) -> impl Iterator<Item = &Arc<Alert>> {
        let told = self.told.iter().flat_map(|told| &told.firing);
        told.chain(self.intended.iter().flat_map(|intended| &intended.flush.alerts))
    }
}

/// An intent, for whoever decides what is news.
#[derive(Clone, Debug, PartialEq)]
pub struct Intended {
    /// What is to be told.
    pub flush: Arc<Flush>,
    /// Of when its texts are.
    pub fresh_at: Timestamp,
    /// Whether it was refused for good.
    pub refused: bool,
}

/// How much is waiting for a lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Intents.
    pub intents: usize,
    /// When the oldest was decided.
    pub oldest: Option<Timestamp>,
    /// How many of them the service has refused for good.
    pub refused: usize,
}

impl Flush {
    /// Whether it tells a receiver anything that was `told` this. What is in doubt is news either way.
    pub(super) fn is_news_after(&self, told: Option<&LastTold>) -> bool {
        let told = told.map_or(&[][..], |told| &told.firing);
        let told: HashMap<&Labels, bool, RandomState> =
            told.iter().map(|alert| (&alert.labels, alert.is_firing())).collect();
        self.alerts.iter().any(|alert| match told.get(&alert.labels) {
            None => alert.is_firing(),
            Some(is_sure) => !(*is_sure && alert.is_firing()),
        })
    }

    /// The flush without the ends of what a receiver that was `told` this does not take to fire, if
    /// there are any.
    pub(super) fn without_known_ends(&self, told: Option<&LastTold>) -> Option<Self> {
        if self.alerts.iter().all(|alert| alert.is_firing()) {
            return None;
        }
        let told = told.map_or(&[][..], |told| &told.firing);
        let told: HashSet<&Labels, RandomState> = told.iter().map(|alert| &alert.labels).collect();
        let is_news = |alert: &&Arc<Alert>| alert.is_firing() || told.contains(&alert.labels);
        let alerts: Vec<_> = self.alerts.iter().filter(is_news).cloned().collect();
        (alerts.len() < self.alerts.len()).then(|| Self { alerts, ..self.clone() })
    }
}

impl LastTold {
    /// What somebody knows whom a message told nothing.
    pub(super) fn nothing(due: &Due) -> Self {
        Self {
            thread: due.thread.clone(),
            reference: None,
            at: due.at,
            receiver: due.flush.receiver.clone(),
            group_labels: due.flush.group_labels.clone(),
            firing: Vec::new(),
        }
    }

    /// A flush that told just this.
    pub(super) fn as_flush(&self) -> Flush {
        Flush {
            receiver: self.receiver.clone(),
            group_labels: self.group_labels.clone(),
            route_labels: Labels::empty(),
            reason: Reason::First,
            alerts: Vec::new(),
            kept: self.firing.clone(),
            answer: Answer::default(),
        }
    }

    /// What is known to whom `flush` was told at `at`.
    pub(super) fn by(
        flush: &Flush,
        thread: String,
        reference: Option<String>,
        at: Timestamp,
    ) -> Self {
        let told = flush.alerts.iter().filter(|alert| alert.is_firing());
        Self {
            thread,
            reference,
            at,
            receiver: flush.receiver.clone(),
            group_labels: flush.group_labels.clone(),
            firing: told.chain(&flush.kept).cloned().collect(),
        }
    }
}
