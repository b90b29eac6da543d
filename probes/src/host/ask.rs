//! Asks what may not answer, without waiting for it: mounts, sensors, folders of others.
//!
//! A call to `statvfs` on the mount of a dead server may take for ever, and so may reading a sensor
//! on a broken bus; nothing can end such a call. So it is made on a thread that a scrape waits for a
//! limited time only. Who has not answered by then stays with its thread: nobody asks it again until
//! that call returns. The threads are our own and not a runtime's, because a runtime waits for its
//! threads when it ends.
//!
//! ```text
//! ask ──▶ queue ──▶ threads, one usually; one more for every 20 ms without an answer
//!  ▲                   │
//!  └──── answers ◀─────┘
//! ```
//!
//! Invariant: each is asked by one thread at a time, and there are [`MOST_THREADS`] at most: when that
//! many hang, those that still wait for a thread are reported like those that hang.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::clock::Stopwatch;

/// How many may hang before none is asked any more.
const MOST_THREADS: usize = 16;
/// How long an answer may take before the next one is asked beside it.
const PATIENCE: Duration = Duration::from_millis(20);

/// What is asked, and gives an answer `A` for a name `N`.
type Call<N, A> = Box<dyn Fn(&N) -> A + Send + Sync>;

/// Asks for answers `A` by names `N`, each with the call that is given.
pub(super) struct Asker<N: Name, A: Send + 'static> {
    limit: Duration,
    shared: Arc<Shared<N, A>>,
}

/// What can be told from another and be given to a thread.
pub(super) trait Name: Clone + Eq + Hash + Send + 'static {}

impl<N: Clone + Eq + Hash + Send + 'static> Name for N {}

/// Those that are being asked.
pub(super) struct Asked<N>(Vec<N>);

struct Shared<N, A> {
    call: Call<N, A>,
    state: Mutex<State<N, A>>,
    /// There is something to ask, or nothing ever again.
    work: Condvar,
    /// Somebody has answered.
    answered: Condvar,
}

struct State<N, A> {
    /// Those that no thread has taken yet.
    queue: VecDeque<N>,
    /// Those that a thread is asking.
    asked: HashSet<N>,
    answers: HashMap<N, A>,
    threads: usize,
    idle: usize,
    closed: bool,
}

impl<N: Name, A: Send + 'static> Asker<N, A> {
    /// Waits `limit` for all that is asked for in one scrape, together.
    pub(super) fn new(limit: Duration, call: impl Fn(&N) -> A + Send + Sync + 'static) -> Self {
        let state = State {
            queue: VecDeque::new(),
            asked: HashSet::new(),
            answers: HashMap::new(),
            threads: 0,
            idle: 0,
            closed: false,
        };
        let shared = Shared {
            call: Box::new(call),
            state: Mutex::new(state),
            work: Condvar::new(),
            answered: Condvar::new(),
        };
        Self { limit, shared: Arc::new(shared) }
    }

    /// The answers for `names`; of those that hang there is none.
    pub(super) fn ask<'a>(&self, names: impl Iterator<Item = &'a N>) -> HashMap<N, A> {
        self.answers(self.begin(names))
    }

    /// Begins to ask for `names`, so that something else can be done until they have answered.
    pub(super) fn begin<'a>(&self, names: impl Iterator<Item = &'a N>) -> Asked<N> {
        let mut state = self.shared.lock();
        // An answer that came after its scrape says only that it can be asked for again.
        state.answers.clear();
        let fresh: Vec<_> = names.filter(|name| !state.asked.contains(*name)).cloned().collect();
        if !fresh.is_empty() {
            state.queue.extend(fresh.iter().cloned());
            if state.idle == 0 {
                self.start(&mut state);
            }
            self.shared.work.notify_one();
        }
        Asked(fresh)
    }

    /// The answers for what was begun to be asked; of those that hang there is none.
    pub(super) fn answers(&self, asked: Asked<N>) -> HashMap<N, A> {
        let Asked(fresh) = asked;
        let mut state = self.shared.lock();
        // Not since they were asked: until now nobody has helped those that wait behind one that hangs.
        let stopwatch = Stopwatch::start();
        while !fresh.iter().all(|name| state.answers.contains_key(name)) {
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

    /// Starts one more thread where there may be one; without it some go unanswered.
    fn start(&self, state: &mut State<N, A>) {
        if state.threads < MOST_THREADS {
            let shared = Arc::clone(&self.shared);
            let thread = std::thread::Builder::new().name("asker".to_owned());
            state.threads += usize::from(thread.spawn(move || shared.serve()).is_ok());
        }
    }
}

impl<N: Name, A> Shared<N, A> {
    fn lock(&self) -> MutexGuard<'_, State<N, A>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a thread does.
    fn serve(&self) {
        let mut state = self.lock();
        while !state.closed {
            let Some(name) = state.queue.pop_front() else {
                // One thread is enough to begin the next scrape with.
                if state.idle > 0 {
                    break;
                }
                state.idle += 1;
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
                continue;
            };
            state.asked.insert(name.clone());
            drop(state);
            let answer = (self.call)(&name);
            state = self.lock();
            state.asked.remove(&name);
            state.answers.insert(name, answer);
            // Waking up who asks for every answer would cost more than most answers.
            if state.queue.is_empty() {
                self.answered.notify_all();
            }
        }
        state.threads -= 1;
    }
}

impl<N: Name, A: Send + 'static> Drop for Asker<N, A> {
    /// Idle threads end; one that hangs ends when its call returns, or with the process.
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.work.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    type Mounts = Asker<PathBuf, ()>;

    /// Answers when the file at `path` is gone.
    #[expect(clippy::ptr_arg, reason = "names are asked for as they are owned")]
    fn hang(path: &PathBuf) {
        while path.exists() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn answers(asker: &Mounts, mounts: &[PathBuf]) -> usize {
        asker.ask(mounts.iter()).len()
    }

    #[test]
    fn a_mount_that_hangs_costs_one_scrape_its_limit_and_no_other_one_anything() {
        let folder = tempfile::tempdir().unwrap();
        let hangs = folder.path().join("hangs");
        std::fs::write(&hangs, "").unwrap();
        let limit = Duration::from_secs(1);
        let asker = Asker::new(limit, hang);
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
        let asker = Asker::new(Duration::from_secs(2), hang);
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
        let asker = Asker::new(Duration::from_secs(5), hang);
        assert_eq!(answers(&asker, &["/none".into()]), 1);
        let shared = Arc::clone(&asker.shared);
        drop(asker);
        while shared.lock().threads > 0 {
            std::thread::yield_now();
        }
    }
}
