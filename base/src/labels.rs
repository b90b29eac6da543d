//! Label sets: what a series, a target and an alert are known by.
//!
//! A set is one string of alternating names and values, each after its length:
//!
//! ```text
//! ⟨8⟩__name__⟨2⟩up⟨3⟩job⟨5⟩agent
//! ```
//!
//! so that a clone is a reference count, equality is one comparison of memory, and two hundred
//! thousand sets cost little more than their text. How that is written is in [`encoded`].
//!
//! Invariant: names are unique and sorted by their bytes, no name and no value is empty.

pub mod encoded;

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use encoded::{push_text, take_text};

/// The label that holds a metric's name.
pub const METRIC_NAME: &str = "__name__";
/// The label that names an alert.
pub const ALERT_NAME: &str = "alertname";

/// A sorted set of label names and values; cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Labels(Arc<str>);

impl Labels {
    /// The set without labels.
    pub fn empty() -> Self {
        Self(Arc::from(""))
    }

    /// Builds a set from pairs in any order. Of a name that comes twice the last value counts;
    /// empty names and values are left out, because an empty value means "no such label".
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let mut pairs: Vec<(N, V)> = pairs.into_iter().collect();
        pairs.sort_by(|(a, _), (b, _)| a.as_ref().cmp(b.as_ref()));
        let of_one_name = |a: &(N, V), b: &(N, V)| a.0.as_ref() == b.0.as_ref();
        let last = pairs.chunk_by(of_one_name).filter_map(<[_]>::last);
        let texts = last.map(|(name, value)| (name.as_ref(), value.as_ref()));
        Self::from_sorted(texts.filter(|(name, value)| !name.is_empty() && !value.is_empty()))
    }

    /// Builds a set from pairs that are already sorted by name, unique and not empty.
    ///
    /// The order is checked in debug builds only.
    pub fn from_sorted<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut text = String::with_capacity(96);
        #[cfg(debug_assertions)]
        let mut previous: Option<String> = None;
        for (name, value) in pairs {
            #[cfg(debug_assertions)]
            {
                debug_assert!(previous.as_deref().is_none_or(|p| p < name), "unsorted: {name}");
                debug_assert!(!name.is_empty() && !value.is_empty());
                previous = Some(name.to_owned());
            }
            push_text(&mut text, name);
            push_text(&mut text, value);
        }
        Self(Arc::from(text))
    }

    /// The value of `name`, or nothing where the set has no such label.
    pub fn get(&self, name: &str) -> Option<&str> {
        encoded::value_of(&self.0, name)
    }

    /// The metric name, or the empty string.
    pub fn metric_name(&self) -> &str {
        self.get(METRIC_NAME).unwrap_or("")
    }

    /// The pairs, sorted by name.
    pub fn iter(&self) -> Iter<'_> {
        Iter { rest: &self.0 }
    }

    /// The pairs, sorted by name: the name, and the pair as [`Labels::as_encoded`] has it. Such
    /// pairs one behind the other, still sorted, are an encoded set.
    pub fn encoded_pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut rest = &*self.0;
        std::iter::from_fn(move || {
            let (name, after) = take_text(rest)?;
            let (_, after) = take_text(after)?;
            let pair = rest.get(..rest.len() - after.len())?;
            rest = after;
            Some((name, pair))
        })
    }

    /// How many labels there are.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there is no label.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The set without the metric name.
    #[must_use]
    pub fn without_name(&self) -> Self {
        if self.get(METRIC_NAME).is_none() {
            self.clone()
        } else {
            self.filter(|n| n != METRIC_NAME)
        }
    }

    /// The set with only the labels whose names `keep` accepts.
    #[must_use]
    pub fn filter(&self, keep: impl Fn(&str) -> bool) -> Self {
        Self::from_sorted(self.iter().filter(|(n, _)| keep(n)))
    }

    /// The set with `name` set to `value`; an empty value removes the label.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut builder = LabelsBuilder::from(self);
        builder.set(name, value);
        builder.build()
    }

    /// A 64-bit hash that is the same in every run and on every machine (FNV-1a over names and
    /// values, each followed by a byte 255): the fingerprint that Alertmanager prints.
    pub fn fingerprint(&self) -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut add = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        for (name, value) in self.iter() {
            name.bytes().for_each(&mut add);
            add(255);
            value.bytes().for_each(&mut add);
            add(255);
        }
        hash
    }

    /// The encoded text, for maps that are keyed by it and for storing a set as bytes.
    pub fn as_encoded(&self) -> &str {
        &self.0
    }

    /// Reads what [`Labels::as_encoded`] gave; `None` where the text breaks the invariant.
    pub fn from_encoded(text: &str) -> Option<Self> {
        let (mut rest, mut previous) = (text, "");
        while !rest.is_empty() {
            let (name, after) = take_text(rest)?;
            let (value, after) = take_text(after)?;
            if name <= previous || value.is_empty() {
                return None;
            }
            (previous, rest) = (name, after);
        }
        Some(Self(Arc::from(text)))
    }
}

