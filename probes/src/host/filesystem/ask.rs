//! Asks mounts how full they are without waiting for one that does not answer.
//!
//! A call to `statvfs` on the mount of a dead server may take for ever, and nothing can end it. So
//! such calls are made on threads that a scrape waits for a limited time only. A mount that has not
//! answered by then stays with its thread: nobody asks it again until that call returns. The threads
//! are our own and not a runtime's, because a runtime waits for its threads when it ends.
//!
//! ```text
//! ask ──▶ queue ──▶ threads, one usually; one more for every 20 ms without an answer
//!  ▲                   │
//!  └──── answers ◀─────┘
//! ```
//!
//! Invariant: a mount is asked by one thread at a time, and there are [`MOST_THREADS`] at most: when
//! that many mounts hang, those that still wait for a thread are reported like those that hang.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::clock::Stopwatch;
use rustix::fs::StatVfs;
use rustix::io::Errno;

/// How many mounts may hang before none is asked any more.
const MOST_THREADS: usize = 16;
/// How long an answer may take before the next mount is asked beside it.
const PATIENCE: Duration = Duration::from_millis(20);

/// What a mount answered.
pub(super) type Answer = Result<StatVfs, Errno>;

/// Asks mounts, each with the call that is given.
pub(super) struct Asker {
    limit: Duration,
    shared: Arc<Shared>,
}

struct Shared {
    call: fn(&Path) -> Answer,
    state: Mutex<State>,
    /// There is something to ask, or nothing ever again.
    work: Condvar,
    /// A mount has answered.
    answered: Condvar,
}

#[derive(Default)]
struct State {
    /// Mounts that no thread has taken yet.
    queue: VecDeque<PathBuf>,
    /// Mounts that a thread is asking.
    asked: HashSet<PathBuf>,
    answers: HashMap<PathBuf, Answer>,
    threads: usize,
    idle: usize,
    closed: bool,
}

impl Asker {
    /// Waits `limit` for all the mounts of a scrape together.
    pub(super) fn new(limit: Duration) -> Self {
        Self::with_call(limit, |path| rustix::fs::statvfs(path))
    }

    fn with_call(limit: Duration, call: fn(&Path) -> Answer) -> Self {
        let shared = Shared {
            call,
            state: Mutex::default(),
            work: Condvar::new(),
            answered: Condvar::new(),
        };
        Self { limit, shared: Arc::new(shared) }
    }

    /// The answers of `mounts`; of those that hang there is none.
    pub(super) fn ask<'a>(
        &self,
        mounts: impl Iterator<Item = &'a PathBuf>,
    ) -> HashMap<PathBuf, Answer> {
        let mut state = self.shared.lock();
        // An answer that came after its scrape says only that its mount can be asked again.
        state.answers.clear();
        let fresh: Vec<_> = mounts.filter(|mount| !state.asked.contains(*mount)).collect();
        if fresh.is_empty() {
            return HashMap::new();
        }
        state.queue.extend(fresh.iter().copied().cloned());
        if state.idle == 0 {
            self.start(&mut state);
        }
        self.shared.work.notify_one();
        let stopwatch = Stopwatch::start();
        while !fresh.iter().all(|mount| state.answers.contains_key(*mount)) {
            let Some(left) = self.limit.checked_sub(stopwatch.elapsed()) else { break };
            let waited = self.shared.answered.wait_timeout(state, left.min(PATIENCE));
            let (now, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state = now;
            if timeout.timed_out() && !state.queue.is_empty() {
                self.start(&mut state);
            }
        }
        state.queue.clear();
        std::mem::take(&mut state.answers)
    }

    /// Starts one more thread where there may be one; without it its mounts go unanswered.
    fn start(&self, state: &mut State) {
        if state.threads < MOST_THREADS {
            let shared = Arc::clone(&self.shared);
            let thread = std::thread::Builder::new().name("mount".to_owned());
            state.threads += usize::from(thread.spawn(move || shared.serve()).is_ok());
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a thread does.
    fn serve(&self) {
        let mut state = self.lock();
        while !state.closed {
            let Some(mount) = state.queue.pop_front() else {
                // One thread is enough to begin the next scrape with.
                if state.idle > 0 {
                    break;
                }
                state.idle += 1;
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
                continue;
            };
            state.asked.insert(mount.clone());
            drop(state);
            let answer = (self.call)(&mount);
            state = self.lock();
            state.asked.remove(&mount);
            state.answers.insert(mount, answer);
            self.answered.notify_all();
        }
        state.threads -= 1;
    }
}

impl Drop for Asker {
    /// Idle threads end; one that hangs ends when its call returns, or with the process.
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.work.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers when the file at `path` is gone.
    fn hang(path: &Path) -> Answer {
        while path.exists() {
            std::thread::sleep(Duration::from_millis(1));
        }
        Err(Errno::NOENT)
    }

    fn answers(asker: &Asker, mounts: &[PathBuf]) -> usize {
        asker.ask(mounts.iter()).len()
    }

    #[test]
    fn a_mount_that_hangs_costs_one_scrape_its_limit_and_no_other_one_anything() {
        let folder = tempfile::tempdir().unwrap();
        let hangs = folder.path().join("hangs");
        std::fs::write(&hangs, "").unwrap();
        let limit = Duration::from_secs(1);
        let asker = Asker::with_call(limit, hang);
        let mounts = [hangs.clone(), folder.path().join("good"), folder.path().join("better")];
        let first = Stopwatch::start();
        let answered = asker.ask(mounts.iter());
        assert!(first.elapsed() >= limit);
        assert_eq!((answered.len(), answered.contains_key(&hangs)), (2, false));
        let more = Stopwatch::start();
        for _ in 0..10 {
            assert_eq!(answers(&asker, &mounts), 2);
        }
        assert!(more.elapsed() < limit, "{:?}", more.elapsed());
        assert_eq!(asker.shared.lock().threads, 2);
        // Once the call has returned the mount is asked again.
        std::fs::remove_file(&hangs).unwrap();
        while !asker.shared.lock().asked.is_empty() {
            std::thread::yield_now();
        }
        assert_eq!(answers(&asker, &mounts), 3);
    }

    #[test]
    fn mounts_that_hang_at_once_are_found_at_once_and_take_a_bounded_number_of_threads() {
        let folder = tempfile::tempdir().unwrap();
        let mounts: Vec<_> =
            (0..MOST_THREADS + 4).map(|n| folder.path().join(n.to_string())).collect();
        for mount in &mounts {
            std::fs::write(mount, "").unwrap();
        }
        let asker = Asker::with_call(Duration::from_secs(2), hang);
        assert_eq!(answers(&asker, &mounts), 0);
        let state = asker.shared.lock();
        assert_eq!((state.threads, state.asked.len()), (MOST_THREADS, MOST_THREADS));
        drop(state);
        for mount in &mounts {
            std::fs::remove_file(mount).unwrap();
        }
        while asker.shared.lock().threads > 1 {
            std::thread::yield_now();
        }
        assert_eq!(answers(&asker, &mounts), mounts.len());
    }

    #[test]
    fn threads_end_with_the_asker() {
        let asker = Asker::with_call(Duration::from_secs(5), hang);
        assert_eq!(answers(&asker, &["/none".into()]), 1);
        let shared = Arc::clone(&asker.shared);
        drop(asker);
        while shared.lock().threads > 0 {
            std::thread::yield_now();
        }
    }
}
