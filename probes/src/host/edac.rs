//! Memory errors, corrected and not, by controller, row and channel.
//!
//! Invariant: errors of which nobody knows the row are those of the row `unknown`.

use std::path::Path;

use super::config::Settings;
use super::file::Buffer;
use super::table::{Column, Table};
use super::{Collect, attributes};

const CORRECTED: usize = 0;
const UNCORRECTED: usize = 1;
const ROW_CORRECTED: usize = 2;
const ROW_UNCORRECTED: usize = 3;
const CHANNEL_CORRECTED: usize = 4;
const CHANNEL_UNCORRECTED: usize = 5;
const COLUMNS: [Column; 6] = [
    Column::counter("node_edac_correctable_errors_total", "Total correctable memory errors."),
    Column::counter("node_edac_uncorrectable_errors_total", "Total uncorrectable memory errors."),
    Column::counter(
        "node_edac_csrow_correctable_errors_total",
        "Total correctable memory errors for this csrow.",
    ),
    Column::counter(
        "node_edac_csrow_uncorrectable_errors_total",
        "Total uncorrectable memory errors for this csrow.",
    ),
    Column::counter(
        "node_edac_channel_correctable_errors_total",
        "Total correctable memory errors for this channel.",
    ),
    Column::counter(
        "node_edac_channel_uncorrectable_errors_total",
        "Total uncorrectable memory errors for this channel.",
    ),
];

pub(super) fn collector(settings: &Settings) -> Collect {
    let folder = settings.paths.sysfs.join("devices/system/edac/mc");
    Box::new(move |reading| {
        let mut table = Table::new(&COLUMNS);
        let controllers = attributes::names_if_there(&folder)?;
        for (name, controller) in attributes::numbered(&controllers, "mc") {
            add(&mut table, &folder.join(name), controller, &mut reading.buffer);
        }
        reading.families.extend(table.into_families());
        Ok(())
    })
}

fn add(table: &mut Table, path: &Path, controller: &str, buffer: &mut Buffer) {
    let label = ("controller", controller);
    let unknown = [label, ("csrow", "unknown")];
    for (column, file, labels) in [
        (CORRECTED, "ce_count", &[label][..]),
        (UNCORRECTED, "ue_count", &[label]),
        (ROW_CORRECTED, "ce_noinfo_count", &unknown),
        (ROW_UNCORRECTED, "ue_noinfo_count", &unknown),
    ] {
        if let Some(count) = attributes::number_of(&path.join(file), buffer) {
            table.add(column, labels, count);
        }
    }
    let entries = attributes::names_if_there(path).unwrap_or_default();
    for (name, row) in attributes::numbered(&entries, "csrow") {
        let path = path.join(name);
        let labels = [label, ("csrow", row)];
        for (column, file) in [(ROW_CORRECTED, "ce_count"), (ROW_UNCORRECTED, "ue_count")] {
            if let Some(count) = attributes::number_of(&path.join(file), buffer) {
                table.add(column, &labels, count);
            }
        }
        add_channels(table, &path, controller, row, buffer);
    }
}

fn add_channels(table: &mut Table, path: &Path, controller: &str, row: &str, buffer: &mut Buffer) {
    for file in attributes::names_if_there(path).unwrap_or_default() {
        let Some((channel, what)) = file.strip_prefix("ch").and_then(|rest| rest.split_once('_'))
        else {
            continue;
        };
        let column = match what {
            "ce_count" => CHANNEL_CORRECTED,
            "ue_count" => CHANNEL_UNCORRECTED,
            _ => continue,
        };
        let Some(count) = attributes::number_of(&path.join(&file), buffer) else { continue };
        let dimm = path.join(format!("ch{channel}_dimm_label"));
        let dimm = attributes::text_of(&dimm, buffer).unwrap_or_default();
        let labels = [
            ("channel", channel),
            ("controller", controller),
            ("csrow", row),
            ("dimm_label", &dimm),
        ];
        table.add(column, &labels, count);
    }
}
