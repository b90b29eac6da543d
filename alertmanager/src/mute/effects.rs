//! Which alerts may be held back, or let go, by causes that have begun or ended.
//!
//! Invariant: an alert that is not concerned is held back by what held it back before.

use std::collections::{BTreeSet, HashMap, HashSet};

use base::labels::Labels;

/// Whom causes that have begun or ended may concern. Its bound is the number of those causes.
#[derive(Clone, Debug, Default)]
pub struct Effects {
    everybody: bool,
    /// By the names of the labels in which an alert agrees with its cause: their values.
    agreements: HashMap<BTreeSet<String>, HashSet<Labels>>,
}

impl Effects {
    /// From now on everybody is concerned.
    pub(super) fn concern_everybody(&mut self) {
        self.everybody = true;
    }

    /// From now on those are concerned that have these values in the labels with these names.
    pub(super) fn concern(&mut self, names: &BTreeSet<String>, values: &Labels) {
        match self.agreements.get_mut(names) {
            Some(known) => drop(known.insert(values.clone())),
            None => drop(self.agreements.insert(names.clone(), HashSet::from([values.clone()]))),
        }
    }

    /// Whether nobody is concerned.
    pub fn is_nobody(&self) -> bool {
        !self.everybody && self.agreements.is_empty()
    }

    /// Whether one of some alerts may be concerned that agree on `labels`: that have those of these
    /// names of which `is_common` is true, and no others of them.
    pub fn may_concern(&self, labels: &Labels, is_common: impl Fn(&str) -> bool) -> bool {
        let agree = |(names, values): (&BTreeSet<String>, &HashSet<Labels>)| {
            !names.iter().all(|name| is_common(name))
                || values.contains(&labels.filter(|name| names.contains(name)))
        };
        self.everybody || self.agreements.iter().any(agree)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(names: &str, values: &[(&str, &str)], expected: bool) {
        let mut effects = Effects::default();
        assert!(effects.is_nobody());
        let names = names.split(' ').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        effects.concern(&names, &Labels::from_pairs([("a", "other")]));
        effects.concern(&names, &Labels::from_pairs(values.iter().copied()));
        // Alerts of a group by `a`, `b` and `c`.
        let labels = Labels::from_pairs([("a", "1"), ("b", "2")]);
        let got = effects.may_concern(&labels, |name| ["a", "b", "c"].contains(&name));
        assert_eq!(got, expected, "{names:?} {values:?}");
    }

    #[test]
    fn who_agrees_is_concerned() {
        check("a", &[("a", "1")], true);
        check("a", &[("a", "2")], false);
        check("a b", &[("a", "1"), ("b", "2")], true);
        check("a b", &[("a", "1")], false);
        // A label that is missing on both sides is equal.
        check("a c", &[("a", "1")], true);
        check("a c", &[("a", "1"), ("c", "3")], false);
        // In these they may differ.
        check("d", &[("d", "1")], true);
        check("a d", &[("a", "2"), ("d", "1")], true);
        check("", &[], true);
    }
}
