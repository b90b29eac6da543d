//! The index of a block of Prometheus, version 2.
//!
//! ```text
//! magic, version                 5 bytes
//! symbols                        length, count, texts, sum
//! series                         each at a place divisible by 16: length, labels, chunks, sum
//! ..                             lists of series, which are not needed to read all
//! table of contents              six places of 8 bytes, sum
//! ```
//!
//! Invariant: every piece that is used has been checked against its sum.

use base::labels::Labels;

use super::ChunkRef;
use super::crc::castagnoli;
use crate::varint;

const MAGIC: [u8; 4] = [0xba, 0xaa, 0xd7, 0x00];
const VERSION: u8 = 2;
const CONTENTS: usize = 52;

/// An index that has been opened.
pub(super) struct Index<'a> {
    bytes: &'a [u8],
    symbols: Vec<&'a str>,
    series: usize,
    /// Behind the last series.
    end: usize,
}

/// A series with its chunks, where it begins and where the next may.
pub(super) struct Series {
    pub(super) labels: Labels,
    pub(super) chunks: Vec<ChunkRef>,
    pub(super) begin: usize,
    pub(super) next: usize,
}

impl<'a> Index<'a> {
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self, &'static str> {
        if !bytes.starts_with(&MAGIC) {
            return Err("it does not begin as an index does");
        }
        if bytes.get(4) != Some(&VERSION) {
            return Err("it is not of version 2");
        }
        let (_, contents) =
            bytes.split_last_chunk::<CONTENTS>().ok_or("it has no table of contents")?;
        let (places, sum) = contents.split_at(CONTENTS - 4);
        if castagnoli(places).to_be_bytes() != sum {
            return Err("its table of contents has a wrong sum");
        }
        let place = |n: usize| {
            let bytes = places.get(n * 8..)?.first_chunk()?;
            usize::try_from(u64::from_be_bytes(*bytes)).ok()
        };
        let places: Option<Vec<usize>> = (0..6).map(place).collect();
        let places = places.ok_or("its table of contents is damaged")?;
        let (symbols_at, series) = (places[0], places[1]);
        let behind = places.iter().copied().filter(|place| *place > series);
        let end = behind.min().unwrap_or(bytes.len() - CONTENTS).min(bytes.len() - CONTENTS);
        let symbols = symbols(bytes, symbols_at).ok_or("its symbols are damaged")?;
        Ok(Self { bytes, symbols, series, end })
    }

    /// Where the first series is.
    pub(super) fn first(&self) -> usize {
        self.series
    }

    /// The series at a place; none behind the last.
    pub(super) fn series(&self, at: usize) -> Result<Option<Series>, &'static str> {
        let at = at.next_multiple_of(16);
        if at >= self.end {
            return Ok(None);
        }
        let mut from = self.bytes.get(at..self.end).ok_or("a series lies behind its end")?;
        let left = from.len();
        let whole = |from: &mut &'a [u8]| {
            let entry = varint::take_bytes(from)?;
            let sum = from.first_chunk::<4>()?;
            Some((entry, u32::from_be_bytes(*sum)))
        };
        let (entry, sum) = whole(&mut from).ok_or("a series is cut off")?;
        // The bytes up to the next section.
        if entry.is_empty() {
            return Ok(None);
        }
        if castagnoli(entry) != sum {
            return Err("a series has a wrong sum");
        }
        let (labels, chunks) = self.entry(entry).ok_or("a series is damaged")?;
        Ok(Some(Series { labels, chunks, begin: at, next: at + left - from.len() + 4 }))
    }

    fn entry(&self, mut from: &[u8]) -> Option<(Labels, Vec<ChunkRef>)> {
        let from = &mut from;
        let mut pairs = Vec::new();
        for _ in 0..varint::take(from)? {
            let mut symbol = || {
                let place = usize::try_from(varint::take(from)?).ok()?;
                self.symbols.get(place).copied()
            };
            pairs.push((symbol()?, symbol()?));
        }
        let count = varint::take(from)?;
        let (mut chunks, mut reference) = (Vec::new(), 0_u64);
        for n in 0..count {
            // First and last time, which the chunk says itself.
            if n == 0 {
                varint::take_signed(from)?;
            } else {
                varint::take(from)?;
            }
            varint::take(from)?;
            reference = match n {
                0 => varint::take(from)?,
                _ => reference.wrapping_add(varint::take_signed(from)? as u64),
            };
            let offset = usize::try_from(reference & u64::from(u32::MAX)).ok()?;
            chunks.push(ChunkRef { segment: (reference >> 32) as u32, offset });
        }
        Some((Labels::from_pairs(pairs), chunks))
    }
}

fn symbols(bytes: &[u8], at: usize) -> Option<Vec<&str>> {
    let (length, rest) = bytes.get(at..)?.split_first_chunk::<4>()?;
    let (body, sum) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    if castagnoli(body) != u32::from_be_bytes(*sum.first_chunk()?) {
        return None;
    }
    let (count, mut from) = body.split_first_chunk::<4>()?;
    let mut symbols = Vec::new();
    for _ in 0..u32::from_be_bytes(*count) {
        symbols.push(std::str::from_utf8(varint::take_bytes(&mut from)?).ok()?);
    }
    Some(symbols)
}
