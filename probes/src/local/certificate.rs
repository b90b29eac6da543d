//! Certificates in files: how long they are still good.
//!
//! ```yaml
//! certificate:
//!   path: /etc/letsencrypt/live/*/fullchain.pem
//!   thresholds: {days_left: {warn: "21:", crit: "7:"}}
//! ```
//!
//! Invariant: of what else a file holds, a private key above all, nothing is kept or shown.

use std::io::Read;
use std::path::Path;

use async_trait::async_trait;
use base::diagnostic::{Diagnostics, Spanned};
use base::family::MetricFamily;
use base::sample::Timestamp;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use x509_parser::parse_x509_certificate;
use x509_parser::pem::Pem;

use super::blocking::Blocking;
use super::{absolute, judged};
use crate::thresholds::{Limits, LimitsConfig, Value};
use crate::{Outcome, Probe, Reason, Status, glob};

/// How many files are read, and how much of each.
const MOST_FILES: usize = 1000;
const MOST_BYTES: u64 = 1 << 20;
const DAY: f64 = 86_400.0;

/// A probe of certificate files, as written.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateConfig {
    /// The file, PEM or DER; `*`, `?` and `[...]` stand for many.
    path: Spanned<String>,
    /// Limits of `days_left`, until the first certificate of all files expires, and of `count`; a
    /// warning from 14 days and critical from 3 days where nothing is said.
    #[serde(default)]
    thresholds: LimitsConfig,
}

/// Reads certificates.
#[derive(Debug)]
pub struct CertificateProbe {
    path: String,
    limits: Limits,
    turn: Blocking<()>,
}

/// When a certificate is good, in seconds since 1970, and whose it is.
#[derive(Clone, Debug, PartialEq)]
struct Validity {
    from: f64,
    until: f64,
    subject: String,
}

impl CertificateConfig {
    /// The probe, reporting everything that is wrong with it.
    pub fn build(self, diagnostics: &mut Diagnostics) -> Option<CertificateProbe> {
        absolute(&self.path, diagnostics);
        let limits = Limits::build(&self.thresholds, &["days_left", "count"], diagnostics);
        let limits = limits.with_default("days_left", "14:", "3:");
        Some(CertificateProbe { path: self.path.value, limits, turn: Blocking::new(()) })
    }
}

#[async_trait]
impl Probe for CertificateProbe {
    async fn run(&self, stop: &CancellationToken) -> Outcome {
        let (path, limits) = (self.path.clone(), self.limits.clone());
        self.turn.run(stop, move |run| look(&path, &limits, run.now)).await
    }
}

fn look(pattern: &str, limits: &Limits, now: Timestamp) -> Outcome {
    let found = glob::find(pattern, MOST_FILES);
    if found.paths.is_empty() {
        return Outcome::critical(Reason::FileMissing, format!("there is no `{pattern}`"));
    }
    let help = "When the first certificate of a file expires.";
    let mut expiries =
        MetricFamily::gauge("veilleur_certificate_not_after_timestamp_seconds", help);
    let mut first: Option<(f64, String)> = None;
    let mut faults = Vec::new();
    let mut early = Vec::new();
    let mut count = 0;
    for path in &found.paths {
        let shown = path.display().to_string();
        let certificates = match read(path) {
            Ok(certificates) => certificates,
            Err(why) => {
                faults.push(format!("`{shown}` {why}"));
                continue;
            }
        };
        count += certificates.len();
        if let Some(until) = certificates.iter().map(|c| c.until).reduce(f64::min) {
            expiries.add(&[("file", &shown)], until);
        }
        for certificate in certificates {
            if certificate.from > now.seconds() {
                early.push(format!("`{shown}` ({}) is not valid yet", certificate.subject));
            }
            if first.as_ref().is_none_or(|(until, _)| certificate.until < *until) {
                first = Some((certificate.until, format!("`{shown}` ({})", certificate.subject)));
            }
        }
    }
    let mut values = vec![Value { name: "count", value: count as f64, unit: "" }];
    let mut summary = format!("{count} certificates in {} files", found.paths.len());
    let mut expired = false;
    if let Some((until, whose)) = first {
        let days = (until - now.seconds()) / DAY;
        expired = days < 0.0;
        values.push(Value { name: "days_left", value: days, unit: "" });
        let verb = if expired { "expired" } else { "is the first to expire, in" };
        let ago = if expired { " ago" } else { "" };
        summary = format!("{summary}; {whose} {verb} {:.1} days{ago}", days.abs());
    }
    let mut outcome = judged(limits, &values, &summary);
    if expired && outcome.status != Status::Ok {
        outcome.reason = Reason::CertificateExpired;
    }
    for why in early {
        outcome.worsen(Status::Critical, Reason::CertificateExpired, &why);
    }
    for why in faults {
        outcome.worsen(Status::Critical, Reason::CannotRead, &why);
    }
    if found.more {
        outcome.details = format!("only the first {MOST_FILES} files were read");
    }
    outcome.families.push(expiries);
    outcome
}

