//! The log: what was appended to the head, in segments on disk, to be read again after a crash.
//!
//! ```text
//! segment   00000007.log: a head, then frames
//! frame     length (4 bytes)  CRC-32 of the payload (4 bytes)  payload
//! payload   definitions: count, then slot and labels each
//!           samples: count, first time, then for each: slot, time, value, as differences
//!           deletions: labels, from, to
//!           or exemplars
//! ```
//!
//! A segment defines each series that it has samples of, so segments can be read, lost and dropped
//! one by one. One append is one frame: after a crash it is there as a whole or not at all.
//!
//! Invariant: a frame is in the file when [`Log::append`] returns, so that a crash of the process loses
//! nothing; [`Log::sync`] makes it safe from a crash of the machine.

mod follow;
mod frame;
mod replay;
mod segment;

pub use follow::{Followed, Follower, LogPosition, Progress};
pub(crate) use frame::{Batch, Logged, More};
pub(crate) use replay::{Restored, check, replay};
pub(crate) use segment::{MISNAMED, files, fill};

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::clock::Stopwatch;
use base::sample::Timestamp;
use tracing::{info, warn};

use self::segment::{HEAD, aside_of, begin, file_name, is_another, segments};
use crate::head::window_of;
use crate::lasting;

/// A segment is closed when it is larger.
const SEGMENT_BYTES: u64 = 128 << 20;
/// The largest payload that is believed: a scrape's limit of series at full length is far below.
const MAX_FRAME: usize = 256 << 20;
/// Where no other file takes a segment either, it is tried again after so long: a copy takes time and
/// room that others need.
const RENEW_AGAIN: Duration = Duration::from_secs(30);

/// The log, open for writing.
#[derive(Debug)]
pub(crate) struct Log {
    dir: PathBuf,
    /// None where the disk takes nothing since the start: the segment is yet to be begun.
    file: Option<File>,
    number: u32,
    size: u64,
    /// The times of the samples in the segment.
    times: Option<(Timestamp, Timestamp)>,
    /// The segments before it, with the time of their newest sample.
    closed: Vec<(u32, Timestamp)>,
    /// Bytes that a start would have to read now.
    unread: u64,
    unsynced: bool,
    /// The disk failed at the segment: Linux says so once, forgets what it could not write and calls the
    /// next attempt good. What it holds has to be written to another file (F33).
    suspect: bool,
    /// Since when it is known that no other file takes it either.
    refused: Option<Stopwatch>,
    /// A frame that could not be taken back stands at the end: nothing behind it would be read.
    torn: bool,
    frame: Vec<u8>,
    /// Where segments go that are no longer needed here, and the first that somebody still reads.
    aside: PathBuf,
    keep_from: Option<u32>,
}

impl Log {
    /// Begins a new segment after those that are there, `closed`, which have been replayed.
    /// A start has had to read `unread` bytes of those. Numbers up to `used` have been given, even where
    /// their segments are gone. Where the disk takes nothing now, the segment is begun when it does.
    pub(crate) fn create(
        dir: &Path,
        closed: Vec<(u32, Timestamp)>,
        unread: u64,
        used: u32,
    ) -> io::Result<Self> {
        let number = closed.last().map_or(0, |(number, _)| *number).max(used) + 1;
        let (file, size) = match begin(dir, number) {
            Ok((file, size)) => (Some(file), size),
            Err(error) if lasting::may_pass(&error) => {
                warn!(%error, "the sample log cannot be written: samples are in memory only until it can");
                (None, 0)
            }
            Err(error) => return Err(error),
        };
        let (dir, frame) = (dir.to_owned(), Vec::new());
        let aside = aside_of(&dir);
        Ok(Self {
            dir,
            file,
            number,
            size,
            times: None,
            closed,
            unread,
            unsynced: false,
            suspect: false,
            refused: None,
            torn: false,
            frame,
            aside,
            keep_from: None,
        })
    }

    /// From now on the segment takes nothing, and cannot be mended.
    #[cfg(test)]
    pub(crate) fn refuse(&mut self) {
        self.file = Some(File::open(self.dir.join(file_name(self.number))).unwrap());
    }

