//! The windows that there are, and at what times.
//!
//! Invariant: the database is written first; who asks twice at one time is answered the same.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::labels::Labels;
use base::matcher::{MatchOp, Matcher};
use base::sample::Timestamp;
use serde_json::{Value, json};
use tokio::sync::Mutex as Turn;
use tracing::info;

use super::calendar::Calendar;
use super::spans::{MINUTE, Span, of_interval};
use super::{Address, Occurrence, Phase, Schedule, Window};
use crate::mute::silence::{SilenceError, new_id};
use crate::state::{Note, NoteKind, State, StateError};

/// How long a window is known after its end.
const KEEP: Duration = Duration::from_secs(600);
/// How long one that was asked for is shown after its end.
const KEEP_ASKED: Duration = Duration::from_secs(120 * 3600);
/// The most that can be asked for.
const MOST: usize = 10_000;

/// Why a window is refused.
#[derive(Debug, thiserror::Error)]
pub enum MaintenanceError {
    /// It is no window.
    #[error("{0}")]
    Invalid(String),
    /// There is none with that id.
    #[error("there is no window {0} that runs or is planned")]
    NotFound(String),
    /// There are too many.
    #[error("there are {MOST} windows already, the most that are allowed")]
    TooMany,
    /// Nothing has changed: the state failed.
    #[error(transparent)]
    State(#[from] StateError),
}

/// A window that somebody asks for.
#[derive(Clone, Debug)]
pub struct Asked {
    /// What, and of whom.
    pub window: Window,
    /// When; a start in the past is now (A5.3).
    pub span: Span,
}

/// All windows. Clones share them.
#[derive(Clone, Debug)]
pub struct Maintenance {
    state: State,
    inner: Arc<Mutex<Inner>>,
    /// Whoever writes holds it from the look at what there is to the last change.
    turn: Arc<Turn<()>>,
}

/// Windows at their times, sorted.
type Found = Arc<Vec<Arc<Occurrence>>>;

#[derive(Debug, Default)]
struct Inner {
    configured: Vec<Arc<Window>>,
    asked: BTreeMap<String, Arc<Occurrence>>,
    /// When windows were ended before their time, and when that was.
    ended: HashMap<String, (Timestamp, Timestamp)>,
    calendars: HashMap<String, Known>,
    /// Counts changes.
    version: u64,
    /// What was found, for the minute and the version.
    found: Option<(i64, u64, Found)>,
}

/// What is known of a calendar.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    pub(super) calendar: Arc<Calendar>,
    pub(super) text: String,
    /// When it was last read.
    pub(super) read_at: Option<Timestamp>,
    /// Why it could not be read since.
    pub(super) fault: Option<String>,
}

impl Maintenance {
    /// Reads what a run before left.
    ///
    /// # Errors
    ///
    /// The database failed. A row that is not ours is left out with a warning.
    pub async fn open(state: State) -> Result<Self, StateError> {
        let mut inner = Inner::default();
        for note in state.notes(NoteKind::Window).await? {
            let body: Value = serde_json::from_str(&note.body).unwrap_or_default();
            if let Some(at) = body["ended"].as_i64() {
                inner.ended.insert(note.name, (Timestamp::from_millis(at), note.at));
            } else if let Some(occurrence) = from_json(&note.name, &body) {
                inner.asked.insert(note.name, Arc::new(occurrence));
            } else {
                tracing::warn!(id = note.name, "a window of maintenance cannot be read");
            }
        }
        for note in state.notes(NoteKind::Calendar).await? {
            // Read again with its zone when its window is configured.
            let known = Known { text: note.body, read_at: Some(note.at), ..Known::default() };
            inner.calendars.insert(note.name, known);
        }
        Ok(Self { state, inner: Arc::new(Mutex::new(inner)), turn: Arc::default() })
    }

