//! Selecting samples by matchers and range.
//!
//! Invariant: an answer is of one moment: no sample is missing or there twice because a window
//! moved from the head into a block meanwhile.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use base::histogram::Histogram;
use base::labels::Labels;
use base::matcher::Matcher;
use base::sample::{Sample, Timestamp};

use crate::Storage;
use crate::block::{Block, BlockError};
use crate::chunk::{Columns, Span};
use crate::head::HeadSeries;
use crate::series::SeriesSamples;

/// The same, while they are handed out by [`Storage::scan`].
#[derive(Clone, Copy, Debug)]
pub struct SeriesColumns<'a> {
    /// The series.
    pub labels: &'a Labels,
    /// When.
    pub times: &'a [i64],
    /// How much, or a tag of [`crate::HISTOGRAMS`] for one of the histograms.
    pub values: &'a [f64],
    /// Native histograms.
    pub histograms: &'a [Arc<Histogram>],
    /// Since when each sample counts, in milliseconds since the Unix epoch, 0 where it is not known;
    /// nothing at all where it is known of none.
    pub starts: &'a [i64],
}

impl SeriesSamples {
    pub(crate) fn as_columns(&self) -> SeriesColumns<'_> {
        let Self { labels, times, values, histograms, starts } = self;
        SeriesColumns { labels, times, values, histograms, starts }
    }
}

/// Why samples could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SelectError {
    /// A block is damaged or cannot be read.
    #[error("cannot read samples: {0}")]
    Unreadable(String),
    /// Samples moved from memory to the disk in the midst of a scan: worth another try.
    #[error("samples moved to the disk while they were read")]
    Moved,
}

impl From<BlockError> for SelectError {
    fn from(error: BlockError) -> Self {
        Self::Unreadable(error.to_string())
    }
}

impl Storage {
    /// The samples from `from` to `to`, both included, of every series that all `matchers` accept,
    /// sorted by labels. Series without a sample in the range are left out.
    ///
    /// # Errors
    ///
    /// A block is damaged or cannot be read.
    pub fn select(
        &self,
        matchers: &[Matcher],
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<SeriesSamples>, SelectError> {
        let (newer, blocks, head_begins) = self.select_head(matchers, from, to);
        let before_head = Timestamp::from_millis(head_begins.millis().saturating_sub(1)).min(to);
        let mut merged = Merged::default();
        for block in blocks {
            if block.max_time() >= from && block.min_time() <= before_head {
                let span = Span { from: from.millis(), to: before_head.millis() };
                block.select(matchers, span, |series| merged.add(series))?;
            }
        }
        let mut found = if merged.found.is_empty() {
            newer
        } else {
            newer.into_iter().for_each(|series| merged.add(series));
            merged.found
        };
        found.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
        Ok(found)
    }

    /// What the head has, which blocks come before it, and where in time it begins: all as of one
    /// moment, because a window could move from one to the other.
    fn select_head(
        &self,
        matchers: &[Matcher],
        from: Timestamp,
        to: Timestamp,
    ) -> (Vec<SeriesSamples>, Vec<Arc<Block>>, Timestamp) {
        let head = self.head();
        let begins = head.min_time.unwrap_or(Timestamp::MIN);
        let mut found = Vec::new();
        if begins <= to && head.max_time.is_some_and(|newest| newest >= from) {
            for series in head.select(matchers) {
                let mut columns = Columns::default();
                let span = Span { from: from.max(begins).millis(), to: to.millis() };
                series.read(span, &mut columns);
                if !columns.times.is_empty() {
                    found.push(SeriesSamples::new(series.labels.clone(), columns));
                }
            }
        }
        (found, self.blocks(), begins)
    }

    /// The last sample of each series in memory that `matchers` accept, in no order: those that had
    /// one in the last hours. A marker says that a series ended, and why.
    pub fn last(&self, matchers: &[Matcher]) -> Vec<(Labels, Sample)> {
        let head = self.head();
        let last = |series: &HeadSeries| {
            let (timestamp, value) = series.last()?;
            Some((series.labels.clone(), Sample { timestamp, value }))
        };
        head.select(matchers).into_iter().filter_map(last).collect()
    }

    /// The names of all labels, sorted.
    ///
    /// # Errors
    ///
    /// As [`Storage::select`].
    pub fn label_names(&self) -> Result<BTreeSet<String>, SelectError> {
        let mut names: BTreeSet<String> = self.head().index().names().map(str::to_owned).collect();
        for block in self.blocks() {
            block.label_names(|name| {
                names.insert(name.to_owned());
            })?;
        }
        Ok(names)
    }

    /// The values of the label `name`, sorted.
    ///
    /// # Errors
    ///
    /// As [`Storage::select`].
    pub fn label_values(&self, name: &str) -> Result<BTreeSet<String>, SelectError> {
        let head = self.head();
        let mut values: BTreeSet<String> =
            head.index().values(name).map(|(value, _)| value.to_owned()).collect();
        drop(head);
        for block in self.blocks() {
            block.label_values(name, |value| {
                values.insert(value.to_owned());
            })?;
        }
        Ok(values)
    }
}

/// Series put together from parts that come in the order of time.
#[derive(Default)]
struct Merged {
    found: Vec<SeriesSamples>,
    places: HashMap<Labels, usize>,
}

impl Merged {
    fn add(&mut self, part: SeriesSamples) {
        match self.places.get(&part.labels) {
            Some(&place) => self.found[place].extend(part),
            None => {
                self.places.insert(part.labels.clone(), self.found.len());
                self.found.push(part);
            }
        }
    }
}
