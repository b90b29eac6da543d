//! Reading the log again after a start.
//!
//! Invariant: reading always succeeds with what is sound: it stops at the first damaged frame of a
//! segment and goes on with the next segment. Damage is reported and kept aside, never deleted.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::histogram::Histogram;
use base::sample::Timestamp;
use tracing::warn;

use super::frame::{Change, Told};
use super::segment::{SegmentFile, aside_of, by_heads, fill, read_head, rename};
use super::{Batch, MAX_FRAME};
use crate::chunk::{Held, UNKNOWN};
use crate::exemplars::Newest;
use crate::exemplars::bytes::Of;
use crate::head::{Head, Limit, Offer, SeriesRef};
use crate::{lasting, record};

/// What a replay found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Replayed {
    /// The segments, oldest first, with the time of their newest sample.
    pub(crate) segments: Vec<(u32, Timestamp)>,
    pub(crate) samples: u64,
    /// How much was read.
    pub(crate) bytes: u64,
    pub(crate) damage: Vec<Damage>,
    /// Files whose names are those of others.
    pub(crate) misnamed: Vec<SegmentFile>,
}

/// A segment that cannot be read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    pub(crate) segment: PathBuf,
    /// How far it can be read.
    pub(crate) sound: u64,
    /// Bytes behind that.
    pub(crate) lost: u64,
}

/// What is read into.
pub(crate) struct Restored<'a> {
    pub(crate) head: &'a mut Head,
    pub(crate) exemplars: &'a mut Newest,
    /// Of series there are no more.
    pub(crate) limit: &'a mut Limit,
}

/// Reads the segments in `dir`, oldest first, and cuts off what is damaged: a copy is kept. Those in
/// `known` have been read already.
pub(crate) fn replay(
    dir: &Path,
    known: &[(u32, Timestamp)],
    into: &mut Restored<'_>,
) -> io::Result<Replayed> {
    for folder in [dir, &aside_of(dir)] {
        match rename(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if lasting::may_pass(&error) => {
                // They are read in their order all the same.
                warn!(%error, "the files of the sample log keep their names: the disk takes no others");
            }
            done => done?,
        }
    }
    let replayed = read(dir, known, into)?;
    for Damage { segment, sound, lost } in &replayed.damage {
        warn!(
            segment = %segment.display(),
            at = sound,
            bytes = lost,
            "the sample log is damaged; what follows in this segment is lost, a copy is kept"
        );
        if let Err(error) = set_aside(segment, *sound) {
            if !lasting::may_pass(&error) {
                return Err(error);
            }
            // Whoever reads it again finds the same.
            warn!(%error, "it stays as it is: the disk takes no copy");
        }
    }
    Ok(replayed)
}

/// Keeps a copy of a segment that is sound up to some byte, and cuts it off there.
fn set_aside(segment: &Path, sound: u64) -> io::Result<()> {
    let copy = segment.with_extension("damaged");
    if let Err(error) = fs::copy(segment, &copy) {
        let _ = fs::remove_file(copy);
        return Err(error);
    }
    fs::OpenOptions::new().write(true).open(segment)?.set_len(sound)
}

/// Reads all segments in `dir` into `head`, oldest first, and changes nothing.
pub(crate) fn check(dir: &Path, head: &mut Head) -> io::Result<Replayed> {
    let (exemplars, limit) = (&mut Newest::of(0), &mut Limit::of(usize::MAX));
    read(dir, &[], &mut Restored { head, exemplars, limit })
}

fn read(dir: &Path, known: &[(u32, Timestamp)], into: &mut Restored<'_>) -> io::Result<Replayed> {
    let mut replayed = Replayed::default();
    if !dir.exists() {
        return Ok(replayed);
    }
    for file in by_heads(dir)? {
        if file.is_misnamed {
            replayed.misnamed.push(file.clone());
        }
        let SegmentFile { number, path, .. } = file;
        if let Some(known) = known.iter().find(|(known, _)| *known == number) {
            replayed.segments.push(*known);
            continue;
        }
        let length = fs::metadata(&path)?.len();
        let mut file = BufReader::with_capacity(1 << 20, File::open(&path)?);
        let mut segment = Segment { series: Vec::new(), newest: Timestamp::MIN, samples: 0 };
        let sound = segment.read(&mut file, into)?;
        replayed.segments.push((number, segment.newest));
        replayed.samples += segment.samples;
        replayed.bytes += sound;
        if sound < length {
            replayed.damage.push(Damage { segment: path, sound, lost: length - sound });
        }
    }
    Ok(replayed)
}

/// More slots than there can be series: a segment that names one is damaged.
const MAX_SLOT: usize = 1 << 27;

/// The series that a segment has defined, by its own slots, which are few more than series.
struct Segment {
    series: Vec<Option<Before>>,
    newest: Timestamp,
    samples: u64,
}

/// What the next sample of a series may refer to.
struct Before {
    series: SeriesRef,
    value: f64,
    start: i64,
    native: Option<Arc<Histogram>>,
}

impl Before {
    /// Stores a sample; `None` where it cannot be read.
    fn apply(&mut self, time: Timestamp, change: Change<'_>, head: &mut Head) -> Option<()> {
        let Change::Other(other) = change else {
            self.value = change.after(self.value)?;
            self.native = None;
            let (held, start) = (Held::Float(self.value), self.start);
            head.push(self.series, Offer { time, held, start }, 0);
            return Some(());
        };
        let native = match other.held {
            Ok(_) => None,
            Err(mut bytes) => Some(Arc::new(record::take(&mut bytes, self.native.as_deref())?)),
        };
        if other.late {
            if let Ok(value) = other.held {
                head.push_late(self.series, time, value);
            }
            return Some(());
        }
        self.start = other.start.unwrap_or(self.start);
        self.value = other.held.unwrap_or(0.0);
        let held = native.as_ref().map_or(Held::Float(self.value), Held::Native);
        head.push(self.series, Offer { time, held, start: self.start }, 0);
        self.native = native;
        Some(())
    }
}

