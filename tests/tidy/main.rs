//! The rules of the house that no compiler checks.
//!
//! Invariant: a rule that is broken is named with its file and line, all of them in one run.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The most lines of a file.
const MAX_LINES: usize = 500;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All files below the project that end in `extension`, with their text, by their path from the
/// root; what is built or generated is left out.
fn files(extension: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if !name.starts_with('.')
                    && !matches!(name.as_str(), "target" | "node_modules" | "veilleur-data")
                {
                    folders.push(path);
                }
            } else if name.ends_with(extension) {
                let short = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
                found.insert(short, fs::read_to_string(&path).unwrap());
            }
        }
    }
    assert!(!found.is_empty());
    found
}

#[track_caller]
fn report(broken: Vec<String>) {
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

#[test]
fn every_file_says_what_it_is() {
    let without = |text: &str| !text.trim_start().starts_with("//!");
    let broken = files(".rs").into_iter().filter(|(_, text)| without(text));
    report(broken.map(|(path, _)| format!("{path}: does not begin with `//!`")).collect());
}

#[test]
fn every_file_of_a_library_states_its_invariant() {
    let broken = files(".rs").into_iter().filter(|(path, text)| {
        let header: String = text.lines().take_while(|line| line.starts_with("//!")).collect();
        path.contains("/src/")
            && !header.contains("Invariant")
            && !header.contains("Rule of admission")
    });
    report(broken.map(|(path, _)| format!("{path}: its header states no invariant")).collect());
}

#[test]
fn no_file_is_too_long_to_hold_in_mind() {
    let broken = files(".rs").into_iter().filter(|(_, text)| text.lines().count() > MAX_LINES);
    report(broken.map(|(path, text)| format!("{path}: {} lines", text.lines().count())).collect());
}

/// What a crate may use of ours.
const DIRECTION: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("probes", &["base"]),
    ("agent", &["base", "probes"]),
    ("alertmanager/storage", &["base"]),
    ("alertmanager/promql", &["base", "storage"]),
    ("alertmanager", &["base", "storage", "promql"]),
];

#[test]
fn crates_depend_in_one_direction() {
    let ours = ["base", "probes", "agent", "storage", "promql", "alertmanager"];
    let mut broken = Vec::new();
    for (folder, allowed) in DIRECTION {
        let text = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
        let dependencies = text.split("[dependencies]").nth(1).unwrap_or("");
        let dependencies = dependencies.split("\n[").next().unwrap_or("");
        for line in dependencies.lines() {
            let name = line.split(['.', ' ', '=']).next().unwrap_or("");
            if ours.contains(&name) && !allowed.contains(&name) {
                broken.push(format!("{folder} depends on {name}"));
            }
        }
    }
    report(broken);
}

#[test]
fn the_agent_stays_small() {
    let mut broken = Vec::new();
    for folder in ["agent", "probes", "base"] {
        let text = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
        for heavy in ["sqlx", "lettre", "axum"] {
            if text.lines().any(|line| line.starts_with(heavy)) {
                broken.push(format!("{folder} depends on {heavy}"));
            }
        }
    }
    report(broken);
}

#[test]
fn a_module_of_the_alertmanager_uses_only_modules_above_it() {
    let lib = fs::read_to_string(root().join("alertmanager/src/lib.rs")).unwrap();
    let order: Vec<&str> = lib
        .lines()
        .filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';'))
        .collect();
    assert!(order.len() > 10, "{order:?}");
    let place = |name: &str| order.iter().position(|module| *module == name);
    let mut broken = Vec::new();
    for (path, text) in files(".rs") {
        let Some(below) = path.strip_prefix("alertmanager/src/") else { continue };
        let module = below.split(['/', '.']).next().unwrap_or("");
        let Some(own) = place(module) else { continue };
        for (number, line) in text.lines().enumerate() {
            // Tests may look at what comes after.
            if line.contains("#[cfg(test)]") {
                break;
            }
            for used in line.split("crate::").skip(1) {
                let used =
                    used.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("");
                if place(used).is_some_and(|place| place > own) {
                    broken.push(format!("{path}:{}: `{module}` uses `{used}`", number + 1));
                }
            }
        }
    }
    report(broken);
}

