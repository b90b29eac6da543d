//! The protobuf messages of remote write, as far as we read and write them.
//!
//! Field numbers are those of `prometheus/prompb` (`remote.proto`, `types.proto`) and of
//! `io.prometheus.write.v2`; native histograms and exemplars are counted, not read.
//!
//! Invariant: a field that is not here is let through unread.

use crate::family::MetricKind;

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

/// What is only counted.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct Unread {}

/// The messages of 1.0.
pub(super) mod v1 {
    use super::{Sample, Unread};

    #[derive(Clone, PartialEq, prost::Message)]
    pub(in super::super) struct WriteRequest {
        #[prost(message, repeated, tag = "1")]
        pub(in super::super) timeseries: Vec<TimeSeries>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(in super::super) struct TimeSeries {
        #[prost(message, repeated, tag = "1")]
        pub(in super::super) labels: Vec<Label>,
        #[prost(message, repeated, tag = "2")]
        pub(in super::super) samples: Vec<Sample>,
        #[prost(message, repeated, tag = "3")]
        pub(in super::super) exemplars: Vec<Unread>,
        #[prost(message, repeated, tag = "4")]
        pub(in super::super) histograms: Vec<Unread>,
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
    use super::{Sample, Unread};

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
        pub(in super::super) histograms: Vec<Unread>,
        #[prost(message, repeated, tag = "4")]
        pub(in super::super) exemplars: Vec<Unread>,
        #[prost(message, optional, tag = "5")]
        pub(in super::super) metadata: Option<Metadata>,
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
