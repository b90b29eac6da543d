//! The query API beside a real Prometheus: the same targets and rules, the same questions.
//!
//! Invariant: what is determined is compared as a whole; of the rest the fields and their types are.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;
use tests::http_server::{HttpServer, Reply};
use tests::program::{Program, free_port};
use tests::{ask, peers, wait_until};

/// What the target shows.
const SHOWN: &str = "# HELP t_temp Temperature.\n# TYPE t_temp gauge\nt_temp 21.5\n\
    # HELP t_seconds Durations.\n# TYPE t_seconds histogram\nt_seconds_bucket{le=\"1\"} 2\n\
    t_seconds_bucket{le=\"+Inf\"} 3\nt_seconds_sum 4.5\nt_seconds_count 3\nt_plain 1\n";

const RULES: &str = "groups:\n- name: g\n  interval: 1s\n  rules:\n\
    \x20 - {record: 'one:sum', expr: sum(t_temp), labels: {kind: rule}}\n\
    \x20 - {alert: Hot, expr: t_temp > 20, labels: {severity: page}, annotations: {summary: hot}}\n\
    \x20 - {alert: Waiting, expr: t_temp > 1, for: 1h, keep_firing_for: 5m}\n";

struct Both {
    ours: String,
    theirs: String,
    folder: tempfile::TempDir,
    _target: HttpServer,
    _programs: [Program; 2],
}

impl Both {
    /// Both, once each has scraped and judged; nothing where there is no Prometheus here.
    fn start() -> Option<Self> {
        let prometheus: PathBuf = peers::program("prometheus")?;
        let target = HttpServer::start(|_| Reply::text(SHOWN));
        let folder = tempfile::tempdir().unwrap();
        let yaml = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s, external_labels: {{site: lyon}}}}\n\
             rule_files: [rules.yml]\n\
             scrape_configs:\n- job_name: stub\n  static_configs: [{{targets: ['{0}']}}]\n\
             - job_name: none\n  static_configs: [{{targets: ['{0}']}}]\n\
             \x20 relabel_configs: [{{source_labels: [job], regex: none, action: drop}}]\n",
            target.address()
        );
        std::fs::write(folder.path().join("rules.yml"), RULES).unwrap();
        std::fs::write(folder.path().join("prometheus.yml"), yaml).unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let ports = [free_port(), free_port()];
        let [ours, theirs] = ports.map(|port| format!("http://127.0.0.1:{port}"));
        let own = [
            "--config.prometheus".to_owned(),
            path("prometheus.yml"),
            "--data".to_owned(),
            path("ours"),
            "--listen".to_owned(),
            format!("127.0.0.1:{}", ports[0]),
            "--web.enable-admin-api".to_owned(),
        ];
        let mut command = Command::new(prometheus);
        command
            .arg(format!("--config.file={}", path("prometheus.yml")))
            .arg(format!("--storage.tsdb.path={}", path("theirs")))
            .arg(format!("--web.listen-address=127.0.0.1:{}", ports[1]))
            .args(["--web.enable-admin-api"])
            .args(["--web.enable-lifecycle", "--log.level=error"])
            .stdin(Stdio::null());
        let programs = [Program::start("veilleur", own), Program::spawn(command)];
        let both = Self { ours, theirs, folder, _target: target, _programs: programs };
        for url in [&both.ours, &both.theirs] {
            wait_until("the target is scraped and the rules are judged", || {
                let body = |path: &str| ask("GET", &format!("{url}{path}"), "", "");
                let body = |path: &str| body(path).map_or(String::new(), |answer| answer.1);
                body("/api/v1/rules").contains("\"firing\"")
                    && body("/api/v1/query?query=one:sum").contains("\"21.5\"")
                    && body("/api/v1/metadata").contains("t_temp")
            });
        }
        Some(both)
    }

    /// Both answers: status and body, as JSON where it is.
    fn ask(&self, method: &str, path: &str) -> [(u16, Value); 2] {
        [&self.ours, &self.theirs].map(|url| {
            let (status, body) = ask(method, &format!("{url}{path}"), "", "").unwrap();
            (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
        })
    }
}

