//! The expressions of the dashboards' panels and variables, as Grafana would send them.
//!
//! Invariant: every target of every panel is here, those within rows included, and every variable
//! that is chosen from label values.

use std::path::PathBuf;

use serde_json::Value;

/// What Grafana puts in place of its variables where everything is chosen; the longer name first.
const VARIABLES: [(&str, &str); 5] = [
    ("$__rate_interval", "2m"),
    ("$instance", ".*"),
    ("$service", ".*"),
    ("$check", ".*"),
    ("$job", ".*"),
];

/// An expression, and where it stands.
pub(crate) struct Expression {
    file: String,
    panel: String,
    pub(crate) text: String,
}

impl Expression {
    /// Where it stands, and what it is.
    pub(crate) fn named(&self) -> String {
        format!("{}, panel `{}`: {}", self.file, self.panel, self.text)
    }
}

/// The dashboards, by the names of their files.
pub(crate) fn files() -> Vec<(String, Value)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../dashboards/grafana");
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    assert!(!paths.is_empty());
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).unwrap();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
    paths.iter().map(|path| (name(path), read(path))).collect()
}

/// The expressions of all dashboards.
pub(crate) fn all() -> Vec<Expression> {
    files().iter().flat_map(|(file, dashboard)| expressions(file, dashboard)).collect()
}

/// The expressions of one dashboard.
pub(crate) fn expressions(file: &str, dashboard: &Value) -> Vec<Expression> {
    let mut found = Vec::new();
    let mut panels: Vec<&Value> = list(dashboard, "panels").collect();
    while let Some(panel) = panels.pop() {
        panels.extend(list(panel, "panels"));
        for target in list(panel, "targets") {
            let title = panel["title"].as_str().unwrap_or("without a title");
            let text = target["expr"].as_str().unwrap_or_else(|| {
                panic!("{file}, panel `{title}`: a target without an expression")
            });
            found.push(expression(file, title, text));
        }
    }
    for variable in list(&dashboard["templating"], "list") {
        // What a variable can be chosen from: `label_values(SELECTOR, LABEL)`.
        let Some(query) = variable["query"]["query"].as_str() else { continue };
        let asked = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
        let (selector, label) = asked.and_then(|asked| asked.rsplit_once(", ")).unwrap();
        let title = variable["name"].as_str().unwrap();
        found.push(expression(file, title, &format!("count by ({label}) ({selector})")));
    }
    found
}

fn expression(file: &str, panel: &str, text: &str) -> Expression {
    let replaced =
        VARIABLES.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value));
    Expression { file: file.to_owned(), panel: panel.to_owned(), text: replaced }
}

fn list<'v>(value: &'v Value, name: &str) -> impl Iterator<Item = &'v Value> + use<'v> {
    value[name].as_array().into_iter().flatten()
}
