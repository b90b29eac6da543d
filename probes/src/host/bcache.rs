//! Caches of slow disks on fast ones, by bcache.
//!
//! The kernel writes most of its numbers for people: `1.1M/sec`. What stands behind the point is
//! counted here as node_exporter does, so that a series goes on where it was: `1.5k` is 1,524, and a
//! microsecond of the time of a read a nanosecond.
//!
//! Invariant: an attribute that is missing or makes no sense costs its own metric only.

use std::path::Path;

use super::config::Settings;
use super::file::{Buffer, read_once};
use super::table::{Column, Table};
use super::{Collect, attributes, text};

/// Numbers in files, in the folder of a cache set, of a backing device, of a caching device: the
/// file, what its number is worth in the unit of the metric, and the metric.
type Files = [(&'static str, f64, Column)];

const OF_SET: &Files = &[
    (
        "average_key_size",
        1.0,
        Column::gauge(
            "node_bcache_average_key_size_sectors",
            "Average data per key in the btree (sectors).",
        ),
    ),
    (
        "btree_cache_size",
        1.0,
        Column::gauge(
            "node_bcache_btree_cache_size_bytes",
            "Amount of memory currently used by the btree cache.",
        ),
    ),
    (
        "cache_available_percent",
        1.0,
        Column::gauge(
            "node_bcache_cache_available_percent",
            "Percentage of cache device without dirty data, usable for writeback (may contain \
             clean cached data).",
        ),
    ),
    ("congested", 1.0, Column::gauge("node_bcache_congested", "Congestion.")),
    (
        "root_usage_percent",
        1.0,
        Column::gauge(
            "node_bcache_root_usage_percent",
            "Percentage of the root btree node in use (tree depth increases if too high).",
        ),
    ),
    ("tree_depth", 1.0, Column::gauge("node_bcache_tree_depth", "Depth of the btree.")),
    (
        "internal/active_journal_entries",
        1.0,
        Column::gauge(
            "node_bcache_active_journal_entries",
            "Number of journal entries that are newer than the index.",
        ),
    ),
    (
        "internal/btree_nodes",
        1.0,
        Column::gauge("node_bcache_btree_nodes", "Total nodes in the btree."),
    ),
    (
        "internal/btree_read_average_duration_us",
        1e9,
        Column::gauge(
            "node_bcache_btree_read_average_duration_seconds",
            "Average btree read duration.",
        ),
    ),
    (
        "internal/cache_read_races",
        1.0,
        Column::counter(
            "node_bcache_cache_read_races_total",
            "Counts instances where while data was being read from the cache, the bucket was \
             reused and invalidated - i.e. where the pointer was stale after the read completed.",
        ),
    ),
];

const OF_BACKING: &Files = &[
    (
        "dirty_data",
        1.0,
        Column::gauge(
            "node_bcache_dirty_data_bytes",
            "Amount of dirty data for this backing device in the cache.",
        ),
    ),
    (
        "stats_total/bypassed",
        1.0,
        Column::counter(
            "node_bcache_bypassed_bytes_total",
            "Amount of IO (both reads and writes) that has bypassed the cache.",
        ),
    ),
    (
        "stats_total/cache_hits",
        1.0,
        Column::counter(
            "node_bcache_cache_hits_total",
            "Hits counted per individual IO as bcache sees them.",
        ),
    ),
    (
        "stats_total/cache_misses",
        1.0,
        Column::counter(
            "node_bcache_cache_misses_total",
            "Misses counted per individual IO as bcache sees them.",
        ),
    ),
    (
        "stats_total/cache_bypass_hits",
        1.0,
        Column::counter(
            "node_bcache_cache_bypass_hits_total",
            "Hits for IO intended to skip the cache.",
        ),
    ),
    (
        "stats_total/cache_bypass_misses",
        1.0,
        Column::counter(
            "node_bcache_cache_bypass_misses_total",
            "Misses for IO intended to skip the cache.",
        ),
    ),
    (
        "stats_total/cache_miss_collisions",
        1.0,
        Column::counter(
            "node_bcache_cache_miss_collisions_total",
            "Instances where data insertion from cache miss raced with write (data already \
             present).",
        ),
    ),
    (
        "stats_total/cache_readaheads",
        1.0,
        Column::counter("node_bcache_cache_readaheads_total", "Count of times readahead occurred."),
    ),
];

const OF_CACHING: &Files = &[
    (
        "io_errors",
        1.0,
        Column::gauge(
            "node_bcache_io_errors",
            "Number of errors that have occurred, decayed by io_error_halflife.",
        ),
    ),
    (
        "metadata_written",
        1.0,
        Column::counter(
            "node_bcache_metadata_written_bytes_total",
            "Sum of all non data writes (btree writes and all other metadata).",
        ),
    ),
    (
        "written",
        1.0,
        Column::counter(
            "node_bcache_written_bytes_total",
            "Sum of all data that has been written to the cache.",
        ),
    ),
];

/// The lines of `writeback_rate_debug` of a backing device.
const WRITEBACK: [(&str, Column); 5] = [
    (
        "target",
        Column::gauge(
            "node_bcache_dirty_target_bytes",
            "Current dirty data target threshold for this backing device in bytes.",
        ),
    ),
    (
        "rate",
        Column::gauge(
            "node_bcache_writeback_rate",
            "Current writeback rate for this backing device in bytes.",
        ),
    ),
    (
        "proportional",
        Column::gauge(
            "node_bcache_writeback_rate_proportional_term",
            "Current result of proportional controller, part of writeback rate",
        ),
    ),
    (
        "integral",
        Column::gauge(
            "node_bcache_writeback_rate_integral_term",
            "Current result of integral controller, part of writeback rate",
        ),
    ),
    (
        "change",
        Column::gauge(
            "node_bcache_writeback_change",
            "Last writeback rate change step for this backing device.",
        ),
    ),
];

/// The lines of `priority_stats` of a caching device.
const PRIORITY: [(&str, Column); 2] = [
    (
        "Unused",
        Column::gauge(
            "node_bcache_priority_stats_unused_percent",
            "The percentage of the cache that doesn't contain any data.",
        ),
    ),
    (
        "Metadata",
        Column::gauge("node_bcache_priority_stats_metadata_percent", "Bcache's metadata overhead."),
    ),
];

pub(super) fn collector(settings: &Settings) -> Collect {
    let folder = settings.paths.sysfs.join("fs/bcache");
    let with_priority = settings.priority_stats;
    let columns = |files: &'static Files| files.iter().map(|(.., column)| *column);
    let lines = |lines: &'static [(&str, Column)]| lines.iter().map(|(_, column)| *column);
    let all = columns(OF_SET).chain(columns(OF_BACKING)).chain(columns(OF_CACHING));
    let all: Vec<_> = all.chain(lines(&WRITEBACK)).chain(lines(&PRIORITY)).collect();
    let (backing, caching) = (OF_SET.len(), OF_SET.len() + OF_BACKING.len());
    let writeback = caching + OF_CACHING.len();
    let priority = writeback + WRITEBACK.len();
    Box::new(move |reading| {
        let (mut table, buffer) = (Table::new(&all), &mut reading.buffer);
        // Beside the sets stand files to register devices by.
        let sets = attributes::names_if_there(&folder)?;
        for uuid in sets.iter().filter(|name| name.contains('-')) {
            let (path, id) = (folder.join(uuid), ("uuid", uuid.as_str()));
            let names = attributes::names_if_there(&path).unwrap_or_default();
            Device { path: &path, labels: &[id] }.add_files(&mut table, 0, OF_SET, buffer);
            for (name, _) in attributes::numbered(&names, "bdev") {
                let (path, labels) = (path.join(name), [("backing_device", name), id]);
                let device = Device { path: &path, labels: &labels };
                device.add_files(&mut table, backing, OF_BACKING, buffer);
                let file = path.join("writeback_rate_debug");
                let file = Device { path: &file, labels: &labels };
                file.add_lines(&mut table, writeback, &WRITEBACK, buffer);
            }
            for (name, _) in attributes::numbered(&names, "cache") {
                let (path, labels) = (path.join(name), [("cache_device", name), id]);
                let device = Device { path: &path, labels: &labels };
                device.add_files(&mut table, caching, OF_CACHING, buffer);
                if with_priority {
                    let file = path.join("priority_stats");
                    let file = Device { path: &file, labels: &labels };
                    file.add_lines(&mut table, priority, &PRIORITY, buffer);
                }
            }
        }
        reading.families.extend(table.into_families());
        Ok(())
    })
}

/// The folder of a device or set, or a file there, with the labels of what it says.
struct Device<'d> {
    path: &'d Path,
    labels: &'d [(&'static str, &'d str)],
}

impl Device<'_> {
    /// Adds the numbers of files in the folder to the columns from `first` on.
    fn add_files(&self, table: &mut Table, first: usize, files: &Files, buffer: &mut Buffer) {
        for (column, (file, parts, _)) in files.iter().enumerate() {
            let bytes = read_once(&self.path.join(file), buffer).unwrap_or_default();
            if let Some(value) = for_people(bytes.trim_ascii()) {
                table.add(first + column, self.labels, value / parts);
            }
        }
    }

    /// Adds the numbers of the file's lines, `name: number`, to the columns from `first` on.
    fn add_lines(
        &self,
        table: &mut Table,
        first: usize,
        lines: &[(&str, Column)],
        buffer: &mut Buffer,
    ) {
        let bytes = read_once(self.path, buffer).unwrap_or_default();
        for (name, value) in text::lines(bytes).filter_map(|line| text::split(line, b':')) {
            let column = lines.iter().position(|(known, _)| known.as_bytes() == name);
            let value = value.strip_suffix(b"/sec").or(value.strip_suffix(b"%")).unwrap_or(value);
            if let (Some(column), Some(value)) = (column, for_people(value)) {
                table.add(first + column, self.labels, value);
            }
        }
    }
}

