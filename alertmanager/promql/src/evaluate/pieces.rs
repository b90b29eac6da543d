//! Pieces of work made by several threads and taken by one, in their order.
//!
//! ```text
//! pieces    0 1 2 3 4 5 6 7 8 ...
//!           taken │ │ made │ └ not begun: too far ahead of what has been taken
//!                 │ └ whoever is free begins the next
//!                 └ the caller takes it, if it is there; if not it makes one itself
//! ```
//!
//! Invariant: what is taken, and in which order, does not depend on how many threads there are.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::EvalError;

/// The most threads of an evaluation: others want to go on, too.
const THREADS: usize = 4;

/// How many pieces of a thread may wait to be taken.
const AHEAD: usize = 4;

/// How many threads this machine has for an evaluation, the caller's included.
pub(super) fn threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from).min(THREADS)
}

/// Who makes which piece.
#[derive(Debug, Default)]
struct Turns {
    next: usize,
    taken: usize,
}

/// What the threads share.
struct Shared {
    count: usize,
    /// So many pieces may be begun beyond what has been taken.
    ahead: usize,
    turns: Mutex<Turns>,
    room: Condvar,
    over: AtomicBool,
}

impl Shared {
    fn turns(&self) -> MutexGuard<'_, Turns> {
        // Nothing that holds it panics between two of its changes, so it is whole.
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next piece to make, if there is room for it.
    fn begin(&self, turns: &mut Turns) -> Option<usize> {
        let next = turns.next;
        let free = next < self.count && next < turns.taken.saturating_add(self.ahead);
        turns.next += usize::from(free);
        free.then_some(next)
    }

    /// As [`Shared::begin`], as soon as there is room; nothing when all have been begun or nobody wants
    /// them any more.
    fn wait(&self) -> Option<usize> {
        let mut turns = self.turns();
        while !self.over.load(Ordering::Relaxed) && turns.next < self.count {
            if let Some(piece) = self.begin(&mut turns) {
                return Some(piece);
            }
            turns = self.room.wait(turns).unwrap_or_else(PoisonError::into_inner);
        }
        None
    }

    fn end(&self) {
        // Under the lock, so that nobody who has just looked misses it.
        let _turns = self.turns();
        self.over.store(true, Ordering::Relaxed);
        self.room.notify_all();
    }
}

/// Ends the work of all: the caller's when it is done, a helper's when it panics.
struct Ends<'a> {
    shared: &'a Shared,
    is_caller: bool,
}

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        if self.is_caller || thread::panicking() {
            self.shared.end();
        }
    }
}

type Made<T> = (usize, Result<T, EvalError>);

/// Makes the pieces 0 to `count` with so many threads, the caller's included, which takes them in their
/// order. `begin` makes what a thread keeps from piece to piece; `make` ends early when the flag that it
/// gets is set.
///
/// # Errors
///
/// The first that `make` or `take` says, in the order of the pieces.
pub(super) fn in_order<S, T: Send>(
    count: usize,
    threads: usize,
    begin: impl Fn() -> S + Sync,
    make: impl Fn(&mut S, usize, &AtomicBool) -> Result<T, EvalError> + Sync,
    mut take: impl FnMut(T) -> Result<(), EvalError>,
) -> Result<(), EvalError> {
    let shared = Shared {
        count,
        ahead: AHEAD.saturating_mul(threads),
        turns: Mutex::default(),
        room: Condvar::new(),
        over: AtomicBool::new(false),
    };
    thread::scope(|scope| {
        let _ends = Ends { shared: &shared, is_caller: true };
        // Nobody ever waits for room in it: there are no more pieces that were begun and not taken.
        let (give, given) = sync_channel::<Made<T>>(shared.ahead);
        for _ in 1..threads {
            let (give, shared, begin, make) = (give.clone(), &shared, &begin, &make);
            let help = move || {
                let _ends = Ends { shared, is_caller: false };
                let mut kept = begin();
                while let Some(piece) = shared.wait() {
                    if give.send((piece, make(&mut kept, piece, &shared.over))).is_err() {
                        break;
                    }
                }
            };
            let started = thread::Builder::new().name("query".to_owned()).spawn_scoped(scope, help);
            // A system that has no thread for us leaves more to those that there are.
            if started.is_err() {
                break;
            }
        }
        drop(give);
        let (mut made, mut kept) = (BTreeMap::new(), begin());
        for wanted in 0..count {
            let piece = loop {
                made.extend(given.try_iter());
                if let Some(piece) = made.remove(&wanted) {
                    break piece;
                }
                let begun = shared.begin(&mut shared.turns());
                let (piece, result) = match begun {
                    Some(piece) => (piece, make(&mut kept, piece, &shared.over)),
                    // Somebody is at it. They end without an answer by a panic only, which the scope
                    // passes on.
                    None => given.recv().map_err(|_| EvalError::Cancelled)?,
                };
                made.insert(piece, result);
            };
            take(piece?)?;
            shared.turns().taken = wanted + 1;
            shared.room.notify_all();
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNT: usize = 500;

    #[test]
    fn pieces_are_taken_in_their_order_whoever_makes_them() {
        for threads in [1, 2, 3, 8] {
            let mut taken = Vec::new();
            let make = |(): &mut (), piece, _: &AtomicBool| {
                // Some take longer than others.
                if piece % 7 == 0 {
                    thread::yield_now();
                }
                Ok(piece)
            };
            let take = |piece| {
                taken.push(piece);
                Ok(())
            };
            in_order(COUNT, threads, || (), make, take).unwrap();
            assert_eq!(taken, (0..COUNT).collect::<Vec<_>>(), "{threads}");
        }
    }

    #[test]
    fn nobody_runs_far_ahead() {
        let (threads, taken) = (3, Mutex::new(0));
        let make = |(): &mut (), piece, _: &AtomicBool| {
            assert!(piece < *taken.lock().unwrap() + AHEAD * threads);
            Ok(())
        };
        let take = |()| {
            *taken.lock().unwrap() += 1;
            Ok(())
        };
        in_order(COUNT, threads, || (), make, take).unwrap();
    }

    fn said(result: Result<(), EvalError>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn the_first_fault_ends_it() {
        for threads in [1, 2, 3] {
            let fault = |piece: usize| EvalError::Query(piece.to_string());
            let make = |(): &mut (), piece, _: &AtomicBool| {
                if piece < 20 { Ok(piece) } else { Err(fault(piece)) }
            };
            let result = in_order(COUNT, threads, || (), make, |_| Ok(()));
            assert_eq!(said(result), "20", "{threads}");
            let take = |piece| if piece < 5 { Ok(()) } else { Err(fault(piece)) };
            assert_eq!(said(in_order(COUNT, threads, || (), make, take)), "5", "{threads}");
        }
    }

    #[test]
    fn a_panic_is_the_callers_and_nobody_waits_for_ever() {
        let make = |(): &mut (), piece, _: &AtomicBool| {
            if piece == 100 { panic!("100") } else { Ok(piece) }
        };
        for threads in [1, 2, 3] {
            let all = || in_order(COUNT, threads, || (), make, |_| Ok(()));
            assert!(std::panic::catch_unwind(all).is_err(), "{threads}");
        }
    }
}
