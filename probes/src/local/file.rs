//! Files: that they are there, how old, how large, and what is in them.
//!
//! ```yaml
//! file:
//!   path: /var/backups/*.sql.gz
//!   thresholds: {age: {crit: 93600}, size: {crit: "1000000:"}, count: {crit: "1:"}}
//! ```
//!
//! Invariant: a file is opened only for its checksum, and then only if it is a plain one.

use std::fs::{File, Metadata};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use async_trait::async_trait;
use base::diagnostic::{Diagnostics, Spanned};
use base::family::MetricFamily;
use base::sample::Timestamp;
use rustix::fs::OFlags;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::blocking::{Blocking, Look};
use super::{absolute, judged};
use crate::thresholds::{Limits, LimitsConfig, Value};
use crate::{Outcome, Probe, Reason, Status, glob};

/// What is measured, by the names that thresholds have.
const VALUES: [&str; 5] = ["count", "age", "oldest_age", "size", "total_size"];
/// How many files are looked at.
const MOST_FILES: usize = 100_000;

/// A probe of files, as written.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    /// The file; `*`, `?` and `[...]` stand for many.
    path: Spanned<String>,
    /// What it is if there is none: `critical`, `warning` or `ok`; `critical` where nothing is said.
    #[serde(default)]
    #[schemars(extend("enum" = ["critical", "warning", "ok"]))]
    missing: Option<Spanned<String>>,
    /// The SHA-256 of the file's content, in hexadecimal digits; of one file only.
    #[serde(default)]
    sha256: Option<Spanned<String>>,
    /// Limits of `count`, `age` and `size` (of the newest), `oldest_age`, `total_size`: seconds and
    /// bytes.
    #[serde(default)]
    thresholds: LimitsConfig,
}

/// Looks at files.
#[derive(Debug)]
pub struct FileProbe {
    what: What,
    limits: Limits,
    turn: Blocking<()>,
}

#[derive(Clone, Debug)]
struct What {
    path: String,
    missing: Status,
    sha256: Option<String>,
}

/// What was found.
#[derive(Debug, Default)]
struct Found {
    count: f64,
    total_size: f64,
    /// When the newest was written, and how large it is.
    newest: Option<(f64, f64)>,
    oldest: Option<f64>,
    more: bool,
    unreadable: Option<String>,
}

impl FileConfig {
    /// The probe, reporting everything that is wrong with it.
    pub fn build(self, diagnostics: &mut Diagnostics) -> Option<FileProbe> {
        absolute(&self.path, diagnostics);
        let missing = match self.missing.as_ref().map(|missing| missing.value.as_str()) {
            None | Some("critical") => Status::Critical,
            Some("warning") => Status::Warning,
            Some("ok") => Status::Ok,
            Some(other) => {
                let place = self.missing.as_ref().map(|missing| missing.place).unwrap_or_default();
                let help = "write `critical`, `warning` or `ok`";
                diagnostics.report_with_help(place, format!("`{other}` is not a status"), help);
                Status::Critical
            }
        };
        if let Some(sum) = &self.sha256 {
            if sum.value.len() != 64 || !sum.value.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                let message = format!("`{}` is not 64 hexadecimal digits", sum.value);
                diagnostics.report(sum, message);
            } else if glob::is_pattern(&self.path.value) {
                diagnostics.report(sum, "many files have no checksum; name one as `path`");
            }
        }
        let limits = Limits::build(&self.thresholds, &VALUES, diagnostics);
        let sha256 = self.sha256.map(|sum| sum.value.to_ascii_lowercase());
        let what = What { path: self.path.value, missing, sha256 };
        Some(FileProbe { what, limits, turn: Blocking::new(()) })
    }
}

#[async_trait]
impl Probe for FileProbe {
    async fn run(&self, stop: &CancellationToken) -> Outcome {
        let (what, limits) = (self.what.clone(), self.limits.clone());
        self.turn.run(stop, move |look| what.look(&limits, &look)).await
    }
}

