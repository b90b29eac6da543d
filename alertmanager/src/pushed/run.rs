//! The loop that ends pushed alerts.
//!
//! Invariant: it owns the time; what is over is decided by the stores.

use std::time::Duration;

use base::clock::SteadyClock;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Pushed;

/// How often it looks although nothing woke it.
const AT_LEAST: Duration = Duration::from_secs(5);
/// A timer that is later than this was not only slow: the machine slept, we were stopped, or the
/// clock was set ahead.
const PAUSE: Duration = Duration::from_secs(10);

impl Pushed {
    /// Ends alerts when their time has come, until `stop`.
    ///
    /// # Errors
    ///
    /// The state failed; nothing has ended that is not written.
    pub async fn run(self, clock: SteadyClock, stop: CancellationToken) -> anyhow::Result<()> {
        loop {
            let now = clock.believed();
            let next = self.step(now).await?;
            let wait = next.map_or(AT_LEAST, |next| next.since(now).min(AT_LEAST));
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = self.changed.notified() => {}
                () = sleep(wait) => {}
            }
            let late = clock.believed().since(now + wait);
            if late > PAUSE {
                tracing::warn!(pause = ?late, "nobody could push: alerts last so much longer");
                self.extend(late);
            }
        }
    }
}
