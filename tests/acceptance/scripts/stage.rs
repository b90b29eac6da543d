//! Where a script runs in a test, and what it says, taken apart by the contract.
//!
//! Invariant: whatever breaks the contract panics here.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

/// The folder of the scripts.
pub(crate) fn scripts() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../probes/scripts")
}

/// A temporary folder that scripts run in, with stand-ins for programs.
pub(crate) struct Stage {
    folder: tempfile::TempDir,
}

/// What a script said.
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) text: String,
    pub(crate) perfdata: Vec<(String, f64, String)>,
    pub(crate) details: String,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("bin")).unwrap();
        Self { folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn append(&self, name: &str, text: &str) {
        let mut file = std::fs::OpenOptions::new().append(true).open(self.path(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    /// Makes a file as if it had been written this long ago.
    pub(crate) fn write_old(&self, name: &str, text: &str, hours: u64) {
        self.write(name, text);
        let file = std::fs::File::options().write(true).open(self.path(name)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(hours * 3600)).unwrap();
    }

    /// Puts a program in front of the real one.
    pub(crate) fn stand_in(&self, program: &str, script: &str) {
        let path = self.path("bin").join(program);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    pub(crate) fn start(&self, program: &Path, arguments: &[&str]) -> Output {
        let path = std::env::var("PATH").unwrap();
        Command::new(program)
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", format!("{}:{path}", self.path("bin").display()))
            .env("LANG", "C.UTF-8")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()))
    }

    #[track_caller]
    pub(crate) fn run(&self, script: &str, arguments: &[&str]) -> Said {
        Said::read(&self.start(&scripts().join(script), arguments), script)
    }

    /// Runs a script and compares its code and a part of its first line.
    #[track_caller]
    pub(crate) fn check(&self, script: &str, arguments: &[&str], code: i32, part: &str) -> Said {
        let said = self.run(script, arguments);
        let got = format!("{} {}\n{}", said.code, said.text, said.details);
        assert!(said.code == code && said.text.contains(part), "{script} {arguments:?}: {got}");
        said
    }
}

impl Said {
    /// Takes apart what was printed, and panics where it breaks the contract.
    #[track_caller]
    pub(crate) fn read(output: &Output, script: &str) -> Self {
        let code = output.status.code().unwrap_or_else(|| panic!("{script} was killed"));
        let printed = String::from_utf8(output.stdout.clone()).unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(errors, "", "{script} printed an error");
        assert!((0..=3).contains(&code), "{script} ended with {code}: {printed}");
        let (first, details) = printed.split_once('\n').expect("a line");
        assert!(!first.chars().any(char::is_control), "{script}: {first:?}");
        let (text, perfdata) = first.split_once(" | ").unwrap_or((first, ""));
        let word = ["OK: ", "WARNING: ", "CRITICAL: ", "UNKNOWN: "][code as usize];
        assert!(text.starts_with(word), "{script} ended with {code}: {first}");
        assert!(
            !text.contains('|') && !perfdata.contains('|') && !details.contains('|'),
            "{first}"
        );
        assert_eq!(perfdata.is_empty(), !first.contains('|'), "{first}");
        let perfdata = perfdata_of(perfdata).unwrap_or_else(|| panic!("{script}: {first}"));
        Self { code, text: text.to_owned(), perfdata, details: details.to_owned() }
    }

    /// The value and unit of an entry of performance data.
    #[track_caller]
    pub(crate) fn measured(&self, label: &str) -> (f64, &str) {
        let entry = self.perfdata.iter().find(|(name, ..)| name == label);
        let (_, value, unit) = entry.unwrap_or_else(|| panic!("{label} of {:?}", self.perfdata));
        (*value, unit)
    }
}

/// Labels, values and units by the strict grammar; `None` where the text breaks it.
fn perfdata_of(mut text: &str) -> Option<Vec<(String, f64, String)>> {
    let mut entries = Vec::new();
    while !text.is_empty() {
        let mut label = String::new();
        if let Some(quoted) = text.strip_prefix('\'') {
            text = quoted;
            loop {
                let end = text.find('\'')?;
                label.push_str(&text[..end]);
                text = &text[end + 1..];
                match text.strip_prefix('\'') {
                    Some(rest) => (text, _) = (rest, label.push('\'')),
                    None => break,
                }
            }
        } else {
            let end = text.find('=')?;
            label.push_str(&text[..end]);
            text = &text[end..];
        }
        let plain = !label.is_empty() && !label.contains('=');
        let (entry, rest) = text.strip_prefix('=')?.split_once(' ').unwrap_or((&text[1..], ""));
        text = rest;
        let mut parts = entry.split(';');
        let value = parts.next()?;
        let digits =
            value.find(|c: char| !matches!(c, '-' | '.' | '0'..='9')).unwrap_or(value.len());
        let (number, unit) = value.split_at(digits);
        let known = ["", "s", "ms", "us", "B", "%", "c"].contains(&unit);
        let limits: Vec<_> = parts.collect();
        let ranges = limits.iter().take(2).all(|range| is_range(range));
        let bounds = limits.iter().skip(2).all(|n| n.is_empty() || n.parse::<f64>().is_ok());
        if !(plain && known && ranges && bounds && limits.len() <= 4) {
            return None;
        }
        entries.push((label, number.parse().ok()?, unit.to_owned()));
    }
    Some(entries)
}

fn is_range(text: &str) -> bool {
    let range = text.strip_prefix('@').unwrap_or(text);
    let (start, end) = range.split_once(':').unwrap_or(("", range));
    let number = |text: &str| text.is_empty() || text.parse::<f64>().is_ok();
    (start == "~" || number(start)) && number(end)
}
