//! What must survive: alerts with their timers, what each receiver was told, and the outbox.
//!
//! ```text
//! rule_alerts   rule, labels          how far each alert of a rule is
//! silences      id, revision          what is not to be told for a while
//! notes         kind, name            small records of several kinds
//! messages      id                    what was handed over to whom
//! attempts      message, number       when it was, and what came of it
//! facts         name                  single facts, such as when we were last alive
//! ```
//!
//! It is SQL in a dialect that SQLite and PostgreSQL share; the embedded SQLite file is the default.
//! What comes and goes by the thousand is in the [`Journal`] beside it: alerts that others push,
//! what receivers are to be told and were told, and attempts on their way into the history.
//!
//! Invariant: what a method returned `Ok` for is on the disk; what of the journal may be a second
//! late there says so.

mod history;
mod journal;
mod record;
mod rule_alerts;
mod silences;
mod unsaved;
mod notes;

pub use history::{Attempt, AttemptAlert, AttemptFilter, AttemptResult};
pub use journal::{Batch, Journal, Table};
pub use notes::{Note, NoteKind};
pub use record::{Reader, put_alert, put_number, put_text, put_time};
pub use rule_alerts::{RuleAlertState, StoredAlert};
pub use silences::StoredSilence;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::sample::Timestamp;
use rule_alerts::Owed;
use sqlx::any::AnyPoolOptions;
use sqlx::{AnyConnection, AnyPool, Connection, Executor, Row};
use tokio::sync::Mutex as Turn;
use tracing::warn;
use unsaved::Unsaved;

use crate::crash;

/// Each step makes the tables of one version from those of the version before.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
    CREATE TABLE rule_alerts (
        rule TEXT NOT NULL, labels TEXT NOT NULL, state TEXT NOT NULL, active_at BIGINT NOT NULL,
        fired_at BIGINT, keep_since BIGINT, stale_since BIGINT, value DOUBLE PRECISION NOT NULL,
        annotations TEXT NOT NULL, PRIMARY KEY (rule, labels));
    CREATE TABLE told (
        lane TEXT NOT NULL, group_key TEXT NOT NULL, thread TEXT NOT NULL, told_at BIGINT NOT NULL,
        alerts TEXT NOT NULL, PRIMARY KEY (lane, group_key));
    CREATE TABLE outbox (
        id TEXT PRIMARY KEY, lane TEXT NOT NULL, group_key TEXT NOT NULL, created_at BIGINT NOT NULL,
        attempts BIGINT NOT NULL, next_at BIGINT NOT NULL, last_error TEXT NOT NULL,
        flush TEXT NOT NULL, UNIQUE (lane, group_key));
", "
    CREATE TABLE silences (
        id TEXT NOT NULL, revision BIGINT NOT NULL, updated_at BIGINT NOT NULL,
        ends_at BIGINT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (id, revision));
    CREATE TABLE pushed_alerts (labels TEXT PRIMARY KEY, ends_at BIGINT NOT NULL, body TEXT NOT NULL);
", "
    CREATE TABLE notes (
        kind TEXT NOT NULL, name TEXT NOT NULL, noted_at BIGINT NOT NULL, body TEXT NOT NULL,
        PRIMARY KEY (kind, name));
", "
    ALTER TABLE outbox ADD COLUMN refused BIGINT NOT NULL DEFAULT 0;
    CREATE TABLE messages (
        id TEXT PRIMARY KEY, receiver TEXT NOT NULL, lane TEXT NOT NULL, group_key TEXT NOT NULL,
        reason TEXT NOT NULL, alerts TEXT NOT NULL, alert_count BIGINT NOT NULL);
    CREATE TABLE attempts (
        message TEXT NOT NULL, number BIGINT NOT NULL, at BIGINT NOT NULL, took BIGINT NOT NULL,
        result TEXT NOT NULL, answer TEXT NOT NULL, PRIMARY KEY (message, number));
    CREATE INDEX attempts_at ON attempts (at);
    CREATE TABLE in_flight (
        lane TEXT NOT NULL, group_key TEXT NOT NULL, alerts TEXT NOT NULL,
        PRIMARY KEY (lane, group_key));
", "
    DROP TABLE in_flight;
    DROP TABLE told;
    DROP TABLE outbox;
    DROP TABLE pushed_alerts;
"];

/// Errors of SQLite, but for what it says more of them in further bits.
const IOERR: u32 = 10;
const FULL: u32 = 13;
const CANTOPEN: u32 = 14;

