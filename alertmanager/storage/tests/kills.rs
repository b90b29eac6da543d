//! Kills whoever writes samples, again and again, and looks at what is left: `make kills-samples`, or
//! `CRASH_ROUNDS=10000 CRASH_SEED=7 cargo test -p storage --test kills`.
//!
//! ```text
//! writer (this program again)   appends, syncs, reads, moves windows into blocks; tells each step
//! judge                         kill -9 at a random moment; every other time what was not synced is
//!                               cut off, or zeros, as after a crash of the machine; then opens and reads
//! ```
//!
//! Invariant: every sample that was told as appended is there after a kill, and every one that was synced
//! after a crash of the machine; none is another, none is missing in between (F31, F33, F34).
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test, with settings from the environment"
)]

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use base::histogram::Histogram;
use base::labels::Labels;
use base::matcher::Matcher;
use base::sample::Timestamp;
use storage::{Options, Point, SeriesSamples, Storage};

/// Simulated time from one step to the next.
const STEP: i64 = 60_000;
const RETENTION: Duration = Duration::from_secs(8 * 3600);
/// A series for each kind of value, and one of histograms.
const FLOATS: usize = 4;
/// The folder that a writer is given.
const FOLDER: &str = "KILLS_FOLDER";

fn main() -> ExitCode {
    if let Some(folder) = std::env::var_os(FOLDER) {
        write(Path::new(&folder));
        return ExitCode::SUCCESS;
    }
    let number = |name: &str, or: u64| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(or)
    };
    let (rounds, seed) = (number("CRASH_ROUNDS", 40), number("CRASH_SEED", 1));
    let mut judge = Judge::new(seed);
    for round in 1..=rounds {
        if let Err(why) = judge.round() {
            let kept = judge.dir.keep();
            println!("round {round} of seed {seed}: {why}; the folder is kept: {}", kept.display());
            return ExitCode::FAILURE;
        }
        if round % 1000 == 0 {
            println!("{round} rounds: {}", judge.counts());
        }
    }
    let Judge { told, synced, torn, .. } = &judge;
    println!("{rounds} rounds of seed {seed}: {}", judge.counts());
    // Without these it would have shown nothing.
    assert!(*told > 0 && *synced > 0 && *torn > 0);
    ExitCode::SUCCESS
}

fn open(folder: &Path) -> Result<Storage, String> {
    // The head is written every few hundred steps.
    let (retention, checkpoint_bytes) = (RETENTION, 20_000);
    let options = Options { retention, checkpoint_bytes, ..Options::default() };
    Storage::open(folder, options).map_err(|error| error.to_string())
}

/// What a float series has at a step.
fn value(series: usize, step: i64) -> f64 {
    match series {
        0 => step as f64,
        1 => (step * 7919 % 1009) as f64 / 8.0,
        2 => (step as f64).sqrt(),
        _ => 1.0,
    }
}

fn histogram(step: i64) -> Histogram {
    let count = step as f64;
    Histogram { count, sum: 2.0 * count, positive: vec![(1, count)], ..Histogram::default() }
}

fn labels(series: usize) -> Labels {
    Labels::from_pairs([("__name__", "x"), ("n", &series.to_string())])
}

fn everything(storage: &Storage) -> Result<Vec<SeriesSamples>, String> {
    let matchers = [Matcher::equal("__name__", "x")];
    storage.select(&matchers, Timestamp::MIN, Timestamp::MAX).map_err(|error| error.to_string())
}

/// Appends until it is killed.
fn write(folder: &Path) {
    let storage = open(folder).unwrap();
    let mut out = std::io::stdout().lock();
    let mut tell = move |line: String| out.write_all(line.as_bytes()).unwrap();
    let newest = everything(&storage).unwrap().iter().filter_map(|s| s.times.last().copied()).max();
    let begin = newest.map_or(0, |newest| newest / STEP + 1);
    for step in begin.. {
        let timestamp = Timestamp::from_millis(step * STEP);
        let mut points: Vec<_> = (0..FLOATS)
            .map(|n| Point {
                series: storage.series(&labels(n)).unwrap(),
                timestamp,
                value: value(n, step),
            })
            .collect();
        let series = storage.series(&labels(FLOATS)).unwrap();
        points.push(Point { series, timestamp, value: storage::histogram_value(0) });
        let histograms = &[std::sync::Arc::new(histogram(step))];
        let appended =
            storage.append_with(&points, storage::Beside { histograms, starts: &[] }).unwrap();
        assert_eq!(appended.stored, FLOATS + 1, "step {step}");
        tell(format!("a {step}\n"));
        if step % 7 == 0 {
            storage.sync().unwrap();
            let (segment, length) = newest_segment(folder).unwrap();
            tell(format!("s {step} {length} {}\n", segment.display()));
        }
        if step % 45 == 0 {
            storage.maintain(timestamp).unwrap();
        }
        if step % 100 == 0 {
            let read = everything(&storage).unwrap();
            assert!(read.iter().all(|series| series.times.last() == Some(&(step * STEP))));
        }
    }
}

/// The segment of the log that is written, and its length.
fn newest_segment(folder: &Path) -> Option<(PathBuf, u64)> {
    let files = fs::read_dir(folder.join("log")).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let newest = files.filter(|path| path.extension().is_some_and(|ext| ext == "log")).max()?;
    let length = fs::metadata(&newest).ok()?.len();
    Some((newest, length))
}

