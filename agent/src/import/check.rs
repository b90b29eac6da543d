//! A check of somebody else's as one of ours.
//!
//! Invariant: what is written is YAML whatever the texts hold; names are unique.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use base::period::Period;

use super::words::words;
use super::{Imported, Note, Place, list, quoted};

/// Plugins of Debian that open raw sockets.
const RAW: [&str; 3] = ["check_icmp", "check_ping", "check_dhcp"];
/// Options behind which plugins take what nobody else should see.
const SECRET_OPTIONS: [&str; 9] = [
    "-p",
    "--password",
    "-a",
    "--authorization",
    "--authpassword",
    "--authpasswd",
    "--passphrase",
    "--token",
    "--secname",
];
/// The longest name of a check.
const MAX_NAME: usize = 128;

/// A check.
#[derive(Debug, Default)]
pub(super) struct Check {
    pub(super) name: String,
    pub(super) interval: Period,
    pub(super) timeout: Option<Period>,
    /// How often a failure is tried again.
    pub(super) retries: Option<u32>,
    pub(super) retry_interval: Option<Period>,
    pub(super) labels: BTreeMap<String, String>,
    /// What stands behind `probe:`, in one line.
    pub(super) probe: String,
}

/// Collects what is written.
#[derive(Debug, Default)]
pub(super) struct Writer {
    names: BTreeSet<String>,
    yaml: String,
    pub(super) notes: Vec<Note>,
}

impl Writer {
    /// Notes something about `place`.
    pub(super) fn note(&mut self, place: &Place, text: impl Into<String>) {
        let Place { file, line } = place.clone();
        self.notes.push(Note { file, line, text: text.into() });
    }

    /// Writes a check; what keeps it from being one is noted at `place`.
    pub(super) fn check(&mut self, check: Check, place: &Place) {
        let unseen = |c: char| c.is_control();
        let mut name = check.name.replace(unseen, " ").trim().to_owned();
        while name.len() > MAX_NAME {
            name.pop();
        }
        if name.is_empty() {
            return self.note(place, "a check without a name is not converted");
        }
        if !self.names.insert(name.clone()) {
            return self
                .note(place, format!("there is a check `{name}` already; this is left out"));
        }
        if check.interval.is_zero() {
            return self.note(place, format!("`{name}` is not converted: its interval is 0"));
        }
        let mut text = format!("- name: {}\n  interval: {}\n", quoted(&name), check.interval);
        // Writing to a string does not fail.
        if let Some(timeout) = check.timeout.filter(|timeout| !timeout.is_zero()) {
            let _ = writeln!(text, "  timeout: {}", timeout.min(check.interval));
        }
        if let Some(retries) = check.retries {
            let _ = writeln!(text, "  retries: {retries}");
        }
        if let Some(retry) = check.retry_interval.filter(|retry| !retry.is_zero()) {
            let _ = writeln!(text, "  retry_interval: {retry}");
        }
        if !check.labels.is_empty() {
            let labels = check.labels.iter();
            let labels: Vec<_> =
                labels.map(|(name, value)| format!("{name}: {}", quoted(value))).collect();
            let _ = writeln!(text, "  labels: {{{}}}", labels.join(", "));
        }
        let _ = writeln!(text, "  probe: {{{}}}", check.probe);
        self.yaml.push_str(&text);
    }

    /// All that was written, and the notes in the order of the files.
    pub(super) fn finish(mut self) -> Imported {
        self.notes.sort_by(|a, b| (&a.file, a.line, &a.text).cmp(&(&b.file, b.line, &b.text)));
        self.notes.dedup_by(|a, b| (&a.file, a.line, &a.text) == (&b.file, b.line, &b.text));
        let yaml = match self.yaml.as_str() {
            "" => "checks: []\n".to_owned(),
            checks => format!("checks:\n{checks}"),
        };
        Imported { yaml, notes: self.notes }
    }
}

