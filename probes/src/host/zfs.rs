//! What ZFS counts: its caches, its pools and their datasets.
//!
//! Invariant: names are made from the kernel's own, as node_exporter makes them; only numbers are
//! shown.

use std::collections::BTreeMap;
use std::path::Path;

use base::family::{MetricFamily, MetricKind};

use super::config::Settings;
use super::file::{Buffer, read_once};
use super::table::{Column, Table};
use super::{Collect, attributes, text};

const STATE: Column = Column::gauge("node_zfs_zpool_state", "kstat.zfs.misc.state");
const STATES: [&str; 7] =
    ["degraded", "faulted", "offline", "online", "removed", "suspended", "unavail"];
/// The files of the whole, each with what its metrics are called.
const FILES: [(&str, &str); 11] = [
    ("abdstats", "abd"),
    ("arcstats", "arc"),
    ("dbufstats", "dbuf"),
    ("dmu_tx", "dmu_tx"),
    ("dnodestats", "dnode"),
    ("fm", "fm"),
    ("vdev_cache_stats", "vdev_cache"),
    ("vdev_mirror_stats", "vdev_mirror"),
    ("xuio_stats", "xuio"),
    ("zfetchstats", "zfetch"),
    ("zil", "zil"),
];

type Families = BTreeMap<String, MetricFamily>;

pub(super) fn collector(settings: &Settings) -> Collect {
    let folder = settings.paths.procfs.join("spl/kstat/zfs");
    Box::new(move |reading| {
        let buffer = &mut reading.buffer;
        let mut families = Families::new();
        let mut states = Table::new(&[STATE]);
        for name in attributes::names(&folder)? {
            if let Some((file, prefix)) = FILES.iter().find(|(file, _)| *file == name) {
                let Ok(content) = read_once(&folder.join(file), buffer) else { continue };
                for (name, value) in numbers(content) {
                    add(&mut families, prefix, file, &name, &[], value);
                }
            } else {
                add_pool(&mut families, &mut states, &folder.join(&name), &name, buffer);
            }
        }
        reading.families.extend(families.into_values());
        reading.families.extend(states.into_families());
        Ok(())
    })
}

fn add(
    families: &mut Families,
    prefix: &str,
    file: &str,
    name: &str,
    labels: &[(&'static str, &str)],
    value: f64,
) {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let family = format!("node_zfs_{prefix}_{}", name.chars().map(plain).collect::<String>());
    let new = || {
        let help = format!("kstat.zfs.misc.{file}.{name}");
        MetricFamily::new(family.clone(), help, MetricKind::Unknown)
    };
    families.entry(family.clone()).or_insert_with(new).add(labels, value);
}

/// The lines `NAME TYPE VALUE` whose type is a number.
fn numbers(content: &[u8]) -> Vec<(String, f64)> {
    let lines = text::lines(content).skip(2);
    let number = |line| {
        let mut fields = text::fields(line);
        let (name, kind, value) = (fields.next()?, fields.next()?, fields.next()?);
        // Numbers of 64 bits, with a sign and without.
        let value = matches!(kind, b"3" | b"4").then(|| text::value(value)).flatten()?;
        Some((text::text(name).into_owned(), value))
    };
    lines.filter_map(number).collect()
}

fn add_pool(
    families: &mut Families,
    states: &mut Table,
    folder: &Path,
    pool: &str,
    buffer: &mut Buffer,
) {
    if let Some(state) = attributes::text_of(&folder.join("state"), buffer) {
        let state = state.to_ascii_lowercase();
        for known in STATES {
            let value = f64::from(u8::from(known == state));
            states.add(0, &[("state", known), ("zpool", pool)], value);
        }
    }
    add_io(families, read_once(&folder.join("io"), buffer).unwrap_or_default(), pool);
    let files = attributes::names_if_there(folder).unwrap_or_default();
    for (file, _) in attributes::numbered(&files, "objset-") {
        let Ok(content) = read_once(&folder.join(file), buffer) else { continue };
        let Some(dataset) = dataset(content) else { continue };
        for (name, value) in numbers(content) {
            let labels = [("dataset", dataset.as_str()), ("zpool", pool)];
            add(families, "zpool_dataset", "objset", &name, &labels, value);
        }
    }
}

/// A line of headings and one of numbers below them.
fn add_io(families: &mut Families, io: &[u8], pool: &str) {
    let mut lines = text::lines(io).skip(1).map(text::fields);
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else { return };
    for (name, value) in names.zip(values) {
        if let Some(value) = text::value(value) {
            add(families, "zpool", "io", &text::text(name), &[("zpool", pool)], value);
        }
    }
}

/// The name of a dataset, which may have blanks in it.
fn dataset(content: &[u8]) -> Option<String> {
    let line = text::lines(content).find_map(|line| line.strip_prefix(b"dataset_name"))?;
    let line = line.trim_ascii_start();
    // The type of a text comes first.
    Some(text::text(line.strip_prefix(b"7")?.trim_ascii()).into_owned())
}
