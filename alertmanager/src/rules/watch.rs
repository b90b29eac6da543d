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
}

impl Watch {
    /// Looks what the selectors of `query` find at `now`, if it is time, but for those of metrics
    /// that are `recorded` by its group.
    pub(super) fn look(
        &mut self,
        query: &Query,
        recorded: impl Fn(&str) -> bool,
        storage: &Storage,
        now: Timestamp,
    ) {
        if self.looked_at.is_some_and(|at| now.since(at) < EVERY) {
            return;
        }
        if self.looked_at.is_none() {
            self.selectors = selectors(query, recorded, now);
        }
        self.looked_at = Some(now);
        for selector in &mut self.selectors {
            let fresh = now - EVERY;
            if let Some(labels) = storage.alive(&selector.matchers, fresh) {
                selector.since = now;
                let target = |name: &str| matches!(name, "job" | "instance");
                selector.last = Some(labels.filter(target));
            }
        }
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
        found.push(Watched { text, matchers, since: now, last: None });
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
            watch.look(&query, recorded, &storage, at(minute));
            assert_eq!(told(&watch), if minute < 60 { "" } else { "z 0" }, "{minute}");
        }
        store(&storage, 61, Ended::Gone.value());
        for minute in 61..=120 {
            watch.look(&query, recorded, &storage, at(minute));
        }
        assert_eq!(told(&watch), "x 60{instance=\"i\", job=\"j\"}; z 0");
        store(&storage, 125, 1.0);
        watch.look(&query, recorded, &storage, at(125));
        assert_eq!(told(&watch), "z 0");
    }
}
