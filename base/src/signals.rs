//! What the system's signals ask of a program: to read its configuration again, or to end.
//!
//! Invariant: a signal that asks for something else changes nothing (F50).

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What is asked of us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// To read the configuration again (HUP).
    Reload,
    /// To end (TERM, INT).
    End,
}

/// The signals that we take; from its making on none of them ends the process by itself.
#[derive(Debug)]
pub struct Signals {
    hang_up: Signal,
    terminate: Signal,
    interrupt: Signal,
    user_1: Signal,
    user_2: Signal,
}

impl Signals {
    /// Takes them from now on.
    ///
    /// # Errors
    ///
    /// The system gives us none.
    pub fn take() -> io::Result<Self> {
        Ok(Self {
            hang_up: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            user_1: signal(SignalKind::user_defined1())?,
            user_2: signal(SignalKind::user_defined2())?,
        })
    }

    /// What is asked next. Nothing is lost where it is not waited for to the end.
    pub async fn next(&mut self) -> Asked {
        loop {
            tokio::select! {
                _ = self.hang_up.recv() => return Asked::Reload,
                _ = self.terminate.recv() => return Asked::End,
                _ = self.interrupt.recv() => return Asked::End,
                // What rotates logs asks so for a file to be opened again, and we have none.
                _ = self.user_1.recv() => {}
                _ = self.user_2.recv() => {}
            }
        }
    }

    /// Returns when we are asked to end; what else is asked comes too late.
    pub async fn end(&mut self) {
        while self.next().await != Asked::End {}
    }
}