/// A period of `seconds`, where they are one.
pub(super) fn period(seconds: f64) -> Option<Period> {
    let fits = seconds > 0.0 && seconds < 1e10;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
    fits.then(|| Period::from_millis((seconds * 1000.0).round() as u64))
}

/// A line for a shell as a script; what it cannot be is the error.
pub(super) fn script(line: &str) -> Result<Script, String> {
    program(words(line.trim()).map_err(|error| error.to_string())?)
}

/// A program and its arguments as a script.
pub(super) fn program(mut words: Vec<String>) -> Result<Script, String> {
    let Some(program) = words.first_mut() else { return Err("its command is empty".to_owned()) };
    if program == "sudo" {
        *program = "/usr/bin/sudo".to_owned();
    }
    if !program.starts_with('/') {
        return Err(format!("`{program}` is no full path"));
    }
    let name = program.rsplit('/').next().unwrap_or_default();
    let has_privileges = name == "sudo" || RAW.contains(&name);
    Ok(Script { has_secret: has_secret(&words), words, has_privileges })
}

/// What a script probe runs.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) words: Vec<String>,
    pub(super) has_privileges: bool,
    /// Whether its arguments hold what everybody on the host could see.
    pub(super) has_secret: bool,
}

impl Script {
    /// What stands behind `probe:`.
    pub(super) fn probe(&self) -> String {
        let keeps = if self.has_privileges { ", keep_privileges: true" } else { "" };
        format!("script: {{command: {}{keeps}}}", list(&self.words))
    }
}

fn has_secret(words: &[String]) -> bool {
    // Its `-p` is a path.
    let is_disk = words.first().is_some_and(|program| program.ends_with("/check_disk"));
    let mut pairs = words.iter().zip(words.iter().skip(1));
    let after_option = pairs.any(|(option, value)| {
        let is_other = option == "-p" && (is_disk || value.parse::<u32>().is_ok());
        let is_secret = SECRET_OPTIONS.contains(&option.as_str()) && !is_other;
        is_secret && !value.is_empty() && !value.starts_with(['/', '-'])
    });
    let told = ["password=", "passwd=", "token=", "Authorization:", "secret="];
    after_option || words.iter().any(|word| told.iter().any(|told| word.contains(told)))
}

/// What is told of a command line with a secret.
pub(super) const SECRET: &str = "has a secret in its command line, which everybody on this host can \
    see while it runs: give it by a file that the plugin reads, or by `env:`";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_found_and_paths_are_not() {
        let check = |line: &str, expected: bool| {
            assert_eq!(script(line).unwrap().has_secret, expected, "{line}");
        };
        check("/p/check_mysql -u nagios -p hunter2", true);
        check("/p/check_http -a user:pass -H a", true);
        check("/p/check_http -k 'Authorization: Bearer x'", true);
        check("/p/check_pgsql --password=hunter2", true);
        check("/p/check_disk -w 10% -p /var", false);
        check("/p/check_tcp -p 80", false);
        check("/p/check_load -r", false);
    }

    #[test]
    fn whatever_a_name_holds_it_is_yaml() {
        let mut writer = Writer::default();
        let place = Place { file: "f".to_owned(), line: 3 };
        let check = |name: &str| Check {
            name: name.to_owned(),
            interval: Period::from_secs(60),
            probe: "tcp: {address: \"a:1\"}".to_owned(),
            ..Check::default()
        };
        for name in ["a: 'b' # \"c\"\n- x", "", "a", "a"] {
            writer.check(check(name), &place);
        }
        writer.check(check(&"ä".repeat(200)), &place);
        let imported = writer.finish();
        assert_eq!(imported.notes.len(), 2, "{:?}", imported.notes);
        let source = crate::config::Source::Embedded { name: "a", text: imported.yaml };
        let terms = crate::config::Terms::default();
        assert_eq!(source.load(terms).unwrap().checks.len(), 3);
    }
}
