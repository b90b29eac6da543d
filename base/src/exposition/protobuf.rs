//! The protobuf form of metrics, the only one that carries native histograms.
//!
//! ```text
//! bytes ──feed──▶ length, family, length, family, ..     each metric of a family ──▶ Entry
//! ```
//!
//! Field numbers are those of `io/prometheus/client/metrics.proto`. A series is handed on as the text
//! that it would have in the text format, so that whoever knows a series by its text finds it again.
//!
//! Invariant: one family is in memory at a time as bytes, and one of its metrics decoded: a body takes
//! no more memory than its limit, whatever it says of itself. Nor does what it says as text: a name stands
//! once a family, and labels once a histogram, but both in the text of each series (X22).

mod message;

use std::borrow::Cow;

use prost::Message;

use super::{Entry, Format, MAX_LINE, ParseError, SampleEntry};
use crate::family::{Exemplar, MetricKind};
use crate::labels::{is_legacy_label_name, is_legacy_metric_name};
use crate::number;
use crate::sample::Timestamp;
use message::{Both, Example, LabelPair, Metric, Plain, Quantile, Time, count};

/// The largest metric: a histogram of some ten thousand buckets.
const MAX_METRIC: usize = 1 << 20;

/// What the types are by their number.
const KINDS: [MetricKind; 6] = [
    MetricKind::Counter,
    MetricKind::Gauge,
    MetricKind::Summary,
    MetricKind::Unknown,
    MetricKind::Histogram,
    MetricKind::GaugeHistogram,
];

/// Which form of a histogram is wanted that has both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Histograms {
    /// Classic buckets, as in text.
    #[default]
    Classic,
    /// The native form, and classic buckets of those that have no other.
    Native,
    /// Both.
    Both,
}

/// Reads a body piece by piece.
#[derive(Debug)]
pub struct ProtobufParser {
    histograms: Histograms,
    max_body: usize,
    bytes: usize,
    /// What has come of the next family.
    partial: Vec<u8>,
    /// Which family it is, from 1.
    number: u64,
    room: Room,
}

/// Where the texts of series are made, and how long they may be yet, all together.
#[derive(Debug)]
struct Room {
    text: String,
    left: usize,
}

impl ProtobufParser {
    /// A parser for a body of at most `max_body` bytes.
    pub fn new(histograms: Histograms, max_body: usize) -> Self {
        let (partial, room) = (Vec::new(), Room { text: String::new(), left: max_body });
        Self { histograms, max_body, bytes: 0, partial, number: 1, room }
    }

