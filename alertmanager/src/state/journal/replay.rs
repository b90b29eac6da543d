//! Reading a journal again: after an orderly end, a crash, or damage.
//!
//! Invariant: what is after a frame that broke off, and it alone, is cut away; a frame that is damaged
//! is left out, and the file as it was is kept beside.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::{HEAD, Live, MAGIC, MAX_FRAME, OPERATION, Place, REMOVED};

/// What is in a journal.
pub(super) struct Replayed {
    pub(super) file: File,
    pub(super) size: u64,
    pub(super) live: Live,
    pub(super) next_id: u64,
    /// Frames were left out: the file is to be written anew.
    pub(super) damaged: bool,
}

/// A frame, as it was found.
enum Frame {
    Whole(Vec<u8>),
    /// The length fits, the sum does not.
    Damaged(u64),
    /// It goes beyond the end, or there is none.
    Broken,
}

pub(super) fn replay(path: &Path) -> io::Result<Replayed> {
    let mut file =
        OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
    let end = file.metadata()?.len();
    let mut replayed = Replayed {
        file: file.try_clone()?,
        size: MAGIC.len() as u64,
        live: Live::default(),
        next_id: 0,
        damaged: false,
    };
    if end < MAGIC.len() as u64 {
        // New, or a crash when it was.
        file.set_len(0)?;
        file.write_all(MAGIC)?;
        file.sync_all()?;
        if let Some(folder) = path.parent() {
            File::open(folder)?.sync_all()?;
        }
        return Ok(replayed);
    }
    let mut magic = [0; MAGIC.len()];
    file.read_exact(&mut magic)?;
    if &magic != MAGIC {
        return Err(io::Error::other("it is no journal of Veilleur"));
    }
    file.seek(SeekFrom::Start(replayed.size))?;
    let mut reader = BufReader::with_capacity(256 << 10, &file);
    loop {
        match read(&mut reader, end - replayed.size)? {
            Frame::Whole(payload) => {
                replayed.damaged |= !replayed.take(&payload);
                replayed.size += (HEAD + payload.len()) as u64;
            }
            Frame::Damaged(length) if replayed.size + length < end => {
                replayed.damaged = true;
                replayed.size += length;
            }
            Frame::Damaged(_) | Frame::Broken => break,
        }
    }
    if replayed.damaged {
        let kept = path.with_extension("damaged");
        if let Err(error) = fs::copy(path, &kept) {
            // A full disk takes another name for it; it is written anew under its own.
            let _ = fs::remove_file(&kept);
            fs::hard_link(path, &kept).map_err(|_| error)?;
        }
        tracing::error!(
            file = %path.display(), kept = %kept.display(),
            "the journal is damaged; what can be read of it is used, and it is kept as it was"
        );
    }
    if replayed.size < end {
        tracing::warn!(file = %path.display(), bytes = end - replayed.size, "a write that broke off is cut away");
        file.set_len(replayed.size)?;
        file.sync_all()?;
    }
    Ok(replayed)
}

/// The next frame, of which no more than `left` bytes are there.
fn read(reader: &mut impl Read, left: u64) -> io::Result<Frame> {
    let mut head = [0; HEAD];
    if left < HEAD as u64 {
        return Ok(Frame::Broken);
    }
    reader.read_exact(&mut head)?;
    let number =
        |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let (length, sum) = (number(0) as usize, number(4));
    let total = (HEAD + length) as u64;
    if length == 0 || length > MAX_FRAME || total > left {
        return Ok(Frame::Broken);
    }
    let mut payload = vec![0; length];
    reader.read_exact(&mut payload)?;
    Ok(if crc32fast::hash(&payload) == sum { Frame::Whole(payload) } else { Frame::Damaged(total) })
}

impl Replayed {
    /// Takes the operations of a frame that stands behind what was read; false where it has others
    /// than ours.
    fn take(&mut self, payload: &[u8]) -> bool {
        let start = self.size + HEAD as u64;
        let mut at = 0;
        while at < payload.len() {
            let Some(head) = payload.get(at..at + OPERATION) else { return false };
            let (Ok(id), Ok(length)) = (head[1..9].try_into(), head[9..13].try_into()) else {
                return false;
            };
            let (id, length) = (u64::from_le_bytes(id), u32::from_le_bytes(length));
            at += OPERATION;
            self.next_id = self.next_id.max(id);
            if length == REMOVED {
                self.live.remove(&(head[0], id));
                continue;
            }
            if payload.len() - at < length as usize {
                return false;
            }
            self.live.insert((head[0], id), Place { offset: start + at as u64, length });
            at += length as usize;
        }
        true
    }
}
