//! What a block says of some series that follow each other: labels, chunks, where their values are.
//!
//! ```text
//! section    packed: the offset of its values, then columns, each behind its length
//!   labels     for each series: bytes that it shares with the one before it, the others
//!   counts     of chunks, for each series
//!   kinds      of each chunk, 1 byte: 0 shared times, 1 own times, 2 anything else
//!   times      0: number of the times, as a difference, signed
//!   shapes     0 and 1: form, bits of a change, 1 byte each
//!   firsts     0 and 1: the first value, a signed number or 8 bytes
//!   leasts     0 and 1: the least change, signed
//!   others     1 and 2: first and last time, count, bytes
//!   sums       CRC-32 of the values of each series that has any bytes of them
//! values     for each chunk in turn. 0: changes; 1: times, changes; 2: the chunk as it is in memory
//! ```
//!
//! Columns lie together because the series of a section are much alike: what they have in common takes
//! hardly a byte.
//!
//! Invariant: a section is read without any other, and damaged bytes give nothing.

use base::labels::Labels;

use super::times::{KnownTimes, SharedTimes};
use crate::chunk::{self, Times, Values};
use crate::head::Sealed;
use crate::varint;

/// So many series have one section.
pub(super) const SERIES: usize = 128;

const SHARED: u8 = 0;
const OWN: u8 = 1;
const OTHER: u8 = 2;
const COLUMNS: usize = 9;

/// What a section says of a chunk.
#[derive(Clone, Copy, Debug)]
enum About {
    Shared(u32, Values),
    Own(Extent, Values),
    Other(Extent),
}

/// From when to when a chunk is, of how many samples, and the bytes of its values.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Extent {
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) count: u32,
    length: usize,
}

/// A section on its way into a block.
#[derive(Debug, Default)]
struct Writer {
    columns: [Vec<u8>; COLUMNS],
    number: i64,
}

/// The places of the columns.
const LABELS: usize = 0;
const COUNTS: usize = 1;
const KINDS: usize = 2;
const TIMES: usize = 3;
const SHAPES: usize = 4;
const FIRSTS: usize = 5;
const LEASTS: usize = 6;
const OTHERS: usize = 7;
const SUMS: usize = 8;

impl Writer {
    fn values(&mut self, values: &Values) {
        self.columns[SHAPES].extend_from_slice(&[values.form, values.width]);
        match values.are_floats() {
            true => self.columns[FIRSTS].extend_from_slice(&values.start.to_le_bytes()),
            false => varint::push_signed(&mut self.columns[FIRSTS], values.start),
        }
        varint::push_signed(&mut self.columns[LEASTS], values.least);
    }

    fn extent(&mut self, Extent { first, last, count, length }: Extent) {
        let to = &mut self.columns[OTHERS];
        varint::push_signed(to, first);
        varint::push(to, last.wrapping_sub(first) as u64);
        varint::push(to, u64::from(count));
        varint::push(to, length as u64);
    }

    /// Adds a chunk, its bytes to `values`; returns of how many chunks it is in here.
    fn chunk(&mut self, sealed: &Sealed, times: &mut SharedTimes, values: &mut Vec<u8>) -> u64 {
        let Some(pieces) = chunk::split(&sealed.bytes) else {
            self.columns[KINDS].push(OTHER);
            let (first, last) = (sealed.first.millis(), sealed.last.millis());
            self.extent(Extent { first, last, count: sealed.count, length: sealed.bytes.len() });
            values.extend_from_slice(&sealed.bytes);
            return 1;
        };
        for piece in &pieces {
            if let Some(number) = times.number(&piece.times) {
                self.columns[KINDS].push(SHARED);
                varint::push_signed(&mut self.columns[TIMES], i64::from(number) - self.number);
                // Mostly the next series is that of another target, with the next times.
                self.number = i64::from(number) + 1;
            } else {
                self.columns[KINDS].push(OWN);
                let length = piece.times.len() + piece.changes.len();
                let extent = Times::take(&mut piece.times.as_slice()).map(|times| times.extent());
                self.extent(Extent { length, ..extent.unwrap_or_default() });
                values.extend_from_slice(&piece.times);
            }
            self.values(&piece.values);
            values.extend_from_slice(piece.changes);
        }
        pieces.len() as u64
    }
}

