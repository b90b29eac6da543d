//! What the stores need from time to time.
//!
//! Invariant: what was appended is on the disk a second later.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base::clock::SteadyClock;
use base::own_metrics::OwnMetrics;
use base::sample::Timestamp;
use base::supervisor::Supervisor;
use storage::Storage;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::folder::{DataFolder, note_alive};
use crate::disk::{self, Disk};
use crate::mute::Silences;
use crate::state::{State, StateError};

/// How often appended samples, and the journal of the state, are made durable.
const SYNC: Duration = Duration::from_secs(1);
/// How often old samples are moved to blocks and dropped.
const MAINTAIN: Duration = Duration::from_secs(60);
/// How often we note that we are alive: what a restart takes for the time that nobody watched is
/// wrong by no more.
const ALIVE: Duration = Duration::from_secs(10);

/// How often we look whether the data folder is there and takes what is written, and how long a look may
/// take: people see within ten seconds that something is wrong (F35).
const LOOK: Duration = Duration::from_secs(3);
const LOOKING: Duration = Duration::from_secs(5);

/// How often old attempts to deliver something are forgotten, and how many are kept at most.
const FORGET_ATTEMPTS: Duration = Duration::from_secs(600);
const MOST_ATTEMPTS: usize = 200_000;

/// Starts the loops in the scope of `supervisor`; attempts to deliver something are kept for
/// `history`.
pub(super) fn start(
    supervisor: &Supervisor,
    data: &DataFolder,
    history: Duration,
    metrics: &OwnMetrics,
    clock: &SteadyClock,
) {
    let storage = Arc::clone(&data.storage);
    supervisor.supervise("sync", move |stop| {
        let storage = Arc::clone(&storage);
        every(SYNC, stop, storage, |storage| storage.sync())
    });
    let storage = Arc::clone(&data.storage);
    supervisor.supervise("maintain", move |stop| {
        let storage = Arc::clone(&storage);
        every(MAINTAIN, stop, storage, |storage| {
            storage.maintain(Timestamp::now())?;
            // What blocks were made of, and code that only their making has needed.
            base::memory::give_back();
            Ok(())
        })
    });
    let silences = data.silences.clone();
    let time = clock.clone();
    supervisor
        .supervise("silences", move |stop| forget_silences(silences.clone(), time.clone(), stop));
    let (maintenance, time) = (data.maintenance.clone(), clock.clone());
    supervisor.supervise("maintenance", move |stop| maintenance.clone().run(time.clone(), stop));
    let state = data.state.clone();
    supervisor.supervise("journal", move |stop| sync_journal(state.clone(), stop));
    let (state, judges) = (data.state.clone(), data.has_samples);
    supervisor.supervise("alive", move |stop| stay_alive(state.clone(), judges, stop));
    let state = data.state.clone();
    let crowded_out = metrics.counter(
        "veilleur_history_crowded_out_total",
        "Attempts to deliver something that were forgotten before their time, for want of room.",
    );
    let time = clock.clone();
    supervisor.supervise("history", move |stop| {
        let (state, crowded_out, time) = (state.clone(), crowded_out.clone(), time.clone());
        async move {
            loop {
                let end = time.believed() - history;
                crowded_out.inc_by(state.forget_attempts(end, MOST_ATTEMPTS).await?);
                if stop.run_until_cancelled(sleep(FORGET_ATTEMPTS)).await.is_none() {
                    return Ok(());
                }
            }
        }
    });
}

/// Does `work`, which may block, at every `interval` until `stop`.
async fn every(
    interval: Duration,
    stop: CancellationToken,
    storage: Arc<Storage>,
    work: fn(&Storage) -> std::io::Result<()>,
) -> anyhow::Result<()> {
    while stop.run_until_cancelled(sleep(interval)).await.is_some() {
        let storage = Arc::clone(&storage);
        tokio::task::spawn_blocking(move || work(&storage)).await??;
    }
    Ok(())
}

/// Looks at the data folder until `stop`.
pub(super) async fn watch(
    folder: Arc<Path>,
    lock: Arc<File>,
    disk: Disk,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let tell = |found: Result<(), String>| {
        if !disk.note(found, Timestamp::now()) {
            return;
        }
        match disk.fault() {
            Some(fault) => error!("the data folder fails: {}", fault.why),
            None => info!("the data folder takes what is written again"),
        }
    };
    while stop.run_until_cancelled(sleep(LOOK)).await.is_some() {
        let (at, ours) = (Arc::clone(&folder), Arc::clone(&lock));
        let mut looking = tokio::task::spawn_blocking(move || disk::look(&at, &ours));
        let found = match timeout(LOOKING, &mut looking).await {
            Ok(found) => found,
            Err(_) => {
                let shown = folder.display();
                tell(Err(format!("{shown} does not answer: look at the disk that it is on")));
                // No second thread waits for a disk that hangs.
                match stop.run_until_cancelled(looking).await {
                    Some(found) => found,
                    None => return Ok(()),
                }
            }
        };
        tell(found?);
    }
    Ok(())
}

async fn forget_silences(
    silences: Silences,
    clock: SteadyClock,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    while stop.run_until_cancelled(sleep(MAINTAIN)).await.is_some() {
        silences.forget_expired(clock.believed()).await?;
    }
    Ok(())
}

/// What is written without a wait is on the disk a little later (G2), and the history in its table.
async fn sync_journal(state: State, stop: CancellationToken) -> anyhow::Result<()> {
    let mut failed = false;
    while stop.run_until_cancelled(sleep(SYNC)).await.is_some() {
        if state.journal().is_adrift() {
            state.journal().land().await;
        }
        state.settle().await;
        let synced = state.journal().sync().await.map_err(StateError::from);
        // A full disk is full for a while: said once, and tried again a second later.
        let saved = state.save_history().await.and(synced);
        match &saved {
            Err(error) if !failed => error!(%error, "the state cannot be written"),
            Ok(()) if failed => info!("the state is written again"),
            _ => {}
        }
        failed = saved.is_err();
    }
    Ok(())
}

async fn stay_alive(state: State, judges: bool, stop: CancellationToken) -> anyhow::Result<()> {
    loop {
        note_alive(&state, judges, Timestamp::now()).await?;
        if stop.run_until_cancelled(sleep(ALIVE)).await.is_none() {
            return Ok(());
        }
    }
}
