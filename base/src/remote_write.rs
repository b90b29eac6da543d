//! Remote write: the message by which samples are pushed, in versions 1.0 and 2.0.
//!
//! ```text
//! series ── encode ──▶ protobuf ── snappy (one block) ──▶ body ── decode ──▶ series
//! ```
//!
//! Version 2.0 holds every text once and names it by its place, and says what each series means.
//! Both are implemented from Prometheus's remote write specifications.
//!
//! Invariant: a body never takes more memory than the caller's limit, whatever it says of itself.

mod message;
mod plain;
mod encode;
mod send;

pub use encode::{About, Outgoing, encode, encode_about, encode_all, query_result};
pub use send::{Destination, Sender, Sent, Spoken};

use std::sync::Arc;

use prost::Message;

use crate::family::MetricKind;
use crate::histogram::Histogram;
use crate::labels::{Labels, METRIC_NAME};
use crate::sample::{Ended, Sample, Timestamp, without_markers};
use message::v2;

/// The header that names the version.
pub const VERSION_HEADER: &str = "x-prometheus-remote-write-version";
/// The headers by which a receiver of 2.0 says how many it has written: samples, histograms,
/// exemplars.
pub const WRITTEN_HEADERS: [&str; 3] = [
    "x-prometheus-remote-write-samples-written",
    "x-prometheus-remote-write-histograms-written",
    "x-prometheus-remote-write-exemplars-written",
];

/// A version of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// 1.0
    V1,
    /// 2.0
    V2,
}

impl Version {
    /// The content type that it is sent with.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::V1 => "application/x-protobuf",
            Self::V2 => "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        }
    }

    /// What [`VERSION_HEADER`] says of it.
    pub fn header(self) -> &'static str {
        match self {
            Self::V1 => "0.1.0",
            Self::V2 => "2.0.0",
        }
    }

    /// The version that a content type names; nothing for one that is none.
    pub fn of_content_type(text: &str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        if !parts.next()?.eq_ignore_ascii_case("application/x-protobuf") {
            return None;
        }
        let proto = parts.find_map(|part| part.strip_prefix("proto="));
        match proto.map(|name| name.trim_matches('"')) {
            None | Some("prometheus.WriteRequest") => Some(Self::V1),
            Some("io.prometheus.write.v2.Request") => Some(Self::V2),
            Some(_) => None,
        }
    }
}

/// A series on its way.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// The labels, with the name.
    pub labels: Labels,
    /// The samples, in order of time. A stale marker is a value.
    pub samples: Vec<Sample>,
    /// What the values mean; only 2.0 says it.
    pub kind: MetricKind,
    /// What is measured; only 2.0 says it.
    pub help: String,
    /// The unit; only 2.0 says it.
    pub unit: String,
}

/// The native histograms of a series.
#[derive(Clone, Debug, PartialEq)]
pub struct NativeSeries {
    /// The labels, with the name.
    pub labels: Labels,
    /// In order of time; none is the marker that ends the series.
    pub histograms: Vec<(Timestamp, Option<Arc<Histogram>>)>,
    /// Since when they count, in milliseconds since the Unix epoch; 0 where it is not known.
    pub start: i64,
}

/// An example of what a series counted.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// The labels of the series, with the name.
    pub series: Labels,
    /// What it was: a trace id, say.
    pub labels: Labels,
    /// Its value.
    pub value: f64,
    /// When it was observed.
    pub timestamp: Timestamp,
}

/// What a message held.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Received {
    /// The series with samples.
    pub series: Vec<Series>,
    /// Since when the samples of each series count, in milliseconds since the Unix epoch; 0 where it
    /// is not known. As long as `series`; 1.0 says nothing of it.
    pub starts: Vec<i64>,
    /// What is wrong with others, which are left out.
    pub refused: Vec<String>,
    /// The series with native histograms.
    pub natives: Vec<NativeSeries>,
    /// What is wrong with other histograms, which are left out.
    pub refused_histograms: Vec<String>,
    /// Examples.
    pub exemplars: Vec<Exemplar>,
}

/// Why a body is no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It is not a snappy block.
    #[error("the body is no snappy block: {0}")]
    Snappy(String),
    /// It would be larger than the limit.
    #[error("the body is {0} bytes when decompressed, more than {1}")]
    TooLarge(usize, usize),
    /// It is not the protobuf message.
    #[error("the body is no such message: {0}")]
    Protobuf(String),
}

/// What `body` holds; decompressed it may have `limit` bytes.
///
/// # Errors
///
/// [`DecodeError`]; what is wrong with single series is in the result.
pub fn decode(body: &[u8], version: Version, limit: usize) -> Result<Received, DecodeError> {
    let bytes = unpack(body, limit)?;
    let failed = |error: prost::DecodeError| DecodeError::Protobuf(error.to_string());
    match version {
        Version::V1 => plain::read(&bytes),
        Version::V2 => from_v2(&v2::Request::decode(&*bytes).map_err(failed)?),
    }
}

/// `bytes` as one snappy block.
pub fn pack(bytes: &[u8]) -> Vec<u8> {
    // Compressing fails only for what is over 4 GiB, and then it is empty.
    snap::raw::Encoder::new().compress_vec(bytes).unwrap_or_default()
}

