//! Samples that a real Prometheus pushes to us, in both versions of remote write.
//!
//! Invariant: what is compared was counted by both sides.

use std::path::Path;

use tests::http_server::{HttpServer, Reply};
use tests::program::{Program, free_port};
use tests::{ask, peers, wait_until};

use crate::rig::Evaluator;

/// A Prometheus that scrapes `target` every second and pushes to `evaluator`.
fn prometheus(program: &Path, target: &HttpServer, evaluator: &Evaluator, proto: &str) -> Program {
    let (data, port) = (evaluator.path("prometheus"), free_port());
    let config = format!(
        "global: {{scrape_interval: 1s, external_labels: {{site: here}}}}\nscrape_configs:\n\
         - job_name: pushed\n  static_configs: [{{targets: ['{}']}}]\nremote_write:\n\
         - url: http://127.0.0.1:{}/api/v1/write\n  protobuf_message: {proto}\n",
        target.address(),
        evaluator.port,
    );
    evaluator.write("prometheus.yml", &config);
    Program::start(
        program.to_str().unwrap(),
        [
            format!("--config.file={}", evaluator.path("prometheus.yml").display()),
            format!("--storage.tsdb.path={}", data.display()),
            format!("--web.listen-address=127.0.0.1:{port}"),
        ],
    )
}

#[track_caller]
fn is_pushed(proto: &str) {
    let Some(program) = peers::program("prometheus") else { return };
    let target = HttpServer::start(|_| Reply::text("# TYPE heat gauge\nheat{room=\"a\"} 21.5\n"));
    let evaluator = Evaluator::with("{}");
    let prometheus = prometheus(&program, &target, &evaluator, proto);
    wait_until("samples arrive", || {
        let heat = "heat{room=\"a\", job=\"pushed\", site=\"here\"}";
        !evaluator.value(&format!("count_over_time({heat}[1m]) >= 3")).is_empty()
    });
    assert_eq!(evaluator.value("heat"), "21.5");
    assert_eq!(evaluator.value("up{job=\"pushed\"}"), "1");
    assert_eq!(evaluator.own("veilleur_remote_write_refused_total"), 0.0);
    // The target fails: its series end by the marker that Prometheus sends.
    target.reply_with(|_| Reply::status(500));
    wait_until("the series has ended", || evaluator.value("heat").is_empty());
    assert_eq!(evaluator.value("up{job=\"pushed\"}"), "0");
    let log = prometheus.log();
    assert!(!log.contains("level=ERROR") && !log.contains("non-recoverable"), "{log}");
}

#[test]
fn prometheus_pushes_to_us_by_remote_write_1_0() {
    is_pushed("prometheus.WriteRequest");
}

#[test]
fn prometheus_pushes_to_us_by_remote_write_2_0() {
    is_pushed("io.prometheus.write.v2.Request");
}

#[test]
fn what_is_no_message_is_refused_with_the_right_status() {
    let evaluator = Evaluator::with("{}");
    let url = format!("http://127.0.0.1:{}/api/v1/write", evaluator.port);
    let status = |headers: &str, body: &str| ask("POST", &url, headers, body).map(|got| got.0);
    let check = |headers: &str, body: &str, expected: u16| {
        assert_eq!(status(headers, body), Some(expected), "{headers}");
    };
    let v1 = "content-type: application/x-protobuf\r\n";
    check("content-type: application/json\r\n", "{}", 415);
    check("content-type: application/x-protobuf;proto=a.B\r\n", "", 415);
    check(&format!("{v1}content-encoding: zstd\r\n"), "", 415);
    check(&format!("{v1}content-encoding: snappy\r\n"), "no snappy", 400);
    // A browser that a page of another site has tricked.
    check(&format!("{v1}origin: http://evil.example\r\n"), "", 403);
    // An empty snappy block is an empty message.
    check(&format!("{v1}content-encoding: snappy\r\n"), "\0", 204);
    assert_eq!(tests::get(&url).map(|got| got.0), Some(405));
}
