//! What receivers may have been told: messages that were handed over and of which no answer came.
//!
//! Invariant: it is written before a message is handed over, and goes together with the intent, in
//! one transaction.

use sqlx::{Any, Row, Transaction};

use super::{State, StateError};

/// The alerts that a message says are firing, while nobody knows whether it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InFlight {
    /// The receiver's lane.
    pub lane: String,
    /// The group.
    pub group_key: String,
    /// The alerts, as a JSON list.
    pub alerts: String,
}

impl State {
    /// Everything that was in flight when a run before ended.
    ///
    /// # Errors
    ///
    /// The database failed.
    pub async fn in_flight(&self) -> Result<Vec<InFlight>, StateError> {
        let rows = sqlx::query("SELECT lane, group_key, alerts FROM in_flight")
            .fetch_all(&self.pool)
            .await?;
        let read = |row: &sqlx::any::AnyRow| {
            Ok(InFlight {
                lane: row.try_get("lane")?,
                group_key: row.try_get("group_key")?,
                alerts: row.try_get("alerts")?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// Notes that a message is handed over now. Does not wait for the disk: it is for a crash of
    /// ours, and a fsync before every message would cost more than it saves.
    ///
    /// # Errors
    ///
    /// The database failed.
    pub async fn hand_over(&self, message: &InFlight) -> Result<(), StateError> {
        sqlx::query(
            "INSERT INTO in_flight (lane, group_key, alerts) VALUES ($1, $2, $3) \
             ON CONFLICT (lane, group_key) DO UPDATE SET alerts = excluded.alerts",
        )
        .bind(message.lane.clone())
        .bind(message.group_key.clone())
        .bind(message.alerts.clone())
        .execute(&self.quick)
        .await?;
        Ok(())
    }
}

/// Notes that it is known what came of what was handed over to a lane of a group.
pub(super) async fn landed(
    transaction: &mut Transaction<'_, Any>,
    lane: &str,
    group_key: &str,
) -> Result<(), StateError> {
    sqlx::query("DELETE FROM in_flight WHERE lane = $1 AND group_key = $2")
        .bind(lane.to_owned())
        .bind(group_key.to_owned())
        .execute(&mut **transaction)
        .await?;
    Ok(())
}
