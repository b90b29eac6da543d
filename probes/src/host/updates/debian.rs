//! What dpkg has installed, and what apt's lists offer.
//!
//! Invariant: files are read line by line, and of a list only the newest version of what is
//! installed is kept, so that lists of any size take no memory.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

/// How many updates wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pending {
    pub(super) all: usize,
    pub(super) security: usize,
}

/// An installed package, and what is newer.
struct Installed {
    version: String,
    newest: Option<String>,
    security: bool,
}

/// The lists of packages that apt has, as plain text.
pub(super) fn lists(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut lists: Vec<_> = entries
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().ends_with("_Packages"))
        .collect();
    lists.sort_unstable();
    lists
}

/// Compares what `status` says is installed with `lists`. Packages on hold are left as they are.
pub(super) fn pending(status: &Path, lists: &[PathBuf]) -> io::Result<Pending> {
    let mut installed: HashMap<(String, String), Installed> = HashMap::new();
    stanzas(status, |stanza| {
        if stanza.status == "install ok installed" {
            let key = (stanza.package.to_owned(), stanza.architecture.to_owned());
            let version = stanza.version.to_owned();
            installed.insert(key, Installed { version, newest: None, security: false });
        }
    })?;
    for list in lists {
        let name = list.to_string_lossy();
        let is_security =
            ["security.debian.org", "-security_", "security.ubuntu.com", "_security_"]
                .iter()
                .any(|part| name.contains(part));
        stanzas(list, |stanza| {
            // Looked up without a copy it would take a nested table; names are short.
            let key = (stanza.package.to_owned(), stanza.architecture.to_owned());
            let Some(package) = installed.get_mut(&key) else { return };
            if compare(stanza.version, &package.version) != Ordering::Greater {
                return;
            }
            package.security |= is_security;
            let is_newer = |newest: &String| compare(stanza.version, newest) == Ordering::Greater;
            if package.newest.as_ref().is_none_or(is_newer) {
                package.newest = Some(stanza.version.to_owned());
            }
        })?;
    }
    let waiting = installed.values().filter(|package| package.newest.is_some());
    let security = waiting.clone().filter(|package| package.security).count();
    Ok(Pending { all: waiting.count(), security })
}

/// The fields of a package that are looked at.
#[derive(Default)]
struct Stanza<'a> {
    package: &'a str,
    version: &'a str,
    architecture: &'a str,
    status: &'a str,
}

fn stanzas(path: &Path, mut each: impl FnMut(&Stanza<'_>)) -> io::Result<()> {
    const FIELDS: [&str; 4] = ["Package", "Version", "Architecture", "Status"];
    let mut reader = BufReader::with_capacity(256 << 10, File::open(path)?);
    let mut line = Vec::new();
    let mut values = FIELDS.map(|_| String::new());
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line)?;
        let text = line.trim_ascii_end();
        if text.is_empty() {
            if !values[0].is_empty() {
                let [package, version, architecture, status] =
                    values.each_ref().map(String::as_str);
                each(&Stanza { package, version, architecture, status });
            }
            values.iter_mut().for_each(String::clear);
            if read == 0 {
                return Ok(());
            }
            continue;
        }
        for (field, value) in FIELDS.iter().zip(&mut values) {
            let rest = text.strip_prefix(field.as_bytes()).and_then(|rest| rest.strip_prefix(b":"));
            if let Some(rest) = rest {
                value.clear();
                value.push_str(String::from_utf8_lossy(rest).trim());
                break;
            }
        }
    }
}

/// Compares two versions as Debian does: epoch, version, revision; each by parts that are no digits
/// and numbers in turn, `~` before everything.
pub(super) fn compare(a: &str, b: &str) -> Ordering {
    let epoch = |text: &str| -> u64 {
        text.split_once(':').and_then(|(epoch, _)| epoch.parse().ok()).unwrap_or(0)
    };
    fn rest(text: &str) -> (&str, &str) {
        let text = text.split_once(':').map_or(text, |(_, rest)| rest);
        text.rsplit_once('-').unwrap_or((text, ""))
    }
    let (version_a, revision_a) = rest(a);
    let (version_b, revision_b) = rest(b);
    epoch(a)
        .cmp(&epoch(b))
        .then_with(|| compare_part(version_a.as_bytes(), version_b.as_bytes()))
        .then_with(|| compare_part(revision_a.as_bytes(), revision_b.as_bytes()))
}

