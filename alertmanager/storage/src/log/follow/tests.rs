//! Following a log, over restarts, blocks and damage.
//!
//! Invariant: every sample that is handed out is compared.

use std::time::Duration;

use base::sample::Ended;

use super::*;
use crate::{Beside, Options, Point, histogram_value};

fn append(storage: &Storage, samples: &[(&str, i64, f64)]) {
    let points: Vec<Point> = samples
        .iter()
        .map(|(name, time, value)| Point {
            series: storage.series(&Labels::from_pairs([("__name__", name)])).unwrap(),
            timestamp: Timestamp::from_millis(*time),
            value: *value,
        })
        .collect();
    storage.append(&points).unwrap();
}

fn read(storage: &Storage, follower: &mut Follower, most: usize) -> (String, bool) {
    let mut found = Vec::new();
    let progress = storage.follow(follower, most, |sample| {
        let value = match sample.histogram {
            Some(histogram) => format!("h{}", histogram.count),
            None if Ended::from_value(sample.value).is_some() => "end".to_owned(),
            None => sample.value.to_string(),
        };
        found.push(format!("{}@{}={value}", sample.labels, sample.timestamp));
    });
    (found.join(" "), progress.unwrap().more)
}

fn open(dir: &std::path::Path) -> Storage {
    Storage::open(dir, Options::default()).unwrap()
}

#[test]
fn hands_out_what_was_appended_in_order_and_once() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    append(&storage, &[("before", 1000, 1.0)]);
    let mut follower = Follower::at(storage.log_end().unwrap());
    assert_eq!(read(&storage, &mut follower, 10), (String::new(), false));
    append(&storage, &[("before", 2000, 5.0), ("a", 2000, 0.5)]);
    append(&storage, &[("a", 3000, Ended::Gone.value())]);
    let histogram = Histogram { count: 3.0, ..Histogram::default() };
    let series = storage.series(&Labels::from_pairs([("__name__", "h")])).unwrap();
    let at = Timestamp::from_millis(4000);
    storage.append_histogram(series, at, histogram).unwrap();
    assert_eq!(read(&storage, &mut follower, 2), ("before@2000=5 a@2000=0.5".to_owned(), true));
    assert_eq!(read(&storage, &mut follower, 9), ("a@3000=end h@4000=h3".to_owned(), false));
    assert_eq!(read(&storage, &mut follower, 9), (String::new(), false));
    assert_eq!(storage.log_bytes_from(follower.position()).unwrap(), 0);
    assert!(storage.log_bytes_from(LogPosition::default()).unwrap() > 50);
}

#[test]
fn goes_on_after_a_restart_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let mut follower = Follower::at(storage.log_end().unwrap());
    append(&storage, &[("a", 1000, 1.0), ("b", 1000, 10.0)]);
    assert_eq!(read(&storage, &mut follower, 9).0, "a@1000=1 b@1000=10");
    // As differences to what has been read before.
    append(&storage, &[("a", 2000, 3.0), ("b", 2000, 10.0)]);
    let noted = follower.position();
    drop(storage);
    let storage = open(dir.path());
    append(&storage, &[("a", 3000, 4.0)]);
    let mut follower = Follower::at(noted);
    assert_eq!(read(&storage, &mut follower, 9).0, "a@2000=3 b@2000=10 a@3000=4");
    // A place that is not there any more is the end.
    let mut lost = Follower::at(LogPosition { segment: 99, offset: 7 });
    assert_eq!(read(&storage, &mut lost, 9).0, "");
    assert_eq!(lost.position(), storage.log_end().unwrap());
}

#[test]
fn what_is_not_read_yet_stays_when_it_has_become_a_block() {
    const MINUTE: i64 = 60_000;
    let filled = |keep: bool| {
        let dir = tempfile::tempdir().unwrap();
        let storage = open(dir.path());
        storage.keep_log_from(keep.then_some(1)).unwrap();
        (0..600).for_each(|n| append(&storage, &[("a", n * MINUTE, n as f64)]));
        storage.maintain(Timestamp::from_millis(600 * MINUTE)).unwrap();
        (dir, storage)
    };
    let count = |storage: &Storage| {
        let mut count = 0;
        let mut follower = Follower::at(LogPosition { segment: 1, offset: 0 });
        storage.follow(&mut follower, usize::MAX, |_| count += 1).unwrap();
        count
    };
    let (_dir, storage) = filled(false);
    assert!(count(&storage) < 300, "{}", count(&storage));
    let (dir, storage) = filled(true);
    assert_eq!(count(&storage), 600);
    // It is no part of what a start reads.
    drop(storage);
    let storage = open(dir.path());
    assert_eq!(count(&storage), 600);
    assert_eq!(storage.stats().blocks, 4);
    storage.keep_log_from(Some(3)).unwrap();
    assert!(count(&storage) < 600);
    storage.keep_log_from(None).unwrap();
    assert_eq!(segments(&dir.path().join("followed")).unwrap().len(), 0);
}

