//! Samples for those who read them of us: Prometheus's remote read, as a server.
//!
//! ```text
//! sampled    one message with all samples, one snappy block
//! streamed   a frame for each series: length, CRC-32C, message with XOR chunks
//! ```
//!
//! Written from Prometheus's description of the protocol; field numbers are those of `remote.proto`.
//!
//! Invariant: series come sorted by their labels, and an answer has no more samples than the limit.

use std::sync::Arc;

use base::family::MetricKind;
use base::labels::{Labels, LabelsBuilder};
use base::matcher::{MatchOp, Matcher};
use base::remote_write::{NativeSeries, Series, pack, query_result, unpack};
use base::sample::{Ended, Sample, Timestamp, is_stale};
use prost::Message;
use storage::{CHUNK_SAMPLES, SelectError, SeriesColumns, Storage, castagnoli, float_chunk};

/// The most samples of an answer, which is in memory as a whole; a sample takes some bytes streamed,
/// and some dozens sampled.
const MOST_SAMPLES: usize = 10_000_000;
/// The most bytes of a question when decompressed.
const MAX_QUESTION: usize = 4 << 20;
/// The most queries of a question.
const MOST_QUERIES: usize = 100;
/// How often a read begins again because samples moved to the disk meanwhile.
const ATTEMPTS: usize = 5;

/// The form that is asked for where it is accepted.
const STREAMED: i32 = 1;
const XOR: i32 = 1;

/// What is asked.
#[derive(Clone, Debug)]
pub struct Question {
    queries: Vec<Query>,
    /// Whether whoever asks can read streams.
    streamed: bool,
}

#[derive(Clone, Debug)]
struct Query {
    matchers: Vec<Matcher>,
    from: Timestamp,
    to: Timestamp,
}

/// The answer, with the headers that say what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The body.
    pub body: Vec<u8>,
    /// Its content type.
    pub content_type: &'static str,
    /// How it is packed, if it is.
    pub encoding: Option<&'static str>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There would be too many samples.
    #[error("the answer has more than {0} samples; ask for fewer series or a shorter time")]
    TooManySamples(usize),
    /// The samples cannot be read.
    #[error(transparent)]
    Storage(#[from] SelectError),
}

impl Question {
    /// Reads a body, of an evaluator whose series have `external_labels` outside.
    ///
    /// # Errors
    ///
    /// It is no such message, or asks by a wrong pattern; the text says why.
    pub fn read(body: &[u8], external_labels: &Labels) -> Result<Self, String> {
        let bytes = unpack(body, MAX_QUESTION).map_err(|error| error.to_string())?;
        let failed = |error: prost::DecodeError| format!("the body is no such message: {error}");
        let request = ReadRequest::decode(&*bytes).map_err(failed)?;
        if request.queries.len() > MOST_QUERIES {
            return Err(format!("there are more than {MOST_QUERIES} queries"));
        }
        let queries = request.queries.iter().map(|query| query.meant(external_labels));
        let queries = queries.collect::<Result<_, _>>()?;
        // Of the forms that are accepted the first that we know is taken, as Prometheus does.
        let forms = &request.accepted_response_types;
        let known = forms.iter().find(|form| (0..=STREAMED).contains(*form));
        Ok(Self { queries, streamed: known == Some(&STREAMED) })
    }

    /// The answer from `storage`. Streamed where that is asked for and there are no histograms, which
    /// are always sampled. Reads the disk.
    ///
    /// # Errors
    ///
    /// [`ReadError`]
    pub fn answer(&self, storage: &Storage, external_labels: &Labels) -> Result<Answer, ReadError> {
        if self.streamed
            && let Some(answer) = self.stream(storage, external_labels)?
        {
            return Ok(answer);
        }
        let mut left = MOST_SAMPLES;
        let mut results = Vec::new();
        for query in &self.queries {
            let found = query.collect(storage, external_labels, &mut left, |labels, columns| {
                Some((labels, samples(&columns), natives(&columns)))
            })?;
            let (mut series, mut with_natives) = (Vec::new(), Vec::new());
            for (labels, samples, histograms) in found.unwrap_or_default() {
                if !samples.is_empty() {
                    let (labels, kind) = (labels.clone(), MetricKind::Unknown);
                    let (help, unit) = (String::new(), String::new());
                    series.push(Series { labels, samples, kind, help, unit });
                }
                if !histograms.is_empty() {
                    with_natives.push(NativeSeries { labels, histograms, start: 0 });
                }
            }
            results.push(query_result(&series, &with_natives));
        }
        let body = pack(&ReadResponse { results }.encode_to_vec());
        let content_type = "application/x-protobuf";
        Ok(Answer { body, content_type, encoding: Some("snappy") })
    }

