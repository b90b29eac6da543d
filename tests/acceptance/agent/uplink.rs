//! An agent that pushes: to a real Prometheus, to our evaluator, to receivers that misbehave.
//!
//! Invariant: what arrived is asked of the receiver, never of the agent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;
use tests::http_server::{HttpServer, Reply};
use tests::program::{Program, free_port};
use tests::{escaped, get, peers, wait_until};

use crate::stage::{Agent, Stage};

/// The configuration of an agent with one check that pushes to `url` every second.
pub(crate) fn configure(stage: &Stage, url: &str, more: &str) {
    let probe = stage.program("probe.sh", "#!/bin/sh\necho 'ORDERS OK - fine | waiting=3'\n");
    stage.configure(&format!(
        "host: {{enabled: false}}\nchecks:\n- {{name: orders, interval: 1s, \
         probe: {{script: {{command: [{probe}]}}}}}}\nuplink:\n  url: {url}\n  interval: 1s\n  \
         labels: {{instance: far-away, site: lyon}}\n  buffer: {{dir: {}}}\n{more}",
        stage.text("buffer")
    ));
}

/// What a query API answers.
pub(crate) fn answer(port: u16, query: &str) -> Value {
    let url = format!("http://127.0.0.1:{port}/api/v1/query?query={}", escaped(query));
    let body = get(&url).map_or_else(String::new, |(_, body)| body);
    serde_json::from_str::<Value>(&body).unwrap_or_default()["data"]["result"].clone()
}

/// The value of the first series.
pub(crate) fn value(port: u16, query: &str) -> Option<f64> {
    answer(port, query)[0]["value"][1].as_str()?.parse().ok()
}

/// The times of the samples of `up` that an agent has pushed, in milliseconds.
fn times(port: u16) -> Vec<i64> {
    let result = answer(port, "up{instance=\"far-away\"}[10m]");
    let Some(values) = result[0]["values"].as_array() else { return Vec::new() };
    values.iter().map(|pair| (pair[0].as_f64().unwrap() * 1000.0).round() as i64).collect()
}

fn evaluator(stage: &Stage, port: u16) -> Program {
    evaluator_of(stage, port, "{}")
}

/// An evaluator that has this configuration, ready.
pub(crate) fn evaluator_of(stage: &Stage, port: u16, config: &str) -> Program {
    std::fs::write(stage.path("veilleur.yml"), config).unwrap();
    let (config, data) = (stage.text("veilleur.yml"), stage.text("data"));
    let listen = format!("127.0.0.1:{port}");
    let arguments = ["--config", &config, "--data", &data, "--listen", &listen];
    let program = Program::start("veilleur", arguments);
    wait_until("the evaluator is ready", || {
        get(&format!("http://127.0.0.1:{port}/-/ready")).is_some_and(|(status, _)| status == 200)
    });
    program
}

pub(crate) fn waiting(agent: &Agent) -> f64 {
    agent.value("veilleur_uplink_waiting_samples").unwrap_or(0.0)
}

#[test]
fn an_outage_of_the_evaluator_loses_nothing_also_with_the_agent_killed_f59() {
    let (stage, port) = (Stage::new(), free_port());
    configure(&stage, &format!("http://127.0.0.1:{port}/api/v1/write"), "");
    let first = evaluator(&stage, port);
    let agent = stage.start();
    wait_until("samples arrive", || times(port).len() >= 2);
    assert_eq!(value(port, "veilleur_check_perfdata{check=\"orders\", site=\"lyon\"}"), Some(3.0));
    assert_eq!(value(port, "veilleur_agent_info{job=\"veilleur-agent\"}"), Some(1.0));

    first.kill();
    wait_until("samples wait", || waiting(&agent) > 200.0);
    let (_, health) = agent.health();
    let notes = health["notes"].to_string();
    assert!(notes.contains("does not take our samples"), "{health:#}");
    // Killed in the middle of the outage; what was collected is on the disk.
    agent.program.kill();
    let agent = stage.start();
    let restarted = base::sample::Timestamp::now().millis();
    let before = waiting(&agent);
    wait_until("more samples wait", || waiting(&agent) > before + 200.0);

    let second = evaluator(&stage, port);
    wait_until("everything is sent", || waiting(&agent) == 0.0);
    wait_until("the newest has arrived", || {
        times(port).last().is_some_and(|last| *last > restarted + 3000)
    });
    let times = times(port);
    // One sample a second, each once, but for the moment in which the agent was away.
    let gaps: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.iter().all(|gap| *gap > 0), "{times:?}");
    let long = gaps.iter().filter(|gap| **gap > 2500).count();
    assert!(long <= 1 && gaps.iter().all(|gap| *gap < 20_000), "{gaps:?}");
    assert_eq!(agent.value("veilleur_uplink_samples_total{result=\"dropped\"}"), None);
    assert_eq!(agent.value("veilleur_uplink_samples_total{result=\"refused\"}"), None);
    assert_eq!(agent.health().1["notes"], Value::Null);
    drop(second);
}

