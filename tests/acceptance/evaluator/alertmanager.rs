//! In Alertmanager's place: a real Prometheus sends us its alerts, and `amtool` works.
//!
//! Invariant: what is compared was told by programs that are not ours.

use std::process::Command;

use tests::http_server::{HttpServer, Reply};
use tests::program::{Program, free_port};
use tests::{peers, wait_until};

use crate::rig::Evaluator;

fn config(sink: &HttpServer) -> String {
    format!(
        "route: {{receiver: sink, group_by: [alertname], group_wait: 0s, group_interval: 1s}}\n\
         receivers: [{{name: sink, webhook_configs: [{{url: '{}'}}]}}]\n\
         inhibit_rules: [{{source_matchers: [alertname=Cause], target_matchers: [alertname=Effect]}}]\n",
        sink.url("/")
    )
}

/// `NAME status` of every alert of every message that the sink got.
fn told(sink: &HttpServer) -> Vec<String> {
    let mut told = Vec::new();
    for message in sink.asked() {
        for alert in message.json()["alerts"].as_array().unwrap() {
            let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
            told.push(format!(
                "{} {}",
                text(&alert["labels"]["alertname"]),
                text(&alert["status"])
            ));
        }
    }
    told
}

#[test]
fn a_prometheus_sends_us_its_alerts_and_their_end() {
    let Some(program) = peers::program("prometheus") else { return };
    let target = HttpServer::start(|_| Reply::text("heat 50\n"));
    let sink = HttpServer::sink();
    let mut evaluator = Evaluator::with(&config(&sink));
    evaluator.write(
        "theirs.yml",
        "groups: [{name: g, interval: 1s, rules: [{alert: Hot, expr: heat > 40, \
         annotations: {summary: 'it is {{ $value }} degrees'}}]}]",
    );
    evaluator.write(
        "prometheus.yml",
        &format!(
            "global: {{scrape_interval: 1s}}\nrule_files: [theirs.yml]\nalerting: {{alertmanagers: \
             [{{static_configs: [{{targets: ['127.0.0.1:{}']}}]}}]}}\nscrape_configs: [{{job_name: j, \
             static_configs: [{{targets: ['{}']}}]}}]\n",
            evaluator.port,
            target.address()
        ),
    );
    let prometheus = Program::start(
        program.to_str().unwrap(),
        [
            format!("--config.file={}", evaluator.path("prometheus.yml").display()),
            format!("--storage.tsdb.path={}", evaluator.path("theirs").display()),
            format!("--web.listen-address=127.0.0.1:{}", free_port()),
        ],
    );
    wait_until("the alert is told", || told(&sink) == ["Hot firing"]);
    let message = sink.asked()[0].json();
    assert_eq!(message["alerts"][0]["annotations"]["summary"], "it is 50 degrees");
    // A restart neither ends it nor tells it again (F02).
    evaluator.kill();
    evaluator.start();
    target.reply_with(|_| Reply::text("heat 20\n"));
    wait_until("its end is told", || told(&sink) == ["Hot firing", "Hot resolved"]);
    let log = prometheus.log();
    assert!(!log.contains("Error sending alerts") || log.contains("connection refused"), "{log}");
}

#[test]
fn amtool_adds_and_asks_alerts_and_silences() {
    let Some(amtool) = peers::program("amtool") else { return };
    let sink = HttpServer::sink();
    let mut evaluator = Evaluator::with(&config(&sink));
    let url = format!("--alertmanager.url=http://127.0.0.1:{}", evaluator.port);
    let amtool = |arguments: &[&str]| {
        let done = Command::new(&amtool).arg(&url).args(arguments).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            done.status.success(),
            "{arguments:?}: {}{}",
            text(&done.stdout),
            text(&done.stderr)
        );
        text(&done.stdout)
    };
    let id = amtool(&[
        "silence",
        "add",
        "alertname=Known",
        "--author=me",
        "--comment=we know",
        "--duration=1h",
    ]);
    let id = id.trim();
    amtool(&["alert", "add", "alertname=Known", "host=a"]);
    amtool(&["alert", "add", "alertname=Cause", "host=a"]);
    wait_until("the cause is told", || told(&sink) == ["Cause firing"]);
    amtool(&["alert", "add", "alertname=Effect", "host=a"]);
    amtool(&["alert", "add", "alertname=Other", "host=b", "--annotation=summary=else"]);
    wait_until("the other one is told", || told(&sink).contains(&"Other firing".to_owned()));
    assert_eq!(told(&sink), ["Cause firing", "Other firing"]);

    let shown = amtool(&["alert", "query", "-o", "simple"]);
    assert!(shown.contains("Cause") && shown.contains("Other"), "{shown}");
    assert!(!shown.contains("Known") && !shown.contains("Effect"), "{shown}");
    let shown = amtool(&["alert", "query", "--silenced", "-o", "json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown[0]["status"]["silencedBy"], serde_json::json!([id]));
    assert_eq!(amtool(&["silence", "query", "-q"]).trim(), id);
    assert!(amtool(&["config", "show"]).contains("sink"));
    assert!(amtool(&["cluster", "show"]).contains("disabled"));
    // `kill -9` right after the answer (F03).
    evaluator.kill();
    evaluator.start();
    assert_eq!(amtool(&["silence", "query", "-q"]).trim(), id);
    amtool(&["silence", "update", id, "--comment=we still know"]);
    assert!(amtool(&["silence", "query", "-o", "extended"]).contains("we still know"));
    amtool(&["silence", "expire", id]);
    wait_until("what was silenced is told", || told(&sink).contains(&"Known firing".to_owned()));
    assert_eq!(told(&sink), ["Cause firing", "Other firing", "Known firing"]);
}
