//! Reads the messages of both versions where they lie: a busy receiver reads the labels of thousands of
//! series a second that it knows already, and a text of its own for each name and value would cost more
//! than all the rest.
//!
//! Invariant: what is read, and what is refused, is what `v1::WriteRequest` and `v2::Request` would read
//! and refuse, which tests compare, but for what is longer than anything should be; and what is kept takes
//! no more memory than it may, nor what it is made of more than some times as much, however little of the
//! message says that it does.

use std::sync::Arc;

use prost::Message;

use super::hold::{Hold, Row};
use super::message;
use super::wire::{Field, Wrong, each_field, text, wrong};
use super::{Exemplar, NativeSeries, Received, taken};
use crate::family::MetricKind;
use crate::histogram::{Histogram, Invalid};
use crate::labels::{Labels, METRIC_NAME, encoded};
use crate::sample::{Sample, Timestamp};

/// The most bytes of a message that one histogram, or one exemplar, may have; it takes some ten times as
/// much when it is read.
const MOST_OF_ONE: usize = 256 << 10;
/// The most bytes that the labels of a series may have.
const MOST_OF_LABELS: usize = 64 << 10;
/// Labels may be written so many times the bytes that a message may take: 2.0 says a text once that stands
/// in every series, also in those of which nothing is kept.
const WORK: usize = 4;
/// Room that is larger is given back when its series has been read.
const ROOM: usize = 1 << 20;

/// A name and a value.
type Pair<'a> = (&'a [u8], &'a [u8]);

/// A series as it stands in the message, in room that the next uses again.
#[derive(Default)]
pub(super) struct One<'a> {
    pub(super) pairs: Vec<Pair<'a>>,
    pub(super) samples: Vec<Sample>,
    pub(super) histograms: Vec<(Timestamp, Result<Option<Histogram>, Invalid>)>,
    pub(super) exemplars: Vec<(Labels, Sample)>,
    pub(super) start: i64,
    pub(super) about: (MetricKind, &'a str, &'a str),
    /// Places of labels among the symbols.
    pub(super) refs: Vec<u32>,
    /// The labels as they are written.
    pub(super) encoded: Vec<u8>,
}

/// Reads a message of 1.0, which may take `limit` bytes.
pub(super) fn v1<S: Hold>(bytes: &[u8], limit: usize) -> Result<Received<S>, Wrong> {
    let mut reader = Reader::new(limit);
    let mut one = One::default();
    each_field(bytes, |number, field| {
        if number == 1 {
            reader.v1(field.bytes()?, &mut one)?;
            reader.give(&mut one)?;
        }
        Ok(())
    })?;
    Ok(reader.received)
}

/// Reads a message of 2.0, which may take `limit` bytes.
pub(super) fn v2<S: Hold>(bytes: &[u8], limit: usize) -> Result<Received<S>, Wrong> {
    let mut reader = Reader::new(limit);
    let mut symbols = Vec::new();
    // They may stand behind what names them.
    each_field(bytes, |number, field| {
        match number {
            4 => {
                reader.charge(size_of::<&str>())?;
                symbols.push(text(field.bytes()?)?);
            }
            5 => {
                field.bytes()?;
            }
            _ => {}
        }
        Ok(())
    })?;
    let mut one = One::default();
    each_field(bytes, |number, field| {
        if number == 5 {
            reader.v2(field.bytes()?, &Symbols(&symbols), &mut one)?;
            reader.give(&mut one)?;
        }
        Ok(())
    })?;
    Ok(reader.received)
}