#[test]
fn prometheus_takes_what_the_agent_pushes() {
    let Some(program) = peers::program("prometheus") else { return };
    let (stage, port) = (Stage::new(), free_port());
    std::fs::write(stage.path("prometheus.yml"), "{}").unwrap();
    let _prometheus = Program::start(
        program.to_str().unwrap(),
        [
            format!("--config.file={}", stage.text("prometheus.yml")),
            format!("--storage.tsdb.path={}", stage.text("tsdb")),
            format!("--web.listen-address=127.0.0.1:{port}"),
            // It knows 1.0 alone, unless it is told otherwise.
            "--web.enable-remote-write-receiver".to_owned(),
        ],
    );
    configure(&stage, &format!("http://127.0.0.1:{port}/api/v1/write"), "");
    let agent = stage.start();
    let check = "veilleur_check_status{check=\"orders\", instance=\"far-away\", site=\"lyon\"}";
    wait_until("three samples have arrived", || {
        value(port, &format!("count_over_time({check}[1m])")) >= Some(3.0)
    });
    assert_eq!(value(port, check), Some(0.0));
    // A check that is no longer configured ends at once, by the marker.
    let url = format!("http://127.0.0.1:{port}/api/v1/write");
    configure(&stage, &url, "services: {shop: {needs: [orders]}}\n");
    agent.program.signal("HUP");
    let service = "veilleur_service_up{service=\"shop\"}";
    wait_until("the service is there", || value(port, service) == Some(1.0));
    configure(&stage, &url, "");
    agent.program.signal("HUP");
    wait_until("the service has ended", || value(port, service).is_none());
    assert_eq!(value(port, check), Some(0.0));
    assert_eq!(agent.value("veilleur_uplink_samples_total{result=\"refused\"}"), None);
    assert!(agent.value("veilleur_uplink_requests_total{code=\"415\"}").is_none());
}

#[test]
fn receivers_that_misbehave_are_given_up_or_tried_again_as_they_say() {
    let count = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&count);
    // The first answer is that of a receiver that is overloaded, the next are of one that will never
    // take these messages, the others of one that knows 2.0.
    let receiver = HttpServer::start(move |_| match counted.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::Answer(503, "retry-after: 1\r\n".to_owned(), b"busy".to_vec()),
        1 | 2 => Reply::Answer(400, String::new(), b"out of bounds".to_vec()),
        _ => {
            let written = "x-prometheus-remote-write-samples-written: 1\r\n";
            Reply::Answer(204, written.to_owned(), Vec::new())
        }
    });
    let stage = Stage::new();
    let secret = "  authorization: {credentials: s3cret-token}\n";
    configure(&stage, &receiver.url("/write"), secret);
    let agent = stage.start();
    wait_until("messages have come", || receiver.asked().len() >= 5);
    let asked = receiver.asked();
    let header = |at: usize, name: &str| asked[at].headers.get(name).cloned().unwrap_or_default();
    // The same again; where another had joined it, it was refused with that one, and goes alone.
    assert!(asked[1..3].iter().any(|again| again.body == asked[0].body));
    assert!(asked[3..].iter().all(|next| next.body != asked[0].body), "and given up");
    for at in 0..5 {
        assert_eq!(header(at, "authorization"), "Bearer s3cret-token");
        assert_eq!(header(at, "content-encoding"), "snappy");
        assert_eq!(header(at, "x-prometheus-remote-write-version"), "2.0.0");
        assert!(header(at, "content-type").ends_with("io.prometheus.write.v2.Request"));
    }
    assert!(agent.value("veilleur_uplink_samples_total{result=\"refused\"}") > Some(0.0));
    let log = agent.program.log();
    assert!(log.contains("refuses samples for good: status 400: out of bounds"), "{log}");
    assert!(!log.contains("s3cret"), "{log}");
}

#[test]
fn a_receiver_that_ignores_2_0_is_sent_1_0() {
    let receiver = HttpServer::start(|_| Reply::status(200));
    let stage = Stage::new();
    configure(&stage, &receiver.url("/write"), "");
    let _agent = stage.start();
    wait_until("messages have come", || receiver.asked().len() >= 3);
    // What checks said is for evaluators of ours alone.
    for asked in receiver.asked() {
        assert!(!asked.headers.contains_key("veilleur-outputs"), "{:?}", asked.headers);
        assert!(asked.headers["content-type"].starts_with("application/x-protobuf"));
    }
    let versions: Vec<_> = receiver
        .asked()
        .iter()
        .map(|asked| asked.headers["x-prometheus-remote-write-version"].clone())
        .collect();
    assert_eq!(versions[..3], ["2.0.0", "0.1.0", "0.1.0"]);
}

#[test]
fn a_buffer_that_cannot_be_used_is_told_and_checks_run_on() {
    let (stage, port) = (Stage::new(), free_port());
    configure(&stage, &format!("http://127.0.0.1:{port}/w"), "");
    std::fs::write(stage.path("buffer"), "a file, not a folder").unwrap();
    let agent = stage.start();
    wait_until("the health page says it", || {
        agent.health().1["notes"].to_string().contains("the uplink does not run")
    });
    wait_until("the check has run", || agent.runs("orders") >= 1.0);
    std::fs::remove_file(stage.path("buffer")).unwrap();
    wait_until("it runs by itself", || waiting(&agent) > 0.0);
}
