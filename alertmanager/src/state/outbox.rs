//! The outbox, and what came of it: what each receiver is to be told, and what it was last told.
//!
//! A lane has at most one intent a group, always the newest: what a receiver has not been told yet
//! is replaced by what is true now, so a receiver that was away is told the present, not the past
//! (F11, F18).
//!
//! Invariant: an intent leaves the outbox together with the note of what was told, in one
//! transaction.

use base::sample::Timestamp;
use sqlx::{Any, Row, Transaction};

use super::history::{Attempt, write_attempts};
use super::in_flight::landed;
use super::{State, StateError};

/// Something that a receiver is to be told of a group.
#[derive(Clone, Debug, PartialEq)]
pub struct Intent {
    /// Names it on the wire, also when it is tried again: the `Message-ID`, the key.
    pub id: String,
    /// The receiver's lane.
    pub lane: String,
    /// The group.
    pub group_key: String,
    /// When it was decided.
    pub created_at: Timestamp,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is due.
    pub next_at: Timestamp,
    /// Why the last try failed.
    pub last_error: String,
    /// Whether the service has refused it for good, and what replaced it since.
    pub refused: bool,
    /// What is to be told, as JSON.
    pub flush: String,
}

/// What a receiver was last told of a group.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// The receiver's lane.
    pub lane: String,
    /// The group.
    pub group_key: String,
    /// The id of the first message since the group last was all clear: the thread.
    pub thread: String,
    /// When.
    pub told_at: Timestamp,
    /// The alerts that it was told are firing, as a JSON list.
    pub alerts: String,
}

