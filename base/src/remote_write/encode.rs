//! What is sent: the messages of 1.0 and 2.0.
//!
//! Invariant: both versions say the same of samples, histograms and exemplars; what metrics mean has
//! messages of its own in 1.0, and stands with each series in 2.0.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use prost::Message;

use super::message::{self, v1, v2};
use super::{Exemplar, NativeSeries, Series, Version, pack};
use crate::family::MetricKind;
use crate::histogram::Histogram;
use crate::labels::Labels;
use crate::sample::{Ended, Sample, Timestamp};

/// What a message is made of.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outgoing<'a> {
    /// Series with samples.
    pub series: &'a [Series],
    /// Since when the samples of each series count, as [`Received::starts`](super::Received::starts)
    /// has it; 0 for those behind its end. Only 2.0 says it.
    pub starts: &'a [i64],
    /// Series with native histograms.
    pub natives: &'a [NativeSeries],
    /// Examples of what series counted.
    pub exemplars: &'a [Exemplar],
    /// What is said of metrics, by their names, for series that do not say it. Only 2.0 says it.
    pub about: Option<&'a BTreeMap<String, About>>,
}

/// What is said of a metric.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// What its values mean.
    pub kind: MetricKind,
    /// The unit; empty for none.
    pub unit: String,
    /// What it measures.
    pub help: String,
}

/// The body that holds `series`.
pub fn encode(series: &[Series], version: Version) -> Vec<u8> {
    encode_all(Outgoing { series, ..Outgoing::default() }, version)
}

/// The body that holds all of `outgoing`.
pub fn encode_all(outgoing: Outgoing<'_>, version: Version) -> Vec<u8> {
    let message = match version {
        Version::V1 => v1_of(outgoing).encode_to_vec(),
        Version::V2 => v2_of(outgoing).encode_to_vec(),
    };
    pack(&message)
}

/// The body by which 1.0 says what metrics mean.
pub fn encode_about<'a>(metrics: impl Iterator<Item = (&'a String, &'a About)>) -> Vec<u8> {
    let metadata = metrics.map(|(name, about)| v1::Metadata {
        kind: message::kind_number(about.kind),
        name: name.clone(),
        help: about.help.clone(),
        unit: about.unit.clone(),
    });
    pack(&v1::AboutRequest { metadata: metadata.collect() }.encode_to_vec())
}

/// The series as the result of a query of remote read has them: a message that holds the same, not
/// packed.
pub fn query_result(series: &[Series], natives: &[NativeSeries]) -> Vec<u8> {
    v1_of(Outgoing { series, natives, ..Outgoing::default() }).encode_to_vec()
}

pub(super) fn v1_of(outgoing: Outgoing<'_>) -> v1::WriteRequest {
    let labels = |labels: &Labels| {
        let pairs = labels.iter();
        pairs.map(|(n, v)| v1::Label { name: n.to_owned(), value: v.to_owned() }).collect()
    };
    let floats = outgoing.series.iter().map(|series| v1::TimeSeries {
        labels: labels(&series.labels),
        samples: series.samples.iter().map(message_sample).collect(),
        ..v1::TimeSeries::default()
    });
    let natives = outgoing.natives.iter().map(|series| v1::TimeSeries {
        labels: labels(&series.labels),
        histograms: message_histograms(series),
        ..v1::TimeSeries::default()
    });
    // Behind the samples of their series, which must be known when they come.
    let exemplars = outgoing.exemplars.iter().map(|exemplar| v1::TimeSeries {
        labels: labels(&exemplar.series),
        exemplars: vec![v1::Exemplar {
            labels: labels(&exemplar.labels),
            value: exemplar.value,
            timestamp: exemplar.timestamp.millis(),
        }],
        ..v1::TimeSeries::default()
    });
    v1::WriteRequest { timeseries: floats.chain(natives).chain(exemplars).collect() }
}

