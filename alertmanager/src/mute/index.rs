//! Sets of matchers by a label and the values that they ask for, so that an alert is compared with
//! few of many sets.
//!
//! ```text
//! team="db"          by the value          team=~"db|web"   by each of the values
//! team=~"db-.*"      by how values begin   team=~".*-db"    by how values end
//! team!=""           by the label's name   team!="db"       always compared: it accepts alerts
//!                                                           without the label
//! ```
//!
//! Invariant: a set that accepts an alert is among those that are found for it.

use std::collections::{BTreeMap, HashMap};

use base::labels::Labels;
use base::matcher::{MatchOp, Matcher, Pattern};

use super::beginnings;

/// The most values of one matcher under which its set is found.
const MOST_VALUES: usize = 256;

type Map<T> = HashMap<String, T, foldhash::fast::RandomState>;

/// Names of sets of matchers.
#[derive(Clone, Debug)]
pub(crate) struct Index<T> {
    /// By the name of the label.
    by_label: Map<Asked<T>>,
    /// Those that accept alerts without any one label.
    others: Vec<T>,
}

/// Names of sets that ask for a label.
#[derive(Clone, Debug)]
struct Asked<T> {
    values: Map<Vec<T>>,
    beginnings: Parts<T>,
    endings: Parts<T>,
    any: Vec<T>,
}

/// Names of sets by the length of a part of a value, and the part.
type Parts<T> = BTreeMap<usize, Map<Vec<T>>>;

/// What a matcher asks of its label.
enum Wish {
    Values(Vec<String>),
    Beginnings(Vec<String>),
    Ending(String),
    Any,
}

impl<T> Default for Index<T> {
    fn default() -> Self {
        Self { by_label: Map::default(), others: Vec::new() }
    }
}

impl<T> Default for Asked<T> {
    fn default() -> Self {
        Self {
            values: Map::default(),
            beginnings: Parts::new(),
            endings: Parts::new(),
            any: Vec::new(),
        }
    }
}

impl<T: Clone + Ord> Index<T> {
    /// Adds a set by its name: under the matcher by which it is found with the fewest others.
    pub(crate) fn add(&mut self, matchers: &[Matcher], name: T) {
        let wishes = matchers.iter().filter_map(|matcher| Some((matcher.name(), wish(matcher)?)));
        let beside = |(label, wish): &(&str, Wish)| {
            let asked = self.by_label.get(*label);
            asked.map_or(0, |asked| asked.beside(wish)) + usize::from(matches!(wish, Wish::Any))
        };
        match wishes.min_by_key(beside) {
            Some((label, wish)) => {
                self.by_label.entry(label.to_owned()).or_default().add(wish, name);
            }
            None => self.others.push(name),
        }
    }

