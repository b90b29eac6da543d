//! Bad input: configurations, targets, receivers, ports and folders.
//!
//! Invariant: whatever is wrong is named, and everything else goes on.

use serde_json::Value;
use tests::http_server::{HttpServer, Reply};
use tests::mail_server::{self, MailServer};
use tests::program::{End, run};
use tests::wait_until;

use crate::rig::Evaluator;

const WRONG: &str = "\
global:
  scrape_interval: 5 minutes
  nonsense: 1
scrape_configs:
- job_name: a
  static_configs: [{targets: ['http://x/y']}]
- job_name: a
  metrics_path: [1]
rule_files: [rules.yml]
route:
  receiver: nobody
receivers:
- name: ops
  email_configs: [{to: 'not an address'}]
  webhook_configs: [{url: 'ftp://x'}]
";

#[test]
fn every_fault_of_a_configuration_is_told_at_once_and_nothing_is_started() {
    let evaluator = Evaluator::new();
    evaluator.write("veilleur.yml", WRONG);
    evaluator.write(
        "rules.yml",
        "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: sum(up\n  - alert: B\n    \
         expr: no_such_function(up)\n  - record: 'b d'\n    expr: up\n    for: 1m\n",
    );
    let config = evaluator.path("veilleur.yml");
    let (end, _, said) = run("veilleur", evaluator.arguments());
    assert_eq!(end, End::Exit(2), "{said}");
    let (end, _, checked) = run("veilleur", ["check".as_ref(), config.as_os_str()]);
    assert_eq!((end, &checked), (End::Exit(2), &said));
    assert!(!evaluator.path("data").exists());
    for expected in [
        "veilleur.yml:2:20: ",
        "veilleur.yml:3:3: ",
        "veilleur.yml:6:",
        "veilleur.yml:7:13: ",
        "veilleur.yml:8:17: ",
        "veilleur.yml:11:13: ",
        "veilleur.yml:14:",
        "veilleur.yml:15:",
        "rules.yml:5:11: ",
        "rules.yml:7:11: ",
        "rules.yml:10:",
    ] {
        assert!(said.contains(expected), "{expected} is missing in\n{said}");
    }
}

#[test]
fn a_configuration_that_is_missing_or_no_yaml_is_named() {
    for (text, expected) in [
        (None, "cannot be read"),
        (Some("a: [b"), "veilleur.yml:"),
        (Some("- 1\n"), "veilleur.yml:1:1: "),
        (Some("\u{0}"), "veilleur.yml"),
    ] {
        let evaluator = Evaluator::new();
        if let Some(text) = text {
            evaluator.write("veilleur.yml", text);
        }
        let (end, _, said) = run("veilleur", evaluator.arguments());
        assert_eq!(end, End::Exit(2), "{said}");
        assert!(said.contains(expected), "{text:?}: {said}");
    }
}

#[test]
fn a_port_in_use_and_a_folder_in_use_are_one_clear_line_each() {
    let first = Evaluator::with("scrape_configs: []\n");
    let mut arguments = first.arguments();
    let (end, _, said) = run("veilleur", &arguments);
    assert_eq!((end, said.lines().count()), (End::Exit(1), 1), "{said}");
    assert!(said.contains("the port is in use"), "{said}");
    *arguments.last_mut().unwrap() = "127.0.0.1:0".into();
    let (end, _, said) = run("veilleur", &arguments);
    assert_eq!((end, said.lines().count()), (End::Exit(1), 1), "{said}");
    assert!(said.contains("is in use by another process"), "{said}");
    *arguments.last_mut().unwrap() = "0.0.0.0:0".into();
    let (end, _, said) = run("veilleur", &arguments);
    assert_eq!((end, said.lines().count()), (End::Exit(2), 1), "{said}");
    assert!(said.contains("--insecure-listen"), "{said}");
}

/// The targets by instance.
fn targets(evaluator: &Evaluator) -> Vec<Value> {
    let data = evaluator.data("/api/v1/targets");
    data["activeTargets"].as_array().cloned().unwrap_or_default()
}

