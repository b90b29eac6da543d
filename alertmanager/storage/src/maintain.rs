//! What is to be done now and then: closed windows become blocks, old blocks and logs go.
//!
//! Invariant: a part of the log goes only after everything in it is in a block on the disk.

mod believed;

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base::labels::Labels;
use base::sample::Timestamp;
use tracing::info;

use crate::Storage;
use crate::block::{self, Block, BlockError};
use crate::head::{Head, HeadSeries, Sealed, WINDOW, window_of};

/// A window is closed this long after its end, so that late samples still find it open.
const SETTLE: Duration = Duration::from_secs(3600);

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Series in memory.
    pub series: usize,
    /// How often a new series was refused because there were too many.
    pub refused_series: u64,
    /// The most that may be there.
    pub most_series: usize,
    /// Bytes of the chunks in memory.
    pub chunk_bytes: usize,
    /// Blocks on disk.
    pub blocks: usize,
    /// Their bytes.
    pub block_bytes: u64,
    /// Their samples.
    pub block_samples: u64,
    /// Bytes of the log's current segment.
    pub log_bytes: u64,
    /// Samples that only memory has: the log could not be written.
    pub unlogged: u64,
    /// How often a damaged chunk of a block was met and left out.
    pub damaged_chunks: u64,
}

impl Storage {
    /// Moves closed windows into blocks and removes what is past its retention at `now`.
    ///
    /// # Errors
    ///
    /// The disk failed. Nothing is lost: what could not be moved stays in memory and in the log,
    /// and the next call tries again.
    pub fn maintain(&self, now: Timestamp) -> io::Result<()> {
        let _turn = self.changing_blocks();
        if let Some(dir) = &self.dir {
            let moved = self.flush_closed(dir, SETTLE.max(self.options.out_of_order))?;
            self.remove_log(moved)?;
        } else {
            self.head_mut().drop_before(now - self.options.retention);
        }
        self.expire(now)?;
        self.write_checkpoint(self.options.checkpoint_bytes);
        self.blocks().iter().for_each(|block| block.rest());
        Ok(())
    }

    /// How much there is.
    pub fn stats(&self) -> Stats {
        let blocks = self.blocks();
        let (log_bytes, unlogged) = {
            let writer = self.writer();
            (writer.log.as_ref().map_or(0, crate::log::Log::size), writer.unlogged)
        };
        let head = self.head();
        Stats {
            series: head.len(),
            most_series: self.options.max_series,
            refused_series: self.refused_series.load(Ordering::Relaxed),
            chunk_bytes: head.chunk_bytes(),
            blocks: blocks.len(),
            block_bytes: blocks.iter().map(|block| block.bytes()).sum(),
            block_samples: blocks.iter().map(|block| block.samples()).sum(),
            log_bytes,
            unlogged,
            damaged_chunks: blocks.iter().map(|block| block.damaged_chunks()).sum(),
        }
    }

    /// Moves what was appended by an import into blocks, however late more may be taken; whether
    /// there was anything to move.
    pub(crate) fn flush_imported(&self) -> io::Result<bool> {
        let _turn = self.changing_blocks();
        let Some(dir) = &self.dir else { return Ok(false) };
        let moved = self.flush_closed(dir, SETTLE)?;
        self.remove_log(false)?;
        Ok(moved)
    }

    /// Moves the windows that ended `settle` before the newest sample into blocks; whether there are any.
    fn flush_closed(&self, dir: &Path, settle: Duration) -> io::Result<bool> {
        let mut moved = false;
        while let Some(end) = self.closed_window(settle) {
            self.flush(&dir.join("blocks"), end)?;
            moved = true;
        }
        Ok(moved)
    }

    /// The end of the oldest window in memory, where it is long enough past.
    fn closed_window(&self, settle: Duration) -> Option<Timestamp> {
        let head = self.head();
        let (newest, bound) = (head.max_time?, head.oldest?);
        let closed = |oldest: Timestamp| {
            let end = (window_of(oldest) + 1).checked_mul(WINDOW.as_millis() as i64)?;
            Some(Timestamp::from_millis(end)).filter(|end| newest >= *end + settle)
        };
        // Mostly nothing is so old, and then no series need be looked at.
        closed(bound)?;
        closed(head.iter().filter_map(HeadSeries::first_time).min()?)
    }

