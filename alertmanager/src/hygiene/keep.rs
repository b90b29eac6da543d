//! Looks after silences and windows: who is told of them, which are of no use, what is recorded.
//!
//! Invariant: what a receiver is told of is compared with what it was told, so that each state of a
//! silence or window is told once, over restarts too.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use base::labels::{Labels, METRIC_NAME};
use base::period::Period;
use base::sample::{Ended, Timestamp};
use storage::{AppendError, Point, Storage};
use tracing::warn;

use super::notice::{self, About};
use super::{Hygiene, PUSHED_METRIC};
use crate::alerts::{Alert, Alerts};
use crate::dispatch::{Lane, Lanes, Route};
use crate::mute::{MAINTENANCE_METRIC, Mutes, Phase, SilenceState};
use crate::outbox::{Answer, Flush, LaneGroup, Outbox, Reason, Standing};
use crate::pushed::Pushed;
use crate::state::{Note, NoteKind, State, StateError};

/// How often it looks although nothing began or ended.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How often windows that run get a sample, and how long after its end a pushed alert has got one at
/// the latest.
const RECORD_EVERY: Duration = Duration::from_secs(15);
/// The most pushed alerts that are recorded at a time; those beyond are missing in previews.
const MOST_RECORDED: usize = 10_000;
/// How old the note of a silence's use may be.
const NOTE_EVERY: Duration = Duration::from_secs(3600);

/// What a keeper is made of.
#[derive(Clone, Debug)]
pub struct KeeperParts {
    /// The settings.
    pub settings: Hygiene,
    /// Who is told what.
    pub route: Arc<Route>,
    /// The ways to them.
    pub lanes: Lanes,
    /// What fires.
    pub alerts: Alerts,
    /// What others push.
    pub pushed: Pushed,
    /// What holds alerts back.
    pub mutes: Mutes,
    /// Where notices go.
    pub outbox: Outbox,
    /// Where windows and pushed alerts are recorded.
    pub storage: Arc<Storage>,
    /// Where it is noted when a silence was last of use.
    pub state: State,
    /// Where people reach us.
    pub external_url: Arc<str>,
}

/// Looks after silences and windows.
#[derive(Debug)]
pub struct Keeper {
    parts: KeeperParts,
    /// When each silence last held an alert, and when that was noted.
    used: HashMap<String, (Timestamp, Timestamp)>,
    looked: Option<(Timestamp, (u64, Option<Timestamp>))>,
    recorded_at: Option<Timestamp>,
    /// The series that were written last.
    windows: BTreeSet<Labels>,
    /// The pushed alerts that fired when it last recorded: whoever looks back is told of them by what
    /// fires, and only of those that have ended by samples.
    pushed: HashMap<Labels, Timestamp>,
}

/// What is to be told of one thing, and to whom beside those who know of it.
struct Wanted {
    about: About,
    /// What it holds, and by which lanes each would be told.
    alerts: Vec<(Arc<Alert>, Vec<String>)>,
    lanes: BTreeSet<String>,
    /// Whether also those are told whose alerts it held before.
    all: bool,
}

impl Keeper {
    /// A keeper that goes on from the notes of a run before; nobody watched for `blind`.
    ///
    /// # Errors
    ///
    /// The state failed.
    pub async fn open(mut parts: KeeperParts, blind: Duration) -> Result<Self, StateError> {
        let notices = parts.settings.notices;
        parts.lanes.values_mut().for_each(|lanes| lanes.retain(|lane| notices.tells(&lane.id)));
        let notes = parts.state.notes(NoteKind::SilenceUse).await?;
        let used = notes.into_iter().map(|note| (note.name, (note.at + blind, note.at))).collect();
        Ok(Self {
            parts,
            used,
            looked: None,
            recorded_at: None,
            windows: BTreeSet::new(),
            pushed: HashMap::new(),
        })
    }

