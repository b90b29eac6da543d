//! A random stream of alerts, silences and inhibition into both, and what their webhooks tell.
//!
//! What is compared is what each receiver knows of each alert of each group after every round, by
//! the last thing that it was told. Differences that are meant (`docs/compatibility.md`):
//!
//! - An alert that a receiver was told of, and that ends while it is held back by a silence or an
//!   inhibition: we tell of the end when it is let go, Alertmanager never does (F05).
//!   The same where the route of its group is mute for a time.
//! - When it lets an alert go, Alertmanager may tell again what was told before; we do not (F07).
//!
//! Before it is over, an interval ends in which one receiver is told nothing, and three reloads leave
//! the routes as they are: one changes nothing, one the inhibition and when that receiver is told
//! nothing, one that once more.
//!
//! Invariant: nothing else may differ, and none of our messages tells a receiver only what it knows,
//! but for those who want to hear it again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::wait_until;

use crate::plan::{AGAIN, HOSTS, NAMES, Plan, QUIET, SEVERITIES, TEAMS, UNRESOLVED, until};
use crate::random::Random;
use crate::sides::{Message, Side, Sides, held};

/// How long nothing may come before a round is over: more than two ticks of a group.
const CALM: Duration = Duration::from_millis(2200);

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
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
        // Whoever is not told of ends may hear that it fires a second time.
        if !news && ![AGAIN, UNRESOLVED].contains(&message.receiver.as_str()) {
            idle.push(message.json.clone());
        }
    }
    idle
}

