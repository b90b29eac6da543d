//! The starts that have neither lasted nor been told to end: a file of a few lines in the data folder.
//!
//! Invariant: it is only a hint. Where it cannot be read or written we start as if nothing had been.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::sample::Timestamp;
use tracing::warn;

/// A start that nobody ended and that was over sooner than this has crashed. It takes so long to tell
/// people what is wrong: whoever crashes later has done that.
pub const GOOD_AFTER: Duration = Duration::from_secs(120);
/// So many crashes one after the other are no accident.
const CRASHES: usize = 3;
/// A start longer ago than this says nothing about this one.
const WITHIN: Duration = Duration::from_secs(3 * 60 * 60);
/// The bound of the file: the oldest go.
const MOST: usize = 32;

/// How much of us is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Everything.
    Full,
    /// Alerts and messages only.
    Safe,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Safe => "safe",
        }
    }
}

/// The starts of which nobody knows that they were good, oldest first.
#[derive(Debug)]
pub struct Starts {
    path: PathBuf,
    known: Vec<(Timestamp, Kind)>,
}

impl Starts {
    /// Those that `folder` knows of. A line that is not ours is none.
    pub fn read(folder: &Path) -> Self {
        let path = folder.join("starts");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => {
                warn!(%error, file = %path.display(), "earlier starts are not known");
                String::new()
            }
        };
        let known = text.lines().filter_map(read_line).collect();
        Self { path, known }
    }

    /// How many of a kind there were lately, as seen at `now`.
    pub fn count(&self, kind: Kind, now: Timestamp) -> usize {
        // A clock that was set back makes no start younger.
        let lately = |at: Timestamp| now.since(at) <= WITHIN && at.since(now) <= WITHIN;
        self.known.iter().filter(|(at, of)| *of == kind && lately(*at)).count()
    }

    /// Whether so many crashed lately that another would, too.
    pub fn have_crashed(&self, now: Timestamp) -> bool {
        self.count(Kind::Full, now) >= CRASHES
    }

    /// Notes a start at `now`.
    pub fn begin(&mut self, kind: Kind, now: Timestamp) {
        self.known.push((now, kind));
        let surplus = self.known.len().saturating_sub(MOST);
        self.known.drain(..surplus);
        self.write();
    }

    /// Forgets all of them: this start was good, or somebody has ended it.
    pub fn forget(&mut self) {
        if !self.known.is_empty() {
            self.known.clear();
            self.write();
        }
    }

    fn write(&self) {
        let line = |(at, kind): &(Timestamp, Kind)| format!("{} {}\n", at.millis(), kind.as_str());
        let text: String = self.known.iter().map(line).collect();
        // Renamed into its place: a kill meanwhile must not make three crashes of two.
        let new = self.path.with_extension("new");
        if let Err(error) = fs::write(&new, text).and_then(|()| fs::rename(&new, &self.path)) {
            warn!(%error, file = %self.path.display(), "the start is not noted");
        }
    }
}

fn read_line(line: &str) -> Option<(Timestamp, Kind)> {
    let (at, kind) = line.split_once(' ')?;
    let kind = [Kind::Full, Kind::Safe].into_iter().find(|one| one.as_str() == kind)?;
    Some((Timestamp::from_millis(at.parse().ok()?), kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_crashes_one_after_the_other_count_and_nothing_else_f36() {
        let dir = tempfile::tempdir().unwrap();
        let at = |minutes: i64| Timestamp::from_millis(1_800_000_000_000 + minutes * 60_000);
        // `f` and `s` begin a start, a minute after each other; `.` one was good or told to end; `_` is
        // an hour later. What is expected of the next start.
        let check = |story: &str, expected: bool| {
            let _ = fs::remove_file(dir.path().join("starts"));
            let mut minute = 0;
            for event in story.chars() {
                let mut starts = Starts::read(dir.path());
                match event {
                    'f' => starts.begin(Kind::Full, at(minute)),
                    's' => starts.begin(Kind::Safe, at(minute)),
                    '.' => starts.forget(),
                    _ => minute += 59,
                }
                minute += 1;
            }
            let starts = Starts::read(dir.path());
            assert_eq!(starts.have_crashed(at(minute)), expected, "{story}");
        };
        check("", false);
        check("ff", false);
        check("fff", true);
        check("ff.f", false);
        check("fff.", false);
        check("fffs", true);
        check("fffsf", true);
        check("sss", false);
        check("f_f_f", true);
        check("f__f_f__", false);
        check("fffs___", false);
        check(&"f".repeat(100), true);
    }

    #[test]
    fn a_file_that_is_damaged_or_in_the_way_stops_no_start() {
        let dir = tempfile::tempdir().unwrap();
        let now = Timestamp::from_millis(1_800_000_000_000);
        let file = dir.path().join("starts");
        fs::write(&file, b"1800000000000 full\n\xff\xfe").unwrap();
        assert_eq!(Starts::read(dir.path()).count(Kind::Full, now), 0);
        fs::write(
            &file,
            "1800000000000 full\nfull\n x\n1800000000000 often\n99999999999999999999 full\n",
        )
        .unwrap();
        assert_eq!(Starts::read(dir.path()).count(Kind::Full, now), 1);
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        let mut starts = Starts::read(dir.path());
        starts.begin(Kind::Full, now);
        assert_eq!(starts.count(Kind::Full, now), 1);
        for _ in 0..100 {
            starts.begin(Kind::Full, now);
        }
        assert_eq!(starts.count(Kind::Full, now), MOST);
    }
}
