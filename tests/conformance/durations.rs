//! Lengths of time as configuration files write them.

use base::period::Period;
use serde_json::Value;

use crate::report::Report;

pub(crate) fn run(report: &mut Report) {
    report.table("durations/durations.json", duration);
}

fn duration(case: &Value) -> Result<(), String> {
    let text = case["input"].as_str().unwrap();
    let read = text.parse::<Period>();
    if case["negative_allowed"] == true {
        // Nothing that we read may be negative.
        return match read {
            Ok(period) => Err(format!("read as {period}")),
            Err(_) => Err("negative durations are refused".to_owned()),
        };
    }
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
