//! What came of a job.
//!
//! Invariant: what is kept is bounded: one signal, [`MAX_STARTS`] starts, and [`MAX_OUTPUT`] bytes.

use std::time::Duration;

use base::sample::Timestamp;
use serde_json::{Value, json};

use super::Heartbeat;

/// The most of what a job said that is kept, in bytes (A10.1).
pub const MAX_OUTPUT: usize = 16 << 10;
/// The most runs that can be going on; one more makes the oldest forgotten.
const MAX_STARTS: usize = 16;
/// The longest name of a run.
const MAX_RUN: usize = 64;
/// A time in which nobody judged that is longer than this is one in which nobody received either.
const BLIND: Duration = Duration::from_secs(30);

/// What a job says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It begins.
    Start,
    /// It has ended well.
    Success,
    /// It has failed, with an exit code where that was said.
    Fail(Option<u8>),
    /// Something for people; it changes nothing.
    Log,
}

impl Told {
    /// What the last part of a path says: `start`, `fail`, `log`, or an exit code.
    pub fn from_path(part: &str) -> Option<Self> {
        Some(match part {
            "start" => Self::Start,
            "fail" => Self::Fail(None),
            "log" => Self::Log,
            code => match code.parse::<u8>().ok()? {
                0 => Self::Success,
                code => Self::Fail(Some(code)),
            },
        })
    }
}

/// That a job has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Signal {
    /// When we received it.
    pub at: Timestamp,
    /// Whether it failed, with its exit code where it gave one.
    pub failed: Option<Option<u8>>,
    /// How long it ran, where it said that it began.
    pub runtime: Option<Duration>,
}

/// That a job has begun.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Start {
    pub(super) at: Timestamp,
    /// Which run it is, where the job says so: runs may overlap (A10.2).
    run: String,
}

/// What is known of a job.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// Since when we wait for it.
    pub(super) since: Timestamp,
    pub(super) last: Option<Signal>,
    pub(super) last_success: Option<Timestamp>,
    pub(super) starts: Vec<Start>,
    /// What it said last.
    pub(super) output: String,
    /// For how long it may be later than otherwise, because we were not there.
    pub(super) credit: Duration,
    /// When we were last there.
    alive: Option<Timestamp>,
}

impl State {
    /// Notes that we are there at `now`. A time in which we were not is credited, with a grace, to at
    /// most one period (A10.5, F26).
    pub fn note_alive(&mut self, heartbeat: &Heartbeat, now: Timestamp) {
        if self.since == Timestamp::default() {
            self.since = now;
        }
        let gap = self.alive.map_or(Duration::ZERO, |alive| now.since(alive));
        if gap > BLIND {
            let last = self.last.as_ref().map_or(self.since, |last| last.at);
            let (_, most) = heartbeat.expected_after(last);
            self.credit = (self.credit + gap + heartbeat.grace).min(most.max(heartbeat.grace));
        }
        self.alive = Some(now);
    }

    /// Notes what the job says at `now`; `run` names the run, `body` is for people.
    pub fn note(&mut self, told: Told, run: &str, body: &[u8], now: Timestamp) {
        let run: String = run.chars().filter(|c| c.is_ascii_graphic()).take(MAX_RUN).collect();
        if told != Told::Start || !body.is_empty() {
            self.output = probes::text::shown(body, MAX_OUTPUT);
        }
        let failed = match told {
            Told::Log => return,
            Told::Start => {
                self.starts.retain(|start| start.run != run);
                if self.starts.len() >= MAX_STARTS {
                    self.starts.remove(0);
                }
                self.starts.push(Start { at: now, run });
                // A job that has only ever begun is known all the same.
                if self.last.is_none() {
                    self.last = Some(Signal { at: now, failed: None, runtime: None });
                }
                return;
            }
            Told::Success => None,
            Told::Fail(code) => Some(code),
        };
        let begun = self.starts.iter().position(|start| start.run == run);
        let begun = begun.map(|at| self.starts.remove(at).at);
        if run.is_empty() {
            // Whoever does not name its runs has one at a time.
            self.starts.clear();
        }
        let runtime = begun.map(|begun| now.since(begun));
        self.last = Some(Signal { at: now, failed, runtime });
        self.credit = Duration::ZERO;
        if failed.is_none() {
            self.last_success = Some(now);
        }
    }