    /// Does what is due at `now`.
    ///
    /// # Errors
    ///
    /// The state failed; what was due still is.
    pub async fn step(&mut self, now: Timestamp) -> Result<(), StateError> {
        self.record(now);
        let epoch = self.parts.mutes.epoch(now);
        let due = self
            .looked
            .is_none_or(|(at, then)| then != epoch || now.since(at) >= LOOK_EVERY || at > now);
        if due {
            let held = self.held(now);
            self.tell(&held, now).await?;
            self.end_unused(&held, now).await?;
            self.looked = Some((now, epoch));
        }
        Ok(())
    }

    /// What each silence holds that is in force, by its id.
    fn held(&self, now: Timestamp) -> BTreeMap<String, Vec<Arc<Alert>>> {
        let silences = &self.parts.mutes.silences;
        let active =
            |silence: &Arc<crate::mute::Silence>| silence.state(now) == SilenceState::Active;
        let mut held: BTreeMap<String, Vec<Arc<Alert>>> =
            silences.all().into_iter().filter(active).map(|s| (s.id.clone(), Vec::new())).collect();
        if held.is_empty() {
            return held;
        }
        for alert in self.parts.alerts.all().into_iter().filter(|alert| alert.is_firing()) {
            for id in silences.silenced_by(&alert.labels, now) {
                held.entry(id).or_default().push(Arc::clone(&alert));
            }
        }
        held
    }

    async fn tell(
        &mut self,
        held: &BTreeMap<String, Vec<Arc<Alert>>>,
        now: Timestamp,
    ) -> Result<(), StateError> {
        let outbox = self.parts.outbox.clone();
        let mut wanted = self.of_silences(held, now);
        wanted.extend(self.of_windows(now));
        let mut flushes: Vec<(LaneGroup, Flush)> = Vec::new();
        let known = outbox.notice_keys();
        for (receiver, lane) in self.lanes() {
            for (key, wanted) in &wanted {
                let key = LaneGroup { lane: lane.id.clone(), group_key: key.clone() };
                let concerned = wanted.lanes.contains(&lane.id);
                let goes_on = wanted.all && known.contains(&key);
                if !concerned && !goes_on || self.knows(&key, wanted.about.state(now)) {
                    continue;
                }
                let theirs = wanted.alerts.iter().filter(|(_, lanes)| lanes.contains(&lane.id));
                let theirs: Vec<_> = theirs.map(|(alert, _)| Arc::clone(alert)).collect();
                let notice = wanted.about.notice(&theirs, now, &self.parts.external_url);
                let reason = if known.contains(&key) { Reason::Repeat } else { Reason::First };
                let flush = flush(receiver, notice.group_labels, reason, vec![notice.alert]);
                flushes.push((key, flush));
            }
        }
        for key in known.iter().filter(|key| !wanted.contains_key(&key.group_key)) {
            flushes.extend(self.end(key, now).await?);
        }
        outbox.enqueue(flushes, now).await
    }

    /// Whether a lane was told of a state, or is about to be.
    fn knows(&self, key: &LaneGroup, state: &str) -> bool {
        let says = |alerts: &[Arc<Alert>]| {
            alerts.iter().any(|alert| alert.is_firing() && notice::state_of(alert) == state)
        };
        match self.parts.outbox.standing(key) {
            Standing { intended: Some(intended), .. } => says(&intended.flush.alerts),
            Standing { told, .. } => told.is_some_and(|told| says(&told.firing)),
        }
    }

    /// The lane of `key` knows of something that is over.
    async fn end(
        &self,
        key: &LaneGroup,
        now: Timestamp,
    ) -> Result<Option<(LaneGroup, Flush)>, StateError> {
        let outbox = &self.parts.outbox;
        let lane = self.lanes().find(|(_, lane)| lane.id == key.lane).map(|(_, lane)| lane);
        let Standing { told: Some(told), intended } = outbox.standing(key) else {
            // Nobody was told that it began.
            outbox.withdraw(key).await?;
            return Ok(None);
        };
        if lane.is_none_or(|lane| !lane.send_resolved) {
            outbox.withdraw(key).await?;
            outbox.count_as_told(key, Vec::new()).await?;
            return Ok(None);
        }
        let is_end = |flush: &Flush| flush.alerts.iter().all(|alert| !alert.is_firing());
        if intended.is_some_and(|intended| is_end(&intended.flush)) {
            return Ok(None);
        }
        let mutes = &self.parts.mutes;
        let id = key.group_key.rsplit(':').next().unwrap_or_default();
        let silence = mutes.silences.get(id);
        let window = mutes.maintenance.current(now).iter().find(|one| one.id == id).cloned();
        let end = |alert: &Alert| notice::ended(alert, silence.as_deref(), window.as_deref(), now);
        let alerts = told.firing.iter().map(|alert| end(alert)).collect();
        let flush = flush(&told.receiver, told.group_labels.clone(), Reason::Resolved, alerts);
        Ok(Some((key.clone(), flush)))
    }

