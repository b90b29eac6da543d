//! The loop that asks a service for targets.
//!
//! Invariant: a service that hangs or fails keeps its last good list and is asked again; nobody else
//! waits for it (F55).

use std::sync::Arc;
use std::time::Duration;

use base::backoff::Backoff;
use base::clock::SteadyClock;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::source::{Found, Source};

/// The first pause after a failure; then twice as long each time, up to the pause of the source.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// Keeps `found` as `source` says until `stop`, and tells `wake` of changes.
pub(crate) async fn run(
    source: Source,
    found: Found,
    wake: Arc<Notify>,
    clock: SteadyClock,
    stop: CancellationToken,
) {
    let mut discovery = (source.make)();
    let mut retry = Backoff::new(FIRST_RETRY, source.pause.max(FIRST_RETRY));
    let mut failing = false;
    loop {
        let asked = tokio::select! {
            () = stop.cancelled() => return,
            asked = timeout(source.patience, discovery.next(clock.now())) => asked,
        };
        let within = source.patience;
        let asked = asked.unwrap_or_else(|_| Err(format!("no answer within {within:?}")));
        let pause = match asked {
            Ok(targets) => {
                if failing {
                    info!(kind = source.kind(), "targets are discovered again");
                }
                failing = false;
                retry.reset();
                if found.good(targets, clock.now()) {
                    wake.notify_one();
                }
                source.pause
            }
            Err(error) => {
                if !failing {
                    warn!(
                        kind = source.kind(),
                        error, "targets cannot be discovered; the last good list stays"
                    );
                }
                failing = true;
                if found.bad(error) {
                    wake.notify_one();
                }
                // What it had in hand may be half of something.
                discovery = (source.make)();
                retry.next_delay()
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(pause) => {}
        }
    }
}
