//! Reloads while people were told, and while they are about to be: F08, F57.
//!
//! Invariant: the configuration is read again as often as it says, by the real program.

use std::time::{Duration, Instant};

use serde_json::Value;
use tests::http_server::{HttpServer, Reply};
use tests::{ask, wait_until};

use crate::delivery::push;
use crate::rig::Evaluator;

/// `more` stands among the routes.
fn config(chat: &HttpServer, wait: &str, more: &str) -> String {
    format!(
        "builtin_rules: {{enabled: false}}\n\
         route:\n  receiver: chat\n  group_by: [kind]\n  group_wait: {wait}\n  group_interval: 1s\n  \
         repeat_interval: 4h\n  routes: [{more}]\n\
         receivers:\n- {{name: chat, webhook_configs: [{{url: '{}'}}]}}\n- {{name: others}}\n",
        chat.url("/chat")
    )
}

fn reload(evaluator: &Evaluator) {
    let url = format!("http://127.0.0.1:{}/-/reload", evaluator.port);
    let (status, body) = ask("POST", &url, "", "").unwrap();
    assert_eq!(status, 200, "{body}");
}

/// The names of the alerts of each message.
fn told(chat: &HttpServer) -> Vec<Vec<String>> {
    let name = |alert: &Value| alert["labels"]["alertname"].as_str().unwrap().to_owned();
    let names = |body: Value| -> Vec<String> {
        let mut names: Vec<_> = body["alerts"].as_array().unwrap().iter().map(name).collect();
        names.sort();
        names
    };
    chat.asked().iter().map(|asked| names(asked.json())).collect()
}

#[test]
fn a_hundred_reloads_tell_nobody_anything_and_lose_no_group_f08() {
    let chat = HttpServer::sink();
    let mut evaluator = Evaluator::new();
    evaluator.write("veilleur.yml", &config(&chat, "1s", ""));
    evaluator.start();
    let names: Vec<String> = (10..30).map(|n| format!("Alert{n}")).collect();
    names.iter().for_each(|name| push(&evaluator, name, true));
    let all_told = || told(&chat).last() == Some(&names);
    wait_until("all twenty are told", all_told);
    let before = chat.asked().len();
    for n in 0..100 {
        // Every second one has another route, for others, and in another order.
        let others = "{receiver: others, matchers: [a=b]}, {receiver: others, matchers: [c=d]}";
        let more = ["", others, "", "{receiver: others, matchers: [c=d]}"][n % 4];
        evaluator.write("veilleur.yml", &config(&chat, "1s", more));
        reload(&evaluator);
    }
    assert_eq!(chat.asked().len(), before, "somebody was told what they know");
    // What is new is told with the whole group.
    push(&evaluator, "Beyond", true);
    wait_until("what is new is told", || chat.asked().len() > before);
    let whole: Vec<String> = std::iter::once("Beyond".to_owned())
        .chain(names.iter().cloned())
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .collect();
    assert_eq!(told(&chat)[before..], [whole]);
}

#[test]
fn a_wait_goes_on_over_reloads_f08() {
    let chat = HttpServer::sink();
    let mut evaluator = Evaluator::new();
    evaluator.write("veilleur.yml", &config(&chat, "4s", ""));
    evaluator.start();
    push(&evaluator, "Waits", true);
    let pushed = Instant::now();
    // Reloads that come more often than the group waits never let it begin again.
    wait_until("it is told", || {
        reload(&evaluator);
        !chat.asked().is_empty()
    });
    let waited = pushed.elapsed();
    assert!(waited > Duration::from_secs(3), "{waited:?}");
    // Reloads take their time; a wait that began again at each would never have ended.
    assert!(waited < Duration::from_secs(7), "{waited:?}");
    for _ in 0..5 {
        reload(&evaluator);
    }
    assert_eq!(told(&chat), [["Waits"]]);
}

#[test]
fn an_alert_stays_while_the_expression_of_its_rule_is_edited() {
    let chat = HttpServer::sink();
    let mut evaluator = Evaluator::new();
    let rules = |threshold: u32| {
        format!(
            "groups:\n- name: g\n  rules:\n  - {{alert: Fires, expr: vector(9) > {threshold}}}\n  \
             - {{alert: Waits, expr: vector(9) > {threshold}, for: 10m}}\n"
        )
    };
    let more = "rule_files: [rules.yml]\nglobal: {evaluation_interval: 1s}\n";
    evaluator.write("veilleur.yml", &format!("{}{more}", config(&chat, "0s", "")));
    evaluator.write("rules.yml", &rules(1));
    evaluator.start();
    let active = |evaluator: &Evaluator| -> Vec<String> {
        let data = evaluator.data("/api/v1/alerts");
        let alerts = data["alerts"].as_array().cloned().unwrap_or_default();
        let mut shown: Vec<_> =
            alerts.iter().map(|a| format!("{} {}", a["state"], a["activeAt"])).collect();
        shown.sort();
        shown
    };
    wait_until("one fires and is told, one waits", || {
        active(&evaluator).len() == 2 && told(&chat) == [["Fires"]]
    });
    let before = active(&evaluator);
    evaluator.write("rules.yml", &rules(2));
    reload(&evaluator);
    evaluator.let_evaluate(2);
    assert_eq!(active(&evaluator), before);
    // While nobody looks it is edited once more; the time that nobody watched does not count for the one
    // that waits.
    evaluator.kill();
    evaluator.write("rules.yml", &rules(3));
    evaluator.start();
    evaluator.let_evaluate(2);
    assert_eq!(active(&evaluator)[0], before[0]);
    assert_eq!(evaluator.alerts("pending"), ["Waits"]);
    // Its condition is over: that is told, once.
    evaluator.write("rules.yml", &rules(10));
    reload(&evaluator);
    wait_until("the end is told", || chat.asked().len() > 1);
    assert_eq!(told(&chat), [["Fires"], ["Fires"]]);
    let last = chat.asked().last().map(|asked| asked.json()).unwrap();
    assert_eq!(last["status"], "resolved");
}

