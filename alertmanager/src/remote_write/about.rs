//! What remotes are told of metrics: what their targets say of them.
//!
//! Invariant: it is put together again only when a target says something else.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::remote_write::{About, encode_about};
use base::sample::Timestamp;
use bytes::Bytes;

use super::config::Settings;
use crate::scrape::{Metadata, Targets};

/// What is said, by the names of the metrics.
pub(super) type Said = Arc<BTreeMap<String, About>>;

/// What is said, and when a remote was told.
#[derive(Debug, Default)]
pub(super) struct Telling {
    from: Vec<Arc<Metadata>>,
    said: Said,
    told_at: Option<Timestamp>,
    /// Whether the remote would not have it, which is said once.
    pub(super) was_refused: bool,
}

impl Telling {
    /// What `targets` say: of a metric that several describe, what the first of them says.
    pub(super) fn said(&mut self, targets: &Targets) -> Said {
        let from: Vec<_> = targets.metadata().into_iter().map(|(_, said)| said).collect();
        let mut pairs = from.iter().zip(&self.from);
        if from.len() != self.from.len() || pairs.any(|(new, old)| !Arc::ptr_eq(new, old)) {
            let mut said = BTreeMap::new();
            for (name, described) in from.iter().flat_map(|one| one.iter()) {
                if !said.contains_key(name) {
                    let (kind, unit) = (described.kind, described.unit.clone());
                    said.insert(name.clone(), About { kind, unit, help: described.help.clone() });
                }
            }
            (self.from, self.said) = (from, Arc::new(said));
        }
        Arc::clone(&self.said)
    }

    /// The requests that tell it in 1.0, if it is time for that `now`.
    pub(super) fn due(
        &mut self,
        settings: &Settings,
        targets: &Targets,
        now: Timestamp,
    ) -> Vec<Bytes> {
        let Some((every, most)) = settings.tells else { return Vec::new() };
        if self.told_at.is_some_and(|at| now < at + every) {
            return Vec::new();
        }
        let said = self.said(targets);
        let mut rest = said.iter().peekable();
        let mut bodies = Vec::new();
        while rest.peek().is_some() {
            bodies.push(encode_about(rest.by_ref().take(most)).into());
        }
        bodies
    }

    /// Notes that the remote has been told at `now`.
    pub(super) fn is_told(&mut self, now: Timestamp) {
        self.told_at = Some(now);
    }
}
