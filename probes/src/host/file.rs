//! Reading small files of the kernel again and again.
//!
//! A file of procfs or sysfs makes its text anew whenever it is read from the start, so it is opened
//! once and read with `pread`: half the cost of opening it every time. What a kept descriptor can no
//! longer read (its device is gone, say) is opened afresh.
//!
//! Invariant: all collectors together keep at most [`MOST_DESCRIPTORS`]; beyond it a file is opened,
//! read and closed, which is slower and gives the same.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{CollectError, text};

/// How many files are kept open: enough for a dozen network devices, and a quarter of what a
/// service may open by default.
const MOST_DESCRIPTORS: usize = 256;
/// The longest file that is read; what is longer is no file of the kernel.
const MOST_BYTES: usize = 16 << 20;

/// Counts the descriptors that are kept; clones share the count.
#[derive(Clone, Debug)]
pub(super) struct Descriptors(Arc<AtomicUsize>);

impl Descriptors {
    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicUsize::new(MOST_DESCRIPTORS)))
    }

    fn take(&self) -> bool {
        let less = |left: usize| left.checked_sub(1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    fn give_back(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Where a file's text is put; reused from file to file.
#[derive(Debug)]
pub(super) struct Buffer(Vec<u8>);

impl Buffer {
    /// Without room yet: most collectors of hardware find nothing to read.
    pub(super) fn new() -> Self {
        Self(Vec::new())
    }

    /// The first bytes, as many as the last file had.
    pub(super) fn first(&self, length: usize) -> &[u8] {
        self.0.get(..length).unwrap_or_default()
    }
}

/// A file that is read at every scrape.
#[derive(Debug)]
pub(super) struct Source {
    path: PathBuf,
    kept: Option<File>,
    /// Whether the kernel hands out the whole text at once, so that one read is enough unless it
    /// fills the buffer: so do sysfs, and the files of procfs that hold one record.
    at_once: bool,
    descriptors: Descriptors,
}

impl Source {
    /// A file of many records, which has to be read until nothing comes.
    pub(super) fn records(path: PathBuf, descriptors: &Descriptors) -> Self {
        Self { path, kept: None, at_once: false, descriptors: descriptors.clone() }
    }

    /// A file of one record, or one of sysfs.
    pub(super) fn record(path: PathBuf, descriptors: &Descriptors) -> Self {
        Self { path, kept: None, at_once: true, descriptors: descriptors.clone() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The file's text as it is now.
    pub(super) fn read<'b>(&mut self, buffer: &'b mut Buffer) -> Result<&'b [u8], CollectError> {
        let length = self.try_read(&mut buffer.0).map_err(|error| self.unreadable(error))?;
        Ok(&buffer.0[..length])
    }

    /// As [`Source::read`], for a file that need not be there on every machine.
    pub(super) fn read_if_there<'b>(
        &mut self,
        buffer: &'b mut Buffer,
    ) -> Result<&'b [u8], CollectError> {
        match self.try_read(&mut buffer.0) {
            Ok(length) => Ok(&buffer.0[..length]),
            Err(error) if is_absent(&error) => Err(CollectError::Absent(self.path.clone())),
            Err(error) => Err(self.unreadable(error)),
        }
    }

    /// The one number that the file holds.
    pub(super) fn number(&mut self, buffer: &mut Buffer) -> Result<f64, CollectError> {
        let bytes = self.read_if_there(buffer)?.trim_ascii();
        text::value(bytes).ok_or_else(|| CollectError::Malformed {
            path: self.path.clone(),
            what: format!("`{}` is no number", text::text(bytes)),
        })
    }

    /// An error about this file's text.
    pub(super) fn malformed(&self, what: impl Into<String>) -> CollectError {
        CollectError::Malformed { path: self.path.clone(), what: what.into() }
    }

    fn unreadable(&self, error: io::Error) -> CollectError {
        CollectError::Unreadable { path: self.path.clone(), error }
    }

    fn try_read(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        if let Some(file) = &self.kept {
            match read_all(file, self.at_once, buffer) {
                // Whatever is wrong with the descriptor, a fresh one tells what is wrong now.
                Err(error) if !is_answer(&error) => self.close(),
                done => return done,
            }
        }
        let file = File::open(&self.path)?;
        let read = read_all(&file, self.at_once, buffer);
        if read.as_ref().map_or_else(is_answer, |_| true) && self.descriptors.take() {
            self.kept = Some(file);
        }
        read
    }

    fn close(&mut self) {
        if self.kept.take().is_some() {
            self.descriptors.give_back();
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.close();
    }
}

/// The text of a file that is not kept open: it comes and goes, or is seldom read.
pub(super) fn read_once<'b>(path: &Path, buffer: &'b mut Buffer) -> Result<&'b [u8], CollectError> {
    match File::open(path).and_then(|file| read_all(&file, false, &mut buffer.0)) {
        Ok(length) => Ok(&buffer.0[..length]),
        Err(error) if is_absent(&error) => Err(CollectError::Absent(path.to_owned())),
        Err(error) => Err(CollectError::Unreadable { path: path.to_owned(), error }),
    }
}