    /// As it is kept over a restart.
    pub fn to_json(&self) -> Value {
        let last = self.last.as_ref().map(|last| {
            json!({
                "at": last.at.millis(),
                "failed": last.failed.is_some(),
                "code": last.failed.flatten(),
                "runtime": last.runtime.map(|runtime| runtime.as_millis() as u64),
            })
        });
        let starts: Vec<_> =
            self.starts.iter().map(|start| json!([start.at.millis(), start.run])).collect();
        json!({
            "since": self.since.millis(),
            "last": last,
            "last_success": self.last_success.map(Timestamp::millis),
            "starts": starts,
            "output": self.output,
            "credit": self.credit.as_millis() as u64,
            "alive": self.alive.map(Timestamp::millis),
        })
    }

    /// What [`State::to_json`] wrote; nothing where it is something else.
    pub fn from_json(value: &Value) -> Option<Self> {
        let time = |value: &Value| value.as_i64().map(Timestamp::from_millis);
        let span = |value: &Value| value.as_u64().map(Duration::from_millis);
        let last = match &value["last"] {
            Value::Null => None,
            last => {
                let code = last["code"].as_u64().and_then(|code| u8::try_from(code).ok());
                let failed = last["failed"].as_bool()?.then_some(code);
                Some(Signal { at: time(&last["at"])?, failed, runtime: span(&last["runtime"]) })
            }
        };
        let starts = value["starts"].as_array()?.iter().take(MAX_STARTS);
        let start = |start: &Value| {
            Some(Start { at: time(&start[0])?, run: start[1].as_str()?.to_owned() })
        };
        Some(Self {
            since: time(&value["since"])?,
            last,
            last_success: time(&value["last_success"]),
            starts: starts.map(start).collect::<Option<_>>()?,
            output: probes::text::shown(value["output"].as_str()?.as_bytes(), MAX_OUTPUT),
            credit: span(&value["credit"])?,
            alive: time(&value["alive"]),
        })
    }
}

#[cfg(test)]
mod tests {
    use base::diagnostic::{Diagnostics, Spanned};

    use super::*;
    use crate::heartbeat::HeartbeatConfig;

    fn heartbeat(yaml: &str) -> Heartbeat {
        let mut diagnostics = Diagnostics::new("test");
        let config: Option<HeartbeatConfig> = base::yaml::read(yaml, &mut diagnostics);
        let name = Spanned { value: "job".to_owned(), place: Default::default() };
        let built = config.and_then(|config| config.build(&name, &mut diagnostics));
        assert!(diagnostics.is_empty(), "{diagnostics}");
        built.unwrap()
    }