/// Waits until neither has told anything for a while.
fn settle(sides: &Sides) {
    let (mut heard, mut since) = ((0, 0), Instant::now());
    let limit = Instant::now();
    while since.elapsed() < CALM && limit.elapsed() < Duration::from_secs(30) {
        let now = (sides.theirs.heard_but(AGAIN), sides.ours.heard_but(AGAIN));
        if now != heard {
            (heard, since) = (now, Instant::now());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The stream: what fires, and the silences of both sides.
struct Stream {
    random: Random,
    firing: BTreeMap<String, Value>,
    silences: Vec<[String; 2]>,
}

impl Stream {
    /// Some alerts begin, some end; each at most once a round. Where causes begin nothing ends: what
    /// ends just when it is held back is told by us and not by Alertmanager, and nobody can see which.
    fn alerts(&mut self, sides: &mut Sides) {
        let random = &mut self.random;
        let causes = random.chance(35);
        let mut batch = BTreeMap::new();
        for _ in 0..3 + random.below(10) {
            let name = random.pick(&NAMES);
            let name = if name == "Cause" && !causes { "Effect" } else { name };
            let mut labels = json!({"alertname": name, "team": random.pick(&TEAMS)});
            for (name, values) in [("host", &HOSTS[..]), ("severity", &SEVERITIES[..])] {
                if random.chance(85) {
                    labels[name] = json!(random.pick(values));
                }
            }
            batch.insert(labels.to_string(), (labels, true));
        }
        for (name, labels) in &self.firing {
            if !causes && random.chance(35) {
                batch.insert(name.clone(), (labels.clone(), false));
            }
        }
        let now = jiff::Timestamp::now().to_string();
        let alert = |labels: &Value, ends_at: &str| json!({"labels": labels, "annotations": {"n": "1"}, "endsAt": ends_at});
        let mut sent = Vec::new();
        for (name, (labels, fires)) in batch {
            if fires {
                self.firing.insert(name, labels);
            } else {
                sent.push(alert(&labels, &now));
                self.firing.remove(&name);
            }
        }
        // All of them again, as Prometheus does: of two that hold back the same Alertmanager forgets
        // one until it is sent again.
        sent.extend(self.firing.values().map(|labels| alert(labels, "2099-01-01T00:00:00Z")));
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
        let now = jiff::Timestamp::now();
        // One of three ends by itself, soon.
        let ends = random.chance(33).then(|| now + Duration::from_millis(1500));
        let silence = json!({
            "matchers": matchers, "createdBy": "test", "comment": "x", "startsAt": now.to_string(),
            "endsAt": ends.map_or("2099-01-01T00:00:00Z".to_owned(), |at| at.to_string()),
        });
        let id = |side: &mut Side| {
            side.post("/api/v2/silences", &silence)["silenceID"].as_str().unwrap().to_owned()
        };
        let ids = sides.both().map(id);
        match ends {
            None => self.silences.push(ids),
            Some(_) => wait_until("the silence ends", || {
                sides.both().into_iter().zip(&ids).all(|(side, id)| {
                    let silence = side.json(&format!("/api/v2/silence/{id}"));
                    silence["status"]["state"] == "expired"
                })
            }),
        }
    }
}

/// Waits, where this minute is about to end, until it has: what holds from minute to minute is not to
/// change while it is compared. What is told because it has ended is told before anything else happens.
fn pass_minute(sides: &Sides) {
    let second = || jiff::Timestamp::now().as_second() % 60;
    if second() > 45 {
        wait_until("the next minute has begun", || second() < 45);
        settle(sides);
    }
}

/// What every receiver has heard from one of the two.
#[derive(Default)]
struct Heard {
    known: Known,
    messages: usize,
    /// Messages to the one who wants to hear the same again.
    again: usize,
}

impl Heard {
    /// Takes in what has come; gives the messages, and those that told nothing new.
    fn take(&mut self, side: &mut Side) -> (Vec<Message>, Vec<Value>) {
        let messages = side.messages();
        self.messages += messages.len();
        self.again += messages.iter().filter(|message| message.receiver == AGAIN).count();
        let idle = learn(&mut self.known, &messages);
        (messages, idle)
    }

    fn fires(&self, key: &(String, String, String)) -> bool {
        self.known.get(key).copied().unwrap_or(false)
    }
}

#[test]
fn a_random_stream_tells_the_same() {
    let seed = number("DIFFERENTIAL_SEED", 1);
    let rounds = number("DIFFERENTIAL_ROUNDS", 14);
    // The first minute that is over after some rounds.
    let minute = jiff::Timestamp::now().as_second() / 60 + 1;
    let soon = until(jiff::Timestamp::from_second(minute * 60).unwrap());
    let mute = json!({"mute_time_intervals": ["soon"]});
    let mut plan = Plan { seed, inhibition: seed, quiet: mute, soon };
    let Some(mut sides) = Sides::start(|sink| plan.config(sink)) else { return };
    let mut stream =
        Stream { random: Random::new(seed + 1), firing: BTreeMap::new(), silences: Vec::new() };
    let (mut theirs, mut ours) = (Heard::default(), Heard::default());
    // What ended while it was held back: Alertmanager never tells of it.
    let mut excused: BTreeSet<String> = BTreeSet::new();
    for round in 0..rounds {
        pass_minute(&sides);
        let reload = match round * 14 / rounds.max(14) {
            5 => true,
            8 => {
                plan.inhibition += 1000;
                plan.quiet = json!({"active_time_intervals": ["never"]});
                true
            }
            11 => {
                plan.quiet = json!({"mute_time_intervals": ["never"]});
                true
            }
            _ => false,
        };
        if reload {
            sides.reload(|sink| plan.config(sink));
        } else if round % 3 == 2 {
            stream.silence(&mut sides);
        } else {
            let before = held(&sides.ours);
            let fired: BTreeSet<_> = stream.firing.keys().cloned().collect();
            stream.alerts(&mut sides);
            let ended = fired.iter().filter(|name| !stream.firing.contains_key(*name));
            excused.extend(ended.filter(|name| before.contains(*name)).cloned());
        }
        settle(&sides);
        if held(&sides.ours) != held(&sides.theirs) {
            let [theirs, ours] = sides.both().map(|side| side.json("/api/v2/alerts"));
            panic!("seed {seed}, round {round}:\ntheirs: {theirs:#}\nours: {ours:#}");
        }
        let (told_theirs, _) = theirs.take(&mut sides.theirs);
        let (told_ours, idle) = ours.take(&mut sides.ours);
        assert!(idle.is_empty(), "seed {seed}, round {round}: nothing new in {idle:#?}");
        let is_excused = |key: &(String, String, String)| {
            theirs.fires(key) && (excused.contains(&key.2) || key.0 == QUIET)
        };
        let keys = ours.known.keys().chain(theirs.known.keys());
        let differ: Vec<_> =
            keys.filter(|key| ours.fires(key) != theirs.fires(key) && !is_excused(key)).collect();
        assert!(
            differ.is_empty(),
            "seed {seed}, round {round}: {differ:#?}\ntheirs: {told_theirs:#?}\nours: {told_ours:#?}"
        );
    }
    println!(
        "seed {seed}: {rounds} rounds, {} things known by receivers, {} messages of theirs, {} of \
         ours; told again {} and {} times",
        ours.known.len(),
        theirs.messages,
        ours.messages,
        theirs.again,
        ours.again,
    );
    let known = |fires: bool| ours.known.values().any(|known| *known == fires);
    assert!(known(true) && known(false));
    let is_told = |receiver: &str| ours.known.keys().any(|key| key.0 == receiver);
    assert!([AGAIN, QUIET, UNRESOLVED].into_iter().all(is_told), "{:?}", ours.known.keys());
    // Each tells at the first tick after three seconds, so the numbers differ by what is rounded.
    let most = theirs.again.max(ours.again);
    assert!(
        most > 5 && theirs.again.abs_diff(ours.again) * 3 <= most,
        "{} {}",
        theirs.again,
        ours.again
    );
}
