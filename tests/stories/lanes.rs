//! An evaluator from its alerts to services that take, fail and refuse, with all that watches them,
//! and a clock that the story moves.
//!
//! Invariant: everything is the real thing but the rules and the services.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alertmanager::alerts::{Alert, Alerts, Ending};
use alertmanager::dispatch::{
    Dispatcher, Fallback, Fallbacks, Lane, Lanes, Route, RouteConfig, World,
};
use alertmanager::mute::{Maintenance, Mutes, Silences, TimeIntervals};
use alertmanager::notify::{
    DeliveryError, LaneRunner, LaneStates, Next, Notification, Notifier, NotifyMetrics, Pace,
    Receipt,
};
use alertmanager::outbox::Outbox;
use alertmanager::own_alerts::{OwnAlerts, Storm, Told};
use alertmanager::pushed::Pushed;
use alertmanager::state::State;
use base::diagnostic::{Diagnostics, Spanned};
use base::labels::Labels;
use base::own_metrics::OwnMetrics;
use base::sample::Timestamp;
use tempfile::TempDir;

use crate::simulation::at;

/// What a service does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Takes,
    /// Takes it, and does not say so.
    Swallows,
    Fails,
    Refuses,
}

/// What was heard, by whom and when.
type Heard = Arc<Mutex<Vec<(i64, String, Notification)>>>;

/// A service; the test changes its mood.
struct Service {
    lane: String,
    mood: Arc<Mutex<BTreeMap<String, Mood>>>,
    heard: Heard,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lane)
    }
}

#[async_trait::async_trait]
impl Notifier for Service {
    fn integration(&self) -> &'static str {
        "sink"
    }

    async fn notify(&self, notification: &Notification) -> Result<Receipt, DeliveryError> {
        let mood = self.mood.lock().unwrap().get(&self.lane).copied().unwrap_or(Mood::Takes);
        match mood {
            Mood::Fails => return Err(DeliveryError::transient("status 500")),
            Mood::Refuses => return Err(DeliveryError::permanent("status 401")),
            Mood::Takes | Mood::Swallows => {}
        }
        let second = notification.at.millis().div_euclid(1000);
        self.heard.lock().unwrap().push((second, self.lane.clone(), notification.clone()));
        if mood == Mood::Swallows {
            let (reason, retry_after) = ("no answer".to_owned(), None);
            return Err(DeliveryError::Transient { reason, retry_after, in_doubt: true });
        }
        Ok(Receipt::default())
    }
}

/// A lane with what it remembers, and when it goes on.
struct Running {
    runner: LaneRunner,
    pace: Pace,
    resumes: i64,
}

/// The evaluator.
pub(crate) struct House {
    dir: TempDir,
    route: String,
    lanes: Lanes,
    fallbacks: Fallbacks,
    pub(crate) state: State,
    pub(crate) alerts: Alerts,
    pub(crate) outbox: Outbox,
    pushed: Pushed,
    own_alerts: OwnAlerts,
    told: Told,
    dispatcher: Dispatcher,
    running: Vec<Running>,
    mood: Arc<Mutex<BTreeMap<String, Mood>>>,
    heard: Heard,
    pub(crate) now: i64,
}

/// The route: alerts of each `g` together.
pub(crate) const TO_OPS: &str =
    "{receiver: ops, group_by: [g], group_wait: 10s, group_interval: 60s, repeat_interval: 4h}";

fn route(yaml: &str, receivers: &[String]) -> Route {
    let mut diagnostics = Diagnostics::new("story");
    let config: Spanned<RouteConfig> = base::yaml::read(yaml, &mut diagnostics).unwrap();
    let world = World { receivers, intervals: &TimeIntervals::new() };
    let route = config.value.build(config.place, world, &mut diagnostics);
    assert!(diagnostics.is_empty(), "{diagnostics}");
    route
}

fn alert(name: &str, group: &str, now: i64) -> Alert {
    Alert {
        labels: Labels::from_pairs([("alertname", name), ("g", group)]),
        annotations: BTreeMap::new(),
        starts_at: at(now),
        ended: None,
        stale_since: None,
        generator_url: String::new(),
    }
}

impl House {
    /// With receivers as `ops dev>ops`: whoever stands behind `>` is the fallback, after five
    /// minutes. `ops+2` has two lanes.
    pub(crate) async fn begin(route: &str, receivers: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(&dir.path().join("state.db")).await.unwrap();
        let (mut lanes, mut fallbacks) = (Lanes::new(), Fallbacks::new());
        for written in receivers.split(' ') {
            let (name, to) = written.split_once('>').map_or((written, None), |(n, t)| (n, Some(t)));
            let (name, count) =
                name.split_once('+').map_or((name, 1), |(n, c)| (n, c.parse().unwrap()));
            let lane = |n: usize| Lane { id: format!("{name}/sink/{n}"), send_resolved: true };
            lanes.insert(name.to_owned(), (0..count).map(lane).collect());
            if let Some(to) = to {
                let fallback = Fallback { to: to.to_owned(), after: Duration::from_secs(300) };
                fallbacks.insert(name.to_owned(), fallback);
            }
        }
        let world = (Arc::default(), Arc::default());
        Self::open(dir, state, route, (lanes, fallbacks), world, "", 0).await
    }

