//! Alertmanager's matchers as text: reading in both notations, matching, printing.

use alertmanager::matchers::{parse_classic, parse_utf8, print};
use base::labels::is_legacy_label_name;
use base::matcher::{MatchOp, Matcher};
use serde_json::{Value, json};

use crate::report::Report;

pub(crate) fn run(report: &mut Report) {
    report.table("alertmanager-tables/matchers.json", |case| {
        if case["input"].is_string() {
            read(case)
        } else if case["printed"].is_string() {
            equal(&print(&matcher(&case["matcher"])), case["printed"].as_str().unwrap())
        } else if case["matches"].is_boolean() {
            let got = matcher(&case["matcher"]).matches(case["label_value"].as_str().unwrap());
            equal(&got.to_string(), &case["matches"].to_string())
        } else {
            let name = case["label_name"].as_str().unwrap();
            let valid = if case["mode"] == "classic" {
                is_legacy_label_name(name)
            } else {
                !name.is_empty()
            };
            equal(&valid.to_string(), &case["valid"].to_string())
        }
    });
}

fn equal(got: &str, expected: &str) -> Result<(), String> {
    if got == expected { Ok(()) } else { Err(format!("{got:?}, not {expected:?}")) }
}

fn op(text: &str) -> MatchOp {
    match text {
        "=" => MatchOp::Equal,
        "!=" => MatchOp::NotEqual,
        "=~" => MatchOp::Matches,
        "!~" => MatchOp::NotMatches,
        other => panic!("{other}"),
    }
}

fn matcher(value: &Value) -> Matcher {
    let name = value["name"].as_str().unwrap_or("name");
    Matcher::new(name, op(value["op"].as_str().unwrap()), value["value"].as_str().unwrap()).unwrap()
}

fn read(case: &Value) -> Result<(), String> {
    let input = case["input"].as_str().unwrap();
    let read = match case["mode"].as_str() {
        Some("classic") => parse_classic(input),
        _ => parse_utf8(input),
    };
    let one = case["parse_as"] == "matcher";
    match read {
        Ok(found) if one && found.len() != 1 => {
            let why = if found.is_empty() { "no matchers" } else { "expected 1 matcher" };
            equal(why, case["error"].as_str().unwrap_or("no error"))
        }
        Ok(found) => {
            let found: Vec<Value> = found
                .iter()
                .map(|m| json!({"name": m.name(), "op": m.op().as_str(), "value": m.value()}))
                .collect();
            match case["matchers"].as_array() {
                Some(expected) if *expected == found => Ok(()),
                _ => Err(format!("read {found:?}")),
            }
        }
        Err(error) => {
            let expected = case["error"].as_str().ok_or_else(|| format!("refused: {error}"))?;
            if error.to_string().contains(expected) {
                Ok(())
            } else {
                Err(format!("said {error:?}"))
            }
        }
    }
}
