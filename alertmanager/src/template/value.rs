//! The values that templates work on, with the types and the truth that Go gives them.
//!
//! The kinds are closed: numbers, texts, times, and three shapes of several values. A list or map
//! says by its own kind which methods it has, so that an alert's labels are a map like any other
//! and still know `.SortedPairs`.
//!
//! Invariant: a value is immutable and cheap to clone; nothing in it can be called or reached
//! beyond what the caller put in.

use std::sync::Arc;

use base::labels::Labels;

use super::time::Time;

/// A value.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// Nothing: a key or field that is not there.
    #[default]
    Nil,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// A text.
    Text(Arc<str>),
    /// A text of which the author of the template says that it needs no escaping.
    Safe(Safe, Arc<str>),
    /// A number with a name of its own, such as a month.
    Named(&'static Named),
    /// A point in time.
    Time(Time),
    /// A length of time in nanoseconds.
    Duration(i64),
    /// Values in an order.
    List(Arc<List>),
    /// Values by name.
    Map(Arc<Map>),
    /// Values by the names of a fixed type.
    Record(Arc<Record>),
}

/// For which place a text is safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Safe {
    /// Between the tags of an HTML document.
    Html,
    /// As an address; escaped as far as HTML needs it.
    Url,
    /// As a part of an address' query; nothing in it is special.
    Query,
}

/// A number with a name: a month, a day of the week.
#[derive(Debug, PartialEq, Eq)]
pub struct Named {
    pub(super) type_name: &'static str,
    pub(super) number: i64,
    pub(super) name: &'static str,
}

/// Which methods a list has, and what its type is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListKind {
    /// Anything.
    Any,
    /// Texts: `.Join`.
    Strings,
    /// Alerts: `.Firing`, `.Resolved`.
    Alerts,
    /// Names and values: `.Names`, `.Values`.
    Pairs,
    /// What a query found.
    Samples,
}

/// Values in an order.
#[derive(Debug, PartialEq)]
pub struct List {
    pub(super) kind: ListKind,
    pub(super) items: Vec<Value>,
    depth: u8,
}

/// Which methods a map has, and what is found under a name that it lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapKind {
    /// Anything; nothing is found.
    Any,
    /// Texts; the empty text is found.
    Text,
    /// Texts, with Alertmanager's methods: `.SortedPairs`, `.Names`, `.Values`, `.Remove`.
    Kv,
}

/// Values by name.
#[derive(Debug, PartialEq)]
pub struct Map {
    pub(super) kind: MapKind,
    entries: Entries,
    depth: u8,
}

#[derive(Debug, PartialEq)]
enum Entries {
    /// Sorted by name, each name once.
    Pairs(Vec<(Arc<str>, Value)>),
    Labels(Labels),
}

/// Values by the names of a fixed type.
#[derive(Debug, PartialEq)]
pub struct Record {
    pub(super) type_name: &'static str,
    pub(super) fields: Vec<Field>,
    depth: u8,
}

/// A field of a [`Record`].
#[derive(Debug, PartialEq)]
pub struct Field {
    /// Its name in templates.
    pub name: &'static str,
    /// Its name in JSON.
    pub json: &'static str,
    /// What it holds.
    pub value: Value,
}

impl Value {
    /// A list of anything.
    pub fn list(items: impl IntoIterator<Item = Self>) -> Self {
        Self::list_of(ListKind::Any, items.into_iter().collect())
    }

    /// A list of texts.
    pub fn strings<S: AsRef<str>>(items: impl IntoIterator<Item = S>) -> Self {
        Self::list_of(ListKind::Strings, items.into_iter().map(|s| s.as_ref().into()).collect())
    }

    /// A list of a certain kind.
    pub fn list_of(kind: ListKind, items: Vec<Self>) -> Self {
        let depth = deeper(items.iter());
        Self::List(Arc::new(List { kind, items, depth }))
    }

    /// A map; of a name that comes twice the last value counts.
    pub fn map<N: Into<Arc<str>>>(entries: impl IntoIterator<Item = (N, Self)>) -> Self {
        Self::map_of(MapKind::Any, entries)
    }

    /// A map of a certain kind; of a name that comes twice the last value counts.
    pub fn map_of<N: Into<Arc<str>>>(
        kind: MapKind,
        entries: impl IntoIterator<Item = (N, Self)>,
    ) -> Self {
        let mut pairs: Vec<(Arc<str>, Self)> =
            entries.into_iter().map(|(name, value)| (name.into(), value)).collect();
        pairs.reverse();
        pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
        pairs.dedup_by(|(a, _), (b, _)| a == b);
        let depth = deeper(pairs.iter().map(|(_, value)| value));
        Self::Map(Arc::new(Map { kind, entries: Entries::Pairs(pairs), depth }))
    }

    /// Labels as rule templates see them: a map of texts.
    pub fn labels(labels: Labels) -> Self {
        let entries = Entries::Labels(labels);
        Self::Map(Arc::new(Map { kind: MapKind::Text, entries, depth: 1 }))
    }

    /// Labels as notification templates see them, with methods.
    pub fn kv(labels: Labels) -> Self {
        let entries = Entries::Labels(labels);
        Self::Map(Arc::new(Map { kind: MapKind::Kv, entries, depth: 1 }))
    }

    /// A record. `type_name` is what errors call it.
    pub fn record(type_name: &'static str, fields: Vec<Field>) -> Self {
        let depth = deeper(fields.iter().map(|field| &field.value));
        Self::Record(Arc::new(Record { type_name, fields, depth }))
    }

