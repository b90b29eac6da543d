//! Silences: what somebody does not want to hear of for a while.
//!
//! A silence is never changed: an edit is a new revision of it, or, where it means something else
//! now, another silence in its place (A5.6).
//!
//! Source of what an edit may keep: the behaviour of Alertmanager's API, version 2.
//!
//! Invariant: what a method answered `Ok` is on the disk, and a silence that has expired never
//! comes back.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::labels::Labels;
use base::matcher::{MatchOp, Matcher};
use base::sample::Timestamp;
use serde_json::{Value, json};
use tokio::sync::{Mutex as Turn, Notify};
use tracing::info;

use super::index::Index;
use crate::state::{State, StateError, StoredSilence};

/// How long a silence is shown after its end.
const KEEP_EXPIRED: Duration = Duration::from_secs(120 * 3600);
/// The most that there may be.
const MOST: usize = 100_000;
/// The annotation that says why we ended a silence ourselves.
pub const ENDED_BECAUSE: &str = "veilleur_ended_because";

/// Whether a silence holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SilenceState {
    /// It will.
    Pending,
    /// It does.
    Active,
    /// It did.
    Expired,
}

impl SilenceState {
    /// The state as a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Expired => "expired",
        }
    }
}

/// A silence.
#[derive(Clone, Debug)]
pub struct Silence {
    /// By what it is known; empty for one that is new.
    pub id: String,
    /// It holds for alerts that all of them accept.
    pub matchers: Vec<Matcher>,
    /// From when.
    pub starts_at: Timestamp,
    /// Until when.
    pub ends_at: Timestamp,
    /// Who wants it.
    pub created_by: String,
    /// Why.
    pub comment: String,
    /// Notes for people and programs.
    pub annotations: BTreeMap<String, String>,
    /// When it was written.
    pub updated_at: Timestamp,
}

/// Why a silence is refused.
#[derive(Debug, thiserror::Error)]
pub enum SilenceError {
    /// It is no silence.
    #[error("{0}")]
    Invalid(String),
    /// There is none with that id.
    #[error("silence {0} not found")]
    NotFound(String),
    /// It has ended already.
    #[error("silence {0} already expired")]
    Expired(String),
    /// There are too many.
    #[error("there are {MOST} silences already, the most that are allowed")]
    TooMany,
    /// Nothing has changed: the state failed.
    #[error(transparent)]
    State(#[from] StateError),
}

/// All silences. Clones share them.
#[derive(Clone, Debug)]
pub struct Silences {
    state: State,
    inner: Arc<Mutex<Inner>>,
    changed: Arc<Notify>,
    /// Whoever writes holds it from the look at what there is to the last change.
    turn: Arc<Turn<()>>,
}

#[derive(Debug, Default)]
struct Inner {
    by_id: HashMap<String, Arc<Silence>>,
    index: Index<String>,
    /// Counts changes.
    version: u64,
}

impl Silence {
    /// Whether it holds at `now`.
    pub fn state(&self, now: Timestamp) -> SilenceState {
        if now < self.starts_at {
            SilenceState::Pending
        } else if now < self.ends_at {
            SilenceState::Active
        } else {
            SilenceState::Expired
        }
    }

    /// Whether it is about an alert with `labels`.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches_labels(labels))
    }

    /// Whether it holds at `now` for an alert with `labels`.
    pub fn holds(&self, labels: &Labels, now: Timestamp) -> bool {
        self.state(now) == SilenceState::Active && self.matches(labels)
    }

    /// Whether somebody who asks for silences with these matchers is shown it: it has each of them,
    /// as it is written.
    pub fn is_shown_by(&self, filter: &[Matcher]) -> bool {
        let same = |a: &Matcher, b: &Matcher| {
            (a.name(), a.op(), a.value()) == (b.name(), b.op(), b.value())
        };
        filter.iter().all(|wanted| self.matchers.iter().any(|own| same(own, wanted)))
    }

    /// What is wrong with it.
    fn check(&self) -> Result<(), SilenceError> {
        let invalid = |message: &str| Err(SilenceError::Invalid(message.to_owned()));
        if self.matchers.is_empty() {
            return invalid("at least one matcher is needed");
        }
        if self.matchers.iter().any(|matcher| matcher.name().is_empty()) {
            return invalid("a matcher has no label name");
        }
        // As Alertmanager: without a label that is asked for, everything would be silent.
        let asks_nothing = |matcher: &Matcher| {
            matches!(matcher.op(), MatchOp::Equal | MatchOp::Matches) && matcher.matches("")
        };
        if self.matchers.iter().all(asks_nothing) {
            return invalid("at least one matcher must not accept an empty value");
        }
        if self.ends_at <= self.starts_at {
            return invalid("the end must be after the start");
        }
        Ok(())
    }