impl What {
    fn look(&self, limits: &Limits, look: &Look<'_, ()>) -> Outcome {
        let found = self.find(look.stop);
        if look.stop.is_cancelled() {
            let summary = format!("`{}` was not looked at in time", self.path);
            return Outcome::unknown(Reason::Timeout, summary);
        }
        let mut values = vec![
            Value { name: "count", value: found.count, unit: "" },
            Value { name: "total_size", value: found.total_size, unit: "B" },
        ];
        let mut summary = format!("{} files match `{}`", found.count, self.path);
        if let (Some((written, size)), Some(oldest)) = (found.newest, found.oldest) {
            let age = age(look.now, written);
            values.push(Value { name: "age", value: age, unit: "s" });
            values.push(Value {
                name: "oldest_age",
                value: self::age(look.now, oldest),
                unit: "s",
            });
            values.push(Value { name: "size", value: size, unit: "B" });
            summary = match found.count {
                1.0 => format!("`{}` was written {age:.0} s ago and has {size} bytes", self.path),
                _ => {
                    format!("{summary}; the newest was written {age:.0} s ago and has {size} bytes")
                }
            };
        }
        let mut outcome = judged(limits, &values, &summary);
        if found.count == 0.0 {
            let why = match &found.unreadable {
                Some(why) => why.clone(),
                None => format!("there is no `{}`", self.path),
            };
            outcome.worsen(self.missing, Reason::FileMissing, &why);
        } else if let Some(expected) = &self.sha256 {
            self.compare(expected, look.stop, &mut outcome);
        }
        if found.more {
            outcome.details = format!("only the first {MOST_FILES} files were looked at");
        }
        outcome.families = families(&found);
        outcome
    }

    fn find(&self, stop: &CancellationToken) -> Found {
        let mut found = Found::default();
        let matching = glob::find(&self.path, MOST_FILES);
        found.more = matching.more;
        for path in matching.paths {
            if stop.is_cancelled() {
                break;
            }
            match std::fs::metadata(&path) {
                // A folder is one file among others only if it was named.
                Ok(metadata) if metadata.is_dir() && glob::is_pattern(&self.path) => {}
                Ok(metadata) => found.add(&metadata),
                Err(error) => {
                    found.unreadable =
                        Some(format!("`{}` cannot be read: {error}", path.display()));
                }
            }
        }
        found
    }

    fn compare(&self, expected: &str, stop: &CancellationToken, outcome: &mut Outcome) {
        let path = PathBuf::from(&self.path);
        let (status, reason, why) = match checksum(&path, stop) {
            Ok(sum) if sum == expected => return,
            Ok(sum) => {
                let why = format!("the SHA-256 of `{}` is {sum}", self.path);
                (Status::Critical, Reason::ChecksumMismatch, why)
            }
            Err(_) if stop.is_cancelled() => {
                let why = format!("`{}` was not read in time", self.path);
                (Status::Unknown, Reason::Timeout, why)
            }
            Err(error) => {
                let why = format!("`{}` cannot be read: {error}", self.path);
                (Status::Critical, Reason::CannotRead, why)
            }
        };
        outcome.worsen(status, reason, &why);
    }
}

impl Found {
    fn add(&mut self, metadata: &Metadata) {
        let written = metadata.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let written = written.map_or(0.0, |since| since.as_secs_f64());
        let size = metadata.len() as f64;
        self.count += 1.0;
        self.total_size += size;
        if self.newest.is_none_or(|(newest, _)| newest <= written) {
            self.newest = Some((written, size));
        }
        self.oldest = Some(self.oldest.map_or(written, |oldest| oldest.min(written)));
    }
}

/// Seconds since `written`; zero where that lies ahead.
fn age(now: Timestamp, written: f64) -> f64 {
    (now.seconds() - written).max(0.0)
}