/// A section of `series`, whose values begin at `at` in the file, not yet packed; appends those.
pub(super) fn encode(
    series: &[(Labels, Vec<Sealed>)],
    at: u64,
    times: &mut SharedTimes,
    values: &mut Vec<u8>,
) -> Vec<u8> {
    let (mut writer, mut before) = (Writer::default(), &b""[..]);
    for (labels, chunks) in series {
        let text = labels.as_encoded().as_bytes();
        let same = text.iter().zip(before).take_while(|(a, b)| a == b).count();
        varint::push(&mut writer.columns[LABELS], same as u64);
        varint::push_bytes(&mut writer.columns[LABELS], &text[same..]);
        before = text;
        let begin = values.len();
        let count: u64 = chunks.iter().map(|chunk| writer.chunk(chunk, times, values)).sum();
        varint::push(&mut writer.columns[COUNTS], count);
        if values.len() > begin {
            let sum = crc32fast::hash(&values[begin..]);
            writer.columns[SUMS].extend_from_slice(&sum.to_le_bytes());
        }
    }
    let mut bytes = Vec::new();
    varint::push(&mut bytes, at);
    writer.columns.iter().for_each(|column| varint::push_bytes(&mut bytes, column));
    bytes
}

/// A section that has been read.
#[derive(Debug)]
pub(super) struct Section {
    texts: Vec<u8>,
    series: Vec<Series>,
    chunks: Vec<About>,
}

/// A series of a section: where its text and its chunks end among those of all.
#[derive(Clone, Copy, Debug)]
struct Series {
    text: usize,
    chunks: usize,
    at: u64,
    length: usize,
    sum: u32,
}

/// Where the values of a series are in the file, and their sum.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) at: u64,
    pub(super) length: usize,
    pub(super) sum: u32,
}

impl Section {
    /// `None` where it is damaged.
    pub(super) fn decode(mut bytes: &[u8], times: &KnownTimes) -> Option<Self> {
        let mut at = varint::take(&mut bytes)?;
        let mut columns = [&b""[..]; COLUMNS];
        for column in &mut columns {
            *column = varint::take_bytes(&mut bytes)?;
        }
        let mut section = Self { texts: Vec::new(), series: Vec::new(), chunks: Vec::new() };
        let (mut before, mut number) = (0, 0);
        while !columns[COUNTS].is_empty() {
            before = section.take_text(&mut columns[LABELS], before)?;
            let mut length = 0_usize;
            for _ in 0..varint::take(&mut columns[COUNTS])? {
                let about = take_chunk(&mut columns, &mut number)?;
                length = length.checked_add(about.length(times)?)?;
                section.chunks.push(about);
            }
            let sum = match length {
                0 => 0,
                _ => u32::from_le_bytes(*take_array(&mut columns[SUMS])?),
            };
            let (text, chunks) = (section.texts.len(), section.chunks.len());
            section.series.push(Series { text, chunks, at, length, sum });
            at = at.checked_add(length as u64)?;
        }
        Some(section)
    }

    /// Adds the text of a series, of which a part is that of the one that begins at `before`.
    fn take_text(&mut self, from: &mut &[u8], before: usize) -> Option<usize> {
        let same = usize::try_from(varint::take(from)?).ok()?;
        let begin = self.texts.len();
        let end = before.checked_add(same).filter(|end| *end <= begin)?;
        self.texts.extend_from_within(before..end);
        self.texts.extend_from_slice(varint::take_bytes(from)?);
        Some(begin)
    }

    fn before(&self, number: usize) -> Option<(usize, usize)> {
        match number.checked_sub(1) {
            None => Some((0, 0)),
            Some(before) => self.series.get(before).map(|series| (series.text, series.chunks)),
        }
    }