/// A server that closes each connection with something unread, which resets it.
fn resetting() -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.peek(&mut [0; 1]);
        }
    });
    address
}

#[test]
fn a_target_that_is_down_slow_cut_off_or_huge_is_up_0_with_its_reason_f54() {
    let good = HttpServer::start(|_| Reply::text("sample 1\n"));
    let reset = resetting();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_address = silent.local_addr().unwrap();
    let cases: Vec<(&str, HttpServer, &str)> = vec![
        ("slow", HttpServer::start(|_| Reply::Hang), "within"),
        ("closes", HttpServer::start(|_| Reply::Close), ""),
        (
            "half",
            HttpServer::start(|_| {
                let text = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 100\r\n\
                            \r\nsample 1\nsamp";
                Reply::Raw(text.into())
            }),
            "",
        ),
        (
            "huge",
            HttpServer::start(|_| {
                let body = "sample 1\n# a comment to fill the body\n".repeat(100_000);
                Reply::text(&body)
            }),
            "the body is over its limit of 1048576 bytes",
        ),
        (
            "cut in a chunk",
            HttpServer::start(|_| {
                let text = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\
                            \r\n9\r\nsample 1\n\r\n40\r\nsample 2\n";
                Reply::Raw(text.into())
            }),
            "broke off",
        ),
        (
            "no last chunk",
            HttpServer::start(|_| {
                let text = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\
                            \r\n9\r\nsample 1\n\r\n";
                Reply::Raw(text.into())
            }),
            "broke off",
        ),
        (
            "cut in gzip",
            HttpServer::start(|_| {
                let mut text =
                    b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-encoding: gzip\r\n\
                            content-length: 10\r\n\r\n"
                        .to_vec();
                text.extend([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]);
                Reply::Raw(text)
            }),
            "",
        ),
        (
            "captive",
            HttpServer::start(|_| {
                let page = b"<!DOCTYPE html><title>Log in</title>".to_vec();
                Reply::Answer(200, "content-type: text/html\r\n".to_owned(), page)
            }),
            "`text/html` is no metrics",
        ),
        (
            "captive redirect",
            HttpServer::start(|_| {
                let to = "location: http://login.example/\r\n".to_owned();
                Reply::Answer(302, to, Vec::new())
            }),
            "leads to another host",
        ),
        ("page", HttpServer::start(|_| Reply::text("<html><body>hello</body></html>\n")), "line 1"),
        ("status", HttpServer::start(|_| Reply::status(503)), "503"),
        ("not http", HttpServer::start(|_| Reply::Raw(b"SSH-2.0-x\r\n".to_vec())), ""),
        ("late fault", HttpServer::start(|_| Reply::text("sample 1\nsample 2 x y z\n")), "line 2"),
    ];
    let all: Vec<String> = cases
        .iter()
        .map(|(name, server, _)| {
            format!("  - {{targets: ['{}'], labels: {{case: {name}}}}}\n", server.address())
        })
        .collect();
    let evaluator = Evaluator::with(&format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 500ms}}\nscrape_configs:\n- job_name: t\n  \
         body_size_limit: 1MB\n  static_configs:\n  - {{targets: ['{}'], labels: {{case: good}}}}\n\
         \x20 - {{targets: ['127.0.0.1:1'], labels: {{case: down}}}}\n\
         \x20 - {{targets: ['{reset}'], labels: {{case: reset}}}}\n\
         \x20 - {{targets: ['{silent_address}'], labels: {{case: silent}}}}\n{}",
        good.address(),
        all.concat()
    ));
    let count = cases.len() + 4;
    let known = || targets(&evaluator).iter().all(|target| target["health"] != "unknown");
    wait_until("every target was asked", || targets(&evaluator).len() == count && known());
    for target in targets(&evaluator) {
        let case = target["labels"]["case"].as_str().unwrap();
        let (health, error) = (&target["health"], target["lastError"].as_str().unwrap());
        if case == "good" {
            assert_eq!((health.as_str(), error), (Some("up"), ""));
            continue;
        }
        assert_eq!(health, "down", "{case}: {error}");
        let expected = cases.iter().find(|(name, ..)| *name == case).map_or("", |(.., e)| *e);
        // Each says in which phase it was.
        let expected = match case {
            "down" => "connect to 127.0.0.1:1: Connection refused",
            "reset" => "no answer",
            "silent" | "slow" => "it was still waiting for the answer to begin",
            _ => expected,
        };
        assert!(!error.is_empty() && error.contains(expected), "{case}: {error}");
    }
    wait_until("what is up is known", || evaluator.value("sum(up)") == "1");
    assert_eq!(evaluator.value("count(up)"), count.to_string());
    // Nothing of a scrape that failed is stored.
    assert_eq!(evaluator.value("count(sample)"), "1");
}

