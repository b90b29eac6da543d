//! Writing a block.
//!
//! Invariant: the file has its name only once it is whole and on the disk.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use base::labels::Labels;
use base::sample::Timestamp;
use roaring::RoaringBitmap;

use super::{Footer, MAGIC};
use crate::head::Sealed;
use crate::index::Index;
use crate::varint;

/// Writes `series` as the block `name` in `dir`: on the disk, and under its name, when this
/// returns.
pub(crate) fn write(
    dir: &Path,
    name: &str,
    mut series: Vec<(Labels, Vec<Sealed>)>,
) -> io::Result<PathBuf> {
    fs::create_dir_all(dir)?;
    let path = dir.join(format!("{name}.block"));
    let unfinished = dir.join(format!("{name}.unfinished"));
    series.sort_by(|a, b| a.0.cmp(&b.0));

    let mut out = Counted {
        out: BufWriter::with_capacity(1 << 20, File::create(&unfinished)?),
        at: 0,
        crc: crc32fast::Hasher::new(),
    };
    out.put(MAGIC)?;
    let mut footer = Footer {
        min_time: Timestamp::MAX,
        max_time: Timestamp::MIN,
        series: series.len() as u64,
        samples: 0,
        series_at: 0,
        offsets_at: 0,
        lists_at: 0,
        table_at: 0,
        crc: 0,
        has_histograms: series.iter().flat_map(|(_, chunks)| chunks).any(Sealed::has_histograms),
    };
    let mut starts = Vec::with_capacity(series.len());
    for (_, chunks) in &series {
        starts.push(out.at);
        for chunk in chunks {
            out.put(&chunk.bytes)?;
            footer.min_time = footer.min_time.min(chunk.first);
            footer.max_time = footer.max_time.max(chunk.last);
            footer.samples += u64::from(chunk.count);
        }
    }
    footer.series_at = out.begin_section();
    let (mut offsets, mut entry) = (Vec::new(), Vec::new());
    for ((labels, chunks), start) in series.iter().zip(&starts) {
        offsets.extend_from_slice(&out.at.to_le_bytes());
        entry.clear();
        put_series(&mut entry, labels, chunks, *start);
        out.put(&entry)?;
    }
    footer.offsets_at = out.at;
    out.put(&offsets)?;

    let mut index = Index::<RoaringBitmap>::default();
    series.iter().enumerate().for_each(|(n, (labels, _))| index.add(n as u32, labels));
    footer.lists_at = out.at;
    let mut table = Vec::new();
    varint::push(&mut table, index.names().count() as u64);
    for (name, values) in index.iter() {
        varint::push_bytes(&mut table, name.as_bytes());
        varint::push(&mut table, values.len() as u64);
        for (value, list) in values {
            varint::push_bytes(&mut table, value.as_bytes());
            varint::push(&mut table, out.at);
            let mut bytes = Vec::with_capacity(list.serialized_size());
            list.serialize_into(&mut bytes)?;
            varint::push(&mut table, bytes.len() as u64);
            out.put(&bytes)?;
        }
    }
    footer.table_at = out.at;
    out.put(&table)?;
    footer.crc = out.crc.clone().finalize();
    out.put(&footer.encode())?;

    let file = out.out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    fs::rename(&unfinished, &path)?;
    File::open(dir)?.sync_all()?;
    Ok(path)
}

fn put_series(to: &mut Vec<u8>, labels: &Labels, chunks: &[Sealed], start: u64) {
    varint::push_bytes(to, labels.as_encoded().as_bytes());
    varint::push(to, chunks.len() as u64);
    varint::push(to, start);
    for chunk in chunks {
        varint::push_signed(to, chunk.first.millis());
        varint::push(to, chunk.last.millis().wrapping_sub(chunk.first.millis()) as u64);
        varint::push(to, u64::from(chunk.count));
        varint::push(to, chunk.bytes.len() as u64);
        varint::push(to, u64::from(crc32fast::hash(&chunk.bytes)));
    }
}

/// Counts and sums what is written. Chunks have sums of their own.
struct Counted {
    out: BufWriter<File>,
    at: u64,
    crc: crc32fast::Hasher,
}

impl Counted {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.at += bytes.len() as u64;
        self.crc.update(bytes);
        Ok(())
    }

    /// Starts the sum anew; returns where we are.
    fn begin_section(&mut self) -> u64 {
        self.crc = crc32fast::Hasher::new();
        self.at
    }
}
