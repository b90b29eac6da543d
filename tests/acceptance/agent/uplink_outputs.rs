//! What the checks of an agent that pushes say, on its way to a message.
//!
//! Invariant: what arrived is asked of the evaluator and of the chat service, never of the agent.

use std::fs;

use serde_json::Value;
use tests::http_server::HttpServer;
use tests::program::{Program, free_port};
use tests::{exchange, get, wait_until};

use crate::stage::Stage;
use crate::uplink::evaluator_of;

/// Starts an evaluator that tells the chat service what fails at once.
fn evaluator(stage: &Stage, port: u16, chat: &HttpServer) -> Program {
    let config = format!(
        "global: {{evaluation_interval: 1s, slack_api_url: '{}'}}\n\
         builtin_rules: {{interval: 1s}}\n\
         route: {{receiver: ops, group_by: [alertname, check], group_wait: 1s, \
         group_interval: 1s, repeat_interval: 1h}}\n\
         receivers: [{{name: ops, slack_configs: [{{channel: '#ops'}}]}}]\n",
        chat.url("/chat")
    );
    evaluator_of(stage, port, &config)
}

/// The description of the alert of a check that failed; empty where none fires.
fn description(port: u16) -> String {
    let body = get(&format!("http://127.0.0.1:{port}/api/v1/alerts"));
    let body = body.map_or_else(String::new, |(_, body)| body);
    let body: Value = serde_json::from_str(&body).unwrap_or_default();
    let alerts = body["data"]["alerts"].as_array().cloned().unwrap_or_default();
    let ours = alerts.iter().find(|alert| {
        alert["labels"]["check"] == "disk" && alert["labels"]["alertname"] == "CheckFailed"
    });
    ours.map_or_else(String::new, |alert| {
        alert["annotations"]["description"].as_str().unwrap_or("").to_owned()
    })
}

#[test]
fn an_alert_says_what_the_check_said_also_when_it_was_pushed() {
    let (stage, port, chat) = (Stage::new(), free_port(), HttpServer::sink());
    let said = stage.path("said");
    fs::write(&said, "DISK CRITICAL - \"/var\" has 1 % | used=99%;80;90\nsecond line\n").unwrap();
    let script = format!("#!/bin/sh\ncat {}\nexit 2\n", said.display());
    let probe = stage.program("disk.sh", &script);
    stage.configure(&format!(
        "host: {{enabled: false}}\nchecks:\n- {{name: disk, interval: 1s, retries: 0, \
         labels: {{team: infra}}, probe: {{script: {{command: [{probe}]}}}}}}\n\
         uplink:\n  url: http://127.0.0.1:{port}/api/v1/write\n  interval: 1s\n  \
         labels: {{instance: far-away}}\n  buffer: {{dir: {}}}\n",
        stage.text("buffer")
    ));
    let first = evaluator(&stage, port, &chat);
    let agent = stage.start();
    wait_until("the alert says what the check said", || {
        description(port) == "DISK CRITICAL - \"/var\" has 1 %\nsecond line"
    });
    wait_until("people are told", || {
        chat.asked().iter().any(|asked| asked.body.contains("DISK CRITICAL - "))
    });
    // The same state with another text.
    fs::write(&said, "DISK CRITICAL - \"/var\" is full\n").unwrap();
    wait_until("the alert says what it says now", || {
        description(port) == "DISK CRITICAL - \"/var\" is full"
    });
    let sent = || agent.value("veilleur_uplink_outputs_total{result=\"sent\"}").unwrap_or(0.0);
    assert!(sent() >= 2.0);

    // An evaluator that was started again has forgotten it, and is told again.
    first.kill();
    let _second = evaluator(&stage, port, &chat);
    wait_until("the new evaluator knows it, too", || {
        description(port) == "DISK CRITICAL - \"/var\" is full"
    });
    assert_eq!(agent.value("veilleur_uplink_outputs_total{result=\"refused\"}"), None);
}

#[test]
fn the_evaluator_refuses_what_is_no_text_of_a_check() {
    let (stage, port) = (Stage::new(), free_port());
    let _evaluator = evaluator(&stage, port, &HttpServer::sink());
    let url = format!("http://127.0.0.1:{port}/api/v1/write");
    let post = |body: &str| {
        let headers = "veilleur-outputs: 1\r\ncontent-type: text/plain; version=0.0.4\r\n";
        let (head, body) = exchange("POST", &url, headers, body).unwrap();
        (head.split(' ').nth(1).unwrap().to_owned(), body)
    };
    let good = "# OUTPUT {check=\"c\",instance=\"h\",job=\"j\"} fine\n";
    assert_eq!(post(good).0, "204");
    for bad in ["# OUTPUT {check=\"c\",job=\"j\"} x\n", "up 1\n", "# OUTPUT {check} x\n", "\u{1}\n"]
    {
        let (status, why) = post(bad);
        assert_eq!(status, "400", "{bad}: {why}");
    }
    let (status, why) = post(&good.repeat(100_000));
    assert!(status == "400" && why.contains("length limit"), "{status}: {why}");
}
