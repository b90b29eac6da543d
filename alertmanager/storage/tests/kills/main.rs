//! Kills whoever writes samples, again and again, and looks at what is left: `make kills-samples`, or
//! `CRASH_ROUNDS=10000 CRASH_SEED=7 cargo test -p storage --test kills`.
//!
//! ```text
//! writer    this program again, under strace: see `writer.rs`
//! judge     kill -9 at a random moment; then the folder as it is is opened and read, and those that
//!           other kills and crashes of the machine would have left at other moments: see `disk.rs`.
//!           One of them is gone on with
//! ```
//!
//! Invariant: every sample and exemplar that was told as appended is there after a kill, and every one that
//! was synced after a crash of the machine; none is another, none is missing in between, none is there
//! twice, and none that was deleted comes back (F31, F33, F34).
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test, with settings from the environment"
)]

mod disk;
mod writer;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use disk::{Act, Disk, Random};
use storage::{SeriesSamples, Storage};
use writer::{ALL, EXEMPLAR_STEPS, EXEMPLARS, FLOATS, KEPT, STEP};

/// The folder that a writer is given.
const FOLDER: &str = "KILLS_FOLDER";
/// What strace tells of.
const CALLS: &str = "trace=openat,write,ftruncate,fsync,fdatasync,rename,unlink,mkdir,close,fcntl";

fn main() -> ExitCode {
    if let Some(folder) = std::env::var_os(FOLDER) {
        writer::write(Path::new(&folder));
        return ExitCode::SUCCESS;
    }
    let number = |name: &str, or: u64| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(or)
    };
    let (rounds, seed) = (number("CRASH_ROUNDS", 30), number("CRASH_SEED", 1));
    let mut judge = Judge::new(seed);
    let mut round = 0;
    // Where a slow machine has had few segments put aside, say, it goes on until some were.
    while round < rounds || (!judge.counts.show_all() && round < 20 * rounds) {
        round += 1;
        if let Err(why) = judge.round() {
            let kept = judge.dir.keep();
            println!("round {round} of seed {seed}: {why}; the folder is kept: {}", kept.display());
            return ExitCode::FAILURE;
        }
        if round % 500 == 0 {
            println!("{round} rounds: {}", judge.counts.text());
        }
    }
    println!("{round} rounds of seed {seed}: {}", judge.counts.text());
    assert!(judge.counts.show_all(), "something was never tried: {:?}", judge.counts);
    ExitCode::SUCCESS
}

/// Steps of a series, or of all, that are deleted, or perhaps.
#[derive(Clone, Debug)]
struct Deleted {
    what: usize,
    from: i64,
    to: i64,
    surely: bool,
}

impl Deleted {
    fn has(&self, series: usize, step: i64) -> bool {
        (self.what == ALL || self.what == series) && (self.from..=self.to).contains(&step)
    }
}

/// What is known of a folder.
#[derive(Clone, Debug)]
struct Known {
    /// The newest step, and that of the newest exemplar, that must be there; -1 where there is none.
    floor: i64,
    exemplar: i64,
    /// The newest step that has ever been there: what is past the retention by it may be gone.
    highest: i64,
    deleted: Vec<Deleted>,
    /// Whether exemplars may be missing: the head was damaged.
    forgets: bool,
}

impl Known {
    fn nothing() -> Self {
        Self { floor: -1, exemplar: -1, highest: -1, deleted: Vec::new(), forgets: false }
    }

    /// What must be there behind `acts`, of which only what is synced counts in a crash.
    fn after(&self, acts: &[Act], crash: bool) -> Self {
        let mut known = self.clone();
        for act in acts {
            let Act::Told(line) = act else { continue };
            let mut words = line.split_whitespace();
            let sign = words.next().unwrap_or("");
            let numbers: Vec<i64> = words.filter_map(|word| word.parse().ok()).collect();
            match (sign, &numbers[..]) {
                ("a", [step]) if !crash => known.reached(*step),
                ("a", [step]) => known.highest = known.highest.max(*step),
                ("s", [step]) => known.reached(*step),
                ("D", [what, from, to]) => {
                    let (what, from, to) = (*what as usize, *from, *to);
                    known.deleted.push(Deleted { what, from, to, surely: false });
                }
                ("d", []) => known.deleted.last_mut().unwrap().surely = true,
                _ => {}
            }
        }
        known
    }

