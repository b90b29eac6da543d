//! Which labels a tree of routes asks for.
//!
//! Invariant: a label that is not named here decides nothing about who is told.

use std::collections::BTreeSet;

use super::Route;

impl Route {
    /// The labels without which an alert cannot go some way that others go: those of matchers that no
    /// alert fits that does not have the label.
    pub fn needed_labels(&self) -> BTreeSet<String> {
        let all = self.all();
        let matchers = all.iter().flat_map(|route| &route.matchers);
        let needed = matchers.filter(|matcher| !matcher.matches(""));
        needed.map(|matcher| matcher.name().to_owned()).collect()
    }
}