    fn of_silences(
        &self,
        held: &BTreeMap<String, Vec<Arc<Alert>>>,
        now: Timestamp,
    ) -> BTreeMap<String, Wanted> {
        let mut wanted = BTreeMap::new();
        for (id, alerts) in held {
            let Some(silence) = self.parts.mutes.silences.get(id) else { continue };
            let remind = self.parts.settings.remind;
            let ending = silence.ends_at.since(now) <= remind
                && silence.ends_at.since(silence.starts_at) > remind;
            let about = About::Silence(silence, ending);
            let alerts = self.with_lanes(alerts, now);
            let lanes = alerts.iter().flat_map(|(_, lanes)| lanes.clone()).collect();
            // Whoever has nothing in it any more need not be reminded.
            wanted.insert(about.key(), Wanted { about, alerts, lanes, all: false });
        }
        wanted
    }

    fn of_windows(&self, now: Timestamp) -> BTreeMap<String, Wanted> {
        let mut wanted = BTreeMap::new();
        for one in self.parts.mutes.maintenance.current(now).iter() {
            if !matches!(one.phase(now), Phase::Announced | Phase::Running) {
                continue;
            }
            let alerts = self.parts.alerts.all().into_iter();
            let alerts = alerts.filter(|alert| alert.is_firing() && one.matches(&alert.labels));
            let alerts = self.with_lanes(&alerts.collect::<Vec<_>>(), now);
            let lanes = if one.window.receivers.is_empty() {
                let would = self.lanes_of(&one.window.equal_labels(), now);
                alerts.iter().flat_map(|(_, lanes)| lanes.clone()).chain(would).collect()
            } else {
                let named =
                    one.window.receivers.iter().filter_map(|name| self.parts.lanes.get(name));
                named.flatten().map(|lane| lane.id.clone()).collect()
            };
            let about = About::Window(Arc::clone(one));
            wanted.insert(about.key(), Wanted { about, alerts, lanes, all: true });
        }
        wanted
    }

    /// The alerts, each with the lanes by which it would be told.
    fn with_lanes(&self, alerts: &[Arc<Alert>], now: Timestamp) -> Vec<(Arc<Alert>, Vec<String>)> {
        let with = |alert: &Arc<Alert>| (Arc::clone(alert), self.lanes_of(&alert.labels, now));
        alerts.iter().map(with).collect()
    }

    fn lanes_of(&self, labels: &Labels, now: Timestamp) -> Vec<String> {
        let routes = self.parts.route.matching(labels).into_iter();
        let telling = routes.filter(|route| route.times.muted_by(now).is_empty());
        let lanes = telling.filter_map(|route| self.parts.lanes.get(&route.receiver));
        lanes.flatten().map(|lane| lane.id.clone()).collect()
    }

    fn lanes(&self) -> impl Iterator<Item = (&str, &Lane)> {
        let lanes = self.parts.lanes.iter();
        lanes.flat_map(|(receiver, lanes)| lanes.iter().map(move |lane| (receiver.as_str(), lane)))
    }

