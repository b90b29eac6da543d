//! What became of an alert on a route: held back or not, its group, and each attempt to deliver.
//!
//! Invariant: exactly one stage of a way decides.

use std::sync::Arc;
use std::time::Duration;

use base::period::Period;
use base::sample::Timestamp;

use super::trace::{Stage, Way, plain};
use crate::dispatch::{HeldBy, Route};
use crate::escalation::Bout;
use crate::outbox::LastTold;
use crate::time::print_time;

/// The most attempts of a lane that are shown.
const MOST_ATTEMPTS: usize = 5;

/// What is known of an alert that fires, on one route.
pub(super) struct OnRoute<'a> {
    pub(super) route: &'a Route,
    /// When is asked for, and whether that is now.
    pub(super) at: Timestamp,
    pub(super) is_now: bool,
    /// What holds it back.
    pub(super) held: Vec<HeldBy>,
    /// What cannot be known of the past.
    pub(super) unknown: Option<&'static str>,
    pub(super) group_key: String,
    /// When its group looks at it next, where that is known.
    pub(super) due: Option<Timestamp>,
    /// Whether somebody has answered, where that is waited for now.
    pub(super) bout: Option<Arc<Bout>>,
    pub(super) lanes: Vec<OnLane>,
}

/// What is known of a way to a receiver.
pub(super) struct OnLane {
    /// Its name: `ops/email/0`.
    pub(super) lane: String,
    /// What it was last told of the group, where this alert is in it.
    pub(super) told: Option<Arc<LastTold>>,
    /// What waits.
    pub(super) waits: bool,
    /// Attempts at messages about the alert, oldest first.
    pub(super) attempts: Vec<Attempted>,
}

/// An attempt to deliver.
#[derive(Clone, Debug)]
pub struct Attempted {
    /// When it was handed over.
    pub at: Timestamp,
    /// When its message was put into the outbox, where that is known.
    pub queued_at: Option<Timestamp>,
    /// How long it took.
    pub took: Duration,
    /// The way.
    pub lane: String,
    /// The group that it was about.
    pub group_key: String,
    /// What came of it, as a word.
    pub result: String,
    /// Whether the receiver has the message.
    pub is_delivered: bool,
    /// Why it was sent.
    pub reason: String,
    /// Whether the message said that the alert fires.
    pub firing: bool,
    /// What the service said.
    pub answer: String,
}

impl Attempted {
    fn line(&self) -> String {
        let what = if self.firing { "that it fires" } else { "that it is over" };
        let answer = match self.answer.trim() {
            "" => String::new(),
            answer => format!(": {}", plain(answer)),
        };
        format!(
            "{} {} {what} ({}) after {}{answer}",
            print_time(self.at),
            self.result,
            self.reason,
            Period::from(self.took)
        )
    }
}