impl State {
    /// Everything that was told.
    ///
    /// # Errors
    ///
    /// The database failed.
    pub async fn told(&self) -> Result<Vec<Told>, StateError> {
        let rows = sqlx::query("SELECT lane, group_key, thread, told_at, alerts FROM told")
            .fetch_all(&self.pool)
            .await?;
        let read = |row: &sqlx::any::AnyRow| {
            Ok(Told {
                lane: row.try_get("lane")?,
                group_key: row.try_get("group_key")?,
                thread: row.try_get("thread")?,
                told_at: Timestamp::from_millis(row.try_get("told_at")?),
                alerts: row.try_get("alerts")?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// Everything that is waiting, oldest first.
    ///
    /// # Errors
    ///
    /// The database failed.
    pub async fn outbox(&self) -> Result<Vec<Intent>, StateError> {
        let rows = sqlx::query(
            "SELECT id, lane, group_key, created_at, attempts, next_at, last_error, refused, \
             flush FROM outbox ORDER BY created_at, id",
        )
        .fetch_all(&self.pool)
        .await?;
        let read = |row: &sqlx::any::AnyRow| {
            Ok(Intent {
                id: row.try_get("id")?,
                lane: row.try_get("lane")?,
                group_key: row.try_get("group_key")?,
                created_at: Timestamp::from_millis(row.try_get("created_at")?),
                attempts: u32::try_from(row.try_get::<i64, _>("attempts")?).unwrap_or(u32::MAX),
                next_at: Timestamp::from_millis(row.try_get("next_at")?),
                last_error: row.try_get("last_error")?,
                refused: row.try_get::<i64, _>("refused")? != 0,
                flush: row.try_get("flush")?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// Puts intents into the outbox, each in place of an older one of its lane and group.
    ///
    /// # Errors
    ///
    /// The database failed; none is in.
    pub async fn enqueue(&self, intents: &[Intent]) -> Result<(), StateError> {
        let mut transaction = self.pool.begin().await?;
        for intent in intents {
            remove_intent(&mut transaction, &intent.lane, &intent.group_key).await?;
            sqlx::query(
                "INSERT INTO outbox (id, lane, group_key, created_at, attempts, next_at, \
                 last_error, refused, flush) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            )
            .bind(intent.id.clone())
            .bind(intent.lane.clone())
            .bind(intent.group_key.clone())
            .bind(intent.created_at.millis())
            .bind(i64::from(intent.attempts))
            .bind(intent.next_at.millis())
            .bind(intent.last_error.clone())
            .bind(i64::from(intent.refused))
            .bind(intent.flush.clone())
            .execute(&mut *transaction)
            .await?;
        }
        Ok(transaction.commit().await?)
    }

    /// Puts newer texts into the intent `id`, if it is still there.
    ///
    /// # Errors
    ///
    /// The database failed.
    pub async fn refresh_intent(&self, id: &str, flush: &str) -> Result<(), StateError> {
        sqlx::query("UPDATE outbox SET flush = $1 WHERE id = $2")
            .bind(flush.to_owned())
            .bind(id.to_owned())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Takes an intent out unsent: there is nothing to tell any more. `told` is what its receiver
    /// counts as told from now on, where it may have been told and no answer came.
    ///
    /// # Errors
    ///
    /// The database failed.
    pub async fn withdraw(
        &self,
        lane: &str,
        group_key: &str,
        told: Option<&Told>,
    ) -> Result<(), StateError> {
        let mut transaction = self.pool.begin().await?;
        remove_intent(&mut transaction, lane, group_key).await?;
        landed(&mut transaction, lane, group_key).await?;
        if let Some(told) = told {
            write_told(&mut transaction, told).await?;
        }
        Ok(transaction.commit().await?)
    }

    /// Notes that the intent `id` was delivered, in the last of `attempts`: it leaves the outbox, and
    /// `told` is what its receiver knows now; nothing, where it is `clear`. An intent that has
    /// replaced it meanwhile stays.
    ///
    /// # Errors
    ///
    /// The database failed; the intent will be delivered again, under the same id.
    pub async fn delivered(
        &self,
        id: &str,
        told: &Told,
        clear: bool,
        attempts: &[Attempt],
    ) -> Result<(), StateError> {
        let mut transaction = self.pool.begin().await?;
        sqlx::query("DELETE FROM outbox WHERE id = $1")
            .bind(id.to_owned())
            .execute(&mut *transaction)
            .await?;
        if clear {
            forget_told(&mut transaction, &told.lane, &told.group_key).await?;
        } else {
            write_told(&mut transaction, told).await?;
        }
        landed(&mut transaction, &told.lane, &told.group_key).await?;
        write_attempts(&mut transaction, attempts).await?;
        Ok(transaction.commit().await?)
    }

    /// Writes what a lane counts as told without a message.
    ///
    /// # Errors
    ///
    /// The database failed.
    pub async fn count_as_told(&self, told: &Told) -> Result<(), StateError> {
        let mut transaction = self.pool.begin().await?;
        write_told(&mut transaction, told).await?;
        Ok(transaction.commit().await?)
    }

    /// Notes that an intent could not be delivered, in `attempts`, and when it is due again; unless it
    /// `may_have_arrived`.
    ///
    /// # Errors
    ///
    /// The database failed.
    pub async fn postponed(
        &self,
        intent: &Intent,
        may_have_arrived: bool,
        attempts: &[Attempt],
    ) -> Result<(), StateError> {
        let mut transaction = self.pool.begin().await?;
        sqlx::query(
            "UPDATE outbox SET attempts = $1, next_at = $2, last_error = $3, refused = $4 \
             WHERE id = $5",
        )
        .bind(i64::from(intent.attempts))
        .bind(intent.next_at.millis())
        .bind(intent.last_error.clone())
        .bind(i64::from(intent.refused))
        .bind(intent.id.clone())
        .execute(&mut *transaction)
        .await?;
        if !may_have_arrived {
            landed(&mut transaction, &intent.lane, &intent.group_key).await?;
        }
        write_attempts(&mut transaction, attempts).await?;
        Ok(transaction.commit().await?)
    }

    /// Forgets what a lane was told of a group: all clear, or the lane is gone.
    ///
    /// # Errors
    ///
    /// The database failed.
    pub async fn forget_told(&self, lane: &str, group_key: &str) -> Result<(), StateError> {
        let mut transaction = self.pool.begin().await?;
        forget_told(&mut transaction, lane, group_key).await?;
        Ok(transaction.commit().await?)
    }
}

async fn forget_told(
    transaction: &mut Transaction<'_, Any>,
    lane: &str,
    group_key: &str,
) -> Result<(), StateError> {
    sqlx::query("DELETE FROM told WHERE lane = $1 AND group_key = $2")
        .bind(lane.to_owned())
        .bind(group_key.to_owned())
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

async fn remove_intent(
    transaction: &mut Transaction<'_, Any>,
    lane: &str,
    group_key: &str,
) -> Result<(), StateError> {
    sqlx::query("DELETE FROM outbox WHERE lane = $1 AND group_key = $2")
        .bind(lane.to_owned())
        .bind(group_key.to_owned())
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

async fn write_told(transaction: &mut Transaction<'_, Any>, told: &Told) -> Result<(), StateError> {
    sqlx::query(
        "INSERT INTO told (lane, group_key, thread, told_at, alerts) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (lane, group_key) DO UPDATE SET thread = excluded.thread, \
         told_at = excluded.told_at, alerts = excluded.alerts",
    )
    .bind(told.lane.clone())
    .bind(told.group_key.clone())
    .bind(told.thread.clone())
    .bind(told.told_at.millis())
    .bind(told.alerts.clone())
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intent(id: &str, flush: &str) -> Intent {
        Intent {
            id: id.to_owned(),
            lane: "ops/mail/0".to_owned(),
            group_key: "{}:{}".to_owned(),
            created_at: Timestamp::from_millis(10),
            attempts: 0,
            next_at: Timestamp::from_millis(10),
            last_error: String::new(),
            refused: false,
            flush: flush.to_owned(),
        }
    }

    fn told(thread: &str) -> Told {
        Told {
            lane: "ops/mail/0".to_owned(),
            group_key: "{}:{}".to_owned(),
            thread: thread.to_owned(),
            told_at: Timestamp::from_millis(20),
            alerts: "[]".to_owned(),
        }
    }

    #[tokio::test]
    async fn an_intent_is_replaced_by_what_is_true_now() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("state.db");
        {
            let state = State::open(&file).await.unwrap();
            state.enqueue(&[intent("1", "firing")]).await.unwrap();
            state.enqueue(&[intent("2", "resolved")]).await.unwrap();
        }
        // As after a crash.
        let state = State::open(&file).await.unwrap();
        assert_eq!(state.outbox().await.unwrap(), [intent("2", "resolved")]);
        state.withdraw("ops/mail/0", "{}:{}", None).await.unwrap();
        assert!(state.outbox().await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn delivery_and_what_was_told_are_one_step() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(&dir.path().join("state.db")).await.unwrap();
        state.enqueue(&[intent("1", "x")]).await.unwrap();
        state.delivered("1", &told("1"), false, &[]).await.unwrap();
        assert!(state.outbox().await.unwrap().is_empty());
        assert_eq!(state.told().await.unwrap(), [told("1")]);

        // A newer intent that came while the old one was on its way stays.
        state.enqueue(&[intent("2", "y")]).await.unwrap();
        state.enqueue(&[intent("3", "z")]).await.unwrap();
        state.delivered("2", &told("1"), false, &[]).await.unwrap();
        assert_eq!(state.outbox().await.unwrap(), [intent("3", "z")]);
        let last_error = "no".to_owned();
        let later = Intent { attempts: 2, last_error, refused: true, ..intent("3", "z") };
        state.postponed(&later, false, &[]).await.unwrap();
        assert_eq!(state.outbox().await.unwrap(), [later]);
        state.forget_told("ops/mail/0", "{}:{}").await.unwrap();
        assert!(state.told().await.unwrap().is_empty());
    }
}