    /// The labels of a series, by its number in the section.
    pub(super) fn labels(&self, number: usize) -> Option<Labels> {
        let (begin, _) = self.before(number)?;
        let text = self.texts.get(begin..self.series.get(number)?.text)?;
        Labels::from_encoded(std::str::from_utf8(text).ok()?)
    }

    pub(super) fn place(&self, number: usize) -> Option<Place> {
        let Series { at, length, sum, .. } = *self.series.get(number)?;
        Some(Place { at, length, sum })
    }

    fn chunks(&self, number: usize) -> Option<&[About]> {
        let (_, begin) = self.before(number)?;
        self.chunks.get(begin..self.series.get(number)?.chunks)
    }

    /// Hands over the chunks of a series whose values are `values`, each as it is in memory.
    pub(super) fn each_chunk(
        &self,
        number: usize,
        mut values: &[u8],
        times: &KnownTimes,
        mut each: impl FnMut(&[u8]),
    ) -> Option<()> {
        for about in self.chunks(number)? {
            let (mut own, rest) = values.split_at_checked(about.length(times)?)?;
            values = rest;
            match about {
                About::Shared(shared, values) => each(&times.get(*shared)?.join(values, own)),
                About::Own(_, values) => each(&Times::take(&mut own)?.join(values, own)),
                About::Other(_) => each(own),
            }
        }
        Some(())
    }

    /// Hands over from when to when each chunk of a series is, as far as its section tells.
    pub(super) fn each_extent(
        &self,
        number: usize,
        times: &KnownTimes,
        mut each: impl FnMut(Extent),
    ) -> Option<()> {
        for about in self.chunks(number)? {
            each(match about {
                About::Own(extent, _) | About::Other(extent) => *extent,
                About::Shared(shared, _) => times.get(*shared)?.extent(),
            });
        }
        Some(())
    }
}

impl About {
    /// Bytes of its values.
    fn length(&self, times: &KnownTimes) -> Option<usize> {
        match self {
            Self::Shared(number, values) => Some(values.bytes(times.get(*number)?.count)),
            Self::Own(extent, _) | Self::Other(extent) => Some(extent.length),
        }
    }
}

impl Times<'_> {
    fn extent(&self) -> Extent {
        let count = u32::try_from(self.count).unwrap_or(u32::MAX);
        Extent { first: self.first, last: self.last(), count, length: 0 }
    }
}

fn take_chunk(columns: &mut [&[u8]; COLUMNS], number: &mut i64) -> Option<About> {
    let [kind] = *take_array(&mut columns[KINDS])?;
    match kind {
        SHARED => {
            let shared = number.checked_add(varint::take_signed(&mut columns[TIMES])?)?;
            *number = shared.checked_add(1)?;
            Some(About::Shared(u32::try_from(shared).ok()?, take_values(columns)?))
        }
        OWN => Some(About::Own(take_extent(&mut columns[OTHERS])?, take_values(columns)?)),
        OTHER => Some(About::Other(take_extent(&mut columns[OTHERS])?)),
        _ => None,
    }
}

fn take_values(columns: &mut [&[u8]; COLUMNS]) -> Option<Values> {
    let [form, width] = *take_array(&mut columns[SHAPES])?;
    let mut values = Values { form, width, start: 0, least: 0 };
    values.start = match values.are_floats() {
        true => i64::from_le_bytes(*take_array(&mut columns[FIRSTS])?),
        false => varint::take_signed(&mut columns[FIRSTS])?,
    };
    values.least = varint::take_signed(&mut columns[LEASTS])?;
    Some(values)
}

fn take_extent(from: &mut &[u8]) -> Option<Extent> {
    let first = varint::take_signed(from)?;
    let last = first.wrapping_add(varint::take(from)? as i64);
    let count = u32::try_from(varint::take(from)?).ok()?;
    let length = usize::try_from(varint::take(from)?).ok()?;
    Some(Extent { first, last, count, length })
}

fn take_array<'a, const N: usize>(from: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (array, rest) = from.split_first_chunk()?;
    *from = rest;
    Some(array)
}
