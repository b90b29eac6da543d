//! A random stream of alerts, silences and inhibition into both, and what their webhooks tell.
//!
//! What is compared is what each receiver knows of each alert of each group after every round, by
//! the last thing that it was told. Differences that are meant (`docs/compatibility.md`):
//!
//! - An alert that a receiver was told of, and that ends while it is held back by a silence or an
//!   inhibition: we tell of the end when it is let go, Alertmanager never does (F05).
//! - When it lets an alert go, Alertmanager may tell again what was told before; we do not (F07).
//!
//! Invariant: nothing else may differ, and none of our messages tells a receiver only what it knows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::http_server::HttpServer;

use crate::random::Random;
use crate::sides::{Message, Side, Sides};

/// How long nothing may come before a round is over: more than two ticks of a group.
const QUIET: Duration = Duration::from_millis(2200);

const RECEIVERS: usize = 4;
const NAMES: [&str; 6] = ["Down", "Slow", "Full", "Cause", "Effect", "Late"];
const TEAMS: [&str; 4] = ["web", "db", "net", "ops"];
const HOSTS: [&str; 5] = ["a", "b", "c", "d", "e"];
const SEVERITIES: [&str; 3] = ["page", "warn", "info"];

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A matcher of one of the labels that alerts have.
fn matcher(random: &mut Random) -> String {
    let (label, values): (&str, &[&str]) = match random.below(4) {
        0 => ("alertname", &NAMES),
        1 => ("team", &TEAMS),
        2 => ("host", &HOSTS),
        _ => ("severity", &SEVERITIES),
    };
    let (one, other) = (random.pick(values), random.pick(values));
    match random.below(6) {
        0 => format!("{label}!=\"{one}\""),
        1 => format!("{label}=~\"{one}|{other}\""),
        2 => format!("{label}!~\"{one}.*\""),
        _ => format!("{label}=\"{one}\""),
    }
}

fn matchers(random: &mut Random, most: usize) -> Vec<String> {
    let count = 1 + random.below(most);
    (0..count).map(|_| matcher(random)).collect::<BTreeSet<_>>().into_iter().collect()
}

fn group_by(random: &mut Random) -> Vec<&'static str> {
    if random.chance(10) {
        return vec!["..."];
    }
    let all = ["alertname", "team", "host", "severity", "missing"];
    all.into_iter().filter(|_| random.chance(35)).collect()
}

fn routes(random: &mut Random, depth: usize) -> Vec<Value> {
    let mut known = BTreeSet::new();
    let mut routes = Vec::new();
    for _ in 0..2 + random.below(4) {
        let matchers = matchers(random, 2);
        // Two routes with the same matchers have groups with the same keys.
        if !known.insert(matchers.clone()) {
            continue;
        }
        let mut route = json!({"matchers": matchers, "continue": random.chance(30)});
        if random.chance(80) {
            route["receiver"] = json!(format!("r{}", random.below(RECEIVERS)));
        }
        if random.chance(50) {
            route["group_by"] = json!(group_by(random));
        }
        if depth < 2 && random.chance(40) {
            route["routes"] = json!(self::routes(random, depth + 1));
        }
        routes.push(route);
    }
    routes
}

/// Rules by which one alert holds back others.
fn inhibit_rules(random: &mut Random) -> Vec<Value> {
    let rule = |random: &mut Random| {
        let equal: Vec<_> = ["team", "host"].into_iter().filter(|_| random.chance(50)).collect();
        json!({
            "source_matchers": ["alertname=\"Cause\"", matcher(random)],
            "target_matchers": [matcher(random), "alertname!=\"Cause\""],
            "equal": equal,
        })
    };
    (0..2).map(|_| rule(random)).collect()
}

/// The configuration, without the addresses.
fn config(random: &mut Random, sink: &HttpServer) -> String {
    let receivers: Vec<_> = (0..RECEIVERS)
        .map(|n| json!({"name": format!("r{n}"), "webhook_configs": [{"url": sink.url("/")}]}))
        .collect();
    json!({
        "route": {
            "receiver": "r0", "group_by": group_by(random), "group_wait": "600ms",
            "group_interval": "1s", "repeat_interval": "1h", "routes": routes(random, 0),
        },
        "receivers": receivers,
        "inhibit_rules": inhibit_rules(random),
    })
    .to_string()
}

/// By receiver, group and alert, whether it was last told that it fires.
type Known = BTreeMap<(String, String, String), bool>;

/// Takes messages in; gives those that told nothing new.
fn learn(known: &mut Known, messages: &[Message]) -> Vec<Value> {
    let mut idle = Vec::new();
    for message in messages {
        let mut news = false;
        for (alert, firing) in &message.alerts {
            let key = (message.receiver.clone(), message.group_key.clone(), alert.clone());
            news |= known.insert(key, *firing).unwrap_or(false) != *firing;
        }
        if !news {
            idle.push(message.json.clone());
        }
    }
    idle
}

