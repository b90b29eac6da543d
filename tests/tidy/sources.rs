//! The files of the project, and what of a file is no test.
//!
//! Invariant: what is built or made by running the programs is not among them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Folders that hold nothing that anybody wrote.
const MADE: [&str; 4] = ["target", "node_modules", "veilleur-data", "__pycache__"];

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A file of the project.
pub(crate) fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// All files that end in one of `endings`, with their text, by their path from the root.
pub(crate) fn files(endings: &[&str]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if !name.starts_with('.') && !MADE.contains(&name.as_str()) {
                    folders.push(path);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                let short = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
                found.insert(short, fs::read_to_string(&path).unwrap());
            }
        }
    }
    assert!(!found.is_empty(), "there is no file that ends in {endings:?}");
    found
}

/// The lines of the libraries and programs that are neither test nor comment: file, number, line.
pub(crate) fn code() -> impl Iterator<Item = (String, usize, String)> {
    files(&[".rs"])
        .into_iter()
        .filter(|(path, _)| path.contains("/src/") && !is_test(path))
        .flat_map(|(path, text)| code_of(&text).map(move |(n, line)| (path.clone(), n, line)))
}

/// The lines of one file that are neither test nor comment.
pub(crate) fn code_of(text: &str) -> impl Iterator<Item = (usize, String)> + use<> {
    let lines: Vec<_> = text.lines().map(str::to_owned).collect();
    // A module of tests stands at the end; one in a file of its own is only named.
    let tests = |pair: &[String]| pair[0] == "#[cfg(test)]" && pair[1].ends_with("mod tests {");
    let end = lines.windows(2).position(tests).unwrap_or(lines.len());
    (1..).zip(lines.into_iter().take(end)).filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// Whether the whole file is a test.
pub(crate) fn is_test(path: &str) -> bool {
    path.starts_with("tests/") || path.ends_with("/tests.rs") || path.contains("/tests/")
}

/// Fails with everything that is broken.
#[track_caller]
pub(crate) fn report(broken: impl IntoIterator<Item = String>) {
    let broken: Vec<_> = broken.into_iter().collect();
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

#[test]
fn code_ends_where_the_tests_begin() {
    let text =
        "//! x\n#[cfg(test)]\nmod tests;\nfn a() {}\n\n#[cfg(test)]\nmod tests {\nfn b() {}\n}\n";
    let lines: Vec<_> = code_of(text).map(|(n, line)| format!("{n} {line}")).collect();
    assert_eq!(lines, ["2 #[cfg(test)]", "3 mod tests;", "4 fn a() {}", "5 "]);
}
