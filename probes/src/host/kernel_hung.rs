//! How many tasks the kernel found hung, on kernels that count them (from 6.13).
//!
//! Invariant: a kernel that does not count them is no failure.

use super::Collect;
use super::config::Settings;
use super::file::Source;
use super::table::Column;

const HUNG: Column = Column::counter(
    "node_kernel_hung_tasks_total",
    "Total number of tasks that have been detected as hung since the system booted.",
);

pub(super) fn collector(settings: &Settings) -> Collect {
    let path = settings.paths.procfs.join("sys/kernel/hung_task_detect_count");
    let mut source = Source::record(path, &settings.descriptors);
    Box::new(move |reading| {
        reading.families.push(HUNG.with(source.number(&mut reading.buffer)?));
        Ok(())
    })
}
