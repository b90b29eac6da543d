//! What waits to be sent, on the disk.
//!
//! ```text
//! DIR/00000007.buf   records, oldest first:  length u32 | CRC-32 of the rest u32 | samples u32 | body
//! DIR/sent           "7 1234\n": up to where in which file everything was taken
//! DIR/lock           held while an agent uses the folder
//! ```
//!
//! Numbers are little-endian. When the disk cannot be written what is new waits in memory.
//!
//! Invariant: records come out in the order in which they went in, each once per run; together they
//! take no more than the limit, for which the oldest go.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// What stands before a body.
const HEADER: u64 = 12;
/// A file is closed when it is larger; the oldest file goes as a whole.
const SEGMENT: u64 = 1 << 20;
/// How many records wait in memory while the disk cannot be written.
const MOST_IN_MEMORY: usize = 64;

/// A body that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) body: Vec<u8>,
    /// How many samples it holds.
    pub(super) samples: u32,
}

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// On the disk: the file's number, and where in it.
    Disk(u64, u64),
    /// In memory: how many were there before it.
    Memory(u64),
}

/// A file of the buffer.
#[derive(Debug)]
struct Segment {
    number: u64,
    file: File,
    /// How much of it is records.
    length: u64,
    /// How many samples of it wait.
    samples: u64,
}

/// The buffer. All of it waits for the disk.
#[derive(Debug)]
pub(super) struct Buffer {
    dir: PathBuf,
    limit: u64,
    /// Oldest first; the last is written to.
    segments: VecDeque<Segment>,
    /// Where in the oldest file the next record stands.
    next: u64,
    next_number: u64,
    memory: VecDeque<Record>,
    /// How many records have left the memory.
    left_memory: u64,
    /// How many samples went because there was no room, or because the disk lost them.
    dropped: u64,
    /// Why the disk could not be written.
    fault: Option<String>,
    _lock: File,
}

