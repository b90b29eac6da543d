//! How an agent that pushes is, by when its messages came.
//!
//! Invariant: how often it pushes is learnt from the times of its samples, so that neither a slow way nor
//! messages that waited make us more or less patient.

use std::time::Duration;

use base::period::Period;
use base::sample::{Ended, Sample, Timestamp};

use crate::ingest::NEWEST;

/// A sample that is no older when it comes tells of the present.
const FRESH: Duration = Duration::from_secs(60);
/// So many of its intervals may pass without a message.
const INTERVALS: u32 = 3;
/// It waits this long before it tries again where a message did not arrive, and a little more.
const LEAST: Duration = Duration::from_secs(10);
/// So many of its pauses are remembered.
const PAUSES: usize = 3;
/// The patience with one that has pushed only once.
const UNKNOWN: Duration = Duration::from_secs(300);
/// It is said again that it is missed before queries have forgotten it.
const MISSED_EVERY: Duration = Duration::from_secs(60);

/// What is known of an agent.
#[derive(Clone, Debug)]
pub(super) struct Agent {
    /// When it was last known to be there.
    pub(super) heard_at: Timestamp,
    /// Which of these times is written down.
    pub(super) noted_at: Timestamp,
    /// Whether it is written down how often it pushes.
    pub(super) knows_interval: bool,
    /// When the last message came, of whatever time it tells.
    arrived_at: Timestamp,
    /// When a message came last of which all is too far ahead of our clock.
    ahead_at: Timestamp,
    /// The time of its newest samples.
    newest: Timestamp,
    /// The times between its last samples, the newest first.
    pauses: [Option<Duration>; PAUSES],
    /// While it is missed: the time for which its `up` was last said to be 0, by its own clock.
    missed_at: Option<Timestamp>,
    /// While it is missed: when that was last said.
    said_at: Timestamp,
    /// Behind which time its series were ended.
    ended: Timestamp,
}

impl Agent {
    /// One that is heard for the first time.
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            heard_at: now,
            noted_at: Timestamp::MIN,
            knows_interval: false,
            arrived_at: now,
            ahead_at: Timestamp::MIN,
            newest: Timestamp::MIN,
            pauses: [None; PAUSES],
            missed_at: None,
            said_at: Timestamp::MIN,
            ended: Timestamp::MIN,
        }
    }

    /// One that was known before this start; `last` is the last sample of its `up`.
    pub(super) fn restored(
        heard_at: Timestamp,
        interval: Option<u64>,
        last: Option<Sample>,
    ) -> Self {
        let interval = interval.filter(|millis| *millis > 0).map(Duration::from_millis);
        let last = last.filter(|sample| Ended::from_value(sample.value).is_none());
        let missed = last.filter(|sample| sample.value == 0.0);
        let newest = last.filter(|_| missed.is_none()).map(|sample| sample.timestamp);
        Self {
            noted_at: heard_at,
            knows_interval: interval.is_some(),
            arrived_at: heard_at,
            newest: newest.unwrap_or(Timestamp::MIN),
            pauses: [interval; PAUSES],
            missed_at: missed.map(|sample| sample.timestamp),
            ..Self::new(heard_at)
        }
    }

    /// It collected samples at `times`, in their order, and they came `now`; whether that says that it
    /// is there. Those that are too far ahead are refused, and say nothing.
    pub(super) fn hear(&mut self, times: &[Timestamp], now: Timestamp) -> bool {
        let near = |time: &&Timestamp| **time <= now + NEWEST;
        let taken: Vec<Timestamp> = times.iter().filter(near).copied().collect();
        match taken.is_empty() {
            true => self.ahead_at = now,
            false => self.arrived_at = now,
        }
        for &time in &taken {
            if time > self.newest && self.newest > Timestamp::MIN {
                self.pauses.rotate_right(1);
                self.pauses[0] = Some(time.since(self.newest));
            }
            self.newest = self.newest.max(time);
        }
        let is_there = taken.last().is_some_and(|newest| *newest + FRESH >= now);
        if is_there {
            (self.heard_at, self.missed_at, self.said_at) = (now, None, Timestamp::MIN);
        }
        is_there
    }

    /// What it sent could not be stored and comes again: it is there, however old that has become
    /// meanwhile, and of its times nothing is known yet.
    pub(super) fn put_off(&mut self, now: Timestamp) {
        (self.heard_at, self.arrived_at, self.said_at) = (now, now, Timestamp::MIN);
    }

    /// How often it pushes, once that is known: the middle one of the last pauses, because one of
    /// them may be an outage and another a restart; the shortest as long as there are no three.
    pub(super) fn interval(&self) -> Option<Duration> {
        let mut known: Vec<Duration> = self.pauses.iter().flatten().copied().collect();
        known.sort();
        let middle = if known.len() == PAUSES { PAUSES / 2 } else { 0 };
        known.get(middle).copied()
    }

    /// How long it may be silent.
    pub(super) fn patience(&self) -> Duration {
        self.interval().map_or(UNKNOWN, |interval| (interval * INTERVALS).max(LEAST))
    }

    /// Whether it has been silent for too long at `now`; before `since` nobody listened.
    pub(super) fn is_missed(&self, since: Timestamp, now: Timestamp) -> bool {
        now.since(self.heard_at.max(since)) >= self.patience()
    }

    /// The time for which its `up` was last said to be 0, while it is missed.
    pub(super) fn missed_at(&self) -> Option<Timestamp> {
        self.missed_at
    }

    /// It is missed: the time for which its `up` is said to be 0, if that is to be said `now`.
    pub(super) fn miss(&mut self, now: Timestamp) -> Option<Timestamp> {
        let every = self.interval().unwrap_or(MISSED_EVERY).min(MISSED_EVERY);
        if self.missed_at.is_some() && now.since(self.said_at) < every {
            return None;
        }
        // Its clock may be ahead of ours, but no further than samples may be: what is stored with a time
        // far ahead would close the window of all others (F30).
        let behind = self.newest + Duration::from_millis(1);
        let at = now.max(behind.min(now + NEWEST));
        (self.missed_at, self.said_at) = (Some(at), now);
        Some(at)
    }

    /// The time of the last samples, if the series of one that is missed are to be ended behind them:
    /// once, and again where more of what waited came since.
    pub(super) fn take_ended(&mut self, now: Timestamp) -> Option<Timestamp> {
        let is_due = self.ended < self.newest && now.since(self.arrived_at) >= self.patience();
        self.ended = if is_due { self.newest } else { self.ended };
        is_due.then_some(self.newest)
    }

    /// Why it is down.
    pub(super) fn why(&self, now: Timestamp) -> String {
        let ago = |at: Timestamp| Period::from_secs(now.since(at).as_secs());
        if now.since(self.ahead_at) < self.patience() {
            return "all that it pushes is too far ahead of our clock: one of them is wrong"
                .to_owned();
        }
        if now.since(self.arrived_at) < self.patience() && self.arrived_at > self.heard_at {
            return format!(
                "what it pushes is {} old: it sends what waited, or its clock is wrong",
                ago(self.newest)
            );
        }
        let least = Period::from_secs(self.patience().as_secs());
        format!("it has pushed nothing for {}, and is missed after {least}", ago(self.heard_at))
    }
}
