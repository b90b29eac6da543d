//! What a run before, or another configuration, has left: messages on their way, and people who were
//! told of what there is no more.
//!
//! Invariant: whoever was told that something fires is told when it is over, also where nothing leads
//! to them any more (F04).

use std::collections::HashSet;

use base::labels::Labels;
use base::sample::Timestamp;
use tracing::{info, warn};

use super::{Dispatcher, held};
use crate::alerts::Alert;
use crate::outbox::{Answer, Flush, LaneGroup, Reason, Standing};
use crate::state::StateError;

impl Dispatcher {
    /// Takes over what a run before, or another configuration, left: what it was about to tell and
    /// is no longer so is withdrawn, and who was told and has lost its route is remembered. To be
    /// called before anything is delivered.
    ///
    /// # Errors
    ///
    /// The state failed.
    pub async fn adopt(&mut self) -> Result<(), StateError> {
        let now = self.made_at;
        // What is told of silences and windows is no group of alerts.
        let groups = |keys: Vec<LaneGroup>| keys.into_iter().filter(|key| !key.is_notice());
        let told: HashSet<_> = groups(self.outbox.told_keys()).collect();
        for key in groups(self.outbox.intended_keys()) {
            let configured = self.lanes.values().flatten().any(|lane| lane.id == key.lane);
            if !configured || !self.is_served(&key, now) && !told.contains(&key) {
                info!(lane = key.lane, "a message is withdrawn: it is no longer to be told");
                self.outbox.withdraw(&key).await?;
            }
        }
        self.orphans = told.into_iter().filter(|key| !self.is_served(key, now)).collect();
        self.renew(now).await?;
        self.go_on_escalating(now).await
    }

    /// Compares what waits with what is true: what has ended since is not told as firing.
    pub(super) async fn renew(&self, now: Timestamp) -> Result<(), StateError> {
        for key in self.outbox.intended_keys() {
            for group in self.groups.named(&key.group_key) {
                let Some(group) = self.groups.get(*group) else { continue };
                let mut audience = self.audience(group, now);
                audience.retain(|listener| listener.lane.id == key.lane);
                let (held, mut flushes) = (held(group, &self.mutes, now), Vec::new());
                self.tell(group, &held, &audience, now, &mut flushes).await?;
                self.outbox.enqueue(flushes, now).await?;
            }
        }
        Ok(())
    }

    /// What was told of groups that there are no more: the route or the alert went while we were
    /// away or were given another configuration. When its alerts have ended, the receiver is told
    /// so (F04).
    pub(super) async fn reconcile(&mut self, now: Timestamp) -> Result<(), StateError> {
        let mut flushes = Vec::new();
        for key in self.orphans.clone() {
            let Standing { told: Some(told), intended } = self.outbox.standing(&key) else {
                self.orphans.remove(&key);
                continue;
            };
            if self.is_served(&key, now) {
                self.orphans.remove(&key);
                continue;
            }
            let still_fires = |alert: &Alert| {
                self.alerts.get(&alert.labels).is_some_and(|alert| alert.is_firing())
            };
            let is_held = |alert: &Alert| self.mutes.is_held(&alert.labels, now);
            let waits = told.firing.iter().any(|alert| still_fires(alert) || is_held(alert))
                || intended.is_some();
            let lane = self.lanes.values().flatten().find(|lane| lane.id == key.lane);
            match lane {
                Some(_) if waits => {}
                Some(lane) if lane.send_resolved => {
                    warn!(lane = key.lane, group = key.group_key, "an ending is told late");
                    let alerts = told.firing.iter().map(|alert| self.now(alert, now)).collect();
                    let receiver = told.receiver.clone();
                    let group_labels = told.group_labels.clone();
                    let reason = Reason::Resolved;
                    // The route may be gone.
                    let (route_labels, kept, answer) =
                        (Labels::empty(), Vec::new(), Answer::default());
                    let flush = Flush {
                        receiver,
                        group_labels,
                        route_labels,
                        reason,
                        alerts,
                        kept,
                        answer,
                    };
                    flushes.push((key, flush));
                }
                _ => {
                    if lane.is_none() {
                        info!(lane = key.lane, "the receiver is no longer configured");
                    }
                    self.outbox.count_as_told(&key, Vec::new()).await?;
                }
            }
        }
        self.outbox.enqueue(flushes, now).await
    }
}
