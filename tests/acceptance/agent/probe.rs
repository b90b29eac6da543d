//! `/probe` as strangers and Prometheus ask it: only what is allowed is looked at, whatever is
//! asked, and what is looked at is told as by blackbox_exporter. S2; X01 to X07.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tests::http_server::{HttpServer, Reply};
use tests::program::{End, Program, free_port, run};
use tests::{ask, escaped, exchange, get, peers, wait_until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::stage::{Agent, Stage};

const MODULES: &str = "modules:\n  http_2xx: {prober: http, timeout: 5s, http: {preferred_ip_protocol: ip4}}\n  \
                       tcp_connect: {prober: tcp, timeout: 5s}\n  \
                       brief: {prober: http, timeout: 2s}\n";

/// An agent with these settings of `blackbox`, besides the modules.
fn agent(stage: &Stage, settings: &str) -> Agent {
    std::fs::write(stage.path("blackbox.yml"), MODULES).unwrap();
    let modules = stage.text("blackbox.yml");
    stage.configure(&format!(
        "host: {{enabled: false}}\nblackbox:\n  config: {modules}\n{settings}\n\
         checks: [{{name: own, interval: 1s, probe: {{script: {{command: [/bin/true]}}}}}}]\n"
    ));
    stage.start()
}

fn probe(agent: &Agent, target: &str, more: &str) -> (u16, String) {
    agent.get(&format!("/probe?target={}{more}", escaped(target)))
}

#[track_caller]
fn has(text: &str, line: &str) {
    assert!(text.lines().any(|l| l == line), "no {line} in\n{text}");
}

#[test]
fn metadata_and_disguised_addresses_are_forbidden_x01_x02() {
    let targets = [
        "http://169.254.169.254/latest/meta-data/",
        "http://[::ffff:169.254.169.254]/",
        "http://0xa9fea9fe/",
        "http://2852039166/",
        "http://0251.0376.0251.0376/",
        "http://[64:ff9b::a9fe:a9fe]/",
        "http://[fd00:ec2::254]/",
        "http://[::ffff:a9fe:a9fe]/",
    ];
    // Nothing is allowed; and everything is, but for what is special.
    for settings in ["", "  allow_targets: ['*', 0.0.0.0/0, '::/0']"] {
        let stage = Stage::new();
        let agent = agent(&stage, settings);
        for target in targets {
            let (status, text) = probe(&agent, target, "");
            assert_eq!(status, 403, "{settings} {target}: {text}");
            assert!(text.starts_with("the target "), "{text}");
            assert!(
                !text.contains("169") && !text.contains("a9fe"),
                "it repeats what was asked: {text}"
            );
        }
        let log = agent.program.log();
        assert!(log.contains("a probe was refused") && log.contains("status=403"), "{log}");
    }
    let stage = Stage::new();
    let agent = agent(&stage, "");
    assert_eq!(probe(&agent, "http://169.254.169.254.nip.io/", "").0, 403);
}

#[test]
fn a_redirect_leads_nowhere_else_x03() {
    let secret = HttpServer::start(|_| Reply::text("secret"));
    let there = secret.url("/");
    let allowed = HttpServer::start(move |asked| {
        let to = match asked.path.as_str() {
            "/local" => there.clone(),
            "/file" => "file:///etc/passwd".to_owned(),
            "/gopher" => "gopher://127.0.0.1:70/".to_owned(),
            "/metadata" => "http://169.254.169.254/latest/".to_owned(),
            "/user" => "http://user@127.0.0.1/".to_owned(),
            "/same" => "/end".to_owned(),
            _ => return Reply::text("the end"),
        };
        Reply::Answer(302, format!("location: {to}\r\n"), Vec::new())
    });
    let stage = Stage::new();
    let agent = agent(&stage, &format!("  allow_targets: ['{}']", allowed.address()));
    for path in ["/local", "/file", "/gopher", "/metadata", "/user"] {
        let (status, text) = probe(&agent, &allowed.url(path), "");
        assert_eq!(status, 200, "{path}: {text}");
        has(&text, "probe_success 0");
        has(&text, "veilleur_probe_reason{reason=\"bad-redirect\"} 1");
    }
    let (_, text) = probe(&agent, &allowed.url("/same"), "");
    has(&text, "probe_success 1");
    has(&text, "probe_http_redirects 1");
    assert!(secret.asked().is_empty());
}

#[test]
fn a_name_that_leads_to_this_host_is_forbidden_and_not_dialled_x04() {
    let server = HttpServer::start(|_| Reply::text("secret"));
    let port = server.address().rsplit(':').next().unwrap().to_owned();
    let stage = Stage::new();
    // `localhost` is allowed as any other name; only a rule of its own would mean loopback.
    let agent = agent(&stage, "  allow_targets: ['*', '*.localhost']");
    for module in ["http_2xx", "tcp_connect"] {
        let target = format!("localhost:{port}");
        let (status, text) = probe(&agent, &target, &format!("&module={module}"));
        assert_eq!((status, text.contains("a loopback address")), (403, true), "{text}");
    }
    assert!(server.asked().is_empty());
}

#[test]
fn what_is_no_target_or_module_is_refused_with_a_constant_text_x05_x06() {
    let stage = Stage::new();
    let agent = agent(&stage, "  allow_targets: ['*']");
    for target in [
        "http://user:secret@shop.example/",
        "http://shop.example/\r\nx: y",
        "http://shop.example/#@evil.example",
        "http://shop.example\\@evil.example/",
        "http://shop\u{3002}example/",
        "http://shop.example./",
        "http://shop.example:0/",
        "http://shop.example:65536/",
        "unix:/run/docker.sock",
        "file:///etc/passwd",
    ] {
        let (status, text) = probe(&agent, target, "");
        assert_eq!(status, 400, "{target}: {text}");
        assert!(!text.contains("shop") && !text.contains("passwd"), "{text}");
    }
    let (_, constant) = probe(&agent, "x", "&module=nope");
    let long = "a".repeat(30_000);
    for module in ["../../etc/passwd", "%2e%2e%2f", "..%2f..%2fetc%2fpasswd", "HTTP_2XX", &long] {
        let got = probe(&agent, "http://shop.example/", &format!("&module={module}"));
        assert_eq!(got, (400, constant.clone()), "{module}");
    }
    let huge = format!("/probe?module={}", "a".repeat(1 << 20));
    let answer = get(&format!("{}{huge}", agent.url));
    assert!(answer.is_none_or(|(status, _)| (400..500).contains(&status)));
    for (query, status) in [
        ("", 400),
        ("?module=http_2xx", 400),
        ("?target=", 400),
        ("?target=a.example&target=b.example", 400),
        ("?target=a.example&hostname=a%20b", 400),
        ("?target=a.example&hostname=a%0d%0ab", 400),
        ("?target=%ff", 400),
        ("?target=a.example&debug=true", 403),
    ] {
        assert_eq!(agent.get(&format!("/probe{query}")).0, status, "{query}");
    }
    let bad = "x-prometheus-scrape-timeout-seconds: soon\r\n";
    let answer = ask("GET", &format!("{}/probe?target=a.example", agent.url), bad, "");
    assert_eq!(answer.unwrap().0, 400);
}

#[test]
fn a_thousand_at_a_time_are_limited_and_delay_no_check_x07() {
    let hanging = HttpServer::start(|_| Reply::Hang);
    let stage = Stage::new();
    let settings = format!(
        "  allow_targets: ['{}']\n  concurrency: 16\n  module_concurrency: 2",
        hanging.address()
    );
    let agent = agent(&stage, &settings);
    let address = agent.url.strip_prefix("http://").unwrap().to_owned();
    let path = format!("/probe?module=brief&target={}", escaped(&hanging.url("/")));
    let before = agent.runs("own");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let counts = runtime.block_on(async {
        let one = |address: String, path: String| async move {
            let Ok(mut socket) = TcpStream::connect(&address).await else { return 0 };
            let request =
                format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n");
            let _ = socket.write_all(request.as_bytes()).await;
            let mut answer = Vec::new();
            let _ = socket.read_to_end(&mut answer).await;
            let answer = String::from_utf8_lossy(&answer);
            answer.split(' ').nth(1).and_then(|code| code.parse::<u16>().ok()).unwrap_or(0)
        };
        let all: Vec<_> =
            (0..1000).map(|_| tokio::spawn(one(address.clone(), path.clone()))).collect();
        let mut counts: BTreeMap<u16, usize> = BTreeMap::new();
        for answer in all {
            *counts.entry(answer.await.unwrap()).or_default() += 1;
        }
        counts
    });
    // Connections over the server's own limit are told 503, or closed.
    assert!(counts[&429] > 100 && counts[&200] <= 20, "{counts:?}");
    assert!(counts.keys().all(|code| [0, 200, 429, 503].contains(code)), "{counts:?}");
    wait_until("the agent's own check goes on", || agent.runs("own") >= before + 2.0);
    let late = agent.value("veilleur_check_lateness_seconds{check=\"own\"}").unwrap();
    assert!(late < 1.5, "{late}");
    let (status, text) = probe(&agent, &hanging.url("/"), "&module=brief");
    assert_eq!(status, 200, "the turns were given back: {text}");
}

#[test]
fn a_look_is_told_as_by_blackbox_exporter_and_ends_before_whoever_asks_gives_up() {
    let server = HttpServer::start(|asked| match asked.path.as_str() {
        "/hang" => Reply::Hang,
        _ => Reply::text("fine"),
    });
    let stage = Stage::new();
    let settings = format!(
        "  targets: [{{target: '{}', module: http_2xx}}]\n  debug_from: [127.0.0.1]",
        server.url("/")
    );
    let agent = agent(&stage, &settings);
    let (status, text) = probe(&agent, &server.url("/x"), "&module=http_2xx&hostname=shop.example");
    assert_eq!(status, 200, "{text}");
    has(&text, "probe_success 1");
    has(&text, "probe_http_status_code 200");
    assert_eq!(server.asked()[0].headers["host"], "shop.example");
    let url = format!("{}/probe?target={}", agent.url, escaped(&server.url("/hang")));
    let begun = std::time::Instant::now();
    let header = "x-prometheus-scrape-timeout-seconds: 1.5\r\n";
    let (_, text) = ask("GET", &url, header, "").unwrap();
    assert!(begun.elapsed() < Duration::from_millis(1400), "{:?}", begun.elapsed());
    has(&text, "veilleur_probe_reason{reason=\"timeout\"} 1");
    let (status, text) = probe(&agent, &server.url("/"), "&debug=true");
    assert_eq!(status, 200);
    for part in ["Logs for the probe:\n", "probe succeeded after", "probe_success 1", "prober http"]
    {
        assert!(text.contains(part), "no {part} in {text}");
    }
    assert!(!text.contains("fine"), "a body is never told: {text}");
    let head = exchange("POST", &url, "", "").unwrap().0;
    assert!(head.contains(" 405 "), "{head}");
}

#[test]
fn modules_can_be_named_on_the_command_line_and_are_checked_with_their_places() {
    let stage = Stage::with("blackbox: {targets: [{target: 'a.example:1', module: tcp_conect}]}");
    std::fs::write(stage.path("blackbox.yml"), MODULES).unwrap();
    let check = || {
        let (file, modules) = (stage.text("agent.yml"), stage.text("blackbox.yml"));
        run("veilleur-agent", ["check", &file, "--config.blackbox", &modules])
    };
    let (end, _, told) = check();
    assert_eq!(end, End::Exit(2));
    assert!(
        told.contains("agent.yml:1:54: there is no module `tcp_conect`\n  help: did you mean"),
        "{told}"
    );
    std::fs::write(stage.path("blackbox.yml"), "modules:\n  a:\n    prober: quic\n").unwrap();
    let (end, _, told) = check();
    assert_eq!(end, End::Exit(2));
    assert!(told.contains("blackbox.yml:3:13: `quic` is no prober"), "{told}");
}

#[test]
fn prometheus_scrapes_probes_with_its_usual_relabelling_and_finds_them_by_discovery() {
    let Some(program) = peers::program("prometheus") else { return };
    let server = HttpServer::start(|asked| match asked.path.as_str() {
        "/missing" => Reply::status(404),
        _ => Reply::text("fine"),
    });
    let (good, bad, tcp) = (server.url("/"), server.url("/missing"), server.address());
    let stage = Stage::new();
    let agent = agent(
        &stage,
        &format!(
            "  targets:\n  - {{target: '{good}', module: http_2xx, labels: {{team: shop}}}}\n  \
             - {{target: '{tcp}', module: tcp_connect}}"
        ),
    );
    let address = agent.url.strip_prefix("http://").unwrap();
    let relabel = format!(
        "  relabel_configs:\n  - {{source_labels: [__address__], target_label: __param_target}}\n  \
         - {{source_labels: [__param_target], target_label: instance}}\n  \
         - {{target_label: __address__, replacement: '{address}'}}\n"
    );
    let config = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n\
         - job_name: web\n  metrics_path: /probe\n  params: {{module: [http_2xx]}}\n  \
         static_configs: [{{targets: ['{good}', '{bad}']}}]\n{relabel}\
         - job_name: port\n  metrics_path: /probe\n  params: {{module: [tcp_connect]}}\n  \
         static_configs: [{{targets: ['{tcp}']}}]\n{relabel}\
         - job_name: found\n  http_sd_configs: [{{url: '{}/discovery', refresh_interval: 1s}}]\n",
        agent.url
    );
    std::fs::write(stage.path("prometheus.yml"), config).unwrap();
    let port = free_port();
    let prometheus = Program::start(
        program.to_str().unwrap(),
        [
            format!("--config.file={}", stage.text("prometheus.yml")),
            format!("--storage.tsdb.path={}", stage.text("data")),
            format!("--web.listen-address=127.0.0.1:{port}"),
            "--log.level=debug".to_owned(),
        ],
    );
    let value = |query: &str| -> Option<f64> {
        let url = format!("http://127.0.0.1:{port}/api/v1/query?query={}", escaped(query));
        let answer: Value = serde_json::from_str(&get(&url)?.1).ok()?;
        answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    };
    let expected = [
        (format!("probe_success{{job=\"web\",instance=\"{good}\"}}"), 1.0),
        (format!("probe_success{{job=\"web\",instance=\"{bad}\"}}"), 0.0),
        (format!("probe_http_status_code{{job=\"web\",instance=\"{bad}\"}}"), 404.0),
        (format!("probe_success{{job=\"port\",instance=\"{tcp}\"}}"), 1.0),
        (format!("probe_success{{job=\"found\",instance=\"{good}\",team=\"shop\"}}"), 1.0),
        (format!("probe_success{{job=\"found\",instance=\"{tcp}\"}}"), 1.0),
        (format!("up{{job=\"found\",instance=\"{address}\"}}"), 1.0),
        ("min(min_over_time(up[1m]))".to_owned(), 1.0),
        ("count(count_over_time(up[1m]) > 3) >= 6".to_owned(), 6.0),
    ];
    for (query, expected) in &expected {
        wait_until(&format!("{query} is {expected}"), || value(query) == Some(*expected));
    }
    let log = prometheus.log();
    assert_eq!(peers::complaints(&log, address), Vec::<&str>::new());
}

