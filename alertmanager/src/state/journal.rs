//! The journal: records that come and go quickly, appended to one file; a wait for the disk is
//! shared by all who wait.
//!
//! ```text
//! file     8 bytes of magic, then frames
//! frame    length (4 bytes)  CRC-32 of the payload (4 bytes)  payload
//! payload  operations: table (1 byte)  id (8 bytes)  length (4 bytes)  record
//!          a length of 2^32 - 1 takes the record out
//! ```
//!
//! A batch is a frame: after a crash it is there as a whole or not at all. The records themselves
//! are not held in memory, only where they stand; when most of the file is what was taken out, those
//! that are left are copied to a new one.
//!
//! Where the disk takes nothing, the records go on in a file in memory until it does again: whoever is
//! to be told is told, and what was done meanwhile is forgotten by a crash (F35).
//!
//! Invariant: what was written outlives the process when [`Journal::write`] returns, and the machine
//! when [`Journal::commit`] does, but while [`Journal::is_adrift`].

mod adrift;
mod replay;

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{MemfdFlags, memfd_create};
use tokio::sync::Mutex as Turn;

use self::replay::Replayed;
use crate::crash;

const MAGIC: &[u8; 8] = b"VEILJRN1";
/// Before each payload: its length and its checksum.
const HEAD: usize = 8;
/// Before each record: table, id, length.
const OPERATION: usize = 13;
/// The length of a record that is taken out.
const REMOVED: u32 = u32::MAX;
/// The largest payload; what the API takes at once is far smaller.
const MAX_FRAME: usize = 256 << 20;
/// A file that is smaller is not worth copying.
const SMALL: u64 = 64 << 20;
/// The same for a test of what a crash leaves of a copy.
const TINY: u64 = 8 << 10;
/// When records are copied, a frame of theirs is about so large.
const COPIED: usize = 1 << 20;

/// What a record is. The numbers stand in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Table {
    /// An alert that was pushed.
    Push = 1,
    /// A later end of it, under its id.
    PushTimes = 2,
    /// What a receiver is told of a group.
    Flush = 3,
    /// That it is to be told so.
    Intent = 4,
    /// That it was.
    Told = 5,
    /// An attempt to do so, until it is in the history.
    Attempt = 6,
    /// What a receiver may have been told: no answer came.
    InFlight = 7,
    /// How far a group is that nobody answers for, or who has it.
    Bout = 8,
}

type Key = (u8, u64);
/// Where the records stand: asked several times for every alert and every intent, by keys of ours.
type Live = HashMap<Key, Place, foldhash::fast::RandomState>;

/// Where a record stands.
#[derive(Clone, Copy, Debug)]
struct Place {
    offset: u64,
    length: u32,
}

/// Changes that are made together.
#[derive(Debug)]
pub struct Batch {
    /// Begins with room for the head of the frame.
    frame: Vec<u8>,
    operations: Vec<(Key, usize, u32)>,
}

impl Default for Batch {
    fn default() -> Self {
        Self { frame: vec![0; HEAD], operations: Vec::new() }
    }
}

impl Batch {
    /// Puts in a record, in the place of the one with its id; `write` appends its bytes.
    pub fn put(&mut self, table: Table, id: u64, write: impl FnOnce(&mut Vec<u8>)) {
        let at = self.begin(table, id, 0);
        write(&mut self.frame);
        let length = u32::try_from(self.frame.len() - at).unwrap_or(REMOVED - 1);
        self.frame[at - 4..at].copy_from_slice(&length.to_le_bytes());
        self.operations.push(((table as u8, id), at, length));
    }

    /// Takes a record out.
    pub fn remove(&mut self, table: Table, id: u64) {
        let at = self.begin(table, id, REMOVED);
        self.operations.push(((table as u8, id), at, REMOVED));
    }

    /// How many bytes it takes.
    pub fn size(&self) -> usize {
        self.frame.len()
    }

    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    fn begin(&mut self, table: Table, id: u64, length: u32) -> usize {
        self.frame.push(table as u8);
        self.frame.extend_from_slice(&id.to_le_bytes());
        self.frame.extend_from_slice(&length.to_le_bytes());
        self.frame.len()
    }

    /// The frame, complete.
    fn finish(&mut self) -> io::Result<&[u8]> {
        let payload = self.frame.len() - HEAD;
        let length = u32::try_from(payload).ok().filter(|_| payload <= MAX_FRAME);
        let length = length.ok_or_else(|| io::Error::other("a batch is too large"))?;
        let sum = crc32fast::hash(&self.frame[HEAD..]);
        self.frame[..4].copy_from_slice(&length.to_le_bytes());
        self.frame[4..HEAD].copy_from_slice(&sum.to_le_bytes());
        Ok(&self.frame)
    }
}

/// The journal. Clones share it.
#[derive(Clone, Debug)]
pub struct Journal {
    shared: Arc<Shared>,
    /// Held by whoever waits for the disk; who comes next finds that it is done.
    turn: Arc<Turn<()>>,
}

