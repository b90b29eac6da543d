//! Sets of matchers by a label with the value that they ask for, so that an alert is compared with
//! few of many sets.
//!
//! Invariant: a set that accepts an alert is among those that are found for it.

use std::collections::HashMap;

use base::labels::Labels;
use base::matcher::{MatchOp, Matcher};

/// Names of sets of matchers.
#[derive(Clone, Debug)]
pub(super) struct Index<T> {
    by_label: HashMap<(String, String), Vec<T>>,
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
    pub(super) fn add(&mut self, matchers: &[Matcher], name: T) {
        // An empty value is that of a label that is not there.
        let plain = |m: &&Matcher| m.op() == MatchOp::Equal && !m.value().is_empty();
        match matchers.iter().find(plain) {
            Some(matcher) => {
                let label = (matcher.name().to_owned(), matcher.value().to_owned());
                self.by_label.entry(label).or_default().push(name);
            }
            None => self.others.push(name),
        }
    }

    /// The names of the sets that may accept `labels`, sorted.
    pub(super) fn of(&self, labels: &Labels) -> Vec<T> {
        let mut found = self.others.clone();
        if !self.by_label.is_empty() {
            for (name, value) in labels {
                let label = (name.to_owned(), value.to_owned());
                found.extend(self.by_label.get(&label).into_iter().flatten().cloned());
            }
        }
        found.sort();
        found.dedup();
        found
    }
}
