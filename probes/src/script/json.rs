//! What a script says as one JSON object:
//!
//! ```json
//! {"status": "warning", "summary": "12 orders wait", "details": "oldest: 4711",
//!  "metrics": {"waiting": {"value": 12, "unit": "", "warn": "10", "crit": 20}, "oldest_age": 3.5}}
//! ```
//!
//! Every part may be missing; without `status` the exit code is it, and where both are there the
//! worse counts. A metric is a number, or an object with its unit and thresholds as Nagios writes
//! them.
//!
//! Invariant: anything else in the object is an error, so that a typing mistake is seen.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::outcome::{Measurement, Status};
use crate::range::Range;

/// What was said.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Said {
    /// How it is.
    pub(super) status: Option<Status>,
    /// One line.
    pub(super) summary: String,
    /// Further lines.
    pub(super) details: String,
    /// Numbers, by name.
    pub(super) measurements: Vec<Measurement>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    status: Option<StatusText>,
    #[serde(default)]
    summary: String,
    #[serde(default)]
    details: String,
    #[serde(default)]
    metrics: BTreeMap<String, Metric>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StatusText {
    Ok,
    Warning,
    Critical,
    Unknown,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a metric is a number or an object with a `value`")]
enum Metric {
    Number(f64),
    Full(FullMetric),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FullMetric {
    value: f64,
    #[serde(default)]
    unit: String,
    #[serde(default)]
    warn: Option<Threshold>,
    #[serde(default)]
    crit: Option<Threshold>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a threshold is a number or a range such as `10:20`")]
enum Threshold {
    Number(f64),
    Range(String),
}

/// Reads the object.
///
/// # Errors
///
/// What is wrong with it.
pub(super) fn read(text: &[u8]) -> Result<Said, String> {
    // serde would take a list of the parts too.
    if text.trim_ascii_start().first().is_some_and(|first| *first != b'{') {
        return Err("it does not begin with `{`".to_owned());
    }
    let document: Document = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let status = document.status.map(|status| match status {
        StatusText::Ok => Status::Ok,
        StatusText::Warning => Status::Warning,
        StatusText::Critical => Status::Critical,
        StatusText::Unknown => Status::Unknown,
    });
    let measurements: Result<_, String> = document.metrics.into_iter().map(measurement).collect();
    let (summary, details) = (document.summary, document.details);
    Ok(Said { status, summary, details, measurements: measurements? })
}

fn measurement((label, metric): (String, Metric)) -> Result<Measurement, String> {
    let full = match metric {
        Metric::Number(value) => return Ok(Measurement { label, value, ..Measurement::default() }),
        Metric::Full(full) => full,
    };
    let threshold = |threshold: Option<Threshold>| match threshold {
        None => Ok(None),
        Some(Threshold::Number(limit)) => Ok(Some(limit.to_string())),
        Some(Threshold::Range(text)) => match text.parse::<Range>() {
            Ok(_) => Ok(Some(text)),
            Err(error) => Err(format!("metric `{label}`: {error}")),
        },
    };
    let (warn, crit) = (threshold(full.warn)?, threshold(full.crit)?);
    let (value, unit) = (full.value, full.unit);
    Ok(Measurement { label, value, unit, warn, crit, ..Measurement::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_documented() {
        let text = br#"{"status": "warning", "summary": "12 wait", "details": "oldest: 4711",
            "metrics": {"waiting": {"value": 12, "unit": "s", "warn": "10", "crit": 20}, "age": 3.5}}"#;
        let said = read(text).unwrap();
        assert_eq!((said.status, said.summary.as_str()), (Some(Status::Warning), "12 wait"));
        assert_eq!(said.details, "oldest: 4711");
        let shown: Vec<_> = said
            .measurements
            .iter()
            .map(|m| format!("{} {}{} {:?} {:?}", m.label, m.value, m.unit, m.warn, m.crit))
            .collect();
        assert_eq!(shown, ["age 3.5 None None", r#"waiting 12s Some("10") Some("20")"#]);
        assert_eq!(read(b"{}").unwrap(), Said::default());
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let error = read(text.as_bytes()).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }

    #[test]
    fn refuses_everything_else() {
        check("", "EOF");
        check("[1]", "does not begin with `{`");
        check(r#"{"staus": "ok"}"#, "unknown field `staus`");
        check(r#"{"status": "fine"}"#, "unknown variant `fine`");
        check(r#"{"metrics": {"a": "1"}}"#, "a metric is a number or an object");
        check(r#"{"metrics": {"a": {"value": 1, "warn": "x"}}}"#, "metric `a`: `x` is not a range");
        check("{} {}", "trailing characters");
        check(&"{\"metrics\":".repeat(10_000), "line 1 column");
    }
}
