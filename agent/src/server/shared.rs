//! One page for all who ask for it at the same time.
//!
//! A page of metrics is some hundred kilobytes while it is made. Of those who ask at once, each would
//! have one of its own; here those who came while one was being made get the next one together.
//!
//! Invariant: nobody gets a page that was begun before they asked for it, one is made at a time, and
//! none is kept for longer than somebody waits.

use std::future::Future;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::Mutex;

/// Pages `P`, told apart by `K`.
#[derive(Debug)]
pub(super) struct Shared<K, P> {
    /// How many have ever asked.
    asked: AtomicU64,
    /// How many are waiting, or being served.
    present: AtomicUsize,
    /// The last page, for those who wait for it; held while one is made.
    made: Mutex<Option<Made<K, P>>>,
}

#[derive(Debug)]
struct Made<K, P> {
    kind: K,
    page: P,
    /// How many had asked when it was begun.
    begun: u64,
}

impl<K, P> Default for Shared<K, P> {
    fn default() -> Self {
        Self {
            asked: AtomicU64::default(),
            present: AtomicUsize::default(),
            made: Mutex::default(),
        }
    }
}

/// Somebody who waits.
struct Present<'p>(&'p AtomicUsize);

impl Drop for Present<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl<K: PartialEq, P: Clone> Shared<K, P> {
    /// How many have asked so far.
    pub(super) fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    /// A page of this `kind`, by `make` where nobody else has begun one since.
    pub(super) async fn get<F: Future<Output = P>>(&self, kind: K, make: impl FnOnce() -> F) -> P {
        self.present.fetch_add(1, Ordering::SeqCst);
        let _present = Present(&self.present);
        let number = self.asked.fetch_add(1, Ordering::SeqCst);
        let mut made = self.made.lock().await;
        let fresh = made.as_ref().filter(|made| made.kind == kind && made.begun > number);
        let page = match fresh {
            Some(made) => made.page.clone(),
            None => {
                *made = None;
                let begun = self.asked.load(Ordering::SeqCst);
                let page = make().await;
                *made = Some(Made { kind, page: page.clone(), begun });
                page
            }
        };
        if self.present.load(Ordering::SeqCst) == 1 {
            *made = None;
        }
        page
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Poll;

    use tokio::sync::Notify;

    use super::*;

    /// Polls `future` once, which is to wait.
    async fn begin(mut future: std::pin::Pin<&mut impl Future<Output = u32>>) {
        poll_fn(|context| {
            assert!(future.as_mut().poll(context).is_pending());
            Poll::Ready(())
        })
        .await;
    }

    #[tokio::test]
    async fn those_who_come_together_share_a_page_begun_after_they_came() {
        let (shared, made, go) = (Shared::default(), Cell::new(0), Notify::new());
        let get = |kind| {
            shared.get(kind, || async {
                go.notified().await;
                made.set(made.get() + 1);
                made.get()
            })
        };
        let (mut first, mut second, mut third) = (pin!(get('a')), pin!(get('a')), pin!(get('a')));
        let mut other = pin!(get('b'));
        begin(first.as_mut()).await;
        begin(second.as_mut()).await;
        begin(third.as_mut()).await;
        begin(other.as_mut()).await;
        go.notify_one();
        assert_eq!(first.await, 1);
        // The first page was begun before these had come, so that they get the second.
        begin(second.as_mut()).await;
        go.notify_one();
        assert_eq!((second.await, third.await), (2, 2));
        assert_eq!(shared.asked(), 4);
        go.notify_one();
        assert_eq!(other.await, 3);
        assert!(shared.made.lock().await.is_none());
    }

    #[tokio::test]
    async fn whoever_leaves_keeps_nobody_waiting() {
        let shared = Shared::default();
        {
            let mut gone = pin!(shared.get('a', std::future::pending));
            begin(gone.as_mut()).await;
        }
        assert_eq!(shared.get('a', || async { 7 }).await, 7);
        assert_eq!(shared.present.load(Ordering::SeqCst), 0);
    }
}
