//! What a parser accepts, what it says where it does not, and how it prints what it has read.
//!
//! Syntax that is read but cannot be evaluated yet counts as accepted: these cases ask the parser.

use promql::series_notation::{Point, parse_series};
use promql::{Fault, FaultKind, Faults, Query};
use serde_json::{Value, json};

use crate::report::Report;

pub(crate) fn run(report: &mut Report) {
    report.table("promql-parse/expressions.json", expression);
    report.table("promql-parse/series.json", series);
    report.table("promql-parse/print.json", printed);
}

/// The input of a case; none where it is not UTF-8.
fn input(case: &Value) -> Option<String> {
    if let Some(parts) = case["input_repeat"].as_array() {
        let part =
            |part: &Value| part[0].as_str().unwrap().repeat(part[1].as_u64().unwrap() as usize);
        return Some(parts.iter().map(part).collect());
    }
    case["input"].as_str().map(str::to_owned)
}

fn expression(case: &Value) -> Result<(), String> {
    let Some(text) = input(case) else {
        return Err("the text is not UTF-8, which the type of a text rules out".to_owned());
    };
    let faults = match Query::new(&text) {
        Ok(_) => Vec::new(),
        Err(faults) => {
            faults.iter().filter(|f| f.kind != FaultKind::Unsupported).cloned().collect()
        }
    };
    match (case["ok"] == true, faults.as_slice()) {
        (true, []) => Ok(()),
        (true, faults) => Err(format!("refused: {faults:?}")),
        (false, []) => Err("accepted".to_owned()),
        (false, faults) => {
            let expected = case["errors"].as_array().unwrap();
            let missing = expected.iter().find(|e| !faults.iter().any(|fault| is(fault, e)));
            match missing {
                Some(error) => Err(format!("no {error} among {faults:?}")),
                None if !is(&faults[0], &expected[0]) => {
                    Err(format!("{:?} comes first", faults[0]))
                }
                None => Ok(()),
            }
        }
    }
}

/// Whether a fault has the message and the place of an error of the data.
fn is(fault: &Fault, error: &Value) -> bool {
    // The place of an operator ends with its last byte in the data, behind it with us.
    let of_operator = ["comparisons between", "bool modifier", "label "];
    let shorter = of_operator.iter().any(|begin| fault.message.starts_with(begin));
    let place = |name: &str, got: usize| {
        error.get(name).and_then(Value::as_u64).is_none_or(|expected| expected == got as u64)
    };
    error["message"] == fault.message.as_str()
        && place("start", fault.span.start)
        && place("end", fault.span.end - usize::from(shorter))
}

fn series(case: &Value) -> Result<(), String> {
    let line = match (parse_series(case["input"].as_str().unwrap()), case["ok"] == true) {
        (Ok(_), false) => return Err("accepted".to_owned()),
        (Err(faults), true) => return Err(faults.to_string()),
        (Err(faults), false) => return same_error(&faults, case),
        (Ok(line), true) => line,
    };
    let Some(labels) = case.get("labels") else { return Ok(()) };
    let pairs: serde_json::Map<_, _> =
        line.labels.iter().map(|(n, v)| (n.to_owned(), json!(v))).collect();
    let values: Vec<Value> = line
        .points
        .iter()
        .map(|point| match point {
            Point::Gap => Value::Null,
            Point::Float(value) => json!(value),
            Point::Histogram(_) => json!("histogram"),
        })
        .collect();
    let expected: Vec<Value> = case["values"]
        .as_array()
        .unwrap()
        .iter()
        .map(|value| value.as_f64().map_or(Value::Null, |value| json!(value)))
        .collect();
    if *labels == json!(pairs) && values == expected {
        Ok(())
    } else {
        Err(format!("{pairs:?} {values:?}"))
    }
}

fn same_error(faults: &Faults, case: &Value) -> Result<(), String> {
    match case["error"].as_str() {
        Some(expected) if expected != faults.to_string() => {
            Err(format!("{faults}, not {expected}"))
        }
        _ => Ok(()),
    }
}

fn printed(case: &Value) -> Result<(), String> {
    let expr = promql::parse(case["input"].as_str().unwrap()).map_err(|e| e.to_string())?;
    let got = expr.to_string();
    if case["output"] == got.as_str() { Ok(()) } else { Err(format!("printed {got}")) }
}
