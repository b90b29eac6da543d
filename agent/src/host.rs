//! The host's own numbers for `/metrics`, read when somebody asks.
//!
//! Reading waits for the kernel, usually for less than a millisecond, on a thread made for waiting.
//! A disk or a mount that does not answer can hold it up for longer, even for ever: whoever asks
//! waits for a limited time and is then answered without these numbers.
//!
//! Invariant: at most one thread reads, however many ask, and no request waits longer than
//! [`PATIENCE`].

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use base::family::MetricFamily;
use base::sample::Timestamp;
use probes::host::Host;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// How long a request waits for the host's numbers.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// The host, as it is configured at present.
#[derive(Debug)]
pub struct HostNumbers {
    host: ArcSwapOption<Host>,
    /// Held while the host is read.
    turn: Arc<Semaphore>,
}

/// What was read.
#[derive(Debug, Default)]
pub struct HostReading {
    /// The numbers.
    pub families: Vec<MetricFamily>,
    /// What could not be read, and why: a line each.
    pub faults: Vec<String>,
    /// Whether the host was read in time; nothing where it is switched off.
    pub in_time: Option<bool>,
}

impl HostNumbers {
    /// The numbers of `host`, where there is one.
    pub fn new(host: Option<Host>) -> Self {
        let host = ArcSwapOption::from_pointee(host);
        Self { host, turn: Arc::new(Semaphore::new(1)) }
    }

    /// Puts `host` in the place of the one before, which stays where it is the same.
    pub fn replace(&self, host: Option<Host>) {
        let same = match (self.host.load().as_deref(), &host) {
            (Some(before), Some(host)) => before.is_same(host),
            (None, None) => true,
            _ => false,
        };
        if !same {
            self.host.store(host.map(Arc::new));
        }
    }

    /// Reads the host, which is then as of `now`.
    pub async fn read(&self, now: Timestamp) -> HostReading {
        let Some(host) = self.host.load_full() else { return HostReading::default() };
        let turn = Arc::clone(&self.turn);
        let read = async move {
            let turn = turn.acquire_owned().await;
            // The turn goes with the thread: a request that gives up does not start a second one.
            let reading = tokio::task::spawn_blocking(move || {
                let outcome = host.look(now);
                drop(turn);
                outcome
            });
            reading.await
        };
        match timeout(PATIENCE, read).await {
            Ok(Ok(outcome)) => HostReading {
                faults: outcome.details.lines().map(|line| format!("host: {line}")).collect(),
                families: outcome.families,
                in_time: Some(true),
            },
            Ok(Err(panic)) => HostReading::without(format!("reading it failed: {panic}")),
            Err(_) => HostReading::late(),
        }
    }
}

impl HostReading {
    /// Nothing, because it takes too long.
    pub(crate) fn late() -> Self {
        Self::without(format!("not read within {PATIENCE:?}"))
    }

    fn without(why: String) -> Self {
        Self { families: Vec::new(), faults: vec![format!("host: {why}")], in_time: Some(false) }
    }
}
