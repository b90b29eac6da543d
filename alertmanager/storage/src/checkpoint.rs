//! The head on the disk as it was at some moment, so that a start reads only what the log got since.
//!
//! ```text
//! 8 bytes of magic, then frames as in the log: length, CRC-32, payload
//! first frame   segments that it stands for: count, then number and newest time each
//! others        series: labels, last sample, start, chunks, late samples; or exemplars
//! last frame    empty: it is whole
//! ```
//!
//! A segment of the log begins, and then the head is written piece by piece while appending goes on.
//! What it has of that segment already is met again when that is read, and known by its time.
//!
//! Invariant: it is never needed. The log keeps all of what is in it, but for exemplars of windows that are
//! in blocks; one that is damaged or not whole is passed over.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use base::labels::Labels;
use base::sample::Timestamp;
use tracing::{info, warn};

use crate::Storage;
use crate::append::Writer;
use crate::exemplars::bytes::{self, Of};
use crate::head::{Kept, Sealed};
use crate::log::{Log, Restored, fill};
use crate::{lasting, varint};

const MAGIC: &[u8; 8] = b"VEILHED1";
const NAME: &str = "head";
/// So many series are written under one lock of the head.
const BATCH: usize = 1024;
/// The largest frame that is believed.
const MAX_FRAME: usize = 1 << 30;

/// Segments of the log, with the time of their newest sample.
pub(crate) type Segments = Vec<(u32, Timestamp)>;

/// A head that is about to be written.
struct Begun {
    segments: Segments,
    /// Frames of what stands in them.
    exemplars: Vec<Vec<u8>>,
}

impl Storage {
    /// Writes the head, where the log got at least `least` bytes since it was written last. Appending
    /// goes on meanwhile. A disk that does not take it is told in the log of ours, and no harm.
    pub fn checkpoint(&self, least: u64) {
        let _turn = self.changing_blocks();
        self.write_checkpoint(least);
    }

    /// An orderly end: everything appended is on the disk, and no more than `least` bytes of log are to be
    /// read at the next start. What failed just now is tried once more.
    ///
    /// # Errors
    ///
    /// The disk failed.
    pub fn close(&self, least: u64) -> io::Result<()> {
        {
            let mut writer = self.writer();
            writer.is_failing = false;
            writer.log.iter_mut().for_each(Log::try_at_once);
        }
        let synced = self.sync();
        self.checkpoint(least);
        synced
    }

    /// As [`Storage::checkpoint`], for who holds the turn. However little log there is, it is written where
    /// it has what the log lacks, as soon as the disk takes something again.
    pub(crate) fn write_checkpoint(&self, least: u64) {
        let _ = self.write_where(|log, unlogged, is_failing| {
            log.unread() >= least.max(1) || (unlogged > 0 && !is_failing)
        });
    }

    /// Writes the head where `is_due` says so of the log, of how many samples it lacks, and whether it fails;
    /// whether it is written.
    fn write_where(&self, is_due: impl FnOnce(&Log, u64, bool) -> bool) -> bool {
        let mut writer = self.writer();
        let Writer { log: Some(log), unlogged, is_failing, .. } = &mut *writer else {
            return false;
        };
        if !is_due(log, *unlogged, *is_failing) {
            return false;
        }
        // What comes while it is written may not be in it.
        let lacking = std::mem::take(unlogged);
        let begun = self.begin_checkpoint(log);
        drop(writer);
        let is_written = self.finish_checkpoint(begun);
        if !is_written {
            self.writer().unlogged += lacking;
        }
        is_written
    }

    fn begin_checkpoint(&self, log: &mut Log) -> io::Result<Begun> {
        Ok(Begun { segments: log.begin_checkpoint()?, exemplars: self.exemplars.frames() })
    }

    /// Writes the head anew where it was written before: most of what that had is in blocks now, and
    /// would be on the disk twice; and where there are exemplars, whose part of the log is about to go.
    /// For who holds the turn already. Returns whether there is nothing that only the log has.
    pub(crate) fn renew_checkpoint(&self) -> bool {
        let exists = self.dir.as_ref().is_some_and(|dir| dir.join(NAME).exists());
        if !exists && self.exemplars.is_empty() {
            return true;
        }
        self.write_where(|_, _, _| true)
    }

    /// Whether the head is written.
    fn finish_checkpoint(&self, begun: io::Result<Begun>) -> bool {
        let Some(dir) = &self.dir else { return false };
        let unfinished = dir.join("head.new");
        let written = begun.and_then(|begun| {
            self.write_head(&unfinished, &begun)?;
            fs::rename(&unfinished, dir.join(NAME))?;
            lasting::sync(dir)
        });
        if let Err(error) = &written {
            let _ = fs::remove_file(&unfinished);
            warn!(%error, "the head could not be written: the next start reads more of the log");
        }
        written.is_ok()
    }

