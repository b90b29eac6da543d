//! The loop of a lane.
//!
//! Invariant: it owns the time; what is handed over, and when again, is decided by the lane.

use base::clock::SteadyClock;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::lane::{LaneRunner, Next, Pace};

impl LaneRunner {
    /// Delivers until `stop`; a message that is on its way then may still arrive.
    ///
    /// # Errors
    ///
    /// None: what the state does not take is noted later.
    pub async fn run(self, clock: SteadyClock, stop: CancellationToken) -> anyhow::Result<()> {
        let mut pace = Pace::default();
        self.outbox.begin_lane(&self.lane);
        while !stop.is_cancelled() {
            let queued = self.outbox.queued();
            tokio::pin!(queued);
            queued.as_mut().enable();
            match self.step(&mut pace, clock.believed()).await {
                Next::AtOnce => {}
                // Nothing else goes to the service meanwhile, whatever is queued (F12, F13).
                Next::After(rest) => tokio::select! {
                    () = stop.cancelled() => {}
                    () = sleep(rest) => {}
                },
                Next::WhenQueued(at_latest) => tokio::select! {
                    () = stop.cancelled() => {}
                    () = queued => {}
                    () = sleep(at_latest) => {}
                },
            }
        }
        Ok(())
    }
}