impl Segment {
    /// Reads frames to the end or to the first that is not sound; returns how far it came.
    fn read(&mut self, file: &mut impl Read, into: &mut Restored<'_>) -> io::Result<u64> {
        let Some((mut sound, _)) = read_head(file)? else { return Ok(0) };
        let mut payload = Vec::new();
        loop {
            let mut frame = [0; 8];
            if !fill(file, &mut frame)? {
                return Ok(sound);
            }
            let (length, crc) = frame.split_at(4);
            let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |n, b| n << 8 | u32::from(*b));
            let length = number(length) as usize;
            if length > MAX_FRAME {
                return Ok(sound);
            }
            payload.clear();
            // Not `resize`: a damaged length must not cost memory that the file does not have.
            if Read::by_ref(file).take(length as u64).read_to_end(&mut payload)? < length
                || crc32fast::hash(&payload) != number(crc)
                || self.apply(&payload, into).is_none()
            {
                return Ok(sound);
            }
            sound += (frame.len() + length) as u64;
        }
    }

    fn apply(&mut self, payload: &[u8], into: &mut Restored<'_>) -> Option<()> {
        let Restored { head, exemplars, limit } = into;
        // All of it is read before any of it counts.
        let mut all = Vec::new();
        Batch::decode(payload, |told| {
            all.push(told);
            Some(())
        })?;
        for told in all {
            match told {
                Told::Definition(slot, labels) => {
                    let series = limit.find_or_create(head, &labels);
                    let before =
                        |series| Before { series, value: 0.0, start: UNKNOWN, native: None };
                    let slot = usize::try_from(slot).ok().filter(|slot| *slot < MAX_SLOT)?;
                    if self.series.len() <= slot {
                        self.series.resize_with(slot + 1, || None);
                    }
                    self.series[slot] = series.map(before);
                }
                Told::Sample(slot, time, change) => {
                    let known = self.series.get_mut(slot as usize).and_then(Option::as_mut);
                    let Some(before) = known else { continue };
                    before.apply(time, change, head)?;
                    self.newest = self.newest.max(time);
                    self.samples += 1;
                }
                Told::Deletion(labels, span) => {
                    if let Some(found) = head.find(&labels) {
                        head.delete(found.slot, span);
                    }
                    self.newest = self.newest.max(Timestamp::from_millis(span.to));
                }
                Told::Exemplar(Of::Series(labels), exemplar) => {
                    exemplars.take_back(&labels, &exemplar);
                }
                Told::Exemplar(Of::Slot(slot), exemplar) => {
                    let known = self.series.get(slot as usize).and_then(Option::as_ref);
                    if let Some(series) = known.and_then(|before| head.get(before.series)) {
                        exemplars.take_back(&series.labels, &exemplar);
                    }
                }
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use base::labels::Labels;

    use super::*;
    use crate::{Options, Point, Storage};

    const MINUTE: i64 = 60_000;

    fn open(dir: &Path) -> Storage {
        Storage::open(dir, Options::default()).unwrap()
    }

    fn append(storage: &Storage, time: i64, value: f64) {
        let series = storage.series(&Labels::from_pairs([("__name__", "x")])).unwrap();
        let point = Point { series, timestamp: Timestamp::from_millis(time), value };
        assert_eq!(storage.append(&[point]).unwrap().stored, 1);
    }

    fn times(storage: &Storage) -> Vec<i64> {
        let found = storage.select(&[], Timestamp::MIN, Timestamp::MAX).unwrap();
        found.first().map_or(Vec::new(), |series| series.times.clone())
    }

    #[test]
    fn a_torn_log_loses_only_its_end_f31() {
        let dir = tempfile::tempdir().unwrap();
        let storage = open(dir.path());
        let mut ends = Vec::new();
        for n in 0..10 {
            append(&storage, n * MINUTE, n as f64);
            ends.push(storage.log_end().unwrap().offset as usize);
        }
        drop(storage);
        let whole = fs::read(dir.path().join("log/00000001.log")).unwrap();
        // Opens a log of these bytes: what is sound before the first that is wrong is there, and no more.
        let check = |bytes: &[u8], about: &str| {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("log/00000001.log");
            fs::create_dir(dir.path().join("log")).unwrap();
            fs::write(&path, bytes).unwrap();
            let storage = open(dir.path());
            let sound = ends.iter().filter(|end| bytes.get(..**end) == whole.get(..**end)).count();
            let mut expected: Vec<i64> = (0..sound as i64).map(|n| n * MINUTE).collect();
            assert_eq!(times(&storage), expected, "{about}");
            let kept = fs::read(path.with_extension("damaged"));
            let end = sound.checked_sub(1).map_or(0, |last| ends[last]);
            let is_whole = bytes.len() == end || bytes == &whole[..16];
            assert!(is_whole || kept.is_ok_and(|kept| kept == bytes), "{about}");
            // It goes on, and what is appended now is there after the next start.
            append(&storage, 100 * MINUTE, 1.0);
            drop(storage);
            expected.push(100 * MINUTE);
            assert_eq!(times(&open(dir.path())), expected, "{about}");
        };
        for at in 0..whole.len() {
            check(&whole[..at], &format!("cut at {at}"));
            let mut zeros = whole[..at].to_vec();
            zeros.resize(whole.len(), 0);
            check(&zeros, &format!("zeros from {at} on"));
            let mut changed = whole.clone();
            changed[at] ^= 1 << (at % 8);
            check(&changed, &format!("changed at {at}"));
        }
    }
}
