//! Which labels there are in a stretch of time.
//!
//! Invariant: the head and a block count with everything that they have where they overlap it, and of a
//! head of unusual length each series by its first and last sample, so that no sample is read; nothing
//! that is in it is left out.

use std::collections::BTreeSet;

use base::labels::Labels;
use base::matcher::Matcher;
use base::sample::{Ended, Timestamp};

use crate::Storage;
use crate::head::HeadSeries;
use crate::select::SelectError;

impl Storage {
    /// The names of all labels of what has samples about then, sorted.
    ///
    /// # Errors
    ///
    /// As [`Storage::select`].
    pub fn label_names_between(
        &self,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<BTreeSet<String>, SelectError> {
        let mut names = BTreeSet::new();
        match self.head_overlap(from, to) {
            Overlap::None => {}
            Overlap::Whole => names.extend(self.head().index().names().map(str::to_owned)),
            Overlap::BySeries => {
                let head = self.head();
                for (name, _) in
                    head.iter().filter(|s| reaches(s, from, to)).flat_map(|s| &s.labels)
                {
                    if !names.contains(name) {
                        names.insert(name.to_owned());
                    }
                }
            }
        }
        for block in self.blocks() {
            if block.max_time() >= from && block.min_time() <= to {
                block.label_names(|name| {
                    names.insert(name.to_owned());
                })?;
            }
        }
        Ok(names)
    }

    /// The values of the label `name` of what has samples about then, sorted.
    ///
    /// # Errors
    ///
    /// As [`Storage::select`].
    pub fn label_values_between(
        &self,
        name: &str,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<BTreeSet<String>, SelectError> {
        let mut values = BTreeSet::new();
        match self.head_overlap(from, to) {
            Overlap::None => {}
            Overlap::Whole => {
                values.extend(self.head().index().values(name).map(|(value, _)| value.to_owned()));
            }
            Overlap::BySeries => {
                let head = self.head();
                let reaching = head.iter().filter(|series| reaches(series, from, to));
                for value in reaching.filter_map(|series| series.labels.get(name)) {
                    if !values.contains(value) {
                        values.insert(value.to_owned());
                    }
                }
            }
        }
        for block in self.blocks() {
            if block.max_time() >= from && block.min_time() <= to {
                block.label_values(name, |value| {
                    values.insert(value.to_owned());
                })?;
            }
        }
        Ok(values)
    }

    /// The labels of a series in memory that `matchers` accept, and that has a sample at `since` or
    /// later and has not ended; none where there is none.
    pub fn alive(&self, matchers: &[Matcher], since: Timestamp) -> Option<Labels> {
        let head = self.head();
        let series = head.select(matchers);
        let found = series.into_iter().find(|series| {
            series
                .last()
                .is_some_and(|(at, value)| at >= since && Ended::from_value(value).is_none())
        });
        found.map(|series| series.labels.clone())
    }

    fn head_overlap(&self, from: Timestamp, to: Timestamp) -> Overlap {
        let head = self.head();
        let Some(newest) = head.max_time else { return Overlap::Whole };
        // Where no block was made yet nobody knows how far back it reaches.
        let oldest = head.min_time.unwrap_or(Timestamp::MIN);
        let is_usual = newest.millis().saturating_sub(oldest.millis()) <= USUAL;
        if oldest > to || newest < from {
            Overlap::None
        } else if is_usual || from <= oldest && newest <= to {
            Overlap::Whole
        } else {
            Overlap::BySeries
        }
    }
}

/// How long the head is where nothing unusual has happened, such as old samples that were brought in.
/// In milliseconds.
const USUAL: i64 = 6 * 60 * 60 * 1000;

/// Which part of the head a stretch of time meets.
enum Overlap {
    None,
    Whole,
    /// That of the series that reach into it.
    BySeries,
}

fn reaches(series: &HeadSeries, from: Timestamp, to: Timestamp) -> bool {
    series.first_time().is_some_and(|first| first <= to)
        && series.last().is_some_and(|(last, _)| last >= from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, Point};

    #[test]
    fn what_has_no_samples_then_is_left_out() {
        let storage = Storage::in_memory(Options::default());
        let series = storage.series(&Labels::from_pairs([("__name__", "up"), ("a", "b")])).unwrap();
        let at = Timestamp::from_millis;
        storage.append(&[Point { series, timestamp: at(5000), value: 1.0 }]).unwrap();
        let check = |from: i64, to: i64, expected: &[&str]| {
            let names = storage.label_names_between(at(from), at(to)).unwrap();
            assert!(names.iter().eq(expected), "{from} {to}: {names:?}");
        };
        check(0, 10_000, &["__name__", "a"]);
        check(5000, 5000, &["__name__", "a"]);
        check(5001, 9000, &[]);
        let values = storage.label_values_between("a", at(0), at(9000)).unwrap();
        assert!(values.iter().eq(["b"]));
        assert!(storage.label_values_between("a", at(6000), at(9000)).unwrap().is_empty());
    }

    #[test]
    fn in_a_long_head_a_series_counts_where_it_has_samples() {
        let storage = Storage::in_memory(Options::default());
        let at = |hours: i64| Timestamp::from_millis(hours * 3_600_000);
        for (name, value, hours) in [("old", "1", [0, 1]), ("new", "2", [19, 20])] {
            let labels = Labels::from_pairs([("__name__", "up"), (name, "x"), ("all", value)]);
            let series = storage.series(&labels).unwrap();
            let points = hours.map(|h| Point { series, timestamp: at(h), value: 1.0 });
            storage.append(&points).unwrap();
        }
        let check = |from: i64, to: i64, names: &[&str], values: &[&str]| {
            let got = storage.label_names_between(at(from), at(to)).unwrap();
            assert!(got.iter().eq(names), "{from} {to}: {got:?}");
            let got = storage.label_values_between("all", at(from), at(to)).unwrap();
            assert!(got.iter().eq(values), "{from} {to}: {got:?}");
        };
        check(0, 20, &["__name__", "all", "new", "old"], &["1", "2"]);
        check(1, 5, &["__name__", "all", "old"], &["1"]);
        check(3, 19, &["__name__", "all", "new"], &["2"]);
        check(2, 18, &[], &[]);
    }
}
