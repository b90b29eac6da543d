//! Every attempt to deliver a message: to whom, when, with what answer.
//!
//! ```text
//! messages   id              what it told, of which alerts, to whom and why
//! attempts   message, number when it was handed over, how long that took, what came of it
//! ```
//!
//! Invariant: an attempt is in the journal together with what it changes in the outbox, and here a
//! little later, so the history and what was told never contradict each other.

use std::time::Duration;

use base::sample::Timestamp;
use sqlx::{Any, Row, Transaction};

use super::{State, StateError};
use crate::alerts::Alert;
use crate::crash;

/// Of how many alerts of one message the history knows the names; of the others only how many.
const MOST_ALERTS: usize = 1000;
/// The most bytes of an answer that are kept.
const MOST_ANSWER: usize = 500;

/// What came of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptResult {
    /// The service took the message.
    Delivered,
    /// The service took it in its minimal form, after it had refused the whole.
    Shortened,
    /// It is tried again.
    Failed,
    /// The service refused it for good.
    Refused,
}

impl AttemptResult {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Delivered, Self::Shortened, Self::Failed, Self::Refused];

    /// The result as a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Shortened => "shortened",
            Self::Failed => "failed",
            Self::Refused => "refused",
        }
    }

    /// Whether the receiver has the message.
    pub fn is_delivered(self) -> bool {
        matches!(self, Self::Delivered | Self::Shortened)
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|result| result.as_str() == name)
    }
}

/// An alert that a message tells of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptAlert {
    /// Of its labels.
    pub fingerprint: u64,
    /// Its name, on one line.
    pub name: String,
    /// Whether it was told to fire, else to have ended.
    pub firing: bool,
}

impl AttemptAlert {
    /// What the history keeps of an alert.
    pub fn of(alert: &Alert) -> Self {
        let name = alert.name().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        Self { fingerprint: alert.labels.fingerprint(), name, firing: alert.is_firing() }
    }

    /// The fingerprint as the API writes it.
    pub fn id(&self) -> String {
        format!("{:016x}", self.fingerprint)
    }
}

/// An attempt to deliver a message.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// When the message was handed over.
    pub at: Timestamp,
    /// How long that took.
    pub took: Duration,
    /// The receiver's name.
    pub receiver: String,
    /// The way to the receiver: `ops/email/0`.
    pub lane: String,
    /// The key of the group.
    pub group_key: String,
    /// Names the message on the wire, in all attempts.
    pub message: String,
    /// Which attempt at this message it was; the first is 1.
    pub number: u32,
    /// Why the message was to be sent: `first`, `new alerts`, `resolved`, `repeat`.
    pub reason: String,
    /// The alerts that it tells of, the first [`MOST_ALERTS`] of them.
    pub alerts: Vec<AttemptAlert>,
    /// How many alerts it tells of.
    pub alert_count: usize,
    /// What came of it.
    pub result: AttemptResult,
    /// What the service said, or what went wrong; shortened, without secrets.
    pub answer: String,
}

/// Which attempts are wanted; what is empty asks for all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttemptFilter {
    /// By the receiver's name.
    pub receiver: Option<String>,
    /// By an alert's name, or its fingerprint in 16 hexadecimal digits.
    pub alert: Option<String>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Not after.
    pub until: Option<Timestamp>,
    /// The most, the newest of them.
    pub limit: usize,
}

impl AttemptFilter {
    /// Whether an alert of an attempt is the one that is asked for.
    fn wants(&self, alerts: &[AttemptAlert]) -> bool {
        let is = |wanted: &str| alerts.iter().any(|a| a.name == wanted || a.id() == wanted);
        self.alert.as_deref().is_none_or(is)
    }

    /// The pattern that finds the alert in what [`write_alerts`] wrote.
    fn pattern(&self) -> String {
        let Some(alert) = &self.alert else { return "%".to_owned() };
        let mut text = String::new();
        for c in alert.chars() {
            if matches!(c, '%' | '_' | '!') {
                text.push('!');
            }
            text.push(c);
        }
        let is_fingerprint = alert.len() == 16 && alert.bytes().all(|b| b.is_ascii_hexdigit());
        if is_fingerprint { format!("%\n{text} %") } else { format!("% _ {text}\n%") }
    }
}

