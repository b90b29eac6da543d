//! Sets of matchers by a label with the value that they ask for, so that an alert is compared with
//! few of many sets.
//!
//! Invariant: a set that accepts an alert is among those that are found for it.

use std::collections::HashMap;

use base::labels::Labels;
use base::matcher::{MatchOp, Matcher};

/// Names of sets of matchers.
#[derive(Clone, Debug)]
pub(crate) struct Index<T> {
    /// By the name of the label, and its value.
    by_label: HashMap<String, HashMap<String, Vec<T>>>,
    /// Those that ask for no label with one value.
    others: Vec<T>,
}

impl<T> Default for Index<T> {
    fn default() -> Self {
        Self { by_label: HashMap::new(), others: Vec::new() }
    }
}

impl<T: Clone + Ord> Index<T> {
    /// Adds a set by its name.
    pub(crate) fn add(&mut self, matchers: &[Matcher], name: T) {
        // An empty value is that of a label that is not there.
        let plain = |m: &&Matcher| m.op() == MatchOp::Equal && !m.value().is_empty();
        let Some(matcher) = matchers.iter().find(plain) else {
            self.others.push(name);
            return;
        };
        let values = self.by_label.entry(matcher.name().to_owned()).or_default();
        values.entry(matcher.value().to_owned()).or_default().push(name);
    }

    /// The names of the sets that may accept `labels`, sorted.
    pub(crate) fn of(&self, labels: &Labels) -> Vec<T> {
        let mut found = self.others.clone();
        if !self.by_label.is_empty() {
            for (name, value) in labels {
                let sets = self.by_label.get(name).and_then(|values| values.get(value));
                found.extend(sets.into_iter().flatten().cloned());
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}