/// What is in the snappy block `body`, which may be `limit` bytes.
///
/// # Errors
///
/// It is no such block, or larger.
pub fn unpack(body: &[u8], limit: usize) -> Result<Vec<u8>, DecodeError> {
    let failed = |error: snap::Error| DecodeError::Snappy(error.to_string());
    let length = snap::raw::decompress_len(body).map_err(failed)?;
    if length > limit {
        return Err(DecodeError::TooLarge(length, limit));
    }
    snap::raw::Decoder::new().decompress_vec(body).map_err(failed)
}

fn from_v2(request: &v2::Request) -> Result<Received, DecodeError> {
    let text = |place: u32| {
        let text = request.symbols.get(place as usize).map(String::as_str);
        text.ok_or_else(|| DecodeError::Protobuf(format!("there is no symbol {place}")))
    };
    let pairs = |refs: &[u32]| -> Result<Vec<_>, DecodeError> {
        if !refs.len().is_multiple_of(2) {
            return Err(DecodeError::Protobuf("a label has no value".to_owned()));
        }
        refs.chunks_exact(2).map(|pair| Ok((text(pair[0])?, text(pair[1])?))).collect()
    };
    let mut received = Received::default();
    for series in &request.timeseries {
        let about = series.metadata.unwrap_or_default();
        let (help, unit) = (text(about.help_ref)?, text(about.unit_ref)?);
        let exemplars = series.exemplars.iter().map(|exemplar| {
            let labels = Labels::from_pairs(pairs(&exemplar.labels_refs)?);
            Ok(Example { labels, value: exemplar.value, timestamp: exemplar.timestamp })
        });
        let exemplars = exemplars.collect::<Result<_, DecodeError>>()?;
        let pairs = pairs(&series.labels_refs)?;
        let Some(labels) = received.labels(pairs.into_iter()) else { continue };
        received.add(&labels, &series.samples, series.created_timestamp, |series| {
            series.kind = message::kind_named(about.kind);
            series.help = help.to_owned();
            series.unit = unit.to_owned();
        });
        received.add_more(&labels, &series.histograms, exemplars, series.created_timestamp);
    }
    Ok(received)
}

/// An exemplar of a series.
struct Example {
    labels: Labels,
    value: f64,
    timestamp: i64,
}

impl Received {
    /// The labels of a series, or a note of what is wrong with them.
    fn labels<'a>(
        &mut self,
        pairs: impl Iterator<Item = (&'a str, &'a str)> + Clone,
    ) -> Option<Labels> {
        // Nearly all senders sort them, and then no other room is needed to build the set.
        if is_sorted(pairs.clone()) && pairs.clone().any(|(name, _)| name == METRIC_NAME) {
            return Some(Labels::from_sorted(pairs));
        }
        let labels = Labels::from_pairs(pairs.clone());
        let count = pairs.clone().filter(|(_, value)| !value.is_empty()).count();
        if labels.get(METRIC_NAME).is_none() {
            self.refused.push(format!("a series has no name: {labels}"));
            return None;
        }
        // Of a name that comes twice one is left.
        if labels.len() != count {
            self.refused.push(format!("a label comes twice or has no name: {labels}"));
            return None;
        }
        Some(labels)
    }

    /// Adds a series, if it has samples.
    fn add(
        &mut self,
        labels: &Labels,
        samples: &[message::Sample],
        start: i64,
        complete: impl FnOnce(&mut Series),
    ) {
        if samples.is_empty() {
            return;
        }
        let samples = samples.iter().map(|sample| Sample {
            timestamp: Timestamp::from_millis(sample.timestamp),
            value: taken(sample.value.unwrap_or(0.0)),
        });
        let (samples, kind) = (samples.collect(), MetricKind::Unknown);
        let labels = labels.clone();
        let mut series = Series { labels, samples, kind, help: String::new(), unit: String::new() };
        complete(&mut series);
        self.series.push(series);
        self.starts.push(start);
    }

    /// Adds the native histograms of a series, as far as they can be, and its exemplars.
    fn add_more(
        &mut self,
        labels: &Labels,
        histograms: &[message::Histogram],
        exemplars: Vec<Example>,
        start: i64,
    ) {
        let exemplars = exemplars.into_iter().map(|Example { labels: own, value, timestamp }| {
            let timestamp = Timestamp::from_millis(timestamp);
            Exemplar { series: labels.clone(), labels: own, value, timestamp }
        });
        self.exemplars.extend(exemplars);
        let mut read = Vec::new();
        for message in histograms {
            match message.read() {
                (at, Ok(histogram)) => read.push((at, histogram.map(Arc::new))),
                (_, Err(why)) => self.refused_histograms.push(format!("{why}: {labels}")),
            }
        }
        if !read.is_empty() {
            self.natives.push(NativeSeries { labels: labels.clone(), histograms: read, start });
        }
    }
}

/// Whether a set can be built of `pairs` as they are: sorted, each name once, nothing empty.
fn is_sorted<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> bool {
    let mut before = "";
    let mut pairs = pairs;
    pairs.all(|(name, value)| {
        let rises = before < name && !value.is_empty();
        before = name;
        rises
    })
}

/// Of all that is not a number only the stale marker means something; our own further markers are
/// not for others to send.
fn taken(value: f64) -> f64 {
    match Ended::from_value(value) {
        Some(Ended::Gone) => value,
        _ => without_markers(value),
    }
}

#[cfg(test)]
mod tests;