impl State {
    /// The newest attempts that `filter` wants, newest first.
    ///
    /// # Errors
    ///
    /// The database failed, or a row is not ours.
    pub async fn attempts(&self, filter: &AttemptFilter) -> Result<Vec<Attempt>, StateError> {
        self.save_history().await?;
        let rows = sqlx::query(
            "SELECT m.id, m.receiver, m.lane, m.group_key, m.reason, m.alerts, m.alert_count, \
             a.number, a.at, a.took, a.result, a.answer FROM attempts a \
             JOIN messages m ON m.id = a.message \
             WHERE a.at >= $1 AND a.at <= $2 AND ($3 = '' OR m.receiver = $3) \
             AND m.alerts LIKE $4 ESCAPE '!' \
             ORDER BY a.at DESC, a.message DESC, a.number DESC LIMIT $5",
        )
        .bind(filter.since.map_or(i64::MIN, Timestamp::millis))
        .bind(filter.until.map_or(i64::MAX, Timestamp::millis))
        .bind(filter.receiver.clone().unwrap_or_default())
        .bind(filter.pattern())
        .bind(i64::try_from(filter.limit).unwrap_or(i64::MAX))
        .fetch_all(&self.pool)
        .await?;
        let mut attempts = Vec::with_capacity(rows.len());
        for row in &rows {
            let attempt = read(row)?;
            // The database may take `down` for `Down`.
            if filter.wants(&attempt.alerts) {
                attempts.push(attempt);
            }
        }
        Ok(attempts)
    }

    /// Writes attempts that changed nothing else.
    ///
    /// # Errors
    ///
    /// The database failed; none is written.
    pub async fn save_attempts(&self, attempts: &[Attempt]) -> Result<(), StateError> {
        let mut transaction = self.pool.begin().await?;
        write_attempts(&mut transaction, attempts).await?;
        crash::point("history.saving");
        transaction.commit().await?;
        crash::point("history.saved");
        Ok(())
    }

    /// Forgets the attempts before `end`, and all but the newest `most`. Returns how many it forgot
    /// for want of room alone.
    ///
    /// # Errors
    ///
    /// The database failed; none is forgotten.
    pub async fn forget_attempts(&self, end: Timestamp, most: usize) -> Result<u64, StateError> {
        let mut transaction = self.pool.begin().await?;
        sqlx::query("DELETE FROM attempts WHERE at < $1")
            .bind(end.millis())
            .execute(&mut *transaction)
            .await?;
        let crowded_out = sqlx::query(
            "DELETE FROM attempts WHERE at < \
             (SELECT at FROM attempts ORDER BY at DESC LIMIT 1 OFFSET $1)",
        )
        .bind(i64::try_from(most.saturating_sub(1)).unwrap_or(i64::MAX))
        .execute(&mut *transaction)
        .await?
        .rows_affected();
        sqlx::query(
            "DELETE FROM messages WHERE NOT EXISTS \
             (SELECT 1 FROM attempts WHERE attempts.message = messages.id)",
        )
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(crowded_out)
    }
}

/// Writes attempts as a part of `transaction`.
pub(super) async fn write_attempts(
    transaction: &mut Transaction<'_, Any>,
    attempts: &[Attempt],
) -> Result<(), StateError> {
    for attempt in attempts {
        // The message is the same in every attempt at it.
        sqlx::query(
            "INSERT INTO messages (id, receiver, lane, group_key, reason, alerts, alert_count) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO NOTHING",
        )
        .bind(attempt.message.clone())
        .bind(attempt.receiver.clone())
        .bind(attempt.lane.clone())
        .bind(attempt.group_key.clone())
        .bind(attempt.reason.clone())
        .bind(write_alerts(&attempt.alerts))
        .bind(i64::try_from(attempt.alert_count).unwrap_or(i64::MAX))
        .execute(&mut **transaction)
        .await?;
        // A number comes twice where we crashed before the outbox knew of the first.
        sqlx::query(
            "INSERT INTO attempts (message, number, at, took, result, answer) \
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (message, number) DO UPDATE SET \
             at = excluded.at, took = excluded.took, result = excluded.result, \
             answer = excluded.answer",
        )
        .bind(attempt.message.clone())
        .bind(i64::from(attempt.number))
        .bind(attempt.at.millis())
        .bind(i64::try_from(attempt.took.as_millis()).unwrap_or(i64::MAX))
        .bind(attempt.result.as_str())
        .bind(cut(&attempt.answer, MOST_ANSWER))
        .execute(&mut **transaction)
        .await?;
    }
    Ok(())
}

