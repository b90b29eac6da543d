//! What every file keeps: a header, a size, a name that says something.
//!
//! Invariant: there is no list of exceptions here.

use std::path::Path;

use super::sources::{files, is_test, report};

/// The most lines of a file.
const MAX_LINES: usize = 500;

/// Names that say nothing.
const UNWANTED: [&str; 12] = [
    "manager",
    "helper",
    "helpers",
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
fn every_file_says_what_it_is() {
    let broken = files(&[".rs"]).into_iter().filter(|(_, text)| !text.starts_with("//! "));
    report(broken.map(|(path, _)| format!("{path}:1: does not begin with `//! `")));
}

#[test]
fn every_file_of_a_crate_states_its_invariant() {
    let broken = files(&[".rs"]).into_iter().filter(|(path, text)| {
        let header = text.lines().take_while(|line| line.starts_with("//!"));
        let stated = |line: &str| {
            line.starts_with("//! Invariant: ") || line.starts_with("//! Rule of admission: ")
        };
        path.contains("/src/") && !is_test(path) && header.filter(|line| stated(line)).count() != 1
    });
    report(broken.map(|(path, _)| format!("{path}:1: its header states not one invariant")));
}

#[test]
fn no_file_is_too_long_to_hold_in_mind() {
    let written = files(&[".rs", ".sh", ".py", ".html", ".css"]);
    let lengths = written.into_iter().map(|(path, text)| (path, text.lines().count()));
    let broken = lengths.filter(|(_, lines)| *lines > MAX_LINES);
    report(broken.map(|(path, lines)| format!("{path}:{lines}: more than {MAX_LINES} lines")));
}

#[test]
fn no_file_has_a_name_that_says_nothing() {
    let broken = files(&[".rs"]).into_keys().filter(|path| {
        // A folder of test files has no other place for what they share.
        let shared = path.ends_with("/tests/common/mod.rs");
        let path = Path::new(path);
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let folder = path.parent().and_then(Path::file_name).and_then(|name| name.to_str());
        let named = if stem == "mod" { folder.unwrap_or_default() } else { stem };
        !shared && UNWANTED.contains(&named)
    });
    report(broken.map(|path| format!("{path}: its name says nothing")));
}

#[test]
fn a_folder_of_modules_has_its_door_beside_it() {
    let broken = files(&[".rs"]).into_keys();
    let broken = broken.filter(|path| path.contains("/src/") && path.ends_with("/mod.rs"));
    report(broken.map(|path| format!("{path}: the door of a folder stands beside it")));
}

#[test]
fn nothing_is_left_for_later() {
    // Put together here, so that this file does not find itself.
    let words = ["TO_DO", "FIX_ME", "to_do!(", "unimple_mented!(", "#[ig_nore"];
    let words = words.map(|word| word.replace('_', ""));
    let mut broken = Vec::new();
    for (path, text) in files(&[".rs", ".sh", ".py", ".html", ".toml", ".yml", "Makefile"]) {
        for (number, line) in (1..).zip(text.lines()) {
            if words.iter().any(|word| line.contains(word.as_str())) {
                broken.push(format!("{path}:{number}: {}", line.trim()));
            }
        }
    }
    report(broken);
}
