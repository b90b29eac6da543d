//! Samples: kept in memory in compressed chunks, durable on disk, selected by matchers and range.
//!
//! ```text
//!             ┌─▶ log      every append, so that a crash of ours loses nothing
//! append ─────┤
//!             └─▶ head     the last hours, in memory ── maintain ──▶ blocks  two hours each
//!                   └──────────────── select ◀──────────────────────────┘
//! ```
//!
//! The head holds what has been appended since the last block; on a start it is read again from
//! the log. Every two hours the oldest window becomes a block and its part of the log goes.
//!
//! Invariant: head and blocks do not overlap in time, so a series is its parts in order.

#![warn(missing_docs)]

mod varint;
mod lasting;
mod record;
mod chunk;
mod late;
mod index;
mod series;
mod head;
mod exemplars;
mod log;
mod block;
mod append;
mod histograms;
mod checkpoint;
mod maintain;
mod select;
mod found;
mod parts;
mod delete;
mod import;
mod foreign;
mod inspect;
mod left_out;
mod names;
#[cfg(test)]
mod noise;

pub use append::{AppendError, Appended, Beside, Point, histogram_value};
pub use chunk::TABLE as HISTOGRAMS;
pub use delete::DeleteError;
pub use exemplars::Exemplar;
pub use foreign::{CHUNK_SAMPLES, castagnoli, float_chunk};
pub use foreign::{ForeignError, has_foreign_log, is_foreign_block, read_foreign_block};
pub use head::SeriesRef;
pub use import::{ImportError, Imported};
pub use inspect::{Census, Checked, Fault, check};
pub use log::{Followed, Follower, LogPosition, Progress};
pub use maintain::Stats;
pub use parts::{Parts, Reader};
pub use select::{SelectError, SeriesColumns};
pub use series::SeriesSamples;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use base::sample::Timestamp;
use tracing::{info, warn};

use append::Writer;
use block::{Block, BlockError};
use exemplars::{Newest, Ring};
use head::{Head, Limit};
use log::{Log, Restored};

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long samples are kept.
    pub retention: Duration,
    /// The most bytes that blocks and log may take together: then the oldest blocks go.
    pub retention_bytes: Option<u64>,
    /// How long before the newest sample of its series a sample may be and is still taken. A window
    /// of time stays in memory so much longer, where this is more than an hour.
    pub out_of_order: Duration,
    /// The most series that may be alive at a time.
    pub max_series: usize,
    /// How many exemplars are kept, in memory and on the disk; each takes some hundred bytes.
    pub max_exemplars: usize,
    /// After so many bytes of log the head is written, so that a start has no more of it to read.
    pub checkpoint_bytes: u64,
    /// Names of metrics: an append says whether a series of one of them has another value now.
    pub watched: &'static [&'static str],
}

impl Default for Options {
    fn default() -> Self {
        Self {
            retention: Duration::from_secs(15 * 86_400),
            retention_bytes: None,
            out_of_order: Duration::ZERO,
            max_series: 5_000_000,
            max_exemplars: 20_000,
            checkpoint_bytes: 48 << 20,
            watched: &[],
        }
    }
}

/// Why the samples cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the samples in {dir}: {source}")]
pub struct OpenError {
    dir: PathBuf,
    source: io::Error,
}

/// The samples of one data folder. All methods may be called at the same time: locks are taken in
/// the order of the fields, and none is waited for by whoever holds one after it.
#[derive(Debug)]
pub struct Storage {
    dir: Option<PathBuf>,
    options: Options,
    /// Held by whoever writes or removes blocks.
    changing_blocks: Mutex<()>,
    /// Held for the whole of an append; readers need `head` alone.
    writer: Mutex<Writer>,
    head: RwLock<Head>,
    blocks: RwLock<Vec<Arc<Block>>>,
    /// Whether any block has, or had, native histograms.
    old_histograms: AtomicBool,
    exemplars: Ring,
    /// How often a series was refused because there were too many.
    refused_series: AtomicU64,
}

impl Storage {
    /// Opens the samples in `dir`, which only this process may use; makes the folder where there is
    /// none. Reads the head that was written last, and the log since, which takes about a second for
    /// ten million samples.
    ///
    /// # Errors
    ///
    /// The folder cannot be read. Damaged files are no error: they are set aside with a warning, and the
    /// rest is used. Nor is a disk that takes nothing: what it has is read, and writing goes on when it
    /// takes something again.
    pub fn open(dir: &Path, options: Options) -> Result<Self, OpenError> {
        Self::open_sharing(dir, options, false)
    }

