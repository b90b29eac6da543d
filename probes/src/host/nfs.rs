//! What the NFS client did.
//!
//! Invariant: requests that this kernel counts and we have no name for are left out.

use super::config::Settings;
use super::file::Source;
use super::table::{Column, Table};
use super::{Collect, text};

const PACKETS: usize = 0;
const CONNECTIONS: usize = 1;
const RPCS: usize = 2;
const RETRANSMISSIONS: usize = 3;
const REFRESHES: usize = 4;
const REQUESTS: usize = 5;
const COLUMNS: [Column; 6] = [
    Column::counter(
        "node_nfs_packets_total",
        "Total NFSd network packets (sent+received) by protocol type.",
    ),
    Column::counter("node_nfs_connections_total", "Total number of NFSd TCP connections."),
    Column::counter("node_nfs_rpcs_total", "Total number of RPCs performed."),
    Column::counter("node_nfs_rpc_retransmissions_total", "Number of RPC transmissions performed."),
    Column::counter(
        "node_nfs_rpc_authentication_refreshes_total",
        "Number of RPC authentication refreshes performed.",
    ),
    Column::counter("node_nfs_requests_total", "Number of NFS procedures invoked."),
];

/// The procedures of version 2, in the order of their numbers.
pub(super) const V2: &[&str] = &[
    "Null", "GetAttr", "SetAttr", "Root", "Lookup", "ReadLink", "Read", "WrCache", "Write",
    "Create", "Remove", "Rename", "Link", "SymLink", "MkDir", "RmDir", "ReadDir", "FsStat",
];
/// The procedures of version 3, in the order of their numbers.
pub(super) const V3: &[&str] = &[
    "Null",
    "GetAttr",
    "SetAttr",
    "Lookup",
    "Access",
    "ReadLink",
    "Read",
    "Write",
    "Create",
    "MkDir",
    "SymLink",
    "MkNod",
    "Remove",
    "RmDir",
    "Rename",
    "Link",
    "ReadDir",
    "ReadDirPlus",
    "FsStat",
    "FsInfo",
    "PathConf",
    "Commit",
];
/// What the client counts of version 4, in its order.
const V4: &[&str] = &[
    "Null",
    "Read",
    "Write",
    "Commit",
    "Open",
    "OpenConfirm",
    "OpenNoattr",
    "OpenDowngrade",
    "Close",
    "Setattr",
    "FsInfo",
    "Renew",
    "SetClientID",
    "SetClientIDConfirm",
    "Lock",
    "Lockt",
    "Locku",
    "Access",
    "Getattr",
    "Lookup",
    "LookupRoot",
    "Remove",
    "Rename",
    "Link",
    "Symlink",
    "Create",
    "Pathconf",
    "StatFs",
    "ReadLink",
    "ReadDir",
    "ServerCaps",
    "DelegReturn",
    "GetACL",
    "SetACL",
    "FsLocations",
    "ReleaseLockowner",
    "Secinfo",
    "FsidPresent",
    "ExchangeID",
    "CreateSession",
    "DestroySession",
    "Sequence",
    "GetLeaseTime",
    "ReclaimComplete",
    "LayoutGet",
    "GetDeviceInfo",
    "LayoutCommit",
    "LayoutReturn",
    "SecinfoNoName",
    "TestStateID",
    "FreeStateID",
    "GetDeviceList",
    "BindConnToSession",
    "DestroyClientID",
    "Seek",
    "Allocate",
    "DeAllocate",
    "LayoutStats",
    "Clone",
];

pub(super) fn collector(settings: &Settings) -> Collect {
    let path = settings.paths.procfs.join("net/rpc/nfs");
    let mut source = Source::records(path, &settings.descriptors);
    Box::new(move |reading| {
        let mut table = Table::new(&COLUMNS);
        for line in text::lines(source.read_if_there(&mut reading.buffer)?) {
            let mut fields = text::fields(line);
            let name = fields.next().unwrap_or_default();
            let numbers: Vec<f64> = fields.map_while(text::value).collect();
            let all: &[(usize, usize)] = match name {
                b"net" => {
                    for (at, protocol) in [(1, "udp"), (2, "tcp")] {
                        if let Some(count) = numbers.get(at) {
                            table.add(PACKETS, &[("protocol", protocol)], *count);
                        }
                    }
                    &[(3, CONNECTIONS)]
                }
                b"rpc" => &[(0, RPCS), (1, RETRANSMISSIONS), (2, REFRESHES)],
                b"proc2" => requests(&mut table, REQUESTS, "2", V2, &numbers),
                b"proc3" => requests(&mut table, REQUESTS, "3", V3, &numbers),
                b"proc4" => requests(&mut table, REQUESTS, "4", V4, &numbers),
                _ => &[],
            };
            for (at, column) in all {
                if let Some(count) = numbers.get(*at) {
                    table.add(*column, &[], *count);
                }
            }
        }
        reading.families.extend(table.into_families());
        Ok(())
    })
}

/// Adds a count of requests for each of `methods`; the first of `numbers` says how many there are.
pub(super) fn requests(
    table: &mut Table,
    column: usize,
    version: &'static str,
    methods: &[&str],
    numbers: &[f64],
) -> &'static [(usize, usize)] {
    for (method, count) in methods.iter().zip(numbers.iter().skip(1)) {
        if !method.is_empty() {
            table.add(column, &[("method", method), ("proto", version)], *count);
        }
    }
    &[]
}
