//! Folders of small files, as sysfs describes devices: one number or one line of text a file.
//!
//! What is read this way comes and goes with its device, so nothing is kept open.
//!
//! Invariant: an attribute that is missing, empty of sense or refused is no attribute.

use std::io::ErrorKind;
use std::path::Path;

use super::file::{Buffer, read_once};
use super::{CollectError, text};

/// The names in `folder`, sorted; those that are not UTF-8 are left out.
pub(super) fn names(folder: &Path) -> Result<Vec<String>, CollectError> {
    let list = || -> std::io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            names.extend(entry?.file_name().into_string());
        }
        names.sort_unstable();
        Ok(names)
    };
    list().map_err(|error| match error.kind() {
        ErrorKind::NotFound => CollectError::Absent(folder.to_owned()),
        _ => CollectError::Unreadable { path: folder.to_owned(), error },
    })
}

/// As [`names`], where a folder that does not exist is one with nothing in it.
pub(super) fn names_if_there(folder: &Path) -> Result<Vec<String>, CollectError> {
    match names(folder) {
        Err(CollectError::Absent(_)) => Ok(Vec::new()),
        done => done,
    }
}

/// The names in `folder` that are `prefix` and a number, with what follows the prefix.
pub(super) fn numbered<'n>(
    names: &'n [String],
    prefix: &'n str,
) -> impl Iterator<Item = (&'n str, &'n str)> {
    names.iter().filter_map(move |name| {
        let number = name.strip_prefix(prefix)?;
        let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        digits.then_some((name.as_str(), number))
    })
}

/// The text of `path` without blanks around it.
pub(super) fn text_of(path: &Path, buffer: &mut Buffer) -> Option<String> {
    let bytes = read_once(path, buffer).ok()?;
    Some(text::text(bytes.trim_ascii()).into_owned())
}

/// The number that `path` holds.
pub(super) fn number_of(path: &Path, buffer: &mut Buffer) -> Option<f64> {
    text::float(read_once(path, buffer).ok()?.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_is_there_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("good"), "  17\n").unwrap();
        std::fs::write(path("bad"), b"x\xff\n").unwrap();
        let mut buffer = Buffer::new();
        assert_eq!(number_of(&path("good"), &mut buffer), Some(17.0));
        assert_eq!(number_of(&path("bad"), &mut buffer), None);
        assert_eq!(number_of(&path("none"), &mut buffer), None);
        assert_eq!(text_of(&path("good"), &mut buffer).as_deref(), Some("17"));
        assert_eq!(names(folder.path()).unwrap(), ["bad", "good"]);
        assert!(matches!(names(&path("none")), Err(CollectError::Absent(_))));
        assert!(names_if_there(&path("none")).unwrap().is_empty());
    }

    #[test]
    fn numbers_follow_the_prefix_and_nothing_follows_them() {
        let names = ["mc", "mc0", "mc12", "mc1x", "xmc1"].map(str::to_owned);
        let found: Vec<_> = numbered(&names, "mc").collect();
        assert_eq!(found, [("mc0", "0"), ("mc12", "12")]);
    }
}