#[test]
fn a_receiver_that_is_down_delays_nobody_and_one_that_refuses_is_counted_and_shown() {
    let target = HttpServer::start(|_| Reply::text("broken 1\n"));
    let (good, refuses) = (
        HttpServer::sink(),
        HttpServer::start(|_| Reply::Answer(410, String::new(), b"no such channel".to_vec())),
    );
    let (hangs, later) =
        (HttpServer::start(|_| Reply::Hang), HttpServer::start(|_| Reply::status(500)));
    let hooks: Vec<String> = [&hangs, &refuses, &later, &good]
        .map(|server| format!("  - {{url: '{}'}}\n", server.url("/hook")))
        .into();
    let evaluator = Evaluator::new();
    evaluator.write(
        "rules.yml",
        "groups:\n- name: g\n  rules:\n  - {alert: Broken, expr: broken == 1}\n",
    );
    evaluator.write(
        "veilleur.yml",
        &format!(
            "global: {{scrape_interval: 500ms, evaluation_interval: 500ms}}\nscrape_configs:\n\
             - job_name: t\n  static_configs: [{{targets: ['{}']}}]\nrule_files: [rules.yml]\n\
             route: {{receiver: all, group_wait: 0s}}\nreceivers:\n- name: all\n  \
             webhook_configs:\n{}",
            target.address(),
            hooks.concat()
        ),
    );
    let mut evaluator = evaluator;
    evaluator.start();
    wait_until("the good one is told", || good.asked().len() == 1);
    wait_until("the one that fails is tried again", || later.asked().len() > 1);
    wait_until("the one that refuses is told", || !refuses.asked().is_empty());
    later.reply_with(|_| Reply::text("ok"));
    let refused =
        "veilleur_notifications_total{integration=\"webhook\",receiver=\"all\",result=\"refused\"}";
    wait_until("the refusal is counted", || {
        evaluator.get("/metrics").is_some_and(|(_, body)| body.contains(&format!("{refused} 1")))
    });
    let (status, health) = evaluator.get("/health").unwrap();
    assert_eq!(status, 503, "{health}");
    assert!(health.contains("receiver:all/webhook/1"), "{health}");
    assert!(health.contains("410: no such channel"), "{health}");
    wait_until("the log has the answer", || {
        evaluator.program().log().contains("410: no such channel")
    });
    wait_until("the one that failed is told", || {
        later.asked().len() > 2 || evaluator.own("veilleur_outbox_waiting") <= 1.0
    });
    assert_eq!(refuses.asked().len(), 1);
}

#[test]
fn a_mail_server_that_refuses_for_good_is_counted_logged_and_shown() {
    let mail = MailServer::start();
    let target = HttpServer::start(|_| Reply::text("broken 1\n"));
    let mut evaluator = Evaluator::new();
    evaluator.write(
        "rules.yml",
        "groups:\n- name: g\n  rules:\n  - {alert: Broken, expr: broken == 1}\n",
    );
    evaluator.write(
        "veilleur.yml",
        &format!(
            "global: {{scrape_interval: 500ms, evaluation_interval: 500ms}}\nscrape_configs:\n\
             - job_name: t\n  static_configs: [{{targets: ['{}']}}]\nrule_files: [rules.yml]\n\
             route: {{receiver: mail, group_wait: 0s}}\nreceivers:\n- name: mail\n  \
             email_configs:\n  - {{to: a@veilleur.test, from: b@veilleur.test, smarthost: '{}', \
             auth_username: {}, auth_password: hunter2-wrong, tls_config: {{ca_file: {}}}}}\n",
            target.address(),
            mail.address(),
            mail_server::USER,
            mail.certificate_file().display(),
        ),
    );
    evaluator.start();
    wait_until("it is refused", || evaluator.own("veilleur_notifications_total") >= 1.0);
    wait_until("it is shown", || evaluator.get("/health").is_some_and(|(status, _)| status == 503));
    let (_, health) = evaluator.get("/health").unwrap();
    assert!(health.contains("receiver:mail/email/0") && health.contains("535"), "{health}");
    let log = evaluator.program().log();
    assert!(log.contains("refused for good") && log.contains("535"), "{log}");
    assert!(!log.contains("hunter2") && !health.contains("hunter2"), "a password is printed");
    assert!(mail.messages().is_empty());
}

