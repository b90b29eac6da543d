//! Alerts that others push to us, so that a restart ends none of them.
//!
//! Invariant: an alert that has ended has no row.

use base::sample::Timestamp;
use sqlx::Row;

use super::{State, StateError};

/// An alert that was pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPush {
    /// Its labels, encoded.
    pub labels: String,
    /// When it ends if nobody pushes it again.
    pub ends_at: Timestamp,
    /// The rest, as JSON.
    pub body: String,
}

impl State {
    /// All of them.
    ///
    /// # Errors
    ///
    /// The database failed.
    pub async fn pushed_alerts(&self) -> Result<Vec<StoredPush>, StateError> {
        let rows = sqlx::query("SELECT labels, ends_at, body FROM pushed_alerts")
            .fetch_all(&self.pool)
            .await?;
        let read = |row: &sqlx::any::AnyRow| {
            Ok(StoredPush {
                labels: row.try_get("labels")?,
                ends_at: Timestamp::from_millis(row.try_get("ends_at")?),
                body: row.try_get("body")?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// Writes some and removes those with the labels in `ended`, all or none.
    ///
    /// # Errors
    ///
    /// The database failed; nothing has changed.
    pub async fn save_pushed_alerts(
        &self,
        alerts: &[StoredPush],
        ended: &[String],
    ) -> Result<(), StateError> {
        if alerts.is_empty() && ended.is_empty() {
            return Ok(());
        }
        let mut transaction = self.pool.begin().await?;
        for alert in alerts {
            sqlx::query(
                "INSERT INTO pushed_alerts (labels, ends_at, body) VALUES ($1, $2, $3) \
                 ON CONFLICT (labels) DO UPDATE SET ends_at = excluded.ends_at, \
                 body = excluded.body",
            )
            .bind(alert.labels.clone())
            .bind(alert.ends_at.millis())
            .bind(alert.body.clone())
            .execute(&mut *transaction)
            .await?;
        }
        for labels in ended {
            sqlx::query("DELETE FROM pushed_alerts WHERE labels = $1")
                .bind(labels.clone())
                .execute(&mut *transaction)
                .await?;
        }
        Ok(transaction.commit().await?)
    }
}
