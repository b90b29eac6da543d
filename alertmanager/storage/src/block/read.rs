//! Reading a block.
//!
//! Invariant: whatever the bytes are, what is read is checked against its sum; a damaged chunk is left
//! out and counted, a damaged index refused; nothing is read behind the end.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use base::labels::Labels;
use base::matcher::Matcher;
use base::sample::Timestamp;
use roaring::RoaringBitmap;
use tracing::warn;

use super::{FOOTER_BYTES, Footer, MAGIC};
use crate::chunk::{self, Columns, Span};
use crate::head::Sealed;
use crate::index::Index;
use crate::series::SeriesSamples;
use crate::varint;

/// Why a block cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BlockError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path} is damaged: {what}")]
    Damaged { path: PathBuf, what: &'static str },
}

/// A block that is open for reading.
#[derive(Debug)]
pub(crate) struct Block {
    path: PathBuf,
    file: File,
    footer: Footer,
    bytes: u64,
    table: Mutex<Option<Arc<Table>>>,
    used: AtomicBool,
    damaged_chunks: AtomicU64,
}

/// Where the list of a label value is.
#[derive(Clone, Copy, Debug)]
struct ListAt {
    at: u64,
    length: u32,
}

#[derive(Debug)]
struct Table {
    index: Index<ListAt>,
    offsets: Vec<u64>,
}

/// Where a chunk is.
struct ChunkAt {
    first: Timestamp,
    last: Timestamp,
    count: u32,
    length: usize,
    crc: u32,
}

