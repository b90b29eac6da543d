//! Up to where a remote has everything, over a restart.
//!
//! Invariant: what is noted was there before; a note that is lost costs samples that are sent twice,
//! never samples that are not sent.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use base::labels::Labels;
use storage::LogPosition;

/// The note of one remote.
#[derive(Clone, Debug)]
pub(super) struct Note {
    path: PathBuf,
}

impl Note {
    /// The note of the remote `name` in the folder `dir`.
    pub(super) fn of(dir: &Path, name: &str) -> Self {
        let print = Labels::from_pairs([("remote", name)]).fingerprint();
        Self { path: dir.join(format!("{print:016x}")) }
    }

    /// What is noted; nothing where nothing can be read.
    pub(super) fn read(&self) -> Option<LogPosition> {
        let text = fs::read_to_string(&self.path).ok()?;
        let (segment, offset) = text.trim_end().split_once(' ')?;
        Some(LogPosition { segment: segment.parse().ok()?, offset: offset.parse().ok()? })
    }

    /// Notes `position`, in the place of what was noted before.
    ///
    /// # Errors
    ///
    /// The disk failed; what was noted before stays.
    pub(super) fn write(&self, position: LogPosition) -> io::Result<()> {
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        let new = self.path.with_extension("new");
        let mut file = File::create(&new)?;
        writeln!(file, "{} {}", position.segment, position.offset)?;
        fs::rename(new, &self.path)
    }
}

/// Removes the notes in `dir` of all but the remotes `names`.
pub(super) fn forget_others<'a>(dir: &Path, names: impl Iterator<Item = &'a str>) {
    let known: Vec<PathBuf> = names.map(|name| Note::of(dir, name).path).collect();
    let found = fs::read_dir(dir).into_iter().flatten().flatten();
    for path in
        found.map(|entry| entry.path()).filter(|path| !known.contains(&path.with_extension("")))
    {
        // One that stays does no harm: it is older than what is kept of the log.
        let _ = fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_was_noted() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("remote-write");
        let (a, b) = (Note::of(&folder, "a"), Note::of(&folder, "b"));
        let at = |segment, offset| LogPosition { segment, offset };
        assert_eq!(a.read(), None);
        a.write(at(1, 2)).unwrap();
        a.write(at(3, 4)).unwrap();
        b.write(at(5, 6)).unwrap();
        assert_eq!((a.read(), b.read()), (Some(at(3, 4)), Some(at(5, 6))));
        forget_others(&folder, ["b"].into_iter());
        assert_eq!((a.read(), b.read()), (None, Some(at(5, 6))));
        fs::write(&b.path, "5").unwrap();
        assert_eq!(b.read(), None);
    }
}
