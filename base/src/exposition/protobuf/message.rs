//! The messages of `io/prometheus/client/metrics.proto` below a family, as far as we read them.
//!
//! Invariant: a field that is not here is let through unread.

use prost::Message;

use crate::histogram::{BucketSpan, Histogram, Invalid, Reset, Side};
use crate::sample::Timestamp;

#[derive(Clone, PartialEq, Message)]
pub(super) struct LabelPair {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) value: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Time {
    #[prost(int64, tag = "1")]
    pub(super) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(super) nanos: i32,
}

impl Time {
    pub(super) fn timestamp(self) -> Timestamp {
        let millis = self.seconds.saturating_mul(1000);
        Timestamp::from_millis(millis.saturating_add(i64::from(self.nanos / 1_000_000)))
    }
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Example {
    #[prost(message, repeated, tag = "1")]
    pub(super) label: Vec<LabelPair>,
    #[prost(double, tag = "2")]
    pub(super) value: f64,
    #[prost(message, optional, tag = "3")]
    pub(super) timestamp: Option<Time>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Plain {
    #[prost(double, tag = "1")]
    pub(super) value: f64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Counter {
    #[prost(double, tag = "1")]
    pub(super) value: f64,
    #[prost(message, optional, tag = "2")]
    pub(super) exemplar: Option<Example>,
    #[prost(message, optional, tag = "3")]
    pub(super) created: Option<Time>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Quantile {
    #[prost(double, tag = "1")]
    pub(super) quantile: f64,
    #[prost(double, tag = "2")]
    pub(super) value: f64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Summary {
    #[prost(uint64, tag = "1")]
    pub(super) count: u64,
    #[prost(double, tag = "2")]
    pub(super) sum: f64,
    #[prost(message, repeated, tag = "3")]
    pub(super) quantile: Vec<Quantile>,
    #[prost(message, optional, tag = "4")]
    pub(super) created: Option<Time>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Bucket {
    #[prost(uint64, tag = "1")]
    pub(super) count: u64,
    #[prost(double, tag = "4")]
    pub(super) count_float: f64,
    #[prost(double, tag = "2")]
    pub(super) upper: f64,
    #[prost(message, optional, boxed, tag = "3")]
    pub(super) exemplar: Option<Box<Example>>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Both {
    #[prost(uint64, tag = "1")]
    pub(super) count: u64,
    #[prost(double, tag = "4")]
    pub(super) count_float: f64,
    #[prost(double, tag = "2")]
    pub(super) sum: f64,
    #[prost(message, repeated, tag = "3")]
    pub(super) bucket: Vec<Bucket>,
    #[prost(sint32, tag = "5")]
    pub(super) schema: i32,
    #[prost(double, tag = "6")]
    pub(super) zero_threshold: f64,
    #[prost(uint64, tag = "7")]
    pub(super) zero_count: u64,
    #[prost(double, tag = "8")]
    pub(super) zero_count_float: f64,
    #[prost(message, repeated, tag = "9")]
    pub(super) negative_span: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "10")]
    pub(super) negative_delta: Vec<i64>,
    #[prost(double, repeated, tag = "11")]
    pub(super) negative_count: Vec<f64>,
    #[prost(message, repeated, tag = "12")]
    pub(super) positive_span: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "13")]
    pub(super) positive_delta: Vec<i64>,
    #[prost(double, repeated, tag = "14")]
    pub(super) positive_count: Vec<f64>,
    #[prost(message, optional, tag = "15")]
    pub(super) created: Option<Time>,
    #[prost(message, repeated, tag = "16")]
    pub(super) exemplars: Vec<Example>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Metric {
    #[prost(message, repeated, tag = "1")]
    pub(super) label: Vec<LabelPair>,
    #[prost(message, optional, tag = "2")]
    pub(super) gauge: Option<Plain>,
    #[prost(message, optional, tag = "3")]
    pub(super) counter: Option<Counter>,
    #[prost(message, optional, tag = "4")]
    pub(super) summary: Option<Summary>,
    #[prost(message, optional, tag = "5")]
    pub(super) untyped: Option<Plain>,
    #[prost(int64, tag = "6")]
    pub(super) timestamp_ms: i64,
    #[prost(message, optional, tag = "7")]
    pub(super) histogram: Option<Both>,
}

/// A count, of whichever kind it is.
pub(super) fn count(whole: u64, float: f64) -> f64 {
    if float > 0.0 { float } else { whole as f64 }
}

impl Both {
    pub(super) fn is_native(&self) -> bool {
        let spans = !self.positive_span.is_empty() || !self.negative_span.is_empty();
        let zero = self.zero_count > 0 || self.zero_count_float > 0.0 || self.zero_threshold > 0.0;
        spans || zero
    }

    pub(super) fn read(&self, is_gauge: bool) -> Result<Histogram, Invalid> {
        let is_float = self.count_float > 0.0 || self.zero_count_float > 0.0;
        let about = Histogram {
            schema: self.schema,
            reset: if is_gauge { Reset::Gauge } else { Reset::Unknown },
            zero_threshold: self.zero_threshold,
            zero_count: count(self.zero_count, self.zero_count_float),
            count: count(self.count, self.count_float),
            sum: self.sum,
            ..Histogram::default()
        };
        let side = |spans, deltas, counts| match is_float {
            true => Side { spans, deltas: &[], counts },
            false => Side { spans, deltas, counts: &[] },
        };
        let positive = side(&self.positive_span, &self.positive_delta, &self.positive_count);
        let negative = side(&self.negative_span, &self.negative_delta, &self.negative_count);
        about.with_sides(positive, negative, &[])
    }
}
