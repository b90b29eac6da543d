//! The files of the log: their names, their heads, and what is done where these do not agree.
//!
//! ```text
//! 00000007.log   magic (8 bytes)  number (4)  CRC-32 of the number (4)  frames
//! ```
//!
//! Segments have to be read in the order in which they were written, and files may be called otherwise
//! by whoever has put them back from a copy. Those of earlier builds have another magic and no number:
//! they are what they are called.
//!
//! Invariant: a segment is read as the one that it was begun as; no file takes the place of another.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use tracing::warn;

use crate::lasting;

const MAGIC: &[u8; 8] = b"VEILLOG2";
const WITHOUT_NUMBER: &[u8; 8] = b"VEILLOG1";
/// Bytes of a head.
pub(super) const HEAD: u64 = 16;
/// No segment has a higher number.
const MOST: u32 = u32::MAX / 2;
/// What a segment is called that is not what its name says, until it has its own.
pub(crate) const MISNAMED: &str = "misnamed";

/// The folder beside the log in `dir` for segments that are only read by others any more.
pub(super) fn aside_of(dir: &Path) -> PathBuf {
    dir.with_file_name("followed")
}

pub(super) fn file_name(number: u32) -> String {
    format!("{number:08}.log")
}

/// What the segment `number` begins with.
pub(super) fn head_of(number: u32) -> [u8; HEAD as usize] {
    let mut head = [0; HEAD as usize];
    head[..8].copy_from_slice(MAGIC);
    head[8..12].copy_from_slice(&number.to_le_bytes());
    head[12..].copy_from_slice(&crc32fast::hash(&number.to_le_bytes()).to_le_bytes());
    head
}

/// Reads a head: how long it is, and the number that it says; nothing where it is none.
pub(super) fn read_head(file: &mut impl Read) -> io::Result<Option<(u64, Option<u32>)>> {
    let mut head = [0; HEAD as usize];
    let (magic, rest) = head.split_at_mut(8);
    if !fill(file, magic)? {
        return Ok(None);
    }
    if magic == WITHOUT_NUMBER {
        return Ok(Some((8, None)));
    }
    if !fill(file, rest)? {
        return Ok(None);
    }
    let number = u32::from_le_bytes([head[8], head[9], head[10], head[11]]);
    Ok((head == head_of(number) && number <= MOST).then_some((HEAD, Some(number))))
}

/// Fills `buffer`; false at the end of the file, also where it ends within the buffer.
pub(crate) fn fill(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Begins the segment `number`; returns its length, too.
pub(super) fn begin(dir: &Path, number: u32) -> io::Result<(File, u64)> {
    lasting::make_folder(dir)?;
    let path = dir.join(file_name(number));
    let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
    // A full disk may have left it without any frame at the last attempt.
    if file.metadata()?.len() > HEAD {
        let why = format!("{} has samples already", path.display());
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
    }
    file.set_len(0)?;
    file.write_all(&head_of(number))?;
    lasting::sync(dir)?;
    Ok((file, HEAD))
}

/// The files of the segments in `dir` with their names, oldest first.
pub(crate) fn files(dir: &Path) -> io::Result<Vec<(PathBuf, String)>> {
    let found = segments(dir)?;
    Ok(found.into_iter().map(|(number, path)| (path, file_name(number))).collect())
}

/// The segments in `dir` by their names, oldest first.
pub(super) fn segments(dir: &Path) -> io::Result<Vec<(u32, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let number =
            path.file_name().and_then(|name| name.to_str()?.strip_suffix(".log")?.parse().ok());
        if let Some(number) = number.filter(|number| *number <= MOST) {
            found.push((number, path));
        }
    }
    found.sort();
    Ok(found)
}

/// A file of the log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SegmentFile {
    /// What it is, as it says itself; as its name says where it does not.
    pub(crate) number: u32,
    pub(crate) path: PathBuf,
    /// It is called like another.
    pub(crate) is_misnamed: bool,
}

/// The segments in `dir` by what they are, oldest first.
pub(super) fn by_heads(dir: &Path) -> io::Result<Vec<SegmentFile>> {
    let mut found = Vec::new();
    for (named, path) in segments(dir)? {
        let number = number_of(&path)?.unwrap_or(named);
        found.push(SegmentFile { number, path, is_misnamed: number != named });
    }
    found.sort();
    Ok(found)
}

fn number_of(path: &Path) -> io::Result<Option<u32>> {
    Ok(read_head(&mut File::open(path)?)?.and_then(|(_, number)| number))
}

/// Whether the file that is called like the segment `number` says that it is another.
pub(super) fn is_another(path: &Path, number: u32) -> bool {
    number_of(path).is_ok_and(|told| told.is_some_and(|told| told != number))
}

