//! What disks read and wrote, and what they are.
//!
//! Invariant: a disk shows as many counters as its kernel has: 11, with discards 15, with flushes
//! 17.

mod udev;

use std::collections::HashMap;
use std::path::PathBuf;

use super::config::Settings;
use super::file::{Buffer, Descriptors, Source};
use super::table::{Column, Table};
use super::{Collect, text};
use udev::{Known, Udev};

/// A sector is 512 bytes here, whatever it is on the disk.
const SECTOR: f64 = 512.0;
const MILLISECOND: f64 = 1.0 / 1000.0;

/// The fields behind the device's name, and what each is worth in the unit of its metric.
const FIELDS: [(Column, f64); 17] = [
    (
        Column::counter(
            "node_disk_reads_completed_total",
            "The total number of reads completed successfully.",
        ),
        1.0,
    ),
    (Column::counter("node_disk_reads_merged_total", "The total number of reads merged."), 1.0),
    (
        Column::counter(
            "node_disk_read_bytes_total",
            "The total number of bytes read successfully.",
        ),
        SECTOR,
    ),
    (
        Column::counter(
            "node_disk_read_time_seconds_total",
            "The total number of seconds spent by all reads.",
        ),
        MILLISECOND,
    ),
    (
        Column::counter(
            "node_disk_writes_completed_total",
            "The total number of writes completed successfully.",
        ),
        1.0,
    ),
    (Column::counter("node_disk_writes_merged_total", "The number of writes merged."), 1.0),
    (
        Column::counter(
            "node_disk_written_bytes_total",
            "The total number of bytes written successfully.",
        ),
        SECTOR,
    ),
    (
        Column::counter(
            "node_disk_write_time_seconds_total",
            "This is the total number of seconds spent by all writes.",
        ),
        MILLISECOND,
    ),
    (Column::gauge("node_disk_io_now", "The number of I/Os currently in progress."), 1.0),
    (
        Column::counter("node_disk_io_time_seconds_total", "Total seconds spent doing I/Os."),
        MILLISECOND,
    ),
    (
        Column::counter(
            "node_disk_io_time_weighted_seconds_total",
            "The weighted # of seconds spent doing I/Os.",
        ),
        MILLISECOND,
    ),
    (
        Column::counter(
            "node_disk_discards_completed_total",
            "The total number of discards completed successfully.",
        ),
        1.0,
    ),
    (
        Column::counter("node_disk_discards_merged_total", "The total number of discards merged."),
        1.0,
    ),
    (
        Column::counter(
            "node_disk_discarded_sectors_total",
            "The total number of sectors discarded successfully.",
        ),
        1.0,
    ),
    (
        Column::counter(
            "node_disk_discard_time_seconds_total",
            "This is the total number of seconds spent by all discards.",
        ),
        MILLISECOND,
    ),
    (
        Column::counter(
            "node_disk_flush_requests_total",
            "The total number of flush requests completed successfully",
        ),
        1.0,
    ),
    (
        Column::counter(
            "node_disk_flush_requests_time_seconds_total",
            "This is the total number of seconds spent by all flush requests.",
        ),
        MILLISECOND,
    ),
];

/// What is kept of a disk from scrape to scrape.
struct Disk {
    major: String,
    minor: String,
    rotational: Source,
    slaves: PathBuf,
    udev: Udev,
    /// Whether the disk was there in this scrape.
    seen: bool,
}

/// Where there is more about a disk.
struct Paths {
    block: PathBuf,
    udev: PathBuf,
    descriptors: Descriptors,
}

impl Disk {
    fn new(name: &str, major: &str, minor: &str, paths: &Paths) -> Self {
        // A slash in a device's name is an exclamation mark in sysfs.
        let folder = paths.block.join(name.replace('/', "!"));
        Self {
            major: major.to_owned(),
            minor: minor.to_owned(),
            rotational: Source::record(folder.join("queue/rotational"), &paths.descriptors),
            slaves: folder.join("slaves"),
            udev: Udev::new(paths.udev.join(format!("b{major}:{minor}"))),
            seen: true,
        }
    }
}

pub(super) fn collector(settings: &Settings) -> Collect {
    let path = settings.paths.procfs.join("diskstats");
    let mut source = Source::records(path, &settings.descriptors);
    let paths = Paths {
        block: settings.paths.sysfs.join("block"),
        udev: settings.paths.udev.clone(),
        descriptors: settings.descriptors.clone(),
    };
    let filter = settings.disks.clone();
    let mut disks: HashMap<String, Disk> = HashMap::new();
    let mut small = Buffer::new();
    Box::new(move |reading| {
        let diskstats = source.read(&mut reading.buffer)?;
        let mut counters = Table::new(&FIELDS.map(|(column, _)| column));
        let mut known = Table::new(udev::COLUMNS);
        let mut malformed = None;
        for line in text::lines(diskstats) {
            let mut note = || _ = malformed.get_or_insert_with(|| text::text(line).into_owned());
            let mut fields = text::fields(line).map(|field| std::str::from_utf8(field).ok());
            let mut next = || fields.next().flatten();
            let (Some(major), Some(minor), Some(name)) = (next(), next(), next()) else {
                note();
                continue;
            };
            if !filter.accepts(name) {
                continue;
            }
            for (column, ((_, unit), field)) in FIELDS.iter().zip(fields).enumerate() {
                match field.and_then(|field| text::value(field.as_bytes())) {
                    Some(value) => counters.add(column, &[("device", name)], value * unit),
                    None => note(),
                }
            }
            // The name may be another disk's by now.
            let kept = disks.remove(name).filter(|d| d.major == major && d.minor == minor);
            let mut disk = kept.unwrap_or_else(|| Disk::new(name, major, minor, &paths));
            disk.seen = true;
            let rotational = disk.rotational.number(&mut small).is_ok_and(|value| value != 0.0);
            let Disk { major, minor, slaves, udev, .. } = &mut disk;
            udev.add_disk(&mut known, &Known { name, major, minor, rotational, slaves });
            disks.insert(name.to_owned(), disk);
        }
        disks.retain(|_, disk| std::mem::take(&mut disk.seen));
        reading.families.extend(counters.into_families().chain(known.into_families()));
        match malformed {
            Some(line) => Err(source.malformed(format!("`{line}`"))),
            None => Ok(()),
        }
    })
}
