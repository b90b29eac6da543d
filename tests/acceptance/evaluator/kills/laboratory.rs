//! An evaluator that is killed at points and at random while alerts begin and end, by pushes and by
//! rules, and a receiver that notes what it hears.
//!
//! Invariant: whatever is chosen follows from the seed.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use tests::http_server::{HttpServer, Reply};
use tests::program::{End, Program, path_of};
use tests::{ask, wait_until};

use super::checker::{Event, Verdict, check};
use super::points::FIRST;
use super::sink::{Point, Sink, kill};
use crate::rig::Evaluator;

/// How long the evaluator may take to come to a point in its own code.
const PATIENCE: Duration = Duration::from_secs(6);

/// Where the evaluator is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Crash {
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
    /// At a point in its own code, which it passes for the second number's time.
    Within(&'static str, u64),
}

/// Those from outside.
pub(super) const CRASHES: [Crash; 7] = [
    Crash::Acknowledged,
    Crash::Silenced,
    Crash::Delivering(Point::Connected),
    Crash::Delivering(Point::Requested),
    Crash::Delivering(Point::Answered),
    Crash::AtRandom,
    Crash::Starting,
];

/// Numbers that follow from a seed (xorshift).
pub(super) struct Random(u64);

impl Random {
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// How many alerts are pushed, and how many come from rules.
const PUSHED: u64 = 6;
const BY_RULES: u64 = 3;

/// An evaluator that is killed again and again, and those around it.
pub(super) struct Laboratory {
    evaluator: Evaluator,
    program: Option<Program>,
    sink: Sink,
    /// What the rules look at: whether each of their alerts is to fire.
    target: HttpServer,
    pub(super) random: Random,
    firing: BTreeMap<String, bool>,
    pub(super) silences: BTreeSet<String>,
    told: u32,
}

impl Laboratory {
    /// A laboratory whose evaluator died amid its first start, and was started again.
    pub(super) fn begin(seed: u64) -> Self {
        let (evaluator, sink) = (Evaluator::new(), Sink::start());
        let target = HttpServer::start(|_| Reply::text(""));
        evaluator.write(
            "veilleur.yml",
            &format!(
                "global: {{scrape_interval: 200ms, evaluation_interval: 200ms}}\n\
                 builtin_rules: {{enabled: false}}\nrule_files: [rules.yml]\nscrape_configs:\n\
                 - {{job_name: t, static_configs: [{{targets: ['{}']}}]}}\n\
                 route: {{receiver: sink, group_by: [g], \
                 group_wait: 0s, group_interval: 20ms, repeat_interval: 1d}}\nreceivers:\n\
                 - name: sink\n  webhook_configs: [{{url: '{}'}}]\n",
                target.address(),
                sink.url()
            ),
        );
        let rule = |n| {
            let expression = format!("heat{{n=\"{n}\"}} == 1");
            // The last of them is pending at first: that goes on over a crash, too.
            let hold = if n + 1 == BY_RULES { ", for: 300ms" } else { "" };
            format!("  - {{alert: rule{n}, expr: '{expression}', labels: {{g: '{n}'}}{hold}}}\n")
        };
        let rules: String = (0..BY_RULES).map(rule).collect();
        evaluator.write("rules.yml", &format!("groups:\n- name: g\n  rules:\n{rules}"));
        let pushed = (0..PUSHED).map(|n| format!("alert{n}"));
        let names = pushed.chain((0..BY_RULES).map(|n| format!("rule{n}")));
        let firing = names.map(|name| (name, false)).collect();
        let random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let (program, silences) = (None, BTreeSet::new());
        let mut laboratory =
            Self { evaluator, program, sink, target, random, firing, silences, told: 0 };
        laboratory.show();
        if cfg!(debug_assertions) {
            laboratory.start(Some((FIRST, 1)));
            wait_until("the first start is dead", || laboratory.is_dead());
            laboratory.bury();
        }
        laboratory.start(None);
        laboratory.await_ready();
        laboratory
    }

    /// Starts the evaluator; it ends when it passes `point` for the number's time.
    fn start(&mut self, point: Option<(&str, u64)>) {
        let mut command = Command::new(path_of("veilleur"));
        // That we are killed all the time is what is tried here.
        command.args(self.evaluator.arguments()).args(["--safe-mode", "off"]);
        if let Some((name, passes)) = point {
            command.env("VEILLEUR_CRASH_AT", format!("{name}:{passes}"));
        }
        self.program = Some(Program::spawn(command));
    }

