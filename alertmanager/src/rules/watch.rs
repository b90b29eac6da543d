//! Selectors of rules that find nothing: a metric was renamed, a target is gone, a name is misspelt.
//! Such a rule stays silent whatever happens.
//!
//! ```text
//! every 5 min   has a series of the selector a fresh sample?   yes: note which
//!               no, for an hour: the selector is dead
//! ```
//!
//! Invariant: a selector that may find nothing (within `absent` or `absent_over_time`, behind
//! `unless`) is not looked at, nor one of what the same group records, nor a rule that is built in.

use std::time::Duration;

use base::labels::Labels;
use base::matcher::Matcher;
use base::sample::Timestamp;
use promql::ast::{BinaryOp, Expr, ExprKind, VectorSelector};
use promql::{Query, Span};
use storage::Storage;

/// How long a selector may find nothing.
const PATIENCE: Duration = Duration::from_secs(3600);
/// How often is looked.
const EVERY: Duration = Duration::from_secs(300);

/// How far back is looked for who had it last, and in which steps.
const REMEMBERED: Duration = Duration::from_secs(7 * 86_400);
const STEP: Duration = Duration::from_secs(600);

/// What another store answers.
type Answer = Result<Vec<(Labels, f64)>, String>;

/// Where is looked.
#[derive(Clone, Copy)]
pub(super) enum Place<'a> {
    /// In the samples here.
    Here(&'a Storage),
    /// In another store, which answers queries.
    Elsewhere(&'a dyn Fn(&Query) -> Answer),
}

/// A selector that has found nothing for an hour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadSelector {
    /// The selector.
    pub selector: String,
    /// Since when it finds nothing, as far as we know.
    pub since: Timestamp,
    /// The target that had it last, by its `job` and `instance`; nothing where we have seen none.
    pub last: Option<Labels>,
}

/// What is known of the selectors of a rule.
#[derive(Debug, Default)]
pub(super) struct Watch {
    looked_at: Option<Timestamp>,
    selectors: Vec<Watched>,
}

#[derive(Debug)]
struct Watched {
    text: String,
    matchers: Vec<Matcher>,
    /// When it found something, or was looked at first.
    since: Timestamp,
    last: Option<Labels>,
    /// Whether was looked in the past for who had it last: a restart forgets that.
    was_searched: bool,
}

impl Watch {
    /// Looks what the selectors of `query` find at `now`, if it is time, but for those of metrics
    /// that are `recorded` by its group. Returns how many times another store was asked.
    pub(super) fn look(
        &mut self,
        query: &Query,
        recorded: impl Fn(&str) -> bool,
        place: Place<'_>,
        now: Timestamp,
    ) -> usize {
        if self.looked_at.is_some_and(|at| now.since(at) < EVERY) {
            return 0;
        }
        if self.looked_at.is_none() {
            self.selectors = selectors(query, recorded, now);
        }
        self.looked_at = Some(now);
        let mut asked = self.selectors.len();
        for selector in &mut self.selectors {
            let target = |labels: Labels| labels.filter(|name| matches!(name, "job" | "instance"));
            match place.alive(selector, now) {
                Ok(Some(labels)) => (selector.since, selector.last) = (now, Some(target(labels))),
                // Nobody knows.
                Err(_) => selector.since = now,
                Ok(None) if now.since(selector.since) < PATIENCE => {}
                Ok(None) => {
                    let is_unknown = selector.last.is_none();
                    if is_unknown && !std::mem::replace(&mut selector.was_searched, true) {
                        asked += 1;
                        if let Some((labels, at)) = place.before(selector) {
                            (selector.last, selector.since) = (Some(target(labels)), at);
                        }
                    }
                }
            }
        }
        if matches!(place, Place::Elsewhere(_)) { asked } else { 0 }
    }

    /// The selectors that have found nothing for an hour.
    pub(super) fn dead(&self) -> Vec<DeadSelector> {
        let Some(now) = self.looked_at else { return Vec::new() };
        let dead = self.selectors.iter().filter(|selector| now.since(selector.since) >= PATIENCE);
        dead.map(|selector| DeadSelector {
            selector: selector.text.clone(),
            since: selector.since,
            last: selector.last.clone(),
        })
        .collect()
    }
}

impl Place<'_> {
    /// A series that a selector finds at `now`.
    fn alive(self, selector: &Watched, now: Timestamp) -> Result<Option<Labels>, String> {
        match self {
            Self::Here(storage) => Ok(storage.alive(&selector.matchers, now - EVERY)),
            Self::Elsewhere(ask) => first(ask, &format!("topk(1, {})", selector.text)),
        }
    }

    /// A series that it found last, before it is known to find nothing, and when that was.
    fn before(self, selector: &Watched) -> Option<(Labels, Timestamp)> {
        let storage = match self {
            Self::Here(storage) => storage,
            Self::Elsewhere(ask) => {
                let days = base::period::Period::from(REMEMBERED);
                let text = format!("topk(1, last_over_time({}[{days}]))", selector.text);
                return Some((first(ask, &text).ok()??, selector.since));
            }
        };
        let (mut to, end) = (selector.since, selector.since - REMEMBERED);
        while to > end {
            let from = to - STEP;
            let found = storage.select(&selector.matchers, from, to).ok()?.into_iter();
            let last = |series: storage::SeriesSamples| {
                let at = Timestamp::from_millis(*series.times.last()?);
                Some((series.labels, at))
            };
            if let Some(found) = found.filter_map(last).max_by_key(|(_, at)| *at) {
                return Some(found);
            }
            to = from;
        }
        None
    }
}

fn first(ask: &dyn Fn(&Query) -> Answer, text: &str) -> Result<Option<Labels>, String> {
    let query = Query::new(text).map_err(|faults| faults.to_string())?;
    Ok(ask(&query)?.into_iter().next().map(|(labels, _)| labels))
}

