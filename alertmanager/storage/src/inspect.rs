//! Looking at the samples of a data folder without changing anything, and copying them.
//!
//! Invariant: nothing here writes into the folder that it looks at.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::labels::Labels;
use base::sample::Timestamp;

use crate::block::{self, Block, BlockError, Lost};
use crate::chunk::{Columns, Span};
use crate::head::Head;
use crate::{OpenError, Options, Storage, head_behind, log};

/// Something that is damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file.
    pub path: PathBuf,
    /// What is wrong, and what is lost by it.
    pub what: String,
}

/// What a check of a folder found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Blocks that were read.
    pub blocks: usize,
    /// Segments of the log that were read.
    pub segments: usize,
    /// Samples that are sound, those of the log included.
    pub samples: u64,
    /// What is damaged, file by file.
    pub faults: Vec<Fault>,
}

/// How much a folder holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Census {
    /// Distinct series.
    pub series: u64,
    /// Samples.
    pub samples: u64,
    /// Bytes of blocks.
    pub block_bytes: u64,
    /// Samples in blocks.
    pub block_samples: u64,
    /// Bytes of chunks in memory, for samples that are in no block yet.
    pub memory_bytes: u64,
    /// The first and the last sample.
    pub span: Option<(Timestamp, Timestamp)>,
    /// How many series each metric has, the most first.
    pub names: Vec<(String, u64)>,
    /// How many values each label has, the most first.
    pub labels: Vec<(String, u64)>,
}

/// Reads everything in the folder of samples `dir` and compares it with its sums.
///
/// # Errors
///
/// The folder itself cannot be read.
pub fn check(dir: &Path) -> io::Result<Checked> {
    let mut checked = Checked::default();
    let mut newest = Vec::new();
    for path in block::list(&dir.join("blocks"))? {
        checked.blocks += 1;
        let mut faults = Vec::new();
        match check_block(&path, &mut checked.samples, &mut faults) {
            Ok(block) => newest.push(block),
            Err(error) => faults.push(error.to_string()),
        }
        let fault = |what| Fault { path: path.clone(), what };
        checked.faults.extend(faults.into_iter().map(fault));
    }
    let mut head = head_behind(&newest, Options::default());
    let replayed = log::check(&dir.join("log"), &mut head)?;
    checked.segments = replayed.segments.len();
    checked.samples += replayed.samples;
    checked.faults.extend(replayed.damage.into_iter().map(|damage| Fault {
        what: format!(
            "damaged from byte {} on: the last {} bytes are lost",
            damage.sound, damage.lost
        ),
        path: damage.segment,
    }));
    checked.faults.extend(replayed.misnamed.into_iter().map(|misnamed| Fault {
        what: format!(
            "is by its name another segment than {}; a start renames it",
            misnamed.number
        ),
        path: misnamed.path,
    }));
    for part in ["blocks", "log"] {
        checked.faults.extend(set_aside(&dir.join(part))?);
    }
    Ok(checked)
}

fn check_block(
    path: &Path,
    samples: &mut u64,
    faults: &mut Vec<String>,
) -> Result<Arc<Block>, BlockError> {
    let block = Block::open(path)?;
    let (mut sound, mut lost) = (0, 0);
    block.each_chunk(
        |_, chunks| sound += chunks.iter().map(|chunk| u64::from(chunk.count)).sum::<u64>(),
        |labels, Lost { first, last, count }| {
            lost += count;
            faults.push(format!(
                "{labels} has a wrong sum: {count} samples from {first} to {last} ms are lost"
            ));
        },
    )?;
    *samples += sound;
    if sound + lost != block.samples() {
        let said = block.samples();
        faults.push(format!("it holds {sound} samples and has lost {lost}, but says {said}"));
    }
    Ok(Arc::new(block))
}

