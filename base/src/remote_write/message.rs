//! The protobuf messages of remote write, as far as we read and write them.
//!
//! Field numbers are those of `prometheus/prompb` (`remote.proto`, `types.proto`) and of
//! `io.prometheus.write.v2`.
//!
//! Invariant: a field that is not here is let through unread.

use crate::family::MetricKind;
use crate::histogram::{self, BucketSpan, Invalid, Reset, Side, Spans};
use crate::sample::{Ended, Timestamp};

/// A value at a time, in both versions.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct Sample {
    /// Optional, because 0 would not be written otherwise, and neither would -0, which differs.
    #[prost(double, optional, tag = "1")]
    pub(super) value: Option<f64>,
    /// Milliseconds since the Unix epoch.
    #[prost(int64, tag = "2")]
    pub(super) timestamp: i64,
}

/// A native histogram, in both versions.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Histogram {
    #[prost(uint64, optional, tag = "1")]
    count_int: Option<u64>,
    #[prost(double, optional, tag = "2")]
    count_float: Option<f64>,
    #[prost(double, tag = "3")]
    sum: f64,
    #[prost(sint32, tag = "4")]
    schema: i32,
    #[prost(double, tag = "5")]
    zero_threshold: f64,
    #[prost(uint64, optional, tag = "6")]
    zero_count_int: Option<u64>,
    #[prost(double, optional, tag = "7")]
    zero_count_float: Option<f64>,
    #[prost(message, repeated, tag = "8")]
    negative_spans: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "9")]
    negative_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "10")]
    negative_counts: Vec<f64>,
    #[prost(message, repeated, tag = "11")]
    positive_spans: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "12")]
    positive_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "13")]
    positive_counts: Vec<f64>,
    #[prost(int32, tag = "14")]
    reset_hint: i32,
    /// Milliseconds since the Unix epoch.
    #[prost(int64, tag = "15")]
    timestamp: i64,
    #[prost(double, repeated, tag = "16")]
    custom_values: Vec<f64>,
}

const RESETS: [Reset; 4] = [Reset::Unknown, Reset::Reset, Reset::NotReset, Reset::Gauge];

impl Histogram {
    /// When it was measured, and what it is; none for a marker that ends the series.
    pub(super) fn read(&self) -> (Timestamp, Result<Option<histogram::Histogram>, Invalid>) {
        let timestamp = Timestamp::from_millis(self.timestamp);
        if Ended::from_value(self.sum).is_some() {
            return (timestamp, Ok(None));
        }
        let whole = |count: Option<u64>| count.map_or(0.0, |count| count as f64);
        let is_float = self.count_float.is_some();
        let reset = usize::try_from(self.reset_hint).ok().and_then(|hint| RESETS.get(hint));
        let about = histogram::Histogram {
            schema: self.schema,
            reset: reset.copied().unwrap_or_default(),
            zero_threshold: self.zero_threshold,
            zero_count: self.zero_count_float.unwrap_or_else(|| whole(self.zero_count_int)),
            count: self.count_float.unwrap_or_else(|| whole(self.count_int)),
            sum: self.sum,
            ..histogram::Histogram::default()
        };
        let side = |spans, deltas, counts| match is_float {
            true => Side { spans, deltas: &[], counts },
            false => Side { spans, deltas, counts: &[] },
        };
        let positive = side(&self.positive_spans, &self.positive_deltas, &self.positive_counts);
        let negative = side(&self.negative_spans, &self.negative_deltas, &self.negative_counts);
        (timestamp, about.with_sides(positive, negative, &self.custom_values).map(Some))
    }

    /// The message of a histogram: of whole numbers where it has no others.
    pub(super) fn of(timestamp: Timestamp, histogram: &histogram::Histogram) -> Self {
        let whole = |count: f64| count.fract() == 0.0 && (0.0..9e15).contains(&count);
        let (positive, negative) = (Spans::of(&histogram.positive), Spans::of(&histogram.negative));
        let deltas = positive.deltas().zip(negative.deltas());
        let deltas = deltas.filter(|_| whole(histogram.count) && whole(histogram.zero_count));
        let mut message = Self {
            sum: histogram.sum,
            schema: histogram.schema,
            zero_threshold: histogram.zero_threshold,
            positive_spans: positive.spans,
            negative_spans: negative.spans,
            reset_hint: RESETS.iter().position(|r| *r == histogram.reset).unwrap_or(0) as i32,
            timestamp: timestamp.millis(),
            custom_values: histogram.bounds.to_vec(),
            ..Self::default()
        };
        match deltas {
            Some((positive, negative)) => {
                message.count_int = Some(histogram.count as u64);
                message.zero_count_int = Some(histogram.zero_count as u64);
                (message.positive_deltas, message.negative_deltas) = (positive, negative);
            }
            None => {
                message.count_float = Some(histogram.count);
                message.zero_count_float = Some(histogram.zero_count);
                message.positive_counts = positive.counts;
                message.negative_counts = negative.counts;
            }
        }
        message
    }
}

