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

use std::collections::HashMap;

use prost::Message;

use crate::family::MetricKind;
use crate::labels::{Labels, METRIC_NAME};
use crate::sample::{Ended, Sample, Timestamp, without_markers};
use message::{v1, v2};

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

/// What a message held.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Received {
    /// The series with samples.
    pub series: Vec<Series>,
    /// What is wrong with others, which are left out.
    pub refused: Vec<String>,
    /// Native histograms, which are left out.
    pub histograms: usize,
    /// Exemplars, which are left out.
    pub exemplars: usize,
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

/// The body that holds `series`.
pub fn encode(series: &[Series], version: Version) -> Vec<u8> {
    let message = match version {
        Version::V1 => v1_of(series).encode_to_vec(),
        Version::V2 => v2_of(series).encode_to_vec(),
    };
    // Compressing fails only for what is over 4 GiB, and then it is empty.
    snap::raw::Encoder::new().compress_vec(&message).unwrap_or_default()
}

/// What `body` holds; decompressed it may have `limit` bytes.
///
/// # Errors
///
/// [`DecodeError`]; what is wrong with single series is in the result.
pub fn decode(body: &[u8], version: Version, limit: usize) -> Result<Received, DecodeError> {
    let failed = |error: snap::Error| DecodeError::Snappy(error.to_string());
    let length = snap::raw::decompress_len(body).map_err(failed)?;
    if length > limit {
        return Err(DecodeError::TooLarge(length, limit));
    }
    let bytes = snap::raw::Decoder::new().decompress_vec(body).map_err(failed)?;
    let failed = |error: prost::DecodeError| DecodeError::Protobuf(error.to_string());
    match version {
        Version::V1 => Ok(from_v1(v1::WriteRequest::decode(&*bytes).map_err(failed)?)),
        Version::V2 => from_v2(&v2::Request::decode(&*bytes).map_err(failed)?),
    }
}

fn v1_of(series: &[Series]) -> v1::WriteRequest {
    let labels = |series: &Series| {
        let pairs = series.labels.iter();
        pairs.map(|(n, v)| v1::Label { name: n.to_owned(), value: v.to_owned() }).collect()
    };
    let timeseries = series.iter().map(|series| v1::TimeSeries {
        labels: labels(series),
        samples: series.samples.iter().map(message_sample).collect(),
        exemplars: Vec::new(),
        histograms: Vec::new(),
    });
    v1::WriteRequest { timeseries: timeseries.collect() }
}

fn v2_of(series: &[Series]) -> v2::Request {
    let mut symbols = Symbols::default();
    symbols.place("");
    let mut timeseries = Vec::with_capacity(series.len());
    for series in series {
        let mut labels_refs = Vec::with_capacity(2 * series.labels.len());
        for (name, value) in &series.labels {
            labels_refs.extend([symbols.place(name), symbols.place(value)]);
        }
        timeseries.push(v2::TimeSeries {
            labels_refs,
            samples: series.samples.iter().map(message_sample).collect(),
            histograms: Vec::new(),
            exemplars: Vec::new(),
            metadata: Some(v2::Metadata {
                kind: message::kind_number(series.kind),
                help_ref: symbols.place(&series.help),
                unit_ref: symbols.place(&series.unit),
            }),
        });
    }
    v2::Request { symbols: symbols.texts, timeseries }
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
    fn place(&mut self, text: &'a str) -> u32 {
        let Self { texts, places } = self;
        *places.entry(text).or_insert_with(|| {
            texts.push(text.to_owned());
            texts.len() as u32 - 1
        })
    }
}

fn from_v1(request: v1::WriteRequest) -> Received {
    let mut received = Received::default();
    for series in request.timeseries {
        received.histograms += series.histograms.len();
        received.exemplars += series.exemplars.len();
        let pairs = series.labels.iter().map(|label| (label.name.as_str(), label.value.as_str()));
        received.add(pairs, &series.samples, |_| {});
    }
    received
}

fn from_v2(request: &v2::Request) -> Result<Received, DecodeError> {
    let text = |place: u32| {
        let text = request.symbols.get(place as usize).map(String::as_str);
        text.ok_or_else(|| DecodeError::Protobuf(format!("there is no symbol {place}")))
    };
    let mut received = Received::default();
    for series in &request.timeseries {
        received.histograms += series.histograms.len();
        received.exemplars += series.exemplars.len();
        if series.labels_refs.len() % 2 != 0 {
            return Err(DecodeError::Protobuf("a label has no value".to_owned()));
        }
        let pairs = series.labels_refs.chunks_exact(2);
        let pairs = pairs.map(|pair| Ok((text(pair[0])?, text(pair[1])?)));
        let pairs: Vec<_> = pairs.collect::<Result<_, DecodeError>>()?;
        let about = series.metadata.unwrap_or_default();
        let (help, unit) = (text(about.help_ref)?, text(about.unit_ref)?);
        received.add(pairs.into_iter(), &series.samples, |series| {
            series.kind = message::kind_named(about.kind);
            series.help = help.to_owned();
            series.unit = unit.to_owned();
        });
    }
    Ok(received)
}