    /// Moves everything before `end` into a block.
    fn flush(&self, dir: &Path, end: Timestamp) -> io::Result<()> {
        self.head_mut().close_before(end);
        let series = window_before(&self.head(), end);
        let block = if series.is_empty() {
            None
        } else {
            let path = block::write(dir, &format!("{:016}", end.millis()), series)?;
            let block = Block::open(&path).map_err(|error| match error {
                BlockError::Io { source, .. } => source,
                error @ BlockError::Damaged { .. } => io::Error::other(error.to_string()),
            })?;
            info!(samples = block.samples(), bytes = block.bytes(), "a block is written");
            Some(Arc::new(block))
        };
        {
            // Under the head's lock, so that a reader sees the window in one of both, not in none.
            let mut head = self.head_mut();
            let natives = block.as_ref().is_some_and(|block| block.has_histograms());
            self.old_histograms.fetch_or(natives, Ordering::Relaxed);
            self.blocks_mut().extend(block);
            head.drop_before(end);
        }
        Ok(())
    }

    /// Removes the part of the log that is in blocks, behind the head that keeps the exemplars of what
    /// goes: also where a crash came between the two. `renews` the head in any case, or only for that.
    fn remove_log(&self, renews: bool) -> io::Result<()> {
        let Some(begin) = self.head().min_time else { return Ok(()) };
        let goes = || self.writer().log.as_ref().is_some_and(|log| log.has_before(begin));
        let is_due = renews || (!self.exemplars.is_empty() && goes());
        let is_kept = !is_due || self.renew_checkpoint();
        let removed = self.writer().log.as_mut().map_or(Ok(()), |log| log.remove_before(begin));
        if !is_kept {
            // The disk was full: there may be room now.
            self.renew_checkpoint();
        }
        removed
    }

    /// Removes the blocks that have nothing since the retention. It is counted from the newest
    /// sample where that is older than `now`: after a jump of the clock nothing goes.
    fn expire(&self, now: Timestamp) -> io::Result<()> {
        let blocks = self.blocks();
        // Mostly none is, and then no series need be looked at.
        let oldest = now - self.options.retention;
        if blocks.iter().all(|block| block.max_time() >= oldest) {
            return self.expire_by_size();
        }
        let mut spans: Vec<_> = blocks.iter().map(|b| (b.min_time(), b.max_time())).collect();
        let first = self.head().iter().filter_map(HeadSeries::first_time).min();
        spans.extend(first.zip(self.max_time()));
        let newest = believed::newest(&spans).map_or(now, |newest| newest.min(now));
        let since = newest - self.options.retention;
        let gone = |block: &Arc<Block>| block.max_time() < since;
        for block in self.blocks().iter().filter(|block| gone(block)) {
            info!(block = %block.path().display(), "a block is past its retention");
            self.remove(block)?;
        }
        self.expire_by_size()
    }

    /// Removes the oldest blocks while blocks and log together take more than is allowed.
    fn expire_by_size(&self) -> io::Result<()> {
        let Some(most) = self.options.retention_bytes else { return Ok(()) };
        let log = self.writer().log.as_ref().map_or(0, crate::log::Log::total_bytes);
        let blocks = self.blocks();
        let mut bytes = log + blocks.iter().map(|block| block.bytes()).sum::<u64>();
        for block in &blocks {
            if bytes <= most {
                return Ok(());
            }
            info!(block = %block.path().display(), bytes, most, "a block goes: there are too many bytes");
            self.remove(block)?;
            bytes = bytes.saturating_sub(block.bytes());
        }
        Ok(())
    }

    fn remove(&self, block: &Block) -> io::Result<()> {
        match fs::remove_file(block.path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => {
                self.blocks_mut().retain(|other| other.path() != block.path());
                Ok(())
            }
        }
    }
}

