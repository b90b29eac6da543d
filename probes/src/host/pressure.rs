//! How long processes waited for CPU, memory, I/O and interrupts (pressure stall information).
//!
//! Invariant: a kernel without it (before 4.20, or started with `psi=0`) is no failure.

use super::config::Settings;
use super::file::Source;
use super::table::Column;
use super::{Collect, CollectError, text};

/// The files, and what their lines are called here; `None` for a line that is not shown.
const FILES: [(&str, Option<Column>, Option<Column>); 4] = [
    (
        "cpu",
        Some(Column::counter(
            "node_pressure_cpu_waiting_seconds_total",
            "Total time in seconds that processes have waited for CPU time",
        )),
        // There is always a process that has the CPU.
        None,
    ),
    (
        "io",
        Some(Column::counter(
            "node_pressure_io_waiting_seconds_total",
            "Total time in seconds that processes have waited due to IO congestion",
        )),
        Some(Column::counter(
            "node_pressure_io_stalled_seconds_total",
            "Total time in seconds no process could make progress due to IO congestion",
        )),
    ),
    (
        "memory",
        Some(Column::counter(
            "node_pressure_memory_waiting_seconds_total",
            "Total time in seconds that processes have waited for memory",
        )),
        Some(Column::counter(
            "node_pressure_memory_stalled_seconds_total",
            "Total time in seconds no process could make progress due to memory congestion",
        )),
    ),
    (
        "irq",
        None,
        Some(Column::counter(
            "node_pressure_irq_stalled_seconds_total",
            "Total time in seconds no process could make progress due to IRQ congestion",
        )),
    ),
];

pub(super) fn collector(settings: &Settings) -> Collect {
    let folder = settings.paths.procfs.join("pressure");
    let mut files = FILES.map(|(file, some, full)| {
        (Source::record(folder.join(file), &settings.descriptors), some, full)
    });
    Box::new(move |reading| {
        let mut result = Err(CollectError::Absent(folder.clone()));
        for (source, some, full) in &mut files {
            let text = match source.read_if_there(&mut reading.buffer) {
                Ok(text) => text,
                Err(CollectError::Absent(_)) => continue,
                Err(error) => {
                    result = Err(error);
                    continue;
                }
            };
            for (line, column) in [(&b"some"[..], some), (b"full", full)] {
                let Some(column) = column else { continue };
                match total(text, line) {
                    Some(microseconds) => {
                        reading.families.push(column.with(microseconds / 1000.0 / 1000.0));
                        if let Err(CollectError::Absent(_)) = result {
                            result = Ok(());
                        }
                    }
                    None => {
                        let line = text::text(line);
                        result = Err(source.malformed(format!("no total of `{line}`")));
                    }
                }
            }
        }
        result
    })
}

/// The microseconds of the line that begins with `name`.
fn total(pressure: &[u8], name: &[u8]) -> Option<f64> {
    let mut lines = text::lines(pressure).map(text::fields);
    let mut fields =
        lines.find_map(|mut fields| (fields.next() == Some(name)).then_some(fields))?;
    fields.find_map(|field| field.strip_prefix(b"total=")).and_then(text::value)
}
