//! What people are told when one of us ends without a warning, and when data stop to come.
//!
//! Invariant: a process is killed while something depends on it, never when all is quiet.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use base::clock::Stopwatch;
use serde_json::Value;
use tests::http_server::{HttpServer, Reply};
use tests::mail_server::MailServer;
use tests::wait_until;

use crate::rig::{Evaluator, Rig};

#[test]
fn a_kill_between_firing_and_delivery_tells_everybody_exactly_once() {
    let mail = MailServer::start();
    let mut rig = Rig::start_with(&mail);
    // Neither receiver takes anything: it fires, and nobody can be told.
    mail.stop();
    rig.chat.reply_with(|_| Reply::status(503));
    rig.break_check();
    wait_until("the chat is tried", || !rig.chat().is_empty());
    wait_until("the mail is tried", || {
        rig.evaluator.get("/health").is_some_and(|(_, body)| body.contains("ops/email/0"))
            && rig.evaluator.own("veilleur_receiver_failing") == 2.0
    });
    rig.evaluator.kill();
    let tried = rig.chat().len();
    mail.resume();
    rig.chat.reply_with(|_| Reply::text("ok"));

    rig.evaluator.start();
    wait_until("the chat is told", || rig.chat().len() == tried + 1);
    wait_until("the mail is delivered", || mail.messages().len() == 1);
    rig.evaluator.let_evaluate(5);
    assert_eq!(rig.chat().len(), tried + 1, "{:#?}", rig.titles());
    assert_eq!(mail.messages().len(), 1);

    // Killed once more, now that both know: nobody is told again, and the end is told once.
    rig.evaluator.kill();
    rig.evaluator.start();
    rig.evaluator.let_evaluate(5);
    rig.mend_check();
    wait_until("the chat is told of the end", || rig.chat().len() == tried + 2);
    wait_until("the mail of the end", || mail.messages().len() == 2);
    rig.evaluator.let_evaluate(3);
    assert_eq!((rig.chat().len(), mail.messages().len()), (tried + 2, 2));
    assert!(rig.titles()[tried + 1].starts_with("[RESOLVED]"), "{:?}", rig.titles());
}

#[test]
fn a_killed_agent_is_an_alert_of_its_own_and_resolves_nothing_f41() {
    let mut rig = Rig::start();
    rig.break_check();
    wait_until("the failure is told", || rig.chat().len() == 1);
    rig.agent.take().unwrap().kill();
    wait_until("the agent's absence is told", || rig.chat().len() == 2);
    assert!(rig.titles()[1].contains("AgentDown"), "{:?}", rig.titles());
    assert!(rig.titles()[1].starts_with("[FIRING"), "{:?}", rig.titles());
    rig.evaluator.let_evaluate(5);
    assert_eq!(rig.evaluator.alerts("firing"), ["AgentDown", "CheckFailed"]);
    assert_eq!(rig.chat().len(), 2, "{:?}", rig.titles());

    // Back and well: both have ended, each told once.
    rig.mend_check();
    rig.start_agent();
    wait_until("both ends are told", || rig.chat().len() == 4);
    let mut ends: Vec<_> = rig.titles()[2..].to_vec();
    ends.sort();
    assert!(ends[0].starts_with("[RESOLVED] AgentDown"), "{ends:?}");
    assert!(ends[1].starts_with("[RESOLVED] CheckFailed"), "{ends:?}");
}

/// An evaluator with one rule over one target.
fn with_rule(target: &HttpServer, chat: &HttpServer, hold: &str) -> Evaluator {
    with_rules(
        target,
        chat,
        &format!(
            "  - alert: Broken\n    expr: broken{{}} == 1\n    for: {hold}\n    \
             labels: {{at: '{{{{ $labels.instance }}}}'}}\n"
        ),
    )
}

/// An evaluator with the rules of one group over one target.
fn with_rules(target: &HttpServer, chat: &HttpServer, rules: &str) -> Evaluator {
    let evaluator = Evaluator::new();
    evaluator.write("rules.yml", &format!("groups:\n- name: g\n  rules:\n{rules}"));
    evaluator.write(
        "veilleur.yml",
        &format!(
            "global: {{scrape_interval: 500ms, evaluation_interval: 500ms}}\nscrape_configs:\n\
             - job_name: t\n  static_configs: [{{targets: ['{}']}}]\nrule_files: [rules.yml]\n\
             route: {{receiver: chat, group_wait: 0s, group_interval: 500ms}}\nreceivers:\n\
             - name: chat\n  webhook_configs: [{{url: '{}'}}]\n",
            target.address(),
            chat.url("/hook"),
        ),
    );
    evaluator
}

