//! How much randomness the kernel has.
//!
//! Invariant: a file that is missing costs its own metric only.

use super::Collect;
use super::config::Settings;
use super::file::Source;
use super::table::Column;

const FILES: [(&str, Column); 2] = [
    ("entropy_avail", Column::gauge("node_entropy_available_bits", "Bits of available entropy.")),
    ("poolsize", Column::gauge("node_entropy_pool_size_bits", "Bits of entropy pool.")),
];

pub(super) fn collector(settings: &Settings) -> Collect {
    let folder = settings.paths.procfs.join("sys/kernel/random");
    let mut files = FILES
        .map(|(file, column)| (Source::record(folder.join(file), &settings.descriptors), column));
    Box::new(move |reading| {
        let mut result = Ok(());
        for (source, column) in &mut files {
            match source.number(&mut reading.buffer) {
                Ok(bits) => reading.families.push(column.with(bits)),
                Err(error) => result = Err(error),
            }
        }
        result
    })
}
