//! What is worth a look in what a target shows: its names, types and help texts.
//!
//! Source: promtool's `check metrics`, whose verdicts and texts these are.
//!
//! Invariant: a name is judged only by the conventions, never by what is stored or configured.

use std::collections::HashSet;

use base::exposition::{Format, ParseError, check_families};
use base::family::{LabelPairs, MetricFamily, MetricKind};

/// Something worth a look.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The metric.
    pub metric: String,
    /// What it is.
    pub text: String,
}

/// What may stand before a unit.
const PREFIXES: [&str; 18] = [
    "pico", "nano", "micro", "milli", "centi", "deci", "deca", "hecto", "kilo", "kibi", "mega",
    "mibi", "giga", "gibi", "tera", "tebi", "peta", "pebi",
];

/// Units, and those that stand for them.
const UNITS: [(&str, &str); 24] = [
    ("amperes", "amperes"),
    ("bytes", "bytes"),
    ("celsius", "celsius"),
    ("grams", "grams"),
    ("joules", "joules"),
    ("kelvin", "kelvin"),
    ("meters", "meters"),
    ("metres", "metres"),
    ("seconds", "seconds"),
    ("volts", "volts"),
    ("minutes", "seconds"),
    ("hours", "seconds"),
    ("days", "seconds"),
    ("weeks", "seconds"),
    ("kelvins", "kelvin"),
    ("fahrenheit", "celsius"),
    ("rankine", "celsius"),
    ("inches", "meters"),
    ("yards", "meters"),
    ("miles", "meters"),
    ("bits", "bytes"),
    ("calories", "joules"),
    ("pounds", "grams"),
    ("ounces", "grams"),
];

/// Units that are better written out.
const SHORT_UNITS: [&str; 14] =
    ["s", "ms", "us", "ns", "sec", "b", "kb", "mb", "gb", "tb", "pb", "m", "h", "d"];

/// What is worth a look in `text`, which is in the text format; sorted.
///
/// # Errors
///
/// The text is malformed, or longer than `most` bytes.
pub fn lint(text: &[u8], most: usize) -> Result<Vec<Problem>, ParseError> {
    let families = check_families(text, Format::Text, most)?;
    let mut problems = Vec::new();
    for family in families.iter().filter(|family| !family.samples.is_empty()) {
        of_family(family, &mut |text| {
            problems.push(Problem { metric: family.name.clone(), text: text.to_owned() });
        });
    }
    problems.sort();
    Ok(problems)
}

fn of_family(family: &MetricFamily, told: &mut impl FnMut(&str)) {
    let metrics = metrics(family);
    if family.help.is_empty() {
        told("no help text");
    }
    of_name(&family.name, told);
    of_kind(family, &metrics, told);
    let labels = metrics.iter().flat_map(|labels| labels.iter());
    for _ in labels.filter(|(name, _)| is_camel_case(name)) {
        told("label names should be written in 'snake_case' not 'camelCase'");
    }
    let mut seen = HashSet::new();
    // Of those that are equal the last one is right.
    for _ in metrics.iter().rev().filter(|labels| !seen.insert(*labels)) {
        told("metric not unique");
    }
}

fn of_name(name: &str, told: &mut impl FnMut(&str)) {
    if let Some((unit, base)) = unit(name).filter(|(unit, base)| unit != base) {
        told(&format!("use base unit {base:?} instead of {unit:?}"));
    }
    if name.contains(':') {
        told("metric names should not contain ':'");
    }
    if is_camel_case(name) {
        told("metric names should be written in 'snake_case' not 'camelCase'");
    }
    for _ in SHORT_UNITS.iter().filter(|unit| has_part(name, unit)) {
        told("metric names should not contain abbreviated units");
    }
}

/// What the type of a family asks for.
fn of_kind(family: &MetricFamily, metrics: &[LabelPairs], told: &mut impl FnMut(&str)) {
    let (name, kind) = (family.name.as_str(), family.kind);
    // What is said to be nothing may be called anything.
    if kind == MetricKind::Unknown {
        return;
    }
    let is_histogram = kind == MetricKind::Histogram;
    let is_summary = kind == MetricKind::Summary;
    match (kind == MetricKind::Counter, name.ends_with("_total")) {
        (true, false) => told("counter metrics should have \"_total\" suffix"),
        (false, true) => told("non-counter metrics should not have \"_total\" suffix"),
        _ => {}
    }
    if !is_histogram && name.ends_with("_bucket") {
        told("non-histogram metrics should not have \"_bucket\" suffix");
    }
    for suffix in ["_count", "_sum"] {
        if !is_histogram && !is_summary && name.ends_with(suffix) {
            let what = "non-histogram and non-summary metrics should not have";
            told(&format!("{what} {suffix:?} suffix"));
        }
    }
    for (label, _) in metrics.iter().flatten() {
        match &**label {
            "le" if !is_histogram => told("non-histogram metrics should not have \"le\" label"),
            "quantile" if !is_summary => {
                told("non-summary metrics should not have \"quantile\" label");
            }
            _ => {}
        }
    }
    let typed = match kind {
        MetricKind::GaugeHistogram => "gauge_histogram",
        kind => kind.as_str(),
    };
    if has_part(name, typed) {
        told(&format!("metric name should not include type '{typed}'"));
    }
}