    /// Lives through `events`, each at a minute, with somebody there every ten seconds but in a gap:
    /// `600 fail`, `700 -800` (nobody there from 700 to 800), `900 ?summary` (what is to be said).
    #[track_caller]
    fn story(yaml: &str, start: &str, events: &str) {
        let heartbeat = heartbeat(yaml);
        let start = start.parse::<jiff::Timestamp>().unwrap().as_millisecond();
        let at = |minute: i64| Timestamp::from_millis(start + minute * 60_000);
        let (mut state, mut minute) = (State::default(), 0);
        for line in events.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (when, what) = line.split_once(' ').unwrap();
            let when: i64 = when.parse().unwrap();
            for second in minute * 6..=when * 6 {
                state.note_alive(&heartbeat, Timestamp::from_millis(start + second * 10_000));
            }
            minute = when;
            // Kept over a restart, at any time.
            state = State::from_json(&state.to_json()).unwrap();
            if let Some(until) = what.strip_prefix('-') {
                minute = until.parse().unwrap();
            } else if let Some(expected) = what.strip_prefix('?') {
                let got = heartbeat.judge(&state, at(when));
                let got = got.map_or("new".to_owned(), |o| format!("{}: {}", o.status, o.summary));
                assert!(got.starts_with(expected), "{line}: {got}");
            } else {
                let (what, run) = what.split_once('#').unwrap_or((what, ""));
                let (what, body) = what.split_once(' ').unwrap_or((what, ""));
                let told = match what {
                    "ok" => Told::Success,
                    what => Told::from_path(what).unwrap(),
                };
                state.note(told, run, body.as_bytes(), at(when));
            }
        }
    }

    const DAY: &str = "2026-06-01T00:00:00Z";

    #[test]
    fn new_up_late_down_and_up_again_a10_2_a10_3() {
        story(
            "{period: 1h, grace: 10m}",
            DAY,
            "500 ?new
             600 ok all done
             600 ?ok: reported 0s ago: all done
             660 ?ok: reported 1h ago
             665 ?ok: late: last 1h5m ago, down in 5m
             670 ?ok: late
             671 ?critical: has not reported: expected 11m ago, last 1h11m ago
             700 ok
             700 ?ok: reported",
        );
        story("{period: 1h, first_by: 2h}", DAY, "120 ?new\n121 ?critical: nothing has ever been");
    }

    #[test]
    fn failures_codes_and_runs_that_do_not_end() {
        story(
            "{period: 1d, max_runtime: 30m}",
            DAY,
            "10 fail out of space
             10 ?critical: failed 0s ago: out of space
             20 3
             21 ?critical: failed 1m ago with exit code 3
             30 log only a word
             30 ?critical: failed 10m ago with exit code 3: only a word
             40 0
             40 ?ok: reported
             50 start
             80 ?ok: reported 40m ago, started 30m ago
             81 ?critical: started 31m ago and has not ended within 30m
             82 ok
             83 ?ok: reported 1m ago",
        );
        // A job that begins and is never heard of again.
        story("{period: 1d, grace: 5m}", DAY, "10 start\n15 ?ok\n16 ?critical: started 6m ago");
        // Overlapping runs are told apart by their names.
        story(
            "{period: 1d, max_runtime: 30m}",
            DAY,
            "10 start#a\n20 start#b\n30 ok#b\n40 ?ok: reported 10m ago, started 30m ago
             41 ?critical: started 31m ago\n42 ok#a\n42 ?ok",
        );
    }

    #[test]
    fn a_run_that_takes_long_is_over_a_limit() {
        story(
            "{period: 1d, max_runtime: 30m, thresholds: {runtime: {warn: '60:600', crit: 1200}}}",
            DAY,
            "10 start
             15 ok
             15 ?ok: reported 0s ago
             20 start
             32 ok
             33 ?warning: `runtime` is 720s, warning by `60:600`; reported 1m ago
             40 start
             61 ok
             61 ?critical: `runtime` is 1260s, critical by `1200`; reported
             70 start
             95 fail no room
             95 ?critical: failed 0s ago: no room
             100 ok
             100 ?ok: reported",
        );
    }

    #[test]
    fn a_calendar_expects_each_run_once_a10_6() {
        let yaml = "{cron: '30 2 * * *', timezone: Europe/Berlin, grace: 10m}";
        // 2:30 does not exist on March 29th: it is expected at 3:00, which is 1:00 in UTC.
        story(
            yaml,
            "2026-03-28T01:30:00Z",
            "1 ok\n1410 ?ok: reported\n1411 ?ok: late\n1421 ?critical: has not reported",
        );
        // On October 25th it comes twice, and is expected at the first.
        story(
            yaml,
            "2026-10-24T00:30:00Z",
            "1 ok\n1440 ?ok: reported\n1441 ?ok: late\n1445 ok\n1510 ?ok: reported\n2800 ?ok: reported",
        );
    }

    #[test]
    fn while_we_were_not_there_nothing_was_missed_a10_5_f26() {
        story(
            "{period: 1h, grace: 10m}",
            DAY,
            "10 ok
             20 -90
             91 ?ok: reported
             129 ?ok: reported
             141 ?critical: has not reported",
        );
        // At most one period is credited, however long it was, and only until the next report.
        story(
            "{period: 1h, grace: 10m}",
            DAY,
            "10 ok\n20 -9000\n9000 ?critical\n9010 ok\n9081 ?critical: has not reported",
        );
        // A clock that was set back makes nothing late.
        story("{period: 1h, grace: 10m}", "2026-06-02T00:00:00Z", "10 ok\n5 ?ok: reported 0s ago");
    }

    #[test]
    fn what_is_kept_is_bounded_and_fit_to_be_shown() {
        let mut state = State::default();
        for n in 0..1000 {
            state.note(Told::Start, &n.to_string(), b"", Timestamp::from_millis(n));
        }
        state.note(Told::Log, "", &b"\x1b[2J".repeat(100_000), Timestamp::from_millis(1));
        assert_eq!(state.starts.len(), MAX_STARTS);
        assert!(state.output.len() <= MAX_OUTPUT && state.output.starts_with("\\u{1b}[2J"));
        for broken in ["null", "{}", r#"{"since":1,"starts":[[1]],"output":"","credit":0}"#] {
            assert_eq!(State::from_json(&serde_json::from_str(broken).unwrap()), None, "{broken}");
        }
    }
}
