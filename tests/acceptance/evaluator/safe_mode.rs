//! Starts that crash one after the other end in safe mode: F36.
//!
//! Invariant: the real program is killed, or runs out of the memory that it may have; nobody tells it
//! that it crashed.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::http_server::{HttpServer, Reply};
use tests::program::{End, Program, path_of};
use tests::{ask, get, wait_until};

use crate::disk::told;
use crate::rig::Evaluator;

const JSON: &str = "content-type: application/json\r\n";
/// Within so many seconds after the third crash alerting works.
const WITHIN: Duration = Duration::from_secs(60);

/// An evaluator that watches `targets`, and tells `chat`, and `phone` where nobody answers.
fn watching(targets: &[&HttpServer], chat: &HttpServer, phone: &HttpServer) -> Evaluator {
    let evaluator = Evaluator::new();
    evaluator.write(
        "rules.yml",
        "groups:\n- name: g\n  rules:\n  - {alert: Broken, expr: broken == 1}\n  \
         - {alert: Second, expr: second == 1}\n  - {alert: Waits, expr: broken == 1, for: 1h}\n",
    );
    let addresses: Vec<_> = targets.iter().map(|target| target.address()).collect();
    let hook =
        |server: &HttpServer| format!("webhook_configs: [{{url: '{}'}}]", server.url("/hook"));
    evaluator.write(
        "veilleur.yml",
        &format!(
            "global: {{scrape_interval: 500ms, evaluation_interval: 500ms}}\nscrape_configs:\n\
             - {{job_name: t, static_configs: [{{targets: {addresses:?}}}]}}\n\
             rule_files: [rules.yml]\nbuiltin_rules: {{enabled: false}}\n\
             route: {{receiver: chat, group_by: [alertname], group_wait: 0s, group_interval: 500ms, \
             escalate: [{{after: 2s, receiver: phone}}]}}\n\
             receivers: [{{name: chat, {}}}, {{name: phone, {}}}]\n",
            hook(chat),
            hook(phone)
        ),
    );
    evaluator
}

/// Every file below a folder with what is in it.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => drop(found.insert(path.clone(), fs::read(&path).unwrap())),
        }
    }
    found
}

fn heard(server: &HttpServer, what: &str) -> bool {
    told(server).iter().any(|one| one == what)
}

fn post(evaluator: &Evaluator, path: &str, body: &str) -> u16 {
    let url = format!("http://127.0.0.1:{}{path}", evaluator.port);
    ask("POST", &url, JSON, body).unwrap().0
}

fn push(evaluator: &Evaluator, name: &str) {
    let body = json!([{"labels": {"alertname": name}}]).to_string();
    assert_eq!(post(evaluator, "/api/v2/alerts", &body), 200);
}

