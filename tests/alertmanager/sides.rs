//! An Alertmanager and a Veilleur with the same configuration, each with a webhook sink of its own.
//!
//! Invariant: both get the same requests, byte for byte.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;
use serde_json::Value;
use tempfile::TempDir;
use tests::http_server::HttpServer;
use tests::program::{Program, free_port};
use tests::{ask, get, peers, wait_until};

/// One of the two.
pub(crate) struct Side {
    pub(crate) name: &'static str,
    port: u16,
    pub(crate) sink: HttpServer,
    /// How many of the sink's messages were looked at.
    seen: usize,
    _program: Program,
}

/// Both.
pub(crate) struct Sides {
    pub(crate) theirs: Side,
    pub(crate) ours: Side,
    dir: TempDir,
}

/// A message of a webhook.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) receiver: String,
    pub(crate) group_key: String,
    /// Whether each alert fires, by its labels as text.
    pub(crate) alerts: BTreeMap<String, bool>,
    pub(crate) json: Value,
}

impl Sides {
    /// Starts both; `config` is given the address of a sink. Nothing where there is no Alertmanager.
    pub(crate) fn start(config: impl Fn(&HttpServer) -> String) -> Option<Self> {
        let mut theirs = Some(peers::alertmanager()?);
        let dir = tempfile::tempdir().unwrap();
        let mut begin = |name: &'static str| {
            let (sink, port) = (HttpServer::sink(), free_port());
            let file = dir.path().join(format!("{name}.yml"));
            std::fs::write(&file, config(&sink)).unwrap();
            let data = dir.path().join(name).display().to_string();
            let (file, listen) = (file.display().to_string(), format!("127.0.0.1:{port}"));
            let program = if let Some(mut command) = theirs.take() {
                command
                    .arg(format!("--config.file={file}"))
                    .arg(format!("--storage.path={data}"))
                    .arg(format!("--web.listen-address={listen}"))
                    .args(["--cluster.listen-address=", "--log.level=error"]);
                Program::spawn(command)
            } else {
                let options = ["--config", &file, "--data", &data, "--listen", &listen];
                Program::start("veilleur", options)
            };
            let url = format!("http://127.0.0.1:{port}/-/ready");
            wait_until("it is ready", || get(&url).is_some_and(|(status, _)| status == 200));
            Side { name, port, sink, seen: 0, _program: program }
        };
        Some(Self { theirs: begin("theirs"), ours: begin("ours"), dir })
    }

    /// Gives both another configuration.
    #[track_caller]
    pub(crate) fn reload(&mut self, config: impl Fn(&HttpServer) -> String) {
        let dir = self.dir.path().to_owned();
        for side in self.both() {
            let file = dir.join(format!("{}.yml", side.name));
            std::fs::write(file, config(&side.sink)).unwrap();
            let (status, answer) = side.ask("POST", "/-/reload", "", "");
            assert_eq!(status, 200, "{}: {answer}", side.name);
        }
    }

    pub(crate) fn both(&mut self) -> [&mut Side; 2] {
        [&mut self.theirs, &mut self.ours]
    }
}

impl Side {
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// The status and the body of an answer.
    #[track_caller]
    pub(crate) fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
        ask(method, &self.url(path), headers, body)
            .unwrap_or_else(|| panic!("{} does not answer {method} {path}", self.name))
    }

    /// Posts JSON that is taken; gives the answer.
    #[track_caller]
    pub(crate) fn post(&self, path: &str, body: &Value) -> Value {
        let json = "content-type: application/json\r\n";
        let (status, answer) = self.ask("POST", path, json, &body.to_string());
        assert_eq!(status, 200, "{}: {answer}", self.name);
        serde_json::from_str(&answer).unwrap_or(Value::Null)
    }

    /// An answer as JSON.
    #[track_caller]
    pub(crate) fn json(&self, path: &str) -> Value {
        let (status, answer) = self.ask("GET", path, "", "");
        assert_eq!(status, 200, "{}: {answer}", self.name);
        serde_json::from_str(&answer).unwrap()
    }

    /// The messages that came since the last call.
    pub(crate) fn messages(&mut self) -> Vec<Message> {
        let asked = self.sink.asked();
        let new = asked[self.seen..].iter().map(|asked| message(asked.json()));
        let messages = new.collect();
        self.seen = asked.len();
        messages
    }

    /// How many messages have come, ever, to others than `receiver`.
    pub(crate) fn heard_but(&self, receiver: &str) -> usize {
        let name = format!("\"receiver\":\"{receiver}\"");
        self.sink.asked().iter().filter(|asked| !asked.body.contains(&name)).count()
    }
}

fn message(json: Value) -> Message {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let alerts = json["alerts"].as_array().unwrap().iter();
    let alerts =
        alerts.map(|alert| (alert["labels"].to_string(), alert["status"] == "firing")).collect();
    Message { receiver: text(&json["receiver"]), group_key: text(&json["groupKey"]), alerts, json }
}

/// The labels of the alerts that a silence or another alert holds back, by the API.
pub(crate) fn held(side: &Side) -> BTreeSet<String> {
    let alerts = side.json("/api/v2/alerts");
    let by = |alert: &Value, what: &str| alert["status"][what] != Value::Array(Vec::new());
    let suppressed = |alert: &&Value| by(alert, "silencedBy") || by(alert, "inhibitedBy");
    let held = alerts.as_array().unwrap().iter().filter(suppressed);
    held.map(|alert| alert["labels"].to_string()).collect()
}

/// `text` without what differs by nature.
pub(crate) fn plain(text: &str) -> String {
    let mut text = text.to_owned();
    for (pattern, word) in [
        (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
        (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", "TIME"),
        (r"127\.0\.0\.1:\d+", "ADDRESS"),
        (r"0x[0-9a-f]{6,}", "PLACE"),
        (r"[ \t]+", " "),
    ] {
        text = Regex::new(pattern).unwrap().replace_all(&text, word).into_owned();
    }
    text
}
