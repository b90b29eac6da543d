//! What a start leaves out, because there are more series than `max_series` allows by now, is kept.
//!
//! Invariant: nothing here is ever removed by us, and nothing is written twice: files have a second name.

use std::fs;
use std::io;
use std::path::Path;

use tracing::warn;

use crate::{lasting, log};

/// Gives the files that a start of the samples in `dir` has read a second name in `left-out/`: those that
/// have them may go, now that what was in them is in memory only in part.
pub(crate) fn keep(dir: &Path, series: u64) -> io::Result<()> {
    let aside = dir.join("left-out");
    warn!(
        series,
        kept = %aside.display(),
        "there are more series than --max-series allows: those that came last are left out"
    );
    lasting::make_folder(&aside)?;
    let segments = log::files(&dir.join("log"))?;
    let newest = segments.last().map_or("none", |(_, name)| name.as_str());
    let head = (dir.join("head"), format!("head-{newest}"));
    for (path, name) in segments.iter().chain([&head]) {
        match fs::hard_link(path, aside.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => warn!(%error, file = %path.display(), "it is not kept"),
            Ok(()) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use base::labels::Labels;
    use base::sample::Timestamp;

    use super::*;
    use crate::{Options, Point, Storage};

    fn open(dir: &Path, max_series: usize) -> Storage {
        Storage::open(dir, Options { max_series, ..Options::default() }).unwrap()
    }

    fn append(storage: &Storage, job: &str, n: u32) {
        append_at(storage, job, n, 1000);
    }

    fn append_at(storage: &Storage, job: &str, n: u32, at: i64) {
        let n = n.to_string();
        let labels = Labels::from_pairs([("__name__", "x"), ("job", job), ("n", &n)]);
        let series = storage.series(&labels).unwrap();
        let timestamp = Timestamp::from_millis(at);
        let appended = storage.append(&[Point { series, timestamp, value: 1.0 }]).unwrap();
        assert_eq!(appended.stored, 1);
    }

    fn names(dir: PathBuf) -> Vec<String> {
        let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name();
        let mut names: Vec<_> = fs::read_dir(dir)
            .map(|found| found.map(|entry| name(entry).into_string().unwrap()).collect())
            .unwrap_or_default();
        names.sort();
        names
    }

    #[test]
    fn a_start_leaves_out_nothing_that_fitted_f36() {
        let dir = tempfile::tempdir().unwrap();
        // Two jobs of half the series each: both had them before the others were at nine tenths.
        let storage = open(dir.path(), 100);
        (0..45).for_each(|n| append(&storage, "a", n));
        (0..45).for_each(|n| append(&storage, "b", n));
        (0..9).for_each(|n| append(&storage, "c", n));
        // In the log, `a` and `b` come last.
        storage.checkpoint(0);
        (0..9).for_each(|n| append_at(&storage, "c", n, 2000));
        (0..45).for_each(|n| append_at(&storage, "b", n, 2000));
        (0..45).for_each(|n| append_at(&storage, "a", n, 2000));
        drop(storage);
        std::fs::remove_file(dir.path().join("head")).unwrap();
        std::fs::remove_file(dir.path().join("log/00000001.log")).unwrap();
        let storage = open(dir.path(), 100);
        assert_eq!(storage.stats().series, 99);
        assert!(!dir.path().join("left-out").exists());
        drop(storage);
        // Where not all fit, what is said of a job itself has room.
        let storage = open(dir.path(), 1000);
        let up = Labels::from_pairs([("__name__", "up"), ("job", "a")]);
        let point = Point {
            series: storage.own_series(&up).unwrap(),
            timestamp: Timestamp::from_millis(3000),
            value: 1.0,
        };
        storage.append(&[point]).unwrap();
        drop(storage);
        let storage = open(dir.path(), 80);
        assert!(storage.stats().series <= 80);
        assert_eq!(storage.label_values("__name__").unwrap().len(), 2);
    }

    #[test]
    fn a_start_takes_no_more_series_than_it_may_and_keeps_the_rest_f36() {
        // Read from the log, and from the head that was written.
        for written in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let storage = open(dir.path(), 10_000);
            append(&storage, "good", 0);
            (0..1000).for_each(|n| append(&storage, "bomb", n));
            append(&storage, "good", 1);
            if written {
                storage.checkpoint(0);
            }
            drop(storage);
            let aside = dir.path().join("left-out");
            let storage = open(dir.path(), 10_000);
            assert_eq!((storage.stats().series, names(aside.clone()).len()), (1002, 0));
            drop(storage);
            for _ in 0..2 {
                let storage = open(dir.path(), 100);
                // The bomb has nine tenths, and the others what they had.
                assert_eq!(storage.stats().series, 91, "{written}");
                assert_eq!(storage.label_values("job").unwrap().len(), 2);
                drop(storage);
                let kept = names(aside.clone());
                assert!(kept.iter().any(|name| name == "00000001.log"), "{kept:?}");
                assert_eq!(kept.iter().any(|name| name.starts_with("head-")), written);
            }
        }
    }
}
