//! Quantiles and fractions of classic histograms: series with a bound in the label `le`.
//!
//! ```text
//! x_bucket{le="0.1"} 3      3 values up to 0.1
//! x_bucket{le="0.5"} 8      8 values up to 0.5, so 5 between
//! x_bucket{le="+Inf"} 9     9 values
//! ```
//!
//! Invariant: within a bucket values are taken to be spread evenly.

use std::cmp::Ordering;

use base::number;

use crate::evaluate::{
    ABSENT, Column, Context, EvalError, Groups, Key, Table, TableCall, has_value, is_absent,
};
use crate::fault::Span;
use crate::plan::Keep;

const BOUND: &str = "le";

/// `histogram_quantile`
pub(super) fn quantile(call: TableCall<'_>) -> Result<Table, EvalError> {
    let quantile = call.params.first().map_or(&Column::Constant(f64::NAN), |param| param);
    for quantile in quantile.values() {
        call.context.check_quantile(*quantile, call.spans.first);
    }
    each_histogram(&call, |step, buckets| {
        let was_monotonic = make_monotonic(buckets);
        (value_at(quantile.at(step), buckets), was_monotonic)
    })
}

/// `histogram_fraction`
pub(super) fn fraction(call: TableCall<'_>) -> Result<Table, EvalError> {
    let at = |n: usize, step: usize| {
        call.params.get(n).map_or(f64::NAN, |param: &Column| param.at(step))
    };
    each_histogram(&call, |step, buckets| {
        (fraction_between(at(0, step), at(1, step), buckets), true)
    })
}

/// How many values there are up to a bound.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bucket {
    bound: f64,
    count: f64,
}

/// A row for each histogram from what `value` makes of its buckets at each step, which also says
/// whether the counts of the buckets rose as they should.
fn each_histogram(
    call: &TableCall<'_>,
    mut value: impl FnMut(usize, &mut Vec<Bucket>) -> (f64, bool),
) -> Result<Table, EvalError> {
    let TableCall { context, table, spans, .. } = call;
    let mut result = Table::new(context, table.steps());
    let mut cells = vec![ABSENT; table.steps()];
    let mut buckets = Vec::new();
    for histogram in histograms(context, table, spans.series) {
        context.check()?;
        for (step, cell) in cells.iter_mut().enumerate() {
            buckets.clear();
            let bucket = |(bound, row): &(f64, usize)| Bucket {
                bound: *bound,
                count: table.row(*row)[step],
            };
            buckets.extend(histogram.iter().map(bucket).filter(|b| !is_absent(b.count)));
            *cell = ABSENT;
            if buckets.is_empty() {
                continue;
            }
            merge_same_bounds(&mut buckets);
            let (result, was_monotonic) = value(step, &mut buckets);
            *cell = result;
            if !was_monotonic {
                inform_of_falling_counts(context, table.key(histogram[0].1), spans.series);
            }
        }
        if has_value(&cells) {
            let key = table.key(histogram[0].1);
            let labels = key.to_labels().with(BOUND, "");
            result.add(Key::from(labels), &cells)?;
        }
    }
    result.drop_names()
}

/// The rows of each histogram with their bounds, sorted by bound.
fn histograms(context: &Context<'_>, table: &Table, span: Span) -> Vec<Vec<(f64, usize)>> {
    let keep = Keep::Except(vec![BOUND.to_owned()]);
    let mut groups = Groups::with_name(&keep);
    let mut found: Vec<Vec<(f64, usize)>> = Vec::new();
    for row in 0..table.len() {
        let key = table.key(row);
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
        found.resize_with(groups.len(), Vec::new);
        found[group].push((bound, row));
    }
    for histogram in &mut found {
        histogram.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    found
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
