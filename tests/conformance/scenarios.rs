//! Alertmanager's scenarios: a real evaluator with stub receivers, alerts and silences over HTTP, and
//! the notifications that must come in time. All scenarios run side by side.
//!
//! Invariant: a scenario has passed only if every notification that came was expected, and every
//! expected one came in its time.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use base::diagnostic::Diagnostics;
use regex::Regex;
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tests::http_server::{Asked, HttpServer, Reply};
use tests::program::{Program, free_port};
use tests::{ask, escaped, get, wait_until};

use crate::report::Report;

/// How far a start or an end may be off, where the scenario does not say.
const TOLERANCE: f64 = 0.15;
/// How long is waited for notifications that must not come, where the scenario does not say.
const AFTERWARDS: f64 = 0.2;

pub(crate) fn run(report: &mut Report) {
    let mut files: Vec<_> = std::fs::read_dir(report.path("alertmanager-scenarios"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yml"))
        .collect();
    files.sort();
    let running: Vec<_> = files
        .into_iter()
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&path).unwrap();
            (name, thread::spawn(move || play(&text)))
        })
        .collect();
    let results: Vec<_> = running
        .into_iter()
        .map(|(name, thread)| (name, thread.join().unwrap_or(Err("it panicked".to_owned()))))
        .collect();
    report.suite("alertmanager-scenarios", results);
}

/// A notification as a stub receiver got it.
#[derive(Clone)]
struct Got {
    at: f64,
    headers: Value,
    body: Value,
}

struct Receiver {
    name: String,
    server: HttpServer,
    got: Arc<Mutex<Vec<Got>>>,
}

struct Scenario {
    yaml: Value,
    dir: TempDir,
    /// The time from which all is counted, by both clocks.
    begun: Arc<Mutex<(Instant, f64)>>,
    receivers: Vec<Receiver>,
    base: String,
    /// What was saved of answers, by name.
    saved: Map<String, Value>,
}

fn play(text: &str) -> Result<(), String> {
    let mut diagnostics = Diagnostics::new("scenario");
    let yaml: Value = base::yaml::read(text, &mut diagnostics).ok_or(diagnostics.to_string())?;
    let begun = Arc::new(Mutex::new((Instant::now(), now())));
    let receivers = yaml["receivers"].as_object().unwrap();
    let receivers = receivers.iter().map(|(name, stub)| receiver(name, stub, &begun)).collect();
    let port = free_port();
    let prefix = yaml["route_prefix"].as_str().unwrap_or("").to_owned();
    let dir = tempfile::tempdir().unwrap();
    let base = format!("http://127.0.0.1:{port}{prefix}");
    let mut scenario = Scenario { yaml, dir, begun, receivers, base, saved: Map::new() };
    scenario.configure(&scenario.yaml["config"])?;
    let path = |name: &str| scenario.dir.path().join(name).display().to_string();
    let mut arguments = vec![
        format!("--config={}", path("veilleur.yml")),
        format!("--data={}", path("data")),
        format!("--listen=127.0.0.1:{port}"),
    ];
    if !prefix.is_empty() {
        arguments.push(format!("--web.route-prefix={prefix}"));
    }
    let program = Program::start("veilleur", arguments);
    let ready = format!("{}/-/ready", scenario.base);
    wait_until("the evaluator is ready", || get(&ready).is_some_and(|(status, _)| status == 200));
    *scenario.begun.lock().unwrap() = (Instant::now(), now());
    for step in scenario.yaml["steps"].as_array().cloned().unwrap_or_default() {
        scenario.wait_for(step["at"].as_f64().unwrap_or(0.0));
        scenario.step(&step, &program).map_err(|why| format!("at {}: {why}", step["at"]))?;
    }
    scenario.wait_for(scenario.end());
    scenario.compare()
}

/// Seconds since 1970.
fn now() -> f64 {
    jiff::Timestamp::now().as_nanosecond() as f64 / 1e9
}

fn receiver(name: &str, stub: &Value, begun: &Arc<Mutex<(Instant, f64)>>) -> Receiver {
    let got: Arc<Mutex<Vec<Got>>> = Arc::default();
    let (theirs, begun) = (Arc::clone(&got), Arc::clone(begun));
    let behaviours = stub["behaviour"].as_array().cloned().unwrap_or_default();
    let server = HttpServer::start(move |asked: &Asked| {
        let at = begun.lock().unwrap().0.elapsed().as_secs_f64();
        let holds = |behaviour: &&Value| behaviour["until"].as_f64().is_none_or(|until| until > at);
        let behaviour = behaviours.iter().find(holds).cloned().unwrap_or_default();
        if let Some(delay) = behaviour["delay"].as_f64() {
            thread::sleep(Duration::from_secs_f64(delay));
        }
        if behaviour["ignore"] != true {
            let headers = json!(asked.headers);
            theirs.lock().unwrap().push(Got { at, headers, body: asked.json() });
        }
        Reply::status(behaviour["status"].as_u64().map_or(200, |status| status as u16))
    });
    Receiver { name: name.to_owned(), server, got }
}

