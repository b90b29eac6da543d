//! Nobody hears of an effect after a start because its cause was not known yet: F09.
//!
//! Invariant: the cause is found later than the effect, by targets and rules that are slower.

use tests::http_server::{HttpServer, Reply};
use tests::program::run;
use tests::wait_until;

use crate::delivery::push;
use crate::rig::Evaluator;

/// An effect on a target that answers at once, and a cause: that another does not answer in time.
fn evaluator(effect: &HttpServer, slow: &HttpServer, chat: &HttpServer, expr: &str) -> Evaluator {
    let evaluator = Evaluator::new();
    evaluator.write(
        "rules.yml",
        &format!(
            "groups:\n- name: effects\n  rules:\n  - {{alert: Slow, expr: latency > 1, labels: {{on: a}}}}\n\
             - name: causes\n  rules:\n  - {{alert: Down, expr: '{expr}', labels: {{on: a}}}}\n"
        ),
    );
    evaluator.write(
        "veilleur.yml",
        &format!(
            "global: {{scrape_interval: 2s, scrape_timeout: 1900ms, evaluation_interval: 500ms}}\n\
             scrape_configs:\n\
             - {{job_name: fast, scrape_interval: 500ms, scrape_timeout: 400ms, static_configs: [{{targets: ['{}']}}]}}\n\
             - {{job_name: slow, static_configs: [{{targets: ['{}']}}]}}\n\
             builtin_rules: {{enabled: false}}\nrule_files: [rules.yml]\n\
             route: {{receiver: chat, group_by: [alertname], group_wait: 0s, group_interval: 1s}}\n\
             inhibit_rules: [{{name: down is not slow, source_matchers: [alertname=Down], \
             target_matchers: [alertname=Slow], equal: ['on']}}]\n\
             receivers: [{{name: chat, webhook_configs: [{{url: '{}'}}]}}]\n",
            effect.address(),
            slow.address(),
            chat.url("/chat"),
        ),
    );
    evaluator
}

/// The alerts that the chat was told of, in their order.
fn told(chat: &HttpServer) -> Vec<String> {
    let asked = chat.asked();
    let alerts = asked.iter().flat_map(|a| a.json()["alerts"].as_array().unwrap().clone());
    alerts.map(|alert| alert["labels"]["alertname"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn an_effect_whose_cause_is_found_later_tells_nobody_at_any_start_f09() {
    let effect = HttpServer::start(|_| Reply::text("latency 9\n"));
    let (slow, chat) = (HttpServer::start(|_| Reply::Hang), HttpServer::sink());
    let mut evaluator = evaluator(&effect, &slow, &chat, "up{job=\"slow\"} == 0");
    for round in 1..=4_usize {
        // At first with nothing known, and then with what a run before has left.
        if round % 2 == 1 {
            let _ = std::fs::remove_dir_all(evaluator.path("data"));
        }
        evaluator.start();
        let downs = round.div_ceil(2);
        wait_until("the cause is told", || told(&chat).len() >= downs);
        wait_until("the effect is found", || evaluator.alerts("firing") == ["Down", "Slow"]);
        evaluator.let_evaluate(3);
        assert_eq!(told(&chat), vec!["Down"; downs], "round {round}");
        evaluator.kill();
    }
}

#[test]
fn an_effect_without_a_cause_is_told_after_one_round_and_explained_until_then_f09() {
    let effect = HttpServer::start(|_| Reply::text("latency 9\n"));
    let (slow, chat) = (HttpServer::start(|_| Reply::Hang), HttpServer::sink());
    let mut evaluator = evaluator(&effect, &slow, &chat, "up{job=\"no such\"} == 0");
    evaluator.start();
    let url = format!("http://127.0.0.1:{}", evaluator.port);
    let mut said = String::new();
    wait_until("it is explained why nobody is told", || {
        (_, said, _) = run("veilleur", ["explain", "Slow", "--url", &url]);
        said.contains("=> start")
    });
    let why = "what could inhibit it is not known yet after the start: every target is scraped and \
               every rule evaluated once before it is told, by ";
    assert!(said.contains(&format!("`chat` is not told: {why}")), "{said}");
    assert!(said.contains("at the latest (down is not slow)"), "{said}");
    assert!(chat.asked().is_empty());
    wait_until("the effect is told", || told(&chat) == ["Slow"]);
    let (_, said, _) = run("veilleur", ["explain", "Slow", "--url", &url]);
    assert!(!said.contains("start "), "{said}");
    let log = evaluator.program().log();
    assert!(log.contains("every target was scraped and every rule evaluated once"), "{log}");
}

#[test]
fn what_others_push_waits_after_a_restart_until_they_have_pushed_again_f09() {
    let chat = HttpServer::sink();
    let mut evaluator = Evaluator::new();
    evaluator.write(
        "veilleur.yml",
        &format!(
            "builtin_rules: {{enabled: false}}\n\
             route: {{receiver: chat, group_by: [alertname], group_wait: 0s, group_interval: 1s}}\n\
             inhibit_rules: [{{source_matchers: [alertname=Down], target_matchers: ['alertname=~\"Slow.*\"']}}]\n\
             receivers: [{{name: chat, webhook_configs: [{{url: '{}'}}]}}]\n",
            chat.url("/chat")
        ),
    );
    evaluator.start();
    // At the first start of all nobody can have pushed anything that we do not know.
    push(&evaluator, "Slow1", true);
    wait_until("it is told", || told(&chat) == ["Slow1"]);
    push(&evaluator, "Other", true);
    wait_until("the other is told", || told(&chat) == ["Slow1", "Other"]);
    wait_until("and it is noted", || evaluator.own("veilleur_outbox_waiting") == 0.0);
    evaluator.kill();
    evaluator.start();
    push(&evaluator, "Slow2", true);
    push(&evaluator, "Fence", true);
    wait_until("what nothing holds back is told", || told(&chat)[2..] == ["Fence"]);
    push(&evaluator, "Down", true);
    push(&evaluator, "Slow1", true);
    push(&evaluator, "Other", true);
    wait_until("the cause is told", || told(&chat)[3..] == ["Down"]);
    push(&evaluator, "Down", false);
    wait_until("the effect is told when its cause is over", || {
        let mut told = told(&chat)[4..].to_vec();
        told.sort();
        told == ["Down", "Slow2"]
    });
}
