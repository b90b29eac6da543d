//! Btrfs filesystems: how much is allocated to what, and how long commits take.
//!
//! Invariant: asks sysfs only, never the filesystem itself, which might not answer.

use std::path::Path;

use super::config::Settings;
use super::file::{Buffer, read_once};
use super::table::{Column, Table};
use super::{Collect, attributes, text};

const INFO: usize = 0;
const RESERVE: usize = 1;
const DEVICE: usize = 2;
const RESERVED: usize = 3;
const USED: usize = 4;
const SIZE: usize = 5;
const RATIO: usize = 6;
const COMMITS: usize = 7;
const COLUMNS: [Column; 11] = [
    Column::gauge("node_btrfs_info", "Filesystem information"),
    Column::gauge("node_btrfs_global_rsv_size_bytes", "Size of global reserve."),
    Column::gauge(
        "node_btrfs_device_size_bytes",
        "Size of a device that is part of the filesystem.",
    ),
    Column::gauge("node_btrfs_reserved_bytes", "Amount of space reserved for a data type"),
    Column::gauge("node_btrfs_used_bytes", "Amount of used space by a layout/data type"),
    Column::gauge("node_btrfs_size_bytes", "Amount of space allocated for a layout/data type"),
    Column::gauge("node_btrfs_allocation_ratio", "Data allocation ratio for a layout/data type"),
    Column::counter("node_btrfs_commits_total", "The total number of commits that have occurred."),
    Column::gauge(
        "node_btrfs_last_commit_seconds",
        "Duration of the most recent commit, in seconds.",
    ),
    Column::gauge("node_btrfs_max_commit_seconds", "Duration of the slowest commit, in seconds."),
    Column::counter(
        "node_btrfs_commit_seconds_total",
        "Sum of the duration of all commits, in seconds.",
    ),
];
/// The lines about commits, in the order of their columns, with their units.
const COMMIT_LINES: [(&[u8], f64); 4] = [
    (b"commits", 1.0),
    (b"last_commit_ms", 1000.0),
    (b"max_commit_ms", 1000.0),
    (b"total_commit_ms", 1000.0),
];
/// What space is allocated to.
const GROUPS: [&str; 3] = ["data", "metadata", "system"];
const SECTOR: f64 = 512.0;

pub(super) fn collector(settings: &Settings) -> Collect {
    let folder = settings.paths.sysfs.join("fs/btrfs");
    Box::new(move |reading| {
        let mut table = Table::new(&COLUMNS);
        for uuid in attributes::names_if_there(&folder)? {
            let path = folder.join(&uuid);
            // `features` stands beside the filesystems.
            if path.join("allocation").is_dir() {
                add(&mut table, &uuid, &path, &mut reading.buffer);
            }
        }
        reading.families.extend(table.into_families());
        Ok(())
    })
}

fn add(table: &mut Table, uuid: &str, path: &Path, buffer: &mut Buffer) {
    let id = ("uuid", uuid);
    let label = attributes::text_of(&path.join("label"), buffer).unwrap_or_default();
    table.add(INFO, &[("label", &label), id], 1.0);
    if let Some(bytes) = attributes::number_of(&path.join("allocation/global_rsv_size"), buffer) {
        table.add(RESERVE, &[id], bytes);
    }
    let devices = attributes::names_if_there(&path.join("devices")).unwrap_or_default();
    for device in &devices {
        let sectors =
            attributes::number_of(&path.join("devices").join(device).join("size"), buffer);
        if let Some(sectors) = sectors {
            table.add(DEVICE, &[("device", device), id], sectors * SECTOR);
        }
    }
    for group in GROUPS {
        let folder = path.join("allocation").join(group);
        let kind = ("block_group_type", group);
        if let Some(bytes) = attributes::number_of(&folder.join("bytes_reserved"), buffer) {
            table.add(RESERVED, &[kind, id], bytes);
        }
        for mode in attributes::names_if_there(&folder).unwrap_or_default() {
            let labels = [kind, ("mode", mode.as_str()), id];
            let used = attributes::number_of(&folder.join(&mode).join("used_bytes"), buffer);
            let size = attributes::number_of(&folder.join(&mode).join("total_bytes"), buffer);
            if let (Some(used), Some(size)) = (used, size) {
                table.add(USED, &labels, used);
                table.add(SIZE, &labels, size);
                table.add(RATIO, &labels, ratio(&mode, devices.len() as f64));
            }
        }
    }
    let commits = read_once(&path.join("commit_stats"), buffer).unwrap_or_default();
    for line in text::lines(commits) {
        let mut fields = text::fields(line);
        let (name, value) = (fields.next(), fields.next().and_then(text::value));
        let place = COMMIT_LINES.iter().position(|(known, _)| name == Some(*known));
        if let (Some(place), Some(value)) = (place, value) {
            table.add(COMMITS + place, &[id], value / COMMIT_LINES[place].1);
        }
    }
}

/// How many bytes on disks one byte of a layout takes.
fn ratio(mode: &str, devices: f64) -> f64 {
    match mode {
        "dup" | "raid1" | "raid10" => 2.0,
        "raid1c3" => 3.0,
        "raid1c4" => 4.0,
        "raid5" => devices / (devices - 1.0),
        "raid6" => devices / (devices - 2.0),
        _ => 1.0,
    }
}
