//! The threads that start programs, and the queue before them.
//!
//! ```text
//! submit ─▶ queue ─▶ starter ─▶ queue ...        as many starters as there are processors
//!                       └ hangs: another one takes its place, and it ends when it is back
//! ```
//!
//! Whoever starts a program waits until it is loaded, which a file system that hangs can make long:
//! so they are threads of their own. A busy starter goes on with the next of the queue without being
//! woken for it, which would cost as much as a start.
//!
//! There are few, because a program that is being loaded holds, until then, a copy of every descriptor
//! that all others of us have: a script that ends meanwhile seems to have left somebody behind who
//! could still print. More at a time would not be faster either.
//!
//! Invariant: what is submitted is run once, or was taken back; one that hangs holds up no other.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::clock::Stopwatch;

/// A start that takes longer than this hangs.
pub(super) const HANGS: Duration = Duration::from_millis(500);
/// When so many hang none is replaced any more: what is then submitted waits for them.
const MOST_HANGING: usize = 512;
/// What a starter needs of its stack is far less; most of it is never touched.
const STACK: usize = 512 << 10;

/// How many there are: as many programs can be loaded at a time.
static STARTERS: LazyLock<usize> =
    LazyLock::new(|| std::thread::available_parallelism().map_or(2, usize::from));

/// Something to be done by a starter.
pub(super) trait Work: Send + Sync {
    /// Does it; `ready` is what became of the starter's own preparation.
    fn run(&self, ready: &io::Result<()>);

    /// Is told that [`Work::run`] panicked.
    fn broke_off(&self);
}

/// Starters that are prepared alike. The queue has at most one for each run, and those are limited.
pub(super) struct Pool {
    prepare: fn() -> io::Result<()>,
    state: Mutex<State>,
    /// There is something in the queue.
    work: Condvar,
}

struct State {
    queue: VecDeque<Arc<dyn Work>>,
    /// Starters that take from the queue; not those that hang.
    starters: usize,
    idle: usize,
    hanging: usize,
    /// What is being done, by its number, and since when.
    busy: Vec<(u64, Stopwatch)>,
    last: u64,
}

impl Pool {
    /// Without starters yet, each of which will call `prepare` first.
    pub(super) const fn new(prepare: fn() -> io::Result<()>) -> Self {
        let state = State {
            queue: VecDeque::new(),
            starters: 0,
            idle: 0,
            hanging: 0,
            busy: Vec::new(),
            last: 0,
        };
        Self { prepare, state: Mutex::new(state), work: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a starter do `work`.
    ///
    /// # Errors
    ///
    /// There is no starter, and the system gives us no thread for one.
    pub(super) fn submit(&'static self, work: Arc<dyn Work>) -> io::Result<()> {
        let mut state = self.lock();
        state.queue.push_back(work);
        if state.idle > 0 {
            drop(state);
            self.work.notify_one();
            return Ok(());
        }
        match self.grow(&mut state) {
            Err(error) if state.starters == 0 => {
                state.queue.pop_back();
                Err(error)
            }
            _ => Ok(()),
        }
    }

    /// Takes `work` back, where it was not begun.
    pub(super) fn take_back(&self, work: &Arc<dyn Work>) {
        self.lock().queue.retain(|other| !Arc::ptr_eq(other, work));
    }

    /// Puts others in the place of starters that hang.
    pub(super) fn relieve(&'static self) {
        let mut state = self.lock();
        let before = state.busy.len();
        state.busy.retain(|(_, since)| since.elapsed() < HANGS);
        let hanging = before - state.busy.len();
        state.hanging += hanging;
        state.starters -= hanging;
        while state.starters < state.queue.len() && self.grow(&mut state).is_ok_and(|grown| grown) {
        }
    }

    /// One starter more, where there may be one. Returns whether there is.
    fn grow(&'static self, state: &mut State) -> io::Result<bool> {
        if state.starters >= *STARTERS || state.hanging >= MOST_HANGING {
            return Ok(false);
        }
        let thread = std::thread::Builder::new().name("starter".to_owned()).stack_size(STACK);
        thread.spawn(|| self.serve())?;
        state.starters += 1;
        Ok(true)
    }

    /// What a starter does.
    fn serve(&self) {
        let ready = (self.prepare)();
        let mut state = self.lock();
        loop {
            let Some(work) = state.queue.pop_front() else {
                state.idle += 1;
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
                continue;
            };
            state.last += 1;
            let number = state.last;
            state.busy.push((number, Stopwatch::start()));
            drop(state);
            if catch_unwind(AssertUnwindSafe(|| work.run(&ready))).is_err() {
                work.broke_off();
            }
            drop(work);
            state = self.lock();
            let Some(at) = state.busy.iter().position(|(other, _)| *other == number) else {
                // Another has our place.
                state.hanging -= 1;
                return;
            };
            state.busy.swap_remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;

    /// Waits until it is let go, says so, and may panic.
    struct Held {
        go: Mutex<Receiver<()>>,
        done: SyncSender<&'static str>,
        panics: bool,
    }

    impl Work for Held {
        fn run(&self, ready: &io::Result<()>) {
            let _ = self.go.lock().unwrap_or_else(PoisonError::into_inner).recv();
            assert!(!self.panics, "as told");
            let _ = self.done.send(if ready.is_ok() { "done" } else { "not ready" });
        }

        fn broke_off(&self) {
            let _ = self.done.send("broke off");
        }
    }

    fn held(panics: bool) -> (Arc<dyn Work>, SyncSender<()>, Receiver<&'static str>) {
        let ((let_go, go), (done, told)) = (sync_channel(1), sync_channel(1));
        (Arc::new(Held { go: Mutex::new(go), done, panics }), let_go, told)
    }

    const SOON: Duration = Duration::from_secs(20);

    #[test]
    fn those_that_hang_are_replaced_and_end_when_they_are_back() {
        static POOL: Pool = Pool::new(|| Ok(()));
        let hanging: Vec<_> = (0..*STARTERS).map(|_| held(false)).collect();
        hanging.iter().for_each(|(work, ..)| POOL.submit(Arc::clone(work)).unwrap());
        let (work, go, told) = held(false);
        go.send(()).unwrap();
        POOL.submit(work).unwrap();
        let (forgotten, ..) = held(false);
        POOL.submit(Arc::clone(&forgotten)).unwrap();
        POOL.take_back(&forgotten);
        let answer = loop {
            if let Ok(answer) = told.recv_timeout(HANGS / 5) {
                break answer;
            }
            POOL.relieve();
        };
        assert_eq!(answer, "done");
        for (_, go, told) in &hanging {
            go.send(()).unwrap();
            assert_eq!(told.recv_timeout(SOON), Ok("done"));
        }
        while POOL.lock().hanging > 0 {
            std::thread::yield_now();
        }
        assert!(POOL.lock().starters <= *STARTERS && Arc::strong_count(&forgotten) == 1);
    }

    #[test]
    fn a_panic_ends_no_starter_and_its_work_is_told() {
        static POOL: Pool = Pool::new(|| Err(io::ErrorKind::PermissionDenied.into()));
        for (panics, expected) in [(true, "broke off"), (false, "not ready")] {
            for _ in 0..2 * *STARTERS {
                let (work, go, told) = held(panics);
                go.send(()).unwrap();
                POOL.submit(work).unwrap();
                assert_eq!(told.recv_timeout(SOON), Ok(expected));
            }
        }
    }
}
