//! The native histograms of an evaluation, to which cells refer by tags.
//!
//! ```text
//! table 1    a histogram of the storage, as Prometheus would read it: it may have begun again
//! table 2    one that was made by the evaluation
//! table 3    one of the storage, with what is known about its beginning again
//! table 4    the same without its buckets: nothing looks at them
//! + 4        one of the first three, where the sample before is not the one that it was compared with
//! ```
//!
//! Invariant: a tag that stands for nothing is an absent value, wherever it comes from.

use std::cell::RefCell;
use std::sync::Arc;

use base::histogram::{Histogram, Reset, Tag, is_tag};
use storage::{HISTOGRAMS, SeriesColumns, Storage};

use super::context::Lease;
use super::{Context, EvalError};
use crate::plan::Detail;

const MADE: u8 = 2;
const KNOWN: u8 = 3;
const COUNTS: u8 = 4;
const FORGOTTEN: u8 = 4;

/// The histograms that an evaluation can see.
#[derive(Debug)]
pub(crate) struct Arena {
    /// Whether there can be any.
    any: bool,
    read: RefCell<Pool>,
    made: RefCell<Pool>,
}

/// Histograms by their place.
#[derive(Debug)]
struct Pool {
    histograms: Vec<Arc<Histogram>>,
    lease: Lease,
}

impl Pool {
    fn new(lease: Lease) -> RefCell<Self> {
        RefCell::new(Self { histograms: Vec::new(), lease })
    }

    fn get(&self, place: u64) -> Option<Arc<Histogram>> {
        self.histograms.get(usize::try_from(place).ok()?).cloned()
    }

    fn add(&mut self, histogram: Arc<Histogram>) -> Result<(), EvalError> {
        self.lease.extend(4 + histogram.positive.len() + histogram.negative.len())?;
        self.histograms.push(histogram);
        Ok(())
    }
}

impl Arena {
    /// Histograms of `storage`, and such as are made; each kind has its own lease.
    pub(crate) fn new(storage: Option<&Storage>, [read, made]: [Lease; 2]) -> Self {
        let any = storage.is_some_and(Storage::has_histograms);
        Self { any, read: Pool::new(read), made: Pool::new(made) }
    }
}

/// The tag of a histogram of the storage, as far as it is looked at.
pub(crate) fn read_as(detail: Detail, value: f64) -> f64 {
    let table = match detail {
        Detail::Buckets => return value,
        Detail::Resets => KNOWN,
        Detail::Counts => COUNTS,
    };
    match Tag::of(value) {
        Some(tag) if tag.table == HISTOGRAMS => Tag { table, ..tag }.value(),
        _ => value,
    }
}

/// The tag of the same histogram behind another sample than it was compared with.
pub(crate) fn forgotten(value: f64) -> f64 {
    match Tag::of(value) {
        Some(tag) => Tag { table: tag.table | FORGOTTEN, ..tag }.value(),
        None => value,
    }
}

/// What a cell can be.
#[derive(Clone, Debug)]
pub(crate) enum Cell {
    Absent,
    Float(f64),
    Native(Arc<Histogram>),
}

impl Context<'_> {
    /// Whether there can be native histograms at all.
    #[inline]
    pub(crate) fn has_native(&self) -> bool {
        self.arena().any
    }

    /// Whether there are native histograms among these values.
    #[inline]
    pub(crate) fn any_native(&self, values: &[f64]) -> bool {
        self.has_native() && values.iter().fold(false, |any, value| any | is_tag(*value))
    }

    /// The histogram that a cell stands for.
    pub(crate) fn histogram(&self, cell: f64) -> Option<Arc<Histogram>> {
        let tag = Tag::of(cell)?;
        let arena = self.arena();
        let made = tag.table & 3 == MADE;
        let pool = if made { &arena.made } else { &arena.read };
        let found = pool.borrow().get(tag.place)?;
        if tag.table == COUNTS {
            let Histogram { schema, reset, count, sum, .. } = *found;
            return Some(Arc::new(Histogram { schema, reset, count, sum, ..Histogram::default() }));
        }
        let forget = match found.reset {
            Reset::Reset => tag.table & FORGOTTEN != 0 || tag.table & 3 == HISTOGRAMS,
            Reset::NotReset => tag.table & FORGOTTEN != 0,
            Reset::Unknown | Reset::Gauge => false,
        };
        if forget {
            return Some(Arc::new(Histogram { reset: Reset::Unknown, ..(*found).clone() }));
        }
        Some(found)
    }

    /// What a cell is.
    pub(crate) fn cell(&self, cell: f64) -> Cell {
        if !is_tag(cell) {
            return if super::is_absent(cell) { Cell::Absent } else { Cell::Float(cell) };
        }
        self.histogram(cell).map_or(Cell::Absent, Cell::Native)
    }

    /// The cell that stands for a histogram. It is kept to the end of the evaluation.
    ///
    /// # Errors
    ///
    /// [`EvalError::TooManySamples`]: it is as large as several samples.
    pub(crate) fn keep(&self, histogram: Histogram) -> Result<f64, EvalError> {
        let mut made = self.arena().made.borrow_mut();
        let place = made.histograms.len() as u64;
        made.add(Arc::new(histogram))?;
        Ok(Tag { table: MADE, place }.value())
    }

    /// Takes over the histograms of a series of the storage: puts its values into `values`, with
    /// tags that stand for them to the end of the evaluation.
    ///
    /// # Errors
    ///
    /// As [`Context::keep`].
    pub(crate) fn take_over(
        &self,
        series: &SeriesColumns<'_>,
        values: &mut Vec<f64>,
    ) -> Result<(), EvalError> {
        let mut read = self.arena().read.borrow_mut();
        values.clear();
        for value in series.values {
            let histogram = Tag::of(*value)
                .and_then(|tag| series.histograms.get(usize::try_from(tag.place).ok()?));
            let Some(histogram) = histogram else {
                values.push(*value);
                continue;
            };
            let place = read.histograms.len() as u64;
            read.add(Arc::clone(histogram))?;
            values.push(Tag { table: HISTOGRAMS, place }.value());
        }
        Ok(())
    }
}

/// The native histograms of an answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histograms(Vec<Arc<Histogram>>);

impl Histograms {
    /// The histogram that a value of the answer stands for, if it is not a number but one.
    #[inline]
    pub fn get(&self, value: f64) -> Option<&Arc<Histogram>> {
        let tag = Tag::of(value).filter(|tag| tag.table == MADE)?;
        self.0.get(usize::try_from(tag.place).ok()?)
    }

    /// Takes over what a cell stands for, and says what stands for it from now on.
    pub(crate) fn adopt(&mut self, context: &Context<'_>, cell: f64) -> f64 {
        if !is_tag(cell) {
            return cell;
        }
        let Some(histogram) = context.histogram(cell) else { return f64::NAN };
        self.0.push(histogram);
        Tag { table: MADE, place: self.0.len() as u64 - 1 }.value()
    }
}
