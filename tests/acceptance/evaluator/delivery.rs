//! Services that refuse, hang, lie and are away: who is told in their place, and what is kept of it.
//!
//! Invariant: what is promised is looked at from outside, by what services got and by the API.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::http_server::{Asked, HttpServer, Reply};
use tests::program::{End, run};
use tests::{ask, wait_until};

use crate::rig::Evaluator;

/// Pushes an alert that fires, or has ended.
pub(crate) fn push(evaluator: &Evaluator, name: &str, fires: bool) {
    let end = if fires { "2090-01-01T00:00:00Z" } else { "2020-01-02T00:00:00Z" };
    let body = format!(r#"[{{"labels": {{"alertname": "{name}"}}, "endsAt": "{end}"}}]"#);
    let url = format!("http://127.0.0.1:{}/api/v2/alerts", evaluator.port);
    let answer = ask("POST", &url, "content-type: application/json\r\n", &body);
    assert_eq!(answer.unwrap().0, 200);
}

/// The names of the alerts of a message, those that have ended in capitals.
fn names(asked: &Asked) -> String {
    let body = asked.json();
    let alerts = body["alerts"].as_array().unwrap().iter();
    let name = |alert: &Value| {
        let name = alert["labels"]["alertname"].as_str().unwrap();
        if alert["status"] == "firing" { name.to_owned() } else { name.to_uppercase() }
    };
    alerts.map(name).collect::<Vec<_>>().join(" ")
}

fn all_names(server: &HttpServer) -> Vec<String> {
    server.asked().iter().map(names).collect()
}

/// An evaluator that gets alerts by its API, with these lines of `receivers` and more.
fn evaluator(rest: &str) -> Evaluator {
    Evaluator::with(&format!(
        "builtin_rules: {{enabled: false}}\nroute: {{receiver: ops, group_by: [alertname], \
         group_wait: 0s, group_interval: 200ms, repeat_interval: 1d}}\n{rest}"
    ))
}

fn webhook(name: &str, server: &HttpServer, more: &str) -> String {
    format!(
        "- name: {name}\n{more}  webhook_configs: [{{url: '{}'}}]\n",
        server.url("/secret-path")
    )
}

#[test]
fn a_receiver_that_refuses_is_replaced_by_its_fallback_and_the_history_tells_it() {
    let (ops, dev) = (HttpServer::start(|_| Reply::status(404)), HttpServer::sink());
    let receivers = format!(
        "receivers:\n{}{}",
        webhook("ops", &ops, "  fallback: dev\n"),
        webhook("dev", &dev, "")
    );
    let evaluator = evaluator(&receivers);
    push(&evaluator, "Down", true);
    wait_until("the fallback is told", || all_names(&dev).contains(&"Down".to_owned()));
    wait_until("the failure is told", || {
        all_names(&dev).contains(&"NotificationFailed".to_owned())
    });
    // Never by the one that failed.
    assert!(all_names(&ops).iter().all(|names| names == "Down"), "{:?}", all_names(&ops));
    let message = dev.asked().iter().map(Asked::json).find(|m| m["receiver"] == "dev").unwrap();
    let note = message["alerts"][0]["annotations"]["in_place_of"].to_string();
    assert!(note.contains("`ops`"), "{message}");

    let data = evaluator.data("/api/v1/notifications?alert=Down");
    let attempts = data["attempts"].as_array().unwrap();
    let shown =
        |a: &Value| format!("{} {} {}", a["lane"], a["attempt"], a["result"]).replace('"', "");
    let shown: Vec<_> = attempts.iter().map(shown).collect();
    assert!(shown.contains(&"ops/webhook/0 1 refused".to_owned()), "{shown:?}");
    assert!(shown.contains(&"dev/webhook/0 1 delivered".to_owned()), "{shown:?}");
    assert!(!data.to_string().contains("secret-path"), "{data}");
    for (path, count) in [
        ("receiver=dev&alert=Down", 1),
        ("receiver=nobody", 0),
        ("alert=Nothing", 0),
        ("since=2090-01-01T00:00:00Z", 0),
        ("until=2020-01-01T00:00:00Z", 0),
        ("limit=1", 1),
    ] {
        let data = evaluator.data(&format!("/api/v1/notifications?{path}"));
        assert_eq!(data["attempts"].as_array().unwrap().len(), count, "{path}: {data}");
    }
    for bad in ["limit=0", "limit=x", "since=yesterday", "limit=10001"] {
        let (status, body) = evaluator.get(&format!("/api/v1/notifications?{bad}")).unwrap();
        assert_eq!(status, 400, "{bad}: {body}");
    }

    let url = format!("http://127.0.0.1:{}", evaluator.port);
    let (end, said, fault) = run("veilleur", ["history", "--url", &url, "--alert", "Down"]);
    assert_eq!(end, End::Exit(0), "{fault}");
    assert!(said.contains("  ops/webhook/0  refused  first  Down  (attempt 1, "), "{said}");
    assert!(said.contains("HTTP status 404"), "{said}");
    let (end, said, _) =
        run("veilleur", ["history", "--url", &url, "--receiver", "dev", "--json", "--limit", "1"]);
    assert_eq!(end, End::Exit(0));
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said[0]["receiver"], "dev");
    let (end, _, fault) = run("veilleur", ["history", "--url", "http://127.0.0.1:1"]);
    assert_eq!((end, fault.lines().count()), (End::Exit(1), 1), "{fault}");
}

