//! The loop that misses agents.
//!
//! Invariant: a time in which nobody could push to us, because we were stopped or the machine slept,
//! makes nobody late.

use std::time::Duration;

use base::clock::SteadyClock;
use base::sample::Timestamp;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::Agents;
use crate::state::{Note, NoteKind, StateError};

/// How often it looks.
const OFTEN: Duration = Duration::from_secs(1);
/// A look that is later than this was held up as everything was.
const PAUSE: Duration = Duration::from_secs(5);

impl Agents {
    /// Looks until `stop`. A state that fails makes nobody blind: what is to be written down comes again.
    ///
    /// # Errors
    ///
    /// A look failed so badly that its thread ended.
    pub async fn run(self, clock: SteadyClock, stop: CancellationToken) -> anyhow::Result<()> {
        let mut looked_at = clock.now();
        let (mut forget, mut failed) = (None, false);
        while stop.run_until_cancelled(sleep(OFTEN)).await.is_some() {
            let now = clock.now();
            if now.since(looked_at) >= PAUSE {
                self.lock().watching_since = now;
            }
            looked_at = now;
            let looking = self.clone();
            let looked = tokio::task::spawn_blocking(move || looking.tick(now)).await?;
            let (notes, forgotten) = looked;
            forget = forgotten.or(forget);
            let noted = self.note(&notes, &mut forget).await;
            if let Err(error) = &noted
                && !failed
            {
                warn!(%error, "when agents were heard last cannot be written down");
            }
            failed = noted.is_err();
        }
        Ok(())
    }

    /// Writes `notes` down, and forgets those from before `forget`.
    async fn note(&self, notes: &[Note], forget: &mut Option<Timestamp>) -> Result<(), StateError> {
        if !notes.is_empty() {
            self.parts.state.save_notes(NoteKind::Agent, notes).await?;
            self.noted(notes);
        }
        if let Some(before) = *forget {
            self.parts.state.forget_notes(NoteKind::Agent, before).await?;
            *forget = None;
        }
        Ok(())
    }
}