/// Rounds of six reloads, each as soon as the one before is answered: a thousand in less than a minute.
const ROUNDS: usize = 170;

/// One target, an alert that fires and one that waits.
fn watching(target: &HttpServer, chat: &HttpServer) -> String {
    format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n{}rule_files: [rules.yml]\n\
         scrape_configs:\n- job_name: t\n  static_configs:\n  - targets: ['{}']\n",
        config(chat, "0s", ""),
        target.address()
    )
}

/// Reads the configuration again: the status and what is said.
fn try_reload(evaluator: &Evaluator) -> (u16, String) {
    ask("POST", &format!("http://127.0.0.1:{}/-/reload", evaluator.port), "", "").unwrap()
}

#[test]
fn good_bad_half_written_and_missing_files_lose_no_scrape_and_no_state_f57() {
    let target = HttpServer::start(|_| Reply::text("broken 1\n"));
    let chat = HttpServer::sink();
    let mut evaluator = Evaluator::new();
    let rules = |other: &str| {
        format!(
            "groups:\n- name: g\n  rules:\n  - {{alert: Fires, expr: broken == 1}}\n  \
             - {{alert: Waits, expr: broken == 1, for: 20m}}\n- name: other\n  rules:\n  \
             - {{alert: {other}, expr: broken == 7}}\n"
        )
    };
    let good = watching(&target, &chat);
    evaluator.write("rules.yml", &rules("Even"));
    evaluator.write("veilleur.yml", &good);
    evaluator.start();
    wait_until("one fires and is told, one waits", || {
        chat.asked().len() == 1 && evaluator.alerts("pending") == ["Waits"]
    });
    let waits_since = |evaluator: &Evaluator| {
        let alerts = evaluator.data("/api/v1/alerts")["alerts"].as_array().cloned().unwrap();
        let waits = alerts.into_iter().find(|a| a["labels"]["alertname"] == "Waits");
        waits.map(|alert| alert["activeAt"].clone())
    };
    let since = waits_since(&evaluator);
    assert!(since.is_some());
    let (file, link) = (evaluator.path("veilleur.yml"), evaluator.path("link"));
    let refused = |evaluator: &Evaluator, place: &str| {
        let (status, said) = try_reload(evaluator);
        assert!(status == 500 && said.contains(place), "{place}: {status} {said}");
        assert!(evaluator.get("/health").unwrap().1.contains(place), "{place}");
        assert_eq!(evaluator.own("veilleur_config_last_reload_successful"), 0.0);
        assert_eq!(waits_since(evaluator), since, "{place}");
    };
    for round in 0..ROUNDS {
        // Wrong, with its place.
        evaluator.write("veilleur.yml", &format!("{good}nonsense: {round}\n"));
        refused(&evaluator, &format!("veilleur.yml:{}:1: ", good.lines().count() + 1));
        // Caught while somebody writes it.
        evaluator.write("veilleur.yml", &good[..good.find("- job_name").unwrap() + 5]);
        refused(&evaluator, &format!("veilleur.yml:{}:", good.lines().count() - 2));
        // A rule file that is half there.
        evaluator.write("veilleur.yml", &good);
        evaluator.write("rules.yml", &rules("Half")[..60]);
        refused(&evaluator, "rules.yml:4:");
        // Taken away.
        std::fs::remove_file(&file).unwrap();
        refused(&evaluator, "cannot be read");
        // Another file behind a link that is renamed into its place, as Kubernetes does it.
        let name = ["Odd", "Even"][round % 2];
        evaluator.write("rules.yml", &rules(name));
        let behind = format!("veilleur-{round}.yml");
        evaluator.write(&behind, &good);
        std::os::unix::fs::symlink(evaluator.path(&behind), &link).unwrap();
        std::fs::rename(&link, &file).unwrap();
        assert_eq!(try_reload(&evaluator).0, 200);
        let shown = evaluator.data("/api/v1/rules").to_string();
        assert!(shown.contains(&format!("\"{name}\"")), "{name} is not in {shown}");
        // And the same again: a reload that failed is in the way of none.
        std::fs::remove_file(&file).unwrap();
        evaluator.write("veilleur.yml", &good);
        assert_eq!(try_reload(&evaluator).0, 200);
        assert_eq!(waits_since(&evaluator), since, "nobody sees who waits");
    }
    evaluator.let_evaluate(2);
    assert_eq!(evaluator.own("veilleur_config_last_reload_successful"), 1.0);
    assert_eq!(waits_since(&evaluator), since, "its wait began again");
    assert_eq!(evaluator.alerts("firing"), ["Fires"]);
    assert_eq!(told(&chat), [["Fires"]]);
    assert_eq!(evaluator.own("veilleur_scrape_samples_left_out_total"), 0.0);
    // A sample for each second: a loop that began again would have left some out.
    let data = evaluator.data("/api/v1/query?query=broken%5B10m%5D");
    let samples = data["result"][0]["values"].as_array().unwrap();
    let times: Vec<f64> = samples.iter().map(|sample| sample[0].as_f64().unwrap()).collect();
    let longest = times.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
    assert!(times.len() > 5 && longest < 2.5, "{longest} s without a sample");
    assert_eq!(evaluator.value("min_over_time(up[10m])"), "1");
}