impl Block {
    /// Opens the block at `path` and checks everything but its chunks, which have sums of their
    /// own and are checked when they are read.
    pub(crate) fn open(path: &Path) -> Result<Self, BlockError> {
        let failed = |source| BlockError::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        let damaged = |what| BlockError::Damaged { path: path.to_owned(), what };
        let footer_at = bytes
            .checked_sub(FOOTER_BYTES as u64)
            .filter(|at| *at >= MAGIC.len() as u64)
            .ok_or_else(|| damaged("it is too short"))?;
        let mut footer = [0; FOOTER_BYTES];
        file.read_exact_at(&mut footer, footer_at).map_err(failed)?;
        let footer = Footer::decode(&footer).ok_or_else(|| damaged("it has no footer"))?;
        let sections =
            [footer.series_at, footer.offsets_at, footer.lists_at, footer.table_at, footer_at];
        let offsets_end =
            footer.series.checked_mul(8).and_then(|bytes| footer.offsets_at.checked_add(bytes));
        if !sections.is_sorted() || offsets_end != Some(footer.lists_at) {
            return Err(damaged("its sections overlap"));
        }
        let block = Self {
            path: path.to_owned(),
            file,
            footer,
            bytes,
            table: Mutex::new(None),
            used: AtomicBool::new(false),
            damaged_chunks: AtomicU64::new(0),
        };
        let (mut crc, mut at) = (crc32fast::Hasher::new(), footer.series_at);
        while at < footer_at {
            let piece = block.read(at, (footer_at - at).min(1 << 20) as usize)?;
            crc.update(&piece);
            at += piece.len() as u64;
        }
        if crc.finalize() == footer.crc {
            Ok(block)
        } else {
            Err(damaged("its index has a wrong sum"))
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn min_time(&self) -> Timestamp {
        self.footer.min_time
    }

    pub(crate) fn max_time(&self) -> Timestamp {
        self.footer.max_time
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn samples(&self) -> u64 {
        self.footer.samples
    }

    /// Lets go of the table if nobody has asked since the last call.
    pub(crate) fn rest(&self) {
        if !self.used.swap(false, Ordering::Relaxed) {
            *self.table.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    /// Hands over each series that `matchers` accept, with its samples of `span`.
    pub(crate) fn select(
        &self,
        matchers: &[Matcher],
        span: Span,
        mut found: impl FnMut(SeriesSamples),
    ) -> Result<(), BlockError> {
        let table = self.table()?;
        let mut all = RoaringBitmap::new();
        all.insert_range(0..self.footer.series as u32);
        let numbers = table.index.select(
            matchers,
            &all,
            |list, to| {
                let bytes = self.read(list.at, list.length as usize)?;
                *to |= RoaringBitmap::deserialize_from(bytes.as_slice())
                    .map_err(|_| self.damaged("a list of series"))?;
                Ok(())
            },
            |number| self.entry(&table, number).map(|(labels, ..)| Some(labels)),
        )?;
        for number in numbers {
            let (labels, start, chunks) = self.entry(&table, number)?;
            let mut columns = Columns::default();
            self.read_series(start, &chunks, span, &mut columns)?;
            if !columns.times.is_empty() {
                columns.complete();
                found(SeriesSamples::new(labels, columns));
            }
        }
        Ok(())
    }

    /// Hands over the values of a label name, or the names.
    pub(crate) fn label_names(&self, mut name: impl FnMut(&str)) -> Result<(), BlockError> {
        self.table()?.index.names().for_each(&mut name);
        Ok(())
    }

    pub(crate) fn label_values(
        &self,
        name: &str,
        mut value: impl FnMut(&str),
    ) -> Result<(), BlockError> {
        self.table()?.index.values(name).for_each(|(found, _)| value(found));
        Ok(())
    }

    fn read_series(
        &self,
        start: u64,
        chunks: &[ChunkAt],
        span: Span,
        to: &mut Columns,
    ) -> Result<(), BlockError> {
        let mut at = start;
        for chunk in chunks {
            if chunk.last.millis() >= span.from && chunk.first.millis() <= span.to {
                let bytes = self.read(at, chunk.length)?;
                if crc32fast::hash(&bytes) == chunk.crc {
                    chunk::read(&bytes, span, to);
                } else {
                    self.lost(chunk);
                }
            }
            at += chunk.length as u64;
        }
        Ok(())
    }

    /// Counts a damaged chunk; says so the first time, and not at every query.
    fn lost(&self, chunk: &ChunkAt) {
        if self.damaged_chunks.fetch_add(1, Ordering::Relaxed) == 0 {
            warn!(
                block = %self.path.display(),
                samples = chunk.count,
                from = chunk.first.millis(),
                "a chunk of samples has a wrong sum and is left out; `veilleur storage check` tells \
                 what else is damaged"
            );
        }
    }

    /// How often a damaged chunk was met.
    pub(crate) fn damaged_chunks(&self) -> u64 {
        self.damaged_chunks.load(Ordering::Relaxed)
    }

    /// Whether there are native histograms in it.
    pub(crate) fn has_histograms(&self) -> bool {
        self.footer.has_histograms
    }

    /// Keeps a copy of a block with damaged chunks, which is about to be written anew without them.
    pub(crate) fn keep_copy(&self) -> Result<(), BlockError> {
        let copy = self.path.with_extension("damaged");
        warn!(block = %self.path.display(), "a block is written anew without its damaged chunks; a copy is kept");
        std::fs::copy(&self.path, copy)
            .map(|_| ())
            .map_err(|source| BlockError::Io { path: self.path.clone(), source })
    }

    /// Hands over the labels of every series.
    pub(crate) fn each_labels(&self, mut found: impl FnMut(&Labels)) -> Result<(), BlockError> {
        let table = self.table()?;
        for number in 0..table.offsets.len() as u32 {
            found(&self.entry(&table, number)?.0);
        }
        Ok(())
    }

    /// Hands over every series with its chunks as they are; those with a wrong sum to `damaged`.
    pub(crate) fn each_chunk(
        &self,
        mut found: impl FnMut(Labels, Vec<Sealed>),
        mut damaged: impl FnMut(&Labels, Timestamp, Timestamp, u32),
    ) -> Result<(), BlockError> {
        let table = self.table()?;
        for number in 0..table.offsets.len() as u32 {
            let (labels, mut at, chunks) = self.entry(&table, number)?;
            let mut sealed = Vec::with_capacity(chunks.len());
            for chunk in chunks {
                let bytes = self.read(at, chunk.length)?;
                at += chunk.length as u64;
                let ChunkAt { first, last, count, .. } = chunk;
                if crc32fast::hash(&bytes) == chunk.crc {
                    sealed.push(Sealed { first, last, count, bytes: bytes.into() });
                } else {
                    damaged(&labels, first, last, count);
                }
            }
            found(labels, sealed);
        }
        Ok(())
    }

    /// Labels and chunks of a series.
    fn entry(&self, table: &Table, number: u32) -> Result<(Labels, u64, Vec<ChunkAt>), BlockError> {
        let at =
            *table.offsets.get(number as usize).ok_or_else(|| self.damaged("a list of series"))?;
        let end = table.offsets.get(number as usize + 1).copied().unwrap_or(self.footer.offsets_at);
        let bytes = self.read(at, end.saturating_sub(at) as usize)?;
        parse_entry(&bytes).ok_or_else(|| self.damaged("the entry of a series"))
    }

    fn table(&self) -> Result<Arc<Table>, BlockError> {
        self.used.store(true, Ordering::Relaxed);
        let mut kept = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(table) = kept.as_ref() {
            return Ok(Arc::clone(table));
        }
        let end = self.bytes - FOOTER_BYTES as u64;
        let bytes = self.read(self.footer.table_at, (end - self.footer.table_at) as usize)?;
        let index = parse_table(&bytes).ok_or_else(|| self.damaged("its table"))?;
        let offsets = self.read(self.footer.offsets_at, self.footer.series as usize * 8)?;
        let offsets = offsets
            .chunks_exact(8)
            .map(|bytes| bytes.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte)))
            .collect();
        let table = Arc::new(Table { index, offsets });
        *kept = Some(Arc::clone(&table));
        Ok(table)
    }

    fn read(&self, at: u64, length: usize) -> Result<Vec<u8>, BlockError> {
        if at.checked_add(length as u64).is_none_or(|end| end > self.bytes) {
            return Err(self.damaged("it points behind its end"));
        }
        let mut bytes = vec![0; length];
        self.file
            .read_exact_at(&mut bytes, at)
            .map_err(|source| BlockError::Io { path: self.path.clone(), source })?;
        Ok(bytes)
    }

    fn damaged(&self, what: &'static str) -> BlockError {
        BlockError::Damaged { path: self.path.clone(), what }
    }
}

fn parse_entry(mut bytes: &[u8]) -> Option<(Labels, u64, Vec<ChunkAt>)> {
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

fn parse_table(mut bytes: &[u8]) -> Option<Index<ListAt>> {
    let from = &mut bytes;
    let mut index = Index::default();
    for _ in 0..varint::take(from)? {
        let name = std::str::from_utf8(varint::take_bytes(from)?).ok()?;
        for _ in 0..varint::take(from)? {
            let value = std::str::from_utf8(varint::take_bytes(from)?).ok()?;
            let at = varint::take(from)?;
            let length = u32::try_from(varint::take(from)?).ok()?;
            index.insert(name, value, ListAt { at, length });
        }
    }
    Some(index)
}
