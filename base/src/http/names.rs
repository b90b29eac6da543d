//! Names that were resolved before: a resolver that is away keeps no message from its receiver (F53).
//!
//! Invariant: a name is looked up each time; only where nobody answers is an address taken that is at
//! most five minutes old. That a name does not exist is an answer.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::timeout;

use super::client::resolve;
use super::failure::{ClientError, Failure};
use crate::clock::Stopwatch;

/// How old an address may be.
const GOOD_FOR: Duration = Duration::from_secs(300);
/// How long is waited for the resolver where an address is remembered.
const PATIENCE: Duration = Duration::from_secs(2);
/// The most names; a client asks a few, so that one more is not remembered.
const MOST: usize = 1024;

/// What names were resolved to. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    known: Arc<Mutex<HashMap<(String, u16), Known>>>,
}

#[derive(Clone, Debug)]
struct Known {
    addresses: Vec<SocketAddr>,
    since: Stopwatch,
}

impl Names {
    /// As [`resolve`], or what was found not long ago.
    pub(super) async fn resolve(
        &self,
        host: &str,
        port: u16,
    ) -> Result<Vec<SocketAddr>, ClientError> {
        let key = (host.to_owned(), port);
        let known = self.lock().get(&key).filter(|k| k.since.elapsed() < GOOD_FOR).cloned();
        let lookup = resolve(host, port);
        let found = match &known {
            None => lookup.await,
            Some(_) => timeout(PATIENCE, lookup).await.unwrap_or_else(|_| {
                Err(ClientError::new(Failure::Resolve, format!("resolve {host}: no answer")))
            }),
        };
        match (found, known) {
            (Ok(addresses), _) => {
                let mut all = self.lock();
                if all.len() < MOST || all.contains_key(&key) {
                    let since = Stopwatch::start();
                    all.insert(key, Known { addresses: addresses.clone(), since });
                }
                Ok(addresses)
            }
            (Err(error), Some(known)) if error.kind == Failure::Resolve => Ok(known.addresses),
            (Err(error), _) => Err(error),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(String, u16), Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
