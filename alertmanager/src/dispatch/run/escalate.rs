//! Who is told because nobody answers, and what those hear who were told when somebody does.
//!
//! Invariant: that a step was run is noted before anybody is told of it; what is said of an answer
//! follows from the bout alone.

use base::sample::Timestamp;
use tracing::info;

use super::super::audience::Listener;
use super::super::decide::Again;
use super::super::group::Group;
use super::super::groups::GroupId;
use super::super::route::Route;
use super::{Dispatcher, held};
use crate::escalation::{Bout, Seen};
use crate::outbox::{Answer, Reason};
use crate::state::StateError;

/// What a listener hears, as far as it depends on whether somebody has answered.
#[derive(Clone, Debug)]
pub(super) struct Word {
    /// When it is told again.
    pub(super) again: Again,
    /// Whether it hears of the alerts only that it was told of.
    pub(super) only_known: bool,
    /// What is said of it.
    pub(super) answer: Answer,
}

/// What `listener` hears of a group of `route` with this bout.
pub(super) fn word(listener: &Listener, route: &Route, bout: Option<&Bout>) -> Word {
    let only_known = !listener.is_own && listener.called_at.is_none();
    let every = (!only_known).then_some(route.repeat_interval);
    let is_wanted = !route.escalation.steps.is_empty();
    let mut answer = Answer { is_wanted, ..Answer::default() };
    let Some(bout) = bout else {
        return Word { again: Again { every, since: None }, only_known, answer };
    };
    if let Some(has) = &bout.acknowledged {
        let again = Again { every: None, since: Some((has.at, Reason::Acknowledged)) };
        let (note, is_missing, is_wanted) = (has.note(), false, false);
        return Word { again, only_known, answer: Answer { note, is_missing, is_wanted } };
    }
    let released = bout.released.as_ref();
    let mut since = released.filter(|_| listener.is_own).map(|r| (r.at, Reason::Unacknowledged));
    if let Some(at) = listener.called_at {
        answer.note = bout.call(&route.receiver);
        answer.is_missing = true;
        since = Some((at, Reason::Escalated));
    } else if let Some(had) = released {
        answer.note = format!("Nobody has it: {}", had.why());
    }
    Word { again: Again { every, since }, only_known, answer }
}

impl Dispatcher {
    /// How the alerts of a group are.
    fn seen(&self, group: &Group, now: Timestamp) -> Seen {
        let held = held(group, &self.mutes, now);
        let alerts = self.alerts.newest(group.alerts());
        let firing: Vec<_> = alerts.iter().filter(|alert| alert.is_firing()).collect();
        let mut free = firing.iter().filter(|alert| !held.contains(&alert.labels)).peekable();
        match (firing.is_empty(), free.peek().is_none()) {
            (true, _) => Seen::Ended,
            (_, true) => Seen::Held,
            _ if free.all(|alert| alert.stale_since.is_some()) => Seen::Stale,
            _ => Seen::Firing,
        }
    }

    /// A group is about to be told: from now on somebody is waited for to answer. It is over: nobody
    /// is any more.
    pub(super) fn begin_or_end(&mut self, id: GroupId, now: Timestamp) -> Result<(), StateError> {
        let Some(group) = self.groups.get(id) else { return Ok(()) };
        let wants = !group.route().escalation.steps.is_empty();
        if !wants && !group.has_bout() {
            return Ok(());
        }
        let key = group.key().to_string();
        let is_told = |group: &Group| {
            let mut alerts = group.alerts().filter(|alert| alert.is_firing());
            alerts.any(|alert| {
                self.mutes.awaits_first_round(&alert.labels).is_none()
                    && !self.mutes.is_held(&alert.labels, now)
            })
        };
        match self.seen(group, now) {
            Seen::Ended => self.escalations.end(&key)?,
            Seen::Firing | Seen::Stale if wants && is_told(group) => {
                self.escalations.begin(&key, now)?;
            }
            _ => {}
        }
        self.schedule(id, now);
        Ok(())
    }

    /// Looks at groups that somebody has taken in hand or given back: those who were told are told so,
    /// and what waits because nobody had answered is withdrawn (F20).
    pub(super) async fn heed_answers(&mut self, now: Timestamp) -> Result<(), StateError> {
        for key in self.escalations.take_news() {
            let ids = self.groups.named(&key).to_vec();
            if ids.is_empty() {
                // It was over just then.
                self.escalations.end(&key)?;
            }
            for id in ids {
                self.tell_at_once(id, now, |_| true).await?;
                self.schedule(id, now);
            }
        }
        Ok(())
    }

    /// Runs the steps that are due.
    pub(super) async fn escalate(&mut self, now: Timestamp) -> Result<(), StateError> {
        let mut ids = std::mem::take(&mut self.unsettled);
        ids.extend(self.groups.steps_due(now));
        for id in ids {
            let Some(group) = self.groups.get(id) else { continue };
            let (key, policy) = (group.key().to_string(), &group.route().escalation);
            let seen = self.seen(group, now);
            let reaches = |name: &str| self.lanes.get(name).is_some_and(|lanes| !lanes.is_empty());
            let progress =
                self.escalations.advance(&key, |bout| bout.advance(policy, seen, &reaches, now))?;
            for step in progress.steps.iter().filter_map(|place| policy.steps.get(*place)) {
                info!(group = key, receiver = step.receiver, after = %step.after, "nobody has answered");
            }
            if progress.is_news() {
                // Who is not called hears at the group's own time, as ever.
                let all = progress.released;
                self.tell_at_once(id, now, |one| all || one.called_at.is_some()).await?;
            }
            self.schedule(id, now);
        }
        Ok(())
    }

    /// Goes on with the bouts of a run before, or of another configuration: what was noted and not told
    /// yet is told, and a bout without a group, or that nobody is waited for in any more, ends.
    pub(super) async fn go_on_escalating(&mut self, now: Timestamp) -> Result<(), StateError> {
        for (key, bout) in self.escalations.all() {
            let mut goes_on = bout.acknowledged.is_some();
            let ids = self.groups.named(&key).to_vec();
            for id in &ids {
                let route = self.groups.get(*id).map(Group::route);
                goes_on |= route.is_some_and(|route| !route.escalation.steps.is_empty());
            }
            if ids.is_empty() || !goes_on {
                self.escalations.end(&key)?;
            }
            for id in ids {
                self.tell_at_once(id, now, |one| one.called_at.is_some()).await?;
                self.schedule(id, now);
            }
        }
        Ok(())
    }

    /// Tells some of those who hear of a group what is news to them, without waiting for its time.
    async fn tell_at_once(
        &self,
        id: GroupId,
        now: Timestamp,
        whom: impl Fn(&Listener) -> bool,
    ) -> Result<(), StateError> {
        let Some(group) = self.groups.get(id) else { return Ok(()) };
        let mut audience = self.audience(group, now);
        audience.retain(whom);
        let (held, mut flushes) = (held(group, &self.mutes, now), Vec::new());
        self.tell(group, &held, &audience, now, &mut flushes).await?;
        self.outbox.enqueue(flushes, now).await
    }

    /// Notes when it is to be seen again whether somebody has answered.
    fn schedule(&mut self, id: GroupId, now: Timestamp) {
        let Some(group) = self.groups.get(id) else { return };
        let bout = self.escalations.get(&group.key().to_string());
        let due = bout
            .as_ref()
            .and_then(|bout| bout.next_due(&group.route().escalation, self.seen(group, now)));
        self.groups.change(id, |group| group.set_bout(bout.is_some(), due));
    }
}
