//! What tells notices from groups: what people are told of silences and windows of maintenance goes
//! the same way as what they are told of alerts.
//!
//! Invariant: the key of a group never begins as that of a notice: it begins with its route's.

use std::collections::BTreeSet;

use super::{LaneGroup, Outbox};

/// How the key of a notice begins.
pub const NOTICE: &str = "notice:";

impl LaneGroup {
    /// Whether it is about a silence or a window, not about a group of alerts.
    pub fn is_notice(&self) -> bool {
        self.group_key.starts_with(NOTICE)
    }
}

impl Outbox {
    /// The notices that were told, and those that wait to be.
    pub fn notice_keys(&self) -> BTreeSet<LaneGroup> {
        let keys = self.told_keys().into_iter().chain(self.intended_keys());
        keys.filter(LaneGroup::is_notice).collect()
    }
}