#[test]
fn a_receiver_that_is_away_for_a_while_is_replaced_and_told_when_it_is_back() {
    let (ops, dev) = (HttpServer::start(|_| Reply::status(503)), HttpServer::sink());
    let receivers = format!(
        "receivers:\n{}{}",
        webhook("ops", &ops, "  fallback: dev\n  fallback_after: 1s\n"),
        webhook("dev", &dev, "")
    );
    let mut evaluator = evaluator(&receivers);
    push(&evaluator, "Down", true);
    wait_until("the fallback is told", || all_names(&dev).contains(&"Down".to_owned()));
    // F01: a crash now loses neither.
    evaluator.kill();
    ops.reply_with(|_| Reply::text("ok"));
    let tried = ops.asked().len();
    evaluator.start();
    wait_until("it is told when it is back", || ops.asked().len() > tried);
    push(&evaluator, "Down", false);
    wait_until("both are told of the end", || {
        all_names(&ops).contains(&"DOWN".to_owned()) && all_names(&dev).contains(&"DOWN".to_owned())
    });
    let count = |name: &str| all_names(&dev).iter().filter(|names| *names == name).count();
    assert_eq!((count("Down"), count("DOWN")), (1, 1), "{:?}", all_names(&dev));
}

#[test]
fn a_message_that_a_service_does_not_take_goes_in_its_minimal_form_f16() {
    let ops = HttpServer::start(|asked| match asked.body.len() {
        0..5000 => Reply::text("ok"),
        _ => Reply::status(413),
    });
    let evaluator = evaluator(&format!("receivers:\n{}", webhook("ops", &ops, "")));
    let long = "x\\r\\n".repeat(10_000);
    let body = format!(
        r#"[{{"labels": {{"alertname": "Poison", "text": "{long}"}}, "annotations": {{"summary": "{long}"}}, "endsAt": "2090-01-01T00:00:00Z"}}]"#
    );
    let url = format!("http://127.0.0.1:{}/api/v2/alerts", evaluator.port);
    let answer = ask("POST", &url, "content-type: application/json\r\n", &body);
    assert_eq!(answer.unwrap().0, 200);
    wait_until("the whole is tried", || !ops.asked().is_empty());
    push(&evaluator, "Next", true);
    let begun = Instant::now();
    wait_until("the next is told", || all_names(&ops).contains(&"Next".to_owned()));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let short = ops.asked().into_iter().find(|asked| asked.body.contains("shortened")).unwrap();
    assert_eq!(short.json()["alerts"][0]["labels"]["alertname"], "Poison");
    assert!(short.json()["alerts"][0]["annotations"]["shortened"].to_string().contains("http"));
    wait_until("that it was shortened is an alert", || {
        evaluator
            .get("/api/v2/alerts")
            .is_some_and(|(_, body)| body.contains("NotificationShortened"))
    });
}

#[test]
fn a_service_that_hangs_delays_no_other_f10() {
    let (ops, slow) = (HttpServer::sink(), HttpServer::start(|_| Reply::Hang));
    let config = |slow_receiver: bool| {
        let route = "route: {receiver: ops, group_by: [alertname], group_wait: 0s, \
                     group_interval: 200ms, repeat_interval: 1d, routes: [{receiver: slow, \
                     matchers: [alertname=~\".+\"], continue: true}, {receiver: ops}]}\n";
        let other = if slow_receiver { &slow } else { &ops };
        format!(
            "builtin_rules: {{enabled: false}}\n{route}receivers:\n{}{}",
            webhook("ops", &ops, ""),
            webhook("slow", other, "  timeout: 10m\n")
        )
    };
    let evaluator = Evaluator::with(&config(true));
    push(&evaluator, "First", true);
    wait_until("it hangs", || !slow.asked().is_empty());
    for n in 0..50 {
        let name = format!("Down{n}");
        push(&evaluator, &name, true);
        wait_until("the other is told", || all_names(&ops).contains(&name));
    }
    // All that time it hung: nothing that was told has waited for the end of any attempt at it.
    let attempts =
        |receiver: &str| evaluator.data(&format!("/api/v1/notifications?receiver={receiver}"));
    assert_eq!(attempts("slow")["attempts"], json!([]));
    wait_until("the others are in the history", || {
        attempts("ops")["attempts"].as_array().is_some_and(|all| all.len() >= 51)
    });
}

