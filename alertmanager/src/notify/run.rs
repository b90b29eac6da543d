//! The loop of a lane: takes what is due, hands it over, notes what came of it.
//!
//! Invariant: a message is handed over only while it stands in the outbox, and leaves it only with
//! a note of what came of it; so a crash at any point repeats at most the message that was on its
//! way, under the same id.

use std::sync::Arc;
use std::time::Duration;

use base::backoff::Backoff;
use base::clock::Stopwatch;
use base::own_metrics::{HistogramVec, IntCounterVec, OwnMetrics};
use base::sample::Timestamp;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::notifier::{DeliveryError, Notification, Notifier};
use super::status::LaneStates;
use crate::alerts::Alert;
use crate::outbox::{Due, Outbox};

/// The longest that handing over a message may take.
const LIMIT: Duration = Duration::from_secs(20);
/// From the first failure to the next try, and the longest between two (F13).
const FIRST_DELAY: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_secs(60);

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

/// A lane: one way to one receiver.
#[derive(Clone, Debug)]
pub struct LaneRunner {
    /// Its name: `ops/email/0`.
    pub lane: String,
    /// The service.
    pub notifier: Arc<dyn Notifier>,
    /// Where its messages are.
    pub outbox: Outbox,
    /// Where people see how it is doing.
    pub states: LaneStates,
    /// Counters.
    pub metrics: NotifyMetrics,
    /// Where people reach us.
    pub external_url: Arc<str>,
}

impl LaneRunner {
    /// Delivers until `stop`; a message that is on its way then may still arrive.
    ///
    /// # Errors
    ///
    /// The state failed; what was not noted is delivered again under its id.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        loop {
            let queued = self.outbox.queued();
            tokio::pin!(queued);
            queued.as_mut().enable();
            let now = Timestamp::now();
            let pause = match self.outbox.next(&self.lane, now) {
                Ok(due) => {
                    let Some(pause) = self.deliver(&due).await? else {
                        if stop.is_cancelled() {
                            return Ok(());
                        }
                        continue;
                    };
                    // The service asked for it: nothing else goes to it meanwhile (F12).
                    tokio::select! {
                        () = stop.cancelled() => return Ok(()),
                        () = sleep(pause) => continue,
                    }
                }
                Err(next_at) => next_at.map_or(Duration::from_secs(60), |at| at.since(now)),
            };
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = queued => {}
                () = sleep(pause) => {}
            }
        }
    }

    /// Hands over one message; returns how long the service asks us to be silent.
    async fn deliver(&self, due: &Due) -> anyhow::Result<Option<Duration>> {
        let mut alerts: Vec<&Arc<Alert>> = due.flush.alerts.iter().collect();
        alerts.sort_by(|a, b| {
            b.is_firing().cmp(&a.is_firing()).then_with(|| a.labels.cmp(&b.labels))
        });
        let alerts = alerts.into_iter().map(|alert| Alert::clone(alert)).collect();
        let notification = Notification {
            id: due.id.clone(),
            thread: due.thread.clone(),
            reference: due.reference.clone(),
            receiver: due.flush.receiver.clone(),
            group_key: due.key.group_key.clone(),
            group_labels: due.flush.group_labels.clone(),
            route_labels: due.flush.route_labels.clone(),
            reason: due.flush.reason,
            alerts,
            at: Timestamp::now(),
            external_url: self.external_url.to_string(),
        };
        let integration = self.notifier.integration();
        let watch = Stopwatch::start();
        let handed = match timeout(LIMIT, self.notifier.notify(&notification)).await {
            Ok(handed) => handed,
            Err(_) => Err(DeliveryError::transient(format!("no answer within {LIMIT:?}"))),
        };
        self.metrics.duration.with_label_values(&[integration]).observe(watch.seconds());
        let now = Timestamp::now();
        let count = |result: &str| {
            let labels = [due.flush.receiver.as_str(), integration, result];
            self.metrics.notifications.with_label_values(&labels).inc();
        };
        match handed {
            Ok(receipt) => {
                count("delivered");
                self.states.delivered(&self.lane, now);
                info!(
                    lane = self.lane,
                    group = due.key.group_key,
                    reason = due.flush.reason.as_str(),
                    "delivered"
                );
                self.outbox.delivered(due, receipt.reference, now).await?;
                Ok(None)
            }
            Err(DeliveryError::Transient { reason, retry_after }) => {
                count("failed");
                self.states.failed(&self.lane, now, &reason, false);
                let seed = due.id.bytes().fold(7, |n: u64, b| n.wrapping_mul(31) + u64::from(b));
                let delay = Backoff::delay(
                    FIRST_DELAY,
                    LONGEST_DELAY,
                    due.attempts.saturating_add(1),
                    seed,
                );
                let delay = delay.max(retry_after.unwrap_or_default());
                warn!(lane = self.lane, attempt = due.attempts + 1, again_in = ?delay, reason, "not delivered");
                self.outbox.postponed(due, now + delay, &reason).await?;
                Ok(retry_after)
            }
            Err(DeliveryError::Permanent { reason }) => {
                count("refused");
                self.states.failed(&self.lane, now, &reason, true);
                error!(lane = self.lane, group = due.key.group_key, reason, "refused for good");
                self.outbox.refused(due).await?;
                Ok(None)
            }
        }
    }
}
