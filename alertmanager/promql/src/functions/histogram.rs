//! Quantiles and fractions of histograms: of classic ones, which are series with a bound in the label
//! `le`, and of native ones.
//!
//! ```text
//! x_bucket{le="0.1"} 3      3 values up to 0.1
//! x_bucket{le="0.5"} 8      8 values up to 0.5, so 5 between
//! x_bucket{le="+Inf"} 9     9 values
//! ```
//!
//! Invariant: within a classic bucket values are taken to be spread evenly.

use std::cmp::Ordering;

use base::histogram::{Histogram, is_tag};
use base::number;

use crate::evaluate::{
    ABSENT, Column, Context, EvalError, Groups, Key, Table, TableCall, has_value, is_absent,
};
use crate::fault::Span;
use crate::histogram::{self, NotNumbers};
use crate::plan::Keep;

const BOUND: &str = "le";

/// `histogram_quantile`
pub(super) fn quantile(call: TableCall<'_>) -> Result<Table, EvalError> {
    let quantile = call.params.first().map_or(&Column::Constant(f64::NAN), |param| param);
    quantiles_at(&call, quantile, call.spans.first, None)?.drop_names()
}

/// `histogram_quantiles`: each in a series of its own, which the label says.
pub(super) fn quantiles(call: TableCall<'_>) -> Result<Table, EvalError> {
    let mut all = Table::new(call.context, call.table.steps());
    let label = call.texts.first().map_or("", String::as_str);
    for quantile in &call.params {
        let value = openmetrics(quantile.at(0));
        let found = quantiles_at(&call, quantile, call.spans.call, Some((label, &value)))?;
        all = all.joined(found);
    }
    all.drop_names()
}

/// A number as OpenMetrics writes it, where whole ones have a fraction, too.
fn openmetrics(value: f64) -> String {
    let text = number::shortest(value);
    let whole = text.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit());
    if whole { format!("{text}.0") } else { text }
}

fn quantiles_at(
    call: &TableCall<'_>,
    quantile: &Column,
    span: Span,
    label: Option<(&str, &str)>,
) -> Result<Table, EvalError> {
    for quantile in quantile.values() {
        call.context.check_quantile(*quantile, span);
    }
    let classic = |step, buckets: &mut Vec<Bucket>| {
        let was_monotonic = make_monotonic(buckets);
        (value_at(quantile.at(step), buckets), was_monotonic)
    };
    let native = |step, key: &Key, histogram: &Histogram| {
        let (value, note) = histogram::quantile(quantile.at(step), histogram);
        if let Some(note) = note {
            let result = match note {
                NotNumbers::Result => "NaN",
                NotNumbers::Skewed => "skewed higher",
            };
            let message =
                format!("input to histogram_quantile has NaN observations, result is {result}");
            inform_of(call, &message, key);
        }
        value
    };
    let mut table = each_histogram(call, classic, native)?;
    if let Some((label, value)) = label {
        table.relabel(|key| {
            let labels = key.to_labels().with(label, value);
            key.with_labels(labels)
        });
    }
    Ok(table)
}

/// Says something about a series of native histograms. Prometheus has forgotten its name by then,
/// unless names go at the end.
fn inform_of(call: &TableCall<'_>, message: &str, key: &Key) {
    let named = if call.context.features().late_names { named(key) } else { String::new() };
    call.context.inform(call.spans.series, format!("{message}{named}"));
}

/// Which metric it is about, where that is known.
fn named(key: &Key) -> String {
    let name = key.metric_name();
    if name.is_empty() { String::new() } else { format!(" for metric name {name:?}") }
}

/// `histogram_fraction`
pub(super) fn fraction(call: TableCall<'_>) -> Result<Table, EvalError> {
    let at = |n: usize, step: usize| {
        call.params.get(n).map_or(f64::NAN, |param: &Column| param.at(step))
    };
    let classic = |step, buckets: &mut Vec<Bucket>| {
        (fraction_between(at(0, step), at(1, step), buckets), true)
    };
    let native = |step, key: &Key, histogram: &Histogram| {
        let (low, high) = (at(0, step), at(1, step));
        if histogram.sum.is_nan() && histogram.count != 0.0 && low < high {
            let message = "input to histogram_fraction has NaN observations, which are excluded \
                           from all fractions";
            inform_of(&call, message, key);
        }
        histogram::fraction(low, high, histogram)
    };
    each_histogram(&call, classic, native)?.drop_names()
}

