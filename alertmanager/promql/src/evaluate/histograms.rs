//! The native histograms of an evaluation, to which cells refer by tags.
//!
//! ```text
//! table 1    a histogram of the storage, as Prometheus would read it: it may have begun again
//! table 2    one that was made by the evaluation
//! table 3    one of the storage, with what is known about its beginning again
//! + 4        the same, where the sample before is not the one that it was compared with
//! ```
//!
//! Invariant: a tag that stands for nothing is an absent value, wherever it comes from.

use std::cell::RefCell;
use std::sync::Arc;

use base::histogram::{Histogram, Reset, Tag, is_tag};
use storage::{HISTOGRAMS, Storage};

use super::context::Lease;
use super::{Context, EvalError};

const MADE: u8 = 2;
const KNOWN: u8 = 3;
const FORGOTTEN: u8 = 4;

/// The histograms that an evaluation can see.
#[derive(Debug)]
pub(crate) struct Arena<'a> {
    storage: Option<&'a Storage>,
    /// Whether there can be any.
    any: bool,
    made: RefCell<Made>,
}

#[derive(Debug)]
struct Made {
    histograms: Vec<Arc<Histogram>>,
    lease: Lease,
}

impl<'a> Arena<'a> {
    pub(crate) fn new(storage: Option<&'a Storage>, lease: Lease) -> Self {
        let any = storage.is_some_and(Storage::has_histograms);
        Self { storage, any, made: RefCell::new(Made { histograms: Vec::new(), lease }) }
    }
}

/// The tag of a histogram of the storage, with what is known about its beginning again.
pub(crate) fn known(value: f64) -> f64 {
    match Tag::of(value) {
        Some(tag) if tag.table == HISTOGRAMS => Tag { table: KNOWN, ..tag }.value(),
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
        let found = if made {
            arena.made.borrow().histograms.get(usize::try_from(tag.place).ok()?).cloned()?
        } else {
            arena.storage?.histogram_at(tag.place)?
        };
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
        made.lease.extend(4 + histogram.positive.len() + histogram.negative.len())?;
        let place = made.histograms.len() as u64;
        made.histograms.push(Arc::new(histogram));
        Ok(Tag { table: MADE, place }.value())
    }
}

/// The native histograms of an answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histograms(Vec<Arc<Histogram>>);

impl Histograms {
    /// The histogram that a value of the answer stands for, if it is not a number but one.
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
