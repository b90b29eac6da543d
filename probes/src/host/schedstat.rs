//! How long each CPU ran processes, and how long they waited for it.
//!
//! Invariant: lines of other things than CPUs are passed over.

use super::config::Settings;
use super::file::Source;
use super::table::{Column, Table};
use super::{Collect, text};

/// The columns of a CPU's line, each with what one of it is in the unit of its metric.
const COLUMNS: [(usize, f64, Column); 3] = [
    (
        6,
        1e9,
        Column::counter(
            "node_schedstat_running_seconds_total",
            "Number of seconds CPU spent running a process.",
        ),
    ),
    (
        7,
        1e9,
        Column::counter(
            "node_schedstat_waiting_seconds_total",
            "Number of seconds spent by processing waiting for this CPU.",
        ),
    ),
    (
        8,
        1.0,
        Column::counter("node_schedstat_timeslices_total", "Number of timeslices executed by CPU."),
    ),
];

pub(super) fn collector(settings: &Settings) -> Collect {
    let path = settings.paths.procfs.join("schedstat");
    let mut source = Source::records(path, &settings.descriptors);
    Box::new(move |reading| {
        let mut table = Table::new(&COLUMNS.map(|(.., column)| column));
        for line in text::lines(source.read_if_there(&mut reading.buffer)?) {
            let mut fields = text::fields(line);
            let Some(cpu) = fields.next().and_then(|name| name.strip_prefix(b"cpu")) else {
                continue;
            };
            let cpu = text::text(cpu);
            let fields: Vec<_> = fields.collect();
            for (column, (field, unit, _)) in COLUMNS.iter().enumerate() {
                if let Some(value) = fields.get(*field).and_then(|value| text::value(value)) {
                    table.add(column, &[("cpu", &cpu)], value / unit);
                }
            }
        }
        reading.families.extend(table.into_families());
        Ok(())
    })
}
