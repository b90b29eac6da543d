//! Agents that push: targets like any other, which nobody asks.
//!
//! ```text
//! a message of an agent ────────────────▶ veilleur_agent_up 1
//! nothing for three of its intervals ───▶ up 0, veilleur_agent_up 0; its series end as lost
//! nothing for as long as is configured ─▶ its series end as removed, it is forgotten
//! ```
//!
//! Three intervals are at least ten seconds, and five minutes as long as it has pushed only once. An
//! agent is known by the labels of the `up` that it sends for itself, which are those of its
//! `veilleur_agent_info`, and remembered over a restart.
//!
//! Invariant: what is old when it comes says nothing of how its agent is now. The end of a series is
//! written right behind its last sample: what waited on its way to us finds its place after it.

mod one;
mod run;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::labels::encoded::value_of;
use base::labels::{Labels, METRIC_NAME};
use base::matcher::Matcher;
use base::own_metrics::IntCounter;
use base::period::Period;
use base::remote_write::{Hold, Received};
use base::sample::{Ended, Sample, Timestamp};
use serde::Deserialize;
use storage::{AppendError, Beside, Point, Storage};
use tracing::warn;

use self::one::Agent;
use crate::ingest::{Ingest, NEWEST, Written};
use crate::news::News;
use crate::scrape::{Health, Outputs, PUSHED, TargetKey, TargetState, Targets};
use crate::state::{Note, NoteKind, State, StateError};

/// What agents say of themselves at every time, in one message: that they are up, and who they are.
const UP: &str = "up";
const INFO: &str = "veilleur_agent_info";
/// The same, as we see it: a built-in rule watches it.
const AGENT_UP: &str = "veilleur_agent_up";
/// The most that are watched; samples of further ones are stored, and nobody misses them.
const MOST: usize = 20_000;
/// The most of a message that are looked at: an agent names itself once, and twice after an upgrade.
const MOST_NAMED: usize = 16;
/// How long an agent is missed, if nobody says how long.
const FORGET_AFTER: Duration = Duration::from_secs(7 * 86_400);
/// How often it is written down when an agent was last heard.
const NOTE_EVERY: Duration = Duration::from_secs(60);

/// The section `agents:`, as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AgentsConfig {
    /// How long an agent that pushed is missed before it counts as removed.
    forget_after: Option<Period>,
}

impl AgentsConfig {
    /// How long an agent is missed.
    pub fn forget_after(&self) -> Duration {
        self.forget_after.map_or(FORGET_AFTER, Period::duration)
    }
}

/// What agents that push are watched with.
#[derive(Clone, Debug)]
pub struct AgentParts {
    /// Where samples go.
    pub storage: Arc<Storage>,
    /// Where they are remembered.
    pub state: State,
    /// Where people see them.
    pub targets: Targets,
    /// What their checks said.
    pub outputs: Outputs,
    /// Where it is told that one is missed, or there again.
    pub news: News,
    /// Counts samples that were stored.
    pub appended: IntCounter,
}

/// The agents that push. Clones share them.
#[derive(Clone, Debug)]
pub struct Agents {
    parts: AgentParts,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    /// By the labels of their `up`, without the name.
    known: HashMap<Labels, Agent>,
    /// Since when somebody could push to us.
    watching_since: Timestamp,
    forget_after: Duration,
    is_full: bool,
    /// Whether it was told that what we say of them cannot be stored.
    is_mute: bool,
}

impl Agents {
    /// The agents that were known before this start, at `now`.
    ///
    /// # Errors
    ///
    /// The state failed.
    pub async fn open(parts: AgentParts, now: Timestamp) -> Result<Self, StateError> {
        let mut known = HashMap::new();
        for note in parts.state.notes(NoteKind::Agent).await? {
            let Some(labels) = Labels::from_encoded(&note.name) else { continue };
            let up = labels.with(METRIC_NAME, UP);
            let last = parts.storage.last(&equal(&up)).into_iter();
            let last = last.filter(|(found, _)| *found == up).map(|(_, sample)| sample).next();
            known.insert(labels, Agent::restored(note.at, note.body.parse().ok(), last));
        }
        let (watching_since, forget_after) = (now, FORGET_AFTER);
        let (is_full, is_mute) = (false, false);
        let inner = Inner { known, watching_since, forget_after, is_full, is_mute };
        let agents = Self { parts, inner: Arc::new(Mutex::new(inner)) };
        for (labels, agent) in &agents.lock().known {
            agents.show(labels, agent, Health::Unknown, String::new());
        }
        Ok(agents)
    }

    /// From now on an agent is missed for so long before it counts as removed.
    pub fn set_forget_after(&self, forget_after: Duration) {
        self.lock().forget_after = forget_after;
    }

