//! Metrics as a program offers them: families of samples with a name, a type and a help text.
//!
//! Invariant: a family's name is the one of the text format 0.0.4 (a counter's ends in `_total`);
//! the encoder derives the one of OpenMetrics.

use std::borrow::Cow;

use crate::sample::Timestamp;

/// Label names and values in the order in which they are written.
pub type LabelPairs = Vec<(Cow<'static, str>, String)>;

/// What the values of a family mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MetricKind {
    /// Only rises, or starts again at zero.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts of observations in buckets, with their sum and number.
    Histogram,
    /// A histogram whose buckets can fall.
    GaugeHistogram,
    /// Quantiles of observations, with their sum and number.
    Summary,
    /// A constant 1 whose labels are the news.
    Info,
    /// Several truths, one a sample.
    StateSet,
    /// Nobody said.
    #[default]
    Unknown,
}

impl MetricKind {
    /// The kind's name in OpenMetrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::GaugeHistogram => "gaugehistogram",
            Self::Summary => "summary",
            Self::Info => "info",
            Self::StateSet => "stateset",
            Self::Unknown => "unknown",
        }
    }
}

/// An example of what a bucket or counter counted.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// What it was: a trace id, say. At most 128 characters in all.
    pub labels: LabelPairs,
    /// Its value.
    pub value: f64,
    /// When it was observed.
    pub timestamp: Option<Timestamp>,
}

/// One sample of a family.
#[derive(Clone, Debug, PartialEq)]
pub struct FamilySample {
    /// What follows the family's name: nothing, `_bucket`, `_sum`, `_count`, `_created`.
    pub suffix: &'static str,
    /// The labels, without the name.
    pub labels: LabelPairs,
    /// The value.
    pub value: f64,
    /// When it was measured, where that is not "now".
    pub timestamp: Option<Timestamp>,
    /// An example of what was counted.
    pub exemplar: Option<Exemplar>,
}

/// Samples that share a name, a type and a help text.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricFamily {
    /// The name.
    pub name: String,
    /// What it measures, one sentence.
    pub help: String,
    /// The unit, which is then a suffix of the name; empty for none.
    pub unit: String,
    /// What the values mean.
    pub kind: MetricKind,
    /// The samples; those of one label set stand together.
    pub samples: Vec<FamilySample>,
}

impl MetricFamily {
    /// A family without samples.
    pub fn new(name: impl Into<String>, help: impl Into<String>, kind: MetricKind) -> Self {
        let (name, help) = (name.into(), help.into());
        Self { name, help, unit: String::new(), kind, samples: Vec::new() }
    }

    /// A gauge without samples.
    pub fn gauge(name: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(name, help, MetricKind::Gauge)
    }

    /// A counter without samples.
    pub fn counter(name: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(name, help, MetricKind::Counter)
    }

    /// Adds a sample.
    pub fn add(&mut self, labels: &[(&'static str, &str)], value: f64) -> &mut Self {
        let labels = labels.iter().map(|&(name, v)| (name.into(), v.to_owned())).collect();
        self.add_pairs("", labels, value)
    }

    /// Adds a sample whose label names are known at run time only, or whose name has a suffix.
    pub fn add_pairs(&mut self, suffix: &'static str, labels: LabelPairs, value: f64) -> &mut Self {
        self.samples.push(FamilySample { suffix, labels, value, timestamp: None, exemplar: None });
        self
    }

    /// The family with one more sample.
    #[must_use]
    pub fn with(mut self, labels: &[(&'static str, &str)], value: f64) -> Self {
        self.add(labels, value);
        self
    }
}
