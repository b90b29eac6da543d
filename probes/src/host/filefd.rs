//! Open file handles of the whole host.
//!
//! Invariant: both numbers are there, or none.

use super::config::Settings;
use super::file::Source;
use super::table::Column;
use super::{Collect, text};

const ALLOCATED: Column =
    Column::gauge("node_filefd_allocated", "File descriptor statistics: allocated.");
const MAXIMUM: Column =
    Column::gauge("node_filefd_maximum", "File descriptor statistics: maximum.");

pub(super) fn collector(settings: &Settings) -> Collect {
    let path = settings.paths.procfs.join("sys/fs/file-nr");
    let mut source = Source::record(path, &settings.descriptors);
    Box::new(move |reading| {
        let file_nr = source.read(&mut reading.buffer)?;
        let numbers: Vec<_> = text::fields(file_nr).map_while(text::value).collect();
        // The second is free handles, which no kernel of this century has.
        let [allocated, _, maximum] = numbers[..] else {
            return Err(source.malformed(format!("`{}`", text::text(file_nr.trim_ascii()))));
        };
        reading.families.extend([ALLOCATED.with(allocated), MAXIMUM.with(maximum)]);
        Ok(())
    })
}
