//! One run of a script, from its start to when nothing of it is left.
//!
//! ```text
//! started ──▶ reading, waiting ──┬─ it ends ─────────▶ (0.1 s for what still holds its output) ──┐
//!                                ├─ the time is up ──▶ TERM, 0.1 s reading, up to 2 s waiting ──┤
//!                                └─ too much of it ─────────────────────────────────────────────┤
//!                                                                   KILL to the group, sweep ◀──┘
//! ```
//!
//! Invariant: it takes at most 3.5 s from the moment when `stop` is cancelled, whatever the script
//! does.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use base::clock::Stopwatch;
use rustix::process::Signal;
use tokio::io::unix::AsyncFd;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::output::Capture;
use super::runs::{self, LOOK_EVERY, Run};
use super::spawn::{Exit, Leader, Started};

/// How much of what a script prints is kept.
pub(super) const MAX_OUTPUT: usize = 64 << 10;
/// How much of what it prints as errors is kept.
const MAX_ERRORS: usize = 8 << 10;
/// A script that prints more than this is out of its mind and is ended.
const FLOOD: u64 = 64 << 20;
/// How long what was left behind may still print: the last words of a background job.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// How long a script has to clean up after itself when its time is up.
const GRACE: Duration = Duration::from_secs(2);
/// How long the kernel has to end what was killed.
const DEATH: Duration = Duration::from_secs(1);

/// How a run came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// By itself.
    Exit(Exit),
    /// Its time was up.
    TimeUp,
    /// It had so many processes.
    TooManyProcesses(u32),
    /// It printed without end.
    Flood,
    /// It was killed and did not die: it hangs in the kernel.
    Undying,
}

/// What is known after a run.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) end: End,
    pub(super) stdout: Capture,
    pub(super) stderr: Capture,
    /// Processes that it left behind and that were ended.
    pub(super) left_behind: u32,
}

/// Sees `started` through to its end, and keeps the first `max` bytes that it prints.
pub(super) async fn see_through(
    started: Started,
    run: Run,
    max: usize,
    stop: &CancellationToken,
) -> io::Result<Ended> {
    let Started { leader, end, has_ended, cgroup, stdout, stderr } = started;
    let mut running = Running {
        leader,
        end,
        has_ended,
        stdout: Capture::new(stdout, max)?,
        stderr: Capture::new(stderr, MAX_ERRORS)?,
        run,
    };
    let cause = if has_ended { Cause::Ended } else { running.run(stop).await };
    let (end, left_behind) = running.finish(cause).await;
    let Running { stdout, stderr, run, leader, .. } = running;
    let swept = run.clean_up(leader.pid).await;
    // Whatever is still in it ends with it.
    drop(cgroup);
    Ok(Ended { end, stdout, stderr, left_behind: left_behind.max(swept) })
}

/// Waits for the end of the leader.
async fn ended(end: &AsyncFd<OwnedFd>) {
    // It fails only where the runtime ends, and all that is waited for with it.
    let _ = end.readable().await;
}

struct Running {
    leader: Leader,
    /// Readable when the leader has ended.
    end: AsyncFd<OwnedFd>,
    has_ended: bool,
    stdout: Capture,
    stderr: Capture,
    run: Run,
}

/// What made a run end.
#[derive(Debug, PartialEq, Eq)]
enum Cause {
    Ended,
    TimeUp,
    TooManyProcesses,
    Flood,
}

impl Running {
    /// Reads and waits until something makes the run end.
    async fn run(&mut self, stop: &CancellationToken) -> Cause {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Cause::TimeUp,
                () = self.run.over.token.cancelled() => return Cause::TooManyProcesses,
                () = ended(&self.end) => return Cause::Ended,
                () = self.stdout.read_more() => {}
                () = self.stderr.read_more() => {}
                _ = look.tick() => runs::look(),
            }
            if self.stdout.total + self.stderr.total > FLOOD {
                return Cause::Flood;
            }
        }
    }

    /// Brings the run to its end. Returns how it ended and how many processes it left behind.
    async fn finish(&mut self, cause: Cause) -> (End, u32) {
        let (end, left_behind) = match cause {
            Cause::Ended => self.last_words().await,
            Cause::TimeUp => {
                self.terminate().await;
                (Some(End::TimeUp), 0)
            }
            Cause::TooManyProcesses => (Some(self.too_many().await), 0),
            Cause::Flood => (Some(End::Flood), 0),
        };
        self.stdout.close();
        self.stderr.close();
        self.leader.signal_group(Signal::KILL);
        if end.is_some() {
            runs::count_killed();
        }
        if !self.has_ended {
            let _ = timeout(DEATH, ended(&self.end)).await;
        }
        let exit = self.leader.wait();
        let end = match (end, exit) {
            (Some(End::TimeUp) | None, None) => End::Undying,
            (Some(end), _) => end,
            (None, Some(exit)) => End::Exit(exit),
        };
        (end, left_behind)
    }

    /// After the leader has ended: reads the rest. Whoever still holds the output was left behind
    /// and has a moment; whoever uses it to multiply is a fork bomb.
    async fn last_words(&mut self) -> (Option<End>, u32) {
        self.stdout.read_available();
        self.stderr.read_available();
        if self.stdout.is_closed() && self.stderr.is_closed() {
            return (None, 0);
        }
        self.read_for(LAST_WORDS).await;
        if self.stdout.is_closed() && self.stderr.is_closed() {
            // Mostly it was not held by anybody left behind, but by the copy of our descriptors that
            // another program has while it is being loaded; to look for somebody is dear.
            return (None, 0);
        }
        // What is stopped does not multiply while it is counted; it is killed in any case.
        self.leader.signal_group(Signal::STOP);
        let left_behind = self.run.count();
        if self.run.has_lost_control(left_behind) {
            return (Some(self.too_many().await), left_behind);
        }
        (None, left_behind)
    }

    /// Reads until both outputs are closed, or `time` is over.
    async fn read_for(&mut self, time: Duration) {
        let read = async {
            let most = self.stdout.total + self.stderr.total + FLOOD;
            while !(self.stdout.is_closed() && self.stderr.is_closed())
                && self.stdout.total + self.stderr.total < most
            {
                tokio::select! {
                    () = self.stdout.read_more() => {}
                    () = self.stderr.read_more() => {}
                }
            }
        };
        // What came until then counts.
        let _ = timeout(time, read).await;
    }

    /// Asks the group to end, and waits for that.
    async fn terminate(&mut self) {
        let watch = Stopwatch::start();
        self.leader.signal_group(Signal::TERM);
        // One that is stopped could not hear it.
        self.leader.signal_group(Signal::CONT);
        self.read_for(LAST_WORDS).await;
        self.stdout.close();
        self.stderr.close();
        let left = || GRACE.saturating_sub(watch.elapsed());
        if timeout(left(), ended(&self.end)).await.is_err() {
            return;
        }
        // The leader has ended; others of its group may not have cleaned up yet.
        let mut pause = Duration::from_millis(5);
        while !left().is_zero() && self.run.count() > 0 {
            sleep(pause.min(left())).await;
            pause = (pause * 2).min(Duration::from_millis(200));
        }
    }

    /// Ends a script that starts processes without end, wherever they have gone.
    async fn too_many(&mut self) -> End {
        let watch = Stopwatch::start();
        self.leader.signal_group(Signal::KILL);
        while self.run.kill_everything() && watch.elapsed() < GRACE {
            sleep(Duration::from_millis(5)).await;
        }
        End::TooManyProcesses(self.run.most())
    }
}