    fn write_head(&self, path: &Path, begun: &Begun) -> io::Result<()> {
        let Begun { segments, exemplars } = begun;
        let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
        out.write_all(MAGIC)?;
        let mut payload = Vec::new();
        varint::push(&mut payload, segments.len() as u64);
        for (number, newest) in segments {
            varint::push(&mut payload, u64::from(*number));
            varint::push_signed(&mut payload, newest.millis());
        }
        put_frame(&mut out, &payload)?;
        exemplars.iter().try_for_each(|frame| put_frame(&mut out, frame))?;
        let (mut slot, mut series) = (0, 0);
        loop {
            let slots = self.head().slots();
            if slot >= slots {
                break;
            }
            let kept: Vec<(Labels, Kept)> = {
                let head = self.head();
                let batch = slot..(slot + BATCH).min(slots);
                let kept = batch.filter_map(|slot| head.in_slot(u32::try_from(slot).ok()?));
                kept.map(|series| (series.labels.clone(), series.keep())).collect()
            };
            slot += BATCH;
            series += kept.len();
            payload.clear();
            kept.iter().for_each(|(labels, kept)| put_series(&mut payload, labels, kept));
            if !payload.is_empty() {
                put_frame(&mut out, &payload)?;
            }
        }
        put_frame(&mut out, &[])?;
        let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        info!(series, bytes = file.metadata()?.len(), "the head is written");
        Ok(())
    }
}

fn put_frame(out: &mut impl Write, payload: &[u8]) -> io::Result<()> {
    let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(&crc32fast::hash(payload).to_le_bytes())?;
    out.write_all(payload)
}

fn put_series(to: &mut Vec<u8>, labels: &Labels, kept: &Kept) {
    let Some((time, value)) = kept.last else { return };
    varint::push_bytes(to, labels.as_encoded().as_bytes());
    varint::push_signed(to, time.millis());
    to.extend_from_slice(&value.to_le_bytes());
    varint::push_signed(to, kept.start);
    varint::push(to, kept.chunks.len() as u64);
    for chunk in &kept.chunks {
        varint::push_signed(to, chunk.first.millis());
        varint::push_signed(to, chunk.last.millis());
        varint::push(to, u64::from(chunk.count));
        varint::push_bytes(to, &chunk.bytes);
    }
    varint::push(to, kept.late.len() as u64);
    for (time, value) in &kept.late {
        varint::push_signed(to, *time);
        to.extend_from_slice(&value.to_le_bytes());
    }
}

