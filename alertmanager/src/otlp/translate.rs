//! Points of OpenTelemetry as samples.
//!
//! Source: the compatibility specification of OpenTelemetry and Prometheus, and Prometheus's guide for
//! its OTLP receiver.
//!
//! Invariant: a point is taken as a whole or refused with its reason, and refuses no other.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use base::family::MetricKind;
use base::histogram::{CUSTOM, EXPONENTIAL, Histogram};
use base::labels::{Labels, METRIC_NAME};
use base::number;
use base::remote_write::{Exemplar, NativeSeries, Received, Series};
use base::sample::{Ended, Sample, Timestamp, without_markers};

use super::attributes::{self, Origin, Pairs, text};
use super::config::Options;
use super::message::{
    self, Buckets, Common, ExponentialPoint, HistogramPoint, Metric, NumberPoint, Request,
    ResourceMetrics, SummaryPoint,
};
use super::names::{self, Kind};

/// Values since a start, in a message.
const CUMULATIVE: i32 = 2;
/// The most characters of an exemplar's labels.
const MOST_CHARACTERS: usize = 128;
/// As far apart at most are the samples of `target_info`, so that it is never out of sight.
const APART: i64 = 150_000;
/// Observations nearer to zero than this are zero, as in Prometheus.
const ZERO: f64 = 1e-128;
/// How many reasons are told.
const MOST_TOLD: usize = 5;

/// What became of a message.
#[derive(Debug, Default)]
pub struct Translated {
    /// What there is to store.
    pub received: Received,
    /// How many points are in it.
    pub points: usize,
    /// How many points are not.
    pub rejected: usize,
    /// Why, the first few reasons.
    pub reasons: Vec<String>,
}

struct Translator<'a> {
    options: &'a Options,
    out: Translated,
    /// Places in the list of series, and in that of native ones.
    floats: HashMap<Labels, usize>,
    natives: HashMap<Labels, usize>,
}

/// What the points of a metric have in common.
struct About<'a> {
    name: String,
    origin: &'a Origin,
}

pub(super) fn translate(request: &Request, options: &Options) -> Translated {
    let out = Translated::default();
    let mut translator =
        Translator { options, out, floats: HashMap::new(), natives: HashMap::new() };
    request.resource_metrics.iter().for_each(|of_resource| translator.resource(of_resource));
    let mut out = translator.out;
    // A sender need not keep the order of time.
    for series in &mut out.received.series {
        series.samples.sort_by_key(|sample| sample.timestamp);
    }
    for series in &mut out.received.natives {
        series.histograms.sort_by_key(|(at, _)| *at);
    }
    out
}

