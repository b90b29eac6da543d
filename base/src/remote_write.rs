//! Remote write: the message by which samples are pushed, in versions 1.0 and 2.0.
//!
//! ```text
//! series ── encode ──▶ protobuf ── snappy (one block) ──▶ body ── decode ──▶ series
//! ```
//!
//! Version 2.0 holds every text once and names it by its place, and says what each series means.
//! Both are implemented from Prometheus's remote write specifications.
//!
//! Invariant: whatever a body says of itself, it takes no more than the caller's limit when decompressed, and
//! what is kept of it as much once more; while it is read, some times that.

mod message;
mod wire;
mod hold;
mod read;
mod encode;
mod send;

pub use encode::{About, Outgoing, encode, encode_about, encode_all, query_result};
pub use hold::{Hold, Row, Rows};
pub use send::{Destination, Sender, Sent, Spoken};

use std::sync::Arc;

use crate::family::MetricKind;
use crate::histogram::Histogram;
use crate::labels::Labels;
use crate::sample::{Ended, Sample, Timestamp, without_markers};

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

/// What a message held; how its series are held, [`Hold`] says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Received<S = Vec<Series>> {
    /// The series with samples.
    pub series: S,
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
    /// What it holds would take more memory than the limit.
    #[error("what the body holds would take more than {0} bytes")]
    TooMuch(usize),
    /// It is not the protobuf message.
    #[error("the body is no such message: {0}")]
    Protobuf(String),
}

/// What `body` holds; decompressed it may have `limit` bytes, and what is read of it may take as many.
///
/// # Errors
///
/// [`DecodeError`]; what is wrong with single series is in the result.
pub fn decode(body: &[u8], version: Version, limit: usize) -> Result<Received, DecodeError> {
    decode_as(body, version, limit)
}

/// As [`decode`], with the series held in another way.
///
/// # Errors
///
/// As [`decode`].
pub fn decode_as<S: Hold>(
    body: &[u8],
    version: Version,
    limit: usize,
) -> Result<Received<S>, DecodeError> {
    let bytes = unpack(body, limit)?;
    let read = match version {
        Version::V1 => read::v1(&bytes, limit),
        Version::V2 => read::v2(&bytes, limit),
    };
    read.map_err(|wrong| wrong.after(limit))
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