#[test]
fn it_ends_within_ten_seconds_while_a_receiver_hangs_and_loses_nothing_f51() {
    let slow = HttpServer::start(|_| Reply::Hang);
    let mut evaluator = evaluator(&format!("receivers:\n{}", webhook("ops", &slow, "")));
    push(&evaluator, "Down", true);
    wait_until("it is on its way", || slow.asked().len() == 1);
    let begun = Instant::now();
    evaluator.program().signal("TERM");
    assert_eq!(evaluator.program().wait(), End::Exit(0));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());

    // It comes again, under the same id; told twice to end, it does so at once.
    evaluator.start();
    wait_until("it comes again", || slow.asked().len() == 2);
    let asked = slow.asked();
    assert_eq!(asked[0].json()["notificationId"], asked[1].json()["notificationId"]);
    let begun = Instant::now();
    evaluator.program().signal("TERM");
    wait_until("it is stopping", || evaluator.program().log().contains("stopping"));
    evaluator.program().signal("TERM");
    assert_eq!(evaluator.program().wait(), End::Exit(1));
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    slow.reply_with(|_| Reply::text("ok"));
    evaluator.start();
    wait_until("it arrives in the end", || {
        evaluator.data("/api/v1/notifications?limit=1")["attempts"][0]["result"] == "delivered"
    });
}

#[test]
fn it_ends_within_ten_seconds_amid_a_scrape_a_query_and_a_reload_f51() {
    let (target, store) = (HttpServer::start(|_| Reply::Hang), HttpServer::start(|_| Reply::Hang));
    let ops = HttpServer::sink();
    let mut evaluator = evaluator(&format!(
        "global: {{scrape_interval: 15s, scrape_timeout: 15s}}\n\
         scrape_configs: [{{job_name: slow, static_configs: [{{targets: ['{}']}}]}}]\n\
         storage: {{remote: {{url: '{}', timeout: 60s}}}}\nreceivers:\n{}",
        target.address(),
        store.url(""),
        webhook("ops", &ops, "")
    ));
    let query = format!("http://127.0.0.1:{}/api/v1/query?query=up", evaluator.port);
    let asks = std::thread::spawn(move || tests::get(&query));
    wait_until("it waits for a scrape and for a query", || {
        !target.asked().is_empty() && !store.asked().is_empty()
    });
    let begun = Instant::now();
    evaluator.program().signal("HUP");
    evaluator.program().signal("TERM");
    assert_eq!(evaluator.program().wait(), End::Exit(0));
    // The limit, and what a busy machine takes to look at it.
    assert!(begun.elapsed() < Duration::from_secs(14), "{:?}", begun.elapsed());
    asks.join().unwrap();
}