#[derive(Debug)]
struct Shared {
    /// None where it is in memory only.
    path: Option<PathBuf>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: Arc<File>,
    size: u64,
    /// Counts the files: a copy is another one.
    generation: u64,
    /// Everything that was ever written, in bytes, and how much of that is on the disk.
    written: u64,
    synced: u64,
    live: Live,
    live_bytes: u64,
    next_id: u64,
    /// The disk failed: what the file holds is not known, so the next write begins another one
    /// (F33).
    suspect: bool,
    /// The file is in memory, because the disk refused.
    adrift: bool,
    /// A test has said that the disk is full.
    #[cfg(test)]
    full: bool,
}

impl Journal {
    /// Opens the journal at `path`, making it where there is none.
    ///
    /// # Errors
    ///
    /// The file cannot be read or written, or is none of ours.
    pub fn open(path: &Path) -> io::Result<Self> {
        let replayed = replay::replay(path)?;
        Ok(Self::of(replayed, Some(path.to_owned())))
    }

    /// A journal that nothing keeps.
    ///
    /// # Errors
    ///
    /// There is no memory.
    pub fn in_memory() -> io::Result<Self> {
        let file = unnamed()?;
        (&file).write_all(MAGIC)?;
        let (size, live) = (MAGIC.len() as u64, Live::default());
        Ok(Self::of(Replayed { file, size, live, next_id: 0, damaged: false }, None))
    }

    fn of(replayed: Replayed, path: Option<PathBuf>) -> Self {
        let inner = Inner {
            size: replayed.size,
            generation: 0,
            written: 0,
            synced: 0,
            live_bytes: replayed.live.values().map(bytes).sum(),
            next_id: replayed.next_id,
            live: replayed.live,
            file: Arc::new(replayed.file),
            suspect: replayed.damaged,
            adrift: false,
            #[cfg(test)]
            full: false,
        };
        let shared = Shared { path, inner: Mutex::new(inner) };
        Self { shared: Arc::new(shared), turn: Arc::default() }
    }

    /// From now on the disk is full, and there is no memory either.
    #[cfg(test)]
    pub(crate) fn fill(&self) {
        self.shared.lock().full = true;
    }

    /// An id that no record has.
    pub fn new_id(&self) -> u64 {
        let mut inner = self.shared.lock();
        inner.next_id += 1;
        inner.next_id
    }