impl Scenario {
    fn configure(&self, config: &Value) -> Result<(), String> {
        let mut text = config.as_str().ok_or("there is no configuration")?.to_owned();
        for receiver in &self.receivers {
            text = text.replace(&format!("{{{}}}", receiver.name), &receiver.server.address());
        }
        // No alerts but those of the scenario.
        text.push_str("\nbuiltin_rules: {enabled: false}\n");
        std::fs::write(self.dir.path().join("veilleur.yml"), text).map_err(|e| e.to_string())
    }

    fn wait_for(&self, at: f64) {
        let begun = self.begun.lock().unwrap().0;
        thread::sleep((begun + Duration::from_secs_f64(at)).duration_since(Instant::now()));
    }

    fn end(&self) -> f64 {
        let windows = self.yaml["expect"].as_object().into_iter().flatten();
        let ends = windows.flat_map(|(_, entries)| entries.as_array().into_iter().flatten());
        let last = ends.filter_map(|entry| entry["between"][1].as_f64()).fold(0.0, f64::max);
        let steps = self.yaml["steps"].as_array().into_iter().flatten();
        let step = steps.filter_map(|step| step["at"].as_f64()).fold(0.0, f64::max);
        self.yaml["until"].as_f64().unwrap_or(0.0).max(last + 0.2).max(step + AFTERWARDS)
    }

    fn step(&mut self, step: &Value, program: &Program) -> Result<(), String> {
        if let Some(alerts) = step["push"].as_array() {
            let alerts: Value = alerts.iter().map(|alert| self.pushed(alert)).collect();
            self.expect_ok("POST", "/api/v2/alerts", &alerts)?;
        }
        if step["silence"].is_object() {
            let silence = &step["silence"];
            let body = json!({
                "matchers": silence["matchers"],
                "startsAt": self.time(&silence["starts"]),
                "endsAt": self.time(&silence["ends"]),
                "createdBy": "scenario",
                "comment": "",
            });
            let answer = self.expect_ok("POST", "/api/v2/silences", &body)?;
            if let Some(name) = silence["id"].as_str() {
                self.saved.insert(name.to_owned(), answer["silenceID"].clone());
            }
        }
        if let Some(name) = step["expire"].as_str() {
            let path = format!("/api/v2/silence/{}", self.saved[name].as_str().unwrap_or(""));
            self.expect_ok("DELETE", &path, &Value::Null)?;
        }
        if step["config"].is_string() {
            self.configure(&step["config"])?;
        }
        if !step["reload"].is_null() && step["reload"] != false {
            program.signal("HUP");
        }
        if step["request"].is_object() {
            self.request(&step["request"], &step["response"])?;
        }
        Ok(())
    }

    fn pushed(&self, alert: &Value) -> Value {
        let mut sent = json!({"labels": alert["labels"]});
        for (from, to) in [("starts", "startsAt"), ("ends", "endsAt")] {
            if alert[from].is_number() {
                sent[to] = self.time(&alert[from]);
            }
        }
        if alert["annotations"].is_object() {
            sent["annotations"] = alert["annotations"].clone();
        }
        sent
    }

    /// RFC 3339 of a number of seconds after the start.
    fn time(&self, seconds: &Value) -> Value {
        let at = self.begun.lock().unwrap().1 + seconds.as_f64().unwrap_or(0.0);
        json!(jiff::Timestamp::from_nanosecond((at * 1e9) as i128).unwrap().to_string())
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Result<(u16, String), String> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let url = format!("{}{path}", self.base);
        ask(method, &url, "content-type: application/json\r\n", &body).ok_or("no answer".to_owned())
    }

    fn expect_ok(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let (status, answer) = self.ask(method, path, body)?;
        if status != 200 {
            return Err(format!("{method} {path}: {status} {answer}"));
        }
        Ok(serde_json::from_str(&answer).unwrap_or_default())
    }

    fn request(&mut self, request: &Value, expected: &Value) -> Result<(), String> {
        let mut path = self.filled(&request["path"]).as_str().unwrap_or("").to_owned();
        for (n, pair) in request["query"].as_array().into_iter().flatten().enumerate() {
            let text = |n: usize| escaped(pair[n].as_str().unwrap_or(""));
            path.push_str(&format!("{}{}={}", if n == 0 { '?' } else { '&' }, text(0), text(1)));
        }
        let method = request["method"].as_str().unwrap_or("GET");
        let (status, answer) = self.ask(method, &path, &self.filled(&request["json"]))?;
        let told = || format!("{method} {path}: {status} {answer}");
        if expected["status"].as_u64().is_some_and(|wanted| wanted != u64::from(status)) {
            return Err(told());
        }
        if expected["contains"].as_str().is_some_and(|part| !answer.contains(part)) {
            return Err(told());
        }
        let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
        if !has(&answer, &self.filled(&expected["json"])) {
            return Err(told());
        }
        for (name, key) in expected["save"].as_object().into_iter().flatten() {
            self.saved.insert(name.clone(), answer[key.as_str().unwrap_or("")].clone());
        }
        Ok(())
    }

