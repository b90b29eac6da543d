//! Silences, each with all its revisions.
//!
//! Invariant: what is read of a silence is its last revision.

use base::sample::Timestamp;
use sqlx::Row;

use super::{State, StateError};
use crate::crash;

/// A revision of a silence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSilence {
    /// By what it is known.
    pub id: String,
    /// When it was written.
    pub updated_at: Timestamp,
    /// Until when it holds.
    pub ends_at: Timestamp,
    /// The rest, as JSON.
    pub body: String,
}

impl State {
    /// The last revision of every silence.
    ///
    /// # Errors
    ///
    /// The database failed.
    pub async fn silences(&self) -> Result<Vec<StoredSilence>, StateError> {
        let rows = sqlx::query(
            "SELECT id, updated_at, ends_at, body FROM silences s WHERE revision = \
             (SELECT MAX(revision) FROM silences WHERE id = s.id)",
        )
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(read).collect()
    }

    /// The revision of every silence that was its last at `at`.
    ///
    /// # Errors
    ///
    /// The database failed.
    pub async fn silences_as_of(&self, at: Timestamp) -> Result<Vec<StoredSilence>, StateError> {
        let rows = sqlx::query(
            "SELECT id, updated_at, ends_at, body FROM silences s WHERE revision = \
             (SELECT MAX(revision) FROM silences WHERE id = s.id AND updated_at <= $1)",
        )
        .bind(at.millis())
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(read).collect()
    }

    /// Adds a revision to each of some silences, all or none.
    ///
    /// # Errors
    ///
    /// The database failed; none is added.
    pub async fn save_silences(&self, silences: &[StoredSilence]) -> Result<(), StateError> {
        let mut transaction = self.pool.begin().await?;
        for silence in silences {
            sqlx::query(
                "INSERT INTO silences (id, revision, updated_at, ends_at, body) VALUES ($1, \
                 (SELECT COALESCE(MAX(revision), 0) + 1 FROM silences WHERE id = $1), $2, $3, $4)",
            )
            .bind(silence.id.clone())
            .bind(silence.updated_at.millis())
            .bind(silence.ends_at.millis())
            .bind(silence.body.clone())
            .execute(&mut *transaction)
            .await?;
        }
        crash::point("silences.saving");
        transaction.commit().await?;
        crash::point("silences.saved");
        Ok(())
    }

    /// Forgets the silences whose last revision ended before `end`.
    ///
    /// # Errors
    ///
    /// The database failed.
    pub async fn forget_silences(&self, end: Timestamp) -> Result<(), StateError> {
        sqlx::query(
            "DELETE FROM silences WHERE id IN (SELECT id FROM silences s WHERE ends_at < $1 AND \
             revision = (SELECT MAX(revision) FROM silences WHERE id = s.id))",
        )
        .bind(end.millis())
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}

fn read(row: &sqlx::any::AnyRow) -> Result<StoredSilence, StateError> {
    Ok(StoredSilence {
        id: row.try_get("id")?,
        updated_at: Timestamp::from_millis(row.try_get("updated_at")?),
        ends_at: Timestamp::from_millis(row.try_get("ends_at")?),
        body: row.try_get("body")?,
    })
}