/// The SHA-256 of a plain file, read until `stop`.
fn checksum(path: &Path, stop: &CancellationToken) -> std::io::Result<String> {
    // A pipe that nobody writes to would be waited for.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::open(path, flags, rustix::fs::Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("it is not a plain file"));
    }
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    let mut chunk = vec![0; 256 << 10];
    loop {
        if stop.is_cancelled() {
            return Err(std::io::ErrorKind::TimedOut.into());
        }
        match file.read(&mut chunk)? {
            0 => break,
            length => context.update(&chunk[..length]),
        }
    }
    let digest = context.finish();
    Ok(digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn families(found: &Found) -> Vec<MetricFamily> {
    let gauge = |name: &str, help: &str, value| MetricFamily::gauge(name, help).with(&[], value);
    let mut families = vec![
        gauge("veilleur_file_count", "Files that were found.", found.count),
        gauge("veilleur_file_total_bytes", "Size of all of them.", found.total_size),
    ];
    if let Some((written, size)) = found.newest {
        let name = "veilleur_file_newest_modified_timestamp_seconds";
        families.push(gauge(name, "When the newest of them was written.", written));
        families.push(gauge("veilleur_file_newest_bytes", "Size of the newest of them.", size));
    }
    families
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(text: &str) -> Result<FileProbe, String> {
        let mut diagnostics = Diagnostics::new("f.yml");
        let config: Option<FileConfig> = base::yaml::read(text, &mut diagnostics);
        let probe = config.and_then(|config| config.build(&mut diagnostics));
        diagnostics.into_result(()).map_err(|d| d.to_string())?;
        Ok(probe.unwrap())
    }

    #[track_caller]
    fn check(root: &Path, text: &str, status: Status, reason: Reason, summary: &str) {
        let root = root.to_str().unwrap();
        let probe = build(&text.replace("ROOT", root)).unwrap();
        let stop = CancellationToken::new();
        let now = Timestamp::from_millis(1_700_000_100_000);
        let mut none = ();
        let look = Look { state: &mut none, now, stop: &stop };
        let outcome = probe.what.look(&probe.limits, &look);
        let said = outcome.summary.replace(root, "ROOT");
        assert_eq!((outcome.status, outcome.reason, said.as_str()), (status, reason, summary));
    }

    #[test]
    fn judges_age_size_count_and_content() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text, seconds) in
            [("a.gz", "hello", 1_700_000_000), ("b.gz", "x", 1_699_990_000)]
        {
            let file = File::create(folder.path().join(name)).unwrap();
            std::io::Write::write_all(&mut &file, text.as_bytes()).unwrap();
            file.set_modified(UNIX_EPOCH + std::time::Duration::from_secs(seconds)).unwrap();
        }
        std::fs::create_dir(folder.path().join("d.gz")).unwrap();
        let check = |text: &str, status, reason, summary: &str| {
            check(folder.path(), text, status, reason, summary)
        };
        let one = "`ROOT/a.gz` was written 100 s ago and has 5 bytes";
        let two = "2 files match `ROOT/*.gz`; the newest was written 100 s ago and has 5 bytes";
        check("path: ROOT/a.gz", Status::Ok, Reason::None, one);
        check("path: ROOT/*.gz", Status::Ok, Reason::None, two);
        check(
            "{path: ROOT/a.gz, thresholds: {age: {warn: 60}, size: {crit: '10:'}}}",
            Status::Critical,
            Reason::Threshold,
            &format!("`age` is 100s, warning by `60`, `size` is 5B, critical by `10:`; {one}"),
        );
        check(
            "{path: 'ROOT/*.gz', thresholds: {oldest_age: {warn: 10000}}}",
            Status::Warning,
            Reason::Threshold,
            &format!("`oldest_age` is 10100s, warning by `10000`; {two}"),
        );
        let none = "there is no `ROOT/c`; 0 files match `ROOT/c`";
        check("path: ROOT/c", Status::Critical, Reason::FileMissing, none);
        check("{path: ROOT/c, missing: warning}", Status::Warning, Reason::FileMissing, none);
        check("{path: ROOT/c, missing: ok}", Status::Ok, Reason::None, "0 files match `ROOT/c`");
        let sum = "2CF24DBA5FB0A30E26E83B2AC5B9E29E1B161E5C1FA7425E73043362938B9824";
        check(&format!("{{path: ROOT/a.gz, sha256: {sum}}}"), Status::Ok, Reason::None, one);
        let wrong = sum.replace('F', "0");
        check(
            &format!("{{path: ROOT/a.gz, sha256: {wrong}}}"),
            Status::Critical,
            Reason::ChecksumMismatch,
            &format!("the SHA-256 of `ROOT/a.gz` is {}; {one}", sum.to_lowercase()),
        );
    }

    #[test]
    fn a_pipe_has_no_checksum_and_holds_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let error = checksum(&path, &CancellationToken::new()).unwrap_err();
        assert_eq!(error.to_string(), "it is not a plain file");
        let stop = CancellationToken::new();
        stop.cancel();
        std::fs::write(folder.path().join("a"), "a").unwrap();
        assert!(checksum(&folder.path().join("a"), &stop).is_err());
    }

    #[test]
    fn reports_what_cannot_be_meant() {
        assert_eq!(
            build("path: a\nmissing: bad\nsha256: ff\nthresholds: {age: {warn: x}}").unwrap_err(),
            "f.yml:1:7: `a` is not an absolute path\n  \
             help: write the whole path, such as `/var/log/app.log`\n\
             f.yml:2:10: `bad` is not a status\n  help: write `critical`, `warning` or `ok`\n\
             f.yml:3:9: `ff` is not 64 hexadecimal digits\n\
             f.yml:4:26: `x` is not a range; write it like `10`, `10:`, `~:10`, `10:20` or `@10:20`"
        );
    }
}
