//! All remotes, over reloads.
//!
//! Invariant: the log is kept from where the slowest remote is, and no longer than anybody needs it.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::remote_write::Spoken;
use base::supervisor::Supervisor;
use storage::{LogPosition, Storage};
use tracing::error;

use super::config::Settings;
use super::position::{Note, forget_others};
use super::run::Runner;
use super::status::RemoteStates;
use crate::scrape::Targets;

/// How long a remote that is no longer wanted, or has changed, has to end.
const GRACE: Duration = Duration::from_secs(2);

/// Where each remote is in the log. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Needed(Arc<Mutex<BTreeMap<String, LogPosition>>>);

impl Needed {
    /// Notes where a remote is, and keeps the log accordingly.
    pub(super) fn set(
        &self,
        storage: &Storage,
        remote: &str,
        position: LogPosition,
    ) -> io::Result<()> {
        let before = self.oldest();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(remote.to_owned(), position);
        if self.oldest() == before { Ok(()) } else { storage.keep_log_from(self.oldest()) }
    }

    /// The oldest segment that somebody needs.
    fn oldest(&self) -> Option<u32> {
        let positions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        positions.values().map(|position| position.segment).min()
    }
}

/// What sends samples on.
#[derive(Debug)]
pub struct Writers {
    storage: Arc<Storage>,
    /// Where positions are noted.
    dir: PathBuf,
    /// Who says what metrics mean.
    targets: Targets,
    states: RemoteStates,
    around: Supervisor,
    running: Vec<(Arc<Settings>, Supervisor)>,
    needed: Needed,
}

impl Writers {
    /// Sends what is in `storage`, and what `targets` say of it, as tasks of `around`; positions are
    /// noted in `dir`.
    pub fn new(
        (storage, targets): (Arc<Storage>, Targets),
        dir: PathBuf,
        states: RemoteStates,
        around: Supervisor,
    ) -> Self {
        let (running, needed) = (Vec::new(), Needed::default());
        Self { storage, dir, targets, states, around, running, needed }
    }

    /// Sends to `wanted` from now on; those that are as before go on undisturbed. A remote that is
    /// new begins with what is appended from now on.
    pub async fn take_over(&mut self, wanted: &[Arc<Settings>]) {
        let mut stay = Vec::new();
        for (settings, scope) in std::mem::take(&mut self.running) {
            if wanted.contains(&settings) {
                stay.push((settings, scope));
            } else {
                scope.shutdown(GRACE).await;
            }
        }
        self.running = stay;
        let names: Vec<&str> = wanted.iter().map(|settings| settings.name.as_str()).collect();
        self.states.retain(&names);
        forget_others(&self.dir, names.iter().copied());
        let Some(end) = self.storage.log_end() else { return };
        let positions: BTreeMap<String, LogPosition> = names
            .iter()
            .map(|name| ((*name).to_owned(), Note::of(&self.dir, name).read().unwrap_or(end)))
            .collect();
        // Before anything moves out of the log.
        *self.needed.0.lock().unwrap_or_else(PoisonError::into_inner) = positions;
        if let Err(error) = self.storage.keep_log_from(self.needed.oldest()) {
            error!(%error, "what others have read of the log of samples cannot be removed");
        }
        for settings in wanted {
            if self.running.iter().any(|(running, _)| running == settings) {
                continue;
            }
            let runner = Runner {
                settings: Arc::clone(settings),
                storage: Arc::clone(&self.storage),
                targets: self.targets.clone(),
                spoken: Spoken::at_best(settings.version),
                states: self.states.clone(),
                note: Note::of(&self.dir, &settings.name),
                needed: self.needed.clone(),
                begin: end,
            };
            let scope = self.around.child();
            scope.supervise("remote write", move |stop| runner.clone().run(stop));
            self.running.push((Arc::clone(settings), scope));
        }
    }
}