    fn reached(&mut self, step: i64) {
        self.floor = self.floor.max(step);
        self.highest = self.highest.max(step);
        self.exemplar = self.exemplar.max(step / EXEMPLAR_STEPS * EXEMPLAR_STEPS);
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    told: u64,
    synced: u64,
    kills: u64,
    crashes: u64,
    /// Crashes at, or just behind, an act that changes names.
    names: u64,
    lost: u64,
    damaged: u64,
    blocks: usize,
    /// Segments that were put aside.
    followed: u64,
    deleted: u64,
}

impl Counts {
    /// Whether everything was tried at least once: without it a run would have shown nothing.
    fn show_all(&self) -> bool {
        let Self { told, synced, crashes, names, followed, deleted, .. } = *self;
        [told, synced, crashes, names, followed, deleted].iter().all(|count| *count > 0)
    }

    fn text(&self) -> String {
        let Self { told, synced, kills, crashes, names, lost, damaged, blocks, deleted, .. } = self;
        format!(
            "{told} steps and {synced} syncs told, {deleted} deletions, {blocks} blocks seen; {kills} \
             folders after kills, {crashes} after crashes ({names} amid names, {damaged} with a damaged \
             head), by which {lost} steps were lost that were not synced"
        )
    }
}

struct Judge {
    dir: tempfile::TempDir,
    random: Random,
    known: Known,
    counts: Counts,
}

impl Judge {
    fn new(seed: u64) -> Self {
        let dir = folder();
        let (random, known) = (Random::new(seed), Known::nothing());
        Self { dir, random, known, counts: Counts::default() }
    }

    fn round(&mut self) -> Result<(), String> {
        // A folder serves for some hundred rounds, over which windows close and are forgotten.
        if self.random.below(300) == 0 {
            (self.dir, self.known) = (folder(), Known::nothing());
        }
        let root = self.dir.path().join("samples");
        let before = Disk::read(self.dir.path());
        let trace = self.run_writer(&root)?;
        let (acts, whole) = disk::acts(&trace, self.dir.path(), &before);
        self.count(&acts);
        let real = Disk::read(self.dir.path());
        if let Some(path) = before.killed(&acts).differs(&real).filter(|_| whole) {
            return Err(format!("{} is not what its calls make of it", path.display()));
        }
        let mut known = self.known.after(&acts, false);
        let mut next = (real.clone(), self.look(&real, &mut known)?, known);
        self.counts.kills += 1;
        let amid: Vec<usize> =
            acts.iter().enumerate().filter(|(_, act)| act.is_of_names()).map(|(n, _)| n).collect();
        for kind in 0..4 {
            let mut end = self.random.below(acts.len() as u64 + 1) as usize;
            if kind >= 2 && !amid.is_empty() {
                let act = amid[self.random.below(amid.len() as u64) as usize];
                end = act + self.random.below(2) as usize;
                self.counts.names += 1;
            }
            let (upto, crash) = (&acts[..end], kind != 0);
            let mut known = self.known.after(upto, crash);
            let mut left = match crash {
                false => before.killed(upto),
                true => before.crashed(upto, &mut self.random),
            };
            if self.random.below(8) == 0 && left.damage(Path::new("samples/head"), &mut self.random)
            {
                known.forgets = true;
                self.counts.damaged += 1;
            }
            let found = self.look(&left, &mut known).map_err(|why| {
                let last = upto.last().map(|act| format!("{act:.200?}"));
                format!("{why}, with a crash ({crash}) behind {last:?}")
            })?;
            self.counts.crashes += u64::from(crash);
            self.counts.kills += u64::from(!crash);
            if crash {
                let told = self.known.after(upto, false).floor;
                self.counts.lost += u64::try_from(told - known.floor).unwrap_or(0);
            }
            if self.random.below(3) == 0 {
                next = (left, found, known);
            }
        }
        (self.dir, self.known) = (next.1, next.2);
        Ok(())
    }

    fn count(&mut self, acts: &[Act]) {
        for act in acts {
            match act {
                Act::Told(line) if line.starts_with('a') => self.counts.told += 1,
                Act::Told(line) if line.starts_with('s') => self.counts.synced += 1,
                Act::Told(line) if line.starts_with('d') => self.counts.deleted += 1,
                Act::Renamed(_, to, _) if to.starts_with("samples/followed") => {
                    self.counts.followed += 1;
                }
                _ => {}
            }
        }
    }

