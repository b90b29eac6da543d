//! The data folder: samples, state and outbox, and the lock that makes them ours alone.
//!
//! ```text
//! veilleur-data/
//!   lock            held while a process uses the folder
//!   samples/        what was scraped and recorded
//!   remote-write/   up to where other stores have it
//!   state.db        timers of alerts, silences
//!   state.journal   alerts that were pushed, what was told, the outbox, who has what in hand
//!   starts          which starts may have crashed
//! ```
//!
//! Invariant: nothing in the folder is read or written without the lock.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use base::sample::Timestamp;
use storage::{Options, Storage};
use tracing::{error, warn};

use crate::disk;
use crate::mute::{Maintenance, Silences};
use crate::news::TELLING;
use crate::outbox::Outbox;
use crate::state::{State, StateError};

/// An orderly end leaves no more bytes of log than this to be read again: less than half a second.
const READ_AGAIN: u64 = 16 << 20;

/// An open data folder.
#[derive(Debug)]
pub(super) struct DataFolder {
    pub(super) storage: Arc<Storage>,
    pub(super) state: State,
    pub(super) outbox: Outbox,
    pub(super) silences: Silences,
    pub(super) maintenance: Maintenance,
    /// Let go of when the process ends, however it ends.
    pub(super) lock: Arc<File>,
    /// Whether the samples are its own, so that rules can be judged.
    pub(super) has_samples: bool,
}

impl DataFolder {
    /// Opens the folder, of which we have the lock; without its samples where there is to be none.
    pub(super) async fn open(
        folder: &Path,
        lock: Arc<File>,
        options: Option<Options>,
    ) -> anyhow::Result<Self> {
        let has_samples = options.is_some();
        let storage = match options {
            None => Storage::in_memory(Options::default()),
            Some(options) => {
                let samples = folder.join("samples");
                let options = Options { watched: &TELLING, ..options };
                let open = move || Storage::open(&samples, options);
                tokio::task::spawn_blocking(open).await?.map_err(|error| {
                    anyhow!(
                        "{error}; nothing is changed: mend the disk, put back a copy, or begin \
                         without these samples by moving that folder away, and start again"
                    )
                })?
            }
        };
        let file = folder.join("state.db");
        let state = match State::open(&file).await {
            Ok(state) => state,
            Err(error) => {
                let advice = match disk::look(folder, &lock) {
                    Err(why) => why,
                    Ok(()) => "nothing is changed: put back a copy of the data folder, or begin \
                               without its state, silences and what was told, by moving it away"
                        .to_owned(),
                };
                bail!("cannot use {}: {error}; {advice}", file.display());
            }
        };
        let outbox = Outbox::open(state.clone()).await?;
        let silences = Silences::open(state.clone()).await?;
        let maintenance = Maintenance::open(state.clone()).await?;
        let storage = Arc::new(storage);
        Ok(Self { storage, state, outbox, silences, maintenance, lock, has_samples })
    }

    /// Leaves everything durable, and notes that we were alive until now.
    pub(super) async fn close(&self) {
        let storage = Arc::clone(&self.storage);
        match tokio::task::spawn_blocking(move || storage.close(READ_AGAIN)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => error!(%error, "the last samples cannot be written"),
            Err(panic) => error!(%panic, "the last samples cannot be written"),
        }
        let noted = note_alive(&self.state, self.has_samples, Timestamp::now()).await;
        if let Err(error) = noted {
            warn!(%error, "the time of the end cannot be written");
        }
        self.state.close().await;
    }
}

/// Notes in `state` that we are alive at `now`, and whether we judge.
pub(super) async fn note_alive(
    state: &State,
    judges: bool,
    now: Timestamp,
) -> Result<(), StateError> {
    if judges {
        state.set_judging(now).await?;
    }
    state.set_alive(now).await
}

/// Makes the folder where there is none, for us alone to read, and locks it until the file is dropped:
/// nobody else uses it meanwhile.
pub(crate) fn hold(folder: &Path) -> anyhow::Result<File> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("cannot make the data folder {}", folder.display()))?;
    lock(folder)
}

fn lock(folder: &Path) -> anyhow::Result<File> {
    let path = folder.join("lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|error| {
        anyhow!(
            "nothing can be written to the data folder {} ({error}): mount it for writing, give it to \
             the user that runs this, or choose another folder with --data",
            folder.display()
        )
    })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!(
            "the data folder {} is in use by another process; stop it, or choose another folder \
             with --data",
            folder.display()
        ),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use base::labels::Labels;
    use storage::Point;

    use super::*;

    /// Appends a sample to as many series as make a log of so many bytes.
    fn fill(storage: &Storage, bytes: u64) {
        let text = "x".repeat(1000);
        for n in 0..bytes / 1000 {
            let labels = Labels::from_pairs([("n", &n.to_string()), ("text", &text)]);
            let series = storage.series(&labels).unwrap();
            let point = Point { series, timestamp: Timestamp::from_millis(1000), value: n as f64 };
            assert_eq!(storage.append(&[point]).unwrap().stored, 1);
        }
    }

    async fn open(folder: &Path) -> DataFolder {
        let lock = Arc::new(hold(folder).unwrap());
        DataFolder::open(folder, lock, Some(Options::default())).await.unwrap()
    }

    fn series(storage: &Storage) -> usize {
        storage.select(&[], Timestamp::MIN, Timestamp::MAX).unwrap().len()
    }

    #[tokio::test]
    async fn an_orderly_end_leaves_little_log_to_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let samples = dir.path().join("samples");
        let folder = open(dir.path()).await;
        fill(&folder.storage, READ_AGAIN / 2);
        folder.close().await;
        // That is read again in no time.
        assert!(!samples.join("head").exists());
        drop(folder);

        let folder = open(dir.path()).await;
        let expected = series(&folder.storage);
        fill(&folder.storage, 2 * READ_AGAIN);
        let all = series(&folder.storage);
        assert!(all > expected);
        folder.close().await;
        drop(folder);
        // Everything is in the head: without any log it is all there.
        for segment in fs::read_dir(samples.join("log")).unwrap() {
            fs::remove_file(segment.unwrap().path()).unwrap();
        }
        let folder = open(dir.path()).await;
        assert_eq!(series(&folder.storage), all);
    }
}