/// Why the state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The database refused.
    #[error("the state database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// The disk refused.
    #[error("the journal of the state cannot be used: {0}")]
    Journal(#[from] std::io::Error),
    /// It was written by a later version of ours.
    #[error("the state database has version {0}, this program knows {1}; install the newer one")]
    TooNew(i64, usize),
    /// A row is not what we wrote.
    #[error("the state database has a row in `{table}` that cannot be read: {what}")]
    Row {
        /// Where.
        table: &'static str,
        /// What is wrong.
        what: String,
    },
}

/// The durable state. Clones share it.
#[derive(Clone, Debug)]
pub struct State {
    pool: AnyPool,
    journal: Journal,
    unsaved: Arc<Mutex<Unsaved>>,
    /// Held while alerts of rules are written, so that the newest is written last.
    owed: Arc<Turn<Owed>>,
}

impl State {
    /// Opens the state in `file` and the journal beside it, making them where there are none.
    ///
    /// # Errors
    ///
    /// The file cannot be opened as a database of ours, or the journal not as one.
    pub async fn open(file: &Path) -> Result<Self, StateError> {
        sqlx::any::install_default_drivers();
        let address = format!("sqlite://{}?mode=rwc", file.display());
        let pool = match pool(&address, 2).await {
            Err(error) if is_of_disk(&error) => {
                // One connection alone needs no file beside the database to share it by.
                let alone = pool(&address, 1).await.map_err(|_| error)?;
                warn!("the disk takes nothing: the state is read, and written when it does");
                alone
            }
            pool => pool?,
        };
        let path = file.with_extension("journal");
        let journal = match tokio::task::spawn_blocking(move || Journal::open(&path)).await {
            Ok(journal) => journal?,
            Err(panic) => return Err(std::io::Error::other(panic).into()),
        };
        let unsaved = Arc::new(Mutex::new(Unsaved::read(&journal)?));
        let state = Self { pool, journal, unsaved, owed: Arc::default() };
        state.migrate().await?;
        Ok(state)
    }

    /// A state that nothing keeps, for trying what would be told: gone when it is dropped.
    ///
    /// # Errors
    ///
    /// The database failed.
    pub async fn in_memory() -> Result<Self, StateError> {
        sqlx::any::install_default_drivers();
        // Each connection would have a database of its own, and it ends with its connection.
        let pool = AnyPoolOptions::new()
            .max_connections(1)
            .min_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect("sqlite::memory:")
            .await?;
        let journal = Journal::in_memory()?;
        let unsaved = Arc::new(Mutex::new(Unsaved::read(&journal)?));
        let state = Self { pool, journal, unsaved, owed: Arc::default() };
        state.migrate().await?;
        Ok(state)
    }

    async fn migrate(&self) -> Result<(), StateError> {
        let mut transaction = self.pool.begin().await?;
        transaction
            .execute("CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)")
            .await?;
        let row = transaction.fetch_optional("SELECT version FROM schema_version").await?;
        let version = row.as_ref().map_or(Ok(0), |row| row.try_get::<i64, _>(0))?;
        let done = usize::try_from(version)
            .ok()
            .filter(|done| *done <= MIGRATIONS.len())
            .ok_or(StateError::TooNew(version, MIGRATIONS.len()))?;
        if done == MIGRATIONS.len() {
            // Nothing is to be written, which a full disk would refuse.
            return Ok(transaction.rollback().await?);
        }
        for step in &MIGRATIONS[done..] {
            for statement in step.split(';').filter(|s| !s.trim().is_empty()) {
                sqlx::raw_sql(statement).execute(&mut *transaction).await?;
            }
        }
        let write = match row {
            Some(_) => "UPDATE schema_version SET version = $1",
            None => "INSERT INTO schema_version (version) VALUES ($1)",
        };
        sqlx::query(write).bind(MIGRATIONS.len() as i64).execute(&mut *transaction).await?;
        crash::point("schema.saving");
        Ok(transaction.commit().await?)
    }

    /// Notes that we are alive at `now`.
    ///
    /// # Errors
    ///
    /// The database failed.
    pub async fn set_alive(&self, now: Timestamp) -> Result<(), StateError> {
        self.set_fact("alive_at", &now.millis().to_string()).await
    }

    /// When we were last alive before this start.
    ///
    /// # Errors
    ///
    /// The database failed.
    pub async fn last_alive(&self) -> Result<Option<Timestamp>, StateError> {
        self.time("alive_at").await
    }

