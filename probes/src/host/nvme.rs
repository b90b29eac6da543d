//! NVMe drives and their namespaces.
//!
//! Invariant: a namespace is shown with what its driver tells of it.

use std::path::Path;

use super::config::Settings;
use super::file::Buffer;
use super::table::{Column, Table};
use super::{Collect, attributes};

const INFO: usize = 0;
const NAMESPACE: usize = 1;
const CAPACITY: usize = 2;
const SIZE: usize = 3;
const USED: usize = 4;
const BLOCK: usize = 5;
const COLUMNS: [Column; 6] = [
    Column::gauge(
        "node_nvme_info",
        "Non-numeric data from /sys/class/nvme/<device>, value is always 1.",
    ),
    Column::gauge(
        "node_nvme_namespace_info",
        "Information about NVMe namespaces. Value is always 1",
    ),
    Column::gauge(
        "node_nvme_namespace_capacity_bytes",
        "Capacity of the NVMe namespace in bytes. Computed as namespace_size * namespace_logical_block_size",
    ),
    Column::gauge(
        "node_nvme_namespace_size_bytes",
        "Size of the NVMe namespace in bytes. Available in /sys/class/nvme/<device>/<namespace>/size",
    ),
    Column::gauge(
        "node_nvme_namespace_used_bytes",
        "Used space of the NVMe namespace in bytes. Available in /sys/class/nvme/<device>/<namespace>/nuse",
    ),
    Column::gauge(
        "node_nvme_namespace_logical_block_size_bytes",
        "Logical block size of the NVMe namespace in bytes. Usually 4Kb. Available in /sys/class/nvme/<device>/<namespace>/queue/logical_block_size",
    ),
];
const TEXTS: [(&str, &str); 5] = [
    ("cntlid", "cntlid"),
    ("firmware_revision", "firmware_rev"),
    ("model", "model"),
    ("serial", "serial"),
    ("state", "state"),
];

pub(super) fn collector(settings: &Settings) -> Collect {
    let folder = settings.paths.sysfs.join("class/nvme");
    Box::new(move |reading| {
        let mut table = Table::new(&COLUMNS);
        for device in attributes::names(&folder)? {
            let path = folder.join(&device);
            let texts = TEXTS.map(|(label, file)| {
                let text = attributes::text_of(&path.join(file), &mut reading.buffer);
                (label, text.unwrap_or_default())
            });
            let mut labels = vec![("device", device.as_str())];
            labels.extend(texts.iter().map(|(label, text)| (*label, text.as_str())));
            table.add(INFO, &labels, 1.0);
            for entry in attributes::names_if_there(&path)? {
                if let Some(id) = namespace(&entry) {
                    let path = path.join(&entry);
                    add_namespace(&mut table, &device, id, &path, &mut reading.buffer);
                }
            }
        }
        reading.families.extend(table.into_families());
        Ok(())
    })
}

/// The number of the namespace that an entry is for: `nvme0n1`, or `nvme0c0n1` on many paths.
fn namespace(entry: &str) -> Option<&str> {
    let digit = |c: char| c.is_ascii_digit();
    let rest = entry.strip_prefix("nvme")?.trim_start_matches(digit);
    let rest = rest.strip_prefix('c').map_or(rest, |rest| rest.trim_start_matches(digit));
    let id = rest.strip_prefix('n')?;
    (!id.is_empty() && id.chars().all(digit)).then_some(id)
}

fn add_namespace(table: &mut Table, device: &str, id: &str, path: &Path, buffer: &mut Buffer) {
    let labels = [("device", device), ("nsid", id)];
    let state = attributes::text_of(&path.join("ana_state"), buffer).unwrap_or_default();
    table.add(NAMESPACE, &[("ana_state", &state), ("device", device), ("nsid", id)], 1.0);
    let block = attributes::number_of(&path.join("queue/logical_block_size"), buffer);
    let Some(block) = block else { return };
    table.add(BLOCK, &labels, block);
    // node_exporter takes the size for one in blocks of this length, and so do its dashboards.
    if let Some(size) = attributes::number_of(&path.join("size"), buffer) {
        table.add(SIZE, &labels, size * block);
        table.add(CAPACITY, &labels, size * block);
    }
    if let Some(used) = attributes::number_of(&path.join("nuse"), buffer) {
        table.add(USED, &labels, used * block);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_namespaces_of_a_device() {
        for (entry, id) in [
            ("nvme0n1", Some("1")),
            ("nvme10n12", Some("12")),
            ("nvme0c0n1", Some("1")),
            ("nvme0n1p1", None),
            ("nvme0", None),
            ("hwmon1", None),
        ] {
            assert_eq!(namespace(entry), id, "{entry}");
        }
    }
}
