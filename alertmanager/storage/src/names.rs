//! Which labels there are in a stretch of time.
//!
//! Invariant: the head and a block count with everything that they have where they overlap it, so
//! that no sample is read; nothing that is in it is left out.

use std::collections::BTreeSet;

use base::labels::Labels;
use base::matcher::Matcher;
use base::sample::{Ended, Timestamp};

use crate::Storage;
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
        if self.head_overlaps(from, to) {
            names.extend(self.head().index().names().map(str::to_owned));
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
        if self.head_overlaps(from, to) {
            values.extend(self.head().index().values(name).map(|(value, _)| value.to_owned()));
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

    fn head_overlaps(&self, from: Timestamp, to: Timestamp) -> bool {
        let head = self.head();
        let begins = head.min_time.is_none_or(|oldest| oldest <= to);
        begins && head.max_time.is_none_or(|newest| newest >= from)
    }
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
}
