//! What `/proc/stat` tells besides CPU time: interrupts, context switches, forks, when the host
//! started, and how many processes run or wait.
//!
//! Invariant: a line that is missing or malformed costs its own metric only.

use super::config::Settings;
use super::table::{Column, Table};
use super::{Collect, text};

const SOFTIRQS: Column = Column::counter("node_softirqs_total", "Number of softirq calls.");

/// The kinds of soft interrupts in the kernel's order, under the names that node_exporter gives them.
const VECTORS: [&str; 10] = [
    "hi",
    "timer",
    "net_tx",
    "net_rx",
    "block",
    "block_iopoll",
    "tasklet",
    "sched",
    "hrtimer",
    "rcu",
];

/// The lines that are wanted.
const LINES: [(&[u8], Column); 6] = [
    (b"intr", Column::counter("node_intr_total", "Total number of interrupts serviced.")),
    (b"ctxt", Column::counter("node_context_switches_total", "Total number of context switches.")),
    (b"btime", Column::gauge("node_boot_time_seconds", "Node boot time, in unixtime.")),
    (b"processes", Column::counter("node_forks_total", "Total number of forks.")),
    (
        b"procs_running",
        Column::gauge("node_procs_running", "Number of processes in runnable state."),
    ),
    (
        b"procs_blocked",
        Column::gauge(
            "node_procs_blocked",
            "Number of processes blocked waiting for I/O to complete.",
        ),
    ),
];

pub(super) fn collector(settings: &Settings) -> Collect {
    let softirqs = settings.softirqs;
    Box::new(move |reading| {
        let (source, stat) = reading.stat.text()?;
        let mut missing: Vec<_> = LINES.iter().collect();
        for line in text::lines(stat).skip_while(|line| line.starts_with(b"cpu")) {
            let mut fields = text::fields(line);
            let Some(name) = fields.next() else { continue };
            if let Some(at) = missing.iter().position(|(known, _)| *known == name) {
                if let Some(value) = fields.next().and_then(text::value) {
                    reading.families.push(missing.swap_remove(at).1.with(value));
                }
            } else if softirqs && name == b"softirq" {
                let mut table = Table::new(&[SOFTIRQS]);
                // The first number is the sum.
                for (vector, count) in VECTORS.iter().zip(fields.skip(1)) {
                    if let Some(count) = text::value(count) {
                        table.add(0, &[("vector", vector)], count);
                    }
                }
                reading.families.extend(table.into_families());
            }
        }
        match missing.first() {
            Some((name, _)) => {
                Err(source.malformed(format!("no number of `{}`", text::text(name))))
            }
            None => Ok(()),
        }
    })
}
