//! What is wrong with a file that a person wrote: every fault of it at once, each with its place.
//!
//! ```text
//! agent.yml:4:14: 20s is not shorter than the interval, 15s
//!   help: shorten `timeout`, or make `interval` longer
//! ```
//!
//! Invariant: whoever builds something from a file uses it only if nothing was reported.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// A place in a file; both numbers count from 1, columns count characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A value with the place where it was written. Two are equal when they say the same, wherever
/// they stand: a setting that has only moved has not changed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spanned<T> {
    /// What was written.
    pub value: T,
    /// Where.
    pub place: Place,
}

impl<T> Spanned<T> {
    /// The same place with what `map` makes of the value.
    pub fn map<U>(self, map: impl FnOnce(T) -> U) -> Spanned<U> {
        Spanned { value: map(self.value), place: self.place }
    }
}

impl<T: PartialEq> PartialEq for Spanned<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for Spanned<T> {}

impl<T: PartialOrd> PartialOrd for Spanned<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        self.value.partial_cmp(&other.value)
    }
}

impl<T: Ord> Ord for Spanned<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.value.cmp(&other.value)
    }
}

impl<T> From<&Spanned<T>> for Place {
    fn from(spanned: &Spanned<T>) -> Self {
        spanned.place
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    file: Arc<str>,
    place: Option<Place>,
    message: String,
    help: Option<String>,
}

impl Fault {
    /// The file as it is shown.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Where in the file it is.
    pub fn place(&self) -> Option<Place> {
        self.place
    }

    /// What to do about it, where that is known.
    pub fn help(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// What is wrong, without the place.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file)?;
        if let Some(place) = self.place {
            write!(f, "{place}:")?;
        }
        write!(f, " {}", self.message)?;
        if let Some(help) = &self.help {
            write!(f, "\n  help: {help}")?;
        }
        Ok(())
    }
}

/// How many faults are kept of one file; a file that is wrong throughout is not read to its end.
const MOST: usize = 100;

/// Collects the faults of a file and of the files that it names.
#[derive(Clone, Debug)]
pub struct Diagnostics {
    file: Arc<str>,
    faults: Vec<Fault>,
    /// What is worth knowing and no fault.
    notes: Vec<Fault>,
    /// Files that are named, read when they are used, and not there.
    missing: Vec<Fault>,
    /// Whether files that are named need not be there.
    spares_files: bool,
    /// The sections of which a part could not be read.
    partial: BTreeSet<String>,
}

impl Diagnostics {
    /// Nothing wrong yet with the file that is shown to people as `file`.
    pub fn new(file: &str) -> Self {
        Self {
            file: file.into(),
            faults: Vec::new(),
            notes: Vec::new(),
            missing: Vec::new(),
            spares_files: false,
            partial: BTreeSet::new(),
        }
    }

    /// The same, of a file that is only looked at: what it names may be elsewhere.
    #[must_use]
    pub fn sparing_files(self) -> Self {
        Self { spares_files: true, ..self }
    }

    /// Whether files that are named need not be there.
    pub fn spares_files(&self) -> bool {
        self.spares_files
    }

    /// The file's name as it is shown.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Reports that `message` is wrong at `place`: lower case, no final stop, values in backticks.
    pub fn report(&mut self, place: impl Into<Place>, message: impl Into<String>) {
        self.push(Some(place.into()), message.into(), None);
    }

    /// As [`Diagnostics::report`], with what to do about it.
    pub fn report_with_help(
        &mut self,
        place: impl Into<Place>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.push(Some(place.into()), message.into(), Some(help.into()));
    }

    /// Reports something about the file as a whole.
    pub fn report_file(&mut self, message: impl Into<String>) {
        self.push(None, message.into(), None);
    }

    /// Notes what whoever wrote the file should know, although it is right.
    pub fn note(&mut self, place: impl Into<Place>, message: impl Into<String>) {
        if self.notes.len() < MOST {
            let (file, place) = (Arc::clone(&self.file), Some(place.into()));
            self.notes.push(Fault { file, place, message: message.into(), help: None });
        }
    }

    /// Notes a file, the value of `setting`, that is read when it is used, if it is not there now.
    pub fn look_for(&mut self, place: impl Into<Place>, setting: &str, path: &Path) {
        if self.missing.len() < MOST && !self.spares_files && !path.exists() {
            let message = format!("there is no file `{}` for `{setting}`", path.display());
            let (file, place) = (Arc::clone(&self.file), Some(place.into()));
            self.missing.push(Fault { file, place, message, help: None });
        }
    }

