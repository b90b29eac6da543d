//! The loop that misses agents.
//!
//! Invariant: a time in which nobody could push to us, because we were stopped or the machine slept,
//! makes nobody late.

use std::time::Duration;

use base::clock::SteadyClock;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::Agents;
use crate::state::NoteKind;

/// How often it looks.
const OFTEN: Duration = Duration::from_secs(1);
/// A look that is later than this was held up as everything was.
const PAUSE: Duration = Duration::from_secs(5);

impl Agents {
    /// Looks until `stop`.
    ///
    /// # Errors
    ///
    /// The state failed, or a look did so badly that its thread ended.
    pub async fn run(self, clock: SteadyClock, stop: CancellationToken) -> anyhow::Result<()> {
        let mut looked_at = clock.now();
        while stop.run_until_cancelled(sleep(OFTEN)).await.is_some() {
            let now = clock.now();
            if now.since(looked_at) >= PAUSE {
                self.lock().watching_since = now;
            }
            looked_at = now;
            let looking = self.clone();
            let (notes, forgotten) =
                match tokio::task::spawn_blocking(move || looking.tick(now)).await? {
                    Ok(done) => done,
                    Err(error) => {
                        warn!(%error, "that an agent is missed cannot be stored");
                        continue;
                    }
                };
            self.parts.state.save_notes(NoteKind::Agent, &notes).await?;
            if let Some(before) = forgotten {
                self.parts.state.forget_notes(NoteKind::Agent, before).await?;
            }
        }
        Ok(())
    }
}
