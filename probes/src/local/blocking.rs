//! Looking at the host on a thread for waiting.
//!
//! Invariant: a probe whose look hangs in the kernel holds one thread, however often it is run, and
//! what it remembers is as the last look that ended left it.

use std::fmt;
use std::sync::{Arc, Mutex, TryLockError};

use base::sample::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::outcome::{Outcome, Reason};

/// What a probe remembers from run to run, and the turn to look.
pub(super) struct Blocking<S>(Arc<Mutex<S>>);

/// Without what is remembered: by how a probe is shown it is known to be the same.
impl<S> fmt::Debug for Blocking<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Blocking")
    }
}

/// One run as its look sees it.
pub(super) struct Look<'s, S> {
    /// What is remembered.
    pub(super) state: &'s mut S,
    /// When the run began.
    pub(super) now: Timestamp,
    /// Cancelled when the time is up.
    pub(super) stop: &'s CancellationToken,
}

impl<S: Send + 'static> Blocking<S> {
    pub(super) fn new(state: S) -> Self {
        Self(Arc::new(Mutex::new(state)))
    }

    /// Runs `look`, and waits for it until `stop`.
    pub(super) async fn run(
        &self,
        stop: &CancellationToken,
        look: impl FnOnce(Look<'_, S>) -> Outcome + Send + 'static,
    ) -> Outcome {
        let (state, token) = (Arc::clone(&self.0), stop.clone());
        let now = Timestamp::now();
        let looking = tokio::task::spawn_blocking(move || {
            let mut state = match state.try_lock() {
                Ok(state) => state,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => {
                    let summary = "the run before still waits for the kernel";
                    return Outcome::unknown(Reason::Timeout, summary);
                }
            };
            look(Look { state: &mut state, now, stop: &token })
        });
        match stop.run_until_cancelled(looking).await {
            Some(Ok(outcome)) => outcome,
            Some(Err(panic)) => {
                Outcome::unknown(Reason::Internal, format!("the look broke off: {panic}"))
            }
            None => Outcome::unknown(Reason::Timeout, "the host did not answer in time"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_look_that_hangs_holds_one_thread_and_no_run() {
        let blocking = Blocking::new(0);
        let (go, wait) = mpsc::sync_channel::<()>(0);
        let stop = CancellationToken::new();
        let hanging = blocking.run(&stop, move |look| {
            *look.state += 1;
            _ = wait.recv();
            *look.state += 1;
            Outcome::ok("")
        });
        let ((), first) = tokio::join!(async { stop.cancel() }, hanging);
        assert_eq!(first.reason, Reason::Timeout);
        let stop = CancellationToken::new();
        let mut second = blocking.run(&stop, |_| Outcome::ok("too early")).await;
        while second.summary == "too early" {
            // The first had not begun yet.
            second = blocking.run(&stop, |_| Outcome::ok("too early")).await;
        }
        assert_eq!(second.summary, "the run before still waits for the kernel");
        go.send(()).unwrap();
        loop {
            let third = blocking.run(&stop, |look| Outcome::ok(look.state.to_string())).await;
            if third.reason == Reason::None {
                break assert_eq!(third.summary, "2");
            }
        }
    }
}