/// Prints what it was given, and leaves a file where it was run.
const SCRIPT: &str = r#"#!/bin/bash
echo run >> RAN
printf 'shop_given{args="%s",host="%s",preload="%s"} 1\n' "$*" "$PROBE_ARG_HOST" "$LD_PRELOAD"
echo "shop_timeout $SCRIPT_TIMEOUT"
"#;

#[test]
fn scripts_run_on_request_with_what_is_declared_and_nothing_else_x08_x09() {
    let stage = Stage::new();
    let ran = stage.text("ran");
    let script = stage.program("script", &SCRIPT.replace("RAN", &ran));
    let output = "output: {metrics: {prefix: shop_}}";
    stage.configure(&format!(
        "host: {{enabled: false}}\nscripts:\n  on_request:\n    \
         env: {{script: {{command: [{script}], {output}}}, timeout: 3s, params: [{{name: host, type: hostname}}]}}\n    \
         args: {{script: {{command: [{script}, -v], {output}}}, pass: arguments, params: [\
         {{name: host, type: hostname}}, {{name: n, type: int, default: '3'}}]}}\n    \
         fails: {{script: {{command: [/bin/bash, -c, 'exit 7']}}}}\n    \
         slow: {{script: {{command: [/bin/sleep, '60']}}, timeout: 1s}}\n"
    ));
    let agent = stage.start();
    let (status, text) = agent.get("/probe?script=env&host=db.example&params=host");
    assert_eq!(status, 200, "{text}");
    has(&text, "shop_given{args=\"\",host=\"db.example\",preload=\"\"} 1");
    has(&text, "shop_timeout 3");
    has(&text, "script_success{script=\"env\"} 1");
    has(&text, "script_exit_code{script=\"env\"} 0");
    let (_, text) = agent.get("/probe?script=args&host=db.example");
    has(&text, "shop_given{args=\"-v -- db.example 3\",host=\"\",preload=\"\"} 1");
    let (_, text) = agent.get("/probe?script=fails");
    has(&text, "script_success{script=\"fails\"} 0");
    has(&text, "script_exit_code{script=\"fails\"} 7");
    let (_, text) = agent.get("/probe?script=slow");
    has(&text, "script_exit_code{script=\"slow\"} -1");
    has(&text, "veilleur_probe_reason{script=\"slow\",reason=\"timeout\"} 1");

    std::fs::remove_file(&ran).unwrap();
    let touched = stage.path("touched");
    let hostile = [
        format!("; touch {}", touched.display()),
        format!("$(touch {})", touched.display()),
        format!("`touch {}`", touched.display()),
        format!("a\ntouch {}", touched.display()),
        "-oProxyCommand=x".to_owned(),
        "--".to_owned(),
        "a\0b".to_owned(),
        "x".repeat(60_000),
        String::new(),
    ];
    for value in &hostile {
        for script in ["env", "args"] {
            let path = format!("/probe?script={script}&host={}", escaped(value));
            let got = get(&format!("{}{path}", agent.url));
            assert!(got.is_none_or(|(status, _)| [400, 414, 431].contains(&status)), "{value}");
        }
    }
    for query in [
        "script=env&host=%ff",
        "script=env&host=%00",
        "script=env",
        "script=env&host=a&host=b",
        "script=env&host=a&LD_PRELOAD=x",
        "script=env&host=a&params[LD_PRELOAD]=x",
        "script=env&host=a&params=PATH",
        "script=env&host=a&BASH_ENV=x",
        "script=env&host=a&IFS=x",
        "script=env&host=a&PYTHONPATH=x",
        "script=env&host=a&timeout=100",
        "script=args&host=a&n=-1",
        "script=args&host=a&n=1%0a2",
        "script=../../bin/sh",
        "script=nope",
    ] {
        let (status, text) = agent.get(&format!("/probe?{query}"));
        assert_eq!(status, 400, "{query}: {text}");
    }
    assert!(!touched.exists() && !stage.path("ran").exists(), "something was run");
}

