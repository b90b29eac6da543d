//! Deleting samples of series.
//!
//! ```text
//! log: a record of it, on the disk ──▶ head: chunks written anew ──▶ blocks: written anew, one by one
//! ```
//!
//! Invariant: when a deletion has been answered, no start brings back what it deleted.

use std::fs;
use std::io;
use std::sync::Arc;

use base::labels::Labels;
use base::matcher::Matcher;
use base::sample::Timestamp;

use crate::Storage;
use crate::block::{self, Block, BlockError};
use crate::chunk::{self, ChunkWriter, Columns, Span};
use crate::head::{Sealed, window_of};
use crate::lasting;
use crate::log::{Batch, Log};

/// Why nothing, or not all, was deleted. The same may be asked again.
#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    /// Without a matcher everything would go.
    #[error("a deletion needs a matcher that does not accept every series")]
    Everything,
    /// A file could not be written.
    #[error("cannot delete samples: {0}")]
    Io(#[from] io::Error),
    /// A block is damaged.
    #[error("cannot delete samples: {0}")]
    Damaged(String),
}

impl From<BlockError> for DeleteError {
    fn from(error: BlockError) -> Self {
        match error {
            BlockError::Io { source, .. } => Self::Io(source),
            error @ BlockError::Damaged { .. } => Self::Damaged(error.to_string()),
        }
    }
}

impl Storage {
    /// Deletes the samples from `from` to `to`, both included, of every series that all `matchers`
    /// accept. Durable when it returns. Blocks with such samples are written anew, which takes as
    /// long as reading and writing them; appending goes on meanwhile.
    ///
    /// Returns of how many series samples were deleted: a series counts once in memory and once in
    /// each block.
    ///
    /// # Errors
    ///
    /// [`DeleteError`]; a part may be deleted already.
    pub fn delete(
        &self,
        matchers: &[Matcher],
        from: Timestamp,
        to: Timestamp,
    ) -> Result<usize, DeleteError> {
        if matchers.iter().all(|matcher| matcher.matches("")) {
            return Err(DeleteError::Everything);
        }
        let _turn = self.changing_blocks();
        let mut deleted = self.delete_in_head(matchers, from, to)?;
        let Some(dir) = &self.dir else { return Ok(deleted) };
        let span = Span { from: from.millis(), to: to.millis() };
        for block in self.blocks() {
            if block.max_time() < from || block.min_time() > to {
                continue;
            }
            let (series, changed) = without(&block, matchers, span)?;
            if changed.is_empty() {
                continue;
            }
            deleted += changed.len();
            // The log may still have samples of a block.
            self.log_deletions(changed, span)?;
            if series.is_empty() {
                fs::remove_file(block.path())?;
                lasting::sync(&dir.join("blocks"))?;
                self.blocks_mut().retain(|other| other.path() != block.path());
                continue;
            }
            let name = block.path().file_stem().and_then(|name| name.to_str()).unwrap_or("block");
            let path = block::write(&dir.join("blocks"), name, series)?;
            let rewritten = Arc::new(Block::open(&path)?);
            for other in self.blocks_mut().iter_mut().filter(|other| other.path() == path) {
                *other = Arc::clone(&rewritten);
            }
        }
        Ok(deleted)
    }

    /// First in the log, then in memory; nobody appends between the two.
    fn delete_in_head(
        &self,
        matchers: &[Matcher],
        from: Timestamp,
        to: Timestamp,
    ) -> Result<usize, DeleteError> {
        let mut writer = self.writer();
        let head = self.head();
        let newest = head.max_time.unwrap_or(Timestamp::MIN).millis();
        let span = Span { from: from.millis(), to: to.millis().min(newest) };
        let found: Vec<(u32, Labels)> = head
            .find_all(matchers)
            .iter()
            .filter_map(|slot| Some((slot, head.in_slot(slot)?)))
            .filter(|(_, series)| series.has_samples(span))
            .map(|(slot, series)| (slot, series.labels.clone()))
            .collect();
        drop(head);
        if found.is_empty() {
            return Ok(0);
        }
        let labels = found.iter().map(|(_, labels)| labels.clone());
        log_deletions(writer.log.as_mut(), labels, span)?;
        let mut head = self.head_mut();
        found.iter().for_each(|(slot, _)| head.delete(*slot, span));
        Ok(found.len())
    }

    fn log_deletions(&self, labels: Vec<Labels>, span: Span) -> io::Result<()> {
        let newest = self.head().max_time.map_or(span.to, |newest| newest.millis());
        let span = Span { to: span.to.min(newest), ..span };
        log_deletions(self.writer().log.as_mut(), labels, span)
    }
}

fn log_deletions(
    log: Option<&mut Log>,
    labels: impl IntoIterator<Item = Labels>,
    span: Span,
) -> io::Result<()> {
    let Some(log) = log else { return Ok(()) };
    let deletions = labels.into_iter().map(|labels| (labels, span)).collect();
    log.append(&Batch { deletions, ..Batch::default() })?;
    log.sync()
}

/// A series with its chunks.
type Kept = (Labels, Vec<Sealed>);

