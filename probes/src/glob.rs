//! File names with wildcards: `*`, `?` and `[a-z]` in each part of a path, as shells have them.
//!
//! Invariant: looks at no more than [`MOST_LOOKED_AT`] names and gives no more than it was asked for,
//! so that a pattern over a huge folder costs a bounded time.

use std::path::{Path, PathBuf};

/// How many names of folders are looked at.
const MOST_LOOKED_AT: usize = 1 << 20;

/// The paths that match a pattern.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The paths, sorted.
    pub(crate) paths: Vec<PathBuf>,
    /// Whether there are more than were asked for, or than are looked at.
    pub(crate) more: bool,
}

/// Whether `pattern` has wildcards.
pub(crate) fn is_pattern(pattern: &str) -> bool {
    pattern.contains(['*', '?', '['])
}

/// The paths that match the absolute `pattern`, `most` at most. Names that begin with a dot match
/// only a pattern that does. A folder that cannot be read matches nothing.
pub(crate) fn find(pattern: &str, most: usize) -> Found {
    let mut found = Found { paths: vec![PathBuf::from("/")], more: false };
    let mut left = MOST_LOOKED_AT;
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        let folders = std::mem::take(&mut found.paths);
        for folder in folders {
            if !is_pattern(part) {
                let path = folder.join(part);
                if path.symlink_metadata().is_ok() {
                    found.paths.push(path);
                }
                continue;
            }
            found.more |= !add_matches(&folder, part, &mut found.paths, &mut left);
        }
    }
    found.paths.sort_unstable();
    if found.paths.len() > most {
        found.paths.truncate(most);
        found.more = true;
    }
    found
}

/// Adds what is in `folder` and matches; `false` where not everything was looked at.
fn add_matches(folder: &Path, part: &str, paths: &mut Vec<PathBuf>, left: &mut usize) -> bool {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let Some(less) = left.checked_sub(1) else { return false };
        *left = less;
        let name = entry.file_name();
        if matches(part.as_bytes(), name.as_encoded_bytes()) {
            paths.push(folder.join(name));
        }
    }
    true
}

/// Whether `name` is what `pattern` describes. Takes time in proportion to the product of both.
pub(crate) fn matches(pattern: &[u8], name: &[u8]) -> bool {
    if name.first() == Some(&b'.') && pattern.first() != Some(&b'.') {
        return false;
    }
    let (mut p, mut n) = (0, 0);
    // Where to go on when what follows the last star does not match here.
    let mut retry = None;
    while n < name.len() {
        if pattern.get(p) == Some(&b'*') {
            retry = Some((p + 1, n));
            p += 1;
            continue;
        }
        if let Some(length) = one(&pattern[p..], name[n]) {
            p += length;
            n += 1;
            continue;
        }
        let Some((after, from)) = retry else { return false };
        retry = Some((after, from + 1));
        (p, n) = (after, from + 1);
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// The length of the first element of `pattern`, if that element matches `byte`.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [b'?', ..] => Some(1),
        [b'[', set @ ..] => {
            let negated = matches!(set.first(), Some(b'!' | b'^'));
            let set = &set[usize::from(negated)..];
            // A bracket that comes first is one of the set.
            let end = 1 + set.iter().skip(1).position(|byte| *byte == b']')?;
            let members = &set[..end];
            let mut at = 0;
            let mut inside = false;
            while at < members.len() {
                if let [from, b'-', to, ..] = members[at..] {
                    inside |= (from..=to).contains(&byte);
                    at += 3;
                } else {
                    inside |= members[at] == byte;
                    at += 1;
                }
            }
            (inside != negated).then_some(2 + usize::from(negated) + end)
        }
        [b'\\', literal, ..] => (*literal == byte).then_some(2),
        [literal, ..] => (*literal == byte).then_some(1),
        [] => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, yes: &[&str], no: &[&str]) {
        let is = |name: &&&str| matches(pattern.as_bytes(), name.as_bytes());
        assert_eq!(yes.iter().find(|name| !is(name)), None, "{pattern}");
        assert_eq!(no.iter().find(is), None, "{pattern}");
    }

    #[test]
    fn matches_as_shells_do() {
        check("*.log", &["a.log", "b.log.log"], &["a.logx", "log", ".log", ".a.log"]);
        check("a*b*c", &["abc", "axxbxxc", "abcbc"], &["ab", "abcd"]);
        check("?", &["a"], &["", "ab", "."]);
        check("[a-c]1[!x]", &["a1y", "c1z"], &["d1y", "a1x", "a1"]);
        check("[]a]", &["]", "a"], &["b"]);
        check(".*", &[".a"], &["a"]);
        check("a[b", &[], &["a[b", "ab"]);
        check("\\*", &["*"], &["a"]);
        check("", &[""], &["a"]);
    }

    #[test]
    fn a_pattern_that_shells_choke_on_takes_no_time() {
        let pattern = "*a".repeat(50);
        assert!(!matches(pattern.as_bytes(), "b".repeat(10_000).as_bytes()));
    }

    #[test]
    fn finds_paths_and_no_more_than_wanted() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["one/a.log", "two/b.log", "two/c.txt", "three"] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let root = folder.path().to_str().unwrap();
        let names = |pattern: &str, most| {
            let found = find(&format!("{root}/{pattern}"), most);
            let names = found.paths.iter().map(|p| p.strip_prefix(root).unwrap().to_str().unwrap());
            (names.map(str::to_owned).collect::<Vec<_>>().join(" "), found.more)
        };
        assert_eq!(names("*/*.log", 9), ("one/a.log two/b.log".to_owned(), false));
        assert_eq!(names("*/*", 2), ("one/a.log two/b.log".to_owned(), true));
        assert_eq!(names("two/c.txt", 9), ("two/c.txt".to_owned(), false));
        assert_eq!(names("none/*", 9), (String::new(), false));
    }
}
