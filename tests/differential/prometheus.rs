//! A real Prometheus that is written to and asked over HTTP.
//!
//! Invariant: it listens on loopback only and ends with the test.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base::family::MetricKind;
use base::labels::Labels;
use base::remote_write::{self, NativeSeries, Outgoing, VERSION_HEADER, Version, encode_all};
use base::sample::Timestamp;
use promql::Range;
use serde_json::Value as Json;
use tempfile::TempDir;

use crate::series::{Sample, Series};

/// A Prometheus that ends with the test.
pub(crate) struct Prometheus {
    process: Child,
    port: u16,
    _data: TempDir,
}

impl Prometheus {
    pub(crate) fn start() -> Option<Self> {
        let data = tempfile::tempdir().unwrap();
        let config = data.path().join("prometheus.yml");
        std::fs::write(&config, "global: {}\n").unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Command::new(program()?)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", data.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .args(["--web.enable-remote-write-receiver", "--storage.tsdb.retention.time=100y"])
            .arg("--enable-feature=promql-experimental-functions,promql-duration-expr,native-histograms")
            .arg("--log.level=error")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let prometheus = Self { process, port, _data: data };
        let since = Instant::now();
        while prometheus.try_ask("/-/ready", "GET", "", &[]).is_none_or(|(status, _)| status != 200)
        {
            assert!(since.elapsed() < Duration::from_secs(60), "Prometheus does not get ready");
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(prometheus)
    }

    fn try_ask(&self, path: &str, method: &str, head: &str, body: &[u8]) -> Option<(u16, Vec<u8>)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.0\r\nHost: x\r\nContent-Length: {length}\r\n{head}\r\n"
        );
        stream.write_all(head.as_bytes()).ok()?;
        stream.write_all(body).ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
        let head = std::str::from_utf8(&answer[..end]).ok()?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, answer[end + 4..].to_vec()))
    }

    /// Stores samples by remote write. Of a series that has floats and histograms in turn each
    /// stretch of one kind is a request of its own: of one request the floats are stored first.
    pub(crate) fn write(&self, series: &[Series]) {
        let mut left: Vec<_> = series.iter().map(|s| (&s.labels, s.samples.as_slice())).collect();
        let head = format!(
            "Content-Encoding: snappy\r\nContent-Type: {}\r\n{VERSION_HEADER}: {}\r\n",
            Version::V1.content_type(),
            Version::V1.header(),
        );
        while !left.is_empty() {
            let (mut floats, mut natives) = (Vec::new(), Vec::new());
            for (labels, samples) in &mut left {
                *samples = stretch(labels, samples, &mut floats, &mut natives);
            }
            left.retain(|(_, samples)| !samples.is_empty());
            let sent = Outgoing { series: &floats, natives: &natives, ..Outgoing::default() };
            let body = encode_all(sent, Version::V1);
            let (status, answer) = self.try_ask("/api/v1/write", "POST", &head, &body).unwrap();
            assert!(status / 100 == 2, "{status}: {}", String::from_utf8_lossy(&answer));
        }
    }

    fn ask(&self, path: &str, parameters: &[(&str, String)]) -> Json {
        let pairs: Vec<_> =
            parameters.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
        let head = "Content-Type: application/x-www-form-urlencoded\r\n";
        let (_, body) = self.try_ask(path, "POST", head, pairs.join("&").as_bytes()).unwrap();
        serde_json::from_slice(&body).unwrap()
    }

    /// The answer to a query.
    pub(crate) fn evaluate(&self, text: &str, range: Range) -> Json {
        let query = ("query", text.to_owned());
        let (start, end) = (range.start().seconds(), range.end().seconds());
        match range.step() {
            None => self.ask("/api/v1/query", &[query, ("time", start.to_string())]),
            Some(step) => {
                let step = step.as_secs_f64().to_string();
                let [start, end] =
                    [("start", start), ("end", end)].map(|(n, t)| (n, t.to_string()));
                self.ask("/api/v1/query_range", &[query, start, end, ("step", step)])
            }
        }
    }

    /// The text as it is printed, or why it cannot be read.
    pub(crate) fn format(&self, text: &str) -> Json {
        self.ask("/api/v1/format_query", &[("query", text.to_owned())])
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn program() -> Option<PathBuf> {
    let peers = std::env::var_os("VEILLEUR_PEERS").map(PathBuf::from).or_else(|| {
        std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/veilleur-peers"))
    })?;
    Some(peers.join("root/usr/bin/prometheus")).filter(|program| program.is_file())
}

fn escaped(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// Moves the first samples of one kind into a message, and returns the others.
fn stretch<'a>(
    labels: &Labels,
    samples: &'a [(i64, Sample)],
    floats: &mut Vec<remote_write::Series>,
    natives: &mut Vec<NativeSeries>,
) -> &'a [(i64, Sample)] {
    let at = Timestamp::from_millis;
    let mut values = Vec::new();
    let mut histograms = Vec::new();
    for (time, sample) in samples {
        match sample {
            Sample::Float(value) if histograms.is_empty() => {
                values.push(base::sample::Sample { timestamp: at(*time), value: *value });
            }
            Sample::Native(histogram) if values.is_empty() => {
                histograms.push((at(*time), histogram.clone()));
            }
            _ => break,
        }
    }
    let rest = &samples[values.len() + histograms.len()..];
    if !values.is_empty() {
        floats.push(remote_write::Series {
            labels: labels.clone(),
            samples: values,
            kind: MetricKind::Unknown,
            help: String::new(),
            unit: String::new(),
        });
    }
    if !histograms.is_empty() {
        natives.push(NativeSeries { labels: labels.clone(), histograms, start: 0 });
    }
    rest
}
