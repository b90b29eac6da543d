//! The query API: recorded requests and the answers of Prometheus, asked of a running evaluator that
//! has the same samples, targets and rules.
//!
//! Invariant: an answer is compared as a whole, but for what the recording says varies.

use std::path::Path;
use std::time::Duration;

use base::exposition::{Entry, Format, ParseError, Parser};
use base::http::percent_encoded;
use serde_json::Value;
use storage::{Point, Storage};
use tempfile::TempDir;
use tests::http_server::{HttpServer, Reply};
use tests::program::Program;
use tests::{ask, get, wait_until};

use crate::report::Report;

/// What the stub shows.
const STUB: &str = "# HELP t_temp Temperature.\n# TYPE t_temp gauge\nt_temp 21.5\n\
                    # HELP t_requests_total Requests.\n# TYPE t_requests_total counter\n\
                    t_requests_total 3\n";

pub(crate) fn run(report: &mut Report) {
    let path = "http-api/prometheus-golden.json";
    let table: Value = serde_json::from_str(&report.text(path)).unwrap();
    let server = Server::start(&table, &report.text("promql-golden/data.om.txt"));
    report.table(path, |case| server.compare(case));
}

struct Server {
    url: String,
    stub: HttpServer,
    dir: TempDir,
    _program: Program,
}

impl Server {
    fn start(table: &Value, data: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let stub = HttpServer::start(|_| Reply::text(STUB));
        load(&dir.path().join("data/samples"), data);
        let filled = |text: &str| {
            let folder = dir.path().display().to_string();
            text.replace("{DIR}", &folder).replace("{STUB}", &port_of(&stub))
        };
        let rules = filled(table["rules"].as_str().unwrap());
        std::fs::write(dir.path().join("r.yml"), rules).unwrap();
        let config = filled(table["configuration"].as_str().unwrap());
        let config = format!("{config}builtin_rules: {{enabled: false}}\n");
        std::fs::write(dir.path().join("veilleur.yml"), config).unwrap();
        let (config, folder) = (dir.path().join("veilleur.yml"), dir.path().join("data"));
        let mut program = Program::start(
            "veilleur",
            ["--config", config.to_str().unwrap(), "--data", folder.to_str().unwrap()]
                .into_iter()
                .chain(["--listen", "127.0.0.1:0", "--retention", "100y"])
                // As the recorded one was started.
                .chain(["--web.enable-lifecycle=false"])
                .chain(["--web.enable-remote-write-receiver=false"]),
        );
        let url = program.url();
        wait_until("rules are judged and targets are scraped", || {
            let body = |path: &str| get(&format!("{url}{path}")).map_or(String::new(), |a| a.1);
            let (rules, up) = (body("/api/v1/rules"), body("/api/v1/query?query=t_temp"));
            rules.contains("\"firing\"") && rules.contains("\"err\"") && up.contains("21.5")
        });
        Self { url, stub, dir, _program: program }
    }

    fn compare(&self, case: &Value) -> Result<(), String> {
        let pair = |pair: &Value| {
            let text = |n: usize| percent_encoded(pair[n].as_str().unwrap());
            format!("{}={}", text(0), text(1))
        };
        let parameters: Vec<String> =
            case["params"].as_array().into_iter().flatten().map(pair).collect();
        let parameters = parameters.join("&");
        let (method, path) = (case["method"].as_str().unwrap(), case["path"].as_str().unwrap());
        let form = "content-type: application/x-www-form-urlencoded\r\n";
        let url = format!("{}{path}", self.url);
        let answer = match method {
            "POST" => ask(method, &url, form, &parameters),
            _ => ask(method, &format!("{url}?{parameters}"), "", ""),
        };
        let (status, body) = answer.ok_or("no answer")?;
        if u64::from(status) != case["status"].as_u64().unwrap() {
            return Err(format!("{status}, not {}: {body}", case["status"]));
        }
        match (case.get("json"), case.get("text")) {
            (Some(expected), _) => self.compare_json(expected, &body),
            (None, Some(expected)) => self.compare_text(expected.as_str().unwrap(), &body),
            (None, None) => Err("nothing to compare".to_owned()),
        }
    }

