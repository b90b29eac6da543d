//! Whether two answers are the same.

use std::collections::{BTreeMap, BTreeSet};

use base::labels::Labels;
use base::number;
use base::sample::Timestamp;
use promql::ast::ExprKind;
use promql::{Expr, FaultKind, Faults, Output, Series, Value};
use serde_json::Value as Json;

use crate::agreement;
use crate::cell::Cell;

type Samples = Vec<(f64, Cell)>;
type Answer = Vec<(Labels, Samples)>;

/// An expression, and whether it is evaluated for many steps.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) text: &'a str,
    /// Nothing where it cannot be read.
    pub(crate) expr: Option<&'a Expr>,
    pub(crate) is_range: bool,
}

impl Asked<'_> {
    fn is(self, holds: impl Fn(&Expr) -> bool) -> bool {
        self.expr.is_some_and(holds)
    }

    pub(crate) fn tolerance(self) -> f64 {
        self.expr.map_or(0.0, |expr| agreement::tolerance(expr, self.is_range))
    }
}

/// What differs between our answer and that of Prometheus.
pub(crate) fn answers(
    asked: Asked<'_>,
    ours: &Result<Output, String>,
    theirs: &Json,
) -> Option<String> {
    match (ours, theirs["status"] == "error") {
        (Err(ours), true) => {
            let theirs = &in_characters(asked.text, error(theirs));
            // Of several series that clash, each program names those that it meets first.
            let clash = ["labelset", "duplicate series", "multiple matches"];
            let clashes = |text: &str| clash.iter().any(|c| text.contains(c));
            // Of a length that was calculated it names the bytes.
            let placed = theirs.ends_with(&format!(": {ours}"));
            let same = ours == theirs || placed || clashes(ours) && clashes(theirs);
            (!same).then(|| format!("error {ours}\n  not   {theirs}"))
        }
        // Later versions bring custom buckets to the bounds that both have.
        (_, false) if warns(theirs, "incompatible custom buckets") => None,
        (Err(ours), false) => Some(format!("error {ours}")),
        // Series that become the same, but never have a value at the same step, are put together by
        // later versions.
        (Ok(_), true) if error(theirs).contains("metrics with the same labelset") => None,
        // A fault of theirs: buckets that reach into a wider zero bucket.
        (Ok(_), true) if error(theirs).contains("runtime error: index out of range") => None,
        // For counts and sums alone this one forgets of which kind the buckets were; later versions
        // do not.
        (Ok(ours), _) if asked.is(asks_for_counts) && says(ours, MIXED_SCHEMAS) => None,
        (Ok(_), true) => Some(format!("no error but {}", error(theirs))),
        (Ok(ours), false) if asked.is(agreement::is_known_to_differ) => {
            annotations(asked, ours, theirs)
        }
        (Ok(ours), false) => {
            values(asked, ours, &theirs["data"]).or_else(|| annotations(asked, ours, theirs))
        }
    }
}

const MIXED_SCHEMAS: &str = "a mix of histograms with exponential and custom buckets";

fn warns(answer: &Json, message: &str) -> bool {
    let warnings = answer["warnings"].as_array().into_iter().flatten();
    warnings.filter_map(Json::as_str).any(|text| text.contains(message))
}

fn says(output: &Output, message: &str) -> bool {
    output.annotations.iter().any(|annotation| annotation.message.contains(message))
}

fn asks_for_counts(expr: &Expr) -> bool {
    let names = ["histogram_count", "histogram_sum", "histogram_avg"];
    expr.functions().iter().any(|name| names.contains(name))
}

/// A message with its place, `2:5: ..` or `.. (2:5)`, where the column counts characters; theirs counts
/// bytes.
fn in_characters(text: &str, message: &str) -> String {
    let counted = |place: &str| -> Option<String> {
        let (line, column) = place.split_once(':')?;
        let (number, column): (usize, usize) = (line.parse().ok()?, column.parse().ok()?);
        let before = text.split('\n').nth(number - 1)?.get(..column - 1)?;
        Some(format!("{line}:{}", before.chars().count() + 1))
    };
    let in_front = message.split_once(": ");
    let behind = message.strip_suffix(')').and_then(|rest| rest.rsplit_once(" ("));
    if let Some((place, rest)) = in_front
        && let Some(place) = counted(place)
    {
        return format!("{place}: {rest}");
    }
    match behind.and_then(|(rest, place)| Some((rest, counted(place)?))) {
        Some((rest, place)) => format!("{rest} ({place})"),
        None => message.to_owned(),
    }
}

fn error(answer: &Json) -> &str {
    let text = answer["error"].as_str().unwrap();
    text.strip_prefix("invalid parameter \"query\": ").unwrap_or(text)
}

