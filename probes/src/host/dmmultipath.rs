//! Disks that are reached by several paths at a time, as the device mapper knows them.
//!
//! Invariant: asks sysfs only, never a path, which might not answer.

use std::path::Path;

use super::config::Settings;
use super::file::Buffer;
use super::table::{Column, Table};
use super::{Collect, attributes};

const INFO: usize = 0;
const ACTIVE: usize = 1;
const SIZE: usize = 2;
const PATHS: usize = 3;
const PATHS_ACTIVE: usize = 4;
const PATHS_FAILED: usize = 5;
const STATE: usize = 6;
const COLUMNS: [Column; 7] = [
    Column::gauge(
        "node_dmmultipath_device_info",
        "Non-numeric information about a DM-multipath device.",
    ),
    Column::gauge(
        "node_dmmultipath_device_active",
        "Whether the multipath device-mapper device is active (1) or suspended (0).",
    ),
    Column::gauge(
        "node_dmmultipath_device_size_bytes",
        "Size of the multipath device in bytes, read from /sys/block/<dm>/size.",
    ),
    Column::gauge("node_dmmultipath_device_paths", "Number of paths for a multipath device."),
    Column::gauge(
        "node_dmmultipath_device_paths_active",
        "Number of paths in active state (SCSI running or NVMe live) for a multipath device.",
    ),
    Column::gauge(
        "node_dmmultipath_device_paths_failed",
        "Number of paths not in active state for a multipath device.",
    ),
    Column::gauge(
        "node_dmmultipath_path_state",
        "Reports the underlying device state for a multipath path, as read from \
         /sys/block/<dev>/device/state.",
    ),
];
/// With what the identifier of such a device begins, among those of the device mapper.
const OURS: &str = "mpath-";
/// The states of a path that can be used, by SCSI and NVMe.
const USABLE: [&str; 2] = ["running", "live"];
const SECTOR: f64 = 512.0;

pub(super) fn collector(settings: &Settings) -> Collect {
    let folder = settings.paths.sysfs.join("block");
    Box::new(move |reading| {
        let mut table = Table::new(&COLUMNS);
        let names = attributes::names_if_there(&folder)?;
        for (device, _) in attributes::numbered(&names, "dm-") {
            add(&mut table, &folder, device, &mut reading.buffer);
        }
        reading.families.extend(table.into_families());
        Ok(())
    })
}

fn add(table: &mut Table, folder: &Path, sysfs_name: &str, buffer: &mut Buffer) {
    let path = folder.join(sysfs_name);
    let uuid = attributes::text_of(&path.join("dm/uuid"), buffer);
    let Some(uuid) = uuid.filter(|uuid| uuid.starts_with(OURS)) else { return };
    let Some(name) = attributes::text_of(&path.join("dm/name"), buffer) else { return };
    let labels = [("device", name.as_str()), ("sysfs_name", sysfs_name)];
    table.add(INFO, &[labels[0], labels[1], ("uuid", &uuid)], 1.0);
    if let Some(suspended) = attributes::number_of(&path.join("dm/suspended"), buffer) {
        table.add(ACTIVE, &labels, f64::from(u8::from(suspended == 0.0)));
    }
    if let Some(sectors) = attributes::number_of(&path.join("size"), buffer) {
        table.add(SIZE, &labels, sectors * SECTOR);
    }
    let (mut active, mut failed) = (0, 0);
    for path in attributes::names_if_there(&path.join("slaves")).unwrap_or_default() {
        let state = attributes::text_of(&folder.join(&path).join("device/state"), buffer);
        let state = state.as_deref().unwrap_or("unknown");
        *(if USABLE.contains(&state) { &mut active } else { &mut failed }) += 1;
        table.add(STATE, &[labels[0], ("path", &path), ("state", state)], 1.0);
    }
    table.add(PATHS, &labels, f64::from(active + failed));
    table.add(PATHS_ACTIVE, &labels, f64::from(active));
    table.add(PATHS_FAILED, &labels, f64::from(failed));
}