    fn compare_json(&self, expected: &Value, body: &str) -> Result<(), String> {
        let got: Value = serde_json::from_str(body).map_err(|e| e.to_string())?;
        match difference(&self.filled(expected), &got) {
            None => Ok(()),
            Some(difference) => Err(difference),
        }
    }

    /// Compares a text; `{TIME}` in it is any time.
    fn compare_text(&self, expected: &str, got: &str) -> Result<(), String> {
        let expected = expected.replace("{STUB}", &port_of(&self.stub));
        let same = match expected.split_once("{TIME}") {
            None => got == expected,
            Some((before, after)) => got.strip_prefix(before).is_some_and(|rest| {
                let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
                rest == after
            }),
        };
        if same { Ok(()) } else { Err(format!("{got:?}, not {expected:?}")) }
    }

    fn filled(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => {
                let folder = self.dir.path().display().to_string();
                // The recorded one ran on a machine called `vm`.
                let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
                let text = text.replace("http://vm:", &format!("http://{}:", host.trim()));
                text.replace("{DIR}", &folder).replace("{STUB}", &port_of(&self.stub)).into()
            }
            Value::Array(all) => all.iter().map(|value| self.filled(value)).collect(),
            Value::Object(fields) => {
                fields.iter().map(|(name, value)| (name.clone(), self.filled(value))).collect()
            }
            other => other.clone(),
        }
    }
}

/// The port that a server listens on.
fn port_of(server: &HttpServer) -> String {
    server.address().rsplit(':').next().unwrap().to_owned()
}

/// Where an answer is not as expected, and how; `{"$varies": TYPE}` fits every value of the type.
fn difference(expected: &Value, got: &Value) -> Option<String> {
    if let Some(kind) = expected.get("$varies") {
        let fits = match kind.as_str() {
            Some("str") => got.is_string(),
            Some("float") => got.is_number(),
            Some("int") => got.is_i64() || got.is_u64(),
            Some("dict") => got.is_object(),
            other => panic!("{other:?}"),
        };
        return (!fits).then(|| format!("{got} is no {kind}"));
    }
    match (expected, got) {
        (Value::Object(a), Value::Object(b)) => {
            let names = a.keys().chain(b.keys().filter(|name| !a.contains_key(*name)));
            for name in names {
                let found = match (a.get(name), b.get(name)) {
                    (Some(a), Some(b)) => difference(a, b),
                    (Some(a), None) => Some(format!("nothing, not {a}")),
                    (None, b) => Some(format!("{b:?}, not nothing")),
                };
                if let Some(found) = found {
                    return Some(format!("{name}: {found}"));
                }
            }
            None
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).find_map(|(a, b)| difference(a, b))
        }
        (Value::Number(a), Value::Number(b)) if a.as_f64() == b.as_f64() => None,
        (a, b) if a == b => None,
        (a, b) => Some(format!("{b}, not {a}")),
    }
}

/// Stores what was recorded, as the evaluator finds it at its start.
fn load(folder: &Path, text: &str) {
    std::fs::create_dir_all(folder).unwrap();
    let retention = Duration::from_secs(100 * 365 * 86_400);
    let storage =
        Storage::open(folder, storage::Options { retention, ..storage::Options::default() });
    let storage = storage.unwrap();
    let mut points = Vec::new();
    let mut parser = Parser::new(Format::OpenMetrics, usize::MAX);
    let mut entry = |entry: Entry<'_>| -> Result<(), ParseError> {
        if let Entry::Sample(sample) = entry {
            let series = storage.series(&sample.labels()?).unwrap();
            let timestamp = sample.timestamp.unwrap();
            points.push(Point { series, timestamp, value: sample.value });
        }
        Ok(())
    };
    parser.feed(text.as_bytes(), &mut entry).unwrap();
    parser.finish(&mut entry).unwrap();
    points.sort_by_key(|point| point.timestamp);
    storage.append(&points).unwrap();
    storage.sync().unwrap();
}
