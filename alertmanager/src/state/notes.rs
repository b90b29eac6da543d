//! Small records of several kinds, each by its name: when a silence last held something, windows of
//! maintenance, calendars, messages that were taken already.
//!
//! Invariant: of one kind there is at most one note of a name, the last that was saved.

use base::sample::Timestamp;
use sqlx::Row;

use super::{State, StateError};

/// What a note is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoteKind {
    /// When a silence last held an alert back; by the silence's id.
    SilenceUse,
    /// A window of maintenance that somebody asked for, or the early end of one; by its id.
    Window,
    /// A calendar as it was last read; by its address.
    Calendar,
    /// A signed message that was taken; by its source and digest.
    Delivery,
    /// An agent that pushes, when it was last heard; by its labels.
    Agent,
}

impl NoteKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::SilenceUse => "silence-use",
            Self::Window => "window",
            Self::Calendar => "calendar",
            Self::Delivery => "delivery",
            Self::Agent => "agent",
        }
    }
}

/// A note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// By what it is known.
    pub name: String,
    /// The time that it is about; by it, it is forgotten.
    pub at: Timestamp,
    /// The rest.
    pub body: String,
}

impl State {
    /// All notes of a kind.
    ///
    /// # Errors
    ///
    /// The database failed.
    pub async fn notes(&self, kind: NoteKind) -> Result<Vec<Note>, StateError> {
        let rows = sqlx::query("SELECT name, noted_at, body FROM notes WHERE kind = $1")
            .bind(kind.as_str())
            .fetch_all(&self.pool)
            .await?;
        let read = |row: &sqlx::any::AnyRow| {
            Ok(Note {
                name: row.try_get("name")?,
                at: Timestamp::from_millis(row.try_get("noted_at")?),
                body: row.try_get("body")?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// Saves notes of a kind, each in place of an older one of its name; all or none.
    ///
    /// # Errors
    ///
    /// The database failed; nothing has changed.
    pub async fn save_notes(&self, kind: NoteKind, notes: &[Note]) -> Result<(), StateError> {
        if notes.is_empty() {
            return Ok(());
        }
        let mut transaction = self.pool.begin().await?;
        for note in notes {
            sqlx::query(
                "INSERT INTO notes (kind, name, noted_at, body) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (kind, name) DO UPDATE SET noted_at = excluded.noted_at, \
                 body = excluded.body",
            )
            .bind(kind.as_str())
            .bind(note.name.clone())
            .bind(note.at.millis())
            .bind(note.body.clone())
            .execute(&mut *transaction)
            .await?;
        }
        Ok(transaction.commit().await?)
    }

    /// Forgets the notes of a kind that are about a time before `end`.
    ///
    /// # Errors
    ///
    /// The database failed.
    pub async fn forget_notes(&self, kind: NoteKind, end: Timestamp) -> Result<(), StateError> {
        sqlx::query("DELETE FROM notes WHERE kind = $1 AND noted_at < $2")
            .bind(kind.as_str())
            .bind(end.millis())
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_note_of_a_name_survives() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("state.db");
        let note = |name: &str, at: i64, body: &str| Note {
            name: name.to_owned(),
            at: Timestamp::from_millis(at),
            body: body.to_owned(),
        };
        let state = State::open(&file).await.unwrap();
        let kind = NoteKind::Window;
        state.save_notes(kind, &[note("a", 1, "x"), note("b", 5, "y")]).await.unwrap();
        state.save_notes(kind, &[note("a", 2, "z")]).await.unwrap();
        state.save_notes(NoteKind::Calendar, &[note("a", 1, "other")]).await.unwrap();
        state.close().await;
        let state = State::open(&file).await.unwrap();
        let mut notes = state.notes(kind).await.unwrap();
        notes.sort_by(|a, b| a.name.cmp(&b.name));
        assert_eq!(notes, [note("a", 2, "z"), note("b", 5, "y")]);
        state.forget_notes(kind, Timestamp::from_millis(3)).await.unwrap();
        assert_eq!(state.notes(kind).await.unwrap(), [note("b", 5, "y")]);
        assert_eq!(state.notes(NoteKind::Calendar).await.unwrap().len(), 1);
    }
}
