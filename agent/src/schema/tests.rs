//! The schema against the structs that read the file, and its defaults against what they build.
//!
//! Invariant: no setting and no kind is named here.

use serde_json::Value;

use super::accepts::{Asked, asked};
use super::{kinds, resolve, schema};
use crate::config::{AgentConfig, Source, Terms};

/// Settings that are read only to tell that they mean nothing here.
const REFUSED: [&str; 1] = ["rate_limit"];

/// The names in a closed set, and the settings of a mapping.
fn names(schema: &Value) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    names.extend(schema["properties"].as_object().into_iter().flat_map(|map| map.keys().cloned()));
    for choice in schema["oneOf"].as_array().into_iter().flatten() {
        names.extend(choice["const"].as_str().map(str::to_owned));
        let own = choice["enum"].as_array().or(choice["anyOf"][0]["enum"].as_array());
        names.extend(own.into_iter().flatten().filter_map(|name| Some(name.as_str()?.to_owned())));
        let own = choice["properties"].as_object();
        names.extend(own.into_iter().flat_map(|map| map.keys().cloned()));
    }
    let own = schema["anyOf"][0]["enum"].as_array();
    names.extend(own.into_iter().flatten().filter_map(|name| Some(name.as_str()?.to_owned())));
    names.sort();
    names
}

/// The schema of a setting or of a kind in a closed set.
fn below<'s>(schema: &'s Value, name: &str) -> &'s Value {
    let choices = schema["oneOf"].as_array().into_iter().flatten();
    let mut found = choices.map(|choice| &choice["properties"][name]);
    found.find(|value| !value.is_null()).unwrap_or(&schema["properties"][name])
}

#[test]
fn the_schema_has_the_settings_that_are_read() {
    let root = schema();
    let mut open = vec![(Vec::<String>::new(), &root)];
    let mut seen = 0;
    while let Some((path, written)) = open.pop() {
        let schema = resolve(&root, written);
        let shown = path.join(".");
        let with = |name: &str| path.iter().cloned().chain([name.to_owned()]).collect::<Vec<_>>();
        match asked::<AgentConfig>(&path) {
            Asked::Settings(read) | Asked::OneOf(read) => {
                let mut read: Vec<_> = read.iter().map(|name| (*name).to_owned()).collect();
                read.retain(|name| !REFUSED.contains(&name.as_str()));
                read.sort();
                assert_eq!(names(schema), read, "{shown}");
                open.extend(read.iter().map(|name| (with(name), below(schema, name))));
                seen += read.len();
            }
            Asked::List => {
                let items = &schema["items"];
                assert!(items.is_object(), "{shown}: {schema}");
                open.push((with("0"), items));
            }
            Asked::Names => {
                let values = &schema["additionalProperties"];
                assert!(values.is_object(), "{shown}: {schema}");
                open.push((with("name"), values));
            }
            Asked::Value => {}
        }
    }
    assert!(seen > 300, "only {seen} settings");
}

#[test]
fn every_setting_is_described() {
    let root = schema();
    let mut silent = Vec::new();
    let defs = root["$defs"].as_object().unwrap();
    for (name, schema) in defs.iter().chain([(&"agent.yml".to_owned(), &root)]) {
        for (key, value) in schema["properties"].as_object().into_iter().flatten() {
            if value["description"].as_str().is_none_or(str::is_empty) {
                silent.push(format!("{name}.{key}"));
            }
        }
    }
    assert!(silent.is_empty(), "a comment (`///`) is missing on {silent:?}");
}

/// How the checks of a configuration look once they are built.
fn built(checks: &str) -> Result<String, String> {
    let text = crate::describe::tests::here(&format!("checks:\n{checks}"));
    let source = Source::Embedded { name: "agent.yml", text };
    let terms = Terms { once: true, ..Terms::default() };
    let config = source.load(terms).map_err(|diagnostics| diagnostics.to_string())?;
    Ok(format!("{:?}", config.checks))
}

#[test]
fn a_default_that_is_told_is_the_one_that_holds() {
    let root = schema();
    let mut tried = 0;
    for (kind, written) in kinds(&root).unwrap() {
        let example = probes::manual::manual(kind).unwrap().example;
        let begin = format!("    {kind}:\n");
        let settings = resolve(&root, written)["properties"].as_object().unwrap();
        for (name, value) in settings {
            let default = match &value["default"] {
                Value::String(text) if !text.is_empty() => format!("'{text}'"),
                value @ (Value::Number(_) | Value::Bool(_)) => value.to_string(),
                _ => continue,
            };
            // What keeps a place in the file, or belongs to other kinds of the same settings.
            if example.contains(&format!("      {name}:")) || default.ends_with("agent/'") {
                continue;
            }
            let with = example.replace(&begin, &format!("{begin}      {name}: {default}\n"));
            assert_ne!(with, example, "the example of {kind} must be in blocks");
            if kind != "amqp" && name == "virtual_host" {
                continue;
            }
            assert_eq!(built(&with), built(&example), "{kind}.{name}: {default}");
            tried += 1;
        }
    }
    assert!(tried > 15, "only {tried} defaults");
}
