//! By what a rule is known to be the same after a reload or a restart, so that its alerts go on.
//!
//! ```text
//! NAME-labels ~ file, group, how many of the name and labels come before it ~ expression
//! ```
//!
//! A rule goes on with what is stored under its own key; else, as in Prometheus, with that of the rule
//! of its name and labels at its place, whose expression was edited; else with that of one of the same
//! expression, which was moved there from another group or file (F43).
//!
//! Invariant: what one rule has left is taken over by one rule at most, and never from one that is still
//! there.

use std::collections::{BTreeMap, HashMap, HashSet};

use base::labels::Labels;
use promql::Query;

use crate::state::StoredAlert;

/// By what a rule is known.
#[derive(Clone, Debug, Default)]
pub(super) struct Identity {
    rule: String,
    place: String,
    expression: String,
    /// What all of it is stored under.
    key: String,
    /// What it was stored under by builds before 22 November 2026.
    former: String,
}

impl Identity {
    /// Of the rule `name` with these labels; its place is to be set.
    pub(super) fn new(name: &str, query: &Query, labels: &BTreeMap<String, String>) -> Self {
        let mut written = String::new();
        for (label, value) in labels {
            written.push_str(&format!("\n{label}={value}"));
        }
        let (query, hash) = (query.to_string(), |text: String| {
            format!("{:016x}", Labels::from_pairs([("rule", text)]).fingerprint())
        });
        Self {
            former: format!("{name}-{}", hash(format!("{query}{written}"))),
            rule: format!("{name}-{}", hash(written)),
            expression: hash(query),
            ..Self::default()
        }
    }

    /// The same as the one at `nth` of its name and labels in a group.
    #[must_use]
    pub(super) fn at(self, file: &str, group: &str, nth: usize) -> Self {
        let group = Labels::from_pairs([("file", file), ("group", group)]).fingerprint();
        let place = format!("{group:016x}.{nth}");
        Self { key: format!("{}~{place}~{}", self.rule, self.expression), place, ..self }
    }

    /// The name with the labels: of several rules that share it the places count.
    pub(super) fn rule(&self) -> &str {
        &self.rule
    }

    /// What its alerts are stored under.
    pub(super) fn key(&self) -> &str {
        &self.key
    }
}

/// What of a rule is compared with the parts of keys.
type Way = fn(&Identity) -> (&str, &str);

/// The parts of a key; nothing of one that an earlier build wrote.
fn parts(key: &str) -> Option<(&str, &str, &str)> {
    let (rest, expression) = key.rsplit_once('~')?;
    let (rule, place) = rest.rsplit_once('~')?;
    Some((rule, place, expression))
}

/// The key that takes the place of each key in `stored` that is none of the `rules`'.
pub(super) fn successors(rules: &[&Identity], stored: &[StoredAlert]) -> HashMap<String, String> {
    let known: HashSet<&str> = rules.iter().map(|rule| rule.key()).collect();
    let mut left: Vec<&str> = stored.iter().map(|alert| alert.rule.as_str()).collect();
    left.sort_unstable();
    left.dedup();
    left.retain(|key| !known.contains(key));
    let mut by: HashMap<(&str, &str), Vec<&str>> = HashMap::new();
    for key in &left {
        match parts(key) {
            Some((rule, place, expression)) => {
                by.entry((rule, place)).or_default().push(key);
                by.entry((rule, expression)).or_default().push(key);
            }
            None => by.entry((key, "")).or_default().push(key),
        }
    }
    let mut taken: HashMap<String, String> = HashMap::new();
    let mut going: HashSet<&str> =
        stored.iter().map(|alert| alert.rule.as_str()).filter(|key| known.contains(key)).collect();
    // First of all what is surely the same.
    let ways: [Way; 3] = [
        |rule| (&rule.former, ""),
        |rule| (&rule.rule, &rule.expression),
        |rule| (&rule.rule, &rule.place),
    ];
    for way in ways {
        for rule in rules {
            let found = by.get(&way(rule)).into_iter().flatten();
            let mut found = found.filter(|key| !taken.contains_key(**key));
            if !going.contains(rule.key())
                && let Some(key) = found.next()
            {
                taken.insert((*key).to_owned(), rule.key().to_owned());
                going.insert(rule.key());
            }
        }
    }
    taken
}

