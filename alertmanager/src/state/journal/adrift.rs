//! Where the disk takes nothing: the records go on in a file in memory, and come back (F35).
//!
//! Invariant: what is live is in the file that is in use, wherever that is; the one on the disk is only
//! ever taken over by a whole copy.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::{Inner, Journal, Shared};

impl Journal {
    /// Whether what is written now is in memory only.
    pub fn is_adrift(&self) -> bool {
        self.shared.lock().adrift
    }

    /// Copies what is in memory only to the disk, where it takes it; gives whether it did. Nothing is
    /// lost where it does not.
    pub async fn land(&self) -> bool {
        let shared = Arc::clone(&self.shared);
        tokio::task::spawn_blocking(move || shared.land()).await.unwrap_or(false)
    }
}

impl Shared {
    fn land(&self) -> bool {
        let mut inner = self.lock();
        inner.adrift && inner.copy_to_disk(self.path.as_deref()).is_ok()
    }
}

impl Inner {
    /// Begins another file, as the one before failed: on the disk, or else in memory.
    pub(super) fn renew(&mut self, path: Option<&Path>) -> io::Result<()> {
        let copied = self.copy_to_disk(path);
        copied.or_else(|error| if path.is_some() { self.drift(&error) } else { Err(error) })
    }

    /// As [`Inner::copy`]; half a copy leaves nothing behind.
    fn copy_to_disk(&mut self, path: Option<&Path>) -> io::Result<()> {
        let copied = self.copy(path);
        if let (Err(_), Some(path)) = (&copied, path) {
            let _ = fs::remove_file(path.with_extension("new"));
        }
        copied
    }

    /// Goes on in memory after `error`.
    pub(super) fn drift(&mut self, error: &io::Error) -> io::Result<()> {
        tracing::error!(%error, "the journal cannot be written: it goes on in memory until it can");
        self.copy(None)?;
        self.adrift = true;
        Ok(())
    }
}