    /// Reads a further piece and hands its entries to `entry`, whose error ends the reading.
    ///
    /// # Errors
    ///
    /// It is not that protobuf, the body is too long, or `entry` failed. The line of the error is the
    /// number of the family.
    pub fn feed<E: From<ParseError>>(
        &mut self,
        chunk: &[u8],
        entry: &mut impl FnMut(Entry<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.bytes = self.bytes.saturating_add(chunk.len());
        if self.bytes > self.max_body {
            let why = format!("the body is over its limit of {} bytes", self.max_body);
            return Err(self.error(why).into());
        }
        self.partial.extend_from_slice(chunk);
        let all = std::mem::take(&mut self.partial);
        let mut rest = all.as_slice();
        loop {
            let mut from = rest;
            let Some(length) = varint(&mut from) else {
                if rest.len() >= 10 {
                    return Err(self.error("the length of a family is none".to_owned()).into());
                }
                break;
            };
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            if length > self.max_body {
                let why = format!("a family is over the limit of {} bytes", self.max_body);
                return Err(self.error(why).into());
            }
            let Some((family, after)) = from.split_at_checked(length) else { break };
            self.family(family, entry)?;
            self.number += 1;
            rest = after;
        }
        let used = all.len() - rest.len();
        self.partial = all;
        self.partial.drain(..used);
        Ok(())
    }

    /// Says whether all that came was whole.
    ///
    /// # Errors
    ///
    /// The last family is cut off.
    pub fn finish(&mut self) -> Result<(), ParseError> {
        if self.partial.is_empty() {
            Ok(())
        } else {
            Err(self.error("the body ends in the midst of a family".to_owned()))
        }
    }

    fn error(&self, reason: String) -> ParseError {
        ParseError { line: self.number, reason }
    }

    fn family<E: From<ParseError>>(
        &mut self,
        bytes: &[u8],
        entry: &mut impl FnMut(Entry<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let damaged = || self.error("a family is no such protobuf message".to_owned());
        let (mut name, mut help, mut unit, mut kind) = ("", "", "", 0);
        for field in Fields(bytes) {
            let field = field.ok_or_else(damaged)?;
            let text = field.bytes.map(std::str::from_utf8);
            let text = || text.and_then(Result::ok).ok_or_else(damaged);
            match field.number {
                1 => name = text()?,
                2 => help = text()?,
                5 => unit = text()?,
                3 => kind = field.value,
                _ => {}
            }
        }
        let kind = usize::try_from(kind).ok().and_then(|kind| KINDS.get(kind).copied());
        let kind = kind.unwrap_or_default();
        if name.is_empty() {
            return Err(self.error("a family has no name".to_owned()).into());
        }
        if !help.is_empty() {
            entry(Entry::Help { name: Cow::Borrowed(name), text: Cow::Borrowed(help) })?;
        }
        entry(Entry::Type { name: Cow::Borrowed(name), kind })?;
        if !unit.is_empty() {
            entry(Entry::Unit { name: Cow::Borrowed(name), unit: Cow::Borrowed(unit) })?;
        }
        for field in Fields(bytes) {
            let field = field.ok_or_else(|| self.error("a family is damaged".to_owned()))?;
            let Some(bytes) = field.bytes.filter(|_| field.number == 4) else { continue };
            if bytes.len() > MAX_METRIC {
                let why = format!("a metric of `{name}` is over {MAX_METRIC} bytes");
                return Err(self.error(why).into());
            }
            let metric = Metric::decode(bytes)
                .map_err(|error| self.error(format!("a metric of `{name}`: {error}")))?;
            self.metric(name, kind, &metric, entry)?;
        }
        Ok(())
    }

    fn metric<E: From<ParseError>>(
        &mut self,
        name: &str,
        kind: MetricKind,
        metric: &Metric,
        entry: &mut impl FnMut(Entry<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let timestamp = Some(metric.timestamp_ms).filter(|millis| *millis != 0);
        let about = About {
            name,
            kind,
            labels: &metric.label,
            timestamp: timestamp.map(Timestamp::from_millis),
            line: self.number,
        };
        let Metric { gauge, counter, summary, untyped, histogram, .. } = metric;
        if let Some(counter) = counter {
            let exemplar = counter.exemplar.as_ref().map(exemplar);
            let sample = Value { value: counter.value, exemplar, start: counter.created };
            return entry(Entry::Sample(about.sample(&mut self.room, "", None, sample)?));
        }
        if let Some(Plain { value }) = gauge.or(*untyped) {
            return entry(Entry::Sample(about.sample(&mut self.room, "", None, value.into())?));
        }
        if let Some(summary) = summary {
            let of = |value: f64| Value { value, exemplar: None, start: summary.created };
            for Quantile { quantile, value } in &summary.quantile {
                let label = Some(("quantile", *quantile));
                let value = Value::from(*value);
                entry(Entry::Sample(about.sample(&mut self.room, "", label, value)?))?;
            }
            let (sum, count) = (of(summary.sum), of(summary.count as f64));
            entry(Entry::Sample(about.sample(&mut self.room, "_sum", None, sum)?))?;
            return entry(Entry::Sample(about.sample(&mut self.room, "_count", None, count)?));
        }
        let Some(histogram) = histogram else { return Ok(()) };
        let native = histogram.is_native() && self.histograms != Histograms::Classic;
        if native {
            let read = histogram.read(kind == MetricKind::GaugeHistogram);
            let read = read.map_err(|why| self.error(format!("`{name}`: {why}")))?;
            let first = histogram.exemplars.first().map(exemplar);
            let value = Value { value: f64::NAN, exemplar: first, start: histogram.created };
            let sample = about.sample(&mut self.room, "", None, value)?;
            entry(Entry::Histogram(sample, read))?;
        }
        if !native || (self.histograms == Histograms::Both && !histogram.bucket.is_empty()) {
            histogram.classic(&about, &mut self.room, entry)?;
        }
        Ok(())
    }
}

/// Whether a `Content-Type` is that of the families one after the other, each with its length before
/// it; who names no message and no encoding means these.
pub fn is_protobuf(content_type: &str) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    let is_ours = |part: &str| match part.split_once('=') {
        Some(("proto", message)) => {
            message.trim_matches('"') == "io.prometheus.client.MetricFamily"
        }
        Some(("encoding", encoding)) => encoding.trim_matches('"') == "delimited",
        _ => true,
    };
    parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/vnd.google.protobuf"))
        && parts.all(is_ours)
}

/// What the samples of a metric have in common.
struct About<'a> {
    name: &'a str,
    kind: MetricKind,
    labels: &'a [LabelPair],
    timestamp: Option<Timestamp>,
    line: u64,
}

/// A value with what stands beside it.
struct Value {
    value: f64,
    exemplar: Option<Exemplar>,
    start: Option<Time>,
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self { value, exemplar: None, start: None }
    }
}

