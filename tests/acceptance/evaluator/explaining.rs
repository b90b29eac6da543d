//! Why somebody was told, and why not: explanations and drills.
//!
//! Invariant: what the document shows is what is tried here.

use std::ffi::OsString;
use std::fs;

use regex::Regex;
use serde_json::Value;
use tests::http_server::{HttpServer, Reply};
use tests::program::{End, free_port, run};
use tests::{ask, wait_until};

use crate::rig::Evaluator;
use crate::test_files::{document, files_of_the_document};

/// The text without what differs from run to run: times, how long something took, names made up.
fn normal(text: &str) -> String {
    let mut text = text.to_owned();
    for (pattern, by) in [
        (r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "TIME"),
        (r"\b(\d+(ms|s|m|h))+\b", "LENGTH"),
        (r"drill [0-9a-f]{10,}", "drill ID"),
        (r" in /\S+/rules.yml", " in rules.yml"),
    ] {
        text = Regex::new(pattern).unwrap().replace_all(&text, by).into_owned();
    }
    text
}

#[test]
fn a_page_one_that_did_not_come_and_a_drill_are_told_as_the_document_shows() {
    let service = HttpServer::start(|asked| match asked.method.as_str() {
        "GET" => Reply::text("latency_seconds 9\n"),
        _ => Reply::text("ok"),
    });
    let mut evaluator = Evaluator::new();
    let dir = evaluator.path("");
    files_of_the_document(&dir);
    let read = |name: &str| fs::read_to_string(dir.join("chain").join(name)).unwrap();
    // Sooner than in the document, at any time of the day, and to a service of ours.
    let config = read("veilleur.yml")
        .replace("https://hooks.slack.com/services/T0/B0/XX", &service.url("/chat"))
        .replace("times: [{start_time: '12:00', end_time: '13:00'}]", "years: ['1999']")
        .replace("group_wait: 30s", "group_wait: 0s");
    let scrape = format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nscrape_configs:\n\
         - {{job_name: web, static_configs: [{{targets: ['127.0.0.1:{}'], labels: {{instance: web1}}}}]}}\n\
         - {{job_name: app, static_configs: [{{targets: ['{}'], labels: {{instance: web1}}}}]}}\n",
        free_port(),
        service.address(),
    );
    evaluator.write("rules.yml", &read("rules.yml").replace("for: 5m", "for: 0s"));
    evaluator.write("veilleur.yml", &format!("{config}{scrape}"));
    evaluator.start();
    let said = |arguments: &[&str]| normal(&of(&evaluator, arguments).1);
    let document = document();
    for (begins, arguments) in [
        ("{alertname=\"Down\"", &["explain", "Down"][..]),
        ("{alertname=\"Slow\"", &["explain", "Slow"]),
        ("drill ", &["drill", "chat", "--by", "anna"]),
    ] {
        let block = document.split(&format!("```text\n{begins}")).nth(1).unwrap();
        let shown = normal(&format!("{begins}{}", block.split("```").next().unwrap()));
        if arguments[0] == "explain" {
            // The decision comes a little after the start.
            wait_until("what the document shows is told", || said(arguments) == shown);
        } else {
            assert_eq!(said(arguments), shown);
        }
    }
}

/// An evaluator with a rule that fires, one that does not, and one that is pending.
fn with_rules(sink: &HttpServer) -> Evaluator {
    let mut evaluator = Evaluator::new();
    evaluator.write(
        "rules.yml",
        "groups:\n- name: g\n  interval: 1s\n  rules:\n  - {alert: Fires, expr: 'vector(7) > 5', labels: {team: db}}\n  \
         - {alert: Quiet, expr: 'vector(1) > 5'}\n  - {alert: Waits, expr: vector(1), for: 1h}\n  \
         - {alert: Effect, expr: vector(1), labels: {team: db}}\n",
    );
    let config = format!(
        "rule_files: [rules.yml]\nbuiltin_rules: {{enabled: false}}\nglobal: {{external_labels: {{site: here}}}}\n\
         route: {{receiver: hook, group_by: [alertname], group_wait: 0s, group_interval: 1s}}\n\
         inhibit_rules: [{{source_matchers: [alertname=Fires], target_matchers: [alertname=Effect], equal: [team]}}]\n\
         receivers:\n- name: hook\n  webhook_configs: [{{url: '{}'}}]\n\
         - name: away\n  webhook_configs: [{{url: 'http://127.0.0.1:{}/'}}]\n- name: nobody\n",
        sink.url("/hook"),
        free_port(),
    );
    evaluator.write("veilleur.yml", &config);
    evaluator.start();
    evaluator
}

/// What `veilleur` says of the running evaluator.
fn of(evaluator: &Evaluator, arguments: &[&str]) -> (i32, String, String) {
    let url = format!("http://127.0.0.1:{}", evaluator.port);
    let own = arguments.iter().map(OsString::from);
    let all: Vec<OsString> = own.chain(["--url".into(), url.into()]).collect();
    let (end, out, err) = run("veilleur", &all);
    let End::Exit(status) = end else { panic!("{arguments:?}: {end:?}") };
    (status, out, err)
}

