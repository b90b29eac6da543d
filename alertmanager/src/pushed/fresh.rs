//! How fresh pushed alerts are, and what a time does to them in which nobody could push.
//!
//! Invariant: such a time ends nothing.

use std::time::Duration;

use base::sample::Timestamp;

use super::{Inner, Pushed};

impl Pushed {
    /// When the one that nobody has pushed again for the longest time was pushed; `None` where none
    /// fires. Looks at all of them.
    pub fn least_fresh(&self) -> Option<Timestamp> {
        self.lock().firing.values().map(|firing| firing.updated_at).min()
    }

    /// Nobody could push for `pause`: whatever fires lasts so much longer (F26). A restart adds its
    /// own; what stands in the journal stays.
    pub(super) fn extend(&self, pause: Duration) {
        let mut inner = self.lock();
        let Inner { firing, ends, .. } = &mut *inner;
        ends.clear();
        for (labels, firing) in firing {
            firing.ends_at = firing.ends_at + pause;
            ends.insert((firing.ends_at, firing.record), labels.clone());
        }
    }
}
