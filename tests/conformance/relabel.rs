//! Relabelling: label sets in and out, and which steps are valid.

use alertmanager::relabel::{Names, Relabel, RelabelConfig};
use base::diagnostic::{Diagnostics, Spanned};
use base::labels::{Labels, LabelsBuilder};
use serde_json::{Value, json};

use crate::report::Report;

pub(crate) fn run(report: &mut Report) {
    report.table("relabel/relabel.json", relabelled);
    let cases = report.cases("relabel/validate.json").into_iter();
    let results: Vec<_> =
        cases.map(|c| (c["id"].as_str().unwrap().to_owned(), valid(&c))).collect();
    report.suite("relabel/validate", results);
}

fn build(configs: &Value, names: Names) -> (Vec<Relabel>, Diagnostics) {
    let mut diagnostics = Diagnostics::new("case");
    // JSON is YAML.
    let configs: Vec<Spanned<RelabelConfig>> =
        base::yaml::read(&configs.to_string(), &mut diagnostics).unwrap_or_default();
    let steps = Relabel::build_all_with(names, &configs, &mut diagnostics);
    (steps, diagnostics)
}

fn labels(value: &Value) -> Labels {
    value.as_object().unwrap().iter().map(|(n, v)| (n, v.as_str().unwrap())).collect()
}

fn relabelled(case: &Value) -> Result<(), String> {
    let (steps, diagnostics) = build(&case["relabel_configs"], Names::Any);
    if !diagnostics.is_empty() {
        return Err(diagnostics.to_string());
    }
    let mut builder = LabelsBuilder::from(&labels(&case["input"]));
    let kept = Relabel::run(&steps, &mut builder);
    let got = builder.build();
    match (kept, case["dropped"] == true) {
        (true, true) => Err(format!("kept {got}")),
        (false, false) => Err("dropped".to_owned()),
        (true, false) if got != labels(&case["output"]) => Err(format!("gave {got}")),
        _ => Ok(()),
    }
}

fn valid(case: &Value) -> Result<(), String> {
    // A case is a step, or the name alone that a step would set.
    let (config, is_classic) = match case.get("legacy_target_label") {
        Some(target) => (json!({"action": "replace", "target_label": target}), true),
        None => (case["relabel_config"].clone(), case["name_validation"] == "legacy"),
    };
    let names = if is_classic { Names::Classic } else { Names::Any };
    let (_, diagnostics) = build(&Value::Array(vec![config]), names);
    match (case["ok"] == true, diagnostics.is_empty()) {
        (true, false) => Err(diagnostics.to_string()),
        (false, true) => Err("accepted".to_owned()),
        _ => Ok(()),
    }
}
