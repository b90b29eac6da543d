//! The Prometheus text format and OpenMetrics: what is accepted, what it means, how it is written.
//!
//! Each document has two judges: the strict parser of its own project (`ok`), and a scrape by
//! Prometheus 3.5 (`prometheus_scrape`), which is more lenient. Ours must agree with both, each in
//! its own mode.

use std::collections::BTreeMap;

use base::exposition::{
    Encoding, Entry, Escaping, Format, ParseError, Parser, check, encode, parse_families,
};
use base::labels::Labels;
use base::number;
use serde_json::{Value, json};

use crate::report::Report;

const MAX: usize = 64 << 20;

pub(crate) fn run(report: &mut Report) {
    for (name, judge) in [
        ("openmetrics", strict as fn(&Value) -> _),
        ("expfmt", strict),
        ("textparse-openmetrics", lenient),
        ("textparse-prometheus", lenient),
    ] {
        let path = format!("exposition/{name}.json");
        report.table(&path, judge);
        report.table_as(&format!("exposition/{name} scrape"), &path, scrape);
    }
    for name in ["entries-promparse", "entries-openmetricsparse"] {
        report.table(&format!("exposition/{name}.json"), entries);
    }
    report.table("exposition/written-prometheus.json", |case| written(case, Format::Text));
    report.table("exposition/written-openmetrics.json", |case| written(case, Format::OpenMetrics));
    let files = [
        "alltypes.om.txt",
        "alltypes.prom.txt",
        "dump-openmetrics-test.om.txt",
        "expfmt-text.prom.txt",
    ];
    let results: Vec<_> = files
        .iter()
        .map(|name| {
            let format = if name.contains(".om.") { Format::OpenMetrics } else { Format::Text };
            let text = std::fs::read(report.path(&format!("exposition/files/{name}"))).unwrap();
            (name.to_string(), series(&text, format).map(|_| ()))
        })
        .collect();
    report.suite("exposition/files", results);
}

fn text(case: &Value) -> Vec<u8> {
    match (case["text"].as_str(), case["text_base64"].as_str()) {
        (Some(text), _) => text.as_bytes().to_vec(),
        (None, Some(text)) => base64(text),
        (None, None) => panic!("a case without text: {case}"),
    }
}

/// RFC 4648, as far as the data need it.
fn base64(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |byte: &u8| ALPHABET.iter().position(|a| a == byte).map(|n| n as u32);
    text.as_bytes()
        .chunks(4)
        .flat_map(|chunk| {
            let digits: Vec<u32> = chunk.iter().filter_map(digit).collect();
            let bits = digits.iter().fold(0, |bits, d| bits << 6 | d) << (6 * (4 - digits.len()));
            bits.to_be_bytes()[1..digits.len()].to_vec()
        })
        .collect()
}

fn format_of(case: &Value) -> Format {
    Format::from_content_type(case["content_type"].as_str().unwrap()).unwrap()
}

fn agree<T>(result: Result<T, ParseError>, ok: bool) -> Result<(), String> {
    match (result, ok) {
        (Ok(_), false) => Err("accepted".to_owned()),
        (Err(error), true) => Err(format!("refused: {error}")),
        _ => Ok(()),
    }
}

fn strict(case: &Value) -> Result<(), String> {
    agree(check(&text(case), format_of(case), MAX), case["ok"] == true)
}

fn lenient(case: &Value) -> Result<(), String> {
    agree(read(&text(case), format_of(case), |_| Ok(())), case["ok"] == true)
}

fn read(
    text: &[u8],
    format: Format,
    mut also: impl FnMut(&Entry<'_>) -> Result<(), ParseError>,
) -> Result<(), ParseError> {
    let mut parser = Parser::new(format, MAX);
    let mut entry = |entry: Entry<'_>| {
        if let Entry::Sample(sample) = &entry {
            sample.labels()?;
        }
        also(&entry)
    };
    parser.feed(text, &mut entry)?;
    parser.finish(&mut entry)
}

/// The series that a scrape stores, with their last value as the query API prints it.
fn series(text: &[u8], format: Format) -> Result<BTreeMap<Labels, String>, String> {
    let mut series = BTreeMap::new();
    read(text, format, |entry| {
        if let Entry::Sample(sample) = entry {
            // Of a series that comes twice Prometheus keeps the first.
            series.entry(sample.labels()?).or_insert_with(|| number::plain(sample.value));
        }
        Ok(())
    })
    .map_err(|error| error.to_string())?;
    Ok(series)
}

