//! What tape drives did.
//!
//! Invariant: a drive is `st` and a number; its other names are the same drive again.

use super::config::Settings;
use super::table::{Column, Table};
use super::{Collect, attributes};

/// The files, each with what one of it is in the unit of its metric.
const COLUMNS: [(&str, f64, Column); 10] = [
    (
        "in_flight",
        1.0,
        Column::gauge(
            "node_tape_io_now",
            "The number of I/Os currently outstanding to this device.",
        ),
    ),
    (
        "io_ns",
        1e9,
        Column::counter(
            "node_tape_io_time_seconds_total",
            "The amount of time spent waiting for all I/O to complete (including read and write). This includes tape movement commands such as seeking between file or set marks and implicit tape movement such as when rewind on close tape devices are used.",
        ),
    ),
    (
        "other_cnt",
        1.0,
        Column::counter(
            "node_tape_io_others_total",
            "The number of I/Os issued to the tape drive other than read or write commands. The time taken to complete these commands uses the following calculation io_time_seconds_total-read_time_seconds_total-write_time_seconds_total",
        ),
    ),
    (
        "read_byte_cnt",
        1.0,
        Column::counter(
            "node_tape_read_bytes_total",
            "The number of bytes read from the tape drive.",
        ),
    ),
    (
        "read_cnt",
        1.0,
        Column::counter(
            "node_tape_reads_completed_total",
            "The number of read requests issued to the tape drive.",
        ),
    ),
    (
        "read_ns",
        1e9,
        Column::counter(
            "node_tape_read_time_seconds_total",
            "The amount of time spent waiting for read requests to complete.",
        ),
    ),
    (
        "resid_cnt",
        1.0,
        Column::counter(
            "node_tape_residual_total",
            "The number of times during a read or write we found the residual amount to be non-zero. This should mean that a program is issuing a read larger thean the block size on tape. For write not all data made it to tape.",
        ),
    ),
    (
        "write_byte_cnt",
        1.0,
        Column::counter(
            "node_tape_written_bytes_total",
            "The number of bytes written to the tape drive.",
        ),
    ),
    (
        "write_cnt",
        1.0,
        Column::counter(
            "node_tape_writes_completed_total",
            "The number of write requests issued to the tape drive.",
        ),
    ),
    (
        "write_ns",
        1e9,
        Column::counter(
            "node_tape_write_time_seconds_total",
            "The amount of time spent waiting for write requests to complete.",
        ),
    ),
];

pub(super) fn collector(settings: &Settings) -> Collect {
    let folder = settings.paths.sysfs.join("class/scsi_tape");
    Box::new(move |reading| {
        let mut table = Table::new(&COLUMNS.map(|(.., column)| column));
        let names = attributes::names(&folder)?;
        for (device, _) in attributes::numbered(&names, "st") {
            let path = folder.join(device).join("stats");
            for (column, (file, unit, _)) in COLUMNS.iter().enumerate() {
                let number = attributes::number_of(&path.join(file), &mut reading.buffer);
                if let Some(number) = number {
                    table.add(column, &[("device", device)], number / unit);
                }
            }
        }
        reading.families.extend(table.into_families());
        Ok(())
    })
}
