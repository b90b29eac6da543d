//! Appending: first to the log, then to the head.
//!
//! Invariant: what is in the head is in the log, so a query never shows what a crash would lose.

use std::collections::HashSet;
use std::io;

use base::labels::Labels;
use base::sample::Timestamp;

use crate::Storage;
use crate::head::{Fit, Head, SeriesRef};
use crate::log::{Batch, Log, Logged};

/// A sample of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// The series, from [`Storage::series`].
    pub series: SeriesRef,
    /// When.
    pub timestamp: Timestamp,
    /// The value, or the marker that ends the series.
    pub value: f64,
}

/// What became of the samples of an append.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// Stored, also where the same sample was there already.
    pub stored: usize,
    /// Left out: the series has another value for that time.
    pub duplicates: usize,
    /// Left out: before the last sample of its series, or in a window that is closed.
    pub out_of_order: usize,
    /// Positions of samples whose series is no longer known; ask for the series again.
    pub unknown: Vec<usize>,
    /// A series of a watched metric got another value than it had.
    pub news: bool,
}

/// Why nothing was appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// There are as many series as allowed.
    #[error("there are {0} series already, the most that are allowed")]
    TooManySeries(usize),
    /// Native histograms are kept in memory only.
    #[error("native histograms cannot be kept in a data folder")]
    NoHistograms,
    /// The log could not be written.
    #[error("cannot write the sample log: {0}")]
    Io(#[from] io::Error),
}

/// Who holds this appends.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) log: Option<Log>,
    batch: Batch,
}

impl Writer {
    pub(crate) fn new(log: Option<Log>) -> Self {
        Self { log, batch: Batch::default() }
    }
}

impl Storage {
    /// The series with `labels`; begins one where there is none.
    ///
    /// # Errors
    ///
    /// [`AppendError::TooManySeries`]
    pub fn series(&self, labels: &Labels) -> Result<SeriesRef, AppendError> {
        if let Some(found) = self.head().find(labels) {
            return Ok(found);
        }
        let mut head = self.head_mut();
        let most = self.options.max_series;
        if head.len() >= most && head.find(labels).is_none() {
            return Err(AppendError::TooManySeries(most));
        }
        Ok(head.find_or_create(labels))
    }

    /// Appends samples: all that fit, or none.
    ///
    /// The samples of a series must rise in time. What it returned `Ok` for survives a crash of the
    /// process; a crash of the machine loses what came after the last [`Storage::sync`]. One write
    /// to the log and one lock of the head, however many samples there are.
    ///
    /// # Errors
    ///
    /// [`AppendError::Io`]: the log could not be written.
    pub fn append(&self, points: &[Point]) -> Result<Appended, AppendError> {
        let mut writer = self.writer();
        let Writer { log, batch } = &mut *writer;
        if let Some(log) = log {
            let newest = points.iter().map(|point| point.timestamp).max();
            if newest.is_some_and(|newest| log.is_full(newest)) {
                log.rotate()?;
            }
            prepare(&self.head(), points, log.number(), batch);
            if !batch.samples.is_empty() {
                log.append(batch)?;
            }
        }
        let segment = log.as_ref().map_or(0, Log::number);
        let mut head = self.head_mut();
        let mut appended = Appended::default();
        for (position, point) in points.iter().enumerate() {
            let news = head.is_news(point.series, point.value);
            match head.push(point.series, point.timestamp, point.value) {
                Fit::Stored => {
                    appended.stored += 1;
                    appended.news |= news;
                    if let Some(series) = head.get_mut(point.series) {
                        series.logged_in = segment;
                    }
                }
                Fit::Same => appended.stored += 1,
                Fit::Duplicate => appended.duplicates += 1,
                Fit::OutOfOrder => appended.out_of_order += 1,
                Fit::Unknown => appended.unknown.push(position),
            }
        }
        Ok(appended)
    }
}

/// Collects what the log must hold of `points`: those that fit, and definitions for those series
/// that the segment does not know yet.
fn prepare(head: &Head, points: &[Point], segment: u32, batch: &mut Batch) {
    batch.clear();
    for point in points {
        if head.fit(point.series, point.timestamp, point.value) != Fit::Stored {
            continue;
        }
        let Some(series) = head.get(point.series) else { continue };
        let slot = point.series.slot;
        let defined = series.logged_in == segment;
        if !defined {
            batch.definitions.push((slot, series.labels.clone()));
        }
        // The second sample of a series in one append has its predecessor in the batch, not in the
        // head; it is written whole.
        let before = series.last().filter(|_| defined).map(|(_, value)| value);
        batch.samples.push(Logged { slot, time: point.timestamp, value: point.value, before });
    }
    // A scrape's series mostly have rising slots, and then none comes twice.
    if batch.samples.is_sorted_by(|a, b| a.slot < b.slot) {
        return;
    }
    let mut seen = HashSet::new();
    for sample in &mut batch.samples {
        if !seen.insert(sample.slot) {
            sample.before = None;
        }
    }
    seen.clear();
    batch.definitions.retain(|(slot, _)| seen.insert(*slot));
}
