//! Targets that send odd things: times, values, the same series twice; and one that is gone for good.
//!
//! Invariant: what is odd is sent once, between two ordinary scrapes: every count is exact.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base::sample::Timestamp;
use serde_json::Value;
use tests::http_server::{HttpServer, Reply};
use tests::{ask, escaped, wait_until};

use crate::rig::Evaluator;

/// A target that sends `odd` once it is asked to, and then goes on as before.
fn target(odd: String) -> (HttpServer, Arc<AtomicBool>) {
    let sends = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&sends);
    let server = HttpServer::start(move |_| match asked.swap(false, Ordering::SeqCst) {
        true => Reply::text(&format!("plain 2\n{odd}")),
        false => Reply::text("plain 1\n"),
    });
    (server, sends)
}

/// An evaluator that has scraped `odd` of a target once.
fn scraped(odd: String, rules: &str) -> (Evaluator, HttpServer) {
    let (server, sends) = target(odd);
    let evaluator = Evaluator::new();
    evaluator.write("rules.yml", rules);
    evaluator.write(
        "veilleur.yml",
        &format!(
            "global: {{scrape_interval: 500ms, evaluation_interval: 500ms}}\n\
             builtin_rules: {{enabled: false}}\nrule_files: [rules.yml]\nscrape_configs:\n\
             - {{job_name: t, static_configs: [{{targets: ['{}']}}]}}\n",
            server.address()
        ),
    );
    let mut evaluator = evaluator;
    evaluator.start();
    wait_until("it is scraped", || evaluator.value("plain") == "1");
    assert_eq!(evaluator.own("veilleur_scrape_samples_left_out_total"), 0.0);
    sends.store(true, Ordering::SeqCst);
    let passed = "max_over_time(plain[10m]) == 2 and plain == 1";
    wait_until("the odd scrape is over", || !evaluator.value(passed).is_empty());
    assert_eq!(evaluator.value("min_over_time(up[10m])"), "1");
    (evaluator, server)
}

