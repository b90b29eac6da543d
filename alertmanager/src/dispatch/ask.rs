//! What others ask the loop of dispatch: since when there is a group, and when it is looked at next.
//!
//! Invariant: whoever asks waits for [`PATIENCE`] at most, and at most [`MOST`] wait; dispatch waits
//! for nobody.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::sample::Timestamp;
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

/// How long somebody waits for an answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// The most questions that wait; one more has no answer.
const MOST: usize = 64;

/// The times of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupTimes {
    /// When the first of its alerts was met.
    pub since: Timestamp,
    /// When it is looked at next; nothing where it has nothing to do.
    pub due: Option<Timestamp>,
}

/// The times of groups by their keys.
pub type TimesByGroup = HashMap<String, GroupTimes>;

/// Asks dispatch. Clones ask the same.
#[derive(Clone, Debug, Default)]
pub struct AskDispatch {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: Mutex<Vec<Question>>,
    asked: Notify,
}

#[derive(Debug)]
struct Question {
    keys: Vec<String>,
    answer: oneshot::Sender<TimesByGroup>,
}

impl AskDispatch {
    /// The times of those of the groups that there are; none where dispatch does not answer.
    pub async fn times(&self, keys: Vec<String>) -> TimesByGroup {
        let (answer, answered) = oneshot::channel();
        {
            let mut waiting = self.inner.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if waiting.len() >= MOST {
                return TimesByGroup::new();
            }
            waiting.push(Question { keys, answer });
        }
        self.inner.asked.notify_one();
        timeout(PATIENCE, answered).await.ok().and_then(Result::ok).unwrap_or_default()
    }

    /// Waits until somebody has asked.
    pub(super) async fn asked(&self) {
        self.inner.asked.notified().await;
    }

    /// Answers everybody.
    pub(super) fn answer(&self, times: impl Fn(&str) -> Option<GroupTimes>) {
        let mut waiting = self.inner.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        for Question { keys, answer } in waiting.drain(..) {
            let known = keys.into_iter().filter_map(|key| {
                let times = times(&key)?;
                Some((key, times))
            });
            // Whoever asked may have gone.
            let _ = answer.send(known.collect());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_asks_is_answered_or_waits_no_longer_than_it_may() {
        let ask = AskDispatch::default();
        let times = GroupTimes { since: Timestamp::from_millis(1), due: None };
        let asking = ask.times(vec!["a".to_owned(), "b".to_owned()]);
        let answering = async {
            ask.asked().await;
            ask.answer(|key| (key == "a").then_some(times));
        };
        let (answer, ()) = tokio::join!(asking, answering);
        assert_eq!(answer, TimesByGroup::from([("a".to_owned(), times)]));
        assert!(ask.times(vec!["a".to_owned()]).await.is_empty());
    }
}