#[test]
fn damage_costs_what_follows_in_its_segment_only_f31() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    append(&storage, &[("a", 1000, 1.0)]);
    let sound = storage.log_end().unwrap().offset;
    append(&storage, &[("a", 2000, 2.0)]);
    drop(storage);
    let path = dir.path().join("log").join(file_name(1));
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let storage = open(dir.path());
    append(&storage, &[("a", 3000, 3.0)]);
    let from = |offset| Follower::at(LogPosition { segment: 1, offset });
    assert_eq!(read(&storage, &mut from(0), 9).0, "a@1000=1 a@3000=3");
    assert_eq!(read(&storage, &mut from(sound), 9).0, "a@3000=3");
    // In the midst of a frame: only what comes after its segment.
    assert_eq!(read(&storage, &mut from(sound - 1), 9).0, "a@3000=3");
}

#[test]
fn late_samples_change_nothing_for_those_after_them() {
    let dir = tempfile::tempdir().unwrap();
    let out_of_order = Duration::from_secs(60);
    let options = Options { out_of_order, ..Options::default() };
    let storage = Storage::open(dir.path(), options).unwrap();
    append(&storage, &[("a", 5000, 5.0)]);
    append(&storage, &[("a", 2000, 99.0)]);
    append(&storage, &[("a", 6000, 6.0)]);
    let series = storage.series(&Labels::from_pairs([("__name__", "a")])).unwrap();
    let at = Timestamp::from_millis(7000);
    let point = Point { series, timestamp: at, value: histogram_value(0) };
    let histograms = [Arc::new(Histogram { count: 2.0, ..Histogram::default() })];
    storage.append_with(&[point], Beside { histograms: &histograms, starts: &[4000] }).unwrap();
    let mut starts = Vec::new();
    let mut follower = Follower::at(LogPosition { segment: 1, offset: 0 });
    storage.follow(&mut follower, 99, |sample| starts.push(sample.start)).unwrap();
    assert_eq!(starts, [0, 0, 0, 4000]);
    let mut again = Follower::at(LogPosition { segment: 1, offset: 0 });
    assert_eq!(read(&storage, &mut again, 99).0, "a@5000=5 a@2000=99 a@6000=6 a@7000=h2");
}

#[test]
fn exemplars_stand_among_the_samples() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let mut follower = Follower::at(storage.log_end().unwrap());
    let exemplar = |series: &str, trace: &str| {
        let labels = Labels::from_pairs([("trace_id", trace)]);
        let exemplar = Exemplar { labels, value: 0.5, timestamp: Timestamp::from_millis(7) };
        (Labels::from_pairs([("__name__", series)]), exemplar)
    };
    let read = |storage: &Storage, follower: &mut Follower| {
        let mut found = Vec::new();
        let read = storage.follow(follower, 99, |followed| {
            let trace = followed.exemplar.map(|one| one.labels.get("trace_id").unwrap().to_owned());
            let (name, value) = (followed.labels.metric_name(), followed.value);
            found.push(format!("{name}@{}={value} {trace:?}", followed.timestamp.millis()));
        });
        assert_eq!(read.unwrap(), Progress { samples: found.len(), more: false });
        found
    };
    // Of a series that the segment does not know, of one that it does, and one that it had.
    storage.append_exemplars([exemplar("b", "1")]);
    append(&storage, &[("a", 1000, 1.0)]);
    storage.append_exemplars([exemplar("a", "2"), exemplar("a", "3")]);
    storage.append_exemplars([exemplar("a", "3")]);
    let expected =
        ["b@7=0.5 Some(\"1\")", "a@1000=1 None", "a@7=0.5 Some(\"2\")", "a@7=0.5 Some(\"3\")"];
    let noted = follower.position();
    assert_eq!(read(&storage, &mut follower), expected);
    drop(storage);
    let storage = open(dir.path());
    storage.append_exemplars([exemplar("a", "4")]);
    assert_eq!(read(&storage, &mut follower), ["a@7=0.5 Some(\"4\")"]);
    assert_eq!(read(&storage, &mut Follower::at(noted)).len(), 5);
}

#[test]
fn goes_on_in_the_file_that_took_the_place_of_another_f33() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let mut follower = Follower::at(storage.log_end().unwrap());
    append(&storage, &[("a", 1000, 1.0)]);
    assert_eq!(read(&storage, &mut follower, 9).0, "a@1000=1");
    // The disk failed at it: all of it is written to another file, by whoever syncs next.
    storage.writer().log.as_mut().unwrap().sync_failed();
    append(&storage, &[("a", 2000, 2.0)]);
    storage.sync().unwrap();
    append(&storage, &[("a", 3000, 3.0)]);
    assert_eq!(read(&storage, &mut follower, 9).0, "a@2000=2 a@3000=3");
    append(&storage, &[("a", 4000, 4.0)]);
    assert_eq!(read(&storage, &mut follower, 9).0, "a@4000=4");
}
