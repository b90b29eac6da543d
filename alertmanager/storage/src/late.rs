//! Samples that came late: older than the newest of their series, within the window that is allowed.
//!
//! ```text
//! chunks   1 2 3 . 5 6 . 8        late   4 7        read   1 2 3 4 5 6 7 8
//! ```
//!
//! They wait beside the chunks of their series, sorted, and are merged with them when a window of
//! time is closed, or when there are many.
//!
//! Invariant: no time is both among the chunks and among the late, so a merge loses nothing.

use crate::chunk::{Columns, Held, Span};

/// So many late samples of a series wait; then its chunks are written anew.
pub(crate) const MOST: usize = 240;

/// The late samples of a series, in order of time. Floats only.
#[expect(clippy::box_collection, reason = "few series have any; the others hold one word")]
#[derive(Clone, Debug, Default)]
pub(crate) struct Late(Option<Box<Vec<(i64, f64)>>>);

impl Late {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |late| late.len())
    }

    /// The time of the oldest.
    pub(crate) fn first(&self) -> Option<i64> {
        self.0.as_ref()?.first().map(|(time, _)| *time)
    }

    /// Adds a sample whose time is not there yet.
    pub(crate) fn push(&mut self, time: i64, value: f64) {
        let late = self.0.get_or_insert_default();
        let place = late.partition_point(|(other, _)| *other < time);
        late.insert(place, (time, value));
    }

    /// Takes out those before `end`.
    pub(crate) fn take_before(&mut self, end: i64) -> Vec<(i64, f64)> {
        let Some(late) = &mut self.0 else { return Vec::new() };
        let place = late.partition_point(|(time, _)| *time < end);
        let taken = late.drain(..place).collect();
        if late.is_empty() {
            self.0 = None;
        }
        taken
    }

    /// Those in `span`.
    pub(crate) fn within(&self, span: Span) -> &[(i64, f64)] {
        let Some(late) = &self.0 else { return &[] };
        let begin = late.partition_point(|(time, _)| *time < span.from);
        let end = late.partition_point(|(time, _)| *time <= span.to);
        late.get(begin..end).unwrap_or_default()
    }
}

/// The samples of `columns` from place `begin` on, together with `late`.
pub(crate) fn merge(columns: &mut Columns, begin: usize, late: &[(i64, f64)]) {
    if late.is_empty() {
        return;
    }
    columns.complete();
    let times = columns.times.split_off(begin);
    let values = columns.values.split_off(begin);
    let starts = columns.starts.split_off(begin.min(columns.starts.len()));
    let mut late = late.iter().peekable();
    let has_starts = !starts.is_empty();
    let put = |columns: &mut Columns, time: i64, value: f64, start: i64| {
        columns.times.push(time);
        columns.values.push(value);
        if has_starts {
            columns.starts.push(start);
        }
    };
    for (at, (time, value)) in times.into_iter().zip(values).enumerate() {
        while let Some((time, value)) = late.next_if(|(other, _)| *other < time) {
            put(columns, *time, *value, crate::chunk::UNKNOWN);
        }
        put(columns, time, value, starts.get(at).copied().unwrap_or(crate::chunk::UNKNOWN));
    }
    for (time, value) in late {
        put(columns, *time, *value, crate::chunk::UNKNOWN);
    }
}

