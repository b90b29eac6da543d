//! What udev knows of a disk: its model and serial number, the filesystem on it, device mapper names.
//!
//! udev replaces a device's file when it learns something, so the file is read again only when its
//! inode or time has changed.
//!
//! Invariant: without udev a disk has its numbers, and everything else about it is empty.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::super::table::{Column, Table};
use super::super::{attributes, text};

const INFO: usize = 0;
const FILESYSTEM: usize = 1;
const MAPPER: usize = 2;
const BACKING: usize = 3;
const ATA: usize = 4;
pub(super) const COLUMNS: &[Column] = &[
    Column::gauge("node_disk_info", "Info of /sys/block/<block_device>."),
    Column::gauge("node_disk_filesystem_info", "Info about disk filesystem."),
    Column::gauge("node_disk_device_mapper_info", "Info about disk device mapper."),
    Column::gauge(
        "node_disk_device_mapper_backing_device_info",
        "Info about the underlying block devices of a device mapper device.",
    ),
    Column::gauge("node_disk_ata_write_cache", "ATA disk has a write cache."),
    Column::gauge("node_disk_ata_write_cache_enabled", "ATA disk has its write cache enabled."),
    Column::gauge(
        "node_disk_ata_rotation_rate_rpm",
        "ATA disk rotation rate in RPMs (0 for SSDs).",
    ),
];
/// The properties behind the last columns.
const ATA_PROPERTIES: [&str; 3] =
    ["ID_ATA_WRITE_CACHE", "ID_ATA_WRITE_CACHE_ENABLED", "ID_ATA_ROTATION_RATE_RPM"];

/// Which state of the file was read: its inode, and when it was changed.
type Stamp = (u64, i64, i64);

/// One disk's file.
pub(super) struct Udev {
    path: PathBuf,
    stamp: Option<Stamp>,
    properties: HashMap<String, String>,
}

/// What is known of a disk without udev.
pub(super) struct Known<'d> {
    pub(super) name: &'d str,
    pub(super) major: &'d str,
    pub(super) minor: &'d str,
    pub(super) rotational: bool,
    /// The folder that names what the disk is mapped on, where it is one of the device mapper.
    pub(super) slaves: &'d Path,
}

impl Udev {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, stamp: None, properties: HashMap::new() }
    }

    /// Adds what is known of a disk to a table of [`COLUMNS`].
    pub(super) fn add_disk(&mut self, table: &mut Table, disk: &Known<'_>) {
        let Known { name, major, minor, rotational, slaves } = *disk;
        self.refresh();
        let get = |property: &str| self.properties.get(property).map_or("", String::as_str);
        // The first is what is printed on the disk; virtual disks have the last only.
        let serials = ["SCSI_IDENT_SERIAL", "ID_SERIAL_SHORT", "ID_SERIAL"];
        let serial = serials.iter().map(|p| get(p)).find(|s| !s.is_empty()).unwrap_or("");
        let labels = [
            ("device", name),
            ("major", major),
            ("minor", minor),
            ("model", get("ID_MODEL")),
            ("path", get("ID_PATH")),
            ("revision", get("ID_REVISION")),
            ("rotational", if rotational { "1" } else { "0" }),
            ("serial", serial),
            ("wwn", get("ID_WWN")),
        ];
        table.add(INFO, &labels, 1.0);
        if !get("ID_FS_TYPE").is_empty() {
            let labels = [
                ("device", name),
                ("type", get("ID_FS_TYPE")),
                ("usage", get("ID_FS_USAGE")),
                ("uuid", get("ID_FS_UUID")),
                ("version", get("ID_FS_VERSION")),
            ];
            table.add(FILESYSTEM, &labels, 1.0);
        }
        if !get("DM_NAME").is_empty() {
            let labels = [
                ("device", name),
                ("lv_layer", get("DM_LV_LAYER")),
                ("lv_name", get("DM_LV_NAME")),
                ("name", get("DM_NAME")),
                ("uuid", get("DM_UUID")),
                ("vg_name", get("DM_VG_NAME")),
            ];
            table.add(MAPPER, &labels, 1.0);
            for backing in attributes::names(slaves).unwrap_or_default() {
                table.add(BACKING, &[("backing_device", &backing), ("device", name)], 1.0);
            }
        }
        if !get("ID_ATA").is_empty() {
            for (n, property) in ATA_PROPERTIES.iter().enumerate() {
                if let Some(value) = text::value(get(property).as_bytes()) {
                    table.add(ATA + n, &[("device", name)], value);
                }
            }
        }
    }

    /// Reads the file if it is another one than last time.
    fn refresh(&mut self) {
        let stamp = std::fs::metadata(&self.path).ok();
        let stamp = stamp.map(|file| (file.ino(), file.mtime(), file.mtime_nsec()));
        if stamp == self.stamp {
            return;
        }
        self.stamp = stamp;
        self.properties.clear();
        let bytes = std::fs::read(&self.path).unwrap_or_default();
        for line in text::lines(&bytes).filter_map(|line| line.strip_prefix(b"E:")) {
            if let Some((name, value)) = text::text(line).split_once('=') {
                self.properties.insert(name.to_owned(), value.to_owned());
            }
        }
    }
}
