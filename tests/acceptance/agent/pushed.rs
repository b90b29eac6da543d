//! Jobs that push their metrics: with Prometheus's own client library for Python, and with curl.

use std::io::Write;
use std::process::{Command, Stdio};

use tests::{peers, wait_until};

use crate::stage::{Agent, Stage};

/// Sends `body` with curl; returns the status and the answer.
#[track_caller]
fn send(agent: &Agent, method: &str, path: &str, headers: &[&str], body: &[u8]) -> (u16, String) {
    let mut command = Command::new("curl");
    command.args(["-sS", "-m", "20", "-X", method, "--data-binary", "@-", "-w", "\n%{http_code}"]);
    command.args(headers.iter().flat_map(|header| ["-H", header]));
    command.arg(format!("{}{path}", agent.url)).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut curl = command.spawn().unwrap();
    // One that is refused before its end does not take the rest.
    let _ = curl.stdin.take().unwrap().write_all(body);
    let output = curl.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (answer, status) = text.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), answer.trim().to_owned())
}

fn put(agent: &Agent, path: &str, body: &str) -> (u16, String) {
    send(agent, "PUT", path, &[], body.as_bytes())
}

const CHECKS: &str = "checks:\n\
    - {name: etl, push: {series: [{select: etl_rows, crit: '1:', missing: critical}]}}\n\
    - {name: others, push: {job: '*', max_age: 1h}}\n";

const CLIENT: &str = r#"
import sys
from prometheus_client import CollectorRegistry, Gauge, Histogram, Counter
from prometheus_client import push_to_gateway, pushadd_to_gateway, delete_from_gateway
url, what = sys.argv[1:]
registry = CollectorRegistry()
if what == "push":
    Gauge("etl_rows", "Rows.", registry=registry).set(42)
    Counter("etl_errors", "Errors \"by\" kind.", ["kind"], registry=registry).labels("a\\b\n").inc(3)
    Histogram("etl_seconds", "Time.", buckets=(1, 2), registry=registry).observe(1.5)
    push_to_gateway(url, job="etl", registry=registry)
    push_to_gateway(url, job="a/b", grouping_key={"path": "/var/tmp", "empty": ""}, registry=registry)
elif what == "add":
    Gauge("etl_rows", "Rows.", registry=registry).set(0)
    pushadd_to_gateway(url, job="etl", registry=registry)
else:
    delete_from_gateway(url, job="a/b", grouping_key={"path": "/var/tmp", "empty": ""})
"#;

