//! Whether two answers are the same.

use std::collections::{BTreeMap, BTreeSet};

use base::labels::Labels;
use base::number;
use promql::{FaultKind, Faults, Output, Series, Value};
use serde_json::Value as Json;

/// By how much two values may differ, as a share of the larger one; and near zero, where digits
/// cancel, by how much at all.
pub(crate) const TOLERANCE: f64 = 1e-9;
const NEAR_ZERO: f64 = 1e-12;

/// The same for deviations, of which theirs loses more digits where the mean is large.
const OF_DEVIATIONS: f64 = 1e-6;

fn near(a: f64, b: f64, tolerance: f64) -> bool {
    let difference = (a - b).abs();
    a == b
        || a.is_nan() && b.is_nan()
        || difference <= tolerance * a.abs().max(b.abs())
        || difference < NEAR_ZERO
}

type Samples = Vec<(f64, f64)>;
type Answer = Vec<(Labels, Samples)>;

/// What differs between our answer and that of Prometheus.
pub(crate) fn answers(text: &str, ours: &Result<Output, String>, theirs: &Json) -> Option<String> {
    match (ours, theirs["status"] == "error") {
        (Err(ours), true) => {
            let theirs = error(theirs);
            // Of several series that clash, each program names those that it meets first.
            let clash = ["labelset", "duplicate series", "multiple matches"];
            let clashes = |text: &str| clash.iter().any(|c| text.contains(c));
            let same = ours == theirs || clashes(ours) && clashes(theirs);
            (!same).then(|| format!("error {ours}\n  not   {theirs}"))
        }
        (Err(ours), false) => Some(format!("error {ours}")),
        // Series that become the same, but never have a value at the same step, are put together by
        // later versions.
        (Ok(_), true) if error(theirs).contains("metrics with the same labelset") => None,
        (Ok(_), true) => Some(format!("no error but {}", error(theirs))),
        (Ok(ours), false) => {
            values(text, &ours.value, &theirs["data"]).or_else(|| annotations(text, ours, theirs))
        }
    }
}

fn error(answer: &Json) -> &str {
    let text = answer["error"].as_str().unwrap();
    text.strip_prefix("invalid parameter \"query\": ").unwrap_or(text)
}

fn values(text: &str, ours: &Value, theirs: &Json) -> Option<String> {
    let kind = theirs["resultType"].as_str().unwrap();
    let result = &theirs["result"];
    let pair = |pair: &Json| {
        let value = number::parse(pair[1].as_str().unwrap()).unwrap();
        (pair[0].as_f64().unwrap(), value)
    };
    let labels = |series: &Json| -> Labels {
        let metric = series["metric"].as_object().unwrap();
        metric.iter().map(|(name, value)| (name, value.as_str().unwrap())).collect()
    };
    let list = || result.as_array().unwrap().iter();
    let sample = |s: &base::sample::Sample| (s.timestamp.seconds(), s.value);
    let (ours, theirs): (Answer, Answer) = match (ours, kind) {
        (Value::String(text), "string") => {
            return (result[1] != text.as_str()).then(|| format!("the text {text:?}"));
        }
        (Value::Scalar(ours), "scalar") => (
            vec![(Labels::empty(), vec![sample(ours)])],
            vec![(Labels::empty(), vec![pair(result)])],
        ),
        (Value::Vector(ours), "vector") => (
            ours.iter().map(|(labels, s)| (labels.clone(), vec![sample(s)])).collect(),
            list().map(|series| (labels(series), vec![pair(&series["value"])])).collect(),
        ),
        (Value::Matrix(ours), "matrix") => (
            ours.iter()
                .map(|Series { labels, samples }| {
                    (labels.clone(), samples.iter().map(sample).collect())
                })
                .collect(),
            list()
                .map(|series| {
                    let pairs = series["values"].as_array().unwrap().iter().map(pair);
                    (labels(series), pairs.collect())
                })
                .collect(),
        ),
        _ => return Some(format!("{ours:?}, not a {kind}")),
    };
    let tolerance = if text.contains("std") { OF_DEVIATIONS } else { TOLERANCE };
    if kind == "vector" && text.starts_with("sort") {
        let value = |(_, samples): &(Labels, Samples)| samples[0].1;
        let mut pairs = ours.iter().map(value).zip(theirs.iter().map(value));
        if !pairs.all(|(a, b)| near(a, b, tolerance)) {
            return Some("another order".to_owned());
        }
    }
    same(ours.into_iter().collect(), theirs.into_iter().collect(), tolerance)
}

