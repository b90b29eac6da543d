//! Changed and broken input for whatever reads what others write: `make fuzz TARGET=promql RUNS=10000000`.
//!
//! ```text
//! seeds: some here, and the texts of the conformance cases where they are
//!   └─▶ a few random changes ─▶ the target, which must neither panic nor contradict itself
//! ```
//!
//! Invariant: the same seed gives the same inputs. An input that fails is printed as it must be written
//! in a test.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test, with settings from the environment"
)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use alertmanager::config;
use alertmanager::template::{Dialect, Options, Template, Value};
use base::clock::Stopwatch;
use base::diagnostic::Diagnostics;
use base::exposition::{Entry, Format, Histograms, ParseError, Parser, ProtobufParser};
use base::family::MetricKind;
use base::histogram::Histogram;
use base::labels::Labels;
use base::remote_write::{
    Exemplar, NativeSeries, Outgoing, Received, Series, Version, decode, encode_all, pack, unpack,
};
use base::sample::{Sample, Timestamp};

/// What is read, the folders of the conformance cases with such texts, and how many runs a test makes.
struct Target {
    name: &'static str,
    folders: &'static [&'static str],
    seeds: fn() -> Vec<Vec<u8>>,
    run: fn(&[u8]),
    runs: u64,
}

const TARGETS: [Target; 6] = [
    Target {
        name: "exposition",
        folders: &["exposition", "node"],
        seeds: || {
            texts(&[
                "# HELP a x\n# TYPE a counter\na{b=\"c\\n\\\"\"} 1 1000\na 2\n",
                "# TYPE h histogram\nh_bucket{le=\"+Inf\"} 3 # {t=\"x\"} 1 1.5\nh_count 3\nh_sum 1\n# EOF\n",
                "{\"a.b\", c=\"d\"} NaN\n",
            ])
        },
        run: exposition,
        runs: 4000,
    },
    Target { name: "protobuf", folders: &[], seeds: messages, run: protobuf, runs: 4000 },
    Target {
        name: "promql",
        folders: &["promql-parse", "promql", "rule-files"],
        seeds: || {
            texts(&[
                "sum by (a) (rate(b{c=~\"d.*\",e!=\"\"}[5m] offset 1h @ end())) / on (a) group_left c",
                "histogram_quantile(0.9, x[1h:5m]) or {{schema:1 count:5 buckets:[1 2]}} + -1e3",
            ])
        },
        run: promql,
        runs: 4000,
    },
    Target {
        name: "templates",
        folders: &["templates", "alertmanager-templates", "alertmanager-tables"],
        seeds: || {
            texts(&[
                "{{ range $i, $e := .A }}{{ if gt $i 1 }}{{ $e | printf \"%5.2f\" }}{{ else }}x{{ end }}{{ end }}",
                "{{ define \"x\" }}{{ . }}{{ end }}{{ template \"x\" (slice \"abc\" 1 2) }}{{- /* c */ -}}",
            ])
        },
        run: templates,
        runs: 3000,
    },
    Target {
        name: "yaml",
        folders: &["alertmanager-config", "prometheus-config", "rule-files"],
        seeds: || {
            texts(&[
                "global: {scrape_interval: 1s}\nroute: &r\n  receiver: a\n  routes: [*r]\nreceivers:\n- name: a\n",
                "a: |\n  x\n  y\nb: !!str \"\\u0041\"\n? c\n: [d, {e: f}]\n---\n...\n",
            ])
        },
        run: yaml,
        runs: 500,
    },
    Target {
        name: "matchers",
        folders: &["alertmanager-tables"],
        seeds: || texts(&["{a=\"b\",c=~\"d|e\",\"f g\"!=\"\\\"\"}", "a!~b"]),
        run: matchers,
        runs: 4000,
    },
];

