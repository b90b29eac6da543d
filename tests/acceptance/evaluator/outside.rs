//! Who watches the watcher: somebody outside hears from us while all is well, and only then (A10.7,
//! F60).
//!
//! Invariant: each stage is broken alone, and mended again, so that it was this stage.

use std::process::Command;
use std::time::{Duration, Instant};

use tests::http_server::{HttpServer, Reply};
use tests::wait_until;

use crate::delivery::push;
use crate::disk::SmallDisk;
use crate::rig::Evaluator;

/// Far more than an interval, and what is on its way.
const SILENCE: Duration = Duration::from_secs(5);

/// An evaluator that pings `outside` every second, judges what `target` shows and tells `chat`.
fn watched(outside: &HttpServer, target: &HttpServer, chat: &HttpServer) -> Evaluator {
    let evaluator = Evaluator::new();
    evaluator.write(
        "rules.yml",
        // It cannot be evaluated where there is more than one on the right.
        "groups:\n- name: g\n  rules:\n  - {alert: Pair, expr: 'left * on(job) right > 1e9'}\n",
    );
    evaluator.write(
        "veilleur.yml",
        &format!(
            "global: {{scrape_interval: 500ms, evaluation_interval: 500ms}}\nscrape_configs:\n\
             - job_name: t\n  static_configs: [{{targets: ['{}']}}]\nrule_files: [rules.yml]\n\
             builtin_rules: {{enabled: false}}\nroute: {{receiver: chat, group_wait: 0s, \
             group_interval: 500ms}}\nreceivers:\n- name: chat\n  webhook_configs: [{{url: '{}'}}]\n\
             watchdog: {{url: '{}', interval: 1s}}\n",
            target.address(),
            chat.url("/hook"),
            outside.url("/ping/secret-key")
        ),
    );
    evaluator
}

/// Waits until `outside` hears nothing any more.
fn await_silence(what: &str, outside: &HttpServer) {
    let (mut heard, mut since) = (outside.asked().len(), Instant::now());
    wait_until(what, || {
        let now = outside.asked().len();
        if now != heard {
            (heard, since) = (now, Instant::now());
        }
        since.elapsed() > SILENCE
    });
}

fn await_pings(what: &str, outside: &HttpServer) {
    let before = outside.asked().len();
    wait_until(what, || outside.asked().len() >= before + 3);
}

#[test]
fn somebody_outside_hears_of_us_only_while_every_stage_works_f60() {
    let good = "left{} 1\nright{} 1\n";
    let target = HttpServer::start(move |_| Reply::text(good));
    let (outside, chat) = (HttpServer::sink(), HttpServer::sink());
    let mut evaluator = watched(&outside, &target, &chat);
    evaluator.start();
    await_pings("it pings", &outside);
    let ping = &outside.asked()[0];
    assert_eq!((ping.method.as_str(), ping.path.as_str()), ("POST", "/ping/secret-key"));
    // About once an interval, not at every evaluation.
    let (before, begun) = (outside.asked().len(), Instant::now());
    wait_until("ten more", || outside.asked().len() >= before + 10);
    assert!(begun.elapsed() > Duration::from_secs(7), "{:?}", begun.elapsed());

    // A process that stands still.
    evaluator.program().signal("STOP");
    await_silence("a stopped process is silent", &outside);
    evaluator.program().signal("CONT");
    await_pings("it goes on", &outside);

    // Rules alone: everything else works.
    target.reply_with(|_| Reply::text("left{} 1\nright{n=\"1\"} 1\nright{n=\"2\"} 1\n"));
    await_silence("rules that cannot be evaluated silence it", &outside);
    wait_until("it is an alert, too", || {
        evaluator.get("/api/v2/alerts").is_some_and(|(_, body)| body.contains("RulesNotEvaluated"))
    });
    target.reply_with(move |_| Reply::text(good));
    await_pings("rules work again", &outside);

    // A receiver alone.
    chat.reply_with(|_| Reply::status(500));
    push(&evaluator, "Down", true);
    await_silence("a receiver that fails silences it", &outside);
    chat.reply_with(|_| Reply::text("ok"));
    await_pings("the receiver works again", &outside);

    // Its own address alone: that is no fault of anybody else.
    let told = chat.asked().len();
    outside.reply_with(|_| Reply::status(503));
    wait_until("it is tried", || {
        let data = evaluator.data("/api/v1/notifications?receiver=veilleur-watchdog&limit=1");
        data["attempts"][0]["result"] == "failed"
    });
    outside.reply_with(|_| Reply::text("ok"));
    await_pings("it is reached again", &outside);
    assert!(!evaluator.program().log().contains("secret-key"));
    // Who is on call is never bothered with the watchdog.
    assert!(chat.asked()[told..].iter().all(|asked| !asked.body.contains("VeilleurWatchdog")));
}

#[test]
fn a_full_disk_silences_the_watchdog_and_space_gives_it_back_f60() {
    let target = HttpServer::start(|_| Reply::text("left{} 1\nright{} 1\n"));
    let (outside, chat) = (HttpServer::sink(), HttpServer::sink());
    let mut evaluator = watched(&outside, &target, &chat);
    let disk = SmallDisk::at(evaluator.path("data"));
    evaluator.start();
    await_pings("it pings", &outside);
    let filler = disk.0.join("filler");
    let mut fill = Command::new("dd");
    fill.arg("if=/dev/zero")
        .arg(format!("of={}", filler.display()))
        .args(["bs=64k", "status=none"]);
    assert!(
        !fill.stderr(std::process::Stdio::null()).status().unwrap().success(),
        "it is not full"
    );
    await_silence("a full disk silences it", &outside);
    std::fs::remove_file(&filler).unwrap();
    await_pings("there is room again", &outside);
    assert!(evaluator.program().is_running());
}