fn window_before(head: &Head, end: Timestamp) -> Vec<(Labels, Vec<Sealed>)> {
    let chunks = |series: &HeadSeries| -> Vec<Sealed> {
        series.sealed.iter().filter(|chunk| chunk.last < end).cloned().collect()
    };
    head.iter()
        .map(|series| (series.labels.clone(), chunks(series)))
        .filter(|(_, chunks)| !chunks.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use base::matcher::Matcher;

    use super::*;
    use crate::{Options, Point, SeriesSamples};

    const MINUTE: i64 = 60_000;

    fn append(storage: &Storage, series: &str, time: i64, value: f64) {
        let labels = Labels::from_pairs([("__name__", "x"), ("series", series)]);
        let point = Point {
            series: storage.series(&labels).unwrap(),
            timestamp: Timestamp::from_millis(time),
            value,
        };
        assert_eq!(storage.append(&[point]).unwrap().stored, 1, "{series} at {time}");
    }

    fn all(storage: &Storage) -> Vec<SeriesSamples> {
        let matchers = [Matcher::equal("__name__", "x")];
        storage.select(&matchers, Timestamp::MIN, Timestamp::MAX).unwrap()
    }

    fn open(dir: &Path) -> Storage {
        let retention = Duration::from_secs(24 * 3600);
        Storage::open(dir, Options { retention, ..Options::default() }).unwrap()
    }

    /// Two series for ten hours, a sample a minute; `old` ends after half an hour.
    fn filled(dir: &Path) -> Storage {
        let storage = open(dir);
        for minute in 0..600 {
            append(&storage, "a", minute * MINUTE, minute as f64);
            if minute < 30 {
                append(&storage, "old", minute * MINUTE, 0.5 + minute as f64);
            }
        }
        storage
    }

    #[test]
    fn closed_windows_move_into_blocks_and_nothing_changes_for_readers() {
        let dir = tempfile::tempdir().unwrap();
        let storage = filled(dir.path());
        let before = all(&storage);
        assert_eq!((before[0].times.len(), before[1].times.len()), (600, 30));
        storage.maintain(Timestamp::from_millis(600 * MINUTE)).unwrap();
        let stats = storage.stats();
        assert_eq!((stats.blocks, stats.block_samples, stats.series), (4, 510, 1));
        assert_eq!(all(&storage), before);
        let values = storage.label_values("series").unwrap();
        assert_eq!(values.into_iter().collect::<Vec<_>>(), ["a", "old"]);

        // The log is short now; blocks and log together are still everything.
        let logs = fs::read_dir(dir.path().join("log")).unwrap().count();
        assert!(logs <= 2, "{logs} segments");
        drop(storage);
        let storage = open(dir.path());
        assert_eq!(all(&storage), before);
        append(&storage, "a", 600 * MINUTE, 600.0);
        append(&storage, "old", 600 * MINUTE, 7.0);
        assert_eq!(all(&storage)[1].times.len(), 31);
    }

    #[test]
    fn a_crash_between_a_block_and_the_head_costs_no_exemplars_f31() {
        let dir = tempfile::tempdir().unwrap();
        let storage = open(dir.path());
        let series = Labels::from_pairs([("__name__", "x"), ("series", "a")]);
        let exemplar = |minute: i64| crate::Exemplar {
            labels: Labels::from_pairs([("trace_id", &*minute.to_string())]),
            value: 1.0,
            timestamp: Timestamp::from_millis(minute * MINUTE),
        };
        let found = |storage: &Storage| {
            let found = storage.exemplars(&[Vec::new()], Timestamp::MIN, Timestamp::MAX);
            found.into_values().flatten().count()
        };
        for minute in (0..=600).step_by(10) {
            append(&storage, "a", minute * MINUTE, 1.0);
            if [100, 200].contains(&minute) {
                storage.append_exemplars([(series.clone(), exemplar(minute))]);
            }
        }
        // A crash comes when the block is there.
        assert!(storage.flush_closed(dir.path(), SETTLE).unwrap());
        drop(storage);
        for _ in 0..3 {
            let storage = open(dir.path());
            assert_eq!((found(&storage), storage.stats().blocks), (2, 4));
            storage.maintain(Timestamp::from_millis(601 * MINUTE)).unwrap();
        }
    }

    #[test]
    fn a_range_reads_across_blocks_and_memory() {
        let dir = tempfile::tempdir().unwrap();
        let storage = filled(dir.path());
        storage.maintain(Timestamp::from_millis(600 * MINUTE)).unwrap();
        let at = |minute: i64| Timestamp::from_millis(minute * MINUTE);
        let found = storage.select(&[Matcher::equal("series", "a")], at(100), at(500)).unwrap();
        assert_eq!(found[0].times.len(), 401);
        assert!(found[0].times.is_sorted());
        assert_eq!(storage.select(&[], at(40), at(50)).unwrap().len(), 1);
    }

    #[test]
    fn what_is_past_its_retention_goes() {
        let dir = tempfile::tempdir().unwrap();
        let storage = filled(dir.path());
        append(&storage, "a", 30 * 60 * MINUTE, 1.0);
        storage.maintain(Timestamp::from_millis(30 * 60 * MINUTE)).unwrap();
        // 30 h less 24 h: the blocks that end before the sixth hour are gone.
        assert_eq!(all(&storage)[0].times[0], 360 * MINUTE);
        assert_eq!(all(&storage).len(), 1);
    }

    #[test]
    fn a_jump_of_the_clock_removes_nothing_f25() {
        let dir = tempfile::tempdir().unwrap();
        let storage = filled(dir.path());
        let end = 600 * MINUTE;
        // Ten minutes, the retention, a year, and further than anybody counts: and then back.
        for ahead in [10, 24 * 60, 366 * 24 * 60, i64::MAX / 4 / MINUTE, 0] {
            storage.maintain(Timestamp::from_millis(end + ahead * MINUTE)).unwrap();
            assert_eq!(all(&storage)[0].times.len(), 600, "{ahead} minutes ahead");
        }
        // It goes on as if nothing had been.
        append(&storage, "a", end, 600.0);
        assert_eq!(all(&storage)[0].times.len(), 601);
    }

    #[test]
    fn samples_a_year_ahead_remove_nothing_until_a_day_has_followed_f25() {
        let dir = tempfile::tempdir().unwrap();
        let storage = filled(dir.path());
        // A clock that was followed although it was wrong: or a host that was off for a year.
        let year = 366 * 24 * 60;
        for minute in (0..=25 * 60).step_by(30) {
            append(&storage, "a", (year + minute) * MINUTE, 1.0);
            storage.maintain(Timestamp::from_millis((year + minute) * MINUTE)).unwrap();
            let oldest = all(&storage)[0].times[0];
            let expected = if minute < 24 * 60 { 0 } else { year * MINUTE };
            assert!(oldest == expected || (14..=24).contains(&(minute / 60)), "{minute}: {oldest}");
        }
        assert_eq!(all(&storage)[0].times[0], year * MINUTE);
    }

    #[test]
    fn a_damaged_block_is_set_aside_and_the_rest_used_f31() {
        let dir = tempfile::tempdir().unwrap();
        let storage = filled(dir.path());
        storage.maintain(Timestamp::from_millis(600 * MINUTE)).unwrap();
        drop(storage);
        let blocks = block::list(&dir.path().join("blocks")).unwrap();
        let whole = fs::read(&blocks[1]).unwrap();
        for at in (0..whole.len()).step_by(7) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            fs::write(&blocks[1], bytes).unwrap();
            let storage = open(dir.path());
            // In a chunk it is found when the chunk is read, elsewhere when the block is opened.
            let found = storage.select(&[], Timestamp::MIN, Timestamp::MAX);
            if let Ok(found) = found {
                let samples: usize = found.iter().map(|series| series.times.len()).sum();
                assert!(samples == 630 || samples == 510, "byte {at}: {samples}");
            }
            let _ = fs::remove_file(blocks[1].with_extension("damaged"));
            fs::write(&blocks[1], &whole).unwrap();
        }
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let storage = Storage::in_memory(Options { max_series: 2, ..Options::default() });
        let labels = |n: &str| Labels::from_pairs([("__name__", "x"), ("n", n)]);
        let a = storage.series(&labels("a")).unwrap();
        storage.series(&labels("b")).unwrap();
        assert!(storage.series(&labels("c")).is_err());
        let point =
            |time, value| Point { series: a, timestamp: Timestamp::from_millis(time), value };
        let given = [point(5, 1.0), point(5, 1.0), point(5, 2.0), point(4, 1.0), point(6, 1.0)];
        let appended = storage.append(&given).unwrap();
        assert_eq!((appended.stored, appended.duplicates, appended.out_of_order), (3, 1, 1));
        assert_eq!(all(&storage)[0].times, [5, 6]);
    }

    #[test]
    fn a_job_whose_labels_never_repeat_leaves_room_to_others_f37() {
        let storage = Storage::in_memory(Options { max_series: 100, ..Options::default() });
        let series = |job: &str, n: u32| {
            let n = n.to_string();
            storage.series(&Labels::from_pairs([("__name__", "x"), ("job", job), ("n", &n)]))
        };
        (0..90).for_each(|n| assert!(series("bomb", n).is_ok()));
        let error = series("bomb", 90).unwrap_err().to_string();
        assert!(error.starts_with("the job `bomb` has 90 series"), "{error}");
        // What it has it keeps, and what we say of it has room, as others do.
        assert!(series("bomb", 0).is_ok());
        assert!(storage.own_series(&Labels::from_pairs([("job", "bomb")])).is_ok());
        (0..9).for_each(|n| assert!(series("other", n).is_ok()));
        let error = series("third", 0).unwrap_err().to_string();
        assert!(error.starts_with("there are 100 series already"), "{error}");
        assert_eq!((storage.stats().series, storage.stats().refused_series), (100, 2));
    }

    #[test]
    fn a_changed_value_of_a_watched_metric_is_news() {
        let options = Options { watched: &["up"], ..Options::default() };
        let storage = Storage::in_memory(options);
        let series =
            |name: &str| storage.series(&Labels::from_pairs([("__name__", name)])).unwrap();
        let (up, other) = (series("up"), series("upper"));
        // Series, time, value, whether it is news.
        let cases = [
            (up, 1, 1.0, false),
            (other, 1, 1.0, false),
            (other, 2, 0.0, false),
            (up, 2, 1.0, false),
            (up, 3, 0.0, true),
            (up, 3, 1.0, false), // a duplicate, not stored
            (up, 4, 0.0, false),
            (up, 5, base::sample::Ended::Lost.value(), true),
        ];
        for (series, time, value, news) in cases {
            let point = Point { series, timestamp: Timestamp::from_millis(time), value };
            assert_eq!(storage.append(&[point]).unwrap().news, news, "{time} {value}");
        }
    }

    /// Everything that takes a lock, all at the same time: an order of locks that differs somewhere
    /// ends in a deadlock here.
    #[test]
    fn everything_at_once_ends() {
        let dir = tempfile::tempdir().unwrap();
        let storage = open(dir.path());
        std::thread::scope(|scope| {
            scope.spawn(|| (0..4000).for_each(|n| append(&storage, "a", n * MINUTE / 4, n as f64)));
            scope.spawn(|| {
                let labels = |n: i32| Labels::from_pairs([("n", n.to_string())]);
                (0..4000).for_each(|n| assert!(storage.series(&labels(n)).is_ok()));
            });
            scope.spawn(|| (0..4000).for_each(|_| assert!(storage.stats().blocks < 10)));
            scope.spawn(|| (0..200).for_each(|_| drop(all(&storage))));
            scope.spawn(|| (0..200).for_each(|_| drop(storage.label_values("series"))));
            scope.spawn(|| {
                (0..200).for_each(|_| storage.maintain(Timestamp::from_millis(MINUTE)).unwrap());
            });
            scope.spawn(|| (0..20).for_each(|_| storage.sync().unwrap()));
            scope.spawn(|| (0..20).for_each(|_| storage.checkpoint(0)));
            scope.spawn(|| {
                let labels = Labels::from_pairs([("__name__", "x"), ("series", "a")]);
                (0..4000).for_each(|n| {
                    let (value, timestamp) = (n as f64, Timestamp::from_millis(n));
                    let exemplar = crate::Exemplar { labels: labels.clone(), value, timestamp };
                    assert_eq!(storage.append_exemplars([(labels.clone(), exemplar)]), 1);
                });
            });
        });
        assert_eq!(all(&storage)[0].times.len(), 4000);
    }

    #[test]
    fn a_series_that_was_dropped_is_told_as_unknown() {
        let storage = Storage::in_memory(Options::default());
        let labels = Labels::from_pairs([("__name__", "x")]);
        let series = storage.series(&labels).unwrap();
        let point = |time| Point { series, timestamp: Timestamp::from_millis(time), value: 1.0 };
        storage.append(&[point(0)]).unwrap();
        storage.maintain(Timestamp::from_millis(i64::MAX / 2)).unwrap();
        assert_eq!(storage.append(&[point(i64::MAX / 2)]).unwrap().unknown, [0]);
    }
}
