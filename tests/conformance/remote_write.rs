//! Remote write: what Prometheus sent is read as what it sent.

use std::collections::BTreeMap;

use base::labels::Labels;
use base::remote_write::{Series, Version, decode, encode};
use base::sample::is_stale;
use serde_json::Value;

use crate::report::Report;

const LIMIT: usize = 1 << 20;

pub(crate) fn run(report: &mut Report) {
    report.table("remote-write/requests.json", request);
}

/// Decoded as recorded, and the same after we have encoded it ourselves.
fn request(case: &Value) -> Result<(), String> {
    let content_type = case["headers"]["Content-Type"].as_str().unwrap();
    let version = Version::of_content_type(content_type).ok_or("no version")?;
    if case["headers"]["X-Prometheus-Remote-Write-Version"] != version.header() {
        return Err("another version in the header".to_owned());
    }
    let body = from_base64(case["body_base64"].as_str().unwrap());
    let got = decode(&body, version, LIMIT).map_err(|error| error.to_string())?;
    if !got.refused.is_empty() {
        return Err(got.refused.join("; "));
    }
    let mut recorded = case["decoded"]["timeseries"].as_array().unwrap().clone();
    let exemplars: usize =
        recorded.iter().map(|series| series["exemplars"].as_array().map_or(0, Vec::len)).sum();
    // An exemplar can travel without a sample.
    recorded.retain(|series| !series["samples"].as_array().unwrap().is_empty());
    compare(&recorded, &got.series)?;
    if got.exemplars.len() != exemplars {
        return Err(format!("{} exemplars", got.exemplars.len()));
    }
    let again = decode(&encode(&got.series, version), version, LIMIT);
    compare(&recorded, &again.map_err(|error| error.to_string())?.series)
}

fn compare(recorded: &[Value], got: &[Series]) -> Result<(), String> {
    if recorded.len() != got.len() {
        return Err(format!("{} series, not {}", got.len(), recorded.len()));
    }
    for (expected, got) in recorded.iter().zip(got) {
        let labels: BTreeMap<String, String> =
            serde_json::from_value(expected["labels"].clone()).unwrap();
        if Labels::from_pairs(labels) != got.labels {
            return Err(format!("{} is not {}", got.labels, expected["labels"]));
        }
        let samples = expected["samples"].as_array().unwrap();
        let same = samples.len() == got.samples.len()
            && samples.iter().zip(&got.samples).all(|(expected, got)| {
                expected[0] == got.timestamp.millis() && is_value(&expected[1], got.value)
            });
        if !same {
            return Err(format!(
                "{}: {:?} is not {}",
                got.labels, got.samples, expected["samples"]
            ));
        }
        let about = &expected["metadata"];
        if about.is_object()
            && (about["type"] != got.kind.as_str()
                || about["help"] != got.help
                || about["unit"] != got.unit)
        {
            return Err(format!("{}: {:?} is not {about}", got.labels, got.kind));
        }
    }
    Ok(())
}

fn is_value(expected: &Value, got: f64) -> bool {
    match expected.as_str() {
        None => expected.as_f64() == Some(got),
        Some("StaleNaN") => is_stale(got),
        Some("nan") => got.is_nan() && !is_stale(got),
        Some(text) => text.parse() == Ok(got),
    }
}

/// RFC 4648, section 4.
fn from_base64(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let (mut bits, mut count, mut out) = (0_u32, 0, Vec::new());
    for byte in text.bytes().filter(|byte| *byte != b'=') {
        bits = bits << 6 | u32::from(digit(byte));
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    out
}