    /// Puts the windows of another configuration in the place of those before.
    pub fn set_windows(&self, windows: Vec<Arc<Window>>) {
        let mut inner = self.lock();
        for address in addresses(&windows) {
            let zone = address.zone();
            let known = inner.calendars.entry(address.key()).or_default();
            // From the file itself, which was checked with the configuration; else what was kept.
            let text = match &*address {
                Address::File { path, .. } => std::fs::read_to_string(path).ok(),
                Address::Url { .. } => None,
            };
            known.text = text.unwrap_or_else(|| std::mem::take(&mut known.text));
            match Calendar::read(&known.text, zone) {
                Ok(calendar) => known.calendar = Arc::new(calendar),
                Err(fault) if !known.text.is_empty() => known.fault = Some(fault),
                Err(_) => known.fault = Some("was not read yet".to_owned()),
            }
        }
        inner.configured = windows;
        inner.version += 1;
    }

    /// Adds a window; gives its id.
    ///
    /// # Errors
    ///
    /// Nothing has changed then.
    pub async fn ask(&self, asked: Asked, now: Timestamp) -> Result<String, MaintenanceError> {
        let invalid = |message: &str| Err(MaintenanceError::Invalid(message.to_owned()));
        let Asked { window, span } = asked;
        let span = Span { start: span.start.max(now), ..span };
        if span.end <= span.start {
            return invalid("the end must be after the start, and not in the past");
        }
        if window.name.is_empty() || window.matchers.is_empty() {
            return invalid("a name and at least one matcher are needed");
        }
        let _turn = self.turn.lock().await;
        if self.lock().asked.len() >= MOST {
            return Err(MaintenanceError::TooMany);
        }
        let id =
            new_id().map_err(|error: SilenceError| MaintenanceError::Invalid(error.to_string()))?;
        let window = Arc::new(Window { schedule: Schedule::Once(span), ..window });
        let occurrence = Occurrence { id: id.clone(), window, span };
        self.save(&id, span.end, &to_json(&occurrence)).await?;
        let mut inner = self.lock();
        info!(
            id,
            name = occurrence.window.name,
            by = occurrence.window.owner,
            "a window is asked for"
        );
        inner.asked.insert(id.clone(), Arc::new(occurrence));
        inner.version += 1;
        Ok(id)
    }

    /// Ends a window at `now`, or takes back one that is planned.
    ///
    /// # Errors
    ///
    /// Nothing has changed then.
    pub async fn end(&self, id: &str, now: Timestamp) -> Result<(), MaintenanceError> {
        let _turn = self.turn.lock().await;
        let known = self.planned(now).into_iter().find(|occurrence| occurrence.id == id);
        let known = known.filter(|known| known.phase(now) < Phase::Settling);
        let known = known.ok_or_else(|| MaintenanceError::NotFound(id.to_owned()))?;
        let end = now.max(known.span.start);
        let ended = Occurrence { span: Span { end, ..known.span }, ..Occurrence::clone(&known) };
        let is_asked = self.lock().asked.contains_key(id);
        let body = if is_asked { to_json(&ended) } else { json!({"ended": now.millis()}) };
        // A configured one would come back if its end were forgotten.
        let until = known.span.end.max(end);
        self.save(id, until, &body).await?;
        let mut inner = self.lock();
        if is_asked {
            inner.asked.insert(id.to_owned(), Arc::new(ended));
        } else {
            inner.ended.insert(id.to_owned(), (now, until));
        }
        inner.version += 1;
        info!(id, name = known.window.name, "a window is ended before its time");
        Ok(())
    }

    async fn save(&self, id: &str, at: Timestamp, body: &Value) -> Result<(), StateError> {
        let note = Note { name: id.to_owned(), at, body: body.to_string() };
        self.state.save_notes(NoteKind::Window, &[note]).await
    }

    /// Forgets what ended long ago.
    ///
    /// # Errors
    ///
    /// The database failed.
    pub async fn forget(&self, now: Timestamp) -> Result<(), StateError> {
        let _turn = self.turn.lock().await;
        let end = now - KEEP_ASKED;
        let old = |occurrence: &Occurrence| occurrence.span.end < end;
        let any = {
            let inner = self.lock();
            inner.asked.values().any(|asked| old(asked))
                || inner.ended.values().any(|(_, until)| *until < end)
        };
        if any {
            self.state.forget_notes(NoteKind::Window, end).await?;
            let mut inner = self.lock();
            inner.asked.retain(|_, asked| !old(asked));
            inner.ended.retain(|_, (_, until)| *until >= end);
        }
        Ok(())
    }