pub(super) fn v2_of(outgoing: Outgoing<'_>) -> v2::Request {
    let Outgoing { series, starts, natives, exemplars, about } = outgoing;
    let mut symbols = Symbols::default();
    symbols.place("");
    let mut timeseries = Vec::with_capacity(series.len() + natives.len() + exemplars.len());
    for (at, series) in series.iter().enumerate() {
        let own = (series.kind, series.help.as_str(), series.unit.as_str());
        let says_nothing = own == (MetricKind::Unknown, "", "");
        let labels_refs = symbols.labels(&series.labels);
        let metadata = match said(about, &series.labels).filter(|_| says_nothing) {
            Some(about) => symbols.metadata(about.kind, &about.help, &about.unit),
            None => symbols.metadata(series.kind, &series.help, &series.unit),
        };
        timeseries.push(v2::TimeSeries {
            labels_refs,
            created_timestamp: starts.get(at).copied().unwrap_or_default(),
            samples: series.samples.iter().map(message_sample).collect(),
            metadata: Some(metadata),
            ..v2::TimeSeries::default()
        });
    }
    for series in natives {
        let about = said(about, &series.labels);
        timeseries.push(v2::TimeSeries {
            labels_refs: symbols.labels(&series.labels),
            histograms: message_histograms(series),
            created_timestamp: series.start,
            metadata: about.map(|about| symbols.metadata(about.kind, &about.help, &about.unit)),
            ..v2::TimeSeries::default()
        });
    }
    for exemplar in exemplars {
        timeseries.push(v2::TimeSeries {
            labels_refs: symbols.labels(&exemplar.series),
            exemplars: vec![v2::Exemplar {
                labels_refs: symbols.labels(&exemplar.labels),
                value: exemplar.value,
                timestamp: exemplar.timestamp.millis(),
            }],
            ..v2::TimeSeries::default()
        });
    }
    v2::Request { symbols: symbols.texts, timeseries }
}

/// What is said of a series: of the metric with its name, or of the one that it is a part of.
fn said<'a>(about: Option<&'a BTreeMap<String, About>>, labels: &Labels) -> Option<&'a About> {
    use MetricKind::{Counter, GaugeHistogram, Histogram, Info, Summary};
    let (about, name) = (about?, labels.metric_name());
    if let Some(found) = about.get(name) {
        return Some(found);
    }
    let (family, part) = name.rsplit_once('_')?;
    let parts: &[MetricKind] = match part {
        "bucket" => &[Histogram, GaugeHistogram],
        "sum" | "count" => &[Histogram, Summary],
        "gsum" | "gcount" => &[GaugeHistogram],
        "total" => &[Counter],
        "created" => &[Counter, Histogram, Summary],
        "info" => &[Info],
        _ => return None,
    };
    about.get(family).filter(|about| parts.contains(&about.kind))
}

/// A marker travels as a histogram whose sum is one.
fn message_histograms(series: &NativeSeries) -> Vec<message::Histogram> {
    let gone = Histogram { sum: Ended::Gone.value(), ..Histogram::default() };
    let message = |(at, histogram): &(Timestamp, Option<Arc<Histogram>>)| {
        message::Histogram::of(*at, histogram.as_deref().unwrap_or(&gone))
    };
    series.histograms.iter().map(message).collect()
}

fn message_sample(sample: &Sample) -> message::Sample {
    message::Sample { value: Some(sample.value), timestamp: sample.timestamp.millis() }
}

/// Texts, each once.
#[derive(Default)]
struct Symbols<'a> {
    texts: Vec<String>,
    places: HashMap<&'a str, u32>,
}

impl<'a> Symbols<'a> {
    /// Names and values in turn.
    fn labels(&mut self, labels: &'a Labels) -> Vec<u32> {
        labels.iter().flat_map(|(name, value)| [self.place(name), self.place(value)]).collect()
    }

    fn metadata(&mut self, kind: MetricKind, help: &'a str, unit: &'a str) -> v2::Metadata {
        let kind = message::kind_number(kind);
        v2::Metadata { kind, help_ref: self.place(help), unit_ref: self.place(unit) }
    }

    fn place(&mut self, text: &'a str) -> u32 {
        let Self { texts, places } = self;
        *places.entry(text).or_insert_with(|| {
            texts.push(text.to_owned());
            texts.len() as u32 - 1
        })
    }
}