impl Buffer {
    /// Opens the buffer in `dir`, which is made where there is none.
    ///
    /// # Errors
    ///
    /// The folder cannot be used, or another agent uses it. Files that are damaged are no error:
    /// what can be read of them is used.
    pub(super) fn open(dir: &Path, limit: u64) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let lock =
            OpenOptions::new().create(true).truncate(false).write(true).open(dir.join("lock"))?;
        lock.try_lock().map_err(|_| io::Error::other("another agent uses it"))?;
        let (sent_number, sent_offset) = sent(dir);
        let mut numbers: Vec<u64> = Vec::new();
        for entry in fs::read_dir(dir)? {
            let name = entry?.file_name();
            let number =
                name.to_str().and_then(|name| name.strip_suffix(".buf")?.parse::<u64>().ok());
            numbers.extend(number);
        }
        numbers.sort_unstable();
        let mut buffer = Self {
            dir: dir.to_owned(),
            limit,
            segments: VecDeque::new(),
            next: 0,
            next_number: numbers.last().map_or(1, |last| last + 1).max(sent_number + 1),
            memory: VecDeque::new(),
            left_memory: 0,
            dropped: 0,
            fault: None,
            _lock: lock,
        };
        for number in numbers {
            if number < sent_number {
                fs::remove_file(buffer.path(number))?;
                continue;
            }
            let from = if number == sent_number { sent_offset } else { 0 };
            let file = OpenOptions::new().read(true).write(true).open(buffer.path(number))?;
            let (length, samples) = scan(&file, from)?;
            // A torn end is cut off, so that nothing is appended behind it.
            file.set_len(length)?;
            if buffer.segments.is_empty() {
                buffer.next = from.min(length);
            }
            buffer.segments.push_back(Segment { number, file, length, samples });
        }
        Ok(buffer)
    }

    /// Adds a record. Where the disk fails it waits in memory, for as long as there is room.
    pub(super) fn push(&mut self, record: Record) {
        if self.memory.is_empty() {
            match self.append(&record) {
                Ok(()) => {
                    self.fault = None;
                    return;
                }
                Err(error) => {
                    self.fault = Some(format!("cannot write to {}: {error}", self.dir.display()));
                }
            }
        }
        self.memory.push_back(record);
        while self.memory.len() > MOST_IN_MEMORY {
            if let Some(oldest) = self.leave_memory() {
                self.dropped += u64::from(oldest.samples);
            }
        }
    }

    fn append(&mut self, record: &Record) -> io::Result<()> {
        let size = HEADER + record.body.len() as u64;
        let full = |segment: &Segment| segment.length > 0 && segment.length + size > SEGMENT;
        if self.segments.back().is_none_or(full) {
            let number = self.next_number;
            let path = self.path(number);
            let mut options = OpenOptions::new();
            let file = options.create(true).truncate(true).read(true).write(true).open(path)?;
            self.next_number += 1;
            if self.segments.is_empty() {
                self.next = 0;
            }
            self.segments.push_back(Segment { number, file, length: 0, samples: 0 });
        }
        while self.bytes() + size > self.limit && self.segments.len() > 1 {
            self.drop_oldest()?;
        }
        let Some(segment) = self.segments.back_mut() else { return Ok(()) };
        let mut bytes = Vec::with_capacity(size as usize);
        bytes.extend((record.body.len() as u32).to_le_bytes());
        bytes.extend(checksum(record).to_le_bytes());
        bytes.extend(record.samples.to_le_bytes());
        bytes.extend(&record.body);
        // What was written of a record that failed is overwritten by the next.
        segment.file.write_all_at(&bytes, segment.length)?;
        segment.file.sync_data()?;
        segment.length += size;
        segment.samples += u64::from(record.samples);
        Ok(())
    }

    fn leave_memory(&mut self) -> Option<Record> {
        let record = self.memory.pop_front()?;
        self.left_memory += 1;
        Some(record)
    }

    /// The oldest record, which stays.
    pub(super) fn front(&mut self) -> Option<(Place, Record)> {
        while let Some(segment) = self.segments.front() {
            if self.next < segment.length {
                match read(&segment.file, self.next) {
                    Ok(Some(record)) => {
                        return Some((Place::Disk(segment.number, self.next), record));
                    }
                    // The disk has lost it since it was written: so has it all that follows.
                    Ok(None) | Err(_) => {
                        self.dropped += segment.samples;
                        self.fault =
                            Some(format!("cannot read {}", self.path(segment.number).display()));
                        self.next = segment.length;
                        if let Some(segment) = self.segments.front_mut() {
                            segment.samples = 0;
                        }
                        continue;
                    }
                }
            }
            if self.segments.len() == 1 {
                break;
            }
            let _ = self.remove_oldest();
        }
        self.memory.front().cloned().map(|record| (Place::Memory(self.left_memory), record))
    }

    /// The oldest records, which stay: the first, and as many of the next as hold `most` samples
    /// together.
    pub(super) fn oldest(&mut self, most: u32) -> Vec<(Place, Record)> {
        let Some(first) = self.front() else { return Vec::new() };
        let (mut samples, mut offset) = (first.1.samples, self.next);
        if let Place::Disk(..) = first.0 {
            offset += HEADER + first.1.body.len() as u64;
        }
        let skipped = usize::from(matches!(first.0, Place::Memory(_)));
        let mut records = vec![first];
        let mut fits = |record: &Record| {
            samples = samples.saturating_add(record.samples);
            samples <= most
        };
        for segment in &self.segments {
            while offset < segment.length {
                // What cannot be read is judged when its turn comes.
                let Ok(Some(record)) = read(&segment.file, offset) else { return records };
                if !fits(&record) {
                    return records;
                }
                let place = Place::Disk(segment.number, offset);
                offset += HEADER + record.body.len() as u64;
                records.push((place, record));
            }
            offset = 0;
        }
        for (number, record) in (self.left_memory..).zip(&self.memory).skip(skipped) {
            if !fits(record) {
                break;
            }
            records.push((Place::Memory(number), record.clone()));
        }
        records
    }

    /// Takes out the record that [`Buffer::front`] gave, unless it had to go for want of room
    /// meanwhile.
    ///
    /// # Errors
    ///
    /// That it was taken could not be noted: it is out, and would be sent again after a restart.
    pub(super) fn pop(&mut self, place: Place, record: &Record) -> io::Result<()> {
        match (place, self.segments.front_mut()) {
            (Place::Memory(before), _) if before == self.left_memory => {
                self.leave_memory();
                Ok(())
            }
            (Place::Disk(number, at), Some(segment))
                if (number, at) == (segment.number, self.next) =>
            {
                self.next += HEADER + record.body.len() as u64;
                segment.samples = segment.samples.saturating_sub(u64::from(record.samples));
                if self.next >= segment.length && self.segments.len() > 1 {
                    return self.remove_oldest();
                }
                self.note(number, self.next)
            }
            _ => Ok(()),
        }
    }

    /// Removes the oldest file, which has nothing that waits any more or has to go.
    fn remove_oldest(&mut self) -> io::Result<()> {
        let Some(segment) = self.segments.pop_front() else { return Ok(()) };
        self.next = 0;
        // First of all room: a disk that is full takes no note.
        fs::remove_file(self.path(segment.number))?;
        self.note(segment.number + 1, 0)
    }

    fn drop_oldest(&mut self) -> io::Result<()> {
        self.dropped += self.segments.front().map_or(0, |segment| segment.samples);
        self.remove_oldest()
    }

    /// Notes up to where everything was taken.
    fn note(&self, number: u64, offset: u64) -> io::Result<()> {
        let path = self.dir.join("sent.new");
        let mut file = File::create(&path)?;
        writeln!(file, "{number} {offset}")?;
        fs::rename(path, self.dir.join("sent"))
    }

    fn path(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{number:08}.buf"))
    }

    /// How much it takes on the disk.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.length).sum()
    }

    /// How many samples wait.
    pub(super) fn samples(&self) -> u64 {
        let on_disk: u64 = self.segments.iter().map(|segment| segment.samples).sum();
        on_disk + self.memory.iter().map(|record| u64::from(record.samples)).sum::<u64>()
    }

    /// How many samples it has dropped since the last call.
    pub(super) fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// What is wrong with the disk.
    pub(super) fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }
}