/// The label sets of a family: those of a histogram or a summary without what tells its parts apart,
/// each once.
fn metrics(family: &MetricFamily) -> Vec<LabelPairs> {
    let part = match family.kind {
        MetricKind::Histogram | MetricKind::GaugeHistogram => "le",
        MetricKind::Summary => "quantile",
        _ => return family.samples.iter().map(|sample| sample.labels.clone()).collect(),
    };
    let (mut metrics, mut seen) = (Vec::new(), HashSet::new());
    for sample in &family.samples {
        let others = sample.labels.iter().filter(|(name, _)| name != part).cloned();
        let mut labels: LabelPairs = others.collect();
        labels.sort();
        if seen.insert(labels.clone()) {
            metrics.push(labels);
        }
    }
    metrics
}

/// The first unit in a name, and the base unit in its place.
fn unit(name: &str) -> Option<(&str, &'static str)> {
    let base = |text: &str| UNITS.iter().find(|(unit, _)| *unit == text).map(|(_, base)| *base);
    name.split('_').find_map(|part| {
        let prefixed = || PREFIXES.iter().find_map(|prefix| base(part.strip_prefix(prefix)?));
        Some((part, base(part).or_else(prefixed)?))
    })
}

/// Whether `part` stands in a name between underscores, or at its end.
fn has_part(name: &str, part: &str) -> bool {
    format!("{}_", name.to_lowercase()).contains(&format!("_{part}_"))
}

fn is_camel_case(name: &str) -> bool {
    let bytes = name.as_bytes();
    bytes.windows(2).any(|pair| pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_worth_a_look_is_told_as_promtool_does() {
        let check_text = |text: &str, expected: &[&str]| {
            let found = lint(text.as_bytes(), 1 << 20).unwrap();
            let lines: Vec<_> = found.iter().map(|p| format!("{} {}", p.metric, p.text)).collect();
            assert_eq!(lines, expected, "{text}");
        };
        check_text("", &[]);
        check_text("# HELP a_total A.\n# TYPE a_total counter\na_total 1\n", &[]);
        check_text("# TYPE gone counter\n# HELP other x\n", &[]);
        check_text("# HELP a \n# TYPE a gauge\na 1\n", &["a no help text"]);
        check_text(
            "# HELP a_sum x\n# TYPE a_sum gauge\na_sum{x=\"1\",y=\"2\"} 1\na_sum{y=\"2\",x=\"1\"} 1\n\
             a_sum{y=\"2\",x=\"1\"} 1\n",
            &[
                "a_sum metric not unique",
                "a_sum non-histogram and non-summary metrics should not have \"_sum\" suffix",
            ],
        );
        check_text(
            "a:c_ms_b 1\n# TYPE x_kilobytes_days gauge\nx_kilobytes_days 1\n",
            &[
                "a:c_ms_b metric names should not contain ':'",
                "a:c_ms_b metric names should not contain abbreviated units",
                "a:c_ms_b metric names should not contain abbreviated units",
                "a:c_ms_b no help text",
                "x_kilobytes_days no help text",
                "x_kilobytes_days use base unit \"bytes\" instead of \"kilobytes\"",
            ],
        );
        check_text(
            "# TYPE h histogram\nh_bucket{le=\"1\",aB=\"x\"} 1\nh_bucket{le=\"+Inf\",aB=\"x\"} 1\n\
             h_sum{aB=\"x\",quantile=\"1\"} 1\nh_count{aB=\"x\"} 1\n",
            &[
                "h label names should be written in 'snake_case' not 'camelCase'",
                "h label names should be written in 'snake_case' not 'camelCase'",
                "h no help text",
                "h non-summary metrics should not have \"quantile\" label",
            ],
        );
        check_text(
            "# HELP y_counter_z x\n# TYPE y_counter_z counter\ny_counter_z{le=\"1\"} 2\n",
            &[
                "y_counter_z counter metrics should have \"_total\" suffix",
                "y_counter_z metric name should not include type 'counter'",
                "y_counter_z non-histogram metrics should not have \"le\" label",
            ],
        );
        let error = lint(b"# TYPE a info\na 1\n", 1 << 20).unwrap_err();
        assert_eq!(error.line, 1);
    }
}
