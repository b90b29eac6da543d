//! Who is told what and when, over restarts, reloads and receivers that are away.
//!
//! Invariant: each story names the fault of the catalogue that it tells.

use std::collections::BTreeMap;

use alertmanager::alerts::{Alert, Alerts, Ending};
use alertmanager::dispatch::{Dispatcher, Lane, Lanes, Route, RouteConfig};
use alertmanager::outbox::{Due, Outbox};
use alertmanager::state::State;
use base::diagnostic::{Diagnostics, Spanned};
use base::labels::Labels;
use base::sample::Timestamp;
use tempfile::TempDir;

const ROUTE: &str =
    "{receiver: ops, group_by: [g], group_wait: 10s, group_interval: 60s, repeat_interval: 1h}";

/// An evaluator without rules: alerts come from the story.
struct Simulation {
    dir: TempDir,
    route: String,
    send_resolved: bool,
    state: State,
    alerts: Alerts,
    outbox: Outbox,
    dispatcher: Dispatcher,
    now: i64,
    /// Whether the receiver takes messages.
    up: bool,
    heard: Vec<String>,
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

fn route(yaml: &str) -> Route {
    let mut diagnostics = Diagnostics::new("story");
    let config: Spanned<RouteConfig> = base::yaml::read(yaml, &mut diagnostics).unwrap();
    let receivers = ["ops".to_owned(), "dev".to_owned()];
    let route = config.value.build(config.place, &receivers, &mut diagnostics);
    assert!(diagnostics.is_empty(), "{diagnostics}");
    route
}

fn lanes(send_resolved: bool) -> Lanes {
    let lane =
        |name: &str| (name.to_owned(), vec![Lane { id: format!("{name}/sink/0"), send_resolved }]);
    BTreeMap::from([lane("ops"), lane("dev")])
}

fn alert(name: &str) -> Alert {
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
    async fn begin() -> Self {
        Self::with(ROUTE, true).await
    }

    async fn with(route_yaml: &str, send_resolved: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(&dir.path().join("state.db")).await.unwrap();
        let alerts = Alerts::default();
        let outbox = Outbox::open(state.clone()).await.unwrap();
        let mut dispatcher = Dispatcher::new(
            route(route_yaml),
            lanes(send_resolved),
            alerts.clone(),
            outbox.clone(),
            at(0),
        );
        dispatcher.adopt().await.unwrap();
        let route = route_yaml.to_owned();
        Self {
            dir,
            route,
            send_resolved,
            state,
            alerts,
            outbox,
            dispatcher,
            now: 0,
            up: true,
            heard: Vec::new(),
        }
    }

    fn fire(&self, names: &str) {
        let fire = |name: &str| Alert { starts_at: at(self.now), ..alert(name) };
        self.alerts.put(names.split(' ').map(fire));
    }

    fn end(&self, names: &str) {
        let end = |name: &str| {
            let known = self.alerts.get(&alert(name).labels);
            let known = known.map_or_else(|| alert(name), |known| Alert::clone(&known));
            Alert { ended: Some((at(self.now), Ending::Resolved)), ..known }
        };
        self.alerts.put(names.split(' ').map(end));
    }

    /// Lets time pass, a second a step, and delivers what is due.
    async fn pass(&mut self, seconds: i64) {
        for _ in 0..seconds {
            self.now += 1;
            self.dispatcher.step(at(self.now)).await.unwrap();
            for lane in ["ops/sink/0", "dev/sink/0"] {
                while let Ok(due) = self.outbox.next(lane, at(self.now)) {
                    self.hand_over(lane, &due).await;
                }
            }
        }
    }

    async fn hand_over(&mut self, lane: &str, due: &Due) {
        if self.up {
            self.heard.push(told(self.now, lane, due));
            self.outbox.delivered(due, at(self.now)).await.unwrap();
        } else {
            self.outbox.postponed(due, at(self.now + 5), "away").await.unwrap();
        }
    }

    /// Ends the process without warning and starts it again `down` seconds later. Of the alerts
    /// only those named still fire: the rules say so before dispatch begins.
    async fn restart(&mut self, down: i64, firing: &str) {
        self.now += down;
        self.state.close().await;
        self.state = State::open(&self.dir.path().join("state.db")).await.unwrap();
        self.alerts = Alerts::default();
        if !firing.is_empty() {
            self.alerts.put(firing.split(' ').map(alert));
        }
        self.outbox = Outbox::open(self.state.clone()).await.unwrap();
        self.configure(&self.route.clone()).await;
    }

    /// Takes a new configuration, as a reload does.
    async fn configure(&mut self, route_yaml: &str) {
        route_yaml.clone_into(&mut self.route);
        let (lanes, alerts) = (lanes(self.send_resolved), self.alerts.clone());
        let outbox = self.outbox.clone();
        self.dispatcher = Dispatcher::new(route(route_yaml), lanes, alerts, outbox, at(self.now));
        self.dispatcher.adopt().await.unwrap();
    }

    /// What was heard since the last call.
    #[track_caller]
    fn expect(&mut self, expected: &str) {
        let heard = std::mem::take(&mut self.heard).join(", ");
        assert_eq!(heard, expected);
    }
}

/// `12 ops a B`: at 12 s the receiver `ops` heard that `a` fires and `b` has ended.
fn told(now: i64, lane: &str, due: &Due) -> String {
    let mut names: Vec<_> = due
        .flush
        .alerts
        .iter()
        .map(|a| if a.is_firing() { a.name().to_owned() } else { a.name().to_uppercase() })
        .collect();
    names.sort_by_key(|name| name.to_lowercase());
    format!("{now} {} {}", lane.split('/').next().unwrap(), names.join(" "))
}

#[tokio::test]
async fn a_group_waits_tells_of_changes_and_repeats() {
    let mut story = Simulation::begin().await;
    story.pass(5).await;
    story.fire("a");
    story.pass(5).await;
    story.fire("b");
    story.pass(50).await;
    story.expect("15 ops a b");
    story.fire("c");
    story.end("a");
    story.pass(100).await;
    story.expect("75 ops A b c");
    story.pass(3600).await;
    story.expect("3675 ops b c");
    story.end("b c");
    story.pass(120).await;
    story.expect("3795 ops B C");
    story.pass(7200).await;
    story.expect("");
}

#[tokio::test]
async fn what_is_over_before_anybody_was_told_is_told_to_nobody() {
    let mut story = Simulation::begin().await;
    story.fire("a");
    story.pass(5).await;
    story.end("a");
    story.pass(600).await;
    story.expect("");
    // F18: the same while the receiver is away; it hears only of what is true when it is back.
    story.up = false;
    story.fire("a b");
    story.pass(30).await;
    story.end("a");
    story.pass(100).await;
    story.up = true;
    story.pass(100).await;
    story.expect("740 ops b");
}

#[tokio::test]
async fn a_receiver_that_was_away_for_an_hour_is_told_the_present_once() {
    // F11, F18.
    let mut story = Simulation::begin().await;
    story.fire("a");
    story.pass(20).await;
    story.expect("10 ops a");
    story.up = false;
    for _ in 0..20 {
        story.end("a");
        story.pass(90).await;
        story.fire("a b");
        story.pass(90).await;
    }
    story.up = true;
    story.pass(10).await;
    story.expect("3621 ops a b");
}

#[tokio::test]
async fn a_crash_repeats_nothing_and_loses_nothing() {
    // F01, F02: told, crash; queued, crash.
    let mut story = Simulation::begin().await;
    story.fire("a");
    story.pass(11).await;
    story.expect("10 ops a");
    story.restart(30, "a").await;
    story.pass(300).await;
    story.expect("");
    story.up = false;
    story.fire("b");
    story.pass(100).await;
    story.restart(1, "a b").await;
    story.up = true;
    story.pass(300).await;
    story.expect("443 ops a b");
}

#[tokio::test]
async fn an_ending_that_came_while_we_were_away_is_told_once() {
    // F04.
    let mut story = Simulation::begin().await;
    story.fire("a b");
    story.pass(11).await;
    story.expect("10 ops a b");
    story.restart(500, "").await;
    story.pass(300).await;
    story.expect("512 ops A B");
    story.restart(500, "").await;
    story.pass(7200).await;
    story.expect("");
}

#[tokio::test]
async fn an_intent_of_something_that_is_over_is_withdrawn_at_the_start() {
    let mut story = Simulation::begin().await;
    story.up = false;
    story.fire("a");
    story.pass(20).await;
    story.restart(500, "").await;
    story.up = true;
    story.pass(300).await;
    story.expect("");
}

#[tokio::test]
async fn reloads_tell_nobody_anything() {
    // F08: 100 reloads, the same and with another route for others.
    let mut story = Simulation::begin().await;
    story.fire("a b c");
    story.pass(11).await;
    story.expect("10 ops a b c");
    let other = ROUTE.replace(
        "repeat_interval: 1h",
        "repeat_interval: 1h, routes: [{matchers: [x=y], receiver: dev}]",
    );
    for n in 0..100 {
        story.configure(if n % 2 == 0 { &other } else { ROUTE }).await;
        story.pass(1).await;
    }
    story.expect("");
    story.end("b");
    story.pass(120).await;
    story.expect("130 ops a B c");
}

#[tokio::test]
async fn whoever_lost_the_route_still_hears_of_the_end() {
    let mut story = Simulation::begin().await;
    story.fire("a");
    story.pass(11).await;
    story.expect("10 ops a");
    story.configure(&ROUTE.replace("ops", "dev")).await;
    story.pass(100).await;
    // The new receiver hears of what fires; the old one is not told again.
    story.expect("12 dev a");
    story.end("a");
    story.pass(100).await;
    story.expect("112 ops A, 131 dev A");
}

#[tokio::test]
async fn who_does_not_want_endings_hears_of_a_new_beginning() {
    // A4.3: an ending that is not sent counts as told all the same.
    let mut story = Simulation::with(ROUTE, false).await;
    for _ in 0..3 {
        story.fire("a");
        story.pass(100).await;
        story.end("a");
        story.pass(100).await;
    }
    story.expect("10 ops a, 210 ops a, 410 ops a");
}

#[tokio::test]
async fn a_stale_alert_is_neither_ended_nor_told_again() {
    // F41.
    let mut story = Simulation::begin().await;
    story.fire("a");
    story.pass(11).await;
    story.expect("10 ops a");
    for _ in 0..50 {
        story.alerts.put([Alert { stale_since: Some(at(story.now)), ..alert("a") }]);
        story.pass(30).await;
        story.alerts.put([alert("a")]);
        story.pass(30).await;
    }
    story.expect("");
}

#[tokio::test]
async fn what_arrives_although_it_was_withdrawn_on_its_way_is_followed_by_its_end() {
    let mut story = Simulation::begin().await;
    story.up = false;
    story.fire("a");
    story.pass(68).await;
    let due = story.outbox.next("ops/sink/0", at(100)).unwrap();
    // It ends while the message is on its way, and the group's tick passes: nobody seems to know.
    story.end("a");
    story.pass(10).await;
    story.up = true;
    story.hand_over("ops/sink/0", &due).await;
    story.pass(300).await;
    story.expect("78 ops a, 79 ops A");
}

#[tokio::test]
async fn a_clock_that_is_set_back_an_hour_delays_nothing() {
    let mut story = Simulation::begin().await;
    story.now = 10_000;
    story.fire("a");
    story.pass(20).await;
    story.expect("10010 ops a");
    story.fire("b");
    story.now -= 3600;
    story.pass(120).await;
    let heard = std::mem::take(&mut story.heard);
    assert!(heard.iter().any(|message| message.ends_with("ops a b")), "{heard:?}");
    // Also where the first message of a group is still to come.
    let mut story = Simulation::begin().await;
    story.now = 10_000;
    story.fire("a");
    story.pass(2).await;
    story.now -= 3600;
    story.pass(20).await;
    story.expect("6413 ops a");
    // And where a receiver was away when the clock was set.
    let mut story = Simulation::begin().await;
    story.now = 10_000;
    story.up = false;
    story.fire("a");
    story.pass(20).await;
    story.now -= 3600;
    story.up = true;
    story.pass(2).await;
    story.expect("6421 ops a");
}
