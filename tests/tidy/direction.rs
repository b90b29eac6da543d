//! Crates and modules use only what stands before them.
//!
//! Invariant: the order of the modules is that of the `mod` lines in `lib.rs`; there is no second
//! list of them.

use super::sources::{code_of, files, is_test, report, text};

/// What a crate may use of ours, tests and benchmarks of it included.
const DIRECTION: [(&str, &[&str]); 6] = [
    ("base", &[]),
    ("probes", &["base"]),
    ("agent", &["base", "probes"]),
    ("alertmanager/storage", &["base"]),
    ("alertmanager/promql", &["base", "storage"]),
    ("alertmanager", &["base", "storage", "promql"]),
];

/// What the agent must not link: it stays small.
const HEAVY: [&str; 4] = ["sqlx", "lettre", "axum", "askama"];

#[test]
fn crates_depend_in_one_direction() {
    let ours = ["base", "probes", "agent", "storage", "promql", "alertmanager", "tests"];
    let mut broken = Vec::new();
    for (folder, allowed) in DIRECTION {
        for (number, name) in dependencies(folder) {
            if ours.contains(&name.as_str()) && !allowed.contains(&name.as_str()) {
                broken.push(format!("{folder}/Cargo.toml:{number}: must not use `{name}`"));
            }
        }
    }
    report(broken);
}

#[test]
fn the_agent_stays_small() {
    let linked = ["agent", "probes", "base"].into_iter().flat_map(|folder| {
        dependencies(folder).into_iter().map(move |(number, name)| (folder, number, name))
    });
    let broken = linked.filter(|(.., name)| HEAVY.contains(&name.as_str()));
    report(broken.map(|(folder, number, name)| {
        format!("{folder}/Cargo.toml:{number}: the agent would link `{name}`")
    }));
}

/// Names of the dependencies of all kinds, with their line.
fn dependencies(folder: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut inside = false;
    for (number, line) in (1..).zip(text(&format!("{folder}/Cargo.toml")).lines()) {
        if line.starts_with('[') {
            inside = line.contains("dependencies");
        } else if inside {
            let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
            found.push((number, name.to_owned()));
        }
    }
    assert!(found.len() > 2, "{folder}: {found:?}");
    found
}

#[test]
fn a_module_uses_only_modules_above_it() {
    let sources = files(&[".rs"]);
    let mut broken = Vec::new();
    // In `promql` the plan holds the functions that the evaluator calls, and functions are written
    // in terms of the evaluator: these three are one knot.
    for (folder, _) in DIRECTION.into_iter().filter(|(folder, _)| !folder.ends_with("promql")) {
        let order = modules(&text(&format!("{folder}/src/lib.rs")));
        assert!(order.len() > 5, "{folder}: {order:?}");
        let place = |name: &str| order.iter().position(|module| module == name);
        for (path, text) in &sources {
            let Some(below) = path.strip_prefix(&format!("{folder}/src/")) else { continue };
            let module = below.split(['/', '.']).next().unwrap_or_default();
            let Some(own) = place(module) else { continue };
            if is_test(path) {
                continue;
            }
            let top = !below.contains('/');
            for (number, used) in uses(text, top) {
                if place(&used).is_some_and(|place| place > own) {
                    broken.push(format!(
                        "{path}:{number}: `{module}` uses `{used}`, which stands below it"
                    ));
                }
            }
        }
    }
    report(broken);
}

/// The modules of a crate in the order of their `mod` lines.
fn modules(lib: &str) -> Vec<String> {
    let named = lib.lines().filter_map(|line| {
        let line = line.strip_prefix("pub(crate) ").or(line.strip_prefix("pub ")).unwrap_or(line);
        line.strip_prefix("mod ")?.strip_suffix(';')
    });
    named.map(str::to_owned).collect()
}

/// The first words of all paths that begin at the crate, with their line. In a file beside `lib.rs`
/// (`top`) `super::` is the crate, too.
fn uses(text: &str, top: bool) -> Vec<(usize, String)> {
    let mut joined = String::new();
    let mut begins = Vec::new();
    for (number, line) in code_of(text) {
        begins.push((joined.len(), number));
        joined.push_str(&line);
        joined.push('\n');
    }
    let number = |at: usize| begins.iter().rev().find(|(begin, _)| *begin <= at).map_or(0, |b| b.1);
    let mut found = Vec::new();
    for start in ["crate::", "super::"].iter().filter(|start| top || **start == "crate::") {
        for (at, _) in joined.match_indices(start) {
            let within_word = joined[..at].ends_with(|c: char| c.is_alphanumeric() || c == ':');
            if !within_word {
                let words = first_words(&joined[at + start.len()..]);
                found.extend(words.into_iter().map(|word| (number(at), word)));
            }
        }
    }
    found.sort();
    found
}

/// The first word of a path; of `{a::b, c}` each first word.
fn first_words(path: &str) -> Vec<String> {
    let word = |text: &str| {
        let text = text.trim_start();
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
        text[..end].to_owned()
    };
    let Some(list) = path.strip_prefix('{') else { return vec![word(path)] };
    let (mut words, mut depth, mut begin) = (Vec::new(), 0, 0);
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            ',' | '}' if depth == 0 => {
                words.push(word(&list[begin..at]));
                begin = at + 1;
                if c == '}' {
                    break;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[test]
fn finds_what_is_used() {
    let check = |text: &str, expected: &str| {
        let found: Vec<_> = uses(text, true).iter().map(|(n, w)| format!("{n}:{w}")).collect();
        assert_eq!(found.join(" "), expected, "{text}");
    };
    check("use crate::state::State;", "1:state");
    check("use crate::{demo, once};", "1:demo 1:once");
    check("\nuse crate::{\n    a::{b, c},\n    d,\n};", "2:a 2:d");
    check("fn f() -> crate::x::Y { super::z::f() }", "1:x 1:z");
    check(
        "// crate::a\nuse super::super::b;\n#[cfg(test)]\nmod tests {\nuse crate::c;\n}",
        "2:super",
    );
}

#[test]
fn every_dependency_says_what_for() {
    let workspace = text("Cargo.toml");
    let section = workspace.split("[workspace.dependencies]").nth(1).unwrap();
    let section = section.split("\n[").next().unwrap();
    let (mut broken, mut before) = (Vec::new(), "");
    for line in section.lines().filter(|line| !line.trim().is_empty()) {
        let ours = line.contains("path = ");
        if !line.starts_with('#') && !ours && !before.starts_with('#') {
            broken.push(format!("Cargo.toml: `{line}` does not say what for"));
        }
        before = line;
    }
    for (path, text) in files(&["Cargo.toml"]) {
        let versions = (1..).zip(text.lines()).filter(|(_, line)| line.contains("version = \""));
        if path != "Cargo.toml" {
            broken.extend(versions.map(|(number, _)| {
                format!("{path}:{number}: names a version; versions stand in the workspace")
            }));
        }
    }
    report(broken);
}
