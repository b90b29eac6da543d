//! Logs that are written, moved, emptied, deleted and without shape.
//!
//! Invariant: every case counts lines, so that one that is lost or comes twice is seen.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use base::sample::Timestamp;

use super::*;

/// A folder with a log, and a probe of it that can be started again.
struct Stage {
    folder: tempfile::TempDir,
    settings: &'static str,
    what: What,
    state: State,
}

impl Stage {
    fn new(settings: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let what = build(&folder.path().display().to_string(), settings);
        Self { folder, settings, what, state: State::default() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn append(&self, name: &str, text: impl AsRef<[u8]>) {
        let mut file = OpenOptions::new().create(true).append(true).open(self.path(name)).unwrap();
        file.write_all(text.as_ref()).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        std::fs::rename(self.path(from), self.path(to)).unwrap();
    }

    /// Starts the agent again: only what is in the file is known.
    fn restart(&mut self) {
        self.what = build(&self.folder.path().display().to_string(), self.settings);
        self.state = State::default();
    }

    fn look(&mut self) -> Outcome {
        let (now, stop) = (Timestamp::from_millis(0), CancellationToken::new());
        self.what.look(Look { state: &mut self.state, now, stop: &stop })
    }

    /// How many lines and matches a run finds.
    #[track_caller]
    fn check(&mut self, lines: u64, matches: u64) {
        let outcome = self.look();
        let expected = format!("{lines} new lines, {matches} matches");
        assert!(outcome.summary.ends_with(&expected), "{outcome:?}");
    }
}

fn build(root: &str, settings: &str) -> What {
    let text = format!(
        "path: {root}/a.log\nstate: {root}/state.json\npatterns: [{{name: e, matches: ERR}}]\n\
         {settings}"
    );
    let mut diagnostics = Diagnostics::new("f.yml");
    let config: LogConfig = base::yaml::read(&text, &mut diagnostics).unwrap();
    let probe = config.build(&mut diagnostics).unwrap();
    assert!(diagnostics.is_empty(), "{diagnostics}");
    probe.what
}

#[test]
fn counts_new_lines_only_also_after_a_restart() {
    let mut stage = Stage::new("");
    stage.append("a.log", "ERR old\n");
    stage.check(0, 0);
    stage.append("a.log", "ERR 1\nok\nERR 2\nERR begun");
    stage.check(3, 2);
    stage.check(0, 0);
    stage.restart();
    stage.append("a.log", " and ended\nok\n");
    stage.check(2, 1);
    stage.restart();
    stage.check(0, 0);
}

#[test]
fn reads_from_the_beginning_where_that_is_wanted() {
    let mut stage = Stage::new("from_beginning: true");
    stage.append("a.log", "ERR old\n");
    stage.check(1, 1);
}

#[test]
fn a_file_that_is_moved_away_is_read_to_its_end_first() {
    let mut stage = Stage::new("");
    stage.append("a.log", "first\n");
    stage.check(0, 0);
    stage.append("a.log", "ERR last words\n");
    stage.rename("a.log", "a.log.1");
    stage.append("a.log.1", "ERR really last\n");
    stage.append("a.log", "ERR new\n");
    stage.check(3, 3);
    stage.append("a.log", "ok\n");
    stage.check(1, 0);
    // The same while the agent was down: the old file is found by its number.
    stage.append("a.log", "ERR unread\n");
    stage.rename("a.log", "a.log.2");
    stage.append("a.log", "new\n");
    stage.restart();
    stage.check(2, 1);
}

#[test]
fn a_file_that_is_emptied_begins_anew() {
    let mut stage = Stage::new("");
    stage.append("a.log", "a long first line\nand a second\n");
    stage.check(0, 0);
    File::create(stage.path("a.log")).unwrap();
    stage.append("a.log", "ERR\n");
    stage.check(1, 1);
    // Emptied and longer than before by the time that it is looked at.
    File::create(stage.path("a.log")).unwrap();
    stage.append("a.log", "other\nlines\nthan\nbefore\n");
    stage.check(4, 0);
}

#[test]
fn a_file_that_is_deleted_is_missed_and_read_again_when_it_is_back() {
    let mut stage = Stage::new("");
    stage.append("a.log", "x\n");
    stage.check(0, 0);
    stage.append("a.log", "ERR unread\n");
    std::fs::remove_file(stage.path("a.log")).unwrap();
    let outcome = stage.look();
    assert_eq!((outcome.status, outcome.reason), (Status::Critical, Reason::FileMissing));
    assert!(outcome.summary.ends_with("1 new lines, 1 matches"), "{outcome:?}");
    stage.append("a.log", "ERR back\n");
    stage.check(1, 1);
    let mut stage = Stage::new("may_be_missing: true");
    assert_eq!(stage.look().status, Status::Ok);
    stage.append("a.log", "ERR first\n");
    stage.check(1, 1);
}

#[test]
fn ten_gigabytes_are_skipped_at_first_and_read_in_parts_x11() {
    let mut stage = Stage::new("");
    stage.append("a.log", "begin\n");
    let file = OpenOptions::new().write(true).open(stage.path("a.log")).unwrap();
    // A hole: the file has ten gigabytes and takes none.
    file.write_at(b"\n", 10 << 30).unwrap();
    stage.check(0, 0);
    stage.append("a.log", "ERR\n");
    stage.check(1, 1);
    // Three times what a run reads, without a line's end: one line, and nothing of it is kept.
    file.write_at(b"\n", (10 << 30) + 3 * MOST_BYTES).unwrap();
    let outcome = stage.look();
    assert!(outcome.summary.ends_with("1 new lines, 0 matches"), "{outcome:?}");
    assert!(outcome.details.contains("bytes are left for the next run"), "{outcome:?}");
    stage.append("a.log", "ERR end\n");
    let mut lines = 0;
    for _ in 0..4 {
        lines += stage.look().summary.ends_with("1 new lines, 1 matches") as u32;
    }
    assert_eq!(lines, 1);
}

#[test]
fn binary_lines_are_lines() {
    let mut stage = Stage::new("from_beginning: true");
    stage.append("a.log", b"\0\xff\xfeERR\x1b[2J\0\n\n\r\n\xffERR\n");
    let outcome = stage.look();
    assert!(outcome.summary.ends_with("4 new lines, 2 matches"), "{outcome:?}");
    assert!(outcome.details.bytes().all(|b| b == b'\n' || !b.is_ascii_control()), "{outcome:?}");
}

#[test]
fn what_is_no_file_cannot_be_read_and_holds_nobody_up() {
    let mut stage = Stage::new("");
    nix::unistd::mkfifo(&stage.path("a.log"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let outcome = stage.look();
    assert_eq!((outcome.status, outcome.reason), (Status::Critical, Reason::CannotRead));
}

#[test]
fn a_state_file_that_is_broken_or_cannot_be_written_costs_the_place_only() {
    let mut stage = Stage::new("");
    stage.append("a.log", "x\n");
    stage.check(0, 0);
    std::fs::write(stage.path("state.json"), "{\"files\": {\"").unwrap();
    stage.restart();
    stage.append("a.log", "ERR\n");
    stage.check(0, 0);
    std::fs::create_dir(stage.path("state.new")).unwrap();
    stage.append("a.log", "ERR\n");
    let outcome = stage.look();
    assert!(outcome.summary.ends_with("1 new lines, 1 matches"), "{outcome:?}");
    assert!(outcome.details.contains("state.json` cannot be written"), "{outcome:?}");
}
