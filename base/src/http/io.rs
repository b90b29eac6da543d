//! A connection as the server sees it, with the time limits that hyper does not have.
//!
//! ```text
//!          first byte            head complete          answer made
//!   Idle ─────────────▶ Head ───────────────────▶ Busy ───────────▶ Idle
//!   idle limit          head limit                (the handler's limits)
//! ```
//!
//! Invariant: in every phase but `Busy` a timer runs, and no write waits longer than its limit.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::framing::Framing;

const IDLE: u8 = 0;
const HEAD: u8 = 1;
const BUSY: u8 = 2;

/// Where a connection is; shared by its socket and its handler.
#[derive(Clone, Debug, Default)]
pub struct Phase(Arc<AtomicU8>);

impl Phase {
    /// A request's head is complete and its handler has begun.
    pub fn busy(&self) {
        self.0.store(BUSY, Ordering::Relaxed);
    }

    /// Whether a handler makes an answer now.
    pub fn is_busy(&self) -> bool {
        self.0.load(Ordering::Relaxed) == BUSY
    }

    /// The handler has made its answer.
    pub(super) fn idle(&self) {
        self.0.store(IDLE, Ordering::Relaxed);
    }
}

/// A socket with limits.
#[derive(Debug)]
pub(super) struct LimitedIo<S> {
    socket: S,
    phase: Phase,
    idle: Duration,
    head: Duration,
    write: Duration,
    /// The phase that the read timer was set for, and the timer.
    reading: Option<(u8, Pin<Box<Sleep>>)>,
    writing: Option<Pin<Box<Sleep>>>,
    framing: Framing,
}

impl<S> LimitedIo<S> {
    pub(super) fn new(
        socket: S,
        phase: Phase,
        idle: Duration,
        head: Duration,
        write: Duration,
    ) -> Self {
        Self {
            socket,
            phase,
            idle,
            head,
            write,
            reading: None,
            writing: None,
            framing: Framing::default(),
        }
    }

    /// Fails where the current phase has lasted too long.
    fn check_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let phase = self.phase.0.load(Ordering::Relaxed);
        let limit = match phase {
            IDLE => self.idle,
            HEAD => self.head,
            _ => {
                self.reading = None;
                return Ok(());
            }
        };
        let (set_for, timer) = self.reading.get_or_insert_with(|| (phase, Box::pin(sleep(limit))));
        if *set_for != phase {
            (*set_for, *timer) = (phase, Box::pin(sleep(limit)));
        }
        match timer.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }

    /// Fails where a write has waited too long; `poll` is what the write said.
    fn check_write<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            self.writing = None;
            return poll;
        }
        let limit = self.write;
        let timer = self.writing.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for LimitedIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.socket).poll_read(cx, buffer)? {
            Poll::Ready(()) => {
                self.framing.judge(&mut buffer.filled_mut()[before..]);
                if buffer.filled().len() > before {
                    let phase = &self.phase.0;
                    // Only from Idle: the body of a request arrives while its handler is busy.
                    let _ =
                        phase.compare_exchange(IDLE, HEAD, Ordering::Relaxed, Ordering::Relaxed);
                }
                self.check_read(cx)?;
                Poll::Ready(Ok(()))
            }
            Poll::Pending => {
                self.check_read(cx)?;
                Poll::Pending
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for LimitedIo<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.check_write(cx, poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.socket).poll_write_vectored(cx, slices);
        self.check_write(cx, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.socket).poll_flush(cx);
        self.check_write(cx, poll)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.socket).poll_shutdown(cx);
        self.check_write(cx, poll)
    }
}
