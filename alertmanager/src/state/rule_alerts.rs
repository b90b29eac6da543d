//! How far each alert of each rule is, so that `for` goes on after a restart (F43).
//!
//! Where the database takes nothing, what it is owed is held in memory, shown as if it were there, and
//! written as soon as it can be: rules go on to be judged (F35).
//!
//! Invariant: an alert that is neither pending nor firing has no row.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use base::labels::Labels;
use base::sample::Timestamp;
use sqlx::{Any, Row, Transaction};
use tokio::time::timeout;
use tracing::{error, info};

use super::{State, StateError};
use crate::crash;

/// How far an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleAlertState {
    /// Its condition holds, not yet for long enough.
    Pending,
    /// It fires.
    Firing,
}

/// How long a database may take that rules wait for.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the database has not taken yet, by rule and labels: the newest, none where it is to be removed.
/// Its bound is that of the alerts.
pub(super) type Owed = HashMap<(String, Labels), Option<StoredAlert>>;

/// An alert of a rule.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredAlert {
    /// The rule, by what makes it the same rule after a restart.
    pub rule: String,
    /// The alert.
    pub labels: Labels,
    /// How far it is.
    pub state: RuleAlertState,
    /// Since when its condition holds.
    pub active_at: Timestamp,
    /// Since when it fires.
    pub fired_at: Option<Timestamp>,
    /// Since when it only fires because of `keep_firing_for`.
    pub keep_since: Option<Timestamp>,
    /// Since when its data are missing.
    pub stale_since: Option<Timestamp>,
    /// The last value of its expression.
    pub value: f64,
    /// Its texts.
    pub annotations: BTreeMap<String, String>,
}

impl State {
    /// All alerts of all rules.
    ///
    /// # Errors
    ///
    /// The database failed, or has a row that is not ours.
    pub async fn rule_alerts(&self) -> Result<Vec<StoredAlert>, StateError> {
        // Before it is read: what is owed may be written, and forgotten, in between.
        let owed = self.owed.lock().await;
        let rows = sqlx::query(
            "SELECT rule, labels, state, active_at, fired_at, keep_since, stale_since, value, \
             annotations FROM rule_alerts",
        )
        .fetch_all(&self.pool)
        .await?;
        let stored: Vec<StoredAlert> = rows.iter().map(read).collect::<Result<_, _>>()?;
        if owed.is_empty() {
            return Ok(stored);
        }
        let is_owed =
            |alert: &StoredAlert| owed.contains_key(&(alert.rule.clone(), alert.labels.clone()));
        let known = stored.into_iter().filter(|alert| !is_owed(alert));
        Ok(known.chain(owed.values().flatten().cloned()).collect())
    }

    /// As [`State::save_rule_alerts`], but what the database does not take is held in memory until
    /// [`State::settle`] has written it.
    pub async fn keep_rule_alerts(&self, changed: &[StoredAlert], ended: &[(String, Labels)]) {
        let mut owed = self.owed.lock().await;
        if owed.is_empty() {
            match timeout(PATIENCE, self.save_rule_alerts(changed, ended)).await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error!(%error, "alerts of rules are kept in memory for now"),
                Err(_) => error!("the state database hangs: alerts of rules are kept in memory"),
            }
        }
        let key = |alert: &StoredAlert| (alert.rule.clone(), alert.labels.clone());
        owed.extend(changed.iter().map(|alert| (key(alert), Some(alert.clone()))));
        owed.extend(ended.iter().map(|gone| (gone.clone(), None)));
    }

    /// Writes what the database is owed, if it takes it now.
    pub async fn settle(&self) {
        let mut owed = self.owed.lock().await;
        if owed.is_empty() {
            return;
        }
        let changed: Vec<_> = owed.values().flatten().cloned().collect();
        let ended = owed.iter().filter(|(_, alert)| alert.is_none());
        let ended: Vec<_> = ended.map(|(key, _)| key.clone()).collect();
        if let Ok(Ok(())) = timeout(PATIENCE, self.save_rule_alerts(&changed, &ended)).await {
            info!(alerts = owed.len(), "alerts of rules are in the state database again");
            owed.clear();
        }
    }

    /// Writes the alerts in `changed` and removes those in `ended`, all or nothing.
    ///
    /// # Errors
    ///
    /// The database failed; nothing was changed.
    pub async fn save_rule_alerts(
        &self,
        changed: &[StoredAlert],
        ended: &[(String, Labels)],
    ) -> Result<(), StateError> {
        if changed.is_empty() && ended.is_empty() {
            return Ok(());
        }
        let mut transaction = self.pool.begin().await?;
        for alert in changed {
            write(&mut transaction, alert).await?;
        }
        for (rule, labels) in ended {
            sqlx::query("DELETE FROM rule_alerts WHERE rule = $1 AND labels = $2")
                .bind(rule.clone())
                .bind(labels.as_encoded().to_owned())
                .execute(&mut *transaction)
                .await?;
        }
        crash::point("timers.saving");
        transaction.commit().await?;
        crash::point("timers.saved");
        Ok(())
    }
}

