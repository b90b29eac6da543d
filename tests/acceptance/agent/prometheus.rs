//! The agent's metrics as others read them: scraped by Prometheus without a complaint in any of the
//! formats that it asks for, and accepted by promtool.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use tests::program::{Program, free_port};
use tests::{escaped, get, peers, wait_until};

use crate::stage::{Agent, Stage};

/// Prints metrics, some under names and labels that are not its own to give.
const METRICS: &str = r##"#!/bin/sh
cat <<'END'
# HELP shop_orders_total Orders "by" \\ channel.
# TYPE shop_orders_total counter
shop_orders_total{channel="we\"b\n"} 1e3
# HELP shop_wait_seconds Waiting.
# TYPE shop_wait_seconds histogram
shop_wait_seconds_bucket{le="0.5"} 2
shop_wait_seconds_bucket{le="+Inf"} 3
shop_wait_seconds_sum 1.5
shop_wait_seconds_count 3
# HELP shop_odd Without a type.
shop_odd NaN
up 0
# HELP shop_other With labels of somebody else.
shop_other{job="x",instance="y"} -Inf
END
"##;

/// Prints what is neither text nor numbers, and one number twice.
const STRANGE: &str = r##"#!/bin/bash
printf 'b\xffd \e[31m\xe2\x80\xae\x00 # EOF|'
printf "'gr\xc3\xb6\xc3\x9fe \"x\"'=1ms;2;3 'gr\xc3\xb6\xc3\x9fe \"x\"'=2ms broken=z;\n"
exit 1
"##;

/// An agent with checks of every kind, some of which print what is hard to show.
fn agent(stage: &Stage, host: &str) -> Agent {
    let metrics = stage.program("metrics", METRICS);
    let strange = stage.program("strange", STRANGE);
    stage.configure(&format!(
        "labels: {{env: test}}\n{host}\nchecks:\n\
         - {{name: metrics, interval: 1s, probe: {{script: {{command: [{metrics}], \
         output: {{metrics: {{prefix: shop_}}}}}}}}}}\n\
         - {{name: 'str\"an\\ge', interval: 1s, probe: {{script: {{command: [{strange}]}}}}}}\n\
         - {{name: tcp, interval: 1s, probe: {{tcp: {{address: '127.0.0.1:1'}}}}}}\n\
         - {{name: http, interval: 1s, probe: {{http: {{url: 'http://127.0.0.1:1/'}}}}}}\n\
         - {{name: never, cron: '0 0 29 2 *', probe: {{tcp: {{address: '127.0.0.1:1'}}}}}}\n\
         services: {{shop: {{needs: [tcp, metrics]}}}}\n"
    ));
    let agent = stage.start();
    wait_until("all checks but one have run", || {
        agent.metrics().matches("reason=\"never-run\"").count() == 1
    });
    agent
}

/// A Prometheus that scrapes `address` in two formats every second.
fn prometheus(stage: &Stage, program: &Path, address: &str) -> (Program, String) {
    let config = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n\
         - job_name: default\n  static_configs: [{{targets: ['{address}']}}]\n\
         - job_name: text\n  scrape_protocols: [PrometheusText0.0.4]\n  \
         static_configs: [{{targets: ['{address}']}}]\n"
    );
    std::fs::write(stage.path("prometheus.yml"), config).unwrap();
    let port = free_port();
    let program = Program::start(
        program.to_str().unwrap(),
        [
            format!("--config.file={}", stage.text("prometheus.yml")),
            format!("--storage.tsdb.path={}", stage.text("data")),
            format!("--web.listen-address=127.0.0.1:{port}"),
            "--log.level=debug".to_owned(),
        ],
    );
    (program, format!("http://127.0.0.1:{port}"))
}

/// The value of the first series that `query` gives.
fn query(url: &str, query: &str) -> Option<f64> {
    let (_, answer) = get(&format!("{url}/api/v1/query?query={}", escaped(query)))?;
    let answer: Value = serde_json::from_str(&answer).ok()?;
    answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
}