/// Whether a sample is the same as what is known for its time.
pub(crate) fn is_same(known: Held<'_>, given: Held<'_>) -> bool {
    match (known, given) {
        (Held::Float(known), Held::Float(given)) => known.to_bits() == given.to_bits(),
        // What is known about a reset comes from us.
        (Held::Native(known), Held::Native(given)) => {
            known.schema == given.schema
                && known.zero_threshold.to_bits() == given.zero_threshold.to_bits()
                && known.zero_count.to_bits() == given.zero_count.to_bits()
                && known.count.to_bits() == given.count.to_bits()
                && known.sum.to_bits() == given.sum.to_bits()
                && known.positive == given.positive
                && known.negative == given.negative
                && known.bounds == given.bounds
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use base::labels::Labels;
    use base::sample::Timestamp;

    use crate::{Options, Point, Storage};

    const MINUTE: i64 = 60_000;

    fn open(dir: &Path) -> Storage {
        let out_of_order = Duration::from_secs(3600 * 3);
        Storage::open(dir, Options { out_of_order, ..Options::default() }).unwrap()
    }

    /// Appends a sample; what became of it: stored, duplicate or out of order.
    fn append(storage: &Storage, minute: i64, value: f64) -> &'static str {
        let series = storage.series(&Labels::from_pairs([("__name__", "x")])).unwrap();
        let timestamp = Timestamp::from_millis(minute * MINUTE);
        let appended = storage.append(&[Point { series, timestamp, value }]).unwrap();
        match (appended.stored, appended.duplicates, appended.out_of_order) {
            (1, 0, 0) => "stored",
            (0, 1, 0) => "duplicate",
            _ => "out of order",
        }
    }

    fn minutes(storage: &Storage) -> Vec<(i64, f64)> {
        let found = storage.select(&[], Timestamp::MIN, Timestamp::MAX).unwrap();
        let times = found[0].times.iter().map(|time| time / MINUTE);
        times.zip(found[0].values.iter().copied()).collect()
    }

    #[test]
    fn late_samples_take_their_place_f40() {
        let dir = tempfile::tempdir().unwrap();
        let storage = open(dir.path());
        (0..300).step_by(3).for_each(|n| assert_eq!(append(&storage, n, n as f64), "stored"));
        // Minute, value, what becomes of it: three hours before 297 is 117.
        let cases = [
            (200, 200.0, "stored"),
            (200, 200.0, "stored"),
            (200, 1.0, "duplicate"),
            (201, 201.0, "stored"),
            (201, 1.0, "duplicate"),
            (118, 118.0, "stored"),
            (116, 116.0, "out of order"),
            (297, 1.0, "duplicate"),
        ];
        for (minute, value, expected) in cases {
            assert_eq!(append(&storage, minute, value), expected, "{minute} {value}");
        }
        let expected: Vec<_> = (0..300)
            .filter(|n| n % 3 == 0 || [118, 200].contains(n))
            .map(|n| (n, n as f64))
            .collect();
        assert_eq!(minutes(&storage), expected);
        // What comes in order behind a late sample refers to the one before in order.
        assert_eq!(append(&storage, 300, 300.0), "stored");
        drop(storage);
        let storage = open(dir.path());
        assert_eq!(minutes(&storage)[..expected.len()], expected);
        assert_eq!(minutes(&storage).last(), Some(&(300, 300.0)));
    }

    #[test]
    fn many_late_samples_are_merged_and_move_into_blocks_with_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let storage = open(dir.path());
        assert_eq!(append(&storage, 0, 0.0), "stored");
        for hour in 0..10 {
            assert_eq!(append(&storage, hour * 60 + 59, 1.0), "stored");
            (1..59).rev().for_each(|n| {
                assert_eq!(append(&storage, hour * 60 + n, n as f64), "stored");
            });
        }
        let before = minutes(&storage);
        assert_eq!(before.len(), 591);
        assert!(before.is_sorted_by(|a, b| a.0 < b.0));
        storage.maintain(Timestamp::from_millis(600 * MINUTE)).unwrap();
        // A window stays open for the three hours.
        assert_eq!(storage.stats().blocks, 3);
        assert_eq!(minutes(&storage), before);
        drop(storage);
        assert_eq!(minutes(&open(dir.path())), before);
    }

    #[test]
    fn blocks_go_while_there_are_too_many_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { retention_bytes: Some(1 << 30), ..Options::default() };
        let storage = Storage::open(dir.path(), options).unwrap();
        (0..900).for_each(|n| assert_eq!(append(&storage, n, n as f64 / 7.0), "stored"));
        let now = Timestamp::from_millis(900 * MINUTE);
        storage.maintain(now).unwrap();
        let blocks = storage.stats().blocks;
        drop(storage);
        let options = Options { retention_bytes: Some(1), ..options };
        let storage = Storage::open(dir.path(), options).unwrap();
        storage.maintain(now).unwrap();
        // What is in memory and in the log never goes by size.
        assert_eq!((blocks, storage.stats().blocks), (6, 0));
        assert_eq!(minutes(&storage)[0].0, 720);
    }
}
