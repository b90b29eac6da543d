//! Blocks of Prometheus, to be read: what `promtool tsdb create-blocks-from` and a server's data folder
//! hold.
//!
//! ```text
//! block    meta.json, index, chunks/000001 .., tombstones
//! index    symbols, then series: labels by symbol, chunks by place
//! chunk    XOR of floats, or native histograms of whole numbers or of floats
//! ```
//!
//! Written from Prometheus's documents of the format (`tsdb/docs/format`).
//!
//! Invariant: whatever the bytes are, what is read has a right checksum or is told as damaged; nothing
//! panics, and no length is believed that the file does not have.

mod bits;
mod crc;
mod floats;
mod encode;
mod natives;
mod index;
mod tombstones;

pub use crc::castagnoli;
pub use encode::{CHUNK_SAMPLES, float_chunk};

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base::labels::Labels;

use crate::chunk::Columns;
use crate::series::SeriesSamples;
use index::Series;
use tombstones::Tombstones;

/// Why a block of Prometheus cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ForeignError {
    /// A file is missing or cannot be read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not what it should be.
    #[error("{path} is no sound file of a Prometheus block: {what}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

const CHUNKS_MAGIC: [u8; 5] = [0x85, 0xbd, 0x40, 0xdd, 1];
/// The codes of what a chunk holds.
const XOR: u8 = 1;
const HISTOGRAMS: u8 = 2;
const FLOAT_HISTOGRAMS: u8 = 3;

/// A chunk of a series, as the index has it.
#[derive(Clone, Copy, Debug)]
struct ChunkRef {
    segment: u32,
    offset: usize,
}

/// Whether `dir` looks like a block of Prometheus.
pub fn is_foreign_block(dir: &Path) -> bool {
    dir.join("index").is_file() && dir.join("chunks").is_dir()
}

/// Whether `dir`, the data folder of a Prometheus, has samples that are in no block yet: it writes the last
/// hours to its log only, also when it ends.
///
/// # Errors
///
/// The folder cannot be read.
pub fn has_foreign_log(dir: &Path) -> io::Result<bool> {
    let wal = dir.join("wal");
    if !wal.is_dir() {
        return Ok(false);
    }
    for entry in fs::read_dir(wal)? {
        let entry = entry?;
        // Segments are numbered; those of a checkpoint have gone into it.
        let name = entry.file_name();
        let is_segment = name.to_str().is_some_and(|name| name.parse::<u64>().is_ok());
        if entry.path().is_dir() || is_segment && entry.metadata()?.len() > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Reads the block in `dir`, without what has been deleted from it, and hands over series by series. The files are read as a whole: a block
/// takes as much memory as its size, for as long as this runs.
///
/// # Errors
///
/// What `each` says, which ends the reading; and [`ForeignError`].
pub fn read_foreign_block<E: From<ForeignError>>(
    dir: &Path,
    mut each: impl FnMut(SeriesSamples) -> Result<(), E>,
) -> Result<(), E> {
    let path = dir.join("index");
    let bytes = read(&path)?;
    let segments = segments(&dir.join("chunks"))?;
    let damaged = |what: &str| ForeignError::Damaged { path: path.clone(), what: what.to_owned() };
    let index = index::Index::open(&bytes).map_err(damaged)?;
    let deleted = tombstones(&dir.join("tombstones"))?;
    let mut at = index.first();
    while let Some(Series { labels, chunks, begin, next }) = index.series(at).map_err(damaged)? {
        at = next;
        let mut samples = SeriesSamples::new(labels, Columns::default());
        for chunk in chunks {
            let mut columns = chunk_of(&segments, chunk, &samples.labels)?;
            deleted.of(begin).iter().for_each(|span| columns.remove(*span));
            samples.extend(SeriesSamples::new(Labels::empty(), columns));
        }
        each(samples)?;
    }
    Ok(())
}

/// What has been deleted from a block; nothing where there is no such file.
fn tombstones(path: &Path) -> Result<Tombstones, ForeignError> {
    if !path.exists() {
        return Ok(Tombstones::default());
    }
    let damaged =
        |what: &str| ForeignError::Damaged { path: path.to_owned(), what: what.to_owned() };
    Tombstones::read(&read(path)?).map_err(damaged)
}

fn read(path: &Path) -> Result<Vec<u8>, ForeignError> {
    fs::read(path).map_err(|source| ForeignError::Io { path: path.to_owned(), source })
}

/// The files of chunks, in order.
fn segments(dir: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>, ForeignError> {
    let failed = |source| ForeignError::Io { path: dir.to_owned(), source };
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        paths.push(entry.map_err(failed)?.path());
    }
    paths.sort();
    let mut segments = Vec::new();
    for path in paths {
        let bytes = read(&path)?;
        if !bytes.starts_with(&CHUNKS_MAGIC) {
            let what = "it does not begin as chunks do".to_owned();
            return Err(ForeignError::Damaged { path, what });
        }
        segments.push((path, bytes));
    }
    Ok(segments)
}

fn chunk_of(
    segments: &[(PathBuf, Vec<u8>)],
    chunk: ChunkRef,
    labels: &Labels,
) -> Result<Columns, ForeignError> {
    let found = segments.get(chunk.segment as usize);
    let path = found.map_or_else(|| PathBuf::from("chunks"), |(path, _)| path.clone());
    let damaged = |what: &str| ForeignError::Damaged {
        path: path.clone(),
        what: format!("{what} at byte {}, of {labels}", chunk.offset),
    };
    let mut bytes = found
        .and_then(|(_, bytes)| bytes.get(chunk.offset..))
        .ok_or_else(|| damaged("there is no chunk"))?;
    let whole = || {
        let length = usize::try_from(crate::varint::take(&mut bytes)?).ok()?.checked_add(1)?;
        let (body, rest) = bytes.split_at_checked(length)?;
        Some((body, rest.first_chunk::<4>()?))
    };
    let mut whole = whole;
    let (body, sum) = whole().ok_or_else(|| damaged("a chunk is cut off"))?;
    if crc::castagnoli(body) != u32::from_be_bytes(*sum) {
        return Err(damaged("a chunk has a wrong sum"));
    }
    let columns = match body.split_first() {
        Some((&XOR, rest)) => floats::read(rest),
        Some((&HISTOGRAMS, rest)) => natives::read(rest, false),
        Some((&FLOAT_HISTOGRAMS, rest)) => natives::read(rest, true),
        _ => return Err(damaged("a chunk is of a kind that is not known")),
    };
    columns.ok_or_else(|| damaged("a chunk cannot be read"))
}

#[cfg(test)]
mod tests;