impl Default for Labels {
    fn default() -> Self {
        Self::empty()
    }
}

impl Borrow<str> for Labels {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Sets sort by their first difference in name or value, a prefix before what it begins.
impl Ord for Labels {
    fn cmp(&self, other: &Self) -> Ordering {
        // Most sets have much in common: what both begin with need not be compared text by text.
        let mut same = common_prefix(self.0.as_bytes(), other.0.as_bytes());
        let (mut a, mut b) = (&*self.0, &*other.0);
        while let Some((_, rest)) = take_text(a) {
            let taken = a.len() - rest.len();
            let Some(left) = same.checked_sub(taken) else { break };
            (same, a, b) = (left, rest, &b[taken..]);
        }
        let texts = |mut rest| {
            std::iter::from_fn(move || {
                let (text, after) = take_text(rest)?;
                rest = after;
                Some(text)
            })
        };
        texts(a).cmp(texts(b))
    }
}

/// How many bytes two texts begin with that are the same.
fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let words = a.chunks_exact(8).zip(b.chunks_exact(8)).take_while(|(a, b)| a == b).count() * 8;
    words + a[words..].iter().zip(&b[words..]).take_while(|(a, b)| a == b).count()
}

/// Prints `name{a="b",c="d"}` as the exposition format and PromQL write it.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.metric_name();
        let plain = is_legacy_metric_name(name);
        let mut rest = self.iter().filter(|(n, _)| *n != METRIC_NAME).peekable();
        if plain {
            f.write_str(name)?;
            if rest.peek().is_none() {
                return Ok(());
            }
        }
        f.write_str("{")?;
        let mut separator = "";
        if !plain && !name.is_empty() {
            write!(f, "\"{}\"", escape_value(name))?;
            separator = ", ";
        }
        for (n, v) in rest {
            f.write_str(separator)?;
            if is_legacy_label_name(n) {
                f.write_str(n)?;
            } else {
                write!(f, "\"{}\"", escape_value(n))?;
            }
            write!(f, "=\"{}\"", escape_value(v))?;
            separator = ", ";
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<N: AsRef<str>, V: AsRef<str>> FromIterator<(N, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        Self::from_pairs(pairs)
    }
}

impl<'a> IntoIterator for &'a Labels {
    type Item = (&'a str, &'a str);
    type IntoIter = Iter<'a>;
    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// Walks over the pairs of a [`Labels`].
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a str, &'a str);
    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (name, rest) = take_text(self.rest)?;
        let (value, rest) = take_text(rest)?;
        self.rest = rest;
        Some((name, value))
    }
}

/// Collects labels in any order; what is set last counts.
#[derive(Clone, Debug, Default)]
pub struct LabelsBuilder {
    pairs: Vec<(String, String)>,
}

impl LabelsBuilder {
    /// Sets `name` to `value`; an empty value removes the label, an empty name does nothing.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        match (self.position(name), value.is_empty()) {
            (Ok(at), true) => {
                self.pairs.remove(at);
            }
            (Ok(at), false) => value.clone_into(&mut self.pairs[at].1),
            (Err(_), true) => {}
            (Err(at), false) if !name.is_empty() => {
                self.pairs.insert(at, (name.to_owned(), value.to_owned()));
            }
            (Err(_), false) => {}
        }
        self
    }

    /// Removes `name`.
    pub fn remove(&mut self, name: &str) -> &mut Self {
        self.set(name, "")
    }

    /// The value set for `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.position(name).ok().map(|at| self.pairs[at].1.as_str())
    }

    /// The pairs so far, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    /// Keeps only the labels that `keep` accepts by name and value.
    pub fn retain(&mut self, keep: impl Fn(&str, &str) -> bool) {
        self.pairs.retain(|(n, v)| keep(n, v));
    }

    /// The finished set.
    pub fn build(&self) -> Labels {
        Labels::from_sorted(self.iter())
    }

    fn position(&self, name: &str) -> Result<usize, usize> {
        self.pairs.binary_search_by(|(n, _)| n.as_str().cmp(name))
    }
}

impl From<&Labels> for LabelsBuilder {
    fn from(labels: &Labels) -> Self {
        Self { pairs: labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect() }
    }
}

/// Whether `name` is a metric name under the rules before UTF-8 names: `[a-zA-Z_:][a-zA-Z0-9_:]*`.
pub fn is_legacy_metric_name(name: &str) -> bool {
    /// Which bytes there may be: looked up, because every name on a page is looked at.
    const MAY_BE: [bool; 256] = {
        let mut may_be = [false; 256];
        let mut byte = 0;
        while byte < 256 {
            let b = byte as u8;
            may_be[byte] = b.is_ascii_alphanumeric() || b == b'_' || b == b':';
            byte += 1;
        }
        may_be
    };
    name.as_bytes().first().is_some_and(|first| !first.is_ascii_digit())
        && name.bytes().all(|b| MAY_BE[usize::from(b)])
}

