//! A window of time that gets no further samples, as one file.
//!
//! ```text
//! magic       8 bytes
//! chunks      their bytes, a series' chunks one after the other
//! series      sorted by labels: labels, then for each chunk first and last time, count, length,
//!             CRC-32; the first chunk's offset
//! offsets     where each series begins, 8 bytes each
//! lists       for each label value the series that have it, as roaring bitmaps
//! table       names, their values, where the list of each is
//! footer      times, counts, where the sections begin, CRC-32 of series to table, its own, magic
//! ```
//!
//! A block is written beside its final name and renamed when it is whole and on the disk. It is
//! read with `pread`; only the table is kept in memory, and only while it is used.
//!
//! Invariant: a block is never changed; a file that is not sound is set aside, not used in part.

mod read;
mod write;

pub(crate) use read::{Block, BlockError};
pub(crate) use write::write;

use std::io;
use std::path::{Path, PathBuf};

use base::sample::Timestamp;

const MAGIC: &[u8; 8] = b"VEILBLK1";
const FOOTER_BYTES: usize = 80;

/// What stands at the end of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Footer {
    min_time: Timestamp,
    max_time: Timestamp,
    series: u64,
    samples: u64,
    series_at: u64,
    offsets_at: u64,
    lists_at: u64,
    table_at: u64,
    crc: u32,
    has_histograms: bool,
}

/// Stands beside the number of series, which is below 2^32.
const HAS_HISTOGRAMS: u64 = 1 << 32;

impl Footer {
    fn encode(&self) -> [u8; FOOTER_BYTES] {
        let numbers = [
            self.min_time.millis() as u64,
            self.max_time.millis() as u64,
            self.series | if self.has_histograms { HAS_HISTOGRAMS } else { 0 },
            self.samples,
            self.series_at,
            self.offsets_at,
            self.lists_at,
            self.table_at,
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
        let (numbers, own) = bytes[..72].split_at(68);
        let own = own.iter().rev().fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte));
        // Blocks of the first builds have no sum of the footer.
        if &bytes[72..] != MAGIC || (own != 0 && own != crc32fast::hash(numbers)) {
            return None;
        }
        let mut numbers = bytes.chunks_exact(8).map(|chunk| {
            chunk.iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
        });
        let mut next = || numbers.next();
        let (min_time, max_time, series) = (next()? as i64, next()? as i64, next()?);
        Some(Self {
            min_time: Timestamp::from_millis(min_time),
            max_time: Timestamp::from_millis(max_time),
            series: series & !HAS_HISTOGRAMS,
            has_histograms: series & HAS_HISTOGRAMS != 0,
            samples: next()?,
            series_at: next()?,
            offsets_at: next()?,
            lists_at: next()?,
            table_at: next()?,
            crc: next()? as u32,
        })
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