/// Waits until neither has told anything for a while.
fn settle(sides: &Sides) {
    let (mut heard, mut since) = ((0, 0), Instant::now());
    let limit = Instant::now();
    while since.elapsed() < QUIET && limit.elapsed() < Duration::from_secs(30) {
        let now = (sides.theirs.heard(), sides.ours.heard());
        if now != heard {
            (heard, since) = (now, Instant::now());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The labels of the alerts that something holds back, by the API.
fn held(side: &Side) -> BTreeSet<String> {
    let alerts = side.json("/api/v2/alerts");
    let suppressed = |alert: &&Value| alert["status"]["state"] == "suppressed";
    let held = alerts.as_array().unwrap().iter().filter(suppressed);
    held.map(|alert| alert["labels"].to_string()).collect()
}

/// The stream: what fires, and the silences of both sides.
struct Stream {
    random: Random,
    firing: BTreeMap<String, Value>,
    silences: Vec<[String; 2]>,
}

impl Stream {
    /// Some alerts begin, some end; each at most once a round.
    fn alerts(&mut self, sides: &mut Sides) {
        let random = &mut self.random;
        let mut batch = BTreeMap::new();
        for _ in 0..3 + random.below(10) {
            let mut labels = json!({"alertname": random.pick(&NAMES), "team": random.pick(&TEAMS)});
            for (name, values) in [("host", &HOSTS[..]), ("severity", &SEVERITIES[..])] {
                if random.chance(85) {
                    labels[name] = json!(random.pick(values));
                }
            }
            batch.insert(labels.to_string(), (labels, true));
        }
        for (name, labels) in &self.firing {
            if random.chance(25) {
                batch.insert(name.clone(), (labels.clone(), false));
            }
        }
        let now = jiff::Timestamp::now().to_string();
        let mut sent = Vec::new();
        for (name, (labels, fires)) in batch {
            let ends_at = if fires { "2099-01-01T00:00:00Z" } else { &now };
            sent.push(json!({"labels": labels, "annotations": {"n": "1"}, "endsAt": ends_at}));
            match fires {
                true => self.firing.insert(name, labels),
                false => self.firing.remove(&name),
            };
        }
        let sent = Value::from(sent);
        sides.both().into_iter().for_each(|side| drop(side.post("/api/v2/alerts", &sent)));
    }

    /// A silence begins, or one ends.
    fn silence(&mut self, sides: &mut Sides) {
        let random = &mut self.random;
        if !self.silences.is_empty() && random.chance(50) {
            let ids = self.silences.swap_remove(random.below(self.silences.len()));
            for (side, id) in sides.both().into_iter().zip(ids) {
                let (status, answer) = side.ask("DELETE", &format!("/api/v2/silence/{id}"), "", "");
                assert_eq!(status, 200, "{answer}");
            }
            return;
        }
        let matchers: Vec<_> = [("team", &TEAMS[..]), ("alertname", &NAMES[..])]
            .into_iter()
            .map(|(name, values)| {
                let value = format!("{}|{}", random.pick(values), random.pick(values));
                json!({"name": name, "value": value, "isRegex": true, "isEqual": true})
            })
            .collect();
        let silence = json!({
            "matchers": matchers, "createdBy": "test", "comment": "x",
            "startsAt": jiff::Timestamp::now().to_string(), "endsAt": "2099-01-01T00:00:00Z",
        });
        let id = |side: &mut Side| {
            side.post("/api/v2/silences", &silence)["silenceID"].as_str().unwrap().to_owned()
        };
        self.silences.push(sides.both().map(id));
    }
}

#[test]
fn a_random_stream_tells_the_same() {
    let seed = number("DIFFERENTIAL_SEED", 1);
    let rounds = number("DIFFERENTIAL_ROUNDS", 14);
    let Some(mut sides) = Sides::start(|sink| config(&mut Random::new(seed), sink)) else { return };
    let mut stream =
        Stream { random: Random::new(seed + 1), firing: BTreeMap::new(), silences: Vec::new() };
    let (mut theirs, mut ours) = (Known::new(), Known::new());
    // What ended while it was held back: Alertmanager never tells of it.
    let mut excused: BTreeSet<String> = BTreeSet::new();
    let mut messages = (0, 0);
    for round in 0..rounds {
        if round % 3 == 2 {
            stream.silence(&mut sides);
        } else {
            let before = held(&sides.ours);
            let fired: BTreeSet<_> = stream.firing.keys().cloned().collect();
            stream.alerts(&mut sides);
            let ended = fired.iter().filter(|name| !stream.firing.contains_key(*name));
            excused.extend(ended.filter(|name| before.contains(*name)).cloned());
        }
        settle(&sides);
        assert_eq!(held(&sides.ours), held(&sides.theirs), "seed {seed}, round {round}");
        let (told_theirs, told_ours) = (sides.theirs.messages(), sides.ours.messages());
        messages = (messages.0 + told_theirs.len(), messages.1 + told_ours.len());
        learn(&mut theirs, &told_theirs);
        let idle = learn(&mut ours, &told_ours);
        assert!(idle.is_empty(), "seed {seed}, round {round}: nothing new in {idle:#?}");
        let differ: Vec<_> = ours
            .keys()
            .chain(theirs.keys())
            .filter(|key| {
                let fires = |known: &Known| known.get(*key).copied().unwrap_or(false);
                fires(&ours) != fires(&theirs) && !(excused.contains(&key.2) && fires(&theirs))
            })
            .collect();
        assert!(
            differ.is_empty(),
            "seed {seed}, round {round}: {differ:#?}\ntheirs: {told_theirs:#?}\nours: {told_ours:#?}"
        );
    }
    println!(
        "seed {seed}: {rounds} rounds, {} things known by receivers, {} messages of theirs, {} of ours",
        ours.len(),
        messages.0,
        messages.1
    );
    assert!(ours.values().any(|fires| *fires) && ours.values().any(|fires| !fires));
}