/// The series of a block without the samples of `span` of those that `matchers` accept, and which of
/// them had such samples.
fn without(
    block: &Block,
    matchers: &[Matcher],
    span: Span,
) -> Result<(Vec<Kept>, Vec<Labels>), BlockError> {
    let (mut kept, mut changed, mut damaged) = (Vec::new(), Vec::new(), 0_u64);
    block.each_chunk(
        |labels, mut chunks| {
            let is_meant = matchers.iter().all(|matcher| matcher.matches_labels(&labels));
            let reaches = |chunk: &Sealed| {
                chunk.first.millis() <= span.to && chunk.last.millis() >= span.from
            };
            if is_meant && chunks.iter().any(reaches) {
                changed.push(labels.clone());
                let chunk = |chunk: Sealed| match reaches(&chunk) {
                    true => cut(&chunk, span),
                    false => vec![chunk],
                };
                chunks = chunks.into_iter().flat_map(chunk).collect();
            }
            if !chunks.is_empty() {
                kept.push((labels, chunks));
            }
        },
        |_, _| damaged += 1,
    )?;
    if damaged > 0 && !changed.is_empty() {
        block.keep_copy()?;
    }
    Ok((kept, changed))
}

/// A chunk without the samples of `span`.
fn cut(chunk: &Sealed, span: Span) -> Vec<Sealed> {
    let mut columns = Columns::default();
    chunk::read(&chunk.bytes, Span::ALL, &mut columns);
    columns.remove(span);
    sealed(&columns)
}

/// Chunks of samples.
pub(crate) fn sealed(columns: &Columns) -> Vec<Sealed> {
    let mut chunks = Vec::new();
    let mut open: Option<ChunkWriter> = None;
    for (at, time) in columns.times.iter().enumerate() {
        let (time, held) = (Timestamp::from_millis(*time), columns.held(at));
        let fits = |open: &ChunkWriter| {
            !open.is_full() && open.takes(held) && window_of(open.first()) == window_of(time)
        };
        match open.as_mut().filter(|open| fits(open)) {
            Some(open) => open.push(time, held, columns.start(at)),
            None => {
                let begun = ChunkWriter::begin(time, held, columns.start(at));
                chunks.extend(open.replace(begun).map(Sealed::of));
            }
        }
    }
    chunks.extend(open.map(Sealed::of));
    chunks
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{Options, Point};

    const MINUTE: i64 = 60_000;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_millis(minute * MINUTE)
    }

    fn open(dir: &Path) -> Storage {
        Storage::open(dir, Options::default()).unwrap()
    }

    fn append(storage: &Storage, series: &str, minute: i64) {
        let labels = Labels::from_pairs([("__name__", "x"), ("series", series)]);
        let series = storage.series(&labels).unwrap();
        let point = Point { series, timestamp: at(minute), value: minute as f64 };
        assert_eq!(storage.append(&[point]).unwrap().stored, 1);
    }

    /// How many samples each series has.
    fn counts(storage: &Storage) -> Vec<(String, usize)> {
        let found = storage.select(&[], Timestamp::MIN, Timestamp::MAX).unwrap();
        let count = |series: &crate::SeriesSamples| {
            (series.labels.get("series").unwrap_or("").to_owned(), series.times.len())
        };
        found.iter().map(count).collect()
    }

    #[track_caller]
    fn check(storage: &Storage, expected: &[(&str, usize)]) {
        let expected: Vec<_> = expected.iter().map(|(s, n)| ((*s).to_owned(), *n)).collect();
        assert_eq!(counts(storage), expected);
    }

    #[test]
    fn what_is_deleted_stays_deleted_in_memory_in_blocks_and_after_a_start() {
        let dir = tempfile::tempdir().unwrap();
        let storage = open(dir.path());
        for minute in 0..600 {
            append(&storage, "a", minute);
            append(&storage, "b", minute);
        }
        storage.maintain(at(600)).unwrap();
        assert_eq!(storage.stats().blocks, 4);
        let a = [Matcher::equal("series", "a")];
        // From the midst of a block to the midst of memory.
        assert_eq!(storage.delete(&a, at(100), at(549)).unwrap(), 5);
        check(&storage, &[("a", 150), ("b", 600)]);
        append(&storage, "a", 600);
        drop(storage);
        let storage = open(dir.path());
        check(&storage, &[("a", 151), ("b", 600)]);
        // All that is in memory: the series goes, and comes again.
        assert_eq!(storage.delete(&a, at(480), Timestamp::MAX).unwrap(), 1);
        check(&storage, &[("a", 100), ("b", 600)]);
        append(&storage, "a", 601);
        drop(storage);
        let storage = open(dir.path());
        check(&storage, &[("a", 101), ("b", 600)]);
        let all = [Matcher::equal("__name__", "x")];
        storage.delete(&all, Timestamp::MIN, at(479)).unwrap();
        assert_eq!(storage.stats().blocks, 0);
        check(&storage, &[("a", 1), ("b", 120)]);
        assert!(matches!(
            storage.delete(&[], Timestamp::MIN, Timestamp::MAX),
            Err(DeleteError::Everything)
        ));
    }
}
