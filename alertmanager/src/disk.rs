//! Whether the data folder is there and takes what is written (F35).
//!
//! Invariant: a look leaves nothing behind, and whoever asks how it was waits for no disk.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use base::sample::Timestamp;

/// The name of the file that is written to see whether it can be.
const TRIAL: &str = "trial";

/// What is wrong with the data folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskFault {
    /// What.
    pub why: String,
    /// Since when.
    pub since: Timestamp,
}

/// How the data folder was at the last look. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Disk(Arc<Mutex<Option<DiskFault>>>);

impl Disk {
    /// What is wrong with it, if something is.
    pub fn fault(&self) -> Option<DiskFault> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes what a look at `now` has found. Gives whether that is news.
    pub fn note(&self, found: Result<(), String>, now: Timestamp) -> bool {
        let mut fault = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = fault.take();
        let since = before.as_ref().map_or(now, |before| before.since);
        *fault = found.err().map(|why| DiskFault { why, since });
        fault.as_ref().map(|fault| &fault.why) != before.as_ref().map(|before| &before.why)
    }
}

/// Looks at `folder`, whose file `lock` is ours while we run. Waits for the disk.
///
/// # Errors
///
/// What is wrong with it, and what to do.
pub fn look(folder: &Path, lock: &File) -> Result<(), String> {
    let shown = folder.display();
    let there = fs::metadata(folder.join("lock"));
    let is_ours = there.and_then(|there| {
        let ours = lock.metadata()?;
        Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino()))
    });
    match is_ours {
        Ok(true) => {}
        Ok(false) => {
            return Err(format!(
                "{shown} is no longer the folder that was opened: put that back, or restart"
            ));
        }
        Err(error) => {
            return Err(format!("{shown} is gone ({error}): put it back, or restart"));
        }
    }
    write(&folder.join(TRIAL)).map_err(|error| {
        format!("nothing can be written to {shown} ({error}): mount it for writing, or make room")
    })
}

fn write(trial: &Path) -> io::Result<()> {
    let written = fs::write(trial, b"can be written\n");
    match fs::remove_file(trial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => written.and(Err(error)),
        _ => written,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_gone_exchanged_or_cannot_be_written_is_told_f35() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, other) = (dir.path().join("data"), dir.path().join("other"));
        fs::create_dir(&folder).unwrap();
        let lock = File::create(folder.join("lock")).unwrap();
        assert_eq!(look(&folder, &lock), Ok(()));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        // In the way of the file: as a file system that refuses to make one.
        fs::create_dir(folder.join(TRIAL)).unwrap();
        assert!(look(&folder, &lock).unwrap_err().starts_with("nothing can be written to"));
        fs::remove_dir(folder.join(TRIAL)).unwrap();
        fs::rename(&folder, &other).unwrap();
        assert!(look(&folder, &lock).unwrap_err().contains("is gone"));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("lock"), "").unwrap();
        assert!(look(&folder, &lock).unwrap_err().contains("is no longer the folder"));
        fs::remove_dir_all(&folder).unwrap();
        fs::rename(&other, &folder).unwrap();
        assert_eq!(look(&folder, &lock), Ok(()));
    }

    #[test]
    fn a_fault_is_as_old_as_its_first_look() {
        let at = |millis| Timestamp::from_millis(millis);
        let disk = Disk::default();
        assert!(!disk.note(Ok(()), at(1)));
        assert!(disk.note(Err("gone".to_owned()), at(2)));
        assert!(!disk.note(Err("gone".to_owned()), at(3)));
        assert!(disk.note(Err("full".to_owned()), at(4)));
        assert_eq!(disk.fault(), Some(DiskFault { why: "full".to_owned(), since: at(2) }));
        assert!(disk.note(Ok(()), at(5)));
        assert_eq!(disk.fault(), None);
    }
}
