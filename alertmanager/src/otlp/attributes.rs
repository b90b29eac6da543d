//! Attributes of OpenTelemetry as labels.
//!
//! Source: as [`super::names`].
//!
//! Invariant: of two attributes that become one label none is lost: their values stand side by side.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::config::Options;
use super::message::{AnyValue, KeyValue, Resource, Scope, ScopeMetrics};
use super::names;

/// Labels by their names.
pub(super) type Pairs = BTreeMap<String, String>;

/// By which a resource is told from others: they are in `job` and `instance`.
const NAMESPACE: &str = "service.namespace";
const NAME: &str = "service.name";
const INSTANCE: &str = "service.instance.id";

/// A value as a text: what is no text as JSON.
pub(super) fn text(value: Option<&AnyValue>) -> String {
    match value.map(json) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text,
        Some(other) => other.to_string(),
    }
}

fn json(value: &AnyValue) -> Value {
    if let Some(text) = &value.string_value {
        Value::from(text.as_str())
    } else if let Some(truth) = value.bool_value {
        Value::from(truth)
    } else if let Some(number) = value.int_value {
        Value::from(number)
    } else if let Some(number) = value.double_value {
        // A whole number has no point.
        let is_whole = number.fract() == 0.0 && number.abs() < 1e15;
        if is_whole { Value::from(number as i64) } else { Value::from(number) }
    } else if let Some(list) = &value.array_value {
        list.values.iter().map(json).collect()
    } else if let Some(map) = &value.kvlist_value {
        let entry =
            |pair: &KeyValue| (pair.key.clone(), pair.value.as_ref().map_or(Value::Null, json));
        Value::Object(map.values.iter().map(entry).collect())
    } else if let Some(bytes) = &value.bytes_value {
        Value::from(STANDARD.encode(bytes))
    } else {
        Value::Null
    }
}

/// Adds attributes, and those that become the same label side by side.
fn add_attributes<'a>(
    options: &Options,
    attributes: impl Iterator<Item = &'a KeyValue>,
    pairs: &mut Pairs,
) -> Result<(), String> {
    let mut sorted: Vec<&KeyValue> = attributes.collect();
    sorted.sort_by(|a, b| a.key.cmp(&b.key));
    for KeyValue { key, value } in sorted {
        let name = label(options, key)?;
        let value = text(value.as_ref());
        pairs
            .entry(name)
            .and_modify(|before| {
                before.push(';');
                before.push_str(&value);
            })
            .or_insert(value);
    }
    Ok(())
}

fn label(options: &Options, name: &str) -> Result<String, String> {
    names::label(options.strategy, options.labelled, name)
        .ok_or_else(|| format!("nothing is left of the attribute {name:?} as the name of a label"))
}

/// A resource and one of its scopes, as far as each of their series has them as labels.
#[derive(Debug, Default)]
pub(super) struct Origin {
    /// Attributes that a point's own stand before.
    promoted: Pairs,
    /// What stands before everything else: the scope, `job`, `instance`.
    fixed: Pairs,
}

impl Origin {
    pub(super) fn of(
        options: &Options,
        resource: Option<&Resource>,
        scope: &ScopeMetrics,
    ) -> Result<Self, String> {
        let mut origin = Self { promoted: Pairs::new(), fixed: identity(resource) };
        for KeyValue { key, value } in attributes(resource) {
            if options.promoted.has(key) {
                let name = label(options, key)?;
                origin.promoted.entry(name).or_insert_with(|| text(value.as_ref()));
            }
        }
        let named = scope.scope.as_ref().filter(|scope| !scope.name.is_empty());
        if let Some(Scope { name, version, attributes }) = named.filter(|_| options.promotes_scope)
        {
            let mut set = |name: String, value: String| {
                origin.fixed.entry(name).or_insert(value);
            };
            for KeyValue { key, value } in attributes {
                set(label(options, &format!("otel_scope_{key}"))?, text(value.as_ref()));
            }
            set("otel_scope_name".to_owned(), name.clone());
            set("otel_scope_version".to_owned(), version.clone());
            set("otel_scope_schema_url".to_owned(), scope.schema_url.clone());
        }
        Ok(origin)
    }

    /// The labels of a point, without the name.
    pub(super) fn labels(&self, options: &Options, own: &[KeyValue]) -> Result<Pairs, String> {
        let mut pairs = Pairs::new();
        add_attributes(options, own.iter(), &mut pairs)?;
        for (name, value) in &self.promoted {
            pairs.entry(name.clone()).or_insert_with(|| value.clone());
        }
        pairs.extend(self.fixed.clone());
        Ok(pairs)
    }
}

fn attributes(resource: Option<&Resource>) -> &[KeyValue] {
    resource.map_or(&[], |resource| &resource.attributes)
}

/// `job` and `instance`.
fn identity(resource: Option<&Resource>) -> Pairs {
    let find = |name: &str| attributes(resource).iter().find(|pair| pair.key == name);
    let value = |name: &str| find(name).map(|pair| text(pair.value.as_ref()));
    let job = value(NAME).map(|name| match value(NAMESPACE) {
        Some(namespace) => format!("{namespace}/{name}"),
        None => name,
    });
    let pairs = [("job", job), ("instance", value(INSTANCE))];
    pairs.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// The labels of `target_info`; nothing where it would say nothing, or not of what.
pub(super) fn target_info(
    options: &Options,
    resource: Option<&Resource>,
) -> Result<Option<Pairs>, String> {
    let identity = identity(resource);
    let identifies = |pair: &&KeyValue| matches!(pair.key.as_str(), NAMESPACE | NAME | INSTANCE);
    let others = attributes(resource).iter().filter(|pair| !identifies(pair)).count();
    if others == 0 || identity.is_empty() {
        return Ok(None);
    }
    let told = attributes(resource).iter();
    let told = told.filter(|pair| options.keeps_identifying || !identifies(pair));
    let mut pairs = Pairs::new();
    add_attributes(options, told, &mut pairs)?;
    pairs.extend(identity);
    Ok(Some(pairs))
}
