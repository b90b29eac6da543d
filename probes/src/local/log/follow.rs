//! Reading on in a file that others write, move, empty and delete.
//!
//! ```text
//! same file, longer    ──▶ on from the offset
//! same file, shorter   ──▶ emptied in place (copytruncate): from its beginning
//! another file         ──▶ moved away: the old one to its end, then the new one from its beginning
//! ```
//!
//! A file is known by its device and inode, and by its first bytes: a number is given to another
//! file once it is free.
//!
//! Invariant: every byte of a file is handed out at most once, as a part of a line.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::super::keep::hash;
use super::{MOST_BYTES, MOST_OF_LINE};

/// How many of its first bytes tell a file from another.
const FINGERPRINT: usize = 256;
/// How much is read at a time.
const CHUNK: usize = 256 << 10;

/// A place in a file.
#[derive(Debug)]
pub(super) struct Follow {
    /// Whether a file that is seen for the first time is read from its beginning.
    beginning: bool,
    place: Option<Place>,
    /// The file at the place; kept open so that it can be read when it has lost its name.
    open: Option<File>,
}

#[derive(Clone, Debug, PartialEq)]
struct Place {
    device: u64,
    inode: u64,
    /// The first bytes when it was last read: how many, and their hash.
    head: (u64, u64),
    offset: u64,
    /// Whether the line that goes on here has been counted already, being too long.
    skipping: bool,
}

impl Follow {
    pub(super) fn new(beginning: bool) -> Self {
        Self { beginning, place: None, open: None }
    }

    /// Hands every new line to `line`; gives how many bytes are left for the next time.
    pub(super) fn read(
        &mut self,
        path: &Path,
        stop: &CancellationToken,
        line: &mut dyn FnMut(&[u8]),
    ) -> io::Result<u64> {
        let file = open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is not a plain file"));
        }
        let (device, inode) = (metadata.dev(), metadata.ino());
        let same =
            |place: &Place| place.device == device && place.inode == inode && place.is_of(&file);
        match &mut self.place {
            Some(place) if same(place) => {
                if metadata.len() < place.offset {
                    (place.offset, place.skipping) = (0, false);
                }
            }
            Some(place) => {
                // It has lost its name, or was emptied and written anew: what there is left of it
                // comes first.
                let moved = (place.device, place.inode) != (device, inode);
                if moved {
                    self.find_moved(path);
                    self.read_rest(stop, line);
                }
                self.place = Some(Place::start(device, inode));
            }
            None => {
                let mut place = Place::start(device, inode);
                if !self.beginning {
                    place.offset = metadata.len();
                    // The line that is being written now is none of ours.
                    place.skipping =
                        metadata.len() > 0 && last_byte(&file, metadata.len())? != b'\n';
                }
                self.place = Some(place);
            }
        }
        self.open = Some(file);
        Ok(self.read_rest(stop, line))
    }

    /// As [`Follow::read`], of the file that is open, whatever has become of its name.
    pub(super) fn read_rest(
        &mut self,
        stop: &CancellationToken,
        line: &mut dyn FnMut(&[u8]),
    ) -> u64 {
        let (Some(place), Some(file)) = (&mut self.place, &self.open) else { return 0 };
        place.read(file, stop, line);
        place.head = head(file);
        file.metadata().map_or(0, |metadata| metadata.len().saturating_sub(place.offset))
    }

    /// Whether nobody can read on here: the name is gone and nothing was left.
    pub(super) fn is_done(&mut self) -> bool {
        let gone = |file: &File| file.metadata().map_or(true, |metadata| metadata.nlink() == 0);
        self.open.as_ref().is_none_or(gone)
    }

    /// After a restart nothing is open: looks for the file among its neighbours, where logrotate
    /// leaves it.
    fn find_moved(&mut self, path: &Path) {
        let (Some(place), None) = (&self.place, &self.open) else { return };
        let entries = path.parent().and_then(|folder| std::fs::read_dir(folder).ok());
        for entry in entries.into_iter().flatten().flatten() {
            use std::os::unix::fs::DirEntryExt;
            if entry.ino() != place.inode {
                continue;
            }
            let Ok(file) = open(&entry.path()) else { continue };
            let same = file.metadata().is_ok_and(|metadata| {
                metadata.dev() == place.device && metadata.ino() == place.inode
            });
            if same && place.is_of(&file) {
                self.open = Some(file);
                return;
            }
        }
    }

    /// What was kept of it.
    pub(super) fn load(kept: &Value) -> Option<Self> {
        let number = |name: &str| kept[name].as_u64();
        let place = Place {
            device: number("device")?,
            inode: number("inode")?,
            head: (number("head_length")?, number("head_hash")?),
            offset: number("offset")?,
            skipping: kept["skipping"].as_bool()?,
        };
        Some(Self { beginning: true, place: Some(place), open: None })
    }

    /// What is kept of it.
    pub(super) fn to_json(&self) -> Value {
        let Some(place) = &self.place else { return Value::Null };
        json!({
            "device": place.device,
            "inode": place.inode,
            "head_length": place.head.0,
            "head_hash": place.head.1,
            "offset": place.offset,
            "skipping": place.skipping,
        })
    }
}

impl Place {
    fn start(device: u64, inode: u64) -> Self {
        Self { device, inode, head: (0, hash("")), offset: 0, skipping: false }
    }

    /// Whether `file` begins as the one of this place did.
    fn is_of(&self, file: &File) -> bool {
        let (length, expected) = self.head;
        let mut bytes = [0; FINGERPRINT];
        let length = usize::try_from(length).unwrap_or(FINGERPRINT).min(FINGERPRINT);
        // One that is shorter than what was read was emptied, and is the same for all we know.
        let read = read_at(file, &mut bytes[..length], 0).unwrap_or(0);
        read < length || hash(&bytes[..read]) == expected
    }

    /// Reads whole lines, until there are none, enough was read or the time is up.
    fn read(&mut self, file: &File, stop: &CancellationToken, line: &mut dyn FnMut(&[u8])) {
        let end = self.offset.saturating_add(MOST_BYTES);
        let mut chunk = vec![0; CHUNK];
        while self.offset < end && !stop.is_cancelled() {
            let Ok(read @ 1..) = read_at(file, &mut chunk, self.offset) else { return };
            let mut rest = &chunk[..read];
            while let Some(at) = memchr::memchr(b'\n', rest) {
                if !std::mem::take(&mut self.skipping) {
                    line(&rest[..at.min(MOST_OF_LINE)]);
                }
                self.offset += at as u64 + 1;
                rest = &rest[at + 1..];
            }
            if rest.len() >= MOST_OF_LINE {
                // Whoever writes without end has written one line.
                if !std::mem::replace(&mut self.skipping, true) {
                    line(&rest[..MOST_OF_LINE]);
                }
                self.offset += rest.len() as u64;
            } else if self.skipping {
                self.offset += rest.len() as u64;
            } else if read < CHUNK {
                // The rest of a line that is being written.
                return;
            }
        }
    }
}

/// Opens for reading and waits for nobody: a pipe is no log.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

/// The first bytes: how many, and their hash.
fn head(file: &File) -> (u64, u64) {
    let mut bytes = [0; FINGERPRINT];
    let read = read_at(file, &mut bytes, 0).unwrap_or(0);
    (read as u64, hash(&bytes[..read]))
}

fn last_byte(file: &File, length: u64) -> io::Result<u8> {
    let mut byte = [0];
    file.read_exact_at(&mut byte, length - 1)?;
    Ok(byte[0])
}

/// Reads until `buffer` is full or the file ends.
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
