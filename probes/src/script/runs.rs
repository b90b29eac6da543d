//! The scripts that run, what they started, and the end of all of it.
//!
//! ```text
//! script ends ─▶ its group is killed ─▶ what had left the group is handed to us by the kernel
//!                                       (we are a subreaper) ─▶ sweep: whose is it? ─▶ killed, waited for
//! ```
//!
//! What was handed to us is known by the marker in its environment or by its session. What has
//! neither, because it shed both, waits for the end of the runs that were there when it was first
//! seen: one of them has started it.
//!
//! There is one such list in a process, because the kernel hands orphans to a process.
//!
//! Invariant: when [`Run::clean_up`] is done, nothing that the run started is left, but for what
//! the kernel itself cannot end; no zombie stays longer than until the next run's end; and nobody
//! holds the list while a script could make it wait.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::clock::Stopwatch;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, set_child_subreaper,
    test_kill_process_group, waitid,
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::processes::{self, OURSELVES};

/// How often it is looked whether a script starts too many processes, and whether one of them has
/// become a zombie of ours.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What is waited for those that were killed to be gone.
const GONE_WITHIN: Duration = Duration::from_millis(400);

/// How often a sweep begins again because what it waited for has handed us more.
const PASSES: usize = 4;

static STARTED: AtomicU64 = AtomicU64::new(0);
static KILLED: AtomicU64 = AtomicU64::new(0);

/// How many scripts there have been.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Scripts that were started.
    pub started: u64,
    /// Processes that were ended by force: scripts past their time, and what scripts left behind.
    pub killed: u64,
}

/// How many scripts this process has started so far.
pub fn totals() -> Totals {
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    Totals { started: read(&STARTED), killed: read(&KILLED) }
}

/// How a run is told that it has too many processes.
#[derive(Clone, Debug, Default)]
pub(super) struct Over {
    /// Cancelled when there are.
    pub(super) token: CancellationToken,
    /// How many there were.
    count: Arc<AtomicU32>,
}

#[derive(Debug)]
struct Active {
    leader: Option<i32>,
    limit: u32,
    over: Over,
}

/// A process that was handed to us. Until it was waited for, the number is its own.
#[derive(Debug)]
enum Orphan {
    /// It belongs to this run.
    Of(u64),
    /// One of these has started it.
    Stray(Vec<u64>),
}

#[derive(Debug, Default)]
struct Runs {
    last: u64,
    active: HashMap<u64, Active>,
    /// The runs by the process that leads them.
    leaders: HashMap<i32, u64>,
    /// Leaders that nobody waits for any more.
    abandoned: HashSet<i32>,
    orphans: HashMap<i32, Orphan>,
    /// Something was abandoned, and may not be gone yet.
    untidy: bool,
    /// The tasks on the host at the last scan, or since then where there were fewer.
    tasks: u32,
}

static RUNS: LazyLock<Mutex<Runs>> = LazyLock::new(|| {
    // Where it fails, on a kernel before 3.4, what leaves its group lives on.
    let _ = set_child_subreaper(Some(rustix::process::getpid()));
    Mutex::default()
});

fn runs() -> MutexGuard<'static, Runs> {
    RUNS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A run of a script, from before its start to when nothing of it is left.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) id: u64,
    limit: u32,
    pub(super) over: Over,
}

impl Run {
    /// A run that may have `limit` processes at a time.
    pub(super) fn begin(limit: u32) -> Self {
        let over = Over::default();
        let mut runs = runs();
        runs.last += 1;
        let id = runs.last;
        runs.active.insert(id, Active { leader: None, limit, over: over.clone() });
        if runs.active.len() == 1 {
            runs.tasks = processes::tasks_lately();
        }
        Self { id, limit, over }
    }

    /// How many processes and threads of the run there are, without the zombies.
    pub(super) fn count(&self) -> u32 {
        let leaders = runs().leaders.clone();
        let all = processes::of_runs(&leaders).into_iter();
        let ours = all.filter(|(process, run)| *run == Some(self.id) && !process.is_zombie);
        ours.map(|(process, _)| process.threads).sum()
    }

    /// How many there were when it was told that there are too many.
    pub(super) fn most(&self) -> u32 {
        self.over.count.load(Ordering::Relaxed)
    }