fn scrape(case: &Value) -> Result<(), String> {
    let scrape = &case["prometheus_scrape"];
    let text = text(case);
    // A body without a byte is a scrape without samples, whatever the format.
    let got = if text.is_empty() { Ok(BTreeMap::new()) } else { series(&text, format_of(case)) };
    let Some(expected) = scrape["series"].as_array() else {
        return match (scrape["error"].is_string(), got) {
            (true, Ok(_)) => Err("accepted, and a scrape refuses it".to_owned()),
            _ => Ok(()),
        };
    };
    let expected: BTreeMap<_, _> = expected
        .iter()
        .map(|pair| (labels(&pair[0]), pair[1].as_str().unwrap().to_owned()))
        .collect();
    match got {
        Ok(got) if got == expected => Ok(()),
        Ok(got) => Err(format!("read {got:?}, a scrape stores {expected:?}")),
        Err(error) => Err(format!("refused, and a scrape takes it: {error}")),
    }
}

fn labels(value: &Value) -> Labels {
    value.as_object().unwrap().iter().map(|(n, v)| (n, v.as_str().unwrap())).collect()
}

fn entries(case: &Value) -> Result<(), String> {
    let format = format_of(case);
    let mut got: Vec<Value> = Vec::new();
    let mut family = (String::new(), base::family::MetricKind::Unknown);
    let mut created: Vec<(Labels, i64)> = Vec::new();
    read(&text(case), format, |entry| {
        got.push(match entry {
            Entry::Help { name, text } => json!({"help": text, "metric": name}),
            Entry::Unit { name, unit } => json!({"unit": unit, "metric": name}),
            Entry::Type { name, kind } => {
                family = (name.to_string(), *kind);
                json!({"type": kind.as_str(), "metric": name})
            }
            Entry::Comment(text) => json!({"comment": text}),
            Entry::Output { .. } => json!({"comment": "an output"}),
            Entry::Histogram(..) => json!({"comment": "a native histogram"}),
            Entry::Sample(sample) => {
                let labels = sample.labels()?;
                // The data tell the samples of `_created` as start times of the others.
                let start = format == Format::OpenMetrics
                    && labels.metric_name().strip_suffix("_created") == Some(&family.0);
                if start {
                    let key = labels.with("__name__", &family.0);
                    created.push((key, (sample.value * 1000.0).round() as i64));
                    return Ok(());
                }
                let pairs: serde_json::Map<_, _> =
                    labels.iter().map(|(n, v)| (n.to_owned(), json!(v))).collect();
                let mut entry = json!({"series_text": sample.series, "labels": pairs});
                entry["value"] = float(sample.value);
                entry["family"] = json!(family.0);
                if let Some(time) = sample.timestamp {
                    entry["timestamp_ms"] = json!(time.millis());
                }
                if let Some(exemplar) = &sample.exemplar {
                    let pairs: serde_json::Map<_, _> =
                        exemplar.labels.iter().map(|(n, v)| (n.to_string(), json!(v))).collect();
                    let mut example = json!({"labels": pairs, "value": float(exemplar.value)});
                    if let Some(time) = exemplar.timestamp {
                        example["timestamp_ms"] = json!(time.millis());
                    }
                    entry["exemplars"] = json!([example]);
                }
                entry
            }
        });
        Ok(())
    })
    .map_err(|error| error.to_string())?;
    for entry in &mut got {
        let Some(family) = entry.as_object_mut().and_then(|e| e.remove("family")) else { continue };
        let of = labels(&entry["labels"]);
        let of = of.filter(|n| !matches!(n, "quantile")).with("__name__", family.as_str().unwrap());
        let of = if of
            .get("le")
            .is_some_and(|_| entry["series_text"].as_str().unwrap().contains("_bucket"))
        {
            of.with("le", "")
        } else {
            of
        };
        if let Some((_, start)) = created.iter().find(|(key, _)| *key == of) {
            entry["start_timestamp_ms"] = json!(start);
        }
    }
    let expected = case["entries"].as_array().unwrap();
    for (n, (got, expected)) in got.iter().zip(expected).enumerate() {
        let mut expected = expected.clone();
        if let Some(value) = expected.get("value").and_then(Value::as_f64) {
            expected["value"] = float(value);
        }
        for exemplar in
            expected.get_mut("exemplars").and_then(Value::as_array_mut).into_iter().flatten()
        {
            exemplar["value"] = float(exemplar["value"].as_f64().unwrap());
        }
        if *got != expected {
            return Err(format!("entry {n} is {got}, not {expected}"));
        }
    }
    if got.len() == expected.len() {
        Ok(())
    } else {
        Err(format!("{} entries, not {}", got.len(), expected.len()))
    }
}

fn float(value: f64) -> Value {
    if value.is_nan() { json!("NaN") } else { json!(value) }
}

fn written(case: &Value, format: Format) -> Result<(), String> {
    let mut text = case["text"].as_str().unwrap().to_owned();
    if format == Format::OpenMetrics {
        text.push_str("# EOF\n");
    }
    let families = parse_families(text.as_bytes(), format, MAX).map_err(|e| e.to_string())?;
    let mut again = String::new();
    encode(&families, Encoding { format, names: Escaping::AllowUtf8 }, &mut again);
    if again == text { Ok(()) } else { Err(format!("wrote {again:?}")) }
}
