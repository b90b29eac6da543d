//! Native histograms, to which samples refer by a tag.
//!
//! ```text
//! column of a series   1.0   2.0   tag 7   tag 8        table   .. 7: histogram, 8: histogram
//! ```
//!
//! They are held in memory for as long as the storage is; a storage with a data folder takes none.
//!
//! Invariant: a tag of table [`TABLE`] that was handed out stands for the same histogram for ever.

use std::sync::{Arc, PoisonError, RwLock};

use base::histogram::{Histogram, Tag};
use base::sample::Timestamp;

use crate::append::{AppendError, Appended, Point};
use crate::{SeriesRef, Storage};

/// The table of the tags that a storage hands out.
pub const TABLE: u8 = 1;

/// The histograms of a storage.
#[derive(Debug, Default)]
pub(crate) struct Histograms(RwLock<Vec<Arc<Histogram>>>);

impl Storage {
    /// Appends a histogram to a series, with what its predecessor says about its beginning again.
    ///
    /// # Errors
    ///
    /// [`AppendError::NoHistograms`]: the storage is not in memory; and as [`Storage::append`].
    pub fn append_histogram(
        &self,
        series: SeriesRef,
        timestamp: Timestamp,
        histogram: Histogram,
    ) -> Result<Appended, AppendError> {
        if self.dir.is_some() {
            return Err(AppendError::NoHistograms);
        }
        let last = self.head().get(series).and_then(|series| series.last());
        let before = last.and_then(|(_, value)| self.histogram(value));
        let histogram = Arc::new(histogram.after(before.as_deref()));
        let mut kept = self.histograms.0.write().unwrap_or_else(PoisonError::into_inner);
        let value = Tag { table: TABLE, place: kept.len() as u64 }.value();
        kept.push(histogram);
        drop(kept);
        self.append(&[Point { series, timestamp, value }])
    }

    /// The histogram that a value of a series stands for, if it does.
    pub fn histogram(&self, value: f64) -> Option<Arc<Histogram>> {
        let tag = Tag::of(value).filter(|tag| tag.table == TABLE)?;
        self.histogram_at(tag.place)
    }

    /// The histogram at a place that a tag names.
    pub fn histogram_at(&self, place: u64) -> Option<Arc<Histogram>> {
        let kept = self.histograms.0.read().unwrap_or_else(PoisonError::into_inner);
        kept.get(usize::try_from(place).ok()?).cloned()
    }

    /// Whether any series may have histograms.
    pub fn has_histograms(&self) -> bool {
        !self.histograms.0.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

#[cfg(test)]
mod tests {
    use base::histogram::Reset;
    use base::labels::Labels;
    use base::matcher::Matcher;

    use super::*;
    use crate::Options;

    #[test]
    fn histograms_come_back_from_among_floats() {
        let storage = Storage::in_memory(Options::default());
        let series = storage.series(&Labels::from_pairs([("__name__", "x")])).unwrap();
        let at = Timestamp::from_millis;
        let histogram = |count: f64| Histogram { count, ..Histogram::default() };
        assert!(!storage.has_histograms());
        storage.append(&[Point { series, timestamp: at(1), value: 5.0 }]).unwrap();
        for (time, count) in [(2, 3.0), (3, 4.0), (4, 1.0)] {
            storage.append_histogram(series, at(time), histogram(count)).unwrap();
        }
        let found = storage.select(&[Matcher::equal("__name__", "x")], at(0), at(9)).unwrap();
        let resolved = |value: &f64| storage.histogram(*value).map(|h| (h.count, h.reset));
        let expected = [
            None,
            Some((3.0, Reset::Unknown)),
            Some((4.0, Reset::NotReset)),
            Some((1.0, Reset::Reset)),
        ];
        assert_eq!(found[0].values.iter().map(resolved).collect::<Vec<_>>(), expected);
        assert!(storage.has_histograms());
        assert_eq!(storage.histogram(Tag { table: TABLE, place: 99 }.value()), None);
    }
}
