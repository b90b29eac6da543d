//! An agent that is cut off from its evaluator, and back: F59, and what is shown of the uplink.
//!
//! Invariant: the way between the two is cut by the test, so that both run on meanwhile.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use base::sample::Timestamp;
use serde_json::Value;
use tests::http_server::HttpServer;
use tests::{get, wait_until, write_program};

use crate::stage::{Kind, Running};

/// A way to a port, which can be cut: nothing passes then, and nobody hangs up.
struct Way {
    port: u16,
    is_cut: Arc<AtomicBool>,
}

impl Way {
    fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let way = Self { port: listener.local_addr().unwrap().port(), is_cut: Arc::default() };
        let is_cut = Arc::clone(&way.is_cut);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                for (from, to) in
                    [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)]
                {
                    let is_cut = Arc::clone(&is_cut);
                    thread::spawn(move || pass(from, to, &is_cut));
                }
            }
        });
        way
    }

    fn cut(&self, is_cut: bool) {
        self.is_cut.store(is_cut, Ordering::SeqCst);
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, is_cut: &AtomicBool) {
    let mut piece = [0; 16 << 10];
    while let Ok(length) = from.read(&mut piece) {
        // What was on its way when it was cut is lost, as with a cable.
        if length == 0 || is_cut.load(Ordering::SeqCst) || to.write_all(&piece[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
    let _ = from.shutdown(std::net::Shutdown::Both);
}

fn query(evaluator: &Running, query: &str) -> Value {
    let url = evaluator.url(&format!("/api/v1/query?query={}", tests::escaped(query)));
    let body = get(&url).map_or_else(String::new, |(_, body)| body);
    let body: Value = serde_json::from_str(&body).unwrap_or_default();
    body["data"]["result"][0].clone()
}

/// Times, in milliseconds, and values of the samples of a series in the last minutes.
fn samples(evaluator: &Running, series: &str) -> Vec<(i64, String)> {
    let result = query(evaluator, &format!("{series}[10m]"));
    let values = result["values"].as_array().cloned().unwrap_or_default();
    let pair = |pair: &Value| {
        let at = (pair[0].as_f64().unwrap() * 1000.0).round() as i64;
        (at, pair[1].as_str().unwrap().to_owned())
    };
    values.iter().map(pair).collect()
}

/// An evaluator that tells `chat`, and an agent with one check that is as the file `state` says.
struct Pair {
    evaluator: Running,
    agent: Running,
    chat: HttpServer,
    way: Way,
}

/// The shortest that there is, which stands for fifteen seconds: a cut of ten for some minutes.
const INTERVAL: &str = "1s";

fn pair(buffer: &str) -> Pair {
    let chat = HttpServer::sink();
    let config = format!(
        "global: {{evaluation_interval: 500ms}}\n\
         builtin_rules: {{for: {{AgentDown: 1h}}}}\n\
         route: {{receiver: ops, group_by: [alertname, check], group_wait: 0s, group_interval: 500ms}}\n\
         receivers:\n- name: ops\n  webhook_configs: [{{url: '{}'}}]\n",
        chat.url("/")
    );
    let evaluator = Running::new(Kind::Evaluator, &config);
    let way = Way::to(evaluator.port);
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("check");
    let state = folder.path().join("state");
    std::fs::write(&state, "0").unwrap();
    write_program(&script, "#!/bin/sh\nread code <\"$1\"\necho said\nexit $code\n");
    let config = agent(
        &script.display().to_string(),
        &state.display().to_string(),
        way.port,
        folder.path(),
        buffer,
    );
    let agent = Running::inside(Kind::Agent, &config, "exec \"$@\"", &[], folder);
    let pair = Pair { evaluator, agent, chat, way };
    wait_until("the check is seen to be well", || {
        samples(&pair.evaluator, STATUS).last().is_some_and(|(_, value)| value == "0")
    });
    pair
}

fn agent(script: &str, state: &str, port: u16, folder: &std::path::Path, buffer: &str) -> String {
    format!(
        "host: {{enabled: false}}\nchecks:\n- {{name: orders, interval: {INTERVAL}, timeout: 400ms, \
         retries: 0, probe: {{script: {{command: [{script}, {state}]}}}}}}\nuplink:\n  \
         url: http://127.0.0.1:{port}/api/v1/write\n  interval: {INTERVAL}\n  timeout: 1s\n  \
         labels: {{instance: far}}\n  buffer: {{dir: {}{buffer}}}\n",
        folder.join("buffer").display()
    )
}

const STATUS: &str = "veilleur_check_status{check=\"orders\"}";

impl Pair {
    fn set(&self, state: u8) {
        std::fs::write(self.agent.path("state"), state.to_string()).unwrap();
        let series = format!("{STATUS} {state}");
        let seen = || get(&self.agent.url("/metrics")).unwrap().1.contains(&series);
        wait_until("the agent sees it", seen);
    }

    fn wait_for_runs(&self, more: f64) {
        let runs = || self.agent.value("veilleur_check_runs_total");
        let begun = runs();
        wait_until("the check runs on", || runs() >= begun + more);
    }

    fn told(&self, status: &str) -> usize {
        let is = |asked: &tests::http_server::Asked| {
            asked.body.contains("CheckFailed") && asked.json()["status"] == status
        };
        self.chat.asked().iter().filter(|asked| is(asked)).count()
    }

    /// Mends the way, and waits until all that has waited has arrived.
    fn heal(&self) {
        self.way.cut(false);
        wait_until("all has arrived", || {
            self.agent.value("veilleur_uplink_waiting_samples") < 200.0
        });
    }
}

/// What failed and was mended while nobody could hear of it is in the graphs, and wakes nobody.
#[test]
fn an_outage_that_is_over_pages_nobody_and_is_in_the_graphs_f59() {
    let pair = pair("");
    pair.way.cut(true);
    pair.wait_for_runs(3.0);
    pair.set(2);
    pair.wait_for_runs(6.0);
    let broken = Timestamp::now().millis();
    pair.set(0);
    pair.wait_for_runs(6.0);
    pair.heal();
    wait_until("what was is in the graphs", || {
        samples(&pair.evaluator, STATUS).iter().filter(|(_, value)| value == "2").count() >= 4
    });
    let all = samples(&pair.evaluator, STATUS);
    // With the times at which they were, one each interval.
    assert!(all.iter().filter(|(_, v)| v == "2").all(|(at, _)| *at <= broken + 2000), "{all:?}");
    let gaps: Vec<_> = all.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    assert!(gaps.iter().all(|gap| (1..3000).contains(gap)), "{gaps:?}");
    // The rules have seen it, and what is now.
    let evaluations = || pair.evaluator.value("veilleur_rule_evaluations_total");
    let begun = evaluations();
    wait_until("the rules are evaluated", || evaluations() >= begun + 40.0);
    assert_eq!(pair.told("firing"), 0, "{:?}", pair.chat.asked());
}

/// What is broken when the way is mended is told within two intervals, and what was told is taken back.
#[test]
fn what_is_broken_after_an_outage_is_told_at_once_f59() {
    let pair = pair("");
    pair.way.cut(true);
    pair.wait_for_runs(6.0);
    pair.set(2);
    pair.wait_for_runs(2.0);
    assert_eq!(pair.told("firing"), 0);
    let begun = Instant::now();
    pair.way.cut(false);
    wait_until("it is told", || pair.told("firing") == 1);
    let took = begun.elapsed();
    // Two intervals, an evaluation and a flush, beside the second or two until the agent tries again.
    assert!(took < Duration::from_secs(8), "{took:?}");
    // Cut off again, nothing is resolved by silence.
    pair.way.cut(true);
    pair.set(0);
    let evaluations = || pair.evaluator.value("veilleur_rule_evaluations_total");
    let begun = evaluations();
    wait_until("the rules are evaluated", || evaluations() >= begun + 40.0);
    assert_eq!((pair.told("firing"), pair.told("resolved")), (1, 0));
    pair.heal();
    wait_until("the all-clear is told", || pair.told("resolved") == 1);
    assert_eq!(pair.told("firing"), 1);
}

/// Killed while cut off, it loses at most the last second; what it had is delivered once.
#[test]
fn an_agent_killed_while_cut_off_loses_at_most_a_second_f59() {
    let Pair { evaluator, agent, way, .. } = pair("");
    way.cut(true);
    let runs = || agent.value("veilleur_check_runs_total");
    let begun = runs();
    wait_until("it has collected for a while", || runs() >= begun + 10.0);
    let Running { program, folder, .. } = agent;
    let killed = Timestamp::now().millis();
    program.kill();
    way.cut(false);
    let config = std::fs::read_to_string(folder.path().join("config.yml")).unwrap();
    let started = Timestamp::now().millis();
    let agent = Running::inside(Kind::Agent, &config, "exec \"$@\"", &[], folder);
    let arrived = || {
        samples(&evaluator, STATUS).last().is_some_and(|(at, _)| *at > started + 2000)
            && agent.value("veilleur_uplink_waiting_samples") < 200.0
    };
    wait_until("all has arrived", arrived);
    let all = samples(&evaluator, STATUS);
    let last = all.iter().map(|(at, _)| *at).filter(|at| *at <= killed).max().unwrap();
    // An interval of a second passes between two collections, and they are on time within another.
    assert!(killed - last <= 2000, "{} ms are lost: {all:?}", killed - last);
    let gaps: Vec<_> = all.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    assert!(gaps.iter().all(|gap| *gap > 0), "{gaps:?}");
    let long = gaps.iter().filter(|gap| **gap > 3000).count();
    assert!(long <= 1, "{gaps:?}");
}

/// A buffer that is full drops the oldest, says so, and delivers the newest.
#[test]
fn a_buffer_that_is_full_drops_the_oldest_and_counts_f59() {
    let pair = pair(", max_size: 1MiB");
    pair.way.cut(true);
    // Pushed metrics fill a megabyte sooner than one check does.
    let config = std::fs::read_to_string(pair.agent.path("config.yml")).unwrap();
    let push = "- {name: filling, push: {job: filling}}\n";
    let config = config.replace("uplink:\n", &format!("{push}uplink:\n"));
    std::fs::write(pair.agent.path("config.yml"), config).unwrap();
    pair.agent.program.signal("HUP");
    let url = pair.agent.url("/metrics/job/filling");
    let push = |round: u32| {
        let lines: String =
            (0..9000).map(|n| format!("filling{{n=\"{n}\"}} {round}.{n}\n")).collect();
        tests::ask("PUT", &url, "", &lines).is_some_and(|(status, _)| status == 200)
    };
    wait_until("it takes what is pushed", || push(0));
    let dropped = || {
        let text = get(&pair.agent.url("/metrics")).unwrap().1;
        let series = "veilleur_uplink_samples_total{result=\"dropped\"} ";
        text.lines().find_map(|line| line.strip_prefix(series)?.parse::<f64>().ok())
    };
    let mut round = 0;
    wait_until("samples are dropped", || {
        round += 1;
        assert!(push(round));
        dropped() > Some(0.0)
    });
    pair.way.cut(false);
    let newest = Timestamp::now().millis();
    wait_until("the newest arrive", || {
        samples(&pair.evaluator, STATUS).last().is_some_and(|(at, _)| *at > newest)
    });
    let gaps = samples(&pair.evaluator, STATUS);
    assert!(gaps.windows(2).all(|pair| pair[0].0 < pair[1].0), "{gaps:?}");
}
