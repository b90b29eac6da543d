//! Attempts on their way into the history: in the journal together with what they changed there,
//! and in the database a little later, many at once.
//!
//! Invariant: an attempt is in the journal until it is in the database; one that is in both is
//! written a second time and is the same.

use std::collections::VecDeque;
use std::io;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use super::history::{Attempt, AttemptAlert, AttemptResult};
use super::{Batch, Journal, Reader, State, StateError, Table, put_number, put_text, put_time};

/// The most that wait; of more, which a database that fails for long leads to, the oldest are
/// forgotten.
const MOST: usize = 20_000;
/// The most that are written in one transaction.
const AT_ONCE: usize = 1000;
/// The form in which attempts are written.
const FORM: u8 = 1;

/// What waits, with the ids of the records, oldest first.
#[derive(Debug, Default)]
pub(super) struct Unsaved {
    waiting: VecDeque<(u64, Attempt)>,
}

impl Unsaved {
    /// What a run before left.
    pub(super) fn read(journal: &Journal) -> io::Result<Self> {
        let mut unsaved = Self::default();
        journal.each(Table::Attempt, |record, bytes| {
            unsaved.waiting.extend(read(bytes).map(|attempt| (record, attempt)));
        })?;
        Ok(unsaved)
    }
}

impl State {
    /// Adds attempts to `batch`, which tells what they changed; to be followed by
    /// [`State::attempted`] when it is written.
    pub fn put_attempts(&self, batch: &mut Batch, attempts: &[Attempt]) -> Vec<(u64, Attempt)> {
        let put = |attempt: &Attempt| {
            let record = self.journal.new_id();
            batch.put(Table::Attempt, record, |to| write(to, attempt));
            (record, attempt.clone())
        };
        attempts.iter().map(put).collect()
    }

    /// Notes that attempts are in the journal.
    pub fn attempted(&self, attempts: Vec<(u64, Attempt)>) {
        let mut unsaved = self.unsaved();
        unsaved.waiting.extend(attempts);
        let more = unsaved.waiting.len().saturating_sub(MOST);
        if more > 0 {
            tracing::error!(
                attempts = more,
                "the history cannot be written; the oldest is forgotten"
            );
            let mut batch = Batch::default();
            for (record, _) in unsaved.waiting.drain(..more) {
                batch.remove(Table::Attempt, record);
            }
            if let Err(error) = self.journal.write(batch) {
                tracing::error!(%error, "the journal cannot be written");
            }
        }
    }

    /// Moves what waits into the database.
    ///
    /// # Errors
    ///
    /// The database or the journal failed; what is not moved goes on waiting.
    pub async fn save_history(&self) -> Result<(), StateError> {
        loop {
            let some: Vec<_> = self.unsaved().waiting.iter().take(AT_ONCE).cloned().collect();
            if some.is_empty() {
                return Ok(());
            }
            let (records, attempts): (Vec<_>, Vec<_>) = some.into_iter().unzip();
            self.save_attempts(&attempts).await?;
            let mut batch = Batch::default();
            records.iter().for_each(|record| batch.remove(Table::Attempt, *record));
            self.journal.write(batch)?;
            self.unsaved().waiting.retain(|(record, _)| !records.contains(record));
        }
    }

    fn unsaved(&self) -> MutexGuard<'_, Unsaved> {
        self.unsaved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write(to: &mut Vec<u8>, attempt: &Attempt) {
    to.push(FORM);
    put_time(to, attempt.at);
    put_number(to, u64::try_from(attempt.took.as_millis()).unwrap_or(u64::MAX));
    for text in [&attempt.receiver, &attempt.lane, &attempt.group_key, &attempt.message] {
        put_text(to, text);
    }
    put_number(to, u64::from(attempt.number));
    put_text(to, &attempt.reason);
    put_number(to, attempt.alerts.len() as u64);
    for alert in &attempt.alerts {
        put_number(to, alert.fingerprint);
        put_text(to, &alert.name);
        to.push(u8::from(alert.firing));
    }
    put_number(to, attempt.alert_count as u64);
    put_text(to, attempt.result.as_str());
    put_text(to, &attempt.answer);
}

fn read(record: &[u8]) -> Option<Attempt> {
    let mut reader = Reader::new(record);
    if reader.byte()? != FORM {
        return None;
    }
    let at = reader.time()?;
    let took = Duration::from_millis(reader.number()?);
    let receiver = reader.text()?.to_owned();
    let lane = reader.text()?.to_owned();
    let group_key = reader.text()?.to_owned();
    let message = reader.text()?.to_owned();
    let number = u32::try_from(reader.number()?).ok()?;
    let reason = reader.text()?.to_owned();
    let mut alerts = Vec::new();
    for _ in 0..reader.count()? {
        let fingerprint = reader.number()?;
        let name = reader.text()?.to_owned();
        alerts.push(AttemptAlert { fingerprint, name, firing: reader.byte()? != 0 });
    }
    let alert_count = usize::try_from(reader.number()?).ok()?;
    let result = AttemptResult::named(reader.text()?)?;
    let answer = reader.text()?.to_owned();
    Some(Attempt {
        at,
        took,
        receiver,
        lane,
        group_key,
        message,
        number,
        reason,
        alerts,
        alert_count,
        result,
        answer,
    })
}

#[cfg(test)]
mod tests {
    use base::sample::Timestamp;

    use super::super::history::AttemptFilter;
    use super::*;

    fn attempt(message: &str) -> Attempt {
        let alert = AttemptAlert { fingerprint: u64::MAX, name: "Down".to_owned(), firing: true };
        Attempt {
            at: Timestamp::from_millis(5),
            took: Duration::from_millis(7),
            receiver: "ops".to_owned(),
            lane: "ops/mail/0".to_owned(),
            group_key: "{}:{}".to_owned(),
            message: message.to_owned(),
            number: 2,
            reason: "first".to_owned(),
            alerts: vec![alert],
            alert_count: 9,
            result: AttemptResult::Shortened,
            answer: "no".to_owned(),
        }
    }

    #[tokio::test]
    async fn what_a_crash_left_in_the_journal_is_in_the_history_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("state.db");
        {
            let state = State::open(&file).await.unwrap();
            for message in ["a", "b"] {
                let mut batch = Batch::default();
                let attempts = state.put_attempts(&mut batch, &[attempt(message)]);
                state.journal().write(batch).unwrap();
                state.attempted(attempts);
            }
            // In the database already, and the crash comes before the journal knows.
            state.save_attempts(&[attempt("a")]).await.unwrap();
        }
        let state = State::open(&file).await.unwrap();
        let all = AttemptFilter { limit: 10, ..AttemptFilter::default() };
        assert_eq!(state.attempts(&all).await.unwrap(), [attempt("b"), attempt("a")]);
        drop(state);
        let state = State::open(&file).await.unwrap();
        assert!(state.unsaved().waiting.is_empty());
    }
}