/// What labels are named by.
struct Symbols<'a>(&'a [&'a str]);

impl<'a> Symbols<'a> {
    fn text(&self, place: u32) -> Result<&'a str, Wrong> {
        let text = self.0.get(place as usize).copied();
        text.ok_or_else(|| Wrong::Message(format!("there is no symbol {place}")))
    }

    /// Hands over the names and values that places stand for.
    fn each_pair(&self, refs: &[u32], mut each: impl FnMut(&'a str, &'a str)) -> Result<(), Wrong> {
        if !refs.len().is_multiple_of(2) {
            return Err(wrong("a label has no value"));
        }
        for pair in refs.chunks_exact(2) {
            each(self.text(pair[0])?, self.text(pair[1])?);
        }
        Ok(())
    }
}

/// Reads series one by one.
pub(super) struct Reader<S> {
    pub(super) received: Received<S>,
    /// Bytes that may still be taken.
    left: usize,
    /// Bytes of labels that may still be looked at.
    work: usize,
}

impl<S: Hold> Reader<S> {
    pub(super) fn new(limit: usize) -> Self {
        Self { received: Received::default(), left: limit, work: limit.saturating_mul(WORK) }
    }

    fn charge(&mut self, bytes: usize) -> Result<(), Wrong> {
        self.left = self.left.checked_sub(bytes).ok_or(Wrong::TooMuch)?;
        Ok(())
    }

    fn v1<'a>(&mut self, bytes: &'a [u8], one: &mut One<'a>) -> Result<(), Wrong> {
        let left = self.left;
        each_field(bytes, |number, field| {
            match number {
                1 => {
                    self.charge(size_of::<Pair<'_>>())?;
                    one.pairs.push(pair(field.bytes()?)?);
                }
                2 => self.sample(field, one)?,
                3 if is_long(field) => {}
                3 => {
                    let mut pairs = Vec::new();
                    let sample = exemplar(field.bytes()?, |label| {
                        let (name, value) = pair(label.bytes()?)?;
                        pairs.push((text(name)?, text(value)?));
                        Ok(())
                    })?;
                    self.exemplar(pairs, sample, one)?;
                }
                4 => self.histogram(field, one)?,
                _ => {}
            }
            Ok(())
        })?;
        self.left = left;
        Ok(())
    }