fn compare_part(mut a: &[u8], mut b: &[u8]) -> Ordering {
    /// The end sorts after `~` and before everything, letters before the rest.
    fn rank(byte: Option<&u8>) -> u16 {
        match byte {
            Some(b'~') => 0,
            None => 1,
            Some(byte) if byte.is_ascii_digit() => 1,
            Some(byte) if byte.is_ascii_alphabetic() => 2 + u16::from(*byte),
            Some(byte) => 300 + u16::from(*byte),
        }
    }
    fn number<'a>(text: &mut &'a [u8]) -> &'a [u8] {
        let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
        let (digits, rest) = text.split_at(end);
        *text = rest;
        let zeros = digits.iter().take_while(|byte| **byte == b'0').count();
        &digits[zeros..]
    }
    let is_word = |text: &[u8]| text.first().is_some_and(|byte| !byte.is_ascii_digit());
    while !a.is_empty() || !b.is_empty() {
        while is_word(a) || is_word(b) {
            match rank(a.first()).cmp(&rank(b.first())) {
                Ordering::Equal => {}
                unequal => return unequal,
            }
            (a, b) = (a.get(1..).unwrap_or(&[]), b.get(1..).unwrap_or(&[]));
        }
        let (digits_a, digits_b) = (number(&mut a), number(&mut b));
        match digits_a.len().cmp(&digits_b.len()).then(digits_a.cmp(digits_b)) {
            Ordering::Equal => {}
            unequal => return unequal,
        }
    }
    Ordering::Equal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_debian_orders_them() {
        use Ordering::{Equal, Greater, Less};
        for (a, b, expected) in [
            ("1.0", "1.0", Equal),
            ("1.0-1", "1.0-2", Less),
            ("1:1.0", "2.0", Greater),
            ("1.10", "1.9", Greater),
            ("1.0~rc1", "1.0", Less),
            ("1.0~~", "1.0~", Less),
            ("1.0+b1", "1.0", Greater),
            ("1.0a", "1.0+", Less),
            ("1.001", "1.1", Equal),
            ("2.36-9+deb12u10", "2.36-9+deb12u9", Greater),
            ("1.0-1", "1.0", Greater),
            ("7.88.1-10+deb12u5", "7.88.1-10", Greater),
            ("", "0", Equal),
        ] {
            assert_eq!(compare(a, b), expected, "{a} {b}");
            assert_eq!(compare(b, a), expected.reverse(), "{b} {a}");
        }
    }

    /// The same as dpkg itself says, where it is there.
    #[test]
    fn versions_are_ordered_as_dpkg_orders_them() {
        let all = [
            "1.0", "1.0-1", "1:0.9", "1.0~rc1", "1.0+b1", "1.0a", "1.0.", "1.0-~", "0", "1.00",
            "a", "1.0-1+b1",
        ];
        for a in all {
            for b in all {
                let dpkg = |operator: &str| {
                    let mut command = std::process::Command::new("dpkg");
                    command.args(["--compare-versions", a, operator, b]);
                    command.stderr(std::process::Stdio::null());
                    command.status().ok().map(|status| status.success())
                };
                let Some(less) = dpkg("lt") else { return };
                assert_eq!(compare(a, b) == Ordering::Less, less, "{a} lt {b}");
            }
        }
    }

    #[test]
    fn counts_what_is_newer_and_what_of_it_is_for_security() {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let package = |name: &str, status: &str, version: &str| {
            format!(
                "Package: {name}\nStatus: {status}\nArchitecture: amd64\nVersion: {version}\n\
                     Description: x\n y\n\n"
            )
        };
        let ok = "install ok installed";
        write(
            "status",
            &[
                package("a", ok, "1.0"),
                package("b", ok, "1.0"),
                package("c", "hold ok installed", "1.0"),
                package("d", "deinstall ok config-files", "1.0"),
                package("e", ok, "3.0"),
            ]
            .concat(),
        );
        let all = ["a", "b", "c", "d", "e", "f"].map(|name| package(name, "", "2.0")).concat();
        write("deb.example_dists_stable_main_binary-amd64_Packages", &all);
        let security = "security.debian.org_dists_x_main_binary-amd64_Packages";
        write(security, &package("b", "", "1.5"));
        write("deb.example_dists_stable_InRelease", "Package: a\nVersion: 9\n");
        let lists = lists(folder.path());
        assert_eq!(lists.len(), 2);
        let pending = pending(&folder.path().join("status"), &lists).unwrap();
        assert_eq!(pending, Pending { all: 2, security: 1 });
    }
}
