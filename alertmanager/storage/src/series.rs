//! What a query is given of a series.
//!
//! Invariant: a time and its value have the same place in the two columns.

use std::sync::Arc;

use base::histogram::{Histogram, Tag};
use base::labels::Labels;

use crate::chunk::{Columns, TABLE};

/// The samples of one series, as two columns of the same length; times are milliseconds since the
/// Unix epoch and rise. Markers of an ended series are among the values.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesSamples {
    /// The series.
    pub labels: Labels,
    /// When.
    pub times: Vec<i64>,
    /// How much, or a tag of [`crate::HISTOGRAMS`] for one of the histograms.
    pub values: Vec<f64>,
    /// Native histograms.
    pub histograms: Vec<Arc<Histogram>>,
    /// Since when each sample counts, in milliseconds since the Unix epoch, 0 where it is not known;
    /// nothing at all where it is known of none.
    pub starts: Vec<i64>,
}

impl SeriesSamples {
    pub(crate) fn new(labels: Labels, columns: Columns) -> Self {
        let Columns { times, values, histograms, starts } = columns;
        Self { labels, times, values, histograms, starts }
    }

    /// The histogram that a value stands for.
    pub fn histogram(&self, value: f64) -> Option<&Arc<Histogram>> {
        let tag = Tag::of(value).filter(|tag| tag.table == TABLE)?;
        self.histograms.get(usize::try_from(tag.place).ok()?)
    }

    #[cfg(test)]
    pub(crate) fn as_columns(&self) -> crate::SeriesColumns<'_> {
        let Self { labels, times, values, histograms, starts } = self;
        crate::SeriesColumns { labels, times, values, histograms, starts }
    }

    /// Adds a later part of the same series.
    pub(crate) fn extend(&mut self, mut part: Self) {
        let moved = self.histograms.len() as u64;
        if moved > 0 && !part.histograms.is_empty() {
            for value in &mut part.values {
                if let Some(tag) = Tag::of(*value) {
                    *value = Tag { place: tag.place + moved, ..tag }.value();
                }
            }
        }
        if !self.starts.is_empty() || !part.starts.is_empty() {
            self.starts.resize(self.times.len(), crate::chunk::UNKNOWN);
            part.starts.resize(part.times.len(), crate::chunk::UNKNOWN);
            self.starts.append(&mut part.starts);
        }
        self.times.append(&mut part.times);
        self.values.append(&mut part.values);
        self.histograms.append(&mut part.histograms);
    }
}