    /// Runs a writer and kills it; returns what it did.
    fn run_writer(&mut self, root: &Path) -> Result<String, String> {
        let traces = tempfile::tempdir().unwrap();
        let trace = traces.path().join("trace");
        let mut strace = Command::new("strace")
            .args(["-f", "-q", "--seccomp-bpf", "-xx", "-s", "4194304", "-e", CALLS, "-o"])
            .arg(&trace)
            .arg(std::env::current_exe().unwrap())
            .env(FOLDER, root)
            .stdout(Stdio::piped())
            .spawn()
            .expect("strace is installed by tests/peers/packages.sh");
        let mut told = BufReader::new(strace.stdout.take().unwrap());
        let mut line = String::new();
        told.read_line(&mut line).unwrap();
        let pid = line.trim_start_matches("p ").trim().to_owned();
        // It is killed behind a random number of lines and some microseconds.
        for _ in 0..self.random.below(200) {
            line.clear();
            if told.read_line(&mut line).unwrap() == 0 {
                return Err(format!("the writer ended by itself: {:?}", strace.wait()));
            }
        }
        std::thread::sleep(Duration::from_micros(self.random.below(3000)));
        assert!(Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
        told.lines().for_each(drop);
        strace.wait().unwrap();
        Ok(fs::read_to_string(trace).unwrap())
    }

    /// Opens a folder that holds `left`, twice, compares all that is there with `known`, and notes in
    /// that how far it comes.
    fn look(&mut self, left: &Disk, known: &mut Known) -> Result<tempfile::TempDir, String> {
        let dir = folder();
        left.write(dir.path());
        for _ in 0..2 {
            let result = look(&dir.path().join("samples"), known, &mut self.counts.blocks);
            if let Err(why) = result {
                return Err(format!("{why}; what is left: {}", dir.keep().display()));
            }
        }
        Ok(dir)
    }
}

fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("samples")).unwrap();
    dir
}

fn look(folder: &Path, known: &mut Known, blocks: &mut usize) -> Result<(), String> {
    let storage = writer::open(folder)?;
    *blocks += storage.stats().blocks;
    let found = writer::everything(&storage)?;
    let newest = found.first().and_then(|series| series.times.last()).map_or(-1, |t| t / STEP);
    if newest < known.floor {
        return Err(format!("step {} was there, the newest is {newest} now", known.floor));
    }
    if newest >= 0 && found.len() != FLOATS + 1 {
        return Err(format!("{} series instead of {}", found.len(), FLOATS + 1));
    }
    known.highest = known.highest.max(newest);
    for (number, series) in found.iter().enumerate() {
        compare(number, series, newest, known)?;
    }
    known.floor = newest;
    exemplars(&storage, known)
}

fn compare(
    number: usize,
    series: &SeriesSamples,
    newest: i64,
    known: &Known,
) -> Result<(), String> {
    let steps: Vec<i64> = series.times.iter().map(|time| time / STEP).collect();
    if !steps.is_sorted_by(|a, b| a < b) {
        return Err(format!("series {number} has a step twice, or none in order"));
    }
    let deletions = || known.deleted.iter();
    for step in (known.highest - KEPT).max(0)..=newest {
        let (is_there, has) =
            (steps.binary_search(&step).is_ok(), |d: &&Deleted| d.has(number, step));
        let surely = deletions().filter(has).any(|deleted| deleted.surely);
        if is_there && surely {
            return Err(format!("series {number} has step {step} again, which was deleted"));
        }
        if !is_there && deletions().filter(has).count() == 0 {
            return Err(format!("series {number} lacks step {step} of those up to {newest}"));
        }
    }
    let other = steps.iter().zip(&series.values).find(|(step, found)| {
        if number < FLOATS {
            return found.to_bits() != writer::value(number, **step).to_bits();
        }
        series.histogram(**found).is_none_or(|h| {
            let bucket = h.positive.first().map_or(0.0, |(_, count)| *count);
            [h.count, bucket, h.sum / 2.0] != [**step as f64; 3]
        })
    });
    match other {
        Some((step, found)) => Err(format!("series {number} has {found} at step {step}")),
        None => Ok(()),
    }
}

/// The newest exemplars have to be there, each once.
fn exemplars(storage: &Storage, known: &mut Known) -> Result<(), String> {
    let found = writer::exemplars(storage);
    let newest = found.last().copied().unwrap_or(-1);
    let all = newest / EXEMPLAR_STEPS + i64::from(newest >= 0);
    let expected: Vec<i64> =
        ((all - EXEMPLARS as i64).max(0)..all).map(|n| n * EXEMPLAR_STEPS).collect();
    let is_right = match known.forgets {
        true => found.is_sorted_by(|a, b| a < b) && found.len() <= EXEMPLARS,
        false => found == expected && newest >= known.exemplar,
    };
    if !is_right {
        return Err(format!("exemplars up to {} were there; {found:?} are now", known.exemplar));
    }
    known.exemplar = newest;
    Ok(())
}
