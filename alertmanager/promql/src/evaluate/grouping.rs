//! Groups of series that agree on some of their labels.
//!
//! Invariant: groups are numbered in the order in which their first series came.

use std::collections::HashMap;

use base::labels::{Labels, METRIC_NAME};

use super::table::KeyRef;
use crate::plan::Keep;

/// Numbers the groups of series.
#[derive(Debug)]
pub(crate) struct Groups<'a> {
    keep: &'a Keep,
    /// Whether the metric name counts too, where all but some labels do.
    with_name: bool,
    numbers: HashMap<Box<str>, usize>,
    /// The labels of the group that is looked for, in a form that is the same for the same labels.
    wanted: String,
    last: Option<(String, usize)>,
    labels: Vec<Labels>,
}

impl<'a> Groups<'a> {
    pub(crate) fn new(keep: &'a Keep) -> Self {
        Self {
            keep,
            with_name: false,
            numbers: HashMap::new(),
            wanted: String::new(),
            last: None,
            labels: Vec::new(),
        }
    }

    /// As [`Groups::new`], for groups that have a metric name also where it is not listed.
    pub(crate) fn with_name(keep: &'a Keep) -> Self {
        Self { with_name: true, ..Self::new(keep) }
    }

    /// The number of the group that a series belongs to.
    pub(crate) fn number(&mut self, key: KeyRef<'_>) -> usize {
        let mut wanted = std::mem::take(&mut self.wanted);
        wanted.clear();
        for (name, value) in key.iter().filter(|(name, _)| self.keeps(name)) {
            push(&mut wanted, name);
            push(&mut wanted, value);
        }
        // Series come sorted, so one often belongs where the one before it did.
        let last = self.last.as_ref().filter(|(last, _)| *last == wanted);
        let found = last.map(|(_, n)| *n).or_else(|| self.numbers.get(wanted.as_str()).copied());
        let number = found.unwrap_or_else(|| {
            let number = self.labels.len();
            let kept = key.iter().filter(|(name, _)| self.keeps(name));
            self.labels.push(Labels::from_sorted(kept));
            self.numbers.insert(wanted.as_str().into(), number);
            number
        });
        match &mut self.last {
            Some((last, n)) if *n == number => self.wanted = std::mem::replace(last, wanted),
            last => {
                let before = last.replace((wanted, number));
                self.wanted = before.map_or_else(String::new, |(text, _)| text);
            }
        }
        number
    }

    /// The number of the group of a series, where there is one already.
    pub(crate) fn find(&mut self, key: KeyRef<'_>) -> Option<usize> {
        self.wanted.clear();
        let mut wanted = std::mem::take(&mut self.wanted);
        for (name, value) in key.iter().filter(|(name, _)| self.keeps(name)) {
            push(&mut wanted, name);
            push(&mut wanted, value);
        }
        let number = self.numbers.get(wanted.as_str()).copied();
        self.wanted = wanted;
        number
    }

    /// How many groups there are.
    pub(crate) fn len(&self) -> usize {
        self.labels.len()
    }

    /// The labels that a group has in common.
    pub(crate) fn labels(&self, number: usize) -> &Labels {
        &self.labels[number]
    }

    fn keeps(&self, name: &str) -> bool {
        match self.keep {
            Keep::Only(names) => names.iter().any(|n| n == name),
            Keep::Except(_) if name == METRIC_NAME => self.with_name,
            Keep::Except(names) => !names.iter().any(|n| n == name),
        }
    }
}

/// Writes a text so that it cannot be confused with what follows it.
fn push(to: &mut String, text: &str) {
    // The length as six bits a character, the lowest first, ended by a character below 64.
    let mut length = text.len();
    while length >= 64 {
        to.push(char::from(64 | (length & 63) as u8));
        length >>= 6;
    }
    to.push(char::from(length as u8));
    to.push_str(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(keep: &Keep, series: &[&[(&str, &str)]], expected: &[usize], labels: &[&str]) {
        let mut groups = Groups::new(keep);
        let keys: Vec<Labels> = series.iter().map(|s| s.iter().copied().collect()).collect();
        let numbers: Vec<_> = keys.iter().map(|key| groups.number(key.into())).collect();
        assert_eq!(numbers, expected);
        let found: Vec<_> = keys.iter().map(|key| groups.find(key.into()).unwrap()).collect();
        assert_eq!(found, expected);
        let printed: Vec<_> = (0..groups.len()).map(|n| groups.labels(n).to_string()).collect();
        assert_eq!(printed, labels);
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn series_that_agree_are_in_one_group() {
        let series: [&[(&str, &str)]; 4] = [
            &[("__name__", "x"), ("a", "1"), ("b", "1")],
            &[("__name__", "x"), ("a", "2"), ("b", "1")],
            &[("__name__", "y"), ("a", "1"), ("b", "2")],
            &[("b", "1")],
        ];
        let only = |n: &[&str]| Keep::Only(names(n));
        let except = |n: &[&str]| Keep::Except(names(n));
        check(&only(&[]), &series, &[0, 0, 0, 0], &["{}"]);
        check(&only(&["a"]), &series, &[0, 1, 0, 2], &[r#"{a="1"}"#, r#"{a="2"}"#, "{}"]);
        check(&only(&["__name__"]), &series, &[0, 0, 1, 2], &["x", "y", "{}"]);
        check(&except(&["a"]), &series, &[0, 0, 1, 0], &[r#"{b="1"}"#, r#"{b="2"}"#]);
    }

    #[test]
    fn labels_that_only_look_alike_are_told_apart() {
        let long = "b".repeat(65);
        let series: [&[(&str, &str)]; 4] = [
            &[("a", "aa"), ("b", "bb")],
            &[("a", "a"), ("b", "abb")],
            &[("a", &long)],
            &[("a", "\u{1}b")],
        ];
        check(
            &Keep::Except(Vec::new()),
            &series,
            &[0, 1, 2, 3],
            &[
                r#"{a="aa", b="bb"}"#,
                r#"{a="a", b="abb"}"#,
                &format!("{{a={long:?}}}"),
                "{a=\"\u{1}b\"}",
            ],
        );
    }
}
