//! Selecting samples by matchers and range.
//!
//! Invariant: an answer is of one moment: no sample is missing or there twice because a window
//! moved from the head into a block meanwhile.

use std::collections::BTreeSet;
use std::sync::Arc;

use base::histogram::Histogram;
use base::labels::Labels;
use base::matcher::Matcher;
use base::sample::{Sample, Timestamp};

use crate::Storage;
use crate::block::BlockError;
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

/// How often a selection is begun; the head moves to the disk every few minutes at most.
const TRIES: usize = 5;

impl Storage {
    /// The samples from `from` to `to`, both included, of every series that all `matchers` accept,
    /// sorted by labels. Series without a sample in the range are left out. All of them are in memory
    /// then: for what may be much there is [`Storage::scan`].
    ///
    /// # Errors
    ///
    /// A block is damaged or cannot be read; and [`SelectError::Moved`], when that happens over and over.
    pub fn select(
        &self,
        matchers: &[Matcher],
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<SeriesSamples>, SelectError> {
        let mut found = self.gather(matchers, from, to, |found: &mut Vec<_>, series| {
            found.push(SeriesSamples {
                labels: series.labels.clone(),
                times: series.times.to_vec(),
                values: series.values.to_vec(),
                histograms: series.histograms.to_vec(),
                starts: series.starts.to_vec(),
            });
        })?;
        found.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
        Ok(found)
    }

    /// What `each` makes of every series that [`Storage::scan`] hands out; it is begun anew where samples
    /// move to the disk meanwhile.
    ///
    /// # Errors
    ///
    /// As [`Storage::select`].
    pub fn gather<T: Default>(
        &self,
        matchers: &[Matcher],
        from: Timestamp,
        to: Timestamp,
        mut each: impl FnMut(&mut T, SeriesColumns<'_>),
    ) -> Result<T, SelectError> {
        let mut attempt = 1;
        loop {
            let mut made = T::default();
            let scanned = self.scan(
                matchers,
                from,
                to,
                |_| Ok(()),
                |series| {
                    each(&mut made, series);
                    Ok(())
                },
            );
            match scanned {
                Err(SelectError::Moved) if attempt < TRIES => attempt += 1,
                Err(error) => return Err(error),
                Ok(()) => return Ok(made),
            }
        }
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
