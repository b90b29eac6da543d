//! The kinds of probe as a part of the manual.
//!
//! Invariant: what the documents show between the marks is what this writes.

use std::fmt::Write;

use probes::manual::manual;
use serde_json::Value;

use super::{about, known, settings};
use crate::schema::schema;

/// Every kind with its settings, values, phases, metrics and reasons.
///
/// # Errors
///
/// The page of a kind is wrong or missing.
pub(crate) fn markdown() -> Result<String, String> {
    let root = schema();
    let known = known(&root).ok_or("the schema has no kinds")?;
    let mut text = String::new();
    for (kind, written) in known {
        one(&mut text, &root, kind, written)?;
    }
    Ok(text)
}

fn one(text: &mut String, root: &Value, kind: &str, written: &Value) -> Result<(), String> {
    let manual = manual(kind).map_err(|diagnostics| diagnostics.to_string())?;
    let _ = writeln!(text, "\n### `{kind}`\n\n{}\n", about(written));
    text.push_str("| setting | what is written | default | |\n|---|---|---|---|\n");
    // Those of TLS are the same everywhere, and told once.
    for setting in settings(root, written).iter().filter(|setting| !setting.name.contains("tls.")) {
        let default = match (setting.is_needed, &setting.default) {
            (true, _) => "needed".to_owned(),
            (false, Some(default)) => format!("`{default}`"),
            (false, None) => String::new(),
        };
        let (name, form, about) = (cell(&setting.name), cell(&setting.form), cell(&setting.about));
        let _ = writeln!(text, "| `{name}` | {form} | {default} | {about} |");
    }
    let named = |entries: &mut dyn Iterator<Item = (&String, &String)>| {
        let entries: Vec<_> = entries.map(|(name, about)| format!("`{name}`: {about}")).collect();
        entries.join("; ")
    };
    if !manual.values.is_empty() {
        let _ = writeln!(text, "\nValues: {}.", named(&mut manual.values.iter()));
    }
    if !manual.phases.is_empty() {
        let _ = writeln!(text, "\nPhases: {}.", manual.phases.join(", "));
    }
    if !manual.metrics.is_empty() {
        let _ = writeln!(text, "\nMetrics: {}.", named(&mut manual.metrics.iter()));
    }
    let reasons: Vec<_> = manual.reasons.iter().map(|reason| format!("`{reason}`")).collect();
    let _ = writeln!(text, "\nReasons: {}.", reasons.join(", "));
    // What says which file it is, is tried by a test of the documents.
    let _ = writeln!(text, "\n```yaml\n# agent.yml\nchecks:\n{}```", manual.example);
    Ok(())
}

/// A text in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