    /// Ends silences that have held nothing for too long.
    async fn end_unused(
        &mut self,
        held: &BTreeMap<String, Vec<Arc<Alert>>>,
        now: Timestamp,
    ) -> Result<(), StateError> {
        let Some(longest) = self.parts.settings.expire_unused else { return Ok(()) };
        let mut notes = Vec::new();
        for (id, alerts) in held {
            // What is seen for the first time counts from now.
            let used = self.used.entry(id.clone()).or_insert((now, Timestamp::MIN));
            used.0 = used.0.min(now);
            if !alerts.is_empty() {
                used.0 = now;
            }
            let idle = now.since(used.0);
            if idle >= longest {
                let why = format!("it held no alert for {}", Period::from(longest));
                match self.parts.mutes.silences.expire_because(id, Some(&why), now).await {
                    Ok(()) => {}
                    Err(error) => warn!(silence = id, %error, "a silence could not be ended"),
                }
            } else if used.1 == Timestamp::MIN || used.0.since(used.1) >= NOTE_EVERY {
                used.1 = used.0;
                notes.push(Note { name: id.clone(), at: used.0, body: String::new() });
            }
        }
        self.parts.state.save_notes(NoteKind::SilenceUse, &notes).await?;
        let gone = self.used.len();
        self.used.retain(|id, _| held.contains_key(id));
        if self.used.len() != gone {
            // Notes of those that hold are renewed long before.
            let old = now - longest - NOTE_EVERY * 24;
            self.parts.state.forget_notes(NoteKind::SilenceUse, old).await?;
        }
        Ok(())
    }

    /// Records the windows that run, and what is pushed.
    fn record(&mut self, now: Timestamp) {
        let current = self.parts.mutes.maintenance.current(now);
        let running = current.iter().filter(|one| one.phase(now) == Phase::Running);
        let running: BTreeSet<Labels> = running
            .map(|one| {
                let labels = one.window.equal_labels();
                labels.with("name", &one.window.name).with(METRIC_NAME, MAINTENANCE_METRIC)
            })
            .collect();
        let due = self.recorded_at.is_none_or(|at| now.since(at) >= RECORD_EVERY || at > now);
        if running == self.windows && !due {
            return;
        }
        let before = std::mem::replace(&mut self.windows, running);
        let ended = before.difference(&self.windows);
        self.append(&mut self.windows.iter().map(|labels| (labels, 1.0)), now);
        self.append(&mut ended.map(|labels| (labels, Ended::Gone.value())), now);
        if due {
            self.recorded_at = Some(now);
            self.record_pushed(now);
        }
    }

    /// Records the pushed alerts that have ended since it last did so: since when each fired, and its
    /// end.
    fn record_pushed(&mut self, now: Timestamp) {
        let pushed = self.parts.pushed.firing();
        let mut ended = std::mem::replace(&mut self.pushed, pushed);
        ended.retain(|labels, _| !self.pushed.contains_key(labels));
        let ended: Vec<(Labels, f64)> = ended
            .iter()
            .take(MOST_RECORDED)
            .map(|(labels, since)| (labels.with(METRIC_NAME, PUSHED_METRIC), since.seconds()))
            .collect();
        // A query for this moment is to find none of them.
        let moment = Duration::from_millis(1);
        self.append(&mut ended.iter().map(|(labels, since)| (labels, *since)), now - moment);
        self.append(&mut ended.iter().map(|(labels, _)| (labels, Ended::Gone.value())), now);
    }

    /// Appends these samples.
    fn append(&self, samples: &mut dyn Iterator<Item = (&Labels, f64)>, now: Timestamp) {
        let append = || -> Result<(), AppendError> {
            let storage = &self.parts.storage;
            let mut points = Vec::new();
            for (labels, value) in samples {
                let series = storage.series(labels)?;
                points.push(Point { series, timestamp: now, value });
            }
            storage.append(&points).map(drop)
        };
        // What is recorded is for people who look back; nothing is decided by it.
        if let Err(error) = append() {
            warn!(%error, "windows and pushed alerts are not recorded");
        }
    }
}

fn flush(receiver: &str, group_labels: Labels, reason: Reason, alerts: Vec<Alert>) -> Flush {
    Flush {
        receiver: receiver.to_owned(),
        group_labels,
        route_labels: Labels::empty(),
        reason,
        alerts: alerts.into_iter().map(Arc::new).collect(),
        kept: Vec::new(),
        answer: Answer::default(),
    }
}