    fn same_matchers(&self, other: &Self) -> bool {
        let key = |m: &Matcher| (m.name().to_owned(), m.op(), m.value().to_owned());
        let sorted = |silence: &Self| {
            let mut keys: Vec<_> = silence.matchers.iter().map(key).collect();
            keys.sort();
            keys
        };
        sorted(self) == sorted(other)
    }

    /// Whether `new` may take its place under its id. One that holds goes on to hold.
    fn becomes(&self, new: &Self, now: Timestamp) -> bool {
        self.same_matchers(new)
            && match self.state(now) {
                SilenceState::Active => new.starts_at <= now && new.ends_at >= now,
                SilenceState::Pending => new.starts_at >= now,
                SilenceState::Expired => false,
            }
    }
}

impl Silences {
    /// Reads those that a run before left.
    ///
    /// # Errors
    ///
    /// The database failed. A row that is not ours is left out with a warning.
    pub async fn open(state: State) -> Result<Self, StateError> {
        let mut inner = Inner::default();
        for row in state.silences().await? {
            match from_row(&row) {
                Some(silence) => inner.put(Arc::new(silence)),
                None => tracing::warn!(id = row.id, "a silence cannot be read"),
            }
        }
        Ok(Self {
            state,
            inner: Arc::new(Mutex::new(inner)),
            changed: Arc::default(),
            turn: Arc::default(),
        })
    }

    /// Puts a silence in: a new one, or in the place of the one with its id, under the same id
    /// where it means the same. Gives its id.
    ///
    /// # Errors
    ///
    /// Nothing has changed then.
    pub async fn set(&self, silence: Silence, now: Timestamp) -> Result<String, SilenceError> {
        silence.check()?;
        let _turn = self.turn.lock().await;
        let mut changed = Vec::new();
        let mut new = Silence { updated_at: now, ..silence };
        let before = match new.id.as_str() {
            "" => None,
            id => Some(self.get(id).ok_or_else(|| SilenceError::NotFound(id.to_owned()))?),
        };
        match before {
            Some(before) if before.becomes(&new, now) => {
                if before.state(now) == SilenceState::Active {
                    new.starts_at = before.starts_at;
                }
            }
            before => {
                if self.lock().by_id.len() >= MOST {
                    return Err(SilenceError::TooMany);
                }
                if let Some(before) = before
                    && before.state(now) != SilenceState::Expired
                {
                    changed.push(expired(&before, now));
                }
                new.id = new_id()?;
                new.starts_at = new.starts_at.max(now);
                new.check()?;
            }
        }
        let id = new.id.clone();
        let (by, matchers) = (new.created_by.clone(), crate::matchers::print_all(&new.matchers));
        changed.push(new);
        self.write(changed).await?;
        info!(silence = id, by, matchers, "a silence is set");
        Ok(id)
    }

    /// Ends a silence at `now`.
    ///
    /// # Errors
    ///
    /// Nothing has changed then.
    pub async fn expire(&self, id: &str, now: Timestamp) -> Result<(), SilenceError> {
        self.expire_because(id, None, now).await
    }

    /// As [`Silences::expire`], with a note of why in its annotation [`ENDED_BECAUSE`].
    ///
    /// # Errors
    ///
    /// Nothing has changed then.
    pub async fn expire_because(
        &self,
        id: &str,
        why: Option<&str>,
        now: Timestamp,
    ) -> Result<(), SilenceError> {
        let _turn = self.turn.lock().await;
        let silence = self.get(id).ok_or_else(|| SilenceError::NotFound(id.to_owned()))?;
        if silence.state(now) == SilenceState::Expired {
            return Err(SilenceError::Expired(id.to_owned()));
        }
        let mut ended = expired(&silence, now);
        if let Some(why) = why {
            ended.annotations.insert(ENDED_BECAUSE.to_owned(), why.to_owned());
        }
        self.write(vec![ended]).await?;
        info!(silence = id, why = why.unwrap_or("somebody asked for it"), "a silence is ended");
        Ok(())
    }

    /// Forgets those that ended long ago.
    ///
    /// # Errors
    ///
    /// The database failed.
    pub async fn forget_expired(&self, now: Timestamp) -> Result<(), StateError> {
        let _turn = self.turn.lock().await;
        let end = now - KEEP_EXPIRED;
        let gone = |silence: &Silence| silence.ends_at < end;
        if self.lock().by_id.values().any(|silence| gone(silence)) {
            self.state.forget_silences(end).await?;
            let mut inner = self.lock();
            inner.by_id.retain(|_, silence| !gone(silence));
            inner.reindex();
        }
        Ok(())
    }

    async fn write(&self, silences: Vec<Silence>) -> Result<(), SilenceError> {
        let rows: Vec<_> = silences.iter().map(to_row).collect();
        self.state.save_silences(&rows).await?;
        let mut inner = self.lock();
        silences.into_iter().for_each(|silence| inner.put(Arc::new(silence)));
        inner.version += 1;
        drop(inner);
        self.changed.notify_one();
        Ok(())
    }