    /// The segment that is being written.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// Bytes in the segment that is being written.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Bytes of all segments, as far as they can be seen.
    pub(crate) fn total_bytes(&self) -> u64 {
        let length = |(number, _): &(u32, Timestamp)| {
            fs::metadata(self.dir.join(file_name(*number))).map_or(0, |about| about.len())
        };
        self.size + self.closed.iter().map(length).sum::<u64>()
    }

    /// Writes `batch` as one frame. A frame that could not be written whole is taken back.
    pub(crate) fn append(&mut self, batch: &Batch) -> io::Result<()> {
        self.append_payload(|to| batch.encode(to))?;
        let (first, last) = self.times.unwrap_or((Timestamp::MAX, Timestamp::MIN));
        // A deletion stays as long as what it deletes, which is no later.
        let deleted = batch.deletions.iter().map(|(_, span)| Timestamp::from_millis(span.to));
        let times = batch.samples.iter().map(|sample| sample.time).chain(deleted);
        let bounds = times.fold((first, last), |(f, l), time| (f.min(time), l.max(time)));
        self.times = Some(bounds);
        Ok(())
    }

    /// Writes a frame of what `encode` writes, without a time by which the segment stays.
    pub(crate) fn append_payload(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        self.frame.clear();
        self.frame.extend_from_slice(&[0; 8]);
        encode(&mut self.frame);
        let (head, payload) = self.frame.split_at_mut(8);
        head[..4].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        head[4..].copy_from_slice(&crc32fast::hash(payload).to_le_bytes());
        let file = self.file.as_mut().ok_or(io::ErrorKind::NotFound)?;
        if let Err(error) = file.write_all(&self.frame) {
            self.torn |= file.set_len(self.size).is_err();
            return Err(error);
        }
        self.size += self.frame.len() as u64;
        self.unread += self.frame.len() as u64;
        self.unsynced = true;
        if self.frame.capacity() > 4 << 20 {
            self.frame = Vec::new();
        }
        Ok(())
    }

    /// Whether a sample at `time` belongs into a new segment: this one is large, or torn, or of a
    /// window that has passed, so that a window's segments can go when it has become a block.
    pub(crate) fn is_full(&self, time: Timestamp) -> bool {
        let passed = |(first, _): (Timestamp, _)| window_of(first) < window_of(time);
        self.needs_another() || self.size >= SEGMENT_BYTES || self.times.is_some_and(passed)
    }

    /// Whether the segment takes nothing, or nothing that would be read.
    pub(crate) fn needs_another(&self) -> bool {
        self.torn || self.file.is_none()
    }

    /// Bytes that a start would have to read now.
    pub(crate) fn unread(&self) -> u64 {
        self.unread
    }

    /// Begins a segment where this one has something; returns those before it, which a start need not
    /// read if the head is written from now on.
    pub(crate) fn begin_checkpoint(&mut self) -> io::Result<Vec<(u32, Timestamp)>> {
        // Also where it fails: a full disk is not tried again at once.
        self.unread = 0;
        if self.size > HEAD {
            self.rotate()?;
        }
        Ok(self.closed.clone())
    }

    /// Begins the next segment.
    pub(crate) fn rotate(&mut self) -> io::Result<()> {
        self.sync()?;
        let number = self.number + u32::from(self.file.is_some());
        let (file, size) = begin(&self.dir, number)?;
        let newest = self.times.take().map_or(Timestamp::MIN, |(_, last)| last);
        if self.file.replace(file).is_some() {
            self.closed.push((self.number, newest));
        }
        self.size = size;
        self.number = number;
        self.torn = false;
        Ok(())
    }

