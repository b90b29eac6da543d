//! The loop of dispatch, and the groups that it keeps.
//!
//! What a pass costs grows with what has changed and what is due, not with what there is.
//!
//! Invariant: an intent is durable before anything else happens with it; a group is looked at only
//! when it is due, or when news of its messages came.

mod adopt;
mod tell;
mod escalate;
mod reload;
mod first_round;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use base::clock::SteadyClock;
use base::labels::Labels;
use base::sample::Timestamp;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::ask::AskDispatch;
use super::audience::{Fallbacks, Listener, World, about};
use super::group::{Group, GroupKey};
use super::groups::{GroupId, Groups};
use super::route::Route;
use crate::alerts::{Alert, Alerts, Ending};
use crate::crash;
use crate::escalation::Escalations;
use crate::mute::{Effects, Mutes};
use crate::outbox::{LaneGroup, LastTold, Outbox, Standing};
use crate::state::StateError;

/// One way to a receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lane {
    /// Its name: `ops/email/0`.
    pub id: String,
    /// Whether it is told that alerts have ended.
    pub send_resolved: bool,
}

/// The lanes of each receiver.
pub type Lanes = BTreeMap<String, Vec<Lane>>;

/// How often it looks although nothing woke it: a lost wake-up costs no more.
const AT_LEAST: Duration = Duration::from_secs(5);

/// The groups, and what decides about them.
#[derive(Debug)]
pub struct Dispatcher {
    root: Arc<Route>,
    lanes: Lanes,
    fallbacks: Fallbacks,
    alerts: Alerts,
    outbox: Outbox,
    mutes: Mutes,
    escalations: Escalations,
    /// Groups with a bout of which something may have changed that decides about it.
    unsettled: BTreeSet<GroupId>,
    /// What the silences and the minute were when groups were last compared with them.
    muted_at: (u64, Option<Timestamp>, i64),
    /// Whom alerts may hold back, or let go, that have begun or ended since then.
    effects: Effects,
    groups: Groups,
    /// The nodes of the tree by their places, each alone.
    routes: Vec<Arc<Route>>,
    /// When it last looked: a clock that was set back is told by it.
    looked_at: Timestamp,
    /// What was told of groups that there are no more, or by lanes that no longer serve them.
    orphans: HashSet<LaneGroup>,
    questions: AskDispatch,
    made_at: Timestamp,
    /// How many parts of the first round were over when it last looked.
    round_over: u64,
}

impl Dispatcher {
    /// A dispatcher for a configuration. The groups of what fires now are made at once, and go on
    /// from what was told before.
    pub fn new(
        root: Route,
        lanes: Lanes,
        alerts: Alerts,
        outbox: Outbox,
        mutes: Mutes,
        now: Timestamp,
    ) -> Self {
        let mut dispatcher = Self {
            routes: root.all().into_iter().map(|route| Arc::new(route.alone())).collect(),
            root: Arc::new(root),
            lanes,
            fallbacks: Fallbacks::new(),
            alerts,
            outbox,
            mutes,
            escalations: Escalations::default(),
            unsettled: BTreeSet::new(),
            muted_at: Default::default(),
            effects: Effects::default(),
            groups: Groups::default(),
            looked_at: now,
            orphans: HashSet::new(),
            questions: AskDispatch::default(),
            made_at: now,
            round_over: 0,
        };
        let alerts = dispatcher.alerts.unsorted();
        for alert in &alerts {
            dispatcher.mutes.put(alert, &mut Effects::default());
        }
        for alert in alerts {
            dispatcher.take(alert, now);
        }
        for id in dispatcher.groups.ids() {
            dispatcher.groups.change(id, |group| group.go_on(now));
        }
        dispatcher
    }

    /// Answers those who ask by `questions`.
    pub fn answering(self, questions: AskDispatch) -> Self {
        Self { questions, ..self }
    }

    /// The same, where it is kept who was told for want of an answer, and who has answered.
    #[must_use]
    pub fn escalating(self, escalations: Escalations) -> Self {
        Self { escalations, ..self }
    }

