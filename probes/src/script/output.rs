//! What a script prints: the beginning of it is kept, the rest is read and dropped, so that the
//! script is never held up by us.
//!
//! Invariant: at most [`Capture::new`]'s number of bytes is kept, whatever comes.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;
use tokio::net::unix::pipe::Receiver;

/// How much is read at a time: as much as a pipe holds.
const CHUNK: usize = 64 << 10;

/// One of a script's outputs.
#[derive(Debug)]
pub(super) struct Capture {
    /// The reading end, for as long as somebody holds the other.
    source: Source,
    max: usize,
    /// What is kept.
    pub(super) text: Vec<u8>,
    /// How many bytes came in all.
    pub(super) total: u64,
}

#[derive(Debug)]
enum Source {
    /// Nobody has waited for it yet.
    Plain(OwnedFd),
    Registered(Receiver),
    Closed,
}

impl Capture {
    /// Keeps the first `max` bytes of what comes from `pipe`.
    pub(super) fn new(pipe: OwnedFd, max: usize) -> io::Result<Self> {
        // A pipe that was just made has no other flag that could be lost.
        fcntl_setfl(&pipe, OFlags::NONBLOCK)?;
        Ok(Self { source: Source::Plain(pipe), max, text: Vec::new(), total: 0 })
    }

    /// Whether nobody holds the writing end any more, or we have closed ours.
    pub(super) fn is_closed(&self) -> bool {
        matches!(self.source, Source::Closed)
    }

    /// Whether there was more than is kept.
    pub(super) fn is_cut(&self) -> bool {
        self.total > self.text.len() as u64
    }

    /// Stops reading.
    pub(super) fn close(&mut self) {
        self.source = Source::Closed;
    }

    /// Reads what is there, without waiting; a flood is left after a few chunks.
    pub(super) fn read_available(&mut self) {
        for _ in 0..8 {
            let result = match &self.source {
                Source::Plain(pipe) => read(pipe, &mut self.text, self.max),
                Source::Registered(pipe) => read(pipe, &mut self.text, self.max),
                Source::Closed => return,
            };
            match result {
                Ok(0) => self.close(),
                Ok(length) => self.total += length as u64,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.close(),
            }
        }
    }

    /// Waits for something and reads it; for ever where the other end is closed.
    pub(super) async fn read_more(&mut self) {
        if let Source::Plain(_) = self.source
            && let Source::Plain(pipe) = std::mem::replace(&mut self.source, Source::Closed)
            && let Ok(pipe) = Receiver::from_owned_fd_unchecked(pipe)
        {
            self.source = Source::Registered(pipe);
        }
        let Source::Registered(pipe) = &self.source else { return std::future::pending().await };
        if pipe.readable().await.is_err() {
            return self.close();
        }
        let (text, max) = (&mut self.text, self.max);
        match pipe.try_io(|| read(pipe, text, max)) {
            Ok(length @ 1..) => self.total += length as u64,
            // It was not readable after all.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            _ => self.close(),
        }
    }
}

/// Reads once, keeping what fits.
fn read(pipe: impl AsFd, text: &mut Vec<u8>, max: usize) -> io::Result<usize> {
    let mut chunk = [MaybeUninit::uninit(); CHUNK];
    loop {
        match rustix::io::read(&pipe, &mut chunk) {
            Ok((read, _)) => {
                text.extend_from_slice(&read[..read.len().min(max - text.len())]);
                return Ok(read.len());
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::pipe::{PipeFlags, pipe_with};

    use super::*;

    #[tokio::test]
    async fn keeps_the_beginning_and_reads_the_rest() {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let mut capture = Capture::new(reader, 5).unwrap();
        capture.read_available();
        assert!(!capture.is_closed() && capture.total == 0);
        rustix::io::write(&writer, b"one two").unwrap();
        capture.read_more().await;
        assert!(capture.is_cut());
        rustix::io::write(&writer, b" three").unwrap();
        drop(writer);
        capture.read_available();
        assert_eq!((capture.text.as_slice(), capture.total), (b"one t".as_slice(), 13));
        assert!(capture.is_closed());
    }
}
