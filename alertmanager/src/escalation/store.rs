//! All bouts by the keys of their groups, and who has which in hand.
//!
//! Its bound is the number of groups that fire: a bout ends with its group.
//!
//! Invariant: the journal is written first; an acknowledgement that was answered `Ok` is on the disk.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::own_metrics::{IntCounter, IntCounterVec, OwnMetrics};
use base::period::Period;
use base::sample::Timestamp;
use tokio::sync::Notify;
use tracing::info;

use super::bout::{Acknowledgement, Bout, Progress};
use super::record;
use crate::state::{Batch, Journal, State, StateError, Table};

/// The longest name, and the longest comment, in characters.
const LONGEST_NAME: usize = 200;
const LONGEST_COMMENT: usize = 2000;

/// Why nobody has taken anything.
#[derive(Debug, thiserror::Error)]
pub enum AcknowledgeError {
    /// It cannot be told who it is, or what they say.
    #[error("{0}")]
    Invalid(String),
    /// The state failed.
    #[error(transparent)]
    State(#[from] StateError),
}

/// A group that somebody wants to take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Its key.
    pub key: String,
    /// For how long, if that is limited.
    pub timeout: Option<Period>,
}

/// What became of a group that somebody wanted to take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Its key.
    pub key: String,
    /// Who has it now: whoever asked, or who was first.
    pub has: Acknowledgement,
    /// Whether somebody had it already (A4.5).
    pub already: bool,
}

/// All bouts. Clones share them; the default is one that nothing keeps.
#[derive(Clone, Debug, Default)]
pub struct Escalations {
    journal: Option<Journal>,
    counters: Option<Counters>,
    inner: Arc<Mutex<Inner>>,
    changed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Inner {
    bouts: HashMap<String, Kept>,
    /// Groups that somebody took or gave back since dispatch last asked.
    news: BTreeSet<String>,
}

#[derive(Clone, Debug)]
struct Kept {
    bout: Arc<Bout>,
    record: u64,
}

#[derive(Clone, Debug)]
struct Counters {
    steps: IntCounterVec,
    again: IntCounter,
    unreachable: IntCounter,
}

impl Escalations {
    /// Reads what a run before left.
    ///
    /// # Errors
    ///
    /// The journal cannot be read. A record that is not ours is left out with a warning.
    pub fn open(state: &State, metrics: &OwnMetrics) -> Result<Self, StateError> {
        let journal = state.journal().clone();
        let mut inner = Inner::default();
        journal.each(Table::Bout, |record, bytes| match record::read(bytes) {
            Some((key, bout)) => {
                inner.bouts.insert(key, Kept { bout: Arc::new(bout), record });
            }
            None => tracing::warn!("a record of an escalation cannot be read"),
        })?;
        let counters = Counters {
            steps: metrics.counters(
                "veilleur_escalations_total",
                "How often the step of that number was run because nobody had answered.",
                &["step"],
            ),
            again: metrics.counter(
                "veilleur_escalation_reminders_total",
                "How often the last step was told again because nobody had answered.",
            ),
            unreachable: metrics.counter(
                "veilleur_escalation_unreachable_total",
                "Steps that were run and lead to a receiver without a way to be told.",
            ),
        };
        let inner = Arc::new(Mutex::new(inner));
        let (journal, counters) = (Some(journal), Some(counters));
        Ok(Self { journal, counters, inner, changed: Arc::default() })
    }

    /// The bout of a group, if it has one.
    pub fn get(&self, key: &str) -> Option<Arc<Bout>> {
        self.lock().bouts.get(key).map(|kept| Arc::clone(&kept.bout))
    }

