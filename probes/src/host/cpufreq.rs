//! The clock speed of the CPUs, where the kernel scales it.
//!
//! Invariant: which CPUs there are is looked up when the list of those online changes, and once a
//! minute, in case a driver was loaded.

use std::path::Path;
use std::time::Duration;

use base::sample::Timestamp;

use super::config::Settings;
use super::file::{Buffer, Descriptors, Source};
use super::table::{Column, Table};
use super::{Collect, text};

const CURRENT: usize = 0;
const MINIMUM: usize = 1;
const MAXIMUM: usize = 2;
const GOVERNOR: usize = 3;
const COLUMNS: &[Column] = &[
    Column::gauge(
        "node_cpu_scaling_frequency_hertz",
        "Current scaled CPU thread frequency in hertz.",
    ),
    Column::gauge(
        "node_cpu_scaling_frequency_min_hertz",
        "Minimum scaled CPU thread frequency in hertz.",
    ),
    Column::gauge(
        "node_cpu_scaling_frequency_max_hertz",
        "Maximum scaled CPU thread frequency in hertz.",
    ),
    Column::gauge("node_cpu_scaling_governor", "Current enabled CPU frequency governor."),
];
const FILES: [&str; 3] = ["scaling_cur_freq", "scaling_min_freq", "scaling_max_freq"];
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// The files of one CPU.
struct Frequency {
    cpu: u64,
    frequencies: [Source; 3],
    governor: Source,
    governors: Source,
}

pub(super) fn collector(settings: &Settings) -> Collect {
    let folder = settings.paths.sysfs.join("devices/system/cpu");
    let descriptors = settings.descriptors.clone();
    let mut online = Source::record(folder.join("online"), &descriptors);
    let (mut cpus, mut found_for, mut found_at) = (Vec::new(), Vec::new(), Timestamp::MIN);
    Box::new(move |reading| {
        let now_online = online.read(&mut reading.buffer).unwrap_or_default();
        if found_for != now_online || reading.now.since(found_at) >= LOOK_AGAIN {
            found_for = now_online.to_vec();
            found_at = reading.now;
            cpus = find(&folder, &descriptors);
        }
        let mut table = Table::new(COLUMNS);
        for cpu in &mut cpus {
            cpu.add(&mut table, &mut reading.buffer);
        }
        reading.families.extend(table.into_families());
        Ok(())
    })
}

fn find(folder: &Path, descriptors: &Descriptors) -> Vec<Frequency> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .filter_map(|entry| {
            let name = entry.file_name();
            let cpu = text::number(name.as_encoded_bytes().strip_prefix(b"cpu")?)?;
            let folder = entry.path().join("cpufreq");
            let source = |file: &str| Source::record(folder.join(file), descriptors);
            folder.is_dir().then(|| Frequency {
                cpu,
                frequencies: FILES.map(source),
                governor: source("scaling_governor"),
                governors: source("scaling_available_governors"),
            })
        })
        .collect();
    found.sort_unstable_by_key(|frequency| frequency.cpu);
    found
}

impl Frequency {
    fn add(&mut self, table: &mut Table, buffer: &mut Buffer) {
        let cpu = self.cpu.to_string();
        for (column, source) in [CURRENT, MINIMUM, MAXIMUM].into_iter().zip(&mut self.frequencies) {
            if let Ok(kilohertz) = source.number(buffer) {
                table.add(column, &[("cpu", &cpu)], kilohertz * 1000.0);
            }
        }
        let Ok(governor) = self.governor.read(buffer) else { return };
        let governor = governor.trim_ascii().to_vec();
        if governor.is_empty() {
            return;
        }
        for name in text::fields(self.governors.read(buffer).unwrap_or_default()) {
            let labels = [("cpu", cpu.as_str()), ("governor", &*text::text(name))];
            table.add(GOVERNOR, &labels, f64::from(u8::from(name == governor)));
        }
    }
}