#[test]
fn scrapes_that_fail_every_second_time_resolve_nothing_f41() {
    let count = Arc::new(AtomicU64::new(0));
    let healthy = Arc::new(AtomicBool::new(false));
    let (counted, is_healthy) = (Arc::clone(&count), Arc::clone(&healthy));
    let target = HttpServer::start(move |_| {
        let broken = u8::from(!is_healthy.load(Ordering::SeqCst));
        match counted.fetch_add(1, Ordering::SeqCst) % 2 {
            0 => Reply::text(&format!("broken {broken}\n")),
            _ => Reply::status(500),
        }
    });
    let chat = HttpServer::sink();
    let mut evaluator = with_rule(&target, &chat, "1s");
    evaluator.start();
    wait_until("it is told", || chat.asked().len() == 1);
    let before = count.load(Ordering::SeqCst);
    wait_until("ten scrapes more", || count.load(Ordering::SeqCst) >= before + 10);
    assert_eq!(chat.asked().len(), 1, "{:#?}", chat.asked());
    assert_eq!(evaluator.alerts("firing"), ["Broken"]);
    healthy.store(true, Ordering::SeqCst);
    wait_until("its end is told", || chat.asked().len() == 2);
    assert_eq!(chat.asked()[1].json()["status"], "resolved");
}

#[test]
fn a_rule_says_what_becomes_of_its_alerts_whose_target_does_not_answer_f41() {
    let answers = Arc::new(AtomicBool::new(true));
    let is_there = Arc::clone(&answers);
    let target = HttpServer::start(move |_| match is_there.load(Ordering::SeqCst) {
        true => Reply::text("broken 1\n"),
        false => Reply::status(500),
    });
    let chat = HttpServer::sink();
    let rules = [("Held", "hold"), ("Paged", "page"), ("Over", "resolve"), ("Global", "")];
    let rules = rules.map(|(name, on_missing)| {
        let on_missing = match on_missing {
            "" => String::new(),
            what => format!(", on_missing: {what}"),
        };
        format!("  - {{alert: {name}, expr: broken == 1, labels: {{team: {name}}}{on_missing}}}\n")
    });
    let slow = "  - {alert: Feared, expr: broken == 1, for: 6s, on_missing: page}\n\
        \x20 - {alert: Patient, expr: broken == 1, for: 6s, on_missing: hold}\n";
    let mut evaluator = with_rules(&target, &chat, &format!("{}{slow}", rules.concat()));
    let config = std::fs::read_to_string(evaluator.path("veilleur.yml")).unwrap();
    let config = config.replace("global: {", "global: {on_missing: resolve, ");
    evaluator.write("veilleur.yml", &config);
    evaluator.start();
    wait_until("all fire or wait", || {
        evaluator.alerts("firing").len() == 4 && evaluator.alerts("pending").len() == 2
    });
    answers.store(false, Ordering::SeqCst);
    wait_until("it is told that the data of one are missing, and another fires", || {
        evaluator.alerts("firing") == ["DataMissing", "DataMissing", "Feared", "Held", "Paged"]
    });
    assert_eq!(evaluator.alerts("pending"), ["DataMissing", "Patient"]);
    let told = |name: &str, team: &str| {
        let is_it =
            |alert: &Value| alert["labels"]["alertname"] == name && alert["labels"]["team"] == team;
        let bodies = chat.asked();
        let alerts =
            bodies.iter().flat_map(|asked| asked.json()["alerts"].as_array().unwrap().clone());
        alerts.into_iter().any(|alert| is_it(&alert))
    };
    wait_until("it goes where the alert has gone", || told("DataMissing", "Paged"));
    assert!(!told("DataMissing", "Held"));
    answers.store(true, Ordering::SeqCst);
    wait_until("fresh data say what is true", || {
        evaluator.alerts("firing") == ["Feared", "Global", "Held", "Over", "Paged", "Patient"]
    });
}

#[test]
fn a_wait_goes_on_where_it_was_over_a_restart_f43() {
    let target = HttpServer::start(|_| Reply::text("broken 1\n"));
    let chat = HttpServer::sink();
    let mut evaluator = with_rule(&target, &chat, "8s");
    evaluator.start();
    wait_until("it is pending", || evaluator.alerts("pending") == ["Broken"]);
    let pending = Stopwatch::start();
    wait_until("80 % of the wait are over", || pending.elapsed() > Duration::from_millis(6400));
    let down = Stopwatch::start();
    evaluator.kill();
    evaluator.start();
    let down = down.elapsed();
    assert!(chat.asked().is_empty());
    wait_until("it is told", || chat.asked().len() == 1);
    // It neither fired at once nor waited from the beginning; the time that nobody watched is added.
    let after = pending.elapsed();
    assert!(after > Duration::from_secs(7), "{after:?}");
    assert!(after < Duration::from_secs(11) + down, "{after:?}");
}
