//! A lane: one way to one receiver. Takes what is due, hands it over, notes what came of it.
//!
//! ```text
//! taken ──▶ delivered, or shortened     told, out of the outbox
//!      └──▶ failed                      again, ever more seldom, and the lane rests as long
//!      └──▶ refused for good            in its minimal form, if the message may be to blame;
//!                                       else by the fallback, and again ever more seldom
//! ```
//!
//! Invariant: a message is handed over only while it stands in the outbox, and leaves it only with
//! a note of what came of it; so a crash at any point repeats at most the message that was on its
//! way, under the same id.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base::backoff::Backoff;
use base::clock::Stopwatch;
use base::own_metrics::{HistogramVec, IntCounterVec, OwnMetrics};
use base::sample::Timestamp;
use tokio::time::timeout;
use tracing::{error, info, warn};

use super::minimal::minimal;
use super::notifier::{DeliveryError, Notification, Notifier, Receipt};
use super::status::LaneStates;
use crate::crash;
use crate::outbox::{Due, LONGEST_WAIT, Outbox};
use crate::state::{Attempt, AttemptAlert, AttemptResult};

/// The longest that handing over a message may take, where its receiver says nothing else.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(20);
/// From the first failure to the next try, and the longest between two; a quarter of it may be taken
/// off, so that there is at most one try a minute then (F13).
const FIRST_DELAY: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_secs(80);
/// From a refusal to the next try: somebody has to mend something first.
const AFTER_REFUSAL: Duration = Duration::from_secs(60);
/// How long a message waits that must not be handed over now.
const GATE_DELAY: Duration = Duration::from_secs(1);
/// How long a message waits for dispatch to look at it again, and how often.
const RECHECK_DELAY: Duration = Duration::from_millis(20);
const MOST_RECHECKS: u32 = 50;
/// How long a lane waits that has nothing to do.
const IDLE: Duration = Duration::from_secs(60);

/// Counters of delivery.
#[derive(Clone, Debug)]
pub struct NotifyMetrics {
    notifications: IntCounterVec,
    duration: HistogramVec,
}

impl NotifyMetrics {
    /// Adds them to `metrics`.
    pub fn new(metrics: &OwnMetrics) -> Self {
        Self {
            notifications: metrics.counters(
                "veilleur_notifications_total",
                "Messages handed to receivers, by what came of it.",
                &["receiver", "integration", "result"],
            ),
            duration: metrics.seconds_by(
                "veilleur_delivery_duration_seconds",
                "How long handing over a message took.",
                &["integration"],
            ),
        }
    }
}

/// Says why nothing is to be handed over at a time, if so.
type WhyNot = dyn Fn(Timestamp) -> Option<String> + Send + Sync;

/// Keeps a lane from handing anything over while something else is wrong.
#[derive(Clone)]
pub struct Gate(Arc<WhyNot>);

impl Gate {
    /// A gate that is closed while `why_not` says why.
    pub fn new(why_not: impl Fn(Timestamp) -> Option<String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(why_not))
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gate")
    }
}

/// Says whether a message must not be handed over as it is: somebody has just silenced what it tells, or
/// answered.
#[derive(Clone)]
pub struct Recheck(Arc<IsHeld>);

type IsHeld = dyn Fn(&Due, Timestamp) -> bool + Send + Sync;

impl Recheck {
    /// Asks `is_held` before a message is handed over.
    pub fn new(is_held: impl Fn(&Due, Timestamp) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(is_held))
    }
}

impl fmt::Debug for Recheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recheck")
    }
}

/// A lane.
#[derive(Clone, Debug)]
pub struct LaneRunner {
    /// Its name: `ops/email/0`.
    pub lane: String,
    /// The service.
    pub notifier: Arc<dyn Notifier>,
    /// The longest that handing over a message may take.
    pub timeout: Duration,
    /// What must be well for anything to be handed over.
    pub gate: Option<Gate>,
    /// What is looked at once more before a message is handed over.
    pub recheck: Option<Recheck>,
    /// Where its messages are.
    pub outbox: Outbox,
    /// Where people see how it is doing.
    pub states: LaneStates,
    /// Counters.
    pub metrics: NotifyMetrics,
    /// Where people reach us.
    pub external_url: Arc<str>,
}