/// Where the fields or types of an answer are not those of another.
fn difference(ours: &Value, theirs: &Value, path: &str) -> Option<String> {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            // What is said by name and value, such as flags, differs by nature.
            let names = b.keys().find(|name| !a.contains_key(*name));
            if let Some(name) = names {
                return Some(format!("{path}: there is no `{name}`"));
            }
            if let Some(name) = a.keys().find(|name| !b.contains_key(*name)) {
                return Some(format!("{path}: `{name}` is not theirs"));
            }
            a.iter().find_map(|(name, a)| difference(a, &b[name], &format!("{path}.{name}")))
        }
        (Value::Array(a), Value::Array(b)) => match (a.first(), b.first()) {
            (Some(a), Some(b)) => difference(a, b, &format!("{path}[0]")),
            (None, None) => None,
            _ => Some(format!("{path}: {} entries, theirs has {}", a.len(), b.len())),
        },
        _ if std::mem::discriminant(ours) == std::mem::discriminant(theirs) => None,
        _ => Some(format!("{path}: {ours}, not {theirs}")),
    }
}

#[test]
fn answers_have_the_shape_of_prometheus() {
    let Some(both) = Both::start() else { return };
    let mut differences = Vec::new();
    for path in [
        "query?query=up",
        "query?query=up[1m]",
        "query?query=1",
        "query?query=up&stats=all",
        "query?query=nofunc(",
        "query_range?query=one:sum&start=0&end=60&step=10",
        "query_range?query=up&start=1&end=0&step=10",
        "series?match[]=up",
        "series",
        "labels",
        "label/job/values",
        "metadata",
        "metadata?metric=t_temp",
        "metadata?limit=x",
        "targets",
        "targets?state=dropped",
        "targets?state=active&scrapePool=stub",
        "targets/metadata?metric=t_temp",
        "targets/metadata?match_target=%7Bjob%3D%22stub%22%7D&limit=2",
        "targets/metadata?metric=nothing",
        "scrape_pools",
        "rules?type=alert",
        "rules?type=record",
        "alerts",
        "alertmanagers",
        "query_exemplars?query=up&start=0&end=1",
        "format_query?query=sum(up)by(job)",
        "parse_query?query=rate(up%7Ba=%22b%22%7D[5m]%20offset%201m)%20%3E%200",
        "status/config",
        "status/runtimeinfo",
        "status/buildinfo",
        "status/tsdb",
        "status/walreplay",
        "nothing",
    ] {
        let [(our_status, ours), (their_status, theirs)] =
            both.ask("GET", &format!("/api/v1/{path}"));
        if our_status != their_status {
            differences.push(format!("{path}: {our_status}, not {their_status}: {ours}"));
        } else if theirs.is_object() {
            differences.extend(difference(&ours, &theirs, path));
        }
    }
    // What is determined is the same to the last letter.
    for path in [
        "metadata",
        "targets/metadata?metric=t_temp",
        "scrape_pools",
        "series?match[]=t_temp&match[]=one:sum",
        "format_query?query=sum(up)by(job)",
        "parse_query?query=topk(2,up%20offset%201m)",
        "query?query=nofunc(up)",
    ] {
        let [ours, theirs] = both.ask("GET", &format!("/api/v1/{path}"));
        if ours != theirs {
            differences.push(format!("{path}: {ours:?}, not {theirs:?}"));
        }
    }
    // One of them has no instance.
    let federated = both.ask("GET", "/federate?match[]=t_temp&match[]=one:sum");
    let without_times = federated.map(|(_, text)| {
        let lines = text.as_str().unwrap().lines().map(|line| match line.starts_with('#') {
            true => line.to_owned(),
            false => line.rsplit_once(' ').unwrap().0.to_owned(),
        });
        lines.collect::<Vec<_>>()
    });
    assert_eq!(without_times[0], without_times[1]);
    // What is deleted is gone, and a copy has a name.
    let path = "/api/v1/admin/tsdb/";
    for (ask, status) in [
        ("delete_series?match[]=t_plain", 204),
        ("delete_series", 400),
        ("clean_tombstones", 204),
        ("snapshot", 200),
    ] {
        let [ours, theirs] = both.ask("POST", &format!("{path}{ask}"));
        if ours.0 != status || theirs.0 != status {
            differences.push(format!("{ask}: {ours:?}, {theirs:?}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    let copies = std::fs::read_dir(both.folder.path().join("ours/snapshots")).unwrap();
    let copy = copies.flatten().next().unwrap().path();
    assert!(copy.join("samples/log").is_dir());
}
