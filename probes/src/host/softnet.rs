//! What each CPU did with the packets that came in.
//!
//! Invariant: a line that is malformed is told and costs its own CPU only.

use super::config::Settings;
use super::file::Source;
use super::table::{Column, Table};
use super::{Collect, text};

/// The columns of the file that are shown; the ones that older kernels lack count 0.
const COLUMNS: [(usize, Column); 7] = [
    (0, Column::counter("node_softnet_processed_total", "Number of processed packets")),
    (1, Column::counter("node_softnet_dropped_total", "Number of dropped packets")),
    (
        2,
        Column::counter(
            "node_softnet_times_squeezed_total",
            "Number of times processing packets ran out of quota",
        ),
    ),
    (
        8,
        Column::counter(
            "node_softnet_cpu_collision_total",
            "Number of collision occur while obtaining device lock while transmitting",
        ),
    ),
    (
        9,
        Column::counter(
            "node_softnet_received_rps_total",
            "Number of times cpu woken up received_rps",
        ),
    ),
    (
        10,
        Column::counter(
            "node_softnet_flow_limit_count_total",
            "Number of times flow limit has been reached",
        ),
    ),
    (11, Column::gauge("node_softnet_backlog_len", "Softnet backlog status")),
];
/// Where the number of the CPU is, on kernels that tell it.
const CPU: usize = 12;

pub(super) fn collector(settings: &Settings) -> Collect {
    let path = settings.paths.procfs.join("net/softnet_stat");
    let mut source = Source::records(path, &settings.descriptors);
    Box::new(move |reading| {
        let mut table = Table::new(&COLUMNS.map(|(_, column)| column));
        let mut malformed = None;
        let lines = text::lines(source.read_if_there(&mut reading.buffer)?);
        for (line, row) in lines.enumerate() {
            let fields: Option<Vec<u64>> = text::fields(row).map(text::hexadecimal).collect();
            let Some(fields) = fields.filter(|fields| fields.len() > 2) else {
                malformed = Some(text::text(row).into_owned());
                continue;
            };
            let cpu = fields.get(CPU).map_or(line as u64, |cpu| *cpu).to_string();
            for (column, (field, _)) in COLUMNS.iter().enumerate() {
                let value = fields.get(*field).copied().unwrap_or(0);
                table.add(column, &[("cpu", &cpu)], value as f64);
            }
        }
        reading.families.extend(table.into_families());
        malformed.map_or(Ok(()), |line| Err(source.malformed(format!("`{line}`"))))
    })
}
