//! What is kept in memory of a block while it is used: label names and values, and where the rest is.
//!
//! ```text
//! table     packed: count of names, for each: name, count of values, for each: value, bytes of its list
//!           count of sections, for each: its bytes
//! ```
//!
//! Invariant: it says where things are in the file, and has none of them.

use super::times::KnownTimes;
use super::{Footer, first, packed};
use crate::index::Index;
use crate::varint;

/// Where a part of the file is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) at: u64,
    pub(super) length: usize,
}

#[derive(Debug)]
pub(super) struct Table {
    /// Where the list of each label value is.
    pub(super) index: Index<Part>,
    pub(super) series: SeriesAt,
}

/// Where the series are.
#[derive(Debug)]
pub(super) enum SeriesAt {
    /// Where each begins.
    Offsets(Vec<u64>),
    Sections(Vec<Part>, KnownTimes),
}

impl Table {
    /// From the parts of the file; `None` where they are damaged.
    pub(super) fn of(footer: &Footer, table: &[u8], times: Vec<u8>) -> Option<Self> {
        let [_, series_at, lists_at, _] = footer.parts;
        let table = packed::unpack(table)?;
        let from = &mut table.as_slice();
        let (mut index, mut at) = (Index::default(), lists_at);
        for _ in 0..varint::take(from)? {
            let name = std::str::from_utf8(varint::take_bytes(from)?).ok()?;
            for _ in 0..varint::take(from)? {
                let value = std::str::from_utf8(varint::take_bytes(from)?).ok()?;
                index.insert(name, value, take_part(from, &mut at)?);
            }
        }
        let (mut sections, mut at) = (Vec::new(), series_at);
        for _ in 0..varint::take(from)? {
            sections.push(take_part(from, &mut at)?);
        }
        Some(Self { index, series: SeriesAt::Sections(sections, KnownTimes::of(times)?) })
    }

    /// The same of a block of the first layout.
    pub(super) fn of_first(mut table: &[u8], offsets: &[u8]) -> Option<Self> {
        let from = &mut table;
        let mut index = Index::default();
        for _ in 0..varint::take(from)? {
            let name = std::str::from_utf8(varint::take_bytes(from)?).ok()?;
            for _ in 0..varint::take(from)? {
                let value = std::str::from_utf8(varint::take_bytes(from)?).ok()?;
                let at = varint::take(from)?;
                let length = usize::try_from(varint::take(from)?).ok()?;
                index.insert(name, value, Part { at, length });
            }
        }
        Some(Self { index, series: SeriesAt::Offsets(first::offsets(offsets)) })
    }
}

/// The next of parts that follow each other.
fn take_part(from: &mut &[u8], at: &mut u64) -> Option<Part> {
    let length = usize::try_from(varint::take(from)?).ok()?;
    let part = Part { at: *at, length };
    *at = at.checked_add(length as u64)?;
    Some(part)
}
