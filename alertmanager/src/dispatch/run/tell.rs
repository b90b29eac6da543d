//! What is news to each who hears of a group, and is queued.
//!
//! Invariant: what waits for a lane is what it is to be told now, or nothing.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use base::labels::Labels;
use base::sample::Timestamp;

use super::super::audience::Listener;
use super::super::decide::{Decision, Known, News, decide, says_the_same};
use super::super::group::Group;
use super::Dispatcher;
use crate::alerts::Alert;
use crate::outbox::{Answer, Flush, LaneGroup, Reason, Standing};
use crate::state::StateError;

/// Texts that have waited for longer are replaced by what is true now, if not by their meaning then
/// by their words.
const STALE_TEXTS: Duration = Duration::from_secs(15 * 60);

impl Dispatcher {
    /// Adds to `flushes` for each of `audience` what is news to it of a group, of which `held` are
    /// held back; returns when the first of them is to be told again although nothing changed.
    pub(super) async fn tell(
        &self,
        group: &Group,
        held: &BTreeSet<Labels>,
        audience: &[Listener],
        now: Timestamp,
        flushes: &mut Vec<(LaneGroup, Flush)>,
    ) -> Result<Option<Timestamp>, StateError> {
        let route = Arc::clone(group.route());
        // With their newest texts, which alone are no reason to tell anybody anything.
        let alerts = self.alerts.newest(group.alerts());
        let group_key = group.key().to_string();
        let bout = self.escalations.get(&group_key);
        let mut repeat_at: Option<Timestamp> = None;
        for listener in audience {
            let key = LaneGroup { lane: listener.lane.id.clone(), group_key: group_key.clone() };
            let Standing { told, intended } = self.outbox.standing(&key);
            let known = Known {
                told: told.as_ref().map_or(&[], |told| told.firing.as_slice()),
                told_at: told.as_ref().map(|told| told.at),
            };
            let waiting = self.waiting(group, &key);
            let word = super::escalate::word(listener, &route, bout.as_deref());
            let firing = known.told.iter().filter(|_| word.only_known);
            let firing: HashSet<&Labels> = firing.map(|alert| &alert.labels).collect();
            let is_held = |labels: &Labels| {
                held.contains(labels)
                    || waiting.contains(labels)
                    || !listener.hears(labels)
                    || word.only_known && !firing.contains(labels)
            };
            let send_resolved = listener.lane.send_resolved;
            match decide(known, &alerts, now, word.again, send_resolved, &is_held) {
                Decision::Nothing => {
                    if intended.is_some() {
                        // It was over before anybody was told.
                        self.outbox.withdraw(&key).await?;
                    }
                    if let (Some(told), Some(every)) = (told, word.again.every) {
                        let at = told.at + every.duration();
                        repeat_at = Some(repeat_at.map_or(at, |other| other.min(at)));
                    }
                }
                Decision::CountAsTold(firing) => {
                    if intended.is_some() {
                        self.outbox.withdraw(&key).await?;
                    }
                    self.outbox.count_as_told(&key, firing).await?;
                }
                Decision::Tell(News { reason, mut alerts, kept }) => {
                    if listener.is_own && listener.receiver != route.receiver {
                        alerts.iter_mut().for_each(|alert| in_place_of(alert, &route.receiver));
                    }
                    let is_called = reason == Reason::First && word.answer.is_missing;
                    let reason = if is_called { Reason::Escalated } else { reason };
                    // Of what is over nobody need answer.
                    let fires = alerts.iter().any(|alert| alert.is_firing());
                    let answer = if fires { word.answer } else { Answer::default() };
                    let flush = Flush {
                        receiver: listener.receiver.clone(),
                        group_labels: group.key().labels.clone(),
                        route_labels: route.labels.clone(),
                        reason,
                        alerts,
                        kept,
                        answer,
                    };
                    match intended {
                        Some(before) if is_same(&before.flush, &flush) => {
                            if before.refused {
                                // As Alertmanager does, whenever the group is looked at.
                                self.outbox.hasten(&key, now);
                            }
                            let stale = STALE_TEXTS.min(route.repeat_interval.duration());
                            if now.since(before.fresh_at) >= stale {
                                self.outbox.refresh(&key, flush, now).await?;
                            }
                        }
                        _ => flushes.push((key, flush)),
                    }
                }
            }
        }
        Ok(repeat_at)
    }
}

/// Whether two messages say the same.
fn is_same(a: &Flush, b: &Flush) -> bool {
    a.answer == b.answer && says_the_same(&a.alerts, &b.alerts) && says_the_same(&a.kept, &b.kept)
}

/// Says in the texts of an alert in whose place somebody hears of it.
fn in_place_of(alert: &mut Arc<Alert>, receiver: &str) {
    let text = format!("told in the place of `{receiver}`, which cannot be reached");
    Arc::make_mut(alert).annotations.insert("in_place_of".to_owned(), text);
}