impl About<'_> {
    /// A sample of the series `name` + `suffix` with a label more, whose text is made in `room`.
    fn sample<'t>(
        &self,
        room: &'t mut Room,
        suffix: &str,
        bound: Option<(&str, f64)>,
        Value { value, exemplar, start }: Value,
    ) -> Result<SampleEntry<'t>, ParseError> {
        let Room { text, left } = room;
        text.clear();
        let legacy = is_legacy_metric_name(self.name);
        if legacy {
            text.push_str(self.name);
            text.push_str(suffix);
            text.push('{');
        } else {
            text.push('{');
            let name = format!("{}{suffix}", self.name);
            quote(text, &name);
        }
        let mut first = legacy;
        let mut separate = |text: &mut String| {
            if !std::mem::take(&mut first) {
                text.push(',');
            }
        };
        for LabelPair { name, value } in self.labels {
            separate(text);
            if is_legacy_label_name(name) {
                text.push_str(name);
            } else {
                quote(text, name);
            }
            text.push('=');
            quote(text, value);
        }
        if let Some((name, bound)) = bound {
            separate(text);
            text.push_str(name);
            text.push('=');
            quote(text, &number::shortest(bound));
        }
        text.push('}');
        let refused = |reason: String| ParseError { line: self.line, reason };
        if text.len() > MAX_LINE {
            return Err(refused(format!("name and labels of a series are over {MAX_LINE} bytes")));
        }
        *left = left
            .checked_sub(text.len())
            .ok_or_else(|| refused("as text the body would be over its limit".to_owned()))?;
        Ok(SampleEntry {
            series: text,
            value,
            timestamp: self.timestamp,
            exemplar,
            start: start.map(Time::timestamp),
            kind: self.kind,
            format: Format::Text,
            line: self.line,
        })
    }
}

fn quote(to: &mut String, text: &str) {
    to.push('"');
    for char in text.chars() {
        match char {
            '\\' => to.push_str("\\\\"),
            '"' => to.push_str("\\\""),
            '\n' => to.push_str("\\n"),
            other => to.push(other),
        }
    }
    to.push('"');
}

fn exemplar(example: &Example) -> Exemplar {
    let pair = |pair: &LabelPair| (Cow::Owned(pair.name.clone()), pair.value.clone());
    Exemplar {
        labels: example.label.iter().map(pair).collect(),
        value: example.value,
        timestamp: example.timestamp.map(Time::timestamp),
    }
}

impl Both {
    fn classic<E: From<ParseError>>(
        &self,
        about: &About<'_>,
        room: &mut Room,
        entry: &mut impl FnMut(Entry<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let of = |value: f64| Value { value, exemplar: None, start: self.created };
        let all = count(self.count, self.count_float);
        let mut has_infinity = false;
        for bucket in &self.bucket {
            has_infinity |= bucket.upper == f64::INFINITY;
            let exemplar = bucket.exemplar.as_deref().map(exemplar);
            let value = Value { exemplar, ..of(count(bucket.count, bucket.count_float)) };
            let bound = Some(("le", bucket.upper));
            entry(Entry::Sample(about.sample(room, "_bucket", bound, value)?))?;
        }
        if !has_infinity {
            let bound = Some(("le", f64::INFINITY));
            entry(Entry::Sample(about.sample(room, "_bucket", bound, of(all))?))?;
        }
        entry(Entry::Sample(about.sample(room, "_sum", None, of(self.sum))?))?;
        entry(Entry::Sample(about.sample(room, "_count", None, of(all))?))
    }
}

/// A field of a message: its number, and its bytes or its value.
struct Field<'a> {
    number: u64,
    bytes: Option<&'a [u8]>,
    value: u64,
}

/// The fields of a message; `None` where it is none, and nothing after that.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Option<Field<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = field(&mut self.0);
        if field.is_none() {
            self.0 = &[];
        }
        Some(field)
    }
}

fn field<'a>(from: &mut &'a [u8]) -> Option<Field<'a>> {
    let key = varint(from)?;
    let (mut value, mut length) = (0, 0);
    match key & 7 {
        0 => value = varint(from)?,
        1 => length = 8,
        2 => length = usize::try_from(varint(from)?).ok()?,
        5 => length = 4,
        _ => return None,
    }
    let (bytes, rest) = from.split_at_checked(length)?;
    *from = rest;
    Some(Field { number: key >> 3, bytes: Some(bytes).filter(|_| key & 7 == 2), value })
}

fn varint(from: &mut &[u8]) -> Option<u64> {
    let (mut value, mut shift) = (0_u64, 0);
    loop {
        let (byte, rest) = from.split_first()?;
        *from = rest;
        value |= u64::from(byte & 0x7f).checked_shl(shift).filter(|_| shift < 64)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
        shift += 7;
    }
}

#[cfg(test)]
mod tests;
