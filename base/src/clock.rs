//! The only reader of a clock.
//!
//! Invariant: everything below the loops (`run.rs` files and `api`) takes the time as a parameter;
//! probes measure with a [`Stopwatch`].

use std::time::{Duration, SystemTime};

use crate::sample::Timestamp;

impl Timestamp {
    /// The present, by the system's clock; before 1970 it counts as 1970.
    pub fn now() -> Self {
        Self::from_millis(i64::try_from(since_epoch().as_millis()).unwrap_or(i64::MAX))
    }
}

/// The present as the time since 1970, as finely as the system knows it: for what compares clocks.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
pub fn since_epoch() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// Measures how long something takes; does not jump when the wall clock is set.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(tokio::time::Instant);

impl Stopwatch {
    /// Starts measuring.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the monotonic clock")]
    pub fn start() -> Self {
        Self(tokio::time::Instant::now())
    }

    /// The time since the start.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    /// The time since the start, in seconds.
    pub fn seconds(&self) -> f64 {
        self.elapsed().as_secs_f64()
    }

    /// The instant `after` the start, for tokio's timers.
    pub fn instant(&self, after: Duration) -> tokio::time::Instant {
        self.0 + after
    }
}
