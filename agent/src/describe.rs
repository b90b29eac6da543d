//! What is told of the kinds of probe: settings, values, metrics, reasons, an example; as text, and
//! as Markdown for the manual.
//!
//! Invariant: settings come from the schema, and so from the structs that read them.

mod markdown;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use markdown::markdown;

use std::collections::BTreeMap;
use std::fmt::Write;

use base::diagnostic::nearest;
use probes::Reason;
use probes::manual::{Manual, manual};
use serde_json::Value;

use crate::schema::{kinds, resolve, schema};

/// A setting.
struct Setting {
    /// Its name, with those of the settings that it stands in.
    name: String,
    /// What may be written.
    form: String,
    /// What it is where nothing is written.
    default: Option<String>,
    /// Whether it must be written.
    is_needed: bool,
    about: String,
}

/// How deep settings in settings are told.
const DEPTH: usize = 3;

/// Every kind of probe, and what stands in place of one, by name.
fn known(root: &Value) -> Option<BTreeMap<&str, &Value>> {
    let check = &root["$defs"]["CheckConfig"]["properties"];
    let others = ["heartbeat", "push"].map(|name| (name, &check[name]));
    let kinds = kinds(root)?.iter().map(|(name, written)| (name.as_str(), written));
    Some(kinds.chain(others).collect())
}

/// Every kind with one line.
pub(crate) fn list() -> String {
    let root = schema();
    let mut text = String::new();
    for (kind, written) in known(&root).into_iter().flatten() {
        let _ = writeln!(text, "{kind:<12} {}", about(written));
    }
    text.push_str("\n`veilleur-agent describe KIND` tells all of one kind.\n");
    text
}

/// All that is to be told of a kind.
///
/// # Errors
///
/// There is no such kind, or its page is wrong.
pub(crate) fn kind(name: &str) -> Result<String, String> {
    let root = schema();
    let known = known(&root).ok_or("the schema has no kinds")?;
    let Some(written) = known.get(name) else {
        let names = known.keys().copied();
        return Err(match nearest(name, names) {
            Some(near) => format!("there is no kind `{name}`; did you mean `{near}`?"),
            None => format!("there is no kind `{name}`; `veilleur-agent describe` lists them"),
        });
    };
    let manual = manual(name).map_err(|diagnostics| diagnostics.to_string())?;
    let mut text = format!("{name}: {}\n\nSettings\n", about(written));
    for setting in settings(&root, written) {
        let needed = if setting.is_needed { ", needed" } else { "" };
        let default = setting.default.map(|text| format!(", default {text}")).unwrap_or_default();
        let _ = writeln!(text, "  {} ({}{needed}{default})", setting.name, setting.form);
        if !setting.about.is_empty() {
            let _ = writeln!(text, "      {}", setting.about);
        }
    }
    entries(&mut text, "Values, for thresholds and as performance data", manual.values.iter());
    if !manual.phases.is_empty() {
        let _ = writeln!(text, "\nPhases\n  {}", manual.phases.join(", "));
    }
    entries(&mut text, "Metrics, beside those of every check", manual.metrics.iter());
    let reasons: Vec<_> = reasons(&manual).collect();
    entries(&mut text, "Reasons", reasons.iter().map(|(reason, meaning)| (reason, meaning)));
    let _ = write!(text, "\nExample\n{}", indented(&manual.example));
    Ok(text)
}

fn entries<'e>(
    text: &mut String,
    title: &str,
    entries: impl Iterator<Item = (&'e String, &'e String)> + Clone,
) {
    let width = entries.clone().map(|(name, _)| name.len()).max().unwrap_or_default();
    if width > 0 {
        let _ = writeln!(text, "\n{title}");
    }
    for (name, about) in entries {
        let _ = writeln!(text, "  {name:<width$}  {about}");
    }
}