    /// With what is kept over a restart; of the alerts those named `name/group` fire.
    async fn open(
        dir: TempDir,
        state: State,
        route_yaml: &str,
        (lanes, fallbacks): (Lanes, Fallbacks),
        (mood, heard): (Arc<Mutex<BTreeMap<String, Mood>>>, Heard),
        firing: &str,
        now: i64,
    ) -> Self {
        let alerts = Alerts::default();
        for name in firing.split(' ').filter(|name| !name.is_empty()) {
            let (name, group) = name.split_once('/').unwrap();
            alerts.put([alert(name, group, 0)]);
        }
        let outbox = Outbox::open(state.clone()).await.unwrap();
        let pushed = Pushed::open(state.clone(), alerts.clone(), Duration::ZERO).await.unwrap();
        let silences = Silences::open(state.clone()).await.unwrap();
        let maintenance = Maintenance::open(state.clone()).await.unwrap();
        let mutes = Mutes::new(silences, maintenance);
        let states = LaneStates::default();
        states.set_lanes(lanes.values().flatten().map(|lane| lane.id.clone()));
        let metrics = NotifyMetrics::new(&OwnMetrics::new());
        let running = lanes
            .values()
            .flatten()
            .map(|lane| Running {
                runner: LaneRunner {
                    lane: lane.id.clone(),
                    notifier: Arc::new(Service {
                        lane: lane.id.clone(),
                        mood: Arc::clone(&mood),
                        heard: Arc::clone(&heard),
                    }),
                    timeout: Duration::from_secs(5),
                    gate: None,
                    recheck: None,
                    outbox: outbox.clone(),
                    states: states.clone(),
                    metrics: metrics.clone(),
                    external_url: "http://v".into(),
                },
                pace: Pace::default(),
                resumes: 0,
            })
            .collect();
        let own_alerts = OwnAlerts {
            states,
            outbox: outbox.clone(),
            rules: Default::default(),
            targets: Default::default(),
            pushed: pushed.clone(),
            mutes: mutes.clone(),
            disk: Default::default(),
            safe: None,
            clock: base::clock::SteadyClock::starting_at(at(now)),
            behind: Duration::ZERO,
            alerts: alerts.clone(),
            storm: Arc::new(Mutex::new(Storm::default())),
            fallbacks: fallbacks.clone(),
            started: at(now),
        };
        let names: Vec<String> = lanes.keys().cloned().collect();
        let root = route(route_yaml, &names);
        let mut dispatcher =
            Dispatcher::new(root, lanes.clone(), alerts.clone(), outbox.clone(), mutes, at(now))
                .with_fallbacks(fallbacks.clone());
        dispatcher.adopt().await.unwrap();
        let route = route_yaml.to_owned();
        Self {
            dir,
            route,
            lanes,
            fallbacks,
            state,
            alerts,
            outbox,
            pushed,
            own_alerts,
            told: Told::new(),
            dispatcher,
            running,
            mood,
            heard,
            now,
        }
    }

    /// What a service does from now on, by the name of its lane without `/sink`: `ops/0`.
    pub(crate) fn mood(&self, lane: &str, mood: Mood) {
        let lane = lane.replace('/', "/sink/");
        self.mood.lock().unwrap().insert(lane, mood);
    }

    pub(crate) fn fire(&self, name: &str, group: &str) {
        self.alerts.put([alert(name, group, self.now)]);
    }

    pub(crate) fn end(&self, name: &str, group: &str) {
        let ended = Some((at(self.now), Ending::Resolved));
        self.alerts.put([Alert { ended, ..alert(name, group, self.now) }]);
    }

    /// Lets time pass, a second a step.
    pub(crate) async fn pass(&mut self, seconds: i64) {
        for _ in 0..seconds {
            self.now += 1;
            let now = at(self.now);
            if self.now % 2 == 0 {
                self.own_alerts.step(&mut self.told, now).await;
            }
            self.pushed.step(now).await.unwrap();
            self.dispatcher.step(now).await.unwrap();
            for lane in &mut self.running {
                while self.now >= lane.resumes {
                    match lane.runner.step(&mut lane.pace, now).await {
                        Next::AtOnce => {}
                        Next::After(rest) => lane.resumes = self.now + rest.as_secs().max(1) as i64,
                        Next::WhenQueued(_) => break,
                    }
                }
            }
        }
    }

    /// Ends without warning, and starts again; of the alerts those named `name/group` still fire.
    pub(crate) async fn restart(self, firing: &str) -> Self {
        self.state.close().await;
        let state = State::open(&self.dir.path().join("state.db")).await.unwrap();
        let (kept, world) = ((self.lanes, self.fallbacks), (self.mood, self.heard));
        Self::open(self.dir, state, &self.route, kept, world, firing, self.now).await
    }

    /// What was heard since the last call: `15 ops/0 a B`, an ending in capitals.
    pub(crate) fn heard(&self) -> Vec<String> {
        let heard = std::mem::take(&mut *self.heard.lock().unwrap());
        heard
            .iter()
            .map(|(second, lane, notification)| {
                let name = |a: &Alert| match a.is_firing() {
                    true => a.name().to_owned(),
                    false => a.name().to_uppercase(),
                };
                let names: Vec<String> = notification.alerts.iter().map(name).collect();
                format!("{second} {} {}", lane.replace("/sink", ""), names.join(" "))
            })
            .collect()
    }

    /// The names of all alerts that fire, sorted.
    pub(crate) fn firing(&self) -> Vec<String> {
        let all = self.alerts.all();
        let mut names: Vec<_> =
            all.iter().filter(|a| a.is_firing()).map(|a| a.name().to_owned()).collect();
        names.sort();
        names
    }

    pub(crate) fn timestamp(&self) -> Timestamp {
        at(self.now)
    }
}