    /// Stores what an agent pushed, by way of `ingest`, and notes that it did.
    ///
    /// # Errors
    ///
    /// As [`Ingest::write`].
    pub fn write<S: Hold>(
        &self,
        ingest: &Ingest,
        mut received: Received<S>,
        now: Timestamp,
    ) -> Result<Written, AppendError> {
        let heard = self.heard(&mut received);
        let written = ingest.write(&received, now);
        let there = heard.into_iter().filter(|(labels, times)| {
            // That the disk takes nothing is no fault of theirs.
            self.hear(labels, written.is_ok().then_some(times), now)
        });
        let up = there.map(|(labels, _)| (labels.with(METRIC_NAME, AGENT_UP), now, 1.0));
        self.append(up.collect());
        written
    }

    /// Whether a message has samples that only seem to be too far ahead, because our clock is
    /// `held_back`: it is to come again, and nobody is missed for that.
    pub fn puts_off<S: Hold>(
        &self,
        received: &Received<S>,
        now: Timestamp,
        held_back: Duration,
    ) -> bool {
        let is_ahead = |sample: &Sample| sample.timestamp > now + NEWEST;
        let is_put_off = !held_back.is_zero()
            && received.series.rows().any(|series| series.samples.iter().any(is_ahead));
        if is_put_off {
            self.lock().watching_since = now;
        }
        is_put_off
    }

    /// The agents that a message says are up, with the times at which they were.
    fn heard<S: Hold>(&self, received: &mut Received<S>) -> Vec<(Labels, Vec<Timestamp>)> {
        let named = |wanted| {
            let rows = received.series.rows().enumerate();
            let found =
                rows.filter(move |(_, row)| value_of(row.labels, METRIC_NAME) == Some(wanted));
            found.filter_map(|(place, row)| Some((place, Labels::from_encoded(row.labels)?, row)))
        };
        // Each `up` is held against each of them.
        let info: Vec<Labels> = named(INFO).map(|(_, labels, _)| labels).take(MOST_NAMED).collect();
        let ups = named(UP).filter(|(_, labels, _)| is_up(labels, &info)).take(MOST_NAMED);
        let ups = ups.map(|(place, labels, row)| {
            let times = row.samples.iter().filter(|s| Ended::from_value(s.value).is_none());
            let times: Vec<Timestamp> = times.map(|sample| sample.timestamp).collect();
            (place, labels.without_name(), times)
        });
        let ups: Vec<_> = ups.filter(|(_, _, times)| !times.is_empty()).collect();
        for (place, labels, _) in &ups {
            // While we heard nothing of it, it was not up for us: that stands.
            if let Some(missed_at) = self.lock().known.get(labels).and_then(Agent::missed_at) {
                received.series.retain(*place, |sample| sample.timestamp > missed_at);
            }
        }
        ups.into_iter().map(|(_, labels, times)| (labels, times)).collect()
    }

    /// An agent has collected samples at `times`, and they came `now`; whether that says that it is
    /// there. There are no times where what it sent could not be stored.
    fn hear(&self, labels: &Labels, times: Option<&Vec<Timestamp>>, now: Timestamp) -> bool {
        let mut inner = self.lock();
        if !inner.known.contains_key(labels) {
            if self.parts.targets.is_scraped(labels) {
                return false;
            }
            if inner.known.len() >= MOST {
                if !std::mem::replace(&mut inner.is_full, true) {
                    warn!("more than {MOST} agents push; the others are not watched");
                }
                return false;
            }
        }
        let agent = inner.known.entry(labels.clone()).or_insert_with(|| Agent::new(now));
        let is_there = match times {
            Some(times) => agent.hear(times, now),
            None => {
                agent.put_off(now);
                true
            }
        };
        if is_there {
            self.show(labels, agent, Health::Up, String::new());
        }
        is_there
    }

    /// What is due at `now`: who is missed is down, who was missed for too long is forgotten. Gives
    /// what is to be remembered, and what was heard before when is to be forgotten.
    fn tick(&self, now: Timestamp) -> (Vec<Note>, Option<Timestamp>) {
        let scraped = self.scraped();
        let (mut samples, mut ended, mut notes) = (Vec::new(), Vec::new(), Vec::new());
        let mut inner = self.lock();
        let (since, forget_after) = (inner.watching_since, inner.forget_after);
        inner.known.retain(|labels, agent| {
            if scraped.contains(labels) {
                self.parts.targets.remove(&key(labels));
                return false;
            }
            let is_missed = agent.is_missed(since, now);
            if is_missed && now.since(agent.heard_at) >= forget_after {
                ended.push((labels.clone(), None));
                self.parts.targets.remove(&key(labels));
                self.parts.outputs.forget_pushed(labels);
                return false;
            }
            if is_missed {
                if let Some(at) = agent.miss(now) {
                    // The one goes on by the agent's clock, the other is ours.
                    samples.push((labels.with(METRIC_NAME, UP), at, 0.0));
                    samples.push((labels.with(METRIC_NAME, AGENT_UP), now, 0.0));
                }
                ended.extend(agent.take_ended(now).map(|newest| (labels.clone(), Some(newest))));
                self.show(labels, agent, Health::Down, agent.why(now));
            }
            let interval = agent.interval().map_or(0, |interval| interval.as_millis());
            let is_learnt = interval > 0 && !agent.knows_interval;
            if is_learnt || agent.heard_at.since(agent.noted_at) >= NOTE_EVERY {
                let (name, body) = (labels.as_encoded().to_owned(), interval.to_string());
                notes.push(Note { name, at: agent.heard_at, body });
            }
            true
        });
        drop(inner);
        let forgotten = ended.iter().any(|(_, newest)| newest.is_none());
        for (labels, newest) in ended {
            samples.extend(match newest {
                Some(newest) => self.lost(&labels, newest),
                None => self.removed(&labels, now),
            });
        }
        self.append(samples);
        (notes, forgotten.then(|| now - forget_after))
    }

