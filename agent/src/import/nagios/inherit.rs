//! Templates: what an object has from those that it uses.
//!
//! Invariant: what an object says itself goes before its templates, and an earlier template before a
//! later one; circles end.

use std::collections::{BTreeMap, BTreeSet};

use super::super::check::Writer;
use super::read::{Definition, Files};

/// What is not inherited.
const OWN: [&str; 3] = ["name", "use", "register"];

/// All objects of a kind, with what they inherit; templates are left out.
pub(super) fn objects(files: &Files, kind: &str, writer: &mut Writer) -> Vec<Definition> {
    let of_kind = || files.definitions.iter().filter(|definition| definition.kind == kind);
    let templates: BTreeMap<&str, &Definition> =
        of_kind().filter_map(|definition| Some((definition.get("name")?, definition))).collect();
    let real = of_kind().filter(|definition| definition.get("register") != Some("0"));
    let mut found = Vec::new();
    for definition in real {
        let mut whole = definition.clone();
        let mut seen = BTreeSet::new();
        inherit(definition, &templates, &mut whole, &mut seen, writer);
        found.push(whole);
    }
    found
}

fn inherit<'f>(
    definition: &'f Definition,
    templates: &BTreeMap<&str, &'f Definition>,
    whole: &mut Definition,
    seen: &mut BTreeSet<&'f str>,
    writer: &mut Writer,
) {
    let Some((names, place)) = definition.settings.get("use") else { return };
    for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let Some(template) = templates.get(name) else {
            writer.note(place, format!("there is no template `{name}`"));
            continue;
        };
        if !seen.insert(name) {
            continue;
        }
        for (key, told) in &template.settings {
            if OWN.contains(&key.as_str()) {
                continue;
            }
            match whole.settings.get_mut(key) {
                // `+` adds to what is inherited.
                Some((own, _)) if own.starts_with('+') => {
                    own.push(',');
                    own.push_str(told.0.trim_start_matches('+'));
                    if !told.0.starts_with('+') {
                        own.remove(0);
                    }
                }
                Some(_) => {}
                None => {
                    whole.settings.insert(key.clone(), told.clone());
                }
            }
        }
        inherit(template, templates, whole, seen, writer);
    }
}

/// The names in a list; a `+` that was left has nothing to add to.
pub(super) fn names(text: Option<&str>) -> Vec<&str> {
    let text = text.unwrap_or_default().trim_start_matches('+');
    text.split(',').map(str::trim).filter(|name| !name.is_empty()).collect()
}