/// A line for each alert, with a line feed before the first, so that one can be found by a pattern.
fn write_alerts(alerts: &[AttemptAlert]) -> String {
    let mut text = String::from("\n");
    for alert in alerts.iter().take(MOST_ALERTS) {
        let state = if alert.firing { 'F' } else { 'R' };
        text.push_str(&format!("{} {state} {}\n", alert.id(), alert.name));
    }
    text
}

fn read_alerts(text: &str) -> Option<Vec<AttemptAlert>> {
    let read = |line: &str| {
        let (fingerprint, rest) = line.split_once(' ')?;
        let (state, name) = rest.split_once(' ')?;
        let fingerprint = u64::from_str_radix(fingerprint, 16).ok()?;
        Some(AttemptAlert { fingerprint, name: name.to_owned(), firing: state == "F" })
    };
    text.split('\n').filter(|line| !line.is_empty()).map(read).collect()
}

fn read(row: &sqlx::any::AnyRow) -> Result<Attempt, StateError> {
    let wrong = |what: &str| StateError::Row { table: "attempts", what: what.to_owned() };
    let alerts: String = row.try_get("alerts")?;
    let result: String = row.try_get("result")?;
    Ok(Attempt {
        at: Timestamp::from_millis(row.try_get("at")?),
        took: Duration::from_millis(u64::try_from(row.try_get::<i64, _>("took")?).unwrap_or(0)),
        receiver: row.try_get("receiver")?,
        lane: row.try_get("lane")?,
        group_key: row.try_get("group_key")?,
        message: row.try_get("id")?,
        number: u32::try_from(row.try_get::<i64, _>("number")?).unwrap_or(u32::MAX),
        reason: row.try_get("reason")?,
        alerts: read_alerts(&alerts).ok_or_else(|| wrong("its alerts"))?,
        alert_count: usize::try_from(row.try_get::<i64, _>("alert_count")?).unwrap_or(0),
        result: AttemptResult::named(&result).ok_or_else(|| wrong("its result"))?,
        answer: row.try_get("answer")?,
    })
}

/// The text, at most `most` bytes of it.
fn cut(text: &str, most: usize) -> String {
    text[..text.floor_char_boundary(most)].to_owned()
}

#[cfg(test)]
mod tests {
    use base::labels::Labels;

    use super::*;

    fn alert(name: &str, firing: bool) -> AttemptAlert {
        let labels = Labels::from_pairs([("alertname", name)]);
        AttemptAlert { fingerprint: labels.fingerprint(), name: name.to_owned(), firing }
    }

    fn attempt(message: &str, number: u32, at: i64, names: &[&str]) -> Attempt {
        Attempt {
            at: Timestamp::from_millis(at),
            took: Duration::from_millis(12),
            receiver: message[..1].to_owned(),
            lane: format!("{}/webhook/0", &message[..1]),
            group_key: "{}:{}".to_owned(),
            message: message.to_owned(),
            number,
            reason: "first".to_owned(),
            alerts: names.iter().map(|name| alert(name, true)).collect(),
            alert_count: names.len(),
            result: AttemptResult::Failed,
            answer: "status 503".to_owned(),
        }
    }

    async fn opened() -> (tempfile::TempDir, State) {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(&dir.path().join("state.db")).await.unwrap();
        (dir, state)
    }

