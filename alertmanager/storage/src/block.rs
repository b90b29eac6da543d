//! A window of time that gets no further samples, as one file.
//!
//! ```text
//! magic       8 bytes
//! values      of all chunks, a series' one after the other; see `block/section.rs`
//! times       of the chunks that share them, each once; see `chunk/halves.rs`
//! series      sorted by labels, in sections: labels, chunks, sums of their values
//! lists       for each label value the series that have it; see `block/list.rs`
//! table       packed: names, their values, where the list of each is; the length of each section
//! footer      times, counts, where the parts begin, CRC-32 of times to table, its own, magic
//! ```
//!
//! A block is written beside its final name and renamed when it is whole and on the disk. It is
//! read with `pread`; only table and times are kept in memory, and only while they are used. The magic
//! is `VEILBLK2`; blocks of `VEILBLK1` are read as they are (`block/first.rs`).
//!
//! Invariant: a block is never changed; a file that is not sound is set aside, not used in part.

mod packed;
mod list;
mod times;
mod section;
mod first;
mod table;
mod look;
mod read;
mod write;

pub(crate) use look::Look;
pub(crate) use read::{Block, BlockError, Lost};
pub(crate) use write::write;

use std::io;
use std::path::{Path, PathBuf};

use base::sample::Timestamp;

const MAGIC: &[u8; 8] = b"VEILBLK2";
const FIRST_MAGIC: &[u8; 8] = b"VEILBLK1";
const FOOTER_BYTES: usize = 80;

/// How a block is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// As `block/first.rs` says.
    First,
    Sections,
}

/// What stands at the end of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Footer {
    layout: Layout,
    min_time: Timestamp,
    max_time: Timestamp,
    series: u64,
    samples: u64,
    /// Where the parts begin behind the values: times and series; series and offsets in the first
    /// layout; lists, table.
    parts: [u64; 4],
    crc: u32,
    has_histograms: bool,
}

/// Stands beside the number of series, which is below 2^32.
const HAS_HISTOGRAMS: u64 = 1 << 32;

impl Footer {
    /// The bytes of one of the newest layout.
    fn encode(&self) -> [u8; FOOTER_BYTES] {
        let [times_at, series_at, lists_at, table_at] = self.parts;
        let numbers = [
            self.min_time.millis() as u64,
            self.max_time.millis() as u64,
            self.series | if self.has_histograms { HAS_HISTOGRAMS } else { 0 },
            self.samples,
            times_at,
            series_at,
            lists_at,
            table_at,
            u64::from(self.crc),
        ];
        let mut bytes = [0; FOOTER_BYTES];
        for (to, number) in bytes.chunks_exact_mut(8).zip(numbers) {
            to.copy_from_slice(&number.to_le_bytes());
        }
        let own = crc32fast::hash(&bytes[..68]);
        bytes[68..72].copy_from_slice(&own.to_le_bytes());
        bytes[72..].copy_from_slice(MAGIC);
        bytes
    }

    fn decode(bytes: &[u8; FOOTER_BYTES]) -> Option<Self> {
        let (numbers, magic) = bytes.split_at(72);
        let layout = match magic {
            magic if magic == MAGIC => Layout::Sections,
            magic if magic == FIRST_MAGIC => Layout::First,
            _ => return None,
        };
        let own = numbers[68..].iter().rev().fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte));
        // Blocks of the first builds have no sum of the footer.
        let has_none = layout == Layout::First && own == 0;
        if !has_none && own != crc32fast::hash(&numbers[..68]) {
            return None;
        }
        let mut numbers = numbers[..68].chunks(8).map(|chunk| {
            chunk.iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
        });
        let mut next = || numbers.next();
        let (min_time, max_time, series) = (next()? as i64, next()? as i64, next()?);
        Some(Self {
            layout,
            min_time: Timestamp::from_millis(min_time),
            max_time: Timestamp::from_millis(max_time),
            series: series & !HAS_HISTOGRAMS,
            has_histograms: series & HAS_HISTOGRAMS != 0,
            samples: next()?,
            parts: [next()?, next()?, next()?, next()?],
            crc: next()? as u32,
        })
    }

    /// Whether the parts follow each other up to the footer, which is at `end`.
    fn is_in_order(&self, end: u64) -> bool {
        let [_, second, lists_at, _] = self.parts;
        let offsets = || self.series.checked_mul(8).and_then(|bytes| second.checked_add(bytes));
        self.parts.is_sorted()
            && self.parts[3] <= end
            && self.series <= u64::from(u32::MAX)
            && (self.layout == Layout::Sections || offsets() == Some(lists_at))
    }
}

/// The finished blocks in `dir`.
pub(crate) fn list(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    if dir.exists() {
        for entry in std::fs::read_dir(dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "block") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests;