    /// The same, where receivers that cannot be told have others in their place.
    #[must_use]
    pub fn with_fallbacks(self, fallbacks: Fallbacks) -> Self {
        Self { fallbacks, ..self }
    }

    /// Whether there is a group of that key of which that lane hears.
    fn is_served(&self, key: &LaneGroup, now: Timestamp) -> bool {
        let groups = self.groups.named(&key.group_key).iter();
        groups.filter_map(|id| self.groups.get(*id)).any(|group| {
            let own = self.lanes.get(&group.route().receiver);
            own.is_some_and(|lanes| lanes.iter().any(|lane| lane.id == key.lane))
                || self.audience(group, now).iter().any(|listener| listener.lane.id == key.lane)
        })
    }

    fn world(&self) -> World<'_> {
        let (lanes, fallbacks, outbox) = (&self.lanes, &self.fallbacks, &self.outbox);
        World { lanes, fallbacks, root: &self.root.receiver, outbox }
    }

    /// Who hears of a group.
    fn audience(&self, group: &Group, now: Timestamp) -> Vec<Listener> {
        let (route, world, key) = (group.route(), self.world(), group.key().to_string());
        let mut audience = world.audience(&route.receiver, &key, has_reports(group), now);
        if !route.escalation.steps.is_empty() {
            world.add_steps(route, self.escalations.get(&key).as_deref(), &mut audience);
        }
        audience
    }

    /// Dispatches until `stop`, and gives itself back to whoever goes on with the groups.
    ///
    /// # Errors
    ///
    /// The state failed; the groups are as before, and the supervisor starts again.
    pub async fn run(
        mut self,
        clock: SteadyClock,
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        loop {
            let now = clock.believed();
            let next = self.step(now).await?;
            self.questions.answer(|key| {
                let id = self.groups.named(key).first()?;
                self.groups.get(*id).map(Group::times)
            });
            let wait = next.map_or(AT_LEAST, |next| next.since(now).min(AT_LEAST));
            tokio::select! {
                () = stop.cancelled() => return Ok(self),
                () = self.alerts.changed() => {}
                () = self.outbox.news() => {}
                () = self.questions.asked() => {}
                () = self.mutes.silences.changed() => {}
                () = self.mutes.first_round.changed() => {}
                () = self.escalations.changed() => {}
                () = sleep(wait) => {}
            }
        }
    }

    /// Looks at everything that is due at `now`; returns when the next thing is.
    ///
    /// # Errors
    ///
    /// The state failed; what was due still is.
    pub async fn step(&mut self, now: Timestamp) -> Result<Option<Timestamp>, StateError> {
        let round_over = self.mutes.first_round.over();
        self.take_changed(now);
        if now < self.looked_at {
            for id in self.groups.ids() {
                self.groups.change(id, |group| group.set_back(now));
            }
        }
        self.looked_at = now;
        if self.compare_held(now) {
            self.renew(now).await?;
        }
        self.end_waiting(round_over, now);
        self.heed_answers(now).await?;
        for news in self.outbox.take_news() {
            crash::point("receipt.seen");
            for id in self.groups.named(&news.group_key).to_vec() {
                self.groups.change(id, |group| group.touch(now));
                self.let_go(id);
                self.divert(id, now).await?;
            }
            // It was over, withdrawn and let go while it was on its way, and it arrived.
            if !news.is_notice() && !self.is_served(&news, now) {
                self.orphans.insert(news);
            }
        }
        self.flush(self.groups.due(now), now).await?;
        self.escalate(now).await?;
        self.reconcile(now).await?;
        self.alerts.forget_ended(now);
        let due = self.groups.next_due();
        Ok(due.into_iter().chain(self.mutes.next_edge(now)).min())
    }

    /// Takes what is new of alerts.
    fn take_changed(&mut self, now: Timestamp) {
        for alert in self.alerts.take_changed() {
            self.mutes.put(&alert, &mut self.effects);
            self.take(alert, now);
        }
    }

    /// Finds the groups of which something else is held back now: where that was changed by an alert,
    /// and where a silence or a minute has begun or ended. True where something is held back now that
    /// was not: it may stand in a message that waits.
    fn compare_held(&mut self, now: Timestamp) -> bool {
        let effects = std::mem::take(&mut self.effects);
        let (version, edge) = self.mutes.epoch(now);
        let muted_at = (version, edge, now.millis().div_euclid(60_000));
        let all = (self.muted_at.0, self.muted_at.1) != (version, edge);
        let minute = self.muted_at.2 != muted_at.2
            && self.routes.iter().any(|route| !route.times.is_always());
        // What has settled already need not wait a second time.
        let since = if self.muted_at.1 == edge { now } else { self.mutes.let_go_since(edge, now) };
        self.muted_at = muted_at;
        if !all && !minute && effects.is_nobody() {
            return false;
        }
        let mut more = false;
        for id in self.groups.ids() {
            let Some(group) = self.groups.get(id) else { continue };
            let route = group.route();
            let is_concerned =
                || effects.may_concern(&group.key().labels, |name| route.group_by.has(name));
            if all || minute && !route.times.is_always() || is_concerned() {
                let held = held(group, &self.mutes, now);
                if group.has_bout() {
                    self.unsettled.insert(id);
                }
                let holds_more = |group: &mut Group| group.hold(held, since);
                more |= self.groups.change(id, holds_more).unwrap_or(false);
            }
        }
        more
    }

    /// Puts an alert into the groups that it belongs to.
    fn take(&mut self, alert: Arc<Alert>, now: Timestamp) {
        let root = Arc::clone(&self.root);
        for route in root.of(&alert.labels).iter() {
            let key = GroupKey::of(route, &alert.labels);
            let known = self.groups.find(route.place, &key.labels);
            // Of what has ended nobody was told here; what others know is reconciled below.
            let id = match known {
                Some(id) => id,
                None if alert.is_firing() => self.begin_group(route, key, &alert, now),
                None => continue,
            };
            let has_bout = self.groups.change(id, |group| {
                group.insert(Arc::clone(&alert), now);
                group.has_bout()
            });
            if has_bout == Some(true) {
                self.unsettled.insert(id);
            }
        }
    }

    /// A group that `alert` is the first of.
    fn begin_group(
        &mut self,
        route: &Route,
        key: GroupKey,
        alert: &Alert,
        now: Timestamp,
    ) -> GroupId {
        // A drill comes by a route that is not in the tree.
        let shared = self.routes.get(route.place).map(Arc::clone);
        let route = shared.unwrap_or_else(|| Arc::new(route.alone()));
        let id = key.to_string();
        let group = self.group(key, route, alert.starts_at, now);
        self.groups.insert(id, group)
    }

    /// A group of alerts the first of which began at `began`, with what its receiver knows.
    fn group(&self, key: GroupKey, route: Arc<Route>, began: Timestamp, now: Timestamp) -> Group {
        let told = self.told(&route, &key.to_string());
        let told_at = told.iter().map(|told| told.at).max();
        let mut group = Group::new(key, route, began, now, told_at);
        // What has ended while nobody watched.
        for known in told.iter().flat_map(|told| &told.firing) {
            group.insert(self.now(known, now), now);
        }
        group.set_back(now);
        group
    }

    /// What the lanes of the receiver of `route` were last told of a group.
    fn told(&self, route: &Route, group_key: &str) -> Vec<Arc<LastTold>> {
        let told = |lane: &Lane| {
            let key = LaneGroup { lane: lane.id.clone(), group_key: group_key.to_owned() };
            self.outbox.last_told(&key)
        };
        let lanes = self.lanes.get(&route.receiver);
        lanes.into_iter().flatten().filter_map(told).collect()
    }

    /// Compares what those who hear of groups know with what is true, and queues the differences.
    async fn flush(&mut self, due: Vec<GroupId>, now: Timestamp) -> Result<(), StateError> {
        let (mut flushes, mut looked_at) = (Vec::new(), Vec::with_capacity(due.len()));
        for id in due {
            self.begin_or_end(id, now)?;
            let Some(group) = self.groups.get(id) else { continue };
            let held = held(group, &self.mutes, now);
            let audience = self.audience(group, now);
            let repeat_at = self.tell(group, &held, &audience, now, &mut flushes).await?;
            let awaits_round = self.awaits_round(group, &audience);
            self.leave_out(id, &audience).await?;
            self.groups.change(id, |group| group.hold(held, now));
            looked_at.push((id, repeat_at, awaits_round));
        }
        self.outbox.enqueue(flushes, now).await?;
        for (id, repeat_at, awaits_round) in looked_at {
            self.groups.change(id, |group| {
                group.flushed(now, repeat_at);
                group.set_awaits_round(awaits_round);
            });
            self.let_go(id);
        }
        Ok(())
    }

    /// Queues a group for those who hear of it in the place of others: at once, they waited already.
    async fn divert(&mut self, id: GroupId, now: Timestamp) -> Result<(), StateError> {
        let Some(group) = self.groups.get(id) else { return Ok(()) };
        let receiver = &group.route().receiver;
        if !self.fallbacks.contains_key(receiver) {
            return Ok(());
        }
        let mut audience = self.audience(group, now);
        audience.retain(|listener| listener.is_own && listener.receiver != *receiver);
        let (held, mut flushes) = (held(group, &self.mutes, now), Vec::new());
        self.tell(group, &held, &audience, now, &mut flushes).await?;
        self.outbox.enqueue(flushes, now).await
    }

    /// Those who heard of a group in the place of others, and do no longer: what they were not told
    /// yet they need not hear, and of the end of what they were told they do.
    async fn leave_out(&mut self, id: GroupId, audience: &[Listener]) -> Result<(), StateError> {
        let Some(group) = self.groups.get(id) else { return Ok(()) };
        let reachable = self.world().reachable(group.route(), has_reports(group));
        let left_out = reachable
            .into_iter()
            .filter(|lane| !audience.iter().any(|listener| listener.lane.id == *lane))
            .map(|lane| LaneGroup { lane, group_key: group.key().to_string() })
            .collect::<Vec<_>>();
        for key in left_out {
            let Standing { told, intended } = self.outbox.standing(&key);
            if told.is_some() {
                self.orphans.insert(key);
            } else if intended.is_some() {
                self.outbox.withdraw(&key).await?;
            }
        }
        Ok(())
    }

    /// Drops the alerts of a group that have ended and that nobody needs to be told of any more,
    /// and the group when none is left.
    fn let_go(&mut self, id: GroupId) {
        let Some(group) = self.groups.get(id).filter(|group| group.has_ended()) else { return };
        let group_key = &self.groups.key(id).unwrap_or_default().to_owned();
        let mut needed: HashSet<Labels> = HashSet::new();
        for lane in self.world().reachable(group.route(), has_reports(group)) {
            let key = LaneGroup { lane, group_key: group_key.to_owned() };
            needed.extend(self.outbox.standing(&key).alerts().map(|alert| alert.labels.clone()));
        }
        let drop_ended = |group: &mut Group| group.drop_ended(|a| needed.contains(&a.labels));
        if self.groups.change(id, drop_ended).unwrap_or(false) {
            if let Err(error) = self.escalations.end(group_key) {
                warn!(group = group_key, %error, "that nobody is waited for cannot be noted yet");
            }
            self.groups.remove(id);
        }
    }

    /// An alert that somebody was told of, as it is now: where nobody knows it any more, it has
    /// ended.
    fn now(&self, told: &Alert, now: Timestamp) -> Arc<Alert> {
        self.alerts.get(&told.labels).unwrap_or_else(|| {
            let ended = Some((now, Ending::Resolved));
            Arc::new(Alert { ended, stale_since: None, ..told.clone() })
        })
    }
}

/// The alerts of a group that are held back at `now`: all of them, where its route is mute.
fn held(group: &Group, mutes: &Mutes, now: Timestamp) -> BTreeSet<Labels> {
    let mute = !group.route().times.muted_by(now).is_empty();
    let alerts = group.alerts().filter(|alert| mute || mutes.is_held(&alert.labels, now));
    alerts.map(|alert| alert.labels.clone()).collect()
}

/// Whether there is an alert about the delivery to the group's own receiver among its alerts.
fn has_reports(group: &Group) -> bool {
    let receiver = group.route().receiver.as_str();
    group.alerts().any(|alert| about(&alert.labels).is_some_and(|(of, _)| of == receiver))
}