/// Whether the error is what the kernel has to say: a device that is down has no speed.
fn is_answer(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported)
}

/// Whether the error says that the kernel has no such thing, or has it switched off.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::Unsupported)
}

fn read_all(file: &File, at_once: bool, buffer: &mut Vec<u8>) -> io::Result<usize> {
    let mut length = 0;
    loop {
        if length == buffer.len() {
            if length >= MOST_BYTES {
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, "longer than 16 MiB"));
            }
            // An attribute of sysfs is a page at most.
            buffer.resize((2 * length).max(4096), 0);
        }
        match file.read_at(&mut buffer[length..], length as u64) {
            Ok(0) => return Ok(length),
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        if at_once && length < buffer.len() {
            return Ok(length);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_file_says_now_and_files_longer_than_the_buffer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let (mut buffer, descriptors) = (Buffer::new(), Descriptors::new());
        let mut source = Source::records(path.clone(), &descriptors);
        assert!(matches!(source.read(&mut buffer), Err(CollectError::Unreadable { .. })));
        assert!(matches!(source.read_if_there(&mut buffer), Err(CollectError::Absent(_))));
        for text in ["17\n".to_owned(), "x".repeat(10_000), "-1".to_owned(), String::new()] {
            std::fs::write(&path, &text).unwrap();
            assert_eq!(source.read(&mut buffer).unwrap(), text.as_bytes());
        }
        std::fs::write(&path, "-1\n").unwrap();
        assert_eq!(source.number(&mut buffer).unwrap(), -1.0);
        std::fs::write(&path, "one\n").unwrap();
        let error = source.number(&mut buffer).unwrap_err().to_string();
        assert!(error.ends_with("file` is malformed: `one` is no number"), "{error}");
    }

    #[test]
    fn keeps_a_bounded_number_of_files_open() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "1").unwrap();
        let (mut buffer, descriptors) = (Buffer::new(), Descriptors::new());
        let mut sources: Vec<_> =
            (0..MOST_DESCRIPTORS + 2).map(|_| Source::record(path.clone(), &descriptors)).collect();
        let mut kept = |sources: &mut Vec<Source>| {
            for source in &mut *sources {
                assert_eq!(source.number(&mut buffer).unwrap(), 1.0);
            }
            sources.iter().filter(|source| source.kept.is_some()).count()
        };
        assert_eq!(kept(&mut sources), MOST_DESCRIPTORS);
        sources.truncate(MOST_DESCRIPTORS);
        sources.remove(0);
        sources.push(Source::record(path.clone(), &descriptors));
        assert_eq!(kept(&mut sources), MOST_DESCRIPTORS);
    }
}
