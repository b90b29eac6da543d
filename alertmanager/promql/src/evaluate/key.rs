//! The labels of a row of a table, and what becomes of those that say what the metric is.
//!
//! Invariant: what has gone is not seen by any way of reading the labels but
//! [`KeyRef::metadata`].

use base::labels::{Labels, METRIC_NAME};

/// The labels of a row.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    labels: Labels,
    naming: Naming,
}

/// What becomes of the labels that say what the metric is. They stay in a key's `labels` whatever it
/// is, so that dropping them costs nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Naming {
    /// They are labels as any other.
    #[default]
    Kept,
    /// They are no labels any more.
    Gone,
    /// They go at the end of the evaluation.
    Doomed,
}

/// The labels of a series that somebody else has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyRef<'a> {
    labels: &'a Labels,
    naming: Naming,
}

/// Whether a label says what the metric is, and so goes when its values become something else.
fn is_metadata(name: &str) -> bool {
    name.starts_with("__") && matches!(name, METRIC_NAME | "__type__" | "__unit__")
}

impl Key {
    pub(crate) fn empty() -> Self {
        Self { labels: Labels::empty(), naming: Naming::Kept }
    }

    /// The same series with other labels, all of which can be seen.
    pub(crate) fn with_labels(&self, labels: Labels) -> Self {
        let naming = if self.naming == Naming::Gone { Naming::Kept } else { self.naming };
        Self { labels, naming }
    }

    /// Labels that a series of this kind is given.
    pub(crate) fn named(labels: Labels, naming: Naming) -> Self {
        Self { labels, naming }
    }

    pub(super) fn set_naming(&mut self, naming: Naming) {
        self.naming = naming;
    }

    pub(crate) fn as_ref(&self) -> KeyRef<'_> {
        KeyRef { labels: &self.labels, naming: self.naming }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.as_ref().get(name)
    }

    /// The metric name, or the empty string.
    pub(crate) fn metric_name(&self) -> &str {
        self.as_ref().metric_name()
    }

    pub(crate) fn to_labels(&self) -> Labels {
        if self.naming == Naming::Gone {
            self.labels.filter(|name| !is_metadata(name))
        } else {
            self.labels.clone()
        }
    }

    /// The same without the labels that say what the metric is, sooner or later.
    pub(crate) fn without_name(&self, naming: Naming) -> Self {
        Self { labels: self.labels.clone(), naming }
    }
}

impl<'a> KeyRef<'a> {
    pub(crate) fn to_key(self) -> Key {
        Key { labels: self.labels.clone(), naming: self.naming }
    }

    /// The pairs, sorted by name.
    #[inline]
    pub(crate) fn iter(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.labels.iter().filter(move |(name, _)| !(self.is_nameless() && is_metadata(name)))
    }

    /// As [`KeyRef::iter`], the pairs encoded; see [`Labels::encoded_pairs`].
    #[inline]
    pub(crate) fn encoded_pairs(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let counts = move |(name, _): &(&str, &str)| !(self.is_nameless() && is_metadata(name));
        self.labels.encoded_pairs().filter(counts)
    }

    pub(crate) fn get(self, name: &str) -> Option<&'a str> {
        if self.is_nameless() && is_metadata(name) { None } else { self.labels.get(name) }
    }

    /// The metric name, or the empty string.
    pub(crate) fn metric_name(self) -> &'a str {
        self.get(METRIC_NAME).unwrap_or("")
    }

    /// As [`Key::without_name`].
    pub(crate) fn without_name(self, naming: Naming) -> Self {
        Self { naming, ..self }
    }

    pub(crate) fn is_nameless(self) -> bool {
        self.naming == Naming::Gone
    }

    /// Whether its name goes at the end.
    pub(crate) fn is_doomed(self) -> bool {
        self.naming == Naming::Doomed
    }

    /// What the metric is: the labels that go when its values become something else, also where they
    /// have gone.
    pub(crate) fn metadata(self) -> [Option<&'a str>; 3] {
        metadata(self.labels)
    }
}

impl<'a> From<&'a Labels> for KeyRef<'a> {
    fn from(labels: &'a Labels) -> Self {
        Self { labels, naming: Naming::Kept }
    }
}

impl From<Labels> for Key {
    fn from(labels: Labels) -> Self {
        Self { labels, naming: Naming::Kept }
    }
}

fn metadata(labels: &Labels) -> [Option<&str>; 3] {
    let mut found = [None; 3];
    for (name, value) in labels.iter() {
        match name {
            // Nearly always the second label.
            _ if !name.starts_with("__") && name > "__" => break,
            METRIC_NAME => found[0] = Some(value),
            "__type__" => found[1] = Some(value),
            "__unit__" => found[2] = Some(value),
            _ => {}
        }
    }
    found
}
