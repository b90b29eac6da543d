//! Memory, from `/proc/meminfo`: the fields that node_exporter 1.11 shows, under its names.
//!
//! Invariant: kilobytes of the file are bytes here, and a field that the kernel lacks is left out.

use super::config::Settings;
use super::file::Source;
use super::table::Column;
use super::{Collect, text};

macro_rules! fields {
    ($($field:literal => $name:literal,)*) => {
        &[$((
            $field,
            Column::gauge(
                concat!("node_memory_", $name),
                concat!("Memory information field ", $name, "."),
            ),
        ),)*]
    };
}

/// The fields in the order in which kernels write them.
const FIELDS: &[(&str, Column)] = fields! {
    "MemTotal" => "MemTotal_bytes",
    "MemFree" => "MemFree_bytes",
    "MemAvailable" => "MemAvailable_bytes",
    "Buffers" => "Buffers_bytes",
    "Cached" => "Cached_bytes",
    "SwapCached" => "SwapCached_bytes",
    "Active" => "Active_bytes",
    "Inactive" => "Inactive_bytes",
    "Active(anon)" => "Active_anon_bytes",
    "Inactive(anon)" => "Inactive_anon_bytes",
    "Active(file)" => "Active_file_bytes",
    "Inactive(file)" => "Inactive_file_bytes",
    "Unevictable" => "Unevictable_bytes",
    "Mlocked" => "Mlocked_bytes",
    "SwapTotal" => "SwapTotal_bytes",
    "SwapFree" => "SwapFree_bytes",
    "Zswap" => "Zswap_bytes",
    "Zswapped" => "Zswapped_bytes",
    "Dirty" => "Dirty_bytes",
    "Writeback" => "Writeback_bytes",
    "AnonPages" => "AnonPages_bytes",
    "Mapped" => "Mapped_bytes",
    "Shmem" => "Shmem_bytes",
    "Slab" => "Slab_bytes",
    "SReclaimable" => "SReclaimable_bytes",
    "SUnreclaim" => "SUnreclaim_bytes",
    "KernelStack" => "KernelStack_bytes",
    "PageTables" => "PageTables_bytes",
    "NFS_Unstable" => "NFS_Unstable_bytes",
    "Bounce" => "Bounce_bytes",
    "WritebackTmp" => "WritebackTmp_bytes",
    "CommitLimit" => "CommitLimit_bytes",
    "Committed_AS" => "Committed_AS_bytes",
    "VmallocTotal" => "VmallocTotal_bytes",
    "VmallocUsed" => "VmallocUsed_bytes",
    "VmallocChunk" => "VmallocChunk_bytes",
    "Percpu" => "Percpu_bytes",
    "HardwareCorrupted" => "HardwareCorrupted_bytes",
    "AnonHugePages" => "AnonHugePages_bytes",
    "ShmemHugePages" => "ShmemHugePages_bytes",
    "ShmemPmdMapped" => "ShmemPmdMapped_bytes",
    "CmaTotal" => "CmaTotal_bytes",
    "CmaFree" => "CmaFree_bytes",
    "HugePages_Total" => "HugePages_Total",
    "HugePages_Free" => "HugePages_Free",
    "HugePages_Rsvd" => "HugePages_Rsvd",
    "HugePages_Surp" => "HugePages_Surp",
    "Hugepagesize" => "Hugepagesize_bytes",
    "DirectMap4k" => "DirectMap4k_bytes",
    "DirectMap2M" => "DirectMap2M_bytes",
    "DirectMap1G" => "DirectMap1G_bytes",
};

pub(super) fn collector(settings: &Settings) -> Collect {
    let path = settings.paths.procfs.join("meminfo");
    let mut source = Source::record(path, &settings.descriptors);
    Box::new(move |reading| {
        let meminfo = source.read(&mut reading.buffer)?;
        let (mut next, mut found, mut malformed) = (0, false, None);
        for line in text::lines(meminfo) {
            let Some((name, amount)) = text::split(line, b':') else { continue };
            let Some(at) = position(name, next) else { continue };
            next = at + 1;
            let mut amount = text::fields(amount);
            match (amount.next().and_then(text::value), amount.next()) {
                (Some(value), None) => reading.families.push(FIELDS[at].1.with(value)),
                (Some(kilobytes), Some(b"kB")) => {
                    reading.families.push(FIELDS[at].1.with(kilobytes * 1024.0));
                }
                _ => {
                    malformed.get_or_insert_with(|| text::text(line).into_owned());
                    continue;
                }
            }
            found = true;
        }
        match malformed {
            Some(line) => Err(source.malformed(format!("`{line}`"))),
            None if !found => Err(source.malformed("it has no field that we know")),
            None => Ok(()),
        }
    })
}

/// Where `name` stands among the fields; looks from `next` on first, since the order is known.
fn position(name: &[u8], next: usize) -> Option<usize> {
    let is = |at: &usize| FIELDS[*at].0.as_bytes() == name;
    (next..FIELDS.len()).chain(0..next.min(FIELDS.len())).find(is)
}