#[test]
fn a_reload_takes_what_is_right_and_keeps_what_was_where_it_is_wrong() {
    let target = HttpServer::start(|_| Reply::text("sample 1\n"));
    let job = |name: &str| {
        format!(
            "global: {{scrape_interval: 500ms}}\nscrape_configs:\n- job_name: {name}\n  \
             static_configs: [{{targets: ['{}']}}]\n",
            target.address()
        )
    };
    let mut evaluator = Evaluator::with(&job("one"));
    wait_until("it is scraped", || evaluator.value("up{job='one'}") == "1");
    evaluator.write("veilleur.yml", "scrape_configs: 7\nrule_files: 8\n");
    let url = format!("http://127.0.0.1:{}/-/reload", evaluator.port);
    let (status, body) = tests::ask("POST", &url, "", "").unwrap();
    assert_eq!(status, 500);
    assert!(body.contains("veilleur.yml:1:17: ") && body.contains("veilleur.yml:2:13: "), "{body}");
    assert!(evaluator.get("/health").unwrap().1.contains("veilleur.yml:1:17: "));
    assert_eq!(evaluator.own("veilleur_config_last_reload_successful"), 0.0);
    // X30: a page of another site cannot have a browser ask for it.
    let foreign = "origin: http://evil.example\r\n";
    assert_eq!(tests::ask("POST", &url, foreign, "").unwrap().0, 403);
    assert_eq!(tests::get(&url).unwrap().0, 405);

    evaluator.write("veilleur.yml", &job("two"));
    evaluator.program().signal("HUP");
    wait_until("the new job is scraped", || evaluator.value("up{job='two'}") == "1");
    wait_until("the old job has ended", || evaluator.value("up{job='one'}").is_empty());
    assert_eq!(evaluator.own("veilleur_config_last_reload_successful"), 1.0);
}

#[test]
fn it_ends_when_told_to_and_goes_on_where_it_was() {
    let target = HttpServer::start(|_| Reply::text("sample 42\n"));
    let mut evaluator = Evaluator::with(&format!(
        "global: {{scrape_interval: 500ms}}\nscrape_configs:\n- job_name: t\n  \
         static_configs: [{{targets: ['{}']}}]\n",
        target.address()
    ));
    wait_until("it is scraped", || evaluator.value("count_over_time(sample[1m])") == "3");
    evaluator.program().signal("TERM");
    assert_eq!(evaluator.program().wait(), End::Exit(0), "{}", evaluator.program().log());
    drop(target);
    evaluator.start();
    // A stop of ours is no end of what we watch.
    assert_ne!(evaluator.value("count_over_time(sample[1m])"), "");
    evaluator.program().signal("INT");
    assert_eq!(evaluator.program().wait(), End::Exit(0));
}

#[test]
fn help_and_mistakes_of_the_command_line() {
    let (end, said, _) = run("veilleur", ["--help"]);
    assert_eq!(end, End::Exit(0));
    assert!(said.contains("--config") && said.contains("check"), "{said}");
    for arguments in [&["--nonsense"][..], &["check"], &["--retention", "soon"], &["--listen", "x"]]
    {
        let (end, _, said) = run("veilleur", arguments);
        assert_eq!(end, End::Exit(2), "{arguments:?}: {said}");
    }
}
