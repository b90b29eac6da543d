//! `kill -9` at named points and at random, while alerts fire and end: F01 to F04.
//!
//! `CRASH_ROUNDS=1000 CRASH_SEED=7` says how often and how; without it as often as a minute allows.
//!
//! Invariant: what is found wrong comes again with the seed that is printed.

mod checker;
mod sink;

use std::collections::{BTreeMap, BTreeSet};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tests::http_server::HttpServer;
use tests::program::Program;
use tests::{ask, wait_until};

use crate::rig::Evaluator;
use checker::{Event, check};
use sink::{Point, Sink, kill};

/// How long it goes on where nobody says how often.
const BUDGET: Duration = Duration::from_secs(50);
/// After so many crashes everything must have arrived.
const QUIET_EVERY: u32 = 4;

/// Where the evaluator is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Crash {
    /// Just after it has acknowledged an alert.
    Acknowledged,
    /// Just after it has acknowledged a silence.
    Silenced,
    /// At a point of a delivery.
    Delivering(Point),
    /// Some milliseconds after it has acknowledged an alert.
    AtRandom,
    /// Some milliseconds after it was started.
    Starting,
}

const CRASHES: [Crash; 7] = [
    Crash::Acknowledged,
    Crash::Silenced,
    Crash::Delivering(Point::Connected),
    Crash::Delivering(Point::Requested),
    Crash::Delivering(Point::Answered),
    Crash::AtRandom,
    Crash::Starting,
];

/// Numbers that follow from a seed (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

struct Laboratory {
    evaluator: Evaluator,
    program: Option<Program>,
    sink: Sink,
    random: Random,
    firing: BTreeMap<String, bool>,
    silences: BTreeSet<String>,
    told: u32,
}

impl Laboratory {
    fn begin(seed: u64) -> Self {
        let (evaluator, sink) = (Evaluator::new(), Sink::start());
        evaluator.write(
            "veilleur.yml",
            &format!(
                "builtin_rules: {{enabled: false}}\nroute: {{receiver: sink, group_by: [g], \
                 group_wait: 0s, group_interval: 20ms, repeat_interval: 1d}}\nreceivers:\n\
                 - name: sink\n  webhook_configs: [{{url: '{}'}}]\n",
                sink.url()
            ),
        );
        let names = (0..9).map(|n| (format!("alert{n}"), false)).collect();
        let random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let (silences, firing) = (BTreeSet::new(), names);
        let mut laboratory =
            Self { evaluator, program: None, sink, random, firing, silences, told: 0 };
        laboratory.start();
        laboratory.await_ready();
        laboratory
    }

    fn start(&mut self) {
        self.program = Some(Program::start("veilleur", self.evaluator.arguments()));
    }

    fn await_ready(&self) {
        wait_until("the evaluator is ready", || {
            self.evaluator.get("/-/ready").is_some_and(|(status, _)| status == 200)
        });
    }

    fn pid(&self) -> u32 {
        self.program.as_ref().unwrap().pid()
    }

    fn post(&self, path: &str, body: &str) -> Option<(u16, String)> {
        let url = format!("http://127.0.0.1:{}{path}", self.evaluator.port);
        ask("POST", &url, "content-type: application/json\r\n", body)
    }

    /// Tells the evaluator that one of the alerts has begun or ended.
    fn change(&mut self) {
        let n = self.random.below(self.firing.len() as u64);
        let name = format!("alert{n}");
        let fires = !self.firing[&name];
        self.told += 1;
        // Far in the future, or in the past: whatever the clock says.
        let end = if fires { "2090-01-01T00:00:00Z" } else { "2020-01-02T00:00:00Z" };
        let body = format!(
            r#"[{{"labels": {{"alertname": "{name}", "g": "{}"}}, "endsAt": "{end}"}}]"#,
            n % 3
        );
        self.sink.note(Event::Telling(name.clone(), fires));
        if let Some((200, _)) = self.post("/api/v2/alerts", &body) {
            self.sink.note(Event::Acknowledged(name.clone(), fires));
        }
        self.firing.insert(name, fires);
    }

