//! What jobs reported and pushed, kept over a restart: two files in the folder `state`.
//!
//! Invariant: a file is whole at any time: it is written beside itself and put in its place. One that
//! cannot be read is told and left out; nothing is judged by half of it.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::sample::Timestamp;
use serde_json::{Map, Value, json};
use tracing::{error, warn};

use crate::results::Slot;
use crate::{heartbeat, push};

/// What is kept of heartbeats, and when we were last there: small, and written often.
const REPORTED: &str = "reported.json";
/// What was pushed: written when it changes.
const PUSHED: &str = "pushed.json";
/// The largest file that is read.
const MAX_BYTES: u64 = 256 << 20;

/// Where it is kept, and whether that works.
#[derive(Debug)]
pub(crate) struct Keep {
    folder: Mutex<Option<PathBuf>>,
    /// What was written last to each file, or why it could not be.
    last: Mutex<BTreeMap<&'static str, Result<String, String>>>,
    /// How often what each check was pushed had changed when it was written last.
    changes: Mutex<BTreeMap<String, u64>>,
}

impl Keep {
    /// In `folder`, or nowhere.
    pub(crate) fn new(folder: Option<PathBuf>) -> Self {
        Self { folder: Mutex::new(folder), last: Mutex::default(), changes: Mutex::default() }
    }

    /// From now on in `folder`.
    pub(crate) fn replace(&self, folder: Option<PathBuf>) {
        let mut now = self.folder.lock().unwrap_or_else(PoisonError::into_inner);
        if *now != folder {
            *now = folder;
            self.last().clear();
            self.changes().clear();
        }
    }

    fn last(&self) -> MutexGuard<'_, BTreeMap<&'static str, Result<String, String>>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changes(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, name: &str) -> Option<PathBuf> {
        let folder = self.folder.lock().unwrap_or_else(PoisonError::into_inner);
        folder.as_ref().map(|folder| folder.join(name))
    }

    /// Gives every check that is told what was kept of it.
    pub(crate) fn load(&self, slots: &[Arc<Slot>]) {
        let (reported, pushed) = (self.read(REPORTED), self.read(PUSHED));
        for slot in slots {
            let check = slot.check();
            let (reported, pushed) = (&reported[&*check.name], &pushed[&*check.name]);
            let is_read = if check.heartbeat().is_some() && !reported.is_null() {
                let state = heartbeat::State::from_json(reported);
                state.map(|state| *slot.heartbeat() = state)
            } else if check.push().is_some() && !pushed.is_null() {
                let alive = reported["alive"].as_i64().map(Timestamp::from_millis);
                push::State::from_json(pushed).map(|mut state| {
                    state.alive = alive;
                    *slot.push() = state;
                })
            } else {
                continue;
            };
            if is_read.is_none() {
                warn!(check = %check.name, "what the job reported cannot be read");
            }
        }
    }

    /// The entries of a file by check; none where there is no such file or it cannot be read.
    fn read(&self, name: &str) -> Value {
        let Some(file) = self.file(name) else { return Value::Null };
        read(&file).unwrap_or_else(|why| {
            let file = file.display();
            error!(%file, "what jobs reported cannot be read, and begins anew: {why}");
            Value::Null
        })
    }

    /// Writes what is known now, where it has changed.
    pub(crate) async fn save(&self, slots: &[Arc<Slot>]) {
        let (mut reported, mut changes) = (Map::new(), BTreeMap::new());
        for slot in slots {
            let (check, name) = (slot.check(), slot.check().name.to_string());
            if check.heartbeat().is_some() {
                reported.insert(name, slot.heartbeat().to_json());
            } else if check.push().is_some() {
                let state = slot.push();
                let alive = state.alive.map(Timestamp::millis);
                changes.insert(name.clone(), state.changes);
                reported.insert(name, json!({"alive": alive}));
            }
        }
        self.write(REPORTED, reported).await;
        if *self.changes() != changes {
            let pushed = slots.iter().filter(|slot| slot.check().push().is_some());
            let pushed = pushed.map(|slot| (slot.check().name.to_string(), slot.push().to_json()));
            let pushed = pushed.collect();
            if self.write(PUSHED, pushed).await {
                *self.changes() = changes;
            }
        }
    }

    /// Writes a file, where its text has changed. Returns whether it is now as it should be.
    async fn write(&self, name: &'static str, entries: Map<String, Value>) -> bool {
        let Some(file) = self.file(name) else { return true };
        let last = self.last().get(name).cloned();
        let is_needless = entries.is_empty() && last.is_none();
        let text = json!({"version": 1, "checks": entries}).to_string();
        if is_needless || last == Some(Ok(text.clone())) {
            return true;
        }
        let (path, bytes) = (file.clone(), text.clone());
        let written = tokio::task::spawn_blocking(move || write(&path, bytes.as_bytes())).await;
        let written = match written {
            Ok(Ok(())) => Ok(text),
            Ok(Err(error)) => Err(error.to_string()),
            Err(panic) => Err(panic.to_string()),
        };
        // The same fault again is no news.
        if let (Err(why), false) = (&written, last.as_ref() == Some(&written)) {
            error!(file = %file.display(), "what jobs reported cannot be kept: {why}");
        }
        let is_written = written.is_ok();
        self.last().insert(name, written);
        is_written
    }
}

fn read(file: &Path) -> Result<Value, String> {
    let size = match std::fs::metadata(file) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Value::Null),
        Err(error) => return Err(error.to_string()),
    };
    if size > MAX_BYTES {
        return Err(format!("it is larger than {MAX_BYTES} bytes"));
    }
    let bytes = std::fs::read(file).map_err(|error| error.to_string())?;
    let mut value: Value = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    Ok(value["checks"].take())
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