/// How many values there are up to a bound.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bucket {
    bound: f64,
    count: f64,
}

/// A row for each histogram: of a classic one what `classic` makes of its buckets at each step, which
/// also says whether their counts rose as they should; of a native one what `native` makes of it.
fn each_histogram(
    call: &TableCall<'_>,
    mut classic: impl FnMut(usize, &mut Vec<Bucket>) -> (f64, bool),
    native: impl Fn(usize, &Key, &Histogram) -> f64,
) -> Result<Table, EvalError> {
    let TableCall { context, table, spans, .. } = call;
    let mut result = Table::new(context, table.steps());
    let mut cells = vec![ABSENT; table.steps()];
    let mut buckets = Vec::new();
    for Rows { classic: histogram, native: rows } in histograms(context, table, spans.series) {
        context.check()?;
        // Where there are both nobody knows which one is meant.
        let is_native = |step: usize| rows.iter().any(|row| is_tag(table.row(*row)[step]));
        let is_classic =
            |step: usize| histogram.iter().any(|(_, row)| !is_absent(table.row(*row)[step]));
        for row in &rows {
            let key = table.key(*row);
            for (step, cell) in cells.iter_mut().enumerate() {
                *cell = match context.histogram(table.row(*row)[step]) {
                    None => ABSENT,
                    Some(_) if is_classic(step) => {
                        warn_of_both(context, key, spans.series);
                        ABSENT
                    }
                    Some(histogram) => native(step, key, &histogram),
                };
            }
            if has_value(&cells) {
                result.add(key.clone(), &cells)?;
            }
        }
        for (step, cell) in cells.iter_mut().enumerate() {
            buckets.clear();
            let bucket = |(bound, row): &(f64, usize)| Bucket {
                bound: *bound,
                count: table.row(*row)[step],
            };
            let counts = |bucket: &Bucket| !is_absent(bucket.count) && !is_tag(bucket.count);
            buckets.extend(histogram.iter().map(bucket).filter(counts));
            *cell = ABSENT;
            if buckets.is_empty() || is_native(step) {
                continue;
            }
            merge_same_bounds(&mut buckets);
            let (result, was_monotonic) = classic(step, &mut buckets);
            *cell = result;
            if !was_monotonic {
                inform_of_falling_counts(context, table.key(histogram[0].1), spans.series);
            }
        }
        if has_value(&cells) {
            let key = table.key(histogram[0].1);
            let labels = key.to_labels().with(BOUND, "");
            result.add(key.with_labels(labels), &cells)?;
        }
    }
    Ok(result)
}

/// The rows of a histogram.
#[derive(Default)]
struct Rows {
    /// Those of a classic one with their bounds, sorted by bound.
    classic: Vec<(f64, usize)>,
    /// Those of a native one.
    native: Vec<usize>,
}