    fn silence(&mut self) {
        let body = format!(
            r#"{{"matchers": [{{"name": "never", "value": "{}", "isRegex": false}}],
                "startsAt": "2020-01-01T00:00:00Z", "endsAt": "2090-01-01T00:00:00Z",
                "createdBy": "kills", "comment": "F03"}}"#,
            self.told
        );
        if let Some((200, answer)) = self.post("/api/v2/silences", &body) {
            let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
            self.silences.insert(answer["silenceID"].as_str().unwrap().to_owned());
        }
    }

    /// Kills it at `crash`, and starts it again.
    fn crash(&mut self, crash: Crash) {
        let pid = self.pid();
        match crash {
            Crash::Acknowledged => {
                self.change();
                kill(pid);
            }
            Crash::Silenced => {
                self.change();
                self.silence();
                kill(pid);
            }
            Crash::Delivering(point) => {
                self.sink.arm(point, pid);
                self.change();
                let armed = Instant::now();
                // A change that says nothing new to anybody leads to no delivery.
                while !self.is_dead() && armed.elapsed() < Duration::from_millis(400) {
                    sleep(Duration::from_millis(1));
                }
                if !self.sink.disarm() {
                    kill(pid);
                }
            }
            Crash::AtRandom => {
                self.change();
                let micros = self.random.below(40_000);
                sleep(Duration::from_micros(micros));
                kill(pid);
            }
            Crash::Starting => {
                self.change();
                kill(pid);
                self.program.take().unwrap().wait();
                self.sink.note(Event::Killed);
                self.start();
                let millis = self.random.below(200);
                sleep(Duration::from_millis(millis));
                kill(self.pid());
            }
        }
        self.program.take().unwrap().wait();
        self.sink.note(Event::Killed);
        self.start();
    }

    fn is_dead(&mut self) -> bool {
        !self.program.as_mut().unwrap().is_running()
    }

    /// Lets everything arrive, and judges what did.
    fn judge(&mut self, seed: u64) -> checker::Verdict {
        self.await_ready();
        let arrived = || {
            let mut events = self.sink.events();
            events.push(Event::Quiet);
            let is_late = |violation: &String| violation.contains("lost");
            self.evaluator.own("veilleur_outbox_waiting") == 0.0
                && !check(&events).violations.iter().any(is_late)
        };
        let begun = Instant::now();
        while !arrived() && begun.elapsed() < Duration::from_secs(30) {
            sleep(Duration::from_millis(20));
        }
        self.sink.note(Event::Quiet);
        let events = self.sink.events();
        let verdict = check(&events);
        let first = verdict.violations.first().and_then(|first| first.split(':').next());
        let place = first.map_or(0, |place| place.parse::<usize>().unwrap());
        let before = &events[place.saturating_sub(60)..events.len().min(place + 1)];
        let violations = &verdict.violations;
        assert!(violations.is_empty(), "seed {seed}: {violations:#?}\n{before:#?}");
        let (_, silences) = self.evaluator.get("/api/v2/silences").unwrap();
        for id in &self.silences {
            assert!(silences.contains(id), "seed {seed}: silence {id} is lost");
        }
        verdict
    }
}

#[test]
fn kills_lose_no_page_repeat_none_and_invent_none_f01_f03_f04() {
    let seed = number("CRASH_SEED").unwrap_or(1);
    let rounds = number("CRASH_ROUNDS").map(|rounds| rounds as u32);
    let mut laboratory = Laboratory::begin(seed);
    let begun = Instant::now();
    let mut counts: BTreeMap<Crash, u32> = BTreeMap::new();
    let mut done = 0;
    while rounds.map_or(begun.elapsed() < BUDGET, |rounds| done < rounds) {
        laboratory.await_ready();
        for _ in 0..laboratory.random.below(3) {
            laboratory.change();
        }
        let crash = CRASHES[laboratory.random.below(CRASHES.len() as u64) as usize];
        laboratory.crash(crash);
        *counts.entry(crash).or_default() += 1;
        done += 1;
        if done % QUIET_EVERY == 0 {
            laboratory.judge(seed);
        }
    }
    let verdict = laboratory.judge(seed);
    println!("{done} crashes in {:?}, seed {seed}: {counts:?}", begun.elapsed());
    println!("{verdict:?}, {} silences", laboratory.silences.len());
    assert!(done >= 10 && verdict.messages > 10, "{done} {verdict:?}");
}

#[test]
fn two_hundred_alerts_that_were_told_are_not_told_again_after_a_kill_f02() {
    let (mut evaluator, chat) = (Evaluator::new(), HttpServer::sink());
    evaluator.write(
        "veilleur.yml",
        &format!(
            "builtin_rules: {{enabled: false}}\nroute: {{receiver: chat, group_by: ['...'], \
             group_wait: 0s, group_interval: 50ms, repeat_interval: 1d}}\nreceivers:\n\
             - name: chat\n  webhook_configs: [{{url: '{}'}}]\n",
            chat.url("/hook")
        ),
    );
    evaluator.start();
    let push = |evaluator: &Evaluator, names: &[String]| {
        let one = |name: &String| {
            format!(r#"{{"labels": {{"alertname": "{name}"}}, "endsAt": "2090-01-01T00:00:00Z"}}"#)
        };
        let body = format!("[{}]", names.iter().map(one).collect::<Vec<_>>().join(","));
        let url = format!("http://127.0.0.1:{}/api/v2/alerts", evaluator.port);
        let answer = ask("POST", &url, "content-type: application/json\r\n", &body);
        assert_eq!(answer.unwrap().0, 200);
    };
    let names: Vec<String> = (0..200).map(|n| format!("alert{n}")).collect();
    push(&evaluator, &names);
    wait_until("all are told", || {
        chat.asked().len() >= 200 && evaluator.own("veilleur_outbox_waiting") == 0.0
    });
    let told = chat.asked().len();
    evaluator.kill();
    evaluator.start();
    // Whoever comes after the restart is told after whatever the restart would have told again.
    for n in 0..3 {
        push(&evaluator, &[format!("later{n}")]);
        wait_until("the later one is told", || {
            chat.asked().iter().any(|asked| asked.body.contains(&format!("later{n}")))
        });
    }
    assert_eq!(chat.asked().len(), told + 3);
    assert_eq!(told, 200);
}