#[test]
fn what_services_answer_is_bounded_and_followed_nowhere_f14_x19_x48() {
    let elsewhere = HttpServer::sink();
    let to = format!("location: {}\r\nset-cookie: a=b\r\n", elsewhere.url("/metadata"));
    let deep = "[".repeat(100_000);
    let chunked = |body: &[u8], headers: &str| {
        let mut text = format!("HTTP/1.1 200 OK\r\n{headers}transfer-encoding: chunked\r\n\r\n");
        text.push_str(&format!("{:x}\r\n", body.len()));
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(body);
        bytes.extend_from_slice(b"\r\n0\r\n\r\n");
        Reply::Raw(bytes)
    };
    // What it answers, and what comes of it.
    let cases: Vec<(&str, Reply, &str, &str)> = vec![
        ("302", Reply::Answer(302, to.clone(), Vec::new()), "refused", "302"),
        ("307", Reply::Answer(307, to, Vec::new()), "refused", "307"),
        ("huge", chunked(&vec![b'x'; 20 << 20], ""), "failed", "longer than 65536 bytes"),
        (
            "bomb",
            chunked(&vec![0; 10 << 20], "content-encoding: gzip\r\n"),
            "failed",
            "longer than",
        ),
        ("hangs", Reply::Hang, "failed", "no answer within 1s"),
        ("closes", Reply::Close, "failed", ""),
        ("garbage", Reply::Raw(b"\0\xff\xfe SSH-2.0\r\n\r\n".to_vec()), "failed", ""),
        ("cut head", Reply::Raw(b"HTTP/1.1 20".to_vec()), "failed", ""),
        ("deep json", Reply::text(&deep), "failed", "longer than"),
        (
            "long wait",
            Reply::Answer(503, "retry-after: -1\r\n".into(), Vec::new()),
            "failed",
            "503",
        ),
        ("says no", Reply::text("{\"ok\":false,\"error\":\"channel_not_found\"}"), "", ""),
    ];
    for (name, reply, expected, answer) in cases {
        let server = HttpServer::start(move |_| reply.clone());
        let (ways, integration) = match expected {
            // A chat that says yes by its status and no by its text.
            "" => ("slack_configs: [{channel: c, api_url", "slack"),
            _ => ("webhook_configs: [{url", "webhook"),
        };
        let url = server.url("/secret-path");
        let rest = format!("receivers:\n- name: ops\n  timeout: 1s\n  {ways}: '{url}'}}]\n");
        let mut evaluator = evaluator(&rest);
        push(&evaluator, "Down", true);
        let first = || evaluator.data("/api/v1/notifications?limit=1000")["attempts"].clone();
        wait_until(name, || first().as_array().is_some_and(|all| !all.is_empty()));
        let attempts = first();
        let attempt = attempts.as_array().unwrap().last().unwrap();
        let text = attempt.to_string();
        if expected.is_empty() {
            assert_ne!(attempt["result"], "delivered", "{name}: {text}");
        } else {
            assert_eq!(attempt["result"], expected, "{name}: {text}");
        }
        assert!(attempt["answer"].as_str().unwrap().contains(answer), "{name}: {text}");
        assert!(attempt["answer"].as_str().unwrap().len() <= 500, "{name}: {text}");
        assert!(!text.contains("secret-path"), "{name}: {text}");
        assert!(attempt["lane"].to_string().contains(integration), "{name}: {text}");
        // Nothing is noted as told.
        assert_eq!(evaluator.own("veilleur_outbox_waiting"), 1.0, "{name}");
        assert!(!evaluator.program().log().contains("panicked"), "{name}");
        let cookies = server.asked().iter().filter(|a| a.headers.contains_key("cookie")).count();
        assert_eq!(cookies, 0, "{name}");
    }
    assert!(elsewhere.asked().is_empty(), "a redirect was followed");
}

#[test]
fn when_most_targets_are_lost_one_alert_is_told_in_place_of_all_f17() {
    let (ops, target) = (HttpServer::sink(), HttpServer::start(|_| Reply::text("sample 1\n")));
    let targets: Vec<String> = (0..12)
        .map(|n| {
            format!(
                "- {{targets: ['{}'], labels: {{n: '{n}', instance: 'host{n}'}}}}",
                target.address()
            )
        })
        .collect();
    let evaluator = Evaluator::new();
    let rules: Vec<String> = (0..20)
        .map(|n| format!("  - {{alert: Gone{n}, expr: 'up == 0', for: 2s, labels: {{r: '{n}'}}}}"))
        .collect();
    evaluator.write("rules.yml", &format!("groups:\n- name: g\n  rules:\n{}\n", rules.join("\n")));
    evaluator.write(
        "veilleur.yml",
        &format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
             builtin_rules: {{enabled: false}}\nscrape_configs:\n- job_name: t\n  static_configs:\n  \
             {}\nrule_files: [rules.yml]\nroute: {{receiver: ops, group_by: ['...'], \
             group_wait: 3s, group_interval: 1s, repeat_interval: 1d}}\nreceivers:\n{}",
            targets.join("\n  "),
            webhook("ops", &ops, "")
        ),
    );
    let mut evaluator = evaluator;
    evaluator.start();
    wait_until("all are up", || evaluator.value("sum(up)") == "12");
    target.reply_with(|_| Reply::Close);
    wait_until("it is told that monitoring is blind", || {
        all_names(&ops).contains(&"MonitoringBlind".to_owned())
    });
    wait_until("every rule fires", || evaluator.alerts("firing").len() == 240);
    evaluator.let_evaluate(5);
    assert_eq!(all_names(&ops), ["MonitoringBlind"]);
    // Shown as held back, by the one that is told.
    let (_, alerts) = evaluator.get("/api/v2/alerts?filter=alertname%3DGone1").unwrap();
    let alerts: Value = serde_json::from_str(&alerts).unwrap();
    assert_eq!(alerts[0]["status"]["state"], json!("suppressed"), "{alerts}");
    // What others see themselves is told.
    push(&evaluator, "Theirs", true);
    wait_until("an alert of others is told", || all_names(&ops).contains(&"Theirs".to_owned()));
}
