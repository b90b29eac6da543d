//! An evaluator from its alerts to its receivers, with a clock that the story moves.
//!
//! Invariant: the state is a real database, so that a restart is a real one.

use std::collections::BTreeMap;
use std::time::Duration;

use alertmanager::alerts::{Alert, Alerts, Ending};
use alertmanager::dispatch::{Dispatcher, Lane, Lanes, Route, RouteConfig, World};
use alertmanager::escalation::{Asked, Escalations, Taken};
use alertmanager::mute::{
    self, InhibitRuleConfig, Maintenance, Mutes, Round, Silence, Silences, TimeIntervalConfig,
};
use alertmanager::outbox::{Due, Outbox, Reason};
use alertmanager::pushed::Pushed;
use alertmanager::state::State;
use base::diagnostic::{Diagnostics, Spanned};
use base::labels::Labels;
use base::matcher::Matcher;
use base::own_metrics::OwnMetrics;
use base::period::Period;
use base::sample::Timestamp;
use tempfile::TempDir;

/// One group for each value of `g`.
pub(crate) const ROUTE: &str =
    "{receiver: ops, group_by: [g], group_wait: 10s, group_interval: 60s, repeat_interval: 1h}";

/// The group of all alerts of the stories.
pub(crate) const GROUP: &str = "{}:{g=\"1\"}";

/// Everybody there is.
const RECEIVERS: [&str; 4] = ["ops", "dev", "phone", "boss"];

/// The second hour of every day, and the rest of it.
const INTERVALS: &str = "
- {name: second hour, time_intervals: [{times: [{start_time: '01:00', end_time: '02:00'}]}]}
";

/// What is about alerts whose names begin with `cause` holds back those whose names begin with
/// `effect`, for the same `g`.
const INHIBIT: &str = "[{source_matchers: ['alertname=~\"cause.*\"'], target_matchers: \
                       ['alertname=~\"effect.*\"'], equal: [g]}]";

/// An evaluator without rules: alerts come from the story.
pub(crate) struct Simulation {
    pub(crate) dir: TempDir,
    pub(crate) route: String,
    pub(crate) send_resolved: bool,
    pub(crate) state: State,
    pub(crate) alerts: Alerts,
    pub(crate) outbox: Outbox,
    pub(crate) mutes: Mutes,
    pub(crate) escalations: Escalations,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) now: i64,
    /// Whether the receiver takes messages.
    pub(crate) up: bool,
    pub(crate) heard: Vec<String>,
    /// Until when targets and rules have for the first round after a restart, if there is one.
    pub(crate) judged_by: Option<i64>,
}

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

pub(crate) fn route(yaml: &str) -> Route {
    let mut diagnostics = Diagnostics::new("story");
    let config: Spanned<RouteConfig> = base::yaml::read(yaml, &mut diagnostics).unwrap();
    let receivers = RECEIVERS.map(str::to_owned);
    let intervals: Vec<Spanned<TimeIntervalConfig>> =
        base::yaml::read(INTERVALS, &mut diagnostics).unwrap();
    let intervals = mute::build_all(&intervals, &mut diagnostics);
    let world = World { receivers: &receivers, intervals: &intervals };
    let route = config.value.build(config.place, world, &mut diagnostics);
    assert!(diagnostics.is_empty(), "{diagnostics}");
    route
}

async fn mutes(state: &State, alerts: &Alerts) -> Mutes {
    let mut diagnostics = Diagnostics::new("story");
    let rules: Vec<InhibitRuleConfig> = base::yaml::read(INHIBIT, &mut diagnostics).unwrap();
    let rules: Vec<_> = rules.iter().map(|rule| rule.build(&mut diagnostics)).collect();
    let mutes = Mutes::new(
        Silences::open(state.clone()).await.unwrap(),
        Maintenance::open(state.clone()).await.unwrap(),
    );
    let alerts = alerts.all();
    mutes.set_rules(rules, alerts.iter().map(AsRef::as_ref));
    mutes
}

pub(crate) fn lanes(send_resolved: bool) -> Lanes {
    let lane =
        |name: &str| (name.to_owned(), vec![Lane { id: format!("{name}/sink/0"), send_resolved }]);
    RECEIVERS.map(lane).into()
}