fn main() -> ExitCode {
    let setting = |name: &str| std::env::var(name).ok();
    let number = |name: &str| setting(name).and_then(|text| text.parse::<u64>().ok());
    let (only, seed) = (setting("FUZZ_TARGET"), number("FUZZ_SEED").unwrap_or(1));
    let chosen = |target: &&Target| only.as_deref().is_none_or(|name| name == target.name);
    if !TARGETS.iter().any(|target| chosen(&target)) {
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        println!("there is no such target; there are {}", names.join(", "));
        return ExitCode::FAILURE;
    }
    for target in TARGETS.iter().filter(chosen) {
        let runs = number("FUZZ_RUNS").unwrap_or(target.runs);
        if !fuzz(target, runs, seed) {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn fuzz(target: &Target, runs: u64, seed: u64) -> bool {
    let mut seeds = (target.seeds)();
    for folder in target.folders {
        collect(&cases().join(folder), &mut seeds);
    }
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let watch = Stopwatch::start();
    for run in 0..runs {
        let input = random.changed(&seeds);
        if catch_unwind(AssertUnwindSafe(|| (target.run)(&input))).is_err() {
            let (name, shown) = (target.name, input.escape_ascii());
            println!("{name}: run {run} of seed {seed} failed with b\"{shown}\"");
            return false;
        }
    }
    let (name, from) = (target.name, seeds.len());
    println!("{name}: {runs} runs from {from} seeds in {:.1} s, no finding", watch.seconds());
    true
}

/// Where the conformance cases are, if they are.
fn cases() -> PathBuf {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/conformance");
    std::env::var_os("CONFORMANCE_DIR").map_or(beside, PathBuf::from)
}

/// Adds the files below `folder`, and each text in those of JSON.
fn collect(folder: &Path, to: &mut Vec<Vec<u8>>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            collect(&path, to);
            continue;
        }
        let Ok(bytes) = std::fs::read(&path) else { continue };
        match serde_json::from_slice(&bytes) {
            Ok(value) => texts_in(&value, to),
            // What is longer takes too long for what it shows.
            Err(_) if bytes.len() < 20_000 => to.push(bytes),
            Err(_) => {}
        }
    }
}

fn texts_in(value: &serde_json::Value, to: &mut Vec<Vec<u8>>) {
    match value {
        serde_json::Value::String(text) if text.len() > 2 && text.len() < 20_000 => {
            to.push(text.clone().into_bytes());
        }
        serde_json::Value::Array(values) => values.iter().for_each(|value| texts_in(value, to)),
        serde_json::Value::Object(values) => values.values().for_each(|value| texts_in(value, to)),
        _ => {}
    }
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % most.max(1)
    }

    /// A seed with some changes.
    fn changed(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        const TOKENS: [&[u8]; 16] = [
            b"{",
            b"}",
            b"\"",
            b"\\",
            b"\n",
            b"# ",
            b"1e309",
            b"-",
            b"NaN",
            b"(",
            b"[5m",
            b"{{",
            b"}}",
            b"\xff",
            b"\xf0\x9f\x92\xa5",
            b"18446744073709551616",
        ];
        // The shortest of three: what can go wrong shows in short ones, which are read faster.
        let three = [0; 3].map(|_| &seeds[self.below(seeds.len())]);
        let mut bytes =
            three.into_iter().min_by_key(|seed| seed.len()).cloned().unwrap_or_default();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len() + 1);
            match self.below(7) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 if at < bytes.len() => bytes[at] = self.below(256) as u8,
                2 => {
                    let token = TOKENS[self.below(TOKENS.len())];
                    bytes.splice(at..at, token.iter().copied());
                }
                3 => {
                    let end = (at + self.below(9)).min(bytes.len());
                    bytes.drain(at..end);
                }
                4 => {
                    let end = (at + self.below(40)).min(bytes.len());
                    let again = bytes[at..end].to_vec();
                    bytes.splice(at..at, again);
                }
                5 => {
                    let other = &seeds[self.below(seeds.len())];
                    let begin = self.below(other.len());
                    let end = (begin + self.below(60)).min(other.len());
                    let part = other[begin..end].to_vec();
                    bytes.splice(at..at, part);
                }
                _ => bytes.truncate(at.max(1)),
            }
        }
        bytes
    }
}

/// Read in one piece and in two gives the same.
fn exposition(input: &[u8]) {
    for format in [Format::Text, Format::OpenMetrics] {
        let read = |pieces: &[&[u8]]| -> Result<Vec<String>, ParseError> {
            let mut parser = Parser::new(format, 1 << 20);
            let mut all = Vec::new();
            let mut entry = |entry: Entry<'_>| -> Result<(), ParseError> {
                if let Entry::Sample(sample) = &entry {
                    let _ = sample.labels();
                    all.push(format!("{} {:x}", sample.series, sample.value.to_bits()));
                }
                Ok(())
            };
            pieces.iter().try_for_each(|piece| parser.feed(piece, &mut entry))?;
            parser.finish(&mut entry)?;
            Ok(all)
        };
        let (a, b) = input.split_at(input.len() / 2);
        assert_eq!(read(&[input]).ok(), read(&[a, b]).ok());
    }
}

