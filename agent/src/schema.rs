//! The shape of `agent.yml` as JSON Schema (2020-12), for editors and for the manual.
//!
//! ```text
//! the structs that read the file ──schemars──▶ schema ──tidy──▶ what our YAML takes
//! ```
//!
//! A default is told in a setting's comment, as "`30s` where nothing is said" or "`30s` by
//! default", and taken from there; a test builds every kind of probe with and without it.
//!
//! Invariant: there is no second list of settings: what the structs do not read is not in it.

#[cfg(test)]
mod accepts;
#[cfg(test)]
mod tests;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::config::AgentConfig;

/// What a value that is taken from the environment has in it.
const ENVIRONMENT: &str = r"\$\{env:";

/// The schema of the whole file.
pub fn schema() -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<AgentConfig>().to_value();
    tidy(&mut schema);
    if let Some(root) = schema.as_object_mut() {
        root.insert("title".to_owned(), json!("agent.yml of veilleur-agent"));
    }
    schema
}

/// Follows a reference, if `schema` is one.
pub fn resolve<'s>(root: &'s Value, schema: &'s Value) -> &'s Value {
    let name = schema["$ref"].as_str().and_then(|text| text.strip_prefix("#/$defs/"));
    name.map_or(schema, |name| &root["$defs"][name])
}

/// The kinds of probe, by name.
pub fn kinds(root: &Value) -> Option<&Map<String, Value>> {
    root["$defs"]["ProbeConfig"]["properties"].as_object()
}

/// Makes what our reader takes of what serde would.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            for (key, value) in map.iter_mut() {
                match (key.as_str(), value) {
                    // Their keys are names that we chose.
                    ("properties" | "$defs", Value::Object(named)) => {
                        named.values_mut().for_each(tidy);
                    }
                    (_, value) => tidy(value),
                }
            }
            describe(map);
            without_null(map);
            one_key(map);
            scalars(map);
        }
        Value::Array(list) => list.iter_mut().for_each(tidy),
        _ => {}
    }
}

/// Joins the lines of a description, and finds the default in it.
fn describe(map: &mut Map<String, Value>) {
    if map.get("default").is_some_and(Value::is_null) {
        map.remove("default");
    }
    let is_settings = map.get("type").is_some_and(|name| name == "object");
    let Some(Value::String(text)) = map.get_mut("description") else { return };
    *text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let said = ["` where nothing is said", "` by default"];
    let Some(end) = said.iter().find_map(|phrase| text.find(phrase)) else { return };
    let Some((_, default)) = text[..end].rsplit_once('`') else { return };
    // A folder, in which the default has a name that depends on the check.
    if is_settings || default.is_empty() || default.ends_with("agent/") {
        return;
    }
    let default = serde_json::from_str(default).unwrap_or_else(|_| json!(default));
    map.insert("default".to_owned(), default);
}

/// An empty setting counts as not written: editors had better ask what was meant.
fn without_null(map: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = map.get_mut("type") {
        types.retain(|name| name != "null");
        if let [one] = types.as_slice() {
            let one = one.clone();
            map.insert("type".to_owned(), one);
        }
    }
    let Some(Value::Array(choices)) = map.get_mut("anyOf") else { return };
    choices.retain(|choice| choice["type"] != "null");
    if let [Value::Object(one)] = choices.as_slice() {
        let one = one.clone();
        map.remove("anyOf");
        one.into_iter().for_each(|(key, value)| {
            map.entry(key).or_insert(value);
        });
    }
}

/// One of several settings, each with its own shape: a mapping with one key. Faults are told at the
/// key then, and not as "matches none of thirty".
fn one_key(map: &mut Map<String, Value>) {
    let Some(Value::Array(choices)) = map.get("oneOf") else { return };
    let mut properties = Map::new();
    for choice in choices {
        let (Some(own), Some([_])) =
            (choice["properties"].as_object(), choice["required"].as_array().map(Vec::as_slice))
        else {
            return;
        };
        for (name, value) in own {
            let mut value = value.clone();
            if let (Some(about), Some(map)) = (choice.get("description"), value.as_object_mut()) {
                map.entry("description").or_insert_with(|| about.clone());
            }
            properties.insert(name.clone(), value);
        }
    }
    map.remove("oneOf");
    map.insert("type".to_owned(), json!("object"));
    map.insert("properties".to_owned(), Value::Object(properties));
    map.insert("additionalProperties".to_owned(), json!(false));
    map.insert("minProperties".to_owned(), json!(1));
    map.insert("maxProperties".to_owned(), json!(1));
}

/// YAML has no texts that look like numbers; and whatever is written may come from the environment.
fn scalars(map: &mut Map<String, Value>) {
    if let Some(names) = map.remove("enum") {
        map.remove("type");
        let from_environment = json!({"type": "string", "pattern": ENVIRONMENT});
        map.insert("anyOf".to_owned(), json!([{"enum": names}, from_environment]));
        return;
    }
    let kind = map.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    let format = map.remove("format");
    if format.as_ref().is_some_and(|format| format == "secret") {
        // Of those nobody ever gets to see what was written.
        map.insert("writeOnly".to_owned(), json!(true));
    }
    let pattern = match (kind.as_str(), format.as_ref().and_then(Value::as_str)) {
        ("string", Some("period")) => {
            map.insert("type".to_owned(), json!(["string", "integer"]));
            map.insert("minimum".to_owned(), json!(0));
            map.insert("maximum".to_owned(), json!(0));
            Some(map["pattern"].as_str().unwrap_or_default().to_owned())
        }
        ("string", Some("size")) => {
            map.insert("type".to_owned(), json!(["string", "integer"]));
            map.insert("minimum".to_owned(), json!(0));
            Some(map["pattern"].as_str().unwrap_or_default().to_owned())
        }
        ("string", _) if !map.contains_key("const") => {
            map.insert("type".to_owned(), json!(["string", "number", "boolean"]));
            None
        }
        ("integer" | "number", _) => {
            map.insert("type".to_owned(), json!([kind, "string"]));
            Some("^[-+]?[0-9.]+$".to_owned())
        }
        ("boolean", _) => {
            map.insert("type".to_owned(), json!([kind, "string"]));
            Some("^(true|True|TRUE|yes|on|false|False|FALSE|no|off)$".to_owned())
        }
        _ => None,
    };
    if let Some(pattern) = pattern {
        map.insert("pattern".to_owned(), json!(format!("{pattern}|{ENVIRONMENT}")));
    }
    if let Some(Value::Array(choices)) = map.get_mut("oneOf") {
        choices.push(json!({"type": "string", "pattern": ENVIRONMENT}));
    }
}
