//! Load averages.
//!
//! Invariant: all three are there, or none.

use super::config::Settings;
use super::file::Source;
use super::table::Column;
use super::{Collect, text};

const LOADS: [Column; 3] = [
    Column::gauge("node_load1", "1m load average."),
    Column::gauge("node_load5", "5m load average."),
    Column::gauge("node_load15", "15m load average."),
];

pub(super) fn collector(settings: &Settings) -> Collect {
    let path = settings.paths.procfs.join("loadavg");
    let mut source = Source::record(path, &settings.descriptors);
    Box::new(move |reading| {
        let loadavg = source.read(&mut reading.buffer)?;
        let loads: Vec<_> = text::fields(loadavg).map_while(text::float).take(3).collect();
        if loads.len() < LOADS.len() {
            return Err(source.malformed(format!("`{}`", text::text(loadavg.trim_ascii()))));
        }
        reading.families.extend(LOADS.iter().zip(loads).map(|(load, value)| load.with(value)));
        Ok(())
    })
}
