//! Nagios's files: the main one, resource files, and definitions of objects.
//!
//! Invariant: every line is a definition, a setting, or noted.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::super::check::Writer;
use super::super::{MAX_FILES, Place, named_in, read_text};

/// Files that include each other are followed so far.
const MAX_DEPTH: usize = 16;
/// The most definitions that are kept.
const MOST: usize = 1_000_000;

/// A value with its place.
pub(super) type Told = (String, Place);

/// A `define`.
#[derive(Clone, Debug)]
pub(super) struct Definition {
    pub(super) kind: String,
    pub(super) place: Place,
    pub(super) settings: BTreeMap<String, Told>,
}

impl Definition {
    /// The value of a setting; `null` takes an inherited one away.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let (value, _) = self.settings.get(name)?;
        Some(value.as_str()).filter(|value| *value != "null" && !value.is_empty())
    }
}

/// What the files say.
#[derive(Debug, Default)]
pub(super) struct Files {
    pub(super) definitions: Vec<Definition>,
    /// Of the main file.
    pub(super) settings: BTreeMap<String, Told>,
    /// `$USER1$` and its sisters.
    pub(super) resources: BTreeMap<String, String>,
    /// How many files were included.
    included: usize,
}

impl Files {
    pub(super) fn read(
        &mut self,
        file: &Path,
        depth: usize,
        writer: &mut Writer,
    ) -> io::Result<()> {
        let text = read_text(file)?;
        let shown = file.display().to_string();
        let mut open: Option<Definition> = None;
        for (line, text) in joined(&text) {
            let place = Place { file: shown.clone(), line };
            let text = uncommented(&text);
            if text.is_empty() {
                continue;
            }
            if let Some(definition) = &mut open {
                if text == "}" {
                    self.definitions.extend(open.take().filter(|_| self.definitions.len() < MOST));
                    continue;
                }
                let (name, value) = text.split_once([' ', '\t']).unwrap_or((&text, ""));
                let value = (value.trim().to_owned(), place);
                definition.settings.insert(name.to_owned(), value);
            } else if let Some(kind) = text.strip_prefix("define") {
                let kind = kind.trim().trim_end_matches('{').trim().to_owned();
                open = Some(Definition { kind, place, settings: BTreeMap::new() });
            } else if text != "{" {
                self.setting(&text, &place, depth, writer);
            }
        }
        if let Some(definition) = open {
            writer.note(&definition.place, "a definition has no end; it is not converted");
        }
        Ok(())
    }

    fn setting(&mut self, text: &str, place: &Place, depth: usize, writer: &mut Writer) {
        let Some((name, value)) = text.split_once('=') else {
            return writer.note(place, format!("`{text}` is neither a setting nor a definition"));
        };
        let (name, value) = (name.trim(), value.trim());
        match name {
            "cfg_file" | "resource_file" | "include_file" => {
                self.include(&named_in(&place.file, value), place, depth, writer);
            }
            "cfg_dir" | "include_dir" => {
                let mut found = Vec::new();
                if let Err(error) = below(&named_in(&place.file, value), 0, &mut found) {
                    writer.note(place, format!("`{value}` cannot be read: {error}"));
                }
                found.sort();
                found.iter().for_each(|file| self.include(file, place, depth, writer));
            }
            name if name.starts_with('$') && name.ends_with('$') => {
                self.resources.insert(name.trim_matches('$').to_owned(), value.to_owned());
            }
            name => {
                self.settings.insert(name.to_owned(), (value.to_owned(), place.clone()));
            }
        }
    }

    fn include(&mut self, file: &Path, place: &Place, depth: usize, writer: &mut Writer) {
        self.included += 1;
        if depth == MAX_DEPTH || self.included > MAX_FILES {
            writer.note(place, "files include each other without end");
        } else if let Err(error) = self.read(file, depth + 1, writer) {
            writer.note(place, format!("cannot be read: {error}"));
        }
    }
}

/// The files of a folder and of those in it.
fn below(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() && depth < MAX_DEPTH {
            below(&path, depth + 1, found)?;
        } else if path.extension().is_some_and(|end| end == "cfg") {
            found.push(path);
        }
    }
    Ok(())
}

/// The lines with their numbers; one that ends in a backslash goes on in the next. A brace that
/// stands behind something stands alone.
fn joined(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut goes_on = false;
    for (number, line) in (1..).zip(text.lines()) {
        let (line, next) = match line.strip_suffix('\\') {
            Some(line) => (line, true),
            None => (line, false),
        };
        match lines.last_mut().filter(|_| goes_on) {
            Some((_, last)) => last.push_str(line.trim_start()),
            None => lines.push((number, line.to_owned())),
        }
        goes_on = next;
    }
    lines
}

/// A line without its comment: `;` begins one unless a backslash stands before it.
fn uncommented(line: &str) -> String {
    let line = line.trim();
    if line.starts_with(['#', ';']) {
        return String::new();
    }
    let mut text = String::new();
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if chars.peek() == Some(&';') => text.extend(chars.next()),
            ';' => break,
            c => text.push(c),
        }
    }
    text.trim().to_owned()
}