    /// Shows every record of a table, in the order in which they were written.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn each(&self, table: Table, mut show: impl FnMut(u64, &[u8])) -> io::Result<()> {
        let inner = self.shared.lock();
        let of_table = inner.live.iter().filter(|((of, _), _)| *of == table as u8);
        let mut places: Vec<_> =
            of_table.map(|((_, id), place)| (place.offset, *id, place)).collect();
        places.sort_unstable_by_key(|(offset, _, _)| *offset);
        let mut record = Vec::new();
        for (offset, id, place) in places {
            record.resize(place.length as usize, 0);
            inner.file.read_exact_at(&mut record, offset)?;
            show(id, &record);
        }
        Ok(())
    }

    /// Writes a batch: it outlives the process, and the machine after the next
    /// [`Journal::commit`] or [`Journal::sync`].
    ///
    /// # Errors
    ///
    /// The disk refused; nothing has changed.
    pub fn write(&self, batch: Batch) -> io::Result<()> {
        self.append(batch).map(drop)
    }

    /// As [`Journal::write`]; gives up to where [`Journal::wait_for`] has to wait, `None` where nothing
    /// was to be written.
    ///
    /// # Errors
    ///
    /// The disk refused; nothing has changed.
    pub fn append(&self, mut batch: Batch) -> io::Result<Option<u64>> {
        if batch.is_empty() {
            return Ok(None);
        }
        self.shared.lock().append(self.shared.path.as_deref(), &mut batch).map(Some)
    }

    /// Writes a batch and waits until it is on the disk.
    ///
    /// # Errors
    ///
    /// The disk refused. Where it did so only when asked to keep it, the batch may be found again
    /// after a crash.
    pub async fn commit(&self, batch: Batch) -> io::Result<()> {
        match self.append(batch)? {
            Some(mine) => self.wait_for(mine).await,
            None => Ok(()),
        }
    }

    /// Waits until everything that was written is on the disk.
    ///
    /// # Errors
    ///
    /// The disk refused.
    pub async fn sync(&self) -> io::Result<()> {
        let written = self.shared.lock().written;
        self.wait_for(written).await
    }

    /// Waits until what [`Journal::append`] wrote up to `mine` is on the disk.
    ///
    /// # Errors
    ///
    /// The disk refused.
    pub async fn wait_for(&self, mine: u64) -> io::Result<()> {
        if self.shared.lock().synced >= mine {
            return Ok(());
        }
        let _turn = self.turn.lock().await;
        if self.shared.lock().synced >= mine {
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        match tokio::task::spawn_blocking(move || shared.sync()).await {
            Ok(result) => result,
            Err(panic) => Err(io::Error::other(panic)),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sync(&self) -> io::Result<()> {
        let (file, generation, written, adrift) = {
            let mut inner = self.lock();
            if inner.suspect {
                inner.renew(self.path.as_deref())?;
            }
            (Arc::clone(&inner.file), inner.generation, inner.written, inner.adrift)
        };
        // Others write meanwhile. For what is in memory there is nothing to wait for.
        let result = if adrift { Ok(()) } else { file.sync_data() };
        let mut inner = self.lock();
        match result {
            Ok(()) => {
                crash::point("journal.synced");
                inner.synced = inner.synced.max(written);
            }
            // Another file holds it all by now.
            Err(_) if inner.generation != generation => {}
            // What the system could not write it may have forgotten: all of it is written anew.
            Err(error) => {
                tracing::error!(%error, "the disk failed at the journal");
                inner.suspect = true;
                inner.renew(self.path.as_deref())?;
            }
        }
        if inner.size > crash::sooner(SMALL, TINY) && inner.size / 3 > inner.live_bytes {
            let path = self.path.as_deref().filter(|_| !inner.adrift);
            inner.copy(path)?;
        }
        Ok(())
    }
}

impl Inner {
    /// Appends a batch; gives how much has been written with it.
    fn append(&mut self, path: Option<&Path>, batch: &mut Batch) -> io::Result<u64> {
        #[cfg(test)]
        if self.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if self.suspect {
            self.renew(path)?;
        }
        let frame = batch.finish()?;
        if let Err(error) = self.file.write_all_at(frame, self.size) {
            // What stands there of it a start would read.
            let _ = self.file.set_len(self.size);
            if path.is_none() || self.adrift {
                return Err(error);
            }
            self.drift(&error)?;
            self.file.write_all_at(frame, self.size)?;
        }
        crash::point("journal.appended");
        let (start, length) = (self.size, frame.len() as u64);
        for (key, at, length) in &batch.operations {
            self.note(*key, Place { offset: start + *at as u64, length: *length });
        }
        self.size += length;
        self.written += length;
        Ok(self.written)
    }

    fn note(&mut self, key: Key, place: Place) {
        let before = match place.length {
            REMOVED => self.live.remove(&key),
            _ => {
                self.live_bytes += bytes(&place);
                self.live.insert(key, place)
            }
        };
        self.live_bytes -= before.as_ref().map_or(0, bytes);
    }

    /// Copies the records that are left to a new file, and goes on with that.
    fn copy(&mut self, path: Option<&Path>) -> io::Result<()> {
        let new = path.map(|path| path.with_extension("new"));
        let file = match &new {
            Some(new) => {
                OpenOptions::new().create(true).truncate(true).read(true).write(true).open(new)?
            }
            None => unnamed()?,
        };
        let mut places: Vec<_> = self.live.iter().map(|(key, place)| (*key, *place)).collect();
        places.sort_unstable_by_key(|(_, place)| place.offset);
        (&file).write_all(MAGIC)?;
        crash::point("journal.copy.begun");
        let (mut size, mut live) = (MAGIC.len() as u64, Live::default());
        live.reserve(places.len());
        let (mut record, mut batch) = (Vec::new(), Batch::default());
        let mut places = places.into_iter().peekable();
        while let Some(((table, id), place)) = places.next() {
            record.resize(place.length as usize, 0);
            self.file.read_exact_at(&mut record, place.offset)?;
            batch.frame.push(table);
            batch.frame.extend_from_slice(&id.to_le_bytes());
            batch.frame.extend_from_slice(&place.length.to_le_bytes());
            let offset = size + batch.frame.len() as u64;
            batch.frame.extend_from_slice(&record);
            live.insert((table, id), Place { offset, length: place.length });
            if batch.frame.len() > COPIED || places.peek().is_none() {
                let frame = batch.finish()?;
                (&file).write_all(frame)?;
                size += frame.len() as u64;
                batch = Batch::default();
            }
        }
        if let (Some(path), Some(new)) = (path, new) {
            crash::point("journal.copy.written");
            file.sync_all()?;
            crash::point("journal.copy.synced");
            fs::rename(&new, path)?;
            crash::point("journal.copy.renamed");
            if let Some(folder) = path.parent() {
                File::open(folder)?.sync_all()?;
            }
        }
        crash::point("journal.copied");
        (self.file, self.size, self.live) = (Arc::new(file), size, live);
        self.generation += 1;
        self.synced = self.written;
        self.suspect = false;
        if path.is_some() && std::mem::take(&mut self.adrift) {
            tracing::info!("the journal is on the disk again, with all that was in memory");
        }
        Ok(())
    }
}

/// A file in memory that no folder shows.
fn unnamed() -> io::Result<File> {
    Ok(memfd_create("journal", MemfdFlags::CLOEXEC)?.into())
}

/// What a record takes of the file.
fn bytes(place: &Place) -> u64 {
    OPERATION as u64 + u64::from(place.length)
}

#[cfg(test)]
mod tests;