/// What earlier starts have set aside.
fn set_aside(dir: &Path) -> io::Result<Vec<Fault>> {
    let mut found = Vec::new();
    if dir.exists() {
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            let extension = path.extension().and_then(|extension| extension.to_str());
            let what = match extension.unwrap_or_default() {
                "damaged" => "was found damaged by an earlier start and set aside",
                log::MISNAMED => {
                    "was a second file of a segment for an earlier start and set aside"
                }
                _ => continue,
            };
            found.push(Fault { path, what: what.to_owned() });
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

impl Storage {
    /// The samples in `dir`, to be looked at: nothing is written, and nothing can be appended that
    /// would last. Damaged files are left out.
    ///
    /// # Errors
    ///
    /// The folder cannot be read.
    pub fn open_read_only(dir: &Path) -> Result<Self, OpenError> {
        let failed = |source| OpenError { dir: dir.to_owned(), source };
        if !dir.is_dir() {
            return Err(failed(io::Error::from(io::ErrorKind::NotFound)));
        }
        let mut blocks = Vec::new();
        for path in block::list(&dir.join("blocks")).map_err(failed)? {
            match Block::open(&path) {
                Ok(block) => blocks.push(Arc::new(block)),
                Err(BlockError::Io { source, .. }) => return Err(failed(source)),
                Err(BlockError::Damaged { .. }) => {}
            }
        }
        blocks.sort_by_key(|block| block.min_time());
        let options = Options::default();
        let mut head: Head = head_behind(&blocks, options);
        log::check(&dir.join("log"), &mut head).map_err(failed)?;
        Ok(Self::of(None, options, None, (head, blocks)))
    }

    /// How much there is. Reads the labels of every series of every block.
    ///
    /// # Errors
    ///
    /// A block is damaged or cannot be read.
    pub fn census(&self) -> Result<Census, crate::SelectError> {
        let mut census = Census::default();
        let mut seen = HashSet::new();
        let mut names: HashMap<String, u64> = HashMap::new();
        let mut values: HashMap<String, HashSet<u64>> = HashMap::new();
        let mut add = |labels: &Labels| {
            if !seen.insert(labels.fingerprint()) {
                return;
            }
            *names.entry(labels.metric_name().to_owned()).or_default() += 1;
            for (name, value) in labels {
                let one = Labels::from_pairs([(name, value)]).fingerprint();
                values.entry(name.to_owned()).or_default().insert(one);
            }
        };
        let (mut first, mut last) = (None::<Timestamp>, None::<Timestamp>);
        for block in self.blocks() {
            block.each_labels(&mut add)?;
            census.block_bytes += block.bytes();
            census.block_samples += block.samples();
            first = first.into_iter().chain([block.min_time()]).min();
            last = last.max(Some(block.max_time()));
        }
        let head = self.head();
        census.samples = census.block_samples;
        for series in head.iter() {
            add(&series.labels);
            let mut columns = Columns::default();
            series.read(Span::ALL, &mut columns);
            census.samples += columns.times.len() as u64;
            let own = columns.times.first().map(|time| Timestamp::from_millis(*time));
            first = first.into_iter().chain(own).min();
        }
        census.memory_bytes = head.chunk_bytes() as u64;
        census.span = first.zip(last.max(head.max_time));
        census.series = seen.len() as u64;
        let mut labels: Vec<_> =
            values.into_iter().map(|(name, values)| (name, values.len() as u64)).collect();
        let mut names: Vec<_> = names.into_iter().collect();
        let most_first = |a: &(String, u64), b: &(String, u64)| b.1.cmp(&a.1).then(a.0.cmp(&b.0));
        names.sort_by(most_first);
        labels.sort_by(most_first);
        (census.names, census.labels) = (names, labels);
        Ok(census)
    }

    /// Copies everything that was appended so far into the new folder `to`, which can be opened like
    /// this one. Blocks are linked where the file system can, so it takes little room and time.
    ///
    /// # Errors
    ///
    /// `to` is there already, or a file cannot be copied.
    pub fn snapshot(&self, to: &Path) -> io::Result<()> {
        let Some(dir) = &self.dir else {
            return Err(io::Error::other("there is no folder to copy"));
        };
        let _turn = self.changing_blocks();
        for folder in [to, &to.join("blocks"), &to.join("log")] {
            fs::DirBuilder::new().mode(0o700).create(folder)?;
        }
        for block in self.blocks() {
            let Some(name) = block.path().file_name() else { continue };
            let target = to.join("blocks").join(name);
            if fs::hard_link(block.path(), &target).is_err() {
                fs::copy(block.path(), &target)?;
            }
        }
        // No frame is half written while nobody appends.
        let writer = self.writer();
        for (path, name) in log::files(&dir.join("log"))? {
            fs::copy(path, to.join("log").join(name))?;
        }
        drop(writer);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Point;

    const MINUTE: i64 = 60_000;

    /// Ten hours of two series, of which four windows are blocks.
    fn filled(dir: &Path) -> Storage {
        let storage = Storage::open(dir, Options::default()).unwrap();
        for minute in 0..600 {
            for job in ["a", "b"] {
                let labels = Labels::from_pairs([("__name__", "x"), ("job", job)]);
                let series = storage.series(&labels).unwrap();
                let timestamp = Timestamp::from_millis(minute * MINUTE);
                storage.append(&[Point { series, timestamp, value: minute as f64 }]).unwrap();
            }
        }
        storage.maintain(Timestamp::from_millis(600 * MINUTE)).unwrap();
        storage.sync().unwrap();
        storage
    }

    fn count(storage: &Storage) -> usize {
        let found = storage.select(&[], Timestamp::MIN, Timestamp::MAX).unwrap();
        found.iter().map(|series| series.times.len()).sum()
    }

    #[test]
    fn every_flipped_byte_is_found_and_told_and_the_rest_is_served_f31() {
        let dir = tempfile::tempdir().unwrap();
        drop(filled(dir.path()));
        let sound = check(dir.path()).unwrap();
        assert_eq!((sound.blocks, sound.samples, &sound.faults[..]), (4, 1200, &[][..]));
        let blocks = block::list(&dir.path().join("blocks")).unwrap();
        let whole = fs::read(&blocks[1]).unwrap();
        // Beginning, chunks, index and footer; the first bytes of the file are read by nobody.
        for at in (8..whole.len()).step_by(whole.len() / 40 + 1) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&blocks[1], bytes).unwrap();
            let checked = check(dir.path()).unwrap();
            assert_eq!(checked.faults.len(), 1, "byte {at}: {checked:?}");
            assert_eq!(checked.faults[0].path, blocks[1]);
            let served = count(&Storage::open_read_only(dir.path()).unwrap());
            assert!((960..1200).contains(&served), "byte {at}: {served}");
        }
        fs::write(&blocks[1], &whole).unwrap();
        assert_eq!(check(dir.path()).unwrap(), sound);
    }

    #[test]
    fn a_check_changes_nothing_in_a_log_that_is_torn_f31() {
        let dir = tempfile::tempdir().unwrap();
        drop(filled(dir.path()));
        let (log, _) = log::files(&dir.path().join("log")).unwrap().pop().unwrap();
        let whole = fs::read(&log).unwrap();
        let torn = &whole[..whole.len() - 3];
        fs::write(&log, torn).unwrap();
        let checked = check(dir.path()).unwrap();
        assert!(checked.faults[0].what.contains("are lost"), "{checked:?}");
        assert_eq!(fs::read(&log).unwrap(), torn);
    }

    #[test]
    fn a_census_counts_each_series_once() {
        let dir = tempfile::tempdir().unwrap();
        let storage = filled(dir.path());
        let census = storage.census().unwrap();
        assert_eq!((census.series, census.samples, census.block_samples), (2, 1200, 960));
        assert_eq!(census.names, [("x".to_owned(), 2)]);
        assert_eq!(census.labels[0], ("job".to_owned(), 2));
        let at = |minute: i64| Timestamp::from_millis(minute * MINUTE);
        assert_eq!(census.span, Some((at(0), at(599))));
    }

    #[test]
    fn a_snapshot_is_a_folder_like_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let storage = filled(&dir.path().join("samples"));
        let copy = dir.path().join("copy");
        storage.snapshot(&copy).unwrap();
        assert_eq!(count(&Storage::open(&copy, Options::default()).unwrap()), 1200);
        assert!(storage.snapshot(&copy).is_err());
    }
}
