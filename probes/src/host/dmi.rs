//! Make and model of the machine, from its firmware.
//!
//! Invariant: what the agent may not read (serial numbers need root) is no label.

use super::config::Settings;
use super::table::Column;
use super::{Collect, CollectError, attributes};

const INFO: Column = Column::gauge(
    "node_dmi_info",
    "A metric with a constant '1' value labeled by bios_date, bios_release, bios_vendor, bios_version, board_asset_tag, board_name, board_serial, board_vendor, board_version, chassis_asset_tag, chassis_serial, chassis_vendor, chassis_version, product_family, product_name, product_serial, product_sku, product_uuid, product_version, system_vendor if provided by DMI.",
);
/// The labels by the files that hold them.
const LABELS: [(&str, &str); 20] = [
    ("bios_date", "bios_date"),
    ("bios_release", "bios_release"),
    ("bios_vendor", "bios_vendor"),
    ("bios_version", "bios_version"),
    ("board_asset_tag", "board_asset_tag"),
    ("board_name", "board_name"),
    ("board_serial", "board_serial"),
    ("board_vendor", "board_vendor"),
    ("board_version", "board_version"),
    ("chassis_asset_tag", "chassis_asset_tag"),
    ("chassis_serial", "chassis_serial"),
    ("chassis_vendor", "chassis_vendor"),
    ("chassis_version", "chassis_version"),
    ("product_family", "product_family"),
    ("product_name", "product_name"),
    ("product_serial", "product_serial"),
    ("product_sku", "product_sku"),
    ("product_uuid", "product_uuid"),
    ("product_version", "product_version"),
    ("system_vendor", "sys_vendor"),
];

pub(super) fn collector(settings: &Settings) -> Collect {
    let folder = settings.paths.sysfs.join("class/dmi/id");
    let mut kept: Option<Vec<(&'static str, String)>> = None;
    Box::new(move |reading| {
        if kept.is_none() {
            if !folder.is_dir() {
                return Err(CollectError::Absent(folder.clone()));
            }
            // Firmware does not change while the system runs.
            let labels = LABELS.iter().filter_map(|(label, file)| {
                Some((*label, attributes::text_of(&folder.join(file), &mut reading.buffer)?))
            });
            kept = Some(labels.collect());
        }
        let labels = kept.iter().flatten().map(|(label, value)| (*label, value.as_str()));
        reading.families.push(INFO.family().with(&labels.collect::<Vec<_>>(), 1.0));
        Ok(())
    })
}
