//! Whether two answers are the same.

use std::collections::{BTreeMap, BTreeSet};

use base::labels::Labels;
use base::number;
use base::sample::Timestamp;
use promql::{FaultKind, Faults, Output, Series, Value};
use serde_json::Value as Json;

use crate::cell::Cell;

/// By how much two values may differ, as a share of the larger one.
pub(crate) const TOLERANCE: f64 = 1e-9;

/// The same for deviations, of which theirs loses more digits where the mean is large.
const OF_DEVIATIONS: f64 = 1e-6;

type Samples = Vec<(f64, Cell)>;
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
        // A fault of theirs: buckets that reach into a wider zero bucket.
        (Ok(_), true) if error(theirs).contains("runtime error: index out of range") => None,
        (Ok(_), true) => Some(format!("no error but {}", error(theirs))),
        // Later versions bring custom buckets to the bounds that both have.
        (Ok(_), false) if warns(theirs, "incompatible custom buckets") => None,
        // For counts and sums alone this one forgets of which kind the buckets were; later versions
        // do not.
        (Ok(ours), false) if asks_for_counts(text) && says(ours, MIXED_SCHEMAS) => None,
        (Ok(ours), false) if values_differ(text) => annotations(text, ours, theirs),
        (Ok(ours), false) => {
            values(text, ours, &theirs["data"]).or_else(|| annotations(text, ours, theirs))
        }
    }
}

/// Whether the values are known to differ, which docs/compatibility.md says of these:
///
/// - quantiles of histograms with observations that are not numbers, which are taken from the last
///   bucket there;
/// - growth of histograms that fall again and again, for which later versions know where zero was;
/// - growth of counters whose custom bounds change, which later versions do not take for a beginning.
fn values_differ(text: &str) -> bool {
    let any = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let grows = any(&["rate(", "increase(", "resets("]);
    text.contains("native_nan") && text.contains("histogram_quantile(")
        || any(&["native_gauge", "native_moved", "native_("]) && grows
}

const MIXED_SCHEMAS: &str = "a mix of histograms with exponential and custom buckets";

fn warns(answer: &Json, message: &str) -> bool {
    let warnings = answer["warnings"].as_array().into_iter().flatten();
    warnings.filter_map(Json::as_str).any(|text| text.contains(message))
}

fn says(output: &Output, message: &str) -> bool {
    output.annotations.iter().any(|annotation| annotation.message.contains(message))
}

fn asks_for_counts(text: &str) -> bool {
    ["histogram_count", "histogram_sum", "histogram_avg"].iter().any(|name| text.contains(name))
}

fn error(answer: &Json) -> &str {
    let text = answer["error"].as_str().unwrap();
    text.strip_prefix("invalid parameter \"query\": ").unwrap_or(text)
}

/// Whether the answer for many steps is made of those for each of them.
pub(crate) fn is_made_of(together: &Output, singles: &[(Timestamp, Output)]) -> bool {
    let Value::Matrix(series) = &together.value else { return false };
    let mut left: BTreeMap<(Labels, Timestamp), Cell> = BTreeMap::new();
    for Series { labels, samples } in series {
        for sample in samples {
            let cell = Cell::of_value(sample.value, &together.histograms);
            left.insert((labels.clone(), sample.timestamp), cell);
        }
    }
    let mut takes = |labels: &Labels, at: Timestamp, cell: &Cell| {
        left.remove(&(labels.clone(), at)).is_some_and(|other| other.is_near(cell, TOLERANCE))
    };
    let same = singles.iter().all(|(at, single)| match &single.value {
        Value::Vector(vector) => vector.iter().all(|(labels, sample)| {
            takes(labels, *at, &Cell::of_value(sample.value, &single.histograms))
        }),
        Value::Scalar(sample) => takes(&Labels::empty(), *at, &Cell::Float(sample.value)),
        Value::Matrix(_) | Value::String(_) => false,
    });
    same && left.is_empty()
}

