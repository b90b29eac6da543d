//! What the NFS server did.
//!
//! Invariant: requests that this kernel counts and we have no name for are left out.

use super::config::Settings;
use super::file::Source;
use super::nfs::{V2, V3, requests};
use super::table::{Column, Table};
use super::{Collect, text};

/// The lines that hold plain numbers, and where in the line each is.
const NUMBERS: [(&[u8], usize, Column); 12] = [
    (
        b"rc",
        0,
        Column::counter(
            "node_nfsd_reply_cache_hits_total",
            "Total number of NFSd Reply Cache hits (client lost server response).",
        ),
    ),
    (
        b"rc",
        1,
        Column::counter(
            "node_nfsd_reply_cache_misses_total",
            "Total number of NFSd Reply Cache an operation that requires caching (idempotent).",
        ),
    ),
    (
        b"rc",
        2,
        Column::counter(
            "node_nfsd_reply_cache_nocache_total",
            "Total number of NFSd Reply Cache non-idempotent operations (rename/delete/…).",
        ),
    ),
    (
        b"fh",
        0,
        Column::counter(
            "node_nfsd_file_handles_stale_total",
            "Total number of NFSd stale file handles",
        ),
    ),
    (b"io", 0, Column::counter("node_nfsd_disk_bytes_read_total", "Total NFSd bytes read.")),
    (b"io", 1, Column::counter("node_nfsd_disk_bytes_written_total", "Total NFSd bytes written.")),
    (
        b"th",
        0,
        Column::gauge(
            "node_nfsd_server_threads",
            "Total number of NFSd kernel threads that are running.",
        ),
    ),
    (
        b"ra",
        0,
        Column::gauge(
            "node_nfsd_read_ahead_cache_size_blocks",
            "How large the read ahead cache is in blocks.",
        ),
    ),
    (
        b"ra",
        11,
        Column::counter(
            "node_nfsd_read_ahead_cache_not_found_total",
            "Total number of NFSd read ahead cache not found.",
        ),
    ),
    (
        b"net",
        3,
        Column::counter("node_nfsd_connections_total", "Total number of NFSd TCP connections."),
    ),
    (b"rpc", 0, Column::counter("node_nfsd_server_rpcs_total", "Total number of NFSd RPCs.")),
    (
        b"",
        0,
        Column::counter(
            "node_nfsd_packets_total",
            "Total NFSd network packets (sent+received) by protocol type.",
        ),
    ),
];
const PACKETS: usize = 11;
const ERRORS: usize = 12;
const REQUESTS: usize = 13;
const LABELLED: [Column; 2] = [
    Column::counter("node_nfsd_rpc_errors_total", "Total number of NFSd RPC errors by error type."),
    Column::counter(
        "node_nfsd_requests_total",
        "Total number NFSd Requests by method and protocol.",
    ),
];

/// The operations of version 4 by their numbers; those without a name are not shown.
const V4: &[&str] = &[
    "",
    "",
    "",
    "Access",
    "Close",
    "Commit",
    "Create",
    "DelegPurge",
    "DelegReturn",
    "GetAttr",
    "GetFH",
    "Link",
    "Lock",
    "Lockt",
    "Locku",
    "Lookup",
    "LookupRoot",
    "Nverify",
    "Open",
    "OpenAttr",
    "OpenConfirm",
    "OpenDgrd",
    "PutFH",
    "",
    "",
    "Read",
    "ReadDir",
    "ReadLink",
    "Remove",
    "Rename",
    "Renew",
    "RestoreFH",
    "SaveFH",
    "SecInfo",
    "SetAttr",
    "SetClientID",
    "SetClientIDConfirm",
    "Verify",
    "Write",
    "RelLockOwner",
];

pub(super) fn collector(settings: &Settings) -> Collect {
    let path = settings.paths.procfs.join("net/rpc/nfsd");
    let mut source = Source::records(path, &settings.descriptors);
    let columns: Vec<_> = NUMBERS.iter().map(|(.., column)| *column).chain(LABELLED).collect();
    Box::new(move |reading| {
        let mut table = Table::new(&columns);
        for line in text::lines(source.read_if_there(&mut reading.buffer)?) {
            let mut fields = text::fields(line);
            let name = fields.next().unwrap_or_default();
            let numbers: Vec<f64> = fields.map_while(text::float).collect();
            for (column, (known, at, _)) in NUMBERS.iter().enumerate() {
                if *known == name
                    && let Some(number) = numbers.get(*at)
                {
                    table.add(column, &[], *number);
                }
            }
            add_labelled(&mut table, name, &numbers);
        }
        reading.families.extend(table.into_families());
        Ok(())
    })
}

fn add_labelled(table: &mut Table, name: &[u8], numbers: &[f64]) {
    let labelled: &[(usize, usize, &'static str, &str)] = match name {
        b"net" => &[(1, PACKETS, "proto", "udp"), (2, PACKETS, "proto", "tcp")],
        b"rpc" => &[
            (2, ERRORS, "error", "fmt"),
            (3, ERRORS, "error", "auth"),
            (4, ERRORS, "error", "cInt"),
        ],
        _ => &[],
    };
    for (at, column, label, value) in labelled {
        if let Some(number) = numbers.get(*at) {
            table.add(*column, &[(label, value)], *number);
        }
    }
    match name {
        // node_exporter leaves out the procedure that does nothing.
        b"proc2" => _ = requests(table, REQUESTS, "2", &V2[1..], numbers.get(1..).unwrap_or(&[])),
        b"proc3" => _ = requests(table, REQUESTS, "3", &V3[1..], numbers.get(1..).unwrap_or(&[])),
        b"proc4ops" => _ = requests(table, REQUESTS, "4", V4, numbers),
        b"wdeleg_getattr" => {
            if let Some(count) = numbers.first() {
                let labels = [("method", "WdelegGetattr"), ("proto", "4")];
                table.add(REQUESTS, &labels, *count);
            }
        }
        _ => {}
    }
}
