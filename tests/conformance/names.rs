//! Names by the rules before UTF-8 and since, how they are written for those who know the older rules
//! only, and fingerprints of label sets.
//!
//! Invariant: of a name all that the table says of it is compared.

use base::exposition::{Encoding, Escaping, Format, encode};
use base::family::MetricFamily;
use base::labels::{Labels, is_legacy_metric_name};
use serde_json::Value;

use crate::report::Report;

pub(crate) fn run(report: &mut Report) {
    report.table("names/names.json", |case| {
        if let Some(expected) = case["fingerprint"].as_str() {
            let labels = case["labels"].as_object().unwrap();
            let labels: Labels = labels.iter().map(|(n, v)| (n, v.as_str().unwrap())).collect();
            return equal(&format!("{:016x}", labels.fingerprint()), expected);
        }
        match case["input"].as_str() {
            Some(input) => written(case, input),
            None => valid(case),
        }
    });
}

fn equal(got: &str, expected: &str) -> Result<(), String> {
    if got == expected { Ok(()) } else { Err(format!("gave {got}, expected {expected}")) }
}

fn valid(case: &Value) -> Result<(), String> {
    // A name that is no UTF-8 is no text, and so no name, before anybody judges it.
    let name = case["name"].as_str();
    let legacy = name.is_some_and(is_legacy_metric_name);
    let utf8 = name.is_some_and(|name| !name.is_empty());
    let expected = (case["legacy_valid"] == true, case["utf8_valid"] == true);
    match (legacy, utf8) == expected {
        true => Ok(()),
        false => Err(format!("{name:?}: {:?}", (legacy, utf8))),
    }
}

/// A name in each of the ways to write it; in a text what is classic is left alone.
fn written(case: &Value, input: &str) -> Result<(), String> {
    for (escaping, field) in [
        (Escaping::Underscores, "expectedUnderscores"),
        (Escaping::Dots, "expectedDots"),
        (Escaping::Values, "expectedValue"),
    ] {
        let expected = case[field].as_str().unwrap();
        equal(&escaping.escape(input), expected)?;
        if is_legacy_metric_name(input) {
            continue;
        }
        let mut out = String::new();
        let family = MetricFamily::gauge(input, "").with(&[("a", "b")], 1.0);
        encode([&family], Encoding { format: Format::Text, names: escaping }, &mut out);
        let line = out.lines().find(|line| !line.starts_with('#')).unwrap_or("");
        equal(line.split('{').next().unwrap_or(""), expected)?;
    }
    equal(&Escaping::AllowUtf8.escape(input), input)
}
