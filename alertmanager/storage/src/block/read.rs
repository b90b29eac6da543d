//! Reading a block.
//!
//! Invariant: whatever the bytes are, what is read is checked against its sum; damaged values are left
//! out and counted, a damaged index refused; nothing is read behind the end.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use base::labels::Labels;
use base::matcher::Matcher;
use base::sample::Timestamp;
use roaring::RoaringBitmap;
use tracing::warn;

use super::first::{self, ChunkAt};
use super::section::{self, Section};
use super::table::{Part, SeriesAt, Table};
use super::times::KnownTimes;
use super::{FOOTER_BYTES, Footer, Layout, MAGIC, list, packed};
use crate::chunk::{self, Columns, Span};
use crate::head::Sealed;
use crate::series::SeriesSamples;

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

    /// Hands over each series that `matchers` accept, with its samples of `span`.
    pub(crate) fn select(
        &self,
        matchers: &[Matcher],
        span: Span,
        mut found: impl FnMut(SeriesSamples),
    ) -> Result<(), BlockError> {
        let look = self.look()?;
        let mut all = RoaringBitmap::new();
        all.insert_range(0..self.footer.series as u32);
        let numbers = look.table.index.select(
            matchers,
            &all,
            |list, to| look.load(*list, to),
            |number| look.series(number)?.labels().map(Some),
        )?;
        for number in numbers {
            let series = look.series(number)?;
            let mut columns = Columns::default();
            series.read(
                span,
                |bytes| chunk::read(bytes, span, &mut columns),
                |lost| self.lost(lost),
            )?;
            if !columns.times.is_empty() {
                columns.complete();
                found(SeriesSamples::new(series.labels()?, columns));
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

    /// Counts samples that are lost; says so the first time, and not at every query.
    fn lost(&self, lost: Lost) {
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

    fn look(&self) -> Result<Look<'_>, BlockError> {
        Ok(Look { block: self, table: self.table()?, section: RefCell::default() })
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

/// A look at many series of a block, mostly in their order.
struct Look<'a> {
    block: &'a Block,
    table: Arc<Table>,
    /// The section that was read last, and its number: the next series is mostly in it, too.
    section: RefCell<Option<(usize, Rc<Section>)>>,
}

impl Look<'_> {
    /// Adds the numbers of a list.
    fn load(&self, list: Part, to: &mut RoaringBitmap) -> Result<(), BlockError> {
        let bytes = self.block.read(list.at, list.length)?;
        let read = match self.table.series {
            SeriesAt::Offsets(_) => {
                RoaringBitmap::deserialize_from(bytes.as_slice()).map(|numbers| *to |= numbers).ok()
            }
            SeriesAt::Sections(..) => list::decode(&bytes, self.block.footer.series, to),
        };
        read.ok_or_else(|| self.block.damaged("a list of series"))
    }

    fn series(&self, number: u32) -> Result<Series<'_>, BlockError> {
        let damaged = || self.block.damaged("the entry of a series");
        let number = number as usize;
        let at = match &self.table.series {
            SeriesAt::Offsets(offsets) => {
                let begin = *offsets.get(number).ok_or_else(damaged)?;
                let [_, end, ..] = self.block.footer.parts;
                let end = offsets.get(number + 1).copied().unwrap_or(end);
                let bytes = self.block.read(begin, end.saturating_sub(begin) as usize)?;
                let (labels, at, chunks) = first::entry(&bytes).ok_or_else(damaged)?;
                SeriesIn::First(labels, at, chunks)
            }
            SeriesAt::Sections(sections, times) => {
                let (section, number) = (number / section::SERIES, number % section::SERIES);
                let known = self.section.borrow().clone().filter(|(known, _)| *known == section);
                let read = match known {
                    Some((_, read)) => read,
                    None => {
                        let Part { at, length } = *sections.get(section).ok_or_else(damaged)?;
                        let bytes = self.block.read(at, length)?;
                        let bytes = packed::unpack(&bytes).ok_or_else(damaged)?;
                        let read = Rc::new(Section::decode(&bytes, times).ok_or_else(damaged)?);
                        *self.section.borrow_mut() = Some((section, Rc::clone(&read)));
                        read
                    }
                };
                SeriesIn::Section(read, number, times)
            }
        };
        Ok(Series { block: self.block, at })
    }
}

/// A series of a block.
struct Series<'a> {
    block: &'a Block,
    at: SeriesIn<'a>,
}

enum SeriesIn<'a> {
    /// Labels, where the chunks begin, the chunks.
    First(Labels, u64, Vec<ChunkAt>),
    /// Its section, its number there, and the times of the block.
    Section(Rc<Section>, usize, &'a KnownTimes),
}

impl Series<'_> {
    fn labels(&self) -> Result<Labels, BlockError> {
        match &self.at {
            SeriesIn::First(labels, ..) => Ok(labels.clone()),
            SeriesIn::Section(section, number, _) => {
                section.labels(*number).ok_or_else(|| self.damaged())
            }
        }
    }

    fn damaged(&self) -> BlockError {
        self.block.damaged("the entry of a series")
    }

    /// Hands over the chunks that have to do with `span`, and maybe others.
    fn read(
        &self,
        span: Span,
        mut found: impl FnMut(&[u8]),
        mut lost: impl FnMut(Lost),
    ) -> Result<(), BlockError> {
        let reaches = |first: i64, last: i64| last >= span.from && first <= span.to;
        match &self.at {
            SeriesIn::First(_, at, chunks) => {
                let mut at = *at;
                for ChunkAt { first, last, count, length, crc } in chunks.iter().copied() {
                    if reaches(first.millis(), last.millis()) {
                        let bytes = self.block.read(at, length)?;
                        match crc32fast::hash(&bytes) == crc {
                            true => found(&bytes),
                            false => lost(Lost { first, last, count: count.into() }),
                        }
                    }
                    at += length as u64;
                }
                Ok(())
            }
            SeriesIn::Section(section, number, times) => {
                let (mut first, mut last, mut count) = (i64::MAX, i64::MIN, 0);
                let extent = |extent: section::Extent| {
                    (first, last) = (first.min(extent.first), last.max(extent.last));
                    count += u64::from(extent.count);
                };
                section.each_extent(*number, times, extent).ok_or_else(|| self.damaged())?;
                if !reaches(first, last) {
                    return Ok(());
                }
                let place = section.place(*number).ok_or_else(|| self.damaged())?;
                let bytes = self.block.read(place.at, place.length)?;
                if place.length > 0 && crc32fast::hash(&bytes) != place.sum {
                    let at = Timestamp::from_millis;
                    lost(Lost { first: at(first), last: at(last), count });
                    return Ok(());
                }
                section.each_chunk(*number, &bytes, times, found).ok_or_else(|| self.damaged())
            }
        }
    }
}
