//! A block that is open: what it says of itself, and all of its series one after the other.
//!
//! Invariant: whatever the bytes are, what is read is checked against its sum; damaged values are left
//! out and counted, a damaged index refused; nothing is read behind the end.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use base::labels::Labels;
use base::sample::Timestamp;
use tracing::warn;

use super::look::Look;
use super::table::Table;
use super::{FOOTER_BYTES, Footer, Layout, MAGIC};
use crate::chunk::Span;
use crate::head::Sealed;

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

/// Samples that are lost, because their bytes have a wrong sum.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lost {
    pub(crate) first: Timestamp,
    pub(crate) last: Timestamp,
    pub(crate) count: u64,
}

impl Block {
    /// Opens the block at `path` and checks everything but its values, which have sums of their
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
        if !footer.is_in_order(footer_at) {
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
        let (mut crc, mut at) = (crc32fast::Hasher::new(), footer.parts[0]);
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

    /// Counts samples that are lost; says so the first time, and not at every query.
    pub(super) fn lost(&self, lost: Lost) {
        if self.damaged_chunks.fetch_add(1, Ordering::Relaxed) == 0 {
            warn!(
                block = %self.path.display(),
                samples = lost.count,
                from = lost.first.millis(),
                "samples have a wrong sum and are left out; `veilleur storage check` tells what \
                 else is damaged"
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
        let look = self.look()?;
        for number in 0..self.footer.series as u32 {
            found(&look.series(number)?.labels()?);
        }
        Ok(())
    }

    /// Hands over every series with its chunks as they are in memory; what has a wrong sum to
    /// `damaged`.
    pub(crate) fn each_chunk(
        &self,
        mut found: impl FnMut(Labels, Vec<Sealed>),
        mut damaged: impl FnMut(&Labels, Lost),
    ) -> Result<(), BlockError> {
        let look = self.look()?;
        for number in 0..self.footer.series as u32 {
            let series = look.series(number)?;
            let (labels, mut chunks) = (series.labels()?, Vec::new());
            let keep = |bytes: &[u8]| chunks.extend(Sealed::read(bytes));
            series.read(Span::ALL, keep, |lost| damaged(&labels, lost))?;
            found(labels, chunks);
        }
        Ok(())
    }

    fn table(&self) -> Result<Arc<Table>, BlockError> {
        self.used.store(true, Ordering::Relaxed);
        let mut kept = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(table) = kept.as_ref() {
            return Ok(Arc::clone(table));
        }
        let [first, second, lists_at, table_at] = self.footer.parts;
        let part = |from: u64, to: u64| self.read(from, to.saturating_sub(from) as usize);
        let table = part(table_at, self.bytes - FOOTER_BYTES as u64)?;
        let table = match self.footer.layout {
            Layout::First => Table::of_first(&table, &part(second, lists_at)?),
            Layout::Sections => Table::of(&self.footer, &table, part(first, second)?),
        };
        let table = Arc::new(table.ok_or_else(|| self.damaged("its table"))?);
        *kept = Some(Arc::clone(&table));
        Ok(table)
    }

    /// Begins to look at series.
    pub(crate) fn look(&self) -> Result<Look<'_>, BlockError> {
        Ok(Look::new(self, self.table()?))
    }

    pub(super) fn footer(&self) -> &Footer {
        &self.footer
    }

    pub(super) fn read(&self, at: u64, length: usize) -> Result<Vec<u8>, BlockError> {
        if at.checked_add(length as u64).is_none_or(|end| end > self.bytes) {
            return Err(self.damaged("it points behind its end"));
        }
        let mut bytes = vec![0; length];
        self.file
            .read_exact_at(&mut bytes, at)
            .map_err(|source| BlockError::Io { path: self.path.clone(), source })?;
        Ok(bytes)
    }

    pub(super) fn damaged(&self, what: &'static str) -> BlockError {
        BlockError::Damaged { path: self.path.clone(), what }
    }
}
