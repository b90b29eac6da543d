//! Native histograms, to which samples refer by a tag.
//!
//! ```text
//! times        1    2    3        values   5.0   tag 0   tag 1        histograms   0: .., 1: ..
//! ```
//!
//! Invariant: whatever a storage was told of a histogram is there after a start.

use std::sync::atomic::Ordering;

use crate::Storage;

impl Storage {
    /// Whether any series may have histograms.
    pub fn has_histograms(&self) -> bool {
        self.head().has_natives || self.old_histograms.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use base::histogram::{Histogram, Reset};
    use base::labels::Labels;
    use base::matcher::Matcher;
    use base::sample::{Ended, Timestamp};

    use super::*;
    use crate::{Beside, Options, Point, SeriesSamples, histogram_value};

    const MINUTE: i64 = 60_000;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_millis(minute * MINUTE)
    }

    fn histogram(count: f64) -> Histogram {
        let positive = vec![(0, count / 2.0), (3, count / 2.0)];
        Histogram { count, sum: count * 1.5, positive, ..Histogram::default() }
    }

    fn series(storage: &Storage, name: &str) -> crate::SeriesRef {
        storage.series(&Labels::from_pairs([("__name__", name)])).unwrap()
    }

    fn all(storage: &Storage, name: &str) -> SeriesSamples {
        let matchers = [Matcher::equal("__name__", name)];
        storage.select(&matchers, Timestamp::MIN, Timestamp::MAX).unwrap().remove(0)
    }

    /// What is in a series: counts of histograms with their reset, floats.
    fn found(samples: &SeriesSamples) -> Vec<Result<(f64, Reset), u64>> {
        let one = |value: &f64| {
            samples.histogram(*value).map(|h| (h.count, h.reset)).ok_or(value.to_bits())
        };
        samples.values.iter().map(one).collect()
    }

    #[test]
    fn histograms_come_back_from_among_floats() {
        let storage = Storage::in_memory(Options::default());
        assert!(!storage.has_histograms());
        let x = series(&storage, "x");
        storage.append(&[Point { series: x, timestamp: at(1), value: 5.0 }]).unwrap();
        for (minute, count) in [(2, 3.0), (3, 4.0), (4, 1.0)] {
            storage.append_histogram(x, at(minute), histogram(count)).unwrap();
        }
        let expected = [
            Err(5.0_f64.to_bits()),
            Ok((3.0, Reset::Unknown)),
            Ok((4.0, Reset::NotReset)),
            Ok((1.0, Reset::Reset)),
        ];
        assert_eq!(found(&all(&storage, "x")), expected);
        assert!(storage.has_histograms());
    }

    #[test]
    fn a_tag_without_a_histogram_is_no_number() {
        let storage = Storage::in_memory(Options::default());
        let x = series(&storage, "x");
        let value = histogram_value(3);
        storage.append(&[Point { series: x, timestamp: at(1), value }]).unwrap();
        assert_eq!(found(&all(&storage, "x")), [Err(f64::NAN.to_bits())]);
    }

    /// Ten hours of histograms with a reset, a marker and a float among them; and of another layout
    /// later on.
    fn fill(storage: &Storage) {
        let x = series(storage, "x");
        for minute in 0..600 {
            let mut value = histogram((minute % 250) as f64 + 1.0);
            if minute > 400 {
                value.schema = 2;
            }
            match minute {
                100 => {
                    let value = Ended::Gone.value();
                    storage.append(&[Point { series: x, timestamp: at(minute), value }]).unwrap();
                }
                300 => {
                    let point = Point { series: x, timestamp: at(minute), value: 1.0 };
                    storage.append(&[point]).unwrap();
                }
                _ => {
                    storage.append_histogram(x, at(minute), value).unwrap();
                }
            }
        }
    }

    #[test]
    fn they_are_there_after_a_start_from_the_log_and_from_blocks() {
        let dir = tempfile::tempdir().unwrap();
        let storage = Storage::open(dir.path(), Options::default()).unwrap();
        fill(&storage);
        let expected = all(&storage, "x");
        assert_eq!(expected.times.len(), 600);
        assert_eq!(expected.histograms.len(), 598);
        drop(storage);

        let storage = Storage::open(dir.path(), Options::default()).unwrap();
        assert!(storage.has_histograms());
        assert_eq!(found(&all(&storage, "x")), found(&expected));
        storage.maintain(at(600)).unwrap();
        assert_eq!(storage.stats().blocks, 4);
        assert_eq!(found(&all(&storage, "x")), found(&expected));
        drop(storage);

        let storage = Storage::open(dir.path(), Options::default()).unwrap();
        let again = all(&storage, "x");
        assert_eq!(found(&again), found(&expected));
        for (a, b) in again.values.iter().zip(&expected.values) {
            assert_eq!(again.histogram(*a), expected.histogram(*b));
        }
    }

    #[test]
    fn several_of_a_series_in_one_append_with_their_starts() {
        let dir = tempfile::tempdir().unwrap();
        let storage = Storage::open(dir.path(), Options::default()).unwrap();
        let (x, y) = (series(&storage, "x"), series(&storage, "y"));
        let histograms = [2.0, 3.0, 1.0].map(|count| std::sync::Arc::new(histogram(count)));
        let point = |series, minute, value| Point { series, timestamp: at(minute), value };
        let points = [
            point(y, 1, 7.0),
            point(x, 1, histogram_value(0)),
            point(y, 2, 8.0),
            point(x, 2, histogram_value(1)),
            point(x, 3, histogram_value(2)),
            point(y, 3, 9.0),
        ];
        let beside = Beside { histograms: &histograms, starts: &[5, 6, 0, 6, 7, 5] };
        let appended = storage.append_with(&points, beside).unwrap();
        assert_eq!((appended.stored, appended.histograms), (6, 3));
        let again = storage.append_with(&points[4..5], Beside { starts: &[7], ..beside }).unwrap();
        assert_eq!((again.stored, again.duplicates), (1, 0));
        let other = [point(x, 3, histogram_value(0))];
        let other = storage.append_with(&other, beside).unwrap();
        assert_eq!((other.stored, other.duplicates), (0, 1));
        let check = |storage: &Storage| {
            let resets =
                [(2.0, Reset::Unknown), (3.0, Reset::NotReset), (1.0, Reset::Reset)].map(Ok);
            assert_eq!(found(&all(storage, "x")), resets);
            assert_eq!(all(storage, "x").starts, [6, 6, 7]);
            assert_eq!(all(storage, "y").starts, [5, 0, 5]);
        };
        check(&storage);
        storage.append_with(&[point(y, 4, 9.0)], Beside { starts: &[5], ..beside }).unwrap();
        drop(storage);
        let storage = Storage::open(dir.path(), Options::default()).unwrap();
        assert_eq!(all(&storage, "y").starts, [5, 0, 5, 5]);
        let y = series(&storage, "y");
        storage.append_with(&[point(y, 5, 9.0)], Beside { starts: &[5], ..beside }).unwrap();
        drop(storage);
        let storage = Storage::open(dir.path(), Options::default()).unwrap();
        assert_eq!(all(&storage, "y").starts, [5, 0, 5, 5, 5]);
    }
}