impl OnRoute<'_> {
    /// The stages, and the answer.
    pub(super) fn tell(self) -> Way {
        let receiver = self.route.receiver.clone();
        let mut stages =
            vec![Stage::passes("route", format!("{} to `{receiver}`", self.route.key))];
        let mut held = None;
        for (name, kind, free) in [
            ("inhibition", "inhibited", "no cause of it fires"),
            ("start", "starting", ""),
            ("silence", "silenced", "no silence is about it"),
            ("window", "maintenance", ""),
            ("times", "muted", "the route tells at this time"),
        ] {
            match self.held.iter().find(|by| by.as_str() == kind) {
                Some(by) if held.is_none() => {
                    // On one line, whatever somebody wrote as a comment.
                    let by = plain(&by.to_string());
                    stages.push(Stage::decides(name, by.clone()));
                    held = Some(by);
                }
                Some(by) => stages.push(Stage::passes(name, plain(&by.to_string()))),
                None if free.is_empty() || kind == "muted" && self.route.times.is_always() => {}
                None => stages.push(Stage::passes(name, free)),
            }
        }
        if let Some(unknown) = self.unknown {
            stages.push(Stage::passes("unknown", unknown));
        }
        stages.push(Stage::passes("group", self.group()));
        let policy = &self.route.escalation;
        match (&self.bout, policy.told()) {
            (Some(bout), _) => stages.push(Stage::passes("answer", plain(&bout.tell(policy)))),
            (None, Some(steps)) => {
                stages.push(Stage::passes("answer", format!("where there is none: {steps}")));
            }
            (None, None) => {}
        }
        let delivery = self.delivery();
        let verdict = match (&held, &delivery) {
            // It was told before it was held back, and is not told again.
            (Some(by), Delivery::Told { at, .. }) => format!(
                "`{receiver}` was told at {}, and hears no more of it: {by}",
                print_time(*at)
            ),
            (Some(by), _) => format!("`{receiver}` is not told: {by}"),
            (None, delivery) => delivery.verdict(&receiver),
        };
        let text = self.delivery_text();
        stages.push(Stage { name: "delivery", text, decides: held.is_none() });
        Way { receiver, stages, verdict }
    }

    fn group(&self) -> String {
        let mut text = self.group_key.clone();
        match self.due.filter(|_| self.is_now) {
            Some(due) if due > self.at => {
                let wait = Period::from(due.since(self.at));
                text.push_str(&format!("\nlooks at it next at {}, in {wait}", print_time(due)));
            }
            Some(_) => text.push_str("\nlooks at it now"),
            None if self.is_now => {
                text.push_str("\nhas nothing to tell before something changes");
            }
            None => {}
        }
        text
    }

    fn delivery(&self) -> Delivery {
        let attempts = self.lanes.iter().flat_map(|lane| &lane.attempts);
        let about: Vec<_> = attempts.filter(|attempt| attempt.firing).collect();
        let noted = self.lanes.iter().filter_map(|on| Some((on.told.as_ref()?.at, &on.lane)));
        let sent = about.iter().filter(|a| a.is_delivered).map(|a| (a.at, &a.lane));
        // The first message that said so is the page; later ones repeat it.
        let told = sent.min_by_key(|(at, _)| *at).or_else(|| noted.min_by_key(|(at, _)| *at));
        if let Some((at, lane)) = told {
            return Delivery::Told { at, lane: lane.clone() };
        }
        if self.lanes.is_empty() {
            return Delivery::NoWay;
        }
        let failed = about.iter().filter(|attempt| !attempt.is_delivered).max_by_key(|a| a.at);
        match failed {
            Some(failed) => Delivery::Failed(failed.line()),
            None if self.lanes.iter().any(|lane| lane.waits) => Delivery::Waits(None),
            None => Delivery::Waits(self.due.filter(|_| self.is_now)),
        }
    }

    fn delivery_text(&self) -> String {
        let mut lines = Vec::new();
        for on in &self.lanes {
            let shown = on.attempts.len().saturating_sub(MOST_ATTEMPTS);
            for attempt in &on.attempts[shown..] {
                lines.push(format!("{}: {}", on.lane, attempt.line()));
            }
            if on.waits {
                lines.push(format!("{}: a message waits to be taken", on.lane));
            } else if let (Some(told), true) = (&on.told, on.attempts.is_empty()) {
                lines.push(format!("{}: told at {}", on.lane, print_time(told.at)));
            } else if on.attempts.is_empty() {
                lines.push(format!("{}: nothing was tried", on.lane));
            }
        }
        if lines.is_empty() {
            lines.push(format!("`{}` has no way to be told", self.route.receiver));
        }
        lines.join("\n")
    }
}

/// How far the message came.
enum Delivery {
    Told { at: Timestamp, lane: String },
    Failed(String),
    Waits(Option<Timestamp>),
    NoWay,
}

impl Delivery {
    fn verdict(&self, receiver: &str) -> String {
        match self {
            Self::Told { at, lane } => {
                format!("`{receiver}` was told at {} by {lane}", print_time(*at))
            }
            Self::Failed(why) => format!("`{receiver}` could not be told: {why}"),
            Self::Waits(Some(due)) => {
                format!("`{receiver}` is not told yet: its group waits until {}", print_time(*due))
            }
            Self::Waits(None) => format!("`{receiver}` is not told yet"),
            Self::NoWay => format!("`{receiver}` is nobody: it has no way to be told"),
        }
    }
}