    /// The files that are not there now, each as it is shown.
    pub fn missing(&self) -> Vec<String> {
        let mut missing: Vec<_> = self.missing.iter().collect();
        missing.sort_by(|a, b| (&a.file, a.place).cmp(&(&b.file, b.place)));
        let mut missing: Vec<String> = missing.into_iter().map(Fault::to_string).collect();
        missing.dedup();
        missing
    }

    /// What was noted, by file and place, each as it is shown.
    pub fn notes(&self) -> Vec<String> {
        let mut notes: Vec<_> = self.notes.iter().collect();
        notes.sort_by(|a, b| (&a.file, a.place).cmp(&(&b.file, b.place)));
        notes.into_iter().map(Fault::to_string).collect()
    }

    /// Takes over the faults of another file.
    pub fn extend(&mut self, other: Self) {
        self.notes.extend(other.notes);
        self.missing.extend(other.missing);
        self.partial.extend(other.partial);
        self.faults.extend(other.faults);
    }

    /// Lets go of the faults that `keep` refuses: the caller knows that they do no harm.
    pub fn retain(&mut self, keep: impl FnMut(&Fault) -> bool) {
        self.faults.retain(keep);
    }

    /// Notes that a part of a section of the file, by its name at the top, could not be read, so
    /// that what seems missing may be there.
    pub fn set_partial(&mut self, section: &str) {
        self.partial.insert(section.to_owned());
    }

    /// Whether a part of the file could not be read. Checks that something named elsewhere exists
    /// must stay silent then.
    pub fn is_partial(&self) -> bool {
        !self.partial.is_empty()
    }

    /// Notes that what others name of a section is known, although a part of it could not be read.
    pub fn set_named(&mut self, section: &str) {
        self.partial.retain(|name| nearest(name, [section]).is_none());
    }

    /// As [`Self::is_partial`], of one section; one whose name is misspelt counts, too.
    pub fn is_partial_in(&self, section: &str) -> bool {
        self.partial.iter().any(|name| nearest(name, [section]).is_some())
    }

    /// Whether nothing was reported.
    pub fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    /// What was reported, by file and place.
    pub fn faults(&self) -> Vec<&Fault> {
        let mut faults: Vec<_> = self.faults.iter().collect();
        faults.sort_by(|a, b| (&a.file, a.place).cmp(&(&b.file, b.place)));
        faults
    }

    /// `built` if nothing was reported.
    ///
    /// # Errors
    ///
    /// Everything that was reported.
    pub fn into_result<T>(self, built: T) -> Result<T, Self> {
        if self.is_empty() { Ok(built) } else { Err(self) }
    }

    fn push(&mut self, place: Option<Place>, message: String, help: Option<String>) {
        if self.faults.len() < MOST {
            self.faults.push(Fault { file: Arc::clone(&self.file), place, message, help });
        }
    }
}

/// One fault a line, in the order of the file.
impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, fault) in self.faults().into_iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

/// The one of `known` that somebody who wrote `name` probably meant.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|k| (strsim::damerau_levenshtein(name, k), k))
        .filter(|(distance, k)| *distance <= 1 + k.len().min(name.len()) / 4)
        .min()
        .map(|(_, k)| k)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_every_fault_in_the_order_of_the_file() {
        let mut diagnostics = Diagnostics::new("a.yml");
        diagnostics.report(Place { line: 10, column: 2 }, "second");
        diagnostics.report_with_help(Place { line: 9, column: 30 }, "first", "do it");
        diagnostics.report_file("cannot be read");
        assert_eq!(
            diagnostics.into_result(()).unwrap_err().to_string(),
            "a.yml: cannot be read\na.yml:9:30: first\n  help: do it\na.yml:10:2: second"
        );
    }

    #[test]
    fn a_note_is_no_fault() {
        let mut diagnostics = Diagnostics::new("a.yml");
        diagnostics.note(Place { line: 2, column: 1 }, "second");
        diagnostics.note(Place { line: 1, column: 1 }, "first");
        assert_eq!(diagnostics.notes(), ["a.yml:1:1: first", "a.yml:2:1: second"]);
        assert!(diagnostics.is_empty());
    }

    #[test]
    fn guesses_only_what_is_near() {
        let known = ["interval", "timeout", "probe"];
        assert_eq!(nearest("intervall", known), Some("interval"));
        assert_eq!(nearest("timeuot", known), Some("timeout"));
        assert_eq!(nearest("retries", known), None);
    }
}