    /// The answer in frames; nothing where there are histograms in it.
    fn stream(
        &self,
        storage: &Storage,
        external_labels: &Labels,
    ) -> Result<Option<Answer>, ReadError> {
        let (mut left, mut body) = (MOST_SAMPLES, Vec::new());
        for (index, query) in self.queries.iter().enumerate() {
            let found = query.collect(storage, external_labels, &mut left, |labels, columns| {
                let floats = columns.histograms.is_empty();
                floats.then(|| (labels, chunks(&columns), ()))
            })?;
            let Some(found) = found else { return Ok(None) };
            for (labels, chunks, ()) in found {
                let labels = labels
                    .iter()
                    .map(|(name, value)| Label { name: name.to_owned(), value: value.to_owned() });
                let series = ChunkedSeries { labels: labels.collect(), chunks };
                let message =
                    ChunkedReadResponse { chunked_series: vec![series], query_index: index as i64 };
                push_frame(&mut body, &message.encode_to_vec());
            }
        }
        let content_type = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";
        Ok(Some(Answer { body, content_type, encoding: None }))
    }
}

/// A series as it is answered: its labels and two columns of it.
type Found<A, B> = (Labels, A, B);

impl Query {
    /// What `make` makes of each series, sorted by labels; nothing where it makes nothing of one.
    fn collect<A, B>(
        &self,
        storage: &Storage,
        external_labels: &Labels,
        left: &mut usize,
        mut make: impl FnMut(Labels, SeriesColumns<'_>) -> Option<Found<A, B>>,
    ) -> Result<Option<Vec<Found<A, B>>>, ReadError> {
        let mut attempt = 1;
        loop {
            let (mut found, mut all, mut rest, mut bytes) = (Vec::new(), true, *left, 0);
            let too_many = || ReadError::TooManySamples(MOST_SAMPLES);
            let scanned = storage.scan(
                &self.matchers,
                self.from,
                self.to,
                |more| {
                    bytes += more;
                    if bytes / size_of::<Sample>() > *left { Err(too_many()) } else { Ok(()) }
                },
                |columns| {
                    let count = columns.times.len();
                    rest = rest.checked_sub(count).ok_or_else(too_many)?;
                    match make(outside(columns.labels, external_labels), columns) {
                        Some(made) => found.push(made),
                        None => all = false,
                    }
                    Ok::<_, ReadError>(())
                },
            );
            match scanned {
                Err(ReadError::Storage(SelectError::Moved)) if attempt < ATTEMPTS => attempt += 1,
                Err(error) => return Err(error),
                Ok(()) => {
                    *left = rest;
                    found.sort_unstable_by(|a, b| a.0.cmp(&b.0));
                    return Ok(all.then_some(found));
                }
            }
        }
    }
}

/// The labels that a series has outside.
fn outside(labels: &Labels, external: &Labels) -> Labels {
    if external.is_empty() {
        return labels.clone();
    }
    let mut builder = LabelsBuilder::from(labels);
    for (name, value) in external.iter().filter(|(name, _)| labels.get(name).is_none()) {
        builder.set(name, value);
    }
    builder.build()
}

/// A value as others know it: they have one marker that ends a series.
fn told(value: f64) -> f64 {
    if is_stale(value) { Ended::Gone.value() } else { value }
}

fn samples(columns: &SeriesColumns<'_>) -> Vec<Sample> {
    let samples = columns.times.iter().zip(columns.values);
    let floats = samples.filter(|(_, value)| !base::histogram::is_tag(**value));
    let sample = |(time, value): (&i64, &f64)| Sample {
        timestamp: Timestamp::from_millis(*time),
        value: told(*value),
    };
    floats.map(sample).collect()
}

type Natives = Vec<(Timestamp, Option<Arc<base::histogram::Histogram>>)>;

fn natives(columns: &SeriesColumns<'_>) -> Natives {
    let place = |value: f64| {
        let tag = base::histogram::Tag::of(value)?;
        columns.histograms.get(usize::try_from(tag.place).ok()?).cloned()
    };
    let samples = columns.times.iter().zip(columns.values);
    let natives = samples.filter_map(|(time, value)| Some((time, place(*value)?)));
    natives.map(|(time, found)| (Timestamp::from_millis(*time), Some(found))).collect()
}

fn chunks(columns: &SeriesColumns<'_>) -> Vec<Chunk> {
    let values: Vec<f64> = columns.values.iter().map(|value| told(*value)).collect();
    let parts = columns.times.chunks(CHUNK_SAMPLES).zip(values.chunks(CHUNK_SAMPLES));
    let chunk = |(times, values): (&[i64], &[f64])| Chunk {
        min_time_ms: times.first().copied().unwrap_or_default(),
        max_time_ms: times.last().copied().unwrap_or_default(),
        kind: XOR,
        bytes: float_chunk(times, values),
    };
    parts.map(chunk).collect()
}

/// A message behind its length and its sum.
fn push_frame(to: &mut Vec<u8>, message: &[u8]) {
    // A varint is what a length before a message is in protobuf, too.
    if prost::encode_length_delimiter(message.len(), to).is_ok() {
        to.extend_from_slice(&castagnoli(message).to_be_bytes());
        to.extend_from_slice(message);
    }
}

impl QueryMessage {
    fn meant(&self, external_labels: &Labels) -> Result<Query, String> {
        let matcher = |message: &LabelMatcher| {
            let op = match message.kind {
                0 => MatchOp::Equal,
                1 => MatchOp::NotEqual,
                2 => MatchOp::Matches,
                3 => MatchOp::NotMatches,
                other => return Err(format!("there is no kind of matcher {other}")),
            };
            let LabelMatcher { name, value, .. } = message;
            // What is added to every series on its way out is in none of them here.
            if op == MatchOp::Equal && external_labels.get(name) == Some(value.as_str()) {
                return Ok(Matcher::equal(name, ""));
            }
            Matcher::new(name, op, value).map_err(|error| error.to_string())
        };
        Ok(Query {
            matchers: self.matchers.iter().map(matcher).collect::<Result<_, _>>()?,
            from: Timestamp::from_millis(self.start_timestamp_ms),
            to: Timestamp::from_millis(self.end_timestamp_ms),
        })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct ReadRequest {
    #[prost(message, repeated, tag = "1")]
    queries: Vec<QueryMessage>,
    #[prost(int32, repeated, tag = "2")]
    accepted_response_types: Vec<i32>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct QueryMessage {
    #[prost(int64, tag = "1")]
    start_timestamp_ms: i64,
    #[prost(int64, tag = "2")]
    end_timestamp_ms: i64,
    #[prost(message, repeated, tag = "3")]
    matchers: Vec<LabelMatcher>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct LabelMatcher {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    value: String,
}

/// Results as bytes, which are what a message within a message is.
#[derive(Clone, PartialEq, prost::Message)]
struct ReadResponse {
    #[prost(bytes = "vec", repeated, tag = "1")]
    results: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ChunkedReadResponse {
    #[prost(message, repeated, tag = "1")]
    chunked_series: Vec<ChunkedSeries>,
    #[prost(int64, tag = "2")]
    query_index: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ChunkedSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    chunks: Vec<Chunk>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Chunk {
    #[prost(int64, tag = "1")]
    min_time_ms: i64,
    #[prost(int64, tag = "2")]
    max_time_ms: i64,
    #[prost(int32, tag = "3")]
    kind: i32,
    #[prost(bytes = "vec", tag = "4")]
    bytes: Vec<u8>,
}

#[cfg(test)]
mod tests;
