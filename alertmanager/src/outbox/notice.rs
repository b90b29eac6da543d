//! What tells notices from groups: what people are told of silences and windows of maintenance goes
//! the same way as what they are told of alerts.
//!
//! Invariant: the key of a group never begins as that of a notice: it begins with its route's.

use super::LaneGroup;

/// How the key of a notice begins.
pub const NOTICE: &str = "notice:";

impl LaneGroup {
    /// Whether it is about a silence or a window, not about a group of alerts.
    pub fn is_notice(&self) -> bool {
        self.group_key.starts_with(NOTICE)
    }
}
