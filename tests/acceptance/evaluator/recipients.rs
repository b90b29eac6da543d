//! Who hears where a label says it, and vmalert as a sender of alerts.
//!
//! Invariant: what an alert says decides who hears of it only as far as the file allows (S4, X18).

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tests::http_server::{Asked, HttpServer, Reply};
use tests::program::{Program, free_port};
use tests::{peers, wait_until};

use crate::delivery::push;
use crate::rig::Evaluator;

#[test]
fn a_label_leads_to_a_channel_that_is_allowed_and_to_no_other_x18() {
    let (chat, boss) = (HttpServer::start(|_| Reply::text("ok")), HttpServer::sink());
    let evaluator = Evaluator::with(&format!(
        "builtin_rules: {{enabled: false}}\n\
         route: {{receiver: chat, group_by: [alertname], group_wait: 0s}}\nreceivers:\n\
         - name: chat\n  fallback: boss\n  allowed_recipients: ['#team-*']\n  \
         mattermost_configs: [{{webhook_url: '{}', channel: '#{{{{ .CommonLabels.alertname }}}}'}}]\n\
         - name: boss\n  webhook_configs: [{{url: '{}'}}]\n",
        chat.url("/hook"),
        boss.url("/")
    ));
    push(&evaluator, "general", true);
    let told = |asked: &Asked| asked.json()["groupLabels"]["alertname"] == "general";
    wait_until("the fallback hears of it", || boss.asked().iter().any(told));
    push(&evaluator, "team-db", true);
    let heard = || -> Vec<String> {
        chat.asked().iter().map(|asked| asked.json()["channel"].to_string()).collect()
    };
    wait_until("the channel hears", || heard().contains(&"\"#team-db\"".to_owned()));
    assert!(heard().iter().all(|channel| channel == "\"#team-db\""), "{:?}", heard());
    let attempts = evaluator.data("/api/v1/notifications?alert=general").to_string();
    assert!(attempts.contains("not among `allowed_recipients`"), "{attempts}");
}

/// What vmalert is told that asks whether something is wrong.
fn answer(is_wrong: bool) -> Reply {
    let result = match is_wrong {
        true => r#"{"metric": {"instance": "db:1"}, "value": [1700000000, "1"]}"#,
        false => "",
    };
    Reply::text(&format!(
        r#"{{"status": "success", "data": {{"resultType": "vector", "result": [{result}]}}}}"#
    ))
}

#[test]
fn vmalert_tells_us_what_fires_and_what_has_ended() {
    let Some(vmalert) = peers::program("vmalert") else { return };
    let wrong = Arc::new(AtomicBool::new(true));
    let asked = Arc::clone(&wrong);
    let source = HttpServer::start(move |_| answer(asked.load(Ordering::Relaxed)));
    let sink = HttpServer::sink();
    let evaluator = Evaluator::with(&format!(
        "builtin_rules: {{enabled: false}}\n\
         route: {{receiver: hook, group_wait: 0s, group_interval: 200ms}}\nreceivers:\n\
         - {{name: hook, webhook_configs: [{{url: '{}'}}]}}\n",
        sink.url("/")
    ));
    let dir = tempfile::tempdir().unwrap();
    let rules = dir.path().join("rules.yml");
    fs::write(
        &rules,
        "groups:\n- name: g\n  interval: 1s\n  rules:\n  - {alert: Down, expr: up == 0, \
         labels: {severity: page}, annotations: {summary: '{{ $labels.instance }} is down'}}\n",
    )
    .unwrap();
    let mut command = Command::new(vmalert);
    command
        .arg(format!("-rule={}", rules.display()))
        .arg(format!("-datasource.url={}", source.url("")))
        .arg(format!("-notifier.url=http://127.0.0.1:{}", evaluator.port))
        .arg(format!("-httpListenAddr=127.0.0.1:{}", free_port()));
    let _vmalert = Program::spawn(command);
    let is = |status: &str| {
        sink.asked().iter().any(|asked| {
            let alert = &asked.json()["alerts"][0];
            alert["status"] == status
                && alert["labels"]["alertname"] == "Down"
                && alert["labels"]["instance"] == "db:1"
                && alert["labels"]["severity"] == "page"
                && alert["annotations"]["summary"] == "db:1 is down"
        })
    };
    wait_until("it fires", || is("firing"));
    wrong.store(false, Ordering::Relaxed);
    wait_until("it has ended", || is("resolved"));
}
