//! Following the log: what is appended, read again in its order by whoever passes it on.
//!
//! ```text
//! log/        segments that the head needs
//! followed/   older ones, kept for those who have not read them yet
//! ```
//!
//! A follower that goes on in the midst of a segment reads what stands before in it, too, because
//! samples are written as differences to those before.
//!
//! Invariant: each sample is handed out once, and none that is not yet whole in the file.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use base::histogram::Histogram;
use base::labels::Labels;
use base::sample::Timestamp;
use tracing::warn;

use super::frame::{Change, Told};
use super::segment::{file_name, read_head, segments};
use super::{Batch, Log, MAX_FRAME};
use crate::chunk::UNKNOWN;
use crate::exemplars::bytes::Of;
use crate::{Exemplar, Storage, record};

/// A place in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogPosition {
    /// The number of the segment.
    pub segment: u32,
    /// How many bytes of it are before.
    pub offset: u64,
}

/// A sample as it was appended.
#[derive(Clone, Copy, Debug)]
pub struct Followed<'a> {
    /// Its series.
    pub labels: &'a Labels,
    /// When.
    pub timestamp: Timestamp,
    /// The value, or the marker that ends the series; 0 for a histogram.
    pub value: f64,
    /// The native histogram that it is.
    pub histogram: Option<&'a Arc<Histogram>>,
    /// Since when it counts, in milliseconds since the Unix epoch; 0 where it is not known.
    pub start: i64,
    /// What it is instead of a sample: an example of what the series counted.
    pub exemplar: Option<&'a Exemplar>,
}

/// How far a read came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// How many samples and exemplars were handed out.
    pub samples: usize,
    /// Whether more could be read at once.
    pub more: bool,
}

/// Reads the log behind whoever appends.
#[derive(Debug)]
pub struct Follower {
    position: LogPosition,
    open: Option<Open>,
    payload: Vec<u8>,
}

/// The segment that is being read.
#[derive(Debug)]
struct Open {
    file: File,
    /// By slots.
    series: Vec<Option<Known>>,
}

/// What the next sample of a series may refer to.
#[derive(Debug)]
struct Known {
    labels: Labels,
    value: f64,
    start: i64,
    native: Option<Arc<Histogram>>,
}

/// More slots than there can be series: a segment that names one is damaged.
const MAX_SLOT: usize = 1 << 27;

/// What became of a frame.
enum Frame {
    Read(u64),
    /// It is damaged: nothing behind it can be read.
    Damaged,
}

impl Follower {
    /// Begins at `position`.
    pub fn at(position: LogPosition) -> Self {
        Self { position, open: None, payload: Vec::new() }
    }

    /// Up to where everything has been handed out.
    pub fn position(&self) -> LogPosition {
        self.position
    }
}

impl Storage {
    /// The end of the log, where the next append will stand; nothing where samples are only in memory.
    pub fn log_end(&self) -> Option<LogPosition> {
        let writer = self.writer();
        let end = |log: &Log| LogPosition { segment: log.number(), offset: log.size() };
        writer.log.as_ref().map(end)
    }

    /// Keeps what stands in the log from a segment on, also when the head no longer needs it, and lets
    /// go of what was kept before it; of everything where there is no segment.
    ///
    /// # Errors
    ///
    /// A file cannot be removed.
    pub fn keep_log_from(&self, segment: Option<u32>) -> io::Result<()> {
        self.writer().log.as_mut().map_or(Ok(()), |log| log.keep_from(segment))
    }

    /// How many bytes of the log are behind `position`.
    ///
    /// # Errors
    ///
    /// The folder cannot be read.
    pub fn log_bytes_from(&self, position: LogPosition) -> io::Result<u64> {
        let Some(end) = self.log_end() else { return Ok(0) };
        let mut bytes = 0_u64;
        for (number, path) in self.all_segments()? {
            if number < position.segment {
                continue;
            }
            // It may have gone meanwhile.
            let whole = if number == end.segment {
                end.offset
            } else {
                path.metadata().map_or(0, |about| about.len())
            };
            let before = if number == position.segment { position.offset } else { 0 };
            bytes += whole.saturating_sub(before);
        }
        Ok(bytes)
    }