/// The messages of 1.0.
pub(super) mod v1 {
    use super::{Histogram, Sample};

    #[derive(Clone, PartialEq, prost::Message)]
    pub(in super::super) struct WriteRequest {
        #[prost(message, repeated, tag = "1")]
        pub(in super::super) timeseries: Vec<TimeSeries>,
    }

    /// The same message, where it says what metrics mean: its own type, since no reader asks for it.
    #[derive(Clone, PartialEq, prost::Message)]
    pub(in super::super) struct AboutRequest {
        #[prost(message, repeated, tag = "3")]
        pub(in super::super) metadata: Vec<Metadata>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(in super::super) struct Metadata {
        #[prost(int32, tag = "1")]
        pub(in super::super) kind: i32,
        #[prost(string, tag = "2")]
        pub(in super::super) name: String,
        #[prost(string, tag = "4")]
        pub(in super::super) help: String,
        #[prost(string, tag = "5")]
        pub(in super::super) unit: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(in super::super) struct TimeSeries {
        #[prost(message, repeated, tag = "1")]
        pub(in super::super) labels: Vec<Label>,
        #[prost(message, repeated, tag = "2")]
        pub(in super::super) samples: Vec<Sample>,
        #[prost(message, repeated, tag = "3")]
        pub(in super::super) exemplars: Vec<Exemplar>,
        #[prost(message, repeated, tag = "4")]
        pub(in super::super) histograms: Vec<Histogram>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(in super::super) struct Exemplar {
        #[prost(message, repeated, tag = "1")]
        pub(in super::super) labels: Vec<Label>,
        #[prost(double, tag = "2")]
        pub(in super::super) value: f64,
        #[prost(int64, tag = "3")]
        pub(in super::super) timestamp: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(in super::super) struct Label {
        #[prost(string, tag = "1")]
        pub(in super::super) name: String,
        #[prost(string, tag = "2")]
        pub(in super::super) value: String,
    }
}

/// The messages of 2.0.
pub(super) mod v2 {
    use super::{Histogram, Sample};

    #[derive(Clone, PartialEq, prost::Message)]
    pub(in super::super) struct Request {
        #[prost(string, repeated, tag = "4")]
        pub(in super::super) symbols: Vec<String>,
        #[prost(message, repeated, tag = "5")]
        pub(in super::super) timeseries: Vec<TimeSeries>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(in super::super) struct TimeSeries {
        /// Names and values in turn, as places among the symbols.
        #[prost(uint32, repeated, tag = "1")]
        pub(in super::super) labels_refs: Vec<u32>,
        #[prost(message, repeated, tag = "2")]
        pub(in super::super) samples: Vec<Sample>,
        #[prost(message, repeated, tag = "3")]
        pub(in super::super) histograms: Vec<Histogram>,
        #[prost(message, repeated, tag = "4")]
        pub(in super::super) exemplars: Vec<Exemplar>,
        #[prost(message, optional, tag = "5")]
        pub(in super::super) metadata: Option<Metadata>,
        /// Since when its samples count, in milliseconds since the Unix epoch; 0 where unknown.
        #[prost(int64, tag = "6")]
        pub(in super::super) created_timestamp: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(in super::super) struct Exemplar {
        #[prost(uint32, repeated, tag = "1")]
        pub(in super::super) labels_refs: Vec<u32>,
        #[prost(double, tag = "2")]
        pub(in super::super) value: f64,
        #[prost(int64, tag = "3")]
        pub(in super::super) timestamp: i64,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(in super::super) struct Metadata {
        #[prost(int32, tag = "1")]
        pub(in super::super) kind: i32,
        #[prost(uint32, tag = "3")]
        pub(in super::super) help_ref: u32,
        #[prost(uint32, tag = "4")]
        pub(in super::super) unit_ref: u32,
    }
}

/// The kinds by their number.
const KINDS: [MetricKind; 8] = [
    MetricKind::Unknown,
    MetricKind::Counter,
    MetricKind::Gauge,
    MetricKind::Histogram,
    MetricKind::GaugeHistogram,
    MetricKind::Summary,
    MetricKind::Info,
    MetricKind::StateSet,
];

/// The number of a kind.
pub(super) fn kind_number(kind: MetricKind) -> i32 {
    KINDS.iter().position(|other| *other == kind).map_or(0, |number| number as i32)
}

/// The kind with a number; unknown where there is none.
pub(super) fn kind_named(number: i32) -> MetricKind {
    usize::try_from(number).ok().and_then(|number| KINDS.get(number).copied()).unwrap_or_default()
}