    fn is_ready(&self) -> bool {
        self.evaluator.get("/-/ready").is_some_and(|(status, _)| status == 200)
    }

    pub(super) fn await_ready(&self) {
        wait_until("the evaluator is ready", || self.is_ready());
    }

    /// Lets the target show what is to fire.
    fn show(&self) {
        let line =
            |n| format!("heat{{n=\"{n}\"}} {}\n", u8::from(self.firing[&format!("rule{n}")]));
        let text: String = (0..BY_RULES).map(line).collect();
        self.target.reply_with(move |_| Reply::text(&text));
    }

    fn pid(&self) -> u32 {
        self.program.as_ref().unwrap().pid()
    }

    fn post(&self, path: &str, body: &str) -> Option<(u16, String)> {
        let url = format!("http://127.0.0.1:{}{path}", self.evaluator.port);
        ask("POST", &url, "content-type: application/json\r\n", body)
    }

    /// One of the alerts begins or ends.
    pub(super) fn change(&mut self) {
        match self.random.below(PUSHED + BY_RULES) {
            n if n < PUSHED => self.push(n),
            n => self.turn(n - PUSHED),
        }
    }

    /// An alert of a rule: what it looks at says so until it is told otherwise.
    fn turn(&mut self, n: u64) {
        let name = format!("rule{n}");
        let fires = !self.firing[&name];
        self.sink.note(Event::Telling(name.clone(), fires));
        self.firing.insert(name.clone(), fires);
        self.show();
        self.sink.note(Event::Acknowledged(name, fires));
    }

    /// Tells the evaluator that a pushed alert has begun or ended.
    fn push(&mut self, n: u64) {
        let name = format!("alert{n}");
        let fires = !self.firing[&name];
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
        self.told += 1;
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

    /// Kills it at `crash`, and starts it again; says whether it came there.
    pub(super) fn crash(&mut self, crash: Crash) -> bool {
        let (pid, mut reached) = (self.pid(), true);
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
                let n = self.random.below(PUSHED);
                self.push(n);
                let armed = Instant::now();
                // A change that says nothing new to anybody leads to no delivery.
                while !self.is_dead() && armed.elapsed() < Duration::from_millis(400) {
                    sleep(Duration::from_millis(1));
                }
                reached = self.sink.disarm();
                if !reached {
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
                self.bury();
                self.start(None);
                let millis = self.random.below(200);
                sleep(Duration::from_millis(millis));
                kill(self.pid());
            }
            Crash::Within(name, passes) => {
                kill(pid);
                self.bury();
                self.start(Some((name, passes)));
                reached = self.drive(name);
                if !reached {
                    kill(self.pid());
                }
            }
        }
        self.bury();
        self.start(None);
        reached
    }

    /// It was killed.
    fn bury(&mut self) {
        let end = self.program.take().unwrap().wait();
        assert_eq!(end, End::Signal(9));
        self.sink.drain();
        self.sink.note(Event::Killed);
        self.sink.refuse(0);
    }

    /// Does everything that leads to some point, until the evaluator is dead; or says that it is not.
    fn drive(&mut self, point: &str) -> bool {
        wait_until("it is ready or dead", || self.is_ready() || self.is_dead());
        let begun = Instant::now();
        while !self.is_dead() && begun.elapsed() < PATIENCE {
            let n = self.random.below(PUSHED);
            if point.starts_with("failure.") || point.starts_with("intent.withdrawn") {
                self.sink.refuse(1);
            }
            self.push(n);
            if self.random.below(2) == 0 {
                // Long enough for it to be on its way.
                sleep(Duration::from_millis(40));
                self.push(n);
            }
            let n = self.random.below(BY_RULES);
            match self.random.below(8) {
                0 | 1 => self.turn(n),
                2 => self.silence(),
                3 => drop(self.evaluator.get("/api/v1/notifications")),
                4 => drop(self.post("/-/reload", "")),
                _ => {}
            }
        }
        self.is_dead()
    }

    fn is_dead(&mut self) -> bool {
        !self.program.as_mut().unwrap().is_running()
    }

    /// Lets everything arrive, and judges what did.
    pub(super) fn judge(&mut self, seed: u64) -> Verdict {
        self.await_ready();
        // Until then it holds for true what was true before: the second scrape from now on begins when
        // what the one before it saw is stored.
        let seen = self.target.asked().len();
        wait_until("its target was scraped twice", || self.target.asked().len() >= seen + 2);
        self.evaluator.let_evaluate(2);
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