/// A number as the kernel writes it for people: with a unit of 1,024 and its powers, and before that
/// a fraction. What counts in whole bytes has no other fraction.
fn for_people(written: &[u8]) -> Option<f64> {
    const UNITS: &[u8] = b"kMGTPEZY";
    let (digits, unit) = match written.split_last()? {
        (unit, digits) if unit.is_ascii_alphabetic() => {
            let power = UNITS.iter().position(|known| known == unit)?;
            (digits, 1024_f64.powi(power as i32 + 1))
        }
        _ => return text::float(written),
    };
    let (negative, digits) = match digits.strip_prefix(b"-") {
        Some(digits) => (-1.0, digits),
        None => (1.0, digits),
    };
    let (whole, part) = text::split(digits, b'.').unwrap_or((digits, b"0"));
    let value = text::number(whole)? as f64 + text::number(part)? as f64 / 10.24;
    Some(negative * (value * unit).trunc())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values are those that node_exporter 1.11 shows.
    #[test]
    fn numbers_for_people_are_read_as_node_exporter_reads_them() {
        let check = |written: &str, expected: Option<f64>| {
            assert_eq!(for_people(written.as_bytes()), expected, "{written}");
        };
        check("546", Some(546.0));
        check("0.5k", Some(500.0));
        check("20.4G", Some(21_894_266_880.0));
        check("1.1M", Some(1_150_976.0));
        check("427.5k", Some(437_748.0));
        check("321.5k", Some(329_204.0));
        check("790.0k", Some(808_960.0));
        check("-1.5k", Some(-1524.0));
        check("1M", Some(1_048_576.0));
        check("1x", None);
        check("k", None);
        check("1.k", None);
        check("", None);
        check("1.99999999999999999999k", None);
    }
}
