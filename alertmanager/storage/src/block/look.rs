//! Looking at some series of a block: which there are, their labels, their samples.
//!
//! Invariant: the series that follow each other are read with one read of what tells where they are.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use base::labels::Labels;
use base::matcher::Matcher;
use base::sample::Timestamp;
use roaring::RoaringBitmap;

use super::first::{self, ChunkAt};
use super::read::{Block, BlockError, Lost};
use super::section::{self, Section};
use super::table::{Part, SeriesAt, Table};
use super::times::KnownTimes;
use super::{list, packed};
use crate::chunk::{self, Columns, Span};

/// A look at many series of a block, mostly in their order.
#[derive(Debug)]
pub(crate) struct Look<'a> {
    block: &'a Block,
    table: Arc<Table>,
    /// The section that was read last, and its number: the next series is mostly in it, too.
    section: RefCell<Option<(usize, Rc<Section>)>>,
}

impl<'a> Look<'a> {
    pub(super) fn new(block: &'a Block, table: Arc<Table>) -> Self {
        Self { block, table, section: RefCell::default() }
    }
}

impl Look<'_> {
    /// The numbers of the series that all `matchers` accept.
    pub(crate) fn find(&self, matchers: &[Matcher]) -> Result<RoaringBitmap, BlockError> {
        let mut all = RoaringBitmap::new();
        all.insert_range(0..self.block.footer().series as u32);
        self.table.index.select(
            matchers,
            &all,
            |list, to| self.load(*list, to),
            |number| self.series(number)?.labels().map(Some),
        )
    }

    /// The labels of a series that has chunks which reach into `span`, and how many samples it has in all.
    pub(crate) fn labels(
        &self,
        number: u32,
        span: Span,
    ) -> Result<Option<(Labels, usize)>, BlockError> {
        let series = self.series(number)?;
        let all = series.extent()?.filter(|all| reaches(span, all.first, all.last));
        let count = |all: Lost| usize::try_from(all.count).unwrap_or(usize::MAX);
        all.map(|all| Ok((series.labels()?, count(all)))).transpose()
    }

    /// Adds the samples of `span` of a series. Those of damaged chunks are left out and counted.
    pub(crate) fn read(&self, number: u32, span: Span, to: &mut Columns) -> Result<(), BlockError> {
        let lost = |lost| self.block.lost(lost);
        self.series(number)?.read(span, |bytes| chunk::read(bytes, span, to), lost)?;
        to.complete();
        Ok(())
    }

    /// Adds the numbers of a list.
    fn load(&self, list: Part, to: &mut RoaringBitmap) -> Result<(), BlockError> {
        let bytes = self.block.read(list.at, list.length)?;
        let read = match self.table.series {
            SeriesAt::Offsets(_) => {
                RoaringBitmap::deserialize_from(bytes.as_slice()).map(|numbers| *to |= numbers).ok()
            }
            SeriesAt::Sections(..) => list::decode(&bytes, self.block.footer().series, to),
        };
        read.ok_or_else(|| self.block.damaged("a list of series"))
    }

    pub(super) fn series(&self, number: u32) -> Result<Series<'_>, BlockError> {
        let damaged = || self.block.damaged("the entry of a series");
        let number = number as usize;
        let at = match &self.table.series {
            SeriesAt::Offsets(offsets) => {
                let begin = *offsets.get(number).ok_or_else(damaged)?;
                let [_, end, ..] = self.block.footer().parts;
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
pub(super) struct Series<'a> {
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
    pub(super) fn labels(&self) -> Result<Labels, BlockError> {
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

    /// From when to when its chunks are, and how many samples they have; nothing without a chunk.
    fn extent(&self) -> Result<Option<Lost>, BlockError> {
        let (mut first, mut last, mut count) = (i64::MAX, i64::MIN, 0);
        let mut add = |from: i64, to: i64, samples: u32| {
            (first, last) = (first.min(from), last.max(to));
            count += u64::from(samples);
        };
        match &self.at {
            SeriesIn::First(_, _, chunks) => {
                chunks.iter().for_each(|at| add(at.first.millis(), at.last.millis(), at.count));
            }
            SeriesIn::Section(section, number, times) => {
                let each = |at: section::Extent| add(at.first, at.last, at.count);
                section.each_extent(*number, times, each).ok_or_else(|| self.damaged())?;
            }
        }
        let at = Timestamp::from_millis;
        Ok((count > 0).then(|| Lost { first: at(first), last: at(last), count }))
    }

    /// Hands over the chunks that have to do with `span`, and maybe others.
    pub(super) fn read(
        &self,
        span: Span,
        mut found: impl FnMut(&[u8]),
        mut lost: impl FnMut(Lost),
    ) -> Result<(), BlockError> {
        match &self.at {
            SeriesIn::First(_, at, chunks) => {
                let mut at = *at;
                for ChunkAt { first, last, count, length, crc } in chunks.iter().copied() {
                    if reaches(span, first, last) {
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
                let Some(all) = self.extent()?.filter(|all| reaches(span, all.first, all.last))
                else {
                    return Ok(());
                };
                let place = section.place(*number).ok_or_else(|| self.damaged())?;
                let bytes = self.block.read(place.at, place.length)?;
                if place.length > 0 && crc32fast::hash(&bytes) != place.sum {
                    lost(all);
                    return Ok(());
                }
                section.each_chunk(*number, &bytes, times, found).ok_or_else(|| self.damaged())
            }
        }
    }
}

fn reaches(span: Span, first: Timestamp, last: Timestamp) -> bool {
    last.millis() >= span.from && first.millis() <= span.to
}