    /// The windows that hold alerts, are announced, or have just ended.
    pub fn current(&self, now: Timestamp) -> Found {
        let mut inner = self.lock();
        let minute = now.millis().div_euclid(MINUTE);
        if let Some((of_minute, version, found)) = &inner.found
            && (*of_minute, *version) == (minute, inner.version)
        {
            return Arc::clone(found);
        }
        let found = inner.find(now, |window| window.announce.max(KEEP));
        let found = Arc::new(found);
        inner.found = Some((minute, inner.version, Arc::clone(&found)));
        found
    }

    /// As [`Maintenance::current`], and those that are planned for the next week.
    pub fn planned(&self, now: Timestamp) -> Vec<Arc<Occurrence>> {
        self.lock().find(now, |_| super::config::LONGEST_ANNOUNCE)
    }

    /// The windows that were asked for and are over.
    pub fn past(&self, now: Timestamp) -> Vec<Arc<Occurrence>> {
        let inner = self.lock();
        let over = inner.asked.values().filter(|asked| asked.phase(now) == Phase::Over);
        over.cloned().collect()
    }

    /// The names of the windows that hold an alert with `labels` back at `now`, sorted.
    pub fn held_by(&self, labels: &Labels, now: Timestamp) -> Vec<String> {
        let current = self.current(now);
        let holding = current.iter().filter(|one| one.holds(now) && one.matches(labels));
        let mut names: Vec<String> = holding.map(|one| one.window.name.clone()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Whether any window holds alerts back at `now`.
    pub fn is_any(&self, now: Timestamp) -> bool {
        self.current(now).iter().any(|one| one.holds(now))
    }

    /// What changes whenever another answer is possible: the count of changes, and the last time
    /// before `now` at which a window began or let go.
    pub fn epoch(&self, now: Timestamp) -> (u64, Option<Timestamp>) {
        let current = self.current(now);
        let past = edges(&current).filter(|edge| *edge <= now).max();
        (self.lock().version, past)
    }

    /// When the next window begins or lets go.
    pub fn next_edge(&self, now: Timestamp) -> Option<Timestamp> {
        edges(&self.current(now)).filter(|edge| *edge > now).min()
    }

    /// The end of the window that let go at `edge`, after things had settled.
    pub fn settled_since(&self, edge: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let current = self.current(now);
        let ended = current.iter().filter(|one| one.span.end + one.window.settle == edge);
        ended.map(|one| one.span.end).min()
    }

    /// Calendars that could not be read, by the names of their windows.
    pub fn faults(&self) -> Vec<(String, String)> {
        let inner = self.lock();
        let fault = |window: &Arc<Window>| match &window.schedule {
            Schedule::Calendar(address) => {
                let known = inner.calendars.get(&address.key())?;
                Some((window.name.clone(), known.fault.clone()?))
            }
            _ => None,
        };
        inner.configured.iter().filter_map(fault).collect()
    }

    /// Where calendars are to be read from, with what is known of each.
    pub(super) fn calendars(&self) -> Vec<(Arc<Address>, Known)> {
        let inner = self.lock();
        let known = |address: Arc<Address>| {
            let known = inner.calendars.get(&address.key()).cloned().unwrap_or_default();
            (address, known)
        };
        addresses(&inner.configured).map(known).collect()
    }

    /// Takes a calendar as it was read at `now`, or why it could not be. What was read before stays
    /// then.
    pub(super) async fn take(
        &self,
        address: &Address,
        read: Result<(Calendar, String), String>,
        now: Timestamp,
    ) -> Result<(), StateError> {
        let key = address.key();
        if let Ok((_, text)) = &read {
            let same = self.lock().calendars.get(&key).is_some_and(|known| known.text == *text);
            if !same {
                let note = Note { name: key.clone(), at: now, body: text.clone() };
                self.state.save_notes(NoteKind::Calendar, &[note]).await?;
            }
        }
        let mut inner = self.lock();
        let known = inner.calendars.entry(key).or_default();
        match read {
            Ok((calendar, text)) => {
                let fresh = known.text != text || known.fault.is_some();
                let calendar = Arc::new(calendar);
                *known = Known { calendar, text, read_at: Some(now), fault: None };
                inner.version += u64::from(fresh);
            }
            Err(fault) => known.fault = Some(fault),
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// The windows that have not been over for long at `now`, as far ahead as `ahead` says; sorted.
    fn find(&self, now: Timestamp, ahead: impl Fn(&Window) -> Duration) -> Vec<Arc<Occurrence>> {
        let mut found = Vec::new();
        let is_near = |one: &Occurrence| {
            one.span.end + one.window.settle + KEEP > now
                && one.span.start <= now + ahead(&one.window) + Duration::from_secs(60)
        };
        for window in &self.configured {
            let from = now - window.settle - KEEP;
            let to = now + ahead(window) + Duration::from_secs(60);
            let spans = match &window.schedule {
                Schedule::Once(span) => vec![*span],
                Schedule::Times(interval) => of_interval(interval, from, to),
                Schedule::Calendar(address) => {
                    let known = self.calendars.get(&address.key());
                    known.map_or_else(Vec::new, |known| known.calendar.spans(from, to))
                }
            };
            for span in spans {
                let id = id_of(&window.name, span);
                let end = match self.ended.get(&id) {
                    Some((at, _)) => span.end.min((*at).max(span.start)),
                    None => span.end,
                };
                let span = Span { end, ..span };
                found.push(Arc::new(Occurrence { id, window: Arc::clone(window), span }));
            }
        }
        found.extend(self.asked.values().cloned());
        found.retain(|one| is_near(one));
        found.sort_by(|a, b| (a.span, &a.id).cmp(&(b.span, &b.id)));
        found
    }
}

fn edges(occurrences: &[Arc<Occurrence>]) -> impl Iterator<Item = Timestamp> {
    occurrences.iter().flat_map(|one| [one.span.start, one.span.end + one.window.settle])
}

fn addresses(windows: &[Arc<Window>]) -> impl Iterator<Item = Arc<Address>> {
    windows.iter().filter_map(|window| match &window.schedule {
        Schedule::Calendar(address) => Some(Arc::clone(address)),
        _ => None,
    })
}

/// The id of a configured window at one of its times: the same after every restart.
fn id_of(name: &str, span: Span) -> String {
    let start = span.start.millis().to_string();
    let labels = Labels::from_pairs([("name", name), ("start", &start)]);
    format!("{:016x}", labels.fingerprint())
}

fn to_json(occurrence: &Occurrence) -> Value {
    let window = &occurrence.window;
    let millis = |period: Duration| i64::try_from(period.as_millis()).unwrap_or(i64::MAX);
    let matcher =
        |m: &Matcher| json!({"name": m.name(), "op": m.op().as_str(), "value": m.value()});
    json!({
        "name": window.name,
        "matchers": window.matchers.iter().map(matcher).collect::<Vec<_>>(),
        "start": occurrence.span.start.millis(),
        "end": occurrence.span.end.millis(),
        "announce": millis(window.announce),
        "settle": millis(window.settle),
        "receivers": window.receivers,
        "owner": window.owner,
        "comment": window.comment,
    })
}

fn from_json(id: &str, body: &Value) -> Option<Occurrence> {
    let text = |name: &str| Some(body[name].as_str()?.to_owned());
    let time = |name: &str| Some(Timestamp::from_millis(body[name].as_i64()?));
    let period = |name: &str| Some(Duration::from_millis(body[name].as_u64()?));
    let matcher = |value: &Value| {
        let op = MatchOp::named(value["op"].as_str()?)?;
        Matcher::new(value["name"].as_str()?, op, value["value"].as_str()?).ok()
    };
    let receivers = body["receivers"].as_array()?.iter();
    let span = Span { start: time("start")?, end: time("end")? };
    let window = Window {
        name: text("name")?,
        matchers: body["matchers"].as_array()?.iter().map(matcher).collect::<Option<_>>()?,
        owner: text("owner")?,
        comment: text("comment")?,
        announce: period("announce")?,
        settle: period("settle")?,
        receivers: receivers.map(|name| Some(name.as_str()?.to_owned())).collect::<Option<_>>()?,
        schedule: Schedule::Once(span),
    };
    Some(Occurrence { id: id.to_owned(), window: Arc::new(window), span })
}