pub(crate) fn alert(name: &str) -> Alert {
    Alert {
        labels: Labels::from_pairs([("alertname", name), ("g", "1")]),
        annotations: BTreeMap::new(),
        starts_at: at(0),
        ended: None,
        stale_since: None,
        generator_url: String::new(),
    }
}

impl Simulation {
    pub(crate) async fn begin() -> Self {
        Self::with(ROUTE, true).await
    }

    pub(crate) async fn with(route_yaml: &str, send_resolved: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(&dir.path().join("state.db")).await.unwrap();
        let alerts = Alerts::default();
        let outbox = Outbox::open(state.clone()).await.unwrap();
        let mutes = mutes(&state, &alerts).await;
        let escalations = Escalations::open(&state, &OwnMetrics::new()).unwrap();
        let mut dispatcher = Dispatcher::new(
            route(route_yaml),
            lanes(send_resolved),
            alerts.clone(),
            outbox.clone(),
            mutes.clone(),
            at(0),
        )
        .escalating(escalations.clone());
        dispatcher.adopt().await.unwrap();
        let route = route_yaml.to_owned();
        Self {
            dir,
            route,
            send_resolved,
            state,
            alerts,
            outbox,
            mutes,
            escalations,
            dispatcher,
            now: 0,
            up: true,
            heard: Vec::new(),
            judged_by: None,
        }
    }

    pub(crate) fn fire(&self, names: &str) {
        let fire = |name: &str| Alert { starts_at: at(self.now), ..alert(name) };
        self.alerts.put(names.split(' ').map(fire));
    }

    pub(crate) fn end(&self, names: &str) {
        let end = |name: &str| {
            let known = self.alerts.get(&alert(name).labels);
            let known = known.map_or_else(|| alert(name), |known| Alert::clone(&known));
            Alert { ended: Some((at(self.now), Ending::Resolved)), ..known }
        };
        self.alerts.put(names.split(' ').map(end));
    }

    /// Lets time pass, a second a step, and delivers what is due.
    pub(crate) async fn pass(&mut self, seconds: i64) {
        // Dispatch sees at once what the story has just done.
        self.dispatcher.step(at(self.now)).await.unwrap();
        for _ in 0..seconds {
            self.now += 1;
            self.look().await;
        }
    }

    /// Looks at what is due now, and delivers it.
    pub(crate) async fn look(&mut self) {
        self.dispatcher.step(at(self.now)).await.unwrap();
        for lane in RECEIVERS.map(|name| format!("{name}/sink/0")) {
            while let Ok(due) = self.outbox.next(&lane, at(self.now)) {
                self.hand_over(&lane, &due).await;
            }
        }
    }

    pub(crate) async fn hand_over(&mut self, lane: &str, due: &Due) {
        if self.up {
            self.heard.push(told(self.now, lane, due));
            self.outbox.delivered(due, None, at(self.now)).await.unwrap();
        } else {
            self.outbox.postponed(due, at(self.now + 5), "away").await.unwrap();
        }
    }

    /// Ends the process without warning and starts it again `down` seconds later. Of the alerts
    /// only those named still fire: the rules say so before dispatch begins.
    pub(crate) async fn restart(&mut self, down: i64, firing: &str) {
        self.now += down;
        self.state.close().await;
        self.state = State::open(&self.dir.path().join("state.db")).await.unwrap();
        self.alerts = Alerts::default();
        if !firing.is_empty() {
            self.alerts.put(firing.split(' ').map(alert));
        }
        self.outbox = Outbox::open(self.state.clone()).await.unwrap();
        self.mutes = mutes(&self.state, &self.alerts).await;
        self.escalations = Escalations::open(&self.state, &OwnMetrics::new()).unwrap();
        if let Some(judged_by) = self.judged_by {
            self.begin_round(judged_by, None).await;
        }
        self.configure_anew(&self.route.clone()).await;
    }

    /// Takes a new configuration, as a start does.
    pub(crate) async fn configure_anew(&mut self, route_yaml: &str) {
        route_yaml.clone_into(&mut self.route);
        self.dispatcher = self.another(route_yaml);
        self.dispatcher.adopt().await.unwrap();
    }

