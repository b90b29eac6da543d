//! Which system this is, as `os-release` tells it.
//!
//! Invariant: the file is read again only when it changed.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::SystemTime;

use super::config::Settings;
use super::table::Column;
use super::{Collect, CollectError};

const INFO: Column = Column::gauge(
    "node_os_info",
    "A metric with a constant '1' value labeled by build_id, id, id_like, image_id, image_version, name, pretty_name, variant, variant_id, version, version_codename, version_id.",
);
const VERSION: Column =
    Column::gauge("node_os_version", "Metric containing the major.minor part of the OS version.");
/// The labels of the information, by the names in the file.
const LABELS: [(&str, &str); 12] = [
    ("build_id", "BUILD_ID"),
    ("id", "ID"),
    ("id_like", "ID_LIKE"),
    ("image_id", "IMAGE_ID"),
    ("image_version", "IMAGE_VERSION"),
    ("name", "NAME"),
    ("pretty_name", "PRETTY_NAME"),
    ("variant", "VARIANT"),
    ("variant_id", "VARIANT_ID"),
    ("version", "VERSION"),
    ("version_codename", "VERSION_CODENAME"),
    ("version_id", "VERSION_ID"),
];

pub(super) fn collector(settings: &Settings) -> Collect {
    let root = &settings.paths.rootfs;
    let paths = [root.join("etc/os-release"), root.join("usr/lib/os-release")];
    let mut kept: Option<(PathBuf, SystemTime, HashMap<String, String>)> = None;
    Box::new(move |reading| {
        let found = paths.iter().find_map(|path| {
            let changed = std::fs::metadata(path).and_then(|metadata| metadata.modified());
            changed.ok().map(|changed| (path, changed))
        });
        let Some((path, changed)) = found else {
            return Err(CollectError::Absent(paths[0].clone()));
        };
        let fresh = |kept: &(PathBuf, SystemTime, _)| kept.0 == *path && kept.1 == changed;
        if !kept.as_ref().is_some_and(fresh) {
            let text = std::fs::read(path)
                .map_err(|error| CollectError::Unreadable { path: path.clone(), error })?;
            kept = Some((path.clone(), changed, parse(&String::from_utf8_lossy(&text))));
        }
        let Some((_, _, values)) = &kept else { return Ok(()) };
        let value = |name: &str| values.get(name).map_or("", String::as_str);
        let labels = LABELS.map(|(label, name)| (label, value(name)));
        reading.families.push(INFO.family().with(&labels, 1.0));
        if let Some(version) = version(value("VERSION_ID")) {
            let labels =
                [("id", value("ID")), ("id_like", value("ID_LIKE")), ("name", value("NAME"))];
            reading.families.push(VERSION.family().with(&labels, version));
        }
        Ok(())
    })
}

/// The assignments of a file that shells could read.
fn parse(text: &str) -> HashMap<String, String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let pairs = lines.filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.trim().to_owned(), unquoted(value.trim()))).collect()
}

fn unquoted(value: &str) -> String {
    let quoted = |quote| value.strip_prefix(quote).and_then(|value| value.strip_suffix(quote));
    if let Some(plain) = quoted('\'') {
        return plain.to_owned();
    }
    let mut out = String::new();
    let mut chars = quoted('"').unwrap_or(value).chars();
    while let Some(c) = chars.next() {
        out.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    out
}

/// The first two numbers of a version as one: `20.04` of `20.04.3`.
fn version(id: &str) -> Option<f64> {
    let mut parts = id.split('.');
    let number = |part: &str| part.bytes().all(|b| b.is_ascii_digit()) && !part.is_empty();
    let major = parts.next().filter(|part| number(part))?;
    match parts.next().filter(|part| number(part)) {
        Some(minor) => format!("{major}.{minor}").parse().ok(),
        None => major.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_shells_would() {
        let text = "# comment\nNAME=\"Debian \\\"GNU\\\"/Linux\"\nID=debian\nVERSION_ID='12'\nx\n";
        let values = parse(text);
        assert_eq!(values["NAME"], "Debian \"GNU\"/Linux");
        assert_eq!((values["ID"].as_str(), values["VERSION_ID"].as_str()), ("debian", "12"));
        assert_eq!(values.len(), 3);
    }

    #[test]
    fn a_version_is_its_first_two_numbers() {
        let check = |id: &str, expected: Option<f64>| assert_eq!(version(id), expected, "{id}");
        check("20.04.3", Some(20.04));
        check("12", Some(12.0));
        check("", None);
        check("rolling", None);
        check("9.x", Some(9.0));
    }
}