/// Whether the answer for many steps is made of those for each of them.
pub(crate) fn is_made_of(
    together: &Output,
    singles: &[(Timestamp, Output)],
    tolerance: f64,
) -> bool {
    let Value::Matrix(series) = &together.value else { return false };
    let mut left: BTreeMap<(Labels, Timestamp), Cell> = BTreeMap::new();
    for Series { labels, samples } in series {
        for sample in samples {
            let cell = Cell::of_value(sample.value, &together.histograms);
            left.insert((labels.clone(), sample.timestamp), cell);
        }
    }
    let mut takes = |labels: &Labels, at: Timestamp, cell: &Cell| {
        left.remove(&(labels.clone(), at)).is_some_and(|other| other.is_near(cell, tolerance))
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

fn values(asked: Asked<'_>, ours: &Output, theirs: &Json) -> Option<String> {
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
    let tolerance = asked.tolerance();
    if kind == "vector"
        && !asked.expr.is_none_or(|expr| same_order(expr, &ours, &theirs, tolerance))
    {
        return Some("another order".to_owned());
    }
    same(ours.into_iter().collect(), theirs.into_iter().collect(), tolerance)
}

/// Whether an answer that is sorted is so as theirs. Where values are equal, each program sorts as it
/// likes; labels are equal never.
fn same_order(expr: &Expr, ours: &Answer, theirs: &Answer, tolerance: f64) -> bool {
    let ExprKind::Call(call) = &expr.bare().kind else { return true };
    let mut pairs = ours.iter().zip(theirs);
    match call.name.as_str() {
        "sort" | "sort_desc" => pairs.all(|(a, b)| a.1[0].1.is_near(&b.1[0].1, tolerance)),
        "sort_by_label" | "sort_by_label_desc" => pairs.all(|(a, b)| a.0 == b.0),
        _ => true,
    }
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

fn annotations(asked: Asked<'_>, ours: &Output, theirs: &Json) -> Option<String> {
    let mut theirs: Vec<String> = ["warnings", "infos"]
        .iter()
        .flat_map(|kind| theirs[kind].as_array().into_iter().flatten())
        .map(|text| in_characters(asked.text, text.as_str().unwrap()))
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
    // Of several pairs of a step that do not fit, each program names the last, or all.
    let pairs = ["incompatible sample types encountered", "incompatible bucket layout encountered"];
    let is_of_pair = |text: &String| pairs.iter().any(|pair| text.contains(pair));
    if theirs.iter().any(is_of_pair) {
        ours.retain(|text| !is_of_pair(text) || theirs.contains(text));
    }
    // Of a subquery within another one it evaluates steps that are in no window, too.
    if asked.is(has_nested_subquery) {
        let known = messages(&ours);
        theirs.retain(|text| known.contains(&message(text)));
    }
    let same = messages(&ours) == messages(&theirs);
    let places_count = !asked.is(has_open_places);
    let all_ours = ours.iter().cloned().collect::<BTreeSet<_>>();
    ours.retain(|text| !theirs.contains(text));
    theirs.retain(|text| !all_ours.contains(text));
    let same = same && (theirs.is_empty() || !places_count);
    (!same).then(|| format!("annotations {ours:#?}\n  not {theirs:#?}"))
}

/// Whether an expression has a subquery, or a parameter in parentheses: their places differ.
fn has_open_places(expr: &Expr) -> bool {
    let is_param =
        |expr: Option<&Expr>| expr.is_some_and(|expr| matches!(expr.kind, ExprKind::Paren(_)));
    agreement::has(expr, |kind| match kind {
        ExprKind::Subquery(_) => true,
        ExprKind::Call(call) => call.name == "quantile_over_time" && is_param(call.args.first()),
        _ => false,
    })
}

fn has_nested_subquery(expr: &Expr) -> bool {
    agreement::has(expr, |kind| match kind {
        ExprKind::Subquery(subquery) => {
            agreement::has(&subquery.expr, |kind| matches!(kind, ExprKind::Subquery(_)))
        }
        _ => false,
    })
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
pub(crate) fn readings(text: &str, ours: &Result<String, Faults>, theirs: &Json) -> Option<String> {
    let refused = theirs["status"] == "error";
    match ours {
        // Functions that are newer.
        Ok(_) if refused && ["</", ">/"].iter().any(|operator| text.contains(operator)) => None,
        Ok(_) if refused && LATER.iter().any(|text| error(theirs).contains(text)) => None,
        Ok(ours) if refused => Some(format!("read as {ours}\n  but {}", error(theirs))),
        Ok(ours) => {
            // Theirs is put on several lines.
            let theirs = squeezed(theirs["data"].as_str().unwrap());
            // Later versions do not forget these.
            let ours_too = squeezed(ours).replace(" ignoring ()", "");
            let theirs_too = theirs.replace(" ignoring ()", "");
            // Behind an operator it forgets the quotes of labels, and cannot read that again.
            let bare = |text: &str| text.replace('"', "");
            // So it does with parentheses around a length; later versions do not.
            let bare = |text: &str| bare(text).replace(['(', ')'], "").replace("--", "");
            let forgets = [
                "on (",
                "ignoring (",
                "group_left (",
                "group_right (",
                "offset -(",
                "offset (",
                "[(",
            ];
            let forgets = forgets.iter().any(|word| ours.contains(word));
            let same = ours_too == theirs_too || forgets && bare(&ours_too) == bare(&theirs_too);
            (!same && !ours.contains("ignoring () group"))
                .then(|| format!("read as {ours}\n  not    {theirs}"))
        }
        // What is checked when an expression is evaluated there is checked when it is read here.
        Err(faults) if faults.to_string().contains("regular expression") => None,
        Err(faults) if faults.first().kind == FaultKind::Unsupported => None,
        Err(faults) if !refused => {
            let later = faults.first().kind == FaultKind::Meaning;
            // Theirs takes what is not a number for some length of time, and `[5 m]` for `[5s:]`.
            let message = &faults.first().message;
            let is_theirs = message == "duration out of range" || message.ends_with("expected ':'");
            (!later && !is_theirs).then(|| format!("refused: {faults}"))
        }
        Err(faults) => {
            let (ours, theirs) = (faults.to_string(), in_characters(text, error(theirs)));
            let numbers = ["bad number or duration syntax", "duration out of range"];
            let later = numbers.iter().any(|n| ours.contains(n) || theirs.contains(n));
            // Within brackets later versions read characters otherwise, and so find other faults first.
            let later = later || ours.contains("unexpected character: ");
            // Later versions have operators that begin so.
            let later = later || ["</", ">/"].iter().any(|operator| text.contains(operator));
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