fn checksum(record: &Record) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&record.samples.to_le_bytes());
    hasher.update(&record.body);
    hasher.finalize()
}

/// The record at `offset`; nothing where there is no whole one.
fn read(file: &File, offset: u64) -> io::Result<Option<Record>> {
    let mut header = [0; HEADER as usize];
    match file.read_exact_at(&mut header, offset) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        result => result?,
    }
    let word = |at: usize| {
        header[at..at + 4].iter().rev().fold(0_u32, |word, byte| word << 8 | u32::from(*byte))
    };
    let length = u64::from(word(0));
    if length + HEADER + offset > file.metadata()?.len() {
        return Ok(None);
    }
    let mut body = vec![0; length as usize];
    file.read_exact_at(&mut body, offset + HEADER)?;
    let record = Record { body, samples: word(8) };
    Ok((checksum(&record) == word(4)).then_some(record))
}

/// Up to where a file is whole, and how many samples stand in it from `from` on.
fn scan(file: &File, from: u64) -> io::Result<(u64, u64)> {
    let (mut offset, mut samples) = (from.min(file.metadata()?.len()), 0);
    while let Some(record) = read(file, offset)? {
        offset += HEADER + record.body.len() as u64;
        samples += u64::from(record.samples);
    }
    Ok((offset, samples))
}

/// Up to where everything was taken; the beginning where nothing is noted.
fn sent(dir: &Path) -> (u64, u64) {
    let noted = fs::read_to_string(dir.join("sent")).ok();
    let parsed = noted.as_deref().and_then(|text| {
        let (number, offset) = text.trim_end().split_once(' ')?;
        Some((number.parse().ok()?, offset.parse().ok()?))
    });
    parsed.unwrap_or((0, 0))
}

#[cfg(test)]
mod tests;
