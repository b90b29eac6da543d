//! The forms of health pages that are JSON.
//!
//! Invariant: nesting is bounded, by serde_json for what is JSON and by [`MAX_DEPTH`] for what is a
//! component.

use serde_json::{Map, Value};

use super::format::{Format, MAX_DEPTH, Said, Unreadable, component, invalid, sentence, status_of};
use super::ours;
use crate::{Component, Status};

type Fields = Map<String, Value>;

/// Reads a page of JSON in one of the forms.
pub(super) fn read(text: &str, content_type: &str, format: Format) -> Result<Said, Unreadable> {
    let page: Value = match serde_json::from_str(text) {
        Ok(page) => page,
        Err(error) => return invalid(format!("the page is not JSON: {error}")),
    };
    let Value::Object(page) = page else { return invalid("the page is not a JSON object") };
    let word = match page.get("status") {
        Some(Value::String(word)) => sentence(word),
        Some(_) => return invalid("the `status` of the page is not a word"),
        None => return invalid("the page has no `status`"),
    };
    let format = match format {
        Format::Auto => guess(&page, &word, content_type),
        format => format,
    };
    let mut said = Said { status: status_of(&word), word, ..Said::default() };
    said.output = page.get("output").and_then(Value::as_str).map_or(String::new(), sentence);
    said.tree.components = match format {
        Format::Microprofile => match page.get("checks") {
            Some(Value::Array(checks)) => microprofile(checks),
            _ => return invalid("the page has no list `checks`"),
        },
        Format::Aspnet => aspnet(&page),
        Format::Spring => spring(&page, 0)?,
        Format::HealthJson | Format::Kubernetes | Format::Auto => match ours::agent_of(&page) {
            Some(agent) => {
                said.tree.agent = Some(agent);
                ours::tree(&page)?
            }
            None => health_json(&page),
        },
    };
    Ok(said)
}

/// The form that a page has by its fields and words.
fn guess(page: &Fields, word: &str, content_type: &str) -> Format {
    let is_object = |name: &str| page.get(name).is_some_and(Value::is_object);
    let essence = content_type.split(';').next().unwrap_or("").trim();
    if essence.eq_ignore_ascii_case("application/health+json") {
        Format::HealthJson
    } else if page.get("checks").is_some_and(Value::is_array) {
        Format::Microprofile
    } else if is_object("entries")
        || is_object("results")
        || matches!(word, "Healthy" | "Degraded" | "Unhealthy")
    {
        Format::Aspnet
    } else if is_object("checks") || status_of(word).is_some() && word != word.to_uppercase() {
        Format::HealthJson
    } else {
        Format::Spring
    }
}

fn text<'a>(fields: &'a Fields, name: &str) -> &'a str {
    fields.get(name).and_then(Value::as_str).unwrap_or("")
}

/// What Spring and MicroProfile put beside a component, of which only the error is for people.
fn error_of(fields: &Fields, name: &str) -> String {
    let Some(Value::Object(details)) = fields.get(name) else { return String::new() };
    let names = ["error", "message", "exception", "reason"];
    let found = names.iter().find_map(|name| details.get(*name).and_then(Value::as_str));
    found.map_or(String::new(), str::to_owned)
}

/// A component whose word, where it is not an ordinary one, is what there is to say.
fn with_word(name: &str, word: &str, output: String) -> Component {
    let status = status_of(word);
    let is_plain = matches!(word.to_ascii_lowercase().as_str(), "down" | "fail" | "unhealthy");
    let output = match output.as_str() {
        "" if status != Some(Status::Ok) && !is_plain => word.to_owned(),
        _ => output,
    };
    component(name, status, if status == Some(Status::Ok) { "" } else { &output })
}

fn microprofile(checks: &[Value]) -> Vec<Component> {
    let checks = checks.iter().filter_map(Value::as_object);
    let one = |check: &Fields| {
        with_word(text(check, "name"), text(check, "status"), error_of(check, "data"))
    };
    checks.map(one).collect()
}

fn aspnet(page: &Fields) -> Vec<Component> {
    let entries = ["entries", "results"].iter().find_map(|name| page.get(*name)?.as_object());
    let one = |(name, entry): (&String, &Value)| {
        let entry = entry.as_object()?;
        let said = ["description", "exception"].iter().map(|name| text(entry, name));
        let said = said.filter(|text| !text.is_empty()).collect::<Vec<_>>().join(": ");
        let status = status_of(text(entry, "status"));
        let said = if status == Some(Status::Ok) { "" } else { said.as_str() };
        Some(component(name, status, said))
    };
    entries.into_iter().flatten().filter_map(one).collect()
}

/// `components` since 2.2, `details` since 2.0, and all fields before.
fn spring(fields: &Fields, depth: usize) -> Result<Vec<Component>, Unreadable> {
    if depth > MAX_DEPTH {
        return invalid("the page is nested too deep");
    }
    let has_status = |value: &Value| value.get("status").is_some_and(Value::is_string);
    let below = match (fields.get("components"), fields.get("details")) {
        (Some(Value::Object(components)), _) => components,
        (_, Some(Value::Object(details))) if depth == 0 => details,
        _ if depth == 0 => fields,
        _ => return Ok(Vec::new()),
    };
    let mut components = Vec::new();
    for (name, value) in below.iter().filter(|(_, value)| has_status(value)) {
        let Value::Object(fields) = value else { continue };
        let mut one = with_word(name, text(fields, "status"), error_of(fields, "details"));
        one.parts = spring(fields, depth + 1)?;
        components.push(one);
    }
    Ok(components)
}

/// Each check has a list of one or more nodes; some write the one without a list.
fn health_json(page: &Fields) -> Vec<Component> {
    let Some(Value::Object(checks)) = page.get("checks") else { return Vec::new() };
    let node = |name: &str, fields: &Fields| {
        let mut one = component(name, status_of(text(fields, "status")), text(fields, "output"));
        let value = fields.get("observedValue").and_then(Value::as_f64);
        let unit = sentence(text(fields, "observedUnit"));
        one.value = value.filter(|value| value.is_finite()).map(|value| (value, unit));
        one
    };
    let check = |(name, value): (&String, &Value)| match value {
        Value::Object(fields) => Some(node(name, fields)),
        Value::Array(nodes) => {
            let nodes: Vec<_> = nodes.iter().filter_map(Value::as_object).collect();
            match nodes[..] {
                [] => None,
                [one] => Some(node(name, one)),
                _ => {
                    let mut all = component(name, None, "");
                    all.parts = (1..)
                        .zip(&nodes)
                        .map(|(n, fields)| match text(fields, "componentId") {
                            "" => node(&n.to_string(), fields),
                            id => node(id, fields),
                        })
                        .collect();
                    Some(all)
                }
            }
        }
        _ => None,
    };
    checks.iter().filter_map(check).collect()
}