struct Judge {
    dir: tempfile::TempDir,
    random: u64,
    /// The newest step that must be there.
    floor: Option<i64>,
    /// The newest step that has ever been there: what is past the retention by it may be gone.
    highest: i64,
    told: u64,
    synced: u64,
    torn: u64,
    lost: u64,
    blocks: usize,
}

impl Judge {
    fn new(seed: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let (floor, highest) = (None, -1);
        Self { dir, random, floor, highest, told: 0, synced: 0, torn: 0, lost: 0, blocks: 0 }
    }

    fn counts(&self) -> String {
        let Self { told, synced, torn, lost, blocks, .. } = self;
        format!(
            "{told} steps told, {synced} syncs, {blocks} blocks seen; {torn} logs torn, by which \
             {lost} steps were lost that were not synced"
        )
    }

    fn below(&mut self, most: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % most.max(1)
    }

    fn round(&mut self) -> Result<(), String> {
        // A folder serves for some hundred rounds, over which windows close and are forgotten.
        if self.below(300) == 0 {
            (self.dir, self.floor, self.highest) = (tempfile::tempdir().unwrap(), None, -1);
        }
        let folder = self.dir.path().to_owned();
        let mut writer = Command::new(std::env::current_exe().unwrap())
            .env(FOLDER, &folder)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut told = BufReader::new(writer.stdout.take().unwrap());
        let mut lines = Vec::new();
        let mut line = String::new();
        // It is killed behind a random number of steps and some microseconds.
        for _ in 0..self.below(150) {
            line.clear();
            if told.read_line(&mut line).unwrap() == 0 {
                return Err(format!("the writer ended by itself: {:?}", writer.wait()));
            }
            lines.push(line.clone());
        }
        std::thread::sleep(Duration::from_micros(self.below(1500)));
        writer.kill().unwrap();
        writer.wait().unwrap();
        lines.extend(told.lines().map_while(Result::ok));
        let mut synced = None;
        for line in &lines {
            let mut words = line.split_whitespace();
            match (words.next(), words.next().and_then(|step| step.parse().ok())) {
                (Some("a"), Some(step)) => {
                    self.floor = self.floor.max(Some(step));
                    self.told += 1;
                }
                // A line that is whole: nothing follows the path.
                (Some("s"), Some(step)) => {
                    let length = words.next().and_then(|length| length.parse::<u64>().ok());
                    synced = length.zip(words.next().map(PathBuf::from)).map(|at| (step, at));
                    self.synced += 1;
                }
                _ => {}
            }
        }
        let newest = self.look()?;
        let Some((step, (length, segment))) = synced.filter(|_| self.below(2) == 0) else {
            return Ok(());
        };
        self.tear(&folder, length, &segment);
        self.floor = Some(step);
        let left = self.look()?;
        self.lost += u64::try_from(newest - left).map_err(|_| "steps came from nowhere")?;
        self.floor = Some(left);
        Ok(())
    }

    /// Loses what was not synced, as a crash of the machine may: cut off, or zeros, from anywhere on.
    fn tear(&mut self, folder: &Path, synced: u64, segment: &Path) {
        // The judge's own look has begun a segment.
        let Some((own, _)) = newest_segment(folder) else { return };
        fs::remove_file(&own).unwrap();
        let Some((writers, whole)) = newest_segment(folder) else { return };
        // Nothing was synced of a later one than the writer told of.
        let safe = if writers == segment { synced } else { 0 };
        if whole <= safe {
            return;
        }
        let cut = safe + self.below(whole - safe);
        let file = OpenOptions::new().write(true).open(&writers).unwrap();
        file.set_len(cut).unwrap();
        if self.below(2) == 0 {
            file.set_len(whole).unwrap();
        }
        self.torn += 1;
    }

    /// Opens the folder, compares all that is there, and returns the newest step.
    fn look(&mut self) -> Result<i64, String> {
        let storage = open(self.dir.path())?;
        self.blocks += storage.stats().blocks;
        let found = everything(&storage)?;
        let floor = self.floor.unwrap_or(-1);
        let newest = found.first().and_then(|series| series.times.last()).map_or(-1, |t| t / STEP);
        if newest < floor {
            return Err(format!("step {floor} was there, the newest is {newest} now"));
        }
        if newest >= 0 && found.len() != FLOATS + 1 {
            return Err(format!("{} series instead of {}", found.len(), FLOATS + 1));
        }
        for (number, series) in found.iter().enumerate() {
            let first = series.times.first().map_or(0, |time| time / STEP);
            let kept = self.highest.max(newest) - RETENTION.as_millis() as i64 / STEP;
            if first > kept.max(0) {
                return Err(format!("series {number} begins at step {first}, not at {kept}"));
            }
            let steps: Vec<i64> = series.times.iter().map(|time| time / STEP).collect();
            if steps != (first..=newest).collect::<Vec<_>>() {
                return Err(format!("series {number} has gaps between {first} and {newest}"));
            }
            let other = steps.iter().zip(&series.values).find(|(step, found)| {
                if number < FLOATS {
                    return found.to_bits() != value(number, **step).to_bits();
                }
                series.histogram(**found).is_none_or(|h| {
                    let bucket = h.positive.first().map_or(0.0, |(_, count)| *count);
                    [h.count, bucket, h.sum / 2.0] != [**step as f64; 3]
                })
            });
            if let Some((step, found)) = other {
                return Err(format!("series {number} has {found} at step {step}"));
            }
        }
        self.highest = self.highest.max(newest);
        Ok(newest)
    }
}