    fn v2<'a>(
        &mut self,
        bytes: &'a [u8],
        symbols: &Symbols<'a>,
        one: &mut One<'a>,
    ) -> Result<(), Wrong> {
        let left = self.left;
        let (mut kind, mut help, mut unit) = (0, 0, 0);
        each_field(bytes, |number, field| {
            match number {
                1 => field.each_number(|place| {
                    self.charge(size_of::<u32>())?;
                    one.refs.push(place as u32);
                    Ok(())
                })?,
                2 => self.sample(field, one)?,
                3 => self.histogram(field, one)?,
                4 if is_long(field) => {}
                4 => {
                    let (mut refs, mut pairs) = (Vec::new(), Vec::new());
                    let sample = exemplar(field.bytes()?, |labels| {
                        labels.each_number(|place| {
                            refs.push(place as u32);
                            Ok(())
                        })
                    })?;
                    symbols.each_pair(&refs, |name, value| pairs.push((name, value)))?;
                    self.exemplar(pairs, sample, one)?;
                }
                5 => each_field(field.bytes()?, |number, field| {
                    match number {
                        1 => kind = field.number()? as i32,
                        3 => help = field.number()? as u32,
                        4 => unit = field.number()? as u32,
                        _ => {}
                    }
                    Ok(())
                })?,
                6 => one.start = field.number()? as i64,
                _ => {}
            }
            Ok(())
        })?;
        one.about = (message::kind_named(kind), symbols.text(help)?, symbols.text(unit)?);
        self.charge(one.refs.len() / 2 * size_of::<Pair<'_>>())?;
        symbols.each_pair(&one.refs, |name, value| {
            one.pairs.push((name.as_bytes(), value.as_bytes()));
        })?;
        self.left = left;
        Ok(())
    }

    fn sample(&mut self, field: Field<'_>, one: &mut One<'_>) -> Result<(), Wrong> {
        self.charge(size_of::<Sample>())?;
        one.samples.push(sample(field.bytes()?)?);
        Ok(())
    }

    fn histogram(&mut self, field: Field<'_>, one: &mut One<'_>) -> Result<(), Wrong> {
        if is_long(field) {
            let why = format!("a native histogram has more than {MOST_OF_ONE} bytes");
            return self.refuse_histogram(why);
        }
        let (at, read) = message::Histogram::decode(field.bytes()?)?.read();
        self.charge(weight(&read))?;
        one.histograms.push((at, read));
        Ok(())
    }

    fn exemplar(
        &mut self,
        pairs: Vec<(&str, &str)>,
        sample: Sample,
        one: &mut One<'_>,
    ) -> Result<(), Wrong> {
        let length = pairs.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.look_at(length)?;
        self.charge(length)?;
        self.charge(size_of::<Exemplar>())?;
        one.exemplars.push((Labels::from_pairs(pairs), sample));
        Ok(())
    }

    /// Takes in what was read of a series, as far as it can be, and leaves `one` empty.
    pub(super) fn give(&mut self, one: &mut One<'_>) -> Result<(), Wrong> {
        match self.labels(&one.pairs, &mut one.encoded)? {
            Ok(labels) => {
                if !one.samples.is_empty() {
                    let row = Row { labels, samples: &one.samples, about: one.about };
                    self.charge(S::weight(&row) + size_of::<i64>())?;
                    self.received.series.push(row);
                    self.received.starts.push(one.start);
                }
                let has_more = !one.exemplars.is_empty() || !one.histograms.is_empty();
                if has_more && let Some(labels) = Labels::from_encoded(labels) {
                    self.give_more(labels, one)?;
                }
            }
            Err(why) => {
                self.charge(size_of::<String>() + why.len())?;
                self.received.refused.push(why);
            }
        }
        empty(&mut one.pairs);
        empty(&mut one.samples);
        empty(&mut one.histograms);
        empty(&mut one.exemplars);
        empty(&mut one.refs);
        empty(&mut one.encoded);
        (one.start, one.about) = Default::default();
        Ok(())
    }

    /// Takes in the exemplars and the histograms of a series.
    fn give_more(&mut self, series: Labels, one: &mut One<'_>) -> Result<(), Wrong> {
        self.charge(series.as_encoded().len())?;
        for (labels, Sample { timestamp, value }) in one.exemplars.drain(..) {
            self.charge(size_of::<Exemplar>() + labels.as_encoded().len())?;
            let series = series.clone();
            self.received.exemplars.push(Exemplar { series, labels, value, timestamp });
        }
        let mut histograms = Vec::new();
        for (at, histogram) in one.histograms.drain(..) {
            self.charge(weight(&histogram))?;
            match histogram {
                Ok(histogram) => histograms.push((at, histogram.map(Arc::new))),
                Err(why) => self.refuse_histogram(format!("{why}: {series}"))?,
            }
        }
        if !histograms.is_empty() {
            let (labels, start) = (series, one.start);
            self.received.natives.push(NativeSeries { labels, histograms, start });
        }
        Ok(())
    }

    fn refuse_histogram(&mut self, why: String) -> Result<(), Wrong> {
        self.charge(size_of::<String>() + why.len())?;
        self.received.refused_histograms.push(why);
        Ok(())
    }

    /// Counts bytes of labels that are looked at, whatever becomes of them.
    fn look_at(&mut self, bytes: usize) -> Result<(), Wrong> {
        self.work = self.work.checked_sub(bytes).ok_or(Wrong::TooMuch)?;
        Ok(())
    }

    /// The labels of a series, written to `room`, or what is wrong with them.
    fn labels<'r>(
        &mut self,
        pairs: &[Pair<'_>],
        room: &'r mut Vec<u8>,
    ) -> Result<Result<&'r str, String>, Wrong> {
        let length: usize = pairs.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.look_at(length)?;
        if length > MOST_OF_LABELS {
            let most = MOST_OF_LABELS;
            return Ok(Err(format!("a series has {length} bytes of labels, more than {most}")));
        }
        // Nearly all senders sort them.
        if is_sorted(pairs) && pairs.iter().any(|(name, _)| *name == METRIC_NAME.as_bytes()) {
            for (name, value) in pairs {
                encoded::push(room, name);
                encoded::push(room, value);
            }
            return Ok(Ok(text(room)?));
        }
        let texts = pairs.iter().map(|(name, value)| Ok((text(name)?, text(value)?)));
        let texts: Vec<_> = texts.collect::<Result<_, Wrong>>()?;
        let labels = Labels::from_pairs(texts.iter().copied());
        let count = texts.iter().filter(|(_, value)| !value.is_empty()).count();
        if labels.get(METRIC_NAME).is_none() {
            return Ok(Err(format!("a series has no name: {labels}")));
        }
        // Of a name that comes twice one is left.
        if labels.len() != count {
            return Ok(Err(format!("a label comes twice or has no name: {labels}")));
        }
        room.extend_from_slice(labels.as_encoded().as_bytes());
        Ok(Ok(text(room)?))
    }
}

