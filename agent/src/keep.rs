//! What jobs reported, kept over a restart: one file in the folder `state`.
//!
//! Invariant: the file is whole at any time: it is written beside itself and put in its place. One
//! that cannot be read is told and left out; nothing is judged by half of it.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value, json};
use tracing::{error, warn};

use crate::heartbeat;
use crate::results::Slot;

/// The file's name.
const FILE: &str = "reported.json";
/// The largest file that is read.
const MAX_BYTES: u64 = 256 << 20;

/// Where it is kept, and whether that works.
#[derive(Debug)]
pub(crate) struct Keep {
    folder: Mutex<Option<PathBuf>>,
    /// What was written last, or why it could not be.
    last: Mutex<Option<Result<String, String>>>,
}

impl Keep {
    /// In `folder`, or nowhere.
    pub(crate) fn new(folder: Option<PathBuf>) -> Self {
        Self { folder: Mutex::new(folder), last: Mutex::default() }
    }

    /// From now on in `folder`.
    pub(crate) fn replace(&self, folder: Option<PathBuf>) {
        *self.folder.lock().unwrap_or_else(PoisonError::into_inner) = folder;
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn file(&self) -> Option<PathBuf> {
        let folder = self.folder.lock().unwrap_or_else(PoisonError::into_inner);
        folder.as_ref().map(|folder| folder.join(FILE))
    }

    /// Gives every check that is told what was kept of it.
    pub(crate) fn load(&self, slots: &[Arc<Slot>]) {
        let Some(file) = self.file() else { return };
        let kept = match read(&file) {
            Ok(Some(kept)) => kept,
            Ok(None) => return,
            Err(why) => {
                let file = file.display();
                error!(%file, "what jobs reported cannot be read, and begins anew: {why}");
                return;
            }
        };
        for slot in slots {
            let check = slot.check();
            let heartbeat = &kept["heartbeats"][check.name.as_ref()];
            if check.heartbeat().is_none() || heartbeat.is_null() {
                continue;
            }
            match heartbeat::State::from_json(heartbeat) {
                Some(state) => *slot.heartbeat() = state,
                None => warn!(check = %check.name, "what the job reported cannot be read"),
            }
        }
    }

    /// Writes what is known now, where it has changed.
    pub(crate) async fn save(&self, slots: &[Arc<Slot>]) {
        let Some(file) = self.file() else { return };
        let told = slots.iter().filter(|slot| slot.check().is_told());
        let heartbeats = told.map(|slot| {
            let name = slot.check().name.to_string();
            (name, slot.heartbeat().to_json())
        });
        let heartbeats: Map<String, Value> = heartbeats.collect();
        let text = json!({"version": 1, "heartbeats": heartbeats}).to_string();
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if heartbeats_are_none(&text) && last.is_none() || last == Some(Ok(text.clone())) {
            return;
        }
        let (path, bytes) = (file.clone(), text.clone());
        let written = tokio::task::spawn_blocking(move || write(&path, bytes.as_bytes())).await;
        let written = match written {
            Ok(Ok(())) => Ok(text),
            Ok(Err(error)) => Err(error.to_string()),
            Err(panic) => Err(panic.to_string()),
        };
        if let Err(why) = &written
            && last.as_ref().and_then(|last| last.as_ref().err()) != Some(why)
        {
            error!(file = %file.display(), "what jobs reported cannot be kept: {why}");
        }
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(written);
    }
}

/// Whether there is nothing to keep: without jobs there is no file.
fn heartbeats_are_none(text: &str) -> bool {
    text.contains("\"heartbeats\":{}")
}

fn read(file: &Path) -> Result<Option<Value>, String> {
    let size = match std::fs::metadata(file) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    if size > MAX_BYTES {
        return Err(format!("it is larger than {MAX_BYTES} bytes"));
    }
    let bytes = std::fs::read(file).map_err(|error| error.to_string())?;
    serde_json::from_slice(&bytes).map(Some).map_err(|error| error.to_string())
}

/// Only we may read it: what jobs say may be nobody else's business.
fn write(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let beside = file.with_extension("json.new");
    let mut options = std::fs::OpenOptions::new();
    let mut opened = options.write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    opened.write_all(bytes)?;
    opened.sync_all()?;
    std::fs::rename(&beside, file)
}
