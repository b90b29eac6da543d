//! Modules, answers of `/probe` and compression choices of blackbox_exporter.
//!
//! `blackbox/files` asks only whether a file is taken, as the manifest does. `blackbox/probes` compares every family with
//! its help text and type, every series, and every value that does not vary; ours must have none
//! besides.
//!
//! Invariant: a recorded value is compared as a number, not as text.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use base::diagnostic::{Diagnostics, Place, Spanned};
use base::exposition::{Encoding, encode};
use probes::blackbox::{Modules, accepts_encoding};
use probes::target::Rules;
use probes::{Outcome, Probe};
use serde_json::Value;
use tests::dns_server;
use tests::http_server::{HttpServer, Reply};
use tests::program::free_port;
use tests::tls_server::TlsServer;
use tokio_util::sync::CancellationToken;

use crate::report::Report;

const BODY: &[u8] = b"hello world\n";
const TLS_ANSWER: &str =
    "HTTP/1.1 200 OK\r\nx-test: yes\r\ncontent-length: 12\r\n\r\nhello world\n";

pub(crate) fn run(report: &mut Report) {
    let manifest = report.text("blackbox/manifest.tsv");
    // A message in it may go on in the next line.
    let rows = manifest.lines().filter_map(|line| line.split_once(".yml\t"));
    let cases: Vec<_> = rows
        .map(|(name, rest)| {
            let file = report.path(&format!("blackbox/files/{name}.yml"));
            let is_good = rest.split('\t').next() == Some("ok");
            (name.to_owned(), load(&file, is_good))
        })
        .collect();
    report.suite("blackbox/files", cases);
    let servers = Servers::start();
    report.table("blackbox/probes.json", |case| servers.probe(case));
    report.table("blackbox/accept-encoding.json", |case| {
        let text = |name: &str| case[name].as_str().unwrap();
        let got = accepts_encoding(text("encoding"), text("accept_encoding"));
        if got == case["acceptable"] { Ok(()) } else { Err(format!("judged {got}")) }
    });
}

fn load(file: &std::path::Path, is_good: bool) -> Result<(), String> {
    let mut diagnostics = Diagnostics::new("unused");
    Modules::read_file(file, &mut diagnostics);
    let told = diagnostics.to_string();
    match (is_good, told.is_empty()) {
        (true, true) | (false, false) => Ok(()),
        (true, false) => Err(told),
        (false, true) => Err("it was taken".to_owned()),
    }
}

/// The stub servers of the recording.
struct Servers {
    http: HttpServer,
    https: TlsServer,
    tcp: u16,
    dns: u16,
    closed: u16,
}

impl Servers {
    fn start() -> Self {
        let http = HttpServer::start(|asked| {
            let answer = |status: u16, headers: &str| {
                let headers = format!("x-test: yes\r\n{headers}");
                Reply::Answer(status, headers, BODY.to_vec())
            };
            let is_known = asked.headers.get("authorization").is_some_and(|value| {
                // user:pass
                value == "Basic dXNlcjpwYXNz"
            });
            match asked.path.as_str() {
                "/missing" => answer(404, ""),
                "/broken" => answer(500, ""),
                "/redirect" => answer(302, "location: /\r\n"),
                "/auth" if !is_known => answer(401, ""),
                "/slow" => Reply::Hang,
                "/dated" => answer(200, "last-modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n"),
                _ => answer(200, ""),
            }
        });
        let https = TlsServer::start(TLS_ANSWER);
        Self { http, https, tcp: greeter(), dns: dns_server::start(), closed: free_port() }
    }

    fn probe(&self, case: &Value) -> Result<(), String> {
        let target = case["target"].as_str().unwrap();
        let http = self.http.address();
        let target = target
            .replace("{HTTP}", http.rsplit(':').next().unwrap())
            .replace("{HTTPS}", &self.https.port().to_string())
            .replace("{TCP1}", &self.tcp.to_string())
            .replace("{DNS}", &self.dns.to_string())
            .replace("{CLOSED}", &self.closed.to_string());
        let mut diagnostics = Diagnostics::new("case");
        // JSON is YAML.
        let text = format!("{{\"modules\": {{\"m\": {}}}}}", case["module"]);
        let modules = Modules::read(&text, &mut diagnostics);
        let module = modules.get("m").ok_or_else(|| diagnostics.to_string())?;
        let local = Spanned { value: "127.0.0.0/8".to_owned(), place: Place::default() };
        let rules = Arc::new(Rules::build(&[local], &mut diagnostics));
        let shot = module.aim(&target, None, rules).map_err(|error| error.to_string())?;
        compare(case, &look(&shot, module.timeout.unwrap()))
    }
}

/// A server that greets and hears nothing.
fn greeter() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut socket in listener.incoming().map_while(Result::ok) {
            let _ = socket.write_all(b"220 ready\r\n");
            let _ = socket.read(&mut [0; 64]);
        }
    });
    port
}

fn look(probe: &dyn Probe, timeout: Duration) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stop = CancellationToken::new();
        let run = probe.run(&stop);
        tokio::pin!(run);
        tokio::select! {
            outcome = run.as_mut() => return outcome,
            () = tokio::time::sleep(timeout) => stop.cancel(),
        }
        run.await
    })
}

fn compare(case: &Value, outcome: &Outcome) -> Result<(), String> {
    let mut problems = Vec::new();
    let expected = case["families"].as_object().unwrap();
    for family in &outcome.families {
        match expected.get(&family.name) {
            None => problems.push(format!("`{}` is one too many", family.name)),
            Some(told) if told["help"] != family.help.as_str() => {
                problems.push(format!("the help of `{}` is `{}`", family.name, family.help));
            }
            Some(told) if told["type"] != family.kind.as_str() => {
                problems.push(format!("`{}` is a {}", family.name, family.kind.as_str()));
            }
            Some(_) => {}
        }
    }
    let mut text = String::new();
    encode(&outcome.families, Encoding::negotiate(""), &mut text);
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let mut ours: BTreeMap<&str, f64> =
        samples.map(|line| line.rsplit_once(' ').unwrap()).map(|(s, v)| (s, number(v))).collect();
    for sample in case["samples"].as_array().unwrap() {
        let series = sample["series"].as_str().unwrap();
        // The labels of certificates vary, and are left out.
        let varying = (series == "probe_ssl_last_chain_info")
            .then(|| ours.keys().find(|ours| ours.starts_with(&format!("{series}{{"))).copied());
        let got = ours.remove(varying.flatten().unwrap_or(series));
        match (got, sample["value"].as_str().map(number)) {
            (None, _) => problems.push(format!("`{series}` is missing")),
            (Some(got), Some(value)) if got != value => {
                problems.push(format!("`{series}` is {got}, not {value}"));
            }
            _ => {}
        }
    }
    problems.extend(ours.keys().map(|series| format!("`{series}` is one too many")));
    if problems.is_empty() {
        return Ok(());
    }
    Err(format!("{}; {}", problems.join(", "), outcome.summary))
}

fn number(text: &str) -> f64 {
    text.parse().unwrap()
}