/// Reads the head of `dir`, as far as it is not in blocks; returns the segments that need not be read.
/// Nothing where there is none, or none that is whole: what was read is of no use then.
pub(crate) fn read(dir: &Path, into: &mut Restored<'_>) -> io::Result<Option<Segments>> {
    let file = match File::open(dir.join(NAME)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut file = BufReader::with_capacity(1 << 20, file);
    let read = read_frames(&mut file, into)?;
    if read.is_none() {
        warn!("the head on the disk is damaged or not whole; all of the log is read in its place");
    }
    Ok(read)
}

fn read_frames(file: &mut impl Read, into: &mut Restored<'_>) -> io::Result<Option<Segments>> {
    let mut magic = [0; MAGIC.len()];
    let mut payload = Vec::new();
    if !fill(file, &mut magic)? || &magic != MAGIC || !next_frame(file, &mut payload)? {
        return Ok(None);
    }
    let Some(segments) = take_segments(&payload) else { return Ok(None) };
    loop {
        if !next_frame(file, &mut payload)? {
            return Ok(None);
        }
        if payload.is_empty() {
            return Ok(Some(segments));
        }
        if let Some(mut rest) = bytes::behind_mark(&payload) {
            while !rest.is_empty() {
                let Some((Of::Series(series), exemplar)) = bytes::take(&mut rest) else {
                    return Ok(None);
                };
                into.exemplars.take_back(&series, &exemplar);
            }
            continue;
        }
        let mut rest = payload.as_slice();
        while !rest.is_empty() {
            let Some((labels, kept)) = take_series(&mut rest) else { return Ok(None) };
            into.head.restore(&labels, kept, into.limit);
        }
    }
}

/// Reads a frame; false where it is not sound.
fn next_frame(file: &mut impl Read, payload: &mut Vec<u8>) -> io::Result<bool> {
    let (mut length, mut crc) = ([0; 4], [0; 4]);
    if !fill(file, &mut length)? || !fill(file, &mut crc)? {
        return Ok(false);
    }
    let length = u32::from_le_bytes(length) as usize;
    payload.clear();
    if length > MAX_FRAME {
        return Ok(false);
    }
    // Not `resize`: a damaged length must not cost memory that the file does not have.
    let read = Read::by_ref(file).take(length as u64).read_to_end(payload)?;
    Ok(read == length && crc32fast::hash(payload) == u32::from_le_bytes(crc))
}

fn take_segments(mut bytes: &[u8]) -> Option<Segments> {
    let from = &mut bytes;
    let mut segments = Vec::new();
    for _ in 0..varint::take(from)? {
        let number = u32::try_from(varint::take(from)?).ok()?;
        segments.push((number, Timestamp::from_millis(varint::take_signed(from)?)));
    }
    Some(segments)
}

fn take_series(from: &mut &[u8]) -> Option<(Labels, Kept)> {
    let labels = std::str::from_utf8(varint::take_bytes(from)?).ok()?;
    let labels = Labels::from_encoded(labels)?;
    let time = Timestamp::from_millis(varint::take_signed(from)?);
    let last = Some((time, take_float(from)?));
    let start = varint::take_signed(from)?;
    let (mut chunks, mut late) = (Vec::new(), Vec::new());
    for _ in 0..varint::take(from)? {
        chunks.push(Sealed {
            first: Timestamp::from_millis(varint::take_signed(from)?),
            last: Timestamp::from_millis(varint::take_signed(from)?),
            count: u32::try_from(varint::take(from)?).ok()?,
            bytes: varint::take_bytes(from)?.into(),
        });
    }
    for _ in 0..varint::take(from)? {
        late.push((varint::take_signed(from)?, take_float(from)?));
    }
    Some((labels, Kept { chunks, last, start, late }))
}

fn take_float(from: &mut &[u8]) -> Option<f64> {
    let (bytes, rest) = from.split_first_chunk::<8>()?;
    *from = rest;
    Some(f64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use base::histogram::Histogram;

    use super::*;
    use crate::exemplars::Newest;
    use crate::head::{Head, Limit};
    use crate::{Exemplar, Options, Point};

    const MINUTE: i64 = 60_000;

    fn open(dir: &Path) -> Storage {
        let out_of_order = Duration::from_secs(600);
        Storage::open(dir, Options { out_of_order, ..Options::default() }).unwrap()
    }

    fn append(storage: &Storage, series: &str, minute: i64) {
        let labels = Labels::from_pairs([("__name__", "x"), ("series", series)]);
        let series = storage.series(&labels).unwrap();
        let timestamp = Timestamp::from_millis(minute * MINUTE);
        let point = Point { series, timestamp, value: minute as f64 / 4.0 };
        assert_eq!(storage.append(&[point]).unwrap().stored, 1);
    }

    /// Labels, times, bits of values and histograms: tags of histograms are no numbers.
    type Found = (Labels, Vec<i64>, Vec<u64>, Vec<Arc<Histogram>>);

    fn all(storage: &Storage) -> Vec<Found> {
        let found = storage.select(&[], Timestamp::MIN, Timestamp::MAX).unwrap().into_iter();
        let bits = |values: Vec<f64>| values.iter().map(|value| value.to_bits()).collect();
        found.map(|s| (s.labels, s.times, bits(s.values), s.histograms)).collect()
    }

    fn head_of(dir: &Path) -> (Head, Segments) {
        let mut head = crate::head_behind(&[], Options::default());
        let (exemplars, limit) = (&mut Newest::of(0), &mut Limit::of(100));
        let segments =
            read(dir, &mut Restored { head: &mut head, exemplars, limit }).unwrap().unwrap();
        (head, segments)
    }

    /// Five hours with a late sample and histograms; the head is written, and then there is more.
    fn filled(dir: &Path) -> Storage {
        let storage = open(dir);
        let labels = Labels::from_pairs([("__name__", "h")]);
        for minute in 0..300 {
            append(&storage, "a", minute);
            if minute == 200 {
                append(&storage, "b", minute);
                append(&storage, "b", minute - 5);
            }
            // The first has a bucket without observations, as a rule may leave it.
            let count = minute as f64;
            let histogram = Histogram { count, positive: vec![(1, count)], ..Histogram::default() };
            let series = storage.series(&labels).unwrap();
            let at = Timestamp::from_millis(minute * MINUTE);
            storage.append_histogram(series, at, histogram).unwrap();
            if minute == 250 {
                storage.checkpoint(0);
            }
        }
        append(&storage, "c", 300);
        storage
    }

    #[test]
    fn a_start_finds_what_there_was_f31() {
        let dir = tempfile::tempdir().unwrap();
        let storage = filled(dir.path());
        let before = all(&storage);
        drop(storage);
        let (_, segments) = head_of(dir.path());
        assert!(!segments.is_empty());
        // The log before it is not read: without it everything is there.
        for (number, _) in &segments {
            fs::remove_file(dir.path().join(format!("log/{number:08}.log"))).unwrap();
        }
        let storage = open(dir.path());
        assert!(all(&storage) == before);
        // What comes is taken as before: nothing twice, late ones, blocks and another start.
        append(&storage, "a", 301);
        append(&storage, "b", 195);
        storage.maintain(Timestamp::from_millis(301 * MINUTE)).unwrap();
        let before = all(&storage);
        assert_eq!(before.iter().map(|series| series.1.len()).sum::<usize>(), 301 + 2 + 300 + 1);
        drop(storage);
        assert!(all(&open(dir.path())) == before);
    }

    #[test]
    fn what_has_become_a_block_is_on_the_disk_once() {
        let dir = tempfile::tempdir().unwrap();
        let storage = filled(dir.path());
        let before = all(&storage);
        let first = |dir: &Path| {
            let (head, _) = head_of(dir);
            head.iter().filter_map(|series| series.first_time()).min().unwrap()
        };
        assert_eq!(first(dir.path()), Timestamp::from_millis(0));
        storage.maintain(Timestamp::from_millis(300 * MINUTE)).unwrap();
        assert_eq!(storage.stats().blocks, 2);
        assert_eq!(first(dir.path()), Timestamp::from_millis(240 * MINUTE));
        drop(storage);
        assert!(all(&open(dir.path())) == before);
        // Without a head on the disk none is written for that.
        let dir = tempfile::tempdir().unwrap();
        let storage = open(dir.path());
        (0..300).for_each(|minute| append(&storage, "a", minute));
        storage.maintain(Timestamp::from_millis(300 * MINUTE)).unwrap();
        assert!(!dir.path().join(NAME).exists());
    }

    #[test]
    fn exemplars_are_there_after_a_start_each_once_f31() {
        let exemplar = |n: i64| {
            let labels = Labels::from_pairs([("trace_id", &*n.to_string())]);
            // Several at a time: their order is all that tells them apart.
            let timestamp = Timestamp::from_millis(n / 3 * MINUTE);
            let series = Labels::from_pairs([("__name__", "x"), ("series", "a")]);
            (series, Exemplar { labels, value: n as f64, timestamp })
        };
        let found = |storage: &Storage| -> Vec<f64> {
            let all = storage.exemplars(&[Vec::new()], Timestamp::MIN, Timestamp::MAX);
            all.into_values().flatten().map(|exemplar| exemplar.value).collect()
        };
        for written in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let storage = open(dir.path());
            // One of a series that the log does not know yet, and more whose series it knows.
            storage.append_exemplars([exemplar(0)]);
            append(&storage, "a", 0);
            (1..600).for_each(|n| {
                append(&storage, "a", n);
                assert_eq!(storage.append_exemplars([exemplar(n)]), 1);
            });
            if written {
                storage.checkpoint(0);
                storage.append_exemplars([exemplar(600), exemplar(601)]);
            }
            let before = found(&storage);
            assert_eq!(before.len(), if written { 602 } else { 600 });
            drop(storage);
            let storage = open(dir.path());
            assert_eq!(found(&storage), before);
            // Windows become blocks, and their part of the log goes.
            storage.maintain(Timestamp::from_millis(600 * MINUTE)).unwrap();
            assert!(storage.stats().blocks > 2);
            storage.append_exemplars([exemplar(602)]);
            drop(storage);
            assert_eq!(found(&open(dir.path())).len(), before.len() + 1);
            // No more of them than are asked for, the newest.
            let options = Options { max_exemplars: 2, ..Options::default() };
            assert_eq!(found(&Storage::open(dir.path(), options).unwrap()).last(), Some(&602.0));
        }
    }

    #[test]
    fn one_that_is_not_whole_is_passed_over_f33() {
        let dir = tempfile::tempdir().unwrap();
        let storage = filled(dir.path());
        let before = all(&storage);
        drop(storage);
        let path = dir.path().join(NAME);
        let whole = fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(37) {
            fs::write(&path, &whole[..at]).unwrap();
            assert!(all(&open(dir.path())) == before, "cut at {at}");
            let mut bytes = whole.clone();
            bytes[at] ^= 4;
            fs::write(&path, bytes).unwrap();
            assert!(all(&open(dir.path())) == before, "changed at {at}");
        }
    }
}