/// Whether a set can be written of `pairs` as they are: sorted, each name once, nothing empty.
fn is_sorted(pairs: &[Pair<'_>]) -> bool {
    let mut before: &[u8] = b"";
    pairs.iter().all(|(name, value)| {
        let rises = before < *name && !value.is_empty();
        before = name;
        rises
    })
}

/// Bytes that a histogram takes, about.
fn weight(read: &Result<Option<Histogram>, Invalid>) -> usize {
    let buckets = |h: &Histogram| {
        size_of_val(&h.positive[..]) + size_of_val(&h.negative[..]) + size_of_val(&h.bounds[..])
    };
    let own = read.as_ref().ok().and_then(Option::as_ref).map_or(0, buckets);
    size_of::<Histogram>() + 64 + own
}

/// Whether a histogram or an exemplar, each of which takes far more memory than it has bytes, has too many.
fn is_long(field: Field<'_>) -> bool {
    matches!(field, Field::Bytes(bytes) if bytes.len() > MOST_OF_ONE)
}

/// Makes room for the next, but keeps none that is large.
fn empty<T>(room: &mut Vec<T>) {
    room.clear();
    if room.capacity() * size_of::<T>() > ROOM {
        *room = Vec::new();
    }
}

fn pair(bytes: &[u8]) -> Result<Pair<'_>, Wrong> {
    let (mut name, mut value): Pair<'_> = (b"", b"");
    each_field(bytes, |number, field| {
        match number {
            1 => name = field.bytes()?,
            2 => value = field.bytes()?,
            _ => {}
        }
        Ok(())
    })?;
    Ok((name, value))
}

fn sample(bytes: &[u8]) -> Result<Sample, Wrong> {
    let (mut value, mut at) = (0.0, 0);
    each_field(bytes, |number, field| {
        match number {
            1 => value = field.float()?,
            2 => at = field.number()? as i64,
            _ => {}
        }
        Ok(())
    })?;
    Ok(Sample { timestamp: Timestamp::from_millis(at), value: taken(value) })
}

/// The value and the time of an exemplar; hands over its labels, which each version has its own way to say.
fn exemplar<'a>(
    bytes: &'a [u8],
    mut labels: impl FnMut(Field<'a>) -> Result<(), Wrong>,
) -> Result<Sample, Wrong> {
    let (mut value, mut at) = (0.0, 0);
    each_field(bytes, |number, field| {
        match number {
            1 => labels(field)?,
            2 => value = field.float()?,
            3 => at = field.number()? as i64,
            _ => {}
        }
        Ok(())
    })?;
    Ok(Sample { timestamp: Timestamp::from_millis(at), value })
}