fn silence(evaluator: &Evaluator, name: &str) -> String {
    let body = serde_json::json!({
        "matchers": [{"name": "alertname", "value": name, "isRegex": false, "isEqual": true}],
        "startsAt": "2020-01-01T00:00:00Z",
        "endsAt": "2999-01-01T00:00:00Z",
        "createdBy": "anna",
        "comment": "deploy of the shop",
    });
    let url = format!("http://127.0.0.1:{}/api/v2/silences", evaluator.port);
    let header = "content-type: application/json\r\n";
    let (status, body) = ask("POST", &url, header, &body.to_string()).unwrap();
    assert_eq!(status, 200, "{body}");
    let answer: Value = serde_json::from_str(&body).unwrap();
    answer["silenceID"].as_str().unwrap().to_owned()
}

fn names(sink: &HttpServer) -> Vec<String> {
    let asked = sink.asked();
    let alerts = asked.iter().flat_map(|a| a.json()["alerts"].as_array().unwrap().clone());
    alerts.map(|alert| alert["labels"]["alertname"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_page_and_a_page_that_did_not_come_are_explained() {
    let sink = HttpServer::sink();
    let evaluator = with_rules(&sink);
    wait_until("somebody is told", || names(&sink) == ["Fires"]);
    let explain = |arguments: &[&str], parts: &[&str]| {
        let (status, out, err) = of(&evaluator, &[&["explain"], arguments].concat());
        assert_eq!(status, 0, "{err}");
        for part in parts {
            assert!(out.contains(part), "{arguments:?}: {part} is not in:\n{out}");
        }
        out
    };
    wait_until("the delivery is noted", || {
        of(&evaluator, &["explain", "Fires"]).1.contains("`hook` was told at")
    });
    explain(
        &["Fires"],
        &[
            "{alertname=\"Fires\", site=\"here\", team=\"db\"} at ",
            "   sample     the expression reads no series",
            "   rule       Fires of g in ",
            "vector(7) > 5 is 7, for 0s",
            "   state      fires since ",
            "   route      {} to `hook`",
            "   inhibition no cause of it fires",
            "   silence    no silence is about it",
            "   group      {}:{alertname=\"Fires\"}",
            "=> delivery   hook/webhook/0: ",
            "   `hook` was told at ",
        ],
    );
    explain(
        &["Effect"],
        &[
            "=> inhibition inhibited by {alertname=\"Fires\", site=\"here\", team=\"db\"}",
            "   `hook` is not told: inhibited by ",
        ],
    );
    explain(
        &["Quiet"],
        &[
            "vector(1) > 5 gives nothing for it",
            "=> state      there is no such alert, neither pending nor firing",
            "{} to `hook`, if it fired",
            "nobody is told: no such alert fires",
        ],
    );
    explain(
        &["Waits"],
        &["=> state      pending since ", "nobody is told before it has held for 1h"],
    );
    explain(&["None"], &["no rule makes such an alert"]);
    let id = silence(&evaluator, "Effect");
    explain(
        &["{alertname=\"Effect\"}"],
        &["   silence    silenced by anna until 2999", "deploy of the shop"],
    );
    // As it was then, whatever has become of the silence.
    let then = evaluator.value("vector(time())");
    wait_until("it is past", || evaluator.value("vector(time())") != then);
    let url = format!("http://127.0.0.1:{}/api/v2/silence/{id}", evaluator.port);
    assert_eq!(ask("DELETE", &url, "", "").unwrap().0, 200);
    wait_until("the series of alerts go on", || {
        let later = format!("max(timestamp(ALERTS)) > {then} + 1");
        !evaluator.value(&later).is_empty()
    });
    explain(
        &["Effect", "--at", &then],
        &[
            "fired; its condition held since ",
            "=> inhibition inhibited by {alertname=\"Fires\"",
            "   silence    silenced by anna",
        ],
    );
    explain(&["Effect"], &["   silence    no silence is about it"]);
    let json = explain(&["team=db", "--json"], &[]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 2);
    assert_eq!(json[0]["ways"][0]["stages"][1]["decides"], true);
    assert_eq!(of(&evaluator, &["explain", "{a=~\"(\"}"]).0, 1);
    assert_eq!(of(&evaluator, &["explain", "Fires", "--at", "noon"]).0, 2);
    let (status, _, err) = of(&evaluator, &["explain", "Fires", "--at", "2999-01-01T00:00:00Z"]);
    assert!(status == 1 && err.contains("nobody knows the future"), "{err}");
}

#[test]
fn the_past_of_what_is_pushed_is_explained_too() {
    let sink = HttpServer::sink();
    let evaluator = with_rules(&sink);
    let url = format!("http://127.0.0.1:{}/api/v2/alerts", evaluator.port);
    let body =
        "[{\"labels\": {\"alertname\": \"Theirs\"}, \"startsAt\": \"2020-01-01T00:00:00Z\"}]";
    assert_eq!(ask("POST", &url, "content-type: application/json\r\n", body).unwrap().0, 200);
    let then = |at: &str| of(&evaluator, &["explain", "Theirs", "--at", at]).1;
    let fired = then("2020-01-01T01:00:00Z");
    for part in ["none of ours: it was pushed", "fired since 2020-01-01", "{} to `hook`"] {
        assert!(fired.contains(part), "{part} is not in:\n{fired}");
    }
    let before = then("2019-12-31T23:00:00Z");
    assert!(before.contains("nobody is told: no such alert fires"), "{before}");
}

#[test]
fn a_drill_tells_each_hop_and_is_never_taken_for_a_page() {
    let sink = HttpServer::sink();
    let evaluator = with_rules(&sink);
    wait_until("somebody is told", || names(&sink) == ["Fires"]);
    let (status, out, err) = of(&evaluator, &["drill", "hook", "--by", "anna", "--hold", "1s"]);
    assert_eq!(status, 0, "{out}{err}");
    for part in [
        "receiver  hook",
        "accepted  2",
        "grouped   2",
        "by        hook/webhook/0",
        "queued    2",
        "sent      2",
        "answered  2",
        "result    delivered",
    ] {
        assert!(out.contains(part), "{part} is not in:\n{out}");
    }
    let drills = || {
        let all = sink.asked();
        let all = all.iter().map(|asked| asked.json());
        all.filter(|said| said["commonLabels"]["veilleur_drill"].is_string()).collect::<Vec<_>>()
    };
    let said = &drills()[0];
    assert_eq!(said["commonLabels"]["alertname"], "DRILL Drill");
    let summary = said["commonAnnotations"]["summary"].as_str().unwrap();
    assert_eq!(
        summary,
        "DRILL: nothing is wrong: somebody tries whether messages arrive, begun by anna"
    );
    assert_eq!(said["alerts"].as_array().unwrap().len(), 1);
    wait_until("the drill is over", || drills().iter().any(|said| said["status"] == "resolved"));
    // By labels it takes the routes, and is in no group with what really fires; as a cause of others
    // it does not count.
    let before = drills().len();
    let (status, out, err) =
        of(&evaluator, &["drill", "alertname=Fires", "team=net", "--hold", "1s"]);
    assert_eq!(status, 0, "{out}{err}");
    let said = &drills()[before];
    assert_eq!(said["commonLabels"]["alertname"], "DRILL Fires");
    assert_eq!(said["groupLabels"]["alertname"], "DRILL Fires");
    assert_eq!(said["alerts"].as_array().unwrap().len(), 1);
    // Held back as what it plays would be.
    let (status, out, _) = of(&evaluator, &["drill", "alertname=Effect", "team=db"]);
    assert!(status == 1 && out.contains("held back inhibited by {alertname=\"Fires\""), "{out}");
    let (status, out, _) = of(&evaluator, &["drill", "away", "--timeout", "1s"]);
    assert!(status == 1 && out.contains("result    failed"), "{out}");
    let (status, out, _) = of(&evaluator, &["drill", "nobody", "--timeout", "1s"]);
    assert!(status == 1 && out.contains("the receiver has no way to be told"), "{out}");
    let (status, _, err) = of(&evaluator, &["drill", "hok"]);
    assert!(status == 1 && err.contains("there is no receiver `hok`"), "{err}");
    assert_eq!(of(&evaluator, &["drill", "a=b", "c"]).0, 2);
    // A browser that a page of another site has tricked (X30).
    let url = format!("http://127.0.0.1:{}/api/v1/drill", evaluator.port);
    let foreign = ask("POST", &url, "origin: http://evil.example\r\n", "{\"receiver\": \"hook\"}");
    assert_eq!(foreign.unwrap().0, 403);
    for body in [
        "",
        "{}",
        "[]",
        "{\"receiver\": 5}",
        "{\"receiver\": \"hook\", \"labels\": {\"a\": \"b\"}}",
        "{\"labels\": {\"veilleur_drill_receiver\": \"x\"}}",
        "{\"receiver\": \"hook\", \"hold\": \"-1\"}",
    ] {
        assert_eq!(ask("POST", &url, "", body).unwrap().0, 400, "{body}");
    }
    let (status, _) = ask("GET", &format!("{url}/none"), "", "").unwrap();
    assert_eq!(status, 404);
}

#[test]
fn a_drill_of_a_receiver_that_refuses_tells_why() {
    let sink = HttpServer::start(|_| Reply::status(404));
    let evaluator = with_rules(&sink);
    let (status, out, _) = of(&evaluator, &["drill", "hook", "--timeout", "10s"]);
    assert!(status == 1 && out.contains("result    refused") && out.contains("404"), "{out}");
}