    /// What [`Agents::tick`] gave to remember is written down.
    fn noted(&self, notes: &[Note]) {
        let mut inner = self.lock();
        for note in notes {
            let labels = Labels::from_encoded(&note.name);
            if let Some(agent) = labels.and_then(|labels| inner.known.get_mut(&labels)) {
                (agent.noted_at, agent.knows_interval) = (note.at, note.body != "0");
            }
        }
    }

    /// The ends of the series of an agent whose newest samples are of `newest`.
    fn lost(&self, labels: &Labels, newest: Timestamp) -> Vec<(Labels, Timestamp, f64)> {
        let found = self.parts.storage.last(&equal(labels)).into_iter();
        // Rules write series with its labels too, but at times of their own.
        let own = found.filter(|(series, last)| {
            last.timestamp == newest
                && Ended::from_value(last.value).is_none()
                && !([UP, AGENT_UP].contains(&series.metric_name())
                    && series.without_name() == *labels)
        });
        let behind = newest + Duration::from_millis(1);
        own.map(|(series, _)| (series, behind, Ended::Lost.value())).collect()
    }

    /// The ends of the series of an agent that is no longer watched.
    fn removed(&self, labels: &Labels, now: Timestamp) -> Vec<(Labels, Timestamp, f64)> {
        let found = self.parts.storage.last(&equal(labels)).into_iter();
        let own = found.filter(|(series, last)| {
            Ended::from_value(last.value) == Some(Ended::Lost)
                || [UP, AGENT_UP].contains(&series.metric_name())
        });
        own.map(|(series, _)| (series, now, Ended::Removed.value())).collect()
    }

    /// Stores what we say of agents, as far as it can be, and on a disk that takes nothing in memory
    /// only: nobody would say it again. Where that fails it is told once.
    fn append(&self, samples: Vec<(Labels, Timestamp, f64)>) {
        if samples.is_empty() {
            return;
        }
        let (mut points, mut failed) = (Vec::with_capacity(samples.len()), None);
        for (labels, timestamp, value) in samples {
            match self.parts.storage.own_series(&labels) {
                Ok(series) => points.push(Point { series, timestamp, value }),
                Err(error) => failed = Some(error),
            }
        }
        match self.parts.storage.append_anyway(&points, Beside::default()) {
            Ok(appended) => {
                self.parts.appended.inc_by(appended.stored as u64);
                if appended.news {
                    self.parts.news.tell();
                }
            }
            Err(error) => failed = Some(error),
        }
        let was_mute = std::mem::replace(&mut self.lock().is_mute, failed.is_some());
        if let Some(error) = failed.filter(|_| !was_mute) {
            warn!(%error, "whether agents are missed cannot be stored");
        }
    }

    /// The labels of those that are scraped, too: what the scrape says counts.
    fn scraped(&self) -> HashSet<Labels> {
        let inner = self.lock();
        let mut scraped = HashSet::new();
        if !inner.known.is_empty() {
            self.parts.targets.each(|key, _| {
                if key.url != PUSHED && inner.known.contains_key(&key.labels) {
                    scraped.insert(key.labels.clone());
                }
            });
        }
        scraped
    }

    fn show(&self, labels: &Labels, agent: &Agent, health: Health, last_error: String) {
        let state = TargetState {
            discovered: labels.clone(),
            interval: Period::from(agent.interval().unwrap_or_default()),
            timeout: Period::from(agent.patience()),
            health,
            last_error,
            last_scrape: Some(agent.heard_at),
            last_duration: Duration::ZERO,
        };
        self.parts.targets.set(&key(labels), state);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an `up` says that an agent is up, and which one that is: it names itself in the `info` of the
/// same message. What it only passes on has an `up`, too.
fn is_up(labels: &Labels, info: &[Labels]) -> bool {
    let has = |name| labels.get(name).is_some();
    let is_own = |info: &Labels| {
        let mut labels = labels.iter().filter(|(name, _)| *name != METRIC_NAME);
        labels.all(|(name, value)| info.get(name) == Some(value))
    };
    has("job") && has("instance") && info.iter().any(is_own)
}

/// By what an agent is known among the targets.
fn key(labels: &Labels) -> TargetKey {
    let job = labels.get("job").unwrap_or("").to_owned();
    TargetKey { job, labels: labels.clone(), url: PUSHED.to_owned() }
}

fn equal(labels: &Labels) -> Vec<Matcher> {
    labels.iter().map(|(name, value)| Matcher::equal(name, value)).collect()
}

#[cfg(test)]
mod tests;
