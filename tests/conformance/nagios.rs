//! Nagios plugins: ranges, performance data, and what exit status and output mean together.

use probes::Status;
use probes::range::Range;
use probes::script::nagios::{Printed, parse_perfdata, parse_perfdata_text, status_of, take_apart};
use serde_json::{Value, json};

use crate::report::Report;

pub(crate) fn run(report: &mut Report) {
    report.table("nagios/ranges.json", range);
    report.table("nagios/perfdata.json", perfdata);
    report.table("nagios/output.json", output);
    report.table("nagios/real-outputs.json", real_output);
}

fn differ<T: PartialEq + std::fmt::Debug>(what: &str, got: T, expected: T) -> Result<(), String> {
    if got == expected { Ok(()) } else { Err(format!("{what} is {got:?}, not {expected:?}")) }
}

fn range(case: &Value) -> Result<(), String> {
    let read = |value: &Value| value.as_str().map(str::parse::<Range>).transpose();
    if let Some(value) = case["value"].as_f64() {
        let told = |error: probes::range::ParseRangeError| error.to_string();
        let warning = read(&case["warning"]).map_err(told)?;
        let critical = read(&case["critical"]).map_err(told)?;
        let status = Range::judge(value, warning.as_ref(), critical.as_ref());
        return differ("the state", state(status), case["state"].as_str().unwrap());
    }
    let range = match (read(&case["range"]), case["ok"] == json!(false)) {
        (Ok(Some(range)), false) => range,
        (Err(_), true) => return Ok(()),
        (Err(error), false) => return Err(error.to_string()),
        (Ok(range), _) => return Err(format!("accepted as {range:?}")),
    };
    let bound = |value: f64| if value.is_finite() { json!(value) } else { Value::Null };
    let expected = |name: &str| case[name].as_f64().map_or(Value::Null, |value| json!(value));
    differ("the start", bound(range.start()), expected("start"))?;
    differ("the end", bound(range.end()), expected("end"))?;
    differ("inside", range.inside(), case["inside"] == true)?;
    for (name, alerts) in [("alert_for", true), ("no_alert_for", false)] {
        for value in case[name].as_array().unwrap() {
            let value = value.as_f64().unwrap();
            differ(&format!("the alert for {value}"), range.alerts(value), alerts)?;
        }
    }
    Ok(())
}

fn state(status: Status) -> &'static str {
    match status {
        Status::Ok => "OK",
        Status::Warning => "WARNING",
        Status::Critical => "CRITICAL",
        Status::Unknown => "UNKNOWN",
    }
}

fn perfdata(case: &Value) -> Result<(), String> {
    let (measurements, faults) = parse_perfdata_text(case["perfdata"].as_str().unwrap());
    if case["ok"] == json!(false) {
        return if faults.is_empty() { Err(format!("accepted: {measurements:?}")) } else { Ok(()) };
    }
    differ("what is wrong", faults, Vec::new())?;
    let number = |value: f64| if value.is_nan() { Value::Null } else { json!(value) };
    let got: Vec<Value> = measurements
        .iter()
        .map(|m| {
            let mut value = json!({"label": m.label, "value": number(m.value), "unit": m.unit});
            let fields = [("warn", m.warn.as_ref().map(|w| json!(w)))];
            let fields = fields.into_iter().chain([("crit", m.crit.as_ref().map(|c| json!(c)))]);
            let fields =
                fields.chain([("min", m.min.map(|v| json!(v))), ("max", m.max.map(|v| json!(v)))]);
            for (name, field) in fields {
                if let Some(field) = field {
                    value[name] = field;
                }
            }
            value
        })
        .collect();
    let mut expected = case["values"].as_array().unwrap().clone();
    for value in &mut expected {
        let value = value.as_object_mut().unwrap();
        value.remove("note");
        for number in ["value", "min", "max"] {
            // 3 and 3.0 are one number.
            if let Some(whole) = value.get(number).and_then(Value::as_f64) {
                value.insert(number.to_owned(), json!(whole));
            }
        }
    }
    differ("what was read", got, expected)
}

/// The state that the exit status means; a negative one stands for a signal.
fn state_of(case: &Value) -> &'static str {
    let exit = case["exit"].as_i64().unwrap();
    state(i32::try_from(exit).ok().and_then(status_of).unwrap_or(Status::Unknown))
}

fn output(case: &Value) -> Result<(), String> {
    differ("the state", state_of(case), case["state"].as_str().unwrap())?;
    let text = |name: &str| case[name].as_str().unwrap();
    let Printed { text: first, long_text, perfdata } = take_apart(text("stdout"));
    differ("the first line", first.trim(), text("text").trim())?;
    let lines = |text: &str| text.trim_end().to_owned();
    differ("the long text", lines(&long_text), lines(text("long_text")))?;
    let expected: Vec<_> =
        case["perfdata"].as_array().unwrap().iter().map(|p| p.as_str().unwrap()).collect();
    differ("the performance data", perfdata, expected)
}

fn real_output(case: &Value) -> Result<(), String> {
    differ("the state", state_of(case), case["state"].as_str().unwrap())?;
    let stdout = case["stdout"].as_str().unwrap();
    let printed = take_apart(stdout);
    if !stdout.trim().is_empty() && printed.text.is_empty() {
        return Err("there is no text".to_owned());
    }
    let entries = printed.perfdata.len();
    let (measurements, faults) = parse_perfdata(printed.perfdata);
    differ("what is wrong", faults, Vec::new())?;
    differ("the number of entries", measurements.len(), entries)
}