/// What `/health` says of safe mode; nothing where it says nothing.
fn safe_mode(evaluator: &Evaluator) -> String {
    let body = evaluator.get("/health").map_or_else(String::new, |(_, body)| body);
    let health: Value = serde_json::from_str(&body).unwrap_or_default();
    health["checks"]["safe-mode"][0]["output"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn after_three_crashes_people_are_told_and_nothing_else_is_done_f36() {
    let target = HttpServer::start(|_| Reply::text("broken 1\nsecond 0\n"));
    let (chat, phone) = (HttpServer::sink(), HttpServer::sink());
    let mut evaluator = watching(&[&target], &chat, &phone);
    evaluator.start();
    wait_until("it is told", || heard(&chat, "Broken firing"));
    // What happens now is to be told, and cannot be.
    chat.reply_with(|_| Reply::status(503));
    target.reply_with(|_| Reply::text("broken 1\nsecond 1\n"));
    wait_until("it waits to be told", || {
        evaluator.alerts("firing").len() == 2 && evaluator.own("veilleur_outbox_waiting") > 0.0
    });
    evaluator.kill();
    for _ in 0..2 {
        evaluator.start();
        assert_eq!(safe_mode(&evaluator), "");
        evaluator.kill();
    }
    chat.reply_with(|_| Reply::text("ok"));
    let (asked, samples) = (target.asked().len(), files(&evaluator.path("data/samples")));

    let begun = Instant::now();
    evaluator.start();
    push(&evaluator, "Pushed");
    wait_until("what was to be told is told, what comes, and what is wrong with us", || {
        ["Second firing", "Pushed firing", "SafeMode firing"].iter().all(|one| heard(&chat, one))
    });
    assert!(begun.elapsed() < WITHIN, "{:?}", begun.elapsed());
    wait_until("who does not answer is followed by the next", || heard(&phone, "Pushed firing"));
    let how = safe_mode(&evaluator);
    for part in ["3 starts crashed", "a restart tries at once", "data/samples", "--max-series"] {
        assert!(how.contains(part), "{part} is missing in {how}");
        assert!(evaluator.program().log().contains(part), "{part}");
        let chat_said = chat.asked().iter().any(|asked| asked.body.contains(part));
        assert!(chat_said, "{part} is missing in what the chat was told");
    }
    assert_eq!(evaluator.get("/health").unwrap().0, 503);
    assert_eq!(evaluator.own("veilleur_safe_mode"), 1.0);
    // What fired stays, and is shown; nobody knows whether it still holds.
    target.reply_with(|_| Reply::text("broken 0\nsecond 0\n"));
    assert_eq!(evaluator.alerts("firing"), ["Broken", "Second"]);
    assert_eq!(evaluator.alerts("pending"), ["Waits"]);
    assert_eq!(evaluator.own("veilleur_alerts"), 6.0, "four fire, two of them are stale");
    let shown = evaluator.get("/api/v2/alerts").unwrap().1;
    for name in ["Broken", "Second", "Pushed", "SafeMode"] {
        assert!(shown.contains(&format!("\"alertname\":\"{name}\"")), "{shown}");
    }
    let silence = json!({
        "matchers": [{"name": "alertname", "value": "Broken", "isRegex": false}],
        "startsAt": "2020-01-01T00:00:00Z", "endsAt": "2999-01-01T00:00:00Z",
        "createdBy": "anna", "comment": "I have it",
    });
    assert_eq!(post(&evaluator, "/api/v2/silences", &silence.to_string()), 200);
    // No samples: that nothing is found would be a wrong answer, and who pushes some keeps them.
    for path in ["/api/v1/query?query=broken", "/api/v1/labels", "/federate?match[]=broken"] {
        let (status, body) = evaluator.get(path).unwrap();
        assert!(status == 503 && body.contains("safe mode"), "{path}: {status} {body}");
    }
    assert_eq!(post(&evaluator, "/api/v1/write", ""), 503);
    // A reload changes nothing of that.
    assert_eq!(post(&evaluator, "/-/reload", ""), 200);
    assert_eq!(evaluator.alerts("firing"), ["Broken", "Second"]);

    // As often as it crashes.
    evaluator.kill();
    evaluator.start();
    assert_ne!(safe_mode(&evaluator), "");
    assert_eq!(target.asked().len(), asked, "it scrapes");
    assert_eq!(files(&evaluator.path("data/samples")), samples);
    assert!(!heard(&chat, "Broken resolved"));

    // Who stops it and starts it again has all of it.
    evaluator.program().signal("TERM");
    assert_eq!(evaluator.program().wait(), End::Exit(0));
    evaluator.start();
    assert_eq!((safe_mode(&evaluator).as_str(), evaluator.own("veilleur_safe_mode")), ("", 0.0));
    wait_until("what is over is told", || {
        ["Second resolved", "SafeMode resolved"].iter().all(|one| heard(&chat, one))
    });
    wait_until("samples go on", || evaluator.value("broken") == "0");
    assert_eq!(evaluator.value("max_over_time(broken[1h])"), "1");
    // A crash after that is the first.
    evaluator.kill();
    evaluator.start();
    assert_eq!(safe_mode(&evaluator), "");
}

#[test]
fn safe_mode_ends_by_itself_and_comes_again_where_that_crashes_f36() {
    let target = HttpServer::start(|_| Reply::text("broken 1\n"));
    let (chat, phone) = (HttpServer::sink(), HttpServer::sink());
    let mut evaluator = watching(&[&target], &chat, &phone);
    for _ in 0..3 {
        evaluator.start();
        evaluator.kill();
    }
    evaluator.start_with(&["--safe-mode-for", "1s"]);
    let pid = evaluator.program().pid();
    wait_until("it scrapes again", || {
        evaluator.value("broken") == "1" && evaluator.own("veilleur_safe_mode") == 0.0
    });
    assert_eq!(evaluator.program().pid(), pid);
    assert!(evaluator.program().is_running());
    let log = evaluator.program().log();
    assert!(log.contains("safe mode is over"), "{log}");
    wait_until("it judges", || heard(&chat, "Broken firing"));
    // Within two minutes.
    evaluator.kill();
    evaluator.start_with(&["--safe-mode-for", "1h"]);
    assert!(safe_mode(&evaluator).contains("4 starts crashed"), "{}", safe_mode(&evaluator));
    evaluator.kill();
    // Who does not want it has all of it, or none.
    evaluator.start_with(&["--safe-mode", "off"]);
    assert_eq!(safe_mode(&evaluator), "");
    evaluator.program().signal("TERM");
    assert_eq!(evaluator.program().wait(), End::Exit(0));
    evaluator.start_with(&["--safe-mode", "on"]);
    assert!(safe_mode(&evaluator).contains("start without it"), "{}", safe_mode(&evaluator));
}

#[test]
fn who_ends_us_while_safe_mode_ends_ends_us_in_order_f36() {
    // It takes a message and never answers: the end waits for that.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut evaluator = Evaluator::new();
    let hook = format!("http://{}/hook", silent.local_addr().unwrap());
    let config = format!(
        "route: {{receiver: chat, group_wait: 0s}}\n\
         receivers: [{{name: chat, webhook_configs: [{{url: '{hook}'}}]}}]\n"
    );
    evaluator.write("veilleur.yml", &config);
    for _ in 0..3 {
        evaluator.start();
        evaluator.kill();
    }
    evaluator.start_with(&["--safe-mode-for", "2s"]);
    wait_until("it ends", || evaluator.program().log().contains("safe mode is over"));
    evaluator.program().signal("TERM");
    assert_eq!(evaluator.program().wait(), End::Exit(0));
    let log = evaluator.program().log();
    assert!(!log.contains("told again to stop"), "{log}");
    // Nobody takes that for a crash.
    evaluator.start();
    assert_eq!(safe_mode(&evaluator), "");
}

#[test]
fn a_target_that_takes_all_memory_ends_in_safe_mode_f36() {
    // Of 256 MiB that a small host may have, and of a bomb of 20,000 new series a scrape.
    const MOST: &str = "--data=268435456";
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let bomb = HttpServer::start(|_| {
        let from = NEXT.fetch_add(20_000, Ordering::SeqCst);
        let line = |n| format!("bomb{{n=\"{n}\",text=\"{}\"}} 1\n", "x".repeat(200));
        Reply::text(&(from..from + 20_000).map(line).collect::<String>())
    });
    let good = HttpServer::start(|_| Reply::text("broken 1\n"));
    let (chat, phone) = (HttpServer::sink(), HttpServer::sink());
    let evaluator = watching(&[&good, &bomb], &chat, &phone);
    let start = || {
        let mut command = Command::new("prlimit");
        command.arg(MOST).arg(path_of("veilleur")).args(evaluator.arguments());
        Program::spawn(command)
    };
    for round in 0..3 {
        let mut program = start();
        wait_until("there is no memory left", || !program.is_running());
        assert!(!matches!(program.wait(), End::Exit(_)), "round {round}: {}", program.log());
        assert!(program.log().contains("memory allocation"), "{}", program.log());
    }
    assert!(heard(&chat, "Broken firing"), "{:?}", told(&chat));
    let begun = Instant::now();
    let mut program = start();
    let url = format!("http://127.0.0.1:{}/-/ready", evaluator.port);
    wait_until("it is ready", || get(&url).is_some_and(|(status, _)| status == 200));
    push(&evaluator, "Pushed");
    wait_until("alerting works", || {
        ["Pushed firing", "SafeMode firing"].iter().all(|one| heard(&chat, one))
    });
    assert!(begun.elapsed() < WITHIN, "{:?}", begun.elapsed());
    assert!(program.is_running());
}