    /// Whether `count` processes left behind are more than an oversight: a tenth of what it may
    /// have.
    pub(super) fn has_lost_control(&self, count: u32) -> bool {
        self.over.count.fetch_max(count, Ordering::Relaxed);
        count > (self.limit / 10).max(10)
    }

    /// Ends what the run has left behind, after its group was killed and its leader waited for.
    /// Returns how many processes that were.
    pub(super) async fn clean_up(self, leader: Pid) -> u32 {
        runs().end(self.id);
        let (watch, mut pause) = (Stopwatch::start(), Duration::from_millis(1));
        let mut killed = HashMap::new();
        loop {
            let mut left = runs().sweep(&mut killed);
            // Another group may have the number by now; then we wait a little for nothing.
            left |= test_kill_process_group(leader).is_ok();
            if !left || watch.elapsed() > GONE_WITHIN {
                let ours = killed.values().filter(|run| run.is_none_or(|run| run == self.id));
                return u32::try_from(ours.count()).unwrap_or(u32::MAX);
            }
            if watch.elapsed() > Duration::from_millis(20) {
                // Faster than one generation at a time, for what multiplies.
                self.kill_everything();
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    /// Kills all that belongs to the run, wherever it has gone; for one that starts processes
    /// faster than the sweep could end them. Returns whether there was somebody.
    pub(super) fn kill_everything(&self) -> bool {
        let (leaders, mut some) = (runs().leaders.clone(), false);
        for (process, run) in processes::of_runs(&leaders) {
            if run == Some(self.id) && !process.is_zombie {
                some = true;
                kill(process.pid, process.started);
            }
        }
        some
    }
}

/// Notes who leads the session of a run. One that was given up before its program was loaded has no
/// leader: whoever started it ends it.
pub(super) fn started(run: u64, leader: Pid) {
    STARTED.fetch_add(1, Ordering::Relaxed);
    let (leader, mut runs) = (leader.as_raw_nonzero().get(), runs());
    if let Some(active) = runs.active.get_mut(&run) {
        active.leader = Some(leader);
        runs.leaders.insert(leader, run);
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        runs().end(self.id);
    }
}

/// Kills the process if it still is the one that was started at `started`.
fn kill(pid: i32, started: u64) {
    let same = processes::read(pid).is_some_and(|process| process.started == started);
    if let (true, Some(pid)) = (same, Pid::from_raw(pid)) {
        KILLED.fetch_add(1, Ordering::Relaxed);
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Kills the groups of all scripts that run, without waiting: for an end at once.
pub fn kill_all() {
    signal_groups(runs().leaders.keys(), Signal::KILL);
}

fn signal_groups<'a>(leaders: impl Iterator<Item = &'a i32>, signal: Signal) {
    for leader in leaders.filter_map(|leader| Pid::from_raw(*leader)) {
        let _ = kill_process_group(leader, signal);
    }
}

/// Counts a script that was ended by force.
pub(super) fn count_killed() {
    KILLED.fetch_add(1, Ordering::Relaxed);
}

/// Leaves it to the next sweep to wait for `leader`, whose group was killed.
pub(super) fn abandon(leader: Pid) {
    let mut runs = runs();
    runs.abandoned.insert(leader.as_raw_nonzero().get());
    runs.untidy = true;
}

/// Waits for what was abandoned and ends what it has left behind, where no run is there that would:
/// a program that was loaded when nobody wanted it any more. To be called from time to time; costs
/// nothing where there is nothing.
pub fn tidy() {
    let mut runs = runs();
    if runs.untidy && runs.active.is_empty() {
        let left = runs.sweep(&mut HashMap::new());
        runs.untidy = left || !runs.abandoned.is_empty();
    }
}

/// Looks, unless somebody has just done so, whether a script starts too many processes, and waits
/// for what has ended. Called by every run that lasts, [`LOOK_EVERY`].
pub(super) fn look() {
    static BEGUN: LazyLock<Stopwatch> = LazyLock::new(Stopwatch::start);
    static NEXT_MILLIS: AtomicU64 = AtomicU64::new(0);
    let now = u64::try_from(BEGUN.elapsed().as_millis()).unwrap_or(u64::MAX);
    let next = NEXT_MILLIS.load(Ordering::Relaxed);
    let after = now + LOOK_EVERY.as_millis() as u64 * 9 / 10;
    let ours = now >= next
        && NEXT_MILLIS.compare_exchange(next, after, Ordering::Relaxed, Ordering::Relaxed).is_ok();
    if !ours {
        return;
    }
    let tasks = processes::tasks();
    let mut runs = runs();
    let smallest = runs.active.values().map(|active| active.limit).min().unwrap_or(u32::MAX);
    let leaders = runs.leaders.clone();
    // Whoever multiplies takes the processors from us too, and faster than we could count: what may
    // be that stands still until it is counted.
    let stands_still = tasks >= runs.tasks.saturating_add(smallest);
    if stands_still {
        signal_groups(leaders.keys(), Signal::STOP);
    }
    runs.sweep(&mut HashMap::new());
    // A script that had half of its limit at the last scan can have all of it only after this.
    if tasks < runs.tasks.saturating_add(smallest / 2) {
        runs.tasks = runs.tasks.min(tasks);
        return;
    }
    runs.tasks = tasks;
    drop(runs);
    let mut counts: HashMap<u64, u32> = HashMap::new();
    for (process, run) in processes::of_runs(&leaders) {
        if let (Some(run), false) = (run, process.is_zombie) {
            *counts.entry(run).or_default() += process.threads;
        }
    }
    let runs = self::runs();
    for (run, active) in &runs.active {
        let count = counts.get(run).copied().unwrap_or(0);
        if count > active.limit {
            active.over.count.fetch_max(count, Ordering::Relaxed);
            active.over.token.cancel();
        }
    }
    if stands_still {
        let over = |leader: &&i32| {
            let active = leaders.get(leader).and_then(|run| runs.active.get(run));
            active.is_some_and(|active| active.over.token.is_cancelled())
        };
        signal_groups(leaders.keys().filter(|leader| !over(leader)), Signal::CONT);
    }
}

impl Runs {
    fn end(&mut self, run: u64) {
        if let Some(leader) = self.active.remove(&run).and_then(|active| active.leader) {
            self.leaders.remove(&leader);
        }
    }

    /// Waits for every orphan that has ended and kills those whose runs have, noting them in
    /// `killed` with their runs. Returns whether some of these may still be there.
    fn sweep(&mut self, killed: &mut HashMap<i32, Option<u64>>) -> bool {
        self.abandoned.retain(|leader| !wait(*leader));
        // Not until there is nothing to wait for any more: a fork bomb always has something.
        for _ in 0..PASSES {
            let adopted = processes::adopted();
            if adopted.is_empty() {
                self.orphans.clear();
                return false;
            }
            let (mut left, mut waited_for) = (false, false);
            for pid in adopted {
                if self.leaders.contains_key(&pid) || self.abandoned.contains(&pid) {
                    continue;
                }
                if wait(pid) {
                    self.orphans.remove(&pid);
                    waited_for = true;
                } else if let Some(run) = self.is_left_over(pid) {
                    left = true;
                    let gone = Pid::from_raw(pid).map(|pid| kill_process(pid, Signal::KILL));
                    if gone == Some(Ok(())) && killed.insert(pid, run).is_none() {
                        KILLED.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
            // What has ended has handed us its own children, which the list may not have had yet.
            if !waited_for {
                return left;
            }
        }
        true
    }

    /// Whether every script that may have started the orphan has ended, and which that was.
    fn is_left_over(&mut self, pid: i32) -> Option<Option<u64>> {
        if !self.orphans.contains_key(&pid) {
            let process = processes::read(pid).filter(|process| process.parent == *OURSELVES)?;
            let by_session = self.leaders.get(&process.session).copied();
            let orphan = match by_session.or_else(|| processes::marker(pid)) {
                Some(run) => Orphan::Of(run),
                None => Orphan::Stray(self.active.keys().copied().collect()),
            };
            self.orphans.insert(pid, orphan);
        }
        match self.orphans.get_mut(&pid)? {
            Orphan::Of(run) if self.active.contains_key(run) => None,
            Orphan::Of(run) => Some(Some(*run)),
            Orphan::Stray(suspects) => {
                suspects.retain(|run| self.active.contains_key(run));
                suspects.is_empty().then_some(None)
            }
        }
    }
}

/// Waits for a child of ours, where it has ended. Returns whether there is nothing left to wait for.
fn wait(pid: i32) -> bool {
    let Some(pid) = Pid::from_raw(pid) else { return true };
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    !matches!(waitid(WaitId::Pid(pid), options), Ok(None))
}