    #[tokio::test]
    async fn finds_attempts_by_receiver_alert_and_time() {
        let (_dir, state) = opened().await;
        let written = [
            attempt("a1", 1, 1000, &["Down", "Full 100%"]),
            attempt("a1", 2, 2000, &["Down", "Full 100%"]),
            attempt("b2", 1, 3000, &["down_", "x"]),
            attempt("b3", 1, 4000, &["Down"]),
        ];
        state.save_attempts(&written).await.unwrap();
        let id = alert("x", true).id();
        // The receiver and the alert, from when to when, how many, and what is found.
        type Case<'a> = (Option<&'a str>, Option<&'a str>, i64, i64, usize, &'a str);
        let cases: &[Case<'_>] = &[
            (None, None, 0, 9000, 9, "b3.1 b2.1 a1.2 a1.1"),
            (None, None, 0, 9000, 2, "b3.1 b2.1"),
            (Some("a"), None, 0, 9000, 9, "a1.2 a1.1"),
            (Some("c"), None, 0, 9000, 9, ""),
            (None, Some("Down"), 0, 9000, 9, "b3.1 a1.2 a1.1"),
            (None, Some("down_"), 0, 9000, 9, "b2.1"),
            (None, Some("Full 100%"), 0, 9000, 9, "a1.2 a1.1"),
            (None, Some("Full%"), 0, 9000, 9, ""),
            (None, Some("100%"), 0, 9000, 9, ""),
            (None, Some(&id), 0, 9000, 9, "b2.1"),
            (None, None, 2000, 3000, 9, "b2.1 a1.2"),
            (Some("a"), Some("Down"), 1500, 9000, 9, "a1.2"),
        ];
        for (receiver, alert, since, until, limit, expected) in cases {
            let filter = AttemptFilter {
                receiver: receiver.map(str::to_owned),
                alert: alert.map(str::to_owned),
                since: Some(Timestamp::from_millis(*since)),
                until: Some(Timestamp::from_millis(*until)),
                limit: *limit,
            };
            let found = state.attempts(&filter).await.unwrap();
            let found: Vec<_> =
                found.iter().map(|a| format!("{}.{}", a.message, a.number)).collect();
            assert_eq!(found.join(" "), *expected, "{filter:?}");
        }
    }

    #[tokio::test]
    async fn reads_what_it_wrote_and_forgets_what_is_old_or_too_much() {
        let (_dir, state) = opened().await;
        let many: Vec<String> = (0..1200).map(|n| format!("a {n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let mut first = attempt("a1", 1, 1000, &many);
        first.answer = "é".repeat(500);
        first.result = AttemptResult::Shortened;
        state.save_attempts(&[first.clone()]).await.unwrap();
        let all = AttemptFilter { limit: 100, ..AttemptFilter::default() };
        let read = state.attempts(&all).await.unwrap();
        first.alerts.truncate(MOST_ALERTS);
        first.answer = "é".repeat(250);
        assert_eq!(read, [first]);

        let later: Vec<_> =
            (1..=5).map(|n| attempt("b2", n, 1000 + i64::from(n), &["x"])).collect();
        state.save_attempts(&later).await.unwrap();
        let numbers = async || {
            let read = state.attempts(&all).await.unwrap();
            read.iter().map(|a| format!("{}.{}", a.message, a.number)).collect::<Vec<_>>().join(" ")
        };
        // What is over its time is not crowded out.
        assert_eq!(state.forget_attempts(Timestamp::from_millis(1002), 100).await.unwrap(), 0);
        assert_eq!(numbers().await, "b2.5 b2.4 b2.3 b2.2");
        assert_eq!(state.forget_attempts(Timestamp::from_millis(0), 2).await.unwrap(), 2);
        assert_eq!(numbers().await, "b2.5 b2.4");
        state.forget_attempts(Timestamp::from_millis(9000), 2).await.unwrap();
        assert_eq!(numbers().await, "");
        let rows = sqlx::query("SELECT id FROM messages").fetch_all(&state.pool).await.unwrap();
        assert!(rows.is_empty());
    }
}