/// How many samples were left out for a reason.
fn left_out(evaluator: &Evaluator, reason: &str) -> f64 {
    let metrics = evaluator.get("/metrics").unwrap().1;
    let name = format!("veilleur_scrape_samples_left_out_total{{reason=\"{reason}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap_or(0.0)
}

#[test]
fn times_of_a_target_count_from_an_hour_ago_to_ten_minutes_ahead_f30() {
    let now = Timestamp::now().millis();
    let sample = |name: &str, minutes: i64| format!("{name} 7 {}\n", now + minutes * 60_000);
    let odd = [
        sample("past", -50),
        sample("far_past", -62),
        sample("future", 8),
        sample("far_future", 12),
        format!("huge 7 {}\n", i64::MAX),
        // The same time twice, with another value.
        sample("equal", -1),
        sample("equal", -1).replace(" 7 ", " 8 "),
    ];
    let (evaluator, _server) = scraped(odd.concat(), "groups: []\n");
    assert_eq!((left_out(&evaluator, "timestamp"), left_out(&evaluator, "duplicate")), (3.0, 1.0));
    assert_eq!(evaluator.value("last_over_time(past[1h])"), "7");
    assert_eq!(evaluator.value("sum_over_time(equal[1h])"), "7");
    let ahead = (now / 1000 + 481).to_string();
    let data = evaluator.data(&format!("/api/v1/query?query=future&time={ahead}"));
    assert_eq!(data["result"][0]["value"][1], "7", "{data}");
    let names = evaluator.data("/api/v1/label/__name__/values").to_string();
    for name in ["far_past", "far_future", "huge"] {
        assert!(!names.contains(&format!("\"{name}\"")), "{names}");
    }
    // What is not even a time fails the scrape, as with Prometheus, and nothing of it is stored.
    let kind = "content-type: application/openmetrics-text; version=1.0.0\r\n".to_owned();
    let body = b"poisoned 1 NaN\n# EOF\n".to_vec();
    let server = HttpServer::start(move |_| Reply::Answer(200, kind.clone(), body.clone()));
    let evaluator = Evaluator::with(&format!(
        "global: {{scrape_interval: 500ms}}\nbuiltin_rules: {{enabled: false}}\nscrape_configs:\n\
         - {{job_name: t, static_configs: [{{targets: ['{}']}}]}}\n",
        server.address()
    ));
    wait_until("it is told", || evaluator.value("up") == "0");
    let targets = evaluator.data("/api/v1/targets");
    let why = targets["activeTargets"][0]["lastError"].as_str().unwrap().to_owned();
    assert!(why.contains("NaN") && why.contains("timestamp"), "{why}");
    assert_eq!(evaluator.value("count_over_time(poisoned[5m])"), "");
}

#[test]
fn every_value_is_stored_exactly_and_nan_holds_no_condition_f39() {
    let values = [
        ("nan", "NaN", f64::NAN),
        ("inf", "+Inf", f64::INFINITY),
        ("minus", "-Inf", f64::NEG_INFINITY),
        ("zero", "-0", -0.0),
        ("small", "5e-324", 5e-324),
        ("large", "1.7976931348623157e308", f64::MAX),
        ("third", "0.1", 0.1),
    ];
    let odd = values.iter().map(|(name, sent, _)| format!("v{{n=\"{name}\"}} {sent}\n"));
    let holds = |op: &str| {
        format!("  - {{alert: Is, expr: 'last_over_time(v{{n=\"nan\"}}[10m]) {op} 0'}}\n")
    };
    let rules: String = ["> ", "< ", "== ", ">= ", "<= "].map(holds).concat();
    let rules = format!("groups:\n- name: g\n  rules:\n{rules}");
    let (evaluator, _server) = scraped(odd.collect(), &rules);
    let number = |expr: &str| evaluator.value(expr).parse::<f64>().unwrap();
    for (name, _, expected) in values {
        let found = number(&format!("last_over_time(v{{n=\"{name}\"}}[10m])"));
        let is_same = found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan();
        assert!(is_same, "{name}: {found}");
    }
    // A zero with its sign, and a value below all ordinary ones that is none.
    assert_eq!(number("1 / last_over_time(v{n=\"zero\"}[10m])"), f64::NEG_INFINITY);
    assert_eq!(number("last_over_time(v{n=\"small\"}[10m]) * 2"), 1e-323);
    assert_eq!(number("count(last_over_time(v{n=\"nan\"}[10m]) != 0)"), 1.0);
    evaluator.let_evaluate(2);
    assert_eq!((evaluator.alerts("firing"), evaluator.alerts("pending")), (vec![], vec![]));
    // A NaN of a target is a value, not the end of its series.
    let path = format!("/api/v1/query?query={}", escaped("v{n=\"nan\"}[10m]"));
    let data = evaluator.data(&path);
    assert_eq!(data["result"][0]["values"].as_array().map(Vec::len), Some(1), "{data}");
    // What is no number of the format fails the scrape, as with Prometheus.
    for bad in ["0x1p-2", "1_000", "1,5", "one"] {
        let body = format!("bad {bad}\n");
        let server = HttpServer::start(move |_| Reply::text(&body));
        let evaluator = Evaluator::with(&format!(
            "global: {{scrape_interval: 500ms}}\nbuiltin_rules: {{enabled: false}}\nscrape_configs:\n\
             - {{job_name: t, static_configs: [{{targets: ['{}']}}]}}\n",
            server.address()
        ));
        wait_until("it is told", || evaluator.value("up") == "0");
        let targets = evaluator.data("/api/v1/targets").to_string();
        assert!(targets.contains(bad), "{targets}");
    }
}

#[test]
fn of_a_series_twice_in_a_scrape_the_first_counts_f40() {
    let odd = "d{a=\"1\",b=\"2\"} 1\nd{b=\"2\",a=\"1\"} 2\ne{a=\"\"} 3\ne 4\nother 5\n";
    let (evaluator, _server) = scraped(odd.to_owned(), "groups: []\n");
    assert_eq!((left_out(&evaluator, "duplicate"), left_out(&evaluator, "timestamp")), (2.0, 0.0));
    for (name, value) in [("d", "1"), ("e", "3"), ("other", "5")] {
        // There for one scrape, and ended with the next.
        assert_eq!(evaluator.value(&format!("sum_over_time({name}[10m])")), value, "{name}");
        assert_eq!(evaluator.value(name), "", "{name}");
    }
    let data = evaluator.data("/api/v1/query?query=sum_over_time(e%5B10m%5D)");
    assert_eq!(data["result"][0]["metric"].get("a"), None, "{data}");
    assert_eq!(evaluator.value("count(count_over_time(d[10m]))"), "1");
}

#[test]
fn an_alert_of_a_target_that_is_removed_ends_as_that_f42() {
    let broken = HttpServer::start(|_| Reply::text("broken 1\n"));
    let other = HttpServer::start(|_| Reply::text("broken 0\n"));
    let chat = HttpServer::sink();
    let mut evaluator = Evaluator::new();
    evaluator.write(
        "rules.yml",
        "groups:\n- name: g\n  rules:\n  - {alert: Broken, expr: broken == 1}\n",
    );
    let config = |targets: &[&HttpServer]| {
        let targets: Vec<_> = targets.iter().map(|one| format!("'{}'", one.address())).collect();
        format!(
            "global: {{scrape_interval: 500ms, evaluation_interval: 500ms}}\nscrape_configs:\n\
             - {{job_name: t, static_configs: [{{targets: [{}]}}]}}\n\
             rule_files: [rules.yml]\nbuiltin_rules: {{enabled: false}}\n\
             route: {{receiver: r, group_by: [alertname], group_wait: 0s, group_interval: 500ms}}\n\
             receivers: [{{name: r, webhook_configs: [{{url: '{}'}}]}}]\n",
            targets.join(", "),
            chat.url("/hook"),
        )
    };
    evaluator.write("veilleur.yml", &config(&[&broken, &other]));
    evaluator.start();
    wait_until("it is told", || chat.asked().len() == 1);
    // It does not answer any more: that ends nothing.
    broken.reply_with(|_| Reply::status(500));
    wait_until("it is seen to be down", || evaluator.value("min(up)") == "0");
    evaluator.let_evaluate(3);
    assert_eq!(evaluator.alerts("firing"), ["Broken"]);
    assert_eq!(chat.asked().len(), 1);
    evaluator.write("veilleur.yml", &config(&[&other]));
    let url = format!("http://127.0.0.1:{}/-/reload", evaluator.port);
    assert_eq!(ask("POST", &url, "", "").unwrap().0, 200);
    wait_until("its end is told", || chat.asked().len() == 2);
    let alert: Value = chat.asked()[1].json()["alerts"][0].clone();
    assert_eq!(alert["status"], "resolved", "{alert}");
    assert_eq!(alert["ending"], "expired: target removed", "{alert}");
    evaluator.let_evaluate(2);
    assert_eq!(chat.asked().len(), 2);
    assert_eq!(evaluator.alerts("firing"), [""; 0]);
}
