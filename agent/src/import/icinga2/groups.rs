//! Which objects a rule is for: `assign where` and `ignore where`, and the groups that gain members so.
//!
//! Invariant: a condition that only Icinga can decide is told, never guessed.

use serde_json::{Map, Value, json};

use super::eval::{Scope, truth};
use super::parse::Setting;

/// A group of hosts or of services.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) body: Vec<Setting>,
}

/// Whether `body` is for what is in `scope`; `otherwise` where it has no `assign where`.
///
/// # Errors
///
/// A condition that cannot be decided here.
pub(super) fn fits(body: &[Setting], scope: &Scope<'_>, otherwise: bool) -> Result<bool, String> {
    let has_rule = body.iter().any(|setting| matches!(setting, Setting::Assign(_)));
    let mut is_in = otherwise && !has_rule;
    for setting in body {
        if let Setting::Assign(condition) = setting {
            is_in |= truth(&scope.eval(condition)?);
        }
    }
    for setting in body {
        if let Setting::Ignore(condition) = setting {
            is_in &= !truth(&scope.eval(condition)?);
        }
    }
    Ok(is_in)
}

/// Adds to the `groups` of `object` those that have rules for it.
///
/// # Errors
///
/// The name of each group that cannot be decided, and why; the others are added.
pub(super) fn join<'a>(
    object: &mut Value,
    groups: impl IntoIterator<Item = &'a Group>,
    scope: &Scope<'_>,
) -> Result<(), String> {
    let mut undecided = Vec::new();
    for group in groups {
        match fits(&group.body, scope, false) {
            Ok(false) => {}
            Ok(true) => {
                let name = json!(group.name);
                match object.get_mut("groups").and_then(Value::as_array_mut) {
                    Some(known) if known.contains(&name) => {}
                    Some(known) => known.push(name),
                    None => object["groups"] = json!([name]),
                }
            }
            Err(why) => undecided.push(format!("`{}` ({why})", group.name)),
        }
    }
    if undecided.is_empty() { Ok(()) } else { Err(undecided.join(", ")) }
}

/// What a rule of a group sees.
pub(super) fn locals(host: &Value, service: Option<&Value>) -> Map<String, Value> {
    let service = service.map(|service| ("service".to_owned(), service.clone()));
    [("host".to_owned(), host.clone())].into_iter().chain(service).collect()
}
