//! Reading the log again after a start.
//!
//! Invariant: reading always succeeds with what is sound: it stops at the first damaged frame of a
//! segment and goes on with the next segment. Damage is reported and kept aside, never deleted.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::Path;

use base::sample::Timestamp;
use tracing::warn;

use super::{Batch, MAGIC, MAX_FRAME, segments};
use crate::head::{Head, SeriesRef};

/// What a replay found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Replayed {
    /// The segments, oldest first, with the time of their newest sample.
    pub(crate) segments: Vec<(u32, Timestamp)>,
    pub(crate) samples: u64,
    /// Bytes that could not be read.
    pub(crate) damaged_bytes: u64,
}

/// Reads all segments in `dir` into `head`, oldest first.
pub(crate) fn replay(dir: &Path, head: &mut Head) -> io::Result<Replayed> {
    let mut replayed = Replayed::default();
    if !dir.exists() {
        return Ok(replayed);
    }
    for (number, path) in segments(dir)? {
        let length = fs::metadata(&path)?.len();
        let mut file = BufReader::with_capacity(1 << 20, File::open(&path)?);
        let mut segment = Segment { series: HashMap::new(), newest: Timestamp::MIN, samples: 0 };
        let sound = segment.read(&mut file, head)?;
        replayed.segments.push((number, segment.newest));
        replayed.samples += segment.samples;
        if sound < length {
            let damaged = length - sound;
            replayed.damaged_bytes += damaged;
            let aside = path.with_extension("damaged");
            warn!(
                segment = %path.display(),
                at = sound,
                bytes = damaged,
                "the sample log is damaged; what follows in this segment is lost, a copy is kept"
            );
            fs::copy(&path, aside)?;
            fs::OpenOptions::new().write(true).open(&path)?.set_len(sound)?;
        }
    }
    Ok(replayed)
}

/// The series that a segment has defined, by its own slots, with their last value.
struct Segment {
    series: HashMap<u32, (SeriesRef, f64)>,
    newest: Timestamp,
    samples: u64,
}

impl Segment {
    /// Reads frames to the end or to the first that is not sound; returns how far it came.
    fn read(&mut self, file: &mut impl Read, head: &mut Head) -> io::Result<u64> {
        let mut magic = [0; MAGIC.len()];
        if !fill(file, &mut magic)? || &magic != MAGIC {
            return Ok(0);
        }
        let mut sound = MAGIC.len() as u64;
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
                || self.apply(&payload, head).is_none()
            {
                return Ok(sound);
            }
            sound += (frame.len() + length) as u64;
        }
    }

    fn apply(&mut self, payload: &[u8], head: &mut Head) -> Option<()> {
        let mut defined = Vec::new();
        let mut read = Vec::new();
        Batch::decode(
            payload,
            |slot, labels| defined.push((slot, labels)),
            |slot, time, change| read.push((slot, time, change)),
        )?;
        for (slot, labels) in defined {
            self.series.insert(slot, (head.find_or_create(&labels), 0.0));
        }
        for (slot, time, change) in read {
            let Some((series, last)) = self.series.get_mut(&slot) else { continue };
            *last = change.after(*last);
            head.push(*series, time, *last);
            self.newest = self.newest.max(time);
            self.samples += 1;
        }
        Some(())
    }
}

/// Fills `buffer`; false at the end of the file, also where it ends within the buffer.
fn fill(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