    /// The names of the sets that may accept `labels`, sorted.
    pub(crate) fn of(&self, labels: &Labels) -> Vec<T> {
        let mut found = self.others.clone();
        if !self.by_label.is_empty() {
            for (name, value) in labels {
                if let Some(asked) = self.by_label.get(name) {
                    asked.find(value, &mut found);
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

impl<T: Clone> Asked<T> {
    fn add(&mut self, wish: Wish, name: T) {
        match wish {
            Wish::Values(values) => {
                for value in values {
                    self.values.entry(value).or_default().push(name.clone());
                }
            }
            Wish::Beginnings(texts) => {
                for text in texts {
                    let of_length = self.beginnings.entry(text.len()).or_default();
                    of_length.entry(text).or_default().push(name.clone());
                }
            }
            Wish::Ending(text) => {
                let of_length = self.endings.entry(text.len()).or_default();
                of_length.entry(text).or_default().push(name);
            }
            Wish::Any => self.any.push(name),
        }
    }

    /// With how many others a set would be found under that wish.
    fn beside(&self, wish: &Wish) -> usize {
        let with = |parts: &Parts<T>, text: &String| Some(parts.get(&text.len())?.get(text)?.len());
        let most = match wish {
            Wish::Values(values) => {
                values.iter().filter_map(|value| Some(self.values.get(value)?.len())).max()
            }
            Wish::Beginnings(texts) => {
                texts.iter().filter_map(|text| with(&self.beginnings, text)).max()
            }
            Wish::Ending(text) => with(&self.endings, text),
            Wish::Any => Some(self.any.len()),
        };
        most.unwrap_or(0)
    }

    /// Appends the sets that may accept `value`.
    fn find(&self, value: &str, found: &mut Vec<T>) {
        found.extend(self.values.get(value).into_iter().flatten().cloned());
        for (length, texts) in &self.beginnings {
            // Not where a character would be cut.
            let Some(beginning) = value.get(..*length) else { continue };
            found.extend(texts.get(beginning).into_iter().flatten().cloned());
        }
        for (length, texts) in &self.endings {
            let from = value.len().checked_sub(*length);
            let Some(ending) = from.and_then(|from| value.get(from..)) else { continue };
            found.extend(texts.get(ending).into_iter().flatten().cloned());
        }
        found.extend(self.any.iter().cloned());
    }
}

/// What a matcher asks of its label; `None` where it accepts alerts without it.
fn wish(matcher: &Matcher) -> Option<Wish> {
    // An empty value is that of a label that is not there.
    if matcher.matches("") {
        return None;
    }
    Some(match matcher.op() {
        MatchOp::Equal => Wish::Values(vec![matcher.value().to_owned()]),
        MatchOp::Matches => {
            let texts = matcher.pattern().and_then(Pattern::texts);
            let ending = matcher.pattern().and_then(Pattern::ending);
            match (texts.filter(|texts| texts.len() <= MOST_VALUES), ending) {
                (Some(texts), _) => Wish::Values(texts.iter().cloned().collect()),
                (None, Some(ending)) => Wish::Ending(ending.to_owned()),
                _ => beginnings::of(matcher.value()).map_or(Wish::Any, Wish::Beginnings),
            }
        }
        MatchOp::NotEqual | MatchOp::NotMatches => Wish::Any,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn accepts(matchers: &[Matcher], labels: &Labels) -> bool {
        matchers.iter().all(|matcher| matcher.matches_labels(labels))
    }

    fn matcher() -> impl Strategy<Value = Matcher> {
        let ops = [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Matches, MatchOp::NotMatches];
        let pattern = prop_oneof![
            "[abé]{0,3}",
            "\\.[*+][abé]{1,3}(\\.\\*)?",
            "[abé]{0,2}(\\.\\*|\\.\\+|\\?|\\*|\\+|\\|a|\\|b\\.|\\[ab\\]|\\(a\\|b\\)|\\\\\\.)[ab]{0,1}",
            "\\^\\(\\?:[ab]{1,2}(\\||\\.\\*|\\)\\|\\(\\?:)[ab]{0,2}\\)\\$",
            "\\(\\?i\\)[ab]{1,2}",
            "[ab](\\{2\\}|\\{0,1\\})[ab]",
        ];
        (0..3_usize, 0..4_usize, pattern).prop_filter_map("a pattern", move |(label, op, value)| {
            Matcher::new(["x", "y", "z"][label], ops[op], &value).ok()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// The sets that are found, compared with all matchers, are those that all sets would be.
        #[test]
        fn finds_what_comparing_with_every_set_finds(
            sets in prop::collection::vec(prop::collection::vec(matcher(), 0..4), 0..12),
            labels in prop::collection::btree_map("[xyz]", "[abAé.]{1,4}", 0..4),
        ) {
            let labels: Labels = labels.iter().collect();
            let mut index = Index::default();
            for (name, matchers) in sets.iter().enumerate() {
                index.add(matchers, name);
            }
            let every = (0..sets.len()).filter(|name| accepts(&sets[*name], &labels));
            let found = index.of(&labels).into_iter().filter(|name| accepts(&sets[*name], &labels));
            prop_assert_eq!(found.collect::<Vec<_>>(), every.collect::<Vec<_>>());
        }
    }

    /// How many of a hundred sets an alert of the seventh is compared with.
    #[track_caller]
    fn check(set: impl Fn(usize) -> String, expected: usize) {
        let mut index = Index::default();
        for n in 0..100 {
            index.add(&crate::matchers::parse(&set(n)).unwrap(), n);
        }
        let labels = [("alertname", "Slow"), ("host", "host-07.example"), ("team", "team-07")];
        assert_eq!(index.of(&Labels::from_pairs(labels)).len(), expected, "{}", set(7));
    }

    #[test]
    fn an_alert_is_compared_with_few_sets() {
        check(|n| format!("team=team-{n:02}"), 1);
        check(|n| format!("alertname=Slow, team=team-{n:02}"), 1 + 1);
        check(|n| format!("team=~\"team-{n:02}|crew-{n:02}\""), 1);
        check(|n| format!("host=~\"host-{n:02}.*\""), 1);
        check(|n| format!("host=~\".+-{n:02}[.]example\""), 100);
        check(|n| format!("team=~\".+-{n:02}\""), 1);
        check(|n| format!("alertname=Slow, host=~\"host-{n:02}[.].*\""), 1 + 1);
        check(|n| format!("zone=~\".*-{n:02}\""), 0);
        check(|n| format!("team!=\"\", zone!=\"z-{n}\""), 100);
    }
}