impl Translator<'_> {
    fn resource(&mut self, of_resource: &ResourceMetrics) {
        let resource = of_resource.resource.as_ref();
        let mut span: Option<(i64, i64)> = None;
        for of_scope in &of_resource.scope_metrics {
            let origin = match Origin::of(self.options, resource, of_scope) {
                Ok(origin) => origin,
                Err(why) => {
                    let count = of_scope.metrics.iter().map(count).sum();
                    self.reject(count, why);
                    continue;
                }
            };
            for metric in &of_scope.metrics {
                for at in times(metric) {
                    let (first, last) = span.unwrap_or((at, at));
                    span = Some((first.min(at), last.max(at)));
                }
                if let Err(why) = self.metric(metric, &origin) {
                    self.reject(count(metric), why);
                }
            }
        }
        if let Some((first, last)) = span {
            match attributes::target_info(self.options, resource) {
                Ok(None) => {}
                Ok(Some(pairs)) => self.target_info(&pairs, first, last),
                Err(why) => self.reject(0, why),
            }
        }
    }

    fn reject(&mut self, points: usize, why: String) {
        self.out.rejected += points;
        if self.out.reasons.len() < MOST_TOLD && !self.out.reasons.contains(&why) {
            self.out.reasons.push(why);
        }
    }

    /// Takes the points of a metric.
    ///
    /// # Errors
    ///
    /// None of its points can be taken; what is wrong with single ones is noted.
    fn metric(&mut self, metric: &Metric, origin: &Origin) -> Result<(), String> {
        let kind = match (&metric.gauge, &metric.sum) {
            (Some(_), _) => Kind::Gauge,
            (None, Some(sum)) if sum.is_monotonic => Kind::Counter,
            _ => Kind::Other,
        };
        let temporality = [
            metric.sum.as_ref().map(|sum| sum.aggregation_temporality),
            metric.histogram.as_ref().map(|histogram| histogram.aggregation_temporality),
            metric.exponential_histogram.as_ref().map(|native| native.aggregation_temporality),
        ];
        if let Some(other) = temporality.into_iter().flatten().find(|kind| *kind != CUMULATIVE) {
            let what = if other == 1 { "are differences (delta)" } else { "have no temporality" };
            return Err(format!(
                "the values of the metric {:?} {what}: send cumulative ones",
                metric.name
            ));
        }
        let name = names::metric(self.options.strategy, &metric.name, &metric.unit, kind);
        let name = name.ok_or_else(|| format!("nothing is left of the name {:?}", metric.name))?;
        let about = About { name, origin };
        if let Some(gauge) = &metric.gauge {
            self.each(&about, &gauge.data_points, |point| point.common(), Self::number);
        } else if let Some(sum) = &metric.sum {
            self.each(&about, &sum.data_points, |point| point.common(), Self::number);
        } else if let Some(histogram) = &metric.histogram {
            let take = match self.options.native_histograms {
                true => Self::custom,
                false => Self::classic,
            };
            self.each(&about, &histogram.data_points, |point| point.common(), take);
        } else if let Some(native) = &metric.exponential_histogram {
            self.each(&about, &native.data_points, |point| point.common(), Self::exponential);
        } else if let Some(summary) = &metric.summary {
            self.each(&about, &summary.data_points, |point| point.common(), Self::summary);
        }
        Ok(())
    }

    fn each<T>(
        &mut self,
        about: &About<'_>,
        points: &[T],
        common: impl Fn(&T) -> Common<'_>,
        take: impl Fn(&mut Self, &Taken<'_>, &T) -> Result<(), String>,
    ) {
        for point in points {
            let of_point = common(point);
            let taken = about.origin.labels(self.options, of_point.attributes).and_then(|pairs| {
                let taken = Taken {
                    name: &about.name,
                    pairs,
                    at: millis(of_point.time),
                    start: millis(of_point.start).millis(),
                    has_ended: of_point.flags & 1 == 1,
                };
                take(self, &taken, point)
            });
            match taken {
                Ok(()) => self.out.points += 1,
                Err(why) => self.reject(1, format!("{}: {why}", about.name)),
            }
        }
    }

    fn number(&mut self, taken: &Taken<'_>, point: &NumberPoint) -> Result<(), String> {
        let value = point.as_double.or(point.as_int.map(|whole| whole as f64)).unwrap_or(0.0);
        let labels = taken.labels("", None);
        self.float(&labels, taken, value);
        self.exemplars(&point.exemplars, |_| labels.clone());
        Ok(())
    }

    fn classic(&mut self, taken: &Taken<'_>, point: &HistogramPoint) -> Result<(), String> {
        let bounds = &point.explicit_bounds;
        check_bounds(point)?;
        if let Some(sum) = point.sum {
            self.float(&taken.labels("_sum", None), taken, sum);
        }
        self.float(&taken.labels("_count", None), taken, point.count as f64);
        let bucket = |bound: f64| taken.labels("_bucket", Some(("le", number::plain(bound))));
        let mut count = 0_u64;
        for (bound, more) in bounds.iter().zip(&point.bucket_counts) {
            count = count.saturating_add(*more);
            self.float(&bucket(*bound), taken, count as f64);
        }
        self.float(&bucket(f64::INFINITY), taken, point.count as f64);
        let holding = |value: f64| {
            let shown = bounds.iter().take(point.bucket_counts.len());
            bucket(shown.copied().find(|bound| value <= *bound).unwrap_or(f64::INFINITY))
        };
        self.exemplars(&point.exemplars, holding);
        Ok(())
    }

    fn custom(&mut self, taken: &Taken<'_>, point: &HistogramPoint) -> Result<(), String> {
        check_bounds(point)?;
        let counts = point.bucket_counts.iter().enumerate();
        let counts = counts.filter(|(_, count)| **count > 0);
        let positive = counts.map(|(at, count)| (at as i32, *count as f64)).collect();
        let histogram = Histogram {
            schema: CUSTOM,
            count: point.count as f64,
            sum: point.sum.unwrap_or(0.0),
            positive,
            bounds: point.explicit_bounds.as_slice().into(),
            ..Histogram::default()
        };
        self.native(taken, histogram);
        let labels = taken.labels("", None);
        self.exemplars(&point.exemplars, |_| labels.clone());
        Ok(())
    }

    fn exponential(&mut self, taken: &Taken<'_>, point: &ExponentialPoint) -> Result<(), String> {
        let scale = point.scale;
        if scale < *EXPONENTIAL.start() {
            let coarsest = EXPONENTIAL.start();
            return Err(format!("the scale {scale} is coarser than the coarsest, {coarsest}"));
        }
        if scale > *EXPONENTIAL.end() + 30 {
            return Err(format!("the scale {scale} is none"));
        }
        let histogram = Histogram {
            schema: scale,
            zero_threshold: ZERO,
            zero_count: point.zero_count as f64,
            count: point.count as f64,
            sum: point.sum.unwrap_or(0.0),
            positive: buckets(point.positive.as_ref())?,
            negative: buckets(point.negative.as_ref())?,
            ..Histogram::default()
        };
        self.native(taken, histogram.at_schema(*EXPONENTIAL.end()));
        let labels = taken.labels("", None);
        self.exemplars(&point.exemplars, |_| labels.clone());
        Ok(())
    }

    fn summary(&mut self, taken: &Taken<'_>, point: &SummaryPoint) -> Result<(), String> {
        self.float(&taken.labels("_sum", None), taken, point.sum);
        self.float(&taken.labels("_count", None), taken, point.count as f64);
        for message::Quantile { quantile, value } in &point.quantile_values {
            let label = Some(("quantile", number::plain(*quantile)));
            self.float(&taken.labels("", label), taken, *value);
        }
        Ok(())
    }

    /// One sample at least every [`APART`], from the first to the last of the resource.
    fn target_info(&mut self, pairs: &Pairs, first: i64, last: i64) {
        let taken = |at: i64| Taken {
            name: "target_info",
            pairs: pairs.clone(),
            at: Timestamp::from_millis(at),
            start: 0,
            has_ended: false,
        };
        // Whoever sends points of years gets none for the times between.
        let step = APART.max(last.saturating_sub(first) / 1000);
        let mut at = first;
        while at < last {
            let taken = taken(at);
            self.float(&taken.labels("", None), &taken, 1.0);
            at = at.saturating_add(step);
        }
        let taken = taken(last);
        self.float(&taken.labels("", None), &taken, 1.0);
    }

    fn float(&mut self, labels: &Labels, taken: &Taken<'_>, value: f64) {
        let value = if taken.has_ended { Ended::Gone.value() } else { without_markers(value) };
        let sample = Sample { timestamp: taken.at, value };
        let received = &mut self.out.received;
        let place = match self.floats.entry(labels.clone()) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => {
                received.series.push(Series {
                    labels: labels.clone(),
                    samples: Vec::new(),
                    kind: MetricKind::Unknown,
                    help: String::new(),
                    unit: String::new(),
                });
                received.starts.push(taken.start);
                *new.insert(received.series.len() - 1)
            }
        };
        received.series[place].samples.push(sample);
    }

    fn native(&mut self, taken: &Taken<'_>, histogram: Histogram) {
        let labels = taken.labels("", None);
        let received = &mut self.out.received;
        let place = match self.natives.entry(labels.clone()) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => {
                let (histograms, start) = (Vec::new(), taken.start);
                received.natives.push(NativeSeries { labels, histograms, start });
                *new.insert(received.natives.len() - 1)
            }
        };
        let histogram = (!taken.has_ended).then(|| Arc::new(histogram));
        received.natives[place].histograms.push((taken.at, histogram));
    }

    fn exemplars(&mut self, exemplars: &[message::Exemplar], series: impl Fn(f64) -> Labels) {
        for exemplar in exemplars {
            let value = exemplar.as_double.or(exemplar.as_int.map(|whole| whole as f64));
            let Some(value) = value else { continue };
            let hex = |id: &[u8]| -> String { id.iter().map(|b| format!("{b:02x}")).collect() };
            let is_id = |id: &[u8]| id.iter().any(|byte| *byte != 0);
            let mut pairs = Vec::new();
            for (name, id) in [("trace_id", &exemplar.trace_id), ("span_id", &exemplar.span_id)] {
                if is_id(id) {
                    pairs.push((name.to_owned(), hex(id)));
                }
            }
            let own = exemplar.filtered_attributes.iter();
            let own: Vec<_> = own.map(|p| (p.key.clone(), text(p.value.as_ref()))).collect();
            let both = pairs.iter().chain(&own);
            let length = both.map(|(n, v)| n.chars().count() + v.chars().count()).sum::<usize>();
            if length <= MOST_CHARACTERS {
                pairs.extend(own);
            }
            self.out.received.exemplars.push(Exemplar {
                series: series(value),
                labels: Labels::from_pairs(pairs),
                value,
                timestamp: millis(exemplar.time_unix_nano),
            });
        }
    }
}