    /// Wakes whoever waits for a change: something else that holds alerts has changed.
    pub fn wake(&self) {
        self.changed.notify_one();
    }

    /// Waits until one has changed.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The silence with that id.
    pub fn get(&self, id: &str) -> Option<Arc<Silence>> {
        self.lock().by_id.get(id).cloned()
    }

    /// All of them, also those that have ended.
    pub fn all(&self) -> Vec<Arc<Silence>> {
        self.lock().by_id.values().cloned().collect()
    }

    /// All of them as they were at `at`: each in the revision that was the last then.
    ///
    /// # Errors
    ///
    /// The database failed.
    pub async fn as_of(&self, at: Timestamp) -> Result<Vec<Arc<Silence>>, StateError> {
        let rows = self.state.silences_as_of(at).await?;
        Ok(rows.iter().filter_map(from_row).map(Arc::new).collect())
    }

    /// The ids of those that hold at `now` for an alert with `labels`, sorted.
    pub fn silenced_by(&self, labels: &Labels, now: Timestamp) -> Vec<String> {
        let inner = self.lock();
        let mut ids = inner.index.of(labels);
        ids.retain(|id| {
            inner.by_id.get(id).is_some_and(|silence| {
                silence.state(now) == SilenceState::Active && silence.matches(labels)
            })
        });
        ids
    }

    /// What changes whenever another answer is possible: the count of changes, and the last start
    /// or end before `now`.
    pub fn epoch(&self, now: Timestamp) -> (u64, Option<Timestamp>) {
        let inner = self.lock();
        let past = inner.edges().filter(|edge| *edge <= now).max();
        (inner.version, past)
    }

    /// When the next one begins or ends.
    pub fn next_edge(&self, now: Timestamp) -> Option<Timestamp> {
        self.lock().edges().filter(|edge| *edge > now).min()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn put(&mut self, silence: Arc<Silence>) {
        let known = self.by_id.insert(silence.id.clone(), Arc::clone(&silence));
        // Under one id the matchers stay the same.
        if known.is_none() {
            self.index.add(&silence.matchers, silence.id.clone());
        }
    }

    fn reindex(&mut self) {
        self.index = Index::default();
        for silence in self.by_id.values() {
            self.index.add(&silence.matchers, silence.id.clone());
        }
    }

    fn edges(&self) -> impl Iterator<Item = Timestamp> {
        self.by_id.values().flat_map(|silence| [silence.starts_at, silence.ends_at])
    }
}

fn expired(silence: &Silence, now: Timestamp) -> Silence {
    // One that has not begun never does.
    let starts_at = silence.starts_at.min(now);
    Silence { starts_at, ends_at: now, updated_at: now, ..silence.clone() }
}

/// A random id in the form of a UUID, version 4 (RFC 9562).
pub(super) fn new_id() -> Result<String, SilenceError> {
    let failed = |_| SilenceError::Invalid("the system gives no random numbers".to_owned());
    let random = ring::rand::generate::<[u8; 16]>(&ring::rand::SystemRandom::new());
    let mut bytes = random.map_err(failed)?.expose();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    Ok(parts.join("-"))
}

fn to_row(silence: &Silence) -> StoredSilence {
    let matcher =
        |m: &Matcher| json!({"name": m.name(), "op": m.op().as_str(), "value": m.value()});
    let body = json!({
        "matchers": silence.matchers.iter().map(matcher).collect::<Vec<_>>(),
        "startsAt": silence.starts_at.millis(),
        "createdBy": silence.created_by,
        "comment": silence.comment,
        "annotations": silence.annotations,
    });
    StoredSilence {
        id: silence.id.clone(),
        updated_at: silence.updated_at,
        ends_at: silence.ends_at,
        body: body.to_string(),
    }
}

fn from_row(row: &StoredSilence) -> Option<Silence> {
    let body: Value = serde_json::from_str(&row.body).ok()?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let matcher = |value: &Value| {
        let op = MatchOp::named(value["op"].as_str()?)?;
        Matcher::new(value["name"].as_str()?, op, value["value"].as_str()?).ok()
    };
    let annotations = body["annotations"].as_object()?.iter();
    Some(Silence {
        id: row.id.clone(),
        matchers: body["matchers"].as_array()?.iter().map(matcher).collect::<Option<_>>()?,
        starts_at: Timestamp::from_millis(body["startsAt"].as_i64()?),
        ends_at: row.ends_at,
        created_by: text(&body["createdBy"])?,
        comment: text(&body["comment"])?,
        annotations: annotations
            .map(|(n, v)| Some((n.clone(), text(v)?)))
            .collect::<Option<_>>()?,
        updated_at: row.updated_at,
    })
}