/// The rows of each histogram.
fn histograms(context: &Context<'_>, table: &Table, span: Span) -> Vec<Rows> {
    let keep = Keep::Except(vec![BOUND.to_owned()]);
    let mut groups = Groups::with_name(&keep);
    let mut found: Vec<Rows> = Vec::new();
    for row in 0..table.len() {
        let key = table.key(row);
        if table.has_native() && table.row(row).iter().any(|cell| is_tag(*cell)) {
            let group = groups.number(key.as_ref());
            found.resize_with(groups.len(), Rows::default);
            found[group].native.push(row);
            let is_float = |cell: &f64| !is_absent(*cell) && !is_tag(*cell);
            if !table.row(row).iter().any(is_float) {
                continue;
            }
        }
        let text = key.get(BOUND).unwrap_or("");
        let Some(bound) = number::parse(text).filter(|bound| !bound.is_nan()) else {
            let name = key.metric_name();
            let message = format!(
                "bucket label {BOUND:?} is missing or has a malformed value of {text:?} for \
                 metric name {name:?}"
            );
            context.warn(span, message);
            continue;
        };
        let group = groups.number(key.as_ref());
        found.resize_with(groups.len(), Rows::default);
        found[group].classic.push((bound, row));
    }
    for histogram in &mut found {
        histogram.classic.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    found
}

fn warn_of_both(context: &Context<'_>, key: &Key, span: Span) {
    let named = named(key);
    context.warn(span, format!("vector contains a mix of classic and native histograms{named}"));
}

fn inform_of_falling_counts(context: &Context<'_>, key: &Key, span: Span) {
    let name = key.metric_name();
    let message = format!(
        "input to histogram_quantile needed to be fixed for monotonicity (see \
         https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile) for \
         metric name {name:?}"
    );
    context.inform(span, message);
}

/// Adds up buckets with the same bound, which may be written in several ways.
fn merge_same_bounds(buckets: &mut Vec<Bucket>) {
    buckets.dedup_by(|later, kept| {
        let same = later.bound == kept.bound;
        if same {
            kept.count += later.count;
        }
        same
    });
}

/// Makes counts rise from bucket to bucket, and says whether they did but for rounding.
fn make_monotonic(buckets: &mut [Bucket]) -> bool {
    let mut was_monotonic = true;
    let mut before = buckets.first().map_or(0.0, |bucket| bucket.count);
    for bucket in buckets.iter_mut().skip(1) {
        if nearly_equal(before, bucket.count) {
            bucket.count = before;
        } else if bucket.count < before {
            bucket.count = before;
            was_monotonic = false;
        } else {
            before = bucket.count;
        }
    }
    was_monotonic
}

/// Whether two counts differ by no more than what rounding may have done.
fn nearly_equal(a: f64, b: f64) -> bool {
    const TOLERANCE: f64 = 1e-12;
    if a == b || a.is_nan() && b.is_nan() {
        return true;
    }
    let (sum, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        difference < TOLERANCE * f64::MIN_POSITIVE
    } else {
        difference / sum.min(f64::MAX) < TOLERANCE
    }
}

/// The count of all values, where the last bucket has them all.
fn total(buckets: &[Bucket]) -> Option<f64> {
    buckets.last().filter(|bucket| bucket.bound == f64::INFINITY).map(|bucket| bucket.count)
}

fn value_at(quantile: f64, buckets: &[Bucket]) -> f64 {
    if quantile.is_nan() {
        return f64::NAN;
    }
    if !(0.0..=1.0).contains(&quantile) {
        return if quantile < 0.0 { f64::NEG_INFINITY } else { f64::INFINITY };
    }
    let total = match total(buckets) {
        Some(total) if buckets.len() > 1 && total != 0.0 => total,
        _ => return f64::NAN,
    };
    let rank = quantile * total;
    let finite = &buckets[..buckets.len() - 1];
    // What is not a number is no reason to stop.
    let at = finite.partition_point(|b| b.count.partial_cmp(&rank).is_none_or(Ordering::is_lt));
    let Some(bucket) = finite.get(at) else {
        // Among the values above the highest bound: no less than that is all that is known.
        return finite[finite.len() - 1].bound;
    };
    let below = match at.checked_sub(1) {
        Some(before) => finite[before],
        None if bucket.bound <= 0.0 => return bucket.bound,
        None => Bucket { bound: 0.0, count: 0.0 },
    };
    let share = (rank - below.count) / (bucket.count - below.count);
    below.bound + (bucket.bound - below.bound) * share
}

fn fraction_between(low: f64, high: f64, buckets: &[Bucket]) -> f64 {
    let total = match total(buckets) {
        Some(total) if total != 0.0 && !low.is_nan() && !high.is_nan() => total,
        _ => return f64::NAN,
    };
    if low >= high {
        return 0.0;
    }
    let up_to = |value: f64| {
        let count = count_up_to(value, buckets);
        if count > total { total } else { count }
    };
    (up_to(high) - up_to(low)) / total
}

/// How many values there are up to `value`. Nothing is known about how they are spread in a bucket
/// without an end, so all of its values count as beyond what lies in it.
fn count_up_to(value: f64, buckets: &[Bucket]) -> f64 {
    let at = buckets.partition_point(|bucket| bucket.bound <= value);
    let below = at.checked_sub(1).map(|at| buckets[at]);
    let Some(bucket) = buckets.get(at) else { return below.map_or(0.0, |below| below.count) };
    let below = match below {
        Some(below) => below,
        None if bucket.bound > 0.0 => Bucket { bound: 0.0, count: 0.0 },
        None if value == f64::NEG_INFINITY => return 0.0,
        None => return bucket.count,
    };
    if at == 0 && bucket.bound == f64::INFINITY {
        // A single bucket without any bound.
        return f64::NAN;
    }
    if value <= below.bound || bucket.bound == f64::INFINITY {
        return below.count;
    }
    let share = (value - below.bound) / (bucket.bound - below.bound);
    below.count + (bucket.count - below.count) * share
}
