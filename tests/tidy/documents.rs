//! What the documents name exists, and the map stays short.
//!
//! Invariant: every document of the project is looked at, but for what it quotes as output.

use std::fs;

use super::sources::{files, report, root, text};

/// The most lines of the map.
const MAX_MAP: usize = 150;

/// What a reader looks for first.
const DOCUMENTS: [&str; 5] =
    ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE"];

#[test]
fn the_documents_are_there() {
    let missing = DOCUMENTS.into_iter().filter(|name| !root().join(name).is_file());
    report(missing.map(|name| format!("{name} is missing")));
}

#[test]
fn the_map_is_short() {
    let lines = text("ARCHITECTURE.md").lines().count();
    assert!(lines <= MAX_MAP, "ARCHITECTURE.md has {lines} lines");
}

#[test]
fn paths_named_in_the_documents_exist() {
    let folders: Vec<String> = fs::read_dir(root())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name != "target")
        .collect();
    let mut broken = Vec::new();
    for (document, text) in files(&[".md"]) {
        let mut fenced = false;
        for (number, line) in (1..).zip(text.lines()) {
            if line.starts_with("```") {
                fenced = !fenced;
                continue;
            }
            let beside = document.rsplit_once('/').map_or("", |(folder, _)| folder);
            for path in named(line, fenced, &folders) {
                let exists = root().join(path).exists() || root().join(beside).join(path).exists();
                if !exists {
                    broken.push(format!("{document}:{number}: there is no `{path}`"));
                }
            }
        }
    }
    report(broken);
}

/// The paths of the project that a line names: in backquotes or as the target of a link; in a
/// fenced list as the first word, with a slash at its end.
fn named<'l>(line: &'l str, fenced: bool, folders: &[String]) -> Vec<&'l str> {
    let ours = |path: &&str| {
        let first = path.split('/').next().unwrap_or_default();
        path.contains('/')
            && path.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c))
            && folders.iter().any(|folder| folder == first)
    };
    if fenced {
        return line.split(' ').take(1).filter(|word| word.ends_with('/')).filter(ours).collect();
    }
    let quoted = line.split('`').skip(1).step_by(2).filter(ours);
    let linked = line.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
    let linked = linked.filter(|target| !target.contains(':') && !target.is_empty());
    quoted.chain(linked).collect()
}

#[test]
fn finds_paths() {
    let folders = ["base".to_owned(), "tests".to_owned()];
    let check = |line: &str, fenced: bool, expected: &str| {
        assert_eq!(named(line, fenced, &folders).join(" "), expected, "{line}");
    };
    check("see `base/src/lib.rs`, `x/y` and `tests/tidy`", false, "base/src/lib.rs tests/tidy");
    check("[a](tests/all.sh) [b](https://example.org/x) [c](#d)", false, "tests/all.sh");
    check("`base/{a,b}.rs` `cargo test -p base/`", false, "");
    check("base/          lib", true, "base/");
    check("base/run something", true, "");
}

#[test]
fn commands_named_in_the_documents_exist() {
    let makefile = text("Makefile");
    let mut broken = Vec::new();
    for (document, text) in files(&[".md"]) {
        for (number, line) in (1..).zip(text.lines()) {
            let quoted = line.split('`').skip(1).step_by(2);
            for command in quoted.chain([line]).filter_map(|text| text.strip_prefix("make ")) {
                let target = command.split(' ').next().unwrap_or_default();
                if !makefile.lines().any(|line| line.starts_with(&format!("{target}:"))) {
                    broken.push(format!("{document}:{number}: there is no `make {target}`"));
                }
            }
        }
    }
    report(broken);
}
