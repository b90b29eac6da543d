//! Owns every task: each is named, started again with back-off when it fails, and stopped with a
//! deadline.
//!
//! ```text
//! Supervisor ──child()──▶ Supervisor (a scope: the scrapes of one configuration, say)
//!     │ shutdown: cancel all below, wait for all below, then drop what still runs
//! ```
//!
//! Invariant: this is the only place that spawns, so nothing runs that shutdown does not wait for.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tracing::{error, warn};

use crate::backoff::Backoff;
use crate::clock::Stopwatch;

/// A task that ran this long was healthy: its next failure begins again at the first delay.
const HEALTHY: Duration = Duration::from_secs(300);

/// A scope of tasks. Clones share the scope.
#[derive(Clone, Debug)]
pub struct Supervisor {
    stop: CancellationToken,
    /// Cancelled once the grace is over: tasks are dropped where they stand.
    abort: CancellationToken,
    tasks: TaskTracker,
    /// The scopes around this one, which wait for its tasks too.
    around: Vec<TaskTracker>,
    restarts: Arc<Mutex<BTreeMap<&'static str, u64>>>,
}

impl Default for Supervisor {
    fn default() -> Self {
        Self::new()
    }
}

impl Supervisor {
    /// The outermost scope.
    pub fn new() -> Self {
        Self {
            stop: CancellationToken::new(),
            abort: CancellationToken::new(),
            tasks: TaskTracker::new(),
            around: Vec::new(),
            restarts: Arc::default(),
        }
    }

    /// A scope inside this one: it can be shut down alone, and is with this one.
    #[must_use]
    pub fn child(&self) -> Self {
        let around = self.around.iter().chain([&self.tasks]).cloned().collect();
        Self {
            stop: self.stop.child_token(),
            abort: self.abort.child_token(),
            tasks: TaskTracker::new(),
            around,
            restarts: Arc::clone(&self.restarts),
        }
    }

    /// Cancelled when the scope is to stop.
    pub fn stop_token(&self) -> &CancellationToken {
        &self.stop
    }

    /// Runs `task` once. A panic is logged and counted as a restart.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let (restarts, running) = (Arc::clone(&self.restarts), isolated(task));
        self.run(async move {
            if let Err(panic) = running.await {
                error!(task = name, %panic, "task panicked");
                count(&restarts, name);
            }
        });
    }

    /// Keeps `task` alive until shutdown; one that fails or panics is started again after a
    /// back-off, one that returns `Ok` is done.
    pub fn supervise<F>(
        &self,
        name: &'static str,
        task: impl Fn(CancellationToken) -> F + Send + 'static,
    ) where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let (stop, restarts) = (self.stop.clone(), Arc::clone(&self.restarts));
        self.run(async move {
            let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
            while !stop.is_cancelled() {
                let running = Stopwatch::start();
                match isolated(task(stop.clone())).await {
                    Ok(Ok(())) => return,
                    Ok(Err(error)) => {
                        error!(task = name, error = format!("{error:#}"), "task failed")
                    }
                    Err(panic) => error!(task = name, %panic, "task panicked"),
                }
                count(&restarts, name);
                if running.elapsed() >= HEALTHY {
                    backoff.reset();
                }
                stop.run_until_cancelled(sleep(backoff.next_delay())).await;
            }
        });
    }

    /// How often each task was started again.
    pub fn restarts(&self) -> BTreeMap<&'static str, u64> {
        self.restarts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks every task of the scope to stop and waits `grace` for them; what still runs then is
    /// dropped.
    pub async fn shutdown(&self, grace: Duration) {
        self.stop.cancel();
        self.tasks.close();
        if timeout(grace, self.tasks.wait()).await.is_err() {
            warn!(running = self.tasks.len(), ?grace, "tasks did not stop in time");
            self.abort.cancel();
            self.tasks.wait().await;
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
    fn run(&self, task: impl Future<Output = ()> + Send + 'static) {
        let abort = self.abort.clone();
        let tokens: Vec<_> =
            self.around.iter().chain([&self.tasks]).map(TaskTracker::token).collect();
        tokio::spawn(async move {
            abort.run_until_cancelled(task).await;
            drop(tokens);
        });
    }
}

/// Runs `task` so that its panic is an error here. It is begun at once: whoever waits for it is a task
/// as well, and would hold the room that it needs a second time.
#[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
fn isolated<T: Send + 'static>(
    task: impl Future<Output = T> + Send + 'static,
) -> AbortOnDropHandle<T> {
    AbortOnDropHandle::new(tokio::spawn(task))
}

fn count(restarts: &Mutex<BTreeMap<&'static str, u64>>, name: &'static str) {
    *restarts.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default() += 1;
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use anyhow::bail;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn starts_a_failing_task_again_ever_more_slowly() {
        let supervisor = Supervisor::new();
        let runs = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&runs);
        supervisor.supervise("failing", move |_| {
            let n = counter.fetch_add(1, Ordering::Relaxed);
            async move { if n.is_multiple_of(2) { bail!("no") } else { panic!("worse") } }
        });
        // Runs at 0, 1, 3, 7 and 15 seconds.
        sleep(Duration::from_secs(16)).await;
        assert_eq!(runs.load(Ordering::Relaxed), 5);
        assert_eq!(supervisor.restarts()["failing"], 5);
        supervisor.shutdown(Duration::from_secs(1)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn shutdown_waits_for_scopes_inside_and_drops_what_hangs() {
        let supervisor = Supervisor::new();
        let done = Arc::new(AtomicU32::new(0));
        let (inner, counter) = (supervisor.child(), Arc::clone(&done));
        let stop = inner.stop_token().clone();
        inner.spawn("slow", async move {
            stop.cancelled().await;
            sleep(Duration::from_secs(2)).await;
            counter.fetch_add(1, Ordering::Relaxed);
        });
        inner.spawn("hanging", std::future::pending());
        supervisor.shutdown(Duration::from_secs(5)).await;
        assert_eq!(done.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_scope_inside_stops_alone() {
        let supervisor = Supervisor::new();
        let inner = supervisor.child();
        inner.supervise("inner", |stop| async move {
            stop.cancelled().await;
            Ok(())
        });
        inner.shutdown(Duration::from_secs(1)).await;
        assert!(!supervisor.stop_token().is_cancelled());
        supervisor.shutdown(Duration::from_secs(1)).await;
    }
}
