//! The loop of the keeper.
//!
//! Invariant: it owns the time; what is due is decided by the keeper.

use std::time::Duration;

use base::clock::SteadyClock;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{Keeper, KeeperParts};

/// How often it looks whether something has begun or ended.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl KeeperParts {
    /// Looks after silences and windows until `stop`; nobody watched for `blind`.
    ///
    /// # Errors
    ///
    /// The state failed; what was not done is done when it is started again.
    pub async fn run(
        self,
        blind: Duration,
        clock: SteadyClock,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut keeper = Keeper::open(self, blind).await?;
        loop {
            keeper.step(clock.believed()).await?;
            if stop.run_until_cancelled(sleep(LOOK_EVERY)).await.is_none() {
                return Ok(());
            }
        }
    }
}