/// The selectors of an expression without which it finds nothing, in the order in which they are
/// written: not those within `absent` and `absent_over_time` or behind `unless`.
pub(super) fn needed(expr: &Expr) -> impl Iterator<Item = &VectorSelector> {
    let mut spared: Vec<Span> = Vec::new();
    expr.parts().filter_map(move |part| {
        let selector = match &part.kind {
            ExprKind::Call(call) if matches!(&*call.name, "absent" | "absent_over_time") => {
                spared.push(part.span);
                return None;
            }
            ExprKind::Binary(binary) if binary.op == BinaryOp::Unless => {
                spared.push(binary.right.span);
                return None;
            }
            ExprKind::Vector(selector) => selector,
            ExprKind::Matrix(matrix) => &matrix.selector,
            _ => return None,
        };
        let within = |outer: &Span| outer.start <= part.span.start && part.span.end <= outer.end;
        (!spared.iter().any(within)).then_some(selector)
    })
}

/// The selectors of an expression that are watched, each once.
fn selectors(query: &Query, recorded: impl Fn(&str) -> bool, now: Timestamp) -> Vec<Watched> {
    let mut found: Vec<Watched> = Vec::new();
    for selector in needed(query.expr()) {
        let text = selector.to_string();
        let is_recorded = selector.name.as_deref().is_some_and(&recorded);
        if is_recorded || found.iter().any(|known| known.text == text) {
            continue;
        }
        let matchers = selector.matchers.clone();
        found.push(Watched { text, matchers, since: now, last: None, was_searched: false });
    }
    found
}

#[cfg(test)]
mod tests {
    use base::sample::Ended;
    use storage::{Options, Point};

    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_millis(minute * 60_000)
    }

    fn store(storage: &Storage, minute: i64, value: f64) {
        let labels = [("__name__", "x"), ("job", "j"), ("instance", "i"), ("a", "b")];
        let series = storage.series(&Labels::from_pairs(labels)).unwrap();
        storage.append(&[Point { series, timestamp: at(minute), value }]).unwrap();
    }

    #[test]
    fn a_selector_is_dead_after_an_hour_without_a_sample() {
        let storage = Storage::in_memory(Options::default());
        let query = Query::new("x > 1 unless v and absent(y) and z > x + ours").unwrap();
        let (mut watch, recorded) = (Watch::default(), |name: &str| name == "ours");
        let told = |watch: &Watch| {
            let dead = watch.dead();
            let told = dead.iter().map(|dead| {
                let last = dead.last.as_ref().map_or(String::new(), Labels::to_string);
                format!("{} {}{last}", dead.selector, dead.since.millis() / 60_000)
            });
            told.collect::<Vec<_>>().join("; ")
        };
        for minute in 0..=60 {
            store(&storage, minute, 1.0);
            watch.look(&query, recorded, Place::Here(&storage), at(minute));
            assert_eq!(told(&watch), if minute < 60 { "" } else { "z 0" }, "{minute}");
        }
        store(&storage, 61, Ended::Gone.value());
        for minute in 61..=120 {
            watch.look(&query, recorded, Place::Here(&storage), at(minute));
        }
        assert_eq!(told(&watch), "x 60{instance=\"i\", job=\"j\"}; z 0");
        store(&storage, 125, 1.0);
        watch.look(&query, recorded, Place::Here(&storage), at(125));
        assert_eq!(told(&watch), "z 0");
    }

    #[test]
    fn who_had_it_last_is_found_in_the_samples_of_before_a_restart() {
        let storage = Storage::in_memory(Options::default());
        let query = Query::new("x > 1 and z > 1").unwrap();
        store(&storage, 10, 1.0);
        // Started again an hour later: that it is dead is known after another.
        let mut watch = Watch::default();
        for minute in 70..130 {
            watch.look(&query, |_| false, Place::Here(&storage), at(minute));
            assert!(watch.dead().is_empty(), "{minute}");
        }
        watch.look(&query, |_| false, Place::Here(&storage), at(130));
        let [x, z] = &watch.dead()[..] else { panic!("{:?}", watch.dead()) };
        assert_eq!((x.since, z.since), (at(10), at(70)));
        assert_eq!(x.last.as_ref().unwrap().to_string(), "{instance=\"i\", job=\"j\"}");
        assert_eq!(z.last, None);
    }

    #[test]
    fn another_store_is_asked_and_its_failures_kill_no_selector() {
        let query = Query::new("x > 1").unwrap();
        let labels = || Labels::from_pairs([("job", "j"), ("instance", "i"), ("a", "b")]);
        let told = |answers: &dyn Fn(&str) -> Answer| {
            let mut watch = Watch::default();
            let ask = |query: &Query| answers(&query.to_string());
            (0..=60).for_each(|minute| {
                watch.look(&query, |_| false, Place::Elsewhere(&ask), at(minute));
            });
            let dead = watch.dead();
            dead.first().map(|d| d.last.as_ref().map_or(String::new(), Labels::to_string))
        };
        assert_eq!(told(&|_| Err("away".to_owned())), None);
        assert_eq!(told(&|_| Ok(vec![(labels(), 1.0)])), None);
        assert_eq!(told(&|_| Ok(Vec::new())), Some(String::new()));
        let before = |query: &str| match query {
            "topk(1, last_over_time(x[7d]))" | "topk(1, last_over_time(x[1w]))" => {
                Ok(vec![(labels(), 1.0)])
            }
            _ => Ok(Vec::new()),
        };
        let expected = "{instance=\"i\", job=\"j\"}";
        assert_eq!(told(&before).as_deref(), Some(expected));
    }
}