#[test]
fn the_client_library_of_prometheus_pushes_here_unchanged() {
    let Some(python) = peers::python() else { return };
    let stage = Stage::with(CHECKS);
    let agent = stage.start();
    let client = |what: &str| {
        let url = agent.url.strip_prefix("http://").unwrap();
        let output = Command::new(&python).args(["-c", CLIENT, url, what]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    client("push");
    agent.wait_for("veilleur_check_status{check=\"etl\"}", 0.0);
    agent.wait_for("veilleur_check_status{check=\"others\"}", 0.0);
    let etl = "check=\"etl\",job=\"etl\"";
    let value = |name: &str, more: &str| agent.value(&format!("{name}{{{etl}{more}}}"));
    assert_eq!(value("etl_rows", ""), Some(42.0));
    assert_eq!(value("etl_errors_total", ",kind=\"a\\\\b\\n\""), Some(3.0));
    assert_eq!(value("etl_seconds_count", ""), Some(1.0));
    let bucket = format!("etl_seconds_bucket{{{etl},le=\"2");
    assert!(agent.metrics().contains(&bucket), "{}", agent.metrics());
    assert!(value("push_time_seconds", "").is_some_and(|time| time > 1.7e9));
    assert_eq!(value("push_failure_time_seconds", ""), Some(0.0));
    let other = "{check=\"others\",empty=\"\",job=\"a/b\",path=\"/var/tmp\"}";
    let other_bare = "{check=\"others\",job=\"a/b\",path=\"/var/tmp\"}";
    let rows = |labels: &str| agent.value(&format!("etl_rows{labels}"));
    assert_eq!(rows(other).or(rows(other_bare)), Some(42.0), "{}", agent.metrics());

    client("add");
    wait_until("the new value is there", || value("etl_rows", "") == Some(0.0));
    agent.wait_for("veilleur_check_status{check=\"etl\"}", 2.0);
    assert_eq!(value("etl_errors_total", ",kind=\"a\\\\b\\n\""), Some(3.0), "the rest stays");
    client("delete");
    wait_until("the group is gone", || rows(other).or(rows(other_bare)).is_none());
}

#[test]
fn paths_methods_and_bodies_are_those_of_the_pushgateway() {
    let stage = Stage::with(CHECKS);
    let agent = stage.start();
    let group = "/metrics/job@base64/ZXRs/instance/db%201";
    assert_eq!(put(&agent, group, "etl_rows 7\nx 1\n").0, 200);
    let rows = "etl_rows{check=\"etl\",instance=\"db 1\",job=\"etl\"}";
    agent.wait_for(rows, 7.0);
    assert_eq!(send(&agent, "POST", group, &[], b"etl_rows 8\n").0, 200);
    agent.wait_for(rows, 8.0);
    agent.wait_for("x{check=\"etl\",instance=\"db 1\",job=\"etl\"}", 1.0);
    // Packed, and in OpenMetrics.
    let packed = Command::new("sh").args(["-c", "printf 'etl_rows 9\\n' | gzip"]).output().unwrap();
    let headers = ["content-encoding: gzip", "content-type: text/plain"];
    assert_eq!(send(&agent, "PUT", group, &headers, &packed.stdout).0, 200);
    agent.wait_for(rows, 9.0);
    let open = ["content-type: application/openmetrics-text; version=1.0.0"];
    let text = b"# TYPE c counter\nc_total 1\n# EOF\n";
    assert_eq!(send(&agent, "PUT", "/metrics/job/etl", &open, text).0, 200);
    agent.wait_for("c_total{check=\"etl\",job=\"etl\"}", 1.0);

    let (status, why) = put(&agent, group, "etl_rows x\n");
    assert_eq!(status, 400, "{why}");
    assert!(why.contains("line 1"), "{why}");
    assert_eq!(agent.value(rows), Some(9.0), "what is refused changes nothing");
    let bomb = Command::new("sh").args(["-c", "head -c 100000000 /dev/zero | gzip"]).output();
    let bomb = bomb.unwrap().stdout;
    let protobuf = "content-type: application/vnd.google.protobuf; encoding=text";
    type Case<'a> = (&'a str, &'a str, &'a [&'a str], &'a [u8], u16);
    let cases: [Case<'_>; 8] = [
        ("PUT", "/metrics/job/", &[], b"", 400),
        ("PUT", "/metrics/job/etl/x", &[], b"", 400),
        ("PUT", "/metrics/job/etl/__name__/x", &[], b"", 400),
        ("GET", "/metrics/job/etl", &[], b"", 405),
        ("PUT", "/metrics/job/etl", &[protobuf], b"x", 415),
        ("PUT", "/metrics/job/etl", &["content-encoding: br"], b"x", 415),
        ("PUT", "/metrics/job/etl", &["content-encoding: gzip"], &bomb, 400),
        ("PUT", "/metrics/job/etl", &["expect:"], &[b'#'; 5 << 20], 413),
    ];
    for (method, path, headers, body, expected) in cases {
        let (status, answer) = send(&agent, method, path, headers, body);
        assert_eq!(status, expected, "{method} {path} {headers:?}: {answer}");
    }
    let metrics = agent.metrics();
    assert!(
        metrics.contains("push_failure_time_seconds{check=\"etl\",instance=\"db 1\""),
        "{metrics}"
    );

    assert_eq!(send(&agent, "DELETE", group, &[], b"").0, 202);
    wait_until("the group is gone", || agent.value(rows).is_none());
    assert_eq!(send(&agent, "DELETE", "/metrics/job/etl", &[], b"").0, 202);
    wait_until("the check is as new", || {
        agent.value("veilleur_check_reason{check=\"etl\",reason=\"never-run\"}") == Some(1.0)
    });
}

/// A field of a protobuf message: its number, and text or another message.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    assert!(bytes.len() < 128, "one byte says how long it is");
    [&[number << 3 | 2, bytes.len() as u8], bytes].concat()
}

/// A field that is a number of 64 bits.
fn double(number: u8, value: f64) -> Vec<u8> {
    [&[number << 3 | 1][..], &value.to_le_bytes()].concat()
}

/// A family as Go's and Java's libraries push it, with its length before it: the metrics are those
/// of `io.prometheus.client.Metric`.
fn family(name: &str, kind: u8, metrics: &[Vec<u8>]) -> Vec<u8> {
    let metrics: Vec<_> = metrics.iter().map(|metric| field(4, metric)).collect();
    let body =
        [field(1, name.as_bytes()), field(2, b"Helps."), vec![3 << 3, kind], metrics.concat()];
    field(0, &body.concat())[1..].to_vec()
}

#[test]
fn protobuf_is_taken_as_the_libraries_of_go_and_java_push_it() {
    let stage = Stage::with(CHECKS);
    let agent = stage.start();
    let label = [field(1, b"kind"), field(2, "ä\"".as_bytes())].concat();
    // A counter of 3, a gauge, and a histogram of 2 observations, one of them up to 1.
    let counter = [field(1, &label), field(3, &double(1, 3.0))].concat();
    let gauge = field(2, &double(1, 42.0));
    let bucket = [vec![1 << 3, 1], double(2, 1.0)].concat();
    let histogram = field(7, &[vec![1 << 3, 2], double(2, 5.5), field(3, &bucket)].concat());
    let body = [
        family("etl_errors_total", 0, &[counter]),
        family("etl_rows", 1, &[gauge]),
        family("etl_seconds", 4, &[histogram]),
    ]
    .concat();
    let delimited = "content-type: application/vnd.google.protobuf; \
                     proto=io.prometheus.client.MetricFamily; encoding=delimited";
    assert_eq!(send(&agent, "PUT", "/metrics/job/etl", &[delimited], &body), (200, String::new()));
    agent.wait_for("etl_rows{check=\"etl\",job=\"etl\"}", 42.0);
    agent.wait_for("etl_errors_total{check=\"etl\",job=\"etl\",kind=\"ä\\\"\"}", 3.0);
    let metrics = agent.metrics();
    for line in [
        "# TYPE etl_errors_total counter",
        "# HELP etl_rows Helps.",
        "# TYPE etl_seconds histogram",
        "etl_seconds_bucket{check=\"etl\",job=\"etl\",le=\"1\"} 1",
        "etl_seconds_bucket{check=\"etl\",job=\"etl\",le=\"+Inf\"} 2",
        "etl_seconds_sum{check=\"etl\",job=\"etl\"} 5.5",
        "etl_seconds_count{check=\"etl\",job=\"etl\"} 2",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} of {metrics}");
    }
    for body in [&body[..body.len() - 1], &body[1..], b"etl_rows 1\n"] {
        let (status, why) = send(&agent, "PUT", "/metrics/job/etl", &[delimited], body);
        assert_eq!(status, 400, "{why}");
    }
    assert_eq!(agent.value("etl_rows{check=\"etl\",job=\"etl\"}"), Some(42.0), "nothing changed");
}

#[test]
fn what_was_pushed_outlives_the_agent_and_only_what_is_configured_is_taken() {
    let stage = Stage::new();
    std::fs::create_dir(stage.path("state")).unwrap();
    stage.configure(&format!(
        "state: {}\nchecks: [{{name: nightly, push: {{job: etl}}}}]\n",
        stage.text("state")
    ));
    let agent = stage.start();
    assert_eq!(put(&agent, "/metrics/job/other", "x 1\n").0, 404);
    assert_eq!(put(&agent, "/metrics/job/etl/n/1", "# TYPE x counter\nx 5\n").0, 200);
    let series = "x{check=\"nightly\",job=\"etl\",n=\"1\"}";
    agent.wait_for(series, 5.0);
    let file = stage.path("state/pushed.json");
    wait_until("it is kept", || {
        std::fs::read_to_string(&file).is_ok_and(|text| text.contains("TYPE x counter"))
    });
    agent.program.kill();
    let agent = stage.start();
    agent.wait_for(series, 5.0);
    assert!(agent.metrics().contains("# TYPE x counter\n"));
}
