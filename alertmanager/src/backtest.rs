//! When alerts would have fired: from the values that their expressions had, step by step.
//!
//! ```text
//! condition   . x x x x . . x .
//! for: 2      . P P F F . . P .        one firing, from the fourth step to the sixth
//! ```
//!
//! Invariant: an alert fires here at the steps at which the rule loop would have made it fire, had it
//! judged at these steps, and data had never been missing.

pub mod replay;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base::labels::Labels;
use base::sample::Timestamp;

/// A stretch of time in which an alert fires.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Firing {
    /// From when on.
    pub from: Timestamp,
    /// The first step at which it does not fire any more, or the end of the test.
    pub to: Timestamp,
    /// The labels of the series.
    pub labels: Labels,
}

impl Firing {
    /// How long it is.
    pub fn length(&self) -> Duration {
        self.to.since(self.from)
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.labels == other.labels && self.from < other.to && other.from < self.to
    }
}

/// The steps of a test.
#[derive(Clone, Copy, Debug)]
pub struct Steps {
    /// The first.
    pub from: Timestamp,
    /// The last is not behind this.
    pub to: Timestamp,
    /// From one to the next; not zero.
    pub every: Duration,
}

/// How long a condition must hold, and how long the alert fires after that.
#[derive(Clone, Copy, Debug, Default)]
pub struct Patience {
    /// `for`
    pub hold: Duration,
    /// `keep_firing_for`
    pub keep: Duration,
}

/// When the alerts of a rule fire, sorted by time: `series` are the steps at which each series of the
/// expression is there.
pub fn firings(
    series: &BTreeMap<Labels, BTreeSet<Timestamp>>,
    steps: Steps,
    patience: Patience,
) -> Vec<Firing> {
    let mut all = Vec::new();
    for (labels, present) in series {
        let (mut since, mut gone, mut firing) = (None, None, None);
        let mut at = steps.from;
        while at <= steps.to {
            if present.contains(&at) {
                gone = None;
                let since = *since.get_or_insert(at);
                if firing.is_none() && at.since(since) >= patience.hold {
                    firing = Some(at);
                }
            } else if let Some(from) = firing {
                let missing = *gone.get_or_insert(at);
                if at.since(missing) >= patience.keep {
                    all.push(Firing { from, to: at, labels: labels.clone() });
                    (since, gone, firing) = (None, None, None);
                }
            } else {
                since = None;
            }
            at = at + steps.every;
        }
        all.extend(firing.map(|from| Firing { from, to: steps.to, labels: labels.clone() }));
    }
    all.sort();
    all
}

/// What of `new` is not in `old`: firings of series that did not fire at any time of them.
pub fn added<'a>(new: &'a [Firing], old: &[Firing]) -> Vec<&'a Firing> {
    new.iter().filter(|firing| !old.iter().any(|other| other.overlaps(firing))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A condition drawn in steps of a second, `x` where it holds; firings as `FROM-TO`.
    #[track_caller]
    fn check(condition: &str, (hold, keep): (u64, u64), expected: &str) {
        let at = |second: usize| Timestamp::from_millis(second as i64 * 1000);
        let present = condition.char_indices().filter(|(_, c)| *c == 'x').map(|(n, _)| at(n));
        let series = BTreeMap::from([(Labels::empty(), present.collect())]);
        let every = Duration::from_secs(1);
        let steps = Steps { from: at(0), to: at(condition.len() - 1), every };
        let seconds = Duration::from_secs;
        let patience = Patience { hold: seconds(hold), keep: seconds(keep) };
        let told = firings(&series, steps, patience)
            .iter()
            .map(|f| format!("{}-{}", f.from.millis() / 1000, f.to.millis() / 1000))
            .collect::<Vec<_>>();
        assert_eq!(told.join(" "), expected, "{condition}");
    }

    #[test]
    fn an_alert_fires_once_its_condition_has_held_and_while_it_holds() {
        check(".xxxx..x.", (0, 0), "1-5 7-8");
        check(".xxxx..x.", (2, 0), "3-5");
        check("xxxx", (2, 0), "2-3");
        check("....", (0, 0), "");
        check("xx.xx.xx", (2, 0), "");
        check("x.x....", (0, 2), "0-5");
        check("x.x....", (0, 0), "0-1 2-3");
    }

    #[test]
    fn firings_are_added_where_the_series_did_not_fire_at_all() {
        let at = |second: i64| Timestamp::from_millis(second * 1000);
        let firing = |from, to, host: &str| {
            let labels = Labels::from_pairs([("host", host)]);
            Firing { from: at(from), to: at(to), labels }
        };
        let old = [firing(0, 10, "a"), firing(20, 30, "a")];
        let new = [firing(5, 8, "a"), firing(12, 15, "a"), firing(5, 8, "b")];
        assert_eq!(added(&new, &old), [&new[1], &new[2]]);
        assert_eq!(added(&old, &new), [&old[1]]);
    }
}