    /// All of them, by the keys of their groups.
    pub fn all(&self) -> Vec<(String, Arc<Bout>)> {
        let inner = self.lock();
        let all = inner.bouts.iter().map(|(key, kept)| (key.clone(), Arc::clone(&kept.bout)));
        let mut all: Vec<_> = all.collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    /// Whether somebody has a group in hand.
    pub fn is_acknowledged(&self, key: &str) -> bool {
        self.lock().bouts.get(key).is_some_and(|kept| kept.bout.acknowledged.is_some())
    }

    /// Begins a bout, unless there is one. It is on the disk with whatever is waited for next.
    ///
    /// # Errors
    ///
    /// The journal failed; there is none.
    pub fn begin(&self, key: &str, now: Timestamp) -> Result<(), StateError> {
        let mut inner = self.lock();
        if !inner.bouts.contains_key(key) {
            self.keep(&mut inner, vec![(key.to_owned(), Bout::beginning(now))])?;
        }
        Ok(())
    }

    /// Does something with a bout, if there is one; gives what came of it.
    ///
    /// # Errors
    ///
    /// The journal failed; it is as before.
    pub fn advance(
        &self,
        key: &str,
        advance: impl FnOnce(&mut Bout) -> Progress,
    ) -> Result<Progress, StateError> {
        let mut inner = self.lock();
        let Some(kept) = inner.bouts.get(key) else { return Ok(Progress::default()) };
        let mut bout = Bout::clone(&kept.bout);
        let progress = advance(&mut bout);
        if bout != *kept.bout {
            self.keep(&mut inner, vec![(key.to_owned(), bout)])?;
        }
        if let Some(counters) = &self.counters {
            for place in &progress.steps {
                counters.steps.with_label_values(&[&(place + 1).to_string()]).inc();
            }
            counters.again.inc_by(u64::from(progress.again));
            counters.unreachable.inc_by(progress.unreachable as u64);
        }
        Ok(progress)
    }

    /// Ends a bout: nothing of its group fires any more.
    ///
    /// # Errors
    ///
    /// The journal failed; it goes on.
    pub fn end(&self, key: &str) -> Result<(), StateError> {
        let mut inner = self.lock();
        let Some(kept) = inner.bouts.get(key) else { return Ok(()) };
        if let Some(journal) = &self.journal {
            let mut batch = Batch::default();
            batch.remove(Table::Bout, kept.record);
            journal.write(batch)?;
        }
        inner.bouts.remove(key);
        Ok(())
    }

    /// Somebody has these groups in hand from `now` on. Who was first keeps a group.
    ///
    /// # Errors
    ///
    /// Nobody has taken anything; where the disk failed last of all, they perhaps have.
    pub async fn acknowledge(
        &self,
        asked: Vec<Asked>,
        by: &str,
        comment: &str,
        now: Timestamp,
    ) -> Result<Vec<Taken>, AcknowledgeError> {
        let (by, comment) = (name(by)?, text("comment", comment, LONGEST_COMMENT)?);
        let mut taken = Vec::new();
        {
            let mut inner = self.lock();
            let mut changed = Vec::new();
            for Asked { key, timeout } in asked {
                let before = inner.bouts.get(&key).map(|kept| Bout::clone(&kept.bout));
                let mut bout = before.unwrap_or_else(|| Bout::beginning(now));
                let already = bout.acknowledged.clone();
                let has = already.clone().unwrap_or_else(|| Acknowledgement {
                    by: by.clone(),
                    comment: comment.clone(),
                    at: now,
                    until: timeout.map(|timeout| now + timeout.duration()),
                });
                if already.is_none() {
                    bout.acknowledged = Some(has.clone());
                    bout.exhausted = false;
                    changed.push((key.clone(), bout));
                }
                taken.push(Taken { key, has, already: already.is_some() });
            }
            let keys: Vec<String> = changed.iter().map(|(key, _)| key.clone()).collect();
            self.keep(&mut inner, changed)?;
            keys.iter().for_each(|group| info!(group, by, "a group is acknowledged"));
            inner.news.extend(keys);
        }
        self.settle().await?;
        Ok(taken)
    }

    /// Whoever has these groups in hand gives them back at `now`; gives the keys of those that
    /// somebody had.
    ///
    /// # Errors
    ///
    /// As [`Escalations::acknowledge`].
    pub async fn release(
        &self,
        keys: Vec<String>,
        now: Timestamp,
    ) -> Result<Vec<String>, AcknowledgeError> {
        let released: Vec<String> = {
            let mut inner = self.lock();
            let mut changed = Vec::new();
            for key in keys {
                let Some(kept) = inner.bouts.get(&key) else { continue };
                if kept.bout.acknowledged.is_some() {
                    let mut bout = Bout::clone(&kept.bout);
                    bout.begin_anew(false, now);
                    changed.push((key, bout));
                }
            }
            let keys: Vec<String> = changed.iter().map(|(key, _)| key.clone()).collect();
            self.keep(&mut inner, changed)?;
            keys.iter().for_each(|group| info!(group, "a group is given back"));
            inner.news.extend(keys.iter().cloned());
            keys
        };
        self.settle().await?;
        Ok(released)
    }

    /// The groups that somebody took or gave back since the last call.
    pub fn take_news(&self) -> BTreeSet<String> {
        std::mem::take(&mut self.lock().news)
    }

    /// Waits until somebody has taken or given back a group.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Wakes dispatch, and waits until what was written is on the disk: also what somebody else has
    /// just written, whom this one is told of.
    async fn settle(&self) -> Result<(), StateError> {
        self.changed.notify_one();
        if let Some(journal) = &self.journal {
            journal.sync().await?;
        }
        Ok(())
    }

    fn keep(&self, inner: &mut Inner, bouts: Vec<(String, Bout)>) -> Result<(), StateError> {
        let mut batch = Batch::default();
        let mut kept = Vec::with_capacity(bouts.len());
        for (key, bout) in bouts {
            let known = inner.bouts.get(&key).map(|kept| kept.record);
            let new_id = || self.journal.as_ref().map_or(0, Journal::new_id);
            let record = known.unwrap_or_else(new_id);
            batch.put(Table::Bout, record, |to| record::put(to, &key, &bout));
            kept.push((key, Kept { bout: Arc::new(bout), record }));
        }
        if let Some(journal) = &self.journal {
            journal.write(batch)?;
        }
        inner.bouts.extend(kept);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name(by: &str) -> Result<String, AcknowledgeError> {
    let by = text("by", by, LONGEST_NAME)?;
    match by.is_empty() {
        true => Err(AcknowledgeError::Invalid("by: who are you?".to_owned())),
        false => Ok(by),
    }
}

/// A text on one line.
fn text(name: &str, text: &str, most: usize) -> Result<String, AcknowledgeError> {
    let text = text.trim().replace(char::is_control, " ");
    match text.chars().count() > most {
        true => Err(AcknowledgeError::Invalid(format!("{name}: at most {most} characters"))),
        false => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::super::bout::Seen;
    use super::super::policy::{Policy, Step};
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn asked(key: &str) -> Vec<Asked> {
        vec![Asked { key: key.to_owned(), timeout: Some(Period::from_secs(60)) }]
    }

    #[tokio::test]
    async fn the_first_has_it_and_others_are_told_who_also_after_a_restart_a4_5() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("state.db");
        let state = State::open(&file).await.unwrap();
        let all = Escalations::open(&state, &OwnMetrics::new()).unwrap();
        all.begin("g", at(1)).unwrap();
        let first = all.acknowledge(asked("g"), " anna\n", "on it", at(2)).await.unwrap();
        assert_eq!((first[0].has.by.as_str(), first[0].already), ("anna", false));
        assert_eq!(all.take_news(), BTreeSet::from(["g".to_owned()]));
        state.close().await;
        let state = State::open(&file).await.unwrap();
        let all = Escalations::open(&state, &OwnMetrics::new()).unwrap();
        let second = all.acknowledge(asked("g"), "bob", "", at(3)).await.unwrap();
        assert_eq!(second, [Taken { already: true, ..first[0].clone() }]);
        assert!(all.take_news().is_empty(), "nothing has changed");
        assert_eq!(all.release(vec!["g".to_owned(), "x".to_owned()], at(4)).await.unwrap(), ["g"]);
        assert!(all.release(vec!["g".to_owned()], at(5)).await.unwrap().is_empty());
        assert_eq!(all.get("g").unwrap().since, at(4));
        all.end("g").unwrap();
        state.close().await;
        let state = State::open(&file).await.unwrap();
        assert!(Escalations::open(&state, &OwnMetrics::new()).unwrap().all().is_empty());
    }

    #[tokio::test]
    async fn who_says_nothing_or_too_much_takes_nothing() {
        let all = Escalations::default();
        for (by, comment, expected) in [
            ("", "", "by: who are you?"),
            (" \n", "", "by: who are you?"),
            (&"x".repeat(201), "", "by: at most 200 characters"),
            ("anna", &"x".repeat(2001), "comment: at most 2000 characters"),
        ] {
            let error = all.acknowledge(asked("g"), by, comment, at(1)).await.unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
        assert!(all.all().is_empty());
    }

    #[tokio::test]
    async fn what_the_disk_does_not_take_has_not_happened() {
        let state = State::in_memory().await.unwrap();
        let metrics = OwnMetrics::new();
        let all = Escalations::open(&state, &metrics).unwrap();
        all.begin("g", at(0)).unwrap();
        let step = Step { after: Period::from_secs(1), receiver: "r".to_owned() };
        let policy = Policy { steps: vec![step], ..Policy::default() };
        let advance = |bout: &mut Bout| bout.advance(&policy, Seen::Firing, &|_| true, at(9));
        state.journal().fill();
        assert!(all.begin("h", at(1)).is_err() && all.get("h").is_none());
        assert!(all.advance("g", advance).is_err() && all.get("g").unwrap().reached.is_empty());
        assert!(all.acknowledge(asked("g"), "anna", "", at(2)).await.is_err());
        assert!(!all.is_acknowledged("g") && all.take_news().is_empty());
        assert!(all.end("g").is_err() && all.get("g").is_some());
    }
}
