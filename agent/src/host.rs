//! The host's own numbers for `/metrics`, read when somebody asks.
//!
//! Reading waits for the kernel, usually for less than a millisecond, on a thread made for waiting;
//! what is made of the numbers is made there, too. A disk or a mount that does not answer can hold it
//! up for longer, even for ever: whoever asks waits for a limited time and is then answered without
//! these numbers.
//!
//! Invariant: at most one thread reads, however many ask, and no request waits for that longer than
//! [`PATIENCE`].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use base::family::MetricFamily;
use base::sample::Timestamp;
use probes::Outcome;
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

/// Which collectors are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Wanted {
    /// All that run.
    #[default]
    All,
    /// These, as far as they run.
    These(Arc<BTreeSet<&'static str>>),
}

impl Wanted {
    fn has(&self, collector: &str) -> bool {
        match self {
            Self::All => true,
            Self::These(these) => these.contains(collector),
        }
    }

    fn is_nothing(&self) -> bool {
        matches!(self, Self::These(these) if these.is_empty())
    }
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

    /// The collectors that run.
    pub fn collectors(&self) -> Vec<&'static str> {
        self.host.load().as_ref().map_or_else(Vec::new, |host| host.collectors().to_vec())
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

    /// Reads the host, which is then as of `now`, and makes something of it by `make`.
    ///
    /// That is done where the host was read: it is not to be held up by what else the caller's thread
    /// has to do, nor to hold that up.
    pub async fn read<T: Send + 'static>(
        &self,
        now: Timestamp,
        wanted: Wanted,
        make: impl Fn(HostReading) -> T + Send + Sync + 'static,
    ) -> T {
        let make = Arc::new(make);
        let (host, turn) = (self.host.load_full(), Arc::clone(&self.turn));
        let (is_read, made_there) = (Arc::new(AtomicBool::new(false)), Arc::clone(&make));
        let done = Arc::clone(&is_read);
        let reading = async move {
            // The turn goes with the thread: a request that gives up does not start a second one.
            let turn = turn.acquire_owned().await;
            let reading = tokio::task::spawn_blocking(move || {
                let reading = host.filter(|_| !wanted.is_nothing());
                let wants = |name: &str| wanted.has(name);
                let reading = reading.map(|host| HostReading::of(host.look_at(now, &wants)));
                drop(turn);
                done.store(true, Ordering::Release);
                made_there(reading.unwrap_or_default())
            });
            reading.await
        };
        tokio::pin!(reading);
        let made = match timeout(PATIENCE, reading.as_mut()).await {
            Err(_) if is_read.load(Ordering::Acquire) => reading.await,
            Err(_) => return make(HostReading::late()),
            Ok(made) => made,
        };
        made.unwrap_or_else(|panic| {
            make(HostReading::without(format!("reading it failed: {panic}")))
        })
    }
}

impl HostReading {
    fn of(outcome: Outcome) -> Self {
        Self {
            faults: outcome.details.lines().map(|line| format!("host: {line}")).collect(),
            families: outcome.families,
            in_time: Some(true),
        }
    }

    /// Nothing, because it takes too long.
    pub(crate) fn late() -> Self {
        Self::without(format!("not read within {PATIENCE:?}"))
    }

    fn without(why: String) -> Self {
        Self { families: Vec::new(), faults: vec![format!("host: {why}")], in_time: Some(false) }
    }
}