#[test]
fn a_script_on_request_that_others_can_write_to_is_refused_at_load_x10() {
    let stage = Stage::new();
    let script = stage.program("script", "#!/bin/sh\nexit 0\n");
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o777)).unwrap();
    stage.configure(&format!(
        "scripts: {{on_request: {{a: {{script: {{command: [{script}]}}}}}}}}\n"
    ));
    let (end, _, told) = stage.check();
    assert_eq!(end, End::Exit(2));
    assert!(
        told.contains("agent.yml:1:47: `") && told.contains("script` can be written"),
        "{told}"
    );
}

#[test]
fn discovery_lists_targets_scripts_and_checks() {
    let stage = Stage::new();
    std::fs::write(stage.path("blackbox.yml"), MODULES).unwrap();
    stage.configure(&format!(
        "labels: {{env: prod}}\nblackbox: {{config: {}, targets: [\
         {{target: 'https://shop.example/', module: http_2xx, labels: {{team: shop}}}}]}}\n\
         scripts: {{on_request: {{a: {{script: {{command: [/bin/true]}}}}, \
         b: {{script: {{command: [/bin/true]}}, params: [{{name: x, type: int}}]}}}}}}\n\
         checks: [{{name: disk, interval: 1m, probe: {{script: {{command: [/bin/true]}}}}}}]\n",
        stage.text("blackbox.yml")
    ));
    let agent = stage.start();
    let (status, text) = agent.get("/discovery");
    assert_eq!(status, 200);
    let us = agent.url.strip_prefix("http://").unwrap();
    let expected = serde_json::json!([
        {"targets": [us], "labels": {
            "__meta_veilleur_kind": "probe", "__metrics_path__": "/probe",
            "__param_module": "http_2xx", "__param_target": "https://shop.example/",
            "instance": "https://shop.example/", "team": "shop"}},
        {"targets": [us], "labels": {
            "__meta_veilleur_kind": "script", "__metrics_path__": "/probe",
            "__param_script": "a", "script": "a"}},
        {"targets": [us], "labels": {
            "__meta_veilleur_kind": "check", "__meta_veilleur_check": "disk",
            "__meta_veilleur_label_env": "prod"}},
    ]);
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), expected);
}
