//! Agents that push: targets like any other, which nobody asks.
//!
//! ```text
//! a message of an agent ────────────────▶ veilleur_agent_up 1
//! nothing for three of its intervals ───▶ up 0, veilleur_agent_up 0; its series end as lost
//! nothing for as long as is configured ─▶ its series end as removed, it is forgotten
//! ```
//!
//! An agent is known by the labels of the `up` that it sends, and remembered over a restart.
//!
//! Invariant: what is old when it comes says nothing of how its agent is now. The end of a series is
//! written right behind its last sample: what waited on its way to us finds its place after it.

mod one;
mod run;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::labels::{Labels, METRIC_NAME};
use base::matcher::Matcher;
use base::own_metrics::IntCounter;
use base::period::Period;
use base::remote_write::{Received, Series};
use base::sample::{Ended, Timestamp};
use serde::Deserialize;
use storage::{AppendError, Point, Storage};
use tracing::warn;

use self::one::Agent;
use crate::ingest::{Ingest, Written};
use crate::news::News;
use crate::scrape::{Health, PUSHED, TargetKey, TargetState, Targets};
use crate::state::{Note, NoteKind, State, StateError};

/// What agents say of themselves in every message.
const UP: &str = "up";
/// The same, as we see it: a built-in rule watches it.
const AGENT_UP: &str = "veilleur_agent_up";
/// The most that are watched; samples of further ones are stored, and nobody misses them.
const MOST: usize = 20_000;
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
        let inner = Inner { known, watching_since, forget_after, is_full: false };
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
    pub fn write(
        &self,
        ingest: &Ingest,
        mut received: Received,
        now: Timestamp,
    ) -> Result<Written, AppendError> {
        let mut heard = Vec::new();
        for one in received.series.iter_mut().filter(|one| is_up(one)) {
            let labels = one.labels.without_name();
            let times =
                one.samples.iter().filter(|sample| Ended::from_value(sample.value).is_none());
            heard.push((labels.clone(), times.map(|sample| sample.timestamp).collect::<Vec<_>>()));
            // While we heard nothing of it, it was not up for us: that stands.
            if let Some(missed_at) = self.lock().known.get(&labels).and_then(Agent::missed_at) {
                one.samples.retain(|sample| sample.timestamp > missed_at);
            }
        }
        let written = ingest.write(&received, now)?;
        let there: Vec<Labels> = heard
            .into_iter()
            .filter(|(labels, times)| self.hear(labels, times, now))
            .map(|(labels, _)| labels)
            .collect();
        let up = there.into_iter().map(|labels| (labels.with(METRIC_NAME, AGENT_UP), now, 1.0));
        self.append(up.collect())?;
        Ok(written)
    }

    /// An agent has collected samples at `times`, and they came `now`; whether that says that it is
    /// there.
    fn hear(&self, labels: &Labels, times: &[Timestamp], now: Timestamp) -> bool {
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
        let is_there = agent.hear(times, now);
        if is_there {
            self.show(labels, agent, Health::Up, String::new());
        }
        is_there
    }

    /// What is due at `now`: who is missed is down, who was missed for too long is forgotten. Gives
    /// what is to be remembered, and what was heard before when is to be forgotten.
    ///
    /// # Errors
    ///
    /// The log could not be written.
    fn tick(&self, now: Timestamp) -> Result<(Vec<Note>, Option<Timestamp>), AppendError> {
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
                return false;
            }
            if is_missed {
                if let Some(at) = agent.miss(now) {
                    for name in [UP, AGENT_UP] {
                        samples.push((labels.with(METRIC_NAME, name), at, 0.0));
                    }
                }
                ended.extend(agent.take_ended(now).map(|newest| (labels.clone(), Some(newest))));
                self.show(labels, agent, Health::Down, agent.why(now));
            }
            let interval = agent.interval().map_or(0, |interval| interval.as_millis());
            let is_learnt = interval > 0 && !agent.knows_interval;
            if is_learnt || agent.heard_at.since(agent.noted_at) >= NOTE_EVERY {
                (agent.noted_at, agent.knows_interval) = (agent.heard_at, interval > 0);
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
        self.append(samples)?;
        Ok((notes, forgotten.then(|| now - forget_after)))
    }

    /// The ends of the series of an agent whose newest samples are of `newest`.
    fn lost(&self, labels: &Labels, newest: Timestamp) -> Vec<(Labels, Timestamp, f64)> {
        let found = self.parts.storage.last(&equal(labels)).into_iter();
        // Rules write series with its labels too, but at times of their own.
        let own = found.filter(|(series, last)| {
            last.timestamp == newest
                && Ended::from_value(last.value).is_none()
                && ![UP, AGENT_UP].contains(&series.metric_name())
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

    fn append(&self, samples: Vec<(Labels, Timestamp, f64)>) -> Result<(), AppendError> {
        let mut points = Vec::with_capacity(samples.len());
        for (labels, timestamp, value) in samples {
            let series = self.parts.storage.own_series(&labels)?;
            points.push(Point { series, timestamp, value });
        }
        let appended = self.parts.storage.append(&points)?;
        self.parts.appended.inc_by(appended.stored as u64);
        if appended.news {
            self.parts.news.tell();
        }
        Ok(())
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

/// Whether a series says that its agent is up, and which one that is.
fn is_up(series: &Series) -> bool {
    let has = |name| series.labels.get(name).is_some();
    series.labels.metric_name() == UP && has("job") && has("instance")
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
