//! A connection as those who speak a protocol want it: lines and pieces of a known length.
//!
//! Invariant: no more than [`MAX_ANSWER`] bytes of one answer are kept, whatever the peer sends.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

pub(crate) use crate::network::Failed;

use crate::Reason;
use crate::text::shown_line;

/// How long one line or one piece of an answer may be.
pub(crate) const MAX_ANSWER: usize = 64 << 10;

/// A socket, encrypted or not.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send + Sync {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + Sync> Duplex for S {}

/// An open connection, and what came over it and was not read yet.
pub(crate) struct Wire {
    stream: Box<dyn Duplex>,
    unread: Vec<u8>,
}

impl Wire {
    pub(crate) fn new(stream: impl Duplex + 'static) -> Self {
        Self { stream: Box::new(stream), unread: Vec::new() }
    }

    /// The bare connection, for those who begin another protocol on it.
    ///
    /// # Errors
    ///
    /// The peer has said more than it was asked: whoever went on would take words that anybody
    /// could have put in before the encryption for the peer's own.
    pub(crate) fn into_stream(self) -> Result<Box<dyn Duplex>, Failed> {
        if self.unread.is_empty() {
            return Ok(self.stream);
        }
        let summary = "the peer says more than it was asked before it begins TLS";
        Err(Failed::new(Reason::ProtocolError, summary))
    }

    /// Sends all of `bytes`.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<(), Failed> {
        self.stream.write_all(bytes).await.map_err(|error| broken(&error))?;
        self.stream.flush().await.map_err(|error| broken(&error))
    }

    /// What has come and was not read yet.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.unread
    }

    /// Waits for more; fails where there will be none.
    pub(crate) async fn fill(&mut self) -> Result<(), Failed> {
        if self.unread.len() >= MAX_ANSWER {
            return Err(too_large());
        }
        let room = (MAX_ANSWER - self.unread.len()).min(16 << 10) as u64;
        let read = (&mut self.stream).take(room).read_buf(&mut self.unread).await;
        match read.map_err(|error| broken(&error))? {
            0 if self.unread.is_empty() => {
                Err(Failed::new(Reason::ConnectionReset, "the peer hung up without a word"))
            }
            0 => {
                let said = shown_line(&self.unread, 100);
                let summary = format!("the peer hung up in the middle of its answer: `{said}`");
                Err(Failed::new(Reason::ConnectionReset, summary))
            }
            _ => Ok(()),
        }
    }

    /// The next line, without its end.
    pub(crate) async fn line(&mut self) -> Result<Vec<u8>, Failed> {
        let mut searched = 0;
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.unread[searched..]) {
                let mut line: Vec<u8> = self.unread.drain(..=searched + end).collect();
                line.pop();
                line.pop_if(|last| *last == b'\r');
                return Ok(line);
            }
            searched = self.unread.len();
            self.fill().await?;
        }
    }

    /// The next `length` bytes.
    pub(crate) async fn exact(&mut self, length: usize) -> Result<Vec<u8>, Failed> {
        if length > MAX_ANSWER {
            return Err(too_large());
        }
        while self.unread.len() < length {
            self.fill().await?;
        }
        Ok(self.unread.drain(..length).collect())
    }

    /// The next bytes, which stay to be read: those that tell one kind of answer from another.
    pub(crate) async fn peek(&mut self, length: usize) -> Result<&[u8], Failed> {
        while self.unread.len() < length {
            self.fill().await?;
        }
        Ok(&self.unread[..length])
    }
}

fn too_large() -> Failed {
    Failed::new(Reason::AnswerTooLarge, format!("an answer is over {MAX_ANSWER} bytes"))
}

pub(crate) fn broken(error: &io::Error) -> Failed {
    Failed::new(Reason::ConnectionReset, format!("the connection broke: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn wire(said: &[u8]) -> Wire {
        let (ours, mut theirs) = tokio::io::duplex(1 << 20);
        theirs.write_all(said).await.unwrap();
        Wire::new(ours)
    }

    #[tokio::test]
    async fn reads_lines_and_pieces() {
        let mut wire = wire(b"one\r\ntwo\n\r\nabcde").await;
        assert_eq!(wire.line().await.unwrap(), b"one");
        assert_eq!(wire.line().await.unwrap(), b"two");
        assert_eq!(wire.line().await.unwrap(), b"");
        assert_eq!(wire.peek(2).await.unwrap(), b"ab");
        assert_eq!(wire.exact(3).await.unwrap(), b"abc");
        let failed = wire.exact(3).await.unwrap_err();
        assert_eq!(failed.reason, Reason::ConnectionReset);
        assert_eq!(failed.summary, "the peer hung up in the middle of its answer: `de`");
    }

    #[tokio::test]
    async fn keeps_no_more_than_an_answer_may_have() {
        let endless = vec![b'a'; MAX_ANSWER + 1];
        let failed = wire(&endless).await.line().await.unwrap_err();
        assert_eq!(failed.reason, Reason::AnswerTooLarge);
        let failed = wire(b"").await.exact(usize::MAX).await.unwrap_err();
        assert_eq!(failed.reason, Reason::AnswerTooLarge);
    }

    #[tokio::test]
    async fn words_before_tls_are_not_taken_for_the_peers() {
        let mut wire = wire(b"220 go\r\n250 injected\r\n").await;
        wire.line().await.unwrap();
        let failed = wire.into_stream().err().unwrap();
        assert_eq!(failed.reason, Reason::ProtocolError);
    }
}
