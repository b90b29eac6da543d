//! Make and model of the CPUs, from `/proc/cpuinfo`; a part of the `cpu` collector that is off by
//! default.
//!
//! Invariant: a CPU is shown with whatever its block says, what is missing as an empty label.

use std::collections::HashMap;

use base::family::MetricFamily;
use regex::Regex;

use super::CollectError;
use super::config::{CpuInfo, Settings};
use super::file::Source;
use super::reading::Reading;
use super::table::Column;
use super::text;

const INFO: Column = Column::gauge("node_cpu_info", "CPU information from /proc/cpuinfo.");
const FREQUENCY: Column =
    Column::gauge("node_cpu_frequency_hertz", "CPU frequency in hertz from /proc/cpuinfo.");
const FLAG: Column = Column::gauge(
    "node_cpu_flag_info",
    "The `flags` field of CPU information from /proc/cpuinfo taken from the first core.",
);
const BUG: Column = Column::gauge(
    "node_cpu_bug_info",
    "The `bugs` field of CPU information from /proc/cpuinfo taken from the first core.",
);

/// The labels of `node_cpu_info`, and what `/proc/cpuinfo` calls their values.
const LABELS: [(&str, &str); 10] = [
    ("cachesize", "cache size"),
    ("core", "core id"),
    ("cpu", "processor"),
    ("family", "cpu family"),
    ("microcode", "microcode"),
    ("model", "model"),
    ("model_name", "model name"),
    ("package", "physical id"),
    ("stepping", "stepping"),
    ("vendor", "vendor_id"),
];

/// Where the information is, and what of it is wanted.
pub(super) struct CpuInfoSource {
    source: Source,
    wanted: CpuInfo,
}

impl CpuInfoSource {
    /// `None` where nothing of it is wanted.
    pub(super) fn new(settings: &Settings) -> Option<Self> {
        let path = settings.paths.procfs.join("cpuinfo");
        let wanted = settings.cpu_info.clone()?;
        Some(Self { source: Source::records(path, &settings.descriptors), wanted })
    }

    pub(super) fn collect(&mut self, reading: &mut Reading) -> Result<(), CollectError> {
        let text = text::text(self.source.read(&mut reading.buffer)?);
        let (mut info, mut frequencies) = (INFO.family(), FREQUENCY.family());
        for (n, block) in text.split("\n\n").filter(|block| !block.trim().is_empty()).enumerate() {
            let lines = block.lines().filter_map(|line| line.split_once(':'));
            let fields: HashMap<_, _> = lines.map(|(k, v)| (k.trim(), v.trim())).collect();
            let field = |name: &str| fields.get(name).copied().unwrap_or("");
            // ARM ends with a block about the board.
            if field("processor").is_empty() {
                continue;
            }
            info.add(&LABELS.map(|(label, name)| (label, field(name))), 1.0);
            if let Some(megahertz) = text::float(field("cpu MHz").as_bytes()) {
                let labels = ["core", "cpu", "package"];
                let fields = ["core id", "processor", "physical id"].map(field);
                let labels: Vec<_> = labels.into_iter().zip(fields).collect();
                frequencies.add(&labels, megahertz * 1e6);
            }
            if n == 0 {
                let flags = words(&FLAG, "flag", field("flags"), self.wanted.flags.as_ref());
                let bugs = words(&BUG, "bug", field("bugs"), self.wanted.bugs.as_ref());
                reading.families.extend(flags.into_iter().chain(bugs));
            }
        }
        if info.samples.is_empty() {
            return Err(self.source.malformed("it names no processor"));
        }
        reading.families.push(info);
        if self.wanted.frequency && !frequencies.samples.is_empty() {
            reading.families.push(frequencies);
        }
        Ok(())
    }
}

/// A sample for every word that is wanted.
fn words(
    column: &Column,
    label: &'static str,
    words: &str,
    wanted: Option<&Regex>,
) -> Option<MetricFamily> {
    let mut family = column.family();
    for word in words.split(' ').filter(|word| wanted.is_some_and(|wanted| wanted.is_match(word))) {
        family.add(&[(label, word)], 1.0);
    }
    (!family.samples.is_empty()).then_some(family)
}
