//! Monit's files as statements of words.
//!
//! Invariant: every word belongs to a statement, and keeps its line.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::super::check::Writer;
use super::super::{MAX_FILES, Place, named_in, read_text};

/// Files that include each other are followed so far.
const MAX_DEPTH: usize = 16;
/// What begins a statement where it is the first of its line.
const BEGINS: [&str; 17] = [
    "check", "set", "include", "if", "start", "stop", "restart", "every", "not", "group",
    "depends", "mode", "alert", "noalert", "onreboot", "allow", "else",
];

/// A statement: its words as they stand there, without quotes.
#[derive(Debug)]
pub(super) struct Statement {
    pub(super) words: Vec<String>,
    pub(super) place: Place,
}

/// The statements of a file and of those that it includes.
pub(super) fn statements(
    file: &Path,
    depth: usize,
    included: &mut usize,
    writer: &mut Writer,
) -> io::Result<Vec<Statement>> {
    let text = read_text(file)?;
    let shown = file.display().to_string();
    let mut found: Vec<Statement> = Vec::new();
    for (word, line, is_first) in words(&text) {
        let begins = is_first && BEGINS.contains(&word.to_lowercase().as_str());
        match found.last_mut().filter(|_| !begins) {
            Some(statement) => statement.words.push(word),
            None => {
                let place = Place { file: shown.clone(), line };
                found.push(Statement { words: vec![word], place });
            }
        }
    }
    let mut whole = Vec::new();
    for statement in found {
        let Some(path) = statement.words.get(1).filter(|_| statement.words[0] == "include") else {
            whole.push(statement);
            continue;
        };
        for file in matching(&shown, path) {
            *included += 1;
            if depth == MAX_DEPTH || *included > MAX_FILES {
                writer.note(&statement.place, "files include each other without end");
                continue;
            }
            match statements(&file, depth + 1, included, writer) {
                Ok(more) => whole.extend(more),
                Err(error) => writer.note(&statement.place, format!("cannot be read: {error}")),
            }
        }
    }
    Ok(whole)
}

/// The words with their lines, and whether each is the first of its line.
fn words(text: &str) -> Vec<(String, usize, bool)> {
    let mut found = Vec::new();
    let (mut word, mut quote): (Option<String>, Option<char>) = (None, None);
    let (mut line, mut begun, mut is_first, mut comment) = (1, 1, true, false);
    let mut first_here = true;
    for c in text.chars().chain(['\n']) {
        let ends = match quote {
            Some(mark) if c == mark => {
                quote = None;
                true
            }
            Some(_) => {
                word.get_or_insert_default().push(c);
                false
            }
            None if comment => false,
            None if c == '#' => {
                comment = true;
                true
            }
            None if matches!(c, '"' | '\'') && word.is_none() => {
                (quote, word, begun, first_here) = (Some(c), Some(String::new()), line, is_first);
                false
            }
            // Monit takes them for blanks, more or less.
            None if c.is_whitespace() || matches!(c, ',' | ';' | '{' | '}') => true,
            None => {
                if word.is_none() {
                    (begun, first_here) = (line, is_first);
                }
                word.get_or_insert_default().push(c);
                false
            }
        };
        if ends && let Some(whole) = word.take() {
            found.push((whole, begun, first_here));
            is_first = false;
        }
        if c == '\n' {
            line += 1;
            (comment, is_first) = (false, quote.is_none());
        }
    }
    found.extend(word.map(|word| (word, begun, first_here)));
    found
}

/// The files that a path with `*` in its last part names.
fn matching(file: &str, path: &str) -> Vec<PathBuf> {
    let Some((folder, name)) = path.rsplit_once('/').filter(|(_, name)| name.contains('*')) else {
        return vec![named_in(file, path)];
    };
    let (begin, end) = name.split_once('*').unwrap_or((name, ""));
    let entries = fs::read_dir(named_in(file, folder)).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .filter(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            name.starts_with(begin) && name.ends_with(end) && entry.path().is_file()
        })
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}