fn read(row: &sqlx::any::AnyRow) -> Result<StoredAlert, StateError> {
    let wrong = |what: &str| StateError::Row { table: "rule_alerts", what: what.to_owned() };
    let time = |column: &str| -> Result<Option<Timestamp>, StateError> {
        Ok(row.try_get::<Option<i64>, _>(column)?.map(Timestamp::from_millis))
    };
    let labels: String = row.try_get("labels")?;
    let state: String = row.try_get("state")?;
    let annotations: String = row.try_get("annotations")?;
    Ok(StoredAlert {
        rule: row.try_get("rule")?,
        labels: Labels::from_encoded(&labels).ok_or_else(|| wrong("labels"))?,
        state: match state.as_str() {
            "pending" => RuleAlertState::Pending,
            "firing" => RuleAlertState::Firing,
            _ => return Err(wrong("state")),
        },
        active_at: time("active_at")?.ok_or_else(|| wrong("active_at"))?,
        fired_at: time("fired_at")?,
        keep_since: time("keep_since")?,
        stale_since: time("stale_since")?,
        value: row.try_get("value")?,
        annotations: serde_json::from_str(&annotations).map_err(|e| wrong(&e.to_string()))?,
    })
}

async fn write(
    transaction: &mut Transaction<'_, Any>,
    alert: &StoredAlert,
) -> Result<(), StateError> {
    let annotations = serde_json::to_string(&alert.annotations)
        .map_err(|e| StateError::Row { table: "rule_alerts", what: e.to_string() })?;
    let state = match alert.state {
        RuleAlertState::Pending => "pending",
        RuleAlertState::Firing => "firing",
    };
    sqlx::query(
        "INSERT INTO rule_alerts (rule, labels, state, active_at, fired_at, keep_since, \
         stale_since, value, annotations) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
         ON CONFLICT (rule, labels) DO UPDATE SET state = excluded.state, \
         active_at = excluded.active_at, fired_at = excluded.fired_at, \
         keep_since = excluded.keep_since, stale_since = excluded.stale_since, \
         value = excluded.value, annotations = excluded.annotations",
    )
    .bind(alert.rule.clone())
    .bind(alert.labels.as_encoded().to_owned())
    .bind(state.to_owned())
    .bind(alert.active_at.millis())
    .bind(alert.fired_at.map(Timestamp::millis))
    .bind(alert.keep_since.map(Timestamp::millis))
    .bind(alert.stale_since.map(Timestamp::millis))
    // SQL has no NaN that both databases keep.
    .bind(if alert.value.is_finite() { alert.value } else { 0.0 })
    .bind(annotations)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(name: &str, state: RuleAlertState) -> StoredAlert {
        StoredAlert {
            rule: "r".to_owned(),
            labels: Labels::from_pairs([("alertname", name)]),
            state,
            active_at: Timestamp::from_millis(1),
            fired_at: None,
            keep_since: None,
            stale_since: None,
            value: 1.0,
            annotations: BTreeMap::new(),
        }
    }

    #[tokio::test]
    async fn alerts_survive_with_their_timers() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("state.db");
        let at = Timestamp::from_millis;
        let pending = StoredAlert {
            labels: Labels::from_pairs([("alertname", "a"), ("instance", "é:1")]),
            active_at: at(1_700_000_000_000),
            stale_since: Some(at(3)),
            value: 0.1,
            annotations: BTreeMap::from([("summary".to_owned(), "it's \"bad\"".to_owned())]),
            ..alert("a", RuleAlertState::Pending)
        };
        let firing = StoredAlert {
            state: RuleAlertState::Firing,
            fired_at: Some(at(1_700_000_000_001)),
            stale_since: None,
            ..pending.clone()
        };
        let other = StoredAlert { rule: "other".to_owned(), ..pending.clone() };
        {
            let state = State::open(&file).await.unwrap();
            state.save_rule_alerts(&[pending, other.clone()], &[]).await.unwrap();
            let ended = [(other.rule, other.labels)];
            state.save_rule_alerts(std::slice::from_ref(&firing), &ended).await.unwrap();
        }
        let state = State::open(&file).await.unwrap();
        assert_eq!(state.rule_alerts().await.unwrap(), [firing]);
    }

    #[tokio::test]
    async fn what_the_database_does_not_take_is_held_until_it_does_f35() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("state.db");
        let (a, b) = (alert("a", RuleAlertState::Pending), alert("b", RuleAlertState::Pending));
        let fires = StoredAlert { state: RuleAlertState::Firing, ..b.clone() };
        let gone = [(a.rule.clone(), a.labels.clone())];
        let state = State::open(&file).await.unwrap();
        state.keep_rule_alerts(std::slice::from_ref(&a), &[]).await;
        assert_eq!(state.rule_alerts().await.unwrap(), std::slice::from_ref(&a));
        // As a disk that is full.
        for (name, what) in [("i", "INSERT"), ("d", "DELETE"), ("u", "UPDATE")] {
            let refuse = format!(
                "CREATE TRIGGER {name} BEFORE {what} ON rule_alerts \
                 BEGIN SELECT RAISE(ABORT, 'full'); END"
            );
            sqlx::raw_sql(sqlx::AssertSqlSafe(refuse)).execute(&state.pool).await.unwrap();
        }
        state.keep_rule_alerts(&[b], &[]).await;
        state.keep_rule_alerts(std::slice::from_ref(&fires), &gone).await;
        state.settle().await;
        assert_eq!(state.rule_alerts().await.unwrap(), std::slice::from_ref(&fires));
        // Who asks for what is on the disk is told that it is not.
        assert!(state.save_rule_alerts(std::slice::from_ref(&fires), &[]).await.is_err());
        sqlx::raw_sql("DROP TRIGGER i; DROP TRIGGER d; DROP TRIGGER u")
            .execute(&state.pool)
            .await
            .unwrap();
        state.settle().await;
        drop(state);
        let state = State::open(&file).await.unwrap();
        assert_eq!(state.rule_alerts().await.unwrap(), [fires]);
    }

    #[tokio::test]
    async fn what_is_settled_while_it_is_read_is_read_as_it_is_then_f35() {
        let state = State::in_memory().await.unwrap();
        let pending = alert("a", RuleAlertState::Pending);
        let firing = StoredAlert { state: RuleAlertState::Firing, ..pending.clone() };
        state.save_rule_alerts(std::slice::from_ref(&pending), &[]).await.unwrap();
        // As settling does it: it holds what is owed, writes that and forgets it.
        let owed = state.owed.lock().await;
        let mut reading = Box::pin(state.rule_alerts());
        // Long enough to have read the rows, if it did not wait for what is owed.
        assert!(timeout(std::time::Duration::from_millis(300), &mut reading).await.is_err());
        state.save_rule_alerts(std::slice::from_ref(&firing), &[]).await.unwrap();
        drop(owed);
        assert_eq!(reading.await.unwrap(), [firing]);
    }
}
