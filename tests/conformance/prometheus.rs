//! Prometheus's configuration files: which are taken, and that what is wrong is named.
//!
//! Invariant: a file that is refused has passed only if a fault names what the reference names.

use std::path::Path;

use alertmanager::config::{self, Reading};
use alertmanager::discovery::{TargetGroupConfig, is_foreign, read_file, read_http};
use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::HeaderMap;
use base::http::access::HttpConfig;
use base::http::tls::TlsConfig;
use regex::Regex;
use tests::certificates::{Authority, Purpose};

use crate::report::Report;

pub(crate) fn config(report: &mut Report) {
    let folder = tempfile::tempdir().unwrap();
    copy(&report.path("prometheus-config/files"), folder.path());
    // The reference does not look into the files that its examples name; we do.
    let authority = Authority::new(folder.path(), "authority");
    let (certificate, key) = authority.sign("client", Purpose::Client);
    for (from, to) in [
        (authority.certificate(), "valid_ca_file"),
        (certificate, "valid_cert_file"),
        (key, "valid_key_file"),
    ] {
        for below in ["", "scrape_configs"] {
            std::fs::copy(&from, folder.path().join(below).join(to)).unwrap();
        }
    }
    let manifest = report.text("prometheus-config/manifest.tsv");
    let results: Vec<_> = rows(&manifest)
        .map(|columns| {
            let (name, is_good, why) = (columns[0], columns[1] == "ok", columns[2]);
            let reading = match columns[3] {
                "agent" => Reading::PrometheusAgent,
                _ => Reading::Prometheus,
            };
            let found =
                config::read_as(reading, &folder.path().join(name), None, config::Files::Needed);
            let faults = match found {
                Ok(_) => Ok(()),
                Err(mut faults) => {
                    // Those that say that a way of discovery is not ours, and nothing else.
                    faults.retain(|fault| !is_foreign(fault));
                    faults.into_result(())
                }
            };
            (name.to_owned(), judged(faults, is_good, why))
        })
        .collect();
    report.suite("prometheus-config/files", results);
}

pub(crate) fn http_client(report: &mut Report) {
    let folder = report.path("http-client-config");
    let manifest = report.text("http-client-config/manifest.tsv");
    let results: Vec<_> = rows(&manifest)
        .map(|columns| {
            let (name, is_good, why) = (columns[0], columns[2] == "ok", columns[3]);
            let mut faults = Diagnostics::new(name);
            let path = folder.join(name);
            if columns[1] == "tls_config" {
                let tls: TlsConfig = base::yaml::read_file(&path, &mut faults).unwrap_or_default();
                if let Err(fault) = tls.check() {
                    faults.report(Place::default(), fault);
                }
            } else {
                let http: HttpConfig =
                    base::yaml::read_file(&path, &mut faults).unwrap_or_default();
                let http = http.relative_to(&folder);
                http.check(&mut faults);
                if why.ends_with("(when the client is used)") {
                    let access = http.build_following(Place::default(), &mut faults);
                    if let Err(error) = access.unwrap().identify(&mut HeaderMap::new()) {
                        let fault =
                            format!("unable to read authorization credentials file: {error}");
                        faults.report(Place::default(), fault);
                    }
                }
            }
            let why = why.trim_end_matches(" (when the client is used)");
            (name.to_owned(), judged(faults.into_result(()), is_good, why))
        })
        .collect();
    report.suite("http-client-config/files", results);
}

pub(crate) fn targets(report: &mut Report) {
    let folder = report.path("sd-files");
    let manifest = report.text("sd-files/manifest.tsv");
    let results: Vec<_> = rows(&manifest)
        .map(|columns| {
            let (name, path) = (columns[0], folder.join(columns[0]));
            let found = match columns[1] {
                "file_sd" => read_file(&path).map_err(|faults| faults.to_string()),
                "http_sd" => read_http(&std::fs::read(&path).unwrap(), "http://sd.example/"),
                _ => {
                    let mut faults = Diagnostics::new(name);
                    let group: Option<Spanned<TargetGroupConfig>> =
                        base::yaml::read_file(&path, &mut faults);
                    let found = group.map(|group| group.value.build("", &mut faults));
                    faults.into_result(found.unwrap_or_default()).map_err(|f| f.to_string())
                }
            };
            let result = match (found, columns[2] == "ok") {
                (Ok(found), true) if found.is_empty() => Err("no targets".to_owned()),
                (Ok(_), true) | (Err(_), false) => Ok(()),
                (Ok(found), false) => Err(format!("gave {found:?}")),
                (Err(faults), true) => Err(faults),
            };
            (name.to_owned(), result)
        })
        .collect();
    report.suite("sd-files/files", results);
}

fn rows(manifest: &str) -> impl Iterator<Item = Vec<&str>> {
    let row = |line| str::split(line, '\t').chain(["", "", ""]).collect();
    manifest.lines().filter(|line| !line.starts_with('#')).skip(1).map(row)
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        if path.is_dir() {
            std::fs::create_dir(to.join(&name)).unwrap();
            copy(&path, &to.join(name));
        } else {
            std::fs::copy(path, to.join(name)).unwrap();
        }
    }
}

fn judged(found: Result<(), Diagnostics>, is_good: bool, why: &str) -> Result<(), String> {
    match (found, is_good) {
        (Ok(()), true) => Ok(()),
        (Ok(()), false) => Err(format!("accepted; expected: {why}")),
        (Err(faults), true) => Err(faults.to_string()),
        (Err(faults), false) => named(&faults.to_string(), why),
    }
}

/// Whether the faults say what the reference says, or name the settings, or what is in quotes, that it
/// names.
fn named(faults: &str, expected: &str) -> Result<(), String> {
    let plain = |text: &str| {
        let text = text.replace(['`', '\'', '"'], "");
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    if plain(faults).contains(&plain(expected)) {
        return Ok(());
    }
    let names = "\"([^\"]+)\"|([a-z]+(?:_[a-z]+)+)|field ([a-z]+)";
    let names = Regex::new(names).unwrap();
    let found = names.captures_iter(expected).any(|captures| {
        captures.iter().skip(1).flatten().any(|name| faults.contains(name.as_str()))
    });
    let words: Vec<_> = expected.split(|c: char| !c.is_alphanumeric()).collect();
    let setting = |words: &[&str]| format!("`{}`", words.join("_").to_lowercase());
    let mut settings = (1..=3).flat_map(|count| words.windows(count)).map(setting);
    let found = found || settings.any(|setting| setting != "``" && faults.contains(&setting));
    if found { Ok(()) } else { Err(format!("expected: {expected}; told:\n{faults}")) }
}
