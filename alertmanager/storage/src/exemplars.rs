//! Examples of what was counted: the newest ones, in memory only.
//!
//! ```text
//! append ──▶ ring of so many, the oldest goes ──▶ exemplars(matchers, range)
//! ```
//!
//! Invariant: there are never more than the options allow; a start forgets all of them.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use base::labels::Labels;
use base::matcher::Matcher;
use base::sample::Timestamp;

use crate::Storage;

/// The most bytes that names and values of an exemplar's labels may have; OpenMetrics allows as
/// many characters.
const MAX_LABELS: usize = 512;

/// An example of what a series counted.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// What it was: a trace id, say.
    pub labels: Labels,
    /// Its value.
    pub value: f64,
    /// When it was observed.
    pub timestamp: Timestamp,
}

/// The newest exemplars.
#[derive(Debug, Default)]
pub(crate) struct Ring(Mutex<Newest>);

#[derive(Debug, Default)]
struct Newest {
    /// In the order in which they came.
    all: VecDeque<(Labels, Exemplar)>,
    /// How many have gone.
    gone: u64,
    /// The last of each series, counted from the first there ever was.
    lasts: HashMap<Labels, u64>,
}

impl Newest {
    /// The last of a series.
    fn last(&self, series: &Labels) -> Option<&Exemplar> {
        let place = self.lasts.get(series)?.checked_sub(self.gone)?;
        Some(&self.all.get(usize::try_from(place).ok()?)?.1)
    }

    fn push(&mut self, series: Labels, exemplar: Exemplar, most: usize) {
        while self.all.len() >= most {
            let Some((series, _)) = self.all.pop_front() else { break };
            if self.lasts.get(&series) == Some(&self.gone) {
                self.lasts.remove(&series);
            }
            self.gone += 1;
        }
        self.lasts.insert(series.clone(), self.gone + self.all.len() as u64);
        self.all.push_back((series, exemplar));
    }
}

impl Ring {
    fn lock(&self) -> MutexGuard<'_, Newest> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Storage {
    /// Keeps exemplars of series; one that the series had last is known already, and one that is older,
    /// or whose labels are too long, is left out. Returns how many are kept, those known included.
    pub fn append_exemplars(
        &self,
        exemplars: impl IntoIterator<Item = (Labels, Exemplar)>,
    ) -> usize {
        let mut ring = self.exemplars.lock();
        let mut kept = 0;
        for (series, exemplar) in exemplars {
            let bytes: usize = exemplar.labels.iter().map(|(n, v)| n.len() + v.len()).sum();
            if self.options.max_exemplars == 0 || bytes > MAX_LABELS {
                continue;
            }
            match ring.last(&series) {
                // A target shows the same one until there is a newer one.
                Some(last) if *last == exemplar => {}
                Some(last) if last.timestamp > exemplar.timestamp => continue,
                _ => ring.push(series, exemplar, self.options.max_exemplars),
            }
            kept += 1;
        }
        kept
    }

    /// The exemplars from `from` to `to`, both included, of series that any of the lists of matchers
    /// accepts; sorted by series, and those of a series by time.
    pub fn exemplars(
        &self,
        selectors: &[Vec<Matcher>],
        from: Timestamp,
        to: Timestamp,
    ) -> BTreeMap<Labels, Vec<Exemplar>> {
        let accepted = |labels: &Labels| {
            selectors.iter().any(|all| all.iter().all(|one| one.matches_labels(labels)))
        };
        let mut found: BTreeMap<Labels, Vec<Exemplar>> = BTreeMap::new();
        for (series, exemplar) in &self.exemplars.lock().all {
            if (from..=to).contains(&exemplar.timestamp) && accepted(series) {
                found.entry(series.clone()).or_default().push(exemplar.clone());
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Options;

    #[test]
    fn the_newest_are_found_by_series_and_time() {
        let storage = Storage::in_memory(Options { max_exemplars: 3, ..Options::default() });
        let series = |name: &str| Labels::from_pairs([("__name__", name)]);
        let at = Timestamp::from_millis;
        let exemplar = |trace: &str, time| Exemplar {
            labels: Labels::from_pairs([("trace_id", trace)]),
            value: 1.0,
            timestamp: at(time),
        };
        let long = "x".repeat(600);
        let given = [
            (series("a"), exemplar("1", 1)),
            (series("a"), exemplar("1", 1)),
            (series("a"), exemplar("2", 2)),
            (series("a"), exemplar("older", 1)),
            (series("b"), exemplar("3", 3)),
            (series("b"), exemplar(&long, 4)),
            (series("b"), exemplar("4", 4)),
        ];
        assert_eq!(storage.append_exemplars(given), 5);
        let traces = |selector: &[Matcher], from, to| -> Vec<String> {
            let found = storage.exemplars(&[selector.to_vec()], at(from), at(to));
            let all = found.into_values().flatten();
            all.map(|e| e.labels.get("trace_id").unwrap_or("").to_owned()).collect()
        };
        assert_eq!(traces(&[], 0, 9), ["2", "3", "4"]);
        assert_eq!(traces(&[Matcher::equal("__name__", "b")], 0, 9), ["3", "4"]);
        assert_eq!(traces(&[], 3, 3), ["3"]);
    }
}