    /// Hands what was appended behind the position of `follower` to `each`, in order: whole appends,
    /// until there are `most` samples or more. Labels are those of the head where it has them, so that
    /// they are in memory once.
    ///
    /// # Errors
    ///
    /// The log cannot be read; what has been handed out counts. Damage is no error: it is skipped,
    /// with a warning.
    pub fn follow(
        &self,
        follower: &mut Follower,
        most: usize,
        mut each: impl FnMut(Followed<'_>),
    ) -> io::Result<Progress> {
        let mut samples = 0;
        let Some(end) = self.log_end() else { return Ok(Progress { samples, more: false }) };
        if follower.position > end {
            // Another data folder, or one that has lost its log.
            *follower = Follower::at(end);
        }
        while follower.position < end {
            if samples >= most {
                return Ok(Progress { samples, more: true });
            }
            let is_last = follower.position.segment == end.segment;
            let read = self.follow_frame(follower, is_last.then_some(end.offset), &mut each)?;
            match read {
                Some(count) => samples += count,
                None if is_last => break,
                None => self.next_segment(follower, end)?,
            }
        }
        Ok(Progress { samples, more: false })
    }

    /// Reads one frame of the follower's segment; nothing where there is no further one. Returns how
    /// many samples were handed out.
    fn follow_frame(
        &self,
        follower: &mut Follower,
        limit: Option<u64>,
        each: &mut impl FnMut(Followed<'_>),
    ) -> io::Result<Option<usize>> {
        let Follower { position, open, payload } = follower;
        if let Some(segment) = open.as_ref()
            && self.is_replaced(segment, *position)?
        {
            *open = None;
        }
        let segment = match open {
            Some(segment) => segment,
            None => {
                let Some(segment) = self.open_segment(position, payload)? else {
                    return Ok(None);
                };
                open.insert(segment)
            }
        };
        let length = segment.file.metadata()?.len();
        let end = limit.map_or(length, |limit| limit.min(length));
        if position.offset >= end {
            return Ok(None);
        }
        let mut samples = 0;
        let frame = self.read_frame(segment, payload, end - position.offset, &mut |followed| {
            samples += 1;
            each(followed);
        });
        if frame.is_err() {
            // Where the file stands now nobody knows.
            *open = None;
        }
        match frame? {
            Frame::Read(bytes) => {
                position.offset += bytes;
                Ok(Some(samples))
            }
            Frame::Damaged => {
                let LogPosition { segment, offset } = *position;
                warn!(segment, offset, "the sample log is damaged: what follows is not passed on");
                position.offset = u64::MAX;
                Ok(None)
            }
        }
    }

    /// Whether another file has taken the place of one that is read to its end: the disk failed at it, and
    /// what follows is in the other.
    fn is_replaced(&self, segment: &Open, position: LogPosition) -> io::Result<bool> {
        let held = segment.file.metadata()?;
        if position.offset < held.len() || position.offset == u64::MAX {
            return Ok(false);
        }
        let name = file_name(position.segment);
        let mut folders = self.log_folders().into_iter();
        let there = folders.find_map(|folder| fs::metadata(folder.join(&name)).ok());
        Ok(there.is_some_and(|there| (there.dev(), there.ino()) != (held.dev(), held.ino())))
    }

    /// Opens the segment of `position` and reads what stands before it; nothing where it is gone.
    fn open_segment(
        &self,
        position: &mut LogPosition,
        payload: &mut Vec<u8>,
    ) -> io::Result<Option<Open>> {
        let name = file_name(position.segment);
        // It may be put aside between two looks.
        let file = self
            .log_folders()
            .into_iter()
            .chain(self.log_folders())
            .find_map(|folder| File::open(folder.join(&name)).ok());
        let Some(mut file) = file else { return Ok(None) };
        let length = file.metadata()?.len();
        let Some((head, _)) = read_head(&mut file)? else { return Ok(None) };
        let mut segment = Open { file, series: Vec::new() };
        let until = position.offset.min(length);
        let mut at = head;
        while at < until {
            match self.read_frame(&mut segment, payload, until - at, &mut |_| {})? {
                Frame::Read(bytes) => at += bytes,
                // Not where a frame begins: it was cut off behind a crash.
                Frame::Damaged => break,
            }
        }
        segment.file.seek(SeekFrom::Start(at))?;
        position.offset = position.offset.min(at).max(head);
        if at < until {
            position.offset = u64::MAX;
        }
        Ok(Some(segment))
    }

    /// Goes on to the segment behind that of the follower.
    fn next_segment(&self, follower: &mut Follower, end: LogPosition) -> io::Result<()> {
        let before = follower.position.segment;
        let next = self.all_segments()?.into_iter().map(|(number, _)| number);
        let segment = next.filter(|number| *number > before).min().unwrap_or(end.segment);
        *follower = Follower::at(LogPosition { segment, offset: 0 });
        Ok(())
    }

    fn log_folders(&self) -> Vec<PathBuf> {
        let folders = self.dir.iter();
        folders.flat_map(|dir| [dir.join("log"), dir.join("followed")]).collect()
    }

    /// All segments that there are, with their paths.
    fn all_segments(&self) -> io::Result<Vec<(u32, PathBuf)>> {
        let mut found = Vec::new();
        for folder in self.log_folders().into_iter().filter(|folder| folder.exists()) {
            found.extend(segments(&folder)?);
        }
        Ok(found)
    }

    /// Reads a frame of at most `most` bytes at where the file is.
    fn read_frame(
        &self,
        segment: &mut Open,
        payload: &mut Vec<u8>,
        most: u64,
        each: &mut impl FnMut(Followed<'_>),
    ) -> io::Result<Frame> {
        let mut head = [0; 8];
        if most < head.len() as u64 {
            return Ok(Frame::Damaged);
        }
        segment.file.read_exact(&mut head)?;
        let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |n, b| n << 8 | u32::from(*b));
        let (length, sum) = (number(&head[..4]), number(&head[4..]));
        let bytes = head.len() as u64 + u64::from(length);
        if length as usize > MAX_FRAME || bytes > most {
            return Ok(Frame::Damaged);
        }
        payload.resize(length as usize, 0);
        segment.file.read_exact(payload)?;
        if crc32fast::hash(payload) != sum || self.read_payload(segment, payload, each).is_none() {
            return Ok(Frame::Damaged);
        }
        if payload.capacity() > 4 << 20 {
            *payload = Vec::new();
        }
        Ok(Frame::Read(bytes))
    }

    fn read_payload(
        &self,
        segment: &mut Open,
        payload: &[u8],
        each: &mut impl FnMut(Followed<'_>),
    ) -> Option<()> {
        let series = &mut segment.series;
        Batch::decode(payload, |told| {
            match told {
                Told::Definition(slot, labels) => {
                    let slot = usize::try_from(slot).ok().filter(|slot| *slot < MAX_SLOT)?;
                    let labels = self.shared(labels);
                    let known = Known { labels, value: 0.0, start: UNKNOWN, native: None };
                    if series.len() <= slot {
                        series.resize_with(slot + 1, || None);
                    }
                    *series.get_mut(slot)? = Some(known);
                }
                Told::Sample(slot, timestamp, change) => {
                    if let Some(known) = series.get_mut(slot as usize).and_then(Option::as_mut) {
                        known.apply(timestamp, change, each)?;
                    }
                }
                Told::Exemplar(of, exemplar) => {
                    let labels = match of {
                        Of::Series(labels) => Some(self.shared(labels)),
                        Of::Slot(slot) => {
                            let known = series.get(slot as usize).and_then(Option::as_ref);
                            known.map(|known| known.labels.clone())
                        }
                    };
                    let Exemplar { timestamp, value, .. } = exemplar;
                    let (histogram, exemplar) = (None, Some(&exemplar));
                    if let Some(labels) = &labels {
                        each(Followed { labels, timestamp, value, histogram, start: 0, exemplar });
                    }
                }
                Told::Deletion(..) => {}
            }
            Some(())
        })
    }

    /// The same labels as the head has them.
    fn shared(&self, labels: Labels) -> Labels {
        let head = self.head();
        let known = head.find(&labels).and_then(|series| head.get(series));
        known.map_or(labels, |series| series.labels.clone())
    }
}

impl Known {
    /// Hands out a sample; nothing where it cannot be read.
    fn apply(
        &mut self,
        timestamp: Timestamp,
        change: Change<'_>,
        each: &mut impl FnMut(Followed<'_>),
    ) -> Option<()> {
        let Change::Other(other) = change else {
            self.value = change.after(self.value)?;
            self.native = None;
            let Self { labels, value, start, .. } = self;
            let (histogram, exemplar, start) = (None, None, *start);
            each(Followed { labels, timestamp, value: *value, histogram, start, exemplar });
            return Some(());
        };
        let native = match other.held {
            Ok(_) => None,
            Err(mut bytes) => Some(Arc::new(record::take(&mut bytes, self.native.as_deref())?)),
        };
        let value = other.held.unwrap_or(0.0);
        let start = other.start.unwrap_or(self.start);
        let labels = &self.labels;
        let (histogram, exemplar) = (native.as_ref(), None);
        each(Followed { labels, timestamp, value, histogram, start, exemplar });
        if !other.late {
            (self.value, self.start, self.native) = (value, start, native);
        }
        Some(())
    }
}

#[cfg(test)]
mod tests;