/// The certificates of a file; an error says what is wrong with it.
fn read(path: &Path) -> Result<Vec<Validity>, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err("is not a plain file".to_owned());
    }
    let mut content = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(MOST_BYTES).read_to_end(&mut content).map_err(unreadable)?;
    let blocks = Pem::iter_from_buffer(&content).filter_map(Result::ok);
    let blocks = blocks.filter(|block| block.label.ends_with("CERTIFICATE"));
    let mut certificates: Vec<Vec<u8>> = blocks.map(|block| block.contents).collect();
    if certificates.is_empty() {
        certificates.push(content);
    }
    let parsed: Option<Vec<Validity>> = certificates.iter().map(|der| validity(der)).collect();
    parsed.ok_or_else(|| "holds no certificate, or a malformed one".to_owned())
}

fn validity(der: &[u8]) -> Option<Validity> {
    let (_, certificate) = parse_x509_certificate(der).ok()?;
    let subject = certificate.subject().to_string();
    Some(Validity {
        from: certificate.validity().not_before.timestamp() as f64,
        until: certificate.validity().not_after.timestamp() as f64,
        subject: crate::text::shown_line(subject.as_bytes(), 200),
    })
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    /// A certificate of `name` that is good for `days`, and its key; nothing without openssl.
    fn make(folder: &Path, name: &str, days: &str, form: &str) -> bool {
        let file = folder.join(name);
        let made = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
            ])
            .args(["-subj", &format!("/CN={name}"), "-days", days, "-outform", form])
            .arg("-keyout")
            .arg(folder.join("key"))
            .arg("-out")
            .arg(&file)
            .stderr(Stdio::null())
            .status();
        made.is_ok_and(|status| status.success())
    }

    #[test]
    fn tells_the_first_to_expire_and_files_that_hold_none_x46() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        assert!(make(root, "long.pem", "100", "PEM") && make(root, "short.der", "5", "DER"));
        std::fs::copy(root.join("key"), root.join("only.key")).unwrap();
        std::fs::write(root.join("bad.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n").unwrap();
        let limits = Limits::default().with_default("days_left", "14:", "3:");
        let check = |file: &str, days: f64, expected: (Status, Reason), words: &str| {
            let pattern = format!("{}/{file}", root.display());
            let now = Timestamp::now() + std::time::Duration::from_secs_f64(days * DAY);
            let outcome = look(&pattern, &limits, now);
            assert_eq!((outcome.status, outcome.reason), expected, "{outcome:?}");
            assert!(outcome.summary.contains(words), "{outcome:?}");
            assert!(!format!("{outcome:?}").contains("PRIVATE"), "{outcome:?}");
        };
        let ok = (Status::Ok, Reason::None);
        check("long.pem", 0.0, ok, "(CN=long.pem) is the first to expire, in 100.0 days");
        let soon = (Status::Warning, Reason::Threshold);
        check("*r", 0.0, soon, "1 certificates in 1 files; ");
        check("short.der", 3.0, (Status::Critical, Reason::Threshold), "in 2.0 days");
        let expired = (Status::Critical, Reason::CertificateExpired);
        check("short.der", 6.0, expired, "expired 1.0 days ago");
        let unreadable = (Status::Critical, Reason::CannotRead);
        check("only.key", 0.0, unreadable, "only.key` holds no certificate");
        check("bad.pem", 0.0, unreadable, "bad.pem` holds no certificate");
        check("*", 0.0, unreadable, "2 certificates in 5 files");
        check("none*", 0.0, (Status::Critical, Reason::FileMissing), "there is no `");
        let before = Timestamp::from_millis(0);
        let outcome = look(&format!("{}/long.pem", root.display()), &limits, before);
        assert_eq!(outcome.reason, Reason::CertificateExpired);
        assert!(outcome.summary.contains("is not valid yet"), "{outcome:?}");
    }
}