/// Calls the segments in `dir` by their numbers. What cannot be, because another has that name, is left
/// beside them.
pub(super) fn rename(dir: &Path) -> io::Result<()> {
    let mut renamed = false;
    for SegmentFile { number, path, .. } in by_heads(dir)?.into_iter().filter(|one| one.is_misnamed)
    {
        warn!(segment = %path.display(), number, "a file of the sample log is another than its name says");
        // First out of the way of each other.
        let mut free = (0..=u32::MAX).map(|n| path.with_extension(format!("{n}.{MISNAMED}")));
        if let Some(free) = free.find(|free| !free.exists()) {
            fs::rename(path, free)?;
            renamed = true;
        }
    }
    let mut waiting = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == MISNAMED) {
            waiting.push(path);
        }
    }
    waiting.sort();
    for path in waiting {
        let Some(number) = number_of(&path)? else { continue };
        let target = dir.join(file_name(number));
        if !target.exists() {
            fs::rename(&path, target)?;
            renamed = true;
        }
    }
    if renamed { lasting::sync(dir) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use base::labels::Labels;
    use base::sample::Timestamp;

    use super::*;
    use crate::{Options, Point, Storage};

    const MINUTE: i64 = 60_000;

    /// A sample a minute for eleven hours, in a segment for every two of them.
    fn filled(dir: &Path) -> Storage {
        let storage = open(dir);
        for minute in 0..660 {
            let series = storage.series(&Labels::from_pairs([("__name__", "x")])).unwrap();
            let timestamp = Timestamp::from_millis(minute * MINUTE);
            storage.append(&[Point { series, timestamp, value: minute as f64 }]).unwrap();
        }
        storage
    }

    fn open(dir: &Path) -> Storage {
        Storage::open(dir, Options::default()).unwrap()
    }

    fn values(storage: &Storage) -> Vec<f64> {
        let mut found = storage.select(&[], Timestamp::MIN, Timestamp::MAX).unwrap();
        found.pop().unwrap().values
    }

    fn names(dir: &Path) -> Vec<String> {
        let names = fs::read_dir(dir).unwrap();
        let mut names: Vec<_> =
            names.map(|name| name.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn swapped_segments_are_read_in_their_order_f31() {
        // Which file takes the name of which; and whether the head was written before.
        let orders: [&[u32]; 4] = [&[2, 1], &[2, 3, 1], &[6, 2, 3, 4, 5, 1], &[1, 2, 3, 5, 6, 4]];
        for (order, written) in orders.iter().flat_map(|order| [(order, false), (order, true)]) {
            let dir = tempfile::tempdir().unwrap();
            let storage = filled(dir.path());
            if written {
                storage.checkpoint(0);
            }
            drop(storage);
            let log = dir.path().join("log");
            let before = names(&log);
            assert!(before.len() >= 6, "{before:?}");
            for number in *order {
                fs::rename(log.join(file_name(*number)), log.join(format!("{number}.old")))
                    .unwrap();
            }
            for (at, number) in order.iter().enumerate() {
                let name = file_name(at as u32 + 1);
                fs::rename(log.join(format!("{number}.old")), log.join(name)).unwrap();
            }
            let moved = order.iter().zip(1..).filter(|(number, at)| *number != at).count();
            let checked = crate::check(dir.path()).unwrap();
            assert_eq!((checked.samples, checked.faults.len()), (660, moved), "{checked:?}");
            assert!(checked.faults[0].what.contains("by its name another segment"), "{checked:?}");
            let expected: Vec<f64> = (0..660).map(f64::from).collect();
            assert_eq!(values(&Storage::open_read_only(dir.path()).unwrap()), expected);
            assert_eq!(values(&open(dir.path())), expected, "{order:?}");
            assert_eq!(names(&log)[..before.len()], before);
            assert!(by_heads(&log).unwrap().iter().all(|one| !one.is_misnamed));
        }
    }

    #[test]
    fn a_copy_of_a_segment_takes_no_place_f31() {
        let dir = tempfile::tempdir().unwrap();
        drop(filled(dir.path()));
        let log = dir.path().join("log");
        for _ in 0..2 {
            fs::copy(log.join(file_name(2)), log.join(file_name(1000))).unwrap();
            assert_eq!(values(&open(dir.path())).len(), 660);
        }
        let left = names(&log).into_iter().filter(|name| name.ends_with(MISNAMED));
        assert_eq!(left.collect::<Vec<_>>(), ["00001000.0.misnamed", "00001000.1.misnamed"]);
        let checked = crate::check(dir.path()).unwrap();
        assert_eq!((checked.samples, checked.faults.len()), (660, 2), "{checked:?}");
        // A later start, after a crash between two names.
        fs::rename(log.join(file_name(3)), log.join("00000009.0.misnamed")).unwrap();
        assert_eq!(values(&open(dir.path())).len(), 660);
    }

    #[test]
    fn segments_of_earlier_builds_are_read() {
        let dir = tempfile::tempdir().unwrap();
        drop(filled(dir.path()));
        let log = dir.path().join("log");
        for (_, path) in segments(&log).unwrap() {
            let bytes = fs::read(&path).unwrap();
            fs::write(path, [WITHOUT_NUMBER, &bytes[HEAD as usize..]].concat()).unwrap();
        }
        let storage = open(dir.path());
        assert_eq!(values(&storage).len(), 660);
        let mut follower = crate::Follower::at(crate::LogPosition::default());
        let mut followed = 0;
        while storage.follow(&mut follower, 1000, |_| followed += 1).unwrap().samples > 0 {}
        assert_eq!(followed, 660);
    }
}