    /// How many lists, maps and records are within each other.
    pub(super) fn depth(&self) -> u8 {
        match self {
            Self::List(list) => list.depth,
            Self::Map(map) => map.depth,
            Self::Record(record) => record.depth,
            _ => 0,
        }
    }

    /// What Go calls the type.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Nil => "<nil>",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float64",
            Self::Text(_) | Self::Safe(Safe::Query, _) => "string",
            Self::Safe(Safe::Html, _) => "template.HTML",
            Self::Safe(Safe::Url, _) => "template.URL",
            Self::Named(named) => named.type_name,
            Self::Time(_) => "time.Time",
            Self::Duration(_) => "time.Duration",
            Self::List(list) => list.kind.type_name(),
            Self::Map(map) => map.kind.type_name(),
            Self::Record(record) => record.type_name,
        }
    }

    /// Whether `if` and `with` take their first branch.
    pub fn is_true(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(value) => *value,
            Self::Int(value) | Self::Duration(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Text(text) | Self::Safe(_, text) => !text.is_empty(),
            Self::Named(named) => named.number != 0,
            Self::List(list) => !list.items.is_empty(),
            Self::Map(map) => map.len() > 0,
            Self::Time(_) | Self::Record(_) => true,
        }
    }

    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Safe(_, text) => Some(text),
            _ => None,
        }
    }

    /// The whole number, if it is of a type that Go counts with.
    pub(super) fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(value) | Self::Duration(value) => Some(*value),
            Self::Named(named) => Some(named.number),
            _ => None,
        }
    }

    /// The items of a list; of anything else none.
    pub(super) fn items(&self) -> &[Self] {
        match self {
            Self::List(list) => &list.items,
            _ => &[],
        }
    }

    /// How much memory it stands for, roughly.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Text(text) | Self::Safe(_, text) => text.len(),
            Self::List(list) => list.items.len() * 32,
            Self::Map(map) => map.len() * 48,
            _ => 0,
        }
    }
}

impl ListKind {
    pub(super) fn type_name(self) -> &'static str {
        match self {
            Self::Any => "[]interface {}",
            Self::Strings => "[]string",
            Self::Alerts => "template.Alerts",
            Self::Pairs => "template.Pairs",
            Self::Samples => "template.queryResult",
        }
    }
}

impl MapKind {
    pub(super) fn type_name(self) -> &'static str {
        match self {
            Self::Any => "map[string]interface {}",
            Self::Text => "map[string]string",
            Self::Kv => "template.KV",
        }
    }

    /// What is found under a name that the map lacks.
    pub(super) fn zero(self) -> Value {
        match self {
            Self::Any => Value::Nil,
            Self::Text | Self::Kv => Value::from(""),
        }
    }
}

impl Map {
    pub(super) fn len(&self) -> usize {
        match &self.entries {
            Entries::Pairs(pairs) => pairs.len(),
            Entries::Labels(labels) => labels.len(),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<Value> {
        match &self.entries {
            Entries::Pairs(pairs) => pairs
                .binary_search_by(|(key, _)| (**key).cmp(name))
                .ok()
                .map(|at| pairs[at].1.clone()),
            Entries::Labels(labels) => labels.get(name).map(Value::from),
        }
    }

    /// Names and values, sorted by name.
    pub(super) fn pairs(&self) -> Vec<(Arc<str>, Value)> {
        match &self.entries {
            Entries::Pairs(pairs) => pairs.clone(),
            Entries::Labels(labels) => {
                labels.iter().map(|(name, value)| (name.into(), value.into())).collect()
            }
        }
    }
}

impl Record {
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.fields.iter().find(|field| field.name == name).map(|field| &field.value)
    }
}

impl Field {
    /// A field that is called the same in JSON, but for its first letter.
    pub fn new(name: &'static str, json: &'static str, value: impl Into<Value>) -> Self {
        Self { name, json, value: value.into() }
    }
}

fn deeper<'a>(values: impl Iterator<Item = &'a Value>) -> u8 {
    values.map(Value::depth).max().unwrap_or(0).saturating_add(1)
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.into())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_empty_or_zero_is_false() {
        let check =
            |value: Value, expected: bool| assert_eq!(value.is_true(), expected, "{value:?}");
        check(Value::Nil, false);
        check(Value::from(""), false);
        check(Value::from("0"), true);
        check(Value::Float(-0.0), false);
        check(Value::Float(f64::NAN), true);
        check(Value::Duration(0), false);
        check(Value::list([]), false);
        check(Value::list([Value::Nil]), true);
        check(Value::kv(Labels::empty()), false);
        check(Value::record("template.Alert", Vec::new()), true);
    }

    #[test]
    fn of_a_name_that_comes_twice_the_last_value_counts() {
        let Value::Map(map) = Value::map([("b", 1.into()), ("a", 2.into()), ("b", 3.into())])
        else {
            panic!("no map");
        };
        assert_eq!((map.len(), map.get("b"), map.get("c")), (2, Some(Value::Int(3)), None));
        assert_eq!(map.pairs()[0].0.as_ref(), "a");
    }

    #[test]
    fn depth_counts_what_is_within_each_other() {
        let value = Value::list([Value::map([("a", Value::list([]))]), Value::Nil]);
        assert_eq!((value.depth(), Value::Nil.depth()), (3, 0));
    }
}