fn values(text: &str, ours: &Output, theirs: &Json) -> Option<String> {
    let kind = theirs["resultType"].as_str().unwrap();
    let result = &theirs["result"];
    let pair = |pair: &Json| {
        let value = number::parse(pair[1].as_str().unwrap()).unwrap();
        (pair[0].as_f64().unwrap(), Cell::Float(value))
    };
    let native = |pair: &Json| (pair[0].as_f64().unwrap(), Cell::of_json(&pair[1]));
    let labels = |series: &Json| -> Labels {
        let metric = series["metric"].as_object().unwrap();
        metric.iter().map(|(name, value)| (name, value.as_str().unwrap())).collect()
    };
    let list = || result.as_array().unwrap().iter();
    let sample = |s: &base::sample::Sample| {
        (s.timestamp.seconds(), Cell::of_value(s.value, &ours.histograms))
    };
    let (ours, theirs): (Answer, Answer) = match (&ours.value, kind) {
        (Value::String(text), "string") => {
            return (result[1] != text.as_str()).then(|| format!("the text {text:?}"));
        }
        (Value::Scalar(ours), "scalar") => (
            vec![(Labels::empty(), vec![sample(ours)])],
            vec![(Labels::empty(), vec![pair(result)])],
        ),
        (Value::Vector(ours), "vector") => {
            let one = |series: &Json| match series.get("histogram") {
                Some(histogram) => native(histogram),
                None => pair(&series["value"]),
            };
            (
                ours.iter().map(|(labels, s)| (labels.clone(), vec![sample(s)])).collect(),
                list().map(|series| (labels(series), vec![one(series)])).collect(),
            )
        }
        (Value::Matrix(ours), "matrix") => (
            ours.iter()
                .map(|Series { labels, samples }| {
                    (labels.clone(), samples.iter().map(sample).collect())
                })
                .collect(),
            list()
                .map(|series| {
                    let all = |name: &str| series[name].as_array().into_iter().flatten();
                    let natives = all("histograms").map(native);
                    let mut samples: Samples = all("values").map(pair).chain(natives).collect();
                    samples.sort_by(|a, b| a.0.total_cmp(&b.0));
                    (labels(series), samples)
                })
                .collect(),
        ),
        (ours, _) => return Some(format!("{ours:?}, not a {kind}")),
    };
    let tolerance = if text.contains("std") { OF_DEVIATIONS } else { TOLERANCE };
    if kind == "vector" && text.starts_with("sort") {
        let mut pairs = ours.iter().zip(&theirs);
        if !pairs.all(|(a, b)| a.1[0].1.is_near(&b.1[0].1, tolerance)) {
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
            if (our_time - their_time).abs() > 5e-4 || !ours.is_near(theirs, tolerance) {
                return Some(format!(
                    "{labels}: {ours} at {our_time}\n  not {theirs} at {their_time}"
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
    let later = [
        "sort is ineffective for range queries",
        "conflicting counter resets during",
        "mismatched custom buckets were reconciled",
    ];
    ours.retain(|text| !later.iter().any(|later| text.contains(later)));
    // Where there is no name they do not say so.
    theirs.iter_mut().for_each(|text| *text = text.replace(" for metric name \"\"", ""));
    ours.iter_mut().for_each(|text| *text = text.replace(" for metric name \"\"", ""));
    // Later versions name the place of the series, not of the first argument.
    let place = |text: &String| text.rfind(" (").unwrap_or(text.len());
    for text in ours.iter_mut().chain(&mut theirs).filter(|text| text.contains("NaN observations"))
    {
        text.truncate(place(text));
    }
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
    let all_ours = ours.iter().cloned().collect::<BTreeSet<_>>();
    ours.retain(|text| !theirs.contains(text));
    theirs.retain(|text| !all_ours.contains(text));
    let same = same && (theirs.is_empty() || !places_count);
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
