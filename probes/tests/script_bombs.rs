//! Scripts that start processes without end. F47. Alone in its file, so that nothing else of ours
//! suffers; and each bomb goes on only for as long as its fuse, a file, exists.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::time::Duration;

use common::{alive, eventually, run_for, shell, zombies};
use probes::{Reason, Status};
use tokio::sync::Mutex;

const LIMITS: &str = ", limits: {processes: 200, memory: 256MiB}";

/// Whoever holds it has the host for its bomb: each would take the processors from the others.
static ALONE: Mutex<()> = Mutex::const_new(());

async fn check(bomb: &str) {
    let _alone = ALONE.lock().await;
    let fuse = tempfile::NamedTempFile::new().unwrap().into_temp_path();
    let path = fuse.display().to_string();
    // Should nobody else end it, this does.
    let (ended, end) = std::sync::mpsc::sync_channel::<()>(1);
    let cut = std::thread::Builder::new().spawn(move || {
        let _ = end.recv_timeout(Duration::from_secs(12));
        drop(fuse);
    });
    let probe = shell(&bomb.replace("LIT", &format!("[ -e {path} ]")), LIMITS);
    let (outcome, took) = run_for(probe.as_ref(), Duration::from_secs(20)).await;
    let got = (outcome.status, outcome.reason);
    assert_eq!(got, (Status::Unknown, Reason::TooManyProcesses), "{bomb}: {outcome:?} {took:?}");
    let gone = || alive("sleep 33").is_empty() && alive(&path).is_empty();
    assert!(eventually(Duration::from_secs(10), gone).await, "{bomb}");
    assert!(eventually(Duration::from_secs(10), || zombies() == 0).await, "{bomb}");
    drop(ended);
    cut.unwrap().join().unwrap();
}

#[tokio::test]
async fn a_fork_bomb_whose_first_process_ends_is_ended_f47() {
    check(":(){ LIT && :|:& };:").await;
}

#[tokio::test]
async fn a_fork_bomb_that_waits_is_ended_f47() {
    check(":(){ LIT && :|:; }; :").await;
}

#[tokio::test]
async fn a_script_that_forgets_its_children_is_ended_f47() {
    check("while LIT; do sleep 33 & done").await;
}

#[tokio::test]
async fn a_fork_bomb_that_flees_is_ended_f47() {
    check("while LIT; do setsid sleep 33 & done").await;
    check("while LIT; do (setsid sleep 33 >/dev/null 2>&1 &) ; done").await;
}