/// When a lane is to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// There may be more.
    AtOnce,
    /// After a rest.
    After(Duration),
    /// When something is queued, and after that time at the latest.
    WhenQueued(Duration),
}

/// What a lane remembers from one message to the next.
#[derive(Debug, Default)]
pub struct Pace {
    /// How many tries in a row came to nothing.
    failures: u32,
    /// What was delivered and when, where the state did not take the note.
    unnoted: Option<(Due, Receipt, Timestamp)>,
    /// Whether the gate was closed when it was last asked.
    gated: bool,
    /// The message that dispatch is to look at again, and how often it was waited for.
    rechecked: Option<(String, u32)>,
}

impl LaneRunner {
    /// Hands over the message whose turn it is at `now`, if there is one.
    pub async fn step(&self, pace: &mut Pace, now: Timestamp) -> Next {
        // Sent already: to send it again because our disk is full would be no good.
        if let Some((due, receipt, at)) = pace.unnoted.take() {
            return self.note(pace, due, receipt, at).await;
        }
        let due = match self.outbox.next(&self.lane, now) {
            Ok(due) => due,
            Err(at) => return Next::WhenQueued(at.map_or(IDLE, |at| at.since(now))),
        };
        if self.awaits_dispatch(&due, pace, now) {
            return Next::After(RECHECK_DELAY);
        }
        let why_not = self.gate.as_ref().and_then(|Gate(why_not)| why_not(now));
        if let (Some(why), false) = (&why_not, pace.gated) {
            warn!(lane = self.lane, why, "nothing is handed over for now");
        }
        pace.gated = why_not.is_some();
        match pace.gated {
            true => Next::After(GATE_DELAY),
            false => self.deliver(due, pace, now).await,
        }
    }

    /// Whether dispatch is about to withdraw the message, or to put another in its place: what it tells
    /// was silenced after it was queued (F20). Dispatch takes milliseconds; whatever it has not
    /// changed after a second is meant.
    fn awaits_dispatch(&self, due: &Due, pace: &mut Pace, now: Timestamp) -> bool {
        let is_held = self.recheck.as_ref().is_some_and(|Recheck(held)| held(due, now));
        let waited = pace.rechecked.take().filter(|(id, _)| *id == due.id).map_or(0, |(_, n)| n);
        if is_held && waited < MOST_RECHECKS {
            pace.rechecked = Some((due.id.clone(), waited + 1));
            return true;
        }
        false
    }