/// The reasons of a kind with what they mean.
fn reasons(manual: &Manual) -> impl Iterator<Item = (String, String)> {
    manual.reasons.iter().map(|label| {
        let meaning = Reason::from_label(label).map(Reason::meaning).unwrap_or_default();
        (label.clone(), meaning)
    })
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

fn about(schema: &Value) -> &str {
    schema["description"].as_str().unwrap_or_default()
}

/// The settings below `written`, each before those that stand in it; those that are needed first.
fn settings(root: &Value, written: &Value) -> Vec<Setting> {
    let mut found = Vec::new();
    collect(root, written, "", DEPTH, &mut found);
    found
}

fn collect(root: &Value, written: &Value, within: &str, depth: usize, found: &mut Vec<Setting>) {
    let schema = resolve(root, written);
    let Some(properties) = schema["properties"].as_object().filter(|_| depth > 0) else { return };
    let is_needed = |name: &str| {
        schema["required"].as_array().is_some_and(|names| names.iter().any(|own| own == name))
    };
    let (needed, rest): (Vec<_>, Vec<_>) = properties.iter().partition(|(name, _)| is_needed(name));
    for (name, value) in needed.into_iter().chain(rest) {
        let path = format!("{within}{name}");
        let default = match &value["default"] {
            Value::Null | Value::Object(_) | Value::Array(_) | Value::Bool(false) => None,
            Value::String(text) if text.is_empty() => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        };
        found.push(Setting {
            form: form(root, value),
            default,
            is_needed: is_needed(name),
            about: about(value).to_owned(),
            name: path.clone(),
        });
        let (inside, step) = inside(root, value);
        // Thresholds are the same everywhere.
        if name != "thresholds" {
            collect(root, inside, &format!("{path}{step}"), depth - 1, found);
        }
    }
}

/// What stands in a list or by names, and how one gets there.
fn inside<'s>(root: &'s Value, value: &'s Value) -> (&'s Value, &'static str) {
    let schema = resolve(root, value);
    if schema["items"].is_object() && schema["type"] == "array" {
        (&schema["items"], "[].")
    } else if schema["additionalProperties"].is_object() {
        (&schema["additionalProperties"], ".NAME.")
    } else {
        (schema, ".")
    }
}

/// What may be written, in a word or two.
fn form(root: &Value, value: &Value) -> String {
    let schema = resolve(root, value);
    let words = |list: &Vec<Value>, key: &str| {
        let words = list.iter().filter_map(|word| match key {
            "" => word.as_str(),
            key => word[key].as_str(),
        });
        words.collect::<Vec<_>>().join(", ")
    };
    if let Some(names) = schema["anyOf"][0]["enum"].as_array() {
        return words(names, "");
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let mut names = words(choices, "const");
        for choice in choices {
            for name in choice["properties"].as_object().into_iter().flat_map(|map| map.keys()) {
                let _ = write!(names, ", {name}");
            }
            if let Some(own) = choice["enum"].as_array().or(choice["anyOf"][0]["enum"].as_array()) {
                let _ = write!(names, ", {}", words(own, ""));
            }
        }
        return names.trim_start_matches(", ").to_owned();
    }
    let types = match &schema["type"] {
        Value::String(name) => vec![name.as_str()],
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let pattern = schema["pattern"].as_str().unwrap_or_default();
    match types.as_slice() {
        ["string", "integer", "array"] => "text or list".to_owned(),
        ["array", ..] => format!("list of {}", form(root, &schema["items"])),
        ["object", ..] if schema["additionalProperties"].is_object() => {
            format!("{} by name", form(root, &schema["additionalProperties"]))
        }
        ["object", ..] => "settings".to_owned(),
        ["integer", ..] => "number".to_owned(),
        ["number", ..] => "number".to_owned(),
        ["boolean", ..] => "true or false".to_owned(),
        ["string", "integer"] if pattern.contains("ms") => "period".to_owned(),
        ["string", "integer"] => "size".to_owned(),
        _ => "text".to_owned(),
    }
}
