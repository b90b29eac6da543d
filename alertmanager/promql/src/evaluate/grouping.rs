//! Groups of series that agree on some of their labels.
//!
//! Invariant: groups are numbered in the order in which their first series came.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};

use base::labels::{Labels, METRIC_NAME};

use super::key::{Key, KeyRef, Naming};
use crate::plan::Keep;

/// Numbers the groups of series.
#[derive(Debug)]
pub(crate) struct Groups<'a> {
    keep: &'a Keep,
    /// Whether the metric name counts too, where all but some labels do.
    with_name: bool,
    numbers: HashMap<Labels, usize, TextHashes>,
    /// The labels of the group that is looked for, encoded.
    wanted: String,
    last: usize,
    labels: Vec<Labels>,
    /// Of which groups some series loses its name at the end of the evaluation.
    doomed: Vec<bool>,
}

impl<'a> Groups<'a> {
    pub(crate) fn new(keep: &'a Keep) -> Self {
        Self {
            keep,
            with_name: false,
            numbers: HashMap::with_hasher(TextHashes::default()),
            wanted: String::new(),
            last: 0,
            labels: Vec::new(),
            doomed: Vec::new(),
        }
    }

    /// As [`Groups::new`], for groups that have a metric name also where it is not listed.
    pub(crate) fn with_name(keep: &'a Keep) -> Self {
        Self { with_name: true, ..Self::new(keep) }
    }

    /// The number of the group that a series belongs to.
    pub(crate) fn number(&mut self, key: KeyRef<'_>) -> usize {
        if let Some(number) = self.find(key) {
            self.doomed[number] |= key.is_doomed();
            return number;
        }
        // What series have is a set of labels, and so is each part of it.
        let labels = Labels::from_encoded(&self.wanted).unwrap_or_default();
        let number = self.labels.len();
        self.numbers.insert(labels.clone(), number);
        self.labels.push(labels);
        self.doomed.push(key.is_doomed());
        self.last = number;
        number
    }

    /// The number of the group of a series, where there is one already.
    pub(crate) fn find(&mut self, key: KeyRef<'_>) -> Option<usize> {
        self.wanted.clear();
        match self.keep {
            Keep::Only(names) => self.only(key, names),
            Keep::Except(names) => self.except(key, names),
        }
        // A series often belongs where the one before it did.
        if self.labels.get(self.last).is_some_and(|last| last.as_encoded() == self.wanted) {
            return Some(self.last);
        }
        self.last = *self.numbers.get(self.wanted.as_str())?;
        Some(self.last)
    }

    /// Encodes the labels among `names`; both are sorted.
    fn only(&mut self, key: KeyRef<'_>, names: &[String]) {
        let mut left = names.iter().map(String::as_str);
        let Some(mut wanted) = left.next() else { return };
        'pairs: for (name, pair) in key.encoded_pairs() {
            loop {
                let order = compared(name, wanted);
                if order == Ordering::Less {
                    continue 'pairs;
                }
                if order == Ordering::Equal {
                    self.wanted.push_str(pair);
                }
                match left.next() {
                    Some(next) => wanted = next,
                    None => return,
                }
                if order == Ordering::Equal {
                    continue 'pairs;
                }
            }
        }
    }

    /// Encodes the labels that are not among `names`.
    fn except(&mut self, key: KeyRef<'_>, names: &[String]) {
        for (name, pair) in key.encoded_pairs() {
            let kept = if name == METRIC_NAME {
                self.with_name
            } else {
                !names.iter().any(|other| other == name)
            };
            if kept {
                self.wanted.push_str(pair);
            }
        }
    }

    /// Which labels tell them apart.
    pub(crate) fn keep(&self) -> &Keep {
        self.keep
    }

    /// How many groups there are.
    pub(crate) fn len(&self) -> usize {
        self.labels.len()
    }

    /// The series that a group becomes.
    pub(crate) fn key(&self, number: usize) -> Key {
        let naming = if self.doomed[number] { Naming::Doomed } else { Naming::Kept };
        Key::named(self.labels[number].clone(), naming)
    }

    /// The labels that a group has in common.
    pub(crate) fn labels(&self, number: usize) -> &Labels {
        &self.labels[number]
    }
}

/// As [`str::cmp`]; most names differ in their first byte.
#[inline]
fn compared(a: &str, b: &str) -> Ordering {
    a.as_bytes().first().cmp(&b.as_bytes().first()).then_with(|| a.cmp(b))
}

/// Hashes texts, eight bytes at a time. Seeded, so that nobody outside can choose labels that collide.
#[derive(Clone, Debug)]
pub(crate) struct TextHashes(u64);

impl Default for TextHashes {
    fn default() -> Self {
        Self(RandomState::new().hash_one(0))
    }
}

impl BuildHasher for TextHashes {
    type Hasher = TextHasher;

    fn build_hasher(&self) -> TextHasher {
        TextHasher(self.0)
    }
}

pub(crate) struct TextHasher(u64);

/// The golden ratio, as SplitMix64 has it.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

impl TextHasher {
    #[inline]
    fn add(&mut self, word: u64) {
        // Both halves of a product depend on all bits of both factors.
        let product = u128::from(self.0 ^ word) * u128::from(MULTIPLIER);
        self.0 = (product >> 64) as u64 ^ product as u64;
    }
}

impl Hasher for TextHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks();
        words.iter().for_each(|word| self.add(u64::from_le_bytes(*word)));
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.add(u64::from_le_bytes(last) ^ (bytes.len() as u64) << 56);
    }

    fn write_u8(&mut self, byte: u8) {
        self.add(u64::from(byte));
    }

    fn finish(&self) -> u64 {
        self.0
    }
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