#[test]
fn only_loops_and_servers_ask_for_the_time() {
    let mut broken = Vec::new();
    for (path, text) in files(".rs") {
        let may = path.starts_with("tests/")
            || path.contains("/benches/")
            || path.ends_with("/run.rs")
            || ["/api", "/server", "/main.rs", "/app", "/cli", "/clock.rs"]
                .iter()
                .any(|p| path.contains(p));
        if may || !path.contains("/src/") {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            if line.contains("#[cfg(test)]") {
                break;
            }
            if line.contains("Timestamp::now()") && !line.trim_start().starts_with("//") {
                broken.push(format!("{path}:{}: asks for the time", number + 1));
            }
        }
    }
    report(broken);
}

/// Names that say nothing.
const UNWANTED: &[&str] = &[
    "manager",
    "helper",
    "util",
    "utils",
    "common",
    "misc",
    "data",
    "info",
    "object",
    "processor",
    "impl",
];

#[test]
fn no_module_has_a_name_that_says_nothing() {
    let broken = files(".rs").into_keys().filter(|path| {
        Path::new(path).file_stem().is_some_and(|stem| UNWANTED.contains(&stem.to_str().unwrap()))
    });
    report(broken.collect());
}

#[test]
fn paths_named_in_the_documents_exist() {
    let mut broken = Vec::new();
    for document in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"] {
        let text = fs::read_to_string(root().join(document))
            .unwrap_or_else(|error| panic!("{document}: {error}"));
        for (number, line) in text.lines().enumerate() {
            for quoted in line.split('`').skip(1).step_by(2) {
                let is_path = quoted.contains('/')
                    && quoted.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c))
                    && [
                        "base/",
                        "probes/",
                        "agent/",
                        "alertmanager/",
                        "tests/",
                        "dashboards/",
                        "docs/",
                        ".ci/",
                    ]
                    .iter()
                    .any(|folder| quoted.starts_with(folder));
                if is_path && !root().join(quoted).exists() {
                    broken.push(format!("{document}:{}: there is no `{quoted}`", number + 1));
                }
            }
        }
    }
    report(broken);
}

#[test]
fn the_map_is_short() {
    let lines = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap().lines().count();
    assert!(lines <= 150, "ARCHITECTURE.md has {lines} lines");
}

#[test]
fn nothing_is_left_for_later() {
    let words = ["TODO", "FIXME", "XXX", "todo!(", "unimplemented!("].map(|w| w.to_owned());
    let mut broken = Vec::new();
    for extension in [".rs", ".sh", ".py", ".html", ".toml"] {
        for (path, text) in files(extension) {
            if path == "tests/tidy/main.rs" {
                continue;
            }
            for (number, line) in text.lines().enumerate() {
                if words.iter().any(|word| line.contains(word.as_str()))
                    || line.contains("#[ignore")
                {
                    broken.push(format!("{path}:{}: {}", number + 1, line.trim()));
                }
            }
        }
    }
    report(broken);
}

#[test]
fn every_dependency_says_what_for() {
    let text = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let section = text.split("[workspace.dependencies]").nth(1).unwrap();
    let section = section.split("\n[").next().unwrap();
    let mut broken = Vec::new();
    let mut before = "";
    for line in section.lines().filter(|line| !line.trim().is_empty()) {
        let ours = line.contains("path = ");
        if !line.starts_with('#') && !ours && !before.starts_with('#') {
            broken.push(format!("Cargo.toml: `{line}` does not say what for"));
        }
        before = line;
    }
    report(broken);
    for (path, text) in files("Cargo.toml") {
        if path != "Cargo.toml" {
            assert!(
                !text.contains("version = \""),
                "{path} names a version; they stand in the workspace"
            );
        }
    }
}