/// Whether `name` is a label name under the rules before UTF-8 names: `[a-zA-Z_][a-zA-Z0-9_]*`.
pub fn is_legacy_label_name(name: &str) -> bool {
    is_legacy_metric_name(name) && !name.contains(':')
}

/// The value with `\`, `"` and line feeds escaped, as between the quotes of a label value.
pub fn escape_value(value: &str) -> std::borrow::Cow<'_, str> {
    if !value.bytes().any(|b| matches!(b, b'\\' | b'"' | b'\n')) {
        return value.into();
    }
    let mut escaped = String::with_capacity(value.len() + 8);
    for c in value.chars() {
        match c {
            '\\' => escaped.push_str("\\\\"),
            '"' => escaped.push_str("\\\""),
            '\n' => escaped.push_str("\\n"),
            c => escaped.push(c),
        }
    }
    escaped.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(pairs: &[(&str, &str)], printed: &str) {
        assert_eq!(Labels::from_pairs(pairs.iter().copied()).to_string(), printed);
    }

    #[test]
    fn prints_as_promql_writes_a_series() {
        check(&[], "{}");
        check(&[("__name__", "up")], "up");
        check(&[("job", "a"), ("__name__", "up")], r#"up{job="a"}"#);
        check(&[("b", "2"), ("a", "1")], r#"{a="1", b="2"}"#);
        check(&[("a", "x"), ("a", "y")], r#"{a="y"}"#);
        check(&[("a", ""), ("", "x")], "{}");
        check(&[("a", "q\"\\\n")], r#"{a="q\"\\\n"}"#);
        check(&[("__name__", "my.metric"), ("a.b", "1")], r#"{"my.metric", "a.b"="1"}"#);
    }

    #[test]
    fn an_empty_value_removes_the_label() {
        let labels = Labels::from_pairs([("a", "1"), ("b", "2")]);
        assert_eq!(labels.with("a", "").to_string(), r#"{b="2"}"#);
        assert_eq!(labels.with("c", "3").len(), 3);
        assert_eq!(labels.get("a"), Some("1"));
        assert_eq!(labels.get("aa"), None);
    }

    #[test]
    fn sorts_by_the_first_difference() {
        let set = |pairs: &[(&str, &str)]| Labels::from_pairs(pairs.iter().copied());
        assert!(set(&[("a", "1")]) < set(&[("a", "1"), ("b", "1")]));
        assert!(set(&[("a", "10")]) < set(&[("a", "9")]));
        assert!(set(&[("a", &"x".repeat(70))]) > set(&[("a", "b")]));
    }

    #[test]
    fn refuses_encoded_text_that_breaks_the_invariant() {
        for text in ["a", "\u{1}a", "\u{1}a\u{0}", "\u{1}b\u{1}x\u{1}a\u{1}x", "\u{7f}\u{7f}", "é"]
        {
            assert_eq!(Labels::from_encoded(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn sorts_as_the_pairs_do(
            shared in prop::collection::btree_map("[a-d]{1,9}", "[xy]{1,70}", 0..5),
            one in prop::collection::btree_map("[a-d]{1,3}", "[xy]{1,2}", 0..4),
            two in prop::collection::btree_map("[a-d]{1,3}", "[xy]{1,2}", 0..4),
        ) {
            let with = |more| shared.iter().chain(more).collect::<Labels>();
            let (a, b) = (with(&one), with(&two));
            prop_assert_eq!(a.cmp(&b), a.iter().cmp(b.iter()));
        }

        #[test]
        fn keeps_every_pair(pairs in prop::collection::btree_map(".{1,90}", ".{1,200}", 0..12)) {
            let labels = Labels::from_pairs(&pairs);
            let back: Vec<_> = labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
            prop_assert_eq!(back, pairs.into_iter().collect::<Vec<_>>());
            let (names, pairs): (Vec<_>, String) = labels.encoded_pairs().unzip();
            prop_assert_eq!(names, labels.iter().map(|(name, _)| name).collect::<Vec<_>>());
            prop_assert_eq!(&pairs, labels.as_encoded());
            let mut pushed = Vec::new();
            for (name, value) in &labels {
                encoded::push(&mut pushed, name.as_bytes());
                encoded::push(&mut pushed, value.as_bytes());
                prop_assert_eq!(encoded::value_of(&pairs, name), Some(value));
            }
            prop_assert_eq!(pushed, pairs.as_bytes());
            prop_assert_eq!(Labels::from_encoded(&pairs), Some(labels));
        }
    }
}