    /// Waits until everything appended is on the disk.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        if self.suspect {
            return self.renew();
        }
        if let Some(file) = self.file.as_ref().filter(|_| self.unsynced) {
            file.sync_data().inspect_err(|_| self.suspect = true)?;
            self.unsynced = false;
        }
        Ok(())
    }

    /// A second handle of the segment, to sync without holding the log; whoever fails at it says so
    /// by [`Log::sync_failed`]. There is none where everything is on the disk.
    pub(crate) fn handle(&mut self) -> io::Result<Option<File>> {
        if self.suspect {
            self.renew()?;
        }
        let Some(file) = self.file.as_ref().filter(|_| self.unsynced) else { return Ok(None) };
        let handle = file.try_clone()?;
        self.unsynced = false;
        Ok(Some(handle))
    }

    /// The segment may never be on the disk: the next sync puts another file in its place.
    pub(crate) fn sync_failed(&mut self) {
        self.unsynced = true;
        self.suspect = true;
    }

    /// Writes what the segment holds, as we still see it, to a new file that takes its place when it is on
    /// the disk. Nobody who reads the log notices.
    fn renew(&mut self) -> io::Result<()> {
        if self.refused.is_some_and(|since| since.elapsed() < RENEW_AGAIN) {
            return Err(io::Error::other("the disk failed at it, and took no copy of it just now"));
        }
        let path = self.dir.join(file_name(self.number));
        let new = path.with_extension("new");
        let renewed = self.write_anew(&path, &new);
        self.refused = None;
        if renewed.is_err() {
            let _ = fs::remove_file(&new);
            self.refused = Some(Stopwatch::start());
        }
        renewed
    }

    /// Whatever was tried just now may be tried again.
    pub(crate) fn try_at_once(&mut self) {
        self.refused = None;
    }

    fn write_anew(&mut self, path: &Path, new: &Path) -> io::Result<()> {
        let mut held = File::open(path)?.take(self.size);
        let mut file = OpenOptions::new().create(true).append(true).open(new)?;
        file.set_len(0)?;
        let copied = io::copy(&mut held, &mut file)?;
        if copied < self.size {
            let why = format!("{} has lost its end", path.display());
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
        }
        file.sync_data()?;
        fs::rename(new, path)?;
        lasting::sync(&self.dir)?;
        self.file = Some(file);
        (self.unsynced, self.suspect) = (false, false);
        info!(segment = %path.display(), bytes = copied, "the disk failed at the sample log; all of it is written anew");
        Ok(())
    }

    /// Keeps the segments from `number` on aside when they are no longer needed here, and lets go of
    /// those before it; of all of them where there is no number.
    pub(crate) fn keep_from(&mut self, number: Option<u32>) -> io::Result<()> {
        self.keep_from = number;
        if !self.aside.exists() {
            return Ok(());
        }
        for (held, path) in segments(&self.aside)? {
            if number.is_none_or(|number| held < number) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// Whether there are segments that have nothing since `time`.
    pub(crate) fn has_before(&self, time: Timestamp) -> bool {
        self.closed.iter().any(|(_, newest)| *newest < time)
    }

    /// Removes the segments that have nothing since `time`, or puts them aside for whoever still reads
    /// them. One that cannot be removed is tried again the next time.
    pub(crate) fn remove_before(&mut self, time: Timestamp) -> io::Result<()> {
        let mut result = Ok(());
        let Self { dir, aside, keep_from, .. } = self;
        self.closed.retain(|(number, newest)| {
            if *newest >= time {
                return true;
            }
            let path = dir.join(file_name(*number));
            // Where the disk let nobody rename it at the start.
            if is_another(&path, *number) {
                return true;
            }
            let removed = match keep_from {
                Some(from) if number >= from => lasting::make_folder(aside)
                    .and_then(|()| fs::rename(&path, aside.join(file_name(*number)))),
                _ => fs::remove_file(&path),
            };
            match removed {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    result = Err(error);
                    true
                }
                _ => false,
            }
        });
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_that_a_full_disk_left_half_begun_is_begun_again() {
        for left in [&b""[..], b"VEIL", &segment::head_of(2)] {
            let dir = tempfile::tempdir().unwrap();
            let mut log = Log::create(dir.path(), Vec::new(), 0, 0).unwrap();
            fs::write(dir.path().join(file_name(2)), left).unwrap();
            log.rotate().unwrap();
            assert_eq!((log.number(), log.size()), (2, HEAD));
            assert_eq!(fs::read(dir.path().join(file_name(2))).unwrap(), segment::head_of(2));
        }
        // What cannot be removed now is removed later.
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::create(dir.path(), Vec::new(), 0, 0).unwrap();
        log.rotate().unwrap();
        let first = dir.path().join(file_name(1));
        fs::remove_file(&first).unwrap();
        fs::create_dir(&first).unwrap();
        assert!(log.remove_before(Timestamp::MAX).is_err());
        fs::remove_dir(&first).unwrap();
        fs::write(&first, segment::head_of(1)).unwrap();
        log.remove_before(Timestamp::MAX).unwrap();
        assert!(!first.exists());
        // One with samples is never begun again.
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::create(dir.path(), Vec::new(), 0, 0).unwrap();
        fs::write(dir.path().join(file_name(2)), [0; 17]).unwrap();
        assert!(log.rotate().is_err());
        assert_eq!(log.number(), 1);
    }

    #[test]
    fn what_the_disk_failed_at_is_written_to_another_file_f33() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::create(dir.path(), Vec::new(), 0, 0).unwrap();
        let path = dir.path().join(file_name(1));
        let inode = |path: &Path| fs::metadata(path).unwrap().ino();
        let mut batch = Batch::default();
        let time = Timestamp::from_millis(1);
        batch.samples.push(Logged { slot: 1, time, value: 1.0, before: None, more: 0 });
        log.append(&batch).unwrap();
        assert!(log.handle().unwrap().is_some() && log.handle().unwrap().is_none());
        log.sync_failed();
        log.append(&batch).unwrap();
        let (first, held) = (inode(&path), fs::read(&path).unwrap());
        // No room for another: it is not believed to be there, whatever the disk says of the first.
        fs::create_dir(path.with_extension("new")).unwrap();
        assert!(log.sync().is_err() && log.handle().is_err() && log.rotate().is_err());
        fs::remove_dir(path.with_extension("new")).unwrap();
        // It is not tried all the time, and leaves nothing that takes room.
        assert!(log.handle().is_err());
        log.try_at_once();
        let whole = log.size;
        log.size += 1;
        assert!(log.handle().is_err() && !path.with_extension("new").exists());
        log.size = whole;
        log.try_at_once();
        assert!(log.handle().unwrap().is_none());
        assert_ne!(inode(&path), first);
        assert_eq!(fs::read(&path).unwrap(), held);
        assert_eq!(log.size(), held.len() as u64);
        // It goes on in that file.
        let second = inode(&path);
        log.append(&batch).unwrap();
        log.sync().unwrap();
        assert_eq!(inode(&path), second);
        assert_eq!(fs::metadata(&path).unwrap().len(), log.size());
        assert_eq!(segments(dir.path()).unwrap().len(), 1);
    }

    #[test]
    fn a_log_that_could_not_be_begun_is_begun_later_f32() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::create(dir.path(), vec![(6, Timestamp::MIN)], 0, 0).unwrap();
        (log.file, log.size) = (None, 0);
        fs::remove_file(dir.path().join(file_name(7))).unwrap();
        let time = Timestamp::from_millis(1);
        let mut batch = Batch::default();
        batch.samples.push(Logged { slot: 1, time, value: 1.0, before: None, more: 0 });
        assert!(
            log.is_full(time) && log.append(&batch).is_err() && log.handle().unwrap().is_none()
        );
        assert_eq!(log.begin_checkpoint().unwrap().len(), 1);
        // No room yet, and then there is.
        fs::create_dir(dir.path().join(file_name(7))).unwrap();
        assert!(log.rotate().is_err() && log.needs_another());
        fs::remove_dir(dir.path().join(file_name(7))).unwrap();
        log.rotate().unwrap();
        assert!(!log.is_full(time));
        log.append(&batch).unwrap();
        log.sync().unwrap();
        assert_eq!((log.number(), log.closed.len()), (7, 1));
        assert_eq!(fs::metadata(dir.path().join(file_name(7))).unwrap().len(), log.size());
    }

    #[test]
    fn a_segment_that_cannot_be_mended_is_left_f32() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::create(dir.path(), Vec::new(), 0, 0).unwrap();
        let time = Timestamp::from_millis(1);
        let mut batch = Batch::default();
        batch.samples.push(Logged { slot: 1, time, value: 1.0, before: None, more: 0 });
        // Neither written nor cut: a file that can only be read.
        log.refuse();
        assert!(log.append(&batch).is_err());
        assert!(log.is_full(time));
        log.rotate().unwrap();
        assert!(!log.is_full(time));
        log.append(&batch).unwrap();
    }
}