/// A point on its way.
struct Taken<'a> {
    name: &'a str,
    pairs: Pairs,
    at: Timestamp,
    start: i64,
    /// Nothing was measured.
    has_ended: bool,
}

impl Taken<'_> {
    fn labels(&self, suffix: &str, more: Option<(&str, String)>) -> Labels {
        let name = format!("{}{suffix}", self.name);
        let own = self.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let more = more.as_ref().map(|(name, value)| (*name, value.as_str()));
        Labels::from_pairs(own.chain(more).chain([(METRIC_NAME, name.as_str())]))
    }
}

fn check_bounds(point: &HistogramPoint) -> Result<(), String> {
    let (bounds, counts) = (point.explicit_bounds.len(), point.bucket_counts.len());
    let fit = counts == bounds + 1 || counts == 0;
    if !fit {
        return Err(format!("a histogram has {bounds} bounds and {counts} buckets, not one more"));
    }
    let rise = point.explicit_bounds.is_sorted_by(|a, b| a < b);
    if !rise { Err("the bounds of a histogram do not rise".to_owned()) } else { Ok(()) }
}

/// The buckets of one side, by their index here: that of the upper bound.
fn buckets(side: Option<&Buckets>) -> Result<base::histogram::Buckets, String> {
    let Some(Buckets { offset, bucket_counts }) = side else { return Ok(Vec::new()) };
    let wrong = || "a bucket lies outside of all numbers".to_owned();
    let length = i32::try_from(bucket_counts.len()).map_err(|_| wrong())?;
    let first = offset.checked_add(1).ok_or_else(wrong)?;
    first.checked_add(length).ok_or_else(wrong)?;
    let counts = (first..).zip(bucket_counts).filter(|(_, count)| **count > 0);
    Ok(counts.map(|(index, count)| (index, *count as f64)).collect())
}

fn millis(nanos: u64) -> Timestamp {
    Timestamp::from_millis(i64::try_from(nanos / 1_000_000).unwrap_or(i64::MAX))
}

/// How many points a metric has.
fn count(metric: &Metric) -> usize {
    times(metric).count()
}

/// The times of all points of a metric, in milliseconds since the Unix epoch.
fn times(metric: &Metric) -> impl Iterator<Item = i64> {
    let numbers = metric.gauge.iter().flat_map(|gauge| &gauge.data_points);
    let numbers = numbers.chain(metric.sum.iter().flat_map(|sum| &sum.data_points));
    let classic = metric.histogram.iter().flat_map(|histogram| &histogram.data_points);
    let native = metric.exponential_histogram.iter().flat_map(|native| &native.data_points);
    let summaries = metric.summary.iter().flat_map(|summary| &summary.data_points);
    let nanos = numbers.map(|point| point.time_unix_nano);
    let nanos = nanos.chain(classic.map(|point| point.time_unix_nano));
    let nanos = nanos.chain(native.map(|point| point.time_unix_nano));
    let nanos = nanos.chain(summaries.map(|point| point.time_unix_nano));
    nanos.map(|nanos| millis(nanos).millis())
}