#[cfg(test)]
mod tests {
    use base::sample::Timestamp;

    use super::*;
    use crate::state::RuleAlertState;

    /// A rule `A` of this group and expression, with no labels, or with these.
    fn rule(group: &str, nth: usize, expression: &str, labels: &[(&str, &str)]) -> Identity {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let labels = labels.iter().map(owned).collect();
        Identity::new("A", &Query::new(expression).unwrap(), &labels).at("f.yml", group, nth)
    }

    fn stored(key: &str) -> StoredAlert {
        StoredAlert {
            rule: key.to_owned(),
            labels: Labels::from_pairs([("alertname", "A")]),
            state: RuleAlertState::Pending,
            active_at: Timestamp::default(),
            fired_at: None,
            keep_since: None,
            stale_since: None,
            value: 1.0,
            annotations: BTreeMap::new(),
        }
    }

    /// The rules, of which those `before` have alerts, and what each of those becomes `after`.
    #[track_caller]
    fn check(before: &[Identity], after: &[Identity], expected: &[Option<usize>]) {
        let rows: Vec<_> = before.iter().map(|rule| stored(rule.key())).collect();
        let rules: Vec<_> = after.iter().collect();
        let found = successors(&rules, &rows);
        let place = |rule: &Identity| {
            let key = found.get(rule.key()).map_or(rule.key(), String::as_str);
            after.iter().position(|other| other.key() == key)
        };
        assert_eq!(before.iter().map(place).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_rule_goes_on_where_its_expression_is_edited_or_it_is_moved() {
        let one = || rule("g", 0, "x > 1", &[]);
        check(&[one()], &[one()], &[Some(0)]);
        check(&[one()], &[rule("g", 0, "x > 2", &[])], &[Some(0)]);
        check(&[one()], &[rule("h", 0, "x > 1", &[])], &[Some(0)]);
        check(&[one()], &[rule("h", 0, "x > 2", &[])], &[None]);
        check(&[one()], &[rule("g", 0, "x > 1", &[("severity", "page")])], &[None]);
        check(&[one()], &[], &[None]);
        // One that is new beside it does not take it.
        check(&[one()], &[one(), rule("g", 1, "x > 2", &[])], &[Some(0)]);
        // Of two the first is gone, of two both are edited, two have changed their places.
        let two = || [one(), rule("g", 1, "y > 1", &[])];
        check(&two(), &[rule("g", 0, "y > 1", &[])], &[None, Some(0)]);
        let edited = [rule("g", 0, "x > 2", &[]), rule("g", 1, "y > 2", &[])];
        check(&two(), &edited, &[Some(0), Some(1)]);
        let turned = [rule("g", 0, "y > 1", &[]), rule("g", 1, "x > 1", &[])];
        check(&two(), &turned, &[Some(1), Some(0)]);
    }

    #[test]
    fn what_an_earlier_build_stored_is_taken_over_where_the_expression_is_the_same() {
        let (now, edited) = (rule("g", 0, "x > 1", &[]), rule("g", 0, "x > 2", &[]));
        let rows = [stored(&now.former)];
        let found = successors(&[&now], &rows);
        assert_eq!(found.get(&now.former).map(String::as_str), Some(now.key()));
        assert!(successors(&[&edited], &rows).is_empty());
        // As it was made then: of the expression, with a line for each label behind it.
        let labelled = rule("g", 0, "x > 1", &[("a", "b")]);
        for (rule, text) in [(&now, "x > 1"), (&labelled, "x > 1\na=b")] {
            let hash = Labels::from_pairs([("rule", text)]).fingerprint();
            assert_eq!(rule.former, format!("A-{hash:016x}"));
        }
    }
}