#[test]
fn prometheus_scrapes_the_agent_without_a_warning() {
    let Some(program) = peers::program("prometheus") else { return };
    let stage = Stage::new();
    let agent = agent(&stage, "");
    let address = agent.url.strip_prefix("http://").unwrap();
    let (program, url) = prometheus(&stage, &program, address);
    for job in ["default", "text"] {
        let scrapes = format!("count_over_time(up{{job=\"{job}\"}}[1m])");
        wait_until("Prometheus has scraped four times", || query(&url, &scrapes) >= Some(4.0));
        let is = |expression: &str, expected: f64| {
            let expression = expression.replace("JOB", job);
            assert_eq!(query(&url, &expression), Some(expected), "{expression}");
        };
        is("min_over_time(up{job=\"JOB\"}[1m])", 1.0);
        is("veilleur_agent_info{job=\"JOB\"}", 1.0);
        is("veilleur_check_status{job=\"JOB\",check=\"tcp\",env=\"test\"}", 2.0);
        is("veilleur_check_status{job=\"JOB\",check=\"str\\\"an\\\\ge\"}", 1.0);
        is("shop_orders_total{job=\"JOB\",check=\"metrics\",channel=\"we\\\"b\\n\"}", 1000.0);
        is("shop_wait_seconds_bucket{job=\"JOB\",le=\"0.5\"}", 2.0);
        is("shop_other{job=\"JOB\",exported_job=\"x\"}", f64::NEG_INFINITY);
        is("veilleur_check_perfdata{job=\"JOB\",perfdata=\"größe \\\"x\\\"\"}", 0.001);
        is("veilleur_service_up{job=\"JOB\",service=\"shop\"}", 0.0);
        is("count(node_load1{job=\"JOB\"})", 1.0);
        is("count(process_cpu_seconds_total{job=\"JOB\"})", 1.0);
        // What was scraped is all that the page has: nothing was refused as a duplicate.
        is("scrape_samples_scraped{job=\"JOB\"} - scrape_samples_post_metric_relabeling", 0.0);
    }
    let log = program.log();
    assert_eq!(peers::complaints(&log, address), Vec::<&str>::new());
    assert!(log.contains("level=DEBUG"), "the log would say more: {log}");
}

/// What `promtool check metrics` finds; `Err` where it does not accept the text.
fn promtool(program: &Path, text: &str) -> Result<BTreeSet<String>, String> {
    let mut promtool = Command::new(program)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let told = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    match output.status.code() {
        // 3: it can be read, but there are names that it would have chosen otherwise.
        Some(0 | 3) => Ok(told.lines().map(str::to_owned).collect()),
        _ => Err(told),
    }
}

#[test]
fn promtool_accepts_the_metrics_and_finds_nothing_but_what_it_finds_of_node_exporter() {
    let (Some(program), Some(node_exporter)) =
        (peers::program("promtool"), peers::program("prometheus-node-exporter"))
    else {
        return;
    };
    let stage = Stage::new();
    let agent = agent(&stage, "host: {enabled: false}");
    assert_eq!(promtool(&program, &agent.metrics()), Ok(BTreeSet::new()));
    drop(agent);

    let ours = promtool(&program, &self::agent(&stage, "").metrics()).unwrap();
    let port = free_port();
    let listen = format!("--web.listen-address=127.0.0.1:{port}");
    let _exporter = Program::start(node_exporter.to_str().unwrap(), [listen]);
    let mut theirs = None;
    wait_until("node_exporter answers", || {
        theirs = get(&format!("http://127.0.0.1:{port}/metrics"));
        theirs.is_some()
    });
    let theirs = promtool(&program, &theirs.unwrap().1).unwrap();
    let more: Vec<_> = ours.difference(&theirs).collect();
    assert!(more.is_empty(), "{more:#?}");
    assert!(ours.iter().all(|finding| finding.starts_with("node_")), "{ours:#?}");
}