impl Received {
    /// Adds a series, or what is wrong with it.
    fn add<'a>(
        &mut self,
        pairs: impl Iterator<Item = (&'a str, &'a str)> + Clone,
        samples: &[message::Sample],
        complete: impl FnOnce(&mut Series),
    ) {
        let labels = Labels::from_pairs(pairs.clone());
        let count = pairs.clone().filter(|(_, value)| !value.is_empty()).count();
        if labels.get(METRIC_NAME).is_none() {
            return self.refused.push(format!("a series has no name: {labels}"));
        }
        // Of a name that comes twice one is left.
        if labels.len() != count {
            return self.refused.push(format!("a label comes twice or has no name: {labels}"));
        }
        if samples.is_empty() {
            return;
        }
        let samples = samples.iter().map(|sample| Sample {
            timestamp: Timestamp::from_millis(sample.timestamp),
            value: taken(sample.value.unwrap_or(0.0)),
        });
        let (samples, kind) = (samples.collect(), MetricKind::Unknown);
        let mut series = Series { labels, samples, kind, help: String::new(), unit: String::new() };
        complete(&mut series);
        self.series.push(series);
    }
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
mod tests {
    use super::*;

    fn series(name: &str, values: &[f64]) -> Series {
        let labels = Labels::from_pairs([(METRIC_NAME, name), ("job", "a"), ("zone", "a")]);
        let sample = |(at, value): (usize, &f64)| Sample {
            timestamp: Timestamp::from_millis(1000 * at as i64),
            value: *value,
        };
        let samples = values.iter().enumerate().map(sample).collect();
        let (kind, help) = (MetricKind::Gauge, "How hot.".to_owned());
        Series { labels, samples, kind, help, unit: "celsius".to_owned() }
    }

    fn bits(received: &Received) -> Vec<u64> {
        let samples = received.series.iter().flat_map(|series| &series.samples);
        samples.map(|sample| sample.value.to_bits()).collect()
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let stale = Ended::Gone.value();
        let sent = [series("a", &[1.0, -0.0, f64::INFINITY, stale]), series("b", &[f64::NAN])];
        for version in [Version::V1, Version::V2] {
            let body = encode(&sent, version);
            let got = decode(&body, version, 1 << 20).unwrap();
            assert_eq!(got.series.len(), 2);
            assert_eq!(got.series[0].labels, sent[0].labels);
            let expected = [1.0, -0.0, f64::INFINITY, stale, f64::NAN].map(f64::to_bits);
            assert_eq!(bits(&got), expected);
            let kinds = [MetricKind::Unknown, MetricKind::Gauge];
            assert_eq!(got.series[1].kind, kinds[usize::from(version == Version::V2)]);
            assert_eq!(Version::of_content_type(version.content_type()), Some(version));
        }
    }

    #[test]
    fn texts_of_2_0_stand_once_and_the_first_is_empty() {
        let request = v2_of(&[series("a", &[1.0]), series("b", &[2.0])]);
        let expected = ["", "__name__", "a", "job", "zone", "How hot.", "celsius", "b"];
        assert_eq!(request.symbols, expected);
    }

    #[test]
    fn single_series_are_refused_and_the_rest_is_taken() {
        let label = |name: &str, value: &str| v1::Label { name: name.into(), value: value.into() };
        let one = |labels| v1::TimeSeries {
            labels,
            samples: vec![message::Sample { value: Some(1.0), timestamp: 1 }],
            ..v1::TimeSeries::default()
        };
        let message = v1::WriteRequest {
            timeseries: vec![
                one(vec![label("job", "x")]),
                one(vec![label(METRIC_NAME, "x"), label("a", "1"), label("a", "2")]),
                one(vec![label(METRIC_NAME, "x"), label("empty", "")]),
                one(vec![label(METRIC_NAME, "x"), label("", "nameless")]),
            ],
        };
        let got = from_v1(message);
        assert_eq!((got.series.len(), got.refused.len()), (1, 3), "{got:?}");
    }

    #[test]
    fn what_claims_to_be_large_is_not_unpacked_x21() {
        // The length that a snappy block claims stands before everything else.
        let bomb = [0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0];
        let error = decode(&bomb, Version::V1, 1 << 20).unwrap_err();
        assert_eq!(error, DecodeError::TooLarge(u32::MAX as usize, 1 << 20));
        let zeros = snap::raw::Encoder::new().compress_vec(&vec![0; 2 << 20]).unwrap();
        assert!(matches!(decode(&zeros, Version::V1, 1 << 20), Err(DecodeError::TooLarge(..))));
    }

    #[test]
    fn broken_bodies_are_refused_and_never_panic_x22() {
        for version in [Version::V1, Version::V2] {
            let whole = v2_of(&[series("a", &[1.0, 2.0]), series("b", &[3.0])]).encode_to_vec();
            for at in 0..whole.len() {
                for bit in 0..8 {
                    let mut bytes = whole.clone();
                    bytes[at] ^= 1 << bit;
                    let body = snap::raw::Encoder::new().compress_vec(&bytes).unwrap();
                    let _ = decode(&body, version, 1 << 20);
                    let _ = decode(&bytes, version, 1 << 20);
                }
            }
            let cut = encode(&[series("a", &[1.0])], version);
            assert!(decode(&cut[..cut.len() - 3], version, 1 << 20).is_err());
        }
    }

    #[test]
    fn only_the_stale_marker_may_be_sent_f39() {
        let sent = series("a", &[Ended::Lost.value(), Ended::Removed.value(), -f64::NAN]);
        let got = decode(&encode(&[sent], Version::V2), Version::V2, 1 << 20).unwrap();
        assert!(bits(&got).iter().all(|bits| *bits == f64::NAN.to_bits()));
    }

    #[test]
    fn content_types_name_a_version_or_none() {
        let of = Version::of_content_type;
        assert_eq!(of("application/x-protobuf; proto=prometheus.WriteRequest"), Some(Version::V1));
        assert_eq!(of("application/x-protobuf;proto=x.Y"), None);
        assert_eq!(of("application/json"), None);
    }
}