    /// A dispatcher that knows what is in the stores.
    fn another(&self, route_yaml: &str) -> Dispatcher {
        let (lanes, alerts) = (lanes(self.send_resolved), self.alerts.clone());
        let (outbox, mutes, now) = (self.outbox.clone(), self.mutes.clone(), at(self.now));
        Dispatcher::new(route(route_yaml), lanes, alerts, outbox, mutes, now)
            .escalating(self.escalations.clone())
    }

    /// Begins the first round after a start; those who push have until `pushed_by`.
    pub(crate) async fn begin_round(&self, judged_by: i64, pushed_by: Option<i64>) -> Pushed {
        let (state, alerts) = (self.state.clone(), self.alerts.clone());
        let pushed = Pushed::open(state, alerts, Duration::ZERO).await.unwrap();
        self.mutes.first_round.begin(Round {
            judged_by: at(judged_by),
            pushed_by: pushed_by.map(at),
            pushed: pushed.clone(),
        });
        pushed
    }

    /// Takes a new configuration, as a reload does.
    pub(crate) async fn configure(&mut self, route_yaml: &str) {
        route_yaml.clone_into(&mut self.route);
        let (route, lanes, now) = (route(route_yaml), lanes(self.send_resolved), at(self.now));
        // Whoever holds the place meanwhile knows of no alert.
        let (outbox, mutes) = (self.outbox.clone(), self.mutes.clone());
        let idle =
            Dispatcher::new(route.clone(), lanes.clone(), Alerts::default(), outbox, mutes, now);
        let running = std::mem::replace(&mut self.dispatcher, idle);
        self.dispatcher = running.reconfigured(route, lanes, BTreeMap::new(), now);
        self.dispatcher.adopt().await.unwrap();
    }

    /// Silences the alert `name` from `from` to `to`; gives the silence's id.
    pub(crate) async fn silence(&self, name: &str, from: i64, to: i64) -> String {
        let silence = Silence {
            id: String::new(),
            matchers: vec![Matcher::equal("alertname", name)],
            starts_at: at(from),
            ends_at: at(to),
            created_by: "story".to_owned(),
            comment: String::new(),
            annotations: BTreeMap::new(),
            updated_at: at(0),
        };
        self.mutes.silences.set(silence, at(self.now)).await.unwrap()
    }

    /// Somebody has the group of `g` in hand, for so many seconds.
    pub(crate) async fn acknowledge(&self, by: &str, seconds: Option<u64>) -> Taken {
        let timeout = seconds.map(Period::from_secs);
        let asked = vec![Asked { key: GROUP.to_owned(), timeout }];
        self.escalations.acknowledge(asked, by, "", at(self.now)).await.unwrap().remove(0)
    }

    /// Whoever has the group of `g` gives it back.
    pub(crate) async fn release(&self) {
        self.escalations.release(vec![GROUP.to_owned()], at(self.now)).await.unwrap();
    }

    /// What was heard since the last call.
    #[track_caller]
    pub(crate) fn expect(&mut self, expected: &str) {
        let heard = std::mem::take(&mut self.heard).join(", ");
        assert_eq!(heard, expected);
    }
}

/// `12 ops a B`: at 12 s the receiver `ops` heard that `a` fires and `b` has ended. Behind it stands
/// in brackets why, where that has to do with an answer, else `noted` where one is spoken of.
fn told(now: i64, lane: &str, due: &Due) -> String {
    let mut names: Vec<_> = due
        .flush
        .alerts
        .iter()
        .map(|a| if a.is_firing() { a.name().to_owned() } else { a.name().to_uppercase() })
        .collect();
    names.sort_by_key(|name| name.to_lowercase());
    let why = match (due.flush.reason, due.flush.answer.note.is_empty()) {
        (Reason::Escalated | Reason::Acknowledged | Reason::Unacknowledged, _) => {
            format!(" ({})", due.flush.reason.as_str())
        }
        (_, true) => String::new(),
        (_, false) => " (noted)".to_owned(),
    };
    format!("{now} {} {}{why}", lane.split('/').next().unwrap(), names.join(" "))
}