    /// Opens the samples, where a job may have to share what room there is with others.
    fn open_sharing(dir: &Path, options: Options, shares: bool) -> Result<Self, OpenError> {
        let failed = |source| OpenError { dir: dir.to_owned(), source };
        // A disk that takes nothing may have everything.
        lasting::make_folder(dir).or_else(passing).map_err(failed)?;
        let blocks = open_blocks(&dir.join("blocks")).map_err(failed)?;
        let mut head = head_behind(&blocks, options);
        let log_dir = dir.join("log");
        let mut limit = Limit::of(options.max_series).sharing(shares);
        let mut exemplars = Newest::of(options.max_exemplars);
        let mut into = Restored { head: &mut head, exemplars: &mut exemplars, limit: &mut limit };
        let known = checkpoint::read(dir, &mut into).map_err(failed)?;
        if known.is_none() {
            *into.head = head_behind(&blocks, options);
            *into.limit = Limit::of(options.max_series).sharing(shares);
            *into.exemplars = Newest::of(options.max_exemplars);
        }
        let known = known.unwrap_or_default();
        let used = known.last().map_or(0, |(number, _)| *number);
        let replayed = log::replay(&log_dir, &known, &mut into).map_err(failed)?;
        if limit.left_out > 0 && !shares {
            // Not all fit that were there: nobody has a right to what came first.
            drop((head, blocks));
            return Self::open_sharing(dir, options, true);
        }
        if limit.left_out > 0 {
            left_out::keep(dir, limit.left_out).or_else(passing).map_err(failed)?;
        }
        if replayed.samples > 0 {
            info!(series = head.len(), samples = replayed.samples, "the log has been read");
        }
        let log = Log::create(&log_dir, replayed.segments, replayed.bytes, used).map_err(failed)?;
        let mut storage = Self::of(Some(dir.to_owned()), options, Some(log), (head, blocks));
        storage.exemplars = Ring::new(exemplars);
        Ok(storage)
    }

    /// Samples that nothing keeps on disk, for tests and for evaluating over given data.
    pub fn in_memory(options: Options) -> Self {
        let head = Head::new(options.watched, options.out_of_order);
        Self::of(None, options, None, (head, Vec::new()))
    }

    fn of(
        dir: Option<PathBuf>,
        options: Options,
        log: Option<Log>,
        (head, blocks): (Head, Vec<Arc<Block>>),
    ) -> Self {
        let old_histograms = blocks.iter().any(|block| block.has_histograms());
        Self {
            dir,
            options,
            changing_blocks: Mutex::default(),
            writer: Mutex::new(Writer::new(log)),
            head: RwLock::new(head),
            blocks: RwLock::new(blocks),
            old_histograms: AtomicBool::new(old_histograms),
            exemplars: Ring::new(Newest::of(options.max_exemplars)),
            refused_series: AtomicU64::default(),
        }
    }

    /// Waits until everything appended so far is on the disk. Appending goes on meanwhile.
    ///
    /// # Errors
    ///
    /// The disk failed.
    pub fn sync(&self) -> io::Result<()> {
        let handle = match &mut self.writer().log {
            Some(log) => log.handle()?,
            None => None,
        };
        let synced = handle.map_or(Ok(()), |file| file.sync_data());
        if let (Err(_), Some(log)) = (&synced, &mut self.writer().log) {
            log.sync_failed();
        }
        synced
    }

    /// The time of the newest sample in memory.
    pub fn max_time(&self) -> Option<Timestamp> {
        self.head().max_time
    }

    fn changing_blocks(&self) -> MutexGuard<'_, ()> {
        self.changing_blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn head(&self) -> RwLockReadGuard<'_, Head> {
        self.head.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn head_mut(&self) -> RwLockWriteGuard<'_, Head> {
        self.head.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn blocks(&self) -> Vec<Arc<Block>> {
        self.blocks.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn blocks_mut(&self) -> RwLockWriteGuard<'_, Vec<Arc<Block>>> {
        self.blocks.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Goes on where a disk takes nothing that may take it later.
fn passing(error: io::Error) -> io::Result<()> {
    if !lasting::may_pass(&error) {
        return Err(error);
    }
    warn!(%error, "the disk that the samples are on takes nothing");
    Ok(())
}

/// An empty head that takes what comes behind `blocks`.
fn head_behind(blocks: &[Arc<Block>], options: Options) -> Head {
    let mut head = Head::new(options.watched, options.out_of_order);
    if let Some(newest) = blocks.iter().map(|block| block.max_time()).max() {
        head.drop_before(newest + Duration::from_millis(1));
    }
    head
}

/// Opens the blocks in `dir`, oldest first; one that is damaged is renamed and left alone.
fn open_blocks(dir: &Path) -> io::Result<Vec<Arc<Block>>> {
    let mut blocks = Vec::new();
    for path in block::list(dir)? {
        match Block::open(&path) {
            Ok(block) => blocks.push(Arc::new(block)),
            Err(BlockError::Io { source, .. }) => return Err(source),
            Err(error @ BlockError::Damaged { .. }) => {
                warn!(%error, "a block of samples is set aside");
                fs::rename(&path, path.with_extension("damaged")).or_else(passing)?;
            }
        }
    }
    blocks.sort_by_key(|block| block.min_time());
    Ok(blocks)
}
