//! Tracked connections, where the kernel tracks connections.
//!
//! Invariant: the counters are sums over all CPUs.

use super::config::Settings;
use super::file::Source;
use super::table::Column;
use super::{Collect, text};

const ENTRIES: Column = Column::gauge(
    "node_nf_conntrack_entries",
    "Number of currently allocated flow entries for connection tracking.",
);
const LIMIT: Column =
    Column::gauge("node_nf_conntrack_entries_limit", "Maximum size of connection tracking table.");
/// What is summed up, by the headings of `/proc/net/stat/nf_conntrack`.
const STATISTICS: [(&str, Column); 8] = [
    (
        "found",
        Column::gauge(
            "node_nf_conntrack_stat_found",
            "Number of searched entries which were successful.",
        ),
    ),
    (
        "invalid",
        Column::gauge(
            "node_nf_conntrack_stat_invalid",
            "Number of packets seen which can not be tracked.",
        ),
    ),
    (
        "ignore",
        Column::gauge(
            "node_nf_conntrack_stat_ignore",
            "Number of packets seen which are already connected to a conntrack entry.",
        ),
    ),
    (
        "insert",
        Column::gauge("node_nf_conntrack_stat_insert", "Number of entries inserted into the list."),
    ),
    (
        "insert_failed",
        Column::gauge(
            "node_nf_conntrack_stat_insert_failed",
            "Number of entries for which list insertion was attempted but failed.",
        ),
    ),
    (
        "drop",
        Column::gauge(
            "node_nf_conntrack_stat_drop",
            "Number of packets dropped due to conntrack failure.",
        ),
    ),
    (
        "early_drop",
        Column::gauge(
            "node_nf_conntrack_stat_early_drop",
            "Number of dropped conntrack entries to make room for new ones, if maximum table size \
             was reached.",
        ),
    ),
    (
        "search_restart",
        Column::gauge(
            "node_nf_conntrack_stat_search_restart",
            "Number of conntrack table lookups which had to be restarted due to hashtable resizes.",
        ),
    ),
];

pub(super) fn collector(settings: &Settings) -> Collect {
    let source =
        |path: &str| Source::records(settings.paths.procfs.join(path), &settings.descriptors);
    let mut count = source("sys/net/netfilter/nf_conntrack_count");
    let mut limit = source("sys/net/netfilter/nf_conntrack_max");
    let mut statistics = source("net/stat/nf_conntrack");
    Box::new(move |reading| {
        reading.families.push(ENTRIES.with(count.number(&mut reading.buffer)?));
        reading.families.push(LIMIT.with(limit.number(&mut reading.buffer)?));
        let table = statistics.read_if_there(&mut reading.buffer)?;
        let Some(sums) = sums(table) else {
            return Err(statistics.malformed("its numbers do not stand under its headings"));
        };
        reading.families.extend(STATISTICS.iter().zip(sums).map(|((_, c), sum)| c.with(sum)));
        Ok(())
    })
}

/// The sum over all CPUs under each heading; 0 where a heading is missing.
fn sums(table: &[u8]) -> Option<[f64; STATISTICS.len()]> {
    let mut lines = text::lines(table);
    let headings: Vec<_> = text::fields(lines.next()?).collect();
    let columns = STATISTICS
        .map(|(heading, _)| headings.iter().position(|found| *found == heading.as_bytes()));
    let mut sums = [0_u64; STATISTICS.len()];
    for line in lines {
        let fields: Vec<_> = text::fields(line).map(text::hexadecimal).collect();
        for (sum, column) in sums.iter_mut().zip(columns) {
            let Some(column) = column else { continue };
            *sum = sum.wrapping_add((*fields.get(column)?)?);
        }
    }
    Some(sums.map(|sum| sum as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(table: &str, expected: Option<[f64; 8]>) {
        assert_eq!(sums(table.as_bytes()), expected, "{table}");
    }

    #[test]
    fn sums_up_what_every_cpu_counted() {
        let none = [0.0; 8];
        check("entries found drop\n1 a 1\n2 10 0\n", Some([26.0, 0., 0., 0., 0., 1.0, 0., 0.]));
        check("entries found\n", Some(none));
        check("entries\n1\n", Some(none));
        check("entries found\n1\n", None);
        check("entries found\n1 x\n", None);
        check("", None);
    }
}
