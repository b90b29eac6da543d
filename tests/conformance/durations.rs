//! Lengths of time as configuration files write them.

use base::period::Period;
use promql::ast::{ExprKind, Length};
use serde_json::Value;

use crate::report::Report;

pub(crate) fn run(report: &mut Report) {
    report.table("durations/durations.json", duration);
}

fn duration(case: &Value) -> Result<(), String> {
    let text = case["input"].as_str().unwrap();
    if case["negative_allowed"] == true {
        return offset(text, case);
    }
    let read = text.parse::<Period>();
    match (read, case["ok"] == false) {
        (Ok(period), true) => Err(format!("read as {period}")),
        (Err(_), true) => Ok(()),
        (Err(error), false) => Err(error.to_string()),
        (Ok(period), false) => {
            let expected = (case["milliseconds"].as_u64(), case["printed"].as_str());
            let got = (Some(period.millis()), Some(period.to_string()));
            if expected == (got.0, got.1.as_deref()) {
                Ok(())
            } else {
                Err(format!("read as {got:?}, not {expected:?}"))
            }
        }
    }
}

/// Where a duration may be negative: behind `offset` in an expression.
fn offset(text: &str, case: &Value) -> Result<(), String> {
    let expr = promql::parse(&format!("x offset {text}")).map_err(|faults| faults.to_string())?;
    let ExprKind::Vector(selector) = &expr.kind else { return Err("no selector".to_owned()) };
    let Some(Length::Fixed(millis)) = selector.when.offset else {
        return Err("no fixed offset".to_owned());
    };
    let expected = case["milliseconds"].as_i64();
    if expected.is_some_and(|expected| expected != millis) {
        return Err(format!("read as {millis}"));
    }
    let printed = case["printed"].as_str().map(|printed| format!("x offset {printed}"));
    match printed {
        Some(printed) if printed != expr.to_string() => Err(format!("printed {expr}")),
        _ => Ok(()),
    }
}