fn same(
    ours: BTreeMap<Labels, Samples>,
    mut theirs: BTreeMap<Labels, Samples>,
    tolerance: f64,
) -> Option<String> {
    for (labels, ours) in ours {
        let Some(theirs) = theirs.remove(&labels) else {
            return Some(format!("{labels} too many: {ours:?}"));
        };
        if ours.len() != theirs.len() {
            return Some(format!("{labels}: {} samples, not {}", ours.len(), theirs.len()));
        }
        for ((our_time, ours), (their_time, theirs)) in ours.iter().zip(&theirs) {
            if (our_time - their_time).abs() > 5e-4 || !near(*ours, *theirs, tolerance) {
                return Some(format!(
                    "{labels}: {ours} at {our_time}, not {theirs} at {their_time}"
                ));
            }
        }
    }
    theirs.first_key_value().map(|(labels, samples)| format!("{labels} is missing: {samples:?}"))
}

fn annotations(text: &str, ours: &Output, theirs: &Json) -> Option<String> {
    let mut theirs: Vec<String> = ["warnings", "infos"]
        .iter()
        .flat_map(|kind| theirs[kind].as_array().into_iter().flatten())
        .map(|text| text.as_str().unwrap().to_owned())
        .collect();
    // The HTTP interface shows ten of a kind.
    if theirs.iter().any(|text| text.contains("annotations omitted")) {
        return None;
    }
    let mut ours: Vec<_> = ours.annotations.iter().map(ToString::to_string).collect();
    // Later versions say so.
    ours.retain(|text| !text.contains("sort is ineffective for range queries"));
    // Of several places with the same message they name one; the place of a subquery is that of the
    // whole text there, and parentheses around constants belong to the argument.
    let message = |text: &String| text[..text.rfind(" (").unwrap_or(text.len())].to_owned();
    let messages = |list: &[String]| list.iter().map(message).collect::<BTreeSet<_>>();
    // The last digits of numbers in messages may differ.
    if ours.iter().chain(&theirs).any(|text| text.contains("quantile value should be between")) {
        return None;
    }
    let same = messages(&ours) == messages(&theirs);
    let places_count = !text.contains(':') && !text.contains("quantile_over_time((");
    ours.retain(|text| !places_count || theirs.contains(text));
    theirs.retain(|text| places_count && !ours.contains(text));
    let same = same && theirs.is_empty();
    (!same).then(|| format!("annotations {ours:#?}\n  not {theirs:#?}"))
}

/// What stands in messages that later versions word otherwise (the conformance data have those), or
/// that name what is found by a library of regular expressions.
const LATER: [&str; 17] = [
    "not a valid duration string",
    "unexpected \"{\" in subquery selector",
    "strconv.ParseFloat",
    "unexpected error",
    "unexpected colon",
    "unexpected \"{\" in subquery or range",
    "duration expression",
    "expected number or duration",
    "<Item ",
    "unknown position",
    "unexpected character after '!'",
    "unexpected \"(\"",
    "unexpected \"start\"",
    "unexpected \"end\"",
    "unclosed left parenthesis",
    "unclosed left bracket",
    "error parsing regexp",
];

/// What differs between how we read a text and how Prometheus does.
pub(crate) fn readings(ours: &Result<String, Faults>, theirs: &Json) -> Option<String> {
    let refused = theirs["status"] == "error";
    match ours {
        // Functions that are newer.
        Ok(_) if refused && LATER.iter().any(|text| error(theirs).contains(text)) => None,
        Ok(ours) if refused => Some(format!("read as {ours}\n  but {}", error(theirs))),
        Ok(ours) => {
            // Theirs is put on several lines.
            let theirs = squeezed(theirs["data"].as_str().unwrap());
            // Later versions do not forget these.
            let ours_too = squeezed(ours).replace(" ignoring ()", "");
            let theirs_too = theirs.replace(" ignoring ()", "");
            (ours_too != theirs_too && !ours.contains("ignoring () group"))
                .then(|| format!("read as {ours}\n  not    {theirs}"))
        }
        // What is checked when an expression is evaluated there is checked when it is read here.
        Err(faults) if faults.to_string().contains("regular expression") => None,
        Err(faults) if faults.first().kind == FaultKind::Unsupported => None,
        Err(faults) if !refused => {
            let later = faults.first().kind == FaultKind::Meaning;
            // Theirs takes what is not a number for some length of time.
            let out_of_range = faults.first().message == "duration out of range";
            (!later && !out_of_range).then(|| format!("refused: {faults}"))
        }
        Err(faults) => {
            let (ours, theirs) = (faults.to_string(), error(theirs));
            let numbers = ["bad number or duration syntax", "duration out of range"];
            let later = numbers.iter().any(|n| ours.contains(n) || theirs.contains(n));
            let same = ours == theirs || later || LATER.iter().any(|text| theirs.contains(text));
            (!same).then(|| format!("refused: {ours}\n  but      {theirs}"))
        }
    }
}

/// Without the blanks that only lay out.
fn squeezed(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    text.replace("( ", "(").replace(" )", ")").replace(" [", "[")
}