    /// Notes that rules are judged at `now`.
    ///
    /// # Errors
    ///
    /// The database failed.
    pub async fn set_judging(&self, now: Timestamp) -> Result<(), StateError> {
        self.set_fact("judging_at", &now.millis().to_string()).await
    }

    /// When rules were last judged before this start; as long ago as we were alive where nobody has
    /// noted it.
    ///
    /// # Errors
    ///
    /// The database failed.
    pub async fn last_judging(&self) -> Result<Option<Timestamp>, StateError> {
        match self.time("judging_at").await? {
            None => self.last_alive().await,
            known => Ok(known),
        }
    }

    async fn time(&self, name: &str) -> Result<Option<Timestamp>, StateError> {
        let fact = self.fact(name).await?;
        Ok(fact.and_then(|text| text.parse().ok()).map(Timestamp::from_millis))
    }

    async fn fact(&self, name: &str) -> Result<Option<String>, StateError> {
        let query = sqlx::query("SELECT value FROM facts WHERE name = $1").bind(name.to_owned());
        let row = query.fetch_optional(&self.pool).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    async fn set_fact(&self, name: &str, value: &str) -> Result<(), StateError> {
        sqlx::query(
            "INSERT INTO facts (name, value) VALUES ($1, $2) \
             ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        )
        .bind(name.to_owned())
        .bind(value.to_owned())
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// What comes and goes by the thousand.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Waits until everything is written and lets go of the file.
    pub async fn close(&self) {
        self.settle().await;
        self.journal.land().await;
        if let Err(error) = self.save_history().await {
            tracing::error!(%error, "the end of the history stays in the journal");
        }
        if let Err(error) = self.journal.sync().await {
            tracing::error!(%error, "the end of the journal cannot be written");
        }
        self.pool.close().await;
    }
}

/// Opens a database by so many connections.
async fn pool(address: &str, connections: u32) -> Result<AnyPool, sqlx::Error> {
    let is_alone = connections == 1;
    // The pool would go on trying a file that is no database.
    let mut first = AnyConnection::connect(address).await?;
    prepare(&mut first, is_alone).await?;
    first.close().await?;
    let mut options = AnyPoolOptions::new();
    if is_alone {
        options = options.idle_timeout(None).max_lifetime(None);
    }
    options
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(30))
        .after_connect(move |connection, _| Box::pin(prepare(connection, is_alone)))
        // A commit that failed, as for want of room, may leave a transaction open here: what is
        // written by this connection then would not be on the disk, and lock out the other.
        .after_release(|connection, _| {
            let is_done = !connection.is_in_transaction();
            Box::pin(async move { Ok(is_done) })
        })
        .connect(address)
        .await
}

/// Whether it is the disk that SQLite complains of: it has no room, failed, or makes no file.
fn is_of_disk(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code()?.parse::<u32>().ok());
    code.is_some_and(|code| matches!(code & 0xff, IOERR | FULL | CANTOPEN))
}

/// SQLite's settings: a commit is on the disk when it returns, and writers wait for each other; a
/// connection that is alone keeps in memory what it would share with others.
async fn prepare(connection: &mut AnyConnection, is_alone: bool) -> Result<(), sqlx::Error> {
    if is_alone {
        sqlx::raw_sql("PRAGMA locking_mode = EXCLUSIVE").execute(&mut *connection).await?;
    }
    for pragma in [
        "PRAGMA journal_mode = WAL",
        "PRAGMA synchronous = FULL",
        "PRAGMA busy_timeout = 10000",
        "PRAGMA foreign_keys = ON",
    ] {
        sqlx::raw_sql(pragma).execute(&mut *connection).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn facts_survive_and_a_later_version_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("state.db");
        let state = State::open(&file).await.unwrap();
        assert_eq!(state.last_alive().await.unwrap(), None);
        state.set_alive(Timestamp::from_millis(5)).await.unwrap();
        state.set_alive(Timestamp::from_millis(7)).await.unwrap();
        state.close().await;
        let state = State::open(&file).await.unwrap();
        assert_eq!(state.last_alive().await.unwrap(), Some(Timestamp::from_millis(7)));
        sqlx::raw_sql("UPDATE schema_version SET version = 99").execute(&state.pool).await.unwrap();
        state.close().await;
        let error = State::open(&file).await.unwrap_err().to_string();
        assert!(error.contains("version 99"), "{error}");
    }

    #[tokio::test]
    async fn a_file_that_is_no_database_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("state.db");
        std::fs::write(&file, "not a database, but long enough to look at".repeat(20)).unwrap();
        assert!(State::open(&file).await.is_err());
    }
}
