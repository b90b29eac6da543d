//! What XFS filesystems count.
//!
//! Invariant: a line that is missing or short costs its own metrics only.

use super::config::Settings;
use super::file::read_once;
use super::table::{Column, Table};
use super::{Collect, attributes, text};

/// The lines of the file by their names, and what their numbers are in order.
const LINES: [(&[u8], &[Column]); 8] = [
    (
        b"extent_alloc",
        &[
            Column::counter(
                "node_xfs_extent_allocation_extents_allocated_total",
                "Number of extents allocated for a filesystem.",
            ),
            Column::counter(
                "node_xfs_extent_allocation_blocks_allocated_total",
                "Number of blocks allocated for a filesystem.",
            ),
            Column::counter(
                "node_xfs_extent_allocation_extents_freed_total",
                "Number of extents freed for a filesystem.",
            ),
            Column::counter(
                "node_xfs_extent_allocation_blocks_freed_total",
                "Number of blocks freed for a filesystem.",
            ),
        ],
    ),
    (
        b"abt",
        &[
            Column::counter(
                "node_xfs_allocation_btree_lookups_total",
                "Number of allocation B-tree lookups for a filesystem.",
            ),
            Column::counter(
                "node_xfs_allocation_btree_compares_total",
                "Number of allocation B-tree compares for a filesystem.",
            ),
            Column::counter(
                "node_xfs_allocation_btree_records_inserted_total",
                "Number of allocation B-tree records inserted for a filesystem.",
            ),
            Column::counter(
                "node_xfs_allocation_btree_records_deleted_total",
                "Number of allocation B-tree records deleted for a filesystem.",
            ),
        ],
    ),
    (
        b"blk_map",
        &[
            Column::counter(
                "node_xfs_block_mapping_reads_total",
                "Number of block map for read operations for a filesystem.",
            ),
            Column::counter(
                "node_xfs_block_mapping_writes_total",
                "Number of block map for write operations for a filesystem.",
            ),
            Column::counter(
                "node_xfs_block_mapping_unmaps_total",
                "Number of block unmaps (deletes) for a filesystem.",
            ),
            Column::counter(
                "node_xfs_block_mapping_extent_list_insertions_total",
                "Number of extent list insertions for a filesystem.",
            ),
            Column::counter(
                "node_xfs_block_mapping_extent_list_deletions_total",
                "Number of extent list deletions for a filesystem.",
            ),
            Column::counter(
                "node_xfs_block_mapping_extent_list_lookups_total",
                "Number of extent list lookups for a filesystem.",
            ),
            Column::counter(
                "node_xfs_block_mapping_extent_list_compares_total",
                "Number of extent list compares for a filesystem.",
            ),
        ],
    ),
    (
        b"bmbt",
        &[
            Column::counter(
                "node_xfs_block_map_btree_lookups_total",
                "Number of block map B-tree lookups for a filesystem.",
            ),
            Column::counter(
                "node_xfs_block_map_btree_compares_total",
                "Number of block map B-tree compares for a filesystem.",
            ),
            Column::counter(
                "node_xfs_block_map_btree_records_inserted_total",
                "Number of block map B-tree records inserted for a filesystem.",
            ),
            Column::counter(
                "node_xfs_block_map_btree_records_deleted_total",
                "Number of block map B-tree records deleted for a filesystem.",
            ),
        ],
    ),
    (
        b"dir",
        &[
            Column::counter(
                "node_xfs_directory_operation_lookup_total",
                "Number of file name directory lookups which miss the operating systems directory name lookup cache.",
            ),
            Column::counter(
                "node_xfs_directory_operation_create_total",
                "Number of times a new directory entry was created for a filesystem.",
            ),
            Column::counter(
                "node_xfs_directory_operation_remove_total",
                "Number of times an existing directory entry was created for a filesystem.",
            ),
            Column::counter(
                "node_xfs_directory_operation_getdents_total",
                "Number of times the directory getdents operation was performed for a filesystem.",
            ),
        ],
    ),
    (
        b"ig",
        &[
            Column::counter(
                "node_xfs_inode_operation_attempts_total",
                "Number of times the OS looked for an XFS inode in the inode cache.",
            ),
            Column::counter(
                "node_xfs_inode_operation_found_total",
                "Number of times the OS looked for and found an XFS inode in the inode cache.",
            ),
            Column::counter(
                "node_xfs_inode_operation_recycled_total",
                "Number of times the OS found an XFS inode in the cache, but could not use it as it was being recycled.",
            ),
            Column::counter(
                "node_xfs_inode_operation_missed_total",
                "Number of times the OS looked for an XFS inode in the cache, but did not find it.",
            ),
            Column::counter(
                "node_xfs_inode_operation_duplicates_total",
                "Number of times the OS tried to add a missing XFS inode to the inode cache, but found it had already been added by another process.",
            ),
            Column::counter(
                "node_xfs_inode_operation_reclaims_total",
                "Number of times the OS reclaimed an XFS inode from the inode cache to free memory for another purpose.",
            ),
            Column::counter(
                "node_xfs_inode_operation_attribute_changes_total",
                "Number of times the OS explicitly changed the attributes of an XFS inode.",
            ),
        ],
    ),
    (
        b"rw",
        &[
            Column::counter(
                "node_xfs_write_calls_total",
                "Number of write(2) system calls made to files in a filesystem.",
            ),
            Column::counter(
                "node_xfs_read_calls_total",
                "Number of read(2) system calls made to files in a filesystem.",
            ),
        ],
    ),
    (
        b"vnodes",
        &[
            Column::counter(
                "node_xfs_vnode_active_total",
                "Number of vnodes not on free lists for a filesystem.",
            ),
            Column::counter(
                "node_xfs_vnode_allocate_total",
                "Number of times vn_alloc called for a filesystem.",
            ),
            Column::counter(
                "node_xfs_vnode_get_total",
                "Number of times vn_get called for a filesystem.",
            ),
            Column::counter(
                "node_xfs_vnode_hold_total",
                "Number of times vn_hold called for a filesystem.",
            ),
            Column::counter(
                "node_xfs_vnode_release_total",
                "Number of times vn_rele called for a filesystem.",
            ),
            Column::counter(
                "node_xfs_vnode_reclaim_total",
                "Number of times vn_reclaim called for a filesystem.",
            ),
            Column::counter(
                "node_xfs_vnode_remove_total",
                "Number of times vn_remove called for a filesystem.",
            ),
        ],
    ),
];

pub(super) fn collector(settings: &Settings) -> Collect {
    let folder = settings.paths.sysfs.join("fs/xfs");
    let columns: Vec<_> = LINES.iter().flat_map(|(_, columns)| *columns).copied().collect();
    Box::new(move |reading| {
        let mut table = Table::new(&columns);
        for device in attributes::names_if_there(&folder)? {
            // Beside the filesystems stands `stats`, the sum of all.
            let path = folder.join(&device).join("stats/stats");
            let Ok(stats) = read_once(&path, &mut reading.buffer) else { continue };
            for line in text::lines(stats) {
                let mut fields = text::fields(line);
                let Some(name) = fields.next() else { continue };
                let mut first = 0;
                for (known, columns) in LINES {
                    if known == name {
                        for (column, value) in (0..columns.len()).zip(fields.by_ref()) {
                            if let Some(value) = text::value(value) {
                                table.add(first + column, &[("device", &device)], value);
                            }
                        }
                    }
                    first += columns.len();
                }
            }
        }
        reading.families.extend(table.into_families());
        Ok(())
    })
}