    /// A value with times and what was saved in their places.
    fn filled(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => {
                if let Some(at) = text.strip_prefix('@').and_then(|at| at.parse::<f64>().ok()) {
                    return self.time(&json!(at));
                }
                let mut text = text.clone();
                for (name, saved) in &self.saved {
                    text = text.replace(&format!("${{{name}}}"), saved.as_str().unwrap_or(""));
                }
                json!(text)
            }
            Value::Array(values) => values.iter().map(|value| self.filled(value)).collect(),
            Value::Object(fields) => {
                fields.iter().map(|(name, value)| (name.clone(), self.filled(value))).collect()
            }
            other => other.clone(),
        }
    }

    fn compare(&self) -> Result<(), String> {
        for receiver in &self.receivers {
            let entries = self.yaml["expect"][&receiver.name].as_array();
            let mut open: Vec<&Value> = entries.into_iter().flatten().collect();
            for got in receiver.got.lock().unwrap().iter() {
                match open.iter().position(|entry| self.fits(got, entry)) {
                    Some(place) => drop(open.remove(place)),
                    None if self.yaml["others_allowed"] == true => {}
                    None => {
                        return Err(format!(
                            "{} got at {:.2}: {}",
                            receiver.name, got.at, got.body
                        ));
                    }
                }
            }
            if let Some(entry) = open.first() {
                return Err(format!("{} did not get {entry}", receiver.name));
            }
        }
        Ok(())
    }

    fn fits(&self, got: &Got, entry: &Value) -> bool {
        let between = |n: usize| entry["between"][n].as_f64().unwrap();
        let wanted = entry["alerts"].as_array().cloned().unwrap_or_default();
        let alerts = got.body["alerts"].as_array().cloned().unwrap_or_default();
        let mut open: Vec<&Value> = wanted.iter().collect();
        let all_fit = alerts.iter().all(|alert| {
            let place = open.iter().position(|wanted| self.alert_fits(alert, wanted));
            place.map(|place| open.remove(place)).is_some()
        });
        (between(0)..=between(1)).contains(&got.at)
            && all_fit
            && open.is_empty()
            && has(&got.body, &self.filled(&entry["payload"]))
            && has(&got.headers, &self.filled(&lower(&entry["headers"])))
    }

    fn alert_fits(&self, got: &Value, wanted: &Value) -> bool {
        let tolerance = self.yaml["tolerance"].as_f64().unwrap_or(TOLERANCE);
        let begun = self.begun.lock().unwrap().1;
        let near = |name: &str, wanted: f64| {
            let at = got[name].as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
            at.is_some_and(|at| {
                (at.as_millisecond() as f64 / 1000.0 - begun - wanted).abs() <= tolerance
            })
        };
        let annotations = if wanted["annotations"].is_object() {
            wanted["annotations"].clone()
        } else {
            json!({})
        };
        let status = if wanted["ends"].is_number() { "resolved" } else { "firing" };
        got["labels"] == wanted["labels"]
            && got["annotations"] == annotations
            && got["status"] == status
            && wanted["starts"].as_f64().is_none_or(|starts| near("startsAt", starts))
            && wanted["ends"].as_f64().is_none_or(|ends| near("endsAt", ends))
    }
}

/// Headers with names in lower case.
fn lower(headers: &Value) -> Value {
    let fields = headers.as_object().into_iter().flatten();
    fields.map(|(name, value)| (name.to_lowercase(), value.clone())).collect()
}

/// Whether `got` has all that is in `wanted`.
fn has(got: &Value, wanted: &Value) -> bool {
    match wanted {
        Value::Null => true,
        Value::Object(fields) => fields.iter().all(|(name, value)| has(&got[name], value)),
        Value::Array(values) => {
            let items = got.as_array().map_or(&[][..], Vec::as_slice);
            items.len() == values.len() && items.iter().zip(values).all(|(got, w)| has(got, w))
        }
        Value::String(text) => match text.strip_prefix("re:") {
            Some(pattern) => {
                let pattern = Regex::new(&format!("^(?:{pattern})$")).unwrap();
                got.as_str().is_some_and(|got| pattern.is_match(got))
            }
            None => got == wanted,
        },
        other => got == other,
    }
}
