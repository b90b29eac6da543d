//! Blocks as they were written first: `VEILBLK1`, which are read and no longer made.
//!
//! ```text
//! chunks      their bytes, a series' chunks one after the other
//! series      sorted by labels: labels, then for each chunk first and last time, count, length,
//!             CRC-32; the first chunk's offset
//! offsets     where each series begins, 8 bytes each
//! lists       for each label value the series that have it, as roaring bitmaps
//! table       names, their values, where the list of each is
//! ```
//!
//! Invariant: nothing here writes.

use base::labels::Labels;
use base::sample::Timestamp;

use crate::varint;

/// Where a chunk is.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChunkAt {
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
    pub(super) count: u32,
    pub(super) length: usize,
    pub(super) crc: u32,
}

/// Labels of a series, where its chunks begin, and the chunks.
pub(super) fn entry(mut bytes: &[u8]) -> Option<(Labels, u64, Vec<ChunkAt>)> {
    let from = &mut bytes;
    let labels = Labels::from_encoded(std::str::from_utf8(varint::take_bytes(from)?).ok()?)?;
    let count = varint::take(from)?;
    let start = varint::take(from)?;
    let mut chunks = Vec::new();
    for _ in 0..count {
        let first = varint::take_signed(from)?;
        chunks.push(ChunkAt {
            first: Timestamp::from_millis(first),
            last: Timestamp::from_millis(first.wrapping_add(varint::take(from)? as i64)),
            count: u32::try_from(varint::take(from)?).ok()?,
            length: usize::try_from(varint::take(from)?).ok()?,
            crc: u32::try_from(varint::take(from)?).ok()?,
        });
    }
    Some((labels, start, chunks))
}

/// The offsets of all series.
pub(super) fn offsets(bytes: &[u8]) -> Vec<u64> {
    let (words, _) = bytes.as_chunks();
    words.iter().map(|word| u64::from_le_bytes(*word)).collect()
}