    async fn deliver(&self, mut due: Due, pace: &mut Pace, now: Timestamp) -> Next {
        // Lost where the machine fails, too: then an end may go untold; the message is not delayed.
        if let Err(error) = self.outbox.handing_over(&due).await {
            warn!(lane = self.lane, %error, "that a message is handed over cannot be noted");
        }
        let watch = Stopwatch::start();
        let whole = Notification::of(&due, now, &self.external_url);
        let mut handed = self.hand_over(&whole, AttemptResult::Delivered, &mut due, now).await;
        if let Err(DeliveryError::Permanent { reason }) = &handed
            && reason.blames_message()
            && let Some(short) = minimal(&whole)
        {
            warn!(lane = self.lane, group = due.key.group_key, %reason, "sent again in its minimal form");
            let at = now + watch.elapsed();
            let short = Notification { at, ..short };
            handed = self.hand_over(&short, AttemptResult::Shortened, &mut due, at).await;
            if handed.is_ok() {
                self.states.shortened(&self.lane, at);
            }
        }
        let at = now + watch.elapsed();
        let seed = due.id.bytes().fold(7, |n: u64, b| n.wrapping_mul(31) + u64::from(b));
        let (refused, reason, retry_after) = match handed {
            Ok(receipt) => {
                crash::point("message.sent");
                let (group, reason) = (&due.key.group_key, due.flush.reason.as_str());
                info!(lane = self.lane, group, reason, "delivered");
                self.states.delivered(&self.lane, at);
                pace.failures = 0;
                return self.note(pace, due, receipt, at).await;
            }
            Err(DeliveryError::Transient { reason, retry_after, .. }) => {
                (false, reason, retry_after)
            }
            Err(DeliveryError::Permanent { reason }) => (true, reason.to_string(), None),
        };
        self.states.failed(&self.lane, at, &reason, refused);
        pace.failures = pace.failures.saturating_add(1);
        let rest = Backoff::delay(FIRST_DELAY, LONGEST_DELAY, pace.failures, seed);
        let rest = rest.max(retry_after.unwrap_or_default());
        let tries = due.attempts.saturating_add(1);
        let (first, longest) =
            if refused { (AFTER_REFUSAL, LONGEST_WAIT) } else { (FIRST_DELAY, LONGEST_DELAY) };
        let delay =
            Backoff::delay(first, longest, tries, seed).max(retry_after.unwrap_or_default());
        let noted = if refused {
            error!(lane = self.lane, group = due.key.group_key, reason, again_in = ?delay, "refused for good");
            self.outbox.refused(&due, at + delay, &reason).await
        } else {
            warn!(lane = self.lane, attempt = tries, again_in = ?delay, reason, "not delivered");
            self.outbox.postponed(&due, at + delay, &reason).await
        };
        if let Err(error) = noted {
            error!(lane = self.lane, %error, "what came of a message cannot be noted");
        }
        Next::After(rest)
    }

    /// Hands a message over once, and adds to the tries of `due` what came of it.
    async fn hand_over(
        &self,
        notification: &Notification,
        success: AttemptResult,
        due: &mut Due,
        now: Timestamp,
    ) -> Result<Receipt, DeliveryError> {
        let integration = self.notifier.integration();
        let watch = Stopwatch::start();
        let handed = match timeout(self.timeout, self.notifier.notify(notification)).await {
            Ok(handed) => handed,
            Err(_) => {
                let reason = format!("no answer within {:?}", self.timeout);
                Err(DeliveryError::transient(reason).after_sending())
            }
        };
        if let Err(DeliveryError::Transient { in_doubt: true, .. }) = handed {
            due.may_have_arrived = true;
        }
        let took = watch.elapsed();
        self.metrics.duration.with_label_values(&[integration]).observe(took.as_secs_f64());
        let (result, answer) = match &handed {
            Ok(_) => (success, String::new()),
            Err(DeliveryError::Transient { reason, .. }) => (AttemptResult::Failed, reason.clone()),
            Err(DeliveryError::Permanent { reason }) => {
                (AttemptResult::Refused, reason.to_string())
            }
        };
        let labels = [due.flush.receiver.as_str(), integration, result.as_str()];
        self.metrics.notifications.with_label_values(&labels).inc();
        let tried = u32::try_from(due.tries.len()).unwrap_or(u32::MAX);
        due.tries.push(Attempt {
            at: now,
            took,
            receiver: due.flush.receiver.clone(),
            lane: self.lane.clone(),
            group_key: due.key.group_key.clone(),
            message: due.id.clone(),
            number: due.attempts.saturating_add(tried).saturating_add(1),
            reason: due.flush.reason.as_str().to_owned(),
            alerts: due.flush.alerts.iter().map(|alert| AttemptAlert::of(alert)).collect(),
            alert_count: due.flush.alerts.len(),
            result,
            answer,
        });
        handed
    }

    /// Notes that `due` was delivered; where the state does not take it, it is noted later, and
    /// nothing is sent before.
    async fn note(&self, pace: &mut Pace, due: Due, receipt: Receipt, at: Timestamp) -> Next {
        match self.outbox.delivered(&due, receipt.reference.clone(), at).await {
            Ok(()) => Next::AtOnce,
            Err(error) => {
                error!(lane = self.lane, %error, "what was delivered cannot be noted");
                pace.unnoted = Some((due, receipt, at));
                Next::After(FIRST_DELAY)
            }
        }
    }
}

#[cfg(test)]
mod tests;