/// Messages of remote write in both versions, and a family as targets send it.
fn messages() -> Vec<Vec<u8>> {
    let labels = Labels::from_pairs([("__name__", "x"), ("job", "a")]);
    let sample = Sample { timestamp: Timestamp::from_millis(1), value: 2.5 };
    let (kind, help, unit) = (MetricKind::Gauge, "h".to_owned(), "u".to_owned());
    let positive = vec![(-1, 1.0), (0, 2.0)];
    let native = Histogram { count: 3.0, sum: 4.5, positive, ..Histogram::default() };
    let timestamp = sample.timestamp;
    let trace = Labels::from_pairs([("trace_id", "t")]);
    let exemplar = Exemplar { series: labels.clone(), labels: trace, value: 1.5, timestamp };
    let histograms = vec![(timestamp, Some(Arc::new(native))), (timestamp, None)];
    let all = Received {
        natives: vec![NativeSeries { labels: labels.with("job", "b"), histograms, start: 1 }],
        series: vec![Series { labels, samples: vec![sample], kind, help, unit }],
        starts: vec![1],
        exemplars: vec![exemplar],
        ..Received::default()
    };
    // A gauge with a label; a native histogram.
    let gauge = b"\x12\x0a\x01g\x12\x01h\x18\x01\x22\x0c\x0a\x06\x0a\x01a\x12\x01b\x12\x02\x09\x00";
    let histogram =
        b"\x18\x0a\x01h\x18\x04\x22\x11\x3a\x0f\x08\x03\x11\0\0\0\0\0\0\0@(\x02b\x02\x08\x01";
    let mut seeds = vec![gauge.to_vec(), histogram.to_vec()];
    // Each thing alone, too: short ones are taken more often. Changed as they are packed, hardly any
    // would be unpacked.
    let Received { series, starts, natives, exemplars, .. } = all.clone();
    let messages = [
        Received { series, starts, ..Received::default() },
        Received { natives, ..Received::default() },
        Received { exemplars, ..Received::default() },
        all,
    ];
    for message in &messages {
        let sent = [Version::V1, Version::V2].map(|version| sent_on(message, version));
        seeds.extend(sent.map(|sent| unpack(&sent, 1 << 20).unwrap()));
    }
    seeds
}

/// A message of all that was in another.
fn sent_on(all: &Received, version: Version) -> Vec<u8> {
    let Received { series, starts, natives, exemplars, .. } = all;
    encode_all(Outgoing { series, starts, natives, exemplars, about: None }, version)
}

/// What a message held, with each series' own where it does not matter in which order.
fn shown(all: &Received) -> (String, Vec<String>, Vec<String>) {
    let mut natives: Vec<String> = all.natives.iter().map(|one| format!("{one:?}")).collect();
    let mut exemplars: Vec<String> = all.exemplars.iter().map(|one| format!("{one:?}")).collect();
    natives.sort();
    exemplars.sort();
    (format!("{:?}", all.series), natives, exemplars)
}

fn protobuf(input: &[u8]) {
    for version in [Version::V1, Version::V2] {
        let _ = decode(input, version, 1 << 20);
        if let Ok(received) = decode(&pack(input), version, 1 << 20) {
            assert_eq!(received.series.len(), received.starts.len());
            // What was read can be written, and is read again as it was.
            let back = decode(&sent_on(&received, version), version, 1 << 21).unwrap();
            assert_eq!(shown(&back), shown(&received));
        }
    }
    for histograms in [Histograms::Classic, Histograms::Native, Histograms::Both] {
        let mut parser = ProtobufParser::new(histograms, 1 << 20);
        let mut entry = |_: Entry<'_>| Ok::<_, ParseError>(());
        if parser.feed(input, &mut entry).is_ok() {
            let _ = parser.finish();
        }
    }
}

/// What is understood is printed, and the print is understood as the same.
fn promql(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    if let Ok(expr) = promql::parse(&text) {
        let printed = expr.to_string();
        let again = promql::parse(&printed);
        let again = again.unwrap_or_else(|faults| panic!("`{printed}`: {faults}"));
        assert_eq!(unsigned(again.to_string()), unsigned(printed));
    }
    let _ = promql::Query::new(&text);
}

/// Infinity is printed with a sign, as Prometheus does, which is read as an operation.
fn unsigned(mut text: String) -> String {
    while text.contains("+Inf") {
        text = text.replace("+Inf", "Inf");
    }
    text
}

fn templates(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let options = Options::at(Timestamp::from_millis(1_353_755_652_000));
    for dialect in [Dialect::Rule, Dialect::Notification] {
        if let Ok(template) = Template::parse(dialect, "fuzz", &text) {
            let _ = template.render(&Value::Nil, &options);
        }
    }
}

fn yaml(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let _: Option<serde_json::Value> = base::yaml::read(&text, &mut Diagnostics::new("fuzz.yml"));
    // The files that it names are not there.
    let _ = config::parse("fuzz.yml", &text, Path::new("/nonexistent"), None);
}

fn matchers(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let _ = alertmanager::matchers::parse_classic(&text);
    if let Ok(read) = alertmanager::matchers::parse_utf8(&text) {
        let printed = alertmanager::matchers::print_all(&read);
        let again = alertmanager::matchers::parse_utf8(&printed);
        assert_eq!(again.ok().map(|read| alertmanager::matchers::print_all(&read)), Some(printed));
    }
}
