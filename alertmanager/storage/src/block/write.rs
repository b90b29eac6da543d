//! Writing a block.
//!
//! Invariant: the file has its name only once it is whole and on the disk.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use base::labels::Labels;
use base::sample::Timestamp;
use roaring::RoaringBitmap;

use super::packed::Packer;
use super::times::SharedTimes;
use super::{Footer, Layout, MAGIC, list, section};
use crate::head::Sealed;
use crate::index::Index;
use crate::{lasting, varint};

/// Writes `series` as the block `name` in `dir`: on the disk, and under its name, when this
/// returns.
pub(crate) fn write(
    dir: &Path,
    name: &str,
    mut series: Vec<(Labels, Vec<Sealed>)>,
) -> io::Result<PathBuf> {
    lasting::make_folder(dir)?;
    let path = dir.join(format!("{name}.block"));
    let unfinished = dir.join(format!("{name}.unfinished"));
    series.sort_by(|a, b| a.0.cmp(&b.0));

    let mut out = Counted {
        out: BufWriter::with_capacity(1 << 20, File::create(&unfinished)?),
        at: 0,
        crc: crc32fast::Hasher::new(),
    };
    let mut packer = Packer::default();
    out.put(MAGIC)?;
    let (sections, times) = put_values(&mut out, &series, &mut packer)?;
    let times_at = out.begin_sum();
    out.put(times.bytes())?;
    let series_at = out.at;
    sections.iter().try_for_each(|section| out.put(section))?;
    let lists_at = out.at;
    let mut table = put_lists(&mut out, &series, &mut packer)?;
    varint::push(&mut table, sections.len() as u64);
    sections.iter().for_each(|section| varint::push(&mut table, section.len() as u64));
    let table_at = out.at;
    out.put(&packer.pack(&table)?)?;

    let chunks = || series.iter().flat_map(|(_, chunks)| chunks);
    let footer = Footer {
        layout: Layout::Sections,
        min_time: chunks().map(|chunk| chunk.first).min().unwrap_or(Timestamp::MAX),
        max_time: chunks().map(|chunk| chunk.last).max().unwrap_or(Timestamp::MIN),
        series: series.len() as u64,
        samples: chunks().map(|chunk| u64::from(chunk.count)).sum(),
        parts: [times_at, series_at, lists_at, table_at],
        crc: out.crc.clone().finalize(),
        has_histograms: chunks().any(Sealed::has_histograms),
    };
    out.put(&footer.encode())?;

    let file = out.out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    fs::rename(&unfinished, &path)?;
    lasting::sync(dir)?;
    Ok(path)
}

/// Writes the values of all series; returns their sections, and the times that they share.
fn put_values(
    out: &mut Counted,
    series: &[(Labels, Vec<Sealed>)],
    packer: &mut Packer,
) -> io::Result<(Vec<Vec<u8>>, SharedTimes)> {
    let (mut sections, mut times, mut values) = (Vec::new(), SharedTimes::default(), Vec::new());
    for series in series.chunks(section::SERIES) {
        values.clear();
        let section = section::encode(series, out.at, &mut times, &mut values);
        sections.push(packer.pack(&section)?);
        out.put(&values)?;
    }
    Ok((sections, times))
}

/// Writes the lists of all label values; returns the table with their lengths.
fn put_lists(
    out: &mut Counted,
    series: &[(Labels, Vec<Sealed>)],
    packer: &mut Packer,
) -> io::Result<Vec<u8>> {
    let mut index = Index::<RoaringBitmap>::default();
    series.iter().enumerate().for_each(|(n, (labels, _))| index.add(n as u32, labels));
    let mut table = Vec::new();
    varint::push(&mut table, index.names().count() as u64);
    for (name, values) in index.iter() {
        varint::push_bytes(&mut table, name.as_bytes());
        varint::push(&mut table, values.len() as u64);
        for (value, numbers) in values {
            let bytes = list::encode(numbers, packer)?;
            varint::push_bytes(&mut table, value.as_bytes());
            varint::push(&mut table, bytes.len() as u64);
            out.put(&bytes)?;
        }
    }
    Ok(table)
}

/// Counts and sums what is written. Values have sums of their own.
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
    fn begin_sum(&mut self) -> u64 {
        self.crc = crc32fast::Hasher::new();
        self.at
    }
}
